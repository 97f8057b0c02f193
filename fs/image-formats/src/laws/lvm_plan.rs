//! The law of planned volume groups.

use image_core::laws::Draw;
use image_core::tree::Time;

use crate::lvm::{self, Group, Logical, Physical};

/// A drawn group is refused with a reason, or planned: every logical volume has as many bytes as asked, in whole extents
/// behind the metadata and inside of physical volumes, and no two have a byte in common.
pub fn lvm_plan(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let group = group(&mut draw);
    let all: u64 = group
        .physical
        .iter()
        .map(|physical| lvm::extents(physical.len, group.extent))
        .sum();
    let asked = group
        .logical
        .iter()
        .fold(0_u64, |sum, logical| sum.saturating_add(logical.extents));
    let planned = match lvm::plan(&group) {
        Ok(planned) => planned,
        Err(lvm::Error::Extents { .. }) => return assert!(asked > all),
        Err(lvm::Error::TooManyExtents { .. }) => return assert!(all > u64::from(u32::MAX)),
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(asked <= all);
    for (physical, label) in group.physical.iter().zip(&planned.labels) {
        assert_eq!(physical.len, label.len());
        assert!(label.extents().last().unwrap().end() <= 1 << 20);
    }
    for (logical, places) in group.logical.iter().zip(&planned.places) {
        let len: u64 = places.iter().map(|piece| piece.len).sum();
        assert_eq!(len, logical.extents * group.extent);
    }
    let mut pieces: Vec<lvm::Piece> = planned.places.concat();
    for piece in &pieces {
        assert!(piece.offset >= 1 << 20 && (piece.offset - (1 << 20)).is_multiple_of(group.extent));
        assert!(piece.len > 0 && piece.offset + piece.len <= group.physical[piece.physical].len);
    }
    pieces.sort_unstable_by_key(|piece| (piece.physical, piece.offset));
    for pair in pieces.windows(2) {
        assert!(pair[0].physical < pair[1].physical || pair[0].offset + pair[0].len <= pair[1].offset);
    }
}

fn group(draw: &mut Draw<'_>) -> Group {
    const NAMES: [&str; 8] = ["vg", "root", "a-b", "-", "snapshot1", "x_tdata", "", "with space"];
    let mut number = 0;
    let mut uuid = |draw: &mut Draw<'_>| {
        number += u8::from(draw.byte() != 255);
        let mut uuid = *b"0123456789abcdefghijklmnopqrst00";
        (uuid[30], uuid[31]) = (b'a' + number / 26, b'a' + number % 26);
        uuid
    };
    let name = |draw: &mut Draw<'_>, plain: &str| match draw.byte() {
        255 => (*draw.pick(&NAMES)).to_owned(),
        _ => plain.to_owned(),
    };
    let extent = *draw.pick(&[4 << 20, 1 << 20, 3 << 17, 1024, 1 << 30, 1000]);
    Group {
        name: name(draw, "vg"),
        uuid: uuid(draw),
        extent,
        physical: (0..=draw.below(4))
            .map(|i| Physical {
                name: name(draw, &format!("/dev/sd{i}")),
                uuid: uuid(draw),
                len: (draw.below(1 << 34) | (64 << 20)) / 512 * 512,
            })
            .collect(),
        logical: (0..draw.below(6))
            .map(|i| Logical {
                name: name(draw, &format!("lv{i}")),
                uuid: uuid(draw),
                extents: draw.below((1 << 33) / extent + 300),
            })
            .collect(),
        epoch: Time::default(),
    }
}
