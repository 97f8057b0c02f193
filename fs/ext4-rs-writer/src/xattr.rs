//! Extended attributes: which stand in the inode, which in a block, and which inodes share a block.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/dynamic.html#extended-attributes>
//!
//! A tree's sets of xattrs hold what the system's calls show: full names, and ACLs in the form of those calls. On disk a
//! name's prefix is a number, and an ACL has a form of its own (`acl`), which nothing but the kernel checks.
//!
//! Each set fills the space behind the inode's fields first; what is left goes to one block, or is refused. Blocks of
//! equal content are one block, since xattrs are usually labels that thousands of files have in common.
//!
//! Invariants:
//! - entries of a block are sorted by prefix, length of name and name, by which the kernel searches them;
//! - values lie behind all entries, four zero bytes apart at least, each aligned to 4 and disjoint from the others;
//! - a block's `h_refcount` is the number of inodes that name it, at most [`SHARERS_MAX`].

mod acl;
mod layout;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use image_core::map::Table;
use image_core::tree::{Xattr, XattrsId};
use image_core::{NodeId, Tree};

use crate::checksum::Seed;
use crate::units::{Block, BlockSize, to_usize as index};
use layout::{Area, Attribute};

/// Inodes that may share one block, as the kernel limits them.
pub const SHARERS_MAX: u32 = 1024;

/// What a file system's features make of its xattrs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bytes in a block.
    pub block_size: BlockSize,
    /// Bytes behind an inode's own fields: its size without 128 and without `i_extra_isize`.
    pub inode_room: u16,
    /// Whether blocks have a checksum (`metadata_csum`).
    pub checksums: bool,
}

/// Why a tree's xattrs cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The format has no number for the name's prefix.
    #[error("xattr '{}' of '/{}' is in no namespace that ext4 knows", name.escape_ascii(), path.escape_ascii())]
    UnknownNamespace {
        /// The first file that has it.
        path: Vec<u8>,
        /// The attribute's name.
        name: Vec<u8>,
    },
    /// An ACL that the kernel would refuse.
    #[error("'{}' of '/{}' is no valid ACL: {fault}", name.escape_ascii(), path.escape_ascii())]
    BadAcl {
        /// The first file that has it.
        path: Vec<u8>,
        /// The attribute's name.
        name: Vec<u8>,
        /// What is wrong with it.
        fault: AclFault,
    },
    /// A set that fits neither inode nor block.
    #[error(
        "the xattrs of '/{}' take {bytes} bytes beside those in the inode, and a block holds {max}; \
         values in inodes of their own (ea_inode) are not written, and GRUB could not read them", path.escape_ascii()
    )]
    TooLarge {
        /// The first file that has them.
        path: Vec<u8>,
        /// Bytes that they take in a block.
        bytes: u64,
        /// Bytes that a block has for them.
        max: u64,
    },
}

pub use acl::Fault as AclFault;

/// All xattrs of a file system, laid out.
#[derive(Clone, Debug)]
pub struct Xattrs {
    format: Format,
    /// What each set of the tree puts into an inode, by the set's index.
    in_inode: Vec<Box<[u8]>>,
    /// What blocks hold; equal contents are one.
    contents: Vec<layout::Content>,
    /// Which content each block has, and how many inodes share the block.
    blocks: Vec<(u32, u32)>,
    /// Nodes that have a block, in order, and which.
    users: Vec<(NodeId, u32)>,
}

impl Xattrs {
    /// Lays out all xattrs of a tree.
    pub fn plan(tree: &Tree, format: Format) -> Result<Self, Error> {
        let mut plan = Self {
            format,
            in_inode: vec![Box::default(); tree.xattr_sets()],
            contents: Vec::new(),
            blocks: Vec::new(),
            users: Vec::new(),
        };
        let mut known: HashMap<layout::Content, u32> = HashMap::new();
        let mut content_of: Vec<Option<Option<u32>>> = vec![None; tree.xattr_sets()];
        content_of[XattrsId::NONE.index()] = Some(None);
        let mut open: Vec<Option<u32>> = Vec::new();
        for (id, node) in tree.iter() {
            let set = node.meta.xattrs.index();
            let content = if let Some(content) = content_of[set] {
                content
            } else {
                let (inside, outside) =
                    split(tree.xattrs(node.meta.xattrs), format).map_err(|fault| fault.of(tree.path(id)))?;
                plan.in_inode[set] = inside;
                let content = outside.map(|content| plan.content(content, &mut known, &mut open));
                content_of[set] = Some(content);
                content
            };
            if let Some(content) = content {
                let block = plan.share(content, &mut open);
                plan.users.push((id, block));
            }
        }
        Ok(plan)
    }

    /// What stands behind the fields of an inode that has this set; empty if the set is.
    pub fn in_inode(&self, set: XattrsId) -> &[u8] {
        &self.in_inode[set.index()]
    }

    /// Blocks of xattrs.
    pub fn blocks(&self) -> u32 {
        count(self.blocks.len())
    }

    /// Which of the blocks a node's inode names, if any; it counts as one of the inode's blocks.
    pub fn block_of(&self, node: NodeId) -> Option<u32> {
        let at = self.users.binary_search_by_key(&node, |(id, _)| *id).ok()?;
        Some(self.users[at].1)
    }

