//! Directories: which block of a directory holds which names, and how each block looks.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/dynamic.html#directory-entries>
//!
//! A directory whose entries fit one block is linear; a larger one gets a hash tree (`htree`) where the file system
//! has `dir_index`, and is a list of linear blocks elsewhere. The layout is computed once, from the lengths and hashes
//! of names; block `k` is rendered when it is copied.
//!
//! Invariants of the blocks we write:
//! - entries tile the block: each begins where the one before ends, and the last ends at the tail or the block's end;
//! - `.` and `..` come first, and only in the first block;
//! - the entries of leaf `k` have hashes from the index's entry `k` up to that of `k + 1`.
//!
//! Why compact: a tree has as many directories as a tenth of its files, and nearly all of them fit one block. Such a
//! directory costs 16 bytes here; an indexed one costs 4 bytes a name and 8 a leaf more.

pub(crate) mod block;
mod htree;
mod table;

use std::ops::Range;
use std::sync::Arc;

use image_core::map::Table;
use image_core::tree::{Content, Entries};
use image_core::{NodeId, Tree};

use crate::checksum::Seed;
use crate::hash::Hasher;
use crate::units::{BlockSize, Ino, to_usize as index};
use htree::Htree;

/// What a file system's features make of its directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "features come and go independently of each other"
)]
pub struct Format {
    /// Bytes in a block.
    pub block_size: BlockSize,
    /// Whether blocks end in a checksum (`metadata_csum`).
    pub checksums: bool,
    /// Whether entries name the type of their file (`filetype`).
    pub file_types: bool,
    /// Whether directories of more than one block are indexed (`dir_index`).
    pub index: bool,
    /// Whether an index may have a third level (`large_dir`).
    pub large: bool,
    /// How names are hashed.
    pub hasher: Hasher,
    /// Blocks of `/lost+found`, which e2fsck fills without allocating.
    pub lost_found_blocks: u32,
}

impl Format {
    /// The blocks that mke2fs gives `/lost+found`: 16 KiB, but no more than twelve blocks.
    pub fn usual_lost_found_blocks(block_size: BlockSize) -> u32 {
        match block_size {
            BlockSize::KIB_1 => 12,
            BlockSize::KIB_2 => 8,
            _ => 4,
        }
    }

    /// Bytes of a leaf that entries can fill.
    fn leaf_bytes(&self) -> u32 {
        let tail = if self.checksums { block::TAIL_BYTES } else { 0 };
        count(self.block_size.buffer()).saturating_sub(tail)
    }
}

/// Why a tree's directories cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The index would need a third level.
    #[error(
        "directory '/{}' has {entries} entries, in {leaves} blocks: an index of two levels holds {max}, \
         and a third one (large_dir), which GRUB before 2.12 can't read, was not asked for", path.escape_ascii()
    )]
    IndexFull {
        /// The directory.
        path: Vec<u8>,
        /// Its entries.
        entries: u32,
        /// The leaves they need.
        leaves: u64,
        /// The leaves that the index can name.
        max: u64,
    },
    /// e2fsck needs a directory of that name.
    #[error("'/lost+found' is no directory, as e2fsck needs it to be")]
    LostFoundNotADirectory,
}

/// A directory of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directory {
    /// The tree's directory; `None` is the `/lost+found` that the tree lacks.
    pub node: Option<NodeId>,
    /// Blocks it has.
    pub blocks: u32,
    /// Whether it has an index, which its inode's flags must say.
    pub indexed: bool,
    /// Where in the [`Directories::table`] its first block lies, in bytes.
    pub offset: u64,
}

/// All directories of a file system, laid out.
#[derive(Clone, Debug)]
pub struct Directories {
    tree: Tree,
    format: Format,
    /// Whether the tree lacks a `/lost+found`.
    makes_lost_found: bool,
    /// In the order of nodes; a `/lost+found` of our own comes last.
    records: Vec<Record>,
    /// Layouts of directories with more than one block, by the index of their record.
    large: Vec<(u32, Layout)>,
    blocks: u32,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    node: Option<NodeId>,
    parent: NodeId,
    first_block: u32,
}

#[derive(Clone, Debug)]
enum Layout {
    /// The index of each block's first name.
    Linear(Box<[u32]>),
    Htree(Htree),
}

impl Layout {
    fn blocks(&self) -> u32 {
        match self {
            Layout::Linear(starts) => count(starts.len()),
            Layout::Htree(htree) => htree.blocks(),
        }
    }
}

/// How inodes are numbered.
pub trait Numbering: Send + Sync {
    /// The number of a node's inode.
    fn ino(&self, node: NodeId) -> Ino;

    /// The number of the inode of the `/lost+found` that the tree lacks.
    fn lost_found(&self) -> Ino;
}

impl Directories {
    /// Lays out all directories of a tree.
    pub fn plan(tree: &Tree, format: Format) -> Result<Self, Error> {
        let lost_found = find_lost_found(tree)?;
        let mut directories = Self {
            tree: tree.clone(),
            format,
            makes_lost_found: lost_found.is_none(),
            records: Vec::new(),
            large: Vec::new(),
            blocks: 0,
        };
        let mut parents = vec![NodeId::ROOT; tree.nodes().len()];
        for (id, node) in tree.iter() {
            let Content::Directory(entries) = node.content else {
                continue;
            };
            for (_, child) in tree.entries(entries) {
                parents[child.index()] = id;
            }
            let layout = directories.layout(id, Some(id) == lost_found)?;
            directories.push(Some(id), parents[id.index()], layout);
        }
        if lost_found.is_none() {
            let starts = vec![0; index(format.lost_found_blocks.max(1))];
            directories.push(None, NodeId::ROOT, Some(Layout::Linear(starts.into())));
        }
        Ok(directories)
    }

