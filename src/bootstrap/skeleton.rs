//! What a root has besides its packages: the links of a merged `/usr`, before all else; afterwards what dpkg and apt
//! expect to find, and the nodes of `/dev`; and at the end nothing that only the bootstrap left.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, makedev};
use rustix::io::Errno;

use super::database::Installed;
use super::lock::Chosen;
use super::sources::Source;
use super::unpack::give;
use crate::sandbox::rooted::Rooted;

/// Names and numbers of the nodes in `/dev`.
const NODES: [(&str, u32, u32); 8] = [
    ("console", 5, 1),
    ("full", 1, 7),
    ("null", 1, 3),
    ("ptmx", 5, 2),
    ("random", 1, 8),
    ("tty", 5, 0),
    ("urandom", 1, 9),
    ("zero", 1, 5),
];

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Directories that tools expect.
const DIRECTORIES: [&str; 9] = [
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "etc/dpkg/dpkg.cfg.d",
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "var/lib/dpkg/alternatives",
    "var/log/apt",
    "tmp",
];

/// What tools wrote on the way, and no image keeps.
const LEFT: [(&str, &str); 7] = [
    ("var/log", "dpkg.log"),
    ("var/log", "alternatives.log"),
    ("var/log/apt", "history.log"),
    ("var/log/apt", "term.log"),
    ("var/log/apt", "eipp.log.xz"),
    ("var/cache/ldconfig", "aux-cache"),
    ("var/lib/dbus", "machine-id"),
];

