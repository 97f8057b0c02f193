//! Tree blocks: leaves with items, and blocks above them that lead to others.
//!
//! Invariants of a checked block:
//! - its keys ascend, none is there twice;
//! - the bytes of a leaf's items follow each other from its end towards its beginning, up to the entries at most: no
//!   byte is two items'.

use zerocopy::FromBytes;

use super::checksum::Checksum;
use super::disk::{Header, Item, Key, KeyPtr, LEVELS};
use super::error::BlockTrouble;
use super::to_u64;

/// A block that was checked by itself; whether it stands in its place, [`Node::check_place`] says.
#[derive(Debug)]
pub(super) struct Node {
    bytes: Box<[u8]>,
    count: usize,
    level: u8,
    generation: u64,
}

/// What the block above says of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) level: u8,
    pub(super) generation: u64,
    /// The first key.
    pub(super) first: Option<Key>,
    /// What all keys are below.
    pub(super) end: Option<Key>,
}

impl Node {
    /// Checks a block that was read from logical address `at`.
    pub(super) fn new(
        bytes: Vec<u8>,
        at: u64,
        uuid: &[u8; 16],
        checksum: Checksum,
    ) -> Result<Self, BlockTrouble> {
        if !checksum.guards(&bytes) {
            return Err(BlockTrouble::Checksum);
        }
        let (header, rest) = Header::ref_from_prefix(&bytes).map_err(|_| BlockTrouble::TooManyItems(0))?;
        if header.bytenr.get() != at {
            return Err(BlockTrouble::WrongPlace(header.bytenr.get()));
        }
        if header.fsid != *uuid {
            return Err(BlockTrouble::WrongUuid);
        }
        let (level, nritems) = (header.level, header.nritems.get());
        if level >= LEVELS {
            return Err(BlockTrouble::Level {
                found: level,
                expected: LEVELS.saturating_sub(1),
            });
        }
        let entry = if level == 0 {
            size_of::<Item>()
        } else {
            size_of::<KeyPtr>()
        };
        let count = usize::try_from(nritems).ok();
        let count = count.filter(|count| count.checked_mul(entry).is_some_and(|len| len <= rest.len()));
        let node = Self {
            count: count.ok_or(BlockTrouble::TooManyItems(nritems))?,
            level,
            generation: header.generation.get(),
            bytes: bytes.into(),
        };
        node.check_keys()?;
        node.check_items()?;
        Ok(node)
    }

    fn check_keys(&self) -> Result<(), BlockTrouble> {
        let keys = (0..self.count).map(|index| self.key(index));
        let next = keys.clone().skip(1);
        match keys.zip(next).position(|(key, next)| key >= next) {
            Some(at) => Err(BlockTrouble::KeyOrder(to_u64(at.saturating_add(1)))),
            None => Ok(()),
        }
    }

    fn check_items(&self) -> Result<(), BlockTrouble> {
        if self.level > 0 {
            return Ok(());
        }
        let mut end = self.entries().len();
        let low = self.count.saturating_mul(size_of::<Item>());
        for (index, item) in self.items().iter().enumerate() {
            let (offset, size) = (usize_of(item.offset.get()), usize_of(item.size.get()));
            if offset < low || offset.checked_add(size) != Some(end) {
                return Err(BlockTrouble::ItemPlace(to_u64(index)));
            }
            end = offset;
        }
        Ok(())
    }

    /// Checks a block against what the block above it says.
    pub(super) fn check_place(&self, place: &Place) -> Result<(), BlockTrouble> {
        if self.level != place.level {
            return Err(BlockTrouble::Level {
                found: self.level,
                expected: place.level,
            });
        }
        if self.generation != place.generation {
            return Err(BlockTrouble::Generation {
                found: self.generation,
                expected: place.generation,
            });
        }
        let first = place
            .first
            .is_none_or(|first| self.count > 0 && self.key(0) == first);
        let last = self.count.checked_sub(1).map(|last| self.key(last));
        let below = place.end.is_none_or(|end| last.is_none_or(|last| last < end));
        // A block above the leaves always leads somewhere.
        if first && below && (self.count > 0 || self.level == 0) {
            Ok(())
        } else {
            Err(BlockTrouble::ForeignKeys)
        }
    }

    pub(super) fn level(&self) -> u8 {
        self.level
    }

    /// The items of a leaf.
    pub(super) fn items(&self) -> &[Item] {
        let count = if self.level == 0 { self.count } else { 0 };
        let items = <[Item]>::ref_from_prefix_with_elems(self.entries(), count);
        items.expect("as many were counted").0
    }

    /// The bytes of one of the leaf's items.
    pub(super) fn data(&self, item: &Item) -> &[u8] {
        let start = usize_of(item.offset.get());
        let end = start.saturating_add(usize_of(item.size.get()));
        self.entries().get(start..end).expect("its place was checked")
    }

    /// The entries of a block above the leaves.
    pub(super) fn pointers(&self) -> &[KeyPtr] {
        let count = if self.level == 0 { 0 } else { self.count };
        let pointers = <[KeyPtr]>::ref_from_prefix_with_elems(self.entries(), count);
        pointers.expect("as many were counted").0
    }

    fn key(&self, index: usize) -> Key {
        if self.level == 0 {
            self.items()[index].key.get()
        } else {
            self.pointers()[index].key.get()
        }
    }

    /// What follows the header.
    fn entries(&self) -> &[u8] {
        self.bytes.get(size_of::<Header>()..).unwrap_or_default()
    }
}

fn usize_of(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
