//! The file system around the files: its superblock, group descriptors and inodes, checked.

use image_core::ReadAt;
use image_core::tree::Time;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{Owner, ReadError};
use crate::checksum::{self, InodeSeed, Seed};
use crate::features::{Incompat, RoCompat};
use crate::group::Descriptor;
use crate::inode::{GOOD_OLD, Inode, mode};
use crate::superblock::{START, Superblock};
use crate::units::{Block, BlockSize, Group, Ino, to_u64, to_usize as index};

const MAGIC: u16 = 0xef53;
/// Features beside the planner's that do not stand in a reader's way: `meta_bg`, `mmp`, `casefold`.
const READABLE: u32 = 0x10 | 0x100 | 0x2_0000;
const META_BG: u32 = 0x10;
const RECOVER: u32 = 0x4;
const SPARSE_SUPER_2: u32 = 0x200;
/// The file is encrypted.
const ENCRYPT_FL: u32 = 0x800;
/// The file lies in its inode.
const INLINE_DATA_FL: u32 = 0x1000_0000;
/// Features that no image of a root has, by name.
const UNSUPPORTED: [(u32, &str); 5] = [
    (0x1, "compression"),
    (0x8, "a journal device"),
    (0x1000, "data in directory entries (dirdata)"),
    (0x8000, "data in inodes (inline_data)"),
    (0x1_0000, "encryption"),
];

/// A file system that was opened.
#[derive(Debug)]
pub(super) struct Volume<'a, R> {
    source: &'a R,
    pub(super) superblock: Superblock,
    pub(super) block_size: BlockSize,
    pub(super) blocks: u64,
    /// What checksums start from, if there are any.
    pub(super) seed: Option<Seed>,
    /// The first block of each group's inode table.
    tables: Vec<Block>,
}

/// An inode with what stands behind its fields.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) ino: Ino,
    pub(super) inode: Inode,
    /// Bytes of extended attributes, from their magic number on.
    pub(super) behind: Vec<u8>,
    large_dir: bool,
}

impl<'a, R: ReadAt> Volume<'a, R> {
    pub(super) fn open(source: &'a R) -> Result<Self, ReadError> {
        let mut superblock = Superblock::new_zeroed();
        let end = START.saturating_add(to_u64(size_of::<Superblock>()));
        if source.len() < end {
            return Err(ReadError::NotExt);
        }
        source.read_exact_at(superblock.as_mut_bytes(), START)?;
        if superblock.s_magic.get() != MAGIC {
            return Err(ReadError::NotExt);
        }
        let bad = |field, value| ReadError::Superblock { field, value };
        let log = superblock.s_log_block_size.get();
        let bytes = 1024_u64.checked_shl(log).unwrap_or(0);
        let block_size = BlockSize::new(bytes).ok_or(bad("block size", bytes))?;
        let blocks = u64::from(superblock.s_blocks_count_lo.get());
        let has_64 = superblock.s_feature_incompat.get() & Incompat::BIT64.bits() != 0;
        let high = if has_64 {
            superblock.s_blocks_count_hi.get()
        } else {
            0
        };
        let blocks = blocks | (u64::from(high) << 32);
        let bytes = blocks.checked_mul(block_size.bytes());
        if blocks == 0 || bytes.is_none_or(|bytes| bytes > source.len()) {
            return Err(bad("number of blocks", blocks));
        }
        let mut volume = Self {
            source,
            superblock,
            block_size,
            blocks,
            seed: None,
            tables: Vec::new(),
        };
        volume.seed = volume.check_features()?;
        volume.tables = volume.descriptors()?;
        Ok(volume)
    }

