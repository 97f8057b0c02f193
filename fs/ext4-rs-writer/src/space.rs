//! Free space: the runs of blocks that nobody has taken yet.
//!
//! Blocks are taken from the lowest run that holds what is asked for in one piece, so that what is asked for in order
//! lies in order, and what is small fills the gaps that something large had to leave.
//!
//! Why a tree of maxima over the runs: an image of 20 TiB has tens of thousands of runs, and a tree of files may ask
//! a million times.

use crate::units::{Block, Blocks};

/// A run of neighbouring blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first block.
    pub(crate) start: Block,
    /// How many there are.
    pub(crate) len: Blocks,
}

impl Run {
    /// The block after the last.
    pub(crate) fn end(&self) -> Block {
        self.start + self.len
    }
}

/// Runs of free blocks, ascending and apart.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    runs: Vec<Run>,
    /// A binary tree in an array: node `i` holds the longest run below it; the leaves stand from `leaves` on.
    longest: Vec<Blocks>,
    leaves: usize,
}

impl Space {
    /// All blocks of `runs`, which ascend and do not touch.
    pub(crate) fn new(runs: Vec<Run>) -> Self {
        let leaves = runs.len().next_power_of_two();
        let mut longest = vec![Blocks::ZERO; leaves.saturating_mul(2)];
        for (leaf, run) in longest[leaves..].iter_mut().zip(&runs) {
            *leaf = run.len;
        }
        for node in (1..leaves).rev() {
            let (left, right) = children(node);
            longest[node] = longest[left].max(longest[right]);
        }
        Self {
            runs,
            longest,
            leaves,
        }
    }

    /// Blocks that are free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> Blocks {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// The longest run's length.
    pub(crate) fn longest(&self) -> Blocks {
        self.longest[1]
    }

    /// The runs that are free, ascending.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.runs.iter().copied().filter(|run| run.len > Blocks::ZERO)
    }

    /// Takes `len` neighbouring blocks, the lowest there are.
    pub(crate) fn take(&mut self, len: Blocks) -> Option<Block> {
        if self.longest() < len || len == Blocks::ZERO {
            return None;
        }
        let mut node = 1;
        while node < self.leaves {
            let (left, right) = children(node);
            node = if self.longest[left] >= len { left } else { right };
        }
        Some(self.cut(node, len).start)
    }

    /// Takes up to `most` neighbouring blocks, out of the longest run.
    pub(crate) fn take_longest(&mut self, most: Blocks) -> Option<Run> {
        let len = self.longest().min(most);
        let start = self.take(len)?;
        Some(Run { start, len })
    }

    /// Takes the first blocks of a leaf's run.
    fn cut(&mut self, leaf: usize, len: Blocks) -> Run {
        let run = &mut self.runs[leaf.saturating_sub(self.leaves)];
        let taken = Run {
            start: run.start,
            len,
        };
        *run = Run {
            start: run.start + len,
            len: run.len - len,
        };
        self.longest[leaf] = run.len;
        let mut node = leaf / 2;
        while node > 0 {
            let (left, right) = children(node);
            self.longest[node] = self.longest[left].max(self.longest[right]);
            node /= 2;
        }
        taken
    }
}

fn children(node: usize) -> (usize, usize) {
    let left = node.saturating_mul(2);
    (left, left.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(start: u64, len: u64) -> Run {
        Run {
            start: Block(start),
            len: Blocks(len),
        }
    }

    #[test]
    fn the_lowest_run_that_holds_it_is_taken() {
        let mut space = Space::new(vec![run(10, 2), run(20, 5), run(30, 3)]);
        assert_eq!(space.take(Blocks(3)), Some(Block(20)));
        assert_eq!(space.take(Blocks(2)), Some(Block(10)));
        assert_eq!(space.take(Blocks(3)), Some(Block(30)));
        assert_eq!(space.take(Blocks(3)), None);
        assert_eq!(space.take_longest(Blocks(9)), Some(run(23, 2)));
        assert_eq!(space.free(), Blocks::ZERO);
        assert_eq!(space.take_longest(Blocks(9)), None);
        assert_eq!(Space::new(vec![]).take(Blocks(1)), None);
    }

    proptest! {
        /// Against a list of free blocks.
        #[test]
        fn blocks_are_taken_once_and_lowest_first(
            lens in prop::collection::vec(1_u64..20, 0..30),
            wishes in prop::collection::vec(1_u64..25, 0..60),
        ) {
            let mut at = 0;
            let runs: Vec<Run> = lens.iter().map(|len| { at += 30; run(at, *len) }).collect();
            let mut free: std::collections::BTreeSet<u64> =
                runs.iter().flat_map(|run| run.start.0..run.end().0).collect();
            let mut space = Space::new(runs);
            for wish in wishes {
                let lowest = free.iter().copied().find(|start| (*start..start + wish).all(|b| free.contains(&b)));
                prop_assert_eq!(space.take(Blocks(wish)).map(|block| block.0), lowest);
                for block in lowest.into_iter().flat_map(|start| start..start + wish) {
                    free.remove(&block);
                }
            }
            prop_assert_eq!(space.free().0, free.len() as u64);
        }
    }
}
