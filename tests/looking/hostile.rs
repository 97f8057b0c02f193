//! Images that lie: every command ends, with an error or with what can be said.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use image_core::laws::Draw;

use super::{TOOLS, disks, ext, put};
use crate::lab::{DIB, GET_KERNEL, Lab};

#[test]
fn no_damage_is_answered_by_a_panic() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    let seed: Vec<u8> = (0..4000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect();
    let mut draw = Draw::new(&seed);
    for (name, rounds) in [("disk.raw", 12), ("disk.qcow2", 12)] {
        let whole = fs::read(lab.out(name)).unwrap();
        for _ in 0..rounds {
            fs::write(lab.out("bad"), &whole).unwrap();
            let file = File::options().write(true).open(lab.out("bad")).unwrap();
            for _ in 0..8 {
                // Tables of partitions, the heads of file systems, and of the container.
                let area = *draw.pick(&[0, 1 << 20, 9 << 20, (9 << 20) + 4096, 33 << 20, 41 << 20]);
                let at = (area + draw.below(4096)) % (whole.len() as u64 - 1);
                file.write_all_at(&[draw.byte()], at).unwrap();
            }
            for args in [
                &["inspect", "bad"][..],
                &["ls", "-R", "bad"],
                &["cat", "bad", "/etc/*"],
                &["diff", "bad", "bad"],
                &["check", "bad"],
            ] {
                let said = lab.run(DIB, args);
                assert!((0..=2).contains(&said.status), "{args:?}: {}", said.err);
                assert!(!said.err.contains("panicked"), "{args:?}: {}", said.err);
            }
            let said = lab.run(GET_KERNEL, &["bad", "-d", "."]);
            assert!((0..=1).contains(&said.status), "{}", said.err);
        }
    }
}

#[test]
fn what_is_cut_off_is_an_error() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    let whole = fs::read(lab.out("disk.qcow2")).unwrap();
    for len in [0, 3, 72, 112, 65_536, 200_000, whole.len() / 2] {
        fs::write(lab.out("short"), &whole[..len]).unwrap();
        let said = lab.run(DIB, &["cat", "short", "/boot/vmlinuz-*"]);
        assert!(
            said.status == 1 && said.err.starts_with("error: cannot read short"),
            "{len}: {}",
            said.err
        );
    }
}

/// Few bytes of an image can claim a file that fills a disk.
#[test]
fn a_kernel_takes_no_more_of_the_disk_than_of_the_image() {
    if !oracle::require(&["mke2fs"]) {
        return;
    }
    let lab = Lab::unprivileged();
    let tree = lab.out("root");
    put(&tree, "etc/debian_version", b"12.1\n");
    put(&tree, "boot/vmlinuz-1", b"kernel");
    put(&tree, "boot/initrd.img-1", b"ramdisk");
    let claim = |name: &str, len: u64| {
        let file = File::options().write(true).open(tree.join("boot").join(name));
        file.unwrap().set_len(len).unwrap();
    };
    let take = || {
        ext(&tree, &lab.out("hostile"), 20, &["-t", "ext4"]);
        lab.run(GET_KERNEL, &["hostile", "-d", "."])
    };
    claim("vmlinuz-1", 64 << 20);
    take().ok();
    let taken = fs::metadata(lab.out("baremetal-vmlinuz")).unwrap();
    let allocated = taken.blocks() * 512;
    assert!(
        taken.len() == 64 << 20 && allocated < 1 << 20,
        "{allocated} bytes on disk"
    );
    let whole = fs::read(lab.out("baremetal-vmlinuz")).unwrap();
    assert!(whole.starts_with(b"kernel") && whole[6..].iter().all(|byte| *byte == 0));
    for suffix in ["vmlinuz", "initrd"] {
        fs::remove_file(lab.out(&format!("baremetal-{suffix}"))).unwrap();
    }
    claim("vmlinuz-1", 6 << 30);
    take().failed(
        1,
        "no kernel can be taken out of hostile: /boot/vmlinuz-1 has 6442450944 bytes, and a kernel has 1073741824 at most",
    );
    claim("vmlinuz-1", 6);
    claim("initrd.img-1", 6 << 30);
    take().failed(
        1,
        "/boot/initrd.img-1 has 6442450944 bytes, and a ramdisk has 2147483648 at most",
    );
    assert_eq!(lab.names(), ["hostile", "root"], "nothing is left");
}
