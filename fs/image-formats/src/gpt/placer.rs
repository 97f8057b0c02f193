//! Where diskimage-builder lays partitions of a disk with a GPT: from 1 MiB on, in whole MiB, one after the other.
//!
//! ```text
//! next = 1 MiB, free = len - 2 MiB        at first
//! a partition: next .. next + size        its size cut to whole MiB; next and free move by it
//! ```
//!
//! The MiB behind the last partition holds the backup of the table.

use std::ops::Range;

use super::Error;
use crate::partitions;

/// What partitions begin at multiples of, and have multiples of: 1 MiB.
pub const ALIGN: u64 = 1 << 20;

/// Lays partitions one after the other.
#[derive(Clone, Debug)]
pub struct Placer {
    next: u64,
    free: u64,
}

impl Placer {
    /// Starts with a disk of `len` bytes, all of them free.
    pub fn new(len: u64) -> Self {
        Self {
            next: ALIGN,
            free: len.saturating_sub(2 * ALIGN),
        }
    }

    /// Bytes that the next partition can have.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Lays a partition.
    pub fn partition(&mut self, bytes: u64) -> Result<Range<u64>, Error> {
        let (asked, free) = (bytes, self.free);
        if asked > free {
            return Err(partitions::Error::NoRoom { asked, free }.into());
        }
        if asked < ALIGN {
            return Err(partitions::Error::TooSmall { asked, least: ALIGN }.into());
        }
        let len = asked.saturating_sub(asked % ALIGN);
        let start = self.next;
        self.next = start.saturating_add(len);
        self.free = free.saturating_sub(len);
        Ok(start..self.next)
    }

    /// The least bytes of a disk on which partitions of at least so many bytes fit: the inverse of laying them.
    pub fn least(partitions: &[u64]) -> u64 {
        let whole = |bytes: &u64| bytes.checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX);
        partitions
            .iter()
            .map(whole)
            .fold(2 * ALIGN, |sum, bytes| sum.saturating_add(bytes.max(ALIGN)))
    }
}
