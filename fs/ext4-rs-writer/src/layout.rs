//! The layout: everything placed, and put together into a map.

use std::sync::Arc;

use image_core::map::{Builder, Table};
use image_core::tree::Content;
use image_core::{Map, Tree};
use zerocopy::IntoBytes;

use crate::bitmap::{BlockBitmaps, InodeBitmaps};
use crate::census::Census;
use crate::checksum::{self, Seed};
use crate::error::Error;
use crate::file_map::{Home, Logical};
use crate::geometry::Geometry;
use crate::group::{BLOCK_UNINIT, Descriptor, INODE_UNINIT, INODE_ZEROED, Places, Usage};
use crate::inode_table::Inodes;
use crate::journal;
use crate::numbering::Numbers;
use crate::options::Options;
use crate::orphan_file;
use crate::resize::Reserve;
use crate::size::{self, Fit};
use crate::summary::Summary;
use crate::superblock::{self, Superblock, Totals};
use crate::units::{Block, Blocks, Bytes, Group, Ino};

/// A planned file system.
#[derive(Debug)]
pub struct Layout {
    map: Map,
    summary: Summary,
}

impl Layout {
    /// The image.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// What there is to tell about it.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The image, without what there is to tell about it.
    pub fn into_map(self) -> Map {
        self.map
    }
}

/// Plans a file system that holds a tree, and tells what it came to.
pub fn layout(tree: &Tree, options: &Options) -> Result<Layout, Error> {
    options.check()?;
    let census = Census::take(tree, options)?;
    let fit = size::fit(&census, options)?;
    let plan = Plan::new(census, fit, options);
    Ok(Layout {
        map: plan.map()?,
        summary: plan.summary(),
    })
}

/// Everything that is known once everything has its place.
struct Plan {
    options: Arc<Options>,
    census: Arc<Census>,
    geometry: Geometry,
    places: Vec<Places>,
    journal: Blocks,
    image: Bytes,
    seed: Option<Seed>,
    inodes: Arc<Inodes>,
    block_bitmaps: Arc<BlockBitmaps>,
    inode_bitmaps: Arc<InodeBitmaps>,
    usage: Vec<Usage>,
}

impl Plan {
    fn new(census: Census, fit: Fit, options: &Options) -> Self {
        let options = Arc::new(options.clone());
        let census = Arc::new(census);
        let Fit {
            geometry,
            places,
            mut placement,
            journal,
            image,
        } = fit;
        let seed = Seed::from_uuid(options.uuid.as_bytes());
        let seed = options.features.metadata_csum().then_some(seed);
        let block_bitmaps = BlockBitmaps {
            geometry: geometry.clone(),
            free: std::mem::take(&mut placement.free),
        };
        let used = u32::try_from(census.numbers.used()).expect("no more than the geometry's inodes");
        let inode_bitmaps = InodeBitmaps {
            geometry: geometry.clone(),
            used,
        };
        let inodes = Inodes {
            census: Arc::clone(&census),
            placement: Arc::new(placement),
            options: Arc::clone(&options),
            seed,
            reserve: Reserve::new(&geometry).map(Arc::new),
        };
        let mut plan = Self {
            options,
            census,
            geometry,
            places,
            journal,
            image,
            seed,
            inodes: Arc::new(inodes),
            block_bitmaps: Arc::new(block_bitmaps),
            inode_bitmaps: Arc::new(inode_bitmaps),
            usage: Vec::new(),
        };
        plan.usage = plan.count_usage();
        plan
    }

    /// What each group holds.
    fn count_usage(&self) -> Vec<Usage> {
        let free = self.block_bitmaps.free_blocks();
        let directories = self.count_directories();
        let mut bitmap = vec![0; self.geometry.buffer()];
        let groups = self.geometry.all_groups();
        let usage = groups.map(|group| {
            let used_inodes = self.inode_bitmaps.used_in(group);
            let free_inodes = self.geometry.inodes_per_group.saturating_sub(used_inodes);
            let mut usage = Usage {
                free_blocks: free[group.index()],
                free_inodes,
                directories: directories[group.index()],
                ..Usage::default()
            };
            if self.options.features.group_csum() {
                usage.unused_inodes = free_inodes;
                usage.flags = self.flags(group, &usage, used_inodes);
            }
            if let Some(seed) = self.seed {
                if usage.flags & BLOCK_UNINIT == 0 {
                    self.block_bitmaps.group(group, &mut bitmap);
                    let bytes = crate::units::to_usize(self.geometry.blocks_per_group / 8);
                    usage.block_bitmap_csum = seed.bitmap(&bitmap[..bytes]);
                }
                if usage.flags & INODE_UNINIT == 0 {
                    self.inode_bitmaps.group(group, &mut bitmap);
                    let bytes = crate::units::to_usize(self.geometry.inodes_per_group / 8);
                    usage.inode_bitmap_csum = seed.bitmap(&bitmap[..bytes]);
                }
            }
            usage
        });
        usage.collect()
    }

