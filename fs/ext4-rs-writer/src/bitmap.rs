//! Bitmaps: which blocks and which inodes of a group are in use.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/globals.html#block-and-inode-bitmaps>
//!
//! Both are rendered from what the planner knows anyway: the runs of free blocks, and the number of inodes in use,
//! which are neighbours from inode 1 on. Bits that stand for nothing are 1.

use std::ops::Range;

use image_core::map::Table;

use crate::geometry::Geometry;
use crate::render::each_block;
use crate::space::Run;
use crate::units::{Block, Bytes, Group, to_usize};

/// The block bitmaps of all groups, one after the other.
#[derive(Debug)]
pub(crate) struct BlockBitmaps {
    /// How blocks divide into groups.
    pub(crate) geometry: Geometry,
    /// What stays free, ascending.
    pub(crate) free: Vec<Run>,
}

/// The inode bitmaps of all groups, one after the other.
#[derive(Debug)]
pub(crate) struct InodeBitmaps {
    /// How inodes divide into groups.
    pub(crate) geometry: Geometry,
    /// Inodes in use, from inode 1 on.
    pub(crate) used: u32,
}

impl BlockBitmaps {
    /// Renders one group's bitmap.
    pub(crate) fn group(&self, group: Group, bitmap: &mut [u8]) {
        bitmap.fill(0xff);
        let start = self.geometry.group_start(group);
        let end = start + self.geometry.group_blocks(group);
        let first = self.free.partition_point(|run| run.end() <= start);
        for run in self.free[first..].iter().take_while(|run| run.start < end) {
            let bit = |block: Block| {
                let offset = block.clamp(start, end) - start;
                usize::try_from(offset.0).expect("a group's blocks are counted by a block's bits")
            };
            clear(bitmap, bit(run.start)..bit(run.end()));
        }
    }

    /// Free blocks of every group.
    pub(crate) fn free_blocks(&self) -> Vec<u32> {
        let mut counts = vec![0_u32; self.geometry.group_count()];
        for run in &self.free {
            let mut at = run.start;
            while at < run.end() {
                let group = self.geometry.group_of(at);
                let end = run
                    .end()
                    .min(self.geometry.group_start(group) + self.geometry.group_blocks(group));
                let count = u32::try_from((end - at).0).expect("a group's blocks are 32 bits");
                let sum = &mut counts[group.index()];
                *sum = sum.saturating_add(count);
                at = end;
            }
        }
        counts
    }
}

impl InodeBitmaps {
    /// Inodes of a group that are in use: the first ones.
    pub(crate) fn used_in(&self, group: Group) -> u32 {
        let before = u64::from(group.0).saturating_mul(self.geometry.inodes_per_group.into());
        let here = u64::from(self.used)
            .saturating_sub(before)
            .min(self.geometry.inodes_per_group.into());
        u32::try_from(here).expect("at most a group's inodes")
    }

    /// Renders one group's bitmap.
    pub(crate) fn group(&self, group: Group, bitmap: &mut [u8]) {
        bitmap.fill(0xff);
        clear(
            bitmap,
            to_usize(self.used_in(group))..to_usize(self.geometry.inodes_per_group),
        );
    }
}

/// Clears bits.
fn clear(bitmap: &mut [u8], bits: Range<usize>) {
    let (mut at, end) = (bits.start, bits.end);
    while at < end {
        if at.is_multiple_of(8) && end.saturating_sub(at) >= 8 {
            let last = end / 8;
            bitmap[at / 8..last].fill(0);
            at = last.saturating_mul(8);
        } else {
            bitmap[at / 8] &= !(1_u8 << (at % 8));
            at = at.saturating_add(1);
        }
    }
}

impl Table for BlockBitmaps {
    fn len(&self) -> u64 {
        (Bytes(self.geometry.groups.into()) * self.geometry.block_size.bytes()).0
    }

    fn render(&self, offset: u64, buf: &mut [u8]) {
        each_block(self.geometry.block_size, offset, buf, |group, bitmap| {
            self.group(Group(group), bitmap);
        });
    }
}

impl Table for InodeBitmaps {
    fn len(&self) -> u64 {
        (Bytes(self.geometry.groups.into()) * self.geometry.block_size.bytes()).0
    }

    fn render(&self, offset: u64, buf: &mut [u8]) {
        each_block(self.geometry.block_size, offset, buf, |group, bitmap| {
            self.group(Group(group), bitmap);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exactly_the_bits_asked_for_are_cleared(start in 0_usize..200, len in 0_usize..200) {
            let mut bitmap = [0xff_u8; 64];
            clear(&mut bitmap, start..start + len);
            for bit in 0..512 {
                let set = bitmap[bit / 8] >> (bit % 8) & 1 == 1;
                prop_assert_eq!(set, !(start..start + len).contains(&bit));
            }
        }
    }
}
