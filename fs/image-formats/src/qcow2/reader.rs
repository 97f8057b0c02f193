//! The guest of a qcow2 image, its own or another program's.
//!
//! An image may come from anywhere: whatever its bytes are, reading it ends with the guest's bytes or with an error,
//! in memory bounded by the largest L1 table and a few clusters. Files that an image names are never opened.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress};
use zerocopy::byteorder::big_endian::U64;
use zerocopy::{FromZeros, IntoBytes};

use super::geometry::{ClusterSize, Error, Geometry};
use super::header::{Entry, Header, INCOMPATIBLE_COMPRESSION_TYPE, MAGIC, Meaning, V2_LEN};
use super::options::CompressionType;

/// The largest window of zstd, 8 MiB, which level 19 has: a cluster is smaller, and needs none that is larger.
#[cfg(feature = "zstd")]
const WINDOW_LOG_MAX: u32 = 23;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It does not begin as one.
    #[error("not a qcow2 image")]
    NotQcow2,
    /// Its version is neither 2 nor 3.
    #[error("qcow2 version {0} is not known")]
    UnknownVersion(u32),
    /// Its clusters have a size that there is not.
    #[error("2^{0} bytes are no cluster size")]
    BadClusterSize(u32),
    /// Its L1 table is too short for its length.
    #[error("an L1 table of {entries} entries is too short: {needed} are needed")]
    ShortTable {
        /// Entries it has.
        entries: u32,
        /// Entries that its length needs.
        needed: u64,
    },
    /// It uses what this reader does not read.
    #[error("{0} are not supported")]
    Unsupported(&'static str),
    /// It uses features without which it can't be read, and which this reader does not know.
    #[error("the image needs features {0:#x}, which are not known")]
    UnknownFeatures(u64),
    /// Its length does not do.
    #[error(transparent)]
    Image(#[from] Error),
    /// A table entry is against the rules.
    #[error("guest cluster {guest}: table entry {entry:#018x} is not valid")]
    BadEntry {
        /// The guest cluster that it serves.
        guest: u64,
        /// The entry.
        entry: u64,
    },
    /// A compressed cluster does not decompress to a cluster.
    #[error("guest cluster {guest}: the compressed data are damaged")]
    Damaged {
        /// The guest cluster.
        guest: u64,
    },
    /// A cluster is not in the file, which may have been cut off.
    #[error("guest cluster {guest} lies at byte {host}, past the end of the file")]
    Outside {
        /// Which, by its number in the guest.
        guest: u64,
        /// Where it should begin.
        host: u64,
    },
    /// What was asked for passes the end of the guest.
    #[error("{len} bytes at byte {offset} pass the end of the guest at byte {virtual_size}")]
    OutOfBounds {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Bytes in the guest.
        virtual_size: u64,
    },
    /// The file could not be read.
    #[error("cannot read the image")]
    Io(#[from] io::Error),
}

/// Reads the guest of an image. Clones share the L1 table.
#[derive(Clone, Debug)]
pub struct Reader<R> {
    inner: R,
    geometry: Geometry,
    compression_type: CompressionType,
    l1: Arc<[U64]>,
    /// The L2 table read last, and its index.
    l2: Option<(usize, Vec<U64>)>,
    /// The compressed cluster read last, and its number.
    cluster: Option<(u64, Vec<u8>)>,
}

impl<R: Read + Seek> Reader<R> {
    /// Opens an image that has no backing file.
    pub fn open(mut inner: R) -> Result<Self, ReadError> {
        let header = read_header(&mut inner)?;
        let bits = header.cluster_bits.get();
        let size = Some(bits)
            .filter(|bits| *bits < u64::BITS)
            .and_then(|bits| ClusterSize::new(1_u64.rotate_left(bits)));
        let size = size.ok_or(ReadError::BadClusterSize(bits))?;
        let geometry = Geometry::new(header.size.get(), size)?;
        let needed = geometry.l1_entries;
        if u64::from(header.l1_size.get()) < needed {
            return Err(ReadError::ShortTable {
                entries: header.l1_size.get(),
                needed,
            });
        }
        let entries = usize::try_from(needed).expect("the largest L1 table fits memory");
        let l1 = read_table(&mut inner, header.l1_table_offset.get(), entries)?;
        Ok(Self {
            inner,
            geometry,
            compression_type: match header.compression_type {
                0 => CompressionType::Zlib,
                1 => CompressionType::Zstd,
                _ => return Err(ReadError::Unsupported("clusters of this compression type")),
            },
            l1: l1.into(),
            l2: None,
            cluster: None,
        })
    }

    /// Bytes in the guest.
    pub fn virtual_size(&self) -> u64 {
        self.geometry.virtual_size
    }

    /// Bytes in a cluster.
    pub fn cluster_size(&self) -> ClusterSize {
        self.geometry.cluster_size
    }

    /// Fills `buf` with the guest's bytes from `offset` on.
    pub fn read_exact_at(&mut self, buf: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let virtual_size = self.geometry.virtual_size;
        let len = u64::try_from(buf.len()).expect("a usize fits a u64");
        if offset.checked_add(len).is_none_or(|end| end > virtual_size) {
            return Err(ReadError::OutOfBounds {
                offset,
                len,
                virtual_size,
            });
        }
        let size = self.geometry.cluster_size;
        let (mut offset, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let within = offset % size.bytes();
            let room =
                usize::try_from(size.bytes().get().saturating_sub(within)).expect("a cluster fits usize");
            let (part, behind) = rest.split_at_mut(room.min(rest.len()));
            self.read_in_cluster(part, offset / size.bytes(), within)?;
            offset = offset.saturating_add(u64::try_from(part.len()).expect("a usize fits a u64"));
            rest = behind;
        }
        Ok(())
    }

    /// Whether the guest's byte at `offset` can be read without reading a table or unpacking a cluster.
    pub(super) fn has_at_hand(&self, offset: u64) -> bool {
        let size = self.geometry.cluster_size;
        let guest = offset / size.bytes();
        let table = usize::try_from(guest / size.entries()).ok();
        let index = usize::try_from(guest % size.entries()).unwrap_or(usize::MAX);
        let l2 = self.l2.as_ref().filter(|(known, _)| Some(*known) == table);
        let entry = l2.and_then(|(_, l2)| l2.get(index));
        let plain = entry.is_some_and(|entry| {
            let meaning = Entry(entry.get()).meaning(size);
            !matches!(meaning, Meaning::Compressed { .. })
        });
        plain || self.cluster.as_ref().is_some_and(|(known, _)| *known == guest)
    }

    /// Whether a guest cluster may hold something, and if so, whether it is compressed.
    pub(super) fn holds(&mut self, guest: u64) -> Result<Option<bool>, ReadError> {
        Ok(match self.entry(guest)?.meaning(self.geometry.cluster_size) {
            Meaning::Unallocated | Meaning::Zero => None,
            Meaning::Plain(_) => Some(false),
            Meaning::Compressed { .. } => Some(true),
        })
    }

    /// The first guest cluster from this one on whose L2 table there is; past the end there is none.
    pub(super) fn next_mapped(&self, guest: u64) -> u64 {
        let per_table = self.geometry.cluster_size.entries();
        let table = usize::try_from(guest / per_table).unwrap_or(usize::MAX);
        let rest = self.l1.get(table..).unwrap_or_default();
        match rest.iter().position(|entry| Entry(entry.get()).table().is_some()) {
            Some(0) => guest,
            Some(skip) => {
                let table = table.saturating_add(skip);
                u64::try_from(table).map_or(u64::MAX, |table| table.saturating_mul(per_table.get()))
            }
            None => u64::MAX,
        }
    }

    /// Whether the image says that a guest cluster is zero, without looking at its bytes.
    pub fn is_hole(&mut self, guest: u64) -> Result<bool, ReadError> {
        let meaning = self.entry(guest)?.meaning(self.geometry.cluster_size);
        Ok(matches!(meaning, Meaning::Unallocated | Meaning::Zero))
    }

    fn read_in_cluster(&mut self, buf: &mut [u8], guest: u64, within: u64) -> Result<(), ReadError> {
        let size = self.geometry.cluster_size;
        let entry = self.entry(guest)?;
        match entry.meaning(size) {
            Meaning::Unallocated | Meaning::Zero => buf.fill(0),
            Meaning::Plain(host) if host.is_multiple_of(size.bytes().get()) => {
                let read = read_up_to(&mut self.inner, host.saturating_add(within), buf)?;
                // The file may end in its last cluster, which is zero from there on.
                if read == 0 && host >= self.inner.seek(SeekFrom::End(0))? {
                    return Err(ReadError::Outside { guest, host });
                }
                buf[read..].fill(0);
            }
            Meaning::Plain(_) => {
                return Err(ReadError::BadEntry {
                    guest,
                    entry: entry.0,
                });
            }
            Meaning::Compressed { offset, len } => {
                if self.cluster.as_ref().is_none_or(|(known, _)| *known != guest) {
                    let cluster = self.decompress(guest, offset, len)?;
                    self.cluster = Some((guest, cluster));
                }
                let start = usize::try_from(within).expect("less than a cluster");
                if let Some((_, cluster)) = &self.cluster {
                    buf.copy_from_slice(&cluster[start..start.saturating_add(buf.len())]);
                }
            }
        }
        Ok(())
    }

    /// The L2 entry of a guest cluster.
    fn entry(&mut self, guest: u64) -> Result<Entry, ReadError> {
        let size = self.geometry.cluster_size;
        let table = usize::try_from(guest / size.entries()).unwrap_or(usize::MAX);
        let l1 = Entry(self.l1.get(table).map_or(0, |entry| entry.get()));
        let Some(host) = l1.table() else {
            return Ok(Entry(0));
        };
        if !host.is_multiple_of(size.bytes().get()) {
            return Err(ReadError::BadEntry { guest, entry: l1.0 });
        }
        if self.l2.as_ref().is_none_or(|(known, _)| *known != table) {
            let entries = usize::try_from(size.entries().get()).expect("a table fits memory");
            self.l2 = Some((table, read_table(&mut self.inner, host, entries)?));
        }
        let index = usize::try_from(guest % size.entries()).expect("less than a table");
        Ok(Entry(self.l2.as_ref().map_or(0, |(_, l2)| l2[index].get())))
    }

    fn decompress(&mut self, guest: u64, offset: u64, len: u64) -> Result<Vec<u8>, ReadError> {
        let damaged = ReadError::Damaged { guest };
        let mut packed = vec![0; usize::try_from(len).expect("two clusters at most")];
        // The file may end with the last piece, before its sector does.
        let read = read_up_to(&mut self.inner, offset, &mut packed)?;
        packed.truncate(read);
        let mut cluster = vec![0; self.geometry.cluster_size.len()];
        match self.compression_type {
            CompressionType::Zlib => {
                let mut codec = Decompress::new(false);
                let status = codec.decompress(&packed, &mut cluster, FlushDecompress::Finish);
                let whole = codec.total_out() == self.geometry.cluster_size.bytes().get();
                (status.is_ok() && whole).then_some(cluster).ok_or(damaged)
            }
            #[cfg(feature = "zstd")]
            CompressionType::Zstd => {
                let read = unpack_zstd(&packed, &mut cluster);
                read.map(|()| cluster).map_err(|_| damaged)
            }
            #[cfg(not(feature = "zstd"))]
            CompressionType::Zstd => Err(ReadError::Unsupported("clusters compressed with zstd")),
        }
    }
}

/// Unpacks the start of a frame, which stands in front of whatever.
#[cfg(feature = "zstd")]
fn unpack_zstd(packed: &[u8], cluster: &mut [u8]) -> io::Result<()> {
    let mut codec = zstd::stream::read::Decoder::with_buffer(packed)?;
    codec.window_log_max(WINDOW_LOG_MAX)?;
    codec.single_frame().read_exact(cluster)
}

/// Reads and judges the header. One of version 2 is read as if it had version 3's rest, as the spec says.
fn read_header(inner: &mut (impl Read + Seek)) -> Result<Header, ReadError> {
    let mut header = Header::new_zeroed();
    let read = read_up_to(inner, 0, header.as_mut_bytes())?;
    if read < V2_LEN || header.magic.get() != MAGIC {
        return Err(ReadError::NotQcow2);
    }
    match header.version.get() {
        2 => header.as_mut_bytes()[V2_LEN..].fill(0),
        3 if read < 104 => return Err(ReadError::NotQcow2),
        3 => {}
        version => return Err(ReadError::UnknownVersion(version)),
    }
    let zstd = header.incompatible_features.get() & INCOMPATIBLE_COMPRESSION_TYPE != 0;
    // Without the bit, the byte may belong to what follows a shorter header.
    if !zstd {
        header.compression_type = 0;
    }
    let unsupported = [
        (header.backing_file_offset.get() != 0, "backing files"),
        (header.crypt_method.get() != 0, "encrypted images"),
        (header.incompatible_features.get() & 4 != 0, "external data files"),
        (
            header.incompatible_features.get() & 16 != 0,
            "extended L2 entries",
        ),
    ];
    if let Some((_, what)) = unsupported.iter().find(|(found, _)| *found) {
        return Err(ReadError::Unsupported(what));
    }
    // Dirty and corrupt images (bits 0 and 1) have stale reference counts, which a reader does not need.
    let unknown = header.incompatible_features.get() & !(INCOMPATIBLE_COMPRESSION_TYPE | 3);
    if unknown != 0 {
        return Err(ReadError::UnknownFeatures(unknown));
    }
    Ok(header)
}

fn read_table(inner: &mut (impl Read + Seek), at: u64, entries: usize) -> io::Result<Vec<U64>> {
    let mut table = vec![U64::ZERO; entries];
    inner.seek(SeekFrom::Start(at))?;
    inner.read_exact(table.as_mut_bytes())?;
    Ok(table)
}

/// Reads from byte `at` on until `buf` is full or the file ends.
fn read_up_to(inner: &mut (impl Read + Seek), at: u64, buf: &mut [u8]) -> io::Result<usize> {
    inner.seek(SeekFrom::Start(at))?;
    let mut done = 0_usize;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match inner.read(rest) {
            Ok(0) => break,
            Ok(read) => done = done.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(all(test, feature = "zstd"))]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_window_takes_no_more_memory_than_a_cluster_can_need() {
        let wide = |log: u32| {
            let mut codec = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            codec.window_log(log).unwrap();
            codec.include_contentsize(false).unwrap();
            codec.write_all(&vec![7; 100_000]).unwrap();
            codec.finish().unwrap()
        };
        let mut cluster = vec![0; 65536];
        unpack_zstd(&wide(WINDOW_LOG_MAX), &mut cluster).unwrap();
        assert!(cluster.iter().all(|byte| *byte == 7));
        assert!(unpack_zstd(&wide(27), &mut cluster).is_err());
    }
}
