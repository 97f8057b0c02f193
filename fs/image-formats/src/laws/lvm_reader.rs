//! The law of physical volumes that anyone may have made.

use image_core::laws::{Draw, copied};
use image_core::store::MemoryStore;
use image_core::tree::Time;

use crate::lvm::{self, Group, Logical, Physical};

/// Bytes of each physical volume.
const LEN: u64 = 4 << 20;
/// Words of descriptions, right and wrong.
const WORDS: [&str; 24] = [
    "vg {",
    "}",
    "physical_volumes {",
    "logical_volumes {",
    "pv0 {",
    "segment1 {",
    "lv {",
    "id = \"0123456789abcdefghijklmnopqrsta0\"",
    "seqno = 1",
    "extent_size = 128",
    "extent_size = 18446744073709551615",
    "pe_start = 2048",
    "start_extent = 0",
    "extent_count = 1",
    "extent_count = 144115188075855872",
    "type = \"striped\"",
    "stripe_count = 1",
    "stripes = [ \"pv0\", 0 ]",
    "status = [\"VISIBLE\"]",
    "[",
    "]",
    "\"",
    "#",
    "= 7",
];

/// A planned group is read as it was planned. With another description, whose checksum is right, and with whatever is
/// changed of it, it is read or refused with a reason; and no run of a volume has bytes that cannot be counted.
pub fn lvm_reader(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let group = group(&mut draw);
    let planned = lvm::plan(&group).expect("the group is sound");
    let store = MemoryStore::default();
    let mut volume = copied(&planned.labels[0], &store);
    as_planned(&group, &planned, &volume);
    if draw.below(2) == 1 {
        let mut text = Vec::new();
        while !draw.is_empty() && text.len() < 4096 {
            text.extend(draw.pick(&WORDS).bytes());
            text.push(b'\n');
        }
        let label = lvm::disk::label(&group.physical[0], &text).expect("the text is short");
        volume = copied(&label, &store);
    } else {
        while !draw.is_empty() {
            let start = *draw.pick(&[512, 4096, 4608]);
            let at = start + draw.below(512);
            volume[usize::try_from(at).unwrap()] = draw.byte();
        }
    }
    match lvm::read(&volume) {
        Ok(found) => {
            let volumes = found.group.into_iter().flat_map(|group| group.volumes);
            for run in volumes.filter_map(|volume| volume.runs).flatten() {
                assert!(run.len > 0);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Whether what is read is what was planned.
fn as_planned(group: &Group, planned: &lvm::Planned, volume: &Vec<u8>) {
    let found = lvm::read(volume).expect("it is as it was planned");
    assert_eq!(found.uuid, group.physical[0].uuid);
    let read = found.group.expect("it has a group");
    assert_eq!((&read.name, read.number), (&group.name, 1));
    assert_eq!(read.volumes.len(), group.logical.len());
    for ((read, logical), places) in read.volumes.iter().zip(&group.logical).zip(&planned.places) {
        assert_eq!(read.name, logical.name);
        let places: Vec<lvm::Run> = places
            .iter()
            .map(|piece| lvm::Run {
                physical: group.physical[piece.physical].uuid,
                offset: piece.offset,
                len: piece.len,
            })
            .collect();
        assert_eq!(read.runs.as_ref(), Some(&places));
    }
}

/// A group of up to three physical volumes, and as many logical ones.
fn group(draw: &mut Draw<'_>) -> Group {
    let uuid = |kind: u8, number: u64| {
        let mut uuid = *b"0123456789abcdefghijklmnopqrst00";
        (uuid[30], uuid[31]) = (kind, b'0' + u8::try_from(number).unwrap());
        uuid
    };
    Group {
        name: "vg".to_owned(),
        uuid: uuid(b'g', 0),
        extent: 64 << 10,
        physical: (0..=draw.below(3))
            .map(|number| Physical {
                name: format!("/dev/sd{number}"),
                uuid: uuid(b'a', number),
                len: LEN,
            })
            .collect(),
        logical: (0..draw.below(4))
            .map(|number| Logical {
                name: format!("lv{number}"),
                uuid: uuid(b'l', number),
                extents: 1 + draw.below(16),
            })
            .collect(),
        epoch: Time::default(),
    }
}
