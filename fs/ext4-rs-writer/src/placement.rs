//! Placement: which blocks everything gets, in the order in which it should lie.
//!
//! Directories come first, side by side, then xattrs and symlinks, then files in the order of inodes, so that the
//! files of a directory are neighbours. Each takes the lowest run that holds it in one piece; the gaps that a large
//! file leaves fill with the small ones after it.

use std::sync::Arc;

use image_core::tree::Content;
use image_core::{NodeId, Tree};

use crate::census::Census;
use crate::file_map::{Home, Logical};
use crate::space::{Run, Space};
use crate::units::{Block, Blocks, to_u64};

/// Where everything lies.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// By node: the first block, of what lies in one piece; 0 of what has none, or several.
    first: Vec<Block>,
    /// What lies in several pieces, by node.
    scattered: Vec<(NodeId, Home)>,
    /// The `lost+found` that the tree lacks.
    pub(crate) lost_found: Home,
    /// The journal.
    pub(crate) journal: Home,
    /// The orphan file.
    pub(crate) orphan_file: Home,
    /// The block of inode 7 that leads to the reserved descriptor blocks.
    pub(crate) resize: Option<Block>,
    /// The blocks of xattrs.
    pub(crate) xattrs: Arc<[Block]>,
    /// The values of xattrs in inodes of their own.
    pub(crate) values: Vec<Home>,
    /// What stays free, ascending.
    pub(crate) free: Vec<Run>,
}

impl Placement {
    /// Places a tree's blocks, and a journal, into free space. `None` if it runs out, which can only be because files
    /// in many pieces need more blocks to map them than were counted.
    pub(crate) fn new(census: &Census, free: Vec<Run>, journal: Blocks, resize: bool) -> Option<Self> {
        let mut space = Space::new(free);
        let mapper = census.mapper;
        let resize = if resize {
            Some(space.take(Blocks(1))?)
        } else {
            None
        };
        let journal = mapper.settle(&Logical::Dense(journal), &mut space)?;
        let orphan_file = mapper.settle(&Logical::Dense(census.orphan_blocks), &mut space)?;
        let mut placement = Self {
            first: vec![Block(0); census.tree.nodes().len()],
            scattered: Vec::new(),
            lost_found: Home::default(),
            journal,
            orphan_file,
            resize,
            xattrs: Arc::new([]),
            values: Vec::new(),
            free: Vec::new(),
        };
        for directory in census.directories.iter() {
            let logical = Logical::Dense(Blocks(directory.blocks.into()));
            let home = mapper.settle(&logical, &mut space)?;
            match directory.node {
                Some(node) => placement.settle(node, home, mapper.nodes_in_one_piece(&logical)),
                None => placement.lost_found = home,
            }
        }
        let xattrs: Option<Arc<[Block]>> = (0..census.xattrs.blocks())
            .map(|_| space.take(Blocks(1)))
            .collect();
        placement.xattrs = xattrs?;
        for value in census.xattrs.values() {
            let logical = Logical::Dense(value.blocks(mapper.block_size));
            placement.values.push(mapper.settle(&logical, &mut space)?);
        }
        placement.settle_all(census, &mut space, |content| {
            matches!(content, Content::Symlink(_))
        })?;
        placement.settle_all(census, &mut space, |content| matches!(content, Content::File(_)))?;
        placement.scattered.sort_unstable_by_key(|(node, _)| *node);
        placement.free = space.runs().collect();
        Some(placement)
    }

    fn settle_all(
        &mut self,
        census: &Census,
        space: &mut Space,
        of_kind: fn(&Content) -> bool,
    ) -> Option<()> {
        for (id, node) in census.tree.iter().filter(|(_, node)| of_kind(&node.content)) {
            let Some(logical) = census.data(node) else {
                continue;
            };
            let nodes = census.mapper.nodes_in_one_piece(&logical);
            if logical.blocks() == Blocks::ZERO {
                continue;
            }
            // Nearly all files take this way, which allocates nothing.
            if let Some(first) = space.take(logical.blocks() + nodes) {
                self.first[id.index()] = first;
                continue;
            }
            let home = census.mapper.settle(&logical, space)?;
            self.settle(id, home, nodes);
        }
        Some(())
    }

    fn settle(&mut self, node: NodeId, home: Home, nodes: Blocks) {
        let [run] = home.runs[..] else {
            if !home.runs.is_empty() {
                self.scattered.push((node, home));
            }
            return;
        };
        let in_one_piece = to_u64(home.nodes.len()) == nodes.0
            && (home.nodes.iter())
                .zip(0..)
                .all(|(block, i)| *block == run.end() + i);
        if in_one_piece {
            self.first[node.index()] = run.start;
        } else {
            self.scattered.push((node, home));
        }
    }

    /// The first block of what lies in one piece.
    pub(crate) fn first(&self, node: NodeId) -> Option<Block> {
        let first = self.first[node.index()];
        (first != Block(0)).then_some(first)
    }

    /// Where a node's blocks lie.
    pub(crate) fn home(&self, census: &Census, node: NodeId, logical: &Logical) -> Home {
        if let Some(first) = self.first(node) {
            return Home::in_one_piece(first, logical.blocks(), census.mapper.nodes_in_one_piece(logical));
        }
        let at = self.scattered.binary_search_by_key(&node, |(id, _)| *id);
        at.map(|at| self.scattered[at].1.clone()).unwrap_or_default()
    }

    /// Files that lie in more than one piece.
    pub(crate) fn fragmented(&self, tree: &Tree) -> u64 {
        let files = self.scattered.iter().filter(|(node, home)| {
            home.runs.len() > 1 && matches!(tree.node(*node).content, Content::File(_))
        });
        to_u64(files.count())
    }
}