    fn count_directories(&self) -> Vec<u32> {
        let mut counts = vec![0_u32; self.geometry.group_count()];
        for directory in self.census.directories.iter() {
            let ino = directory
                .node
                .map_or(Ino::LOST_FOUND, |node| self.inodes.ino(node));
            let index = (ino - 1)
                .0
                .checked_div(self.geometry.inodes_per_group)
                .unwrap_or(0);
            let count = &mut counts[Group(index).index()];
            *count = count.saturating_add(1);
        }
        counts
    }

    /// A group's block bitmap need not be read if only the group's own metadata lies in the group. The last group's
    /// is always written, as mke2fs does, and the first one's never is empty.
    fn flags(&self, group: Group, usage: &Usage, used_inodes: u32) -> u16 {
        let start = self.geometry.group_start(group);
        let blocks = self.geometry.group_blocks(group);
        let inside = |first: Block, len: Blocks| {
            let from = first.clamp(start, start + blocks);
            let to = (first + len).clamp(start, start + blocks);
            to - from
        };
        let places = &self.places[group.index()];
        let own = self.geometry.head_blocks(group)
            + inside(places.block_bitmap, Blocks(1))
            + inside(places.inode_bitmap, Blocks(1))
            + inside(places.inode_table, self.geometry.table_blocks());
        let between = group != Group(0) && group != self.geometry.last_group();
        let untouched = between && blocks - Blocks(usage.free_blocks.into()) == own;
        let block = if untouched { BLOCK_UNINIT } else { 0 };
        let inode = if used_inodes == 0 { INODE_UNINIT } else { 0 };
        INODE_ZEROED | block | inode
    }

    fn totals(&self) -> Totals {
        let free_inodes = self.geometry.inodes().saturating_sub(self.census.numbers.used());
        let journal = self.inodes.journal().map(|inode| {
            let mut map = [0; 60];
            map.copy_from_slice(inode.i_block.as_bytes());
            (map, self.journal.bytes(self.options.block_size).0)
        });
        let reserved = u64::from(self.options.reserved_permyriad);
        Totals {
            free_blocks: self.block_bitmaps.free.iter().map(|run| run.len).sum(),
            free_inodes: u32::try_from(free_inodes).expect("inodes have numbers of 32 bits"),
            reserved_blocks: self.geometry.blocks / 10_000 * reserved
                + Blocks(self.geometry.blocks % 10_000) * reserved / 10_000,
            journal,
            orphan_file: self.census.numbers.orphan_file(),
        }
    }

    fn summary(&self) -> Summary {
        let totals = self.totals();
        Summary {
            image_bytes: self.image.0,
            used_bytes: self.census.used.0,
            block_size: self.options.block_size,
            blocks: self.geometry.blocks,
            free_blocks: totals.free_blocks,
            groups: self.geometry.groups,
            inodes: self.geometry.inodes(),
            free_inodes: totals.free_inodes.into(),
            inodes_per_group: self.geometry.inodes_per_group,
            journal_blocks: self.journal,
            reserved_gdt_blocks: self.geometry.reserved_gdt_blocks,
            growth_ceiling_bytes: self
                .geometry
                .ceiling(self.options.features.bit64())
                .bytes(self.options.block_size)
                .0,
            growth_call_bytes: self
                .geometry
                .ceiling_of_one_call()
                .bytes(self.options.block_size)
                .0,
            clamped_times: self.census.clamped_times,
            fragmented_files: self.inodes.placement.fragmented(&self.census.tree),
        }
    }

    fn start(&self, block: Block) -> u64 {
        block.start(self.options.block_size)
    }

    fn map(&self) -> Result<Map, Error> {
        let mut map = Map::builder(self.image.0);
        map.reserve(self.census.tree.nodes().len());
        self.heads(&mut map);
        self.group_metadata(&mut map);
        self.hidden_files(&mut map);
        self.directories(&mut map);
        self.xattrs(&mut map);
        self.contents(&mut map);
        Ok(map.build()?)
    }

