//! How many sectors go where: the shape of a file system of a given length, and the least length of one that holds what
//! it must.
//!
//! Spec: Microsoft FAT Specification, sections 3.4 and 3.5. Widths and sizes of clusters are chosen as mkfs.fat does.
//!
//! Invariants of what is written:
//! - the number of clusters alone tells the width, as the specification says, for FAT32 too;
//! - `data_at` is a multiple of the clusters' size, so that a cluster never straddles two blocks of a disk whose partition is aligned;
//! - `total = data_at + clusters * per_cluster`: what is left of the length is not part of the file system, so that no
//!   reader can count a cluster that the tables have no room for.

use super::clusters::Width;
use super::plan::{Kind, Options, PlanError};

/// Entries of the root directory of FAT12 and FAT16.
pub(super) const ROOT_ENTRIES: u64 = 512;
/// The most bytes of a cluster that Linux takes.
pub(super) const CLUSTER_MAX: u64 = 65_536;
/// Up to how many sectors FAT32 has clusters of how many.
const CLUSTERS_32: [(u64, u64); 4] = [(532_480, 1), (1 << 24, 8), (1 << 25, 16), (1 << 26, 32)];
/// The same beyond.
const CLUSTERS_32_BEYOND: u64 = 64;
/// From how many bytes on FAT32 comes first.
const FAT32_FROM: u64 = 512 << 20;
/// Sectors of a cluster that FAT12 and FAT16 begin to try with.
const FIRST_CLUSTER: u64 = 4;

/// A width with sizes of sectors and clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) width: Width,
    /// Bytes in a sector.
    pub(super) sector: u64,
    /// Sectors in a cluster.
    pub(super) per_cluster: u64,
}

/// Where everything is, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) shape: Shape,
    pub(super) reserved: u64,
    /// Sectors in one of the two tables.
    pub(super) table: u64,
    /// Sectors in the root directory of FAT12 and FAT16.
    pub(super) root: u64,
    pub(super) clusters: u64,
}

impl Width {
    /// The least and the most clusters.
    fn clusters(self) -> (u64, u64) {
        match self {
            Self::Fat12 => (1, 4084),
            Self::Fat16 => (4085, 65_524),
            Self::Fat32 => (65_525, 0x0fff_fff5),
        }
    }

    /// Bytes of a table with this many entries.
    pub(super) fn table_len(self, entries: u64) -> u64 {
        match self {
            Self::Fat12 => entries.saturating_mul(3).div_ceil(2),
            Self::Fat16 => entries.saturating_mul(2),
            Self::Fat32 => entries.saturating_mul(4),
        }
    }
}

impl Shape {
    /// Bytes in a cluster.
    pub(super) fn cluster_len(self) -> u64 {
        self.per_cluster.saturating_mul(self.sector)
    }

    /// The least file system with this many clusters.
    pub(super) fn with(self, clusters: u64) -> Geometry {
        let entries = clusters.saturating_add(2);
        let table = self.width.table_len(entries).div_ceil(self.sector);
        let (reserved, root) = match self.width {
            Width::Fat32 => (32, 0),
            Width::Fat12 | Width::Fat16 => (1, ROOT_ENTRIES.saturating_mul(32).div_ceil(self.sector)),
        };
        let end = table.saturating_mul(2).saturating_add(root);
        let aligned = end.saturating_add(reserved).next_multiple_of(self.per_cluster);
        Geometry {
            shape: self,
            reserved: aligned.saturating_sub(end),
            table,
            root,
            clusters,
        }
    }

    /// The one with the most clusters in this many sectors, if there can be one.
    fn within(self, total: u64) -> Option<Geometry> {
        let (mut least, mut most) = (0, total.div_euclid(self.per_cluster));
        while least < most {
            let middle = least.midpoint(most).saturating_add(least.abs_diff(most) % 2);
            if self.with(middle).total() <= total {
                least = middle;
            } else {
                most = middle.saturating_sub(1);
            }
        }
        let (fewest, limit) = self.width.clusters();
        (fewest..=limit).contains(&least).then(|| self.with(least))
    }
}

