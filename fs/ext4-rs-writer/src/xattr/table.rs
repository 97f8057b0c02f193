//! The blocks of xattrs, rendered when the image is copied.

use std::mem::offset_of;
use std::sync::Arc;

use image_core::map::Table;

use super::Xattrs;
use super::layout::Header;
use crate::render::each_block;
use crate::units::{Block, to_usize as index};

/// The table of a plan's xattr blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) xattrs: Arc<Xattrs>,
    pub(super) starts: Arc<[Block]>,
}

impl Table for Blocks {
    fn len(&self) -> u64 {
        u64::from(self.xattrs.blocks()).saturating_mul(self.xattrs.format.block_size.bytes())
    }

    fn render(&self, offset: u64, buf: &mut [u8]) {
        each_block(self.xattrs.format.block_size, offset, buf, |block, bytes| {
            let k = index(block);
            let (content, sharers) = self.xattrs.blocks[k];
            self.xattrs.contents[index(content)].render(sharers, bytes);
            if self.xattrs.format.checksums {
                let checksum = self.xattrs.format.seed.xattr_block(self.starts[k], bytes);
                let at = offset_of!(Header, checksum);
                bytes[at..at.saturating_add(4)].copy_from_slice(&checksum.to_le_bytes());
            }
        });
    }
}
