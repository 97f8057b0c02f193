//! Laws of partition tables: planned, they are read back by others as they were asked for; or they are refused for a
//! reason that a naive look at them confirms.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use image_core::Map;
use image_core::laws::Draw;
use uuid::Uuid;

use crate::{gpt, mbr};

/// A planned disk, as those read it who know files only.
struct Disk<'m> {
    map: &'m Map,
    position: u64,
}

impl Read for Disk<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let end = (self.position + u64::try_from(buf.len()).unwrap()).min(self.map.len());
        let part = self.map.slice(self.position..end).unwrap();
        buf.fill(0);
        for extent in part.extents() {
            let at = usize::try_from(extent.start).unwrap();
            let bytes = extent.bytes().unwrap();
            buf[at..at + bytes.len()].copy_from_slice(bytes);
        }
        self.position = end;
        Ok(usize::try_from(part.len()).unwrap())
    }
}

impl Seek for Disk<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::End(by) => self.map.len().checked_add_signed(by).unwrap(),
            SeekFrom::Current(by) => self.position.checked_add_signed(by).unwrap(),
        };
        Ok(self.position)
    }
}

/// Partitions that mostly follow each other, and sometimes do not.
fn ranges(draw: &mut Draw<'_>, len: u64, unit: u64, gap: u64) -> Vec<Range<u64>> {
    let mut at = unit + gap;
    let count = draw.below(9);
    let mut ranges = Vec::new();
    for _ in 0..count {
        let start = at + draw.below(3) * unit;
        let end = start + *draw.pick(&[unit, 9 * unit, len / 8 / unit * unit]);
        let (start, end) = match draw.below(40) {
            0 => (start, start),
            1 => (start + 1, end),
            2 => (start.saturating_sub(2 * unit), end),
            3 => (start, len),
            4 => (0, end),
            _ => (start, end),
        };
        at = end + gap;
        ranges.push(start..end);
    }
    ranges
}

fn apart(ranges: &[Range<u64>]) -> bool {
    let overlaps = |a: &Range<u64>, b: &Range<u64>| a.start < b.end && b.start < a.end;
    (0..ranges.len()).all(|i| (0..i).all(|j| !overlaps(&ranges[i], &ranges[j])))
}

fn fits(range: &Range<u64>, usable: &Range<u64>, sector: u64) -> bool {
    let whole = range.start.is_multiple_of(sector) && range.end.is_multiple_of(sector);
    whole && usable.start <= range.start && range.start < range.end && range.end <= usable.end
}

/// Boot records.
fn boot_records(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    // Below and beyond 4 GiB, and beyond 2 TiB.
    let len = *draw.pick(&[1 << 20, 1 << 30, 20 << 30, 1 << 41, 3 << 40]);
    let align = *draw.pick(&[512, 4096, 1 << 20]);
    let primary = usize::try_from(draw.below(5)).unwrap();
    let gap = if draw.below(2) == 0 { align } else { 512 };
    let partitions = ranges(&mut draw, len, 512, gap).into_iter().enumerate();
    let partitions = partitions.map(|(index, range)| mbr::Partition {
        range,
        kind: *draw.pick(&[0x83, 0x82, 0x8e, 0xef, 0xfe]),
        boot: draw.below(4) == 0,
        logical: index >= primary,
    });
    let table = mbr::Table {
        len,
        align,
        disk_id: 0xfedc_ba98,
        partitions: partitions.collect(),
        boot_code: None,
    };
    let map = match mbr::plan(&table) {
        Ok(map) => map,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return assert!(!is_sound(&table), "{error}: {table:?}");
        }
    };
    assert!(is_sound(&table), "{table:?}");
    let read = mbrman::MBR::read_from(
        &mut Disk {
            map: &map,
            position: 0,
        },
        512,
    )
    .unwrap();
    assert_eq!(read.header.disk_signature, table.disk_id.to_le_bytes());
    let found = read
        .iter()
        .filter(|(_, entry)| entry.is_used() && !entry.is_extended());
    let found = found.map(|(number, entry)| {
        let start = u64::from(entry.starting_lba) * 512;
        mbr::Partition {
            range: start..start + u64::from(entry.sectors) * 512,
            kind: entry.sys,
            boot: entry.is_active(),
            logical: number > 4,
        }
    });
    assert_eq!(found.collect::<Vec<_>>(), table.partitions);
}

fn is_sound(table: &mbr::Table) -> bool {
    let (logical, primary): (Vec<_>, Vec<_>) =
        table.partitions.iter().partition(|partition| partition.logical);
    let usable = 512..table.len.min(mbr::END);
    let mut entries: Vec<Range<u64>> = primary.iter().map(|partition| partition.range.clone()).collect();
    let mut claims = Vec::new();
    for partition in &logical {
        let Some(start) = partition.range.start.checked_sub(table.align) else {
            return false;
        };
        claims.push(start..partition.range.end);
    }
    let mut inside = usable.clone();
    if let Some(first) = claims.first() {
        inside.start = first.start;
        entries.push(first.start..usable.end);
    }
    entries.len() <= 4
        && apart(&entries)
        && apart(&claims)
        && entries.iter().all(|entry| fits(entry, &usable, 512))
        && logical
            .iter()
            .zip(&claims)
            .all(|(partition, claim)| fits(claim, &inside, 512) && !partition.range.is_empty())
}

