//! Where a file's blocks lie: extents or a block map, read into runs.

use image_core::ReadAt;
use image_core::runs::{self, Runs};
use zerocopy::FromBytes;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::ReadError;
use super::volume::{Loaded, Volume};
use crate::extent::{Header, Index, LEN_MAX, Leaf, MAGIC};
use crate::inode::EXTENTS_FL;
use crate::units::{Block, BlockSize};

/// The deepest tree of extents that there is.
const DEPTH_MAX: u16 = 5;

/// A file's blocks: runs that ascend and do not overlap. What none of them covers is a hole.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    runs: Box<[Run]>,
    block_size: BlockSize,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    logical: u64,
    start: u64,
    len: u64,
}

impl Run {
    fn end(&self) -> u64 {
        self.logical.saturating_add(self.len)
    }
}

/// Reads where an inode's blocks lie. Gives with it how many blocks that takes, its own among them: `room` at most.
pub(super) fn of<R: ReadAt>(
    loaded: &Loaded,
    volume: &Volume<'_, R>,
    room: u64,
) -> Result<(Mapped, u64), ReadError> {
    let (mapped, used, _) = with_blocks(loaded, volume, room)?;
    Ok((mapped, used))
}

/// Runs of blocks: the first, and how many.
pub(super) type Blocks = Vec<(u64, u64)>;

/// The same, with all blocks that the file has, those of the map itself among them.
pub(super) fn with_blocks<R: ReadAt>(
    loaded: &Loaded,
    volume: &Volume<'_, R>,
    room: u64,
) -> Result<(Mapped, u64, Blocks), ReadError> {
    let mut reading = Reading {
        loaded,
        volume,
        runs: Vec::new(),
        next: 0,
        used: 0,
        room,
        taken: Vec::new(),
    };
    if loaded.inode.i_flags.get() & EXTENTS_FL != 0 {
        reading.extents(loaded.inode.i_block.as_bytes(), None)?;
    } else {
        reading.block_map()?;
    }
    let Reading {
        runs, used, taken, ..
    } = reading;
    let block_size = volume.block_size;
    let runs = runs.into();
    Ok((Mapped { runs, block_size }, used, taken))
}

struct Reading<'a, R> {
    loaded: &'a Loaded,
    volume: &'a Volume<'a, R>,
    runs: Vec<Run>,
    /// The first block of the file that no run has yet.
    next: u64,
    used: u64,
    room: u64,
    taken: Blocks,
}

