//! The tables: inodes and directories, a directory's behind those of all that is in it, since it says where they are.

use std::io;

use image_core::tree::{Content, Device, Entries, Node, NodeId, Tree};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;

use super::attributes::Sets;
use super::plan::{Plan, seconds};
use super::tables::{Table, indexed};
use super::{Place, length};
use crate::squashfs::disk::{
    BaseInode, DevInode, DirEntry, DirHeader, DirInode, FragmentEntry, LISTING_EXTRA, LdirInode, LregInode,
    MAGIC, NO_TABLE, NONE, RegInode, Superblock, SymlinkInode,
};

/// The most entries of a run.
const RUN_MAX: usize = 256;
/// The flag that says: there is a table of where inodes are by number, for NFS.
const EXPORTABLE: u16 = 1 << 7;
/// What is added to the kind of an inode with room for more.
const EXTENDED: u16 = 7;
/// No inode yet.
const NOWHERE: u64 = u64::MAX;

/// Inodes and directories, while they are written.
struct Writer<'a> {
    plan: &'a Plan,
    tree: &'a Tree,
    places: &'a [Place],
    /// Which place each node has, if it is a file that has any bytes.
    files: Vec<Option<usize>>,
    sets: &'a Sets,
    inodes: Table,
    directories: Table,
    /// Where the inode of each node stands.
    references: Vec<u64>,
}

/// A directory whose entries are being written.
struct Open {
    id: NodeId,
    entries: Entries,
    parent: u32,
    next: usize,
}

/// All tables, which will stand at `at`, and the superblock.
pub(super) fn tables(
    plan: &Plan,
    places: &[Place],
    fragments: &[FragmentEntry],
    at: u64,
) -> io::Result<(Vec<u8>, Superblock)> {
    let options = plan.options;
    let sets = Sets::new(&plan.tree, options)?;
    let mut writer = Writer::new(plan, places, &sets);
    writer.walk()?;
    let Writer {
        inodes,
        directories,
        references,
        ..
    } = writer;
    let mut bytes = inodes.finish()?;
    let root_inode = references[NodeId::ROOT.index()];
    let directory_table_start = at.saturating_add(length(&bytes));
    bytes.extend(directories.finish()?);
    let mut add = |records: &[u8]| {
        let (table, start) = indexed(options, records, at.saturating_add(length(&bytes)))?;
        bytes.extend(table);
        Ok::<u64, io::Error>(start)
    };
    let fragment_table_start = if fragments.is_empty() {
        NO_TABLE
    } else {
        add(fragments.as_bytes())?
    };
    let references: Vec<u8> = references.iter().flat_map(|place| place.to_le_bytes()).collect();
    let lookup_table_start = add(&references)?;
    let ids: Vec<u8> = plan.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let id_table_start = add(&ids)?;
    let (table, xattr_id_table_start) = sets.tables(options, at.saturating_add(length(&bytes)))?;
    bytes.extend(table);
    let count = |count: usize| u32::try_from(count).map_err(|_| too_large());
    let superblock = Superblock {
        s_magic: MAGIC.into(),
        inodes: count(plan.tree.nodes().len())?.into(),
        mkfs_time: seconds(options.epoch).into(),
        block_size: options.block.into(),
        fragments: count(fragments.len())?.into(),
        compression: options.compression.number().into(),
        block_log: u16::try_from(options.block.ilog2()).expect("at most 20").into(),
        flags: EXPORTABLE.into(),
        no_ids: u16::try_from(plan.ids.len())
            .expect("the plan counted them")
            .into(),
        s_major: 4.into(),
        s_minor: 0.into(),
        root_inode: root_inode.into(),
        bytes_used: at.saturating_add(length(&bytes)).into(),
        id_table_start: id_table_start.into(),
        xattr_id_table_start: xattr_id_table_start.into(),
        inode_table_start: at.into(),
        directory_table_start: directory_table_start.into(),
        fragment_table_start: fragment_table_start.into(),
        lookup_table_start: lookup_table_start.into(),
    };
    Ok((bytes, superblock))
}

impl<'a> Writer<'a> {
    fn new(plan: &'a Plan, places: &'a [Place], sets: &'a Sets) -> Self {
        let tree = &plan.tree;
        let mut files = vec![None; tree.nodes().len()];
        for (index, file) in plan.files.iter().enumerate() {
            files[file.node.index()] = Some(index);
        }
        Self {
            plan,
            tree,
            places,
            files,
            sets,
            inodes: Table::new(plan.options),
            directories: Table::new(plan.options),
            references: vec![NOWHERE; tree.nodes().len()],
        }
    }