    /// Refuses what cannot be read. Gives what checksums start from.
    fn check_features(&self) -> Result<Option<Seed>, ReadError> {
        let sb = &self.superblock;
        let incompat = sb.s_feature_incompat.get();
        if let Some((_, what)) = UNSUPPORTED.iter().find(|(bit, _)| incompat & bit != 0) {
            return Err(ReadError::Unsupported(what));
        }
        let unknown = incompat & !(Incompat::all().bits() | READABLE | RECOVER);
        if unknown != 0 {
            return Err(ReadError::UnknownFeatures(unknown));
        }
        if sb.s_feature_ro_compat.get() & RoCompat::METADATA_CSUM.bits() == 0 {
            return Ok(None);
        }
        if checksum::superblock(sb.as_bytes()) != sb.s_checksum.get() {
            return Err(ReadError::Checksum {
                what: "the superblock",
                of: Owner::FileSystem,
            });
        }
        Ok(Some(if incompat & Incompat::CSUM_SEED.bits() != 0 {
            Seed::from_stored(sb.s_checksum_seed.get())
        } else {
            Seed::from_uuid(&sb.s_uuid)
        }))
    }

    /// Reads all group descriptors: where each group's inodes are.
    fn descriptors(&self) -> Result<Vec<Block>, ReadError> {
        let sb = &self.superblock;
        let bad = |field, value: u32| ReadError::Superblock {
            field,
            value: value.into(),
        };
        let per_group = sb.s_blocks_per_group.get();
        let inodes = sb.s_inodes_per_group.get();
        let first = self.block_size.first_data_block().0;
        if per_group == 0 || per_group > self.block_size.bits().saturating_mul(16) {
            return Err(bad("number of blocks in a group", per_group));
        }
        if inodes == 0 || inodes > self.block_size.bits() {
            return Err(bad("number of inodes in a group", inodes));
        }
        let inode_size = self.inode_size();
        if !inode_size.is_power_of_two() || inode_size < GOOD_OLD || inode_size > self.block_size.buffer() {
            return Err(bad("size of an inode", sb.s_inode_size.get().into()));
        }
        let size = self.descriptor_size();
        if !matches!(size, 32 | 64) {
            return Err(bad("size of a descriptor", sb.s_desc_size.get().into()));
        }
        let groups = self.blocks.saturating_sub(first).div_ceil(per_group.into());
        let last = groups.saturating_sub(1).checked_mul(inodes.into());
        if last.is_none_or(|last| last >= u64::from(sb.s_inodes_count.get())) {
            return Err(bad("number of inodes", sb.s_inodes_count.get()));
        }
        let in_block = to_u64(self.block_size.buffer().div_euclid(size));
        let mut block = vec![0; self.block_size.buffer()];
        let mut tables = Vec::new();
        for number in 0..groups.div_ceil(in_block) {
            self.read_block(self.descriptor_block(number, in_block), &mut block)?;
            let first = number.saturating_mul(in_block);
            let here = groups.saturating_sub(first).min(in_block);
            for (bytes, group) in block.chunks_exact(size).zip(first..first.saturating_add(here)) {
                tables.push(self.inode_table(bytes, group)?);
            }
        }
        Ok(tables)
    }

    /// The block that holds the n-th block of descriptors.
    pub(super) fn descriptor_block(&self, number: u64, in_block: u64) -> Block {
        let sb = &self.superblock;
        let first = self.block_size.first_data_block().0;
        let meta = sb.s_feature_incompat.get() & META_BG != 0;
        if !meta || number < u64::from(sb.s_first_meta_bg.get()) {
            return Block(first.saturating_add(1).saturating_add(number));
        }
        let group = number.saturating_mul(in_block);
        let start = group.saturating_mul(sb.s_blocks_per_group.get().into());
        let copy = u64::from(self.has_superblock(group));
        Block(start.saturating_add(first).saturating_add(copy))
    }

