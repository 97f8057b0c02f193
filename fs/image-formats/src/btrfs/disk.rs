//! What stands in a file system, field by field, with the kernel's names.
//!
//! Spec: <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html>

use std::fmt;

use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the first superblock begins.
pub(crate) const SUPERBLOCK_AT: u64 = 64 << 10;
pub(crate) const MAGIC: [u8; 8] = *b"_BHRfS_M";
/// Bytes at the beginning of a superblock and of a tree block that hold its checksum.
pub(crate) const CHECKSUM_LEN: usize = 32;
/// The levels that a tree can have: leaves are level 0.
pub(super) const LEVELS: u8 = 8;
/// The most bytes of a file in a compressed extent, and the most that it takes.
pub(super) const PACKED_MAX: u32 = 128 << 10;

/// Kinds of items: `btrfs_key.type`.
pub(super) mod kind {
    pub(crate) const INODE_ITEM: u8 = 1;
    pub(crate) const INODE_REF: u8 = 12;
    pub(crate) const XATTR_ITEM: u8 = 24;
    pub(crate) const DIR_ITEM: u8 = 84;
    pub(crate) const DIR_INDEX: u8 = 96;
    pub(crate) const EXTENT_DATA: u8 = 108;
    pub(crate) const EXTENT_CSUM: u8 = 128;
    pub(crate) const ROOT_ITEM: u8 = 132;
    pub(crate) const ROOT_BACKREF: u8 = 144;
    pub(crate) const CHUNK_ITEM: u8 = 228;
}

/// Objects with fixed numbers: trees in the tree of roots, and what is in trees.
pub(super) mod object {
    /// The subvolume at the top, which every file system has.
    pub(crate) const FS_TREE: u64 = 5;
    /// The directory in the tree of roots that names the default subvolume.
    pub(crate) const ROOT_TREE_DIR: u64 = 6;
    /// The tree of the data's checksums, and the object in it that all of them belong to.
    pub(crate) const CSUM_TREE: u64 = 7;
    pub(crate) const EXTENT_CSUM: u64 = u64::MAX - 9;
    /// The root directory of a subvolume; of subvolumes that users made, the first, and of chunks the only one.
    pub(crate) const FIRST_FREE: u64 = 256;
    pub(crate) const LAST_FREE: u64 = u64::MAX - 255;
}

/// What orders the items of a tree: object, kind, and a number whose meaning hangs on the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) object: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    pub(super) const MIN: Self = Self::new(0, 0, 0);
    pub(super) const MAX: Self = Self::new(u64::MAX, u8::MAX, u64::MAX);

    pub(super) const fn new(object: u64, kind: u8, offset: u64) -> Self {
        Self { object, kind, offset }
    }
}

impl fmt::Display for Key {
    /// As `btrfs inspect-internal` shows keys, with the number of the kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.object, self.kind, self.offset)
    }
}

/// `struct btrfs_disk_key`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct DiskKey {
    pub(crate) objectid: U64,
    pub(crate) kind: u8,
    pub(crate) offset: U64,
}
const _: () = assert!(size_of::<DiskKey>() == 17);

impl DiskKey {
    pub(super) fn get(&self) -> Key {
        Key::new(self.objectid.get(), self.kind, self.offset.get())
    }
}

/// `struct btrfs_dev_item`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct DevItem {
    pub(crate) devid: U64,
    pub(crate) total_bytes: U64,
    pub(crate) bytes_used: U64,
    pub(crate) io_align: U32,
    pub(crate) io_width: U32,
    pub(crate) sector_size: U32,
    pub(crate) kind: U64,
    pub(crate) generation: U64,
    pub(crate) start_offset: U64,
    pub(crate) dev_group: U32,
    pub(crate) seek_speed: u8,
    pub(crate) bandwidth: u8,
    pub(crate) uuid: [u8; 16],
    pub(crate) fsid: [u8; 16],
}
const _: () = assert!(size_of::<DevItem>() == 98);

/// `struct btrfs_super_block`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Superblock {
    pub(crate) csum: [u8; CHECKSUM_LEN],
    pub(crate) fsid: [u8; 16],
    pub(crate) bytenr: U64,
    pub(crate) flags: U64,
    pub(crate) magic: [u8; 8],
    pub(crate) generation: U64,
    pub(crate) root: U64,
    pub(crate) chunk_root: U64,
    pub(crate) log_root: U64,
    pub(crate) log_root_transid: U64,
    pub(crate) total_bytes: U64,
    pub(crate) bytes_used: U64,
    pub(crate) root_dir_objectid: U64,
    pub(crate) num_devices: U64,
    pub(crate) sectorsize: U32,
    pub(crate) nodesize: U32,
    pub(crate) leafsize: U32,
    pub(crate) stripesize: U32,
    pub(crate) sys_chunk_array_size: U32,
    pub(crate) chunk_root_generation: U64,
    pub(crate) compat_flags: U64,
    pub(crate) compat_ro_flags: U64,
    pub(crate) incompat_flags: U64,
    pub(crate) csum_type: U16,
    pub(crate) root_level: u8,
    pub(crate) chunk_root_level: u8,
    pub(crate) log_root_level: u8,
    pub(crate) dev_item: DevItem,
    pub(crate) label: [u8; 256],
    pub(crate) cache_generation: U64,
    pub(crate) uuid_tree_generation: U64,
    pub(crate) metadata_uuid: [u8; 16],
    pub(crate) reserved: [u8; 224],
    pub(crate) sys_chunk_array: [u8; 2048],
    /// Roots of older generations, for repairs.
    pub(crate) super_roots: [u8; 672],
    pub(crate) padding: [u8; 565],
}
const _: () = assert!(size_of::<Superblock>() == 4096 && std::mem::offset_of!(Superblock, label) == 0x12b);
const _: () = assert!(std::mem::offset_of!(Superblock, sys_chunk_array) == 0x32b);

