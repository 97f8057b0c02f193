//! Geometry: how a number of blocks divides into groups, and what each group spends on itself.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/overview.html#layout>
//!
//! Invariants:
//! - `groups * inodes_per_group < 2^32`, and with [`Options::max_size`] `groups(max_size) * inodes_per_group < 2^32`
//!   too: the kernel refuses to grow beyond, and this, not the reserved descriptor blocks, is where growth ends;
//! - an inode table fills its blocks: `inodes_per_group * inode_size = table_blocks * block_size`;
//! - the last group holds at least what it costs; a shorter tail is left out of the file system.

use crate::error::Error;
use crate::features::{Compat, Incompat, RoCompat};
use crate::options::{Inodes, Options, Size};
use crate::units::{Block, BlockSize, Blocks, Bytes, Group, to_usize};

/// Bytes of an image for each inode, unless told otherwise: `mke2fs -i 4096`.
const RATIO: u64 = 4096;
/// Blocks that the last group must have beyond its own metadata to be worth its table.
const WORTHWHILE: Blocks = Blocks(50);
/// The most inodes of a file system.
const INODES_MAX: u64 = 0xffff_ffff;

/// How blocks divide into groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes in a block.
    pub block_size: BlockSize,
    /// Blocks in the file system, block 0 included.
    pub blocks: Blocks,
    /// Blocks in a group, but perhaps the last.
    pub blocks_per_group: u32,
    /// Groups.
    pub groups: u32,
    /// Inodes in a group.
    pub inodes_per_group: u32,
    /// Bytes in an inode.
    pub inode_size: u16,
    /// Bytes in a group descriptor.
    pub descriptor_size: u16,
    /// Blocks of group descriptors.
    pub gdt_blocks: Blocks,
    /// Blocks reserved for more of them.
    pub reserved_gdt_blocks: Blocks,
    /// Groups whose metadata lies together; 1 without `flex_bg`.
    pub flex_groups: u32,
    /// Whether only some groups hold backups.
    pub sparse_super: bool,
}

impl Geometry {
    /// Divides an image of `image` blocks, which must have room for `inodes` inodes where the options allow it.
    ///
    /// Fewer inodes than asked for are no error here: the caller compares [`Geometry::inodes`].
    pub fn new(options: &Options, image: Blocks, inodes: u64) -> Result<Self, Error> {
        // 16 TiB are one block more than 32 bits count; mke2fs leaves that one out, too.
        let mut blocks = image.0.min(most_blocks(options));
        if image.0.saturating_sub(blocks) > 1 {
            return Err(impossible(options, image, WORTHWHILE));
        }
        loop {
            let geometry = Self::divide(options, Blocks(blocks), inodes)?;
            let last = geometry.group_blocks(geometry.last_group());
            let cost = geometry.group_cost(geometry.last_group());
            if last >= cost + WORTHWHILE || (geometry.groups == 1 && last > cost) {
                return Ok(geometry);
            }
            if geometry.groups == 1 {
                return Err(impossible(options, image, cost + WORTHWHILE));
            }
            blocks = blocks.saturating_sub(last.0);
        }
    }

    fn divide(options: &Options, blocks: Blocks, inodes: u64) -> Result<Self, Error> {
        let block_size = options.block_size;
        let first = block_size.first_data_block();
        let per_group = blocks_per_group(options);
        let grouped = blocks.saturating_sub(Blocks(first.0));
        if grouped == Blocks::ZERO {
            return Err(impossible(options, blocks, WORTHWHILE));
        }
        let groups = grouped.div_ceil(per_group.into());
        let inodes_per_group = inodes_per_group(options, blocks, groups, inodes)?;
        let descriptor_size = if options.features.bit64() { 64 } else { 32 };
        let gdt_blocks = gdt_blocks(block_size, descriptor_size, groups);
        let reserved_gdt_blocks = reserved_gdt_blocks(options, blocks, gdt_blocks, descriptor_size);
        let flex = options.features.incompat.contains(Incompat::FLEX_BG);
        Ok(Self {
            block_size,
            blocks,
            blocks_per_group: per_group,
            groups: u32::try_from(groups).map_err(|_| impossible(options, blocks, WORTHWHILE))?,
            inodes_per_group,
            inode_size: options.inode_size,
            descriptor_size,
            gdt_blocks,
            reserved_gdt_blocks,
            flex_groups: if flex { options.flex_groups } else { 1 },
            sparse_super: options.features.ro_compat.contains(RoCompat::SPARSE_SUPER),
        })
    }

