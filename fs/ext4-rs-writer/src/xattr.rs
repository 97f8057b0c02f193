//! Extended attributes: which stand in the inode, which in a block, which inodes share a block, and which values have
//! an inode of their own.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/dynamic.html#extended-attributes>
//!
//! A tree's sets of xattrs hold what the system's calls show: full names, and ACLs in the form of those calls. On disk a
//! name's prefix is a number, and an ACL has a form of its own (`acl`), which nothing but the kernel checks.
//!
//! Each set fills the space behind the inode's fields first; what is left goes to one block. Blocks of equal content are
//! one block, since xattrs are usually labels that thousands of files have in common. A set that is too large for that
//! is refused, or with the feature `ea_inode` gives its longest values, as few as will do, inodes of their own (`values`).
//!
//! Invariants:
//! - entries of a block are sorted by prefix, length of name and name, by which the kernel searches them;
//! - values lie behind all entries, four zero bytes apart at least, each aligned to 4 and disjoint from the others;
//! - a block's `h_refcount` is the number of inodes that name it, at most [`SHARERS_MAX`];
//! - an entry whose value has an inode stands in a block, and that inode's count is the number of such entries.

pub(crate) mod acl;
mod attribute;
mod fault;
pub(crate) mod layout;
mod table;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use image_core::map::Table;
use image_core::tree::{Xattr, XattrsId};
use image_core::{NodeId, Tree};

use crate::checksum::Seed;
use crate::units::{Block, BlockSize, Blocks, Ino, to_u64, to_usize as index};
use attribute::{Attribute, Value};
use layout::{Area, Content};
use values::Values;

pub use fault::{AclFault, Error, Fault};
pub use values::ValueInode;

/// Inodes that may share one block, as the kernel limits them.
pub const SHARERS_MAX: u32 = 1024;
/// Bytes that a value may have, as the system's calls limit them.
pub const VALUE_MAX: u64 = 65_536;

/// What a file system's features make of its xattrs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bytes in a block.
    pub block_size: BlockSize,
    /// Bytes behind an inode's own fields: its size without 128 and without `i_extra_isize`.
    pub inode_room: u16,
    /// Whether there are any (`ext_attr`).
    pub any: bool,
    /// Whether blocks have a checksum (`metadata_csum`).
    pub checksums: bool,
    /// Whether values may have inodes of their own (`ea_inode`).
    pub value_inodes: bool,
    /// What checksums and the hashes of such values start from.
    pub seed: Seed,
}

/// All xattrs of a file system, laid out.
#[derive(Clone, Debug)]
pub struct Xattrs {
    format: Format,
    /// What each set of the tree puts into an inode, by the set's index.
    in_inode: Vec<Box<[u8]>>,
    /// What blocks hold; equal contents are one.
    contents: Vec<Content>,
    /// Which content each block has, and how many inodes share the block.
    blocks: Vec<(u32, u32)>,
    /// Nodes that have a block, in order, and which.
    users: Vec<(NodeId, u32)>,
    /// Values in inodes of their own.
    values: Vec<ValueInode>,
}

impl Xattrs {
    /// Lays out all xattrs of a tree; `value_ino` numbers the inodes of values.
    pub fn plan(tree: &Tree, format: Format, value_ino: &dyn Fn(u32) -> Ino) -> Result<Self, Error> {
        let mut planning = Planning {
            format,
            known: HashMap::new(),
            contents: Vec::new(),
            open: Vec::new(),
            blocks: Vec::new(),
            values: Values::new(format.seed, value_ino),
        };
        let mut in_inode: Vec<Box<[u8]>> = vec![Box::default(); tree.xattr_sets()];
        let mut users = Vec::new();
        let mut content_of: Vec<Option<Option<u32>>> = vec![None; tree.xattr_sets()];
        content_of[XattrsId::NONE.index()] = Some(None);
        for (id, node) in tree.iter() {
            let set = node.meta.xattrs.index();
            let content = if let Some(content) = content_of[set] {
                content
            } else {
                let (inside, outside) =
                    planning
                        .split(tree.xattrs(node.meta.xattrs))
                        .map_err(|fault| Error {
                            path: tree.path(id),
                            fault,
                        })?;
                in_inode[set] = inside;
                let content = outside.map(|content| planning.content(content));
                content_of[set] = Some(content);
                content
            };
            if let Some(content) = content {
                users.push((id, planning.share(content)));
            }
        }
        Ok(Self {
            format,
            in_inode,
            contents: planning.contents,
            blocks: planning.blocks,
            users,
            values: planning.values.inodes,
        })
    }

    /// What stands behind the fields of an inode that has this set; empty if the set is.
    pub fn in_inode(&self, set: XattrsId) -> &[u8] {
        &self.in_inode[set.index()]
    }

