//! How attributes stand in an inode or a block: entries from the front, values from the back.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::attribute::Attribute;
use super::count;
use crate::units::{BlockSize, to_usize as index};

/// What both kinds of area begin with.
pub(crate) const MAGIC: u32 = 0xea02_0000;

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: U32,
    /// Inodes that name the block.
    pub(super) refcount: U32,
    /// Blocks used: always 1.
    pub(crate) blocks: U32,
    /// The hash of all entries.
    pub(super) hash: U32,
    pub(crate) checksum: U32,
    pub(super) reserved: [U32; 3],
}
const _: () = assert!(size_of::<Header>() == 32);

/// The head of an entry; the name follows it, padded to 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) name_len: u8,
    pub(crate) name_index: u8,
    /// Where the value lies, from the area's origin: the first entry in an inode, the header in a block.
    pub(crate) value_offs: U16,
    /// The inode that holds the value; 0 if it lies here.
    pub(crate) value_inum: U32,
    pub(crate) value_size: U32,
    /// Of name and value in a block, or of name and the value's own hash; 0 in an inode, as the kernel leaves it.
    hash: U32,
}
const _: () = assert!(size_of::<Entry>() == 16);

/// The zero word that ends the entries.
const END_BYTES: u32 = 4;

/// A place for attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    /// Bytes for entries, the word that ends them, and values.
    pub(super) room: u32,
}

impl Area {
    /// The space behind an inode's fields, without its magic number.
    pub(super) fn inode(bytes: u16) -> Self {
        Self {
            room: u32::from(bytes).saturating_sub(4),
        }
    }

    /// A block behind its header.
    pub(super) fn block(block_size: BlockSize) -> Self {
        Self {
            room: count(block_size.buffer()).saturating_sub(32),
        }
    }

    /// Divides attributes between this area and one for the rest: in order as long as they fit here, and where the rest
    /// then overflows the other area, so that this one is as full as can be.
    ///
    /// What has its value in an inode goes to the rest: e2fsck takes a short symlink that counts blocks and has no block
    /// of xattrs for one whose target stands in a block.
    pub(super) fn divide(self, attributes: &[Attribute], rest: Area) -> (Vec<&Attribute>, Vec<&Attribute>) {
        let mut free = self.room.saturating_sub(END_BYTES);
        let (inside, outside): (Vec<_>, Vec<_>) = attributes.iter().partition(|attribute| {
            let left = free.checked_sub(attribute.bytes());
            let fits = attribute.apart().is_none() && left.is_some();
            free = left.filter(|_| fits).unwrap_or(free);
            fits
        });
        let overflow = bytes(&outside).saturating_sub(rest.room);
        if overflow == 0 || overflow > free {
            return (inside, outside);
        }
        let chosen = fullest(attributes, self.room.saturating_sub(END_BYTES));
        let mut chosen = chosen.into_iter();
        attributes.iter().partition(|_| chosen.next() == Some(true))
    }
}

/// Bytes that attributes take, with the word that ends them.
pub(super) fn bytes(attributes: &[&Attribute]) -> u32 {
    attributes
        .iter()
        .fold(END_BYTES, |sum, attribute| sum.saturating_add(attribute.bytes()))
}

/// Chooses attributes that together take as many of `room` bytes as possible.
fn fullest(attributes: &[Attribute], room: u32) -> Vec<bool> {
    // best[n]: a choice that takes exactly n words; words, since everything is padded to 4 bytes.
    let words = index(room / 4);
    let mut best: Vec<Option<Vec<bool>>> = vec![None; words.saturating_add(1)];
    best[0] = Some(vec![false; attributes.len()]);
    let movable = attributes.iter().enumerate().filter(|(_, a)| a.apart().is_none());
    for (i, attribute) in movable {
        let cost = index(attribute.bytes() / 4);
        for n in (cost..=words).rev() {
            let without = &best[n.saturating_sub(cost)];
            if let (None, Some(choice)) = (&best[n], without) {
                let mut choice = choice.clone();
                choice[i] = true;
                best[n] = Some(choice);
            }
        }
    }
    best.into_iter().flatten().next_back().unwrap_or_default()
}