    /// Whether a group begins with a copy of the superblock.
    pub(super) fn has_superblock(&self, group: u64) -> bool {
        let sb = &self.superblock;
        let power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        };
        if group == 0 {
            return true;
        }
        if sb.s_feature_compat.get() & SPARSE_SUPER_2 != 0 {
            return sb
                .s_backup_bgs
                .iter()
                .any(|backup| u64::from(backup.get()) == group);
        }
        let sparse = sb.s_feature_ro_compat.get() & RoCompat::SPARSE_SUPER.bits() != 0;
        !sparse || group == 1 || [3, 5, 7].into_iter().any(power_of)
    }

    fn inode_table(&self, bytes: &[u8], group: u64) -> Result<Block, ReadError> {
        let number = u32::try_from(group).unwrap_or(u32::MAX);
        let of = Owner::Group(number);
        let mut descriptor = Descriptor::default();
        descriptor.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        if let Some(seed) = self.seed
            && seed.group_descriptor(Group(number), bytes) != descriptor.bg_checksum.get()
        {
            let what = "the descriptor";
            return Err(ReadError::Checksum { what, of });
        }
        let table = u64::from(descriptor.bg_inode_table_lo.get())
            | (u64::from(descriptor.bg_inode_table_hi.get()) << 32);
        let bytes = to_u64(self.inode_size()).saturating_mul(self.superblock.s_inodes_per_group.get().into());
        let len = bytes.div_ceil(self.block_size.bytes());
        if self.holds(table, len) {
            Ok(Block(table))
        } else {
            let (what, value) = ("the place of the inode table", table);
            Err(ReadError::Corrupt { what, of, value })
        }
    }

    pub(super) fn inode_size(&self) -> usize {
        if self.superblock.s_rev_level.get() == 0 {
            GOOD_OLD
        } else {
            self.superblock.s_inode_size.get().into()
        }
    }

    pub(super) fn descriptor_size(&self) -> usize {
        if self.has(Incompat::BIT64) {
            self.superblock.s_desc_size.get().into()
        } else {
            32
        }
    }

    pub(super) fn has(&self, feature: Incompat) -> bool {
        self.superblock.s_feature_incompat.get() & feature.bits() != 0
    }

    /// Whether the journal may hold what the file system lacks.
    pub(super) fn needs_recovery(&self) -> bool {
        self.superblock.s_feature_incompat.get() & RECOVER != 0
    }

    /// The inode of the journal, 0 if it has none.
    pub(super) fn journal(&self) -> Ino {
        Ino(self.superblock.s_journal_inum.get())
    }

    pub(super) fn source(&self) -> &'a R {
        self.source
    }

    /// Whether a run of blocks lies in the file system, behind its start.
    pub(super) fn holds(&self, start: u64, len: u64) -> bool {
        super::within(self.blocks, self.block_size.first_data_block(), start, len)
    }

    /// Reads one block.
    pub(super) fn read_block(&self, at: Block, block: &mut [u8]) -> Result<(), ReadError> {
        let offset = at.0.saturating_mul(self.block_size.bytes());
        Ok(self.source.read_exact_at(block, offset)?)
    }

    /// The bytes of an inode.
    pub(super) fn inode_bytes(&self, ino: Ino) -> Result<Vec<u8>, ReadError> {
        let of = Owner::Inode(ino.0);
        let sb = &self.superblock;
        let number = ino.0.checked_sub(1).filter(|_| ino.0 <= sb.s_inodes_count.get());
        let number = number.ok_or(ReadError::Corrupt {
            what: "the number",
            of,
            value: ino.0.into(),
        })?;
        let per_group = sb.s_inodes_per_group.get();
        let (group, nth) = (number.div_euclid(per_group), number.rem_euclid(per_group));
        let table = self.tables.get(index(group)).copied().unwrap_or_default();
        let size = self.inode_size();
        let offset = u64::from(nth).saturating_mul(to_u64(size));
        let start = table.0.saturating_mul(self.block_size.bytes());
        let mut bytes = vec![0; size];
        self.source
            .read_exact_at(&mut bytes, start.saturating_add(offset))?;
        Ok(bytes)
    }

    /// Loads an inode that something names.
    pub(super) fn inode(&self, ino: Ino) -> Result<Loaded, ReadError> {
        let of = Owner::Inode(ino.0);
        let bytes = self.inode_bytes(ino)?;
        let size = bytes.len();
        let mut inode = Inode::default();
        let fields = size.min(size_of::<Inode>());
        inode.as_mut_bytes()[..fields].copy_from_slice(&bytes[..fields]);
        if size <= GOOD_OLD {
            inode.i_extra_isize = 0.into();
        }
        let extra: usize = inode.i_extra_isize.get().into();
        let end = GOOD_OLD.saturating_add(extra);
        let corrupt = |what, value| Err(ReadError::Corrupt { what, of, value });
        if end > size || !extra.is_multiple_of(4) {
            return corrupt("the size of the extra fields", to_u64(extra));
        }
        if let Some(seed) = self.seed {
            let found = seed.inode(ino, inode.i_generation.get()).inode(&bytes);
            if !stored_checksum_is(&inode, &bytes, found) {
                let what = "the inode";
                return Err(ReadError::Checksum { what, of });
            }
        }
        if inode.i_links_count.get() == 0 {
            return corrupt("the number of links", 0);
        }
        let flags = inode.i_flags.get();
        if flags & ENCRYPT_FL != 0 {
            return Err(ReadError::Unsupported("encryption"));
        }
        if flags & INLINE_DATA_FL != 0 {
            return Err(ReadError::Unsupported("data in inodes (inline_data)"));
        }
        // What a field of the structure does not reach is no field of this inode.
        let known = end.min(size_of::<Inode>());
        inode.as_mut_bytes()[known..].fill(0);
        let behind = bytes.get(end..).unwrap_or_default().to_vec();
        let large_dir = self.has(Incompat::LARGEDIR);
        let loaded = Loaded {
            ino,
            inode,
            behind: if size > GOOD_OLD { behind } else { Vec::new() },
            large_dir,
        };
        Ok(loaded)
    }
}