    fn descriptors(&self) -> Arc<[u8]> {
        let size = usize::from(self.geometry.descriptor_size);
        let mut bytes = Vec::with_capacity(self.geometry.group_count().saturating_mul(size));
        for ((group, places), usage) in self.geometry.all_groups().zip(&self.places).zip(&self.usage) {
            let mut descriptor = Descriptor::new(places, usage);
            let raw = &descriptor.as_bytes()[..size];
            let checksum = match self.seed {
                Some(seed) => seed.group_descriptor(group, raw),
                None if self.options.features.group_csum() => {
                    checksum::group_descriptor_crc16(self.options.uuid.as_bytes(), group, raw)
                }
                None => 0,
            };
            descriptor.bg_checksum = checksum.into();
            bytes.extend_from_slice(&descriptor.as_bytes()[..size]);
        }
        bytes.into()
    }

    /// Superblocks and descriptors, with their copies.
    fn heads(&self, map: &mut Builder) {
        let sb = Superblock::new(&self.options, &self.geometry, &self.totals());
        let checksums = self.options.features.metadata_csum();
        let descriptors = self.descriptors();
        let mut head = |group: Group, at: u64, what: [&'static str; 2]| {
            map.bytes(at, sb.render(group, checksums), what[0]);
            let behind = self.start(self.geometry.group_start(group) + 1);
            map.bytes(behind, Arc::clone(&descriptors), what[1]);
        };
        head(Group(0), superblock::START, ["superblock", "group descriptors"]);
        for group in self.geometry.backups() {
            let at = self.start(self.geometry.group_start(group));
            head(group, at, ["backup superblock", "backup group descriptors"]);
        }
    }

    /// Bitmaps and inode tables.
    fn group_metadata(&self, map: &mut Builder) {
        let block_bitmaps = map.table(self.block_bitmaps.clone());
        let inode_bitmaps = map.table(self.inode_bitmaps.clone());
        let inodes = map.table(self.inodes.clone());
        let block_bytes = self.options.block_size.bytes();
        let table_bytes = self.geometry.table_bytes();
        for ((group, places), usage) in self.geometry.all_groups().zip(&self.places).zip(&self.usage) {
            let number = u64::from(group.0);
            let bitmap = (Bytes(number) * block_bytes).0;
            let bitmap = bitmap..(Bytes(bitmap) + Bytes(block_bytes)).0;
            if usage.flags & BLOCK_UNINIT == 0 {
                let at = self.start(places.block_bitmap);
                map.rendered(at, block_bitmaps, bitmap.clone(), "block bitmap");
            }
            if usage.flags & INODE_UNINIT == 0 {
                map.rendered(
                    self.start(places.inode_bitmap),
                    inode_bitmaps,
                    bitmap,
                    "inode bitmap",
                );
            }
            let used = Bytes(self.inode_bitmaps.used_in(group).into()) * u64::from(self.options.inode_size);
            let first = (Bytes(number) * table_bytes).0;
            let range = first..(Bytes(first) + used).0;
            map.rendered(self.start(places.inode_table), inodes, range, "inode table");
        }
    }

    /// The journal, the reserved descriptor blocks and the orphan file.
    fn hidden_files(&self, map: &mut Builder) {
        let placement = &self.inodes.placement;
        if let Some(run) = placement.journal.runs.first() {
            let sb = journal::Superblock::new(&self.options, self.journal);
            map.bytes(self.start(run.start), sb.as_bytes(), "journal superblock");
            self.map_nodes(
                map,
                Ino::JOURNAL,
                &Logical::Dense(self.journal),
                &placement.journal,
            );
        }
        if let Some((reserve, double)) = self.inodes.reserve.as_ref().zip(placement.resize) {
            map.bytes(self.start(double), reserve.double_indirect(), "resize inode");
            let len = reserve.len();
            let table = map.table(reserve.clone());
            map.rendered(
                self.start(reserve.start()),
                table,
                0..len,
                "reserved group descriptors",
            );
        }
        if let Some(ino) = self.census.numbers.orphan_file() {
            let home = &placement.orphan_file;
            let seed = self.seed.map(|seed| seed.inode(ino, 0));
            for run in &home.runs {
                for block in (0..run.len.0).map(|i| run.start + i) {
                    let bytes = orphan_file::block(block, self.options.block_size, seed);
                    map.bytes(self.start(block), bytes, "orphan file");
                }
            }
            self.map_nodes(map, ino, &Logical::Dense(self.census.orphan_blocks), home);
        }
    }

    fn directories(&self, map: &mut Builder) {
        let numbering: Arc<Numbers> = Arc::new(self.census.numbers);
        let seed = Seed::from_uuid(self.options.uuid.as_bytes());
        let table = map.table(self.census.directories.table(numbering, seed));
        for directory in self.census.directories.iter() {
            let logical = Logical::Dense(Blocks(directory.blocks.into()));
            let (ino, home) = match directory.node {
                Some(node) => (
                    self.inodes.ino(node),
                    self.inodes.placement.home(&self.census, node, &logical),
                ),
                None => (Ino::LOST_FOUND, self.inodes.placement.lost_found.clone()),
            };
            let mut offset = Bytes(directory.offset);
            for run in &home.runs {
                let end = offset + run.len.bytes(self.options.block_size);
                map.rendered(self.start(run.start), table, offset.0..end.0, "directory");
                offset = end;
            }
            self.map_nodes(map, ino, &logical, &home);
        }
    }

