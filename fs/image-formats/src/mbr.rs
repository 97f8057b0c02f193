//! Master boot records: disks of at most four primary partitions, or of three and a chain of logical ones.
//!
//! Spec: UEFI 2.10, section 5.2 <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html>, for the record;
//! no document rules the chain, so that it is as Linux and sfdisk read and write it.
//!
//! ```text
//! sector 0      code, id, entries: primaries, then the extended partition, from the first boot record to the disk's end
//! e = d - align extended boot record: [d - e, its length] [next e - first e, up to the end of the next partition]
//! d             a logical partition's data
//! ```
//!
//! Why own code for the chain: `mbrman`, which writes sector 0 here, writes boot records beyond 4 GiB at their byte modulo
//! 2^32, into other partitions. Nor does it clamp addresses of cylinders, heads and sectors (CHS) where they end.

mod placer;

use std::io::Cursor;
use std::ops::Range;

use image_core::Map;
use image_core::map::MapError;
use mbrman::{BOOT_ACTIVE, BOOT_INACTIVE, CHS, MBRHeader, MBRPartitionEntry};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{grub, partitions};
pub use placer::Placer;

/// Bytes of a sector: boot records know no others.
pub const SECTOR: u64 = 512;
/// The byte where boot records end to count: their sectors have 32 bits.
pub const END: u64 = SECTOR << 32;
/// The most primary partitions.
const PRIMARY_MAX: usize = 4;
/// The most logical ones: with the four entries before them 60, which is all that fdisk and sfdisk read.
const LOGICAL_MAX: usize = 56;
/// An extended partition, addressed by sectors, as sector 0 has it.
const EXTENDED: u8 = 0x0f;
/// The same, as the chain has it.
const LINK: u8 = 0x05;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its bytes, in whole sectors.
    pub range: Range<u64>,
    /// What it is for: 0x83 for Linux, say.
    pub kind: u8,
    /// Whether it is marked as the one to boot from.
    pub boot: bool,
    /// Whether it is part of the extended partition.
    pub logical: bool,
}

/// A disk's partitions.
#[derive(Clone, Debug)]
pub struct Table {
    /// Bytes of the disk.
    pub len: u64,
    /// How far before its data a logical partition's boot record lies: 1 MiB, mostly.
    pub align: u64,
    /// The disk's identity, of which Linux makes `PARTUUID`.
    pub disk_id: u32,
    /// Primary partitions, then logical ones in ascending order.
    pub partitions: Vec<Partition>,
    /// What the firmware starts.
    pub boot_code: Option<grub::BootSector>,
}

/// Why there can be no such table.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Partitions cannot lie so.
    #[error(transparent)]
    Partitions(#[from] partitions::Error),
    /// A partition ends where no boot record reaches.
    #[error(
        "partition {number} ends at byte {end}, and a master boot record reaches byte {END}: a GPT has no such end"
    )]
    TooFar {
        /// Its number.
        number: u32,
        /// The byte after its last.
        end: u64,
    },
    /// Boot records of logical partitions cannot lie so far before them.
    #[error("partitions cannot be aligned to {align} bytes: that is no multiple of {SECTOR}")]
    Align {
        /// The distance.
        align: u64,
    },
    /// A primary partition comes after a logical one.
    #[error("partition {index} of the list is primary, and logical ones come before it")]
    PrimaryAfterLogical {
        /// Which of the list, counted from 1.
        index: u32,
    },
    /// A type that marks unused entries or extended partitions, not partitions with data.
    #[error(
        "partition {number} cannot be of type {kind:#04x}: that marks unused entries or extended partitions"
    )]
    Kind {
        /// Its number.
        number: u32,
        /// The type.
        kind: u8,
    },
    /// `mbrman` refuses what was checked before: a mistake of this module.
    #[error("the master boot record cannot be written")]
    Write(#[from] mbrman::Error),
    /// Records overlap: a mistake of this module.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// One of the four entries of a boot record, as it stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Entry {
    /// 0x80 if the partition is the one to boot from, else 0.
    pub boot_indicator: u8,
    /// Its first sector by cylinder, head and sector.
    pub starting_chs: [u8; 3],
    /// What it is for.
    pub os_type: u8,
    /// Its last sector by cylinder, head and sector.
    pub ending_chs: [u8; 3],
    /// Its first sector.
    pub starting_lba: U32,
    /// Its sectors.
    pub size_in_lba: U32,
}
const _: () = assert!(size_of::<Entry>() == 16);