/// GUID partition tables.
fn guid_tables(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let sector = *draw.pick(&[512_u32, 4096]);
    let len = *draw.pick(&[1 << 20, 1 << 30, 20 << 30, 3 << 40]);
    let partitions = ranges(&mut draw, len, u64::from(sector), 40 * u64::from(sector));
    let partitions = (1..).zip(partitions).map(|(number, range)| gpt::Partition {
        range,
        kind: gpt::kind(["8300", "ef00", "EF02", "8304"][usize::from(draw.byte() % 4)]).unwrap(),
        uuid: Uuid::from_u128(number),
        name: (*draw.pick(&[
            "",
            "root",
            "\u{fc}\u{1f427}",
            "thirty-six letters and not one more.",
        ]))
        .to_owned(),
        attributes: u64::from(draw.byte()).rotate_right(5),
    });
    let table = gpt::Table {
        len,
        sector,
        disk_uuid: Uuid::from_u128(7),
        partitions: partitions.collect(),
        boot_code: None,
    };
    let ranges: Vec<_> = table.partitions.iter().map(|it| it.range.clone()).collect();
    let sector = u64::from(sector);
    let usable = 16384 + 2 * sector..len - 16384 - sector;
    let sound = apart(&ranges) && ranges.iter().all(|range| fits(range, &usable, sector));
    let map = match gpt::plan(&table) {
        Ok(map) => map,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return assert!(!sound, "{error}: {table:?}");
        }
    };
    assert!(sound, "{table:?}");
    let mut disk = Disk {
        map: &map,
        position: 0,
    };
    let read = gptman::GPT::read_from(&mut disk, sector).unwrap();
    assert_eq!(read.header.disk_guid, table.disk_uuid.to_bytes_le());
    let found = read.iter().filter(|(_, entry)| entry.is_used());
    let found = found.map(|(_, entry)| gpt::Partition {
        range: entry.starting_lba * sector..(entry.ending_lba + 1) * sector,
        kind: entry.partition_type_guid,
        uuid: Uuid::from_bytes_le(entry.unique_partition_guid),
        name: entry.partition_name.as_str().to_owned(),
        attributes: entry.attribute_bits,
    });
    assert_eq!(found.collect::<Vec<_>>(), table.partitions);
    // The backup says the same, from where it lies.
    disk.position = len - sector;
    let backup = gptman::GPTHeader::read_from(&mut disk).unwrap();
    assert_eq!((backup.primary_lba, backup.backup_lba), (len / sector - 1, 1));
    let entries = backup.read_partitions(&mut disk, sector).unwrap();
    assert!(entries.iter().eq(read.iter().map(|(_, entry)| entry)));
}

/// What is laid one after the other fits the least disk, makes a table, and fits no shorter disk.
fn placers(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let align = *draw.pick(&[512, 4096, 1 << 20]);
    let primary = draw.below(4);
    let sizes: Vec<u64> = (0..=draw.below(8)).map(|_| 1 + draw.below(3 << 20)).collect();

    let kinds: Vec<(u64, bool)> = (0..)
        .zip(&sizes)
        .map(|(index, bytes)| (*bytes, index >= primary))
        .collect();
    let least = mbr::Placer::least(align, &kinds).unwrap();
    let lay = |len| {
        let mut placer = mbr::Placer::new(len, align).unwrap();
        let ranges = kinds.iter().map(|(bytes, logical)| {
            let bytes = bytes.next_multiple_of(512);
            let range = if *logical {
                placer.logical(bytes)
            } else {
                placer.primary(bytes)
            }?;
            assert_eq!((range.start % align, range.end - range.start), (0, bytes));
            Ok(mbr::Partition {
                range,
                kind: 0x83,
                boot: false,
                logical: *logical,
            })
        });
        ranges.collect::<Result<Vec<_>, mbr::Error>>()
    };
    let table = mbr::Table {
        len: least,
        align,
        disk_id: 0,
        partitions: lay(least).unwrap(),
        boot_code: None,
    };
    mbr::plan(&table).unwrap();
    assert!(lay(least - 512).is_err());

    let least = gpt::Placer::least(&sizes);
    let lay = |len| {
        let mut placer = gpt::Placer::new(len);
        let ranges = (1..).zip(&sizes).map(|(number, bytes)| {
            let range = placer.partition(bytes.next_multiple_of(gpt::ALIGN))?;
            assert!(range.start.is_multiple_of(gpt::ALIGN) && range.end - range.start >= *bytes);
            Ok(gpt::Partition {
                range,
                kind: [1; 16],
                uuid: Uuid::from_u128(number),
                name: String::new(),
                attributes: 0,
            })
        });
        ranges.collect::<Result<Vec<_>, gpt::Error>>()
    };
    let sector = *draw.pick(&[512, 4096]);
    let table = gpt::Table {
        len: least,
        sector,
        disk_uuid: Uuid::from_u128(0),
        partitions: lay(least).unwrap(),
        boot_code: None,
    };
    gpt::plan(&table).unwrap();
    assert!(lay(least - 512).is_err());
}

/// Tables of both kinds, and where their partitions are laid.
pub fn disk_layouts(bytes: &[u8]) {
    boot_records(bytes);
    guid_tables(bytes);
    placers(bytes);
}
