//! What the walk finds: plain records, close to what the system tells, freed as they go into the tree.

use std::ops::Range;
use std::sync::Arc;

use crate::tree::{Device, Time, Xattr};

/// Everything that was found, in no particular order.
pub(super) struct Found {
    /// The status of each directory, by its [`DirectoryNumber`].
    pub(super) heads: Vec<Head>,
    pub(super) batches: Vec<Batch>,
    /// The sets of extended attributes, by [`Status::xattrs`].
    pub(super) xattrs: Vec<Arc<[Xattr]>>,
}

/// A directory, numbered as the walk met it. The root is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DirectoryNumber(pub(super) usize);

/// A directory's own status.
pub(super) struct Head {
    pub(super) number: DirectoryNumber,
    pub(super) status: Status,
}

/// A sorted run of entries of one directory.
pub(super) struct Batch {
    pub(super) directory: DirectoryNumber,
    /// Which run of the directory; they continue each other.
    pub(super) run: usize,
    /// Names, each ended by NUL, and targets of symlinks.
    pub(super) text: Box<[u8]>,
    pub(super) files: Box<[File]>,
}

/// One entry of a directory.
pub(super) struct File {
    /// The name in [`Batch::text`], without its NUL.
    pub(super) name: Range<u32>,
    pub(super) status: Status,
    pub(super) kind: Kind,
    /// Device and inode, if there may be other names.
    pub(super) linked: Option<Box<(u64, u64)>>,
}

/// What every kind of file has.
pub(super) struct Status {
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) xattrs: u32,
}

pub(super) enum Kind {
    Directory(DirectoryNumber),
    File {
        len: u64,
        inode: u64,
        ranges: Option<Arc<[Range<u64>]>>,
    },
    /// The target in [`Batch::text`].
    Symlink(Range<u32>),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
    Socket,
}
