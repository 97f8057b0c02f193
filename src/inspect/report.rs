//! What `dib inspect` tells of an image, as text or as JSON of a documented, versioned form.
//!
//! The form of the JSON is [`SCHEMA`], which `dib inspect --help` prints. Within a version fields may come, but none goes or
//! changes what it means.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use image_formats::oci::Choice;
use serde::Serialize;

use super::find::Finder;
use super::ids::{type_name, type_text};
use super::image::Image;
use super::kind::Wrapping;
use super::{InspectError, filesystem, kernels};
use crate::error::told;
use crate::ui::units::bytes;

/// What the JSON holds.
pub const SCHEMA: &str = "\
JSON, version 1:
  version      1; within a version fields are only added
  image        the path as it was given
  container    {type, file_size, allocated, virtual_size, subformat, block_size, creator, version, cluster_size,
               compression, refcount_bits, snapshots, dirty, corrupt, encrypted, backing_file}; type is raw, qcow2, vhd,
               vhdx, vmdk, vdi, tar, directory, or how the whole file is compressed: gzip, bzip2, xz, zstd; virtual_size
               is null where there is no disk; subformat (fixed, dynamic, static, monolithicSparse, ...) and block_size,
               that of a grain for vmdk, are null but for vhd, vmdk and vdi; creator, the program that is said to have
               made it, is null but for vhd and vdi; version and what follows it are null but for qcow2; a backing file
               is named and never opened
  table        null, or {label, id, sector, partitions}; label is gpt or msdos
               a partition: {number, name, type, type_name, start, size, uuid}; start and size in bytes
  filesystems  {partition, volume, subvolume, type, label, uuid, size, used, free, features, state, mount_point}; volume
               is null, or the name of a logical volume of LVM, GROUP/NAME; partition is null for such a one, and where the
               whole disk is one file system; subvolume is null but for Btrfs, each of whose subvolumes stands for itself:
               its path, empty for the one at the top; mount_point is null where it belongs nowhere
  kernels      the newest first: {version, path, initrd}
  os           by name: the values of the root's os-release
  unread       null, or why the files, or the disk, could not be read";

/// What is told.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    version: u32,
    image: String,
    container: Container,
    table: Option<TableFacts>,
    filesystems: Vec<FileSystem>,
    kernels: Vec<KernelFacts>,
    os: BTreeMap<String, String>,
    unread: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Container {
    r#type: &'static str,
    file_size: u64,
    allocated: u64,
    virtual_size: Option<u64>,
    subformat: Option<&'static str>,
    block_size: Option<u64>,
    creator: Option<String>,
    version: Option<u32>,
    cluster_size: Option<u64>,
    compression: Option<&'static str>,
    refcount_bits: Option<u32>,
    snapshots: Option<u32>,
    dirty: Option<bool>,
    corrupt: Option<bool>,
    encrypted: Option<bool>,
    backing_file: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct TableFacts {
    label: &'static str,
    id: String,
    sector: u64,
    partitions: Vec<PartitionFacts>,
}

#[derive(Clone, Debug, Serialize)]
struct PartitionFacts {
    number: u32,
    name: String,
    r#type: String,
    type_name: Option<&'static str>,
    start: u64,
    size: u64,
    uuid: String,
}

#[derive(Clone, Debug, Serialize)]
struct FileSystem {
    partition: Option<u32>,
    volume: Option<String>,
    subvolume: Option<String>,
    r#type: String,
    label: Option<String>,
    uuid: Option<String>,
    size: Option<u64>,
    used: Option<u64>,
    free: Option<u64>,
    features: Vec<String>,
    state: Option<&'static str>,
    mount_point: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct KernelFacts {
    version: String,
    path: String,
    initrd: Option<String>,
}

/// A name that may be no text: what is no UTF-8 stands escaped, `\xff`.
pub fn shown(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) => text.to_owned(),
        Err(_) => name.escape_ascii().to_string(),
    }
}

/// A name for a terminal, which no byte of it steers.
pub fn printable(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => name.escape_ascii().to_string(),
    }
}

