//! Clusters given out, the tables that say so, and what lies in them.
//!
//! Spec: Microsoft FAT Specification, sections 4, 6 and 7.
//!
//! Clusters are given out in one pass: to directories, the root first, then to files in the order of the directories. Holes
//! of files are gaps, as is the rest of every last cluster.

use std::sync::Arc;

use image_core::map::Builder;
use image_core::tree::Time;
use zerocopy::IntoBytes as _;

use super::boot::MEDIA;
use super::clusters::Width;
use super::contents::{Contents, Directory, What};
use super::disk::{
    ARCHIVE, DIRECTORY, LAST_LONG, LONG_NAME, LONG_UNITS, Short, VOLUME_ID, checksum, long, short,
};
use super::geometry::Geometry;
use super::{time, wide};

/// Which clusters everything has.
pub(super) struct Layout<'a> {
    contents: &'a Contents<'a>,
    geometry: &'a Geometry,
    /// The first cluster of every directory, and of every file in the order of the directories; 0 where there is none.
    directories: Vec<u32>,
    files: Vec<u32>,
    /// How many clusters each chain has, in order.
    chains: Vec<u64>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(contents: &'a Contents<'a>, geometry: &'a Geometry) -> Self {
        let mut layout = Self {
            contents,
            geometry,
            directories: Vec::new(),
            files: Vec::new(),
            chains: Vec::new(),
        };
        let mut next = 2;
        for (at, directory) in contents.directories.iter().enumerate() {
            let fixed = at == 0 && geometry.shape.width != Width::Fat32;
            let first = layout.chain(&mut next, if fixed { 0 } else { directory.len().max(1) });
            layout.directories.push(first);
        }
        for entry in contents
            .directories
            .iter()
            .flat_map(|directory| &directory.entries)
        {
            if let What::File(data) = entry.what {
                let first = layout.chain(&mut next, data.len);
                layout.files.push(first);
            }
        }
        layout
    }

    /// Gives out the clusters of a chain of so many bytes, and says which is the first.
    fn chain(&mut self, next: &mut u64, len: u64) -> u32 {
        let clusters = len.div_ceil(self.geometry.shape.cluster_len());
        if clusters == 0 {
            return 0;
        }
        let first = long(*next);
        self.chains.push(clusters);
        *next = next.saturating_add(clusters);
        first
    }

    /// Lays out both tables, as far as clusters are in use.
    pub(super) fn tables(&self, map: &mut Builder) {
        let width = self.geometry.shape.width;
        let end: u32 = match width {
            Width::Fat12 => 0xfff,
            Width::Fat16 => 0xffff,
            Width::Fat32 => 0x0fff_ffff,
        };
        let mut entries = vec![end & !0xff | u32::from(MEDIA), end];
        for clusters in &self.chains {
            let last = wide(entries.len()).saturating_add(*clusters).saturating_sub(1);
            let follow = wide(entries.len()).saturating_add(1)..=last;
            entries.extend(follow.map(long));
            entries.push(end);
        }
        let bytes: Vec<u8> = match width {
            Width::Fat12 => twelve(&entries),
            Width::Fat16 => entries
                .iter()
                .flat_map(|entry| short((*entry).into()).to_le_bytes())
                .collect(),
            Width::Fat32 => entries.iter().flat_map(|entry| entry.to_le_bytes()).collect(),
        };
        let bytes: Arc<[u8]> = bytes.into();
        let first = self.geometry.reserved;
        for (sector, what) in [
            (first, "file allocation table"),
            (
                first.saturating_add(self.geometry.table),
                "file allocation table, copy",
            ),
        ] {
            map.bytes(self.bytes(sector), Arc::clone(&bytes), what);
        }
    }

    /// Lays out every directory.
    pub(super) fn directories(&self, map: &mut Builder, label: Option<[u8; 11]>, epoch: Time) {
        let mut files = self.files.iter();
        for (at, directory) in self.contents.directories.iter().enumerate() {
            let first = self.directories[at];
            let mut bytes: Vec<u8> = Vec::new();
            if let (0, Some(label)) = (at, label) {
                bytes.extend(entry(label, VOLUME_ID, epoch).as_bytes());
            }
            if at > 0 {
                bytes.extend(self.dots(first, directory, epoch));
            }
            for named in &directory.entries {
                let modified = named.modified.min(epoch);
                let (attributes, first, len) = match named.what {
                    What::Directory(below) => (DIRECTORY, self.directories[below], 0),
                    What::File(data) => {
                        let first = *files.next().expect("every file has been given its clusters");
                        (ARCHIVE, first, long(data.len))
                    }
                };
                if let Some(name) = &named.stored.long {
                    bytes.extend(long_entries(name, checksum(&named.stored.short)));
                }
                let mut entry = entry(named.stored.short, attributes, modified).at(first);
                entry.nt_res = named.stored.small;
                entry.file_size = len.into();
                bytes.extend(entry.as_bytes());
            }
            let what = if at == 0 { "root directory" } else { "directory" };
            map.bytes(self.place(first), bytes, what);
        }
    }

    /// What every directory but the root begins with.
    fn dots(&self, first: u32, directory: &Directory<'_>, epoch: Time) -> Vec<u8> {
        let modified = directory.modified.min(epoch);
        let parent = match directory.parent {
            // The root has the number 0 here, wherever it is.
            0 => 0,
            parent => self.directories[parent],
        };
        let dot = entry(*b".          ", DIRECTORY, modified).at(first);
        let dots = entry(*b"..         ", DIRECTORY, modified).at(parent);
        [dot.as_bytes(), dots.as_bytes()].concat()
    }

    /// Lays out the data of every file.
    pub(super) fn files(&self, map: &mut Builder) {
        let entries = self
            .contents
            .directories
            .iter()
            .flat_map(|directory| &directory.entries);
        let files = entries.filter_map(|entry| match entry.what {
            What::File(data) => Some(data),
            What::Directory(_) => None,
        });
        for (data, first) in files.zip(&self.files) {
            let at = self.place(*first);
            for range in data.ranges() {
                let len = range.end.saturating_sub(range.start);
                map.file(
                    at.saturating_add(range.start),
                    data.file,
                    range.start,
                    len,
                    "file data",
                );
            }
        }
    }

    /// Where a chain begins, in bytes; 0 is the fixed root directory.
    fn place(&self, first: u32) -> u64 {
        let data = self.geometry.data_at();
        match u64::from(first).checked_sub(2) {
            None => self.bytes(data.saturating_sub(self.geometry.root)),
            Some(index) => {
                let sectors = index.saturating_mul(self.geometry.shape.per_cluster);
                self.bytes(data.saturating_add(sectors))
            }
        }
    }

    fn bytes(&self, sectors: u64) -> u64 {
        sectors.saturating_mul(self.geometry.shape.sector)
    }
}

