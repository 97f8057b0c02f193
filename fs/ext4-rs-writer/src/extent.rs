//! Extents: which run of disk blocks holds which run of a file's blocks.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/dynamic.html#extent-tree>
//!
//! Invariants of the leaves we write:
//! - `leaf[i].block + leaf[i].len <= leaf[i + 1].block`: sorted, disjoint; a hole is an absent leaf;
//! - `1 <= len <= LEN_MAX`: a longer run is cut, since a greater `len` would mean "unwritten".
//!
//! Invariants of the tree: every node but the root fills a block and has the same depth below it; nodes are full but
//! for the last of each level.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::checksum::InodeSeed;
use crate::units::{Block, BlockSize, Blocks, halves, quarters, to_u64};

/// The most blocks that one initialised extent can hold.
pub const LEN_MAX: u64 = 1 << 15;
/// Entries in the inode.
const ROOT_MAX: usize = 4;
pub(crate) const MAGIC: u16 = 0xf30a;

/// The head of a node, as it stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub struct Header {
    pub eh_magic: U16,
    pub eh_entries: U16,
    pub eh_max: U16,
    pub eh_depth: U16,
    pub eh_generation: U32,
}
const _: () = assert!(size_of::<Header>() == 12);

/// A leaf entry, as it stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub struct Leaf {
    pub ee_block: U32,
    pub ee_len: U16,
    pub ee_start_hi: U16,
    pub ee_start_lo: U32,
}
const _: () = assert!(size_of::<Leaf>() == 12 && std::mem::offset_of!(Leaf, ee_start_lo) == 8);

/// An entry that leads to a node below, as it stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub struct Index {
    pub ei_block: U32,
    pub ei_leaf_lo: U32,
    pub ei_leaf_hi: U16,
    pub ei_unused: U16,
}
const _: () = assert!(size_of::<Index>() == 12);

/// A run of a file's blocks on a run of disk blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First block of the file.
    pub logical: u32,
    /// First block on disk.
    pub start: Block,
    /// How many blocks.
    pub len: Blocks,
}

/// How many leaves a list of mappings makes.
pub fn leaf_count(mappings: impl Iterator<Item = Blocks>) -> u64 {
    mappings.fold(0, |sum, len| sum.saturating_add(len.div_ceil(LEN_MAX)))
}

/// Blocks of the tree's nodes below the inode, for so many leaves.
pub fn node_blocks(leaves: u64, block_size: BlockSize) -> Blocks {
    let mut blocks = Blocks::ZERO;
    let mut entries = leaves;
    while entries > to_u64(ROOT_MAX) {
        entries = entries.div_ceil(to_u64(node_max(block_size)));
        blocks += Blocks(entries);
    }
    blocks
}

/// Entries of a node that fills a block.
fn node_max(block_size: BlockSize) -> usize {
    let room = block_size.buffer().saturating_sub(size_of::<Header>());
    room.checked_div(size_of::<Leaf>()).expect("an entry has bytes")
}

/// Cuts mappings, in file order, into leaves.
fn leaves(mappings: &[Mapping]) -> Vec<Leaf> {
    let mut leaves = Vec::with_capacity(mappings.len());
    for mapping in mappings {
        let mut done = 0;
        while done < mapping.len.0 {
            let len = (mapping.len - done).0.min(LEN_MAX);
            let (start_lo, start_hi) = halves((mapping.start + done).0);
            let block = u64::from(mapping.logical).saturating_add(done);
            leaves.push(Leaf {
                ee_block: halves(block).0.into(),
                ee_len: quarters(halves(len).0).0.into(),
                ee_start_hi: quarters(start_hi).0.into(),
                ee_start_lo: start_lo.into(),
            });
            done = done.saturating_add(len);
        }
    }
    leaves
}

/// A rendered tree: the bytes of `i_block`, and each node's block with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// What stands in the inode.
    pub root: [u8; 60],
    /// The nodes below, in no order that matters.
    pub nodes: Vec<(Block, Vec<u8>)>,
}

