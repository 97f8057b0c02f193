//! A file system that somebody used: what a root holds, written by the kernel.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;

/// Writes what a root holds, and what an allocator does to files that grow side by side.
pub fn fill(root: &Path) {
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
pub fn attribute(root: &Path) {
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
