//! What a partition, or a whole disk without partitions, holds.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use image_core::{ReadAt as _, Store, Tree};
use image_formats::{cpio, fat, squashfs, xfs};

use super::container::Bytes;
use super::image::Volume;
use super::{InspectError, unreadable};

/// What bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs, whose subvolumes are volumes of the image.
    Btrfs,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// A squashfs archive.
    Squashfs,
    /// A newc archive of cpio.
    Cpio,
    /// A tar archive.
    Tar,
    /// A physical volume of LVM, whose logical ones are volumes of the image.
    Physical,
    /// Something that is known by name and not read.
    Other(&'static str),
    /// Nothing that is known.
    Unknown,
}

/// What a physical volume of LVM is called whose description cannot be read.
pub const PHYSICAL: &str = "a physical volume of LVM";
/// What swap space is called.
pub const SWAP: &str = "swap space";

/// Marks, by where they stand.
const MARKS: [(u64, &[u8], Contents); 14] = [
    (0x438, &[0x53, 0xef], Contents::Ext),
    (0, b"hsqs", Contents::Squashfs),
    (257, b"ustar", Contents::Tar),
    (0, b"070701", Contents::Cpio),
    (0, b"070702", Contents::Cpio),
    (0, b"XFSB", Contents::Xfs),
    (0x1_0040, b"_BHRfS_M", Contents::Btrfs),
    (
        0x400,
        &[0x10, 0x20, 0xf5, 0xf2],
        Contents::Other("an F2FS file system"),
    ),
    (0x8001, b"CD001", Contents::Other("an ISO 9660 file system")),
    (3, b"NTFS    ", Contents::Other("an NTFS file system")),
    (0, b"LUKS\xba\xbe", Contents::Other("an encrypted volume (LUKS)")),
    (512, b"LABELONE", Contents::Other(PHYSICAL)),
    (4086, b"SWAPSPACE2", Contents::Other(SWAP)),
    (3, b"EXFAT   ", Contents::Other("an exFAT file system")),
];

/// What the bytes are, by their marks.
pub fn of(bytes: &Bytes) -> Result<Contents, InspectError> {
    for (at, mark, contents) in MARKS {
        if has(bytes, at, mark)? {
            return Ok(contents);
        }
    }
    // FAT12 and FAT16, FAT32; the word is no part of what makes it one, but every formatter writes it.
    if has(bytes, 510, &[0x55, 0xaa])? && (has(bytes, 54, b"FAT1")? || has(bytes, 82, b"FAT32")?) {
        return Ok(Contents::Fat);
    }
    Ok(Contents::Unknown)
}

fn has(bytes: &Bytes, at: u64, mark: &[u8]) -> Result<bool, InspectError> {
    let mut found = vec![0; mark.len()];
    if at + mark.len() as u64 > bytes.len() {
        return Ok(false);
    }
    let read = bytes.read_exact_at(&mut found, at);
    read.map_err(super::about(Path::new("the image")))?;
    Ok(found == mark)
}

impl Contents {
    /// Whether [`read`] reads only what is wanted of it.
    pub fn is_read_in_part(self) -> bool {
        matches!(self, Self::Ext | Self::Xfs | Self::Btrfs)
    }

    /// Whether its files are read.
    pub fn is_read(self) -> bool {
        matches!(
            self,
            Self::Ext | Self::Xfs | Self::Btrfs | Self::Fat | Self::Squashfs | Self::Cpio
        )
    }
}

/// A tree with what serves its files.
pub struct Files {
    /// The tree.
    pub tree: Tree,
    /// What serves its files.
    pub store: Box<dyn Store>,
}

impl Files {
    /// A tree with its store.
    pub fn new(tree: Tree, store: impl Store + 'static) -> Self {
        let store = Box::new(store);
        Self { tree, store }
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("tree", &self.tree)
            .finish_non_exhaustive()
    }
}

/// Reads what a volume holds. `place` names it in messages. Of ext4, XFS and Btrfs only the directories that are wanted
/// are read, and others wholly: they keep their directories together. In place of the subvolumes that stand `apart` there
/// are empty directories.
pub fn read(
    volume: &Volume,
    place: &str,
    apart: &BTreeSet<u64>,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<Files, InspectError> {
    let bytes = Arc::clone(&volume.bytes);
    let not_read = |kind| InspectError::FileSystem {
        place: place.to_owned(),
        kind,
    };
    match volume.contents {
        Contents::Ext => {
            let read = ext4_rs_writer::reader::read_some(bytes, wanted);
            let (tree, store) = read.map_err(unreadable(place))?;
            Ok(Files::new(tree, store))
        }
        Contents::Xfs => {
            let read = xfs::read_some(bytes, wanted);
            let (tree, store) = read.map_err(unreadable(place))?;
            Ok(Files::new(tree, store))
        }
        Contents::Btrfs => {
            let subvolume = volume.opened().map_err(unreadable(place))?;
            let read = subvolume.system.read_some(subvolume.id, apart, wanted);
            let (tree, store) = read.map_err(unreadable(place))?;
            Ok(Files::new(tree, store))
        }
        Contents::Fat => {
            let (tree, store) = fat::read(bytes).map_err(unreadable(place))?;
            Ok(Files::new(tree, store))
        }
        Contents::Squashfs => {
            let (tree, store) = squashfs::read(bytes).map_err(unreadable(place))?;
            Ok(Files::new(tree, store))
        }
        Contents::Cpio => Ok(cpio::read(bytes).map(|(tree, store)| Files::new(tree, store))?),
        Contents::Tar => Err(not_read("a tar archive")),
        Contents::Physical => Err(not_read(PHYSICAL)),
        Contents::Other(kind) => Err(not_read(kind)),
        Contents::Unknown => Err(not_read("nothing that is known")),
    }
}
