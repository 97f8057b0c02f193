//! Roots in the cache: what comes out is what went in, by GNU tar, too; whole, or not at all.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use oracle::snapshot::{self, Snapshot};
use oracle::{require, require_root};

use super::mirror::hex;
use crate::lab::{DIB, Lab, Said};

/// A lab of root's, with the command in it and a cache of its own.
fn lab() -> Option<Lab> {
    if !require_root() || !require(&["tar", "gzip"]) {
        return None;
    }
    let mut lab = Lab::unprivileged();
    let (cache, locks) = (lab.dir().join("cache"), lab.dir().join("locks"));
    fs::create_dir(&cache).unwrap();
    lab.set("DIB_IMAGE_CACHE", cache.to_str().unwrap())
        .set("DIB_LOCKFILES", locks.to_str().unwrap())
        .set("NO_COLOR", "1");
    fs::create_dir(lab.dir().join("bin")).unwrap();
    symlink(DIB, lab.dir().join("bin/cached-root")).unwrap();
    Some(lab)
}

fn cached_root(lab: &Lab, args: &[&str]) -> Said {
    lab.run(lab.dir().join("bin/cached-root").to_str().unwrap(), args)
}

/// A root with what archives get wrong.
fn fill(root: &Path) {
    for dir in ["dev", "etc", "tmp", "usr/bin"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    let put = |path: &str, bytes: &[u8]| fs::write(root.join(path), bytes).unwrap();
    put("etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
    put("usr/bin/set-uid", b"program");
    put("etc/empty", b"");
    chown(root.join("usr/bin/set-uid"), Some(3_000_000), Some(7)).unwrap();
    let mode =
        |path: &str, mode| fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    mode("usr/bin/set-uid", 0o6755);
    mode("tmp", 0o1777);
    mode("", 0o755);
    fs::hard_link(root.join("usr/bin/set-uid"), root.join("etc/also")).unwrap();
    symlink("t".repeat(180), root.join("etc/long-link")).unwrap();
    let long = "n".repeat(120);
    fs::create_dir(root.join(&long)).unwrap();
    put(&format!("{long}/{long}"), &vec![7; 70_000]);
    fs::hard_link(root.join(&long).join(&long), root.join("z")).unwrap();
    put("dev/null", b"what lies here is not kept");
    put("tmp/left", b"likewise");
    let file = fs::File::create(root.join("etc/sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", 3 << 20).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("etc/fifo"),
        rustix::fs::FileType::Fifo,
        0o640.into(),
        0,
    )
    .unwrap();
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(root.join("etc/empty"), "security.capability", &capability, none).unwrap();
    for (path, secs, nanos) in [
        ("etc/passwd", -2, 250_000_000),
        ("etc/empty", 1_700_000_000, 5),
        ("usr", 99, 0),
    ] {
        let time = rustix::fs::Timespec {
            tv_sec: secs,
            tv_nsec: nanos,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(
            rustix::fs::CWD,
            root.join(path),
            &times,
            rustix::fs::AtFlags::empty(),
        )
        .unwrap();
    }
}

/// A snapshot without what lies in `/dev` and `/tmp`, whose times change with it, and without holes.
fn comparable(root: &Path) -> Snapshot {
    let mut snapshot = snapshot::of_dir(root);
    snapshot.retain(|path, _| !path.starts_with(b"dev/") && !path.starts_with(b"tmp/"));
    for (path, file) in &mut snapshot {
        if let snapshot::Kind::Regular { data, .. } = &mut file.kind {
            data.clear();
        }
        if [&b"dev"[..], b"tmp"].contains(&path.as_slice()) {
            (file.mtime, file.links) = ((0, 0), 0);
        }
    }
    snapshot
}

#[test]
fn a_root_comes_out_of_the_cache_as_it_went_in() {
    let Some(lab) = lab() else { return };
    let [root, theirs, ours] = ["root", "theirs", "ours"].map(|name| lab.out(name));
    for dir in [&root, &theirs, &ours] {
        fs::create_dir(dir).unwrap();
    }
    fill(&root);
    cached_root(&lab, &["save", "root", "kept.tar.gz"]).ok();
    let args = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"].map(String::from);
    let archive = lab.out("kept.tar.gz").display().to_string();
    let args: Vec<String> = args
        .into_iter()
        .chain([archive, "-C".into(), theirs.display().to_string()])
        .collect();
    oracle::run("tar", &args.iter().map(std::ffi::OsStr::new).collect::<Vec<_>>());
    snapshot::assert_same(&comparable(&root), &comparable(&theirs));
    for dir in ["dev", "tmp"] {
        assert_eq!(fs::read_dir(theirs.join(dir)).unwrap().count(), 0, "{dir}");
    }
    cached_root(&lab, &["restore", "kept.tar.gz", "ours"]).ok();
    snapshot::assert_same(&comparable(&root), &comparable(&ours));
    let null = fs::metadata(ours.join("dev/null")).unwrap();
    assert_eq!((null.rdev(), null.mode()), (rustix::fs::makedev(1, 3), 0o20_666));
    // The same root is the same archive.
    let first = fs::read(lab.out("kept.tar.gz")).unwrap();
    cached_root(&lab, &["save", "root", "kept.tar.gz"]).ok();
    assert!(first == fs::read(lab.out("kept.tar.gz")).unwrap());
    let meta = lab.text("kept.tar.gz.dib-meta");
    assert!(meta.contains(&hex(&first)), "{meta}");
}

#[test]
fn what_is_not_whole_is_no_root() {
    let Some(lab) = lab() else { return };
    let kept = lab.out("kept.tar.gz");
    let restore = || {
        let _ = fs::remove_dir_all(lab.out("ours"));
        fs::create_dir(lab.out("ours")).unwrap();
        let said = cached_root(&lab, &["restore", "kept.tar.gz", "ours"]);
        if said.status != 0 {
            assert_eq!(
                fs::read_dir(lab.out("ours")).unwrap().count(),
                0,
                "nothing was written"
            );
        }
        said
    };
    assert_eq!(restore().status, 3, "there is none");
    cached_root(&lab, &["save", "nowhere", "kept.tar.gz"]).failed(1, "cannot keep the root nowhere");
    assert_eq!(lab.names(), ["ours"], "nothing is left of what failed");
    fs::create_dir(lab.out("root")).unwrap();
    fill(&lab.out("root"));
    cached_root(&lab, &["save", "root", "kept.tar.gz"]).ok();
    restore().ok();
    let whole = fs::read(&kept).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&kept, damaged).unwrap();
    let said = restore().failed(4, "kept.tar.gz of the cache is damaged: its SHA-256 is ");
    assert!(said.err.contains("making it again"), "{}", said.err);
    fs::write(&kept, &whole[..whole.len() - 1]).unwrap();
    restore().failed(
        4,
        &format!("it has {} bytes, not {}", whole.len() - 1, whole.len()),
    );
    // Nothing is said of what others put there; it is a root, or it is not.
    fs::remove_file(lab.out("kept.tar.gz.dib-meta")).unwrap();
    restore().failed(1, "cannot use the image kept.tar.gz");
    fs::write(&kept, &whole).unwrap();
    restore().ok();
}

#[test]
fn a_full_cache_keeps_no_half_of_a_root() {
    let Some(lab) = lab() else { return };
    if !require(&["unshare", "mount"]) {
        return;
    }
    fs::create_dir(lab.out("small")).unwrap();
    fs::create_dir(lab.out("root")).unwrap();
    let noise: Vec<u8> = (0..200_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    fs::write(lab.out("root/noise"), noise).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k x small; {} save root small/kept.tar.gz; status=$?; ls -A small; exit $status",
        lab.dir().join("bin/cached-root").display()
    );
    let said = lab.run("/usr/bin/unshare", &["-m", "sh", "-c", &script]);
    let said = said.failed(1, "No space left on device");
    assert_eq!(said.out, "");
}

/// Puts a bootstrap in the place of ours that says so, and makes a file; with what the hook that bootstraps asks of its
/// environment.
fn pretend(lab: &mut Lab) {
    let bin = lab.dir().join("bin");
    let fake = "#!/bin/sh\nset -e\nprintf '%s\\n' \"$@\" >args\ncd \"$TARGET_ROOT\"\nmkdir -p etc/apt usr dev tmp\ndate +%N >etc/made\necho bootstrapped\n";
    fs::write(bin.join("deb-bootstrap"), fake).unwrap();
    fs::set_permissions(bin.join("deb-bootstrap"), fs::Permissions::from_mode(0o755)).unwrap();
    let root = lab.out("root").display().to_string();
    for (name, value) in [
        (
            "PATH",
            &*format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()),
        ),
        ("TARGET_ROOT", &root),
        ("ARCH", "amd64"),
        ("DISTRO_NAME", "toy"),
        ("DIB_RELEASE", "one"),
        ("DIB_OFFLINE", ""),
        ("DIB_DEBIAN_COMPONENTS", "main"),
        ("DIB_DEBOOTSTRAP_CACHE", "1"),
        ("DIB_DISTRIBUTION_MIRROR", "http://archive.invalid/"),
    ] {
        lab.set(name, value);
    }
}

const HOOK: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/elements/debootstrap/root.d/08-debootstrap"
);

