//! A small `/dev`: the nodes that programs expect, and no device of the host.
//!
//! Hooks see one like it wherever they run: in the chroot one made for the tree, on the host one that covers the
//! host's own in the namespace of the build. A disk of the host has no node in either. `/dev/shm` alone is the host's
//! there: builds and outputs may lie in it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, makedev, openat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, move_mount, open_tree,
    unmount,
};

use super::rooted::Rooted;

/// Names and numbers.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// How the nodes come to be.
#[derive(Debug)]
pub(super) enum Nodes {
    /// They are made.
    Made,
    /// Those of the host are bound, one by one: in a user namespace nobody may make any.
    Bound(Vec<(&'static str, OwnedFd)>),
}

impl Nodes {
    /// Those of `/dev` as it is now.
    pub(super) fn of_host() -> io::Result<Self> {
        let open = |(name, major, minor): (&'static str, u32, u32)| {
            let path = Path::new("/dev").join(name);
            let fd = openat(
                CWD,
                &path,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let stat = fstat(&fd)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
                || stat.st_rdev != makedev(major, minor)
            {
                let what = format!("{} is not the device of that name", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            Ok((name, fd))
        };
        NODES
            .into_iter()
            .map(open)
            .collect::<io::Result<_>>()
            .map(Nodes::Bound)
    }
}

/// A directory that a process holds open, as a path for calls that know no descriptors.
fn magic(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Fills an empty directory with nodes, the usual links, and directories for what is mounted there.
pub(super) fn populate(dev: &Rooted, nodes: &Nodes) -> io::Result<()> {
    match nodes {
        Nodes::Made => {
            for (name, major, minor) in NODES {
                let mode = Mode::from_raw_mode(0o666);
                let device = makedev(major, minor);
                rustix::fs::mknodat(dev.fd(), name, FileType::CharacterDevice, mode, device)?;
                // The mode of mknod is cut by the umask.
                rustix::fs::chmodat(dev.fd(), name, mode, rustix::fs::AtFlags::empty())?;
            }
        }
        Nodes::Bound(nodes) => {
            for (name, fd) in nodes {
                dev.write(name, 0o644, b"")?;
                mount_bind(magic(fd), dev.magic_path().join(name))?;
            }
        }
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, dev.fd(), name)?;
    }
    dev.make_dir("shm", 0o1777)?;
    dev.make_dir("pts", 0o755)?;
    Ok(())
}

/// Gives a populated directory terminals of its own.
pub(super) fn mount_terminals(dev: &Rooted) -> io::Result<()> {
    rustix::fs::symlinkat("pts/ptmx", dev.fd(), "ptmx")?;
    let pts = dev.child(b"pts")?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let data = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    Ok(mount("devpts", pts.magic_path(), "devpts", flags, Some(data))?)
}

/// The file system that holds a small `/dev`.
pub(super) fn mount_empty(on: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    Ok(mount("dev", on, "tmpfs", flags, Some(c"mode=0755,size=16m"))?)
}

/// Puts a small `/dev` in the place of that of this mount namespace, which is the build's own.
///
/// The host's goes, where hooks could uncover it, as root of the host can.
pub(super) fn cover(nodes: &Nodes) -> io::Result<()> {
    let here = rustix::process::getcwd(Vec::new());
    let whole =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let shm = match open_tree(CWD, "/dev/shm", whole) {
        Err(Errno::NOENT) => None,
        other => Some(other?),
    };
    if matches!(nodes, Nodes::Made) {
        while unmount("/dev", UnmountFlags::DETACH).is_ok() {}
    }
    mount_empty(Path::new("/dev"))?;
    let dev = Rooted::open(Path::new("/dev"))?;
    populate(&dev, nodes)?;
    mount_terminals(&dev)?;
    if let Some(shm) = shm {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&shm, "", CWD, "/dev/shm", flags)?;
    }
    // Who works in /dev/shm is in what went.
    if let Ok(here) = here
        && here.as_bytes().starts_with(b"/dev/")
    {
        rustix::process::chdir(here)?;
    }
    Ok(())
}