/// Renders the tree of a file's mappings. `blocks` are the disk blocks of its nodes, as many as [`node_blocks`] says;
/// `seed` makes nodes end in checksums.
pub fn render(
    mappings: &[Mapping],
    block_size: BlockSize,
    seed: Option<InodeSeed>,
    blocks: &mut impl Iterator<Item = Block>,
) -> Rendered {
    let max = node_max(block_size);
    let mut level: Vec<([u8; 12], u32)> = leaves(mappings)
        .iter()
        .map(|leaf| (entry_bytes(leaf), leaf.ee_block.get()))
        .collect();
    let mut nodes = Vec::new();
    let mut depth = 0;
    while level.len() > ROOT_MAX {
        let mut above = Vec::with_capacity(level.len().div_ceil(max));
        for entries in level.chunks(max) {
            let at = blocks.next().expect("as many blocks as node_blocks counted");
            let mut bytes = vec![0; block_size.buffer()];
            fill(&mut bytes, entries, max, depth);
            if let Some(seed) = seed {
                let tail = size_of::<Header>().saturating_add(max.saturating_mul(size_of::<Leaf>()));
                let checksum = seed.extent_block(&bytes[..tail]);
                bytes[tail..][..4].copy_from_slice(&checksum.to_le_bytes());
            }
            let first = entries[0].1;
            let (leaf_lo, leaf_hi) = halves(at.0);
            let index = Index {
                ei_block: first.into(),
                ei_leaf_lo: leaf_lo.into(),
                ei_leaf_hi: quarters(leaf_hi).0.into(),
                ei_unused: 0.into(),
            };
            above.push((entry_bytes(&index), first));
            nodes.push((at, bytes));
        }
        level = above;
        depth = depth.saturating_add(1);
    }
    let mut root = [0; 60];
    fill(&mut root, &level, ROOT_MAX, depth);
    Rendered { root, nodes }
}

fn entry_bytes(entry: &(impl IntoBytes + Immutable)) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes.copy_from_slice(entry.as_bytes());
    bytes
}

fn fill(node: &mut [u8], entries: &[([u8; 12], u32)], max: usize, depth: u16) {
    let count = |n: usize| U16::new(u16::try_from(n).expect("a node's entries fit a block"));
    let header = Header {
        eh_magic: MAGIC.into(),
        eh_entries: count(entries.len()),
        eh_max: count(max),
        eh_depth: depth.into(),
        eh_generation: 0.into(),
    };
    let (head, body) = node.split_at_mut(size_of::<Header>());
    head.copy_from_slice(header.as_bytes());
    for (slot, (entry, _)) in body.chunks_exact_mut(size_of::<Leaf>()).zip(entries) {
        slot.copy_from_slice(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mappings(count: u32) -> Vec<Mapping> {
        (0..count)
            .map(|i| Mapping {
                logical: i * 2,
                start: Block(u64::from(i) * 3 + 100),
                len: Blocks(1),
            })
            .collect()
    }

    #[test]
    fn long_runs_are_cut() {
        let run = Mapping {
            logical: 0,
            start: Block(1 << 33),
            len: Blocks(LEN_MAX + 1),
        };
        let leaves = leaves(&[run]);
        assert_eq!(leaves.len(), 2);
        assert_eq!(leaves[0].ee_len.get(), 32768);
        assert_eq!(leaves[0].ee_start_hi.get(), 2);
        assert_eq!(leaves[1].ee_block.get(), 32768);
        assert_eq!(leaves[1].ee_len.get(), 1);
        assert_eq!(leaf_count([run.len].into_iter()), 2);
    }

    #[test]
    fn depth_grows_with_the_leaves() {
        let size = BlockSize::KIB_4;
        for (count, nodes, depth) in [
            (4, 0, 0),
            (5, 1, 1),
            (340 * 4, 4, 1),
            (340 * 4 + 1, 6, 2),
            (340 * 340, 340 + 1, 2),
        ] {
            assert_eq!(node_blocks(count.into(), size), Blocks(nodes));
            let rendered = render(&mappings(count), size, None, &mut (0..).map(Block));
            assert_eq!(rendered.nodes.len() as u64, nodes);
            assert_eq!(u16::from_le_bytes([rendered.root[6], rendered.root[7]]), depth);
        }
    }
}
