//! What a journal holds that its file system lacks, laid over the image while it is read: nothing is written.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/journal.html>
//!
//! The log is a ring of blocks. A transaction in it is descriptors, each with the blocks that it describes behind it,
//! revocations, and a commit; one without a commit never happened. As the kernel does it, three passes:
//! - where the last whole transaction ends;
//! - which blocks are revoked, and by which transaction: what older ones, or itself, hold of them is void;
//! - which block of the journal stands for which of the file system, the latest one counting.
//!
//! A journal is as hostile as the rest of the image. A pass visits no block twice, so it ends; every number is checked
//! before it is used; what is kept is two numbers for each block that the journal holds, or revokes.

use std::collections::{BTreeMap, HashMap};
use std::io;

use image_core::ReadAt;
use image_core::store;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::mapping::{self, Mapped};
use super::volume::Volume;
use super::{Owner, ReadError};
use crate::checksum::{self, crc32c};
use crate::journal::Superblock;
use crate::units::{Block, Ino, to_u64, to_usize};

const MAGIC: u32 = 0xc03b_3998;
/// Kinds of blocks.
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const SUPERBLOCK_V1: u32 = 3;
const SUPERBLOCK_V2: u32 = 4;
const REVOKE: u32 = 5;
/// Features that a reader must know.
const BLOCKS_64BIT: u32 = 0x2;
const ASYNC_COMMIT: u32 = 0x4;
const CSUM_V2: u32 = 0x8;
const CSUM_V3: u32 = 0x10;
const FAST_COMMIT: u32 = 0x20;
const KNOWN: u32 = 0x1f;
/// Flags of a tag: the block's first bytes were those of a journal's block; no UUID follows; it is the last one.
const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;
/// The checksum at the end of descriptors and revocations.
const TAIL: usize = 4;
/// Where a commit has its checksum.
const COMMIT_CHECKSUM: usize = 16;

/// The start of every block that is the journal's own.
#[derive(Clone, Copy, Debug, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(clippy::struct_field_names, reason = "the names are the specification's")]
struct Header {
    h_magic: U32,
    h_blocktype: U32,
    h_sequence: U32,
}

/// An image, with what its journal holds in its place.
#[derive(Debug)]
pub(super) struct Replayed<R> {
    source: R,
    block_bytes: u64,
    /// The blocks that the journal holds, in order.
    blocks: Box<[(u64, Held)]>,
}

/// Where the journal holds a block.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Which block of the image it is there.
    at: Block,
    /// Whether its first bytes are to be those of a journal's block.
    escaped: bool,
}

impl<R: ReadAt> Replayed<R> {
    /// Reads the journal, if the file system needs it.
    pub(super) fn new(source: R) -> Result<Self, ReadError> {
        let volume = Volume::open(&source)?;
        let block_bytes = volume.block_size.bytes();
        let blocks = if volume.needs_recovery() {
            let log = Log::open(&volume)?;
            log.map_or_else(|| Ok(BTreeMap::new()), |log| log.replay())?
        } else {
            BTreeMap::new()
        };
        Ok(Self {
            source,
            block_bytes,
            blocks: blocks.into_iter().collect(),
        })
    }
}

impl<R: ReadAt> ReadAt for Replayed<R> {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut buf, mut offset) = (buf, offset);
        while !buf.is_empty() && !self.blocks.is_empty() {
            let number = offset.div_euclid(self.block_bytes);
            let within = offset.rem_euclid(self.block_bytes);
            let next = self.blocks.partition_point(|(block, _)| *block < number);
            let (held, end) = match self.blocks.get(next) {
                Some((block, held)) if *block == number => (Some(held), number.saturating_add(1)),
                Some((block, _)) => (None, *block),
                None => break,
            };
            let here = end.saturating_mul(self.block_bytes).saturating_sub(offset);
            let here = usize::try_from(here).unwrap_or(usize::MAX).min(buf.len());
            let (part, rest) = buf.split_at_mut(here);
            match held {
                None => self.source.read_exact_at(part, offset)?,
                Some(held) => {
                    let start = held.at.0.saturating_mul(self.block_bytes);
                    self.source.read_exact_at(part, start.saturating_add(within))?;
                    if held.escaped {
                        let magic = MAGIC.to_be_bytes();
                        let skipped = to_usize_of(within).min(magic.len());
                        let given = part.iter_mut().zip(&magic[skipped..]);
                        given.for_each(|(byte, magic)| *byte = *magic);
                    }
                }
            }
            offset = offset.saturating_add(to_u64(here));
            buf = rest;
        }
        self.source.read_exact_at(buf, offset)
    }

    fn check(&self) -> Result<(), store::Error> {
        self.source.check()
    }
}

