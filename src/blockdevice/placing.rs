//! Where everything lies: the lengths of disks, and the bytes of partitions and volumes, once the trees are known.
//!
//! A disk whose size nobody said is just as long as its partitions need: what has a size has it, and what has a part of the
//! rest grows until it holds what stands on it, the root file system with the room that images have. A disk of a given
//! size is divided as it is, and what does not fit is refused with the numbers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use ext4_rs_writer::{Options, Size, layout as ext4};
use image_core::Tree;
use image_core::tree::Time;
use image_formats::{fat, gpt, lvm, mbr};

use super::disk::fat_options;
use super::format::Format;
use super::layout::{Disk, FileSystem, Group, Layout, Partition, Place, Table, TableKind, Volume};
use super::sizes::Amount;
use crate::error::{Context, Error, Kind, Result};
use crate::ui::units;

/// Where everything of a layout lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The disks, as in the layout.
    pub disks: Vec<PlacedDisk>,
    /// Extents of the logical volumes, by group.
    pub volumes: Vec<Vec<u64>>,
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

    /// How many bytes a place has.
    pub fn len(&self, layout: &Layout, place: Place) -> u64 {
        match place {
            Place::Logical(group, volume) => self.volumes[group][volume] * layout.groups[group].extent,
            _ => self.range(place).map_or(0, |range| range.end - range.start),
        }
    }
}

/// Sizes that are found are multiples of this: what is compressed in clusters wants whole ones.
const GRAIN: u64 = 64 << 10;
/// The least that a partition gets on which nothing stands.
const LEAST: u64 = 1 << 20;
/// No disk is longer: the search for a length ends here.
const LONGEST: u64 = 1 << 60;

/// Places everything. `trees` are those of the file systems that are mounted, in order; `size` is that of disks which
/// have none of their own; `epoch` is for what is made.
pub fn place(layout: &Layout, trees: &[Tree], size: Option<u64>, epoch: Time) -> Result<Placed> {
    let planner = Planner {
        layout,
        trees,
        epoch,
        needs: RefCell::default(),
    };
    let mut disks = Vec::new();
    for (index, disk) in layout.disks.iter().enumerate() {
        let placed = match disk.size.or(size) {
            Some(len) => planner.divide(index, len).map_err(|error| {
                let message = format!(
                    "disk {} of {len} bytes ({}) is too small for its layout",
                    disk.name,
                    units::bytes(len)
                );
                Error::new(Kind::Image, message).because(error).hint(
                    "--image-size sets the size of disks whose size the layout leaves open; without it they are as long as they need",
                )
            })?,
            None => planner.shortest(index)?,
        };
        disks.push(placed);
    }
    let mut placed = Placed {
        disks,
        volumes: Vec::new(),
    };
    for group in &layout.groups {
        let volumes = volumes(group, &placed)?;
        placed.volumes.push(volumes);
    }
    Ok(placed)
}

/// The tree of a file system, which is none where nothing is mounted.
pub(super) fn tree_of<'a>(layout: &Layout, trees: &'a [Tree], filesystem: &FileSystem) -> Option<&'a Tree> {
    let point = |filesystem: &FileSystem| {
        let mount = filesystem.mount.as_ref()?;
        (mount.point != "none").then(|| mount.point.clone())
    };
    point(filesystem)?;
    let mounted = layout.filesystems.iter().filter(|other| point(other).is_some());
    let index = mounted
        .into_iter()
        .position(|other| other.node == filesystem.node)?;
    trees.get(index)
}

struct Planner<'a> {
    layout: &'a Layout,
    trees: &'a [Tree],
    epoch: Time,
    /// What places need, as far as it was asked.
    needs: RefCell<HashMap<Place, u64>>,
}

