//! File system → tree: from the root of a subvolume through all directories that are wanted, each inode once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use image_core::ReadAt;
use image_core::store::FileId;
use image_core::tree::{Builder, Data, Meta, NewContent, NodeId, Tree, TreeError, XattrsId};

use super::disk::{Item, Key, kind, object};
use super::error::InodeTrouble;
use super::extents::{self, Bytes};
use super::inode::{Ino, Inode, named};
use super::roots::{Link, Root};
use super::store::Stored;
use super::volume::TreeRoot;
use super::{Error, FileSystem, to_u64};
use crate::mode;

/// The longest target of a symbolic link.
const TARGET_MAX: u64 = 4095;

/// Counts what is read of trees. Within one tree no item is met twice, but the roots of many may be one block: so what
/// is read could grow beyond all bounds, which in a file system that somebody made it cannot.
#[derive(Debug)]
pub(super) struct Ledger {
    held: u64,
    read: u64,
}

impl Ledger {
    /// Nothing read so far of a file system that has so many bytes.
    pub(super) fn new(held: u64) -> Self {
        Self { held, read: 0 }
    }

    /// Counts an item.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let len = bytes.len().saturating_add(size_of::<Item>());
        self.read = self.read.saturating_add(to_u64(len));
        if self.read > self.held {
            return Err(Error::Overlap { held: self.held });
        }
        Ok(())
    }
}

/// A directory whose entries were not read yet.
struct Pending {
    path: Vec<u8>,
    ino: Ino,
    tree: TreeRoot,
    node: NodeId,
    meta: Meta,
}

struct Walk<'a, R> {
    system: &'a FileSystem<R>,
    top: u64,
    apart: &'a BTreeSet<u64>,
    builder: Builder,
    known: HashMap<Ino, NodeId>,
    files: Vec<Stored>,
    ledger: Ledger,
    pending: Vec<Pending>,
}

