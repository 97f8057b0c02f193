//! What stands in an image, field by field. All of it is big-endian, but for the checksums.
//!
//! Spec: <https://www.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf>; the names are those
//! of the kernel's `fs/xfs/libxfs/xfs_format.h` and `xfs_da_format.h`.
#![expect(clippy::struct_field_names, reason = "the names are the kernel's")]

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `sb_magicnum`: `XFSB`.
pub(super) const SB_MAGIC: [u8; 4] = *b"XFSB";
/// Where the superblock has its checksum.
pub(super) const SB_CRC: usize = 224;
/// The version's number, within `sb_versionnum`.
pub(super) const VERSION_MASK: u16 = 0xf;
/// Bits of `sb_versionnum`: directories of version 2, and more bits in `sb_features2`.
pub(super) const VERSION_DIRV2: u16 = 0x2000;
pub(super) const VERSION_MOREBITS: u16 = 0x8000;
/// The bit of `sb_features2`: directories say the types of their files.
pub(super) const FEATURES2_FTYPE: u32 = 0x200;
/// Bits of `sb_features_incompat`.
pub(super) const INCOMPAT_FTYPE: u32 = 1;
pub(super) const INCOMPAT_META_UUID: u32 = 1 << 2;
pub(super) const INCOMPAT_NEEDSREPAIR: u32 = 1 << 4;
/// Those that this reader knows: `ftype`, `spinodes`, `meta_uuid`, `bigtime`, `nrext64`, `exchrange`, `parent`, `metadir`.
pub(super) const INCOMPAT_KNOWN: u32 = 0x1ef;

/// `struct xfs_dsb`, as far as it is read.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Superblock {
    pub(super) sb_magicnum: [u8; 4],
    pub(super) sb_blocksize: U32,
    pub(super) sb_dblocks: U64,
    pub(super) sb_rblocks: U64,
    pub(super) sb_rextents: U64,
    pub(super) sb_uuid: [u8; 16],
    /// The block where the log begins; 0 if it is on another device.
    pub(super) sb_logstart: U64,
    pub(super) sb_rootino: U64,
    pub(super) sb_rbmino: U64,
    pub(super) sb_rsumino: U64,
    pub(super) sb_rextsize: U32,
    pub(super) sb_agblocks: U32,
    pub(super) sb_agcount: U32,
    pub(super) sb_rbmblocks: U32,
    pub(super) sb_logblocks: U32,
    pub(super) sb_versionnum: U16,
    pub(super) sb_sectsize: U16,
    pub(super) sb_inodesize: U16,
    pub(super) sb_inopblock: U16,
    pub(super) sb_fname: [u8; 12],
    pub(super) sb_blocklog: u8,
    pub(super) sb_sectlog: u8,
    pub(super) sb_inodelog: u8,
    pub(super) sb_inopblog: u8,
    pub(super) sb_agblklog: u8,
    pub(super) sb_rextslog: u8,
    pub(super) sb_inprogress: u8,
    pub(super) sb_imax_pct: u8,
    pub(super) sb_icount: U64,
    pub(super) sb_ifree: U64,
    pub(super) sb_fdblocks: U64,
    pub(super) sb_frextents: U64,
    pub(super) sb_uquotino: U64,
    pub(super) sb_gquotino: U64,
    pub(super) sb_qflags: U16,
    pub(super) sb_flags: u8,
    pub(super) sb_shared_vn: u8,
    pub(super) sb_inoalignmt: U32,
    pub(super) sb_unit: U32,
    pub(super) sb_width: U32,
    pub(super) sb_dirblklog: u8,
    pub(super) sb_logsectlog: u8,
    pub(super) sb_logsectsize: U16,
    pub(super) sb_logsunit: U32,
    pub(super) sb_features2: U32,
    pub(super) sb_bad_features2: U32,
    pub(super) sb_features_compat: U32,
    pub(super) sb_features_ro_compat: U32,
    pub(super) sb_features_incompat: U32,
    pub(super) sb_features_log_incompat: U32,
    pub(super) sb_crc: U32,
    pub(super) sb_spino_align: U32,
    pub(super) sb_pquotino: U64,
    pub(super) sb_lsn: U64,
    pub(super) sb_meta_uuid: [u8; 16],
}
const _: () = assert!(size_of::<Superblock>() == 264);

