//! What partition tables of every kind ask of the partitions in them: whole sectors, inside the disk, apart.
//!
//! Positions are bytes, as in a [`Map`](image_core::Map); numbers are those that Linux counts by.

use std::ops::Range;

/// Why partitions cannot be as they were asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A disk has no whole number of sectors.
    #[error("a disk of {len} bytes has no whole number of sectors of {sector} bytes")]
    Disk {
        /// Bytes of the disk.
        len: u64,
        /// Bytes of a sector.
        sector: u64,
    },
    /// A disk is too short for the table alone.
    #[error("a disk of {len} bytes is too short for a partition table: {least} bytes are needed at least")]
    Short {
        /// Bytes of the disk.
        len: u64,
        /// The least bytes that hold the table and one sector.
        least: u64,
    },
    /// A partition begins or ends inside a sector.
    #[error("partition {number}: byte {byte} lies inside a sector of {sector} bytes")]
    Unaligned {
        /// Its number.
        number: u32,
        /// Where it begins or ends.
        byte: u64,
        /// Bytes of a sector.
        sector: u64,
    },
    /// A partition holds nothing.
    #[error("partition {number} begins at byte {start} and ends at byte {end}: it holds nothing")]
    Empty {
        /// Its number.
        number: u32,
        /// Its first byte.
        start: u64,
        /// The byte after its last.
        end: u64,
    },
    /// A partition lies where the disk has no room for partitions.
    #[error(
        "partition {number} has bytes {start} to {end}; partitions may have bytes {first} to {last} of this disk"
    )]
    Outside {
        /// Its number.
        number: u32,
        /// Its first byte; of a logical partition, that of its boot record.
        start: u64,
        /// The byte after its last.
        end: u64,
        /// The first byte that may be part of a partition.
        first: u64,
        /// The byte after the last that may be part of one.
        last: u64,
    },
    /// Two partitions have bytes in common.
    #[error("partition {second} begins at byte {start}, before partition {first} ends at byte {end}")]
    Overlap {
        /// The partition that begins first.
        first: u32,
        /// The byte after its last.
        end: u64,
        /// The partition that begins in it.
        second: u32,
        /// Its first byte; of a logical partition, that of its boot record.
        start: u64,
    },
    /// More partitions than the table, or those who read it, can number.
    #[error("{asked} {what}, and a table holds {most}")]
    TooMany {
        /// Partitions of which sort.
        what: &'static str,
        /// How many there shall be.
        asked: usize,
        /// How many there may be.
        most: usize,
    },
    /// A partition is longer than what is left of the disk.
    #[error("a partition of {asked} bytes, where {free} bytes are free")]
    NoRoom {
        /// Bytes that it shall have.
        asked: u64,
        /// Bytes that are left.
        free: u64,
    },
    /// A partition is shorter than the least one.
    #[error("a partition of {asked} bytes, where {least} bytes are the least")]
    TooSmall {
        /// Bytes that it shall have.
        asked: u64,
        /// Bytes of the least one.
        least: u64,
    },
}

/// Checks that partitions have whole sectors in `usable`, and none twice.
pub(crate) fn check(
    usable: &Range<u64>,
    sector: u64,
    partitions: impl IntoIterator<Item = (u32, Range<u64>)>,
) -> Result<(), Error> {
    let mut sorted: Vec<_> = partitions.into_iter().collect();
    for (number, range) in &sorted {
        let Range { start, end } = *range;
        let number = *number;
        for byte in [start, end] {
            if !byte.is_multiple_of(sector) {
                return Err(Error::Unaligned { number, byte, sector });
            }
        }
        if range.is_empty() {
            return Err(Error::Empty { number, start, end });
        }
        if start < usable.start || end > usable.end {
            return Err(Error::Outside {
                number,
                start,
                end,
                first: usable.start,
                last: usable.end,
            });
        }
    }
    sorted.sort_by_key(|(_, range)| range.start);
    let neighbours = sorted.iter().zip(sorted.iter().skip(1));
    for ((first, before), (second, after)) in neighbours {
        if after.start < before.end {
            return Err(Error::Overlap {
                first: *first,
                end: before.end,
                second: *second,
                start: after.start,
            });
        }
    }
    Ok(())
}

/// The number of the partition at an index, counted from `first`.
pub(crate) fn number(first: u32, index: usize) -> u32 {
    u32::try_from(index).map_or(u32::MAX, |index| first.saturating_add(index))
}
