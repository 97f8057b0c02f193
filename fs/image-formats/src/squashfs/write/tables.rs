//! Records that run through blocks of 8 KiB, each compressed on its own.

use std::io;

use super::length;
use super::plan::WriteOptions;
use crate::squashfs::disk::{METADATA_SIZE, METADATA_UNCOMPRESSED};

/// A table that is being filled.
#[derive(Debug)]
pub(super) struct Table {
    options: WriteOptions,
    blocks: Vec<u8>,
    /// The last block, so far.
    block: Vec<u8>,
}

impl Table {
    pub(super) fn new(options: WriteOptions) -> Self {
        Self {
            options,
            blocks: Vec::new(),
            block: Vec::with_capacity(METADATA_SIZE),
        }
    }

    /// Where the next record will stand: the block, counted in bytes from the table's start, and where in it.
    pub(super) fn place(&self) -> (u64, u16) {
        let offset = u16::try_from(self.block.len()).expect("less than 8 KiB");
        (length(&self.blocks), offset)
    }

    /// The same as images have it: the block above bit 16, the offset below.
    pub(super) fn reference(&self) -> u64 {
        let (block, offset) = self.place();
        block << 16 | u64::from(offset)
    }

    /// Adds a record, or a part of one.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = METADATA_SIZE.saturating_sub(self.block.len());
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(part);
            bytes = rest;
            if self.block.len() == METADATA_SIZE {
                self.end_block()?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        let packed = self.options.compression.pack(&self.block, self.options.block)?;
        let len = |bytes: &[u8]| u16::try_from(bytes.len()).expect("8 KiB at most");
        let (head, bytes) = match &packed {
            Some(packed) => (len(packed), packed),
            None => (len(&self.block) | METADATA_UNCOMPRESSED, &self.block),
        };
        self.blocks.extend(head.to_le_bytes());
        self.blocks.extend_from_slice(bytes);
        self.block.clear();
        Ok(())
    }

    /// All blocks.
    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        Ok(self.blocks)
    }
}

/// A table of records of one length, which an index of its blocks follows. `at` is where the blocks will stand; gives all
/// bytes, and where the index begins.
pub(super) fn indexed(options: WriteOptions, records: &[u8], at: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut bytes = Vec::new();
    let mut index = Vec::new();
    for block in records.chunks(METADATA_SIZE) {
        index.extend(at.saturating_add(length(&bytes)).to_le_bytes());
        let mut table = Table::new(options);
        table.push(block)?;
        bytes.extend(table.finish()?);
    }
    let start = at.saturating_add(length(&bytes));
    bytes.extend(index);
    Ok((bytes, start))
}
