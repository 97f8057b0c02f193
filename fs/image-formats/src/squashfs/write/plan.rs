//! Which bytes of which files come in which order.

use std::ops::Range;

use image_core::map::{Map, MapError};
use image_core::tree::{Content, Node, NodeId, Time, Tree};

use super::pack::Compression;

/// How an image is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// The compressor.
    pub compression: Compression,
    /// Bytes of a block: a power of two from 4 KiB to 1 MiB.
    pub block: u32,
    /// When the image was made, as it says.
    pub epoch: Time,
    /// Whether times after [`WriteOptions::epoch`] are written as that.
    pub clamp: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            compression: Compression::Xz,
            block: 128 * 1024,
            epoch: Time::default(),
            clamp: false,
        }
    }
}

impl WriteOptions {
    pub(super) fn block_len(&self) -> usize {
        usize::try_from(self.block).expect("a block fits a usize")
    }
}

/// Why a tree cannot be an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Blocks cannot have this length.
    #[error("blocks cannot have {0} bytes, only a power of two from 4096 to 1048576")]
    Block(u32),
    /// A device number that no inode can say.
    #[error("{}: device {major}:{minor} has no place in an inode, which ends at 4095:1048575", path.escape_ascii())]
    Device {
        /// The device's name.
        path: Vec<u8>,
        /// Its number.
        major: u32,
        /// And the other half of it.
        minor: u32,
    },
    /// There are more owners and groups than an image can have.
    #[error("{0} different owners and groups are more than the 65535 of an image")]
    Ids(usize),
    /// All files together are longer than 2^64 bytes.
    #[error("the files are too long: more than 2^64 bytes")]
    TooLong,
    /// Two files overlap: a mistake of this module.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// How much of a tree an image cannot say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Files with xattrs that have no prefix here: ACLs.
    pub acls: u64,
    /// Files whose time is before 1970 or after 2106.
    pub times: u64,
}

/// A file's bytes among those that come.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) node: NodeId,
    pub(super) range: Range<u64>,
}

impl File {
    /// Whether the file shares a block with others.
    pub(super) fn is_short(&self, options: WriteOptions) -> bool {
        self.range.end.saturating_sub(self.range.start) < u64::from(options.block)
    }
}

/// What goes into an image: the bytes of all files, which [`Plan::map`] lays out one behind the other, and the tree.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) tree: Tree,
    pub(super) options: WriteOptions,
    pub(super) files: Vec<File>,
    pub(super) ids: Vec<u32>,
    map: Map,
}

impl Plan {
    /// The bytes to [copy](image_core::copy()) to the [`SquashfsSink`](super::SquashfsSink).
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// How much of the tree the image will not say.
    pub fn dropped(&self) -> Dropped {
        let mut dropped = Dropped::default();
        for node in self.tree.nodes() {
            let set = self.tree.xattrs(node.meta.xattrs);
            let acl = set
                .iter()
                .any(|xattr| super::attributes::prefix(&xattr.name).is_none());
            dropped.acls = dropped.acls.saturating_add(acl.into());
            let odd = u32::try_from(node.meta.mtime.secs).is_err();
            dropped.times = dropped.times.saturating_add(odd.into());
        }
        dropped
    }

    /// A node's time, as its inode has it.
    pub(super) fn time(&self, node: &Node) -> u32 {
        let time = node.meta.mtime;
        let time = if self.options.clamp {
            time.min(self.options.epoch)
        } else {
            time
        };
        seconds(time)
    }
}

/// The next time to a time that 32 bits can say.
pub(super) fn seconds(time: Time) -> u32 {
    u32::try_from(time.secs.max(0)).unwrap_or(u32::MAX)
}

/// Plans the image of a tree.
pub fn plan(tree: &Tree, options: &WriteOptions) -> Result<Plan, PlanError> {
    if !options.block.is_power_of_two() || !(4096..=1 << 20).contains(&options.block) {
        return Err(PlanError::Block(options.block));
    }
    let mut files = Vec::new();
    let mut end = 0_u64;
    for (id, node) in tree.iter() {
        match &node.content {
            Content::File(data) if data.len > 0 => {
                let start = end;
                end = start.checked_add(data.len).ok_or(PlanError::TooLong)?;
                files.push(File {
                    node: id,
                    range: start..end,
                });
            }
            Content::CharDevice(device) | Content::BlockDevice(device)
                if device.major > 0xfff || device.minor > 0xf_ffff =>
            {
                return Err(PlanError::Device {
                    path: tree.path(id),
                    major: device.major,
                    minor: device.minor,
                });
            }
            _ => {}
        }
    }
    let mut map = Map::builder(end);
    for file in &files {
        let Content::File(data) = &tree.node(file.node).content else {
            continue;
        };
        for run in data.ranges() {
            let at = file.range.start.saturating_add(run.start);
            let len = run.end.saturating_sub(run.start);
            map.file(at, data.file, run.start, len, "file");
        }
    }
    Ok(Plan {
        tree: tree.clone(),
        options: *options,
        files,
        ids: ids(tree)?,
        map: map.build()?,
    })
}

/// All owners and groups, sorted.
fn ids(tree: &Tree) -> Result<Vec<u32>, PlanError> {
    let mut ids: Vec<u32> = tree
        .nodes()
        .iter()
        .flat_map(|node| [node.meta.uid, node.meta.gid])
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > usize::from(u16::MAX) {
        return Err(PlanError::Ids(ids.len()));
    }
    Ok(ids)
}
