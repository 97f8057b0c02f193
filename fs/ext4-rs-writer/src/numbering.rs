//! Numbers: which inode each node of the tree becomes.
//!
//! Inodes are numbered as the tree numbers nodes, a directory's entries one after the other, so that who reads a
//! directory's inodes reads neighbours, and no group's table has gaps.
//!
//! | inode | what |
//! |---|---|
//! | 2 | the root |
//! | 7, 8 | the reserve of descriptor blocks, the journal |
//! | 11 | `lost+found`, the tree's own if it has one |
//! | 12 | the orphan file, if there is one |
//! | from then on | the other nodes, in order |
//! | behind them | values of xattrs that have inodes of their own |

use image_core::tree::Content;
use image_core::{NodeId, Tree};

use crate::directory;
use crate::units::{Ino, to_usize};

/// How the nodes of one tree are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Nodes of the tree.
    nodes: u32,
    /// The tree's own `lost+found`.
    lost_found: Option<NodeId>,
    orphan_file: bool,
    /// Values of xattrs in inodes of their own.
    values: u32,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A node of the tree, by its index.
    Node(usize),
    /// Reserved, and not in use.
    Reserved,
    /// The reserve of descriptor blocks.
    Resize,
    /// The journal.
    Journal,
    /// The `lost+found` that the tree lacks.
    LostFound,
    /// The list of orphaned inodes.
    OrphanFile,
    /// A value of an xattr, by its index.
    Value(usize),
    /// Behind the last inode in use.
    Free,
}

impl Numbers {
    /// Numbers a tree's nodes.
    pub(crate) fn new(tree: &Tree, orphan_file: bool) -> Self {
        let lost_found = match tree.node(NodeId::ROOT).content {
            Content::Directory(entries) => tree
                .entries(entries)
                .find(|(name, _)| *name == b"lost+found")
                .map(|(_, node)| node),
            _ => None,
        };
        Self {
            nodes: u32::try_from(tree.nodes().len()).expect("a tree counts its nodes with 32 bits"),
            lost_found,
            orphan_file,
            values: 0,
        }
    }

    /// The same with so many values of xattrs.
    pub(crate) fn with_values(self, values: u32) -> Self {
        Self { values, ..self }
    }

    /// The inode of a value, by its index.
    pub(crate) fn value(&self, index: u32) -> Ino {
        let before = self.with_values(index).used();
        Ino(u32::try_from(before).expect("a value has a number if its owners have")) + 1
    }

    /// The orphan file's inode.
    pub(crate) fn orphan_file(&self) -> Option<Ino> {
        self.orphan_file.then(|| Ino::LOST_FOUND + 1)
    }

    /// The first inode of a node that is neither the root nor `lost+found`.
    fn first(&self) -> Ino {
        Ino::LOST_FOUND + 1 + u32::from(self.orphan_file)
    }

    /// Inodes in use, from inode 1 on, reserved ones with them; more than 2^32 can't be numbered.
    pub(crate) fn used(&self) -> u64 {
        let placed = u64::from(self.nodes).saturating_sub(1);
        let others = placed.saturating_sub(u64::from(self.lost_found.is_some()));
        (others.saturating_add(u64::from(self.first().0)).saturating_sub(1))
            .saturating_add(self.values.into())
    }

    /// What an inode is.
    pub(crate) fn role(&self, ino: Ino) -> Role {
        match ino {
            Ino::ROOT => Role::Node(0),
            Ino::RESIZE => Role::Resize,
            Ino::JOURNAL => Role::Journal,
            Ino::LOST_FOUND => match self.lost_found {
                Some(node) => Role::Node(node.index()),
                None => Role::LostFound,
            },
            _ if ino < Ino::LOST_FOUND => Role::Reserved,
            _ if Some(ino) == self.orphan_file() => Role::OrphanFile,
            _ => {
                // Nodes behind the tree's lost+found are one further back, since it has a place of its own.
                let index = to_usize((ino - self.first().0).0).saturating_add(1);
                let skipped = self.lost_found.is_some_and(|node| node.index() <= index);
                let index = index.saturating_add(usize::from(skipped));
                match index.checked_sub(to_usize(self.nodes)) {
                    None => Role::Node(index),
                    Some(value) if value < to_usize(self.values) => Role::Value(value),
                    Some(_) => Role::Free,
                }
            }
        }
    }
}

impl directory::Numbering for Numbers {
    fn ino(&self, node: NodeId) -> Ino {
        if node == NodeId::ROOT {
            return Ino::ROOT;
        }
        if Some(node) == self.lost_found {
            return Ino::LOST_FOUND;
        }
        let skipped = self.lost_found.is_some_and(|own| own < node);
        let index = node
            .index()
            .saturating_sub(1)
            .saturating_sub(usize::from(skipped));
        self.first() + u32::try_from(index).expect("a node's index has 32 bits")
    }

    fn lost_found(&self) -> Ino {
        Ino::LOST_FOUND
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Numbering;
    use image_core::tree::{Meta, NewContent};

    #[test]
    fn numbers_lead_back_to_nodes() {
        for own in [false, true] {
            for orphan_file in [false, true] {
                let mut builder = Tree::builder(Meta::root(0o755));
                let mut names = vec!["a", "b", "x"];
                if own {
                    names.push("lost+found");
                }
                for name in &names {
                    let node = builder.node(Meta::root(0o700), NewContent::Directory).unwrap();
                    builder.link(NodeId::ROOT, name.as_bytes(), node).unwrap();
                }
                let tree = builder.build().unwrap();
                let numbers = Numbers::new(&tree, orphan_file);
                for (id, _) in tree.iter() {
                    assert_eq!(numbers.role(numbers.ino(id)), Role::Node(id.index()));
                    assert!(u64::from(numbers.ino(id).0) <= numbers.used());
                }
                assert_eq!(numbers.used(), 14 + u64::from(orphan_file));
                let next = Ino(15 + u32::from(orphan_file));
                assert_eq!(numbers.role(next), Role::Free);
                let numbers = numbers.with_values(2);
                assert_eq!(numbers.used(), 16 + u64::from(orphan_file));
                assert_eq!((numbers.value(0), numbers.value(1)), (next, next + 1));
                assert_eq!(numbers.role(next + 1), Role::Value(1));
                assert_eq!(numbers.role(next + 2), Role::Free);
            }
        }
    }
}