impl Report {
    /// Inspects an image. What of it cannot be read is told, and is no failure.
    pub fn of(path: &Path, choice: &Choice, scratch: &Path) -> Result<Self, InspectError> {
        let wrapping = Wrapping::of(path)?;
        let mut report = Self {
            version: 1,
            image: path.display().to_string(),
            container: container(&wrapping),
            table: None,
            filesystems: Vec::new(),
            kernels: Vec::new(),
            os: BTreeMap::new(),
            unread: None,
        };
        let image = match Image::open(path, choice, scratch) {
            Ok(image) => image,
            Err(error) => {
                report.unread = Some(told(&error));
                return Ok(report);
            }
        };
        if let Some(disk) = &image.disk {
            report.container.virtual_size = Some(disk.len());
        }
        report.table = table(&image);
        report.filesystems = filesystems(&image);
        if let Err(error) = report.files(image) {
            report.unread = Some(told(&error));
        }
        Ok(report)
    }

    fn files(&mut self, image: Image) -> Result<(), InspectError> {
        let mut finder = Finder::new(image, None, &[b"boot", b"etc", b"usr/lib"])?;
        for place in finder.places() {
            if let Some(found) = self.filesystems.get_mut(place.volume) {
                found.mount_point = Some(format!("/{}", shown(&place.at)));
            }
        }
        self.os = kernels::os_release(&mut finder)?.into_iter().collect();
        let found = kernels::all(&mut finder)?.into_iter();
        self.kernels = found
            .map(|kernel| KernelFacts {
                version: shown(&kernel.version),
                path: shown(&kernel.path),
                initrd: kernel.initrd.map(|initrd| shown(&initrd)),
            })
            .collect();
        Ok(())
    }
}

fn container(wrapping: &Wrapping) -> Container {
    let qcow2 = wrapping.qcow2.as_ref();
    let blocks = wrapping.blocks.as_ref();
    let sizes = qcow2.map(|facts| facts.virtual_size);
    Container {
        r#type: wrapping.kind,
        file_size: wrapping.len,
        allocated: wrapping.allocated,
        virtual_size: sizes.or_else(|| blocks.map(|facts| facts.virtual_size)),
        subformat: blocks.map(|facts| facts.subformat),
        block_size: blocks.and_then(|facts| facts.block_size),
        creator: blocks.and_then(|facts| facts.creator.as_deref().map(shown)),
        version: qcow2.map(|facts| facts.version),
        cluster_size: qcow2.and_then(|facts| facts.cluster_size),
        compression: qcow2.map(|facts| facts.compression),
        refcount_bits: qcow2.map(|facts| facts.refcount_bits),
        snapshots: qcow2.map(|facts| facts.snapshots),
        dirty: qcow2.map(|facts| facts.dirty),
        corrupt: qcow2.map(|facts| facts.corrupt),
        encrypted: qcow2.map(|facts| facts.encrypted),
        backing_file: qcow2.and_then(|facts| facts.backing_file.as_deref().map(shown)),
    }
}

fn table(image: &Image) -> Option<TableFacts> {
    let table = image.table.as_ref()?;
    let partitions = table.partitions.iter().map(|partition| PartitionFacts {
        number: partition.number,
        name: partition.name.clone(),
        r#type: type_text(partition.purpose),
        type_name: type_name(partition.purpose),
        start: partition.range.start,
        size: partition.range.end - partition.range.start,
        uuid: partition.uuid.clone(),
    });
    Some(TableFacts {
        label: table.label,
        id: table.id.clone(),
        sector: table.sector,
        partitions: partitions.collect(),
    })
}

