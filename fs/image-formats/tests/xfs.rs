//! File systems by mkfs.xfs in many forms, written to by the kernel, read as trees and compared with what the kernel shows.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;

use image_core::read_at::ImageFile;
use image_formats::laws::Sparse;
use image_formats::xfs::{self, About, Error};
use oracle::snapshot::{self, Kind, Snapshot};
use rustix::fs::{FallocateFlags, XattrFlags, fallocate, ioctl_ficlone, lsetxattr};

/// Forms of file systems, each with what its like has that others have not.
const FORMS: [&str; 9] = [
    "",
    "-b size=16k",
    "-b size=64k",
    "-b size=1024 -d agcount=13",
    "-b size=2048 -n size=64k",
    "-n size=8k -i size=2048",
    "-i size=1024,sparse=0 -m rmapbt=1,inobtcount=1 -d su=64k,sw=4",
    "-m bigtime=0,reflink=0,finobt=0",
    "-i nrext64=1,sparse=1 -s size=4096 -l su=256k",
];

/// Bytes of an image: enough for a log in each of many groups.
const LEN: u64 = 1200 << 20;

fn make(image: &Path, form: &str) {
    File::create(image).unwrap().set_len(LEN).unwrap();
    let mut args = vec!["-q", "-f"];
    args.extend(form.split_ascii_whitespace());
    args.push(image.to_str().unwrap());
    oracle::run("mkfs.xfs", &args.into_iter().map(OsStr::new).collect::<Vec<_>>());
}

fn require() -> bool {
    oracle::mounted::require() && oracle::mounted::knows("xfs") && oracle::require(&["mkfs.xfs"])
}

/// Writes what has XFS use each of its forms: short and long lists of extents, directories and attributes.
fn populate(root: &Path) {
    oracle::populated::fill(root);
    oracle::populated::attribute(root);
    let scattered = File::create(root.join("scattered")).unwrap();
    for i in 0..3000 {
        scattered.write_all_at(&[7; 100], i * 40_000).unwrap();
    }
    scattered.sync_all().unwrap();
    let reserved = File::create(root.join("reserved")).unwrap();
    fallocate(&reserved, FallocateFlags::empty(), 0, 3 << 20).unwrap();
    reserved.write_all_at(b"in the middle", 1 << 20).unwrap();
    fallocate(&reserved, FallocateFlags::KEEP_SIZE, 3 << 20, 1 << 20).unwrap();
    for (name, files) in [("short", 3), ("block", 40), ("leaf", 300), ("tree", 3000)] {
        fs::create_dir(root.join(name)).unwrap();
        for i in 0..files {
            symlink("x", root.join(format!("{name}/{}{i}", "long name ".repeat(9)))).unwrap();
        }
    }
    symlink("t".repeat(1023), root.join("long-target")).unwrap();
    // Not every form has it.
    let copy = File::create(root.join("copy")).unwrap();
    let _ = ioctl_ficlone(&copy, &scattered);
    attribute(root);
}

/// Attributes that fill one leaf, many of them, and blocks of their own.
fn attribute(root: &Path) {
    let file = root.join("attributed");
    File::create(&file).unwrap();
    let set = |name: &str, value: &[u8]| lsetxattr(&file, name, value, XattrFlags::empty()).unwrap();
    for i in 0..400_u16 {
        let value = vec![7; usize::from(i * 7 % 900)];
        set(&format!("user.with a name that takes some room {i}"), &value);
    }
    for len in [1 << 10, 5000, 20_000, 64 << 10] {
        set(&format!("user.long-{len}"), &vec![9; len]);
    }
    set("trusted.of-the-system", b"value");
    set("security.selinux", b"system_u:object_r:etc_t:s0\0");
    lsetxattr(root.join("short"), "user.a-few", b"bytes", XattrFlags::empty()).unwrap();
}

fn source(image: &Path) -> ImageFile {
    ImageFile::new(File::open(image).unwrap(), image).unwrap()
}

fn read_back(image: &Path) -> Snapshot {
    let (tree, store) = xfs::read(source(image)).unwrap_or_else(|error| panic!("{error}"));
    let mut found = snapshot::of_tree(&tree, &store);
    for file in found.values_mut() {
        // The kernel shows `user.` of files and directories alone.
        if !matches!(file.kind, Kind::Regular { .. } | Kind::Directory) {
            file.xattrs.retain(|name, _| !name.starts_with(b"user."));
        }
    }
    found
}

