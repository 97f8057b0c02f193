//! Which blocks are in use: what was claimed, against bitmaps and counts.

use image_core::ReadAt;

use super::{Check, Checked, Claim, Fault, place, wide};
use crate::features::RoCompat;
use crate::group::BLOCK_UNINIT;
use crate::reader::{Owner, ReadError};
use crate::units::{Group, to_u64, to_usize as index};

const META_BG: u32 = 0x10;
const RESIZE_INODE: u32 = 0x10;

/// Bits in use that a bitmap has as free, or the other way round.
#[derive(Default)]
struct Wrong {
    count: u32,
    first: u64,
}

impl Wrong {
    fn add(&mut self, block: u64) {
        if self.count == 0 {
            self.first = block;
        }
        self.count = self.count.saturating_add(1);
    }
}

impl<R: ReadAt> Check<'_, R> {
    /// Claims the copies of superblock and descriptors at a group's start, and what is reserved for more of them.
    pub(super) fn claim_head(&mut self, group: u32) -> Checked {
        let sb = &self.volume.superblock;
        let first = self.volume.block_size.first_data_block().0;
        let start = u64::from(group).saturating_mul(sb.s_blocks_per_group.get().into());
        let start = start.saturating_add(first);
        let size = to_u64(self.volume.descriptor_size());
        let in_block = self.volume.block_size.bytes().div_euclid(size);
        let all = self.group_count().div_ceil(in_block);
        let meta = sb.s_feature_incompat.get() & META_BG != 0;
        let plain = if meta {
            all.min(sb.s_first_meta_bg.get().into())
        } else {
            all
        };
        let copy = u64::from(self.volume.has_superblock(group.into()));
        let mut len = copy;
        if copy == 1 {
            len = len.saturating_add(plain);
            if sb.s_feature_compat.get() & RESIZE_INODE != 0 {
                len = len.saturating_add(sb.s_reserved_gdt_blocks.get().into());
            }
        }
        let of_meta = u64::from(group).div_euclid(in_block);
        let nth = u64::from(group).rem_euclid(in_block);
        if meta && of_meta >= plain && (nth <= 1 || nth == in_block.saturating_sub(1)) {
            len = len.saturating_add(1);
        }
        let len = len.min(self.volume.blocks.saturating_sub(start));
        if len > 0 {
            self.claim(start, len, None)?;
        }
        Ok(())
    }

    /// Block bitmaps are places, too: then no block may have two owners, and all must be marked.
    pub(super) fn space(&mut self) -> Checked {
        if self.is_bigalloc() {
            return Ok(());
        }
        for group in 0..self.groups.len() {
            let (counted, number) = (self.groups[group], u32::try_from(group).unwrap_or(u32::MAX));
            let descriptor = &counted.descriptor;
            let at = place(
                counted.wide,
                descriptor.bg_block_bitmap_lo.get(),
                descriptor.bg_block_bitmap_hi.get(),
            );
            if self.volume.holds(at, 1) {
                self.claim(at, 1, None)?;
            } else {
                let (what, of, value) = ("the place of the block bitmap", Owner::Group(number), at);
                self.fault(ReadError::Corrupt { what, of, value }.into())?;
            }
        }
        self.claims.sort_unstable();
        let claims = std::mem::take(&mut self.claims);
        let runs = self.owners(&claims)?;
        let mut free = 0_u64;
        let mut from = 0;
        for group in 0..self.groups.len() {
            let here = self.bitmap(group, &runs, &mut from)?;
            free = free.saturating_add(here);
        }
        let sb = &self.volume.superblock;
        let high = if self.volume.descriptor_size() > 32 {
            sb.s_free_blocks_count_hi.get()
        } else {
            0
        };
        let says = place(true, sb.s_free_blocks_count_lo.get(), high);
        self.count("the number of free blocks", Owner::FileSystem, says, free)?;
        let says = u64::from(self.volume.superblock.s_free_inodes_count.get());
        let counted = self.groups.iter().map(|group| group.free_inodes);
        let counted = counted.fold(0_u64, u64::saturating_add);
        self.count("the number of free inodes", Owner::FileSystem, says, counted)
    }

    /// Runs of blocks in use, ascending and apart; what two have is told.
    fn owners(&mut self, claims: &[Claim]) -> Checked<Vec<Claim>> {
        let mut runs: Vec<Claim> = Vec::new();
        let mut last: Option<Claim> = None;
        for claim in claims {
            if let Some(before) = last.filter(|before| before.end() > claim.start) {
                self.fault(Fault::TwoOwners {
                    block: claim.start,
                    one: before.owner(),
                    other: claim.owner(),
                })?;
            }
            if last.is_none_or(|before| claim.end() > before.end()) {
                last = Some(*claim);
            }
            match runs.last_mut().filter(|run| run.end() >= claim.start) {
                Some(run) => run.len = claim.end().max(run.end()).saturating_sub(run.start),
                None => runs.push(*claim),
            }
        }
        Ok(runs)
    }

    /// One group's bitmap against the runs from `from` on, which moves with the groups. Gives the free blocks.
    fn bitmap(&mut self, group: usize, runs: &[Claim], from: &mut usize) -> Checked<u64> {
        let counted = self.groups[group];
        let number = u32::try_from(group).unwrap_or(u32::MAX);
        let sb = &self.volume.superblock;
        let per_group = u64::from(sb.s_blocks_per_group.get());
        let start = to_u64(group).saturating_mul(per_group);
        let start = start.saturating_add(self.volume.block_size.first_data_block().0);
        let len = per_group.min(self.volume.blocks.saturating_sub(start));
        let mut used = vec![false; usize::try_from(len).unwrap_or(0)];
        while runs.get(*from).is_some_and(|run| run.end() <= start) {
            *from = from.saturating_add(1);
        }
        let end = start.saturating_add(len);
        for run in runs[*from..].iter().take_while(|run| run.start < end) {
            let bit =
                |block: u64| usize::try_from(block.clamp(start, end).saturating_sub(start)).unwrap_or(0);
            used[bit(run.start)..bit(run.end())].fill(true);
        }
        let free = to_u64(used.iter().filter(|used| !**used).count());
        let descriptor = &counted.descriptor;
        let says = wide(
            counted.wide,
            descriptor.bg_free_blocks_count_lo.get(),
            descriptor.bg_free_blocks_count_hi.get(),
        );
        self.count("the number of free blocks", Owner::Group(number), says, free)?;
        let uninit = self.volume.seed.is_some() || self.has_ro(RoCompat::GDT_CSUM);
        let at = place(
            counted.wide,
            descriptor.bg_block_bitmap_lo.get(),
            descriptor.bg_block_bitmap_hi.get(),
        );
        if self.volume.holds(at, 1) && !(uninit && descriptor.bg_flags.get() & BLOCK_UNINIT != 0) {
            let bitmap = self.block(at)?;
            self.bits(number, start, &used, &bitmap)?;
        }
        Ok(free)
    }

    fn bits(&mut self, group: u32, start: u64, used: &[bool], bitmap: &[u8]) -> Checked {
        let counted = self.groups[Group(group).index()];
        if let Some(seed) = self.volume.seed {
            let bytes = self.volume.superblock.s_clusters_per_group.get().div_euclid(8);
            let found = u64::from(seed.bitmap(bitmap.get(..index(bytes)).unwrap_or(bitmap)));
            let descriptor = &counted.descriptor;
            let says = wide(
                counted.wide,
                descriptor.bg_block_bitmap_csum_lo.get(),
                descriptor.bg_block_bitmap_csum_hi.get(),
            );
            if says != (if counted.wide { found } else { found & 0xffff }) {
                let (what, of) = ("the block bitmap", Owner::Group(group));
                self.fault(ReadError::Checksum { what, of }.into())?;
            }
        }
        let (mut lost, mut taken) = (Wrong::default(), Wrong::default());
        for (nth, used) in used.iter().enumerate() {
            let byte = bitmap.get(nth.div_euclid(8)).copied().unwrap_or(0);
            let marked = byte & 1_u8.rotate_left(u32::try_from(nth.rem_euclid(8)).unwrap_or(0)) != 0;
            let block = start.saturating_add(to_u64(nth));
            match (*used, marked) {
                (true, false) => taken.add(block),
                (false, true) => lost.add(block),
                _ => {}
            }
        }
        if taken.count > 0 {
            let Wrong { count, first } = taken;
            self.fault(Fault::UsedMarkedFree { group, count, first })?;
        }
        if lost.count > 0 {
            let Wrong { count, first } = lost;
            self.fault(Fault::FreeMarkedUsed { group, count, first })?;
        }
        Ok(())
    }
}