    /// Inodes of all groups.
    pub fn inodes(&self) -> u64 {
        u64::from(self.groups).saturating_mul(self.inodes_per_group.into())
    }

    /// Blocks of one group's inode table.
    pub fn table_blocks(&self) -> Blocks {
        (Bytes(self.inodes_per_group.into()) * u64::from(self.inode_size)).blocks(self.block_size)
    }

    /// The last group.
    pub fn last_group(&self) -> Group {
        Group(self.groups) - 1
    }

    /// All groups.
    pub fn all_groups(&self) -> impl DoubleEndedIterator<Item = Group> + use<> {
        (0..self.groups).map(Group)
    }

    /// A group's first block.
    pub fn group_start(&self, group: Group) -> Block {
        self.block_size.first_data_block() + Blocks(group.0.into()) * self.blocks_per_group.into()
    }

    /// The blocks of a group.
    pub fn group_blocks(&self, group: Group) -> Blocks {
        let rest = Block(self.blocks.0) - self.group_start(group);
        rest.min(Blocks(self.blocks_per_group.into()))
    }

    /// The group that a block lies in.
    pub fn group_of(&self, block: Block) -> Group {
        let block = block - self.block_size.first_data_block();
        let group = block / u64::from(self.blocks_per_group);
        Group(u32::try_from(group.0).expect("blocks lie in groups, whose numbers have 32 bits"))
    }

    /// Whether a group begins with a copy of the superblock and the descriptors.
    pub fn has_super(&self, group: Group) -> bool {
        !self.sparse_super || group.0 <= 1 || [3, 5, 7].into_iter().any(|base| is_power(group.0, base))
    }

    /// The groups with copies, but for group 0.
    pub fn backups(&self) -> impl Iterator<Item = Group> + '_ {
        self.all_groups().skip(1).filter(|group| self.has_super(*group))
    }

    /// Blocks of superblock, descriptors and reserved descriptor blocks at a group's start.
    pub fn head_blocks(&self, group: Group) -> Blocks {
        if self.has_super(group) {
            Blocks(1) + self.gdt_blocks + self.reserved_gdt_blocks
        } else {
            Blocks::ZERO
        }
    }

    /// Blocks that a group costs, wherever its bitmaps and its inode table lie.
    pub fn group_cost(&self, group: Group) -> Blocks {
        self.head_blocks(group) + self.table_blocks() + Blocks(2)
    }

    /// Where growth ends, in blocks: by the number of inodes, which have 32 bits, and by that of blocks.
    pub fn ceiling(&self, bit64: bool) -> Blocks {
        let groups = INODES_MAX.checked_div(self.inodes_per_group.into()).unwrap_or(0);
        let by_inodes = Blocks(groups.min(INODES_MAX)) * self.blocks_per_group.into();
        let by_blocks = if bit64 { 1 << 48 } else { INODES_MAX };
        Blocks(
            (by_inodes + self.block_size.first_data_block().0)
                .0
                .min(by_blocks),
        )
    }

    /// Where growth by one call of resize2fs ends, in blocks: the descriptors of all groups must fit one group.
    ///
    /// resize2fs 1.47 asks for that as long as there is no `meta_bg`, which the kernel sets when it grows past the
    /// reserve; so a second call goes on.
    pub fn ceiling_of_one_call(&self) -> Blocks {
        let per_group = u64::from(self.blocks_per_group);
        let in_block = self.block_size.bytes().checked_div(self.descriptor_size.into());
        Blocks(in_block.unwrap_or(1)) * per_group * per_group + self.block_size.first_data_block().0
    }

    /// Bytes of one inode table.
    pub fn table_bytes(&self) -> u64 {
        self.table_blocks().bytes(self.block_size).0
    }

    /// Bytes in a block, for the lengths of buffers.
    pub fn buffer(&self) -> usize {
        self.block_size.buffer()
    }

    /// Groups, as the length of a vector.
    pub fn group_count(&self) -> usize {
        to_usize(self.groups)
    }
}

