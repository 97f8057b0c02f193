//! Hash trees: the index of a directory with more than one block.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/dynamic.html#hash-tree-directories>
//!
//! Block 0 is the root, the blocks below it follow level by level, the leaves come last and in the order of hashes, so
//! that reading a directory in the index's order reads the disk forwards.
//!
//! Invariants:
//! - leaf `k` begins with the hash that the index names for it, and hashes never descend from leaf to leaf;
//! - where a run of equal hashes continues from one leaf into the next, the index's entry for the latter has its lowest
//!   bit set, which tells the kernel to look on;
//! - every block of one level but the last has the same number of children.
//!
//! Why leaves are filled to four fifths: `e2fsck -D` leaves about that much slack, so that the first file created in a
//! directory does not split a leaf.

use std::ops::Range;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::block::{self, DIRECTORY_TYPE};
use super::{Format, Names, count};
use crate::checksum::InodeSeed;
use crate::hash;
use crate::units::{Ino, to_usize as index};

/// What the root says of the whole tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RootInfo {
    reserved_zero: U32,
    /// Which hash; never an unsigned variant, since the superblock's flags say that.
    hash_version: u8,
    /// Bytes of this structure.
    info_length: u8,
    /// Levels of index blocks below the root.
    indirect_levels: u8,
    unused_flags: u8,
}
const _: () = assert!(size_of::<RootInfo>() == 8);

/// One child of an index block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Child {
    /// The first hash below it; the lowest bit marks a run of equal hashes that began in the leaf before.
    hash: U32,
    /// Its block within the directory.
    block: U32,
}
const _: () = assert!(size_of::<Child>() == 8);

/// How many children there are and could be, in place of the first child's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct CountLimit {
    limit: U16,
    count: U16,
}
const _: () = assert!(size_of::<CountLimit>() == 4);

/// What guards an index block, after the last child it has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Tail {
    reserved: U32,
    checksum: U32,
}
const _: () = assert!(size_of::<Tail>() == 8);

/// Where the root's children begin: after `.`, `..` and its info.
const ROOT_CHILDREN: usize = 0x20;
/// Where the children of other index blocks begin: after an entry that names nothing and hides them.
const NODE_CHILDREN: usize = 8;

/// An index that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) leaves: u64,
    pub(super) max: u64,
}

/// A directory with an index.
#[derive(Clone, Debug)]
pub(super) struct Htree {
    /// The indices of names, in the order of their hashes.
    order: Box<[u32]>,
    leaves: Box<[LeafStart]>,
    /// The levels of index blocks, from the root down.
    levels: Vec<Level>,
}

#[derive(Clone, Copy, Debug)]
struct LeafStart {
    /// Where in `order` the leaf begins.
    first: u32,
    /// What the index calls it.
    hash: u32,
}

/// One level of index blocks.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// Its blocks.
    width: u32,
    /// Children of each of its blocks but the last.
    children: u32,
}

/// What a block of an indexed directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role<'a> {
    /// A block of names: their indices.
    Leaf(&'a [u32]),
    /// A block of the index: its level, and its place in that.
    Index { level: usize, i: u32 },
}

impl Htree {
    /// Sorts a directory's names into leaves, and puts an index over them.
    pub(super) fn plan(names: &Names<'_>, format: &Format) -> Result<Self, Full> {
        let mut hashed: Vec<Hashed> = names
            .iter()
            .enumerate()
            .map(|(i, (name, _))| {
                let hash = format.hasher.hash(name);
                Hashed {
                    major: hash.major,
                    minor: hash.minor,
                    i: count(i),
                    bytes: block::entry_bytes(name),
                }
            })
            .collect();
        hashed.sort_unstable();
        let leaves = pack(&hashed, format.leaf_bytes());
        let levels = stack(count(leaves.len()), format)?;
        Ok(Self {
            order: hashed.into_iter().map(|name| name.i).collect(),
            leaves: leaves.into(),
            levels,
        })
    }

    /// Blocks of the directory.
    pub(super) fn blocks(&self) -> u32 {
        self.first_leaf().saturating_add(count(self.leaves.len()))
    }

    fn first_leaf(&self) -> u32 {
        self.level_start(self.levels.len())
    }

    /// The first block of a level; the leaves are the level below the last.
    fn level_start(&self, level: usize) -> u32 {
        let widths = self.levels[..level].iter().map(|level| level.width);
        widths.fold(0, u32::saturating_add)
    }