/// What users say by variables, as the bootstrap is told it.
#[test]
fn the_variables_of_an_archive_reach_the_bootstrap() {
    let Some(mut lab) = lab() else { return };
    pretend(&mut lab);
    lab.set("DIB_DEBIAN_COMPONENTS", "main,contrib")
        .set("DIB_APT_KEYRING", "/keys/ours.gpg")
        .set("DIB_DEBIAN_SECURITY_MIRROR", "http://security.invalid")
        .set("DIB_DISTRIBUTION_MIRROR", "http://archive.invalid")
        .set(
            "DIB_APT_SOURCES_CONF",
            "default:deb http://archive.invalid one main\nupdates:deb http://archive.invalid one-updates main\n\
             security:deb http://security.invalid one-security main\nelse:deb http://else.invalid one main",
        )
        .set("DIB_DEBOOTSTRAP_EXTRA_ARGS", "--include=nano --exclude=vim");
    fs::create_dir(lab.out("root")).unwrap();
    lab.run(HOOK, &[]).ok();
    let args = lab.text("args");
    let args: Vec<&str> = args
        .lines()
        .filter(|arg| *arg != "--no-check-valid-until")
        .collect();
    assert_eq!(
        args,
        [
            "--arch=amd64",
            "--components=main,contrib",
            "--include=tzdata",
            "--keyring=/keys/ours.gpg",
            "--source=deb http://archive.invalid one main",
            "--source=deb http://archive.invalid one-updates main",
            "--source=deb http://security.invalid one-security main",
            "--include=nano",
            "--exclude=vim",
            "one",
            lab.out("root").to_str().unwrap(),
            "http://archive.invalid",
        ]
    );
    lab.set("DIB_LOCKED", "/locks/web").run(HOOK, &[]).ok();
    let args = lab.text("args");
    assert!(args.contains("--locked=/locks/web\n--repository\n"), "{args}");
    lab.set("DIB_LOCKED", "")
        .set("DIB_LOCK", "/locks/web")
        .run(HOOK, &[])
        .ok();
    let args = lab.text("args");
    assert!(args.contains("--lock=/locks/web\n"), "{args}");
    lab.set("DIB_DISTRIBUTION_MIRROR", "");
    lab.run(HOOK, &[])
        .failed(1, "No mirror: set DIB_DISTRIBUTION_MIRROR");
}