    /// The blocks, one after the other; `starts` says where each will lie, which its checksum depends on.
    pub fn table(self: &Arc<Self>, starts: Arc<[Block]>, seed: Seed) -> Arc<dyn Table> {
        Arc::new(table::Blocks {
            xattrs: Arc::clone(self),
            starts,
            seed,
        })
    }

    /// The number of a content, old or new.
    fn content(
        &mut self,
        content: layout::Content,
        known: &mut HashMap<layout::Content, u32>,
        open: &mut Vec<Option<u32>>,
    ) -> u32 {
        if let Some(i) = known.get(&content) {
            return *i;
        }
        let i = count(self.contents.len());
        known.insert(content.clone(), i);
        self.contents.push(content);
        open.push(None);
        i
    }

    /// A block of this content with room for one more inode.
    fn share(&mut self, content: u32, open: &mut [Option<u32>]) -> u32 {
        let sharers_max = if self.contents[index(content)].hash == 0 {
            // A hash of 0 tells the kernel that the block is one inode's own.
            1
        } else {
            SHARERS_MAX
        };
        if let Some(block) = open[index(content)] {
            let (_, sharers) = &mut self.blocks[index(block)];
            if *sharers < sharers_max {
                *sharers = sharers.saturating_add(1);
                return block;
            }
        }
        let block = count(self.blocks.len());
        self.blocks.push((content, 1));
        open[index(content)] = Some(block);
        block
    }
}

/// What is wrong with a set; the path comes later.
enum SetFault {
    UnknownNamespace(Vec<u8>),
    BadAcl(Vec<u8>, AclFault),
    TooLarge { bytes: u64, max: u64 },
}

impl SetFault {
    fn of(self, path: Vec<u8>) -> Error {
        match self {
            SetFault::UnknownNamespace(name) => Error::UnknownNamespace { path, name },
            SetFault::BadAcl(name, fault) => Error::BadAcl { path, name, fault },
            SetFault::TooLarge { bytes, max } => Error::TooLarge { path, bytes, max },
        }
    }
}

/// Lays out one set: what stands in the inode, and what in a block.
fn split(set: &[Xattr], format: Format) -> Result<(Box<[u8]>, Option<layout::Content>), SetFault> {
    let mut attributes = Vec::with_capacity(set.len());
    for xattr in set {
        attributes.extend(attribute(xattr)?);
    }
    attributes.sort_unstable();
    let inode = Area::inode(format.inode_room);
    let block = Area::block(format.block_size);
    let (inside, outside) = inode.divide(&attributes, block);
    let bytes = layout::bytes(&outside);
    if bytes > block.room {
        return Err(SetFault::TooLarge {
            bytes: u64::from(bytes),
            max: u64::from(block.room),
        });
    }
    let content = (!outside.is_empty()).then(|| layout::Content::new(&outside, format.block_size));
    Ok((layout::in_inode(&inside, format.inode_room), content))
}

/// An attribute as it stands on disk; an ACL without entries is none.
fn attribute(xattr: &Xattr) -> Result<Option<Attribute>, SetFault> {
    const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
    let acl = [
        (&b"system.posix_acl_access"[..], 2),
        (b"system.posix_acl_default", 3),
    ];
    if let Some((_, prefix)) = acl.into_iter().find(|(name, _)| *name == xattr.name) {
        let value =
            acl::to_disk(&xattr.value).map_err(|fault| SetFault::BadAcl(xattr.name.clone(), fault))?;
        return Ok(value.map(|value| Attribute {
            prefix,
            name: Box::default(),
            value: value.into(),
        }));
    }
    let unknown = || SetFault::UnknownNamespace(xattr.name.clone());
    let split = PREFIXES
        .into_iter()
        .find_map(|(text, prefix)| Some((prefix, xattr.name.strip_prefix(text)?)));
    let (prefix, name) = split
        .filter(|(_, name)| !name.is_empty() && name.len() <= 255)
        .ok_or_else(unknown)?;
    let value = if xattr.name == b"security.capability" {
        capability(&xattr.value)
    } else {
        xattr.value[..].into()
    };
    Ok(Some(Attribute {
        prefix,
        name: name.into(),
        value,
    }))
}

/// A file's capabilities, in revision 2 where that says the same.
///
/// Revision 3 adds the user namespace's root that they are for, at the end. Where that is the image's own root, the two
/// revisions mean the same, and kernels before 4.14 know only the older one. Another root is kept.
fn capability(value: &[u8]) -> Box<[u8]> {
    const REVISION_3: [u8; 3] = [0, 0, 3];
    const REVISION_2_BYTES: usize = 20;
    let for_own_root = value.len() == 24 && value[1..4] == REVISION_3 && value[REVISION_2_BYTES..] == [0; 4];
    if !for_own_root {
        return value.into();
    }
    let mut older = value[..REVISION_2_BYTES].to_vec();
    older[3] = 2;
    older.into()
}

fn count(i: usize) -> u32 {
    u32::try_from(i).expect("a tree has at most 2^32 nodes")
}