    /// What block `k` is.
    pub(super) fn role(&self, k: u32) -> Role<'_> {
        if let Some(leaf) = k.checked_sub(self.first_leaf()) {
            let leaf = index(leaf);
            let end = self.leaves.get(leaf.saturating_add(1));
            let end = end.map_or(self.order.len(), |next| index(next.first));
            return Role::Leaf(&self.order[index(self.leaves[leaf].first)..end]);
        }
        let mut i = k;
        let mut level = 0;
        while let Some(below) = i.checked_sub(self.levels[level].width) {
            i = below;
            level = level.saturating_add(1);
        }
        Role::Index { level, i }
    }

    /// The leaves below block `i` of a level.
    fn leaf_below(&self, level: usize, i: u32) -> u32 {
        let below = self.levels[level..].iter().map(|level| level.children);
        below.fold(i, u32::saturating_mul)
    }

    /// The children of block `i` of a level, by their places in the level below.
    fn children(&self, level: usize, i: u32) -> Range<u32> {
        let Level { children, .. } = self.levels[level];
        let below = self.levels.get(level.saturating_add(1));
        let below = below.map_or(count(self.leaves.len()), |level| level.width);
        let first = i.saturating_mul(children);
        first..first.saturating_add(children).min(below)
    }

    /// Renders a block of the index into a zeroed block.
    pub(super) fn render_index(
        &self,
        (level, i): (usize, u32),
        (own, parent): (Ino, Ino),
        format: &Format,
        seed: Option<InodeSeed>,
        bytes: &mut [u8],
    ) {
        let start = if level == 0 {
            self.render_root_head(own, parent, format, bytes);
            ROOT_CHILDREN
        } else {
            block::write_entry(bytes, Ino(0), b"", 0);
            NODE_CHILDREN
        };
        let children = self.children(level, i);
        let below = level.saturating_add(1);
        let first_block = self.level_start(below);
        let limit = limit(format, start);
        let counts = CountLimit {
            limit: u16::try_from(limit)
                .expect("an index block has at most 511 children")
                .into(),
            count: u16::try_from(children.len())
                .expect("an index block has at most 511 children")
                .into(),
        };
        let end = start.saturating_add(limit.saturating_mul(size_of::<Child>()));
        let entries = &mut bytes[start..end];
        for (slot, child) in entries.chunks_exact_mut(size_of::<Child>()).zip(children.clone()) {
            let leaf = self.leaves[index(self.leaf_below(below, child))];
            let child = Child {
                hash: leaf.hash.into(),
                block: first_block.saturating_add(child).into(),
            };
            slot.copy_from_slice(child.as_bytes());
        }
        entries[..size_of::<CountLimit>()].copy_from_slice(counts.as_bytes());
        if let Some(seed) = seed {
            let used = start.saturating_add(children.len().saturating_mul(size_of::<Child>()));
            let tail = Tail {
                reserved: 0.into(),
                checksum: seed.htree_node(&bytes[..used], 0).into(),
            };
            bytes[end..end.saturating_add(size_of::<Tail>())].copy_from_slice(tail.as_bytes());
        }
    }

    fn render_root_head(&self, own: Ino, parent: Ino, format: &Format, bytes: &mut [u8]) {
        let file_type = if format.file_types { DIRECTORY_TYPE } else { 0 };
        block::write_entry(&mut bytes[..12], own, b".", file_type);
        block::write_entry(&mut bytes[12..], parent, b"..", file_type);
        let levels = self.levels.len().saturating_sub(1);
        let info = RootInfo {
            reserved_zero: 0.into(),
            hash_version: hash::version(format.hasher.algorithm),
            info_length: 8,
            indirect_levels: u8::try_from(levels).expect("an index has at most 3 levels"),
            unused_flags: 0,
        };
        bytes[24..ROOT_CHILDREN].copy_from_slice(info.as_bytes());
    }
}

/// A name's hash and what must be known of it to pack it. Sorts by hash, then by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hashed {
    major: u32,
    minor: u32,
    i: u32,
    bytes: u32,
}

/// Packs sorted names into leaves.
fn pack(hashed: &[Hashed], leaf_bytes: u32) -> Vec<LeafStart> {
    let target = leaf_bytes.saturating_sub(leaf_bytes / 5);
    let mut leaves = vec![LeafStart { first: 0, hash: 0 }];
    let mut used: u32 = 0;
    let mut before = None;
    for (at, name) in (0..).zip(hashed) {
        if used > 0 && used.saturating_add(name.bytes) > target {
            let continued = u32::from(before == Some(name.major));
            leaves.push(LeafStart {
                first: at,
                hash: name.major | continued,
            });
            used = 0;
        }
        used = used.saturating_add(name.bytes);
        before = Some(name.major);
    }
    leaves
}

/// Children that an index block has room for.
fn limit(format: &Format, start: usize) -> usize {
    let tail = if format.checksums { size_of::<Tail>() } else { 0 };
    let bytes = format
        .block_size
        .buffer()
        .saturating_sub(start)
        .saturating_sub(tail);
    // Bytes of a `Child`.
    bytes / 8
}

/// Stacks levels of index blocks over the leaves, until one block holds the topmost.
fn stack(leaves: u32, format: &Format) -> Result<Vec<Level>, Full> {
    let root = count(limit(format, ROOT_CHILDREN));
    let node = count(limit(format, NODE_CHILDREN));
    let levels_max = if format.large { 3 } else { 2 };
    // As in leaves, some slack where the level above has room for it.
    let slack = node.saturating_sub(node / 5);
    for children in [slack, node] {
        let mut levels = Vec::new();
        let mut width = leaves;
        while width > root {
            let blocks = width.div_ceil(children);
            // Evened out, so that the last block is not nearly empty.
            let children = width.div_ceil(blocks);
            let blocks = width.div_ceil(children);
            levels.push(Level {
                width: blocks,
                children,
            });
            width = blocks;
        }
        levels.push(Level {
            width: 1,
            children: width,
        });
        if levels.len() <= levels_max {
            levels.reverse();
            return Ok(levels);
        }
    }
    let below = (1..levels_max).fold(1_u64, |max, _| max.saturating_mul(u64::from(node)));
    Err(Full {
        leaves: u64::from(leaves),
        max: u64::from(root).saturating_mul(below),
    })
}
