//! The subvolumes of Btrfs on an image: each stands as a volume of its own where its file system stood.
//!
//! Their order decides which of those that look like a root is taken, for the last is asked first: the one that is mounted
//! where none is named; then what systems call their root; then those that lie less deep. Snapshots stand only if they are
//! mounted so: they would be the same files once more.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use image_formats::btrfs::FileSystem;

use super::container::Bytes;
use super::contents::Contents;
use super::image::Volume;

/// What systems call the subvolume of their root.
const ROOTS: [&[u8]; 3] = [b"@rootfs", b"@", b"root"];

/// A subvolume.
#[derive(Clone, Debug)]
pub struct Subvolume {
    /// Its file system.
    pub system: Arc<FileSystem<Bytes>>,
    /// Its number, as `subvolid=` has it.
    pub id: u64,
    /// Its path from the one at the top, as `subvol=` has it; empty for that one.
    pub path: Vec<u8>,
    /// Whether it is mounted where none is named.
    pub is_default: bool,
}

impl Subvolume {
    /// Whether both are of one file system.
    pub fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.system, &other.system)
    }

    /// Whether it lies in another one's tree.
    pub fn is_within(&self, other: &Self) -> bool {
        let below = self.path.strip_prefix(&other.path[..]);
        let below = below.is_some_and(|rest| other.path.is_empty() || rest.starts_with(b"/"));
        below && self.is_beside(other) && self.id != other.id
    }
}

/// The numbers of those of these volumes that are other subvolumes of the same file system.
pub fn beside<'a>(volume: &Volume, all: impl Iterator<Item = &'a Volume>) -> BTreeSet<u64> {
    let Some(subvolume) = volume.subvolume() else {
        return BTreeSet::new();
    };
    let others = all.filter_map(Volume::subvolume);
    let others = others.filter(|other| other.is_beside(subvolume) && other.id != subvolume.id);
    others.map(|other| other.id).collect()
}

/// Puts the subvolumes of each file system in its place. One that cannot be opened stays, with the reason.
pub fn put_subvolumes(volumes: &mut Vec<Volume>) {
    let all = std::mem::take(volumes);
    volumes.extend(all.into_iter().flat_map(|volume| {
        if volume.contents != Contents::Btrfs {
            return vec![volume];
        }
        match FileSystem::open(Arc::clone(&volume.bytes)) {
            Ok(system) => of(&Arc::new(system), &volume),
            Err(error) => vec![Volume {
                btrfs: Some(Err(Arc::new(error))),
                ..volume
            }],
        }
    }));
}

fn of(system: &Arc<FileSystem<Bytes>>, volume: &Volume) -> Vec<Volume> {
    let default = system.default_subvolume();
    let subvolumes = system.subvolumes().iter();
    let mut found: Vec<Subvolume> = subvolumes
        .filter(|subvolume| !subvolume.snapshot || subvolume.id == default)
        .map(|subvolume| Subvolume {
            system: Arc::clone(system),
            id: subvolume.id,
            path: subvolume.path.clone(),
            is_default: subvolume.id == default,
        })
        .collect();
    found.sort_by_cached_key(|it| {
        let called = ROOTS.iter().position(|name| *name == it.path);
        let depth = it.path.split(|byte| *byte == b'/').count();
        (it.is_default, called, Reverse(depth), it.path.clone())
    });
    let volumes = found.into_iter().map(|subvolume| Volume {
        btrfs: Some(Ok(subvolume)),
        ..volume.clone()
    });
    volumes.collect()
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use image_formats::laws::Sparse;

    use super::*;
    use crate::inspect::{contents, filesystem};

    /// The volumes of a disk without a table that holds Btrfs.
    fn volumes(image: Sparse) -> Vec<Volume> {
        let mut volumes = vec![Volume {
            partition: None,
            logical: None,
            btrfs: None,
            bytes: Arc::new(image),
            contents: Contents::Btrfs,
        }];
        put_subvolumes(&mut volumes);
        volumes
    }

    #[test]
    fn subvolumes_stand_where_their_file_system_stood() {
        let volumes = volumes(Sparse::small_btrfs());
        let paths: Vec<_> = volumes.iter().map(|it| &it.opened().unwrap().path[..]).collect();
        assert_eq!(paths, [&b"one/two"[..], b"one", b""]);
    }

    #[test]
    fn what_cannot_be_opened_keeps_the_reason() {
        let mut image = Sparse::small_btrfs();
        let mut superblock = image.get(64 << 10, 4096);
        superblock[4095] ^= 1;
        image.put(64 << 10, &superblock);
        let mut volumes = volumes(image);
        assert_eq!(volumes.len(), 1);
        let volume = &mut volumes[0];
        assert!(volume.subvolume().is_none() && volume.is_alone());
        // Nothing is read any more.
        volume.bytes = Arc::new(Vec::new());
        let read = contents::read(volume, "partition 3", &BTreeSet::new(), |_| true).unwrap_err();
        let about = filesystem::of(volume).unwrap_err();
        for (error, place) in [(read, "partition 3"), (about, "a file system")] {
            assert_eq!(error.to_string(), place);
            let why = error.source().unwrap().to_string();
            assert_eq!(why, "the superblock has a wrong checksum");
        }
    }
}