impl Geometry {
    /// The first sector of cluster 2.
    pub(super) fn data_at(&self) -> u64 {
        self.table
            .saturating_mul(2)
            .saturating_add(self.reserved)
            .saturating_add(self.root)
    }

    /// Sectors in all.
    pub(super) fn total(&self) -> u64 {
        self.clusters
            .saturating_mul(self.shape.per_cluster)
            .saturating_add(self.data_at())
    }
}

/// The geometry of as many sectors as `options` have bytes for.
pub(super) fn choose(options: &Options, total: u64) -> Result<Geometry, PlanError> {
    let found = candidates(options, total)
        .into_iter()
        .find_map(|shape| shape.within(total));
    found.ok_or_else(|| {
        let bytes = |sectors: u64| sectors.saturating_mul(options.sector.into());
        let shapes = all(options);
        let ends = |end: fn(Shape) -> u64| shapes.iter().copied().map(end);
        PlanError::Length {
            kind: options.kind,
            len: bytes(total),
            least: bytes(ends(Shape::first).min().unwrap_or(0)),
            most: bytes(ends(Shape::beyond).max().unwrap_or(0).saturating_sub(1)),
        }
    })
}

/// The least number of sectors for which [`choose`] gives as many clusters as are `needed` with its shape.
pub(super) fn least(
    options: &Options,
    needed: impl Fn(Shape) -> Result<u64, PlanError>,
) -> Result<u64, PlanError> {
    // What is chosen changes at these lengths only.
    let mut borders: Vec<u64> = all(options)
        .into_iter()
        .flat_map(|shape| [shape.first(), shape.beyond()])
        .chain(CLUSTERS_32.iter().map(|(most, _)| most.saturating_add(1)))
        .chain([FAT32_FROM.div_ceil(options.sector.into())])
        .collect();
    borders.sort_unstable();
    borders.dedup();
    let mut refused = None;
    for (at, begin) in borders.iter().enumerate() {
        let Ok(chosen) = choose(options, *begin) else {
            continue;
        };
        let needed = match needed(chosen.shape) {
            Ok(needed) => needed.max(chosen.shape.width.clusters().0),
            Err(error) => {
                refused = Some(error);
                continue;
            }
        };
        let total = chosen.shape.with(needed).total().max(*begin);
        let end = borders.get(at.saturating_add(1)).copied().unwrap_or(u64::MAX);
        if total < end {
            return Ok(total);
        }
    }
    Err(refused.unwrap_or(PlanError::TooMuch))
}

impl Shape {
    /// From how many sectors on there is such a file system.
    fn first(self) -> u64 {
        self.with(self.width.clusters().0).total()
    }

    /// From how many sectors on there is none, since it would have too many clusters, or sectors.
    fn beyond(self) -> u64 {
        let clusters = self.width.clusters().1.saturating_add(1);
        self.with(clusters).total().min(1 << 32)
    }
}

/// The shapes to try, in order.
fn candidates(options: &Options, total: u64) -> Vec<Shape> {
    if total > u64::from(u32::MAX) {
        return Vec::new();
    }
    let sector = u64::from(options.sector);
    let shape = |width, per_cluster| Shape {
        width,
        sector,
        per_cluster,
    };
    let explicit = options
        .cluster
        .map(|cluster| u64::from(cluster).div_euclid(sector));
    let beyond = CLUSTERS_32_BEYOND;
    let of_table = CLUSTERS_32
        .iter()
        .find(|(most, _)| total <= *most)
        .map_or(beyond, |(_, clusters)| *clusters)
        .min(CLUSTER_MAX.div_euclid(sector));
    let wide = [shape(Width::Fat32, explicit.unwrap_or(of_table))];
    let sizes = explicit.map_or_else(|| doubling(sector), |size| vec![size]);
    let narrow = |widths: &[Width]| -> Vec<Shape> {
        let of = |size: &u64| {
            widths
                .iter()
                .map(|width| shape(*width, *size))
                .collect::<Vec<_>>()
        };
        sizes.iter().flat_map(of).collect()
    };
    let small = narrow(&[Width::Fat12, Width::Fat16]);
    match options.kind {
        Kind::Fat12 => narrow(&[Width::Fat12]),
        Kind::Fat16 => narrow(&[Width::Fat16]),
        Kind::Fat32 => wide.to_vec(),
        Kind::Auto if total.saturating_mul(sector) >= FAT32_FROM => [&wide[..], &small].concat(),
        Kind::Auto => [&small[..], &wide].concat(),
    }
}