/// Reads the tree of a subvolume, and what its store needs to find its files.
pub(super) fn walk<R: ReadAt>(
    system: &FileSystem<R>,
    subvolume: u64,
    apart: &BTreeSet<u64>,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<(Tree, Vec<Stored>), Error> {
    let root = system.roots.subvolumes.get(&subvolume);
    let tree = root.ok_or(Error::NoSubvolume(subvolume))?.tree;
    let mut walk = Walk {
        system,
        top: subvolume,
        apart,
        builder: Tree::builder(Meta::root(0o755)),
        known: HashMap::new(),
        files: Vec::new(),
        ledger: Ledger::new(system.about.size),
        pending: Vec::new(),
    };
    let inode = walk.root_inode(subvolume, tree)?;
    let meta = walk.meta(&inode)?;
    walk.builder.set_meta(NodeId::ROOT, meta);
    walk.known.insert(inode.ino, NodeId::ROOT);
    walk.pending.push(Pending {
        path: Vec::new(),
        ino: inode.ino,
        tree,
        node: NodeId::ROOT,
        meta,
    });
    while let Some(directory) = walk.pending.pop() {
        if directory.path.is_empty() || wanted(&directory.path) {
            walk.directory(&directory)?;
        }
    }
    Ok((walk.builder.build()?, walk.files))
}

impl<R: ReadAt> Walk<'_, R> {
    /// Names what a directory holds.
    fn directory(&mut self, directory: &Pending) -> Result<(), Error> {
        let ino = directory.ino;
        let volume = Arc::clone(&self.system.volume);
        volume.items(
            directory.tree,
            ino.keys(kind::DIR_INDEX, kind::DIR_INDEX),
            |key, bytes| {
                self.ledger.take(bytes)?;
                let entries = named(bytes).ok_or_else(|| ino.error(InodeTrouble::item(key)))?;
                for entry in entries {
                    let child = self.child(directory, entry.name, entry.location)?;
                    let linked = self.builder.link(directory.node, entry.name, child);
                    linked.map_err(|source| Error::Entry {
                        subvolume: ino.subvolume,
                        directory: ino.inode,
                        source,
                    })?;
                }
                Ok(())
            },
        )
    }

    /// The node that an entry leads to.
    fn child(&mut self, directory: &Pending, name: &[u8], location: Key) -> Result<NodeId, Error> {
        match location.kind {
            kind::INODE_ITEM => {
                let ino = Ino {
                    subvolume: directory.ino.subvolume,
                    inode: location.object,
                };
                if let Some(node) = self.known.get(&ino) {
                    return Ok(*node);
                }
                let inode = Inode::read(&self.system.volume, directory.tree, ino, &mut self.ledger)?;
                let node = self.inode(directory, name, &inode)?;
                self.known.insert(ino, node);
                Ok(node)
            }
            kind::ROOT_ITEM => self.subvolume(directory, name, location.object),
            other => Err(directory.ino.error(InodeTrouble::UnknownLocation(other))),
        }
    }

    /// The node of an inode that was not met before.
    fn inode(&mut self, directory: &Pending, name: &[u8], inode: &Inode) -> Result<NodeId, Error> {
        let meta = self.meta(inode)?;
        let target;
        let content = match inode.kind() {
            mode::DIRECTORY => {
                let node = self.builder.node(meta, NewContent::Directory)?;
                self.open(directory, name, inode.ino, directory.tree, (node, meta));
                return Ok(node);
            }
            mode::FILE => NewContent::File(self.file(directory.tree, inode)?),
            mode::SYMLINK => {
                target = self.target(directory.tree, inode)?;
                NewContent::Symlink(&target)
            }
            mode::CHAR_DEVICE => NewContent::CharDevice(inode.device()?),
            mode::BLOCK_DEVICE => NewContent::BlockDevice(inode.device()?),
            mode::FIFO => NewContent::Fifo,
            mode::SOCKET => NewContent::Socket,
            _ => return Err(inode.unknown_mode()),
        };
        Ok(self.builder.node(meta, content)?)
    }

    /// The directory in whose place a subvolume is. What the entry of a snapshot leads to, if that subvolume is named
    /// elsewhere, is an empty directory of the same owner, as the kernel shows it.
    fn subvolume(&mut self, directory: &Pending, name: &[u8], id: u64) -> Result<NodeId, Error> {
        let link = Link {
            directory: directory.ino,
            name: name.to_vec(),
        };
        let root = self.system.roots.subvolumes.get(&id);
        let Some(&Root { tree, snapshot, .. }) = root.filter(|root| root.link.as_ref() == Some(&link)) else {
            let meta = Meta {
                mode: 0o755,
                xattrs: XattrsId::NONE,
                ..directory.meta
            };
            return Ok(self.builder.node(meta, NewContent::Directory)?);
        };
        let inode = self.root_inode(id, tree)?;
        let meta = self.meta(&inode)?;
        let node = self.builder.node(meta, NewContent::Directory)?;
        if !snapshot && !self.apart.contains(&id) && id != self.top {
            self.known.insert(inode.ino, node);
            self.open(directory, name, inode.ino, tree, (node, meta));
        }
        Ok(node)
    }

    /// Leaves a directory to be read later.
    fn open(&mut self, above: &Pending, name: &[u8], ino: Ino, tree: TreeRoot, (node, meta): (NodeId, Meta)) {
        let slash: &[u8] = if above.path.is_empty() { b"" } else { b"/" };
        self.pending.push(Pending {
            path: [&above.path, slash, name].concat(),
            ino,
            tree,
            node,
            meta,
        });
    }

    fn root_inode(&mut self, subvolume: u64, tree: TreeRoot) -> Result<Inode, Error> {
        let ino = Ino {
            subvolume,
            inode: object::FIRST_FREE,
        };
        let inode = Inode::read(&self.system.volume, tree, ino, &mut self.ledger)?;
        if inode.kind() == mode::DIRECTORY {
            Ok(inode)
        } else {
            Err(ino.error(InodeTrouble::NoDirectory))
        }
    }

    fn meta(&mut self, inode: &Inode) -> Result<Meta, Error> {
        let xattrs = if inode.xattrs.is_empty() {
            XattrsId::NONE
        } else {
            self.builder.xattrs(inode.xattrs.clone())?
        };
        Ok(Meta {
            mode: inode.permissions(),
            uid: inode.item.uid.get(),
            gid: inode.item.gid.get(),
            mtime: inode.mtime(),
            xattrs,
        })
    }

    fn file(&mut self, tree: TreeRoot, inode: &Inode) -> Result<Data, Error> {
        let len = inode.item.size.get();
        let ledger = &mut self.ledger;
        let extents = extents::read(&self.system.volume, tree, inode.ino, len, |bytes| {
            ledger.take(bytes)
        })?;
        let file = FileId(u32::try_from(self.files.len()).map_err(|_| TreeError::TooLarge)?);
        self.files.push(Stored {
            tree,
            ino: inode.ino,
            len,
            sums: inode.has_sums(),
        });
        Ok(Data::with_ranges(file, len, extents::ranges(&extents)))
    }

    /// The target of a symbolic link, which stands in its only extent.
    fn target(&mut self, tree: TreeRoot, inode: &Inode) -> Result<Vec<u8>, Error> {
        let len = inode.item.size.get();
        let wrong = || inode.ino.error(InodeTrouble::BadTarget(len));
        if len > TARGET_MAX {
            return Err(wrong());
        }
        let ledger = &mut self.ledger;
        let extents = extents::read(&self.system.volume, tree, inode.ino, len, |bytes| {
            ledger.take(bytes)
        })?;
        match extents.into_iter().next().map(|extent| extent.bytes) {
            Some(Bytes::Inline { bytes, packed: None }) if to_u64(bytes.len()) == len => Ok(bytes.into()),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_there_is() {
        let mut ledger = Ledger::new(100);
        ledger.take(&[0; 75]).unwrap();
        let error = ledger.take(&[]).unwrap_err();
        assert!(matches!(error, Error::Overlap { held: 100 }), "{error}");
    }
}
