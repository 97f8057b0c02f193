//! Archives of trees, unpacked by other programs and compared with the directories that they were made of.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use image_core::scan::{Options, scan};
use image_core::sink::FileSink;
use image_core::{DirStore, Tree, copy};
use image_formats::laws::facts;
use image_formats::squashfs::{self, Compression, SquashfsSink};
use image_formats::tar::{self, WriteOptions};
use rustix::fs::{CWD, FileType, XattrFlags, lsetxattr, mknodat};

/// A directory with what archives get wrong: holes, links, long names, odd bytes, times, ids, xattrs, ACLs, nodes.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/plain"), b"plain").unwrap();
    fs::hard_link(root.join("a/plain"), root.join("z-link")).unwrap();
    symlink("a/plain", root.join("symlink")).unwrap();
    symlink("t".repeat(300), root.join("long-symlink")).unwrap();
    let long = root.join("n".repeat(150));
    fs::create_dir(&long).unwrap();
    fs::write(long.join("m".repeat(150)), vec![7; 100_000]).unwrap();
    fs::hard_link(long.join("m".repeat(150)), root.join("z-long-link")).unwrap();
    fs::write(root.join(OsStr::from_bytes("grüße".as_bytes())), b"words").unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    for i in 0..40 {
        let at = u64::from(i) * 100 * 4096;
        sparse.write_all_at(&[i + 1; 4096], at).unwrap();
    }
    sparse.set_len(40 << 20).unwrap();
    File::create(root.join("hole")).unwrap().set_len(1 << 20).unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, 0o640.into(), 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    mknodat(
        CWD,
        root.join("null"),
        FileType::CharacterDevice,
        0o666.into(),
        null,
    )
    .unwrap();
    let disk = rustix::fs::makedev(259, 0xf_ffff);
    mknodat(CWD, root.join("disk"), FileType::BlockDevice, 0o660.into(), disk).unwrap();
    let owned = root.join("owned");
    fs::write(&owned, b"by many").unwrap();
    std::os::unix::fs::chown(&owned, Some(3_000_000_000), Some(70_000)).unwrap();
    fs::set_permissions(&owned, fs::Permissions::from_mode(0o6755)).unwrap();
    let none = XattrFlags::empty();
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    lsetxattr(&owned, "security.capability", &capability, none).unwrap();
    lsetxattr(&owned, "user.binary", b"\n=\0\nend", none).unwrap();
    lsetxattr(root.join("a/b"), "trusted.odd", b"odd", none).unwrap();
    oracle::run(
        "setfacl",
        &[
            "-m".as_ref(),
            "u:1234:rx,d:g:77:rwx".as_ref(),
            root.join("a").as_ref(),
        ],
    );
    oracle::run(
        "setfacl",
        &["-m".as_ref(), "u:1234:r".as_ref(), root.join("a/plain").as_ref()],
    );
    let stamp = |secs, nanos| rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        },
        last_modification: rustix::fs::Timespec {
            tv_sec: secs,
            tv_nsec: nanos,
        },
    };
    for (name, secs, nanos) in [
        // libarchive adds the fraction of a time before 1970 where it should be taken away.
        ("fifo", -5, 0),
        ("null", 1_700_000_000, 123_456_789),
        ("hole", 9_000_000_000, 0),
        ("a", 12, 0),
    ] {
        let flags = rustix::fs::AtFlags::empty();
        rustix::fs::utimensat(CWD, root.join(name), &stamp(secs, nanos), flags).unwrap();
    }
}

fn scanned(root: &Path) -> (Tree, DirStore) {
    scan(root, &Options::default()).unwrap()
}

fn write(root: &Path, archive: &Path, options: &WriteOptions) {
    let (tree, store) = scanned(root);
    let map = tar::plan(&tree, options).unwrap();
    copy(&map, &store, &mut FileSink::new(File::create(archive).unwrap())).unwrap();
}

