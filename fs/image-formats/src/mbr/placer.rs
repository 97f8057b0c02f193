//! Where diskimage-builder lays partitions of a disk with a boot record: from the first aligned byte on, one after the
//! other.
//!
//! ```text
//! next = align                                         at first
//! free = len - (next + align)
//! primary: next .. next + size                         logical: boot record at next, next + align .. next + align + size
//! next = the partition's end, aligned up
//! ```
//!
//! A size is cut to whole sectors. One unit of alignment is left over at the end, except behind a logical partition, whose
//! boot record takes it.

use std::ops::Range;

use super::{Error, SECTOR};
use crate::partitions;

/// Lays partitions one after the other.
#[derive(Clone, Debug)]
pub struct Placer {
    len: u64,
    align: u64,
    next: u64,
    placed: u32,
    logical: bool,
}

impl Placer {
    /// Starts with a disk of `len` bytes, all of them free.
    pub fn new(len: u64, align: u64) -> Result<Self, Error> {
        if align == 0 || !align.is_multiple_of(SECTOR) {
            return Err(Error::Align { align });
        }
        Ok(Self {
            len,
            align,
            next: align,
            placed: 0,
            logical: false,
        })
    }

    /// Bytes that the next partition can have.
    pub fn free(&self) -> u64 {
        self.len.saturating_sub(self.next).saturating_sub(self.align)
    }

    /// Lays a primary partition.
    pub fn primary(&mut self, bytes: u64) -> Result<Range<u64>, Error> {
        if self.logical {
            let index = self.placed.saturating_add(1);
            return Err(Error::PrimaryAfterLogical { index });
        }
        self.place(self.next, bytes)
    }

    /// Lays a logical partition behind its boot record.
    pub fn logical(&mut self, bytes: u64) -> Result<Range<u64>, Error> {
        let range = self.place(self.next.saturating_add(self.align), bytes)?;
        self.logical = true;
        Ok(range)
    }

    fn place(&mut self, start: u64, bytes: u64) -> Result<Range<u64>, Error> {
        let (asked, free) = (bytes, self.free());
        if asked > free {
            return Err(partitions::Error::NoRoom { asked, free }.into());
        }
        if asked < SECTOR {
            return Err(partitions::Error::TooSmall { asked, least: SECTOR }.into());
        }
        let end = start.saturating_add(bytes.saturating_sub(bytes % SECTOR));
        self.next = end.checked_next_multiple_of(self.align).unwrap_or(u64::MAX);
        self.placed = self.placed.saturating_add(1);
        Ok(start..end)
    }

    /// The least bytes of a disk on which partitions of so many bytes fit, each logical where its flag says so: the inverse
    /// of laying them.
    pub fn least(align: u64, partitions: &[(u64, bool)]) -> Result<u64, Error> {
        let mut placer = Self::new(u64::MAX, align)?;
        let mut least = align.saturating_mul(2);
        for (bytes, logical) in partitions {
            let bytes = bytes.checked_next_multiple_of(SECTOR).unwrap_or(u64::MAX);
            least = placer.next.saturating_add(align).saturating_add(bytes);
            if *logical {
                placer.logical(bytes)?;
            } else {
                placer.primary(bytes)?;
            }
        }
        Ok(least)
    }
}
