//! Where the blocks of a fork lie: a list of extents, or a tree of them.

use image_core::ReadAt;
use image_core::runs::{self, Runs};
use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::{U16, U64};

use super::Error;
use super::disk::{BMAP_MAGICS, Extent, TREE_GUARD, TreeHead};
use super::inode::{Fork, Form, Inode};
use super::volume::{Ledger, Volume, buffer};

/// The deepest tree of extents that there is.
const LEVELS_MAX: u16 = 9;
/// Bits of an extent that say how many blocks it has.
const COUNT_BITS: u32 = 21;
/// Bytes of a node's entry: a key, and the address behind all keys.
const ENTRY: usize = 16;
/// Bytes of the head of a guarded block of a tree.
const GUARDED_HEAD: usize = 72;

/// A run of a file's blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Its first block in the file.
    pub(super) logical: u64,
    /// Its first block in the file system, from the first on.
    pub(super) start: u64,
    /// How many.
    pub(super) len: u64,
}

impl Run {
    pub(super) fn end(&self) -> u64 {
        self.logical.saturating_add(self.len)
    }
}

/// Runs that ascend and do not overlap. What none of them covers is a hole, or was never written.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    pub(super) runs: Box<[Run]>,
}

struct Reading<'a, R> {
    volume: &'a Volume<R>,
    inode: &'a Inode,
    ledger: &'a mut Ledger,
    runs: Vec<Run>,
    /// The first block of the file that no extent has yet.
    next: u64,
    extents: u64,
}

/// Reads where a fork's blocks lie.
pub(super) fn of<R: ReadAt>(
    volume: &Volume<R>,
    inode: &Inode,
    fork: Fork<'_>,
    ledger: &mut Ledger,
) -> Result<Mapped, Error> {
    let mut reading = Reading {
        volume,
        inode,
        ledger,
        runs: Vec::new(),
        next: 0,
        extents: 0,
    };
    match fork.form {
        Form::Extents => {
            let bytes = usize::try_from(fork.extents)
                .ok()
                .and_then(|extents| extents.checked_mul(size_of::<Extent>()))
                .and_then(|len| fork.bytes.get(..len));
            let bytes = bytes.ok_or_else(|| inode.corrupt("the number of extents", fork.extents))?;
            reading.leaf(bytes)?;
        }
        Form::Tree => reading.root(fork.bytes)?,
        Form::Device => return Err(inode.corrupt("the format", 0)),
        Form::Local => return Err(inode.corrupt("the format", 1)),
    }
    if reading.extents != fork.extents {
        return Err(inode.corrupt("the number of extents", fork.extents));
    }
    let runs = reading.runs.into();
    Ok(Mapped { runs })
}

impl<R: ReadAt> Reading<'_, R> {
    fn leaf(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for record in bytes.chunks_exact(size_of::<Extent>()) {
            let record = Extent::read_from_bytes(record).expect("as many bytes");
            self.extent(record)?;
        }
        Ok(())
    }

    /// From the highest bit on: 1 of whether it was written, 54 of its place in the file, 52 of its address, 21 of its
    /// blocks.
    fn extent(&mut self, record: Extent) -> Result<(), Error> {
        let (l0, l1) = (record.l0.get(), record.l1.get());
        let unwritten = l0 >> 63 != 0;
        let logical = (l0 & (u64::MAX >> 1)) >> 9;
        let address = ((l0 & 0x1ff) << 43) | (l1 >> COUNT_BITS);
        let len = l1 & ((1 << COUNT_BITS) - 1);
        if logical < self.next || len == 0 {
            return Err(self.inode.corrupt("the place of an extent", logical));
        }
        let start = self.volume.run(address, len);
        let start = start.ok_or_else(|| self.inode.corrupt("the address of an extent", address))?;
        let run = Run { logical, start, len };
        self.next = run.end();
        self.extents = self.extents.saturating_add(1);
        if !unwritten {
            self.runs.push(run);
        }
        Ok(())
    }

    /// The root of a tree, which stands in the inode: level, number of entries, then as many keys as there is room for,
    /// then the addresses.
    fn root(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let corrupt = |what, value: u16| self.inode.corrupt(what, value.into());
        let (level, rest) =
            U16::read_from_prefix(bytes).map_err(|_| corrupt("the place of the attributes", 0))?;
        let (count, rest) =
            U16::read_from_prefix(rest).map_err(|_| corrupt("the place of the attributes", 0))?;
        let (level, count) = (level.get(), count.get());
        if !(1..LEVELS_MAX).contains(&level) {
            return Err(corrupt("the height of the tree of extents", level));
        }
        self.below(rest, level, count)
    }

    /// What the addresses of a node lead to.
    fn below(&mut self, entries: &[u8], level: u16, count: u16) -> Result<(), Error> {
        let room = entries.len() / ENTRY;
        let addresses = entries
            .get(room.saturating_mul(size_of::<U64>())..)
            .unwrap_or_default();
        if usize::from(count) > room {
            return Err(self
                .inode
                .corrupt("the number of entries of a node", count.into()));
        }
        for address in addresses.chunks_exact(size_of::<U64>()).take(count.into()) {
            let address = U64::read_from_bytes(address).expect("as many bytes").get();
            self.node(address, level.saturating_sub(1))?;
        }
        Ok(())
    }

    fn node(&mut self, address: u64, level: u16) -> Result<(), Error> {
        const WHAT: &str = "a node of the tree of extents";
        self.ledger.take(1)?;
        let corrupt = |what, value| self.inode.corrupt(what, value);
        let block = self.volume.run(address, 1);
        let block = block.ok_or_else(|| corrupt("the address of a node", address))?;
        let mut bytes = buffer(self.volume.block_bytes());
        self.volume.read_block(block, &mut bytes)?;
        self.volume
            .check(&bytes, TREE_GUARD, block, self.inode.ino, WHAT)?;
        let (head, rest) = TreeHead::read_from_prefix(&bytes).expect("a block has 512 bytes at least");
        if head.bb_magic != BMAP_MAGICS[usize::from(self.volume.guarded)] {
            return Err(corrupt(
                "the magic number of a node",
                u32::from_be_bytes(head.bb_magic).into(),
            ));
        }
        if head.bb_level.get() != level {
            return Err(corrupt("the level of a node", head.bb_level.get().into()));
        }
        let count = head.bb_numrecs.get();
        let entries = if self.volume.guarded {
            bytes.get(GUARDED_HEAD..).unwrap_or_default()
        } else {
            rest
        };
        if level > 0 {
            return self.below(entries, level, count);
        }
        let records = entries.get(..usize::from(count).saturating_mul(size_of::<Extent>()));
        let records = records.ok_or_else(|| corrupt("the number of entries of a node", count.into()))?;
        self.leaf(records)
    }
}

impl Mapped {
    /// The block of the file system that a block of the file is.
    pub(super) fn block(&self, logical: u64) -> Option<u64> {
        let at = self.runs.partition_point(|run| run.end() <= logical);
        let run = self.runs.get(at)?;
        let within = logical.checked_sub(run.logical)?;
        run.start.checked_add(within)
    }

    /// Where the bytes of a file lie that has these blocks.
    pub(super) fn in_bytes(&self, block_bytes: u64) -> Runs {
        let run = |run: &Run| runs::Run {
            at: run.logical.saturating_mul(block_bytes),
            start: run.start.saturating_mul(block_bytes),
            len: run.len.saturating_mul(block_bytes),
        };
        self.runs.iter().map(run).collect()
    }
}