/// Sectors of a cluster that FAT12 and FAT16 try one after the other.
fn doubling(sector: u64) -> Vec<u64> {
    std::iter::successors(Some(FIRST_CLUSTER), |size| size.checked_mul(2))
        .take_while(|size| size.saturating_mul(sector) <= CLUSTER_MAX && *size <= 128)
        .collect()
}

/// Every shape that some length has.
fn all(options: &Options) -> Vec<Shape> {
    let lengths = CLUSTERS_32
        .iter()
        .map(|(most, _)| *most)
        .chain([0, u32::MAX.into()]);
    let mut shapes = Vec::new();
    for shape in lengths.flat_map(|total| candidates(options, total)) {
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    shapes
}

#[cfg(test)]
mod tests {
    use image_core::tree::Time;

    use super::*;

    fn options(kind: Kind, cluster: Option<u32>) -> Options {
        Options {
            kind,
            len: 0,
            sector: 512,
            hidden_sectors: 0,
            label: [b' '; 11],
            volume_id: 0,
            cluster,
            epoch: Time::default(),
        }
    }

    #[test]
    fn no_shorter_one_would_do() {
        // Bytes around the borders of FAT12 and FAT16, where a few more sectors make other clusters.
        let cases = [
            (Kind::Auto, None, 4075 * 2048..4090 * 2048),
            (Kind::Auto, None, 65_510 * 2048..65_530 * 2048),
            (Kind::Auto, Some(512), 4075 * 512..4095 * 512),
            (Kind::Auto, Some(512), 65_510 * 512..65_530 * 512),
            (Kind::Fat12, None, 4075 * 2048..4095 * 2048),
            (Kind::Fat32, None, 1..2),
        ];
        for (kind, cluster, range) in cases {
            let options = options(kind, cluster);
            let step = usize::try_from((range.end - range.start) / 5).unwrap().max(1);
            for bytes in range.step_by(step) {
                let needed = |shape: Shape| Ok(u64::div_ceil(bytes, shape.cluster_len()));
                let fits = |total: &u64| {
                    choose(&options, *total)
                        .is_ok_and(|chosen| chosen.clusters >= needed(chosen.shape).unwrap())
                };
                let found = (bytes / 512..1 << 32).find(fits);
                assert_eq!(least(&options, needed).ok(), found, "{options:?} {bytes}");
            }
        }
    }

    #[test]
    fn clusters_are_aligned_and_counted_by_the_tables() {
        for (width, per_cluster) in [(Width::Fat12, 4), (Width::Fat16, 8), (Width::Fat32, 64)] {
            let shape = Shape {
                width,
                sector: 512,
                per_cluster,
            };
            let (fewest, most) = width.clusters();
            for clusters in [fewest, fewest + 1, fewest + 9, most.min(1 << 20)] {
                let geometry = shape.with(clusters);
                assert_eq!(geometry.data_at() % per_cluster, 0);
                assert!(geometry.table * 512 >= width.table_len(clusters + 2));
                assert_eq!((geometry.total() - geometry.data_at()) / per_cluster, clusters);
                assert_eq!(shape.within(geometry.total()), Some(geometry));
                assert!(
                    shape
                        .within(geometry.total() - 1)
                        .is_none_or(|less| less.clusters < clusters)
                );
            }
        }
    }
}