/// Renders attributes into a zeroed area that begins with its first entry; offsets of values count from `origin` before
/// it. Returns where the entries end and where the values begin.
fn render(attributes: &[&Attribute], origin: usize, hashed: bool, area: &mut [u8]) -> (usize, usize) {
    let mut at: usize = 0;
    let mut values = area.len();
    for attribute in attributes {
        let value = attribute.here();
        let apart = attribute.apart();
        let padded = value.len().next_multiple_of(4);
        values = values.saturating_sub(padded);
        area[values..values.saturating_add(value.len())].copy_from_slice(value);
        let value_offs = if padded == 0 {
            0
        } else {
            values.saturating_add(origin)
        };
        let entry = Entry {
            name_len: u8::try_from(attribute.name.len()).expect("a name is at most 255 bytes long"),
            name_index: attribute.prefix,
            value_offs: u16::try_from(value_offs)
                .expect("an area is at most a block")
                .into(),
            value_inum: apart.map_or(0, |apart| apart.ino.0).into(),
            value_size: apart.map_or(count(value.len()), |apart| apart.len).into(),
            hash: if hashed { attribute.hash() } else { 0 }.into(),
        };
        let name = at.saturating_add(size_of::<Entry>());
        area[at..name].copy_from_slice(entry.as_bytes());
        let name_end = name.saturating_add(attribute.name.len());
        area[name..name_end].copy_from_slice(&attribute.name);
        at = name_end.next_multiple_of(4);
    }
    (at, values)
}

/// What stands behind an inode's fields: nothing, or all of the room there.
pub(super) fn in_inode(attributes: &[&Attribute], room: u16) -> Box<[u8]> {
    if attributes.is_empty() {
        return Box::default();
    }
    let mut bytes = vec![0; usize::from(room)];
    let (magic, area) = bytes.split_at_mut(4);
    magic.copy_from_slice(&MAGIC.to_le_bytes());
    render(attributes, 0, false, area);
    bytes.into()
}

/// What a block holds, but for its place and the number of its users.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    /// The hash of all entries; 0 if the block cannot be shared.
    pub(super) hash: u32,
    entries: Box<[u8]>,
    values: Box<[u8]>,
    /// The values in inodes that the entries name, one for each such entry.
    pub(super) apart: Box<[u32]>,
}

impl Content {
    pub(super) fn new(attributes: &[&Attribute], block_size: BlockSize) -> Self {
        let mut bytes = vec![0; block_size.buffer()];
        let area = &mut bytes[size_of::<Header>()..];
        let (entries, values) = render(attributes, size_of::<Header>(), true, area);
        let hashes = attributes.iter().map(|attribute| attribute.hash());
        let hash = if hashes.clone().any(|hash| hash == 0) {
            0
        } else {
            hashes.fold(0_u32, |all, hash| all.rotate_left(16) ^ hash)
        };
        Self {
            hash,
            entries: area[..entries].into(),
            values: area[values..].into(),
            apart: attributes
                .iter()
                .filter_map(|attribute| attribute.apart())
                .map(|apart| apart.index)
                .collect(),
        }
    }

    /// Renders the block without its checksum into a zeroed buffer.
    pub(super) fn render(&self, sharers: u32, block: &mut [u8]) {
        let header = Header {
            magic: MAGIC.into(),
            refcount: sharers.into(),
            blocks: 1.into(),
            hash: self.hash.into(),
            checksum: 0.into(),
            reserved: [0.into(); 3],
        };
        let (head, area) = block.split_at_mut(size_of::<Header>());
        head.copy_from_slice(header.as_bytes());
        area[..self.entries.len()].copy_from_slice(&self.entries);
        let values = area.len().saturating_sub(self.values.len());
        area[values..].copy_from_slice(&self.values);
    }
}
