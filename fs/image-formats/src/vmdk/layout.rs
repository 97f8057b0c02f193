//! A sparse disk as a pure function of the guest's map.
//!
//! ```text
//! header | text | directory, tables | directory, tables | up to a whole grain | grain | grain | …
//! ```
//!
//! Invariants: grains lie in guest order; both directories and their tables say the same; a table without a grain is a
//! gap, and its entry in the directory says where.

use std::num::NonZero;
use std::sync::Arc;

use image_core::Map;
use image_core::map::{Builder, MapError};
use zerocopy::IntoBytes;

use super::header::{GRAIN, Header, SECTOR, TABLE_ENTRIES, TABLE_SECTORS, TEXT_SECTORS};
use super::options::Options;
use crate::blocks::{Places, Runs, place, words};

/// Bytes in a grain.
pub(super) const GRAIN_BYTES: NonZero<u64> = NonZero::new(GRAIN * SECTOR).expect("not zero");
/// Sectors of the guest that a table finds.
pub(super) const TABLE_COVERS: u64 = GRAIN * TABLE_ENTRIES;
/// The most sectors of a guest: with all of it in the file, entries of 32 bits still find everything.
const SECTORS_MAX: u64 = 0xffff_0000 - 0x0100_0000;

/// Why there can be no VMDK of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its length is no whole number of sectors.
    #[error("{len} bytes are no whole number of sectors of 512 bytes")]
    PartOfASector {
        /// Bytes in the image.
        len: u64,
    },
    /// Its grains could not be found.
    #[error("{len} bytes are too many for a VMDK: at most {}", SECTORS_MAX * SECTOR)]
    TooLarge {
        /// Bytes in the image.
        len: u64,
    },
    /// The plan contradicts itself.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Sectors of a guest, if there may be so many.
pub(super) fn sectors(len: u64) -> Result<u64, Error> {
    if !len.is_multiple_of(SECTOR) {
        return Err(Error::PartOfASector { len });
    }
    let sectors = len / SECTOR;
    if sectors > SECTORS_MAX {
        return Err(Error::TooLarge { len });
    }
    Ok(sectors)
}

/// Whether there can be a disk of a guest of so many bytes.
pub fn check_len(len: u64) -> Result<(), Error> {
    sectors(len).map(drop)
}

/// Plans a sparse disk of a guest.
pub fn plan(guest: &Map, options: &Options) -> Result<Map, Error> {
    let capacity = sectors(guest.len())?;
    let data = Arc::new(Runs::touched(guest, GRAIN_BYTES));
    let tables = capacity.div_ceil(TABLE_COVERS);
    let directory_sectors = tables.saturating_mul(4).div_ceil(SECTOR);
    let group = directory_sectors.saturating_add(tables.saturating_mul(TABLE_SECTORS));
    let redundant = TEXT_SECTORS.saturating_add(1);
    let directory = redundant.saturating_add(group);
    let overhead = directory.saturating_add(group).next_multiple_of(GRAIN);
    let places = Places {
        block: GRAIN_BYTES,
        data_at: overhead.saturating_mul(SECTOR),
        stride: GRAIN_BYTES.get(),
    };

    let mut image = Map::builder(places.at(data.count()));
    let header = Header::sparse(capacity, redundant, directory, overhead);
    image.bytes(0, header.as_bytes(), "VMDK header");
    image.bytes(SECTOR, options.descriptor(capacity).as_bytes(), "VMDK descriptor");
    for at in [redundant, directory] {
        let first = at.saturating_add(directory_sectors);
        words(
            &mut image,
            at.saturating_mul(SECTOR),
            tables,
            "grain directory",
            move |table| small(first.saturating_add(table.saturating_mul(TABLE_SECTORS))).to_le_bytes(),
        );
        lay_tables(&mut image, first, &data, places);
    }
    place(&mut image, guest, &data, &places);
    Ok(image.build()?)
}

/// Lays the tables that have a grain, the first of all tables being at a sector.
fn lay_tables(image: &mut Builder, first: u64, data: &Arc<Runs>, places: Places) {
    let per_table = NonZero::new(TABLE_ENTRIES).expect("not zero");
    let used = Runs::of(data.iter().map(|run| {
        let last = run.key.saturating_add(run.count).saturating_sub(1);
        (run.key / per_table, (last / per_table).saturating_add(1))
    }));
    for run in used.iter() {
        let at = first.saturating_add(run.key.saturating_mul(TABLE_SECTORS));
        let count = run.count.saturating_mul(TABLE_ENTRIES);
        let (data, first_grain) = (Arc::clone(data), run.key.saturating_mul(TABLE_ENTRIES));
        words(
            image,
            at.saturating_mul(SECTOR),
            count,
            "grain table",
            move |entry| {
                let rank = data.value(first_grain.saturating_add(entry));
                rank.map_or(0, |rank| small(places.at(rank) / SECTOR))
                    .to_le_bytes()
            },
        );
    }
}

/// A place in sectors.
pub(super) fn small(sector: u64) -> u32 {
    u32::try_from(sector).expect("a guest of few enough sectors has few in its file")
}
