//! `dib assemble`: the writers' front door.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::lab::{DIB, Lab};

fn tree(at: &Path) {
    fs::create_dir_all(at.join("etc/deep")).unwrap();
    fs::write(at.join("etc/file"), "text").unwrap();
    fs::set_permissions(at.join("etc/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(at.join("etc/file"), at.join("etc/deep/link")).unwrap();
    symlink("etc/file", at.join("symlink")).unwrap();
}

#[test]
fn a_directory_becomes_clean_images_of_equal_guests() {
    let lab = Lab::unprivileged();
    tree(&lab.out("tree"));
    lab.run(
        DIB,
        &[
            "assemble",
            "tree",
            "-o",
            "x",
            "-t",
            "raw,qcow2",
            "--label",
            "data",
            "--seed",
            "s",
        ],
    )
    .ok();
    if oracle::require(&["e2fsck", "dumpe2fs"]) {
        oracle::ext4::fsck(&lab.out("x.raw"));
        assert!(oracle::ext4::dumpe2fs(&lab.out("x.raw"), true).contains("volume name:   data\n"));
    }
    if oracle::require(&["qemu-img"]) {
        oracle::qcow2::compare(&lab.out("x.raw"), &lab.out("x.qcow2"));
    }
    let wanted = oracle::snapshot::as_ext4_view_sees(oracle::snapshot::of_dir(&lab.out("tree")));
    oracle::snapshot::assert_same(&wanted, &oracle::snapshot::of_ext4_view(&lab.out("x.raw")));
}

#[test]
fn an_archive_gives_the_bytes_of_its_directory() {
    let lab = Lab::unprivileged();
    if !oracle::require(&["tar"]) {
        return;
    }
    tree(&lab.out("tree"));
    let (archive, tree) = (lab.out("tree.tar"), lab.out("tree"));
    let args: [&std::ffi::OsStr; 6] = [
        "--format=posix".as_ref(),
        "-cf".as_ref(),
        archive.as_os_str(),
        "-C".as_ref(),
        tree.as_os_str(),
        ".".as_ref(),
    ];
    oracle::run("tar", &args);
    let both = ["tree", "tree.tar"].map(|source| {
        let args = [
            "assemble",
            source,
            "-o",
            source,
            "-t",
            "raw",
            "--minimal",
            "--seed",
            "s",
        ];
        let mut lab_args = args.to_vec();
        lab_args.extend(["--mkfs-options", "-O ^has_journal"]);
        lab.run(DIB, &lab_args).ok();
        lab.out(&format!("{source}.raw"))
    });
    let [of_dir, of_tar] = both.map(|path| fs::read(path).unwrap());
    assert!(of_dir == of_tar, "{} and {} bytes", of_dir.len(), of_tar.len());
}

#[test]
fn features_follow_the_target() {
    let mut lab = Lab::unprivileged();
    if !oracle::require(&["e2fsck", "dumpe2fs"]) {
        return;
    }
    tree(&lab.out("tree"));
    let old = "has_journal ext_attr resize_inode dir_index filetype extent flex_bg sparse_super large_file huge_file \
               uninit_bg dir_nlink extra_isize";
    let usual = "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file \
                 huge_file dir_nlink extra_isize metadata_csum";
    let new = "has_journal ext_attr resize_inode dir_index orphan_file filetype extent 64bit flex_bg \
               metadata_csum_seed sparse_super large_file huge_file dir_nlink extra_isize metadata_csum";
    for (release, options, features) in [
        ("trixie", "", usual),
        ("trusty", "", old),
        ("jessie", "-t ext4", old),
        ("", "-T legacy", old),
        ("trusty", "-T modern", new),
    ] {
        lab.set("DIB_RELEASE", release).set("OVERWRITE_OLD_IMAGE", "1");
        let args = [
            "assemble",
            "tree",
            "-o",
            "x",
            "-t",
            "raw",
            "--mkfs-options",
            options,
        ];
        lab.run(DIB, &args).ok();
        oracle::ext4::fsck(&lab.out("x.raw"));
        let said = oracle::ext4::dumpe2fs(&lab.out("x.raw"), true);
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("Filesystem features:"));
        assert_eq!(line.unwrap().trim(), features, "{release} {options}");
    }
}

#[test]
fn what_cannot_be_read_or_does_not_fit_is_refused() {
    let lab = Lab::unprivileged();
    lab.run(DIB, &["assemble", "no-such-tree"])
        .failed(1, "no-such-tree");
    fs::create_dir(lab.out("tree")).unwrap();
    fs::write(lab.out("tree/large"), vec![1; 3 << 20]).unwrap();
    // Needed: the file, the root and lost+found. There: 33 of 64 KiB, without superblock, descriptors, bitmaps and 528
    // inodes.
    lab.run(DIB, &["assemble", "tree", "-o", "x", "--image-size", "0.002"])
        .failed(1, "cannot plan the file system")
        .failed(
            1,
            "the tree needs 3166208 bytes and 12 inodes, \
             the file system has room for 2011136 bytes and 528 inodes",
        )
        .failed(
            1,
            "hint: the tree needs 3.0 MiB, and the file system has room for 1.9 MiB",
        );
    assert_eq!(lab.names(), ["tree"]);
}
