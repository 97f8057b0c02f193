//! The boot sector, the allocation table, and chains of clusters.

use std::collections::HashSet;
use std::io;

use image_core::ReadAt;
use zerocopy::FromZeros as _;
use zerocopy::IntoBytes as _;
use zerocopy::little_endian::{U16, U32};

use super::Error;
use super::disk::{Bpb, Bpb32};

/// The most bytes of a directory: 65,536 entries.
const DIRECTORY_MAX: u64 = 65_536 * 32;

/// How wide an entry of the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// A file system that was opened.
#[derive(Debug)]
pub(super) struct Volume<'a, R> {
    source: &'a R,
    width: Width,
    /// Where the first table begins, in bytes, and how many it has.
    table: u64,
    table_len: u64,
    /// Where the root directory of FAT12 and FAT16 begins, and how many bytes it has.
    fixed_root: (u64, u64),
    root_cluster: u32,
    /// Where cluster 2 begins, in bytes.
    data: u64,
    cluster_len: u64,
    clusters: u32,
    used: HashSet<u32>,
}

/// Runs of bytes of the image that make up a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    /// Where each begins, and where it ends in the file.
    runs: Vec<(u64, u64)>,
}

impl<'a, R: ReadAt> Volume<'a, R> {
    pub(super) fn open(source: &'a R) -> Result<Self, Error> {
        let bad = |field, value| Error::BootSector { field, value };
        let (mut boot, mut boot32) = (Bpb::new_zeroed(), Bpb32::new_zeroed());
        if source.len() < 512 {
            return Err(bad("length", source.len()));
        }
        source.read_exact_at(boot.as_mut_bytes(), 0)?;
        source.read_exact_at(boot32.as_mut_bytes(), 36)?;
        let sector = u64::from({ boot.bytes_per_sec }.get());
        if !matches!(sector, 512 | 1024 | 2048 | 4096) {
            return Err(bad("bytes in a sector", sector));
        }
        let per_cluster = u64::from(boot.sec_per_clus);
        if !per_cluster.is_power_of_two() {
            return Err(bad("sectors in a cluster", per_cluster));
        }
        let (reserved, fats) = (u64::from({ boot.rsvd_sec_cnt }.get()), u64::from(boot.num_fats));
        if reserved == 0 || fats == 0 {
            return Err(bad("number of tables", fats));
        }
        let first_of = |small: U16, large: U32| match small.get() {
            0 => u64::from(large.get()),
            small => u64::from(small),
        };
        let fat_sectors = first_of(boot.fat_sz16, boot32.fat_sz32);
        let total = first_of(boot.tot_sec16, boot.tot_sec32);
        let root_len = u64::from({ boot.root_ent_cnt }.get()).saturating_mul(32);
        let root_at = fats.saturating_mul(fat_sectors).saturating_add(reserved);
        let data_at = root_at.saturating_add(root_len.div_ceil(sector));
        if fat_sectors == 0 || data_at >= total {
            return Err(bad("sectors in a table", fat_sectors));
        }
        if total.saturating_mul(sector) > source.len() {
            return Err(bad("number of sectors", total));
        }
        let clusters = total.saturating_sub(data_at).div_euclid(per_cluster);
        let clusters = u32::try_from(clusters).map_err(|_| bad("number of sectors", total))?;
        let width = match clusters {
            _ if { boot.fat_sz16 }.get() == 0 => Width::Fat32,
            0..4085 => Width::Fat12,
            _ => Width::Fat16,
        };
        Ok(Self {
            source,
            width,
            table: reserved.saturating_mul(sector),
            table_len: fat_sectors.saturating_mul(sector),
            fixed_root: (root_at.saturating_mul(sector), root_len),
            root_cluster: { boot32.root_clus }.get(),
            data: data_at.saturating_mul(sector),
            cluster_len: per_cluster.saturating_mul(sector),
            clusters,
            used: HashSet::new(),
        })
    }