    fn xattrs(&self, map: &mut Builder) {
        let starts = &self.inodes.placement.xattrs;
        let table = map.table(self.census.xattrs.table(Arc::clone(starts)));
        let block = Bytes(self.options.block_size.bytes());
        let mut offset = Bytes::ZERO;
        for start in starts.iter() {
            map.rendered(
                self.start(*start),
                table,
                offset.0..(offset + block).0,
                "xattr block",
            );
            offset += block;
        }
        self.xattr_values(map);
    }

    /// Values of xattrs in inodes of their own.
    fn xattr_values(&self, map: &mut Builder) {
        let values = self.census.xattrs.values().iter();
        for ((value, home), i) in values.zip(&self.inodes.placement.values).zip(0..) {
            let mut rest = &value.bytes[..];
            for run in &home.runs {
                let len = usize::try_from(run.len.bytes(self.options.block_size).0).unwrap_or(usize::MAX);
                let (piece, behind) = rest.split_at(rest.len().min(len));
                map.bytes(self.start(run.start), piece, "xattr value");
                rest = behind;
            }
            let logical = Logical::Dense(value.blocks(self.options.block_size));
            self.map_nodes(map, self.census.numbers.value(i), &logical, home);
        }
    }

    /// Files and long symlinks.
    fn contents(&self, map: &mut Builder) {
        for (id, node) in self.census.tree.iter() {
            let Some(logical) = self.census.data(node) else {
                continue;
            };
            let first = self.inodes.placement.first(id);
            if let (Content::File(data), Logical::Dense(_), Some(first)) = (&node.content, &logical, first)
                && self.census.mapper.nodes_in_one_piece(&logical) == Blocks::ZERO
            {
                // Nearly all files take this way, which allocates nothing.
                map.file(self.start(first), data.file, 0, data.len, "file");
                continue;
            }
            let home = self.inodes.placement.home(&self.census, id, &logical);
            match &node.content {
                Content::Symlink(target) => {
                    let at = home.runs.first().map(|run| self.start(run.start));
                    let target = self.census.tree.target(*target);
                    map.bytes(at.expect("a long symlink has a block"), target, "symlink");
                }
                Content::File(data) => {
                    for piece in file_pieces(data.ranges(), &logical, &home, self.options.block_size) {
                        map.file(piece.at, data.file, piece.offset, piece.len, "file");
                    }
                    self.map_nodes(map, self.inodes.ino(id), &logical, &home);
                }
                _ => {}
            }
        }
    }

    /// The blocks of a file's map.
    fn map_nodes(&self, map: &mut Builder, ino: Ino, logical: &Logical, home: &Home) {
        if home.nodes.is_empty() {
            return;
        }
        let seed = self.seed.map(|seed| seed.inode(ino, 0));
        let what = if self.census.mapper.extents {
            "extent node"
        } else {
            "indirect block"
        };
        for (block, bytes) in self.census.mapper.render(logical, home, seed).nodes {
            map.bytes(self.start(block), bytes, what);
        }
    }
}

/// A run of a file's bytes in the image.
struct Piece {
    at: u64,
    offset: u64,
    len: u64,
}

/// Where each run of a file's data lies in the image.
fn file_pieces(
    ranges: impl Iterator<Item = std::ops::Range<u64>>,
    logical: &Logical,
    home: &Home,
    block_size: crate::units::BlockSize,
) -> Vec<Piece> {
    let mappings = logical.mappings(&home.runs);
    let mut pieces = Vec::with_capacity(mappings.len());
    let mut first = 0;
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let holds = |i: usize| {
                let mapping = &mappings[i];
                let start = Blocks(mapping.logical.into()).bytes(block_size);
                let end = start + mapping.len.bytes(block_size);
                (start, end)
            };
            while holds(first).1.0 <= at {
                first = first.saturating_add(1);
            }
            let (start, end) = holds(first);
            let stop = range.end.min(end.0);
            let skip = Bytes(at) - start;
            pieces.push(Piece {
                at: (Bytes(mappings[first].start.start(block_size)) + skip).0,
                offset: at,
                len: (Bytes(stop) - Bytes(at)).0,
            });
            at = stop;
        }
    }
    pieces
}
