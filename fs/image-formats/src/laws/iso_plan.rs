//! The law of planned ISO 9660 images: what the plainest of readers finds by Rock Ridge is what the tree has.

use std::collections::BTreeMap;

use image_core::laws::{Draw, copied};
use image_core::store::MemoryStore;
use image_core::tree::{Content, NodeId, Time, Tree};
use uuid::Uuid;

use super::archives::{stat, tree};
use crate::iso9660::{self, BLOCK, Options};

/// What one name leads to: its mode with its kind, its owner, its device, and its bytes, or where it leads.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    mode: u32,
    owner: (u32, u32),
    device: (u32, u32),
    data: Vec<u8>,
}

type Names = BTreeMap<Vec<u8>, Found>;

/// The image of any tree says of each name what the tree says, and is the same each time.
pub fn iso_plan(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let options = Options {
        label: (*draw.pick(&["", "A_DISC", "0123456789ABCDEF0123456789ABCDEF"])).to_owned(),
        epoch: Time {
            secs: 1_700_000_000,
            nanos: 0,
        },
        clamp: draw.below(2) == 0,
        bios: None,
        efi: None,
        disk_uuid: Uuid::from_u128(1),
        efi_uuid: Uuid::from_u128(2),
    };
    let (tree, store) = tree(&mut draw, 0xf_ffff);
    let map = iso9660::plan(&tree, &options).unwrap();
    assert_eq!(map, iso9660::plan(&tree, &options).unwrap());
    assert_eq!(map.len() % BLOCK, 0);
    let image = copied(&map, &store);
    let (mut found, mut want) = (Names::new(), Names::new());
    let root = &image[16 * 2048 + 156..][..34];
    read(&image, root, b"", &mut found);
    expect(&tree, &store, NodeId::ROOT, b"", &mut want);
    for path in found.keys().chain(want.keys()) {
        assert_eq!(found.get(path), want.get(path), "{}", path.escape_ascii());
    }
}

/// What lies in a directory of the tree, and below.
fn expect(tree: &Tree, store: &MemoryStore, directory: NodeId, above: &[u8], want: &mut Names) {
    let Content::Directory(entries) = tree.node(directory).content else {
        return;
    };
    for (name, id) in tree.entries(entries) {
        let path = [above, b"/", name].concat();
        let node = tree.node(id);
        let (mode, device, mut data) = stat(tree, store, id);
        if mode >> 12 == 10 {
            data = parts(&data);
        }
        let found = Found {
            mode,
            owner: (node.meta.uid, node.meta.gid),
            device,
            data,
        };
        want.insert(path.clone(), found);
        expect(tree, store, id, &path, want);
    }
}

/// A target, whose slashes may be more than one: a byte that says whether it begins with one, and its parts.
fn parts(target: &[u8]) -> Vec<u8> {
    let parts = target.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    let mut found = vec![u8::from(target.starts_with(b"/"))];
    parts.for_each(|part| found.extend([part, b"/"].concat()));
    found
}

fn number(bytes: &[u8]) -> usize {
    let [a, b, c, d, ..] = *bytes else {
        panic!("a number of both orders")
    };
    usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap()
}

/// The bytes of what a record says where it lies.
fn extent<'a>(image: &'a [u8], record: &[u8]) -> &'a [u8] {
    &image[number(&record[2..]) * 2048..][..number(&record[10..])]
}

/// Reads a directory by its record, and those below.
fn read(image: &[u8], record: &[u8], above: &[u8], found: &mut Names) {
    for block in extent(image, record).chunks(2048) {
        let mut rest = block;
        while let [len @ 1..=255, ..] = *rest {
            let (record, behind) = rest.split_at(usize::from(len));
            rest = behind;
            let identifier = &record[33..][..usize::from(record[32])];
            if identifier == [0] || identifier == [1] {
                continue;
            }
            let start = 33 + identifier.len() + (identifier.len() + 1) % 2;
            let (name, mut one) = by_rock_ridge(image, &record[start..]);
            let path = [above, b"/", &name].concat();
            if one.mode >> 12 == 8 {
                one.data = extent(image, record).to_vec();
            }
            let is_directory = record[25] & 2 != 0;
            assert_eq!(is_directory, one.mode >> 12 == 4, "{}", path.escape_ascii());
            assert!(
                found.insert(path.clone(), one).is_none(),
                "{} twice",
                path.escape_ascii()
            );
            if is_directory {
                read(image, record, &path, found);
            }
        }
    }
}

/// What the fields of a record say, and those that continue them.
fn by_rock_ridge(image: &[u8], fields: &[u8]) -> (Vec<u8>, Found) {
    let (mut name, mut target, mut found) = (Vec::new(), Vec::new(), Found::default());
    let mut next = Some(fields);
    while let Some(mut rest) = next.take() {
        while let [kind, of, len @ 4..=255, ..] = *rest {
            let (field, behind) = rest.split_at(usize::from(len));
            rest = behind;
            let short = |at: usize| u32::try_from(number(&field[at..])).unwrap();
            match &[kind, of] {
                b"PX" => {
                    found.mode = short(4);
                    found.owner = (short(20), short(28));
                }
                b"PN" => {
                    // As C libraries of Linux have it in one number.
                    let (high, low) = (short(4), short(12));
                    let major = (high & !0xfff) | (low >> 8 & 0xfff);
                    found.device = (
                        major,
                        (high & 0xfff) << 20 | (low >> 12 & 0xf_ff00) | (low & 0xff),
                    );
                }
                b"NM" => name.extend(&field[5..]),
                b"SL" => components(&field[5..], &mut target),
                b"CE" => {
                    let at = number(&field[4..]) * 2048 + number(&field[12..]);
                    next = Some(&image[at..][..number(&field[20..])]);
                }
                _ => {}
            }
        }
    }
    if found.mode >> 12 == 10 {
        found.data = parts(&target);
    }
    (name, found)
}

/// Adds the components of one field to a target.
fn components(mut rest: &[u8], target: &mut Vec<u8>) {
    while let [flags, len, ..] = *rest {
        let (part, behind) = rest[2..].split_at(usize::from(len));
        rest = behind;
        match flags & 0b1110 {
            2 => target.push(b'.'),
            4 => target.extend(b".."),
            8 => {}
            _ => target.extend(part),
        }
        if flags & 1 == 0 {
            target.push(b'/');
        }
    }
}
