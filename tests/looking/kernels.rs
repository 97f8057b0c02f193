//! Which kernel `disk-image-get-kernel` takes, and how it leaves it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::{INITRD, KERNEL, TOOLS, boot, convert, disks, ext, put};
use crate::lab::{DIB, GET_KERNEL, Lab};

fn taken(lab: &Lab, prefix: &str) {
    for (suffix, bytes) in [("vmlinuz", KERNEL), ("initrd", INITRD)] {
        let file = lab.out(&format!("{prefix}-{suffix}"));
        assert_eq!(fs::read(&file).unwrap(), bytes);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o444, 0o444);
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn kernel_and_ramdisk_come_out_of_every_container() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    convert(
        &lab,
        "disk.raw",
        "plain.qcow2",
        &["-O", "qcow2", "-o", "cluster_size=4096,compat=0.10"],
    );
    for (to, options) in [
        ("disk.vhd", ["-O", "vpc", "-o", "force_size=on"]),
        ("fixed.vhd", ["-O", "vpc", "-o", "subformat=fixed,force_size=on"]),
        ("disk.vmdk", ["-O", "vmdk", "-o", "subformat=monolithicSparse"]),
        ("stream.vmdk", ["-O", "vmdk", "-o", "subformat=streamOptimized"]),
    ] {
        convert(&lab, "disk.raw", to, &options);
    }
    boot(&lab.out("root/boot"));
    ext(
        &lab.out("root"),
        &lab.out("whole.ext3"),
        24,
        &["-t", "ext3", "-b", "1024"],
    );
    let images = [
        "disk.raw",
        "disk.qcow2",
        "plain.qcow2",
        "disk.vhd",
        "fixed.vhd",
        "disk.vmdk",
        "stream.vmdk",
        "whole.ext3",
        "root",
    ];
    for image in images {
        let said = lab.run(GET_KERNEL, &["-i", image, "-d", ".", "-o", "pre"]).ok();
        assert_eq!(
            (said.out.as_str(), said.err.as_str()),
            ("pre-vmlinuz,pre-initrd\n", "")
        );
        taken(&lab, "pre");
        let said = lab
            .run(GET_KERNEL, &[image, "-d", lab.out("").to_str().unwrap(), "-x"])
            .ok();
        assert_eq!(said.out, "baremetal-vmlinuz,baremetal-initrd\n");
        assert!(
            said.err.starts_with("/boot/vmlinuz-6.1.0-10-amd64 -> "),
            "{}",
            said.err
        );
        taken(&lab, "baremetal");
    }
    lab.run(DIB, &["get-kernel", "disk.qcow2", "-d", "."]).ok();
    taken(&lab, "baremetal");
}

/// A root with a file of `/etc` and files of `/boot`; those meant hold what is meant.
fn system(tree: &Path, sign: &str, names: &[&str], meant: [&str; 2]) {
    let _ = fs::remove_dir_all(tree);
    put(tree, &format!("etc/{sign}"), b"x\n");
    for name in names {
        put(tree, &format!("boot/{name}"), b"another");
    }
    put(tree, &format!("boot/{}", meant[0]), KERNEL);
    put(tree, &format!("boot/{}", meant[1]), INITRD);
}

#[test]
fn each_system_has_its_rule() {
    let lab = Lab::unprivileged();
    let tree = lab.out("tree");
    let take = |lab: &Lab| lab.run(GET_KERNEL, &["-i", "tree", "-d", "."]);
    let cases: [(&str, &[&str], [&str; 2]); 6] = [
        (
            "redhat-release",
            &[
                "vmlinuz-5.10.debug",
                "vmlinuz-5.9",
                "vmlinuz-0-rescue-1",
                "initramfs-5.9.img",
                "initramfs-5.9kdump.img",
            ],
            ["vmlinuz-5.10", "initramfs-5.10.img"],
        ),
        (
            "redhat-release",
            &["vmlinuz-5.10", "initramfs-5.10.img"],
            ["vmlinuz-5.9.PAE", "initramfs-5.9.PAE.img"],
        ),
        (
            "debian_version",
            &["vmlinuz-9.9-other", "initrd.img-9.9-other", "vmlinuz-5.9-generic"],
            ["vmlinuz-5.10-generic", "initrd.img-5.10-generic"],
        ),
        (
            "debian_version",
            &["vmlinux-6.1"],
            ["vmlinuz-6.1-amd64", "initrd.img-6.1-amd64"],
        ),
        ("gentoo-release", &["vmlinuz"], ["vmlinuz-5.10", "initramfs-5.10"]),
        (
            "SuSE-release",
            &["vmlinuz-9", "initrd-9"],
            ["vmlinuz-5", "initrd-5"],
        ),
    ];
    for (sign, names, meant) in cases {
        system(&tree, sign, names, meant);
        if sign == "SuSE-release" {
            symlink("vmlinuz-5", tree.join("boot/vmlinuz")).unwrap();
            symlink("/boot/initrd-5", tree.join("boot/initrd")).unwrap();
        }
        take(&lab).ok();
        taken(&lab, "baremetal");
    }
    system(
        &tree,
        "debian_version",
        &["vmlinuz-6-generic"],
        ["vmlinuz-5-generic.efi.signed", "initrd.img-5"],
    );
    put(&tree, "dib-signed-kernel-version", b"5\n");
    take(&lab).ok();
    taken(&lab, "baremetal");
    let mut lab = lab;
    system(&tree, "none", &["vmlinuz-9"], ["own-5.10.bin", "own-5.10.ram"]);
    lab.set("DIB_BAREMETAL_KERNEL_PATTERN", "own-*.bin");
    take(&lab).failed(1, "Unable to detect operating system");
    lab.set("DIB_BAREMETAL_INITRD_PATTERN", "own-*.ram");
    take(&lab).ok();
    taken(&lab, "baremetal");
}