fn args<'a>(words: &[&'a str], paths: &[&'a Path]) -> Vec<&'a OsStr> {
    let words = words.iter().map(|word| OsStr::new(*word));
    words.chain(paths.iter().map(|path| path.as_os_str())).collect()
}

/// Whether the tests can make everything that counts.
fn can(tools: &[&str]) -> bool {
    oracle::require_root() && oracle::require(tools) && oracle::require(&["setfacl"])
}

#[test]
fn gnu_tar_finds_no_difference_and_unpacks_the_same() {
    if !can(&["tar"]) {
        return;
    }
    let Some(dir) = oracle::place::for_xattrs() else {
        return;
    };
    let (root, out, archive) = (
        dir.path().join("root"),
        dir.path().join("out"),
        dir.path().join("a.tar"),
    );
    fs::create_dir_all(&root).unwrap();
    make_tree(&root);
    for sparse in [true, false] {
        let options = WriteOptions {
            sparse,
            ..WriteOptions::default()
        };
        write(&root, &archive, &options);
        let told = oracle::run(
            "tar",
            &args(&["--numeric-owner", "-df"], &[&archive, "-C".as_ref(), &root]),
        );
        assert_eq!(told, "");
        fs::create_dir(&out).unwrap();
        let words = [
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--numeric-owner",
            "--warning=no-timestamp",
            "-xpf",
        ];
        let told = oracle::run("tar", &args(&words, &[&archive, "-C".as_ref(), &out]));
        assert_eq!(told, "");
        assert_same(&root, &out, sparse);
        fs::remove_dir_all(&out).unwrap();
    }
    let len = fs::metadata(&archive).unwrap().len();
    assert!(len > 41 << 20, "the zeros are there: {len}");
}

/// The names, and all that counts about each, of two directories.
fn assert_same(a: &Path, b: &Path, holes: bool) {
    let [(a, a_store), (b, b_store)] = [scanned(a), scanned(b)];
    let [a, b] = [
        facts(&a, &a_store, holes, &|time| time),
        facts(&b, &b_store, holes, &|time| time),
    ];
    // bsdtar leaves the directory in which it unpacks as it is.
    for (path, fact) in a.iter().filter(|(path, _)| !path.is_empty()) {
        assert_eq!(Some(fact), b.get(path), "{}", path.escape_ascii());
    }
    assert_eq!(a.len(), b.len());
}

#[test]
fn bsdtar_unpacks_the_same() {
    if !can(&["bsdtar"]) {
        return;
    }
    let Some(dir) = oracle::place::for_xattrs() else {
        return;
    };
    let (root, out, archive) = (
        dir.path().join("root"),
        dir.path().join("out"),
        dir.path().join("a.tar"),
    );
    fs::create_dir_all(&root).unwrap();
    fs::create_dir(&out).unwrap();
    make_tree(&root);
    write(&root, &archive, &WriteOptions::default());
    let words = ["--numeric-owner", "--acls", "--xattrs", "-xpf"];
    oracle::run("bsdtar", &args(&words, &[&archive, "-C".as_ref(), &out]));
    assert_same(&root, &out, true);
}

#[test]
fn python_lists_the_same() {
    if !can(&["python3"]) {
        return;
    }
    let Some(dir) = oracle::place::for_xattrs() else {
        return;
    };
    let (root, archive) = (dir.path().join("root"), dir.path().join("a.tar"));
    fs::create_dir_all(&root).unwrap();
    make_tree(&root);
    write(&root, &archive, &WriteOptions::default());
    let script = "
import sys, tarfile, os, hashlib
root, archive = sys.argv[1:]
t = tarfile.open(archive, encoding='utf-8')
names = [os.path.normpath(m.name) for m in t]
want = []
for top, dirs, files in os.walk(root):
    want += [os.path.relpath(os.path.join(top, f), root) for f in ['.'] + files + [d for d in dirs if os.path.islink(os.path.join(top, d))]]
assert sorted(names) == sorted(want), set(names) ^ set(want)
for m in t:
    p = os.path.join(root, m.name)
    s = os.lstat(p)
    assert (m.uid, m.gid, m.mode) == (s.st_uid, s.st_gid, s.st_mode & 0o7777), m.name
    assert abs(m.mtime - s.st_mtime) < 1e-5, m.name
    if m.isfile():
        a = t.extractfile(m).read(); b = open(p, 'rb').read()
        assert m.size == s.st_size and a == b, m.name
    if m.issym(): assert m.linkname == os.readlink(p)
    if m.isdev() and not m.isfifo(): assert (m.devmajor, m.devminor) == (os.major(s.st_rdev), os.minor(s.st_rdev)), m.name
print(len(names))
";
    let told = oracle::run("python3", &args(&["-c", script], &[&root, &archive]));
    assert_eq!(told.trim(), "17");
}

#[test]
fn an_archive_is_the_same_again_and_tells_of_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let (root, archive) = (dir.path().join("root"), dir.path().join("a.tar"));
    fs::create_dir_all(root.join("d")).unwrap();
    for name in ["b", "a", "d/c"] {
        fs::write(root.join(name), name).unwrap();
    }
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    let options = WriteOptions::default();
    write(&root, &archive, &options);
    let first = fs::read(&archive).unwrap();
    write(&root, &archive, &options);
    assert!(fs::read(&archive).unwrap() == first);
    assert_eq!(first.len() % 10240, 0);
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o600)).unwrap();
    write(&root, &archive, &options);
    assert!(fs::read(&archive).unwrap() != first);
    let (tree, _) = scanned(&root);
    assert_eq!(tar::left_out(&tree), [b"socket".to_vec()]);
}

