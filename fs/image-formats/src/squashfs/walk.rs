//! Image → tree: from the root's inode through all directories, each inode once.

use std::collections::{HashMap, HashSet};

use image_core::store::FileId;
use image_core::tree::{Builder, Data, Meta, NewContent, NodeId, Tree, TreeError, XattrsId};

use super::blocks::File;
use super::inode::{Inode, Kind, Listing};
use super::metadata::{Ledger, Reference};
use super::xattrs::Xattrs;
use super::{Error, Image, Trouble, directory, inode};

/// A directory whose entries were not read yet.
struct Pending {
    node: NodeId,
    number: u32,
    listing: Listing,
}

struct Walk<'a> {
    image: &'a Image,
    builder: Builder,
    xattrs: Xattrs,
    files: Vec<File>,
    /// The nodes of inodes, by where they stand.
    nodes: HashMap<Reference, NodeId>,
    numbers: HashSet<u32>,
    inodes: Ledger,
    pending: Vec<Pending>,
}

/// Reads the tree, and where its files stand, by the numbers that the tree has of them.
pub(super) fn walk(image: &Image) -> Result<(Tree, Vec<File>), Error> {
    let mut walk = Walk {
        image,
        builder: Tree::builder(Meta::root(0o755)),
        xattrs: Xattrs::default(),
        files: Vec::new(),
        nodes: HashMap::new(),
        numbers: HashSet::new(),
        inodes: Ledger::default(),
        pending: Vec::new(),
    };
    walk.root()?;
    let mut listings = Ledger::default();
    while let Some(Pending {
        node,
        number,
        listing,
    }) = walk.pending.pop()
    {
        directory::read(image, &mut listings, listing, number, |name, at| {
            let child = walk.inode(at)?;
            let linked = walk.builder.link(node, name, child);
            linked.map_err(|source| Error::Entry {
                directory: number,
                source,
            })
        })?;
    }
    Ok((walk.builder.build()?, walk.files))
}

impl Walk<'_> {
    fn root(&mut self) -> Result<(), Error> {
        let at = Reference::new(self.image.superblock.root_inode.get());
        let inode = inode::read(self.image, &mut self.inodes, at)?;
        let number = inode.number;
        let Kind::Directory(listing) = inode.kind else {
            return Err(Error::Inode {
                number,
                trouble: Trouble::RootIsNoDirectory,
            });
        };
        let meta = self.meta(&inode)?;
        self.builder.set_meta(NodeId::ROOT, meta);
        self.nodes.insert(at, NodeId::ROOT);
        self.numbers.insert(number);
        self.pending.push(Pending {
            node: NodeId::ROOT,
            number,
            listing,
        });
        Ok(())
    }

    /// The node of the inode at a reference, which is made when it is met first.
    fn inode(&mut self, at: Reference) -> Result<NodeId, Error> {
        if let Some(node) = self.nodes.get(&at) {
            return Ok(*node);
        }
        let inode = inode::read(self.image, &mut self.inodes, at)?;
        let number = inode.number;
        if !self.numbers.insert(number) {
            return Err(Error::Inode {
                number,
                trouble: Trouble::TwinNumber,
            });
        }
        let meta = self.meta(&inode)?;
        let node = match inode.kind {
            Kind::Directory(listing) => {
                let node = self.builder.node(meta, NewContent::Directory)?;
                self.pending.push(Pending {
                    node,
                    number,
                    listing,
                });
                node
            }
            Kind::File(file) => {
                let data = self.file(file)?;
                self.builder.node(meta, NewContent::File(data))?
            }
            Kind::Symlink(target) => self.builder.node(meta, NewContent::Symlink(&target))?,
            Kind::Block(device) => self.builder.node(meta, NewContent::BlockDevice(device))?,
            Kind::Char(device) => self.builder.node(meta, NewContent::CharDevice(device))?,
            Kind::Fifo => self.builder.node(meta, NewContent::Fifo)?,
            Kind::Socket => self.builder.node(meta, NewContent::Socket)?,
        };
        self.nodes.insert(at, node);
        Ok(node)
    }

    fn file(&mut self, file: File) -> Result<Data, Error> {
        let ranges = file.ranges(self.image, &mut self.inodes)?;
        let id = FileId(u32::try_from(self.files.len()).map_err(|_| TreeError::TooLarge)?);
        self.files.push(file);
        Ok(Data {
            file: id,
            len: file.len,
            ranges: ranges.map(Into::into),
        })
    }

    fn meta(&mut self, inode: &Inode) -> Result<Meta, Error> {
        let xattrs = match inode.xattrs {
            Some(index) => self
                .xattrs
                .set(self.image, &mut self.builder, inode.number, index)?,
            None => XattrsId::NONE,
        };
        Ok(Meta {
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            xattrs,
        })
    }
}
