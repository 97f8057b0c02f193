//! Inode 7: what keeps the blocks that are reserved for more group descriptors from being used for anything else.
//!
//! It maps one double-indirect block; entry `k` of that is the primary reserved block for descriptor block `k`, and
//! that block in turn lists its copies in the groups with backups. Kernel and e2fsck check this shape exactly.

use image_core::map::Table;

use crate::geometry::Geometry;
use crate::inode::{Inode, Stamp};
use crate::render::each_block;
use crate::units::{Block, Blocks, Bytes, halves, to_u64};

/// Where `i_block` has the double-indirect block.
const DOUBLE: usize = 13;

/// The reserved descriptor blocks of group 0.
#[derive(Debug)]
pub(crate) struct Reserve {
    geometry: Geometry,
    /// How far behind a primary block each of its copies lies.
    distances: Vec<Blocks>,
}

impl Reserve {
    /// The reserve of a file system, if it has one.
    pub(crate) fn new(geometry: &Geometry) -> Option<Self> {
        let first = geometry.block_size.first_data_block();
        let distances = geometry
            .backups()
            .map(|group| geometry.group_start(group) - first)
            .collect();
        (geometry.reserved_gdt_blocks > Blocks::ZERO).then(|| Self {
            geometry: geometry.clone(),
            distances,
        })
    }

    /// The first reserved block of group 0.
    pub(crate) fn start(&self) -> Block {
        self.geometry.block_size.first_data_block() + 1 + self.geometry.gdt_blocks
    }

    /// The double-indirect block.
    pub(crate) fn double_indirect(&self) -> Vec<u8> {
        let mut block = vec![0; self.geometry.buffer()];
        let slots = to_u64(block.len()) / 4;
        for k in 0..self.geometry.reserved_gdt_blocks.0 {
            let slot = (self.geometry.gdt_blocks + Blocks(k)) % slots;
            let at = usize::try_from(slot)
                .expect("less than a block")
                .saturating_mul(4);
            let number = halves((self.start() + k).0).0;
            block[at..][..4].copy_from_slice(&number.to_le_bytes());
        }
        block
    }

    /// The inode.
    pub(crate) fn inode(&self, double_indirect: Block, stamp: Stamp) -> Inode {
        let mut inode = Inode::new(crate::inode::mode::FILE | 0o600, stamp);
        let slots = Bytes(self.geometry.block_size.bytes()) / 4;
        let blocks = slots * slots.0 + slots + Bytes(12);
        inode.set_links(1);
        inode.set_size((blocks * self.geometry.block_size.bytes()).0);
        let copies = Blocks(to_u64(self.distances.len())) + Blocks(1);
        let owned = copies * self.geometry.reserved_gdt_blocks.0 + Blocks(1);
        inode.set_blocks(owned, self.geometry.block_size);
        inode.i_block[DOUBLE] = halves(double_indirect.0).0.into();
        inode
    }
}

impl Table for Reserve {
    fn len(&self) -> u64 {
        self.geometry
            .reserved_gdt_blocks
            .bytes(self.geometry.block_size)
            .0
    }

    fn render(&self, offset: u64, buf: &mut [u8]) {
        each_block(self.geometry.block_size, offset, buf, |k, block| {
            let primary = self.start() + u64::from(k);
            for (slot, distance) in block.chunks_exact_mut(4).zip(&self.distances) {
                slot.copy_from_slice(&halves((primary + *distance).0).0.to_le_bytes());
            }
        });
    }
}
