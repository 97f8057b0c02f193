//! Footer and header, as they stand on disk.
//!
//! Spec: Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format" and "Dynamic Disk Header Format".

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::options::Options;

/// How a footer begins.
pub(super) const COOKIE: [u8; 8] = *b"conectix";
/// How the header of a dynamic disk begins.
pub(super) const DYNAMIC_COOKIE: [u8; 8] = *b"cxsparse";
/// The disk's type: fixed.
pub(super) const FIXED: u32 = 2;
/// The disk's type: dynamic.
pub(super) const DYNAMIC: u32 = 3;
/// Version 1.0 of everything.
const VERSION: u32 = 0x1_0000;
/// 2000-01-01 00:00:00 UTC, from which times count.
const EPOCH: i64 = 946_684_800;

/// The last 512 bytes of a disk, and the first of a dynamic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Footer {
    /// [`COOKIE`].
    pub(super) cookie: [u8; 8],
    /// 2: the one bit that is always set.
    pub(super) features: U32,
    /// 1.0.
    pub(super) file_format_version: U32,
    /// Where the header of a dynamic disk is; all ones for a fixed one.
    pub(super) data_offset: U64,
    /// Seconds since 2000.
    pub(super) time_stamp: U32,
    /// Who made it.
    pub(super) creator_application: [u8; 4],
    /// In which version.
    pub(super) creator_version: U32,
    /// `Wi2k`: there are two, and the other is Macintosh.
    pub(super) creator_host_os: [u8; 4],
    /// Bytes that the guest sees.
    pub(super) original_size: U64,
    /// The same: nothing was resized.
    pub(super) current_size: U64,
    /// Geometry: cylinders.
    pub(super) cylinders: U16,
    /// Geometry: heads.
    pub(super) heads: u8,
    /// Geometry: sectors of a track.
    pub(super) sectors: u8,
    /// [`FIXED`] or [`DYNAMIC`].
    pub(super) disk_type: U32,
    /// Of the footer, with this field zero.
    pub(super) checksum: U32,
    /// Of the disk.
    pub(super) unique_id: [u8; 16],
    /// 0.
    pub(super) saved_state: u8,
    /// 0.
    pub(super) reserved: [u8; 427],
}
const _: () = assert!(size_of::<Footer>() == 512);
const _: () =
    assert!(offset_of!(Footer, creator_application) == 28 && offset_of!(Footer, current_size) == 48);
const _: () = assert!(offset_of!(Footer, disk_type) == 60 && offset_of!(Footer, unique_id) == 68);

/// What follows the copy of a dynamic disk's footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(clippy::struct_field_names, reason = "the spec's names")]
pub(super) struct Header {
    /// [`DYNAMIC_COOKIE`].
    pub(super) cookie: [u8; 8],
    /// All ones: there is nothing else.
    pub(super) data_offset: U64,
    /// Where the table of blocks is.
    pub(super) table_offset: U64,
    /// 1.0.
    pub(super) header_version: U32,
    /// Blocks in the disk, exactly: Azure refuses more.
    pub(super) max_table_entries: U32,
    /// Bytes of the guest in a block.
    pub(super) block_size: U32,
    /// Of the header, with this field zero.
    pub(super) checksum: U32,
    /// 0, as all that is about parents.
    pub(super) parent_unique_id: [u8; 16],
    /// 0.
    pub(super) parent_time_stamp: U32,
    /// 0.
    pub(super) reserved: U32,
    /// 0.
    pub(super) parent_unicode_name: [u8; 512],
    /// 0.
    pub(super) parent_locators: [u8; 192],
    /// 0.
    pub(super) reserved_2: [u8; 256],
}
const _: () = assert!(size_of::<Header>() == 1024);
const _: () = assert!(offset_of!(Header, max_table_entries) == 28 && offset_of!(Header, checksum) == 36);

/// The ones' complement of the sum of all bytes.
fn checksum(bytes: &[u8]) -> U32 {
    let sum = bytes
        .iter()
        .fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    U32::new(!sum)
}

