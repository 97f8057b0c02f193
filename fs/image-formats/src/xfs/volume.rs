//! The file system as a whole: its superblock, checked, and its blocks, each told to be what it should be.

use image_core::ReadAt;
use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::U64;
use zerocopy::byteorder::little_endian::U32 as LittleU32;

use super::disk::{
    FEATURES2_FTYPE, Guard, INCOMPAT_FTYPE, INCOMPAT_KNOWN, INCOMPAT_META_UUID, INCOMPAT_NEEDSREPAIR, SB_CRC,
    SB_MAGIC, Superblock, VERSION_DIRV2, VERSION_MASK, VERSION_MOREBITS,
};
use super::{Error, Owner, to_u64, to_usize};

/// Bytes that addresses in a block's head count in.
pub(super) const BASIC: u64 = 512;

/// A file system whose superblock is sound.
#[derive(Debug)]
pub(super) struct Volume<R> {
    pub(super) source: R,
    pub(super) superblock: Superblock,
    /// Version 5: every structure of metadata has a checksum.
    pub(super) guarded: bool,
    /// Directories say the types of their files.
    pub(super) ftype: bool,
    /// What guarded structures are marked with.
    uuid: [u8; 16],
}

/// The superblock of what may be XFS.
pub(super) fn superblock<R: ReadAt>(source: &R) -> Result<Superblock, Error> {
    let mut bytes = [0; size_of::<Superblock>()];
    if source.len() < to_u64(bytes.len()) {
        return Err(Error::NotXfs);
    }
    source.read_exact_at(&mut bytes, 0)?;
    let superblock = Superblock::read_from_bytes(&bytes).expect("as many bytes");
    match superblock.sb_magicnum {
        SB_MAGIC => Ok(superblock),
        _ => Err(Error::NotXfs),
    }
}

impl<R: ReadAt> Volume<R> {
    /// Reads the superblock, and refuses what it contradicts itself in, or what cannot be read.
    pub(super) fn open(source: R) -> Result<Self, Error> {
        let sb = superblock(&source)?;
        let version = sb.sb_versionnum.get() & VERSION_MASK;
        if !matches!(version, 4 | 5) {
            return Err(Error::Superblock {
                field: "sb_versionnum",
                value: sb.sb_versionnum.get().into(),
            });
        }
        let guarded = version == 5;
        geometry(&sb, source.len())?;
        if guarded {
            checksum(&source, &sb)?;
            features(&sb)?;
        } else if sb.sb_versionnum.get() & VERSION_DIRV2 == 0 {
            return Err(Error::Unsupported("directories of version 1"));
        }
        let incompat = sb.sb_features_incompat.get();
        let more = sb.sb_versionnum.get() & VERSION_MOREBITS != 0;
        let apart = guarded && incompat & INCOMPAT_META_UUID != 0;
        Ok(Self {
            source,
            superblock: sb,
            guarded,
            ftype: if guarded {
                incompat & INCOMPAT_FTYPE != 0
            } else {
                more && sb.sb_features2.get() & FEATURES2_FTYPE != 0
            },
            uuid: if apart { sb.sb_meta_uuid } else { sb.sb_uuid },
        })
    }

    /// Bytes of a block.
    pub(super) fn block_bytes(&self) -> u64 {
        self.superblock.sb_blocksize.get().into()
    }

    /// Blocks that there are.
    pub(super) fn blocks(&self) -> u64 {
        self.superblock.sb_dblocks.get()
    }

    /// Where a run of blocks lies, counted from the first of the file system, if it has them.
    ///
    /// The address of a block has the allocation group in its upper bits.
    pub(super) fn run(&self, address: u64, len: u64) -> Option<u64> {
        let group_blocks = u64::from(self.superblock.sb_agblocks.get());
        let log = u32::from(self.superblock.sb_agblklog);
        let (group, within) = (address.checked_shr(log)?, low_bits(address, log));
        if group >= self.superblock.sb_agcount.get().into() || within.checked_add(len)? > group_blocks {
            return None;
        }
        let first = group.checked_mul(group_blocks)?.checked_add(within)?;
        (first.checked_add(len)? <= self.blocks()).then_some(first)
    }

    /// The byte where an inode begins, if the file system has it.
    pub(super) fn inode_at(&self, ino: u64) -> Option<u64> {
        let log = u32::from(self.superblock.sb_inopblog);
        let block = self.run(ino.checked_shr(log)?, 1)?;
        let within = low_bits(ino, log).checked_mul(self.superblock.sb_inodesize.get().into())?;
        block.checked_mul(self.block_bytes())?.checked_add(within)
    }

    /// Reads a block that there is, by its place from the first on.
    pub(super) fn read_block(&self, block: u64, buf: &mut [u8]) -> Result<(), Error> {
        let at = block.saturating_mul(self.block_bytes());
        Ok(self.source.read_exact_at(buf, at)?)
    }

