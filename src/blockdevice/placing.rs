//! Where everything lies: the lengths of disks, and the bytes of partitions and volumes.

use std::ops::Range;

use super::layout::Place;

/// Where everything of a layout lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The disks, as in the layout.
    pub disks: Vec<PlacedDisk>,
}

/// A disk and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedDisk {
    /// Its bytes.
    pub len: u64,
    /// The partitions, as in the layout.
    pub partitions: Vec<Range<u64>>,
}

impl Placed {
    /// The bytes of a disk or a partition.
    pub fn range(&self, place: Place) -> Option<Range<u64>> {
        match place {
            Place::Disk(disk) => self.disks.get(disk).map(|disk| 0..disk.len),
            Place::Partition(disk, partition) => self.disks.get(disk)?.partitions.get(partition).cloned(),
            Place::Logical(..) => None,
        }
    }
}
