//! The log: whether it holds changes that the file system itself lacks.
//!
//! The log is a ring of blocks of 512 bytes. Each begins with the number of the round in which it was written, but for the
//! heads of records, which have it as their second word. So the place where the last record ends is where the number
//! changes. A file system that was unmounted, or is fresh from mkfs, has there a record that says so and nothing else.

use std::num::NonZero;

use image_core::ReadAt;
use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::U32;

use super::disk::{LOG_MAGIC, LOG_UNMOUNT, LogHead};
use super::volume::{BASIC, Volume};
use super::{Error, to_u64};

/// The most blocks that a record has, heads included.
const RECORD_MAX: u64 = (256 << 10) / BASIC + 8;
/// Bytes of a record that one block of its head describes.
const HEAD_BYTES: u32 = 32 << 10;

struct Log<'a, R> {
    source: &'a R,
    start: u64,
    blocks: NonZero<u64>,
}

/// Whether the file system has all that was written to it.
pub(super) fn is_clean<R: ReadAt>(volume: &Volume<R>) -> Result<bool, Error> {
    let sb = &volume.superblock;
    let refuse = |field, value| Error::Superblock { field, value };
    let (start, blocks) = (sb.sb_logstart.get(), u64::from(sb.sb_logblocks.get()));
    if start == 0 {
        return Err(Error::Unsupported("a log on another device"));
    }
    let first = volume.run(start, blocks);
    let first = first.ok_or_else(|| refuse("sb_logstart", start))?;
    let block = volume.block_bytes();
    let log = Log {
        source: &volume.source,
        start: first.saturating_mul(block),
        blocks: NonZero::new(blocks.saturating_mul(block) / BASIC)
            .ok_or_else(|| refuse("sb_logblocks", blocks))?,
    };
    log.is_clean()
}

impl<R: ReadAt> Log<'_, R> {
    fn is_clean(&self) -> Result<bool, Error> {
        let first = self.round(0)?;
        if first == 0 {
            // Nothing was ever written.
            return Ok(true);
        }
        let end = self.end(first)?;
        for back in 1..=RECORD_MAX.min(self.blocks.get()) {
            let at = end.saturating_add(self.blocks.get()).saturating_sub(back) % self.blocks;
            let head = self.head(at)?;
            if head.h_magicno.get() == LOG_MAGIC {
                return self.says_unmounted(at, end, &head);
            }
        }
        Ok(false)
    }

    /// The block behind the last record: the first that is not of the first one's round.
    fn end(&self, first: u32) -> Result<u64, Error> {
        let (mut low, mut high) = (0, self.blocks.get());
        while low < high {
            let middle = low.midpoint(high);
            if self.round(middle)? == first {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Whether a record that ends at `end` is the one that an unmount writes.
    fn says_unmounted(&self, at: u64, end: u64, head: &LogHead) -> Result<bool, Error> {
        let heads = if head.h_version.get() & 2 != 0 {
            head.h_size.get().div_ceil(HEAD_BYTES).max(1)
        } else {
            1
        };
        let body = at.saturating_add(heads.into());
        let behind = body.saturating_add(u64::from(head.h_len.get()).div_ceil(BASIC));
        if head.h_num_logops.get() != 1 || behind % self.blocks != end % self.blocks {
            return Ok(false);
        }
        // An operation: 4 bytes of its transaction, 4 of its length, 1 of who wrote it, 1 of flags.
        let operation: [u8; 10] = self.bytes(body % self.blocks)?;
        Ok(operation[9] & LOG_UNMOUNT != 0)
    }

    fn round(&self, block: u64) -> Result<u32, Error> {
        let [first, second]: [U32; 2] =
            <[U32; 2]>::read_from_bytes(&self.bytes::<8>(block)?).expect("as many bytes");
        let is_head = first.get() == LOG_MAGIC;
        Ok(if is_head { second.get() } else { first.get() })
    }

    fn head(&self, block: u64) -> Result<LogHead, Error> {
        let bytes: [u8; size_of::<LogHead>()] = self.bytes(block)?;
        Ok(LogHead::read_from_bytes(&bytes).expect("as many bytes"))
    }

    fn bytes<const N: usize>(&self, block: u64) -> Result<[u8; N], Error> {
        const { assert!(N <= 512) };
        let mut bytes = [0; N];
        debug_assert!(to_u64(N) <= BASIC && block < self.blocks.get());
        let at = self.start.saturating_add(block.saturating_mul(BASIC));
        self.source.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}
