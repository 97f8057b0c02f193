//! The summary: what there is to tell about a planned file system.

use std::fmt;

use crate::units::{BlockSize, Blocks};

/// What a plan came to. [`fmt::Display`] prints it, a line a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes in the image.
    pub image_bytes: u64,
    /// The sum of block-rounded sizes of files, directories, long symlinks and values of xattrs in inodes of their own.
    pub used_bytes: u64,
    /// Bytes in a block.
    pub block_size: BlockSize,
    /// Blocks in the file system.
    pub blocks: Blocks,
    /// Those that are free.
    pub free_blocks: Blocks,
    /// Block groups.
    pub groups: u32,
    /// Inodes.
    pub inodes: u64,
    /// Those that are free.
    pub free_inodes: u64,
    /// Inodes in each group.
    pub inodes_per_group: u32,
    /// Blocks of the journal; 0 if there is none.
    pub journal_blocks: Blocks,
    /// Blocks reserved for more group descriptors.
    pub reserved_gdt_blocks: Blocks,
    /// The size beyond which the file system can't grow online, in bytes.
    pub growth_ceiling_bytes: u64,
    /// The size beyond which resize2fs has to be called twice, in bytes: as long as the descriptors of all groups must
    /// fit the first, it refuses more, and they need no longer once the kernel has grown it past its reserve.
    pub growth_call_bytes: u64,
    /// Files whose time no inode can hold, and has been moved to the nearest that one can.
    pub clamped_times: u64,
    /// Files that lie in more than one piece.
    pub fragmented_files: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            blocks, free_blocks, ..
        } = self;
        writeln!(
            f,
            "{} bytes, {blocks} blocks of {} bytes, {free_blocks} free",
            self.image_bytes, self.block_size
        )?;
        writeln!(
            f,
            "{} groups of {} inodes, {} free of {}",
            self.groups, self.inodes_per_group, self.free_inodes, self.inodes
        )?;
        writeln!(f, "journal of {} blocks", self.journal_blocks)?;
        writeln!(
            f,
            "grows online to {} bytes at most; {} blocks are reserved for group descriptors",
            self.growth_ceiling_bytes, self.reserved_gdt_blocks
        )?;
        if self.growth_ceiling_bytes > self.growth_call_bytes {
            writeln!(
                f,
                "one call of resize2fs grows it to {} bytes, another goes on from there",
                self.growth_call_bytes
            )?;
        }
        if self.fragmented_files > 0 {
            writeln!(f, "{} files lie in several pieces", self.fragmented_files)?;
        }
        if self.clamped_times > 0 {
            writeln!(
                f,
                "{} times lie outside 1901 to 2446 and were moved there",
                self.clamped_times
            )?;
        }
        Ok(())
    }
}