/// What the kernel shows, but for what is how XFS stores access control lists.
fn shown(image: &Path) -> Snapshot {
    let mut shown = oracle::mounted::read_as("xfs", image, snapshot::of_dir);
    for file in shown.values_mut() {
        file.xattrs
            .retain(|name, _| !name.starts_with(b"trusted.SGI_ACL_"));
    }
    shown
}

#[test]
fn what_the_kernel_wrote_is_read_as_it_shows_it() {
    if !require() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    for form in FORMS {
        make(&image, form);
        oracle::mounted::write_as("xfs", &image, populate);
        eprintln!("mkfs.xfs {form}");
        let shown = shown(&image);
        assert!(shown.len() > 5000, "{form}: {} files", shown.len());
        snapshot::assert_same(&shown, &read_back(&image));
    }
}

/// What is in a file system of version 4, of which few kernels are left that mount one.
const PROTOTYPE: &str = "/
0 0
d--755 0 0
a d--755 1 2
plain -u-640 3 4 CONTENT
pipe p--600 0 0
null c--666 0 0 1 3
disk b--660 0 6 8 17
link l--777 0 0 SHORT
long l--777 0 0 LONG
$
MANY
$
";

/// Commands of `xfs_db` that set attributes, their names, and how long their values are.
const ATTRIBUTES: [(&str, &str, usize); 3] = [
    ("attr_set -u short -v 5", "user.short", 5),
    ("attr_set -r long -v 3000", "trusted.long", 3000),
    ("attr_set -s more -v 9000", "security.more", 9000),
];

/// Runs commands of `xfs_db` that write.
fn edit(image: &Path, commands: &[&str]) -> String {
    let mut args = vec!["-x"];
    for command in commands {
        args.extend(["-c", command]);
    }
    args.push(image.to_str().unwrap());
    oracle::run("xfs_db", &args.into_iter().map(OsStr::new).collect::<Vec<_>>())
}