/// An extended boot record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BootRecord {
    /// Nobody starts it: zero.
    code: [u8; 446],
    /// The partition, counted from here; the next record, counted from the first.
    entries: [Entry; 4],
    signature: [u8; 2],
}
const _: () = assert!(size_of::<BootRecord>() == 512);

impl Table {
    /// The bytes between the table and the first partition, where boot loaders lie.
    pub fn gap(&self) -> Range<u64> {
        let first = self
            .partitions
            .iter()
            .map(|partition| self.claim(partition).start);
        SECTOR..first.min().unwrap_or(self.len)
    }

    /// What a partition needs of the disk: a logical one, its boot record too.
    fn claim(&self, partition: &Partition) -> Range<u64> {
        let before = if partition.logical { self.align } else { 0 };
        partition.range.start.saturating_sub(before)..partition.range.end
    }

    /// Checks the partitions, and gives the extended one, if there are logical ones.
    fn check(&self, primary: &[Partition], logical: &[Partition]) -> Result<Option<Range<u64>>, Error> {
        if !self.len.is_multiple_of(SECTOR) {
            let (len, sector) = (self.len, SECTOR);
            return Err(partitions::Error::Disk { len, sector }.into());
        }
        let entries = primary.len().saturating_add(usize::from(!logical.is_empty()));
        for (what, asked, most) in [
            ("primary partitions", primary.len(), PRIMARY_MAX),
            ("primary and extended partitions", entries, PRIMARY_MAX),
            ("logical partitions", logical.len(), LOGICAL_MAX),
        ] {
            if asked > most {
                return Err(partitions::Error::TooMany { what, asked, most }.into());
            }
        }
        let primary = numbered(1, primary);
        let logical = numbered(5, logical);
        for (number, partition) in primary.iter().chain(&logical) {
            let (number, kind) = (*number, partition.kind);
            let Range { start, end } = partition.range;
            // Of a logical partition, what is checked for room is never empty.
            if start >= end {
                return Err(partitions::Error::Empty { number, start, end }.into());
            }
            if matches!(kind, 0 | 0x05 | 0x0f | 0x85 | 0xc5 | 0xd5) {
                return Err(Error::Kind { number, kind });
            }
            if end > END && end <= self.len {
                return Err(Error::TooFar { number, end });
            }
        }
        let usable = SECTOR..self.len.min(END);
        let claims = |of: &[(u32, &Partition)]| -> Vec<_> {
            of.iter()
                .map(|(number, partition)| (*number, self.claim(partition)))
                .collect()
        };
        let mut entries = claims(&primary);
        let extended = claims(&logical).first().map(|(_, first)| first.start..usable.end);
        if let Some(extended) = &extended {
            if self.align == 0 || !self.align.is_multiple_of(SECTOR) {
                return Err(Error::Align { align: self.align });
            }
            partitions::check(extended, SECTOR, claims(&logical))?;
            entries.push((partitions::number(1, primary.len()), extended.clone()));
        }
        partitions::check(&usable, SECTOR, entries)?;
        Ok(extended)
    }
}

fn numbered(first: u32, partitions: &[Partition]) -> Vec<(u32, &Partition)> {
    let numbers = (0..).map(|index| partitions::number(first, index));
    numbers.zip(partitions).collect()
}