/// What is on the disk, one for each volume, so that places count them.
fn filesystems(image: &Image) -> Vec<FileSystem> {
    let volumes = image.volumes.iter().enumerate();
    let facts = volumes.map(|(at, volume)| {
        let about = filesystem::of(volume);
        let (about, state) = match about {
            Ok(about) => (Some(about), None),
            Err(_) => (None, Some("damaged")),
        };
        let (size, free) = about
            .as_ref()
            .map_or((None, None), |about| (about.size, about.free));
        FileSystem {
            partition: image.partition(at).map(|partition| partition.number),
            volume: volume.logical.clone(),
            subvolume: volume.subvolume().map(|it| shown(&it.path)),
            r#type: about
                .as_ref()
                .map_or_else(|| "unknown".to_owned(), |about| about.kind.clone()),
            label: about.as_ref().and_then(|about| about.label.clone()),
            uuid: about.as_ref().and_then(|about| about.uuid.clone()),
            size,
            used: size.zip(free).map(|(size, free)| size.saturating_sub(free)),
            free,
            features: about
                .as_ref()
                .map_or_else(Vec::new, |about| about.features.clone()),
            state: state.or_else(|| about.and_then(|about| about.state)),
            mount_point: None,
        }
    });
    facts.collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image       {}", printable(self.image.as_bytes()))?;
        self.container.fmt(f)?;
        if let Some(table) = &self.table {
            let TableFacts {
                label, id, sector, ..
            } = table;
            writeln!(f, "table       {label}, id {id}, sectors of {sector} bytes")?;
            for partition in &table.partitions {
                partition.fmt(f)?;
                let number = Some(partition.number);
                let found = self.filesystems.iter().filter(|found| found.partition == number);
                found
                    .filter(|found| found.r#type != "unknown")
                    .try_for_each(|found| found.fmt(f))?;
            }
        }
        let whole = self.filesystems.iter().filter(|found| found.partition.is_none());
        whole.into_iter().try_for_each(|found| found.fmt(f))?;
        let named = ["PRETTY_NAME", "NAME", "ID"]
            .iter()
            .find_map(|name| self.os.get(*name));
        if let Some(name) = named {
            writeln!(f, "system      {}", printable(name.as_bytes()))?;
        }
        for kernel in &self.kernels {
            write!(f, "kernel      {}", printable(kernel.path.as_bytes()))?;
            match &kernel.initrd {
                Some(initrd) => writeln!(f, " with {}", printable(initrd.as_bytes()))?,
                None => writeln!(f)?,
            }
        }
        match &self.unread {
            Some(reason) => writeln!(f, "unread      {}", printable(reason.as_bytes())),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container   {}", self.r#type)?;
        if let Some(version) = self.version {
            write!(f, " version {version}")?;
        }
        if let Some(subformat) = self.subformat {
            write!(f, ", {subformat}")?;
        }
        if let Some(size) = self.virtual_size {
            write!(f, ", a disk of {}", bytes(size))?;
        }
        write!(f, ", {} on disk", bytes(self.allocated))?;
        if let (Some(cluster), Some(compression)) = (self.cluster_size, self.compression) {
            write!(f, ", clusters of {}, {compression}", bytes(cluster))?;
        }
        if let Some(block) = self.block_size {
            write!(f, ", blocks of {}", bytes(block))?;
        }
        if let Some(creator) = &self.creator {
            write!(f, ", made by '{}'", printable(creator.as_bytes()))?;
        }
        let told = [
            (self.dirty, "dirty"),
            (self.corrupt, "marked as corrupt"),
            (self.encrypted, "encrypted"),
        ];
        for (_, what) in told.iter().filter(|(found, _)| *found == Some(true)) {
            write!(f, ", {what}")?;
        }
        if let Some(snapshots) = self.snapshots.filter(|count| *count > 0) {
            write!(f, ", snapshots: {snapshots}")?;
        }
        if let Some(name) = &self.backing_file {
            write!(
                f,
                ", on top of '{}', which is not opened",
                printable(name.as_bytes())
            )?;
        }
        writeln!(f)
    }
}

impl fmt::Display for PartitionFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.type_name.unwrap_or(&self.r#type);
        let Self {
            number, start, uuid, ..
        } = self;
        write!(
            f,
            "partition   {number}: {kind}, {} at byte {start}, uuid {uuid}",
            bytes(self.size)
        )?;
        if self.name.is_empty() {
            writeln!(f)
        } else {
            writeln!(f, ", name '{}'", printable(self.name.as_bytes()))
        }
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.partition, &self.volume) {
            (Some(_), _) => f.write_str("  holds     ")?,
            (None, Some(name)) => write!(f, "volume      {}: ", printable(name.as_bytes()))?,
            (None, None) => f.write_str("holds       ")?,
        }
        f.write_str(&printable(self.r#type.as_bytes()))?;
        if let Some(path) = self.subvolume.as_ref().filter(|path| !path.is_empty()) {
            write!(f, ", subvolume {}", printable(path.as_bytes()))?;
        }
        if let Some(label) = &self.label {
            write!(f, ", label '{}'", printable(label.as_bytes()))?;
        }
        if let Some(uuid) = &self.uuid {
            write!(f, ", uuid {uuid}")?;
        }
        match (self.used, self.size) {
            (Some(used), Some(size)) => write!(f, ", {} of {} used", bytes(used), bytes(size))?,
            (None, Some(size)) => write!(f, ", {}", bytes(size))?,
            _ => {}
        }
        if let Some(state) = self.state {
            write!(f, ", {state}")?;
        }
        match &self.mount_point {
            Some(at) => writeln!(f, ", mounted on {}", printable(at.as_bytes())),
            None => writeln!(f),
        }
    }
}
