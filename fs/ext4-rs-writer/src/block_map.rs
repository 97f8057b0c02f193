//! Block maps: how ext2 and ext3 say which disk block holds which block of a file.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/dynamic.html#direct-indirect-block-addressing>
//!
//! Twelve blocks stand in the inode; three more numbers lead to blocks of numbers of one, two and three levels. A
//! number of 0 is a hole, and so is a block of numbers that would hold nothing but holes.

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use crate::extent::{Mapping, Rendered};
use crate::units::{Block, BlockSize, Blocks, halves};

/// Blocks whose numbers stand in the inode.
const DIRECT: u64 = 12;

/// The most blocks that a file can have.
pub(crate) fn blocks_max(block_size: BlockSize) -> u64 {
    let spans = [0, 1, 2, 3].map(|level| span(block_size, level));
    let all = spans.iter().fold(0_u64, |sum, span| sum.saturating_add(*span));
    all.saturating_sub(1).saturating_add(DIRECT)
}

/// Blocks of the file that one number of a level leads to.
fn span(block_size: BlockSize, level: u32) -> u64 {
    (block_size.bytes() / 4).saturating_pow(level)
}

/// The roots: each level with the first block of the file that it leads to.
fn roots(block_size: BlockSize) -> [(u32, u64); 3] {
    let double = DIRECT.saturating_add(span(block_size, 1));
    let triple = double.saturating_add(span(block_size, 2));
    [(1, DIRECT), (2, double), (3, triple)]
}

/// Blocks of numbers that a file of these mappings needs.
pub(crate) fn node_blocks(mappings: &[Mapping], block_size: BlockSize) -> Blocks {
    let map = Map { mappings, block_size };
    roots(block_size)
        .into_iter()
        .map(|(level, first)| map.count(level, first))
        .sum()
}

/// Renders the map of a file's mappings. `blocks` are the disk blocks of numbers, as many as [`node_blocks`] says.
pub(crate) fn render(
    mappings: &[Mapping],
    block_size: BlockSize,
    blocks: &mut impl Iterator<Item = Block>,
) -> Rendered {
    let map = Map { mappings, block_size };
    let mut numbers = [U32::ZERO; 15];
    for (slot, logical) in numbers.iter_mut().zip(0..DIRECT) {
        *slot = map.leaf(logical);
    }
    let mut nodes = Vec::new();
    for (slot, (level, first)) in numbers[12..].iter_mut().zip(roots(block_size)) {
        *slot = map.node(level, first, blocks, &mut nodes);
    }
    let mut root = [0; 60];
    root.copy_from_slice(numbers.as_bytes());
    Rendered { root, nodes }
}

struct Map<'a> {
    mappings: &'a [Mapping],
    block_size: BlockSize,
}

impl Map<'_> {
    /// The mapping that ends behind a block of the file, if any does.
    fn from(&self, logical: u64) -> Option<&Mapping> {
        let end = |mapping: &Mapping| u64::from(mapping.logical).saturating_add(mapping.len.0);
        let at = self.mappings.partition_point(|mapping| end(mapping) <= logical);
        self.mappings.get(at)
    }

    fn is_hole(&self, first: u64, level: u32) -> bool {
        let end = first.saturating_add(span(self.block_size, level));
        self.from(first)
            .is_none_or(|mapping| u64::from(mapping.logical) >= end)
    }

    fn children(&self, level: u32, first: u64) -> impl Iterator<Item = u64> + use<> {
        let step = span(self.block_size, level.saturating_sub(1));
        (0..self.block_size.bytes() / 4).map(move |i| first.saturating_add(step.saturating_mul(i)))
    }

    fn count(&self, level: u32, first: u64) -> Blocks {
        if self.is_hole(first, level) {
            return Blocks::ZERO;
        }
        let below = level.saturating_sub(1);
        let counted: Blocks = match below {
            0 => Blocks::ZERO,
            _ => self
                .children(level, first)
                .map(|child| self.count(below, child))
                .sum(),
        };
        counted + Blocks(1)
    }

    fn leaf(&self, logical: u64) -> U32 {
        let inside = self
            .from(logical)
            .and_then(|mapping| Some((mapping, logical.checked_sub(mapping.logical.into())?)));
        inside.map_or(U32::ZERO, |(mapping, skip)| {
            halves((mapping.start + skip).0).0.into()
        })
    }

    fn node(
        &self,
        level: u32,
        first: u64,
        blocks: &mut impl Iterator<Item = Block>,
        nodes: &mut Vec<(Block, Vec<u8>)>,
    ) -> U32 {
        if level == 0 {
            return self.leaf(first);
        }
        if self.is_hole(first, level) {
            return U32::ZERO;
        }
        let at = blocks.next().expect("as many blocks as node_blocks counted");
        let below = level.saturating_sub(1);
        let mut numbers = Vec::with_capacity(self.block_size.buffer() / 4);
        for child in self.children(level, first) {
            numbers.push(self.node(below, child, blocks, nodes));
        }
        nodes.push((at, numbers.as_bytes().to_vec()));
        halves(at.0).0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_as_rendered_and_holes_cost_nothing() {
        let size = BlockSize::KIB_1;
        let map = |logical, len| Mapping {
            logical,
            start: Block(5000),
            len: Blocks(len),
        };
        for (mapping, nodes) in [
            (map(0, 12), 0),
            (map(0, 13), 1),
            (map(12, 256), 1),
            (map(0, 12 + 256 + 1), 3),
            (map(12 + 256 + 65536, 1), 3),
            (map(20_000_000 / 2, 1), 3),
        ] {
            assert_eq!(node_blocks(&[mapping], size), Blocks(nodes));
            let rendered = render(&[mapping], size, &mut (100..).map(Block));
            assert_eq!(rendered.nodes.len() as u64, nodes);
        }
        assert_eq!(blocks_max(size), 12 + 256 + 256 * 256 + 256 * 256 * 256);
    }
}