fn to_usize_of(within: u64) -> usize {
    usize::try_from(within).expect("it is less than a block has bytes")
}

/// A log that is not empty.
struct Log<'a, 'v, R> {
    volume: &'a Volume<'v, R>,
    mapped: Mapped,
    superblock: Superblock,
    features: u32,
    /// What checksums start from, where there are any.
    seed: Option<u32>,
}

/// A block of the log that is the journal's own, and where it is in the ring.
struct Own {
    at: u32,
    transaction: u32,
    kind: u32,
}

/// A tag: which block the next one of the log stands for.
struct Tag {
    block: u64,
    flags: u32,
    checksum: u32,
}

impl<'a, 'v, R: ReadAt> Log<'a, 'v, R> {
    /// Opens the journal; `None`: it holds nothing.
    fn open(volume: &'a Volume<'v, R>) -> Result<Option<Self>, ReadError> {
        let ino = volume.journal();
        if ino == Ino(0) {
            return Err(ReadError::Unsupported("a journal on another device"));
        }
        let (mapped, _) = mapping::of(&volume.inode(ino)?, volume, volume.blocks)?;
        let mut block = vec![0; volume.block_size.buffer()];
        let first = mapped.block(0).ok_or(corrupt("the first block", 0))?;
        volume.read_block(first, &mut block)?;
        let (mut superblock, _) =
            Superblock::read_from_prefix(&block).expect("a block has more bytes than a journal's superblock");
        let kind = superblock.h_blocktype.get();
        if superblock.h_magic.get() != MAGIC || !matches!(kind, SUPERBLOCK_V1 | SUPERBLOCK_V2) {
            return Err(corrupt("the kind of the superblock", kind.into()));
        }
        if kind == SUPERBLOCK_V1 {
            superblock.s_feature_compat = 0.into();
            superblock.s_feature_incompat = 0.into();
        }
        let features = superblock.s_feature_incompat.get();
        if features & FAST_COMMIT != 0 {
            return Err(ReadError::Unsupported("fast commits in the journal"));
        }
        if features & !KNOWN != 0 {
            return Err(corrupt("the features", features.into()));
        }
        let checked = features & (CSUM_V2 | CSUM_V3) != 0;
        if features & ASYNC_COMMIT != 0 && !checked {
            return Err(ReadError::Unsupported("commits without order in the journal"));
        }
        if checked && checksum::journal_superblock(&block[..1024]) != superblock.s_checksum.get() {
            let (what, of) = ("the superblock", Owner::Journal);
            return Err(ReadError::Checksum { what, of });
        }
        let seed = checked.then(|| crc32c(!0, &superblock.s_uuid));
        let log = Self {
            volume,
            mapped,
            superblock,
            features,
            seed,
        };
        log.check()?;
        Ok((log.superblock.s_start.get() != 0).then_some(log))
    }

    /// Whether the numbers of the superblock fit each other and the file.
    fn check(&self) -> Result<(), ReadError> {
        let sb = &self.superblock;
        let bytes = sb.s_blocksize.get();
        if u64::from(bytes) != self.volume.block_size.bytes() {
            return Err(corrupt("the block size", bytes.into()));
        }
        let (len, first, start) = (sb.s_maxlen.get(), sb.s_first.get(), sb.s_start.get());
        if u64::from(len) > self.volume.blocks {
            return Err(corrupt("the number of blocks", len.into()));
        }
        if first == 0 || first >= len {
            return Err(corrupt("the first block of the log", first.into()));
        }
        if start != 0 && !(first..len).contains(&start) {
            return Err(corrupt("the start of the log", start.into()));
        }
        Ok(())
    }

