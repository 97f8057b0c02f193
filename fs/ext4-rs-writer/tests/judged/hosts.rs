//! Trees of the host: scanned, written, and compared with what they were; with what mke2fs makes of them; and as GRUB
//! reads them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::{Profile, Size};
use image_core::scan::{self, scan};
use oracle::snapshot::{self, Kind, Snapshot};
use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::image::{judged_as, mounted_as, options, profile, temporary, with_block_size};

/// A directory with whatever a root can make.
fn furnish(root: &Path) {
    fs::create_dir_all(root.join("etc/empty")).unwrap();
    fs::create_dir(root.join("many")).unwrap();
    for i in 0..500 {
        fs::write(root.join(format!("many/file-{i}")), vec![i as u8; i * 17]).unwrap();
    }
    fs::write(root.join("etc/passwd"), b"root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::hard_link(root.join("etc/passwd"), root.join("etc/passwd-")).unwrap();
    symlink("../etc/passwd", root.join("etc/link")).unwrap();
    symlink("x".repeat(200), root.join("etc/long")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(5 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &[7; 10_000], 3 << 30).unwrap();
    fs::set_permissions(root.join("etc/passwd"), fs::Permissions::from_mode(0o4755)).unwrap();
    std::os::unix::fs::chown(root.join("many/file-7"), Some(70_000), Some(80_000)).unwrap();
    for (name, kind) in [
        ("null", FileType::CharacterDevice),
        ("disk", FileType::BlockDevice),
        ("fifo", FileType::Fifo),
        ("sock", FileType::Socket),
    ] {
        let device = rustix::fs::makedev(1, 300);
        rustix::fs::mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    }
    let at = |tv_sec, tv_nsec| Timestamps {
        last_access: Timespec { tv_sec, tv_nsec },
        last_modification: Timespec { tv_sec, tv_nsec },
    };
    for (name, time) in [
        ("etc/passwd", at((1 << 32) + 5, 7)),
        ("many", at(5, 999_999_999)),
        ("", at(1, 2)),
    ] {
        rustix::fs::utimensat(CWD, root.join(name), &time, rustix::fs::AtFlags::empty()).unwrap();
    }
}

/// Extended attributes of each kind. One that is not taken is no test.
fn label(root: &Path) {
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(root.join(path), name, value, XattrFlags::empty())
            .unwrap_or_else(|error| panic!("{name} of {path}: {error}"));
    };
    for i in 0..100 {
        set(&format!("many/file-{i}"), "user.label", &[b'l'; 150]);
    }
    set("etc", "trusted.small", b"1");
    for path in [
        "",
        "etc",
        "etc/passwd",
        "etc/link",
        "null",
        "fifo",
        "sock",
        "sparse",
    ] {
        set(path, "security.selinux", b"system_u:object_r:etc_t:s0\0");
    }
    set(
        "etc/passwd",
        "security.capability",
        &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    let rules = "u:1000:rwx,g:2000:r-x,d:u:1000:rwx";
    let path = root.join("etc/empty");
    oracle::run("setfacl", &["-m".as_ref(), rules.as_ref(), path.as_os_str()]);
}

/// Panics unless a snapshot has what [`label`] has set.
fn is_labelled(snapshot: &Snapshot) {
    for (path, names) in [
        ("many/file-7", &["user.label"][..]),
        ("etc", &["security.selinux", "trusted.small"]),
        ("etc/passwd", &["security.capability", "security.selinux"]),
        ("etc/link", &["security.selinux"]),
        ("null", &["security.selinux"]),
        ("", &["security.selinux"]),
        (
            "etc/empty",
            &["system.posix_acl_access", "system.posix_acl_default"],
        ),
    ] {
        let found = &snapshot[path.as_bytes()].xattrs;
        assert!(
            names.iter().all(|name| found.contains_key(name.as_bytes())),
            "/{path}: {found:?}"
        );
    }
}

#[test]
fn a_directory_comes_back_as_it_was() {
    if !oracle::require_root() || !oracle::require(&["setfacl"]) {
        return;
    }
    let Some(dir) = oracle::place::for_xattrs() else {
        return;
    };
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    furnish(&root);
    label(&root);
    let expected = snapshot::of_dir(&root);
    is_labelled(&expected);
    let (tree, store) = scan(&root, &scan::Options::default()).unwrap();
    snapshot::assert_same(&expected, &snapshot::of_tree(&tree, &store));
    for block_size in [BlockSize::KIB_1, BlockSize::KIB_2, BlockSize::KIB_4] {
        judged_as(&tree, &store, &with_block_size(block_size), &expected);
    }
    for made in [Profile::Modern, Profile::Legacy] {
        mounted_as(&tree, &store, &profile(made), &expected);
    }
}

/// What of a tree mke2fs 1.47 gets right: it drops nanoseconds, wraps or clamps times outside 32 bits, gives the root
/// directory the time of day, splits symlinks with several names, and fills holes or makes them as it likes.
fn as_mke2fs_makes_it(mut snapshot: Snapshot) -> Snapshot {
    snapshot.remove(&b"lost+found"[..]);
    for (path, file) in &mut snapshot {
        file.mtime.1 = 0;
        if path.is_empty() || !(0..1 << 31).contains(&file.mtime.0) {
            file.mtime.0 = 0;
        }
        if path.is_empty() {
            file.links = 0;
        }
        match &mut file.kind {
            Kind::Symlink(_) => {
                file.links = 1;
                file.same_as.clone_from(path);
            }
            Kind::Regular { data, .. } => data.clear(),
            _ => {}
        }
    }
    snapshot
}

#[test]
fn mke2fs_makes_the_same_of_a_directory() {
    if !oracle::mounted::require() || !oracle::require(&["mke2fs", "setfacl"]) {
        return;
    }
    let Some(dir) = oracle::place::for_xattrs() else {
        return;
    };
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    furnish(&root);
    label(&root);
    // Times that mke2fs 1.47.0 wraps.
    let late = Timespec {
        tv_sec: 1_000_000,
        tv_nsec: 0,
    };
    let late = Timestamps {
        last_access: late,
        last_modification: late,
    };
    for name in ["etc/passwd", "many"] {
        rustix::fs::utimensat(CWD, root.join(name), &late, rustix::fs::AtFlags::empty()).unwrap();
    }
    let theirs = dir.path().join("theirs");
    fs::File::create(&theirs).unwrap().set_len(128 << 20).unwrap();
    oracle::ext4::mke2fs(&theirs, &["-t", "ext4", "-d", root.to_str().unwrap()]);
    let (tree, store) = scan(&root, &scan::Options::default()).unwrap();
    let mut options = options();
    options.size = Size::Fixed(128 << 20);
    let ours = crate::image::checked(&tree, &store, &options);
    let [ours, theirs] =
        [&ours.path, &theirs].map(|image| as_mke2fs_makes_it(oracle::mounted::read(image, snapshot::of_dir)));
    is_labelled(&theirs);
    snapshot::assert_same(&theirs, &ours);
}

#[test]
fn grub_reads_its_files() {
    if !oracle::require_root() || !oracle::require(&["grub-fstest"]) {
        return;
    }
    let dir = temporary();
    let boot = dir.path().join("root/boot/grub");
    fs::create_dir_all(&boot).unwrap();
    let kernel: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    fs::write(boot.join("../vmlinuz"), &kernel).unwrap();
    fs::write(boot.join("grub.cfg"), b"menuentry x {}\n").unwrap();
    symlink("vmlinuz", boot.join("../kernel")).unwrap();
    for i in 0..3000 {
        fs::write(
            boot.join(format!("module-with-a-long-name-{i}.mod")),
            format!("{i}"),
        )
        .unwrap();
    }
    let (tree, store) = scan(&dir.path().join("root"), &scan::Options::default()).unwrap();
    for made in [Profile::Default, Profile::Legacy, Profile::Ext3, Profile::Ext2] {
        for block_size in [BlockSize::KIB_1, BlockSize::KIB_4] {
            let mut options = profile(made);
            options.block_size = block_size;
            let image = crate::image::checked(&tree, &store, &options);
            let cat = |path: &str| oracle::ext4::grub_cat(&image.path, path);
            assert!(cat("/boot/vmlinuz") == kernel, "{made:?}");
            assert!(cat("/boot/kernel") == kernel, "{made:?}");
            assert_eq!(cat("/boot/grub/grub.cfg"), b"menuentry x {}\n");
            assert_eq!(cat("/boot/grub/module-with-a-long-name-2999.mod"), b"2999");
        }
    }
}
