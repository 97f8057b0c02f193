//! Header and markers, as they stand on disk.
//!
//! Spec: Virtual Disk Format 5.0, "Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse Extents".

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// How a sparse disk begins.
pub(super) const MAGIC: [u8; 4] = *b"KDMV";
/// Bytes in a sector.
pub(super) const SECTOR: u64 = 512;
/// Sectors in a grain of ours.
pub(super) const GRAIN: u64 = 128;
/// Entries in a table.
pub(super) const TABLE_ENTRIES: u64 = 512;
/// Sectors of a table.
pub(super) const TABLE_SECTORS: u64 = TABLE_ENTRIES * 4 / SECTOR;
/// Sectors of the text.
pub(super) const TEXT_SECTORS: u64 = 20;

/// Flag: the line ends in the header are as they were written.
const NEW_LINES: u32 = 1;
/// Flag: there is a second directory.
pub(super) const REDUNDANT: u32 = 1 << 1;
/// Flag: an entry of 1 is a grain of zeros.
pub(super) const ZEROED: u32 = 1 << 2;
/// Flag: grains are compressed.
pub(super) const COMPRESSED: u32 = 1 << 16;
/// Flag: there are markers.
const MARKERS: u32 = 1 << 17;

/// Where the directory is, if only the copy of the header at the end knows.
pub(super) const AT_END: u64 = u64::MAX;

/// The first sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    /// [`MAGIC`].
    pub(super) magic: [u8; 4],
    /// 1, and 3 with compressed grains: `ESXi` refuses others.
    pub(super) version: U32,
    /// What of the above there is.
    pub(super) flags: U32,
    /// Sectors that the guest sees.
    pub(super) capacity: U64,
    /// Sectors in a grain.
    pub(super) grain_size: U64,
    /// Where the text is.
    pub(super) descriptor_offset: U64,
    /// Its sectors.
    pub(super) descriptor_size: U64,
    /// [`TABLE_ENTRIES`].
    pub(super) table_entries: U32,
    /// Where the second directory is; 0: there is none.
    pub(super) redundant_directory: U64,
    /// Where the directory is.
    pub(super) directory: U64,
    /// Sectors before the first grain.
    pub(super) overhead: U64,
    /// 0: it was closed.
    pub(super) unclean_shutdown: u8,
    /// Line ends, which a transfer as text would change.
    pub(super) line_ends: [u8; 4],
    /// 1: deflate in zlib's wrapping.
    pub(super) compression: U16,
    /// 0.
    pub(super) padding: [u8; 433],
}
const _: () = assert!(size_of::<Header>() == 512);
const _: () = assert!(offset_of!(Header, directory) == 56 && offset_of!(Header, line_ends) == 73);
const _: () = assert!(offset_of!(Header, compression) == 77);

impl Header {
    /// The header of a sparse disk.
    pub(super) fn sparse(capacity: u64, redundant: u64, directory: u64, overhead: u64) -> Self {
        Self {
            magic: MAGIC,
            version: U32::new(1),
            flags: U32::new(NEW_LINES | REDUNDANT),
            capacity: U64::new(capacity),
            grain_size: U64::new(GRAIN),
            descriptor_offset: U64::new(1),
            descriptor_size: U64::new(TEXT_SECTORS),
            table_entries: U32::new(u32::try_from(TABLE_ENTRIES).expect("512")),
            redundant_directory: U64::new(redundant),
            directory: U64::new(directory),
            overhead: U64::new(overhead),
            unclean_shutdown: 0,
            line_ends: *b"\n \r\n",
            compression: U16::ZERO,
            padding: [0; 433],
        }
    }

    /// The header of a stream-optimized disk, or the copy at its end, which knows where the directory is.
    pub(super) fn stream(capacity: u64, directory: u64) -> Self {
        Self {
            version: U32::new(3),
            flags: U32::new(NEW_LINES | COMPRESSED | MARKERS),
            compression: U16::new(1),
            ..Self::sparse(capacity, 0, directory, GRAIN)
        }
    }
}

/// What a marker announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    EndOfStream,
    Table,
    Directory,
    Footer,
}

/// A marker that is no grain's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Marker {
    /// Sectors that follow.
    pub(super) sectors: U64,
    /// 0: no grain.
    pub(super) size: U32,
    /// What follows.
    pub(super) kind: U32,
    /// 0.
    pub(super) padding: [u8; 496],
}
const _: () = assert!(size_of::<Marker>() == 512);

impl Marker {
    pub(super) fn new(announced: Announced, sectors: u64) -> Self {
        let kind = match announced {
            Announced::EndOfStream => 0,
            Announced::Table => 1,
            Announced::Directory => 2,
            Announced::Footer => 3,
        };
        Self {
            sectors: U64::new(sectors),
            size: U32::ZERO,
            kind: U32::new(kind),
            padding: [0; 496],
        }
    }
}

/// What stands before a compressed grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct GrainMarker {
    /// The grain's first sector in the guest.
    pub(super) sector: U64,
    /// Compressed bytes.
    pub(super) size: U32,
}
const _: () = assert!(size_of::<GrainMarker>() == 12);
