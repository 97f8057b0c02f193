//! Scan: a directory on disk → the [`Tree`] that planners read and the [`DirStore`] that serves its files.
//!
//! The scan keeps everything that a Linux file system can hold: modes with set-uid, set-gid and sticky, owners,
//! nanosecond times, symlinks, hard links (by device and inode, of symlinks and nodes too), devices, fifos, sockets,
//! holes, and the extended attributes as the system's calls show them, made portable by [`Xattr::portable`]. Files that
//! stand for devices, for whoever made them could make no nodes, become [nodes](StandIns).
//!
//! Invariants:
//! - the result depends on the directory only: not on the order of `readdir`, nor on the number of threads;
//! - every file is reached by descriptors from the root on, and no link is ever followed: whoever swaps a directory
//!   for a symlink meanwhile gets an error, not a file from outside;
//! - a mount point below the root is an error: what it covers, or shows, is not the tree's.
//!
//! It runs when nothing writes to the tree any more. What changes nevertheless is found when the image is copied.

mod beneath;
mod found;
mod inspect;
mod jobs;
mod merge;
mod names;
mod stand_ins;
mod store;
mod walk;

use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, openat};

#[cfg(doc)]
use crate::tree::Xattr;
use crate::tree::{Tree, TreeError};
use beneath::Beneath;
pub use stand_ins::{FileKey, StandIn, StandIns};
pub use store::DirStore;

/// How to scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How many threads walk; `None` is one for each processor.
    pub threads: Option<NonZero<usize>>,
    /// Paths that are left out with all that is below them, relative to the root: `lost+found`.
    pub exclude: Vec<Vec<u8>>,
    /// Files that stand for devices.
    pub stand_ins: StandIns,
}

/// Why a directory could not be scanned. Paths are relative to its root, which itself is `.`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("cannot {attempt} {}", path.escape_ascii())]
    Io {
        /// The file.
        path: Vec<u8>,
        /// What was tried: `"list the directory"`.
        attempt: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Something is mounted below the root.
    #[error("{} is a mount point: unmount it, or exclude it", path.escape_ascii())]
    MountPoint {
        /// Where.
        path: Vec<u8>,
    },
    /// Linux reads the extended attributes of a node without opening it only through `/proc`.
    #[error("the scan needs /proc: without it, no extended attribute can be read safely")]
    NoProc {
        /// What the system said.
        source: io::Error,
    },
    /// What was found makes no tree.
    #[error("cannot take {} into the tree", path.escape_ascii())]
    Tree {
        /// The file or directory.
        path: Vec<u8>,
        /// Why.
        source: TreeError,
    },
}

impl Error {
    fn path(&self) -> &[u8] {
        match self {
            Error::Io { path, .. } | Error::MountPoint { path } | Error::Tree { path, .. } => path,
            Error::NoProc { .. } => b"",
        }
    }
}

/// Scans the directory `root`.
pub fn scan(root: &Path, options: &Options) -> Result<(Tree, DirStore), Error> {
    scan_with(root, options, false)
}

/// The same without extended attributes, for what can have none: this needs no `/proc`.
pub fn scan_bare(root: &Path, options: &Options) -> Result<(Tree, DirStore), Error> {
    scan_with(root, options, true)
}

fn scan_with(root: &Path, options: &Options, bare: bool) -> Result<(Tree, DirStore), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, root, flags, Mode::empty()).map_err(|source| Error::Io {
        path: b".".to_vec(),
        attempt: "open the directory",
        source: source.into(),
    })?;
    let beneath = Arc::new(Beneath::new(fd));
    let found = walk::walk(&beneath, options, bare)?;
    let (tree, inodes) = merge::merge(found)?;
    let store = DirStore::new(beneath, tree.clone(), inodes);
    Ok((tree, store))
}

/// The path of `name` in the directory `dir`, the root being empty.
fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len().saturating_add(name.len()).saturating_add(1));
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// A path as messages show it.
fn shown(path: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        b".".to_vec()
    } else {
        path.to_vec()
    }
}