/// `di_magic`: `IN`.
pub(super) const DINODE_MAGIC: u16 = 0x494e;
/// Where an inode of version 3 has its checksum.
pub(super) const DINODE_CRC: usize = 100;
/// Where the forks of an inode begin, before version 3.
pub(super) const DINODE_V2_LEN: usize = 100;
/// `di_flags`: its data are on the realtime device.
pub(super) const DIFLAG_REALTIME: u16 = 1;
/// Bits of `di_flags2`.
pub(super) const DIFLAG2_BIGTIME: u64 = 1 << 3;
pub(super) const DIFLAG2_NREXT64: u64 = 1 << 4;

/// `struct xfs_dinode`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Dinode {
    pub(super) di_magic: U16,
    pub(super) di_mode: U16,
    pub(super) di_version: u8,
    pub(super) di_format: u8,
    pub(super) di_onlink: U16,
    pub(super) di_uid: U32,
    pub(super) di_gid: U32,
    pub(super) di_nlink: U32,
    pub(super) di_projid_lo: U16,
    pub(super) di_projid_hi: U16,
    /// How many extents there are, where the inode has wide counters.
    pub(super) di_big_nextents: U64,
    pub(super) di_atime: U64,
    pub(super) di_mtime: U64,
    pub(super) di_ctime: U64,
    pub(super) di_size: U64,
    pub(super) di_nblocks: U64,
    pub(super) di_extsize: U32,
    /// How many extents there are, or, with wide counters, how many of attributes.
    pub(super) di_nextents: U32,
    pub(super) di_anextents: U16,
    /// Where the fork of attributes begins, in eighths of bytes behind the data fork's start; 0 if there is none.
    pub(super) di_forkoff: u8,
    pub(super) di_aformat: u8,
    pub(super) di_dmevmask: U32,
    pub(super) di_dmstate: U16,
    pub(super) di_flags: U16,
    pub(super) di_gen: U32,
    pub(super) di_next_unlinked: U32,
    /// From here on only in version 3.
    pub(super) di_crc: U32,
    pub(super) di_changecount: U64,
    pub(super) di_lsn: U64,
    pub(super) di_flags2: U64,
    pub(super) di_cowextsize: U32,
    pub(super) di_pad2: [u8; 12],
    pub(super) di_crtime: U64,
    pub(super) di_ino: U64,
    pub(super) di_uuid: [u8; 16],
}
const _: () = assert!(size_of::<Dinode>() == 176);

/// `struct xfs_bmbt_rec`: where a run of a file's blocks lies.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Extent {
    pub(super) l0: U64,
    pub(super) l1: U64,
}

/// The head of a block of a tree of extents, `struct xfs_btree_block` with long pointers. Version 5 adds a [`Guard`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct TreeHead {
    pub(super) bb_magic: [u8; 4],
    pub(super) bb_level: U16,
    pub(super) bb_numrecs: U16,
    pub(super) bb_leftsib: U64,
    pub(super) bb_rightsib: U64,
}
const _: () = assert!(size_of::<TreeHead>() == 24);

/// `bb_magic` of such a block, in version 4 and in version 5.
pub(super) const BMAP_MAGICS: [[u8; 4]; 2] = [*b"BMAP", *b"BMA3"];

/// The head of a block of directory entries that has no others beside it, and of one that has. Version 4 and 5 each.
pub(super) const DIR_BLOCK_MAGICS: [[u8; 4]; 2] = [*b"XD2B", *b"XDB3"];
pub(super) const DIR_DATA_MAGICS: [[u8; 4]; 2] = [*b"XD2D", *b"XDD3"];
/// What stands in place of an inode's first bytes where nothing is used.
pub(super) const DIR_FREE_TAG: [u8; 2] = [0xff, 0xff];
/// The byte of a directory from which on there are no entries, only their index.
pub(super) const DIR_LEAF_OFFSET: u64 = 1 << 35;

/// `struct xfs_da_blkinfo`: the head of a block of attributes. Version 5 adds a [`Guard`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct AttrHead {
    pub(super) forw: U32,
    pub(super) back: U32,
    pub(super) magic: U16,
    pub(super) pad: U16,
}
const _: () = assert!(size_of::<AttrHead>() == 12);

