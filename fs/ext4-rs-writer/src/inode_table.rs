//! Inode tables: every inode in use, rendered when it is copied.
//!
//! Tables are filled from the first group on without gaps, so that the tables of all groups, one after the other, are
//! one array of inodes; what lies behind the last inode in use is a gap.

use std::sync::Arc;

use image_core::map::Table;
use image_core::tree::{Content, Device, Node, Time};
use image_core::{NodeId, Tree};

use crate::census::Census;
use crate::checksum::Seed;
use crate::directory::{Directory, Numbering};
use crate::file_map::{Home, Logical};
use crate::inode::{EXTENTS_FL, INDEX_FL, Inode, Stamp, mode};
use crate::numbering::Role;
use crate::options::Options;
use crate::placement::Placement;
use crate::resize::Reserve;
use crate::units::{Blocks, Bytes, Ino, to_u64};

/// All inodes of a file system.
#[derive(Debug)]
pub(crate) struct Inodes {
    /// What the tree needs.
    pub(crate) census: Arc<Census>,
    /// Where it lies.
    pub(crate) placement: Arc<Placement>,
    /// How the file system is made.
    pub(crate) options: Arc<Options>,
    /// What checksums start from, if there are any.
    pub(crate) seed: Option<Seed>,
    /// The reserved descriptor blocks.
    pub(crate) reserve: Option<Arc<Reserve>>,
}

impl Inodes {
    fn tree(&self) -> &Tree {
        &self.census.tree
    }

    fn stamp(&self, time: Time) -> Stamp {
        let (time, _) = Stamp::clamped(self.options.identity.time(time), self.options.inode_size);
        Stamp::new(time)
    }

    /// The stamp of what the planner makes.
    fn epoch(&self) -> Stamp {
        let (time, _) = Stamp::clamped(self.options.identity.epoch, self.options.inode_size);
        Stamp::new(time)
    }

    fn extents_flag(&self) -> u32 {
        if self.census.mapper.extents { EXTENTS_FL } else { 0 }
    }

    /// Renders one inode into its zeroed slot.
    fn slot(&self, ino: Ino, slot: &mut [u8]) {
        let seed = self.seed.map(|seed| seed.inode(ino, 0));
        let (inode, xattrs): (Option<Inode>, &[u8]) = match self.census.numbers.role(ino) {
            Role::Node(index) => {
                let id = self.tree().id(index).expect("a role names a node of the tree");
                let node = self.tree().node(id);
                (
                    Some(self.node(ino, id, node)),
                    self.census.xattrs.in_inode(node.meta.xattrs),
                )
            }
            Role::Resize => {
                let reserve = self.reserve.as_ref().zip(self.placement.resize);
                (
                    reserve.map(|(reserve, block)| reserve.inode(block, self.epoch())),
                    &[],
                )
            }
            Role::Journal => (self.journal(), &[]),
            Role::LostFound => (self.lost_found(ino), &[]),
            Role::OrphanFile => (Some(self.orphan_file(ino)), &[]),
            Role::Value(index) => (Some(self.value(ino, index)), &[]),
            Role::Reserved | Role::Free => (None, &[]),
        };
        if let Some(inode) = inode {
            inode.render(xattrs, seed, slot);
        }
    }

    /// Gives an inode the blocks of its data and their map.
    fn map(&self, inode: &mut Inode, ino: Ino, logical: &Logical, home: &Home) {
        let seed = self.seed.map(|seed| seed.inode(ino, 0));
        let rendered = self.census.mapper.render(logical, home, seed);
        inode.set_block_bytes(&rendered.root);
        inode.i_flags = (inode.i_flags.get() | self.extents_flag()).into();
        inode.set_blocks(home.blocks(), self.options.block_size);
    }

    fn node(&self, ino: Ino, id: NodeId, node: &Node) -> Inode {
        let meta = &node.meta;
        let mode = match self.options.root_mode {
            Some(mode) if id == NodeId::ROOT => mode,
            _ => meta.mode,
        };
        let mut inode = Inode::new(kind(&node.content) | (mode & 0o7777), self.stamp(meta.mtime));
        let (uid, gid) = match self.options.root_owner {
            Some(owner) if id == NodeId::ROOT => owner,
            _ => (meta.uid, meta.gid),
        };
        inode.set_owner(uid, gid);
        inode.set_links(self.census.links(id, node));
        let mut owned = Blocks::ZERO;
        match &node.content {
            Content::Directory(_) => {
                let directory = self
                    .census
                    .directories
                    .of(id)
                    .expect("every directory is laid out");
                owned = self.directory(&mut inode, ino, &directory, |logical| {
                    self.placement.home(&self.census, id, logical)
                });
            }
            Content::File(data) => {
                let logical = Logical::of(data, self.options.block_size);
                let home = self.placement.home(&self.census, id, &logical);
                inode.set_size(data.len);
                self.map(&mut inode, ino, &logical, &home);
                owned = home.blocks();
            }
            Content::Symlink(target) => {
                let target = self.tree().target(*target);
                inode.set_size(to_u64(target.len()));
                if let Some(logical) = self.census.data(node) {
                    let home = self.placement.home(&self.census, id, &logical);
                    self.map(&mut inode, ino, &logical, &home);
                    owned = home.blocks();
                } else {
                    inode.set_block_bytes(target);
                }
            }
            Content::CharDevice(device) | Content::BlockDevice(device) => {
                let (old, new) = device_number(*device);
                inode.i_block[0] = old.into();
                inode.i_block[1] = new.into();
            }
            Content::Fifo | Content::Socket => {}
        }
        if let Some(block) = self.census.xattrs.block_of(id) {
            inode.set_file_acl(self.placement.xattrs[crate::units::to_usize(block)]);
            let counted = self.census.xattrs.counted(block);
            inode.set_blocks(owned + counted, self.options.block_size);
        }
        inode
    }

