//! Block groups: where each group's bitmaps and inode table lie, and the descriptor that says so.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/globals.html#block-group-descriptors>
//!
//! With `flex_bg` the block bitmaps, then the inode bitmaps, then the inode tables of sixteen groups lie together at
//! the start of the first of them, in one piece wherever no copy of the superblock stands in the way.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::geometry::Geometry;
use crate::space::Run;
use crate::units::{Block, Blocks, Group, halves, quarters};

/// The inode bitmap and table of the group are not in use, and need not be read.
pub const INODE_UNINIT: u16 = 1;
/// The block bitmap is what the group's own metadata makes it, and need not be read.
pub const BLOCK_UNINIT: u16 = 2;
/// The inode table is zero where no inode is, so that no kernel has to make it so.
pub const INODE_ZEROED: u16 = 4;

/// A group descriptor as it stands on disk; without `64bit` it ends after 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub struct Descriptor {
    pub bg_block_bitmap_lo: U32,
    pub bg_inode_bitmap_lo: U32,
    pub bg_inode_table_lo: U32,
    pub bg_free_blocks_count_lo: U16,
    pub bg_free_inodes_count_lo: U16,
    pub bg_used_dirs_count_lo: U16,
    pub bg_flags: U16,
    /// Snapshots were never merged: 0.
    pub bg_exclude_bitmap_lo: U32,
    pub bg_block_bitmap_csum_lo: U16,
    pub bg_inode_bitmap_csum_lo: U16,
    pub bg_itable_unused_lo: U16,
    /// Set last, over all else.
    pub bg_checksum: U16,
    pub bg_block_bitmap_hi: U32,
    pub bg_inode_bitmap_hi: U32,
    pub bg_inode_table_hi: U32,
    pub bg_free_blocks_count_hi: U16,
    pub bg_free_inodes_count_hi: U16,
    pub bg_used_dirs_count_hi: U16,
    pub bg_itable_unused_hi: U16,
    pub bg_exclude_bitmap_hi: U32,
    pub bg_block_bitmap_csum_hi: U16,
    pub bg_inode_bitmap_csum_hi: U16,
    pub bg_reserved: U32,
}
const _: () = assert!(
    size_of::<Descriptor>() == 64
        && std::mem::offset_of!(Descriptor, bg_checksum) == 0x1e
        && std::mem::offset_of!(Descriptor, bg_block_bitmap_hi) == 0x20
        && std::mem::offset_of!(Descriptor, bg_reserved) == 0x3c
);

/// Where a group's metadata lies, beside the copies at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The block bitmap.
    pub block_bitmap: Block,
    /// The inode bitmap.
    pub inode_bitmap: Block,
    /// The first block of the inode table.
    pub inode_table: Block,
}

/// What a group holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blocks that are free.
    pub free_blocks: u32,
    /// Inodes that are free.
    pub free_inodes: u32,
    /// Directories.
    pub directories: u32,
    /// Inodes behind the last one in use.
    pub unused_inodes: u32,
    /// What need not be read.
    pub flags: u16,
    /// Checksum of the block bitmap.
    pub block_bitmap_csum: u32,
    /// Checksum of the inode bitmap.
    pub inode_bitmap_csum: u32,
}