/// `struct btrfs_header`: the beginning of every tree block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) csum: [u8; CHECKSUM_LEN],
    pub(crate) fsid: [u8; 16],
    pub(crate) bytenr: U64,
    pub(crate) flags: U64,
    pub(crate) chunk_tree_uuid: [u8; 16],
    pub(crate) generation: U64,
    pub(crate) owner: U64,
    pub(crate) nritems: U32,
    pub(crate) level: u8,
}
const _: () = assert!(size_of::<Header>() == 101);

/// `struct btrfs_key_ptr`: an entry of a tree block above the leaves.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct KeyPtr {
    pub(crate) key: DiskKey,
    pub(crate) blockptr: U64,
    pub(crate) generation: U64,
}
const _: () = assert!(size_of::<KeyPtr>() == 33);

/// `struct btrfs_item`: an entry of a leaf, whose bytes lie behind all entries.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Item {
    pub(crate) key: DiskKey,
    pub(crate) offset: U32,
    pub(crate) size: U32,
}
const _: () = assert!(size_of::<Item>() == 25);

/// `struct btrfs_chunk`, without its stripes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ChunkItem {
    pub(crate) length: U64,
    pub(crate) owner: U64,
    pub(crate) stripe_len: U64,
    pub(crate) kind: U64,
    pub(crate) io_align: U32,
    pub(crate) io_width: U32,
    pub(crate) sector_size: U32,
    pub(crate) num_stripes: U16,
    pub(crate) sub_stripes: U16,
}
const _: () = assert!(size_of::<ChunkItem>() == 48);

/// `struct btrfs_stripe`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Stripe {
    pub(crate) devid: U64,
    pub(crate) offset: U64,
    pub(crate) dev_uuid: [u8; 16],
}
const _: () = assert!(size_of::<Stripe>() == 32);

/// `struct btrfs_timespec`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Timespec {
    pub(crate) sec: I64,
    pub(crate) nsec: U32,
}

/// `struct btrfs_inode_item`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct InodeItem {
    pub(crate) generation: U64,
    pub(crate) transid: U64,
    pub(crate) size: U64,
    pub(crate) nbytes: U64,
    pub(crate) block_group: U64,
    pub(crate) nlink: U32,
    pub(crate) uid: U32,
    pub(crate) gid: U32,
    pub(crate) mode: U32,
    pub(crate) rdev: U64,
    pub(crate) flags: U64,
    pub(crate) sequence: U64,
    pub(crate) reserved: [u8; 32],
    pub(crate) atime: Timespec,
    pub(crate) ctime: Timespec,
    pub(crate) mtime: Timespec,
    pub(crate) otime: Timespec,
}
const _: () = assert!(size_of::<InodeItem>() == 160);

/// An inode whose data have no checksums.
pub(super) const INODE_NODATASUM: u64 = 1;

/// `struct btrfs_root_item`, up to what every kernel writes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RootItem {
    pub(crate) inode: InodeItem,
    pub(crate) generation: U64,
    pub(crate) root_dirid: U64,
    pub(crate) bytenr: U64,
    pub(crate) byte_limit: U64,
    pub(crate) bytes_used: U64,
    pub(crate) last_snapshot: U64,
    pub(crate) flags: U64,
    pub(crate) refs: U32,
    pub(crate) drop_progress: DiskKey,
    pub(crate) drop_level: u8,
    pub(crate) level: u8,
}
const _: () = assert!(size_of::<RootItem>() == 239);

/// What follows a [`RootItem`] since Linux 3.6, up to what is read of it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RootItemMore {
    pub(crate) generation_v2: U64,
    pub(crate) uuid: [u8; 16],
    pub(crate) parent_uuid: [u8; 16],
}

/// `struct btrfs_root_ref`: what names a subvolume. The name follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RootRef {
    pub(crate) dirid: U64,
    pub(crate) sequence: U64,
    pub(crate) name_len: U16,
}
const _: () = assert!(size_of::<RootRef>() == 18);

/// `struct btrfs_inode_ref`: a name of an inode, which follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct InodeRef {
    pub(crate) index: U64,
    pub(crate) name_len: U16,
}
const _: () = assert!(size_of::<InodeRef>() == 10);

/// `struct btrfs_dir_item`: an entry of a directory, or an attribute. Name and value follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct DirItem {
    pub(crate) location: DiskKey,
    pub(crate) transid: U64,
    pub(crate) data_len: U16,
    pub(crate) name_len: U16,
    pub(crate) kind: u8,
}
const _: () = assert!(size_of::<DirItem>() == 30);

/// The beginning of `struct btrfs_file_extent_item`. If the extent is inline, its bytes follow, else [`ExtentPlace`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ExtentHead {
    pub(crate) generation: U64,
    pub(crate) ram_bytes: U64,
    pub(crate) compression: u8,
    pub(crate) encryption: u8,
    pub(crate) other_encoding: U16,
    pub(crate) kind: u8,
}
const _: () = assert!(size_of::<ExtentHead>() == 21);

/// The rest of `struct btrfs_file_extent_item`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ExtentPlace {
    pub(crate) disk_bytenr: U64,
    pub(crate) disk_num_bytes: U64,
    pub(crate) offset: U64,
    pub(crate) num_bytes: U64,
}
const _: () = assert!(size_of::<ExtentPlace>() == 32);
