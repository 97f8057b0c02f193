//! A disk as a pure function of the guest's map.
//!
//! ```text
//! fixed:   the guest | footer
//! dynamic: footer | header | table of blocks | block | block | … | footer        block: bitmap of sectors | 2 MiB
//! ```
//!
//! Invariants of a dynamic disk:
//! - a block is there if an extent touches it, and all its sectors are marked as used;
//! - the table has `ceil(len / 2 MiB)` entries, no more.

use std::num::NonZero;
use std::sync::Arc;

use image_core::Map;
use image_core::map::{Extent, MapError, Source};
use zerocopy::IntoBytes;

use super::header::{Footer, Header};
use super::options::Options;
use crate::blocks::{Places, Runs, place, words};

/// Bytes in a sector.
pub(super) const SECTOR: u64 = 512;
/// Bytes of the guest in a block of ours.
const BLOCK: NonZero<u64> = NonZero::new(2 << 20).expect("not zero");
/// Where the table of blocks is.
const TABLE_AT: u64 = 1536;
/// The most bytes that readers take: 2040 GiB.
pub(super) const LEN_MAX: u64 = 0xff00_0000 * SECTOR;

/// Why there can be no VHD of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its length is no whole number of sectors.
    #[error("{len} bytes are no whole number of sectors of 512 bytes")]
    PartOfASector {
        /// Bytes in the image.
        len: u64,
    },
    /// Readers would refuse it.
    #[error("{len} bytes are too many for a VHD: at most {}", LEN_MAX)]
    TooLarge {
        /// Bytes in the image.
        len: u64,
    },
    /// The plan contradicts itself.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Whether there can be a disk of a guest of so many bytes.
pub fn check_len(len: u64) -> Result<(), Error> {
    if !len.is_multiple_of(SECTOR) {
        return Err(Error::PartOfASector { len });
    }
    if len > LEN_MAX {
        return Err(Error::TooLarge { len });
    }
    Ok(())
}

/// Plans a disk of a guest.
pub fn plan(guest: &Map, options: &Options) -> Result<Map, Error> {
    let len = guest.len();
    check_len(len)?;
    let footer = Footer::new(len, options);
    if !options.dynamic {
        let mut image = Map::builder(len.saturating_add(SECTOR));
        image.map(0, guest)?;
        image.bytes(len, footer.as_bytes(), "VHD footer");
        return Ok(image.build()?);
    }
    let data = Arc::new(Runs::touched(guest, BLOCK));
    let entries = len.div_ceil(BLOCK.get());
    let table_len = entries.saturating_mul(4).next_multiple_of(SECTOR);
    let blocks_at = TABLE_AT.saturating_add(table_len);
    let places = Places {
        block: BLOCK,
        data_at: blocks_at.saturating_add(SECTOR),
        stride: BLOCK.get().saturating_add(SECTOR),
    };
    let end = places.at(data.count()).saturating_sub(SECTOR);
    let small = |n: u64| u32::try_from(n).expect("2040 GiB have few blocks");

    let mut image = Map::builder(end.saturating_add(SECTOR));
    image.bytes(0, footer.as_bytes(), "VHD footer, copied");
    let header = Header::new(TABLE_AT, small(entries), small(BLOCK.get()));
    image.bytes(SECTOR, header.as_bytes(), "VHD header");
    let known = Arc::clone(&data);
    // What is behind the last entry is as an entry without a block.
    words(&mut image, TABLE_AT, table_len / 4, "block table", move |block| {
        let at = known
            .value(block)
            .map(|rank| places.at(rank).saturating_sub(SECTOR));
        at.map_or(u32::MAX, |at| small(at / SECTOR)).to_be_bytes()
    });
    let bitmap: Arc<[u8]> = vec![0xff; 512].into();
    for rank in 0..data.count() {
        image.extent(Extent {
            start: places.at(rank).saturating_sub(SECTOR),
            len: SECTOR,
            source: Source::Bytes {
                bytes: Arc::clone(&bitmap),
                offset: 0,
            },
            what: "sector bitmap",
        });
    }
    place(&mut image, guest, &data, &places);
    image.bytes(end, footer.as_bytes(), "VHD footer");
    Ok(image.build()?)
}