    fn walk(&mut self) -> io::Result<()> {
        let tree = self.tree;
        let Content::Directory(root) = tree.node(NodeId::ROOT).content else {
            unreachable!("a tree's root is a directory");
        };
        // The kernel never asks for the root's parent; mksquashfs writes the number behind the last.
        let mut stack = vec![Open {
            id: NodeId::ROOT,
            entries: root,
            parent: u32::try_from(tree.nodes().len())
                .ok()
                .and_then(|count| count.checked_add(1))
                .ok_or_else(too_large)?,
            next: 0,
        }];
        while let Some(mut open) = stack.pop() {
            let Some((_, id)) = tree.nth_entry(open.entries, open.next) else {
                self.directory(&open)?;
                continue;
            };
            open.next = open.next.saturating_add(1);
            let parent = number(open.id);
            stack.push(open);
            if let Content::Directory(entries) = tree.node(id).content {
                stack.push(Open {
                    id,
                    entries,
                    parent,
                    next: 0,
                });
            } else if self.references[id.index()] == NOWHERE {
                self.other(id)?;
            }
        }
        Ok(())
    }

    /// How the inode of a node begins.
    fn base(&self, id: NodeId, inode_type: u16) -> BaseInode {
        let node = self.tree.node(id);
        let place = |id: u32| {
            let place = self.plan.ids.partition_point(|known| *known < id);
            u16::try_from(place).expect("the plan counted them")
        };
        BaseInode {
            inode_type: inode_type.into(),
            mode: node.meta.mode.into(),
            uid: place(node.meta.uid).into(),
            guid: place(node.meta.gid).into(),
            mtime: self.plan.time(node).into(),
            inode_number: number(id).into(),
        }
    }

    /// Writes an inode, and notes where it stands.
    fn inode(&mut self, id: NodeId, inode_type: u16, parts: &[&[u8]]) -> io::Result<()> {
        self.references[id.index()] = self.inodes.reference();
        let base = self.base(id, inode_type);
        self.inodes.push(base.as_bytes())?;
        parts.iter().try_for_each(|part| self.inodes.push(part))
    }

    /// Writes a directory whose entries' inodes are written: its listing and its own inode.
    fn directory(&mut self, open: &Open) -> io::Result<()> {
        let (block, offset) = self.directories.place();
        let start_block = U32::new(u32::try_from(block).map_err(|_| too_large())?);
        let size = self.listing(open.entries)?;
        let file_size = size.checked_add(LISTING_EXTRA).ok_or_else(too_large)?;
        let entries = self.tree.entries(open.entries);
        let below = entries.filter(|(_, id)| kind(self.tree.node(*id)) == 1).count();
        let nlink = u32::try_from(below.saturating_add(2)).map_err(|_| too_large())?;
        let xattr = self.sets.number(self.tree.node(open.id).meta.xattrs);
        match u16::try_from(file_size) {
            Ok(file_size) if xattr == NONE => {
                let inode = DirInode {
                    start_block,
                    nlink: nlink.into(),
                    file_size: file_size.into(),
                    offset: offset.into(),
                    parent_inode: open.parent.into(),
                };
                self.inode(open.id, 1, &[inode.as_bytes()])
            }
            _ => {
                let inode = LdirInode {
                    nlink: nlink.into(),
                    file_size: file_size.into(),
                    start_block,
                    parent_inode: open.parent.into(),
                    i_count: 0.into(),
                    offset: offset.into(),
                    xattr: xattr.into(),
                };
                self.inode(open.id, 1_u16.saturating_add(EXTENDED), &[inode.as_bytes()])
            }
        }
    }