    /// Checks what guards a structure that begins at a block: its checksum, and that it is not another's or of another place.
    pub(super) fn check(
        &self,
        bytes: &[u8],
        guard: Guard,
        block: u64,
        owner: u64,
        what: &'static str,
    ) -> Result<(), Error> {
        if !self.guarded {
            return Ok(());
        }
        let of = Owner::Inode(owner);
        if !checksum_fits(bytes, guard.crc) {
            return Err(Error::Checksum { what, of });
        }
        let place = block.saturating_mul(self.block_bytes()) / BASIC;
        let found = [word(bytes, guard.blkno), word(bytes, guard.owner)];
        if found != [Some(place), Some(owner)] || !self.is_ours(bytes, guard.uuid) {
            return Err(Error::Misplaced { what, of });
        }
        Ok(())
    }

    /// Whether a structure is marked as one of this file system.
    pub(super) fn is_ours(&self, bytes: &[u8], at: usize) -> bool {
        bytes
            .get(at..)
            .is_some_and(|marked| marked.starts_with(&self.uuid))
    }
}

/// The lowest bits of a number.
fn low_bits(number: u64, bits: u32) -> u64 {
    number & !u64::MAX.checked_shl(bits).unwrap_or(0)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let (word, _) = U64::read_from_prefix(bytes.get(at..)?).ok()?;
    Some(word.get())
}

/// Whether the bytes have the CRC-32C that stands among them, for which its own four count as zero.
pub(super) fn checksum_fits(bytes: &[u8], at: usize) -> bool {
    let Some((before, rest)) = bytes.split_at_checked(at) else {
        return false;
    };
    let Ok((said, after)) = LittleU32::read_from_prefix(rest) else {
        return false;
    };
    let crc = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
    crc32c::crc32c_append(crc, after) == said.get()
}

fn checksum<R: ReadAt>(source: &R, sb: &Superblock) -> Result<(), Error> {
    let mut sector = vec![0; sb.sb_sectsize.get().into()];
    source.read_exact_at(&mut sector, 0)?;
    if checksum_fits(&sector, SB_CRC) {
        return Ok(());
    }
    Err(Error::Checksum {
        what: "the superblock",
        of: Owner::FileSystem,
    })
}

fn features(sb: &Superblock) -> Result<(), Error> {
    let incompat = sb.sb_features_incompat.get();
    if incompat & INCOMPAT_NEEDSREPAIR != 0 {
        return Err(Error::Unsupported("a mark that it needs repair"));
    }
    match incompat & !INCOMPAT_KNOWN {
        0 => Ok(()),
        unknown => Err(Error::UnknownFeatures(unknown)),
    }
}

/// Refuses sizes that are none, or of which two that say the same differ.
fn geometry(sb: &Superblock, len: u64) -> Result<(), Error> {
    let refuse = |field, value| Err(Error::Superblock { field, value });
    let is_log = |log: u8, of: u64| 1_u64.checked_shl(log.into()) == Some(of);
    let block = u64::from(sb.sb_blocksize.get());
    if !(512..=65_536).contains(&block) || !is_log(sb.sb_blocklog, block) {
        return refuse("sb_blocksize", block);
    }
    let sector = u64::from(sb.sb_sectsize.get());
    if !(512..=32_768).contains(&sector) || !sector.is_power_of_two() || sector > len {
        return refuse("sb_sectsize", sector);
    }
    let inode = u64::from(sb.sb_inodesize.get());
    if !(256..=2048).contains(&inode) || !is_log(sb.sb_inodelog, inode) || inode > block {
        return refuse("sb_inodesize", inode);
    }
    if !is_log(sb.sb_inopblog, block >> sb.sb_inodelog) {
        return refuse("sb_inopblog", sb.sb_inopblog.into());
    }
    let group = u64::from(sb.sb_agblocks.get());
    let log = group.max(1).next_power_of_two().trailing_zeros();
    if group == 0 || u32::from(sb.sb_agblklog) != log {
        return refuse("sb_agblklog", sb.sb_agblklog.into());
    }
    let blocks = sb.sb_dblocks.get();
    if blocks.div_ceil(group) != u64::from(sb.sb_agcount.get()) {
        return refuse("sb_agcount", sb.sb_agcount.get().into());
    }
    if sb.sb_dirblklog.saturating_add(sb.sb_blocklog) > 16 {
        return refuse("sb_dirblklog", sb.sb_dirblklog.into());
    }
    if sb.sb_inprogress != 0 {
        return Err(Error::Unsupported("a mark that it was not made to its end"));
    }
    match blocks.checked_mul(block) {
        Some(bytes) if bytes <= len => Ok(()),
        bytes => Err(Error::CutOff {
            len,
            bytes: bytes.unwrap_or(u64::MAX),
        }),
    }
}

/// Counts blocks of metadata, of which no more can be met than there are blocks.
#[derive(Debug)]
pub(super) struct Ledger {
    left: u64,
    blocks: u64,
}

impl Ledger {
    pub(super) fn new(blocks: u64) -> Self {
        Self { left: blocks, blocks }
    }

    pub(super) fn take(&mut self, blocks: u64) -> Result<(), Error> {
        self.left = self
            .left
            .checked_sub(blocks)
            .ok_or(Error::SharedBlocks(self.blocks))?;
        Ok(())
    }
}

/// A block's buffer.
pub(super) fn buffer(bytes: u64) -> Vec<u8> {
    vec![0; to_usize(bytes)]
}