impl<R: ReadAt> Reading<'_, R> {
    /// A node of extents, whose depth has to be the given one, and everything below it.
    fn extents(&mut self, node: &[u8], depth: Option<u16>) -> Result<(), ReadError> {
        let corrupt = |what, value: u16| self.loaded.corrupt(what, value.into());
        let (header, entries) =
            Header::read_from_prefix(node).expect("a node has more bytes than its header");
        if header.eh_magic.get() != MAGIC {
            return Err(corrupt("the magic number of the extents", header.eh_magic.get()));
        }
        let found = header.eh_depth.get();
        if found > DEPTH_MAX || depth.is_some_and(|depth| depth != found) {
            return Err(corrupt("the depth of the extents", found));
        }
        let count = usize::from(header.eh_entries.get());
        let max = usize::from(header.eh_max.get());
        if count > max || max.saturating_mul(size_of::<Leaf>()) > entries.len() {
            return Err(corrupt("the number of extents", header.eh_entries.get()));
        }
        if depth.is_some() {
            self.check(node, max)?;
        }
        for entry in entries.chunks_exact(size_of::<Leaf>()).take(count) {
            match found.checked_sub(1) {
                None => self.leaf(&Leaf::read_from_bytes(entry).expect("as many bytes"))?,
                Some(below) => {
                    let index = Index::read_from_bytes(entry).expect("as many bytes");
                    let at = u64::from(index.ei_leaf_lo.get()) | (u64::from(index.ei_leaf_hi.get()) << 32);
                    let block = self.block(at)?;
                    self.extents(&block, Some(below))?;
                }
            }
        }
        Ok(())
    }

    /// Checks a node in a block of its own.
    fn check(&self, node: &[u8], max: usize) -> Result<(), ReadError> {
        let Some(seed) = self.loaded.seed(self.volume) else {
            return Ok(());
        };
        let tail = size_of::<Header>().saturating_add(max.saturating_mul(size_of::<Leaf>()));
        let stored = node.get(tail..).and_then(|tail| U32::read_from_prefix(tail).ok());
        match stored {
            Some((stored, _)) if stored.get() == seed.extent_block(&node[..tail]) => Ok(()),
            _ => Err(self.loaded.checksum("a block of extents")),
        }
    }

    fn leaf(&mut self, leaf: &Leaf) -> Result<(), ReadError> {
        let len = u64::from(leaf.ee_len.get());
        // What is allocated but was never written reads as zeros.
        let (len, written) = match len.checked_sub(LEN_MAX) {
            Some(unwritten @ 1..) => (unwritten, false),
            _ => (len, true),
        };
        let start = u64::from(leaf.ee_start_lo.get()) | (u64::from(leaf.ee_start_hi.get()) << 32);
        self.run(leaf.ee_block.get().into(), start, len, written)
    }

    fn run(&mut self, logical: u64, start: u64, len: u64, written: bool) -> Result<(), ReadError> {
        let end = logical.saturating_add(len);
        if logical < self.next || end > 1 << 32 || len == 0 {
            return Err(self.loaded.corrupt("the first block of an extent", logical));
        }
        if !self.volume.holds(start, len) {
            return Err(self.loaded.corrupt("the place of an extent", start));
        }
        self.take(start, len)?;
        self.next = end;
        if !written {
            return Ok(());
        }
        match self.runs.last_mut() {
            Some(last) if last.end() == logical && last.start.saturating_add(last.len) == start => {
                last.len = last.len.saturating_add(len);
            }
            _ => self.runs.push(Run { logical, start, len }),
        }
        Ok(())
    }

    /// Counts blocks.
    fn take(&mut self, start: u64, blocks: u64) -> Result<(), ReadError> {
        self.used = self.used.saturating_add(blocks);
        if self.used > self.room {
            return Err(ReadError::SharedBlocks(self.volume.blocks));
        }
        match self.taken.last_mut() {
            Some((first, count)) if first.saturating_add(*count) == start => {
                *count = count.saturating_add(blocks);
            }
            _ => self.taken.push((start, blocks)),
        }
        Ok(())
    }

    /// A block of the map itself.
    fn block(&mut self, at: u64) -> Result<Vec<u8>, ReadError> {
        if !self.volume.holds(at, 1) {
            return Err(self.loaded.corrupt("the place of a block of the map", at));
        }
        self.take(at, 1)?;
        let mut block = vec![0; self.volume.block_size.buffer()];
        self.volume.read_block(Block(at), &mut block)?;
        Ok(block)
    }

    fn block_map(&mut self) -> Result<(), ReadError> {
        let blocks = self.loaded.size().div_ceil(self.volume.block_size.bytes());
        let (direct, above) = self.loaded.inode.i_block.split_at(12);
        for (logical, number) in (0..).zip(direct) {
            self.number(logical, number.get().into(), blocks)?;
        }
        let mut logical = 12;
        for (level, number) in (1..).zip(above) {
            self.numbers(level, logical, number.get().into(), blocks)?;
            logical = logical.saturating_add(self.span(level));
        }
        Ok(())
    }

    /// Blocks of the file below one number of a level.
    fn span(&self, level: u32) -> u64 {
        (self.volume.block_size.bytes() / 4).saturating_pow(level)
    }

    /// A block of numbers and everything below it; `blocks` is where the file ends.
    fn numbers(&mut self, level: u32, logical: u64, at: u64, blocks: u64) -> Result<(), ReadError> {
        if at == 0 || logical >= blocks {
            return Ok(());
        }
        let block = self.block(at)?;
        let span = self.span(level.saturating_sub(1));
        let numbers = <[U32]>::ref_from_bytes(&block).expect("a block is a whole number of numbers");
        let mut logical = logical;
        for number in numbers {
            match level {
                1 => self.number(logical, number.get().into(), blocks)?,
                _ => self.numbers(level.saturating_sub(1), logical, number.get().into(), blocks)?,
            }
            logical = logical.saturating_add(span);
        }
        Ok(())
    }

    fn number(&mut self, logical: u64, at: u64, blocks: u64) -> Result<(), ReadError> {
        if at == 0 || logical >= blocks {
            return Ok(());
        }
        self.run(logical, at, 1, true)
    }
}

impl Mapped {
    /// The place of one of the file's blocks.
    pub(super) fn block(&self, logical: u64) -> Option<Block> {
        let at = self.runs.partition_point(|run| run.end() <= logical);
        let run = self.runs.get(at)?;
        let within = logical.checked_sub(run.logical)?;
        Some(Block(run.start.saturating_add(within)))
    }

    /// The places of the file's blocks up to one, in order.
    pub(super) fn blocks_below(&self, end: u64) -> impl Iterator<Item = Block> + '_ {
        let runs = self.runs.iter();
        runs.flat_map(move |run| {
            let len = end.saturating_sub(run.logical).min(run.len);
            (run.start..run.start.saturating_add(len)).map(Block)
        })
    }

    /// Where the bytes of a file lie that has these blocks.
    pub(super) fn in_bytes(&self) -> Runs {
        let size = self.block_size.bytes();
        let run = |run: &Run| runs::Run {
            at: run.logical.saturating_mul(size),
            start: run.start.saturating_mul(size),
            len: run.len.saturating_mul(size),
        };
        self.runs.iter().map(run).collect()
    }
}