/// `magic` of a leaf and of a node above leaves, in version 4 and in version 5.
pub(super) const ATTR_LEAF_MAGICS: [u16; 2] = [0xfbee, 0x3bee];
pub(super) const ATTR_NODE_MAGICS: [u16; 2] = [0xfebe, 0x3ebe];

/// `struct xfs_attr_leaf_entry`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct AttrEntry {
    pub(super) hashval: U32,
    pub(super) nameidx: U16,
    pub(super) flags: u8,
    pub(super) pad2: u8,
}

/// `struct xfs_attr_leaf_name_remote`, without the name.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct AttrRemote {
    pub(super) valueblk: U32,
    pub(super) valuelen: U32,
    pub(super) namelen: u8,
}

/// Bits of an attribute's flags: the value stands beside the name; whose it is; and that it is not complete.
pub(super) const ATTR_LOCAL: u8 = 1;
pub(super) const ATTR_ROOT: u8 = 2;
pub(super) const ATTR_SECURE: u8 = 4;
pub(super) const ATTR_PARENT: u8 = 8;
pub(super) const ATTR_INCOMPLETE: u8 = 0x80;

/// The head of a block of version 5 that holds part of a symbolic link or of an attribute's value.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RemoteHead {
    pub(super) magic: [u8; 4],
    pub(super) offset: U32,
    pub(super) bytes: U32,
    pub(super) crc: U32,
    pub(super) uuid: [u8; 16],
    pub(super) owner: U64,
    pub(super) blkno: U64,
    pub(super) lsn: U64,
}
const _: () = assert!(size_of::<RemoteHead>() == 56);

pub(super) const SYMLINK_MAGIC: [u8; 4] = *b"XSLM";
pub(super) const ATTR_VALUE_MAGIC: [u8; 4] = *b"XARM";

/// `struct xfs_acl_entry`, of which an access control list has a counted number.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct AclEntry {
    pub(super) ae_tag: U32,
    pub(super) ae_id: U32,
    pub(super) ae_perm: U16,
    pub(super) ae_pad: U16,
}
const _: () = assert!(size_of::<AclEntry>() == 12);

/// What says in a block of version 5 that it is what it should be: where each has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    pub(super) crc: usize,
    pub(super) blkno: usize,
    pub(super) uuid: usize,
    pub(super) owner: usize,
}

/// Of a tree of extents.
pub(super) const TREE_GUARD: Guard = Guard {
    crc: 64,
    blkno: 24,
    uuid: 40,
    owner: 56,
};
/// Of a block of directory entries.
pub(super) const DIR_GUARD: Guard = Guard {
    crc: 4,
    blkno: 8,
    uuid: 24,
    owner: 40,
};
/// Of a node or a leaf of attributes.
pub(super) const ATTR_GUARD: Guard = Guard {
    crc: 12,
    blkno: 16,
    uuid: 32,
    owner: 48,
};
/// Of a part of a symbolic link or of an attribute's value.
pub(super) const REMOTE_GUARD: Guard = Guard {
    crc: 12,
    blkno: 40,
    uuid: 16,
    owner: 32,
};

/// `h_magicno` of a record of the log.
pub(super) const LOG_MAGIC: u32 = 0xfeed_babe;
/// The bit of an operation's flags: the file system was unmounted.
pub(super) const LOG_UNMOUNT: u8 = 0x20;

/// `struct xlog_rec_header`, as far as it is read.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct LogHead {
    pub(super) h_magicno: U32,
    pub(super) h_cycle: U32,
    pub(super) h_version: U32,
    pub(super) h_len: U32,
    pub(super) h_lsn: U64,
    pub(super) h_tail_lsn: U64,
    pub(super) h_crc: U32,
    pub(super) h_prev_block: U32,
    pub(super) h_num_logops: U32,
    pub(super) h_cycle_data: [U32; 64],
    pub(super) h_fmt: U32,
    pub(super) h_fs_uuid: [u8; 16],
    pub(super) h_size: U32,
}
const _: () = assert!(size_of::<LogHead>() == 324);