#[test]
fn members_are_sorted_and_begin_with_the_prefix() {
    if !oracle::require(&["tar"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, archive) = (dir.path().join("root"), dir.path().join("a.tar"));
    fs::create_dir_all(root.join("d")).unwrap();
    for name in ["z", "a", "d/c", "d-e"] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::hard_link(root.join("a"), root.join("d/a")).unwrap();
    let options = WriteOptions {
        prefix: b"rootfs/".to_vec(),
        extra: vec![(b"manifest".to_vec(), b"{}".to_vec())],
        latest: Some(image_core::tree::Time {
            secs: 86_400,
            nanos: 0,
        }),
        ..WriteOptions::default()
    };
    write(&root, &archive, &options);
    let told = oracle::run("tar", &args(&["-tf"], &[&archive]));
    let names: Vec<&str> = told.lines().collect();
    let want = [
        "rootfs/",
        "rootfs/a",
        "rootfs/d/",
        "rootfs/d/a",
        "rootfs/d/c",
        "rootfs/d-e",
        "rootfs/z",
        "manifest",
    ];
    assert_eq!(names, want);
    let told = oracle::run("tar", &args(&["--utc", "-tvf"], &[&archive]));
    assert!(
        told.lines()
            .take(7)
            .all(|line| line.contains(" 1970-01-02 00:00 ")),
        "{told}"
    );
    assert!(told.contains("rootfs/d/a link to rootfs/a"), "{told}");
    let told = oracle::run("tar", &args(&["-xOf"], &[&archive, "manifest".as_ref()]));
    assert_eq!(told, "{}");
}

fn write_squashfs(root: &Path, image: &Path, options: &squashfs::WriteOptions) {
    let (tree, store) = scanned(root);
    let plan = squashfs::plan(&tree, options).unwrap();
    let map = plan.map().clone();
    let file = File::create(image).unwrap();
    let mut sink = SquashfsSink::new(file, plan, NonZero::new(2).unwrap()).unwrap();
    copy(&map, &store, &mut sink).unwrap();
}

/// Files about as long as blocks are, and a directory that needs more than one run and an inode with room for it.
fn make_more(root: &Path) {
    fs::create_dir(root.join("many")).unwrap();
    for i in 0..1200 {
        let name = format!("many/{i}-{}", "n".repeat(i % 90));
        fs::write(root.join(name), format!("{i}")).unwrap();
    }
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    for len in [1, 131_071, 131_072, 131_073, 400_000] {
        let bytes: Vec<u8> = std::iter::repeat_with(&mut noise).take(len).collect();
        fs::write(root.join(format!("noise-{len}")), bytes).unwrap();
        fs::write(
            root.join(format!("filler-{len}")),
            image_core::laws::filler(len, 3),
        )
        .unwrap();
    }
}

fn compressions() -> Vec<(Compression, &'static str)> {
    vec![
        (Compression::Xz, "xz"),
        (Compression::Gzip, "gzip"),
        #[cfg(feature = "zstd")]
        (Compression::Zstd, "zstd"),
    ]
}

/// What squashfs says of a directory's names: seconds, and no ACLs.
fn squashed(root: &Path) -> std::collections::BTreeMap<Vec<u8>, String> {
    let (tree, store) = scanned(root);
    let time = |time: image_core::tree::Time| image_core::tree::Time {
        secs: time.secs.clamp(0, u32::MAX.into()),
        nanos: 0,
    };
    facts(&tree, &store, false, &time)
}

fn without_acls(root: &Path) {
    for name in ["a", "a/plain"] {
        oracle::run("setfacl", &args(&["-b"], &[&root.join(name)]));
    }
}

#[test]
fn unsquashfs_unpacks_the_same_from_every_compressor() {
    if !can(&["unsquashfs"]) {
        return;
    }
    let Some(dir) = oracle::place::for_xattrs() else {
        return;
    };
    let (root, out, image) = (
        dir.path().join("root"),
        dir.path().join("out"),
        dir.path().join("i.squash"),
    );
    fs::create_dir_all(&root).unwrap();
    make_tree(&root);
    make_more(&root);
    without_acls(&root);
    for (compression, name) in compressions() {
        let options = squashfs::WriteOptions {
            compression,
            ..squashfs::WriteOptions::default()
        };
        write_squashfs(&root, &image, &options);
        let told = oracle::run("unsquashfs", &args(&["-stat"], &[&image]));
        assert!(told.contains(&format!("Compression {name}")), "{told}");
        assert!(told.contains("Filesystem is exportable via NFS"), "{told}");
        oracle::run(
            "unsquashfs",
            &args(&["-no-progress", "-strict-errors", "-d"], &[&out, &image]),
        );
        let [want, found] = [squashed(&root), squashed(&out)];
        for (path, fact) in &want {
            assert_eq!(Some(fact), found.get(path), "{}", path.escape_ascii());
        }
        assert_eq!(want.len(), found.len());
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn the_kernel_mounts_it_and_finds_the_same() {
    if !can(&[]) || !oracle::mounted::require() || !oracle::mounted::knows("squashfs") {
        return;
    }
    let Some(dir) = oracle::place::for_xattrs() else {
        return;
    };
    let (root, image) = (dir.path().join("root"), dir.path().join("i.squash"));
    fs::create_dir_all(&root).unwrap();
    make_tree(&root);
    make_more(&root);
    without_acls(&root);
    for (compression, _) in compressions() {
        let options = squashfs::WriteOptions {
            compression,
            ..squashfs::WriteOptions::default()
        };
        write_squashfs(&root, &image, &options);
        let found = oracle::mounted::read_as("squashfs", &image, squashed);
        assert_eq!(found, squashed(&root));
    }
}

#[test]
fn short_files_of_the_same_bytes_stand_in_an_image_once() {
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("root"), dir.path().join("i.squash"));
    let options = squashfs::WriteOptions::default();
    let mut lengths = Vec::new();
    for copies in [1, 9] {
        fs::create_dir_all(&root).unwrap();
        for copy in 0..copies {
            // What does not compress, and a hole that takes no bytes.
            fs::write(
                root.join(format!("noise-{copy}")),
                image_core::laws::filler(60_000, 5),
            )
            .unwrap();
            let hole = File::create(root.join(format!("hole-{copy}"))).unwrap();
            hole.set_len(70_000).unwrap();
        }
        write_squashfs(&root, &image, &options);
        lengths.push(fs::metadata(&image).unwrap().len());
    }
    assert!(lengths[1] < lengths[0] + 8192, "{lengths:?}");
    if can(&["unsquashfs"]) {
        let out = dir.path().join("out");
        oracle::run(
            "unsquashfs",
            &args(&["-no-progress", "-strict-errors", "-d"], &[&out, &image]),
        );
        assert_eq!(squashed(&out), squashed(&root));
    }
}

#[test]
fn what_squashfs_cannot_say_is_counted() {
    if !can(&[]) {
        return;
    }
    let Some(dir) = oracle::place::for_xattrs() else {
        return;
    };
    make_tree(dir.path());
    let (tree, _) = scanned(dir.path());
    let plan = squashfs::plan(&tree, &squashfs::WriteOptions::default()).unwrap();
    let dropped = plan.dropped();
    assert_eq!((dropped.acls, dropped.times), (2, 2));
    let odd = squashfs::WriteOptions {
        block: 5000,
        ..squashfs::WriteOptions::default()
    };
    let refused = squashfs::plan(&tree, &odd).unwrap_err().to_string();
    assert!(refused.contains("5000"), "{refused}");
}