/// Blocks in a group: all that a bitmap's block can count, unless told otherwise.
pub fn blocks_per_group(options: &Options) -> u32 {
    options.blocks_per_group.unwrap_or(options.block_size.bits())
}

/// The most blocks that a file system of these features can have.
pub fn most_blocks(options: &Options) -> u64 {
    if options.features.bit64() {
        1 << 48
    } else {
        INODES_MAX
    }
}

/// The group descriptors' blocks.
fn gdt_blocks(block_size: BlockSize, descriptor_size: u16, groups: u64) -> Blocks {
    (Bytes(groups) * u64::from(descriptor_size)).blocks(block_size)
}

fn impossible(options: &Options, image: Blocks, min: Blocks) -> Error {
    let block_size = options.block_size;
    Error::ImpossibleSize {
        bytes: image.bytes(block_size).0,
        min_bytes: min.bytes(block_size).0,
        max_bytes: Blocks(most_blocks(options)).bytes(block_size).0,
    }
}

/// Inodes fill whole blocks of their table and whole bytes of their bitmap.
fn inodes_unit(options: &Options) -> u64 {
    let in_block = options.block_size.bytes().checked_div(options.inode_size.into());
    in_block.unwrap_or(1).max(8)
}

/// The most inodes that a group can have if the file system is to have so many groups one day.
pub fn inodes_per_group_cap(options: &Options, groups: u64) -> u64 {
    let by_number = INODES_MAX.checked_div(groups).unwrap_or(0);
    let cap = by_number.min(options.block_size.bits().into());
    cap.saturating_sub(cap.checked_rem(inodes_unit(options)).unwrap_or(0))
}

/// The number of groups at the size to grow to, if one was promised.
pub fn promised_groups(options: &Options) -> Option<u64> {
    let bytes = Bytes(options.max_size?);
    let blocks = bytes / options.block_size.bytes();
    Some(Blocks(blocks.0).div_ceil(blocks_per_group(options).into()))
}

fn inodes_per_group(options: &Options, blocks: Blocks, groups: u64, needed: u64) -> Result<u32, Error> {
    let unit = inodes_unit(options);
    let by_ratio = |ratio: u64| (blocks.bytes(options.block_size) / ratio).0;
    let wanted = match options.inodes {
        Some(Inodes::Ratio(ratio)) => by_ratio(ratio.into()),
        Some(Inodes::Count(count)) => count.into(),
        None if options.size == Size::Minimal => needed,
        None => by_ratio(RATIO).max(needed),
    };
    let most_groups = promised_groups(options).unwrap_or(0).max(groups);
    let cap = inodes_per_group_cap(options, most_groups);
    let by_inodes = Blocks(INODES_MAX.checked_div(unit).unwrap_or(0)) * blocks_per_group(options).into();
    let ceiling = by_inodes
        .min(Blocks(most_blocks(options)))
        .bytes(options.block_size)
        .0;
    if cap == 0 || options.max_size.is_some_and(|max| max > ceiling) {
        return Err(Error::GrowthImpossible {
            max_bytes: options.max_size.unwrap_or(0),
            ceiling_bytes: ceiling,
        });
    }
    // Inode 11 is lost+found, so even one group has 16.
    let share = wanted.max(16).div_ceil(groups).next_multiple_of(unit).min(cap);
    Ok(u32::try_from(share).expect("the cap is the number of bits of a block"))
}

