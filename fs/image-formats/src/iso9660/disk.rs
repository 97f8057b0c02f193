//! Structures as they stand on a disc.
//!
//! Specs: ECMA-119, sections 8.2 to 8.4 and 9.1; El Torito 1.0, section 2.

use zerocopy::{FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};
use zerocopy::{big_endian, little_endian};

/// A number of 32 bits in both byte orders.
#[derive(Clone, Copy, Debug, IntoBytes, FromZeros, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Both32 {
    little: little_endian::U32,
    big: big_endian::U32,
}

impl From<u32> for Both32 {
    fn from(number: u32) -> Self {
        Self {
            little: number.into(),
            big: number.into(),
        }
    }
}

/// A number of 16 bits in both byte orders.
#[derive(Clone, Copy, Debug, IntoBytes, FromZeros, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Both16 {
    little: little_endian::U16,
    big: big_endian::U16,
}

impl From<u16> for Both16 {
    fn from(number: u16) -> Self {
        Self {
            little: number.into(),
            big: number.into(),
        }
    }
}

/// What every descriptor begins with.
#[derive(Clone, Copy, Debug, IntoBytes, FromZeros, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Head {
    /// 0 is a boot record, 1 the primary volume, 255 the end.
    kind: u8,
    identifier: [u8; 5],
    version: u8,
}

impl Head {
    pub(super) fn new(kind: u8) -> Self {
        Self {
            kind,
            identifier: *b"CD001",
            version: 1,
        }
    }
}

/// The primary volume descriptor.
#[derive(Clone, Debug, IntoBytes, FromZeros, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Primary {
    pub(super) head: Head,
    pub(super) unused1: u8,
    pub(super) system_identifier: [u8; 32],
    pub(super) volume_identifier: [u8; 32],
    pub(super) unused2: [u8; 8],
    /// Blocks of the image.
    pub(super) volume_space_size: Both32,
    pub(super) unused3: [u8; 32],
    pub(super) volume_set_size: Both16,
    pub(super) volume_sequence_number: Both16,
    pub(super) logical_block_size: Both16,
    /// Bytes.
    pub(super) path_table_size: Both32,
    pub(super) type_l_path_table: little_endian::U32,
    pub(super) optional_type_l_path_table: little_endian::U32,
    pub(super) type_m_path_table: big_endian::U32,
    pub(super) optional_type_m_path_table: big_endian::U32,
    pub(super) root_directory_record: RootRecord,
    pub(super) volume_set_identifier: [u8; 128],
    pub(super) publisher_identifier: [u8; 128],
    pub(super) data_preparer_identifier: [u8; 128],
    pub(super) application_identifier: [u8; 128],
    /// Names of files about the volume: none.
    pub(super) file_identifiers: [[u8; 37]; 3],
    pub(super) creation_date: [u8; 17],
    /// What programs take for the image's UUID.
    pub(super) modification_date: [u8; 17],
    pub(super) expiration_date: [u8; 17],
    pub(super) effective_date: [u8; 17],
    pub(super) file_structure_version: u8,
    pub(super) reserved1: u8,
    pub(super) application_use: [u8; 512],
    pub(super) reserved2: [u8; 653],
}
const _: () = assert!(size_of::<Primary>() == 2048);
const _: () = assert!(std::mem::offset_of!(Primary, volume_space_size) == 80);
const _: () = assert!(std::mem::offset_of!(Primary, root_directory_record) == 156);
const _: () = assert!(std::mem::offset_of!(Primary, creation_date) == 813);

/// What a directory's record begins with, up to the name.
#[derive(Clone, Copy, Debug, IntoBytes, FromZeros, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Record {
    /// Bytes of the whole record, which are even.
    pub(super) length: u8,
    pub(super) extended_attribute_length: u8,
    /// The block where the file begins.
    pub(super) extent: Both32,
    /// Its bytes, or those of a part of it.
    pub(super) data_length: Both32,
    pub(super) recording_date: [u8; 7],
    pub(super) flags: u8,
    pub(super) file_unit_size: u8,
    pub(super) interleave_gap_size: u8,
    pub(super) volume_sequence_number: Both16,
    pub(super) identifier_length: u8,
}
const _: () = assert!(size_of::<Record>() == 33);

/// The record of the root, whose name is a zero.
#[derive(Clone, Copy, Debug, IntoBytes, FromZeros, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RootRecord {
    pub(super) record: Record,
    pub(super) identifier: u8,
}
const _: () = assert!(size_of::<RootRecord>() == 34);

/// The descriptor that leads to the catalog of what boots.
#[derive(Clone, Debug, IntoBytes, FromZeros, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BootRecord {
    pub(super) head: Head,
    pub(super) boot_system_identifier: [u8; 32],
    pub(super) unused: [u8; 32],
    /// The catalog's block.
    pub(super) catalog: little_endian::U32,
    pub(super) rest: [u8; 1973],
}
const _: () = assert!(size_of::<BootRecord>() == 2048);
const _: () = assert!(std::mem::offset_of!(BootRecord, catalog) == 0x47);

/// What the catalog begins with.
#[derive(Clone, Copy, Debug, IntoBytes, FromZeros, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Validation {
    pub(super) header: u8,
    pub(super) platform: u8,
    pub(super) reserved: [u8; 2],
    pub(super) identifier: [u8; 24],
    /// What makes the sum of all words 0.
    pub(super) checksum: little_endian::U16,
    pub(super) key: [u8; 2],
}
const _: () = assert!(size_of::<Validation>() == 32);

/// An image that boots.
#[derive(Clone, Copy, Debug, IntoBytes, FromZeros, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Entry {
    /// 0x88: it boots.
    pub(super) boot_indicator: u8,
    /// 0: it stands for no floppy or disk.
    pub(super) media: u8,
    /// Where in memory it goes: 0 is the usual place.
    pub(super) load_segment: little_endian::U16,
    pub(super) system_type: u8,
    pub(super) unused: u8,
    /// Sectors of 512 bytes.
    pub(super) sector_count: little_endian::U16,
    /// The image's block.
    pub(super) load_rba: little_endian::U32,
    pub(super) selection_criteria: [u8; 20],
}
const _: () = assert!(size_of::<Entry>() == 32);

/// What begins a section of the catalog, for another platform.
#[derive(Clone, Copy, Debug, IntoBytes, FromZeros, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Section {
    /// 0x91: it is the last one.
    pub(super) header: u8,
    pub(super) platform: u8,
    pub(super) entries: little_endian::U16,
    pub(super) identifier: [u8; 28],
}
const _: () = assert!(size_of::<Section>() == 32);

/// What the image for a BIOS is told of itself, in its bytes 8 to 63.
#[derive(Clone, Copy, Debug, IntoBytes, FromZeros, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BootInfo {
    /// The block of the primary descriptor.
    pub(super) primary: little_endian::U32,
    /// The image's block.
    pub(super) file: little_endian::U32,
    /// Its bytes.
    pub(super) length: little_endian::U32,
    /// The sum of its words from byte 64 on.
    pub(super) checksum: little_endian::U32,
    pub(super) reserved: [u8; 40],
}
const _: () = assert!(size_of::<BootInfo>() == 56);

/// A text filled up with spaces.
pub(super) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut padded = [b' '; N];
    padded
        .iter_mut()
        .zip(text.bytes())
        .for_each(|(to, byte)| *to = byte);
    padded
}
