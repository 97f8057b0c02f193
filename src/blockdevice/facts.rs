//! What hooks can learn of the disks, in a file of the tree of hooks: `block-device.json`.
//!
//! It is there before `root.d` with everything that is decided by then, and again, before every phase from `block-device.d`
//! on, with where everything lies. `dib-block-device getval` and the stand-ins of boot loaders read it. Devices are names:
//! nothing of them exists.

use serde::{Deserialize, Serialize};

use super::layout::{Layout, Place, TableKind};
use super::placing::Placed;

/// The file's name.
pub const FILE: &str = "block-device.json";

/// The disks of a build, and what is on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The disks.
    pub disks: Vec<DiskFacts>,
    /// The file systems, those that are mounted in the order of their mount points.
    pub filesystems: Vec<FileSystemFacts>,
    /// The label of the root file system.
    pub root_label: String,
    /// Its type.
    pub root_fstype: String,
    /// The label of what is mounted on `/boot`; empty: nothing is.
    pub boot_label: String,
    /// All mount points, joined by `|`.
    pub mount_points: String,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFacts {
    /// Its name.
    pub name: String,
    /// The device that it stands for.
    pub device: String,
    /// Bytes of a sector.
    pub sector: u32,
    /// Its bytes, once they are known.
    pub length: Option<u64>,
    /// `gpt`, `msdos`, or nothing.
    pub table: Option<String>,
    /// Its partitions.
    pub partitions: Vec<PartitionFacts>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionFacts {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// The device that it stands for.
    pub device: String,
    /// Its first byte, once it is known.
    pub start: Option<u64>,
    /// Its bytes, once they are known.
    pub length: Option<u64>,
    /// The code of its type.
    pub kind: String,
    /// What `PARTUUID=` calls it.
    pub uuid: String,
}

/// A file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystemFacts {
    /// The name of its node.
    pub node: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its label.
    pub label: String,
    /// Its UUID.
    pub uuid: String,
    /// Where it is mounted, if it is.
    pub mount_point: Option<String>,
    /// The device that it lies on.
    pub device: String,
    /// The disk that it lies on.
    pub disk: String,
    /// The number of its partition, if it lies in one.
    pub partition: Option<u32>,
    /// `lvm`, or nothing.
    pub abstraction: String,
}

impl Facts {
    /// Those of a layout, with lengths and places as far as they are known.
    pub fn of(layout: &Layout, placed: Option<&Placed>) -> Self {
        let boot = layout.mounted_on("/boot");
        let root = layout.root();
        let disks = layout.disks.iter().enumerate();
        Self {
            disks: disks.map(|(index, _)| disk(layout, index, placed)).collect(),
            filesystems: layout
                .filesystems
                .iter()
                .map(|filesystem| FileSystemFacts {
                    node: filesystem.node.clone(),
                    kind: filesystem.format.name().to_owned(),
                    label: filesystem.format.label(),
                    uuid: filesystem.format.uuid(),
                    mount_point: filesystem.mount.as_ref().map(|mount| mount.point.clone()),
                    device: layout.device(filesystem.place),
                    disk: layout.disks[layout.disk_of(filesystem.place)].name.clone(),
                    partition: layout
                        .partition(filesystem.place)
                        .map(|partition| partition.number),
                    abstraction: match filesystem.place {
                        Place::Logical(..) => "lvm".into(),
                        _ => String::new(),
                    },
                })
                .collect(),
            root_label: root.format.label(),
            root_fstype: root.format.name().to_owned(),
            boot_label: boot.map(|boot| boot.format.label()).unwrap_or_default(),
            mount_points: layout.mount_points().collect::<Vec<_>>().join("|"),
        }
    }

    /// Names and devices of disks and partitions, as pairs for an associative array of bash.
    pub fn devices(&self) -> String {
        let mut named = Vec::new();
        for disk in &self.disks {
            named.push((&*disk.name, &disk.device));
            named.extend(
                disk.partitions
                    .iter()
                    .map(|partition| (&*partition.name, &partition.device)),
            );
        }
        let volumes = self
            .filesystems
            .iter()
            .filter(|filesystem| filesystem.abstraction == "lvm");
        for volume in volumes {
            let name = volume.device.rsplit('-').next().unwrap_or_default();
            named.push((name, &volume.device));
        }
        let pair = |(name, device): (&str, &String)| ["[", name, "]=", device, " "].concat();
        named.into_iter().map(pair).collect()
    }

    /// The file's text.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and numbers are JSON") + "\n"
    }
}

fn disk(layout: &Layout, index: usize, placed: Option<&Placed>) -> DiskFacts {
    let disk = &layout.disks[index];
    let partition = |at: usize, partition: &super::layout::Partition| {
        let place = Place::Partition(index, at);
        let range = placed.and_then(|placed| placed.range(place));
        PartitionFacts {
            number: partition.number,
            name: partition.name.clone(),
            device: layout.device(place),
            start: range.as_ref().map(|range| range.start),
            length: range.map(|range| range.end - range.start),
            kind: partition.code.clone(),
            uuid: match disk.table.as_ref().map(|table| table.kind) {
                Some(TableKind::Mbr { id }) => format!("{id:08x}-{:02x}", partition.number),
                _ => partition.uuid.to_string(),
            },
        }
    };
    let table = disk.table.as_ref();
    let partitions = table.map_or(&[][..], |table| &table.partitions);
    DiskFacts {
        name: disk.name.clone(),
        device: layout.device(Place::Disk(index)),
        sector: disk.sector,
        length: placed.map(|placed| placed.disks[index].len),
        table: table.map(|table| table.kind.name().to_owned()),
        partitions: partitions
            .iter()
            .enumerate()
            .map(|(at, it)| partition(at, it))
            .collect(),
    }
}
