//! A disk → its partitions, by a GUID partition table (GPT) or a master boot record (MBR).
//!
//! Spec: UEFI 2.10, chapter 5 <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html>
//!
//! Why own code for reading: the crates that write tables well believe what they read; a table that claims 2^32 entries
//! would be given the memory for them, and a chain of extended boot records that bites its tail never ends.

pub mod check;

use std::io;
use std::ops::Range;
use std::path::Path;

use flate2::Crc;
use image_core::ReadAt as _;
use image_formats::mbr::Entry;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::container::Bytes;
use super::ids::guid_text;
use super::{InspectError, about};

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A GUID of a GPT, as its text has it, in lower case.
    Guid([u8; 16]),
    /// A type of an MBR.
    Type(u8),
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, as Linux counts.
    pub number: u32,
    /// Its bytes.
    pub range: Range<u64>,
    /// What it is for.
    pub purpose: Purpose,
    /// Its name, which only a GPT has.
    pub name: String,
    /// What names it alone: its GUID, or the disk's number and its own.
    pub uuid: String,
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// `gpt` or `msdos`.
    pub label: &'static str,
    /// The disk's GUID, or its number.
    pub id: String,
    /// Bytes that its numbers count in.
    pub sector: u64,
    /// Its partitions, in the order of their numbers.
    pub partitions: Vec<Partition>,
}

/// The most entries that a GPT is read with: four times what every tool makes.
const ENTRIES_MAX: u32 = 512;
/// Where a boot record has the number of its disk.
const DISK_ID: u64 = 440;
/// The most logical partitions.
const LOGICAL_MAX: u32 = 128;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct GptHeader {
    signature: [u8; 8],
    revision: U32,
    header_size: U32,
    header_crc32: U32,
    reserved: U32,
    my_lba: U64,
    alternate_lba: U64,
    first_usable_lba: U64,
    last_usable_lba: U64,
    disk_guid: [u8; 16],
    partition_entry_lba: U64,
    number_of_partition_entries: U32,
    size_of_partition_entry: U32,
    partition_entry_array_crc32: U32,
}
const _: () = assert!(size_of::<GptHeader>() == 92);

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct GptEntry {
    partition_type_guid: [u8; 16],
    unique_partition_guid: [u8; 16],
    starting_lba: U64,
    ending_lba: U64,
    attributes: U64,
    partition_name: [U16; 36],
}
const _: () = assert!(size_of::<GptEntry>() == 128);

/// The partitions of a disk, in the order of their numbers; none where there is no table.
pub fn read(disk: &Bytes) -> Result<Vec<Partition>, InspectError> {
    Ok(of(disk)?.map_or_else(Vec::new, |table| table.partitions))
}

/// The table of a disk, if it has one.
pub fn of(disk: &Bytes) -> Result<Option<Table>, InspectError> {
    for sector in [512, 4096] {
        if let Some(table) = gpt(disk, sector)? {
            return Ok(Some(table));
        }
    }
    mbr(disk)
}

fn damaged(what: impl Into<String>) -> InspectError {
    InspectError::Table(what.into())
}