    /// Where the root directory lies.
    pub(super) fn root(&mut self) -> Result<Chain, Error> {
        match self.width {
            Width::Fat32 => self.chain(self.root_cluster),
            Width::Fat12 | Width::Fat16 => Ok(Chain {
                runs: vec![self.fixed_root],
            }),
        }
    }

    /// The chain that begins with a cluster; 0 is that of an empty file.
    pub(super) fn chain(&mut self, first: u32) -> Result<Chain, Error> {
        let mut chain = Chain::default();
        let mut next = (first != 0).then_some(first);
        while let Some(cluster) = next {
            let index = cluster.checked_sub(2).filter(|index| *index < self.clusters);
            let index = index.ok_or(Error::Cluster(cluster))?;
            if !self.used.insert(cluster) {
                return Err(Error::Cluster(cluster));
            }
            let at = u64::from(index)
                .saturating_mul(self.cluster_len)
                .saturating_add(self.data);
            chain.push(at, self.cluster_len);
            next = self.next(cluster)?;
        }
        Ok(chain)
    }

    /// What follows a cluster; `None` at the end.
    fn next(&self, cluster: u32) -> Result<Option<u32>, Error> {
        let (at, mask, end) = match self.width {
            Width::Fat12 => (u64::from(cluster).saturating_mul(3) / 2, 0xfff, 0xff8),
            Width::Fat16 => (u64::from(cluster).saturating_mul(2), 0xffff, 0xfff8),
            Width::Fat32 => (u64::from(cluster).saturating_mul(4), 0x0fff_ffff, 0x0fff_fff8),
        };
        let len: usize = if self.width == Width::Fat32 { 4 } else { 2 };
        let mut entry = [0; 4];
        if at.saturating_add(4) > self.table_len.saturating_add(2) {
            return Err(Error::Cluster(cluster));
        }
        self.source
            .read_exact_at(&mut entry[..len], self.table.saturating_add(at))?;
        let entry = u32::from_le_bytes(entry);
        let odd = self.width == Width::Fat12 && cluster % 2 == 1;
        let entry = if odd { entry >> 4 } else { entry } & mask;
        Ok((entry < end).then_some(entry))
    }

    /// The bytes of a directory.
    pub(super) fn bytes(&self, chain: &Chain) -> Result<Vec<u8>, Error> {
        let len = usize::try_from(chain.len().min(DIRECTORY_MAX)).expect("two mebibytes at most");
        let mut bytes = vec![0; len];
        chain.read(self.source, &mut bytes, 0)?;
        Ok(bytes)
    }
}

impl Chain {
    fn push(&mut self, at: u64, len: u64) {
        let start = self.len();
        let end = start.saturating_add(len);
        let before = self.runs.len().checked_sub(2).map_or(0, |i| self.runs[i].1);
        match self.runs.last_mut() {
            Some((first, last)) if first.saturating_add(last.saturating_sub(before)) == at => *last = end,
            _ => self.runs.push((at, end)),
        }
    }

    /// Bytes in the chain.
    pub(super) fn len(&self) -> u64 {
        self.runs.last().map_or(0, |(_, end)| *end)
    }

    /// Fills `buf` from byte `offset` of the chain on.
    pub(super) fn read(&self, source: &impl ReadAt, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut buf, mut offset) = (buf, offset);
        let mut at = self.runs.partition_point(|(_, end)| *end <= offset);
        while !buf.is_empty() {
            let (first, end) = *self.runs.get(at).ok_or(io::ErrorKind::UnexpectedEof)?;
            let start = at.checked_sub(1).map_or(0, |before| self.runs[before].1);
            let here = usize::try_from(end.saturating_sub(offset))
                .unwrap_or(usize::MAX)
                .min(buf.len());
            let (part, rest) = buf.split_at_mut(here);
            source.read_exact_at(part, first.saturating_add(offset.saturating_sub(start)))?;
            offset = offset.saturating_add(u64::try_from(here).expect("a usize fits a u64"));
            buf = rest;
            at = at.saturating_add(1);
        }
        Ok(())
    }
}
