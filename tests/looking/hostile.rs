//! Images that lie: every command ends, with an error or with what can be said.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use image_core::laws::Draw;

use super::{TOOLS, disks};
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