    /// Blocks of xattrs.
    pub fn blocks(&self) -> u32 {
        count(self.blocks.len())
    }

    /// Values in inodes of their own.
    pub fn values(&self) -> &[ValueInode] {
        &self.values
    }

    /// Which of the blocks a node's inode names, if any.
    pub fn block_of(&self, node: NodeId) -> Option<u32> {
        let at = self.users.binary_search_by_key(&node, |(id, _)| *id).ok()?;
        Some(self.users[at].1)
    }

    /// Blocks that an inode which names this block counts as its own: this one, and those of the values in inodes that
    /// its entries name.
    pub fn counted(&self, block: u32) -> Blocks {
        let (content, _) = self.blocks[index(block)];
        let values = self.contents[index(content)].apart.iter();
        let beside: Blocks = values
            .map(|value| self.values[index(*value)].blocks(self.format.block_size))
            .sum();
        beside + Blocks(1)
    }

    /// The blocks, one after the other; `starts` says where each will lie, which its checksum depends on.
    pub fn table(self: &Arc<Self>, starts: Arc<[Block]>) -> Arc<dyn Table> {
        Arc::new(table::Blocks {
            xattrs: Arc::clone(self),
            starts,
        })
    }
}

/// What is laid out so far.
struct Planning<'a> {
    format: Format,
    contents: Vec<Content>,
    /// The number of each content.
    known: HashMap<Content, u32>,
    blocks: Vec<(u32, u32)>,
    /// The block of each content that may have room for more inodes.
    open: Vec<Option<u32>>,
    values: Values<'a>,
}

impl Planning<'_> {
    /// Lays out one set: what stands in the inode, and what in a block.
    fn split(&mut self, set: &[Xattr]) -> Result<(Box<[u8]>, Option<Content>), Fault> {
        let mut attributes = Vec::with_capacity(set.len());
        for xattr in set {
            attributes.extend(attribute::of(xattr)?);
        }
        if !self.format.any && !attributes.is_empty() {
            return Err(Fault::NoFeature);
        }
        attributes.sort_unstable_by(|a, b| a.key().cmp(&b.key()));
        let inode = Area::inode(self.format.inode_room);
        let block = Area::block(self.format.block_size);
        loop {
            let (inside, outside) = inode.divide(&attributes, block);
            let bytes = layout::bytes(&outside);
            if bytes <= block.room {
                let content = (!outside.is_empty()).then(|| Content::new(&outside, self.format.block_size));
                return Ok((layout::in_inode(&inside, self.format.inode_room), content));
            }
            self.move_longest(&mut attributes)
                .map_err(|()| overflow(set, self.format, bytes, block.room))?;
        }
    }

    /// Gives the longest value beside its entry an inode of its own, the first of several.
    fn move_longest(&mut self, attributes: &mut [Attribute]) -> Result<(), ()> {
        let longest = attributes.iter_mut().rev().max_by_key(|a| a.here().len());
        let movable = longest.filter(|a| self.format.value_inodes && !a.here().is_empty());
        let attribute = movable.ok_or(())?;
        attribute.value = Value::Apart(self.values.put(attribute.here()));
        Ok(())
    }

    /// The number of a content, old or new.
    fn content(&mut self, content: Content) -> u32 {
        if let Some(i) = self.known.get(&content) {
            return *i;
        }
        let i = count(self.contents.len());
        self.known.insert(content.clone(), i);
        self.contents.push(content);
        self.open.push(None);
        i
    }

    /// A block of this content with room for one more inode.
    fn share(&mut self, content: u32) -> u32 {
        let sharers_max = if self.contents[index(content)].hash == 0 {
            // A hash of 0 tells the kernel that the block is one inode's own.
            1
        } else {
            SHARERS_MAX
        };
        if let Some(block) = self.open[index(content)] {
            let (_, sharers) = &mut self.blocks[index(block)];
            if *sharers < sharers_max {
                *sharers = sharers.saturating_add(1);
                return block;
            }
        }
        let block = count(self.blocks.len());
        self.blocks.push((content, 1));
        self.open[index(content)] = Some(block);
        for value in &self.contents[index(content)].apart {
            self.values.refer(*value);
        }
        block
    }
}

/// What a set that does not fit is refused for.
fn overflow(set: &[Xattr], format: Format, bytes: u32, max: u32) -> Fault {
    let (bytes, max) = (bytes.into(), max.into());
    let longest = set.iter().rev().max_by_key(|xattr| xattr.value.len());
    match longest {
        Some(longest) if !format.value_inodes => Fault::TooLarge {
            name: longest.name.clone(),
            len: to_u64(longest.value.len()),
            bytes,
            max,
        },
        _ => Fault::TooMany { bytes, max },
    }
}

fn count(i: usize) -> u32 {
    u32::try_from(i).expect("a tree has at most 2^32 nodes")
}
