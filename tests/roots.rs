//! Roots of Debian's own archive, beside those that mmdebstrap makes of it: the same but for a written list. Roots that the
//! host's dnf and zypper make: see [`rpm`].
//!
//! One test does all suites, since they share what is fetched; the archive is that of the machine's own apt.

#[path = "roots/distribution.rs"]
mod distribution;
#[path = "roots/rpm.rs"]
mod rpm;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use oracle::archive::{self, Part};
use oracle::emulator::{self, Emulator};
use oracle::snapshot::{self, Kind, Snapshot};
use oracle::{blackbox, find, require, require_root};

/// Suites and architectures.
const ROOTS: [(&str, &str); 4] = [
    ("bookworm", "amd64"),
    ("trixie", "amd64"),
    ("sid", "amd64"),
    ("bookworm", "i386"),
];

/// The written list: files whose bytes depend on the order of what happened, not on what did.
const BY_ORDER: [(&str, &str); 6] = [
    ("etc/shells", "shells in the order in which they were configured"),
    (
        "var/cache/debconf/config.dat",
        "owners of questions in the order in which they asked",
    ),
    ("var/cache/debconf/templates.dat", "likewise"),
    (
        "var/lib/apt/extended_states",
        "packages in the order in which apt found them",
    ),
    (
        "var/lib/dpkg/diversions",
        "diversions in the order in which they were made",
    ),
    (
        "var/lib/dpkg/triggers/File",
        "interests in the order in which packages were unpacked",
    ),
];

/// The written list, second part: what tools kept of the state before the last.
const OF_BEFORE: [&str; 4] = [
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/status-old",
];

/// The written list, third part: names of one file that bookworm's `usrmerge` moves one by one, which parts them. Here
/// `/bin` is `/usr/bin` from the start.
const PARTED: [&str; 2] = ["usr/bin/gunzip", "usr/bin/uncompress"];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a program to its end, as root, with what both contenders see.
fn run(program: &Path, args: &[&str], dir: &Path) -> String {
    run_with(program, args, dir, &[])
}

