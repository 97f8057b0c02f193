//! Trees planned as file systems.
//!
//! Spec: Microsoft FAT Specification, sections 3 to 7.

use image_core::Map;
use image_core::map::MapError;
use image_core::tree::{Time, Tree};

use super::boot;
use super::contents::Contents;
use super::geometry::{self, CLUSTER_MAX};
use super::layout::Layout;
use super::short::BadName;

/// Which file system it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// FAT12: at most 4084 clusters.
    Fat12,
    /// FAT16: 4085 to 65,524 clusters.
    Fat16,
    /// FAT32: more.
    Fat32,
    /// FAT32 from 512 MiB on, else FAT12 or FAT16, as mkfs.fat chooses.
    Auto,
}

/// What a file system is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which one it is.
    pub kind: Kind,
    /// Bytes in the image.
    pub len: u64,
    /// Bytes in a sector: 512, 1024, 2048 or 4096.
    pub sector: u32,
    /// Sectors of the disk before the file system.
    pub hidden_sectors: u32,
    /// The label, filled up with spaces; nothing but spaces is none.
    pub label: [u8; 11],
    /// The serial number, which is what FAT has for a UUID.
    pub volume_id: u32,
    /// Bytes in a cluster; else as mkfs.fat chooses.
    pub cluster: Option<u32>,
    /// The time of the label, and the latest time of any file.
    pub epoch: Time,
}

/// Why a tree cannot be planned as a FAT file system.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No such sectors.
    #[error("a sector has 512, 1024, 2048 or 4096 bytes, and cannot have {0}")]
    Sector(u32),
    /// No such clusters.
    #[error("a cluster of {cluster} bytes is no power of two from {sector} to 65536 and to 128 sectors")]
    Cluster {
        /// Bytes that it was to have.
        cluster: u32,
        /// Bytes in a sector.
        sector: u32,
    },
    /// A label has a character that is not for labels, or begins with a space.
    #[error("'{}' cannot be part of a label there", char::from(*.0).escape_default())]
    Label(u8),
    /// No number of clusters makes such a file system of so many bytes.
    #[error(
        "{kind:?} cannot have {len} bytes: from {least} to {most} bytes are possible with these clusters"
    )]
    Length {
        /// What was to be made.
        kind: Kind,
        /// Bytes that it was to have.
        len: u64,
        /// The fewest that are possible.
        least: u64,
        /// The most that are possible.
        most: u64,
    },
    /// The tree does not fit.
    #[error(
        "the files need {needed} clusters of {cluster} bytes, and a file system of {len} bytes has {clusters}: \
         {least} bytes are enough"
    )]
    TooSmall {
        /// Bytes in the image.
        len: u64,
        /// Bytes in a cluster.
        cluster: u64,
        /// Clusters that there are.
        clusters: u64,
        /// Clusters that the tree needs.
        needed: u64,
        /// Bytes that would be enough.
        least: u64,
    },
    /// The tree does not fit a file system of any length.
    #[error("the files need more clusters than FAT can count")]
    TooMuch,
    /// The root directory of FAT12 and FAT16 has a fixed size.
    #[error("the names in the root directory need {needed} entries, and FAT12 and FAT16 have {most}")]
    RootFull {
        /// Entries that the names need.
        needed: u64,
        /// Entries that there are.
        most: u64,
    },
    /// A directory has too many entries.
    #[error(
        "the names in '/{}' need {needed} entries, and a directory has {most} at most",
        shown(path)
    )]
    DirectoryFull {
        /// The directory.
        path: Vec<u8>,
        /// Entries that the names need.
        needed: u64,
        /// Entries that a directory can have.
        most: u64,
    },
    /// A name that no directory can hold.
    #[error("'/{}' cannot be named so in a FAT file system: {why}", shown(path))]
    Name {
        /// The file.
        path: Vec<u8>,
        /// Why.
        why: BadName,
    },
    /// Names that differ in nothing but case are one name.
    #[error(
        "'/{}' and '/{}' are one name in a FAT file system, which sees no case",
        shown(first),
        shown(second)
    )]
    SameName {
        /// The first file.
        first: Vec<u8>,
        /// The second one.
        second: Vec<u8>,
    },
    /// A link, a device, a pipe or a socket.
    #[error("'/{}' is a {kind}, and a FAT file system has none", shown(path))]
    Special {
        /// The file.
        path: Vec<u8>,
        /// What it is.
        kind: &'static str,
    },
    /// A file of 4 GiB or more.
    #[error(
        "'/{}' has {len} bytes, and a file here has less than 4294967296",
        shown(path)
    )]
    FileTooLong {
        /// The file.
        path: Vec<u8>,
        /// Its bytes.
        len: u64,
    },
    /// The plan contradicts itself: a mistake here.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// A path for people: what is no text stands as a replacement character.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}

/// Plans the file system that holds a tree.
pub fn plan(tree: &Tree, options: &Options) -> Result<Map, PlanError> {
    check(options)?;
    let label = label(options);
    let contents = Contents::of(tree, label.is_some())?;
    let total = options.len.div_euclid(options.sector.into());
    let geometry = geometry::choose(options, total)?;
    let needed = contents.clusters(geometry.shape)?;
    if needed > geometry.clusters {
        return Err(PlanError::TooSmall {
            len: options.len,
            cluster: geometry.shape.cluster_len(),
            clusters: geometry.clusters,
            needed,
            least: least_of(&contents, options)?,
        });
    }
    let mut map = Map::builder(options.len);
    boot::lay_out(&mut map, options, &geometry, label, needed);
    let layout = Layout::new(&contents, &geometry);
    layout.tables(&mut map);
    layout.directories(&mut map, label, options.epoch);
    layout.files(&mut map);
    Ok(map.build()?)
}

/// The least length of a file system that holds a tree: [`plan`] takes it, and nothing shorter. The length among the
/// options does not count.
pub fn least(tree: &Tree, options: &Options) -> Result<u64, PlanError> {
    check(options)?;
    let contents = Contents::of(tree, label(options).is_some())?;
    least_of(&contents, options)
}

fn least_of(contents: &Contents<'_>, options: &Options) -> Result<u64, PlanError> {
    let sectors = geometry::least(options, |shape| contents.clusters(shape))?;
    Ok(sectors.saturating_mul(options.sector.into()))
}

fn check(options: &Options) -> Result<(), PlanError> {
    let sector = options.sector;
    if !matches!(sector, 512 | 1024 | 2048 | 4096) {
        return Err(PlanError::Sector(sector));
    }
    let fits = |cluster: u32| {
        let most = CLUSTER_MAX.min(u64::from(sector).saturating_mul(128));
        cluster.is_power_of_two() && (u64::from(sector)..=most).contains(&cluster.into())
    };
    if let Some(cluster) = options.cluster.filter(|cluster| !fits(*cluster)) {
        return Err(PlanError::Cluster { cluster, sector });
    }
    let Some(label) = label(options) else {
        return Ok(());
    };
    let bad = |byte: &&u8| !(b' '..=b'~').contains(*byte) || b"\"*+,./:;<=>?[\\]|".contains(*byte);
    let bad = label
        .iter()
        .find(bad)
        .or(label.first().filter(|byte| **byte == b' '));
    bad.map_or(Ok(()), |byte| Err(PlanError::Label(*byte)))
}

fn label(options: &Options) -> Option<[u8; 11]> {
    Some(options.label).filter(|label| label != &[b' '; 11])
}
