//! This crate's reader before images that others made: mke2fs in many forms, and the kernel that wrote to them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use ext4_rs_writer::reader::{ReadError, about};
use image_core::read_at::ImageFile;
use oracle::snapshot;

use crate::image::{read_back, temporary};

/// Forms of file systems, each with what its like has that others have not.
const FORMS: [&str; 17] = [
    "-t ext2",
    "-t ext2 -b 1024 -I 128",
    "-t ext2 -r 0 -b 4096",
    "-t ext3 -b 2048",
    "-t ext3 -O ^dir_index,^filetype",
    "-t ext4",
    "-t ext4 -b 1024",
    "-t ext4 -b 2048 -I 512",
    "-t ext4 -O ^64bit,^metadata_csum,uninit_bg",
    "-t ext4 -O ^flex_bg,^resize_inode,meta_bg",
    "-t ext4 -O ^resize_inode,sparse_super2",
    "-t ext4 -O ^resize_inode,meta_bg -b 1024 -g 256 -N 8192",
    "-t ext4 -O metadata_csum_seed,64bit",
    "-t ext4 -O ea_inode",
    "-t ext4 -O ^extent,^64bit",
    "-t ext4 -O bigalloc -C 16384",
    "-t ext4 -O large_dir,extra_isize",
];

pub(crate) fn make(image: &Path, form: &str) {
    File::create(image).unwrap().set_len(96 << 20).unwrap();
    let mut args = vec!["-q", "-F"];
    args.extend(form.split(' '));
    args.push(image.to_str().unwrap());
    let args: Vec<_> = args.into_iter().map(std::ffi::OsStr::new).collect();
    oracle::run("mke2fs", &args);
}

/// Writes what a root holds, and what an allocator does to files that grow side by side.
pub(crate) fn fill(root: &Path) {
    let put = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).unwrap();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    put("a/empty", b"");
    put("a/file", b"some bytes");
    fs::set_permissions(root.join("a/file"), fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(root.join("a/file"), Some(70_000), Some(80_000)).unwrap();
    fs::hard_link(root.join("a/file"), root.join("a/b/same")).unwrap();
    for len in [1, 59, 60, 61, 500] {
        symlink("x".repeat(len), root.join(format!("a/link-{len}"))).unwrap();
    }
    let (one, two) = (
        File::create(root.join("a/one")).unwrap(),
        File::create(root.join("a/two")).unwrap(),
    );
    for block in 0..400_u64 {
        let bytes = [u8::try_from(block % 251).unwrap() + 1; 5000];
        one.write_all_at(&bytes, block * 5000).unwrap();
        two.write_all_at(&bytes, block * 12_288).unwrap();
        one.sync_data().unwrap();
    }
    let sparse = File::create(root.join("a/sparse")).unwrap();
    sparse.write_all_at(b"middle", 5_000_000).unwrap();
    sparse.set_len(9_000_001).unwrap();
    for i in 0..3000 {
        put(&format!("a/b/c/a name that takes some room {i}"), b"");
    }
    for i in (0..3000).step_by(3) {
        fs::remove_file(root.join(format!("a/b/c/a name that takes some room {i}"))).unwrap();
    }
    let null = rustix::fs::makedev(1, 3);
    let odd = rustix::fs::makedev(259, 70_000);
    for (name, kind, device) in [
        ("null", rustix::fs::FileType::CharacterDevice, null),
        ("odd", rustix::fs::FileType::BlockDevice, odd),
        ("fifo", rustix::fs::FileType::Fifo, 0),
        ("socket", rustix::fs::FileType::Socket, 0),
    ] {
        let mode = rustix::fs::Mode::from_raw_mode(0o640);
        rustix::fs::mknodat(rustix::fs::CWD, root.join("a").join(name), kind, mode, device).unwrap();
    }
}

/// Sets attributes of every place: in the inode, in a block, shared by files, and access control lists.
pub(crate) fn attribute(root: &Path) {
    let set = |file: &str, name: &str, value: &[u8]| {
        let path = root.join("a").join(file);
        rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty())
    };
    set("file", "user.small", b"value").unwrap();
    let _ = set("one", "user.large", &[7; 700]);
    let _ = set("two", "user.large", &[7; 700]);
    set(
        "file",
        "security.capability",
        &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    )
    .unwrap();
    let acl = [
        2_u8, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255,
        255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ];
    set("empty", "system.posix_acl_access", &acl).unwrap();
    set("b", "system.posix_acl_default", &acl).unwrap();
    // More than a block holds: where values have inodes of their own.
    let _ = set("empty", "user.huge", &vec![9; 30_000]);
}

#[test]
fn what_others_wrote_is_read_as_the_kernel_shows_it() {
    if !oracle::mounted::require() || !oracle::require(&["mke2fs", "e2fsck"]) {
        return;
    }
    let dir = temporary();
    for form in FORMS {
        let image = dir.path().join("image");
        make(&image, form);
        oracle::mounted::write(&image, |root| {
            fill(root);
            attribute(root);
        });
        oracle::ext4::fsck(&image);
        let source = ImageFile::new(File::open(&image).unwrap(), &image).unwrap();
        let faults = ext4_rs_writer::reader::check(&source).unwrap();
        assert!(faults.is_empty(), "{form}: {faults:?}");
        let shown = oracle::mounted::read(&image, snapshot::of_dir);
        assert!(shown.len() > 2000, "{form}: {} files", shown.len());
        eprintln!("mke2fs {form}");
        snapshot::assert_same(&shown, &read_back(&image));
    }
}

#[test]
fn what_is_not_read_is_named() {
    if !oracle::require(&["mke2fs"]) {
        return;
    }
    let dir = temporary();
    let path = dir.path().join("image");
    let refusal = || {
        let source = ImageFile::new(File::open(&path).unwrap(), &path).unwrap();
        ext4_rs_writer::read(source).map(|_| ()).unwrap_err()
    };
    make(&path, "-t ext4 -O inline_data");
    assert!(matches!(refusal(), ReadError::Unsupported(what) if what.contains("inline_data")));
    fs::write(&path, vec![0; 4096]).unwrap();
    assert!(matches!(refusal(), ReadError::NotExt));
    make(
        &path,
        "-t ext4 -L a-label -U 5e0b8f1c-2f7e-4e0f-9a57-3f0a5c1d2e4b",
    );
    let source = ImageFile::new(File::open(&path).unwrap(), &path).unwrap();
    let said = about(&source).unwrap();
    assert_eq!(
        (&said.label[..], said.kind, said.block_bytes),
        (&b"a-label"[..], "ext4", 1024)
    );
    assert_eq!(said.blocks, 96 << 10);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    assert!(matches!(
        refusal(),
        ReadError::Superblock {
            field: "number of blocks",
            ..
        }
    ));
}
