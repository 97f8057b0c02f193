//! The files of an image as its system would see them: its root, with other file systems at their places.

use std::collections::{BTreeSet, HashMap};

use image_core::store::{self, Open};
use image_core::tree::{Content, Node, NodeId, Xattr};

use super::contents::Files;

/// Which directories of an image were read.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All of them.
    All,
    /// These, by their paths without a leading `/`, and the root.
    Some(BTreeSet<Vec<u8>>),
}

impl Scope {
    /// Whether a directory was read.
    pub fn has(&self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Some(paths) => path.is_empty() || paths.contains(path),
        }
    }
}

/// A file system at its place.
#[derive(Debug)]
pub struct Mount {
    /// Where, without a leading `/`: `b""` for the root.
    pub at: Vec<u8>,
    /// What is there.
    pub files: Files,
    /// All of its directories were read, whatever the scope.
    pub whole: bool,
}

/// A file of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spot {
    mount: usize,
    node: NodeId,
}

/// Files at their places.
#[derive(Debug)]
pub struct View {
    mounts: Vec<Mount>,
    /// Directories that another file system hides.
    covered: HashMap<Spot, usize>,
}

impl View {
    /// Puts file systems together, the root first, what lies deeper later. One whose place is no directory is left out.
    pub fn new(mounts: Vec<Mount>) -> Self {
        let count = mounts.len();
        let mut view = Self {
            mounts,
            covered: HashMap::new(),
        };
        for mount in 1..count {
            let place = view.at(&view.mounts[mount].at);
            if let Some(place) = place.filter(|place| view.is_directory(*place)) {
                view.covered.insert(place, mount);
            }
        }
        view
    }

    /// The file systems, for another view of them.
    pub fn into_mounts(self) -> Vec<Mount> {
        self.mounts
    }

    /// The root.
    pub fn root(&self) -> Spot {
        self.uncovered(Spot {
            mount: 0,
            node: NodeId::ROOT,
        })
    }

    fn uncovered(&self, spot: Spot) -> Spot {
        match self.covered.get(&spot) {
            Some(mount) => Spot {
                mount: *mount,
                node: NodeId::ROOT,
            },
            None => spot,
        }
    }

    fn files(&self, spot: Spot) -> &Files {
        &self.mounts[spot.mount].files
    }

    /// What a file is.
    pub fn node(&self, spot: Spot) -> &Node {
        self.files(spot).tree.node(spot.node)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self, spot: Spot) -> bool {
        matches!(self.node(spot).content, Content::Directory(_))
    }

    /// Where a symbolic link leads.
    pub fn target(&self, spot: Spot) -> Option<&[u8]> {
        match self.node(spot).content {
            Content::Symlink(target) => Some(self.files(spot).tree.target(target)),
            _ => None,
        }
    }

    /// A file's extended attributes.
    pub fn xattrs(&self, spot: Spot) -> &[Xattr] {
        self.files(spot).tree.xattrs(self.node(spot).meta.xattrs)
    }

    /// What a directory names, sorted; nothing in what is none.
    pub fn entries(&self, spot: Spot) -> Vec<(&[u8], Spot)> {
        let Content::Directory(entries) = self.node(spot).content else {
            return Vec::new();
        };
        let entries = self.files(spot).tree.entries(entries);
        let named = entries.map(|(name, node)| {
            let mount = spot.mount;
            (name, self.uncovered(Spot { mount, node }))
        });
        named.collect()
    }

    /// What a directory names so.
    pub fn child(&self, spot: Spot, wanted: &[u8]) -> Option<Spot> {
        let Content::Directory(entries) = self.node(spot).content else {
            return None;
        };
        let mut entries = self.files(spot).tree.entries(entries);
        let (_, node) = entries.find(|(name, _)| *name == wanted)?;
        let mount = spot.mount;
        Some(self.uncovered(Spot { mount, node }))
    }

    /// What is at a path without links, and without a leading `/`.
    pub fn at(&self, path: &[u8]) -> Option<Spot> {
        let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        parts
            .into_iter()
            .try_fold(self.root(), |spot, part| self.child(spot, part))
    }

    /// A regular file's length.
    pub fn length(&self, spot: Spot) -> Option<u64> {
        match &self.node(spot).content {
            Content::File(data) => Some(data.len),
            _ => None,
        }
    }

    /// A regular file's bytes, to be read.
    pub fn open(&self, spot: Spot) -> Option<Result<Box<dyn Open + '_>, store::Error>> {
        let Content::File(data) = &self.node(spot).content else {
            return None;
        };
        Some(self.files(spot).store.open(data.file))
    }

    /// A regular file's bytes, unless it has more than `limit`.
    pub fn read(&self, spot: Spot, limit: usize) -> Option<Result<Vec<u8>, store::Error>> {
        let len = usize::try_from(self.length(spot)?)
            .ok()
            .filter(|len| *len <= limit)?;
        let open = match self.open(spot)? {
            Ok(open) => open,
            Err(error) => return Some(Err(error)),
        };
        let mut bytes = vec![0; len];
        let read = open.read_exact_at(&mut bytes, 0).and_then(|()| open.finish());
        Some(read.map(|()| bytes))
    }
}
