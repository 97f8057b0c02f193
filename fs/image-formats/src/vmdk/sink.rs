//! One pass from guest to stream-optimized disk, in ascending order, so that it may go to a pipe.
//!
//! ```text
//! header | text | grain | grain | … | marker, table | grain | … | marker, directory | marker, header again | marker
//! ```
//!
//! The bytes do not depend on the number of threads or on their speed. Where the first header shall say where the
//! directory is, it is written again at the end, which a pipe cannot do.

use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;

use image_core::Sink;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::header::{
    AT_END, Announced, GRAIN, GrainMarker, Header, Marker, SECTOR, TABLE_ENTRIES, TABLE_SECTORS,
};
use super::layout::{Error, GRAIN_BYTES, sectors};
use super::options::Options;
use crate::packing::{Batch, How, Kind, Outcome, Workers};

/// Why there can be no such disk.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The image's length does not do.
    #[error(transparent)]
    Image(#[from] Error),
    /// No thread can be had.
    #[error("cannot start to compress")]
    Start(#[source] io::Error),
}

/// Writes the image that it receives as a stream-optimized disk.
#[derive(Debug)]
pub struct StreamSink<W: Write + Send> {
    output: W,
    /// Sectors written.
    written: u64,
    descriptor: String,
    capacity: u64,
    /// Bytes in the guest.
    len: u64,
    workers: Workers,
    /// The batch that is being filled.
    batch: Batch,
    /// The first byte of the guest that has not come yet.
    at: u64,
    directory: Vec<U32>,
    table: Vec<U32>,
    /// Which table that is; `None` while it is empty.
    open: Option<usize>,
    /// What writes the first header again, if it shall be.
    rewrite: Option<Rewrite<W>>,
    done: bool,
}

/// Writes bytes at the start of an output, and goes back to its end.
type Rewrite<W> = fn(&mut W, &[u8]) -> io::Result<()>;

impl<W: Write + Seek + Send> StreamSink<W> {
    /// The same, but the first header will say where the directory is.
    #[must_use]
    pub fn with_directory_in_front(mut self) -> Self {
        self.rewrite = Some(|output, header| {
            output.seek(SeekFrom::Start(0))?;
            output.write_all(header)?;
            output.seek(SeekFrom::End(0)).map(drop)
        });
        self
    }
}

impl<W: Write + Send> StreamSink<W> {
    /// Starts a disk of `len` bytes. Nothing is written before the image comes.
    pub fn new(output: W, len: u64, options: &Options) -> Result<Self, StartError> {
        let capacity = sectors(len)?;
        let how = How {
            codec: Kind::Zlib,
            level: options.level,
            size: usize::try_from(GRAIN_BYTES.get()).expect("64 KiB fits usize"),
            threads: options.threads,
        };
        let tables = capacity.div_ceil(super::layout::TABLE_COVERS);
        let count = |n: u64| usize::try_from(n).expect("tables of 2 TiB fit memory");
        Ok(Self {
            output,
            written: 0,
            descriptor: options.descriptor(capacity),
            capacity,
            len,
            workers: Workers::start(how).map_err(StartError::Start)?,
            batch: Batch::default(),
            at: 0,
            directory: vec![U32::ZERO; count(tables)],
            table: vec![U32::ZERO; count(TABLE_ENTRIES)],
            open: None,
            rewrite: None,
            done: false,
        })
    }

    /// The output; a whole disk after [`Sink::finish`] only.
    pub fn into_inner(self) -> W {
        self.output
    }

    /// Writes bytes, and zeros up to the end of their sector.
    fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut len = 0_usize;
        for part in parts {
            self.output.write_all(part)?;
            len = len.saturating_add(part.len());
        }
        let sector = usize::try_from(SECTOR).expect("512");
        let padded = len.next_multiple_of(sector);
        self.output.write_all(&[0; 512][..padded.saturating_sub(len)])?;
        let sectors = u64::try_from(padded).map_err(|_| out_of_order())? / SECTOR;
        self.written = self.written.saturating_add(sectors);
        Ok(())
    }

    /// Where the next sector goes.
    fn place(&self) -> io::Result<U32> {
        let full = || io::Error::new(io::ErrorKind::FileTooLarge, "a VMDK has at most 2 TiB");
        u32::try_from(self.written).map(U32::new).map_err(|_| full())
    }

    fn head(&mut self) -> io::Result<()> {
        let header = Header::stream(self.capacity, AT_END);
        self.write(&[header.as_bytes()])?;
        let text = std::mem::take(&mut self.descriptor);
        self.write(&[text.as_bytes()])?;
        let rest = GRAIN.saturating_sub(self.written);
        let rest = usize::try_from(rest.saturating_mul(SECTOR)).expect("a grain fits usize");
        self.write(&[&vec![0; rest]])
    }

    /// Adds bytes to the grain that they belong to, whose rest is zero.
    fn fill(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (grain, within) = (at / GRAIN_BYTES, at % GRAIN_BYTES);
        if self.batch.guests.last() != Some(&grain) {
            if self.batch.is_full() {
                self.submit()?;
            }
            self.batch.guests.push(grain);
        }
        let start = grains_len(self.batch.guests.len().saturating_sub(1))
            .saturating_add(usize::try_from(within).expect("less than a grain"));
        let buffer = &mut self.batch.bytes;
        buffer.resize(start, 0);
        buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        let mut full = self.workers.batch();
        std::mem::swap(&mut full, &mut self.batch);
        full.bytes.resize(grains_len(full.guests.len()), 0);
        while self.workers.is_full() {
            self.emit()?;
        }
        self.workers.submit(full)
    }

    /// Writes the oldest batch under way. `false` when there is none.
    fn emit(&mut self) -> io::Result<bool> {
        let Some(batch) = self.workers.next()? else {
            return Ok(false);
        };
        for (grain, outcome) in batch.guests.iter().zip(&batch.outcomes) {
            let Outcome::Compressed(range) = outcome else {
                continue;
            };
            let table = usize::try_from(grain / TABLE_ENTRIES).expect("a table's number fits usize");
            if self.open != Some(table) {
                self.close_table()?;
                self.open = Some(table);
            }
            let place = self.place()?;
            let entry = usize::try_from(grain % TABLE_ENTRIES).expect("less than 512");
            self.table[entry] = place;
            let piece = &batch.compressed[range.clone()];
            let marker = GrainMarker {
                sector: U64::new(grain.saturating_mul(GRAIN)),
                size: U32::new(u32::try_from(piece.len()).expect("a grain is small")),
            };
            self.write(&[marker.as_bytes(), piece])?;
        }
        self.workers.recycle(batch);
        Ok(true)
    }

    /// Writes the table behind its grains.
    fn close_table(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        self.write(&[Marker::new(Announced::Table, TABLE_SECTORS).as_bytes()])?;
        self.directory[open] = self.place()?;
        let fresh = vec![U32::ZERO; self.table.len()];
        let table = std::mem::replace(&mut self.table, fresh);
        self.write(&[table.as_bytes()])
    }

    fn tail(&mut self) -> io::Result<()> {
        self.close_table()?;
        let directory = std::mem::take(&mut self.directory);
        let bytes = directory.as_bytes();
        let sectors = u64::try_from(bytes.len())
            .map_err(|_| out_of_order())?
            .div_ceil(SECTOR);
        self.write(&[Marker::new(Announced::Directory, sectors).as_bytes()])?;
        let at = u64::from(self.place()?.get());
        self.write(&[bytes])?;
        self.write(&[Marker::new(Announced::Footer, 1).as_bytes()])?;
        let header = Header::stream(self.capacity, at);
        self.write(&[header.as_bytes()])?;
        self.write(&[Marker::new(Announced::EndOfStream, 0).as_bytes()])?;
        match self.rewrite {
            Some(rewrite) => rewrite(&mut self.output, header.as_bytes()),
            None => Ok(()),
        }
    }

    fn advance(&mut self, to: &Range<u64>) -> io::Result<()> {
        if to.start != self.at || to.end > self.len || self.done {
            return Err(out_of_order());
        }
        if self.written == 0 {
            self.head()?;
        }
        self.at = to.end;
        Ok(())
    }
}

impl<W: Write + Send> Sink for StreamSink<W> {
    fn data(&mut self, at: u64, mut bytes: &[u8]) -> io::Result<()> {
        let len = u64::try_from(bytes.len()).map_err(|_| out_of_order())?;
        self.advance(&(at..at.saturating_add(len)))?;
        let mut at = at;
        while !bytes.is_empty() {
            let room = GRAIN_BYTES.get().saturating_sub(at % GRAIN_BYTES);
            let room = usize::try_from(room).expect("a grain fits usize");
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            self.fill(at, part)?;
            bytes = rest;
            at = at.saturating_add(u64::try_from(part.len()).map_err(|_| out_of_order())?);
        }
        Ok(())
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        self.advance(&range)
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        self.advance(&(len..self.len))?;
        if !self.batch.guests.is_empty() {
            self.submit()?;
        }
        while self.emit()? {}
        self.tail()?;
        self.done = true;
        self.output.flush()
    }
}

/// Bytes of so many grains.
fn grains_len(grains: usize) -> usize {
    grains.saturating_mul(usize::try_from(GRAIN_BYTES.get()).expect("64 KiB fits usize"))
}

fn out_of_order() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "an image comes in ascending order, without gaps, up to its length",
    )
}
