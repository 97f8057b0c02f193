//! Images of others, opened: what container it is, what is on the disk, which files.
//!
//! | module | what it does |
//! |---|---|
//! | [`raw`] | a raw disk, and where its file has holes |
//! | [`container`] | a file → the bytes of a disk or an archive, whatever compresses or contains them |
//! | [`table`] | a disk → its partitions |
//! | [`volumes`] | physical volumes of LVM → the logical ones |
//! | [`contents`] | a partition → what it holds, and a file system → its tree and the store of its files |
//! | [`layout`] | a container image, an archive or a directory → the tree of its root |
//! | [`root`] | an image → the trees that make up its root, each whole and with its mount point |
//! | [`kind`], [`ids`], [`filesystem`] | what images, partitions and file systems say of themselves |
//! | [`image`] | an image of any kind, opened, its files not read yet |
//! | [`fstab`], [`compose`], [`view`] | which partition is mounted where; the files of all of them as one tree |
//! | [`kernels`] | which kernel and which ramdisk of a root are meant |
//! | [`report`], [`listing`], [`copied`] | what is told of an image, of a file; a file's bytes |
//! | [`check`] | whether container, table and file systems are consistent |
//! | [`unseen`] | which volumes are not looked into |
//! | [`diff`] | two images → in what their files differ |
//! | [`find`] | names and patterns → files, with as little of the image read as that takes |
//!
//! Nothing is mounted and no device is needed. An image is hostile until read: whatever it says, reading it ends with trees
//! or with an error, and files that it names are never opened.

pub mod check;
pub mod compose;
pub mod container;
pub mod contents;
pub mod copied;
pub mod diff;
pub mod filesystem;
pub mod find;
pub mod fstab;
pub mod ids;
pub mod image;
pub mod kernels;
pub mod kind;
pub mod layout;
pub mod listing;
pub mod raw;
pub mod report;
pub mod root;
pub mod subvolumes;
pub mod table;
pub mod unseen;
pub mod view;
pub mod volumes;

use std::path::{Path, PathBuf};

use image_formats::{cpio, oci, qcow2, tar, vdi, vhd, vmdk};

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A file cannot be opened, read or made.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What compresses it is damaged, or unknown here.
    #[error("cannot decompress it: {0}")]
    Compression(String),
    /// It is a container that this version does not read.
    #[error("it is {0}, which is not read: convert it to qcow2 or raw")]
    Container(&'static str),
    /// It is a qcow2 image that cannot be read.
    #[error(transparent)]
    Qcow2(#[from] qcow2::ReadError),
    /// It is a VDI image that cannot be read.
    #[error(transparent)]
    Vdi(#[from] vdi::ReadError),
    /// It is a VHD image that cannot be read.
    #[error(transparent)]
    Vhd(#[from] vhd::ReadError),
    /// It is a VMDK image that cannot be read.
    #[error(transparent)]
    Vmdk(#[from] vmdk::ReadError),
    /// Its partition table makes no sense.
    #[error("its partition table cannot be read: {0}")]
    Table(String),
    /// It has nothing that could be a root.
    #[error("it has no file system that could be a root: {found}")]
    NoRoot {
        /// What it has instead.
        found: String,
    },
    /// It has no partition of that number.
    #[error("it has no partition {0}")]
    NoPartition(u32),
    /// A pattern names too much.
    #[error("more than {0} files are named")]
    TooMany(usize),
    /// A file of it cannot be read.
    #[error(transparent)]
    Store(#[from] image_core::store::Error),
    /// A file system is one that is not read.
    #[error(
        "{place} holds {kind}, which is not read: use an image whose root is in ext4, XFS or Btrfs, a root file system as an archive \
         (tar, squashfs), or a container image"
    )]
    FileSystem {
        /// Where.
        place: String,
        /// Which.
        kind: &'static str,
    },
    /// A file system, or an archive of one, cannot be read.
    #[error("{place}")]
    Unreadable {
        /// Where.
        place: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A container image cannot be read.
    #[error(transparent)]
    Oci(#[from] oci::Error),
    /// The root cannot be taken out of an image of rkt.
    #[error(transparent)]
    Split(#[from] crate::blockdevice::split::SplitError),
    /// A directory cannot be read.
    #[error(transparent)]
    Scan(#[from] image_core::scan::Error),
    /// An archive cannot be read.
    #[error(transparent)]
    Tar(#[from] tar::Error),
    /// An archive of cpio cannot be read.
    #[error(transparent)]
    Cpio(#[from] cpio::Error),
}

impl InspectError {
    /// What is left to say to those who have named the image.
    pub fn of_named(self, image: &Path) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Io { path, source } if path == image => source.into(),
            other => other.into(),
        }
    }
}

/// An error of a reader about what is at a place.
fn unreadable<E>(place: &str) -> impl FnOnce(E) -> InspectError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |error| InspectError::Unreadable {
        place: place.to_owned(),
        source: error.into(),
    }
}

/// An error of the system about a file.
fn about(path: &Path) -> impl Fn(std::io::Error) -> InspectError + '_ {
    move |source| InspectError::Io {
        path: path.to_owned(),
        source,
    }
}