/// Whether an inode says that its checksum is this one; it may have room for the lower half only.
fn stored_checksum_is(inode: &Inode, bytes: &[u8], found: u32) -> bool {
    let low = u32::from(inode.i_checksum_lo.get());
    if bytes.len() > GOOD_OLD && checksum::inode_has_checksum_hi(bytes) {
        let high = <[u8; 2]>::read_from_bytes(&bytes[0x82..0x84]).unwrap_or_default();
        low | (u32::from(u16::from_le_bytes(high)) << 16) == found
    } else {
        low == found & 0xffff
    }
}

impl Loaded {
    pub(super) fn kind(&self) -> u16 {
        self.inode.i_mode.get() & 0xf000
    }

    /// Bytes of the file. Directories keep something else in the upper half, unless they may be large.
    pub(super) fn size(&self) -> u64 {
        let low = u64::from(self.inode.i_size_lo.get());
        if self.kind() == mode::DIRECTORY && !self.large_dir {
            low
        } else {
            low | (u64::from(self.inode.i_size_high.get()) << 32)
        }
    }

    pub(super) fn mtime(&self) -> Time {
        let low = i64::from(i32::from_le_bytes(self.inode.i_mtime.get().to_le_bytes()));
        let extra = self.inode.i_mtime_extra.get();
        Time {
            secs: low.saturating_add(i64::from(extra & 3) << 32),
            nanos: (extra >> 2).min(999_999_999),
        }
    }

    /// The block of extended attributes, 0 if there is none.
    pub(super) fn xattr_block(&self) -> u64 {
        u64::from(self.inode.i_file_acl_lo.get()) | (u64::from(self.inode.i_file_acl_high.get()) << 32)
    }

    /// The target of a symbolic link that stands in the inode.
    pub(super) fn fast_target<R: ReadAt>(&self, volume: &Volume<'_, R>) -> Option<&[u8]> {
        let sectors = if self.xattr_block() == 0 || volume.has(Incompat::EA_INODE) {
            0
        } else {
            volume.block_size.bytes() / 512
        };
        let used = u64::from(self.inode.i_blocks_lo.get());
        let mapped = self.inode.i_flags.get() & crate::inode::EXTENTS_FL != 0;
        let apart = if volume.has(Incompat::EA_INODE) {
            mapped
        } else {
            used != sectors
        };
        let len = usize::try_from(self.size()).ok()?;
        (!mapped && !apart && len < 60).then(|| &self.inode.i_block.as_bytes()[..len])
    }

    pub(super) fn seed<R>(&self, volume: &Volume<'_, R>) -> Option<InodeSeed> {
        let generation = self.inode.i_generation.get();
        volume.seed.map(|seed| seed.inode(self.ino, generation))
    }

    pub(super) fn corrupt(&self, what: &'static str, value: u64) -> ReadError {
        let of = Owner::Inode(self.ino.0);
        ReadError::Corrupt { what, of, value }
    }

    pub(super) fn checksum(&self, what: &'static str) -> ReadError {
        let of = Owner::Inode(self.ino.0);
        ReadError::Checksum { what, of }
    }
}
