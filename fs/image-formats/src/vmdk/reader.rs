//! The guest of a sparse or a stream-optimized disk, its own or another program's.
//!
//! A disk may come from anywhere: whatever its bytes are, reading it ends with the guest's bytes or with an error, in
//! memory bounded by the largest directory and a few tables and grains. Files that a disk names are never opened.

use std::io;
use std::num::NonZero;
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress};
use image_core::ReadAt;
use image_core::store;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

use super::header::{AT_END, COMPRESSED, GrainMarker, Header, MAGIC, SECTOR, ZEROED};
use crate::guest::{Joined, Recent, Tell, by_blocks, invalid, read_block};

/// The largest directory that is read: 4 MiB.
const TABLES_MAX: u64 = 1 << 20;
/// The most entries of a table, which is everybody's number.
const ENTRIES_MAX: u32 = 512;
/// The largest grain that is read: 1 MiB.
const GRAIN_MAX: u64 = 2048;
/// The longest text that is read.
const TEXT_MAX: u64 = 64 << 10;
/// Tables that are kept.
const TABLES_KEPT: usize = 64;
/// Grains that are kept, each for the thread that reads on in it.
const GRAINS_KEPT: usize = 16;

/// Why a disk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It does not begin as one.
    #[error("not a VMDK image")]
    NotVmdk,
    /// It is of a form that is not read.
    #[error("VMDK images of {0} are not supported")]
    Unsupported(&'static str),
    /// It says of itself what cannot be.
    #[error("the VMDK image has {what} {found}")]
    Impossible {
        /// What of it.
        what: &'static str,
        /// The number.
        found: u64,
    },
    /// A grain does not decompress to one.
    #[error("the grain at sector {sector} is damaged")]
    Damaged {
        /// Where in the file.
        sector: u64,
    },
    /// The file could not be read.
    #[error("cannot read the VMDK image")]
    Io(#[from] io::Error),
}

/// The guest of a disk.
#[derive(Debug)]
pub struct Guest {
    pub(super) image: Arc<dyn ReadAt>,
    /// The one that knows where the directory is.
    pub(super) header: Header,
    pub(super) len: u64,
    /// Bytes in a grain.
    pub(super) grain: NonZero<u64>,
    /// Entries in a table.
    pub(super) entries: NonZero<u64>,
    pub(super) compressed: bool,
    /// Whether an entry of 1 is a grain of zeros.
    pub(super) zeroed: bool,
    pub(super) directory: Vec<U32>,
    tables: Recent<Vec<U32>>,
    grains: Recent<Vec<u8>>,
}

impl Guest {
    /// Opens a disk that is one file and has no parent.
    pub fn open(image: impl ReadAt + 'static) -> Result<Self, ReadError> {
        let image: Arc<dyn ReadAt> = Arc::new(image);
        let mut header = header_at(&image, 0)?;
        if header.magic != MAGIC {
            return Err(ReadError::NotVmdk);
        }
        refuse_parents(&image, &header)?;
        if header.directory.get() == AT_END {
            // The copy of the header stands before the marker that ends the stream.
            let at = image.len().checked_sub(1024).ok_or(ReadError::NotVmdk)?;
            header = header_at(&image, at)?;
        }
        if header.magic != MAGIC || !(1..=3).contains(&header.version.get()) {
            return Err(ReadError::Unsupported("an unknown version"));
        }
        let impossible = |what, found| ReadError::Impossible { what, found };
        let grain = header.grain_size.get();
        let grain = Some(grain).filter(|grain| (8..=GRAIN_MAX).contains(grain) && grain.is_power_of_two());
        let grain = grain.and_then(|grain| NonZero::new(grain.saturating_mul(SECTOR)));
        let grain = grain.ok_or(impossible("grains of sectors:", header.grain_size.get()))?;
        let entries = header.table_entries.get();
        let entries = NonZero::new(u64::from(entries)).filter(|_| entries <= ENTRIES_MAX);
        let entries = entries.ok_or(impossible(
            "entries in a table:",
            header.table_entries.get().into(),
        ))?;
        let len = header.capacity.get().checked_mul(SECTOR);
        let len = len.ok_or(impossible("sectors:", header.capacity.get()))?;
        let tables = len.div_ceil(grain.get()).div_ceil(entries.get());
        if tables > TABLES_MAX {
            return Err(impossible("sectors:", header.capacity.get()));
        }
        let compressed = header.flags.get() & COMPRESSED != 0;
        if compressed && header.compression.get() != 1 {
            return Err(ReadError::Unsupported("an unknown compression"));
        }
        let mut directory =
            vec![U32::ZERO; usize::try_from(tables).expect("a bounded directory fits memory")];
        let at = header.directory.get().saturating_mul(SECTOR);
        image.read_exact_at(directory.as_mut_bytes(), at)?;
        Ok(Self {
            image,
            header,
            len,
            grain,
            entries,
            compressed,
            zeroed: header.flags.get() & ZEROED != 0,
            directory,
            tables: Recent::new(TABLES_KEPT),
            grains: Recent::new(GRAINS_KEPT),
        })
    }

    /// The sector of a grain, if it is there.
    fn sector(&self, grain: u64) -> io::Result<Option<u64>> {
        let table = grain / self.entries;
        let index = usize::try_from(table).map_err(invalid)?;
        let at = self.directory.get(index).map_or(0, |entry| entry.get());
        if at == 0 {
            return Ok(None);
        }
        let entries = self.tables.get(table, || {
            let count = usize::try_from(self.entries.get()).map_err(invalid)?;
            let mut entries = vec![U32::ZERO; count];
            let at = u64::from(at).saturating_mul(SECTOR);
            self.image.read_exact_at(entries.as_mut_bytes(), at)?;
            Ok(entries)
        })?;
        let index = usize::try_from(grain % self.entries).map_err(invalid)?;
        let entry = u64::from(entries.get(index).map_or(0, |entry| entry.get()));
        let zero = entry == 0 || (entry == 1 && self.zeroed);
        Ok((!zero).then_some(entry))
    }

    /// A compressed grain, decompressed.
    fn decompressed(&self, sector: u64) -> io::Result<Arc<Vec<u8>>> {
        self.grains.get(sector, || {
            let damaged = || invalid(ReadError::Damaged { sector });
            let at = sector.saturating_mul(SECTOR);
            let mut marker = GrainMarker::new_zeroed();
            self.image.read_exact_at(marker.as_mut_bytes(), at)?;
            let size = u64::from(marker.size.get());
            // What can't be compressed grows by a little.
            if size > self.grain.get().saturating_mul(2) {
                return Err(damaged());
            }
            let mut packed = vec![0; usize::try_from(size).map_err(invalid)?];
            self.image.read_exact_at(&mut packed, at.saturating_add(12))?;
            let mut grain = vec![0; usize::try_from(self.grain.get()).map_err(invalid)?];
            let mut codec = Decompress::new(true);
            let status = codec.decompress(&packed, &mut grain, FlushDecompress::Finish);
            // The last grain of a disk may be as short as the disk.
            if status.is_err() || codec.total_out() == 0 {
                return Err(damaged());
            }
            Ok(grain)
        })
    }

    fn read_in_grain(&self, part: &mut [u8], grain: u64, within: u64) -> io::Result<()> {
        let Some(sector) = self.sector(grain)? else {
            part.fill(0);
            return Ok(());
        };
        if !self.compressed {
            return read_block(&self.image, part, Some(sector.saturating_mul(SECTOR)), within);
        }
        let bytes = self.decompressed(sector)?;
        let start = usize::try_from(within).map_err(invalid)?;
        part.copy_from_slice(&bytes[start..start.saturating_add(part.len())]);
        Ok(())
    }
}

pub(super) fn header_at(image: &dyn ReadAt, at: u64) -> io::Result<Header> {
    let mut header = Header::new_zeroed();
    image.read_exact_at(header.as_mut_bytes(), at)?;
    Ok(header)
}

/// The text of a disk, empty if it has none.
pub(super) struct Description(String);

impl Description {
    pub(super) fn read(image: &dyn ReadAt, header: &Header) -> io::Result<Self> {
        let at = header.descriptor_offset.get().saturating_mul(SECTOR);
        let len = header.descriptor_size.get().saturating_mul(SECTOR).min(TEXT_MAX);
        if at == 0 || len == 0 {
            return Ok(Self(String::new()));
        }
        let mut text = vec![0; usize::try_from(len).expect("64 KiB at most")];
        image.read_exact_at(&mut text, at)?;
        Ok(Self(String::from_utf8_lossy(&text).into_owned()))
    }

    pub(super) fn value(&self, key: &str) -> Option<String> {
        let lines = self.0.lines().map(|line| line.trim().trim_end_matches('\0'));
        let mut values = lines.filter_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
        values
            .next()
            .map(|value| value.trim().trim_matches('"').to_owned())
    }
}

/// Refuses disks whose text says that they need other files.
fn refuse_parents(image: &dyn ReadAt, header: &Header) -> Result<(), ReadError> {
    let text = Description::read(image, header)?;
    let parent = text.value("parentCID");
    let parent = parent.is_some_and(|parent| !parent.eq_ignore_ascii_case("ffffffff"));
    if parent || text.value("parentFileNameHint").is_some() {
        return Err(ReadError::Unsupported("a disk with a parent"));
    }
    match text.value("createType").as_deref() {
        None | Some("monolithicSparse" | "streamOptimized") => Ok(()),
        Some("twoGbMaxExtentSparse") => Err(ReadError::Unsupported("several files")),
        Some(_) => Err(ReadError::Unsupported("a type that is no single file")),
    }
}

impl ReadAt for Guest {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        by_blocks(self.len, self.grain, buf, offset, |part, grain, within| {
            self.read_in_grain(part, grain, within)
        })
    }

    fn check(&self) -> Result<(), store::Error> {
        self.image.check()
    }
}

impl crate::guest::Guest for Guest {
    fn stretches(&self, tell: &mut Tell<'_>) -> io::Result<()> {
        let mut joined = Joined::new(self.len, tell);
        let mut grain = 0;
        let grains = self.len.div_ceil(self.grain.get());
        while grain < grains {
            let table = usize::try_from(grain / self.entries).map_err(invalid)?;
            if self.directory.get(table).is_none_or(|entry| entry.get() == 0) {
                let next = (grain / self.entries).saturating_add(1);
                grain = next.saturating_mul(self.entries.get());
                continue;
            }
            if self.sector(grain)?.is_some() {
                let start = grain.saturating_mul(self.grain.get());
                joined.add(start..start.saturating_add(self.grain.get()), self.compressed)?;
            }
            grain = grain.saturating_add(1);
        }
        joined.finish()
    }
}