    /// Writes the entries of a directory, in runs whose inodes stand in one block; gives their bytes.
    fn listing(&mut self, entries: Entries) -> io::Result<u32> {
        let tree = self.tree;
        let mut size = 0_usize;
        let mut rest: Vec<(&[u8], NodeId)> = tree.entries(entries).collect();
        while let Some((_, first)) = rest.first() {
            let block = self.references[first.index()] >> 16;
            let base = number(*first);
            let delta = |id: NodeId| {
                let delta = i64::from(number(id)).checked_sub(i64::from(base));
                delta.and_then(|delta| i16::try_from(delta).ok())
            };
            let fits = |(_, id): &&(&[u8], NodeId)| {
                self.references[id.index()] >> 16 == block && delta(*id).is_some()
            };
            let count = rest.iter().take(RUN_MAX).take_while(fits).count();
            let header = DirHeader {
                count: u32::try_from(count.saturating_sub(1))
                    .expect("at most 255")
                    .into(),
                start_block: u32::try_from(block).map_err(|_| too_large())?.into(),
                inode_number: base.into(),
            };
            let mut run = header.as_bytes().to_vec();
            for (name, id) in rest.drain(..count) {
                let offset = u16::try_from(self.references[id.index()] & 0xffff).expect("sixteen bits");
                let entry = DirEntry {
                    offset: offset.into(),
                    inode_number: delta(id).unwrap_or(0).cast_unsigned().into(),
                    r#type: kind(tree.node(id)).into(),
                    size: u16::try_from(name.len().saturating_sub(1))
                        .expect("a name has 255 bytes at most")
                        .into(),
                };
                run.extend_from_slice(entry.as_bytes());
                run.extend_from_slice(name);
            }
            self.directories.push(&run)?;
            size = size.saturating_add(run.len());
        }
        u32::try_from(size).map_err(|_| too_large())
    }

    /// Writes the inode of a node that is no directory.
    fn other(&mut self, id: NodeId) -> io::Result<()> {
        let node = self.tree.node(id);
        let xattr = self.sets.number(node.meta.xattrs);
        let (number, end) = if xattr == NONE {
            (kind(node), Vec::new())
        } else {
            (kind(node).saturating_add(EXTENDED), xattr.to_le_bytes().to_vec())
        };
        let nlink = U32::new(node.links);
        match node.content {
            Content::Directory(_) => unreachable!("directories are written when all in them is"),
            Content::File(_) => self.file(id, node, xattr),
            Content::Symlink(target) => {
                let target = self.tree.target(target);
                let inode = SymlinkInode {
                    nlink,
                    symlink_size: u32::try_from(target.len()).expect("at most 4095").into(),
                };
                self.inode(id, number, &[inode.as_bytes(), target, &end])
            }
            Content::CharDevice(device) | Content::BlockDevice(device) => {
                let inode = DevInode {
                    nlink,
                    rdev: rdev(device).into(),
                };
                self.inode(id, number, &[inode.as_bytes(), &end])
            }
            Content::Fifo | Content::Socket => self.inode(id, number, &[nlink.as_bytes(), &end]),
        }
    }

    fn file(&mut self, id: NodeId, node: &Node, xattr: u32) -> io::Result<()> {
        let none = Place::default();
        let file = self.files[id.index()];
        let place = file.map_or(&none, |index| &self.places[index]);
        let len = file.map_or(0, |index| {
            let range = &self.plan.files[index].range;
            range.end.saturating_sub(range.start)
        });
        let (fragment, offset) = place.fragment.unwrap_or((NONE, 0));
        let blocks: Vec<u8> = place.blocks.iter().flat_map(|size| size.to_le_bytes()).collect();
        let small = u32::try_from(place.start).ok().zip(u32::try_from(len).ok());
        match small {
            Some((start, len)) if xattr == NONE && node.links == 1 && place.sparse == 0 => {
                let inode = RegInode {
                    start_block: start.into(),
                    fragment: fragment.into(),
                    offset: offset.into(),
                    file_size: len.into(),
                };
                self.inode(id, 2, &[inode.as_bytes(), &blocks])
            }
            _ => {
                let inode = LregInode {
                    start_block: place.start.into(),
                    file_size: len.into(),
                    // A file of holes alone has one byte less of them, as mksquashfs has it: the kernel counts blocks by it.
                    sparse: place.sparse.min(len.saturating_sub(1)).into(),
                    nlink: node.links.into(),
                    fragment: fragment.into(),
                    offset: offset.into(),
                    xattr: xattr.into(),
                };
                self.inode(id, 2_u16.saturating_add(EXTENDED), &[inode.as_bytes(), &blocks])
            }
        }
    }
}

/// The number of a node's inode.
fn number(id: NodeId) -> u32 {
    u32::try_from(id.index().saturating_add(1)).expect("a tree has fewer than 2^32 nodes")
}

/// The number of a node's kind.
fn kind(node: &Node) -> u16 {
    match node.content {
        Content::Directory(_) => 1,
        Content::File(_) => 2,
        Content::Symlink(_) => 3,
        Content::BlockDevice(_) => 4,
        Content::CharDevice(_) => 5,
        Content::Fifo => 6,
        Content::Socket => 7,
    }
}

/// A device number as the kernel packs it in 32 bits: `new_encode_dev`.
fn rdev(device: Device) -> u32 {
    let Device { major, minor } = device;
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the tree is too large for squashfs")
}
