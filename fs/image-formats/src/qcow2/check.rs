//! Whether an image's tables and reference counts agree, as `qemu-img check` judges it.
//!
//! Spec: <https://www.qemu.org/docs/master/interop/qcow2.html>
//!
//! Every cluster that header, tables, snapshots and guest use is counted; then each reference count has to say the same, and
//! an entry is marked as the only one if and only if it is. Backing files are not opened, since nothing depends on them. Not judged
//! and refused: external data files, encryption, extended L2 entries, bitmaps. After [`FAULTS_MAX`] faults the check ends.

use std::collections::HashSet;
use std::io;

use image_core::ReadAt;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::geometry::ClusterSize;
use super::header::{Entry, Header, Meaning, REFCOUNT_ORDER, V2_LEN};
use super::reader::ReadError;

/// Faults that are told.
pub const FAULTS_MAX: usize = 1000;
/// The most clusters of a file that are counted: 64 TiB of 64 KiB each.
const CLUSTERS_MAX: u64 = 1 << 30;
const SNAPSHOTS_MAX: u32 = 65_536;
/// The most entries of an L1 table, 32 MiB, and the largest refcount table, 8 MiB: QEMU opens no others.
const L1_ENTRIES_MAX: u32 = 4 << 20;
const REFCOUNT_TABLE_MAX: u64 = 8 << 20;
/// The most entries of tables that are looked at: those of [`CLUSTERS_MAX`] clusters, twice. Snapshots may share their
/// tables, each of which is then counted once more.
const ENTRIES_MAX: u64 = 1 << 31;
/// Bits 9..56 of an entry, and its highest.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Features: corrupt, external data, extended L2 entries; bitmaps, which are of another word.
const CORRUPT: u64 = 2;
const EXTERNAL: u64 = 4;
const EXTENDED: u64 = 16;
const BITMAPS: u64 = 1;

/// Something that is wrong in an image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A program found it damaged and said so.
    #[error("the header says that the image is corrupt")]
    Marked,
    /// A number in the header cannot be.
    #[error("the header's {field} cannot be {value}")]
    Header {
        /// Which.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// Something lies past the end of the file.
    #[error("{what} at byte {at} lies past the end of the file")]
    Outside {
        /// What.
        what: &'static str,
        /// Where.
        at: u64,
    },
    /// Something does not begin where a cluster does.
    #[error("{what} at byte {at} does not begin at a cluster")]
    Misaligned {
        /// What.
        what: &'static str,
        /// Where.
        at: u64,
    },
    /// A table is used twice.
    #[error("the L2 table at byte {at} is used twice")]
    TableTwice {
        /// Where.
        at: u64,
    },
    /// A cluster is used more often than its count says: writing to the image would destroy data.
    #[error("the cluster at byte {at} is used {counted} times, and its reference count is {says}")]
    Uncounted {
        /// Where.
        at: u64,
        /// What the count says.
        says: u64,
        /// How often it is used.
        counted: u64,
    },
    /// A cluster is used less often than its count says: it is lost.
    #[error(
        "the cluster at byte {at} is leaked: it is used {counted} times, and its reference count is {says}"
    )]
    Leaked {
        /// Where.
        at: u64,
        /// What the count says.
        says: u64,
        /// How often it is used.
        counted: u64,
    },
    /// An entry is marked as a cluster's only one, or is not, against its count.
    #[error(
        "{what} {entry:#018x} and the reference count {count} of its cluster do not agree on whether it is the only one"
    )]
    Copied {
        /// Which kind of entry.
        what: &'static str,
        /// The entry.
        entry: u64,
        /// The count.
        count: u64,
    },
    /// There are more.
    #[error("there are more faults than {FAULTS_MAX}")]
    More,
}

/// Checks an image. An error is one of reading the file, or of what is not judged.
pub fn check(image: &impl ReadAt) -> Result<Vec<Fault>, ReadError> {
    check_within(image, ENTRIES_MAX)
}

