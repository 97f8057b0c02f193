//! The blocks of a file: one behind the other in the image, all of one size but packed, and its end in a fragment that it
//! shares with other files' ends.
//!
//! A block that takes no bytes is a hole.

use std::ops::Range;

use zerocopy::byteorder::little_endian::U32;

use super::disk::{DATA_UNCOMPRESSED, FragmentEntry};
use super::metadata::{Cursor, Ledger};
use super::{Error, Image, Trouble};

/// Where a file's bytes stand. The list of its blocks stays in the image: it is as long as the file is.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    pub(super) number: u32,
    /// Where its first block begins.
    pub(super) start: u64,
    pub(super) len: u64,
    /// Which fragment has its end, and where in it.
    pub(super) fragment: Option<(u32, u32)>,
    /// Where the list of its blocks' sizes stands.
    pub(super) list: (u64, usize),
}

/// A block of data or a fragment in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) at: u64,
    /// Bytes that it takes.
    pub(super) len: usize,
    /// Whether it is stored as it is.
    pub(super) plain: bool,
}

impl File {
    /// Bytes of the end that stands in the fragment.
    fn tail(&self, block_size: u64) -> u64 {
        let tail = self.len.checked_rem(block_size).unwrap_or(0);
        if self.fragment.is_some() { tail } else { 0 }
    }

    /// The bytes that a fragment must have for this file, if one must.
    pub(super) fn in_fragment(&self, image: &Image) -> Option<(u32, Range<usize>)> {
        let len = usize::try_from(self.tail(image.superblock.block_size.get().into())).ok()?;
        let (index, offset) = self.fragment?;
        let start = usize::try_from(offset).ok()?;
        (len > 0).then(|| (index, start..start.saturating_add(len)))
    }

    /// The sizes of the blocks as the list has them, each given to `block` with where the block begins.
    fn list(
        &self,
        image: &Image,
        ledger: Option<&mut Ledger>,
        mut block: impl FnMut(u64, u32),
    ) -> Result<(), Error> {
        let wrong = |trouble| Error::Inode {
            number: self.number,
            trouble,
        };
        let block_size = u64::from(image.superblock.block_size.get());
        if i64::try_from(self.len).is_err() {
            return Err(wrong(Trouble::LongFile(self.len)));
        }
        let whole = self.len.saturating_sub(self.tail(block_size));
        let (at, offset) = self.list;
        let mut cursor = Cursor::at(image, at, offset);
        if let Some(ledger) = ledger {
            cursor = cursor.noted(ledger);
        }
        let mut at = self.start;
        for index in 0..whole.div_ceil(block_size) {
            let size: U32 = cursor.record()?;
            let taken = u64::from(size.get() & !DATA_UNCOMPRESSED);
            if taken > block_size {
                return Err(wrong(Trouble::LongBlock {
                    index,
                    size: size.get() & !DATA_UNCOMPRESSED,
                }));
            }
            block(at, size.get());
            let end = at.checked_add(taken);
            let end = end.filter(|end| taken == 0 || *end <= image.superblock.bytes_used.get());
            at = end.ok_or_else(|| wrong(Trouble::BlockOutside { index, at }))?;
        }
        Ok(())
    }

    /// The runs of data, sorted and apart; `None` if there are no holes. Judges the whole list.
    pub(super) fn ranges(
        &self,
        image: &Image,
        ledger: &mut Ledger,
    ) -> Result<Option<Vec<Range<u64>>>, Error> {
        let block_size = u64::from(image.superblock.block_size.get());
        if let Some((index, _)) = self.in_fragment(image) {
            self.fragment_entry(image, index)?;
        }
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut add = |range: Range<u64>| match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        };
        let (mut start, mut holes) = (0_u64, false);
        self.list(image, Some(ledger), |_, size| {
            let end = start.saturating_add(block_size).min(self.len);
            if size & !DATA_UNCOMPRESSED == 0 {
                holes = true;
            } else {
                add(start..end);
            }
            start = end;
        })?;
        if start < self.len {
            add(start..self.len);
        }
        Ok(holes.then_some(ranges))
    }

    /// The sizes of all blocks.
    pub(super) fn sizes(&self, image: &Image) -> Result<Sizes, Error> {
        let mut sizes = Sizes::default();
        self.list(image, None, |at, size| sizes.push(at, size))?;
        Ok(sizes)
    }

    /// Where a fragment stands.
    pub(super) fn fragment_entry(&self, image: &Image, index: u32) -> Result<Packed, Error> {
        let count = image.superblock.fragments.get();
        if index >= count {
            return Err(Error::Inode {
                number: self.number,
                trouble: Trouble::NoSuchFragment { index, count },
            });
        }
        let entry: FragmentEntry = image.indexed(image.superblock.fragment_table_start.get(), index)?;
        Ok(packed(entry.start_block.get(), entry.size.get()))
    }
}

/// The sizes of a file's blocks.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    sizes: Vec<u32>,
    /// Where every 256th block begins.
    marks: Vec<u64>,
}

/// Blocks between two marks.
const MARK: usize = 256;

impl Sizes {
    fn push(&mut self, at: u64, size: u32) {
        if self.sizes.len().is_multiple_of(MARK) {
            self.marks.push(at);
        }
        self.sizes.push(size);
    }

    /// Block `index`, if the list has it; a hole has no length.
    pub(super) fn get(&self, index: usize) -> Option<Packed> {
        let size = *self.sizes.get(index)?;
        let mark = index / MARK;
        let before = self.sizes.get(mark.checked_mul(MARK)?..index)?;
        let at = before.iter().fold(*self.marks.get(mark)?, |at, size| {
            at.saturating_add(u64::from(size & !DATA_UNCOMPRESSED))
        });
        Some(packed(at, size))
    }
}

fn packed(at: u64, size: u32) -> Packed {
    Packed {
        at,
        len: usize::try_from(size & !DATA_UNCOMPRESSED).expect("24 bits fit a usize"),
        plain: size & DATA_UNCOMPRESSED != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stand_one_behind_the_other() {
        let mut sizes = Sizes::default();
        let mut at = 96;
        let mut want = Vec::new();
        for i in 0..1000_u32 {
            let size = (i % 7 * 100) | if i % 2 == 0 { DATA_UNCOMPRESSED } else { 0 };
            sizes.push(at, size);
            want.push(packed(at, size));
            at += u64::from(i % 7 * 100);
        }
        for (i, want) in want.into_iter().enumerate() {
            assert_eq!(sizes.get(i), Some(want));
        }
        assert_eq!(sizes.get(1000), None);
    }
}
