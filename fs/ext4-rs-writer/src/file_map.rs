//! File maps: which of a file's blocks hold data, where they lie, and what it costs to say so.
//!
//! A file's data is a list of runs of its own blocks, [`Logical`]; its place on disk is a list of runs of disk blocks,
//! [`Home`]; both together make [`Mapping`]s, which [`Mapper`] turns into an extent tree or a block map.

use image_core::tree::Data;

use crate::block_map;
use crate::checksum::InodeSeed;
use crate::extent::{self, LEN_MAX, Mapping, Rendered};
use crate::space::{Run, Space};
use crate::units::{Block, BlockSize, Blocks, Bytes};

/// Which of a file's blocks hold data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Logical {
    /// The first so many.
    Dense(Blocks),
    /// Runs: the first block and how many.
    Sparse(Vec<(u32, Blocks)>),
}

impl Logical {
    /// The blocks of a file that its data touches.
    pub(crate) fn of(data: &Data, block_size: BlockSize) -> Self {
        if data.ranges.is_none() {
            return Self::Dense(Bytes(data.len).blocks(block_size));
        }
        let mut runs: Vec<(u32, Blocks)> = Vec::new();
        let mut reached = 0;
        for range in data.ranges().filter(|range| !range.is_empty()) {
            let first = (Bytes(range.start) / block_size.bytes()).0.max(reached);
            let end = Bytes(range.end).blocks(block_size).0;
            let len = Blocks(end.saturating_sub(first));
            if len == Blocks::ZERO {
                continue;
            }
            match runs.last_mut() {
                Some((_, last)) if first == reached => *last += len,
                _ => {
                    let first = u32::try_from(first).expect("a file's length was checked");
                    runs.push((first, len));
                }
            }
            reached = end;
        }
        Self::Sparse(runs)
    }

    /// Blocks with data.
    pub(crate) fn blocks(&self) -> Blocks {
        match self {
            Self::Dense(blocks) => *blocks,
            Self::Sparse(runs) => runs.iter().map(|(_, len)| *len).sum(),
        }
    }

    fn runs(&self) -> impl Iterator<Item = (u32, Blocks)> + '_ {
        let (dense, sparse) = match self {
            Self::Dense(blocks) => (Some((0, *blocks)), &[][..]),
            Self::Sparse(runs) => (None, &runs[..]),
        };
        dense
            .into_iter()
            .chain(sparse.iter().copied())
            .filter(|(_, len)| *len > Blocks::ZERO)
    }

    /// Which disk block holds which block of the file.
    pub(crate) fn mappings(&self, home: &[Run]) -> Vec<Mapping> {
        let mut mappings = Vec::new();
        let mut disk = home.iter().copied();
        let mut at = disk.next();
        for (mut logical, mut len) in self.runs() {
            while len > Blocks::ZERO {
                let run = at.filter(|run| run.len > Blocks::ZERO).or_else(|| disk.next());
                let run = run.expect("a file has as many disk blocks as blocks of data");
                let taken = run.len.min(len);
                mappings.push(Mapping {
                    logical,
                    start: run.start,
                    len: taken,
                });
                logical = u32::try_from(u64::from(logical).saturating_add(taken.0)).unwrap_or(u32::MAX);
                len -= taken;
                at = Some(Run {
                    start: run.start + taken,
                    len: run.len - taken,
                });
            }
        }
        mappings
    }
}

/// Where a file's blocks lie: those of its data in the order of the file, and those of its map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Home {
    /// Its data.
    pub(crate) runs: Vec<Run>,
    /// The nodes of its map.
    pub(crate) nodes: Vec<Block>,
}

impl Home {
    /// Data and then the nodes of the map, in one piece.
    pub(crate) fn in_one_piece(first: Block, data: Blocks, nodes: Blocks) -> Self {
        let run = Run {
            start: first,
            len: data,
        };
        let behind = run.end();
        Self {
            runs: vec![run],
            nodes: (0..nodes.0).map(|i| behind + i).collect(),
        }
    }

    /// All blocks that the inode owns.
    pub(crate) fn blocks(&self) -> Blocks {
        let data: Blocks = self.runs.iter().map(|run| run.len).sum();
        data + Blocks(crate::units::to_u64(self.nodes.len()))
    }
}

