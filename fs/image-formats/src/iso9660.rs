//! ISO 9660 images with Rock Ridge, planned from trees: discs which boot by BIOS and by UEFI, from a drive for discs and,
//! written to a disk as they are, from that.
//!
//! Specs: ECMA-119 <https://ecma-international.org/publications-and-standards/standards/ecma-119/>; SUSP and RRIP 1.12;
//! El Torito 1.0; UEFI 2.10, section 13.3.2.1.
//!
//! ```text
//! sector 0..34 of 512   GPT, with GRUB's code in its protective record: what a disk boots by
//! block 16 of 2048      primary descriptor, boot record, terminator
//! ..                    table of paths in both byte orders, directories, catalog of what boots
//! ..                    the image that a BIOS starts, the file system that UEFI reads, files
//! ..                    150 blocks of nothing
//! len - 33 * 512        backup GPT, if there is one
//! ```
//!
//! Invariants:
//! - everything begins at a block; a file with many names lies there once; what is empty lies nowhere;
//! - a directory's records stand in the order of their ECMA-119 names, and none crosses a block;
//! - names, owners, modes, links, devices and times of all files are Rock Ridge's; xattrs and parts of seconds are dropped,
//!   as nothing reads them.
//!
//! Directories are nested as deep as they are in the tree, where ECMA-119 ends with the eighth: all that read
//! Rock Ridge follow.
//!
//! Why own code: `hadris-iso`, the one crate that writes such images, copies files into them as it goes, and places them by
//! itself; here an image is a plan.

mod boot;
mod directory;
mod disk;
mod layout;
mod names;
mod rock_ridge;
mod time;

use image_core::Map;
use image_core::map::MapError;
use image_core::tree::{Time, Tree};
use uuid::Uuid;

use crate::{gpt, grub};
use layout::Layout;

/// Bytes of a block, which is a sector of a disc.
pub const BLOCK: u64 = 2048;
/// The most directories: the table of paths numbers parents by 16 bits.
const DIRECTORIES_MAX: usize = 65_535;
/// The most bytes of a label.
const LABEL_MAX: usize = 32;

/// What an image is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The label: at most 32 of `A`–`Z`, `0`–`9` and `_`.
    pub label: String,
    /// The time of the image itself.
    pub epoch: Time,
    /// Whether later times of files become that one.
    pub clamp: bool,
    /// What a BIOS starts.
    pub bios: Option<Bios>,
    /// The file system that UEFI takes its loader from: FAT, in whole blocks.
    pub efi: Option<Map>,
    /// The identity of the disk that the image is too.
    pub disk_uuid: Uuid,
    /// The identity of its partition for UEFI.
    pub efi_uuid: Uuid,
}

/// What a BIOS starts.
#[derive(Clone, Debug)]
pub struct Bios {
    /// The image that begins with GRUB's `cdboot.img`: what `grub-mkimage -O i386-pc-eltorito` makes.
    pub image: Vec<u8>,
    /// GRUB's `boot_hybrid.img`, which starts the same image where a disk holds it.
    pub hybrid: Option<Vec<u8>>,
}

/// Why a tree cannot be planned as an ISO 9660 image.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A label has a character that is not for labels.
    #[error("'{}' cannot be part of a label there: it has A to Z, 0 to 9 and _", char::from(*.0).escape_default())]
    Label(u8),
    /// A label is too long.
    #[error("a label there has {LABEL_MAX} characters at most, and not {0}")]
    LabelLength(usize),
    /// More directories than can be numbered.
    #[error("{asked} directories, and ISO 9660 numbers {DIRECTORIES_MAX}")]
    Directories {
        /// How many there are.
        asked: usize,
    },
    /// A directory has more bytes than can be counted.
    #[error("the names of one directory need {len} bytes, and ISO 9660 counts 4294967295")]
    DirectoryTooLong {
        /// Its bytes.
        len: u64,
    },
    /// The image would be longer than blocks can be counted.
    #[error("the image would have {blocks} blocks of {BLOCK} bytes, and ISO 9660 counts 4294967295")]
    TooLong {
        /// Blocks that it would have.
        blocks: u64,
    },
    /// What a BIOS is to start has no room for what it must be told.
    #[error("the image for the BIOS has {len} bytes: it needs {least} at least, and 16777216 at most")]
    BiosImage {
        /// Its bytes.
        len: usize,
        /// The least that it may have.
        least: usize,
    },
    /// The file system for UEFI has no whole blocks.
    #[error("the file system for UEFI has {len} bytes: that is no multiple of {BLOCK}, or none at all")]
    EfiImage {
        /// Its bytes.
        len: u64,
    },
    /// The code for a disk's first sector is something else.
    #[error(transparent)]
    Hybrid(#[from] grub::Error),
    /// The partition table cannot be made.
    #[error(transparent)]
    Table(#[from] gpt::Error),
    /// The plan contradicts itself: a mistake here.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Plans the image that holds a tree.
pub fn plan(tree: &Tree, options: &Options) -> Result<Map, PlanError> {
    check(options)?;
    let layout = Layout::of(tree, options)?;
    let mut map = Map::builder(layout.len);
    layout.descriptors(&mut map);
    layout.paths(&mut map);
    layout.directories(&mut map);
    layout.boot(&mut map)?;
    layout.files(&mut map);
    Ok(map.build()?)
}

fn check(options: &Options) -> Result<(), PlanError> {
    let label = options.label.as_bytes();
    if label.len() > LABEL_MAX {
        return Err(PlanError::LabelLength(label.len()));
    }
    let bad = label
        .iter()
        .find(|byte| !matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
    if let Some(bad) = bad {
        return Err(PlanError::Label(*bad));
    }
    if let Some(bios) = &options.bios {
        boot::check(bios)?;
    }
    match &options.efi {
        Some(map) if map.is_empty() || !map.len().is_multiple_of(BLOCK) => {
            Err(PlanError::EfiImage { len: map.len() })
        }
        _ => Ok(()),
    }
}
