//! What stands in an image, field by field. All of it is little-endian.
//!
//! Spec: <https://www.kernel.org/doc/html/latest/filesystems/squashfs.html>; the names are those of the kernel's
//! `fs/squashfs/squashfs_fs.h`.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What `s_magic` says: `hsqs` as bytes.
pub(crate) const MAGIC: u32 = 0x7371_7368;
/// Bytes of a metadata block at most, uncompressed.
pub(crate) const METADATA_SIZE: usize = 8192;
/// The bit in a metadata block's header that says: stored as it is.
pub(crate) const METADATA_UNCOMPRESSED: u16 = 1 << 15;
/// The bit in a data block's size that says: stored as it is.
pub(crate) const DATA_UNCOMPRESSED: u32 = 1 << 24;
/// The fragment of a file that has none, and the xattrs of an inode that has none.
pub(crate) const NONE: u32 = u32::MAX;
/// The start of a table that is not there.
pub(crate) const NO_TABLE: u64 = u64::MAX;
/// A directory's size counts as many bytes more than its listing has.
pub(crate) const LISTING_EXTRA: u32 = 3;
/// The bit in an xattr's type that says: the value stands elsewhere, and here stands where.
pub(crate) const XATTR_VALUE_OOL: u16 = 1 << 8;

/// `struct squashfs_super_block`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Superblock {
    pub(crate) s_magic: U32,
    pub(crate) inodes: U32,
    pub(crate) mkfs_time: U32,
    pub(crate) block_size: U32,
    pub(crate) fragments: U32,
    pub(crate) compression: U16,
    pub(crate) block_log: U16,
    pub(crate) flags: U16,
    pub(crate) no_ids: U16,
    pub(crate) s_major: U16,
    pub(crate) s_minor: U16,
    /// Where the root's inode stands: see [`Reference`](super::metadata::Reference).
    pub(crate) root_inode: U64,
    pub(crate) bytes_used: U64,
    pub(crate) id_table_start: U64,
    pub(crate) xattr_id_table_start: U64,
    pub(crate) inode_table_start: U64,
    pub(crate) directory_table_start: U64,
    pub(crate) fragment_table_start: U64,
    pub(crate) lookup_table_start: U64,
}
const _: () = assert!(size_of::<Superblock>() == 96);

/// `struct squashfs_base_inode`: how every inode begins.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct BaseInode {
    pub(crate) inode_type: U16,
    pub(crate) mode: U16,
    /// Places in the table of ids, not ids.
    pub(crate) uid: U16,
    pub(crate) guid: U16,
    pub(crate) mtime: U32,
    pub(crate) inode_number: U32,
}
const _: () = assert!(size_of::<BaseInode>() == 16);

/// `struct squashfs_dir_inode`, without its base, as all that follow.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct DirInode {
    pub(crate) start_block: U32,
    pub(crate) nlink: U32,
    pub(crate) file_size: U16,
    pub(crate) offset: U16,
    pub(crate) parent_inode: U32,
}
const _: () = assert!(size_of::<DirInode>() == 16);

/// `struct squashfs_ldir_inode`. Its index follows, which only a search by name needs.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct LdirInode {
    pub(crate) nlink: U32,
    pub(crate) file_size: U32,
    pub(crate) start_block: U32,
    pub(crate) parent_inode: U32,
    pub(crate) i_count: U16,
    pub(crate) offset: U16,
    pub(crate) xattr: U32,
}
const _: () = assert!(size_of::<LdirInode>() == 24);

/// `struct squashfs_reg_inode`. The sizes of its blocks follow.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct RegInode {
    pub(crate) start_block: U32,
    pub(crate) fragment: U32,
    pub(crate) offset: U32,
    pub(crate) file_size: U32,
}
const _: () = assert!(size_of::<RegInode>() == 16);

/// `struct squashfs_lreg_inode`. The sizes of its blocks follow.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct LregInode {
    pub(crate) start_block: U64,
    pub(crate) file_size: U64,
    pub(crate) sparse: U64,
    pub(crate) nlink: U32,
    pub(crate) fragment: U32,
    pub(crate) offset: U32,
    pub(crate) xattr: U32,
}
const _: () = assert!(size_of::<LregInode>() == 40);

/// `struct squashfs_symlink_inode`. The target follows, and behind it, in an extended inode, the number of its xattrs.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct SymlinkInode {
    pub(crate) nlink: U32,
    pub(crate) symlink_size: U32,
}
const _: () = assert!(size_of::<SymlinkInode>() == 8);

/// `struct squashfs_dev_inode`; in an extended inode the number of its xattrs follows.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct DevInode {
    pub(crate) nlink: U32,
    pub(crate) rdev: U32,
}
const _: () = assert!(size_of::<DevInode>() == 8);

/// `struct squashfs_dir_header`: how each run of a directory's entries begins.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct DirHeader {
    /// Entries of the run, less one.
    pub(crate) count: U32,
    /// The block in which the inodes of the run stand.
    pub(crate) start_block: U32,
    pub(crate) inode_number: U32,
}
const _: () = assert!(size_of::<DirHeader>() == 12);

/// `struct squashfs_dir_entry`. The name follows.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct DirEntry {
    pub(crate) offset: U16,
    pub(crate) inode_number: U16,
    pub(crate) r#type: U16,
    /// Bytes of the name, less one.
    pub(crate) size: U16,
}
const _: () = assert!(size_of::<DirEntry>() == 8);

/// `struct squashfs_fragment_entry`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct FragmentEntry {
    pub(crate) start_block: U64,
    pub(crate) size: U32,
    pub(crate) unused: U32,
}
const _: () = assert!(size_of::<FragmentEntry>() == 16);

/// `struct squashfs_xattr_id_table`: how the table of xattr sets begins.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct XattrIdTable {
    pub(crate) xattr_table_start: U64,
    pub(crate) xattr_ids: U32,
    pub(crate) unused: U32,
}
const _: () = assert!(size_of::<XattrIdTable>() == 16);

/// `struct squashfs_xattr_id`: one set of xattrs.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct XattrId {
    pub(crate) xattr: U64,
    pub(crate) count: U32,
    pub(crate) size: U32,
}
const _: () = assert!(size_of::<XattrId>() == 16);

/// `struct squashfs_xattr_entry`. The name follows, without its prefix.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct XattrEntry {
    pub(crate) r#type: U16,
    pub(crate) size: U16,
}
const _: () = assert!(size_of::<XattrEntry>() == 4);