/// A suite that is left out since nobody knows its archive is told of; the unstable one has none.
#[test]
fn an_archive_of_security_updates_that_nobody_names_is_told_of() {
    const HOOK: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/elements/debian-minimal/root.d/75-debian-minimal-baseinstall"
    );
    const SET: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/elements/debian-minimal/environment.d/10-debian-minimal.bash"
    );
    let Some(mut lab) = lab() else { return };
    let tree = lab.dir().join("bin/in-tree");
    fs::write(&tree, "#!/bin/sh\nexec cat >>sources\n").unwrap();
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).unwrap();
    // A host without apt, whatever this one is.
    for name in ["awk", "bash", "cat", "env", "grep", "id", "sed"] {
        symlink(oracle::find(name).unwrap(), lab.dir().join("bin").join(name)).unwrap();
    }
    let path = lab.dir().join("bin").display().to_string();
    lab.set("PATH", &path)
        .set("TARGET_ROOT", "/nowhere")
        .set("DIB_DISTRIBUTION_MIRROR", "http://archive.invalid/debian");
    let script = format!("set -eu -o pipefail; source {SET}; exec {HOOK} </dev/null");
    let bash = oracle::find("bash").unwrap().display().to_string();
    for (release, security, told) in [
        ("trixie", "", 1),
        ("sid", "", 0),
        ("trixie", "http://archive.invalid/security", 0),
    ] {
        if !security.is_empty() {
            lab.set("DIB_DEBIAN_SECURITY_MIRROR", security);
        }
        let said = lab.set("DIB_RELEASE", release).run(&bash, &["-c", &script]).ok();
        let line = "No security updates: neither DIB_DEBIAN_SECURITY_MIRROR nor ";
        assert_eq!(said.err.matches(line).count(), told, "{release}: {}", said.err);
        let sources = lab.text("sources");
        assert!(sources.contains(&format!("http://archive.invalid/debian {release} main")));
        assert_eq!(sources.contains("trixie-security main"), !security.is_empty());
        fs::remove_file(lab.out("sources")).unwrap();
    }
}

