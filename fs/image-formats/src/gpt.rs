//! GUID partition tables.
//!
//! Spec: UEFI 2.10, chapter 5 <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html>
//!
//! ```text
//! sector 0                 protective master boot record: one entry over the whole disk, and boot code
//! sector 1, 2..            header, 128 entries of 128 bytes
//! first..=last usable      partitions
//! last - 16384 bytes, last the entries again, the backup of the header
//! ```
//!
//! `gptman` computes and writes all of it but the boot code, into a target that keeps the disk's two ends alone. Every
//! GUID is an input, so the same table gives the same bytes. The protective record has one entry, never more: a hybrid
//! one is refused by clouds, and read differently by every system.

mod ends;
mod kinds;
mod placer;

use std::ops::Range;

use gptman::{GPT, GPTPartitionEntry};
use image_core::Map;
use image_core::map::MapError;
use uuid::Uuid;

use crate::{grub, partitions};
use ends::Ends;
pub use kinds::kind;
pub use placer::{ALIGN, Placer};

/// Entries of a table.
const ENTRIES: usize = 128;
/// Bytes of all entries.
const ENTRIES_LEN: u64 = 128 * 128;
/// UTF-16 units of a name.
const NAME_MAX: usize = 36;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its bytes, in whole sectors.
    pub range: Range<u64>,
    /// What it is for, as it stands on disk: see [`kind()`].
    pub kind: [u8; 16],
    /// Its identity: `PARTUUID`.
    pub uuid: Uuid,
    /// Its name, at most 36 units of UTF-16.
    pub name: String,
    /// Its attributes: bit 63 against automatic mounting, 60 for read-only, 2 for booting by old firmware.
    pub attributes: u64,
}

/// A disk's partitions.
#[derive(Clone, Debug)]
pub struct Table {
    /// Bytes of the disk.
    pub len: u64,
    /// Bytes of a sector: 512 or 4096.
    pub sector: u32,
    /// The disk's identity.
    pub disk_uuid: Uuid,
    /// The partitions, in the order of their numbers.
    pub partitions: Vec<Partition>,
    /// What firmware without UEFI starts.
    pub boot_code: Option<grub::BootSector>,
}

/// Why there can be no such table.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Partitions cannot lie so.
    #[error(transparent)]
    Partitions(#[from] partitions::Error),
    /// Sectors have other lengths.
    #[error("sectors of {0} bytes: disks have sectors of 512 or 4096")]
    Sector(u32),
    /// A name does not fit its entry.
    #[error("partition {number}: its name has {units} units of UTF-16, and an entry holds {NAME_MAX}")]
    Name {
        /// Its number.
        number: u32,
        /// Units that its name has.
        units: usize,
    },
    /// A name ends before its end.
    #[error("partition {0}: its name holds a NUL, which ends a name")]
    Nul(u32),
    /// An entry of this type counts as unused.
    #[error("partition {0}: the type of only zeros marks unused entries")]
    Unused(u32),
    /// Two partitions have one identity.
    #[error("partitions {first} and {second} both have the GUID {uuid}")]
    Duplicate {
        /// The first.
        first: u32,
        /// The second.
        second: u32,
        /// Their GUID.
        uuid: Uuid,
    },
    /// `gptman` refuses what was checked before: a mistake of this module.
    #[error("the GPT cannot be written")]
    Write(#[from] gptman::Error),
    /// The two ends overlap: a mistake of this module.
    #[error(transparent)]
    Map(#[from] MapError),
}

impl Table {
    /// The bytes that partitions may have.
    pub fn usable(&self) -> Result<Range<u64>, Error> {
        let sector = match self.sector {
            512 | 4096 => u64::from(self.sector),
            other => return Err(Error::Sector(other)),
        };
        let len = self.len;
        if !len.is_multiple_of(sector) {
            return Err(partitions::Error::Disk { len, sector }.into());
        }
        // The protective record and a header before the entries, a header behind their copy.
        let head = ENTRIES_LEN.saturating_add(sector.saturating_mul(2));
        let tail = ENTRIES_LEN.saturating_add(sector);
        let least = head.saturating_add(tail).saturating_add(sector);
        if len < least {
            return Err(partitions::Error::Short { len, least }.into());
        }
        Ok(head..len.saturating_sub(tail))
    }

    fn check(&self) -> Result<Range<u64>, Error> {
        let usable = self.usable()?;
        let (asked, most) = (self.partitions.len(), ENTRIES);
        if asked > most {
            let what = "partitions";
            return Err(partitions::Error::TooMany { what, asked, most }.into());
        }
        for (number, partition) in self.numbered() {
            let units = partition.name.encode_utf16().count();
            if units > NAME_MAX {
                return Err(Error::Name { number, units });
            }
            if partition.name.contains('\0') {
                return Err(Error::Nul(number));
            }
            if partition.kind == [0; 16] {
                return Err(Error::Unused(number));
            }
            let twin = |(_, other): &(u32, &Partition)| other.uuid == partition.uuid;
            let earlier = self
                .numbered()
                .take_while(|(other, _)| *other < number)
                .find(twin);
            if let Some((first, _)) = earlier {
                return Err(Error::Duplicate {
                    first,
                    second: number,
                    uuid: partition.uuid,
                });
            }
        }
        let ranges = self.numbered().map(|(number, it)| (number, it.range.clone()));
        partitions::check(&usable, u64::from(self.sector), ranges)?;
        Ok(usable)
    }

    fn numbered(&self) -> impl Iterator<Item = (u32, &Partition)> {
        let numbers = (0..).map(|index| partitions::number(1, index));
        numbers.zip(&self.partitions)
    }
}

/// Plans a disk's table: both of its copies, the protective record and the boot code are all that a map of the disk's
/// length holds.
pub fn plan(table: &Table) -> Result<Map, Error> {
    let usable = table.check()?;
    let sector = u64::from(table.sector);
    let mut ends = Ends::new(table.len, usable);
    GPT::write_protective_mbr_into(&mut ends, sector)?;
    let mut gpt = GPT::new_from(&mut ends, sector, table.disk_uuid.to_bytes_le())?;
    for (number, partition) in table.numbered() {
        gpt[number] = GPTPartitionEntry {
            partition_type_guid: partition.kind,
            unique_partition_guid: partition.uuid.to_bytes_le(),
            starting_lba: lba(partition.range.start, sector),
            ending_lba: lba(partition.range.end.saturating_sub(1), sector),
            attribute_bits: partition.attributes,
            partition_name: partition.name.as_str().into(),
        };
    }
    gpt.write_into(&mut ends)?;

    let (mut head, tail) = ends.into_parts();
    if let Some(code) = &table.boot_code {
        head.iter_mut()
            .zip(code.code())
            .for_each(|(byte, code)| *byte = *code);
    }
    let mut builder = Map::builder(table.len);
    builder.bytes(0, head, "GPT");
    let at = table.len.saturating_sub(len(&tail));
    builder.bytes(at, tail, "backup GPT");
    Ok(builder.build()?)
}

/// The sector of a byte.
fn lba(byte: u64, sector: u64) -> u64 {
    byte.checked_div(sector).expect("a sector has bytes")
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a buffer's length is a u64")
}
