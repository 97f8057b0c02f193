//! What can be wrong with a file system.

use std::io;

use image_core::tree::TreeError;

use super::codec::Damage;
use super::disk::Key;

/// Why a file system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be read.
    #[error("cannot read the image")]
    Io(#[from] io::Error),
    /// There is no superblock where one would be.
    #[error("no Btrfs file system")]
    NotBtrfs,
    /// The superblock has another checksum than it says.
    #[error("the superblock has a wrong checksum")]
    SuperblockChecksum,
    /// The superblock says what cannot be.
    #[error("the superblock's {field} cannot be {value}")]
    BadSuperblock {
        /// Which field, by its name in the kernel.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// The image is shorter than the file system.
    #[error("the image is cut off: it has {len} of the {size} bytes of its file system")]
    CutOff {
        /// Bytes there are.
        len: u64,
        /// Bytes there should be.
        size: u64,
    },
    /// It uses what this reader does not read.
    #[error("the file system uses {0}, which cannot be read")]
    Unsupported(&'static str),
    /// It uses features that this reader does not know.
    #[error("the file system needs features {0:#x}, which are not known")]
    UnknownFeatures(u64),
    /// Its checksums are of a kind that has no name.
    #[error("checksums of kind {0} are not known")]
    UnknownChecksum(u16),
    /// What was written last stands in the log tree only.
    #[error("the file system was not unmounted: its log tree has to be replayed, by mounting it once")]
    Log,
    /// A chunk says what cannot be.
    #[error("the chunk at logical address {logical}: its {field} cannot be {value}")]
    Chunk {
        /// Where it begins.
        logical: u64,
        /// Which field, by its name in the kernel.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// Something lies where no chunk is.
    #[error("{len} bytes at logical address {at} are not in one chunk")]
    Unmapped {
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// A tree block is none.
    #[error("the tree block at logical address {at}: {trouble}")]
    Block {
        /// Where it begins.
        at: u64,
        /// What is wrong with it.
        trouble: BlockTrouble,
    },
    /// The tree of roots lacks a tree, or says of it what cannot be.
    #[error("the root of tree {0} is malformed")]
    BadRoot(u64),
    /// There is no such subvolume.
    #[error("there is no subvolume {0}")]
    NoSubvolume(u64),
    /// A subvolume lies nowhere, or within itself.
    #[error("the path of subvolume {0} leads nowhere")]
    NoPath(u64),
    /// A file is none.
    #[error("inode {inode} of subvolume {subvolume}: {trouble}")]
    Inode {
        /// In which subvolume.
        subvolume: u64,
        /// Its number.
        inode: u64,
        /// What is wrong with it.
        trouble: InodeTrouble,
    },
    /// Data have another checksum than they should.
    #[error("the data at logical address {at} have a wrong checksum")]
    DataChecksum {
        /// Where the sector begins.
        at: u64,
    },
    /// Data that must have a checksum have none.
    #[error("the data at logical address {at} have no checksum")]
    NoDataChecksum {
        /// Where the sector begins.
        at: u64,
    },
    /// A compressed extent cannot be unpacked.
    #[error("the compressed extent at byte {start} of the file cannot be unpacked: {damage}")]
    Packed {
        /// Where in the file it begins.
        start: u64,
        /// Why.
        damage: Damage,
    },
    /// More was read than there can be: trees are in each other's place.
    #[error("subvolumes share their files: more than the file system's {held} bytes were read of them")]
    Overlap {
        /// Bytes that the file system has.
        held: u64,
    },
    /// The inodes and names do not make a tree.
    #[error("directory {directory} of subvolume {subvolume} does not fit a tree")]
    Entry {
        /// In which subvolume.
        subvolume: u64,
        /// The number of the directory's inode.
        directory: u64,
        /// Why.
        source: TreeError,
    },
    /// The inodes and names do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// What is wrong with a tree block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockTrouble {
    /// Its bytes are others than were written.
    #[error("its checksum is wrong")]
    Checksum,
    /// It is another block.
    #[error("it says that it lies at {0}")]
    WrongPlace(u64),
    /// It is of another file system.
    #[error("it belongs to another file system")]
    WrongUuid,
    /// It stands at another height than the block above it says.
    #[error("its level is {found} instead of {expected}")]
    Level {
        /// What it says.
        found: u8,
        /// What it should.
        expected: u8,
    },
    /// It is older or newer than the block above it says.
    #[error("its generation is {found} instead of {expected}")]
    Generation {
        /// What it says.
        found: u64,
        /// What it should.
        expected: u64,
    },
    /// It has more entries than bytes.
    #[error("it cannot have {0} items")]
    TooManyItems(u32),
    /// Its entries do not ascend.
    #[error("the key of item {0} is not above the one before it")]
    KeyOrder(u64),
    /// An entry is of no object of the block above it.
    #[error("its keys are not those that the block above it says")]
    ForeignKeys,
    /// The bytes of an item are not beside those of its neighbour.
    #[error("the bytes of item {0} are not where they should be")]
    ItemPlace(u64),
}

/// What is wrong with an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InodeTrouble {
    /// It has no item.
    #[error("there is none")]
    Absent,
    /// It is no directory, where one must be.
    #[error("it is no directory")]
    NoDirectory,
    /// A kind of file that there is not.
    #[error("its mode {0:#o} is not known")]
    UnknownMode(u32),
    /// A file longer than Linux can have.
    #[error("no file can have {0} bytes")]
    LongFile(u64),
    /// More nanoseconds than a second has.
    #[error("its time has {0} nanoseconds")]
    BadTime(u32),
    /// A device number of more bits than Linux has.
    #[error("its device number {0:#x} is none")]
    BadDevice(u64),
    /// An item is shorter or longer than what it holds.
    #[error("its item ({kind} {offset}) is malformed")]
    BadItem {
        /// Its kind.
        kind: u8,
        /// The rest of its key.
        offset: u64,
    },
    /// Two of its xattrs have one name.
    #[error("two of its xattrs have one name")]
    TwinXattrs,
    /// An entry that leads to no file.
    #[error("an entry leads to an item of kind {0}")]
    UnknownLocation(u8),
    /// An extent begins before the one before it ends, or within a sector.
    #[error("an extent cannot begin at byte {0}")]
    ExtentStart(u64),
    /// An extent says what cannot be.
    #[error("the extent at byte {start}: its {field} cannot be {value}")]
    Extent {
        /// Where in the file it begins.
        start: u64,
        /// Which field, by its name in the kernel.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// It is packed by a compressor that this reader does not have.
    #[error("the extent at byte {start} is compressed with {name}, which is not supported")]
    UnsupportedCompressor {
        /// Where in the file it begins.
        start: u64,
        /// What it is compressed with.
        name: &'static str,
    },
    /// The target of a symbolic link is not within its inode.
    #[error("its target of {0} bytes is not one of a symbolic link")]
    BadTarget(u64),
}

impl InodeTrouble {
    pub(super) fn item(key: Key) -> Self {
        Self::BadItem {
            kind: key.kind,
            offset: key.offset,
        }
    }
}
