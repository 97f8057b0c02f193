//! The superblock: what the whole file system is, at byte 1024, with copies in some groups.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/globals.html#super-block>

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::checksum;
use crate::features::{Compat, Incompat, RoCompat};
use crate::geometry::Geometry;
use crate::hash;
use crate::inode::EXTRA_ISIZE;
use crate::options::{OnErrors, Options};
use crate::units::{Blocks, Group, Ino, halves};

/// Where the primary superblock begins, in bytes.
pub const START: u64 = 1024;
/// User xattrs and ACLs without being asked for at mount.
const DEFAULT_MOUNT_OPTIONS: u32 = 0xc;
/// Names were hashed with signed bytes.
const SIGNED_HASH: u32 = 1;
/// Names were hashed with unsigned bytes.
const UNSIGNED_HASH: u32 = 2;

/// The superblock as it stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub struct Superblock {
    pub s_inodes_count: U32,
    pub s_blocks_count_lo: U32,
    pub s_r_blocks_count_lo: U32,
    pub s_free_blocks_count_lo: U32,
    pub s_free_inodes_count: U32,
    pub s_first_data_block: U32,
    pub s_log_block_size: U32,
    /// Clusters are blocks: as `s_log_block_size`.
    pub s_log_cluster_size: U32,
    pub s_blocks_per_group: U32,
    pub s_clusters_per_group: U32,
    pub s_inodes_per_group: U32,
    /// Never mounted: 0.
    pub s_mtime: U32,
    pub s_wtime: U32,
    pub s_mnt_count: U16,
    /// Never checked for the number of mounts: -1.
    pub s_max_mnt_count: U16,
    pub s_magic: U16,
    /// Clean.
    pub s_state: U16,
    /// What to do on errors.
    pub s_errors: U16,
    pub s_minor_rev_level: U16,
    pub s_lastcheck: U32,
    pub s_checkinterval: U32,
    /// Linux.
    pub s_creator_os: U32,
    pub s_rev_level: U32,
    pub s_def_resuid: U16,
    pub s_def_resgid: U16,
    pub s_first_ino: U32,
    pub s_inode_size: U16,
    pub s_block_group_nr: U16,
    pub s_feature_compat: U32,
    pub s_feature_incompat: U32,
    pub s_feature_ro_compat: U32,
    pub s_uuid: [u8; 16],
    pub s_volume_name: [u8; 16],
    pub s_last_mounted: [u8; 64],
    pub s_algorithm_usage_bitmap: U32,
    pub s_prealloc_blocks: u8,
    pub s_prealloc_dir_blocks: u8,
    pub s_reserved_gdt_blocks: U16,
    pub s_journal_uuid: [u8; 16],
    pub s_journal_inum: U32,
    pub s_journal_dev: U32,
    pub s_last_orphan: U32,
    pub s_hash_seed: [u8; 16],
    pub s_def_hash_version: u8,
    /// `s_jnl_blocks` holds the journal's inode.
    pub s_jnl_backup_type: u8,
    pub s_desc_size: U16,
    pub s_default_mount_opts: U32,
    pub s_first_meta_bg: U32,
    pub s_mkfs_time: U32,
    /// The journal inode's `i_block`, then the upper and the lower half of its size.
    pub s_jnl_blocks: [U32; 17],
    pub s_blocks_count_hi: U32,
    pub s_r_blocks_count_hi: U32,
    pub s_free_blocks_count_hi: U32,
    pub s_min_extra_isize: U16,
    pub s_want_extra_isize: U16,
    pub s_flags: U32,
    pub s_raid_stride: U16,
    pub s_mmp_interval: U16,
    pub s_mmp_block: U64,
    pub s_raid_stripe_width: U32,
    pub s_log_groups_per_flex: u8,
    pub s_checksum_type: u8,
    pub s_reserved_pad: U16,
    /// Constant, so that the same tree gives the same bytes.
    pub s_kbytes_written: U64,
    pub s_snapshots: [U32; 5],
    pub s_error_log: [u8; 108],
    pub s_mount_opts: [u8; 64],
    pub s_usr_quota_inum: U32,
    pub s_grp_quota_inum: U32,
    /// 0: the kernel counts it itself.
    pub s_overhead_clusters: U32,
    pub s_backup_bgs: [U32; 2],
    pub s_encrypt_algos: [u8; 4],
    pub s_encrypt_pw_salt: [u8; 16],
    pub s_lpf_ino: U32,
    pub s_prj_quota_inum: U32,
    pub s_checksum_seed: U32,
    pub s_wtime_hi: u8,
    pub s_mtime_hi: u8,
    pub s_mkfs_time_hi: u8,
    pub s_lastcheck_hi: u8,
    pub s_first_error_time_hi: u8,
    pub s_last_error_time_hi: u8,
    pub s_first_error_errcode: u8,
    pub s_last_error_errcode: u8,
    pub s_encoding: U16,
    pub s_encoding_flags: U16,
    pub s_orphan_file_inum: U32,
    pub s_reserved: [U32; 94],
    /// Set last, over all else.
    pub s_checksum: U32,
}
const _: () = assert!(
    size_of::<Superblock>() == 1024
        && std::mem::offset_of!(Superblock, s_magic) == 0x38
        && std::mem::offset_of!(Superblock, s_uuid) == 0x68
        && std::mem::offset_of!(Superblock, s_reserved_gdt_blocks) == 0xce
        && std::mem::offset_of!(Superblock, s_hash_seed) == 0xec
        && std::mem::offset_of!(Superblock, s_jnl_blocks) == 0x10c
        && std::mem::offset_of!(Superblock, s_blocks_count_hi) == 0x150
        && std::mem::offset_of!(Superblock, s_kbytes_written) == 0x178
        && std::mem::offset_of!(Superblock, s_usr_quota_inum) == 0x240
        && std::mem::offset_of!(Superblock, s_checksum_seed) == 0x270
        && std::mem::offset_of!(Superblock, s_orphan_file_inum) == 0x280
        && std::mem::offset_of!(Superblock, s_checksum) == 0x3fc
);

