//! Directories: in the inode, or in blocks of entries. The index beside them is for looking names up, and is not read.

use image_core::ReadAt;
use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::{U32, U64};

use super::disk::{DIR_BLOCK_MAGICS, DIR_DATA_MAGICS, DIR_FREE_TAG, DIR_GUARD, DIR_LEAF_OFFSET};
use super::inode::{Fork, Form, Inode};
use super::mapping::{self, Mapped};
use super::volume::{Ledger, Volume, buffer};
use super::{Error, to_usize};

/// Bytes before the first entry of a block, in version 4 and in version 5.
const HEADS: [usize; 2] = [16, 64];
/// Bytes of an entry's place in the index, and of the counts behind the index of a lone block.
const INDEXED: usize = 8;

/// A name and the inode that it leads to.
pub(super) type Entry = (Vec<u8>, u64);

/// The names in a directory, without `.` and `..`.
pub(super) fn entries<R: ReadAt>(
    volume: &Volume<R>,
    inode: &Inode,
    ledger: &mut Ledger,
) -> Result<Vec<Entry>, Error> {
    let fork = inode.data()?;
    if fork.form == Form::Local {
        return in_inode(inode, fork, volume.ftype);
    }
    let mapped = mapping::of(volume, inode, fork, ledger)?;
    let mut found = Vec::new();
    let log = volume.superblock.sb_dirblklog;
    let per_block = 1 << log;
    let leaves = DIR_LEAF_OFFSET >> volume.superblock.sb_blocklog;
    let mut bytes = buffer(volume.block_bytes() << log);
    let mut next = 0;
    for run in &mapped.runs {
        let last = run.end().min(leaves).div_ceil(per_block);
        for block in (run.logical >> log).max(next)..last {
            ledger.take(per_block)?;
            let first = block << log;
            let start = read_block(volume, inode, &mapped, first, &mut bytes)?;
            volume.check(&bytes, DIR_GUARD, start, inode.ino, "a block of entries")?;
            in_block(inode, &bytes, volume, &mut found)?;
        }
        next = next.max(last);
    }
    Ok(found)
}

/// Reads a block of entries, which may be several of the file system, and tells where the first of them is.
fn read_block<R: ReadAt>(
    volume: &Volume<R>,
    inode: &Inode,
    mapped: &Mapped,
    first: u64,
    bytes: &mut [u8],
) -> Result<u64, Error> {
    let block = |logical| {
        let block = mapped.block(logical);
        block.ok_or_else(|| inode.corrupt("the place of a block of entries", logical))
    };
    for (logical, part) in (first..).zip(bytes.chunks_exact_mut(to_usize(volume.block_bytes()))) {
        volume.read_block(block(logical)?, part)?;
    }
    block(first)
}

/// Counts, the parent, and entries without holes; inode numbers have 4 bytes, or all of them have 8.
fn in_inode(inode: &Inode, fork: Fork<'_>, ftype: bool) -> Result<Vec<Entry>, Error> {
    let len = usize::try_from(inode.core.di_size.get()).ok();
    let bytes = len.and_then(|len| fork.bytes.get(..len));
    let bytes = bytes.ok_or_else(|| inode.corrupt("the length", inode.core.di_size.get()))?;
    let mut bytes = Bytes { inode, rest: bytes };
    let [count, wide] = *bytes.take::<2>()?;
    let wide = wide > 0;
    bytes.number(wide)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let [len, ..] = *bytes.take::<3>()?;
        let name = bytes.take_some(len.into())?.to_vec();
        if ftype {
            bytes.take::<1>()?;
        }
        found.push((name, bytes.number(wide)?));
    }
    Ok(found)
}

/// Entries and free room, each a multiple of 8 bytes long. Behind those of a lone block stands its index.
fn in_block<R>(inode: &Inode, bytes: &[u8], volume: &Volume<R>, found: &mut Vec<Entry>) -> Result<(), Error> {
    let version = usize::from(volume.guarded);
    let magic: [u8; 4] = *bytes.first_chunk().expect("a block has 512 bytes at least");
    let end = if magic == DIR_BLOCK_MAGICS[version] {
        before_index(inode, bytes)?
    } else if magic == DIR_DATA_MAGICS[version] {
        bytes.len()
    } else {
        let magic = u32::from_be_bytes(magic);
        return Err(inode.corrupt("the magic number of a block of entries", magic.into()));
    };
    let rest = bytes.get(HEADS[version]..end).unwrap_or_default();
    let mut bytes = Bytes { inode, rest };
    while !bytes.rest.is_empty() {
        if bytes.rest.starts_with(&DIR_FREE_TAG) {
            let [_, _, high, low] = *bytes.peek::<4>()?;
            let len = u16::from_be_bytes([high, low]);
            if len == 0 || len % 8 != 0 {
                return Err(inode.corrupt("the length of free room", len.into()));
            }
            bytes.take_some(len.into())?;
            continue;
        }
        let ino = bytes.number(true)?;
        let [len] = *bytes.take::<1>()?;
        let name = bytes.take_some(len.into())?;
        if !matches!(name, b"." | b"..") {
            found.push((name.to_vec(), ino));
        }
        // Number, length, name, type and the two bytes at the end that say where the entry begins.
        let len = usize::from(len)
            .saturating_add(usize::from(volume.ftype))
            .saturating_add(11);
        let behind = len.next_multiple_of(8).saturating_sub(len).saturating_add(2);
        bytes.take_some(behind.saturating_add(usize::from(volume.ftype)))?;
    }
    Ok(())
}

/// Where the entries of a lone block end: before an index, the number of its places, and how many are stale.
fn before_index(inode: &Inode, bytes: &[u8]) -> Result<usize, Error> {
    let tail = bytes.len().saturating_sub(INDEXED);
    let (count, _) = U32::read_from_prefix(&bytes[tail..]).expect("as many bytes");
    let len = usize::try_from(count.get())
        .ok()
        .and_then(|count| count.checked_mul(INDEXED));
    let end = len.and_then(|len| tail.checked_sub(len));
    end.ok_or_else(|| inode.corrupt("the number of places in the index", count.get().into()))
}

/// What of a directory was not read yet.
struct Bytes<'a> {
    inode: &'a Inode,
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn short(&self) -> Error {
        self.inode
            .corrupt("bytes left of an entry", super::to_u64(self.rest.len()))
    }

    fn peek<const N: usize>(&self) -> Result<&'a [u8; N], Error> {
        self.rest.first_chunk().ok_or_else(|| self.short())
    }

    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_some(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self, wide: bool) -> Result<u64, Error> {
        Ok(if wide {
            U64::from_bytes(*self.take()?).get()
        } else {
            U32::from_bytes(*self.take()?).get().into()
        })
    }
}