/// Makes extent trees, or block maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapper {
    /// Bytes in a block.
    pub(crate) block_size: BlockSize,
    /// Whether files are mapped by extents.
    pub(crate) extents: bool,
}

impl Mapper {
    /// The longest file, in bytes.
    pub(crate) fn len_max(self) -> u64 {
        let blocks = if self.extents {
            // The kernel keeps the last number for itself.
            0xffff_ffff
        } else {
            // `i_blocks` without huge_file counts 2^32 sectors, map blocks among them; the kernel leaves room alike.
            let sectors = Bytes(1 << 41) / self.block_size.bytes();
            block_map::blocks_max(self.block_size).min(sectors.0.saturating_sub(sectors.0 / 200))
        };
        Blocks(blocks).bytes(self.block_size).0
    }

    /// Blocks of the map of a file that lies in one piece.
    pub(crate) fn nodes_in_one_piece(self, logical: &Logical) -> Blocks {
        match logical {
            Logical::Dense(blocks) if self.extents => {
                extent::node_blocks(blocks.div_ceil(LEN_MAX), self.block_size)
            }
            Logical::Dense(blocks) if blocks.0 <= 12 => Blocks::ZERO,
            _ => {
                let run = Run {
                    start: Block(0),
                    len: logical.blocks(),
                };
                self.nodes(&logical.mappings(&[run]))
            }
        }
    }

    /// Blocks of the map of these mappings.
    fn nodes(self, mappings: &[Mapping]) -> Blocks {
        if self.extents {
            let leaves = extent::leaf_count(mappings.iter().map(|mapping| mapping.len));
            extent::node_blocks(leaves, self.block_size)
        } else {
            block_map::node_blocks(mappings, self.block_size)
        }
    }

    /// Takes the blocks that a file needs: in one piece if there is one, else in as few as there are.
    /// `None` if space runs out.
    pub(crate) fn settle(self, logical: &Logical, space: &mut Space) -> Option<Home> {
        let data = logical.blocks();
        if data == Blocks::ZERO {
            return Some(Home::default());
        }
        let nodes = self.nodes_in_one_piece(logical);
        if let Some(first) = space.take(data + nodes) {
            return Some(Home::in_one_piece(first, data, nodes));
        }
        let mut runs = Vec::new();
        if let Some(start) = space.take(data) {
            runs.push(Run { start, len: data });
        } else {
            let mut rest = data;
            while rest > Blocks::ZERO {
                let run = space.take_longest(rest)?;
                rest -= run.len;
                runs.push(run);
            }
        }
        let count = self.nodes(&logical.mappings(&runs));
        let nodes: Option<Vec<Block>> = (0..count.0).map(|_| space.take(Blocks(1))).collect();
        Some(Home { runs, nodes: nodes? })
    }

    /// Renders the map of a file.
    pub(crate) fn render(self, logical: &Logical, home: &Home, seed: Option<InodeSeed>) -> Rendered {
        let mappings = logical.mappings(&home.runs);
        let mut nodes = home.nodes.iter().copied();
        if self.extents {
            extent::render(&mappings, self.block_size, seed, &mut nodes)
        } else {
            block_map::render(&mappings, self.block_size, &mut nodes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_core::FileId;

    #[test]
    fn ranges_become_blocks_and_holes_stay() {
        let mut data = Data::dense(FileId(0), 100_000);
        data.ranges = Some([0..1, 4000..4097, 8192..8193, 40_960..50_000].into());
        let logical = Logical::of(&data, BlockSize::KIB_4);
        assert_eq!(logical, Logical::Sparse(vec![(0, Blocks(3)), (10, Blocks(3))]));
        let home = [
            Run {
                start: Block(50),
                len: Blocks(2),
            },
            Run {
                start: Block(90),
                len: Blocks(4),
            },
        ];
        let mapping = |logical, start, len| Mapping {
            logical,
            start: Block(start),
            len: Blocks(len),
        };
        assert_eq!(
            logical.mappings(&home),
            [mapping(0, 50, 2), mapping(2, 90, 1), mapping(10, 91, 3)]
        );
    }
}