/// The hook that bootstraps, with a bootstrap that says so and makes a file.
#[test]
fn a_bootstrap_takes_the_cached_root_and_makes_a_damaged_one_again() {
    let Some(mut lab) = lab() else { return };
    pretend(&mut lab);
    let root = lab.out("root");
    let made = |lab: &Lab| {
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).unwrap();
        let said = lab.run(HOOK, &[]).ok();
        (said.out.contains("bootstrapped"), lab.text("root/etc/made"))
    };
    let kept = lab.dir().join("cache/debootstrap-toy-one-amd64.tar.gz");
    let (bootstrapped, first) = made(&lab);
    assert!(bootstrapped && kept.is_file());
    lab.set("DIB_DEBOOTSTRAP_CACHE", "0").set("DIB_OFFLINE", "1");
    assert_eq!(made(&lab), (false, first.clone()), "offline it is taken");
    lab.set("DIB_OFFLINE", "");
    assert_ne!(
        made(&lab),
        (false, first.clone()),
        "online only if that is asked for"
    );
    lab.set("DIB_DEBIAN_USE_DEBOOTSTRAP_CACHE", "1");
    assert_eq!(made(&lab), (false, first.clone()));
    // A locked build is made of its packages.
    lab.set("DIB_LOCKED", "lock");
    assert!(made(&lab).0);
    lab.set("DIB_LOCKED", "");
    fs::write(&kept, "damaged").unwrap();
    let (bootstrapped, second) = made(&lab);
    assert!(bootstrapped && first != second);
    assert_eq!(made(&lab), (false, second), "it was made again");
    fs::remove_file(&kept).unwrap();
    assert!(
        made(&lab).0 && !kept.exists(),
        "and is not made where nobody asks for it"
    );
}