impl Footer {
    pub(super) fn new(len: u64, options: &Options) -> Self {
        let (cylinders, heads, sectors) = geometry(len / 512);
        let since = options.time.secs.saturating_sub(EPOCH).max(0);
        let mut footer = Self {
            cookie: COOKIE,
            features: U32::new(2),
            file_format_version: U32::new(VERSION),
            data_offset: U64::new(if options.dynamic { 512 } else { u64::MAX }),
            time_stamp: U32::new(u32::try_from(since).unwrap_or(u32::MAX)),
            creator_application: options.creator.application,
            creator_version: U32::new(options.creator.version),
            creator_host_os: *b"Wi2k",
            original_size: U64::new(len),
            current_size: U64::new(len),
            cylinders: U16::new(cylinders),
            heads,
            sectors,
            disk_type: U32::new(if options.dynamic { DYNAMIC } else { FIXED }),
            checksum: U32::ZERO,
            unique_id: options.uuid,
            saved_state: 0,
            reserved: [0; 427],
        };
        footer.checksum = checksum(footer.as_bytes());
        footer
    }

    /// Whether the checksum is right.
    pub(super) fn is_sound(&self) -> bool {
        let bare = Self {
            checksum: U32::ZERO,
            ..*self
        };
        self.cookie == COOKIE && self.checksum == checksum(bare.as_bytes())
    }

    /// Bytes that the geometry says.
    pub(super) fn geometry_len(&self) -> u64 {
        u64::from(self.cylinders.get())
            .saturating_mul(self.heads.into())
            .saturating_mul(self.sectors.into())
            .saturating_mul(512)
    }
}

impl Header {
    pub(super) fn new(table_at: u64, entries: u32, block: u32) -> Self {
        let mut header = Self {
            cookie: DYNAMIC_COOKIE,
            data_offset: U64::new(u64::MAX),
            table_offset: U64::new(table_at),
            header_version: U32::new(VERSION),
            max_table_entries: U32::new(entries),
            block_size: U32::new(block),
            checksum: U32::ZERO,
            parent_unique_id: [0; 16],
            parent_time_stamp: U32::ZERO,
            reserved: U32::ZERO,
            parent_unicode_name: [0; 512],
            parent_locators: [0; 192],
            reserved_2: [0; 256],
        };
        header.checksum = checksum(header.as_bytes());
        header
    }

    /// Whether the checksum is right.
    pub(super) fn is_sound(&self) -> bool {
        let bare = Self {
            checksum: U32::ZERO,
            ..*self
        };
        self.cookie == DYNAMIC_COOKIE && self.checksum == checksum(bare.as_bytes())
    }
}

/// Cylinders, heads and sectors of a track, as the specification's appendix finds them.
pub(super) fn geometry(sectors: u64) -> (u16, u8, u8) {
    /// The most that there can be: 65,535 cylinders of 16 heads with 255 sectors.
    const SECTORS_MAX: u64 = 65_535 * 16 * 255;
    let sectors = sectors.min(SECTORS_MAX);
    let (heads, track) = if sectors >= 65_535 * 16 * 63 {
        (16, 255)
    } else {
        let tracks = sectors / 17;
        let heads = tracks.div_ceil(1024).max(4);
        if heads <= 16 && tracks < heads.saturating_mul(1024) {
            (heads, 17)
        } else if sectors / 31 < 16 * 1024 {
            (16, 31)
        } else {
            (16, 63)
        }
    };
    let cylinders = sectors / track_of(track) / track_of(heads);
    (
        u16::try_from(cylinders).unwrap_or(u16::MAX),
        u8::try_from(heads).unwrap_or(16),
        u8::try_from(track).unwrap_or(u8::MAX),
    )
}

fn track_of(count: u64) -> std::num::NonZero<u64> {
    std::num::NonZero::new(count).expect("a geometry has a head and a sector")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometries_are_those_of_the_specification() {
        for (mib, expected) in [
            (1, (30, 4, 17)),
            (64, (963, 8, 17)),
            (127, (1019, 15, 17)),
            (1024, (2080, 16, 63)),
            (30 * 1024, (62415, 16, 63)),
            (127 * 1024, (65278, 16, 255)),
            (1 << 30, (65535, 16, 255)),
        ] {
            assert_eq!(geometry(mib * 2048), expected, "{mib} MiB");
        }
        assert_eq!(geometry(0), (0, 4, 17));
    }
}
