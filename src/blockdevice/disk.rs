//! A layout, its places and its trees → the map of every disk: tables, boot code, volumes and file systems in their places.

use std::ops::Range;

use ext4_rs_writer::{Options, Size, layout as ext4};
use image_core::map::Builder;
use image_core::tree::Time;
use image_core::{Identity, Map, Tree};
use image_formats::{fat, gpt, grub, lvm, mbr, swap};

use super::format::{Fat, Format};
use super::layout::{Disk, FileSystem, Layout, Place, Table, TableKind};
use super::old::Kept;
use super::placing::{Placed, tree_of};
use crate::boot::BootCode;
use crate::error::{Context, Error, Kind, Result};
use crate::ui::{self, units};

/// Where the core of GRUB lies on a disk with a GPT: partitions of this type.
const BIOS_BOOT: &str = "EF02";

/// The image of every disk, by its name.
pub fn maps(
    layout: &Layout,
    placed: &Placed,
    trees: &[Tree],
    kept: Option<&Kept>,
    boot: Option<&BootCode>,
    identity: Identity,
) -> Result<Vec<(String, Map)>> {
    let mut builders = Vec::new();
    for (index, disk) in layout.disks.iter().enumerate() {
        let boot = boot.filter(|boot| boot.disk == disk.name);
        builders.push(match kept {
            Some(kept) => old_table(disk, index, placed, kept, boot)?,
            None => table(disk, index, placed, boot)?,
        });
    }
    let volumes = volumes(layout, placed, identity, &mut builders)?;
    for filesystem in &layout.filesystems {
        let len = placed.len(layout, filesystem.place);
        let map = filesystem_map(layout, placed, trees, filesystem, len, identity.epoch)?;
        let tried = || format!("cannot lay {} into its disk", filesystem.node);
        match filesystem.place {
            Place::Logical(group, volume) => {
                let mut at = 0;
                for piece in &volumes[group][volume] {
                    let part = map.slice(at..at + piece.len).image(tried)?;
                    let physical = layout.groups[group].physical[piece.physical].place;
                    let range = placed.range(physical).unwrap_or(0..0);
                    builders[layout.disk_of(physical)]
                        .map(range.start + piece.offset, &part)
                        .image(tried)?;
                    at += piece.len;
                }
            }
            place => {
                let range = placed.range(place).unwrap_or(0..0);
                builders[layout.disk_of(place)]
                    .map(range.start, &map)
                    .image(tried)?;
            }
        }
    }
    let names = layout.disks.iter().map(|disk| disk.name.clone());
    let maps = builders
        .into_iter()
        .map(|builder| builder.build().image(|| "cannot lay out a disk".to_owned()));
    names.zip(maps).map(|(name, map)| Ok((name, map?))).collect()
}

/// A disk with its table and boot code.
fn table(disk: &Disk, index: usize, placed: &Placed, boot: Option<&BootCode>) -> Result<Builder> {
    let PlacedDisk { len, ranges } = PlacedDisk {
        len: placed.disks[index].len,
        ranges: &placed.disks[index].partitions,
    };
    let mut builder = Map::builder(len);
    let tried = || format!("cannot write the partition table of disk {}", disk.name);
    let Some(table) = &disk.table else {
        return match boot {
            None => Ok(builder),
            Some(_) => Err(no_room(disk, "it has no partition table", None)),
        };
    };
    let planned = match table.kind {
        TableKind::Gpt { uuid } => {
            let boot = boot
                .map(|boot| embed(disk, table, ranges, boot, None))
                .transpose()?;
            let plan = gpt::Table {
                len,
                sector: disk.sector,
                disk_uuid: uuid,
                partitions: gpt_partitions(disk, table, ranges)?,
                boot_code: boot.map(|boot| lay_core(boot, &mut builder)),
            };
            gpt::plan(&plan).image(tried)?
        }
        TableKind::Mbr { id } => {
            let mut plan = mbr::Table {
                len,
                align: table.align,
                disk_id: id,
                partitions: mbr_partitions(table, ranges),
                boot_code: None,
            };
            let boot = boot
                .map(|boot| embed(disk, table, ranges, boot, Some(plan.gap())))
                .transpose()?;
            plan.boot_code = boot.map(|boot| lay_core(boot, &mut builder));
            mbr::plan(&plan).image(tried)?
        }
    };
    builder.map(0, &planned).image(tried)?;
    Ok(builder)
}

