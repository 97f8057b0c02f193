//! Geometry: cluster sizes, and how many table entries and clusters an image needs.
//!
//! Invariants of a [`Geometry`]:
//! - `virtual_size % 512 == 0`;
//! - `l1_entries * entries_per_table * cluster_size >= virtual_size`, with `l1_entries <= L1_ENTRIES_MAX`;
//! - so every host offset of an image, even where no cluster is shared or saved, stays below 2^56, which is what an
//!   entry can hold, and sums of offsets and lengths never leave a `u64`.

use std::num::NonZero;

use image_core::map::MapError;

/// Readers address disks in sectors: no image has a part of one.
const SECTOR: u64 = 512;

/// The largest L1 table that QEMU reads: 32 MiB.
const L1_ENTRIES_MAX: u64 = 32 * 1024 * 1024 / 8;

/// Bytes in a cluster: a power of two from 512 to 2 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterSize {
    bits: u32,
    bytes: NonZero<u64>,
}

impl ClusterSize {
    /// QEMU's default, 64 KiB.
    pub const DEFAULT: Self = Self {
        bits: 16,
        bytes: NonZero::new(1 << 16).expect("not zero"),
    };

    /// A cluster of that many bytes, if there may be one.
    pub fn new(bytes: u64) -> Option<Self> {
        let bytes = NonZero::new(bytes).filter(|bytes| bytes.is_power_of_two())?;
        let bits = bytes.trailing_zeros();
        (9..=21).contains(&bits).then_some(Self { bits, bytes })
    }

    /// Every size there is, from 512 bytes to 2 MiB.
    pub fn all() -> impl Iterator<Item = Self> {
        (9..=21).filter_map(|bits| Self::new(1_u64.rotate_left(bits)))
    }

    /// Bytes in a cluster.
    pub fn bytes(self) -> NonZero<u64> {
        self.bytes
    }

    /// Bytes in a cluster, as the length of a buffer.
    pub(super) fn len(self) -> usize {
        usize::try_from(self.bytes.get()).expect("2 MiB fits usize")
    }

    /// The power of two that a cluster is.
    pub(super) fn bits(self) -> u32 {
        self.bits
    }

    /// Entries of 8 bytes in a cluster.
    pub(super) fn entries(self) -> NonZero<u64> {
        NonZero::new(self.bytes.get() / 8).expect("512 / 8 is not 0")
    }

    /// Reference counts of 16 bits in a cluster.
    pub(super) fn refcounts(self) -> NonZero<u64> {
        NonZero::new(self.bytes.get() / 2).expect("512 / 2 is not 0")
    }

    /// Clusters that hold `bytes` bytes.
    pub(super) fn clusters(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.bytes.get())
    }

    /// The byte at which a cluster begins.
    pub(super) fn offset(self, cluster: u64) -> u64 {
        cluster.saturating_mul(self.bytes.get())
    }
}

/// Why there can be no qcow2 of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its length is no whole number of sectors.
    #[error("{len} bytes are no whole number of sectors of 512 bytes")]
    PartOfASector {
        /// Bytes in the image.
        len: u64,
    },
    /// Its L1 table would pass what QEMU reads.
    #[error("{len} bytes are too many for clusters of {cluster_size}: at most {len_max}")]
    TooLarge {
        /// Bytes in the image.
        len: u64,
        /// Bytes in a cluster.
        cluster_size: u64,
        /// The most bytes that such clusters can hold.
        len_max: u64,
    },
    /// The plan contradicts itself.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// What an image's length and its cluster size fix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Bytes that the guest sees.
    pub(super) virtual_size: u64,
    /// Bytes in a cluster.
    pub(super) cluster_size: ClusterSize,
    /// Entries in the L1 table.
    pub(super) l1_entries: u64,
}

impl Geometry {
    pub(super) fn new(virtual_size: u64, cluster_size: ClusterSize) -> Result<Self, Error> {
        if !virtual_size.is_multiple_of(SECTOR) {
            return Err(Error::PartOfASector { len: virtual_size });
        }
        let per_table = cluster_size.offset(cluster_size.entries().get());
        let l1_entries = virtual_size.div_ceil(per_table);
        if l1_entries > L1_ENTRIES_MAX {
            return Err(Error::TooLarge {
                len: virtual_size,
                cluster_size: cluster_size.bytes().get(),
                len_max: per_table.saturating_mul(L1_ENTRIES_MAX),
            });
        }
        Ok(Self {
            virtual_size,
            cluster_size,
            l1_entries,
        })
    }

    /// Host clusters of the L1 table.
    pub(super) fn l1_clusters(&self) -> u64 {
        self.cluster_size.clusters(self.l1_entries.saturating_mul(8))
    }
}

/// The host clusters of the reference counts, which close an image's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refcounts {
    /// First host cluster of the refcount blocks.
    pub(super) blocks_at: u64,
    /// Host clusters of the refcount blocks.
    pub(super) blocks: u64,
    /// First host cluster of the refcount table.
    pub(super) table_at: u64,
    /// Host clusters of the refcount table.
    pub(super) table: u64,
}

impl Refcounts {
    /// Lays the reference counts of an image behind its `used` clusters. They count themselves too.
    pub(super) fn behind(used: u64, cluster_size: ClusterSize) -> Self {
        let (mut blocks, mut table) = (0_u64, 0_u64);
        loop {
            let total = used.saturating_add(blocks).saturating_add(table);
            let enough = total.div_ceil(cluster_size.refcounts().get());
            let entries = cluster_size.clusters(enough.saturating_mul(8));
            if (enough, entries) == (blocks, table) {
                return Self {
                    blocks_at: used,
                    blocks,
                    table_at: used.saturating_add(blocks),
                    table,
                };
            }
            (blocks, table) = (enough, entries);
        }
    }

    /// Host clusters of the whole image.
    pub(super) fn end(&self) -> u64 {
        self.table_at.saturating_add(self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_sizes_are_powers_of_two_from_512_to_2_mib() {
        assert_eq!(ClusterSize::all().count(), 13);
        assert_eq!(ClusterSize::new(65536), Some(ClusterSize::DEFAULT));
        for bytes in [0, 1, 256, 513, 65535, 4 << 20, u64::MAX] {
            assert_eq!(ClusterSize::new(bytes), None);
        }
    }

    #[test]
    fn lengths_are_bounded_by_sectors_and_by_the_l1_table() {
        let small = ClusterSize::new(512).unwrap();
        assert_eq!(
            Geometry::new(513, small).unwrap_err(),
            Error::PartOfASector { len: 513 }
        );
        // 2^22 tables of 64 clusters of 512 bytes.
        let max = 128 << 30;
        assert_eq!(Geometry::new(max, small).unwrap().l1_entries, 1 << 22);
        let refused = Geometry::new(max + 512, small).unwrap_err();
        assert!(matches!(refused, Error::TooLarge { len_max, .. } if len_max == max));
        assert_eq!(Geometry::new(0, small).unwrap().l1_clusters(), 0);
        Geometry::new(1 << 50, ClusterSize::DEFAULT).unwrap();
    }

    #[test]
    fn reference_counts_cover_themselves() {
        for size in ClusterSize::all() {
            for used in (1..5000).chain([1 << 20, (1 << 30) - 3]) {
                let counts = Refcounts::behind(used, size);
                assert!(counts.blocks * size.refcounts().get() >= counts.end());
                assert!(counts.table * size.entries().get() >= counts.blocks);
                assert!((counts.blocks - 1) * size.refcounts().get() < counts.end());
            }
        }
    }
}