fn check_within(image: &impl ReadAt, entries_max: u64) -> Result<Vec<Fault>, ReadError> {
    let header = header(image)?;
    let bits = header.cluster_bits.get();
    let size = Some(bits)
        .filter(|bits| *bits < u64::BITS)
        .and_then(|bits| ClusterSize::new(1_u64.rotate_left(bits)))
        .ok_or(ReadError::BadClusterSize(bits))?;
    let clusters = image.len().div_ceil(size.bytes().get());
    if clusters > CLUSTERS_MAX {
        return Err(ReadError::Unsupported("files of more than 2^30 clusters"));
    }
    let counts = vec![0; usize::try_from(clusters).expect("2^30 at most")];
    let mut check = Check {
        image,
        header,
        size,
        counts,
        faults: Vec::new(),
        tables: HashSet::new(),
        left: entries_max,
    };
    match check.all() {
        Ok(()) => {}
        Err(Stop::TooMany) => check.faults.push(Fault::More),
        Err(Stop::TooLong) => return Err(ReadError::Unsupported("so many snapshots of such large tables")),
        Err(Stop::Failed(error)) => return Err(error.into()),
    }
    Ok(check.faults)
}

fn header(image: &impl ReadAt) -> Result<Header, ReadError> {
    let (mut header, _) = Header::of(image)?;
    match header.version.get() {
        2 => {
            header.as_mut_bytes()[V2_LEN..].fill(0);
            header.refcount_order = REFCOUNT_ORDER.into();
        }
        3 => {}
        version => return Err(ReadError::UnknownVersion(version)),
    }
    let features = header.incompatible_features.get();
    let unsupported = [
        (header.crypt_method.get() != 0, "encrypted images"),
        (features & EXTERNAL != 0, "external data files"),
        (features & EXTENDED != 0, "extended L2 entries"),
        (header.autoclear_features.get() & BITMAPS != 0, "bitmaps"),
    ];
    match unsupported.iter().find(|(found, _)| *found) {
        Some((_, what)) => Err(ReadError::Unsupported(what)),
        None => Ok(header),
    }
}

/// Why a check ends early.
enum Stop {
    TooMany,
    TooLong,
    Failed(io::Error),
}

type Checked<T = ()> = Result<T, Stop>;

/// A snapshot as it stands in its table; its id and its name follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Snapshot {
    l1_table_offset: U64,
    l1_size: U32,
    id_str_size: U16,
    name_size: U16,
    date_sec: U32,
    date_nsec: U32,
    vm_clock_nsec: U64,
    vm_state_size: U32,
    extra_data_size: U32,
}
const _: () = assert!(size_of::<Snapshot>() == 40);

struct Check<'a, R> {
    image: &'a R,
    header: Header,
    size: ClusterSize,
    /// How often each cluster of the file is used.
    counts: Vec<u16>,
    faults: Vec<Fault>,
    /// L2 tables that were read.
    tables: HashSet<u64>,
    /// Entries that may still be looked at.
    left: u64,
}

/// What is done with an entry of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Its cluster is counted.
    Count,
    /// Its mark is held against the count.
    Marks,
}