fn run_with(program: &Path, args: &[&str], dir: &Path, more: &[(&str, &str)]) -> String {
    let cache = dir.join("cache");
    let mut environment = vec![
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", text(dir)),
        ("TMPDIR", text(dir)),
        ("DIB_IMAGE_CACHE", text(&cache)),
    ];
    environment.extend(more);
    let output = blackbox::run(program, args, &environment, dir);
    let said = [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat();
    assert!(
        output.status.success(),
        "{}: {}\n{said}",
        program.display(),
        output.status
    );
    said
}

fn by_mmdebstrap(dir: &Path, suite: &str, architecture: &str, archive: &str) -> PathBuf {
    let root = dir.join("theirs");
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/elements/debootstrap/keyrings");
    let conf = "/etc/apt/apt.conf.d/98dates";
    let args = [
        "--variant=minbase",
        "--mode=root",
        &format!("--arch={architecture}"),
        &format!("--keyring={keys}"),
        // A mirror may be frozen.
        &format!("--setup-hook=echo 'Acquire::Check-Valid-Until \"false\";' >\"$1{conf}\""),
        &format!("--customize-hook=rm \"$1{conf}\""),
        suite,
        text(&root),
        archive,
    ];
    run(&find("mmdebstrap").unwrap(), &args, dir);
    root
}

fn by_us(dir: &Path, suite: &str, architecture: &str, archive: &str) -> PathBuf {
    let lock = format!("--lock={}", text(&dir.join("lock")));
    bootstrap(dir, "ours", &[&lock], &[], (suite, architecture, archive))
}

/// The same packages again, by the lock and out of the cache: whoever asked the network would find nobody.
fn once_more(dir: &Path, suite: &str, architecture: &str, archive: &str) -> PathBuf {
    let lock = format!("--locked={}", text(&dir.join("lock")));
    let nobody = "http://127.0.0.1:9";
    let offline = [
        ("DIB_OFFLINE", "1"),
        ("http_proxy", nobody),
        ("https_proxy", nobody),
    ];
    bootstrap(dir, "again", &[&lock], &offline, (suite, architecture, archive))
}

fn bootstrap(
    dir: &Path,
    name: &str,
    args: &[&str],
    more: &[(&str, &str)],
    (suite, architecture, archive): (&str, &str, &str),
) -> PathBuf {
    let (root, link) = (dir.join(name), dir.join("deb-bootstrap"));
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dib"), &link).unwrap();
    let arch = format!("--arch={architecture}");
    let last = [suite, text(&root), archive];
    let args = [&["--no-check-valid-until", &arch], args, &last].concat();
    run_with(&link, &args, dir, more);
    fs::remove_file(link).unwrap();
    root
}

/// A root that went into the cache and came out of it.
fn kept(dir: &Path, root: &Path) -> Snapshot {
    let (link, file, kept) = (dir.join("cached-root"), dir.join("kept.tar.gz"), dir.join("kept"));
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dib"), &link).unwrap();
    fs::create_dir(&kept).unwrap();
    run(&link, &["save", text(root), text(&file)], dir);
    run(&link, &["restore", text(&file), text(&kept)], dir);
    snapshot::of_dir(&kept)
}

fn without_times(mut snapshot: Snapshot) -> Snapshot {
    for file in snapshot.values_mut() {
        file.mtime = (0, 0);
    }
    snapshot
}

/// A snapshot without times, and without what differs from run to run of the same tool.
fn comparable(root: &Path) -> Snapshot {
    let mut snapshot = snapshot::of_dir(root);
    snapshot.retain(|path, _| !OF_BEFORE.iter().any(|of| of.as_bytes() == path));
    for (path, file) in &mut snapshot {
        file.mtime = (0, 0);
        let name = String::from_utf8_lossy(path).into_owned();
        if BY_ORDER.iter().any(|(of, _)| *of == name) {
            let bytes = fs::read(root.join(&name)).unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let mut words: Vec<&str> = text
                .split(['\n', ',', ' '])
                .filter(|word| !word.is_empty())
                .collect();
            words.sort_unstable();
            file.kind = Kind::Symlink(words.join("\n").into_bytes());
        }
        if PARTED.contains(&name.as_str()) {
            (file.links, file.same_as) = (1, path.clone());
        }
        if let Kind::Regular { data, .. } = &mut file.kind {
            data.clear();
        }
    }
    snapshot
}

/// Every difference, one a line.
fn differences(theirs: &Snapshot, ours: &Snapshot) -> String {
    let all: BTreeSet<&Vec<u8>> = theirs.keys().chain(ours.keys()).collect();
    let differing = all.iter().filter(|path| theirs.get(**path) != ours.get(**path));
    let lines = differing.map(|path| {
        let show = |snapshot: &Snapshot| snapshot.get(*path).map(|file| format!("{file:?}"));
        format!(
            "{}\n  {:?}\n  {:?}\n",
            String::from_utf8_lossy(path),
            show(theirs),
            show(ours)
        )
    });
    lines.collect()
}

#[test]
fn roots_are_those_of_mmdebstrap() {
    if !require(&["mmdebstrap", "arch-test", "chroot", "apt-get"]) || !require_root() {
        return;
    }
    let Some(archive) = archive::of_apt(Part::Suite) else {
        oracle::skip("the machine's apt names no archive");
        return;
    };
    let shared = tempfile::tempdir().unwrap();
    fs::create_dir(shared.path().join("cache")).unwrap();
    for (suite, architecture) in ROOTS {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(shared.path().join("cache"), dir.path().join("cache")).unwrap();
        // mmdebstrap's apt drops its privileges, and must reach what it works on.
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let theirs = by_mmdebstrap(dir.path(), suite, architecture, &archive);
        let ours = by_us(dir.path(), suite, architecture, &archive);
        let told = differences(&comparable(&theirs), &comparable(&ours));
        assert!(told.is_empty(), "{suite} for {architecture}:\n{told}");
        let chroot = find("chroot").unwrap();
        for check in [["dpkg", "--verify"], ["dpkg", "--audit"]] {
            let said = run(&chroot, &[&[text(&ours)], &check[..]].concat(), dir.path());
            assert_eq!(said, "", "{suite} for {architecture}: {check:?}");
        }
        let again = snapshot::of_dir(&once_more(dir.path(), suite, architecture, &archive));
        let told = differences(&without_times(snapshot::of_dir(&ours)), &without_times(again));
        assert!(told.is_empty(), "{suite} for {architecture}, once more:\n{told}");
        if suite == "bookworm" {
            let told = differences(
                &without_times(snapshot::of_dir(&ours)),
                &without_times(kept(dir.path(), &ours)),
            );
            assert!(told.is_empty(), "{suite} for {architecture}, kept:\n{told}");
        }
        let update = run(&chroot, &[text(&ours), "apt-get", "check"], dir.path());
        assert!(!update.contains("E:"), "{update}");
    }
}

/// Architectures whose programs run here only where an emulator is registered.
#[test]
fn foreign_roots_are_made_where_their_programs_run_and_refused_elsewhere() {
    if !require(&["chroot", "apt-get"]) || !require_root() {
        return;
    }
    let Some(archive) = archive::of_apt(Part::Suite) else {
        oracle::skip("the machine's apt names no archive");
        return;
    };
    for architecture in ["arm64", "armhf"] {
        let dir = tempfile::tempdir().unwrap();
        if !emulator::is_registered(architecture) {
            let error = refused(architecture);
            let told = format!("programs for {architecture} do not run on this machine");
            assert!(
                error.contains(&told) && error.contains("register an emulator"),
                "{error}"
            );
        }
        let Some(_runs) = Emulator::of(architecture) else {
            return;
        };
        let root = by_us(dir.path(), "bookworm", architecture, &archive);
        let chroot = find("chroot").unwrap();
        let dpkg = |word: &str| run(&chroot, &[text(&root), "dpkg", word], dir.path());
        assert_eq!(dpkg("--print-architecture").trim(), architecture);
        assert_eq!([dpkg("--audit"), dpkg("--verify")], ["", ""]);
    }
}

/// What is said to a bootstrap that cannot be. Its archive has nobody who answers: who asked would fail otherwise.
fn refused(architecture: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let link = dir.join("deb-bootstrap");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dib"), &link).unwrap();
    let (arch, root) = (format!("--arch={architecture}"), dir.join("root"));
    let args = [&arch, "bookworm", text(&root), "http://127.0.0.1:9"];
    let output = blackbox::run(&link, &args, &[("HOME", text(dir))], dir);
    assert!(!output.status.success() && !root.exists());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