    /// Which block of the journal stands for which of the file system.
    fn replay(&self) -> Result<BTreeMap<u64, Held>, ReadError> {
        let own = self.scan()?;
        let mut revoked: HashMap<u64, u32> = HashMap::new();
        for block in own.iter().filter(|block| block.kind == REVOKE) {
            self.revoke(block, &mut revoked)?;
        }
        let mut held = BTreeMap::new();
        for block in own.iter().filter(|block| block.kind == DESCRIPTOR) {
            self.take(block, &revoked, &mut held)?;
        }
        Ok(held)
    }

    /// The journal's own blocks of all whole transactions, in order.
    fn scan(&self) -> Result<Vec<Own>, ReadError> {
        let sb = &self.superblock;
        let (mut at, mut transaction) = (sb.s_start.get(), sb.s_sequence.get());
        let mut left = sb.s_maxlen.get().saturating_sub(sb.s_first.get());
        let (mut whole, mut pending, mut doubtful) = (Vec::new(), Vec::new(), false);
        let mut block = vec![0; self.volume.block_size.buffer()];
        while left > 0 {
            self.read(at, &mut block)?;
            let header = header(&block);
            if header.h_magic.get() != MAGIC || header.h_sequence.get() != transaction {
                break;
            }
            let kind = header.h_blocktype.get();
            let own = Own {
                at,
                transaction,
                kind,
            };
            let mut taken = 1;
            match kind {
                DESCRIPTOR => {
                    // A transaction that never ended may have any bytes; only one that did must fit its checksums.
                    doubtful |= !self.tail_fits(&block);
                    let tags = u32::try_from(self.tags(&block, transaction)?.len()).unwrap_or(u32::MAX);
                    taken = tags.saturating_add(1);
                    pending.push(own);
                }
                REVOKE => {
                    doubtful |= !self.tail_fits(&block);
                    pending.push(own);
                }
                COMMIT => {
                    if doubtful || !self.commit_fits(&block) {
                        let (what, of) = ("a block", Owner::Transaction(transaction));
                        return Err(ReadError::Checksum { what, of });
                    }
                    whole.append(&mut pending);
                    transaction = transaction.wrapping_add(1);
                }
                _ => break,
            }
            // Whoever comes round again meets what was there before.
            let Some(rest) = left.checked_sub(taken) else {
                break;
            };
            left = rest;
            at = self.onward(at, taken);
        }
        Ok(whole)
    }

    /// The block of the ring so many blocks on, fewer than it has.
    fn onward(&self, at: u32, by: u32) -> u32 {
        let (len, first) = (self.superblock.s_maxlen.get(), self.superblock.s_first.get());
        let on = u64::from(at).saturating_add(by.into());
        let past = on.checked_sub(len.into());
        let on = past.map_or(on, |past| past.saturating_add(first.into()));
        u32::try_from(on).expect("it is below the length of the ring")
    }

    fn place(&self, at: u32) -> Result<Block, ReadError> {
        self.mapped
            .block(at.into())
            .ok_or(corrupt("a hole at its block", at.into()))
    }

    fn read(&self, at: u32, block: &mut [u8]) -> Result<(), ReadError> {
        self.volume.read_block(self.place(at)?, block)
    }

    /// Whether a descriptor or a revocation has the checksum at its end.
    fn tail_fits(&self, block: &[u8]) -> bool {
        let Some(seed) = self.seed else { return true };
        let (bytes, tail) = block.split_at(block.len().saturating_sub(TAIL));
        crc32c(crc32c(seed, bytes), &[0; TAIL]).to_be_bytes() == tail
    }

    /// Whether a commit has the checksum in its middle.
    fn commit_fits(&self, block: &[u8]) -> bool {
        let Some(seed) = self.seed else { return true };
        let (before, rest) = block.split_at(COMMIT_CHECKSUM);
        let (stored, after) = rest.split_at(TAIL);
        crc32c(crc32c(crc32c(seed, before), &[0; TAIL]), after).to_be_bytes() == stored
    }