impl<R: ReadAt> Check<'_, R> {
    fn all(&mut self) -> Checked {
        if self.header.incompatible_features.get() & CORRUPT != 0 {
            self.fault(Fault::Marked)?;
        }
        let order = self.header.refcount_order.get();
        if order > 6 {
            let (field, value) = ("refcount_order", order.into());
            return self.fault(Fault::Header { field, value });
        }
        self.count("the header", 0, self.size.bytes().get())?;
        let l1 = (self.header.l1_table_offset.get(), self.header.l1_size.get());
        self.l1(l1, Pass::Count)?;
        let snapshots = self.snapshots()?;
        for snapshot in &snapshots {
            self.l1(*snapshot, Pass::Count)?;
        }
        let says = self.refcounts()?;
        self.compare(&says)?;
        self.tables.clear();
        self.counts = says;
        // Of snapshots no entry has to be marked.
        self.l1(l1, Pass::Marks)
    }

    fn fault(&mut self, fault: Fault) -> Checked {
        if self.faults.len() >= FAULTS_MAX {
            return Err(Stop::TooMany);
        }
        self.faults.push(fault);
        Ok(())
    }

    /// Counts the clusters that bytes lie in. Gives whether all of them are in the file.
    fn count(&mut self, what: &'static str, at: u64, len: u64) -> Checked<bool> {
        let size = self.size.bytes();
        let last = at.saturating_add(len.saturating_sub(1)) / size;
        let clusters = u64::try_from(self.counts.len()).expect("a usize fits a u64");
        if last >= clusters || len == 0 {
            self.fault(Fault::Outside { what, at })?;
            return Ok(false);
        }
        for cluster in at / size..=last {
            let cluster = usize::try_from(cluster).expect("fewer than are counted");
            self.counts[cluster] = self.counts[cluster].saturating_add(1);
        }
        Ok(true)
    }

    fn aligned(&mut self, what: &'static str, at: u64) -> Checked<bool> {
        if at.is_multiple_of(self.size.bytes().get()) {
            return Ok(true);
        }
        self.fault(Fault::Misaligned { what, at }).map(|()| false)
    }

    /// Bytes of the file; what lies past its end is zero.
    fn read(&self, at: u64, len: usize) -> Checked<Vec<u8>> {
        let mut bytes = vec![0; len];
        let there = self.image.len().saturating_sub(at);
        let there = usize::try_from(there).map_or(len, |there| there.min(len));
        let read = self
            .image
            .read_exact_at(&mut bytes[..there], at.min(self.image.len()));
        read.map(|()| bytes).map_err(Stop::Failed)
    }

    fn entries(&self, at: u64, count: u64) -> Checked<Vec<u64>> {
        let len = usize::try_from(count.saturating_mul(8)).unwrap_or(usize::MAX);
        let bytes = self.read(at, len)?;
        let words = bytes
            .chunks_exact(8)
            .map(|word| U64::read_from_bytes(word).map_or(0, U64::get));
        Ok(words.collect())
    }

    /// An L1 table and all that it leads to.
    fn l1(&mut self, (at, entries): (u64, u32), pass: Pass) -> Checked {
        let bytes = u64::from(entries).saturating_mul(8);
        if entries == 0 {
            return Ok(());
        }
        if entries > L1_ENTRIES_MAX {
            let (field, value) = ("number of L1 entries", entries.into());
            return match pass {
                Pass::Count => self.fault(Fault::Header { field, value }),
                Pass::Marks => Ok(()),
            };
        }
        self.take(entries.into())?;
        if pass == Pass::Count {
            let aligned = self.aligned("the L1 table", at)?;
            if !aligned || !self.count("the L1 table", at, bytes)? {
                return Ok(());
            }
        } else if at.saturating_add(bytes) > self.image.len().next_multiple_of(self.size.bytes().get()) {
            return Ok(());
        }
        for entry in self.entries(at, entries.into())? {
            let table = entry & OFFSET;
            if table == 0 {
                continue;
            }
            match pass {
                Pass::Count => {
                    let aligned = self.aligned("an L2 table", table)?;
                    if !aligned || !self.count("an L2 table", table, self.size.bytes().get())? {
                        continue;
                    }
                }
                Pass::Marks => self.mark("an L1 entry", entry, table)?,
            }
            if self.tables.insert(table) {
                self.l2(table, pass)?;
            } else if self.header.nb_snapshots.get() == 0 && pass == Pass::Count {
                self.fault(Fault::TableTwice { at: table })?;
            } else if pass == Pass::Count {
                self.l2(table, pass)?;
            }
        }
        Ok(())
    }

    /// Takes entries out of what may be looked at.
    fn take(&mut self, entries: u64) -> Checked {
        self.left = self.left.checked_sub(entries).ok_or(Stop::TooLong)?;
        Ok(())
    }

    fn l2(&mut self, at: u64, pass: Pass) -> Checked {
        let size = self.size.bytes().get();
        self.take(self.size.entries().get())?;
        for entry in self.entries(at, self.size.entries().get())? {
            let host = entry & OFFSET;
            match (Entry(entry).meaning(self.size), pass) {
                (Meaning::Compressed { offset, len }, Pass::Count) => {
                    let from = offset.saturating_sub(offset % 512);
                    let len = len.saturating_add(offset.saturating_sub(from));
                    self.count("compressed data", from, len)?;
                }
                (Meaning::Compressed { .. }, Pass::Marks) => {
                    if entry & COPIED != 0 {
                        let (what, count) = ("an L2 entry", 0);
                        self.fault(Fault::Copied { what, entry, count })?;
                    }
                }
                _ if host == 0 => {}
                (_, Pass::Count) => {
                    if self.aligned("a cluster of the guest", host)? {
                        self.count("a cluster of the guest", host, size)?;
                    }
                }
                (_, Pass::Marks) => self.mark("an L2 entry", entry, host)?,
            }
        }
        Ok(())
    }

    fn mark(&mut self, what: &'static str, entry: u64, host: u64) -> Checked {
        let cluster = usize::try_from(host / self.size.bytes()).unwrap_or(usize::MAX);
        let Some(count) = self.counts.get(cluster) else {
            return Ok(());
        };
        let count = u64::from(*count);
        if (entry & COPIED != 0) == (count == 1) || entry & COMPRESSED != 0 {
            return Ok(());
        }
        self.fault(Fault::Copied { what, entry, count })
    }

    /// Counts the table of snapshots. Gives their L1 tables.
    fn snapshots(&mut self) -> Checked<Vec<(u64, u32)>> {
        let (count, mut at) = (self.header.nb_snapshots.get(), self.header.snapshots_offset.get());
        if count > SNAPSHOTS_MAX {
            let (field, value) = ("nb_snapshots", count.into());
            return self.fault(Fault::Header { field, value }).map(|()| Vec::new());
        }
        let start = at;
        let mut tables = Vec::new();
        for _ in 0..count {
            if at >= self.image.len() {
                self.fault(Fault::Outside {
                    what: "the table of snapshots",
                    at,
                })?;
                return Ok(tables);
            }
            let bytes = self.read(at, size_of::<Snapshot>())?;
            let snapshot = Snapshot::read_from_bytes(&bytes).expect("as many bytes");
            tables.push((snapshot.l1_table_offset.get(), snapshot.l1_size.get()));
            let names = u64::from(snapshot.id_str_size.get()).saturating_add(snapshot.name_size.get().into());
            let behind = names.saturating_add(snapshot.extra_data_size.get().into());
            at = at.saturating_add(40).saturating_add(behind).next_multiple_of(8);
        }
        if count > 0 {
            self.count("the table of snapshots", start, at.saturating_sub(start))?;
        }
        Ok(tables)
    }

    /// Counts the refcount table and its blocks. Gives what they say of each cluster of the file.
    fn refcounts(&mut self) -> Checked<Vec<u16>> {
        let mut says = vec![0; self.counts.len()];
        let at = self.header.refcount_table_offset.get();
        let size = self.size.bytes().get();
        let len = u64::from(self.header.refcount_table_clusters.get()).saturating_mul(size);
        if len > REFCOUNT_TABLE_MAX {
            let (field, value) = ("size of the refcount table", len);
            return self.fault(Fault::Header { field, value }).map(|()| says);
        }
        let what = "the refcount table";
        if !self.aligned(what, at)? || !self.count(what, at, len)? {
            return Ok(says);
        }
        let order = self.header.refcount_order.get();
        let in_block = size.saturating_mul(8).unbounded_shr(order);
        let needed = u64::try_from(says.len())
            .expect("a usize fits a u64")
            .div_ceil(in_block);
        for (nth, entry) in self.entries(at, len / 8)?.into_iter().enumerate() {
            let what = "a refcount block";
            if entry == 0 || !self.aligned(what, entry)? || !self.count(what, entry, size)? {
                continue;
            }
            let nth = u64::try_from(nth).expect("a usize fits a u64");
            if nth >= needed {
                continue;
            }
            let block = self.read(entry, self.size.len())?;
            let first = usize::try_from(nth.saturating_mul(in_block)).expect("fewer than are counted");
            for (index, says) in says[first..]
                .iter_mut()
                .take(usize::try_from(in_block).unwrap_or(0))
                .enumerate()
            {
                *says = refcount(&block, index, order);
            }
        }
        Ok(says)
    }

    fn compare(&mut self, says: &[u16]) -> Checked {
        let counts = std::mem::take(&mut self.counts);
        for (cluster, (says, counted)) in (0_u64..).zip(says.iter().zip(&counts)) {
            let at = cluster.saturating_mul(self.size.bytes().get());
            let (says, counted) = (u64::from(*says), u64::from(*counted));
            match says.cmp(&counted) {
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Less => self.fault(Fault::Uncounted { at, says, counted })?,
                std::cmp::Ordering::Greater => self.fault(Fault::Leaked { at, says, counted })?,
            }
        }
        Ok(())
    }
}

