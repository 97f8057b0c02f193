//! A layout: the disks of a build, what divides them, what is on them and where it is mounted. A value, decided before the
//! first hook; lengths and places come later, when the tree is there (`placing`).

use image_core::{Identity, Tree};
use uuid::Uuid;

use super::format::Format;
use super::sizes::{Amount, Decimal};
use super::split::split;
use crate::error::{Context, Result};

/// The disk whose image is called as the user said.
pub const FIRST: &str = "image0";

/// The disks of a build.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Where it comes from, for people.
    pub origin: String,
    /// The disks, in the order of the text.
    pub disks: Vec<Disk>,
    /// LVM's volume groups.
    pub groups: Vec<Group>,
    /// The file systems, those that are mounted in the order of their mount points.
    pub filesystems: Vec<FileSystem>,
    /// What is odd.
    pub warnings: Vec<String>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its name.
    pub name: String,
    /// How many bytes it shall have; `None`: as the image is asked to have, or as it needs.
    pub size: Option<u64>,
    /// Bytes of a sector.
    pub sector: u32,
    /// What divides it.
    pub table: Option<Table>,
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Which sort, with the disk's identity.
    pub kind: TableKind,
    /// Where partitions may begin: at multiples of so many bytes.
    pub align: u64,
    /// The partitions, in the order of the text.
    pub partitions: Vec<Partition>,
}

/// The sort of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// A GUID partition table.
    Gpt {
        /// The disk's.
        uuid: Uuid,
    },
    /// A master boot record.
    Mbr {
        /// The disk's.
        id: u32,
    },
}

impl TableKind {
    /// Its name, as programs that print tables have it.
    pub fn name(self) -> &'static str {
        match self {
            TableKind::Gpt { .. } => "gpt",
            TableKind::Mbr { .. } => "msdos",
        }
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// Its number, as Linux counts.
    pub number: u32,
    /// How much it shall have.
    pub size: Amount,
    /// What it is for: the code of sgdisk, or the two hexadecimal digits of an MBR.
    pub code: String,
    /// Whether it is marked for the BIOS.
    pub boot: bool,
    /// Whether it lies in the extended partition.
    pub logical: bool,
    /// Its own identity, which only a GPT writes down.
    pub uuid: Uuid,
}

/// A volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Bytes of an extent.
    pub extent: u64,
    /// What it is made of.
    pub physical: Vec<Physical>,
    /// What it is divided into.
    pub logical: Vec<Logical>,
}

/// A physical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Physical {
    /// Its name.
    pub name: String,
    /// Where it lies: a disk or a partition.
    pub place: Place,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logical {
    /// Its name.
    pub name: String,
    /// How much it shall have.
    pub size: Volume,
}

/// How large a logical volume shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// So many bytes, rounded down to whole extents.
    Bytes(u64),
    /// So many extents.
    Extents(u64),
    /// A part of the whole group.
    OfGroup(Decimal),
    /// A part of what is free in the group.
    OfFree(Decimal),
}

/// Where something lies, by places in [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// On a whole disk.
    Disk(usize),
    /// In a partition.
    Partition(usize, usize),
    /// In a logical volume of a group.
    Logical(usize, usize),
}

/// A file system, or what else `mkfs` makes.
#[derive(Clone, Debug)]
pub struct FileSystem {
    /// The name of its node.
    pub node: String,
    /// What it is, with its identity.
    pub format: Format,
    /// Where it lies.
    pub place: Place,
    /// Where it is mounted.
    pub mount: Option<Mount>,
}

/// Where a file system is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The directory, or `none`.
    pub point: String,
    /// What the image's fstab says of it.
    pub fstab: Option<Fstab>,
}

/// The last fields of a line of fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fstab {
    /// Options of the mount.
    pub options: String,
    /// Whether dump cares.
    pub dump: u32,
    /// When it is checked.
    pub pass: u32,
}

impl Layout {
    /// The file system that is mounted on a directory.
    pub fn mounted_on(&self, point: &str) -> Option<&FileSystem> {
        self.filesystems.iter().find(|filesystem| {
            filesystem
                .mount
                .as_ref()
                .is_some_and(|mount| mount.point == point)
        })
    }

    /// The root file system: every layout has one.
    pub fn root(&self) -> &FileSystem {
        self.mounted_on("/").expect("a layout without a root is refused")
    }

    /// Where file systems are mounted, in order; `none` is a place, too.
    pub fn mount_points(&self) -> impl Iterator<Item = &str> {
        let mounts = self
            .filesystems
            .iter()
            .filter_map(|filesystem| filesystem.mount.as_ref());
        mounts.map(|mount| mount.point.as_str())
    }

    /// The name of what a file system lies on, as hooks know it.
    pub fn device(&self, place: Place) -> String {
        match place {
            Place::Disk(disk) => format!("/dev/dib/{}", self.disks[disk].name),
            Place::Partition(disk, _) => {
                let number = self.partition(place).map_or(0, |partition| partition.number);
                format!("/dev/dib/{}p{number}", self.disks[disk].name)
            }
            Place::Logical(group, volume) => {
                let group = &self.groups[group];
                format!("/dev/dib/{}-{}", group.name, group.logical[volume].name)
            }
        }
    }

    /// The partition of a place that is one.
    pub fn partition(&self, place: Place) -> Option<&Partition> {
        match place {
            Place::Partition(disk, partition) => {
                let table = self.disks.get(disk)?.table.as_ref()?;
                table.partitions.get(partition)
            }
            _ => None,
        }
    }

    /// The disk that a place is on; of a logical volume the one of its group's first physical volume.
    pub fn disk_of(&self, place: Place) -> usize {
        match place {
            Place::Disk(disk) | Place::Partition(disk, _) => disk,
            Place::Logical(group, _) => {
                let first = self.groups[group].physical.first();
                first.map_or(0, |physical| self.disk_of(physical.place))
            }
        }
    }

    /// Whether the layout is one file system on one disk without a table.
    pub fn is_bare(&self) -> bool {
        self.disks.len() == 1 && self.filesystems.len() == 1 && self.root().place == Place::Disk(0)
    }

    /// Cuts a tree at the mount points: a tree for each file system that is mounted, in order.
    pub fn cut(&self, tree: &Tree, identity: Identity) -> Result<Vec<Tree>> {
        let points: Vec<&str> = self.mount_points().filter(|point| *point != "none").collect();
        split(tree, &points, identity.epoch).image(|| "cannot cut the tree at its mount points".to_owned())
    }

    /// The lines of the image's fstab, in mount order; empty: the tree keeps its own.
    pub fn fstab(&self) -> String {
        let escaped = |text: &str| {
            text.replace('\\', "\\134")
                .replace(' ', "\\040")
                .replace('\t', "\\011")
        };
        let line = |filesystem: &FileSystem| {
            let mount = filesystem.mount.as_ref()?;
            let Fstab { options, dump, pass } = mount.fstab.as_ref()?;
            Some(format!(
                "LABEL={} {} {} {options} {dump} {pass}\n",
                escaped(&filesystem.format.label()),
                escaped(&mount.point),
                filesystem.format.kernel_name()
            ))
        };
        self.filesystems.iter().filter_map(line).collect()
    }
}
