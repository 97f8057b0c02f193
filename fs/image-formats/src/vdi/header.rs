//! The header, as it stands on disk.

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What makes a VDI one, at byte 64.
pub(super) const SIGNATURE: u32 = 0xbeda_107f;
/// Version 1.1, the one there is.
pub(super) const VERSION: u32 = 0x1_0001;
/// The disk's type: blocks come when they are written.
pub(super) const DYNAMIC: u32 = 1;
/// The disk's type: all blocks are there.
pub(super) const STATIC: u32 = 2;
/// A map entry without a block.
pub(super) const UNALLOCATED: u32 = u32::MAX;
/// A map entry whose block was discarded: it is zero.
pub(super) const DISCARDED: u32 = u32::MAX - 1;

/// The most blocks that are written and read: a map of 64 MiB, for disks of 16 TiB. Four bytes say where the blocks behind
/// the map begin, so that there could be no more than 64 times as many.
pub(super) const BLOCKS_MAX: u64 = 16 << 20;

/// The first bytes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(clippy::struct_field_names, reason = "the spec's names")]
pub(super) struct Header {
    /// For people.
    pub(super) text: [u8; 64],
    /// [`SIGNATURE`].
    pub(super) signature: U32,
    /// [`VERSION`].
    pub(super) version: U32,
    /// Bytes of the header from here on: 400.
    pub(super) header_size: U32,
    /// [`DYNAMIC`] or [`STATIC`].
    pub(super) image_type: U32,
    /// 0.
    pub(super) image_flags: U32,
    /// Empty.
    pub(super) description: [u8; 256],
    /// Where the map is.
    pub(super) offset_blocks: U32,
    /// Where the blocks are.
    pub(super) offset_data: U32,
    /// Geometry: 0, which lets the BIOS of the guest decide.
    pub(super) cylinders: U32,
    /// 0.
    pub(super) heads: U32,
    /// 0.
    pub(super) sectors: U32,
    /// 512.
    pub(super) sector_size: U32,
    /// 0.
    pub(super) unused: U32,
    /// Bytes that the guest sees.
    pub(super) disk_size: U64,
    /// Bytes in a block.
    pub(super) block_size: U32,
    /// 0: there is nothing before a block.
    pub(super) block_extra: U32,
    /// Entries of the map.
    pub(super) blocks_in_image: U32,
    /// Blocks in the file.
    pub(super) blocks_allocated: U32,
    /// Of the disk.
    pub(super) uuid_image: [u8; 16],
    /// Of what was last changed: we give it one that is fixed, too.
    pub(super) uuid_last_snap: [u8; 16],
    /// 0: no parent.
    pub(super) uuid_link: [u8; 16],
    /// 0: no parent.
    pub(super) uuid_parent: [u8; 16],
    /// 0: the geometry as a BIOS translated it.
    pub(super) translated: [u8; 16],
    /// 0.
    pub(super) padding: [u8; 40],
}
const _: () = assert!(size_of::<Header>() == 512);
const _: () = assert!(offset_of!(Header, signature) == 64 && offset_of!(Header, offset_blocks) == 0x154);
const _: () = assert!(offset_of!(Header, disk_size) == 0x170 && offset_of!(Header, uuid_image) == 0x188);
const _: () = assert!(offset_of!(Header, translated) == 0x1c8);