/// The nth count of a block, whose counts have `1 << order` bits.
fn refcount(block: &[u8], nth: usize, order: u32) -> u16 {
    let bytes = |len: usize| {
        let start = nth.saturating_mul(len);
        let bytes = block.get(start..start.saturating_add(len)).unwrap_or_default();
        let value = bytes
            .iter()
            .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        u16::try_from(value).unwrap_or(u16::MAX)
    };
    if order >= 3 {
        return bytes(1_usize.rotate_left(order.saturating_sub(3)));
    }
    let at = nth.saturating_mul(1_usize.rotate_left(order));
    let byte = block.get(at / 8).copied().unwrap_or(0);
    let mask = u8::MAX.unbounded_shr(8_u32.saturating_sub(1_u32.rotate_left(order)));
    u16::from(byte.unbounded_shr(u32::try_from(at % 8).unwrap_or(0)) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image with so many snapshots of its L1 table, whose entries all have one L2 table.
    fn shared(snapshots: u32) -> Vec<u8> {
        const ENTRIES: u32 = 64;
        let mut image = vec![0; 5 << 16];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"QFI\xfb\0\0\0\x03");
        put(20, &16_u32.to_be_bytes());
        put(36, &ENTRIES.to_be_bytes());
        put(40, &(1_u64 << 16).to_be_bytes());
        put(60, &snapshots.to_be_bytes());
        put(64, &(4_u64 << 16).to_be_bytes());
        put(96, &4_u32.to_be_bytes());
        put(100, &104_u32.to_be_bytes());
        for entry in 0..ENTRIES {
            put((1 << 16) + 8 * entry as usize, &(2_u64 << 16).to_be_bytes());
        }
        for snapshot in 0..snapshots as usize {
            put((4 << 16) + 40 * snapshot, &(1_u64 << 16).to_be_bytes());
            put((4 << 16) + 40 * snapshot + 8, &ENTRIES.to_be_bytes());
        }
        image
    }

    #[test]
    fn snapshots_share_tables_but_not_without_end() {
        // Each walks through 64 tables of 8192 entries.
        let walk = 64 * 8192 + 64;
        assert!(check_within(&shared(3), 6 * walk).is_ok());
        let error = check_within(&shared(30), 6 * walk).unwrap_err();
        assert_eq!(
            error.to_string(),
            "so many snapshots of such large tables are not supported"
        );
    }
}
