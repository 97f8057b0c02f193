//! What a file system will hold: directories with the names of their entries, before any cluster is given out.

use std::collections::HashMap;

use image_core::tree::{Content, Data, NodeId, Time, Tree};

use super::PlanError;
use super::clusters::Width;
use super::geometry::{ROOT_ENTRIES, Shape};
use super::short::{self, Stored};

/// The most entries of a directory.
const DIRECTORY_ENTRIES: u64 = 65_536;

/// All directories; the root comes first, and each before those in it.
#[derive(Debug)]
pub(super) struct Contents<'t> {
    pub(super) directories: Vec<Directory<'t>>,
}

/// A directory.
#[derive(Debug)]
pub(super) struct Directory<'t> {
    node: NodeId,
    /// The number of the directory that it is in; the root's is its own.
    pub(super) parent: usize,
    pub(super) modified: Time,
    pub(super) entries: Vec<Entry<'t>>,
    /// Entries on disk: parts of long names count, and what begins a directory.
    pub(super) slots: u64,
}

/// A name in a directory.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    pub(super) stored: Stored,
    pub(super) modified: Time,
    pub(super) what: What<'t>,
}

/// What a name names.
#[derive(Debug)]
pub(super) enum What<'t> {
    /// A directory, by number.
    Directory(usize),
    /// A file. One of several names is a file of its own, as copying makes it.
    File(&'t Data),
}

impl<'t> Contents<'t> {
    /// Reads a tree. `label` tells whether the root directory begins with one.
    pub(super) fn of(tree: &'t Tree, label: bool) -> Result<Self, PlanError> {
        let root = Directory::new(tree, NodeId::ROOT, 0);
        let mut directories = vec![root];
        let mut at = 0;
        while let Some(open) = directories.get(at) {
            let node = open.node;
            let (entries, below) = entries(tree, node, directories.len())?;
            let first = match (at, label) {
                (0, label) => u64::from(label),
                _ => 2,
            };
            let slots = entries.iter().fold(first, |sum, entry| {
                let parts = entry
                    .stored
                    .long
                    .as_ref()
                    .map_or(0, |long| long.len().div_ceil(13));
                sum.saturating_add(1).saturating_add(super::wide(parts))
            });
            if slots > DIRECTORY_ENTRIES {
                return Err(PlanError::DirectoryFull {
                    path: tree.path(node),
                    needed: slots,
                    most: DIRECTORY_ENTRIES,
                });
            }
            directories[at].slots = slots;
            directories[at].entries = entries;
            directories.extend(below.into_iter().map(|node| Directory::new(tree, node, at)));
            at = at.saturating_add(1);
        }
        Ok(Self { directories })
    }

    /// How many clusters everything needs.
    pub(super) fn clusters(&self, shape: Shape) -> Result<u64, PlanError> {
        let root = self.directories[0].slots;
        if shape.width != Width::Fat32 && root > ROOT_ENTRIES {
            return Err(PlanError::RootFull {
                needed: root,
                most: ROOT_ENTRIES,
            });
        }
        let skipped = usize::from(shape.width != Width::Fat32);
        let directories = self.directories.iter().skip(skipped);
        let lens = directories.map(Directory::len).chain(self.files());
        Ok(lens.fold(0_u64, |sum, len| {
            sum.saturating_add(len.max(1).div_ceil(shape.cluster_len()))
        }))
    }

    /// The lengths of the files that have bytes.
    fn files(&self) -> impl Iterator<Item = u64> {
        let entries = self.directories.iter().flat_map(|directory| &directory.entries);
        entries.filter_map(|entry| match entry.what {
            What::File(data) => Some(data.len).filter(|len| *len > 0),
            What::Directory(_) => None,
        })
    }
}

impl Directory<'_> {
    fn new(tree: &Tree, node: NodeId, parent: usize) -> Self {
        Self {
            node,
            parent,
            modified: tree.node(node).meta.mtime,
            entries: Vec::new(),
            slots: 0,
        }
    }

    /// Bytes of its entries.
    pub(super) fn len(&self) -> u64 {
        self.slots.saturating_mul(32)
    }
}

/// The entries of a directory, and the directories among them, which are numbered from `next` on.
fn entries(tree: &Tree, node: NodeId, next: usize) -> Result<(Vec<Entry<'_>>, Vec<NodeId>), PlanError> {
    let Content::Directory(entries) = tree.node(node).content else {
        return Ok((Vec::new(), Vec::new()));
    };
    let path = |name: &[u8]| {
        let mut path = tree.path(node);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    };
    let (mut names, mut whats, mut below) = (Vec::new(), Vec::new(), Vec::new());
    let mut folded = HashMap::new();
    for (bytes, child) in tree.entries(entries) {
        let name = short::checked(bytes).map_err(|why| PlanError::Name {
            path: path(bytes),
            why,
        })?;
        if let Some(first) = folded.insert(short::folded(name), name) {
            return Err(PlanError::SameName {
                first: path(first.as_bytes()),
                second: path(bytes),
            });
        }
        let what = what(&tree.node(child).content, next.saturating_add(below.len()))
            .map_err(|refused| refused.at(path(bytes)))?;
        if matches!(what, What::Directory(_)) {
            below.push(child);
        }
        names.push(name);
        whats.push((what, tree.node(child).meta.mtime));
    }
    let stored = short::stored(&names).into_iter().zip(whats);
    let entries = stored.map(|(stored, (what, modified))| Entry {
        stored,
        modified,
        what,
    });
    Ok((entries.collect(), below))
}

/// Why something cannot be in a FAT file system.
enum Refused {
    Kind(&'static str),
    Length(u64),
}

impl Refused {
    fn at(self, path: Vec<u8>) -> PlanError {
        match self {
            Self::Kind(kind) => PlanError::Special { path, kind },
            Self::Length(len) => PlanError::FileTooLong { path, len },
        }
    }
}

fn what(content: &Content, directory: usize) -> Result<What<'_>, Refused> {
    match content {
        Content::Directory(_) => Ok(What::Directory(directory)),
        Content::File(data) if data.len > u32::MAX.into() => Err(Refused::Length(data.len)),
        Content::File(data) => Ok(What::File(data)),
        Content::Symlink(_) => Err(Refused::Kind("symbolic link")),
        Content::CharDevice(_) => Err(Refused::Kind("character device")),
        Content::BlockDevice(_) => Err(Refused::Kind("block device")),
        Content::Fifo => Err(Refused::Kind("named pipe")),
        Content::Socket => Err(Refused::Kind("socket")),
    }
}