#[test]
fn version_4_is_read_as_it_was_made() {
    if !oracle::require(&["mkfs.xfs", "xfs_db"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (content, prototype, image) = (
        dir.path().join("content"),
        dir.path().join("prototype"),
        dir.path().join("image"),
    );
    fs::write(&content, vec![5; 100_000]).unwrap();
    let many: Vec<String> = (0..900)
        .map(|i| format!("a-name-that-takes-some-room-{i} ---600 5 6 /dev/null\n"))
        .collect();
    let long = "t".repeat(900);
    let text = PROTOTYPE
        .replace("CONTENT", content.to_str().unwrap())
        .replace("SHORT", "a/plain")
        .replace("LONG", &long)
        .replace("MANY", &format!("many d--700 0 0\n{}$", many.concat()));
    fs::write(&prototype, text).unwrap();
    // xfs_db dies of long attributes where blocks have 512 bytes, and of any in the first form of attributes.
    for (form, attributes) in [
        ("-n ftype=0", 3),
        ("-n ftype=1 -i size=256 -b size=512 -l version=1", 1),
        ("-b size=1024 -i attr=1", 0),
    ] {
        make(&image, &format!("-m crc=0 {form} -p {}", prototype.display()));
        let attributes = &ATTRIBUTES[..attributes];
        let commands = attributes.iter().map(|(command, ..)| *command);
        edit(
            &image,
            &std::iter::once("path /a/plain")
                .chain(commands)
                .collect::<Vec<_>>(),
        );
        let found = read_back(&image);
        eprintln!("mkfs.xfs {form}");
        let at = |path: &str| &found[path.as_bytes()];
        let Kind::Regular { len, .. } = &at("a/plain").kind else {
            panic!("{:?}", at("a/plain"));
        };
        assert_eq!(
            (*len, at("a/plain").mode, at("a/plain").owner),
            (100_000, 0o4640, (3, 4))
        );
        let xattrs = &at("a/plain").xattrs;
        for (_, name, len) in attributes {
            assert_eq!(xattrs[name.as_bytes()].len(), *len);
        }
        assert_eq!(xattrs.len(), attributes.len());
        assert_eq!(at("a/pipe").kind, Kind::Fifo);
        assert_eq!(at("a/null").kind, Kind::CharDevice(1, 3));
        assert_eq!(at("a/disk").kind, Kind::BlockDevice(8, 17));
        assert_eq!(at("a/link").kind, Kind::Symlink(b"a/plain".to_vec()));
        assert_eq!(at("a/long").kind, Kind::Symlink(long.clone().into_bytes()));
        assert_eq!(found.len(), 1 + 7 + 1 + 900);
    }
}

fn refusal(image: &Path) -> Error {
    xfs::read(source(image)).map(drop).unwrap_err()
}

/// A kernel writes changes to the log first, and to their places when it unmounts, or has to.
#[test]
fn a_file_system_whose_log_holds_changes_is_refused() {
    if !require() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, copy) = (dir.path().join("image"), dir.path().join("copy"));
    for form in ["", "-s size=4096 -l su=256k"] {
        make(&image, form);
        xfs::read(source(&image)).unwrap();
        oracle::mounted::write_as("xfs", &image, |root| {
            for i in 0..200 {
                fs::write(root.join(format!("file-{i}")), b"bytes").unwrap();
            }
            rustix::fs::syncfs(File::open(root).unwrap()).unwrap();
            fs::copy(&image, &copy).unwrap();
        });
        assert!(
            matches!(refusal(&copy), Error::NotUnmounted),
            "{}",
            refusal(&copy)
        );
        assert_eq!(read_back(&image).len(), 201);
        // It was written back, and the log goes on behind that; round after round.
        for _ in 0..3 {
            oracle::mounted::write_as("xfs", &copy, |root| {
                for i in 0..3000 {
                    fs::write(root.join(format!("more-{i}")), b"bytes").unwrap();
                }
                rustix::fs::syncfs(File::open(root).unwrap()).unwrap();
                for i in 0..3000 {
                    fs::remove_file(root.join(format!("more-{i}"))).unwrap();
                }
            });
            assert_eq!(read_back(&copy).len(), 201);
        }
    }
}

#[test]
fn what_a_file_system_says_of_itself() {
    if !oracle::require(&["mkfs.xfs", "xfs_admin"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    make(
        &image,
        "-m uuid=5e0b8f1c-2f7e-4e0f-9a57-3f0a5c1d2e4b,rmapbt=0 -L some-label",
    );
    let About {
        label,
        uuid,
        bytes,
        free_bytes,
        features,
    } = xfs::about(&source(&image)).unwrap();
    assert_eq!((&label[..], uuid[0], bytes), (&b"some-label"[..], 0x5e, LEN));
    assert!(free_bytes > LEN / 2 && free_bytes < LEN);
    for feature in ["crc", "ftype", "bigtime", "reflink", "finobt"] {
        assert!(features.contains(&feature), "{features:?}");
    }
    assert!(!features.contains(&"rmapbt"));
    // Another UUID, while the structures keep the old one.
    let args = [
        "-U",
        "00000000-1111-2222-3333-444444444444",
        image.to_str().unwrap(),
    ];
    oracle::run("xfs_admin", &args.map(OsStr::new));
    assert_eq!(read_back(&image).len(), 1);
    assert_eq!(xfs::about(&source(&image)).unwrap().uuid[8], 0x33);
    let file = File::options().write(true).open(&image).unwrap();
    file.set_len(LEN / 2).unwrap();
    let cut = refusal(&image).to_string();
    assert_eq!(
        cut,
        format!("the image is cut off: it has {} of its {LEN} bytes", LEN / 2)
    );
    file.write_all_at(b"YFSB", 0).unwrap();
    assert!(matches!(refusal(&image), Error::NotXfs));
}

/// What marks each kind of structure, where in it, and what its damage is called.
const STRUCTURES: [(&[u8], usize, &str); 9] = [
    (
        b"XFSB",
        0,
        "the superblock of the file system has a wrong checksum",
    ),
    (b"IN", 0, "the inode of inode"),
    (b"XDB3", 0, "a block of entries of inode"),
    (b"XDD3", 0, "a block of entries of inode"),
    (b"BMA3", 0, "a node of the tree of extents of inode"),
    (b"XSLM", 0, "a symbolic link's target of inode"),
    (b"XARM", 0, "an attribute's value of inode"),
    (&[0x3b, 0xee], 8, "a block of attributes of inode"),
    (&[0x3e, 0xbe], 8, "a block of attributes of inode"),
];

#[test]
fn damage_of_every_structure_is_noticed() {
    if !require() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    make(&image, "-b size=1024");
    oracle::mounted::write_as("xfs", &image, populate);
    let bytes = fs::read(&image).unwrap();
    let file = File::options().write(true).open(&image).unwrap();
    for (mark, at, said) in STRUCTURES {
        let mut noticed = 0;
        let starts = (0..bytes.len()).step_by(512);
        for start in starts
            .filter(|start| bytes[start + at..].starts_with(mark))
            .take(200)
        {
            let place = u64::try_from(start).unwrap() + 150;
            file.write_all_at(&[!bytes[start + 150]], place).unwrap();
            // Not every structure that lies about is in use.
            if let Err(error) = xfs::read(source(&image)) {
                let error = error.to_string();
                assert!(
                    error.starts_with(said) && error.ends_with("a wrong checksum"),
                    "{error}"
                );
                noticed += 1;
            }
            file.write_all_at(&[bytes[start + 150]], place).unwrap();
            if noticed == 3 {
                break;
            }
        }
        assert!(noticed > 0, "no {said}");
    }
    xfs::read(source(&image)).unwrap();
}

/// What the law of changed file systems changes: little of each kind.
fn little(root: &Path) {
    fs::write(root.join("file"), vec![1; 20_000]).unwrap();
    let scattered = File::create(root.join("scattered")).unwrap();
    for i in 0..200 {
        scattered.write_all_at(b"x", i * 8192).unwrap();
    }
    for (name, files) in [("short", 2), ("block", 20), ("leaf", 160), ("tree", 450)] {
        fs::create_dir(root.join(name)).unwrap();
        for i in 0..files {
            // Inodes are what takes room.
            let path = root.join(format!("{name}/a-name-that-takes-some-room-{i}"));
            fs::hard_link(root.join("file"), &path).unwrap();
        }
    }
    symlink("file", root.join("link")).unwrap();
    symlink("t".repeat(1020), root.join("long-target")).unwrap();
    for (file, attributes, len) in [
        ("short", 2, 5),
        ("block", 10, 40),
        ("leaf", 30, 200),
        ("tree", 1, 3000),
    ] {
        for i in 0..attributes {
            let (path, name) = (root.join(file), format!("user.name-{i}"));
            lsetxattr(path, name, &vec![3; len], XattrFlags::empty()).unwrap();
        }
    }
}

/// Where the log is, if blocks have 1024 bytes: its first block has the number of its group in the upper bits.
fn log_of(image: &[u8]) -> Range<usize> {
    let word =
        |at: usize| usize::try_from(u32::from_be_bytes(image[at..at + 4].try_into().unwrap())).unwrap();
    let (start, group_blocks, blocks, bits) = (word(52), word(84), word(96), image[124]);
    let first = (start >> bits) * group_blocks + (start & ((1 << bits) - 1));
    first * 1024..(first + blocks) * 1024
}

#[test]
#[ignore = "makes the vector anew; needs root, xfsprogs and a mount"]
fn regenerate() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    File::create(&image).unwrap().set_len(300 << 20).unwrap();
    let args = [
        "-q",
        "-f",
        "-b",
        "size=1024",
        "-i",
        "size=512",
        "-L",
        "small",
        image.to_str().unwrap(),
    ];
    oracle::run("mkfs.xfs", &args.map(OsStr::new));
    // The log is most of what is written.
    let fresh = fs::read(&image).unwrap();
    let log = log_of(&fresh);
    oracle::mounted::write_as("xfs", &image, little);
    let mut bytes = fs::read(&image).unwrap();
    bytes[log.clone()].copy_from_slice(&fresh[log]);
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/vectors/xfs");
    fs::create_dir_all(vectors).unwrap();
    fs::write(format!("{vectors}/small.gz"), Sparse::of(&bytes).pack()).unwrap();
    let version = oracle::run("mkfs.xfs", &["-V".as_ref()]);
    let how = "small.gz | mkfs.xfs -b size=1024 -i size=512, kernel mount; the log as before the mount | blocks of 4096 bytes that are not zero";
    fs::write(format!("{vectors}/MANIFEST"), format!("{version}{how}\n")).unwrap();
}
