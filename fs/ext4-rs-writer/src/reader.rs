//! The way back: an ext2, ext3 or ext4 image as a tree, and a store that serves its files from where they lie.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/index.html>
//!
//! [`read`] walks the directories once; file bytes are read when somebody asks for them, by any number of threads. What
//! it keeps is what a scan keeps: owners, modes, times, extended attributes and ACLs in the form of the system's calls,
//! hard links, devices, holes. [`read_some`] walks only those that somebody wants: finding one file in an image takes a
//! few blocks of it.
//!
//! An image is hostile until read. Every number is checked before it is used, and what must be distinct is counted:
//! - every metadata checksum that there is must fit;
//! - a directory has one name, so the walk ends;
//! - directories, extent trees and files together map no more blocks than the file system has, so memory is bounded by
//!   the image's length, whatever blocks it claims twice.
//!
//! Why own code, where a crate reads ext4: `ext4-view` 1.0 gives neither inode numbers (hard links are lost), nor
//! xattrs (capabilities and labels are lost), nor devices, nor holes. Tests hold this reader against the kernel, for
//! images of the planner, of mke2fs in many forms, and of the kernel itself.
//!
//! What a journal holds that the file system lacks, as in the image of a machine that was not shut down, is read
//! in its place.
//!
//! [`check`](fn@check) judges a file system as `e2fsck -fn` does: whether its structures agree with each other.
//!
//! Not read, and said by name: `inline_data`, encrypted files, journals' devices and fast commits, blocks above 4 KiB.

mod about;
mod attributes;
pub mod check;
mod mapping;
mod names;
mod replay;
mod volume;

use std::collections::HashMap;

use image_core::ReadAt;
use image_core::runs::{RunStore, Stored};
use image_core::store::{self, FileId, Open, Store};
use image_core::tree::{Builder, Data, Device, Meta, NewContent, NodeId, Tree, TreeError, XattrsId};

use crate::inode::{Inode, mode};
use crate::units::{Block, Ino};
pub use about::{About, about};
pub use check::{Fault, check};
use mapping::Mapped;
use replay::Replayed;
use volume::{Loaded, Volume};

/// Why an image cannot be read as a tree.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The image cannot be read.
    #[error("cannot read the image")]
    Io(#[from] std::io::Error),
    /// There is no superblock where one would be.
    #[error("no ext2, ext3 or ext4 file system")]
    NotExt,
    /// The superblock contradicts itself or the image.
    #[error("the superblock's {field} cannot be {value}")]
    Superblock {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// It uses what this reader does not read.
    #[error("the file system uses {0}, which cannot be read")]
    Unsupported(&'static str),
    /// It uses features that this reader does not know.
    #[error("the file system needs features {0:#x}, which are not known")]
    UnknownFeatures(u32),
    /// A structure has another checksum than it says.
    #[error("{what} of {of} has a wrong checksum")]
    Checksum {
        /// Which structure.
        what: &'static str,
        /// Of what.
        of: Owner,
    },
    /// A structure is not one.
    #[error("{what} of {of} cannot be {value}")]
    Corrupt {
        /// Which number.
        what: &'static str,
        /// Of what.
        of: Owner,
        /// What it says.
        value: u64,
    },
    /// More blocks are in use than there are: some are used twice.
    #[error("files use {0} blocks and more, but the file system has fewer: some are used twice")]
    SharedBlocks(u64),
    /// Names and inodes do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// What a structure belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A file.
    Inode(u32),
    /// A block group.
    Group(u32),
    /// The whole file system.
    FileSystem,
    /// Its journal.
    Journal,
    /// A transaction in the journal.
    Transaction(u32),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inode(ino) => write!(f, "inode {ino}"),
            Self::Group(group) => write!(f, "block group {group}"),
            Self::FileSystem => f.write_str("the file system"),
            Self::Journal => f.write_str("the journal"),
            Self::Transaction(number) => write!(f, "transaction {number} of the journal"),
        }
    }
}