/// Two entries in three bytes.
fn twelve(entries: &[u32]) -> Vec<u8> {
    let pairs = entries.chunks(2).flat_map(|pair| {
        let both = pair[0] | pair.get(1).unwrap_or(&0) << 12;
        let len = if pair.len() == 2 { 3 } else { 2 };
        both.to_le_bytes().into_iter().take(len)
    });
    pairs.collect()
}

/// An entry for something empty.
fn entry(name: [u8; 11], attr: u8, modified: Time) -> Short {
    let (date, time) = time::written(modified);
    Short {
        name,
        attr,
        nt_res: 0,
        crt_time_tenth: 0,
        crt_time: time.into(),
        crt_date: date.into(),
        lst_acc_date: date.into(),
        fst_clus_hi: 0.into(),
        wrt_time: time.into(),
        wrt_date: date.into(),
        fst_clus_lo: 0.into(),
        file_size: 0.into(),
    }
}

impl Short {
    fn at(self, first: u32) -> Self {
        Self {
            fst_clus_hi: short((first >> 16).into()).into(),
            fst_clus_lo: short((first & 0xffff).into()).into(),
            ..self
        }
    }
}

/// The entries that hold a long name, the last part first.
fn long_entries(name: &[u16], checksum: u8) -> Vec<u8> {
    let parts: Vec<(u8, &[u16])> = (1..).zip(name.chunks(13)).collect();
    let mut entries = Vec::new();
    for (number, part) in parts.iter().rev() {
        let last = if usize::from(*number) == parts.len() {
            LAST_LONG
        } else {
            0
        };
        let mut entry = [0; 32];
        (entry[0], entry[11], entry[13]) = (number | last, LONG_NAME, checksum);
        // A zero ends the name where there is room for one, and ones fill the rest.
        let units = part.iter().copied().chain([0]).chain(std::iter::repeat(0xffff));
        for (at, unit) in LONG_UNITS.into_iter().zip(units) {
            entry[at..at.saturating_add(2)].copy_from_slice(&unit.to_le_bytes());
        }
        entries.extend(entry);
    }
    entries
}