/// A disk whose table is there already, with boot code in its places.
fn old_table(
    disk: &Disk,
    index: usize,
    placed: &Placed,
    kept: &Kept,
    boot: Option<&BootCode>,
) -> Result<Builder> {
    let placed = &placed.disks[index];
    let mut builder = Map::builder(placed.len);
    let mut cuts = Vec::new();
    if let Some(boot) = boot {
        let Some(table) = &disk.table else {
            return Err(no_room(disk, "it has no partition table", None));
        };
        let first = placed.partitions.iter().map(|range| range.start).min();
        let gap = matches!(table.kind, TableKind::Mbr { .. }).then(|| 512..first.unwrap_or(placed.len));
        let (area, embedded) = embed(disk, table, &placed.partitions, boot, gap)?;
        let code = embedded.boot.code();
        cuts = vec![
            0..code.len() as u64,
            area.start..area.start + embedded.core.len() as u64,
        ];
        builder.bytes(0, code.to_vec(), "GRUB's boot sector");
        builder.bytes(area.start, embedded.core, "GRUB's core");
    }
    kept.lay(&mut builder, &cuts);
    Ok(builder)
}

struct PlacedDisk<'a> {
    len: u64,
    ranges: &'a [Range<u64>],
}

fn gpt_partitions(disk: &Disk, table: &Table, ranges: &[Range<u64>]) -> Result<Vec<gpt::Partition>> {
    let rows = table.partitions.iter().zip(ranges);
    let partition = |(partition, range): (&super::layout::Partition, &Range<u64>)| {
        let kind = gpt::kind(&partition.code).ok_or_else(|| {
            let message = format!(
                "partition {} of disk {}: unknown type {}",
                partition.name, disk.name, partition.code
            );
            Error::new(Kind::Image, message)
        })?;
        Ok(gpt::Partition {
            range: range.clone(),
            kind,
            uuid: partition.uuid,
            name: partition.name.clone(),
            attributes: 0,
        })
    };
    rows.map(partition).collect()
}

fn mbr_partitions(table: &Table, ranges: &[Range<u64>]) -> Vec<mbr::Partition> {
    let rows = table.partitions.iter().zip(ranges);
    rows.map(|(partition, range)| mbr::Partition {
        range: range.clone(),
        kind: u8::from_str_radix(&partition.code, 16).unwrap_or(0x83),
        boot: partition.boot,
        logical: partition.logical,
    })
    .collect()
}

/// Lays GRUB's core, and gives what goes into the first sector.
fn lay_core((area, embedded): (Range<u64>, grub::Embedded), builder: &mut Builder) -> grub::BootSector {
    builder.bytes(area.start, embedded.core, "GRUB's core");
    embedded.boot
}

/// Finds the place for GRUB's core where nothing else is, and makes what the first sector needs to find it.
fn embed(
    disk: &Disk,
    table: &Table,
    ranges: &[Range<u64>],
    boot: &BootCode,
    gap: Option<Range<u64>>,
) -> Result<(Range<u64>, grub::Embedded)> {
    let kind = |code: &str| gpt::kind(code);
    let of_type = table
        .partitions
        .iter()
        .position(|partition| kind(&partition.code).is_some() && kind(&partition.code) == kind(BIOS_BOOT));
    let area = match (gap, of_type) {
        (Some(gap), _) => gap,
        (None, Some(index)) => ranges[index].clone(),
        (None, None) => {
            let told = "it has a GPT, and no partition of type EF02 (BIOS boot)";
            return Err(no_room(disk, told, None));
        }
    };
    let embedded = grub::embed(&boot.boot, &boot.core, area.clone(), boot.reed_solomon)
        .map_err(|error| no_room(disk, "its area does not do", Some(error)))?;
    Ok((area, embedded))
}

fn no_room(disk: &Disk, told: &str, source: Option<grub::Error>) -> Error {
    let message = format!("disk {} cannot have boot code for the BIOS: {told}", disk.name);
    let error = Error::new(Kind::Image, message);
    match source {
        Some(source) => error.because(source),
        None => error,
    }
}

