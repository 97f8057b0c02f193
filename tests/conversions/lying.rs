//! Containers that lie about lengths and places: each is refused in time, with a reason, and leaves nothing.

use std::fs;
use std::time::{Duration, Instant};

use super::disk;
use crate::lab::{DIB, Lab};

/// What is changed of an image: where, and to which bytes.
type Change = (usize, Vec<u8>);

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn be64(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Makes the checksum of a structure of VHD right again.
fn seal(bytes: &mut [u8], at: usize, len: usize, field: usize) {
    bytes[at + field..at + field + 4].fill(0);
    let sum: u32 = bytes[at..at + len].iter().map(|byte| u32::from(*byte)).sum();
    bytes[at + field..at + field + 4].copy_from_slice(&(!sum).to_be_bytes());
}

/// A change, and a word of why it is refused.
type Lie = (Change, &'static str);

fn of_qcow2(bytes: &[u8]) -> Vec<Lie> {
    const COPIED: usize = 1 << 63;
    let l1 = be64(bytes, 40);
    let l2 = be64(bytes, l1) & 0x00ff_ffff_ffff_fe00;
    let data = (0..1000)
        .map(|entry| l2 + 8 * entry)
        .find(|at| be64(bytes, *at) != 0);
    let data = data.unwrap();
    let far = (COPIED | 1 << 40).to_be_bytes().to_vec();
    let beside = (be64(bytes, data) + 512).to_be_bytes().to_vec();
    vec![
        (
            (24, (1_u64 << 62).to_be_bytes().to_vec()),
            "bytes are too many for clusters",
        ),
        ((20, 63_u32.to_be_bytes().to_vec()), "are no cluster size"),
        (
            (40, (1_u64 << 40).to_be_bytes().to_vec()),
            "cannot read the image",
        ),
        ((l1, far.clone()), "failed to fill whole buffer"),
        (
            (data, far),
            "lies at byte 1099511627776, past the end of the file",
        ),
        ((data, beside), "is not valid"),
    ]
}

fn of_vhd(bytes: &[u8]) -> Vec<Lie> {
    let table = be64(bytes, 512 + 16);
    let block = (0..1000)
        .map(|entry| table + 4 * entry)
        .find(|at| be32(bytes, *at) != u32::MAX);
    let be = |value: u32| value.to_be_bytes().to_vec();
    vec![
        (
            (48, (1_u64 << 62).to_be_bytes().to_vec()),
            "the VHD image has a length of",
        ),
        (
            (48, (1_u64 << 40).to_be_bytes().to_vec()),
            "a table too short for its length",
        ),
        ((512 + 28, be(1)), "a table too short for its length"),
        ((512 + 32, be(0)), "the VHD image has blocks of 0"),
        (
            (512 + 16, (1_u64 << 50).to_be_bytes().to_vec()),
            "unexpected end of file",
        ),
        ((block.unwrap(), be(0xffff_fff0)), "unexpected end of file"),
    ]
}

fn of_vdi(bytes: &[u8]) -> Vec<Lie> {
    let map = usize::try_from(le32(bytes, 0x154)).unwrap();
    let block = (0..1000)
        .map(|entry| map + 4 * entry)
        .find(|at| le32(bytes, *at) != u32::MAX);
    let le = |value: u32| value.to_le_bytes().to_vec();
    vec![
        (
            (0x170, (1_u64 << 62).to_le_bytes().to_vec()),
            "a map that does not fit its length",
        ),
        ((0x154, le(0xffff_fe00)), "unexpected end of file"),
        ((0x178, le(3)), "the VDI image has blocks of 3"),
        ((block.unwrap(), le(0xffff_0000)), "unexpected end of file"),
    ]
}

/// A sparse disk, or a stream: which header counts, and where its tables are.
fn of_vmdk(bytes: &[u8], header: usize) -> Vec<Lie> {
    let sector = |at| usize::try_from(le32(bytes, at)).unwrap() * 512;
    let directory = sector(header + 56);
    let table = sector(directory);
    let grain = (0..1000)
        .map(|entry| table + 4 * entry)
        .find(|at| le32(bytes, *at) != 0);
    let grain = grain.unwrap();
    let le = |value: u32| value.to_le_bytes().to_vec();
    let mut lies = vec![
        (
            (header + 12, (1_u64 << 62).to_le_bytes().to_vec()),
            "the VMDK image has sectors:",
        ),
        (
            (header + 20, vec![0; 8]),
            "the VMDK image has grains of sectors: 0",
        ),
        ((header + 44, le(0)), "the VMDK image has entries in a table: 0"),
        (
            (header + 56, (1_u64 << 50).to_le_bytes().to_vec()),
            "unexpected end of file",
        ),
        ((directory, le(0xffff_fff0)), "unexpected end of file"),
        ((grain, le(0xffff_fff0)), "unexpected end of file"),
    ];
    if header > 0 {
        lies.push(((sector(grain) + 8, le(u32::MAX)), "the grain at sector"));
        lies.push(((sector(grain) + 12, vec![0; 100]), "the grain at sector"));
    }
    lies
}

#[test]
fn what_lies_is_refused_and_leaves_nothing() {
    let lab = Lab::unprivileged();
    disk(&lab.out("disk"));
    let convert = |args: &[&str]| lab.run(DIB, &[&["convert"], args].concat());
    for (name, kind, more) in [
        ("a", "qcow2", &["-u"][..]),
        ("b", "vhd", &[]),
        ("c", "vdi", &[]),
        ("d", "vmdk", &[]),
        ("e", "vmdk", &["--qemu-img-options", "subformat=streamOptimized"]),
    ] {
        convert(&[&["disk", "-o", name, "-t", kind], more].concat()).ok();
        let whole = fs::read(lab.out(&format!("{name}.{kind}"))).unwrap();
        fs::remove_file(lab.out(&format!("{name}.{kind}"))).unwrap();
        let lies = match name {
            "a" => of_qcow2(&whole),
            "b" => of_vhd(&whole),
            "c" => of_vdi(&whole),
            "d" => of_vmdk(&whole, 0),
            _ => of_vmdk(&whole, whole.len() - 1024),
        };
        for ((at, change), why) in lies {
            let mut bytes = whole.clone();
            bytes[at..at + change.len()].copy_from_slice(&change);
            if kind == "vhd" {
                seal(&mut bytes, 0, 512, 64);
                seal(&mut bytes, 512, 1024, 36);
            }
            fs::write(lab.out("bad"), bytes).unwrap();
            for to in ["raw", "qcow2,vhd"] {
                let begun = Instant::now();
                let said = convert(&["bad", "-o", "new", "-t", to]);
                assert!(begun.elapsed() < Duration::from_secs(20), "{name}, {at}: {why}");
                assert_eq!(said.status, 1, "{name}, {at}: {why}");
                assert!(said.err.contains("cannot read bad"), "{name}, {at}: {}", said.err);
                assert!(said.err.contains(why), "{name}, {at}: {}", said.err);
                assert_eq!(lab.names(), ["bad", "disk"], "{name}, {at}: {why}");
            }
        }
    }
}

/// A file that was not copied to its end has clusters that are nowhere: they are not zero.
#[test]
fn an_image_that_is_cut_off_is_refused() {
    let lab = Lab::unprivileged();
    disk(&lab.out("disk"));
    for (kind, more) in [("qcow2", &["-u"][..]), ("vhd", &[]), ("vdi", &[]), ("vmdk", &[])] {
        lab.run(DIB, &[&["convert", "disk", "-o", "n", "-t", kind], more].concat())
            .ok();
        let name = format!("n.{kind}");
        let file = fs::File::options().write(true).open(lab.out(&name)).unwrap();
        let len = file.metadata().unwrap().len();
        // Of a VHD the copy of its footer is at the beginning, so that it is known for one.
        file.set_len(len / 3 * 2).unwrap();
        let said = lab.run(DIB, &["convert", &name, "-o", "new", "-t", "raw"]);
        assert_eq!(said.status, 1, "{kind}: {}", said.err);
        assert!(
            said.err.contains(&format!("cannot read {name}")),
            "{kind}: {}",
            said.err
        );
        fs::remove_file(lab.out(&name)).unwrap();
        assert_eq!(lab.names(), ["disk"], "{kind}");
    }
}
