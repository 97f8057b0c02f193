//! The disks of a plan, for readers.

use std::fmt;

use serde::Serialize;

use crate::blockdevice::facts::{Facts, FileSystemFacts};
use crate::blockdevice::layout::{Disk, Layout, Partition};
use crate::blockdevice::sizes::Amount;

/// The layout of a plan.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PlannedLayout {
    origin: String,
    disks: Vec<PlannedDisk>,
    filesystems: Vec<FileSystemFacts>,
}

/// A disk of a plan.
#[derive(Clone, Debug, Serialize)]
struct PlannedDisk {
    name: String,
    size: Option<u64>,
    sector: u32,
    table: Option<&'static str>,
    partitions: Vec<PlannedPartition>,
}

/// A partition of a plan.
#[derive(Clone, Debug, Serialize)]
struct PlannedPartition {
    number: u32,
    name: String,
    size: String,
    #[serde(rename = "type")]
    code: String,
}

impl PlannedLayout {
    pub(super) fn of(layout: &Layout, size: Option<u64>) -> Self {
        Self {
            origin: layout.origin.clone(),
            disks: layout
                .disks
                .iter()
                .map(|disk| PlannedDisk::of(disk, size))
                .collect(),
            filesystems: Facts::of(layout, None).filesystems,
        }
    }
}

impl PlannedDisk {
    fn of(disk: &Disk, size: Option<u64>) -> Self {
        let partition = |partition: &Partition| PlannedPartition {
            number: partition.number,
            name: partition.name.clone(),
            size: match partition.size {
                Amount::Bytes(bytes) => format!("{bytes} bytes"),
                Amount::Share(part) => format!("{part}% of what is free"),
            },
            code: partition.code.clone(),
        };
        let table = disk.table.as_ref();
        Self {
            name: disk.name.clone(),
            size: disk.size.or(size),
            sector: disk.sector,
            table: table.map(|table| table.kind.name()),
            partitions: table.map_or(Vec::new(), |table| {
                table.partitions.iter().map(partition).collect()
            }),
        }
    }
}

/// For people.
impl fmt::Display for PlannedLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "disks  ({})", self.origin)?;
        for disk in &self.disks {
            let size = match disk.size {
                Some(bytes) => format!("{bytes} bytes"),
                None => "as it needs".to_owned(),
            };
            let table = disk.table.unwrap_or("no table");
            writeln!(
                f,
                "    {:<32} {size:<20} {table}, sectors of {}",
                disk.name, disk.sector
            )?;
            for partition in &disk.partitions {
                let PlannedPartition {
                    number,
                    name,
                    size,
                    code,
                } = partition;
                let what = format!("{}p{number} {name}", disk.name);
                writeln!(f, "    {what:<32} {size:<20} type {code}")?;
            }
        }
        for filesystem in &self.filesystems {
            let point = filesystem.mount_point.as_deref().unwrap_or("-");
            let device = filesystem.device.rsplit('/').next().unwrap_or_default();
            let what = format!("{point} {}", filesystem.kind);
            writeln!(
                f,
                "    {what:<32} {device:<20} {} {}",
                filesystem.label, filesystem.uuid
            )?;
        }
        Ok(())
    }
}
