//! The structures at the beginning of a physical volume.

use image_core::Map;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{DATA, Error, Physical, SECTOR};

/// Where the metadata area begins.
const AREA: u64 = 4096;
/// Bytes in it.
const AREA_LEN: u64 = DATA - AREA;
/// What makes a metadata area one.
pub(super) const MAGIC: [u8; 16] = *b" LVM2 x[5A%r0N*>";
/// The one version of metadata areas.
pub(super) const VERSION: u32 = 1;
/// What all checksums begin with.
const CRC_START: u32 = 0xf597_a6cf;

/// An area, or the end of a list of them.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct DiskLocn {
    pub(super) offset: U64,
    pub(super) size: U64,
}
const NO_AREA: DiskLocn = DiskLocn {
    offset: U64::ZERO,
    size: U64::ZERO,
};

/// Sector 1: label, header and extension, with lists of one area each.
#[derive(Clone, Copy, Debug, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Label {
    id: [u8; 8],
    /// The sector that it is in.
    sector: U64,
    /// Of all that follows in its sector.
    crc: U32,
    /// Where the header begins.
    offset: U32,
    kind: [u8; 8],
    pv_uuid: [u8; 32],
    device_size: U64,
    /// A size of 0 goes on to the end.
    data_areas: [DiskLocn; 2],
    metadata_areas: [DiskLocn; 2],
    ext_version: U32,
    /// Bit 0: a group has it.
    ext_flags: U32,
    boot_areas: [DiskLocn; 1],
}
const _: () = assert!(size_of::<Label>() == 160 && std::mem::offset_of!(Label, pv_uuid) == 32);

/// What a metadata area begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct MdaHeader {
    /// Of all that follows in its sector.
    checksum: U32,
    pub(super) magic: [u8; 16],
    pub(super) version: U32,
    pub(super) start: U64,
    pub(super) size: U64,
    /// The text that counts.
    pub(super) text: RawLocn,
}
const _: () = assert!(size_of::<MdaHeader>() == 64);

/// A text in the ring.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct RawLocn {
    /// From the beginning of the area on.
    pub(super) offset: U64,
    pub(super) size: U64,
    pub(super) checksum: U32,
    /// Bit 0: the text does not count.
    pub(super) flags: U32,
}

/// A physical volume with its label and the text of its group.
pub(crate) fn label(physical: &Physical, text: &[u8]) -> Result<Map, Error> {
    let len = u64::try_from(text.len()).expect("a usize fits a u64");
    let most = AREA_LEN.saturating_sub(SECTOR) / 2;
    if len > most {
        return Err(Error::Text { len, most });
    }
    let area = |offset: u64, size: u64| DiskLocn {
        offset: offset.into(),
        size: size.into(),
    };
    let label = Label {
        id: *b"LABELONE",
        sector: 1.into(),
        crc: 0.into(),
        offset: 32.into(),
        kind: *b"LVM2 001",
        pv_uuid: physical.uuid,
        device_size: physical.len.into(),
        data_areas: [area(DATA, 0), NO_AREA],
        metadata_areas: [area(AREA, AREA_LEN), NO_AREA],
        ext_version: 2.into(),
        ext_flags: 1.into(),
        boot_areas: [NO_AREA],
    };
    let header = MdaHeader {
        checksum: 0.into(),
        magic: MAGIC,
        version: VERSION.into(),
        start: AREA.into(),
        size: AREA_LEN.into(),
        text: RawLocn {
            offset: SECTOR.into(),
            size: len.into(),
            checksum: crc(text).into(),
            flags: 0.into(),
        },
    };
    let mut map = Map::builder(physical.len);
    map.bytes(SECTOR, sector(label.as_bytes(), 16), "LVM label");
    map.bytes(AREA, sector(header.as_bytes(), 0), "LVM metadata header");
    map.bytes(AREA.saturating_add(SECTOR), text, "LVM metadata");
    Ok(map.build()?)
}

/// A sector that begins with a structure, whose checksum stands at a given place and covers what follows.
fn sector(structure: &[u8], checksum: usize) -> Vec<u8> {
    let mut sector = [0; 512];
    sector[..structure.len()].copy_from_slice(structure);
    let covered = checksum.saturating_add(4);
    let sum = crc(&sector[covered..]);
    sector[checksum..covered].copy_from_slice(&sum.to_le_bytes());
    sector.to_vec()
}

/// The CRC-32 of Ethernet, but begun with another number and not inverted at the end.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(CRC_START, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            let carry = if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
            (sum >> 1) ^ carry
        })
    })
}