/// What a superblock says of the file system beside options and geometry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blocks that are free.
    pub free_blocks: Blocks,
    /// Inodes that are free.
    pub free_inodes: u32,
    /// Blocks for the superuser only.
    pub reserved_blocks: Blocks,
    /// The journal inode's `i_block` and size, if there is a journal.
    pub journal: Option<([u8; 60], u64)>,
    /// The orphan file's inode, if there is one.
    pub orphan_file: Option<Ino>,
}

impl Superblock {
    /// The superblock of group 0, without its checksum.
    pub fn new(options: &Options, geometry: &Geometry, totals: &Totals) -> Self {
        let mut sb = Self::new_zeroed();
        sb.set_counts(options, geometry, totals);
        sb.set_identity(options);
        sb.set_features(options, geometry, totals.journal.is_some());
        if let Some((map, size)) = totals.journal {
            sb.s_journal_inum = Ino::JOURNAL.0.into();
            sb.s_jnl_backup_type = 1;
            let (size_lo, size_hi) = halves(size);
            sb.s_jnl_blocks[..15].as_mut_bytes().copy_from_slice(&map);
            sb.s_jnl_blocks[15] = size_hi.into();
            sb.s_jnl_blocks[16] = size_lo.into();
        }
        if let Some(ino) = totals.orphan_file {
            sb.s_orphan_file_inum = ino.0.into();
        }
        sb
    }