    /// Blocks of all directories.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// All directories: those of the tree in the order of nodes, then the `/lost+found` that the tree lacks.
    pub fn iter(&self) -> impl Iterator<Item = Directory> + '_ {
        (0..self.records.len()).map(|i| self.directory(i))
    }

    /// One directory of the tree.
    pub fn of(&self, node: NodeId) -> Option<Directory> {
        let i = self
            .records
            .partition_point(|record| record.node.is_some_and(|id| id < node));
        let found = self.records.get(i)?.node == Some(node);
        found.then(|| self.directory(i))
    }

    /// The `/lost+found` that the tree lacks.
    pub fn lost_found(&self) -> Option<Directory> {
        let last = self.records.len().checked_sub(1)?;
        self.records[last].node.is_none().then(|| self.directory(last))
    }

    /// The blocks of all directories, in the order of [`Directories::iter`].
    pub fn table(self: &Arc<Self>, numbering: Arc<dyn Numbering>, seed: Seed) -> Arc<dyn Table> {
        Arc::new(table::Blocks {
            directories: Arc::clone(self),
            numbering,
            seed,
        })
    }

    /// The names of one of the tree's directories.
    fn names(&self, node: NodeId) -> Option<Names<'_>> {
        let Content::Directory(entries) = self.tree.node(node).content else {
            return None;
        };
        Some(Names {
            tree: &self.tree,
            entries,
            lost_found: node == NodeId::ROOT && self.makes_lost_found,
        })
    }

    fn directory(&self, i: usize) -> Directory {
        let record = self.records[i];
        Directory {
            node: record.node,
            blocks: self.end_block(i).saturating_sub(record.first_block),
            indexed: matches!(self.large(i), Some(Layout::Htree(_))),
            offset: u64::from(record.first_block).saturating_mul(self.format.block_size.bytes()),
        }
    }

    fn end_block(&self, i: usize) -> u32 {
        let next = self.records.get(i.saturating_add(1));
        next.map_or(self.blocks, |next| next.first_block)
    }

    fn large(&self, record: usize) -> Option<&Layout> {
        let at = self.large.binary_search_by_key(&count(record), |(i, _)| *i);
        at.ok().map(|at| &self.large[at].1)
    }

    fn push(&mut self, node: Option<NodeId>, parent: NodeId, layout: Option<Layout>) {
        let blocks = layout.as_ref().map_or(1, Layout::blocks);
        if let Some(layout) = layout {
            self.large.push((count(self.records.len()), layout));
        }
        self.records.push(Record {
            node,
            parent,
            first_block: self.blocks,
        });
        self.blocks = self.blocks.saturating_add(blocks);
    }

    /// The layout of one directory, if it needs more than one block.
    fn layout(&self, id: NodeId, lost_found: bool) -> Result<Option<Layout>, Error> {
        let Some(names) = self.names(id) else {
            return Ok(None);
        };
        let starts = linear(&names, self.format.leaf_bytes());
        let wanted = if lost_found {
            self.format.lost_found_blocks
        } else {
            1
        };
        if starts.len() > 1 && self.format.index {
            let htree = Htree::plan(&names, &self.format).map_err(|full| Error::IndexFull {
                path: self.tree.path(id),
                entries: count(names.len()),
                leaves: full.leaves,
                max: full.max,
            })?;
            return Ok(Some(Layout::Htree(htree)));
        }
        let mut starts = starts;
        starts.resize(starts.len().max(index(wanted)), count(names.len()));
        Ok((starts.len() > 1).then(|| Layout::Linear(starts.into())))
    }
}

/// The tree's own `/lost+found`, if it has one.
fn find_lost_found(tree: &Tree) -> Result<Option<NodeId>, Error> {
    let Content::Directory(entries) = tree.node(NodeId::ROOT).content else {
        return Ok(None);
    };
    let found = tree.entries(entries).find(|(name, _)| *name == LOST_FOUND);
    let Some((_, id)) = found else {
        return Ok(None);
    };
    match tree.node(id).content {
        Content::Directory(_) => Ok(Some(id)),
        _ => Err(Error::LostFoundNotADirectory),
    }
}

const LOST_FOUND: &[u8] = b"lost+found";

/// The names of one directory, by index.
struct Names<'a> {
    tree: &'a Tree,
    entries: Entries,
    /// Whether one more name follows the tree's: the root's `lost+found`.
    lost_found: bool,
}

/// What a name leads to: a node, or our own `/lost+found`.
type Named = Option<NodeId>;

impl<'a> Names<'a> {
    fn len(&self) -> usize {
        self.in_tree().saturating_add(usize::from(self.lost_found))
    }

    fn in_tree(&self) -> usize {
        self.tree.entries(self.entries).len()
    }

    fn get(&self, i: usize) -> (&'a [u8], Named) {
        match self.tree.nth_entry(self.entries, i) {
            Some((name, node)) => (name, Some(node)),
            None => (LOST_FOUND, None),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&'a [u8], Named)> + '_ {
        self.range(0..self.len())
    }

    fn range(&self, range: Range<usize>) -> impl Iterator<Item = (&'a [u8], Named)> + '_ {
        range.map(|i| self.get(i))
    }
}

/// Packs names into linear blocks: the index of each block's first name.
fn linear(names: &Names<'_>, leaf_bytes: u32) -> Vec<u32> {
    let mut starts = vec![0];
    let mut used = block::DOTS_BYTES;
    for (i, (name, _)) in names.iter().enumerate() {
        let len = block::entry_bytes(name);
        used = used.saturating_add(len);
        if used > leaf_bytes {
            starts.push(count(i));
            used = len;
        }
    }
    starts
}

fn count(i: usize) -> u32 {
    u32::try_from(i).expect("a tree has at most 2^32 entries")
}
