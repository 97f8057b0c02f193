//! Whether the parts of a disk agree: its directories and tables, and where its grains lie. Of compressed grains what stands
//! before each is held against the tables; they are not decompressed, and the markers between them are not read.

use std::collections::HashSet;

use image_core::ReadAt;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

use super::header::{GrainMarker, REDUNDANT, SECTOR};
use super::reader::{Guest, ReadError};
use crate::parts::{Fault, Parts};

/// The most runs of grains that are checked: what is known of them takes 96 MiB. Grains of 64 KiB in the order of the disk are
/// few runs, and in no order at all as many for half a TiB.
const RUNS_MAX: usize = 1 << 23;

/// Checks a disk. An error is one of reading it, or that too little of it is sound to be checked.
pub fn check(image: impl ReadAt + 'static) -> Result<Vec<Fault>, ReadError> {
    let guest = Guest::open(image)?;
    let header = guest.header;
    // The last grain of others may end within its sector.
    let len = guest.image.len().next_multiple_of(SECTOR);
    let mut parts = Parts::new(len, "a grain", 0, SECTOR);
    parts.area("the header", 0..SECTOR);
    let text_end = header
        .descriptor_offset
        .get()
        .saturating_add(header.descriptor_size.get());
    parts.area("the description", bytes(header.descriptor_offset.get(), text_end));
    let directory = read_directory(&guest, header.directory.get(), "the directory", &mut parts)?;
    let copy_at = header.redundant_directory.get();
    let copy = if header.flags.get() & REDUNDANT != 0 && copy_at != 0 {
        Some(read_directory(
            &guest,
            copy_at,
            "the second directory",
            &mut parts,
        )?)
    } else {
        None
    };
    let mut check = Check { guest: &guest, parts };
    let mut known = HashSet::new();
    for (number, at) in (0..).zip(&directory) {
        let table = check.table(at.get(), "a table")?;
        if let Some(copy) = &copy {
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            let at = copy.get(index).map_or(0, |at| at.get());
            if check.table(at, "a table of the second directory")? != table {
                let (one, other) = ("a table", "its copy, which the second directory has,");
                check.parts.fault(Fault::Differ { one, other });
            }
        }
        // A table that is used again was told of; its grains are the same.
        if known.insert(at.get()) {
            check.grains(number, &table)?;
        }
    }
    Ok(check.parts.finish())
}

fn bytes(from: u64, to: u64) -> std::ops::Range<u64> {
    from.saturating_mul(SECTOR)..to.saturating_mul(SECTOR)
}

fn read_directory(
    guest: &Guest,
    at: u64,
    what: &'static str,
    parts: &mut Parts,
) -> Result<Vec<U32>, ReadError> {
    let mut entries = vec![U32::ZERO; guest.directory.len()];
    let start = at.saturating_mul(SECTOR);
    let len = u64::try_from(entries.as_bytes().len()).expect("4 MiB at most");
    parts.area(what, start..start.saturating_add(len));
    if start.saturating_add(len) <= guest.image.len() {
        guest.image.read_exact_at(entries.as_mut_bytes(), start)?;
    }
    Ok(entries)
}

struct Check<'a> {
    guest: &'a Guest,
    parts: Parts,
}

impl Check<'_> {
    /// The entries of a table; none, if there is none or if it is not in the file.
    fn table(&mut self, at: u32, what: &'static str) -> Result<Vec<U32>, ReadError> {
        if at == 0 {
            return Ok(Vec::new());
        }
        let entries = usize::try_from(self.guest.entries.get()).expect("512 at most");
        let mut table = vec![U32::ZERO; entries];
        let start = u64::from(at).saturating_mul(SECTOR);
        let end = start.saturating_add(self.guest.entries.get().saturating_mul(4));
        self.parts.area(what, start..end);
        if end > self.guest.image.len() {
            return Ok(Vec::new());
        }
        self.guest.image.read_exact_at(table.as_mut_bytes(), start)?;
        Ok(table)
    }

    /// The grains of the table of a number.
    fn grains(&mut self, number: u64, table: &[U32]) -> Result<(), ReadError> {
        let first = number.saturating_mul(self.guest.entries.get());
        let sectors = self.guest.grain.get() / SECTOR;
        let grains = self.guest.len.div_ceil(self.guest.grain.get());
        if self.parts.runs() > RUNS_MAX {
            return Err(ReadError::Unsupported("more than 2^23 runs of grains"));
        }
        for (nth, entry) in (first..).zip(table).map(|(nth, entry)| (nth, entry.get())) {
            if nth >= grains || entry == 0 || (entry == 1 && self.guest.zeroed) {
                continue;
            }
            let sectors = if self.guest.compressed {
                self.compressed(entry, nth.saturating_mul(sectors))?
            } else {
                sectors
            };
            self.parts
                .block(entry, u32::try_from(sectors).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// The sectors of a compressed grain, that of a sector of the guest.
    fn compressed(&mut self, entry: u32, sector: u64) -> Result<u64, ReadError> {
        let at = u64::from(entry).saturating_mul(SECTOR);
        let mut marker = GrainMarker::new_zeroed();
        let head = u64::try_from(size_of::<GrainMarker>()).expect("12");
        if at.saturating_add(head) > self.guest.image.len() {
            return Ok(1);
        }
        self.guest.image.read_exact_at(marker.as_mut_bytes(), at)?;
        let size = u64::from(marker.size.get());
        let too_large = size > self.guest.grain.get().saturating_mul(2);
        if marker.sector.get() != sector || size == 0 || too_large {
            self.parts.fault(Fault::Grain { at });
            return Ok(1);
        }
        Ok(size.saturating_add(head).div_ceil(SECTOR))
    }
}