impl Descriptor {
    /// The descriptor of a group, without its checksum.
    pub fn new(places: &Places, usage: &Usage) -> Self {
        let (block_bitmap_lo, block_bitmap_hi) = halves(places.block_bitmap.0);
        let (inode_bitmap_lo, inode_bitmap_hi) = halves(places.inode_bitmap.0);
        let (inode_table_lo, inode_table_hi) = halves(places.inode_table.0);
        let (free_blocks_lo, free_blocks_hi) = quarters(usage.free_blocks);
        let (free_inodes_lo, free_inodes_hi) = quarters(usage.free_inodes);
        let (directories_lo, directories_hi) = quarters(usage.directories);
        let (unused_lo, unused_hi) = quarters(usage.unused_inodes);
        let (block_csum_lo, block_csum_hi) = quarters(usage.block_bitmap_csum);
        let (inode_csum_lo, inode_csum_hi) = quarters(usage.inode_bitmap_csum);
        Self {
            bg_block_bitmap_lo: block_bitmap_lo.into(),
            bg_inode_bitmap_lo: inode_bitmap_lo.into(),
            bg_inode_table_lo: inode_table_lo.into(),
            bg_free_blocks_count_lo: free_blocks_lo.into(),
            bg_free_inodes_count_lo: free_inodes_lo.into(),
            bg_used_dirs_count_lo: directories_lo.into(),
            bg_flags: usage.flags.into(),
            bg_block_bitmap_csum_lo: block_csum_lo.into(),
            bg_inode_bitmap_csum_lo: inode_csum_lo.into(),
            bg_itable_unused_lo: unused_lo.into(),
            bg_block_bitmap_hi: block_bitmap_hi.into(),
            bg_inode_bitmap_hi: inode_bitmap_hi.into(),
            bg_inode_table_hi: inode_table_hi.into(),
            bg_free_blocks_count_hi: free_blocks_hi.into(),
            bg_free_inodes_count_hi: free_inodes_hi.into(),
            bg_used_dirs_count_hi: directories_hi.into(),
            bg_itable_unused_hi: unused_hi.into(),
            bg_block_bitmap_csum_hi: block_csum_hi.into(),
            bg_inode_bitmap_csum_hi: inode_csum_hi.into(),
            ..Self::default()
        }
    }
}

/// Gives every group its bitmaps and its inode table. Returns them with the runs that stay free, ascending; `None`
/// if the groups are too small for their own metadata.
pub(crate) fn place(geometry: &Geometry) -> Option<(Vec<Places>, Vec<Run>)> {
    if geometry.head_blocks(Group(0)) >= Blocks(geometry.blocks_per_group.into()) {
        return None;
    }
    let mut places = Vec::with_capacity(geometry.group_count());
    let mut free: Vec<Run> = Vec::new();
    let mut first = Group(0);
    while first.0 < geometry.groups {
        let end = Group(first.0.saturating_add(geometry.flex_groups).min(geometry.groups));
        let mut local = flex_runs(geometry, first, end);
        let count = Blocks((end.0.saturating_sub(first.0)).into());
        let spill: &mut [Run] = if geometry.flex_groups > 1 {
            &mut free
        } else {
            &mut []
        };
        let block_bitmaps = take_row(&mut local, spill, count, Blocks(1))?;
        let inode_bitmaps = take_row(&mut local, spill, count, Blocks(1))?;
        let inode_tables = take_row(&mut local, spill, count, geometry.table_blocks())?;
        places.extend(
            (block_bitmaps.into_iter().zip(inode_bitmaps).zip(inode_tables)).map(
                |((block_bitmap, inode_bitmap), inode_table)| Places {
                    block_bitmap,
                    inode_bitmap,
                    inode_table,
                },
            ),
        );
        for run in local {
            push_run(&mut free, run);
        }
        first = end;
    }
    free.retain(|run| run.len > Blocks::ZERO);
    Some((places, free))
}

/// The blocks of some groups but for the copies at their starts.
fn flex_runs(geometry: &Geometry, first: Group, end: Group) -> Vec<Run> {
    let mut runs = Vec::new();
    for group in (first.0..end.0).map(Group) {
        let head = geometry.head_blocks(group);
        let run = Run {
            start: geometry.group_start(group) + head,
            len: geometry.group_blocks(group).saturating_sub(head),
        };
        push_run(&mut runs, run);
    }
    runs
}

/// Adds a run behind the others, and joins it with the last if they touch.
fn push_run(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.end() == run.start => last.len += run.len,
        _ if run.len > Blocks::ZERO => runs.push(run),
        _ => {}
    }
}

/// Takes `count` pieces of `len` blocks: in a row if they fit so, else one by one, else from earlier groups.
fn take_row(local: &mut [Run], spill: &mut [Run], count: Blocks, len: Blocks) -> Option<Vec<Block>> {
    if let Some(start) = take_first(local.iter_mut(), len * count.0) {
        return Some((0..count.0).map(|i| start + len * i).collect());
    }
    let one = |_| take_first(local.iter_mut(), len).or_else(|| take_first(spill.iter_mut().rev(), len));
    (0..count.0).map(one).collect()
}

fn take_first<'a>(mut runs: impl Iterator<Item = &'a mut Run>, len: Blocks) -> Option<Block> {
    let run = runs.find(|run| run.len >= len)?;
    let start = run.start;
    *run = Run {
        start: run.start + len,
        len: run.len - len,
    };
    Some(start)
}