fn reserved_gdt_blocks(options: &Options, blocks: Blocks, gdt: Blocks, descriptor_size: u16) -> Blocks {
    // Inode 7 knows the reserved blocks by numbers of 32 bits.
    let addressable = blocks.0 <= INODES_MAX;
    if !options.features.compat.contains(Compat::RESIZE_INODE) || !addressable {
        return Blocks::ZERO;
    }
    let groups = promised_groups(options).unwrap_or_else(|| {
        let usual = blocks.0.saturating_mul(1024).min(INODES_MAX);
        Blocks(usual).div_ceil(blocks_per_group(options).into())
    });
    // What inode 7 can hold, and no more than a quarter of a group, every copy's.
    let most = Blocks((options.block_size.bytes() / 4).min(u64::from(blocks_per_group(options)) / 4));
    gdt_blocks(options.block_size, descriptor_size, groups)
        .saturating_sub(gdt)
        .min(most)
}

/// Whether `n` is `base` to some power from 1 on.
fn is_power(n: u32, base: u32) -> bool {
    let powers = std::iter::successors(Some(base), |power| power.checked_mul(base));
    powers.take_while(|power| *power <= n).any(|power| power == n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Profile;
    use image_core::Identity;

    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;
    const PIB: u64 = 1 << 50;

    fn options() -> Options {
        Options::new(
            Profile::Default,
            Identity::new(b"", image_core::tree::Time::default(), false),
        )
    }

    fn geometry(options: &Options, bytes: u64) -> Geometry {
        Geometry::new(options, Blocks(bytes / options.block_size.bytes()), 1000).unwrap()
    }

    #[test]
    fn two_gibibytes_look_as_mke2fs_makes_them() {
        let geometry = geometry(&options(), 2 * GIB);
        assert_eq!(geometry.groups, 16);
        assert_eq!(geometry.inodes_per_group, 32768);
        assert_eq!(geometry.gdt_blocks, Blocks(1));
        assert_eq!(geometry.reserved_gdt_blocks, Blocks(255));
        assert_eq!(geometry.table_blocks(), Blocks(2048));
        let backups: Vec<_> = geometry.backups().map(|group| group.0).collect();
        assert_eq!(backups, [1, 3, 5, 7, 9]);
        assert_eq!(
            geometry.ceiling(true).bytes(BlockSize::KIB_4).0,
            16 * TIB - 128 * 1024 * 1024
        );
    }

    #[test]
    fn a_promised_size_is_below_the_ceiling() {
        for (max, most) in [(16 * TIB, 32752), (64 * TIB, 8176), (256 * TIB, 2032), (PIB, 496)] {
            let mut options = options();
            options.max_size = Some(max);
            let geometry = geometry(&options, 8 * GIB);
            assert_eq!(geometry.inodes_per_group, most);
            assert!(geometry.ceiling(true).bytes(BlockSize::KIB_4).0 >= max);
            assert_eq!(
                geometry.ceiling_of_one_call().bytes(BlockSize::KIB_4).0,
                256 * TIB
            );
            assert_eq!(geometry.reserved_gdt_blocks, Blocks(1024));
        }
        let mut options = options();
        options.max_size = Some(u64::MAX);
        assert!(matches!(
            Geometry::new(&options, Blocks(1 << 20), 0),
            Err(Error::GrowthImpossible { .. })
        ));
    }

    #[test]
    fn a_tail_that_costs_more_than_it_brings_is_left_out() {
        let options = options();
        let whole = geometry(&options, 2 * GIB);
        for extra in [1, 2, 63, 1900] {
            let longer = Geometry::new(&options, whole.blocks + Blocks(extra), 0).unwrap();
            assert_eq!(longer.blocks, whole.blocks);
        }
        let longer = Geometry::new(&options, whole.blocks + Blocks(4000), 0).unwrap();
        assert_eq!(longer.groups, 17);
    }
}