/// Reads what lies at a byte; `None`: the disk ends before it does.
fn at<T: FromBytes + IntoBytes>(disk: &Bytes, offset: u64) -> Result<Option<T>, InspectError> {
    let mut value = T::new_zeroed();
    match disk.read_exact_at(value.as_mut_bytes(), offset) {
        Ok(()) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(about(Path::new("the image"))(error)),
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The GPT of a disk with sectors of so many bytes: the one at its start, or if that is damaged the one at its end.
fn gpt(disk: &Bytes, sector: u64) -> Result<Option<Table>, InspectError> {
    let mut first = None;
    let last = (disk.len() / sector).saturating_sub(1);
    for lba in [1, last] {
        let Some(header) = at::<GptHeader>(disk, lba.saturating_mul(sector))? else {
            continue;
        };
        if header.signature != *b"EFI PART" {
            continue;
        }
        match gpt_by(disk, sector, &header) {
            Ok(partitions) => {
                return Ok(Some(Table {
                    label: "gpt",
                    id: guid_text(&header.disk_guid),
                    sector,
                    partitions,
                }));
            }
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(None), Err)
}

fn gpt_by(disk: &Bytes, sector: u64, header: &GptHeader) -> Result<Vec<Partition>, InspectError> {
    let mut blanked = *header;
    blanked.header_crc32 = 0.into();
    let size = header.header_size.get();
    if size != 92 || crc32(blanked.as_bytes()) != header.header_crc32.get() {
        return Err(damaged("the header of the GPT has a wrong checksum"));
    }
    let (count, bytes) = (
        header.number_of_partition_entries.get(),
        header.size_of_partition_entry.get(),
    );
    if count > ENTRIES_MAX || !matches!(bytes, 128 | 256 | 512) {
        return Err(damaged(format!("{count} entries of {bytes} bytes are no GPT")));
    }
    let mut entries = vec![0; (count * bytes) as usize];
    let start = header.partition_entry_lba.get().saturating_mul(sector);
    let read = disk.read_exact_at(&mut entries, start);
    read.map_err(|error| damaged(format!("the entries of the GPT: {error}")))?;
    if crc32(&entries) != header.partition_entry_array_crc32.get() {
        return Err(damaged("the entries of the GPT have a wrong checksum"));
    }
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(bytes as usize)) {
        let (entry, _) = GptEntry::read_from_prefix(entry).expect("128 bytes and more");
        if entry.partition_type_guid == [0; 16] {
            continue;
        }
        let end = entry.ending_lba.get().checked_add(1);
        let name: Vec<u16> = entry.partition_name.iter().map(|unit| unit.get()).collect();
        let name = name.split(|unit| *unit == 0).next().unwrap_or_default();
        partitions.push(Partition {
            number,
            range: range(disk, sector, entry.starting_lba.get(), end, number)?,
            purpose: Purpose::Guid(entry.partition_type_guid),
            name: String::from_utf16_lossy(name),
            uuid: guid_text(&entry.unique_partition_guid),
        });
    }
    Ok(partitions)
}

/// The bytes from one sector up to another, if they lie on the disk.
fn range(
    disk: &Bytes,
    sector: u64,
    start: u64,
    end: Option<u64>,
    number: u32,
) -> Result<Range<u64>, InspectError> {
    let bytes = |lba: u64| lba.checked_mul(sector).filter(|bytes| *bytes <= disk.len());
    match (bytes(start), end.and_then(bytes)) {
        (Some(start), Some(end)) if start < end => Ok(start..end),
        _ => Err(damaged(format!("partition {number} does not lie on the disk"))),
    }
}

/// The four entries of a boot record, if it is one.
fn boot_record(disk: &Bytes, lba: u64) -> Result<Option<[Entry; 4]>, InspectError> {
    let sector = at::<[u8; 512]>(disk, lba.saturating_mul(512))?;
    let sector = sector.filter(|sector| sector[510..] == [0x55, 0xaa]);
    Ok(sector.map(|sector| <[Entry; 4]>::read_from_bytes(&sector[446..510]).expect("64 bytes")))
}

fn is_extended(kind: u8) -> bool {
    matches!(kind, 0x05 | 0x0f | 0x85)
}

fn mbr(disk: &Bytes) -> Result<Option<Table>, InspectError> {
    let Some(entries) = boot_record(disk, 0)? else {
        return Ok(None);
    };
    // The boot sector of a FAT file system ends as one of a disk does, and holds code where entries would be.
    let is_entry = |entry: &Entry| matches!(entry.boot_indicator, 0 | 0x80);
    if !entries.iter().all(is_entry) {
        return Ok(None);
    }
    let id = at::<U32>(disk, DISK_ID)?.unwrap_or_default().get();
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        let start = u64::from(entry.starting_lba.get());
        if entry.os_type == 0 || entry.size_in_lba.get() == 0 {
            continue;
        }
        if is_extended(entry.os_type) {
            logical(disk, start, &mut partitions)?;
            continue;
        }
        partitions.push(mbr_partition(disk, number, start, &entry)?);
    }
    if partitions.is_empty() {
        return Ok(None);
    }
    partitions.sort_by_key(|partition| partition.number);
    for partition in &mut partitions {
        partition.uuid = format!("{id:08x}-{:02x}", partition.number);
    }
    Ok(Some(Table {
        label: "msdos",
        id: format!("{id:08x}"),
        sector: 512,
        partitions,
    }))
}

fn mbr_partition(disk: &Bytes, number: u32, start: u64, entry: &Entry) -> Result<Partition, InspectError> {
    let end = start.checked_add(entry.size_in_lba.get().into());
    Ok(Partition {
        number,
        range: range(disk, 512, start, end, number)?,
        purpose: Purpose::Type(entry.os_type),
        name: String::new(),
        uuid: String::new(),
    })
}

/// The partitions in an extended one: a chain of boot records, each with one partition and the way to the next.
fn logical(disk: &Bytes, first: u64, partitions: &mut Vec<Partition>) -> Result<(), InspectError> {
    let mut record = first;
    for number in 5..5 + LOGICAL_MAX {
        let Some([here, next, ..]) = boot_record(disk, record)? else {
            return Err(damaged(format!("no boot record in sector {record}")));
        };
        if here.os_type != 0 && here.size_in_lba.get() != 0 {
            let start = record.saturating_add(here.starting_lba.get().into());
            partitions.push(mbr_partition(disk, number, start, &here)?);
        }
        if !is_extended(next.os_type) || next.size_in_lba.get() == 0 {
            return Ok(());
        }
        record = first.saturating_add(next.starting_lba.get().into());
    }
    Err(damaged(format!("more than {LOGICAL_MAX} logical partitions")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use image_core::laws::copied;
    use image_core::store::MemoryStore;
    use image_core::tree::Time;
    use image_core::{Identity, Map};
    use image_formats::{gpt, mbr};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn disk(map: &Map) -> Vec<u8> {
        copied(map, &MemoryStore::default())
    }

    fn read_back(disk: Vec<u8>) -> Vec<Partition> {
        let disk: Bytes = Arc::new(disk);
        read(&disk).unwrap()
    }

    #[test]
    fn boot_records_that_we_plan_are_read() {
        let mut placer = mbr::Placer::new(32 * MIB, MIB).unwrap();
        let partitions = (0..7).map(|index| mbr::Partition {
            range: if index < 3 {
                placer.primary(MIB).unwrap()
            } else {
                placer.logical(MIB + 512).unwrap()
            },
            kind: 0xc6 + index,
            boot: false,
            logical: index >= 3,
        });
        let table = mbr::Table {
            len: 32 * MIB,
            align: MIB,
            disk_id: 1,
            partitions: partitions.collect(),
            boot_code: None,
        };
        let expected = [1, 2, 3, 5, 6, 7, 8].into_iter().zip(&table.partitions);
        let expected = expected.map(|(number, partition)| Partition {
            number,
            range: partition.range.clone(),
            purpose: Purpose::Type(partition.kind),
            name: String::new(),
            uuid: format!("00000001-{number:02x}"),
        });
        let expected: Vec<_> = expected.collect();
        assert_eq!(read_back(disk(&mbr::plan(&table).unwrap())), expected);
    }

    #[test]
    fn guid_tables_that_we_plan_are_read_from_either_copy() {
        let identity = Identity::new(b"seed", Time::default(), false);
        for sector in [512, 4096] {
            let mut placer = gpt::Placer::new(32 * MIB);
            let partitions = (1..)
                .zip(["ef00", "8300", "8200"])
                .map(|(number, code): (u32, _)| gpt::Partition {
                    range: placer.partition(4 * MIB).unwrap(),
                    kind: gpt::kind(code).unwrap(),
                    uuid: identity.uuid(&format!("partition {number}")),
                    name: format!("name of {code}"),
                    attributes: 0,
                });
            let table = gpt::Table {
                len: 32 * MIB,
                sector,
                disk_uuid: identity.uuid("disk"),
                partitions: partitions.collect(),
                boot_code: None,
            };
            let expected = (1..).zip(&table.partitions).map(|(number, partition)| Partition {
                number,
                range: partition.range.clone(),
                purpose: Purpose::Guid(partition.kind),
                name: partition.name.clone(),
                uuid: partition.uuid.to_string(),
            });
            let expected: Vec<_> = expected.collect();
            let mut disk = disk(&gpt::plan(&table).unwrap());
            assert_eq!(read_back(disk.clone()), expected);
            disk[..16384].fill(0);
            assert_eq!(read_back(disk), expected);
        }
    }
}