/// What the shell's `select_boot_kernel_initrd` chooses, which elements call, is chosen here.
#[test]
fn what_is_signed_is_preferred_and_not_demanded() {
    let lab = Lab::unprivileged();
    let tree = lab.out("tree");
    for (others, meant) in [
        (
            &["vmlinuz-6-generic"][..],
            ["vmlinuz-5-generic.efi.signed", "initrd.img-5-generic"],
        ),
        (
            &["vmlinuz-6-other"],
            ["vmlinuz-5-generic", "initrd.img-5-generic"],
        ),
        (&["vmlinuz-5-other"], ["vmlinuz-6-other", "initrd.img-6-other"]),
    ] {
        system(&tree, "debian_version", others, meant);
        put(&tree, "dib-signed-kernel-version", b"5\n");
        let said = lab.run(GET_KERNEL, &["-i", "tree", "-d", "."]).ok();
        assert_eq!(said.err, "");
        taken(&lab, "baremetal");
    }
}

#[test]
fn a_directory_is_no_kernel() {
    let lab = Lab::unprivileged();
    let tree = lab.out("tree");
    for (sign, meant) in [
        ("redhat-release", ["vmlinuz-6.11", "initramfs-6.11.img"]),
        ("debian_version", ["vmlinuz-6.11", "initrd.img-6.11"]),
        ("gentoo-release", ["vmlinuz-6.11", "initramfs-6.11.img"]),
    ] {
        system(&tree, sign, &[], meant);
        let boot = tree.join("boot");
        for name in ["vmlinuz-7", "initramfs-7.img", "initrd.img-7"] {
            fs::create_dir(boot.join(name)).unwrap();
        }
        symlink("vmlinuz-7", boot.join("vmlinuz-8")).unwrap();
        symlink("nowhere", boot.join("initrd.img-8")).unwrap();
        lab.run(GET_KERNEL, &["-i", "tree", "-d", "."]).ok();
        taken(&lab, "baremetal");
    }
}

#[test]
fn a_ramdisk_of_another_version_is_taken_with_a_warning() {
    let lab = Lab::unprivileged();
    let tree = lab.out("tree");
    system(
        &tree,
        "debian_version",
        &["initrd.img-6.0"],
        ["vmlinuz-6.2", "initrd.img-6.1"],
    );
    let said = lab.run(GET_KERNEL, &["-i", "tree", "-d", "."]).ok();
    assert_eq!(
        said.err,
        "warning: /boot/initrd.img-6.1 is by its name not the ramdisk of /boot/vmlinuz-6.2\n"
    );
    taken(&lab, "baremetal");
}

#[test]
fn there_are_both_files_or_none() {
    let lab = Lab::unprivileged();
    let tree = lab.out("tree");
    system(&tree, "redhat-release", &["vmlinuz-5"], ["other", "another"]);
    let take = |args: &[&str]| lab.run(GET_KERNEL, args);
    take(&["-i", "tree", "-d", "."]).failed(
        1,
        "no kernel can be taken out of tree: /boot has no initramfs-5.img: another, other, vmlinuz-5 is there",
    );
    take(&[]).failed(1, "no image was named");
    take(&["-q", "tree"]).failed(1, "-q");
    take(&["-i", "no-such", "-d", "."]).failed(1, "no-such");
    put(&tree, "boot/initramfs-5.img", b"x");
    take(&["tree", "-d", "no/dir"]).failed(1, "cannot write no/dir/baremetal-vmlinuz");
    fs::create_dir(lab.out("baremetal-initrd")).unwrap();
    take(&["tree", "-d", "."]).failed(1, "cannot write ./baremetal-initrd");
    assert_eq!(lab.names(), ["baremetal-initrd", "tree"], "nothing is left");
    assert!(take(&["-h"]).ok().out.contains("disk-image-get-kernel"));
}

/// Every command that looks into an image names it, and names it once.
#[test]
fn an_image_that_is_not_there_is_named_once() {
    let lab = Lab::unprivileged();
    let (no, gone) = ("no-such-image", "No such file or directory");
    let said = lab.run(GET_KERNEL, &["-i", no]);
    assert_eq!(
        said.err,
        format!("error: cannot read {no}: {gone} (os error 2)\n")
    );
    for args in [
        &["ls", no][..],
        &["cat", no, "/etc/fstab"],
        &["inspect", no],
        &["check", no],
        &["convert", no],
    ] {
        let said = lab.run(DIB, args);
        assert_eq!(said.err.matches(no).count(), 1, "{args:?}: {}", said.err);
        assert!(
            said.status != 0 && said.err.contains(gone),
            "{args:?}: {}",
            said.err
        );
    }
}
