//! The census: what a tree asks of any file system that is to hold it, before sizes and places are known.

use std::sync::Arc;

use image_core::tree::{Content, Device, Node};
use image_core::{NodeId, Tree};

use crate::checksum::Seed;
use crate::directory::{self, Directories};
use crate::error::Error;
use crate::features::{Compat, Incompat, RoCompat};
use crate::file_map::{Logical, Mapper};
use crate::hash::Hasher;
use crate::inode::{EXTRA_ISIZE, GOOD_OLD, LINK_MAX, Stamp};
use crate::numbering::Numbers;
use crate::options::Options;
use crate::units::{Blocks, Bytes, to_u64};
use crate::xattr::{self, Xattrs};

/// Bytes of a symlink's target that fit the inode, with the NUL that ends it.
const FAST_SYMLINK: usize = 60;

/// What a tree needs.
#[derive(Clone, Debug)]
pub(crate) struct Census {
    /// The tree.
    pub(crate) tree: Tree,
    /// Its directories, laid out.
    pub(crate) directories: Arc<Directories>,
    /// Its xattrs, laid out.
    pub(crate) xattrs: Arc<Xattrs>,
    /// Its inodes' numbers.
    pub(crate) numbers: Numbers,
    /// How files are mapped.
    pub(crate) mapper: Mapper,
    /// Blocks of all that the tree holds, with maps where each file lies in one piece.
    pub(crate) blocks: Blocks,
    /// The sum of block-rounded sizes: of the data of files, of directories and long symlinks of the tree, and of values
    /// of xattrs in inodes of their own.
    pub(crate) used: Bytes,
    /// Files whose time no inode can hold.
    pub(crate) clamped_times: u64,
    /// Blocks of the orphan file.
    pub(crate) orphan_blocks: Blocks,
}

impl Census {
    /// Counts, and checks that the format can hold each node.
    pub(crate) fn take(tree: &Tree, options: &Options) -> Result<Self, Error> {
        let features = &options.features;
        let orphan_file = features.compat.contains(Compat::ORPHAN_FILE);
        let numbers = Numbers::new(tree, orphan_file);
        let xattrs = Xattrs::plan(tree, xattr_format(options), &|i| numbers.value(i))?;
        let values = u32::try_from(xattrs.values().len()).expect("fewer than inodes");
        let mut census = Self {
            tree: tree.clone(),
            directories: Arc::new(Directories::plan(tree, directory_format(options))?),
            xattrs: Arc::new(xattrs),
            numbers: numbers.with_values(values),
            mapper: Mapper {
                block_size: options.block_size,
                extents: features.extents(),
            },
            blocks: Blocks::ZERO,
            used: Bytes::ZERO,
            clamped_times: 0,
            orphan_blocks: if orphan_file {
                Blocks(options.orphan_file_blocks.into())
            } else {
                Blocks::ZERO
            },
        };
        let len_max = file_len_max(options, census.mapper);
        let mut data = Blocks::ZERO;
        let mut maps = Blocks::ZERO;
        for (id, node) in tree.iter() {
            census.check_links(options, id, node)?;
            let time = options.identity.time(node.meta.mtime);
            let (_, clamped) = Stamp::clamped(time, options.inode_size);
            census.clamped_times = census.clamped_times.saturating_add(clamped.into());
            let Some(logical) = census.checked_data(id, node, len_max)? else {
                continue;
            };
            data += logical.blocks();
            maps += census.mapper.nodes_in_one_piece(&logical);
        }
        for directory in census.directories.iter() {
            let logical = Logical::Dense(Blocks(directory.blocks.into()));
            maps += census.mapper.nodes_in_one_piece(&logical);
            match directory.node {
                Some(_) => data += logical.blocks(),
                None => maps += logical.blocks(),
            }
        }
        let orphan = Logical::Dense(census.orphan_blocks);
        maps += census.orphan_blocks + census.mapper.nodes_in_one_piece(&orphan);
        maps += Blocks(census.xattrs.blocks().into());
        for value in census.xattrs.values() {
            let blocks = value.blocks(options.block_size);
            data += blocks;
            maps += census.mapper.nodes_in_one_piece(&Logical::Dense(blocks));
        }
        census.used = data.bytes(options.block_size);
        census.blocks = data + maps;
        Ok(census)
    }

