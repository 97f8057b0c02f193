//! XFS images as trees.
//!
//! Spec: <https://www.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf>
//!
//! [`read`] walks the directories once and leaves the data where they are: the [`RunStore`] reads them when somebody asks
//! for them, by any number of threads. [`read_some`] walks only directories that somebody wants. [`about`] reads the
//! superblock alone.
//!
//! | module | what it is |
//! |---|---|
//! | `disk` | what stands in an image, field by field |
//! | `volume` | the superblock, and what guards each structure |
//! | `log` | whether the file system has all that was written to it |
//! | `inode` | inodes and their forks |
//! | `mapping` | where the blocks of a fork lie |
//! | `directory`, `attributes` | what directories and attributes say |
//! | `walk` | image → tree |
//!
//! Versions 4 and 5, with any size of blocks, sectors, inodes and directories. Reflinks, sparse inodes, large times and
//! wide counters are read; the trees that serve allocation and repair are not needed.
//!
//! Rules, since an image is hostile until checked:
//! - in version 5 every structure has its checksum, its place, its owner and its file system's UUID checked;
//! - a directory has one name, so the walk ends; the blocks of metadata that are met are no more than the file system has,
//!   so memory is bounded by the image's length;
//! - xattrs are made portable as a scan makes them: see [`Xattr::portable`].
//!
//! Not read, and said by name: a file system whose log holds changes that it lacks, as in the image of a machine that was
//! not shut down; logs and files on other devices; directories of version 1.
//!
//! Why own code: of the crates that read XFS, `xfs-core` 0.1 wants the whole image in memory, `lamxfs` 0.1 gives no owners,
//! times and xattrs, and `rust-fs-xfs` 0.14 is a driver of fifty thousand lines that writes and repairs, too.

mod attributes;
mod directory;
mod disk;
mod inode;
mod log;
mod mapping;
mod volume;
mod walk;

use std::io;

use image_core::ReadAt;
use image_core::runs::RunStore;
#[cfg(doc)]
use image_core::tree::Xattr;
use image_core::tree::{Tree, TreeError};

use disk::Superblock;
use volume::Volume;

/// Why an image cannot be read as a tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be read.
    #[error("cannot read the image")]
    Io(#[from] io::Error),
    /// It does not begin as one.
    #[error("no XFS file system")]
    NotXfs,
    /// The superblock contradicts itself or the image.
    #[error("the superblock's {field} cannot be {value}")]
    Superblock {
        /// Which field, by its name in the kernel.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// The image is shorter than the file system.
    #[error("the image is cut off: it has {len} of its {bytes} bytes")]
    CutOff {
        /// Bytes there are.
        len: u64,
        /// Bytes there should be.
        bytes: u64,
    },
    /// It uses what this reader does not read.
    #[error("the file system has {0}, which cannot be read")]
    Unsupported(&'static str),
    /// It needs features that this reader does not know.
    #[error("the file system needs features {0:#x}, which are not known")]
    UnknownFeatures(u32),
    /// The log holds changes that the file system lacks.
    #[error("the file system was not unmounted, and its log holds what it lacks: mount and unmount it once")]
    NotUnmounted,
    /// A structure has another checksum than it says.
    #[error("{what} of {of} has a wrong checksum")]
    Checksum {
        /// Which structure.
        what: &'static str,
        /// Of what.
        of: Owner,
    },
    /// A structure belongs elsewhere.
    #[error("{what} of {of} is one of another place, owner or file system")]
    Misplaced {
        /// Which structure.
        what: &'static str,
        /// Of what.
        of: Owner,
    },
    /// A structure is not one.
    #[error("{what} of {of} cannot be {value}")]
    Corrupt {
        /// Which number.
        what: &'static str,
        /// Of what.
        of: Owner,
        /// What it says.
        value: u64,
    },
    /// More blocks of metadata are in use than there are blocks: some are used twice.
    #[error("more than {0} blocks of metadata are in use, and there are no more: some are used twice")]
    SharedBlocks(u64),
    /// Names and inodes do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// What a structure belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A file.
    Inode(u64),
    /// The whole file system.
    FileSystem,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inode(ino) => write!(f, "inode {ino}"),
            Self::FileSystem => f.write_str("the file system"),
        }
    }
}

/// What a file system says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its label, without the zeros behind it.
    pub label: Vec<u8>,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Bytes of it.
    pub bytes: u64,
    /// Bytes of it that are free.
    pub free_bytes: u64,
    /// Its features, in the words of `mkfs.xfs`.
    pub features: Vec<&'static str>,
}

/// Features, by their bits in `sb_features_ro_compat` and in `sb_features_incompat`.
const RO_COMPAT: [&str; 4] = ["finobt", "rmapbt", "reflink", "inobtcount"];
const INCOMPAT: [&str; 9] = [
    "ftype",
    "sparse",
    "metauuid",
    "bigtime",
    "needsrepair",
    "nrext64",
    "exchange",
    "parent",
    "metadir",
];

/// What a file system says of itself, from its superblock alone: also of one that cannot be read.
pub fn about(source: &impl ReadAt) -> Result<About, Error> {
    let sb = volume::superblock(source)?;
    let bytes = |blocks: u64| blocks.saturating_mul(sb.sb_blocksize.get().into());
    let label = sb.sb_fname.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(About {
        label: label.to_vec(),
        uuid: sb.sb_uuid,
        bytes: bytes(sb.sb_dblocks.get()),
        free_bytes: bytes(sb.sb_fdblocks.get()),
        features: features(&sb),
    })
}

fn features(sb: &Superblock) -> Vec<&'static str> {
    if sb.sb_versionnum.get() & disk::VERSION_MASK != 5 {
        return Vec::new();
    }
    let named = |bits: u32, names: &'static [&'static str]| {
        let set = (0_u32..)
            .zip(names)
            .filter(move |(bit, _)| bits & (1 << bit) != 0);
        set.map(|(_, name)| *name)
    };
    let mut features = vec!["crc"];
    features.extend(named(sb.sb_features_incompat.get(), &INCOMPAT));
    features.extend(named(sb.sb_features_ro_compat.get(), &RO_COMPAT));
    features
}

/// Reads a file system: its tree, and the store that serves its files.
pub fn read<R: ReadAt>(source: R) -> Result<(Tree, RunStore<R>), Error> {
    read_some(source, |_| true)
}

/// Reads what is in the directories that are `wanted`, by their paths from the root on, without a leading `/`: the tree has
/// the others without an entry. The root is read in any case, of others only what is named by those that are.
pub fn read_some<R: ReadAt>(source: R, wanted: impl Fn(&[u8]) -> bool) -> Result<(Tree, RunStore<R>), Error> {
    let volume = Volume::open(source)?;
    if !log::is_clean(&volume)? {
        return Err(Error::NotUnmounted);
    }
    let (tree, files) = walk::walk(&volume, wanted)?;
    Ok((tree, RunStore::new(volume.source, files)))
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).expect("a usize fits u64 on every target that builds images")
}

/// A number of bytes that were bounded before.
fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