/// Plans a disk's boot records: all that a map of the disk's length holds.
pub fn plan(table: &Table) -> Result<Map, Error> {
    let is_logical = |partition: &Partition| partition.logical;
    let first = table.partitions.iter().position(is_logical);
    let (primary, logical) = table.partitions.split_at(first.unwrap_or(table.partitions.len()));
    if let Some(after) = logical.iter().position(|partition| !partition.logical) {
        let index = partitions::number(1, primary.len().saturating_add(after));
        return Err(Error::PrimaryAfterLogical { index });
    }
    let extended = table.check(primary, logical)?;

    let mut builder = Map::builder(table.len);
    let record = master(table, primary, extended.as_ref())?;
    builder.bytes(0, record, "master boot record");
    if let Some(extended) = &extended {
        for (index, partition) in logical.iter().enumerate() {
            let next = logical.get(index.saturating_add(1));
            let record = link(table, extended.start, partition, next);
            let at = table.claim(partition).start;
            builder.bytes(at, record.as_bytes(), "extended boot record");
        }
    }
    Ok(builder.build()?)
}

/// Sector 0.
fn master(table: &Table, primary: &[Partition], extended: Option<&Range<u64>>) -> Result<Vec<u8>, Error> {
    let mut header = MBRHeader::new(table.disk_id.to_le_bytes());
    if let Some(code) = &table.boot_code {
        header.bootstrap_code = *code.code();
    }
    let extended = extended.map(|range| (range, EXTENDED, false));
    let partitions = primary.iter().map(|it| (&it.range, it.kind, it.boot));
    for (entry, (range, kind, boot)) in header
        .iter_mut()
        .map(|(_, entry)| entry)
        .zip(partitions.chain(extended))
    {
        *entry = MBRPartitionEntry {
            boot: if boot { BOOT_ACTIVE } else { BOOT_INACTIVE },
            first_chs: chs(range.start),
            sys: kind,
            last_chs: chs(range.end.saturating_sub(1)),
            starting_lba: sectors(range.start),
            sectors: sectors(length(range)),
        };
    }
    let mut record = Cursor::new(Vec::new());
    header.write_into(&mut record)?;
    Ok(record.into_inner())
}

/// The boot record of a logical partition.
fn link(table: &Table, first: u64, partition: &Partition, next: Option<&Partition>) -> BootRecord {
    let mut record = BootRecord::new_zeroed();
    record.signature = [0x55, 0xaa];
    let [own, link, ..] = &mut record.entries;
    *own = entry(
        &partition.range,
        table.claim(partition).start,
        partition.kind,
        partition.boot,
    );
    if let Some(next) = next {
        *link = entry(&table.claim(next), first, LINK, false);
    }
    record
}

/// The entry of a range, counted from `origin`.
fn entry(range: &Range<u64>, origin: u64, kind: u8, boot: bool) -> Entry {
    Entry {
        boot_indicator: if boot { BOOT_ACTIVE } else { BOOT_INACTIVE },
        starting_chs: packed(chs(range.start)),
        os_type: kind,
        ending_chs: packed(chs(range.end.saturating_sub(1))),
        starting_lba: sectors(range.start.saturating_sub(origin)).into(),
        size_in_lba: sectors(length(range)).into(),
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// How many sectors so many bytes are.
fn sectors(bytes: u64) -> u32 {
    u32::try_from(bytes / SECTOR).expect("partitions end before END, and begin behind sector 0")
}

/// The sector of a byte by cylinder, head and sector, of a disk of 255 heads and 63 sectors; the last that can be written
/// down for all beyond it.
fn chs(byte: u64) -> CHS {
    let track = byte / SECTOR / 63;
    match u16::try_from(track / 255) {
        Ok(cylinder @ ..1024) => CHS {
            cylinder,
            head: u8::try_from(track % 255).expect("less than 255"),
            sector: u8::try_from((byte / SECTOR % 63).saturating_add(1)).expect("63 at most"),
        },
        _ => CHS::new(1023, 254, 63),
    }
}

/// As boot records pack it: the cylinder's upper two bits above the sector.
fn packed(chs: CHS) -> [u8; 3] {
    let [high, low] = chs.cylinder.to_be_bytes();
    [chs.head, chs.sector | high << 6, low]
}
