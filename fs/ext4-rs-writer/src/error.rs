//! Errors: facts with their numbers; the tool that calls turns them into advice.

use image_core::map::MapError;

use crate::units::Blocks;
use crate::{directory, xattr};

/// Why a tree makes no file system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The tree needs more blocks or inodes than the image has.
    #[error(
        "the tree needs {needed_bytes} bytes and {needed_inodes} inodes, \
         the file system has room for {available_bytes} bytes and {available_inodes} inodes"
    )]
    DoesNotFit {
        /// Bytes in the blocks of data and metadata that the tree and the journal take.
        needed_bytes: u64,
        /// Bytes in the blocks left for them beside the groups' own metadata.
        available_bytes: u64,
        /// Inodes that the tree takes, with the reserved ones.
        needed_inodes: u64,
        /// Inodes that the groups have.
        available_inodes: u64,
    },
    /// An image of this size, growing to the size asked for, can't have inodes enough for the tree.
    #[error(
        "to grow to {max_bytes} bytes online, an image of {image_bytes} bytes can have at most \
         {available_inodes} inodes, and the tree needs {needed_inodes}; \
         an image of {needed_image_bytes} bytes would have enough"
    )]
    GrowthConflict {
        /// The size to grow to.
        max_bytes: u64,
        /// The size asked for now.
        image_bytes: u64,
        /// Inodes that the tree takes, with the reserved ones.
        needed_inodes: u64,
        /// Inodes that can be had.
        available_inodes: u64,
        /// The smallest size that has enough of them.
        needed_image_bytes: u64,
    },
    /// No file system of these features grows so far.
    #[error(
        "with these features no file system grows beyond {ceiling_bytes} bytes, and {max_bytes} are asked for"
    )]
    GrowthImpossible {
        /// The size to grow to.
        max_bytes: u64,
        /// Where growth ends.
        ceiling_bytes: u64,
    },
    /// The size asked for is below what any file system needs, or above what these features can count.
    #[error("a file system of {bytes} bytes is impossible: the least is {min_bytes}, the most {max_bytes}")]
    ImpossibleSize {
        /// The size asked for.
        bytes: u64,
        /// The least.
        min_bytes: u64,
        /// The most.
        max_bytes: u64,
    },
    /// The journal asked for is larger than jbd2 or the file system allow.
    #[error(
        "a journal of {bytes} bytes is impossible here: the least is {min_bytes} bytes, the most {max_bytes}"
    )]
    ImpossibleJournal {
        /// Bytes asked for.
        bytes: u64,
        /// The least.
        min_bytes: u64,
        /// The most.
        max_bytes: u64,
    },
    /// Two features exclude each other, or one needs another.
    #[error("feature {feature} {}{other}", if *.excludes { "excludes " } else { "needs " })]
    FeatureConflict {
        /// The feature, by mke2fs's name.
        feature: &'static str,
        /// What it excludes or needs.
        other: &'static str,
        /// Whether it excludes it.
        excludes: bool,
    },
    /// A number among the options is out of range.
    #[error("{option} {value} is out of range: the least is {min}, the most {max}")]
    OptionOutOfRange {
        /// Which option.
        option: &'static str,
        /// What was asked for.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A file longer than an inode of these features can map.
    #[error("{} is {len} bytes long, and a file here can have {max}", path.escape_ascii())]
    FileTooLong {
        /// Which file.
        path: Vec<u8>,
        /// Its length.
        len: u64,
        /// The most.
        max: u64,
    },
    /// A symbolic link whose target does not fit a block.
    #[error("the target of the link {} is {len} bytes long, and can have {max}", path.escape_ascii())]
    TargetTooLong {
        /// Which link.
        path: Vec<u8>,
        /// Bytes of its target.
        len: u64,
        /// The most.
        max: u64,
    },
    /// More links to a file, or subdirectories, than an inode can count.
    #[error("{} has {links} links, and can have {max}", path.escape_ascii())]
    TooManyLinks {
        /// Which file or directory.
        path: Vec<u8>,
        /// Its links.
        links: u64,
        /// The most.
        max: u64,
    },
    /// A device number that the format can't hold.
    #[error("device {major}:{minor} of {} is out of range", path.escape_ascii())]
    DeviceOutOfRange {
        /// Which node.
        path: Vec<u8>,
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
    /// A directory can't be laid out.
    #[error(transparent)]
    Directory(#[from] directory::Error),
    /// Extended attributes can't be stored.
    #[error(transparent)]
    Xattrs(#[from] xattr::Error),
    /// Groups of so few blocks can't hold bitmaps and inode tables as large as asked for.
    #[error("groups of {group_blocks} blocks are too small for their metadata, {metadata_blocks} blocks")]
    GroupsTooSmall {
        /// Blocks in a group.
        group_blocks: u32,
        /// Blocks that a group costs.
        metadata_blocks: Blocks,
    },
    /// The planner contradicts itself.
    #[error(transparent)]
    Map(#[from] MapError),
}
