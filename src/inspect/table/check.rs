//! Whether a partition table agrees with itself: both copies of a GPT, and what lies over what.

use std::ops::Range;

use image_core::ReadAt as _;
use zerocopy::IntoBytes as _;

use super::{GptHeader, Table, at, boot_record, crc32, gpt_by};
use crate::error::told;
use crate::inspect::InspectError;
use crate::inspect::container::Bytes;

/// What is wrong with a table: where, and what.
pub type Fault = (String, String);

/// The longest array of entries whose checksum is held against the header's.
const ENTRIES_MAX: u64 = 1 << 20;

/// Checks the table of a disk, if it has one.
pub fn check(disk: &Bytes) -> Result<Vec<Fault>, InspectError> {
    for sector in [512, 4096] {
        let last = (disk.len() / sector).saturating_sub(1);
        let mut headers = Vec::new();
        for (lba, name) in [(1, "the first GPT"), (last, "the second GPT")] {
            let header = at::<GptHeader>(disk, lba.saturating_mul(sector))?;
            headers.push((
                name,
                lba,
                header.filter(|header| header.signature == *b"EFI PART"),
            ));
        }
        if headers.iter().any(|(_, _, header)| header.is_some()) {
            return gpt(disk, sector, &headers);
        }
    }
    match super::mbr(disk) {
        Ok(Some(table)) => Ok(overlaps(&table, 512..disk.len())),
        Ok(None) => Ok(Vec::new()),
        Err(error) => Ok(vec![("the partition table".to_owned(), told(&error))]),
    }
}

type Copies<'a> = [(&'a str, u64, Option<GptHeader>)];

fn gpt(disk: &Bytes, sector: u64, headers: &Copies<'_>) -> Result<Vec<Fault>, InspectError> {
    let mut faults = Vec::new();
    let mut tables = Vec::new();
    let last = (disk.len() / sector).saturating_sub(1);
    for (name, lba, header) in headers {
        let mut fault = |what: String| faults.push(((*name).to_owned(), what));
        let Some(header) = header else {
            fault(format!("there is none in sector {lba}"));
            continue;
        };
        let mut blanked = *header;
        blanked.header_crc32 = 0.into();
        if crc32(blanked.as_bytes()) != header.header_crc32.get() || header.header_size.get() != 92 {
            fault("its header has a wrong checksum".to_owned());
            continue;
        }
        let other = if *lba == 1 { last } else { 1 };
        if header.my_lba.get() != *lba {
            fault(format!(
                "it says that it is in sector {}, and is in sector {lba}",
                header.my_lba
            ));
        }
        if header.alternate_lba.get() != other {
            fault(format!(
                "it says that the other is in sector {}, which is in sector {other}",
                header.alternate_lba
            ));
        }
        let len = u64::from(header.number_of_partition_entries.get())
            .saturating_mul(header.size_of_partition_entry.get().into());
        let start = header.partition_entry_lba.get().saturating_mul(sector);
        if len > ENTRIES_MAX || start.saturating_add(len) > disk.len() {
            fault("its entries do not lie on the disk".to_owned());
            continue;
        }
        match gpt_by(disk, sector, header) {
            Ok(partitions) => tables.push((*header, partitions)),
            Err(error) => fault(told(&error)),
        }
    }
    if let [(one, first), (other, second)] = &tables[..]
        && (first != second || one.disk_guid != other.disk_guid)
    {
        faults.push((
            "the second GPT".to_owned(),
            "it has other partitions than the first".to_owned(),
        ));
    }
    if let Some((header, partitions)) = tables.into_iter().next() {
        let lba = |lba: u64| lba.saturating_mul(sector);
        let usable = lba(header.first_usable_lba.get())..lba(header.last_usable_lba.get().saturating_add(1));
        let table = Table {
            label: "gpt",
            id: String::new(),
            sector,
            partitions,
        };
        faults.extend(overlaps(&table, usable));
    }
    let protected = boot_record(disk, 0)?;
    if !protected.is_some_and(|entries| entries.iter().any(|entry| entry.os_type == 0xee)) {
        let what = "it does not protect the GPT: no partition is of type 0xee";
        faults.push(("the master boot record".to_owned(), what.to_owned()));
    }
    Ok(faults)
}

/// Partitions that lie over others, or where none may.
fn overlaps(table: &Table, usable: Range<u64>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut partitions: Vec<_> = table.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.range.start);
    let mut before: Option<&super::Partition> = None;
    for partition in partitions {
        let name = format!("partition {}", partition.number);
        if let Some(before) = before.filter(|before| before.range.end > partition.range.start) {
            faults.push((name.clone(), format!("it lies over partition {}", before.number)));
        }
        if partition.range.start < usable.start || partition.range.end > usable.end {
            faults.push((name, "it lies where no partition may".to_owned()));
        }
        if before.is_none_or(|before| before.range.end < partition.range.end) {
            before = Some(partition);
        }
    }
    faults
}