/// Writes labels and metadata of LVM; where the bytes of every logical volume are, by group.
fn volumes(
    layout: &Layout,
    placed: &Placed,
    identity: Identity,
    builders: &mut [Builder],
) -> Result<Vec<Vec<Vec<lvm::Piece>>>> {
    let mut places = Vec::new();
    for (index, group) in layout.groups.iter().enumerate() {
        let tried = || format!("cannot write the volume group {}", group.name);
        let id = |what: &str, name: &str| {
            let mut digits = [b'0'; 32];
            let text = identity.uuid(&format!("{what} {name}")).simple().to_string();
            digits.copy_from_slice(text.as_bytes());
            digits
        };
        let physical = group.physical.iter().map(|physical| lvm::Physical {
            name: layout.device(physical.place),
            uuid: id("pv", &physical.name),
            len: placed.len(layout, physical.place),
        });
        let logical = group.logical.iter().zip(&placed.volumes[index]);
        let logical = logical.map(|(logical, extents)| lvm::Logical {
            name: logical.name.clone(),
            uuid: id("lv", &format!("{}/{}", group.name, logical.name)),
            extents: *extents,
        });
        let planned = lvm::plan(&lvm::Group {
            name: group.name.clone(),
            uuid: id("vg", &group.name),
            extent: group.extent,
            physical: physical.collect(),
            logical: logical.collect(),
            epoch: identity.epoch,
        })
        .image(tried)?;
        for (physical, label) in group.physical.iter().zip(&planned.labels) {
            let range = placed.range(physical.place).unwrap_or(0..0);
            builders[layout.disk_of(physical.place)]
                .map(range.start, label)
                .image(tried)?;
        }
        places.push(planned.places);
    }
    Ok(places)
}

fn filesystem_map(
    layout: &Layout,
    placed: &Placed,
    trees: &[Tree],
    filesystem: &FileSystem,
    len: u64,
    epoch: Time,
) -> Result<Map> {
    let empty = super::empty_tree(epoch);
    let tree = tree_of(layout, trees, filesystem).unwrap_or(&empty);
    let tried = || match filesystem.place {
        Place::Disk(_) if layout.is_bare() => "cannot plan the file system".to_owned(),
        place => format!(
            "cannot plan the file system {}, which has the {len} bytes of {}",
            filesystem.node,
            layout.device(place).trim_start_matches("/dev/dib/")
        ),
    };
    match &filesystem.format {
        Format::Ext { options, .. } => {
            let options = Options {
                size: Size::Fixed(len),
                ..(**options).clone()
            };
            let planned = ext4(tree, &options).map_err(|error| {
                let hint = in_units(&error);
                let failed = Error::new(Kind::Image, tried()).because(error);
                hint.into_iter().fold(failed, Error::hint)
            })?;
            ui::note(planned.summary().to_string().trim_end());
            Ok(planned.into_map())
        }
        Format::Fat(format) => {
            let sector = layout.disks[layout.disk_of(filesystem.place)].sector;
            let range = placed.range(filesystem.place).unwrap_or(0..len);
            fat::plan(tree, &fat_options(format, sector, range, epoch)).image(tried)
        }
        Format::Swap { label, uuid } => swap::plan(&swap::Options {
            len,
            label: *label,
            uuid: *uuid,
        })
        .image(tried),
    }
}

/// What a tree needs and what it would get, in numbers that can be compared at a glance.
fn in_units(error: &ext4_rs_writer::Error) -> Option<String> {
    match error {
        ext4_rs_writer::Error::DoesNotFit {
            needed_bytes: needed,
            available_bytes: available,
            ..
        } if needed > available => Some(format!(
            "the tree needs {}, and the file system has room for {}",
            units::bytes(*needed),
            units::bytes(*available)
        )),
        _ => None,
    }
}

/// The options of a FAT in these bytes of a disk.
pub(super) fn fat_options(format: &Fat, sector: u32, range: Range<u64>, epoch: Time) -> fat::Options {
    fat::Options {
        kind: match format.bits {
            Some(12) => fat::Kind::Fat12,
            Some(16) => fat::Kind::Fat16,
            Some(32) => fat::Kind::Fat32,
            _ => fat::Kind::Auto,
        },
        len: range.end - range.start,
        sector,
        hidden_sectors: u32::try_from(range.start / u64::from(sector)).unwrap_or(0),
        label: format.label,
        volume_id: format.volume_id,
        cluster: format.cluster.map(|sectors| sectors * sector),
        epoch,
    }
}
