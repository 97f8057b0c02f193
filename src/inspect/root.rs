//! A disk → the trees that make up its root, each with its mount point.
//!
//! Which partition is which: the ESP has its GUID, or type 0xef; `/boot` has its GUID, or the name `boot`; of the rest the
//! last file system is the root. Where that leaves none, what looked like `/boot` is the root. Partitions without a file
//! system (for boot code or swap) are passed over.

use std::path::Path;
use std::sync::Arc;

use image_core::Tree;
use image_core::read_at::Slice;
use image_formats::oci::Choice;
use image_formats::tar::TarStore;

use super::InspectError;
use super::container::{self, Bytes};
use super::contents::{self, Contents, Files};
use super::layout;
use super::table::{self, Partition, Purpose};

/// The GUIDs of an EFI system partition and of an extended boot loader partition, in the bytes of a table.
const ESP: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
const XBOOTLDR: [u8; 16] = [
    0xff, 0xc2, 0x13, 0xbc, 0xe6, 0x59, 0x62, 0x42, 0xa3, 0x52, 0xb2, 0x75, 0xfd, 0x6f, 0x71, 0x72,
];

/// A tree and where it is mounted: `""` for the root.
#[derive(Debug)]
pub struct Mounted {
    /// The mount point, without a leading `/`.
    pub at: &'static str,
    /// What is there.
    pub files: Files,
}

/// Opens an image and reads its root and what belongs to it, the root first. Of a container image the one of `choice` is
/// taken.
pub fn read(path: &Path, choice: &Choice, scratch: &Path) -> Result<Vec<Mounted>, InspectError> {
    if path.is_dir() {
        return Ok(packed_root(layout::of_dir(path, choice, scratch)?));
    }
    let opened = container::open(path, scratch)?;
    let whole = contents::of(&opened.bytes)?;
    if whole == Contents::Tar {
        let file = opened
            .file
            .ok_or(InspectError::Container("an archive in a disk image"))?;
        return Ok(packed_root(layout::of_archive(file, path, choice, scratch)?));
    }
    let partitions = match whole {
        Contents::Unknown | Contents::Other(_) => table::read(&opened.bytes)?,
        _ => Vec::new(),
    };
    if partitions.is_empty() {
        return match whole {
            Contents::Unknown => Err(InspectError::NoRoot {
                found: "neither a file system nor a partition table is there".to_owned(),
            }),
            _ => Ok(whole_root(contents::read(opened.bytes, whole, "the image")?)),
        };
    }
    of_disk(&opened.bytes, &partitions)
}

/// A root of an archive or of several.
fn packed_root((tree, store): (Tree, TarStore)) -> Vec<Mounted> {
    let store = Box::new(store);
    whole_root(Files { tree, store })
}

/// A root with nothing mounted in it.
fn whole_root(files: Files) -> Vec<Mounted> {
    vec![Mounted { at: "", files }]
}

/// A partition with what it holds.
struct Found<'a> {
    partition: &'a Partition,
    bytes: Bytes,
    contents: Contents,
}

fn of_disk(disk: &Bytes, partitions: &[Partition]) -> Result<Vec<Mounted>, InspectError> {
    let mut found = Vec::new();
    for partition in partitions {
        let bytes = Slice::new(Arc::clone(disk), partition.range.clone());
        let bytes: Bytes = Arc::new(bytes.expect("the table checked that it lies on the disk"));
        let contents = contents::of(&bytes)?;
        found.push(Found {
            partition,
            bytes,
            contents,
        });
    }
    let (mut root, mut boot, mut esp) = (None, None, None);
    for found in found.iter().rev() {
        let partition = found.partition;
        let place = match partition.purpose {
            _ if !is_file_system(found.contents) => continue,
            Purpose::Guid(ESP) | Purpose::Type(0xef) => &mut esp,
            Purpose::Guid(XBOOTLDR) => &mut boot,
            _ if partition.name.eq_ignore_ascii_case("boot") => &mut boot,
            _ => &mut root,
        };
        if place.is_none() {
            *place = Some(found);
        }
    }
    if root.is_none() {
        root = boot.take();
    }
    let root = root.ok_or_else(|| InspectError::NoRoot {
        found: listed(&found),
    })?;
    let mut mounted = Vec::new();
    for (at, found) in [("", Some(root)), ("boot", boot), ("boot/efi", esp)] {
        if let Some(found) = found {
            let place = format!("partition {}", found.partition.number);
            let files = contents::read(Arc::clone(&found.bytes), found.contents, &place)?;
            mounted.push(Mounted { at, files });
        }
    }
    Ok(mounted)
}

/// Whether it is a file system, be it one that is not read: that is then said.
fn is_file_system(contents: Contents) -> bool {
    match contents {
        Contents::Other(kind) => kind.ends_with("file system") || kind.contains("volume"),
        Contents::Unknown | Contents::Tar => false,
        Contents::Ext | Contents::Fat | Contents::Squashfs => true,
    }
}

fn listed(found: &[Found<'_>]) -> String {
    let each = found.iter().map(|found| {
        let kind = match found.contents {
            Contents::Other(kind) => kind,
            Contents::Unknown => "nothing that is known",
            _ => "a file system for booting",
        };
        format!("partition {} holds {kind}", found.partition.number)
    });
    each.collect::<Vec<_>>().join(", ")
}