    fn directory(
        &self,
        inode: &mut Inode,
        ino: Ino,
        directory: &Directory,
        home: impl FnOnce(&Logical) -> Home,
    ) -> Blocks {
        let logical = Logical::Dense(Blocks(directory.blocks.into()));
        let home = home(&logical);
        inode.set_size(logical.blocks().bytes(self.options.block_size).0);
        if directory.indexed {
            inode.i_flags = INDEX_FL.into();
        }
        self.map(inode, ino, &logical, &home);
        home.blocks()
    }

    fn lost_found(&self, ino: Ino) -> Option<Inode> {
        let directory = self.census.directories.lost_found()?;
        let mut inode = Inode::new(mode::DIRECTORY | 0o700, self.epoch());
        inode.set_links(2);
        self.directory(&mut inode, ino, &directory, |_| self.placement.lost_found.clone());
        Some(inode)
    }

    fn hidden_file(&self, ino: Ino, home: &Home) -> Inode {
        let mut inode = Inode::new(mode::FILE | 0o600, self.epoch());
        inode.set_links(1);
        let blocks = home.runs.iter().map(|run| run.len).sum();
        let logical = Logical::Dense(blocks);
        inode.set_size(blocks.bytes(self.options.block_size).0);
        self.map(&mut inode, ino, &logical, home);
        inode
    }

    fn orphan_file(&self, ino: Ino) -> Inode {
        self.hidden_file(ino, &self.placement.orphan_file)
    }

    fn value(&self, ino: Ino, index: usize) -> Inode {
        let value = &self.census.xattrs.values()[index];
        let mut inode = self.hidden_file(ino, &self.placement.values[index]);
        inode.set_size(to_u64(value.bytes.len()));
        inode.set_value(value.hash, value.references);
        inode
    }

    /// The journal's inode, if there is a journal.
    pub(crate) fn journal(&self) -> Option<Inode> {
        let home = &self.placement.journal;
        (!home.runs.is_empty()).then(|| self.hidden_file(Ino::JOURNAL, home))
    }

    /// The number of a node's inode.
    pub(crate) fn ino(&self, node: NodeId) -> Ino {
        self.census.numbers.ino(node)
    }
}

impl Table for Inodes {
    fn len(&self) -> u64 {
        (Bytes(self.census.numbers.used()) * u64::from(self.options.inode_size)).0
    }

    fn render(&self, offset: u64, buf: &mut [u8]) {
        let inode_size = usize::from(self.options.inode_size);
        let mut scratch = Vec::new();
        let (mut at, mut rest) = (Bytes(offset), buf);
        while !rest.is_empty() {
            let index = at / to_u64(inode_size);
            let ino = Ino(1) + u32::try_from(index.0).expect("inodes have numbers of 32 bits");
            let skip = usize::try_from(at % to_u64(inode_size)).expect("less than an inode");
            let len = rest.len().min(inode_size.saturating_sub(skip));
            let (piece, behind) = rest.split_at_mut(len);
            if len == inode_size {
                piece.fill(0);
                self.slot(ino, piece);
            } else {
                scratch.clear();
                scratch.resize(inode_size, 0);
                self.slot(ino, &mut scratch);
                piece.copy_from_slice(&scratch[skip..][..len]);
            }
            rest = behind;
            at += Bytes(to_u64(len));
        }
    }
}

fn kind(content: &Content) -> u16 {
    match content {
        Content::Directory(_) => mode::DIRECTORY,
        Content::File(_) => mode::FILE,
        Content::Symlink(_) => mode::SYMLINK,
        Content::CharDevice(_) => mode::CHAR_DEVICE,
        Content::BlockDevice(_) => mode::BLOCK_DEVICE,
        Content::Fifo => mode::FIFO,
        Content::Socket => mode::SOCKET,
    }
}

/// A device's number: the old form where it fits 8 bits each, else the new one.
fn device_number(Device { major, minor }: Device) -> (u32, u32) {
    if major < 256 && minor < 256 {
        ((major << 8) | minor, 0)
    } else {
        (0, (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
    }
}