/// Makes the links by which `/bin` is `/usr/bin`, which must be there before anything is unpacked through them.
pub fn merge_usr(tree: &Rooted, architecture: &str) -> io::Result<()> {
    let wide = ["amd64", "ppc64el", "ppc64", "mips64el", "loong64"];
    let lib64 = wide.contains(&architecture).then_some("lib64");
    let usr = tree.make_dirs(&[b"usr"], 0o755)?;
    for name in ["bin", "sbin", "lib"].into_iter().chain(lib64) {
        usr.make_dir(name, 0o755)?;
        match rustix::fs::symlinkat(format!("usr/{name}"), tree.fd(), name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives each directory what the first package in order says of it.
pub fn give_directories(tree: &Rooted, packages: &[Installed], order: &[usize]) -> io::Result<()> {
    let mut given = BTreeSet::new();
    for number in order {
        for (place, attributes) in &packages[*number].unpacked.directories {
            if !given.insert(place) {
                continue;
            }
            let (parent, name) = match place.iter().rposition(|byte| *byte == b'/') {
                Some(at) => (&place[..at], &place[at + 1..]),
                None => (&b"."[..], place.as_slice()),
            };
            let Some(parent) = tree.dir(std::ffi::OsStr::new(std::str::from_utf8(parent).unwrap_or(".")))?
            else {
                continue;
            };
            let name = if name.is_empty() { b"." } else { name };
            // What is a link belongs to whom it leads to.
            if parent.kind(name)? == Some(FileType::Directory) {
                give(&parent.child(name)?.fd(), attributes)?;
            }
        }
    }
    Ok(())
}

/// Makes what tools expect, and the sources that the packages came from.
pub fn furnish(tree: &Rooted, sources: &[Source]) -> io::Result<()> {
    for path in DIRECTORIES {
        let names: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
        tree.make_dirs(&names, 0o755)?;
    }
    rustix::fs::chmodat(tree.fd(), "tmp", Mode::from_raw_mode(0o1777), AtFlags::empty())?;
    let etc = tree.make_dirs(&[b"etc"], 0o755)?;
    if etc.stat("fstab")?.is_none() {
        etc.write("fstab", 0o644, b"# UNCONFIGURED FSTAB FOR BASE SYSTEM\n")?;
    }
    // Names are resolved, and the machine is called, as on this one, until somebody says otherwise.
    for name in ["resolv.conf", "hostname"] {
        let ours = format!("/etc/{name}");
        if let (None, Ok(bytes)) = (etc.stat(name)?, std::fs::read(&ours)) {
            let meta = std::fs::symlink_metadata(&ours)?;
            let mode = if meta.is_file() {
                meta.mode() & 0o777
            } else {
                0o644
            };
            etc.write(name, mode, &bytes)?;
        }
    }
    let apt = tree.make_dirs(&[b"etc", b"apt"], 0o755)?;
    let lines: Vec<String> = sources.iter().map(Source::line).collect();
    apt.write(
        "sources.list",
        0o644,
        format!("{}\n", lines.join("\n")).as_bytes(),
    )
}

/// Tells apt which packages are only there for others.
pub fn mark_automatic(tree: &Rooted, chosen: &[Chosen], architecture: &str) -> io::Result<()> {
    let mut text = String::new();
    for package in chosen.iter().filter(|package| package.automatic) {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "Package: {}\nArchitecture: {architecture}\nAuto-Installed: 1\n\n",
            package.name
        );
    }
    tree.make_dirs(&[b"var", b"lib", b"apt"], 0o755)?
        .write("extended_states", 0o644, text.as_bytes())
}

/// Removes what only the bootstrap left, and makes `/dev`.
pub fn finish(tree: &Rooted) -> io::Result<()> {
    for (directory, name) in LEFT {
        if let Some(directory) = tree.dir(directory)? {
            directory.remove(name.as_bytes())?;
        }
    }
    if let Some(etc) = tree.dir("etc")?
        && etc.stat("machine-id")?.is_some()
    {
        etc.write("machine-id", 0o644, b"")?;
    }
    for (path, kept) in [("run", Some(&b"lock"[..])), ("tmp", None)] {
        if let Some(directory) = tree.dir(path)? {
            for (name, kind) in directory.entries()? {
                if kept == Some(&name) {
                    continue;
                }
                if kind == FileType::Directory {
                    directory.child(&name)?.clear()?;
                    rustix::fs::unlinkat(directory.fd(), &name[..], AtFlags::REMOVEDIR)?;
                } else {
                    directory.remove(&name)?;
                }
            }
        }
    }
    settle_apt(tree)?;
    make_nodes(tree)
}

/// The places where apt works without being root, and its locks, as apt itself leaves them.
fn settle_apt(tree: &Rooted) -> io::Result<()> {
    let user = tree
        .dir("etc")?
        .map(|etc| etc.read("passwd"))
        .transpose()?
        .unwrap_or_default();
    let user = String::from_utf8_lossy(&user).lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some("_apt"))
            .then(|| fields.nth(1)?.parse::<u32>().ok())
            .flatten()
    });
    for path in ["var/lib/apt/lists", "var/cache/apt/archives"] {
        let Some(directory) = tree.dir(path)? else {
            continue;
        };
        directory.make_dir("partial", 0o700)?;
        if let Some(user) = user {
            let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(0));
            rustix::fs::fchown(directory.child(b"partial")?.fd(), Some(uid), Some(gid))?;
        }
        rustix::fs::chmodat(
            directory.fd(),
            "partial",
            Mode::from_raw_mode(0o700),
            AtFlags::empty(),
        )?;
        directory.create(b"lock", 0o640)?.flush()?;
    }
    Ok(())
}

/// Makes the nodes of `/dev`, and its links.
pub fn make_nodes(tree: &Rooted) -> io::Result<()> {
    let dev = tree.make_dirs(&[b"dev"], 0o755)?;
    for (name, major, minor) in NODES {
        let mode = Mode::from_raw_mode(0o666);
        dev.remove(name.as_bytes())?;
        rustix::fs::mknodat(
            dev.fd(),
            name,
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        )?;
        // The mode of mknod is cut by the umask.
        rustix::fs::chmodat(dev.fd(), name, mode, AtFlags::empty())?;
    }
    for (name, target) in LINKS {
        dev.remove(name.as_bytes())?;
        rustix::fs::symlinkat(target, dev.fd(), name)?;
    }
    dev.make_dir("pts", 0o755)?;
    dev.make_dir("shm", 0o755)?;
    Ok(())
}