/// Serves the files of an image.
#[derive(Debug)]
pub struct Ext4Store<R>(RunStore<Replayed<R>>);

impl<R: ReadAt> Store for Ext4Store<R> {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        self.0.open(file)
    }
}

/// Reads a file system: its tree, and the store that serves its files.
pub fn read<R: ReadAt>(source: R) -> Result<(Tree, Ext4Store<R>), ReadError> {
    read_some(source, |_| true)
}

/// Reads what is in the directories that are `wanted`, by their paths from the root on, without a leading `/`: the tree has
/// the others without an entry. The root is read in any case, of others only what is named by those that are.
pub fn read_some<R: ReadAt>(
    source: R,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<(Tree, Ext4Store<R>), ReadError> {
    let source = Replayed::new(source)?;
    let volume = Volume::open(&source)?;
    let root = volume.inode(Ino::ROOT)?;
    if root.kind() != mode::DIRECTORY {
        return Err(root.corrupt("the mode", root.inode.i_mode.get().into()));
    }
    let mut walk = Walk {
        builder: Tree::builder(Meta::root(0o755)),
        attributes: attributes::Attributes::default(),
        known: HashMap::from([(Ino::ROOT, NodeId::ROOT)]),
        files: Vec::new(),
        used: 0,
        volume,
    };
    let meta = walk.meta(&root)?;
    walk.builder.set_meta(NodeId::ROOT, meta);
    let mut open = vec![Named {
        path: Vec::new(),
        directory: root,
        node: NodeId::ROOT,
    }];
    while let Some(named) = open.pop() {
        if named.path.is_empty() || wanted(&named.path) {
            walk.directory(&named, &mut open)?;
        }
    }
    let Walk { builder, files, .. } = walk;
    Ok((builder.build()?, Ext4Store(RunStore::new(source, files))))
}

/// A directory whose entries have not been read yet.
struct Named {
    path: Vec<u8>,
    directory: Loaded,
    node: NodeId,
}

struct Walk<'a, R> {
    volume: Volume<'a, R>,
    builder: Builder,
    attributes: attributes::Attributes,
    known: HashMap<Ino, NodeId>,
    files: Vec<Stored>,
    /// Blocks that were met so far.
    used: u64,
}