    fn set_counts(&mut self, options: &Options, geometry: &Geometry, totals: &Totals) {
        let (blocks_lo, blocks_hi) = halves(geometry.blocks.0);
        let (free_lo, free_hi) = halves(totals.free_blocks.0);
        let (reserved_lo, reserved_hi) = halves(totals.reserved_blocks.0);
        self.s_blocks_count_lo = blocks_lo.into();
        self.s_blocks_count_hi = blocks_hi.into();
        self.s_free_blocks_count_lo = free_lo.into();
        self.s_free_blocks_count_hi = free_hi.into();
        self.s_r_blocks_count_lo = reserved_lo.into();
        self.s_r_blocks_count_hi = reserved_hi.into();
        self.s_inodes_count = halves(geometry.inodes()).0.into();
        self.s_free_inodes_count = totals.free_inodes.into();
        self.s_first_data_block = halves(geometry.block_size.first_data_block().0).0.into();
        self.s_log_block_size = geometry.block_size.log().into();
        self.s_log_cluster_size = geometry.block_size.log().into();
        self.s_blocks_per_group = geometry.blocks_per_group.into();
        self.s_clusters_per_group = geometry.blocks_per_group.into();
        self.s_inodes_per_group = geometry.inodes_per_group.into();
        self.s_inode_size = geometry.inode_size.into();
        self.s_first_ino = Ino::LOST_FOUND.0.into();
        let reserved_gdt = u16::try_from(geometry.reserved_gdt_blocks.0);
        self.s_reserved_gdt_blocks = reserved_gdt.expect("a quarter of a block at most").into();
        if options.features.bit64() {
            self.s_desc_size = geometry.descriptor_size.into();
        }
    }

    fn set_identity(&mut self, options: &Options) {
        self.s_magic = 0xef53.into();
        self.s_rev_level = 1.into();
        self.s_state = 1.into();
        self.s_errors = match options.on_errors {
            OnErrors::Continue => 1,
            OnErrors::RemountReadOnly => 2,
            OnErrors::Panic => 3,
        }
        .into();
        self.s_max_mnt_count = u16::MAX.into();
        let [t0, t1, t2, t3, high, ..] = options.identity.epoch.secs.to_le_bytes();
        let now = U32::from_bytes([t0, t1, t2, t3]);
        self.s_wtime = now;
        self.s_lastcheck = now;
        self.s_mkfs_time = now;
        self.s_wtime_hi = high;
        self.s_lastcheck_hi = high;
        self.s_mkfs_time_hi = high;
        self.s_uuid = *options.uuid.as_bytes();
        self.s_hash_seed = *options.hash_seed.as_bytes();
        self.s_volume_name = options.label;
        self.s_last_mounted = options.last_mounted;
        self.s_def_hash_version = hash::version(options.hash);
        self.s_flags = if options.hash_signed {
            SIGNED_HASH
        } else {
            UNSIGNED_HASH
        }
        .into();
        self.s_default_mount_opts = DEFAULT_MOUNT_OPTIONS.into();
        self.s_raid_stride = options.stride.into();
        self.s_raid_stripe_width = options.stripe_width.into();
    }

    fn set_features(&mut self, options: &Options, geometry: &Geometry, journal: bool) {
        let features = &options.features;
        let mut compat = features.compat;
        if geometry.reserved_gdt_blocks == Blocks::ZERO {
            // Without a reserve inode 7 has nothing to hold, and the kernel grows by meta_bg at once.
            compat.remove(Compat::RESIZE_INODE);
        }
        // An image too small for any journal has none.
        compat.set(Compat::HAS_JOURNAL, journal);
        self.s_feature_compat = compat.bits().into();
        self.s_feature_incompat = features.incompat.bits().into();
        self.s_feature_ro_compat = features.ro_compat.bits().into();
        if features.ro_compat.contains(RoCompat::EXTRA_ISIZE) {
            self.s_min_extra_isize = EXTRA_ISIZE.into();
            self.s_want_extra_isize = EXTRA_ISIZE.into();
        }
        if features.metadata_csum() {
            self.s_checksum_type = 1;
        }
        if features.incompat.contains(Incompat::CSUM_SEED) {
            self.s_checksum_seed = checksum::Seed::from_uuid(options.uuid.as_bytes()).stored().into();
        }
        if features.incompat.contains(Incompat::FLEX_BG) {
            let log = geometry.flex_groups.trailing_zeros();
            self.s_log_groups_per_flex = u8::try_from(log).expect("a logarithm of 32 bits");
        }
    }

    /// The bytes of the copy in a group.
    pub fn render(&self, group: Group, checksums: bool) -> Vec<u8> {
        let mut copy = *self;
        // The field has 16 bits; e2fsck and the kernel compare nothing with it.
        copy.s_block_group_nr = crate::units::quarters(group.0).0.into();
        if checksums {
            copy.s_checksum = checksum::superblock(copy.as_bytes()).into();
        }
        copy.as_bytes().to_vec()
    }
}
