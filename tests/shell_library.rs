//! What hooks source from `$_LIB`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::lab::{Lab, Said};

const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pipeline/lib");

/// A tree with these files, made below `dir`.
fn tree(dir: &Path, files: &str) {
    for file in files.split_whitespace() {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
    }
}

fn selected(lab: &Lab, tree: &Path) -> Said {
    let script = format!(
        "set -eu -o pipefail; source $_LIB/elements-functions; select_boot_kernel_initrd {0}/
         [ $BOOTDIR = {0}/boot ]; echo $KERNEL $RAMDISK",
        tree.display()
    );
    lab.run("/bin/bash", &["-c", &script])
}

#[test]
fn a_kernel_and_its_ramdisk_are_chosen_by_distribution() {
    if !oracle::require(&["bash", "sort"]) {
        return;
    }
    let table = [
        (
            "etc/debian_version boot/vmlinuz-6.9.0-1-amd64 boot/vmlinuz-6.10.0-1-amd64 boot/initrd.img-6.9.0-1-amd64 boot/initrd.img-6.10.0-1-amd64",
            "vmlinuz-6.10.0-1-amd64 initrd.img-6.10.0-1-amd64",
        ),
        (
            "etc/debian_version boot/vmlinuz-3.8-9-generic boot/vmlinuz-3.8-10-generic boot/vmlinuz-4-other boot/initrd.img-3.8-10-generic boot/initrd.img-4-other",
            "vmlinuz-3.8-10-generic initrd.img-3.8-10-generic",
        ),
        (
            "etc/debian_version dib-signed-kernel-version boot/vmlinuz-3-generic.efi.signed boot/vmlinuz-4-generic boot/initrd.img-3-generic",
            "vmlinuz-3-generic.efi.signed initrd.img-3-generic",
        ),
        (
            "etc/debian_version dib-signed-kernel-version boot/vmlinuz-4-other boot/vmlinuz-3-generic boot/initrd.img-3-generic",
            "vmlinuz-3-generic initrd.img-3-generic",
        ),
        (
            "etc/debian_version dib-signed-kernel-version boot/vmlinuz-4-other boot/initrd.img-4-other",
            "vmlinuz-4-other initrd.img-4-other",
        ),
        (
            "etc/debian_version boot/vmlinuz-7/a boot/vmlinuz-6.1 boot/initrd.img-7/a boot/initrd.img-6.1",
            "vmlinuz-6.1 initrd.img-6.1",
        ),
        (
            "etc/redhat-release boot/vmlinuz-5.14.0-9 boot/vmlinuz-5.14.0-70 boot/vmlinuz-6+debug boot/initramfs-5.14.0-70.img boot/initramfs-5.14.0-9.img",
            "vmlinuz-5.14.0-70 initramfs-5.14.0-70.img",
        ),
        (
            "etc/redhat-release boot/vmlinuz-3.6.PAE boot/vmlinuz-3.7.PAEdebug boot/vmlinuz-3.8 boot/initramfs-3.6.PAE.img",
            "vmlinuz-3.6.PAE initramfs-3.6.PAE.img",
        ),
        (
            "etc/gentoo-release boot/vmlinuz-6.1-gentoo boot/vmlinuz-6.12-gentoo boot/initramfs-6.12-gentoo.img boot/initramfs-6.1-gentoo.img",
            "vmlinuz-6.12-gentoo initramfs-6.12-gentoo.img",
        ),
    ];
    for (files, chosen) in table {
        let mut lab = Lab::unprivileged();
        lab.set("_LIB", LIBRARY);
        let dir = lab.dir().join("tree");
        tree(&dir, files);
        assert_eq!(selected(&lab, &dir).ok().out, format!("{chosen}\n"), "{files}");
    }
}

#[test]
fn links_and_patterns_choose_too() {
    if !oracle::require(&["bash", "sort"]) {
        return;
    }
    let mut lab = Lab::unprivileged();
    lab.set("_LIB", LIBRARY);
    let dir = lab.dir().join("tree");
    tree(
        &dir,
        "boot/vmlinuz-1 boot/initrd-1 boot/mine-9 boot/mine-10 boot/its-2",
    );
    symlink("vmlinuz-1", dir.join("boot/vmlinuz")).unwrap();
    symlink("/boot/initrd-1", dir.join("boot/initrd")).unwrap();
    selected(&lab, &dir).failed(1, "ERROR: Unable to detect operating system");
    lab.set("DISTRO_NAME", "opensuse");
    assert_eq!(selected(&lab, &dir).ok().out, "vmlinuz-1 initrd-1\n");
    lab.set("DIB_BAREMETAL_KERNEL_PATTERN", "mine-*")
        .set("DIB_BAREMETAL_INITRD_PATTERN", "its-*");
    assert_eq!(selected(&lab, &dir).ok().out, "mine-10 its-2\n");
    lab.set("DIB_BAREMETAL_INITRD_PATTERN", "none-*");
    selected(&lab, &dir).failed(1, "No initial ramdisk found");
}

#[test]
fn hooks_die_with_the_status_of_what_failed() {
    let Some(lab) = Lab::new() else { return };
    for (source, script, status) in [
        ("source $_LIB/die", "(exit 6) || die dying now", 6),
        ("source $_LIB/common-functions", "die dying now", 1),
        // Exported to host hooks: nothing needs to be sourced.
        ("", "(exit 7) || die dying now", 7),
    ] {
        lab.hook("extra-data.d/10-x", &format!("{source}\n{script}"));
        let said = lab.rehearse().failed(status, "10-x ended with status");
        assert!(said.out.contains("dying now\n"), "{}", said.out);
    }
}