impl<R: ReadAt> Walk<'_, R> {
    /// Names what a directory holds; directories in it are left in `open`.
    fn directory(&mut self, named: &Named, open: &mut Vec<Named>) -> Result<(), ReadError> {
        let Named {
            path,
            directory,
            node,
        } = named;
        let mapped = self.map(directory)?;
        let mut block = vec![0; self.volume.block_size.buffer()];
        let blocks = directory.size().div_ceil(self.volume.block_size.bytes());
        for at in mapped.blocks_below(blocks) {
            self.volume.read_block(at, &mut block)?;
            for (name, ino) in names::entries(&block, directory, &self.volume)? {
                let (child, below) = self.child(ino)?;
                self.builder.link(*node, name, child)?;
                if let Some(directory) = below {
                    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    open.push(Named {
                        path: [path, slash, name].concat(),
                        directory,
                        node: child,
                    });
                }
            }
        }
        Ok(())
    }

    /// The node of an inode, which is loaded when it is first named; with it, if it is a directory, what was loaded.
    fn child(&mut self, ino: Ino) -> Result<(NodeId, Option<Loaded>), ReadError> {
        if let Some(node) = self.known.get(&ino) {
            return Ok((*node, None));
        }
        let loaded = self.volume.inode(ino)?;
        let meta = self.meta(&loaded)?;
        let target;
        let content = match loaded.kind() {
            mode::DIRECTORY => NewContent::Directory,
            mode::FILE => NewContent::File(self.file(&loaded)?),
            mode::SYMLINK => {
                target = self.target(&loaded)?;
                NewContent::Symlink(&target)
            }
            mode::CHAR_DEVICE => NewContent::CharDevice(device(&loaded.inode)),
            mode::BLOCK_DEVICE => NewContent::BlockDevice(device(&loaded.inode)),
            mode::FIFO => NewContent::Fifo,
            mode::SOCKET => NewContent::Socket,
            _ => return Err(loaded.corrupt("the mode", loaded.inode.i_mode.get().into())),
        };
        let node = self.builder.node(meta, content)?;
        self.known.insert(ino, node);
        let is_directory = loaded.kind() == mode::DIRECTORY;
        Ok((node, is_directory.then_some(loaded)))
    }

    fn meta(&mut self, loaded: &Loaded) -> Result<Meta, ReadError> {
        let set = self.attributes.of(loaded, &self.volume)?;
        let xattrs = if set.is_empty() {
            XattrsId::NONE
        } else {
            self.builder.xattrs(set)?
        };
        Ok(Meta {
            mode: loaded.inode.i_mode.get() & 0o7777,
            uid: join(loaded.inode.i_uid.get(), loaded.inode.i_uid_high.get()),
            gid: join(loaded.inode.i_gid.get(), loaded.inode.i_gid_high.get()),
            mtime: loaded.mtime(),
            xattrs,
        })
    }

    fn file(&mut self, loaded: &Loaded) -> Result<Data, ReadError> {
        let runs = self.map(loaded)?.in_bytes();
        let len = loaded.size();
        let file = FileId(u32::try_from(self.files.len()).map_err(|_| TreeError::TooLarge)?);
        let data = Data::with_ranges(file, len, runs.ranges(len));
        let inode = loaded.ino.0.into();
        self.files.push(Stored { inode, len, runs });
        Ok(data)
    }

    fn target(&mut self, loaded: &Loaded) -> Result<Vec<u8>, ReadError> {
        let len = usize::try_from(loaded.size()).unwrap_or(usize::MAX);
        if len > 4095 {
            return Err(loaded.corrupt("the length of the symbolic link", loaded.size()));
        }
        if let Some(target) = loaded.fast_target(&self.volume) {
            return Ok(target.to_vec());
        }
        let mut block = vec![0; self.volume.block_size.buffer()];
        let at = self.map(loaded)?.block(0);
        let at = at.ok_or_else(|| loaded.corrupt("the length of the symbolic link", loaded.size()))?;
        self.volume.read_block(at, &mut block)?;
        let target = block.get(..len);
        target
            .map(<[u8]>::to_vec)
            .ok_or_else(|| loaded.corrupt("the length of the symbolic link", loaded.size()))
    }

    /// Where a file's blocks lie, counted among all that are used.
    fn map(&mut self, loaded: &Loaded) -> Result<Mapped, ReadError> {
        let room = self.volume.blocks.saturating_sub(self.used);
        let (mapped, blocks) = mapping::of(loaded, &self.volume, room)?;
        self.used = self.used.saturating_add(blocks);
        Ok(mapped)
    }
}

fn join(low: u16, high: u16) -> u32 {
    u32::from(low) | (u32::from(high) << 16)
}

/// A device number, in the old form or the new one.
fn device(inode: &Inode) -> Device {
    let (old, new) = (inode.i_block[0].get(), inode.i_block[1].get());
    if old == 0 {
        Device {
            major: (new & 0x000f_ff00) >> 8,
            minor: (new & 0xff) | ((new >> 12) & 0x000f_ff00),
        }
    } else {
        Device {
            major: (old >> 8) & 0xff,
            minor: old & 0xff,
        }
    }
}

/// The blocks of a run, checked against the file system's end.
fn within(volume_blocks: u64, first_data_block: Block, start: u64, len: u64) -> bool {
    start > first_data_block.0 && start.checked_add(len).is_some_and(|end| end <= volume_blocks)
}
