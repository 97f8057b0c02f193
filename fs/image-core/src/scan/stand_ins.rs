//! Files that stand for nodes of devices, where the system lets nobody make any: in a user namespace.
//!
//! Whoever wanted to make a node made an empty file, and remembers which and what it stands for. Its mode, owner, times
//! and names are the node's; what is in it is not.

use std::collections::HashMap;

use rustix::fs::{Statx, StatxFlags};

use super::found::Kind;
use crate::tree::{Device, Xattr};

/// What tells a file from all others, be they there or gone: numbers of inodes are used again, but not at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    /// Major and minor number of the device that holds the file system.
    pub device: (u32, u32),
    /// The number of the inode.
    pub inode: u64,
    /// Seconds and nanoseconds when the file was made, where the file system keeps that.
    pub born: Option<(i64, u32)>,
}

impl FileKey {
    pub(super) fn of(stat: &Statx) -> Self {
        let born = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            born: born.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
        }
    }
}

/// What a file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// A character device.
    Char(Device),
    /// A block device.
    Block(Device),
}

/// Files that stand for devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandIns {
    files: HashMap<FileKey, StandIn>,
}

impl StandIns {
    /// Remembers what a file stands for.
    pub fn insert(&mut self, file: FileKey, stands_for: StandIn) {
        self.files.insert(file, stands_for);
    }

    /// What a regular file stands for, if anything.
    pub(super) fn kind(&self, stat: &Statx) -> Option<Kind> {
        if self.files.is_empty() {
            return None;
        }
        let key = FileKey::of(stat);
        // Without a time of birth another file may have taken the number; a node's file is empty at least.
        let found = self
            .files
            .get(&key)
            .filter(|_| key.born.is_some() || stat.stx_size == 0);
        found.map(|stand_in| match stand_in {
            StandIn::Char(device) => Kind::CharDevice(*device),
            StandIn::Block(device) => Kind::BlockDevice(*device),
        })
    }
}

/// Leaves out the attributes that files may have, but nodes may not.
pub(super) fn of_node(xattrs: &mut Vec<Xattr>) {
    xattrs.retain(|xattr| !xattr.name.starts_with(b"user."));
}
