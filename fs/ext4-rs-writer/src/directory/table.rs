//! The blocks of all directories, rendered when the image is copied.

use std::fmt;
use std::sync::Arc;

use image_core::map::Table;
use image_core::tree::Content;
use image_core::{NodeId, Tree};

use super::block::{DIRECTORY_TYPE, fill_leaf};
use super::htree::Role;
use super::{Directories, Layout, Named, Numbering};
use crate::checksum::Seed;
use crate::render::each_block;
use crate::units::{Ino, to_usize as index};

/// The table of a plan's directories.
pub(super) struct Blocks {
    pub(super) directories: Arc<Directories>,
    pub(super) numbering: Arc<dyn Numbering>,
    pub(super) seed: Seed,
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").finish_non_exhaustive()
    }
}

impl Table for Blocks {
    fn len(&self) -> u64 {
        u64::from(self.directories.blocks).saturating_mul(self.directories.format.block_size.bytes())
    }

    fn render(&self, offset: u64, buf: &mut [u8]) {
        each_block(self.directories.format.block_size, offset, buf, |block, bytes| {
            self.render_block(block, bytes);
        });
    }
}

impl Blocks {
    /// Renders one block of the table into a zeroed buffer.
    fn render_block(&self, block: u32, bytes: &mut [u8]) {
        let plan = &*self.directories;
        let i = plan.records.partition_point(|record| record.first_block <= block);
        let i = i.checked_sub(1).expect("the first record begins at block 0");
        let record = plan.records[i];
        let k = block.saturating_sub(record.first_block);
        let own = self.ino(record.node);
        let parent = self.numbering.ino(record.parent);
        let seed = plan.format.checksums.then(|| self.seed.inode(own, 0));
        let Some(names) = record.node.and_then(|node| plan.names(node)) else {
            return fill_leaf(bytes, seed, self.dots(own, parent).filter(|_| k == 0));
        };
        match plan.large(i) {
            None => {
                let entries = names.iter().map(|entry| self.entry(entry));
                fill_leaf(bytes, seed, self.dots(own, parent).chain(entries));
            }
            Some(Layout::Linear(starts)) => {
                let first = index(starts[index(k)]);
                let next = starts.get(index(k).saturating_add(1));
                let end = next.map_or(names.len(), |next| index(*next));
                let dots = self.dots(own, parent).filter(|_| k == 0);
                fill_leaf(
                    bytes,
                    seed,
                    dots.chain(names.range(first..end).map(|entry| self.entry(entry))),
                );
            }
            Some(Layout::Htree(htree)) => match htree.role(k) {
                Role::Leaf(order) => {
                    let entries = order.iter().map(|i| self.entry(names.get(index(*i))));
                    fill_leaf(bytes, seed, entries);
                }
                Role::Index { level, i } => {
                    htree.render_index((level, i), (own, parent), &plan.format, seed, bytes);
                }
            },
        }
    }

    fn entry<'n>(&self, (name, named): (&'n [u8], Named)) -> (&'n [u8], Ino, u8) {
        (name, self.ino(named), self.file_type(named))
    }

    fn ino(&self, named: Named) -> Ino {
        match named {
            Some(node) => self.numbering.ino(node),
            None => self.numbering.lost_found(),
        }
    }

    fn file_type(&self, named: Named) -> u8 {
        if !self.directories.format.file_types {
            return 0;
        }
        named.map_or(DIRECTORY_TYPE, |node| file_type(&self.directories.tree, node))
    }

    fn dots<'n>(&self, own: Ino, parent: Ino) -> impl Iterator<Item = (&'n [u8], Ino, u8)> + use<'n> {
        let file_type = if self.directories.format.file_types {
            DIRECTORY_TYPE
        } else {
            0
        };
        [(&b"."[..], own, file_type), (&b".."[..], parent, file_type)].into_iter()
    }
}

fn file_type(tree: &Tree, node: NodeId) -> u8 {
    match tree.node(node).content {
        Content::File(_) => 1,
        Content::Directory(_) => DIRECTORY_TYPE,
        Content::CharDevice(_) => 3,
        Content::BlockDevice(_) => 4,
        Content::Fifo => 5,
        Content::Socket => 6,
        Content::Symlink(_) => 7,
    }
}
