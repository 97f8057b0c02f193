//! Image → tree: from the root's inode through all directories that are wanted, each inode once.

use std::collections::HashMap;

use image_core::ReadAt;
use image_core::runs::Stored;
use image_core::store::FileId;
use image_core::tree::{Builder, Data, Device, Meta, NewContent, NodeId, Tree, TreeError, XattrsId};
use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::U32;

use super::disk::{REMOTE_GUARD, RemoteHead, SYMLINK_MAGIC};
use super::inode::{self, Form, Inode};
use super::mapping::{self, Mapped};
use super::volume::{Ledger, Volume, buffer};
use super::{Error, attributes, directory, to_usize};
use crate::mode;

/// The longest target of a symbolic link that XFS has.
const TARGET_MAX: u64 = 1024;

/// A directory whose entries have not been read yet.
struct Pending {
    path: Vec<u8>,
    inode: Inode,
    node: NodeId,
}

struct Walk<'a, R> {
    volume: &'a Volume<R>,
    builder: Builder,
    ledger: Ledger,
    known: HashMap<u64, NodeId>,
    files: Vec<Stored>,
}

/// Reads the tree, and where its files lie, by the numbers that the tree has of them.
pub(super) fn walk<R: ReadAt>(
    volume: &Volume<R>,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<(Tree, Vec<Stored>), Error> {
    let root = inode::read(volume, volume.superblock.sb_rootino.get())?;
    if root.kind() != mode::DIRECTORY {
        return Err(root.corrupt("the mode", root.core.di_mode.get().into()));
    }
    let mut walk = Walk {
        volume,
        builder: Tree::builder(Meta::root(0o755)),
        ledger: Ledger::new(volume.blocks()),
        known: HashMap::from([(root.ino, NodeId::ROOT)]),
        files: Vec::new(),
    };
    let meta = walk.meta(&root)?;
    walk.builder.set_meta(NodeId::ROOT, meta);
    let mut open = vec![Pending {
        path: Vec::new(),
        inode: root,
        node: NodeId::ROOT,
    }];
    while let Some(pending) = open.pop() {
        if pending.path.is_empty() || wanted(&pending.path) {
            walk.directory(&pending, &mut open)?;
        }
    }
    Ok((walk.builder.build()?, walk.files))
}

impl<R: ReadAt> Walk<'_, R> {
    /// Names what a directory holds; directories in it are left in `open`.
    fn directory(&mut self, pending: &Pending, open: &mut Vec<Pending>) -> Result<(), Error> {
        let Pending { path, inode, node } = pending;
        for (name, ino) in directory::entries(self.volume, inode, &mut self.ledger)? {
            let (child, below) = self.child(ino)?;
            self.builder.link(*node, &name, child)?;
            if let Some(inode) = below {
                let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                open.push(Pending {
                    path: [path, slash, &name].concat(),
                    inode,
                    node: child,
                });
            }
        }
        Ok(())
    }

    /// The node of an inode, which is read when it is first named; with it, if it is a directory, what was read.
    fn child(&mut self, ino: u64) -> Result<(NodeId, Option<Inode>), Error> {
        if let Some(node) = self.known.get(&ino) {
            return Ok((*node, None));
        }
        let inode = inode::read(self.volume, ino)?;
        let meta = self.meta(&inode)?;
        let target;
        let content = match inode.kind() {
            mode::DIRECTORY => NewContent::Directory,
            mode::FILE => NewContent::File(self.file(&inode)?),
            mode::SYMLINK => {
                target = self.target(&inode)?;
                NewContent::Symlink(&target)
            }
            mode::CHAR_DEVICE => NewContent::CharDevice(device(&inode)?),
            mode::BLOCK_DEVICE => NewContent::BlockDevice(device(&inode)?),
            mode::FIFO => NewContent::Fifo,
            mode::SOCKET => NewContent::Socket,
            _ => return Err(inode.corrupt("the mode", inode.core.di_mode.get().into())),
        };
        let node = self.builder.node(meta, content)?;
        self.known.insert(ino, node);
        let is_directory = inode.kind() == mode::DIRECTORY;
        Ok((node, is_directory.then_some(inode)))
    }

    fn meta(&mut self, inode: &Inode) -> Result<Meta, Error> {
        let set = attributes::of(self.volume, inode, &mut self.ledger)?;
        let xattrs = if set.is_empty() {
            XattrsId::NONE
        } else {
            self.builder.xattrs(set)?
        };
        Ok(Meta {
            mode: inode.core.di_mode.get() & 0o7777,
            uid: inode.core.di_uid.get(),
            gid: inode.core.di_gid.get(),
            mtime: inode.mtime()?,
            xattrs,
        })
    }

    fn file(&mut self, inode: &Inode) -> Result<Data, Error> {
        let runs = self.map(inode)?.in_bytes(self.volume.block_bytes());
        let len = inode.core.di_size.get();
        if i64::try_from(len).is_err() {
            return Err(inode.corrupt("the length", len));
        }
        let file = FileId(u32::try_from(self.files.len()).map_err(|_| TreeError::TooLarge)?);
        let data = Data::with_ranges(file, len, runs.ranges(len));
        let inode = inode.ino;
        self.files.push(Stored { inode, len, runs });
        Ok(data)
    }

    fn map(&mut self, inode: &Inode) -> Result<Mapped, Error> {
        mapping::of(self.volume, inode, inode.data()?, &mut self.ledger)
    }

    /// A link's target: in the inode, or in runs of blocks, each of which has a head in version 5.
    fn target(&mut self, inode: &Inode) -> Result<Vec<u8>, Error> {
        let len = inode.core.di_size.get();
        let bad = || inode.corrupt("the length of the symbolic link", len);
        if len > TARGET_MAX {
            return Err(bad());
        }
        let fork = inode.data()?;
        if fork.form == Form::Local {
            return fork
                .bytes
                .get(..to_usize(len))
                .map(<[u8]>::to_vec)
                .ok_or_else(bad);
        }
        let volume = self.volume;
        let mut target = Vec::new();
        for run in &self.map(inode)?.runs {
            // A target has no more blocks than its bytes and heads take.
            let bytes = run.len.saturating_mul(volume.block_bytes());
            if bytes > TARGET_MAX.saturating_add(volume.block_bytes()) {
                return Err(inode.corrupt("the blocks of the symbolic link", run.len));
            }
            self.ledger.take(run.len)?;
            let mut bytes = buffer(bytes);
            volume.read_block(run.start, &mut bytes)?;
            volume.check(
                &bytes,
                REMOTE_GUARD,
                run.start,
                inode.ino,
                "a symbolic link's target",
            )?;
            target.extend_from_slice(part(inode, &bytes, volume.guarded)?);
        }
        target.truncate(to_usize(len));
        if target.len() == to_usize(len) {
            Ok(target)
        } else {
            Err(bad())
        }
    }
}

/// What of a target stands in blocks.
fn part<'a>(inode: &Inode, bytes: &'a [u8], guarded: bool) -> Result<&'a [u8], Error> {
    if !guarded {
        return Ok(bytes);
    }
    let (head, rest) = RemoteHead::read_from_prefix(bytes).expect("a block has 512 bytes at least");
    let part = rest.get(..to_usize(head.bytes.get().into()));
    part.filter(|_| head.magic == SYMLINK_MAGIC)
        .ok_or_else(|| inode.corrupt("the bytes of a symbolic link's block", head.bytes.get().into()))
}

/// A device number: 14 bits of the driver, 18 of the device.
fn device(inode: &Inode) -> Result<Device, Error> {
    let fork = inode.data()?;
    let (number, _) = U32::read_from_prefix(fork.bytes)
        .ok()
        .filter(|_| fork.form == Form::Device)
        .ok_or_else(|| inode.corrupt("the format", inode.core.di_format.into()))?;
    Ok(Device {
        major: number.get() >> 18,
        minor: number.get() & 0x3_ffff,
    })
}