    /// What a block of the journal has before its checksum.
    fn before_tail<'b>(&self, block: &'b [u8]) -> &'b [u8] {
        let tail = if self.seed.is_some() { TAIL } else { 0 };
        &block[..block.len().saturating_sub(tail)]
    }

    /// The tags of a descriptor.
    fn tags(&self, block: &[u8], transaction: u32) -> Result<Vec<Tag>, ReadError> {
        let (v3, wide) = (self.features & CSUM_V3 != 0, self.features & BLOCKS_64BIT != 0);
        let len = match (v3, self.features & CSUM_V2 != 0, wide) {
            (true, _, _) => 16,
            (false, true, true) => 14,
            (false, false, true) => 12,
            (false, true, false) => 10,
            (false, false, false) => 8,
        };
        let mut tags = Vec::new();
        let mut rest = &self.before_tail(block)[size_of::<Header>()..];
        while let Some((bytes, after)) = rest.split_at_checked(len) {
            let word = |at| U32::read_from_prefix(&bytes[at..]).map_or(0, |(word, _)| word.get());
            let half = |at| U16::read_from_prefix(&bytes[at..]).map_or(0, |(half, _)| u32::from(half.get()));
            let (checksum, flags) = if v3 {
                (word(12), word(4))
            } else {
                (half(4), half(6))
            };
            let high = if wide { word(8) } else { 0 };
            let block = u64::from(word(0)) | (u64::from(high) << 32);
            if block >= self.volume.blocks {
                let (what, of) = ("the place of a block", Owner::Transaction(transaction));
                let value = block;
                return Err(ReadError::Corrupt { what, of, value });
            }
            tags.push(Tag {
                block,
                flags,
                checksum,
            });
            if flags & LAST != 0 {
                break;
            }
            let uuid = if flags & SAME_UUID == 0 { 16 } else { 0 };
            rest = after.get(uuid..).unwrap_or_default();
        }
        Ok(tags)
    }

    /// Notes what a revocation revokes.
    fn revoke(&self, own: &Own, revoked: &mut HashMap<u64, u32>) -> Result<(), ReadError> {
        let mut block = vec![0; self.volume.block_size.buffer()];
        self.read(own.at, &mut block)?;
        let start = size_of::<Header>();
        let (used, _) = U32::read_from_prefix(&block[start..]).expect("a block has more bytes");
        let records = self.before_tail(&block).get(..to_usize(used.get()));
        let records = records.and_then(|records| records.get(start.saturating_add(4)..));
        let records = records.ok_or(ReadError::Corrupt {
            what: "the number of revoked blocks",
            of: Owner::Transaction(own.transaction),
            value: used.get().into(),
        })?;
        let wide = self.features & BLOCKS_64BIT != 0;
        for record in records.chunks_exact(if wide { 8 } else { 4 }) {
            let number = match U64::read_from_bytes(record) {
                Ok(number) => number.get(),
                Err(_) => U32::read_from_bytes(record).map_or(0, |number| number.get().into()),
            };
            // Of two transactions the later one counts: they come in order.
            revoked.insert(number, own.transaction);
        }
        Ok(())
    }

    /// Takes the blocks that a descriptor describes, but for those that were revoked since.
    fn take(
        &self,
        own: &Own,
        revoked: &HashMap<u64, u32>,
        held: &mut BTreeMap<u64, Held>,
    ) -> Result<(), ReadError> {
        let mut block = vec![0; self.volume.block_size.buffer()];
        self.read(own.at, &mut block)?;
        let mut at = own.at;
        for tag in self.tags(&block, own.transaction)? {
            at = self.onward(at, 1);
            let void = revoked
                .get(&tag.block)
                .is_some_and(|by| is_not_after(own.transaction, *by));
            if void {
                continue;
            }
            if let Some(seed) = self.seed {
                self.read(at, &mut block)?;
                let found = crc32c(crc32c(seed, &own.transaction.to_be_bytes()), &block);
                let found = if self.features & CSUM_V3 != 0 {
                    found
                } else {
                    found & 0xffff
                };
                if found != tag.checksum {
                    let (what, of) = ("a block", Owner::Transaction(own.transaction));
                    return Err(ReadError::Checksum { what, of });
                }
            }
            let escaped = tag.flags & ESCAPED != 0;
            let at = self.place(at)?;
            held.insert(tag.block, Held { at, escaped });
        }
        Ok(())
    }
}

/// Whether one transaction is not after another; their numbers wrap.
fn is_not_after(one: u32, other: u32) -> bool {
    other.wrapping_sub(one) < 1 << 31
}

fn header(block: &[u8]) -> Header {
    let (header, _) = Header::read_from_prefix(block).expect("a block has more bytes than its header");
    header
}

fn corrupt(what: &'static str, value: u64) -> ReadError {
    let of = Owner::Journal;
    ReadError::Corrupt { what, of, value }
}
