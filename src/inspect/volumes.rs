//! The logical volumes of LVM on an image, whose physical volumes are partitions of it or the whole disk.
//!
//! A physical volume that can be read is no longer something that is not read: its volumes stand beside the partitions.
//! What of them cannot be read says why in place of what it holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use image_core::read_at::{Joined, Slice};
use image_formats::lvm::{self, FoundGroup, FoundVolume, Run, Uuid};

use super::InspectError;
use super::container::Bytes;
use super::contents::{self, Contents, PHYSICAL};
use super::image::Volume;

/// Adds the logical volumes of all groups, sorted by their names.
pub fn add_logical(volumes: &mut Vec<Volume>) -> Result<(), InspectError> {
    let mut physical: HashMap<Uuid, Bytes> = HashMap::new();
    let mut groups: BTreeMap<String, FoundGroup> = BTreeMap::new();
    for volume in volumes.iter_mut() {
        if volume.contents != Contents::Other(PHYSICAL) {
            continue;
        }
        let Ok(found) = lvm::read(&volume.bytes) else {
            continue;
        };
        volume.contents = Contents::Physical;
        physical
            .entry(found.uuid)
            .or_insert_with(|| Arc::clone(&volume.bytes));
        if let Some(group) = found.group {
            let known = groups.get(&group.uuid);
            if known.is_none_or(|known| known.number < group.number) {
                groups.insert(group.uuid.clone(), group);
            }
        }
    }
    for group in groups.into_values() {
        for logical in group.volumes {
            volumes.push(volume(&group.name, logical, &physical)?);
        }
    }
    Ok(())
}

/// A logical volume, and what it holds.
fn volume(
    group: &str,
    logical: FoundVolume,
    physical: &HashMap<Uuid, Bytes>,
) -> Result<Volume, InspectError> {
    let name = format!("{group}/{}", logical.name);
    let joined = logical
        .runs
        .ok_or("segments that are not linear")
        .and_then(|runs| joined(&runs, physical));
    let (bytes, contents) = match joined {
        Ok(bytes) => {
            let contents = contents::of(&bytes)?;
            (bytes, contents)
        }
        Err(why) => (Arc::new(Vec::new()) as Bytes, Contents::Other(why)),
    };
    Ok(Volume {
        partition: None,
        logical: Some(name),
        btrfs: None,
        bytes,
        contents,
    })
}

/// The bytes of a volume, or what it has instead.
fn joined(runs: &[Run], physical: &HashMap<Uuid, Bytes>) -> Result<Bytes, &'static str> {
    let slices = runs.iter().map(|run| {
        let bytes = physical.get(&run.physical);
        let bytes = bytes.ok_or("extents of a physical volume that is not in the image")?;
        let end = run.offset.checked_add(run.len);
        end.and_then(|end| Slice::new(Arc::clone(bytes), run.offset..end))
            .ok_or("extents behind the end of a physical volume")
    });
    let joined = Joined::new(slices.collect::<Result<Vec<_>, _>>()?);
    Ok(Arc::new(joined.ok_or("more bytes than can be counted")?))
}