    /// The blocks of a file or of a symlink whose target stands in a block.
    pub(crate) fn data(&self, node: &Node) -> Option<Logical> {
        match &node.content {
            Content::File(data) if data.len > 0 => Some(Logical::of(data, self.mapper.block_size)),
            Content::Symlink(target) if self.tree.target(*target).len() >= FAST_SYMLINK => {
                Some(Logical::Dense(Blocks(1)))
            }
            _ => None,
        }
    }

    fn checked_data(&self, id: NodeId, node: &Node, len_max: u64) -> Result<Option<Logical>, Error> {
        match &node.content {
            Content::File(data) if data.len > len_max => Err(Error::FileTooLong {
                path: self.tree.path(id),
                len: data.len,
                max: len_max,
            }),
            Content::Symlink(target) => {
                let len = to_u64(self.tree.target(*target).len());
                let max = self.mapper.block_size.bytes().saturating_sub(1);
                if len > max {
                    let path = self.tree.path(id);
                    return Err(Error::TargetTooLong { path, len, max });
                }
                Ok(self.data(node))
            }
            Content::CharDevice(Device { major, minor }) | Content::BlockDevice(Device { major, minor })
                if *major >= 1 << 12 || *minor >= 1 << 20 =>
            {
                Err(Error::DeviceOutOfRange {
                    path: self.tree.path(id),
                    major: *major,
                    minor: *minor,
                })
            }
            _ => Ok(self.data(node)),
        }
    }

    fn check_links(&self, options: &Options, id: NodeId, node: &Node) -> Result<(), Error> {
        let many = options.features.ro_compat.contains(RoCompat::DIR_NLINK);
        let is_directory = matches!(node.content, Content::Directory(_));
        let links = self.links(id, node);
        if links > LINK_MAX.into() && !(is_directory && many) {
            return Err(Error::TooManyLinks {
                path: self.tree.path(id),
                links,
                max: LINK_MAX.into(),
            });
        }
        Ok(())
    }

    /// The links of a node's inode; for directories `.` and the `..` of its subdirectories count.
    pub(crate) fn links(&self, id: NodeId, node: &Node) -> u64 {
        let Content::Directory(entries) = node.content else {
            return node.links.into();
        };
        let is_directory =
            |(_, child): &(&[u8], NodeId)| matches!(self.tree.node(*child).content, Content::Directory(_));
        let subdirectories = to_u64(self.tree.entries(entries).filter(is_directory).count());
        let own = id == NodeId::ROOT && self.directories.lost_found().is_some();
        subdirectories.saturating_add(2).saturating_add(own.into())
    }
}

/// Without `large_file` a file ends before 2 GiB, without `huge_file` before 2 TiB of blocks.
fn file_len_max(options: &Options, mapper: Mapper) -> u64 {
    let ro_compat = options.features.ro_compat;
    let by_feature = if !ro_compat.contains(RoCompat::LARGE_FILE) {
        (1 << 31) - 1
    } else if !ro_compat.contains(RoCompat::HUGE_FILE) {
        (1 << 41) - (1 << 32)
    } else {
        u64::MAX
    };
    mapper.len_max().min(by_feature)
}

fn directory_format(options: &Options) -> directory::Format {
    let features = &options.features;
    directory::Format {
        block_size: options.block_size,
        checksums: features.metadata_csum(),
        file_types: features.incompat.contains(Incompat::FILETYPE),
        index: features.compat.contains(Compat::DIR_INDEX),
        large: features.incompat.contains(Incompat::LARGEDIR),
        hasher: Hasher {
            algorithm: options.hash,
            unsigned: !options.hash_signed,
            seed: seed_words(options.hash_seed.as_bytes()),
        },
        lost_found_blocks: directory::Format::usual_lost_found_blocks(options.block_size),
    }
}

/// The hash seed's words, as the superblock's bytes give them.
fn seed_words(seed: &[u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(seed.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

fn xattr_format(options: &Options) -> xattr::Format {
    let own = u16::try_from(GOOD_OLD).unwrap_or(0).saturating_add(EXTRA_ISIZE);
    xattr::Format {
        block_size: options.block_size,
        inode_room: options.inode_size.saturating_sub(own),
        any: options.features.compat.contains(Compat::EXT_ATTR),
        checksums: options.features.metadata_csum(),
        value_inodes: options.features.incompat.contains(Incompat::EA_INODE),
        seed: Seed::from_uuid(options.uuid.as_bytes()),
    }
}
