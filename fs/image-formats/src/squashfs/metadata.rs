//! Metadata: tables of records that run through blocks of 8 KiB, each compressed on its own.
//!
//! Every block is preceded by 16 bits: how many bytes it takes, and whether it is stored as it is.

use std::collections::HashSet;
use std::sync::Arc;

use zerocopy::byteorder::little_endian::U64;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::cache::Block;
use super::codec::Damage;
use super::disk::{METADATA_SIZE, METADATA_UNCOMPRESSED};
use super::{Error, Image};

/// Where a record stands: which block of its table, counted in bytes from the table's start, and where in that block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reference {
    pub(super) block: u64,
    pub(super) offset: u16,
}

impl Reference {
    /// A reference as images have it: the block above bit 16, the offset below.
    pub(super) fn new(reference: u64) -> Self {
        Self {
            block: reference >> 16,
            offset: u16::try_from(reference & 0xffff).expect("sixteen bits"),
        }
    }
}

/// What of a table was read, so that nobody makes much out of little: records that overlap are read more than once,
/// and an image of a few kilobytes could hold a tree of any size.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    blocks: HashSet<u64>,
    spent: u64,
}

impl Ledger {
    fn block(&mut self, at: u64) {
        self.blocks.insert(at);
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        let bytes = u64::try_from(bytes).expect("a usize fits a u64");
        self.spent = self.spent.saturating_add(bytes);
        let blocks = u64::try_from(self.blocks.len()).expect("a usize fits a u64");
        let size = u64::try_from(METADATA_SIZE).expect("8 KiB fit a u64");
        let held = blocks.saturating_mul(size);
        if self.spent > held {
            return Err(Error::Overlap { held });
        }
        Ok(())
    }
}

/// A position in a table.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    image: &'a Image,
    ledger: Option<&'a mut Ledger>,
    /// Where in the image the block begins.
    at: u64,
    block: Option<Block>,
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// A position in the table that begins at byte `table`.
    pub(super) fn new(image: &'a Image, table: u64, reference: Reference) -> Result<Self, Error> {
        let at = table.checked_add(reference.block).ok_or(Error::BadReference {
            table,
            block: reference.block,
            offset: reference.offset,
        })?;
        Ok(Self::at(image, at, usize::from(reference.offset)))
    }

    /// A position in the block at byte `at`.
    pub(super) fn at(image: &'a Image, at: u64, offset: usize) -> Self {
        Self {
            image,
            ledger: None,
            at,
            block: None,
            offset,
        }
    }

    /// Notes what is read.
    pub(super) fn noted(mut self, ledger: &'a mut Ledger) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// Where it stands, for [`Cursor::at`].
    pub(super) fn place(&self) -> (u64, usize) {
        (self.at, self.offset)
    }

    /// Reads a record.
    pub(super) fn record<T: FromBytes + IntoBytes>(&mut self) -> Result<T, Error> {
        let mut record = T::new_zeroed();
        self.read(record.as_mut_bytes())?;
        Ok(record)
    }

    /// Reads as many bytes as `buf` holds, through as many blocks as it takes.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Result<(), Error> {
        let mut rest = buf;
        while !rest.is_empty() {
            let block = self.block()?;
            let from = block.bytes.get(self.offset..).unwrap_or_default();
            let count = from.len().min(rest.len());
            if count == 0 {
                self.advance(&block)?;
                continue;
            }
            let (part, behind) = rest.split_at_mut(count);
            part.copy_from_slice(&from[..count]);
            self.offset = self.offset.saturating_add(count);
            if let Some(ledger) = &mut self.ledger {
                ledger.spend(count)?;
            }
            rest = behind;
        }
        Ok(())
    }

    fn block(&mut self) -> Result<Block, Error> {
        if let Some(block) = &self.block {
            return Ok(block.clone());
        }
        let block = self.image.metadata(self.at)?;
        if self.offset > block.bytes.len() {
            return Err(Error::BadOffset {
                at: self.at,
                offset: self.offset,
                len: block.bytes.len(),
            });
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.block(self.at);
        }
        Ok(self.block.insert(block).clone())
    }

    fn advance(&mut self, block: &Block) -> Result<(), Error> {
        (self.at, self.offset, self.block) = (block.next, 0, None);
        self.block().map(drop)
    }
}

impl Image {
    /// The metadata block at byte `at`.
    pub(super) fn metadata(&self, at: u64) -> Result<Block, Error> {
        self.metadata.get(at, || {
            let damaged = |damage| Error::Block { at, damage };
            let mut header = [0; 2];
            self.read(&mut header, at)?;
            let header = u16::from_le_bytes(header);
            let size = usize::from(header & !METADATA_UNCOMPRESSED);
            if size > METADATA_SIZE {
                return Err(damaged(Damage::TooManyBytes(u64::from(
                    header & !METADATA_UNCOMPRESSED,
                ))));
            }
            let begin = at.saturating_add(2);
            let mut bytes = vec![0; size];
            self.read(&mut bytes, begin)?;
            if header & METADATA_UNCOMPRESSED == 0 {
                let mut out = vec![0; METADATA_SIZE];
                let len = self.compressor.unpack(&bytes, &mut out).map_err(damaged)?;
                out.truncate(len);
                bytes = out;
            }
            if bytes.is_empty() {
                return Err(damaged(Damage::Empty));
            }
            Ok(Block {
                bytes: Arc::from(bytes),
                next: begin.saturating_add(u64::try_from(size).expect("8 KiB fit a u64")),
            })
        })
    }

    /// Record `index` of a table that is found through an index: the places of its blocks, one after the other.
    pub(super) fn indexed<T: FromBytes + IntoBytes>(&self, index_at: u64, index: u32) -> Result<T, Error> {
        let per_block = METADATA_SIZE
            .checked_div(size_of::<T>())
            .expect("no record is empty");
        let index = usize::try_from(index).expect("a u32 fits a usize");
        let block = index
            .checked_div(per_block)
            .expect("no record is longer than a block");
        let within = index
            .checked_rem(per_block)
            .expect("no record is longer than a block");
        let mut at = U64::new_zeroed();
        let entry = u64::try_from(block).ok().and_then(|block| block.checked_mul(8));
        let entry = entry.and_then(|entry| index_at.checked_add(entry));
        self.read(at.as_mut_bytes(), entry.unwrap_or(u64::MAX))?;
        Cursor::at(self, at.get(), within.saturating_mul(size_of::<T>())).record()
    }
}