impl Planner<'_> {
    /// How many bytes a place needs for what stands on it.
    fn need(&self, place: Place) -> Result<u64> {
        if let Some(known) = self.needs.borrow().get(&place) {
            return Ok(*known);
        }
        let stands = |filesystem: &&FileSystem| filesystem.place == place;
        let need = match self.layout.filesystems.iter().find(stands) {
            Some(filesystem) => self.need_of(filesystem)?,
            None => self.need_of_group(place)?.unwrap_or(LEAST),
        };
        self.needs.borrow_mut().insert(place, need);
        Ok(need)
    }

    fn need_of(&self, filesystem: &FileSystem) -> Result<u64> {
        let empty = super::empty_tree(self.epoch);
        let tree = tree_of(self.layout, self.trees, filesystem).unwrap_or(&empty);
        let tried = || format!("cannot plan {}", filesystem.node);
        match &filesystem.format {
            Format::Ext { options, .. } => {
                let size = match options.size {
                    // Of the disk, not of what stands on it.
                    Size::Fixed(_) => Size::Headroom,
                    other => other,
                };
                let options = Options {
                    size,
                    ..(**options).clone()
                };
                let planned = ext4(tree, &options).image(|| "cannot plan the file system".to_owned())?;
                Ok(planned.map().len())
            }
            Format::Fat(format) => {
                let sector = self.layout.disks[self.layout.disk_of(filesystem.place)].sector;
                let options = fat_options(format, sector, 0..0, self.epoch);
                let least = fat::least(tree, &options).image(tried)?;
                Ok(least.max(LEAST))
            }
            Format::Swap { .. } => Ok(LEAST),
        }
    }

    /// What a physical volume needs, if the place is one: the first of its group whose size is open takes what the others
    /// leave.
    fn need_of_group(&self, place: Place) -> Result<Option<u64>> {
        let holds = |group: &Group| group.physical.iter().any(|physical| physical.place == place);
        let Some(index) = self.layout.groups.iter().position(holds) else {
            return Ok(None);
        };
        let group = &self.layout.groups[index];
        let mut wanted = Vec::new();
        for (volume, logical) in group.logical.iter().enumerate() {
            wanted.push(match logical.size {
                Volume::Bytes(_) | Volume::Extents(_) => 0,
                Volume::OfGroup(_) | Volume::OfFree(_) => {
                    self.need(Place::Logical(index, volume))?.div_ceil(group.extent)
                }
            });
        }
        let holds = |extents: u64| {
            divide_group(group, extents)
                .is_ok_and(|found| found.iter().zip(&wanted).all(|(has, needs)| has >= needs))
        };
        let needed = least(1, LONGEST / group.extent, 1, holds).unwrap_or(u64::MAX / group.extent / 2);
        let others = group.physical.iter().filter(|physical| physical.place != place);
        let mut given = 0;
        for other in others {
            let size = match self.layout.partition(other.place).map(|partition| partition.size) {
                Some(Amount::Bytes(bytes)) => bytes,
                _ => 0,
            };
            given += lvm::extents(size, group.extent);
        }
        let missing = needed.saturating_sub(given).max(1);
        // Labels and metadata take less than an extent, and than a MiB.
        Ok(Some(missing * group.extent + LEAST.max(group.extent)))
    }

    /// The shortest disk that holds what it shall.
    fn shortest(&self, index: usize) -> Result<PlacedDisk> {
        let disk = &self.layout.disks[index];
        let Some(table) = &disk.table else {
            let len = self.need(Place::Disk(index))?.next_multiple_of(GRAIN);
            return Ok(PlacedDisk {
                len,
                partitions: Vec::new(),
            });
        };
        let mut needs = Vec::new();
        for (at, partition) in table.partitions.iter().enumerate() {
            needs.push(match partition.size {
                Amount::Bytes(bytes) => bytes,
                Amount::Share(_) => self.need(Place::Partition(index, at))?,
            });
        }
        let holds = |len: u64| {
            let ranges = lay(disk, table, len);
            let open = table
                .partitions
                .iter()
                .map(|partition| matches!(partition.size, Amount::Share(_)));
            ranges.is_ok_and(|ranges| {
                let mut rows = ranges.iter().zip(&needs).zip(open);
                rows.all(|((range, needs), open)| !open || range.end - range.start >= *needs)
            })
        };
        let len = least(GRAIN, LONGEST, GRAIN, holds).ok_or_else(|| {
            let message = format!("disk {}: no length of it holds its partitions", disk.name);
            Error::new(Kind::Image, message)
        })?;
        self.divide(index, len)
    }

    /// A disk of so many bytes, divided.
    fn divide(&self, index: usize, len: u64) -> Result<PlacedDisk> {
        let disk = &self.layout.disks[index];
        let partitions = match &disk.table {
            Some(table) => lay(disk, table, len)?,
            None => Vec::new(),
        };
        Ok(PlacedDisk { len, partitions })
    }
}

/// The least multiple of `grain` that holds, if a greater one always holds where a smaller one does.
fn least(from: u64, to: u64, grain: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut low, mut high) = (from / grain, from / grain);
    while !holds(high * grain) {
        low = high + 1;
        high = high.saturating_mul(2);
        if high * grain > to {
            return None;
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle * grain) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(high * grain)
}

/// Lays the partitions of a disk, one after the other.
fn lay(disk: &Disk, table: &Table, len: u64) -> Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let tried = |partition: &Partition| format!("partition {} of disk {}", partition.name, disk.name);
    match table.kind {
        TableKind::Gpt { .. } => {
            let mut placer = gpt::Placer::new(len);
            for partition in &table.partitions {
                let bytes = amount(partition.size, placer.free());
                ranges.push(placer.partition(bytes).image(|| tried(partition))?);
            }
        }
        TableKind::Mbr { .. } => {
            let mut placer = mbr::Placer::new(len, table.align).image(|| format!("disk {}", disk.name))?;
            for partition in &table.partitions {
                let bytes = amount(partition.size, placer.free());
                let range = if partition.logical {
                    placer.logical(bytes)
                } else {
                    placer.primary(bytes)
                };
                ranges.push(range.image(|| tried(partition))?);
            }
        }
    }
    Ok(ranges)
}

fn amount(size: Amount, free: u64) -> u64 {
    match size {
        Amount::Bytes(bytes) => bytes,
        Amount::Share(part) => part.percent_of(free),
    }
}

/// The extents of a group's logical volumes, by the bytes of its physical ones.
fn volumes(group: &Group, placed: &Placed) -> Result<Vec<u64>> {
    let physical = group.physical.iter().map(|physical| {
        let range = placed.range(physical.place).unwrap_or(0..0);
        lvm::extents(range.end - range.start, group.extent)
    });
    divide_group(group, physical.sum())
}

/// The extents of a group's logical volumes, if it has so many.
fn divide_group(group: &Group, extents: u64) -> Result<Vec<u64>> {
    let mut free = extents;
    let mut found = Vec::new();
    for logical in &group.logical {
        let wanted = match logical.size {
            Volume::Bytes(bytes) => (bytes / group.extent).max(1),
            Volume::Extents(extents) => extents,
            Volume::OfGroup(part) => part.percent_of(extents),
            Volume::OfFree(part) => part.percent_of(free),
        };
        if wanted > free || wanted == 0 {
            let message = format!(
                "volume {} of group {} wants {wanted} extents of {} bytes, and {free} of {extents} are free",
                logical.name, group.name, group.extent
            );
            return Err(Error::new(Kind::Image, message));
        }
        free -= wanted;
        found.push(wanted);
    }
    Ok(found)
}
