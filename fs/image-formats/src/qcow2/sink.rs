//! One pass from guest to compressed image.

use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;

use image_core::Sink;

use super::allocation::Allocation;
use super::geometry::{Error, Geometry};
use super::options::{CompressionType, Options, OptionsError};
use crate::packing::{Batch, How, Kind, Outcome, Workers};

/// Why there can be no compressed image.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The image's length does not do.
    #[error(transparent)]
    Image(#[from] Error),
    /// The options do not do.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// No thread, or no compressor, can be had.
    #[error("cannot start to compress")]
    Start(#[source] io::Error),
}

/// Writes the image that it receives as a compressed qcow2.
///
/// The output must be fresh: empty, and of no use to anybody before [`Sink::finish`] has written the header. Writes
/// mostly ascend; the header comes last. The bytes do not depend on the number of threads or on their speed.
#[derive(Debug)]
pub struct CompressedSink<W: Write + Seek + Send> {
    output: Output<W>,
    options: Options,
    geometry: Geometry,
    /// `None` once the books are closed.
    allocation: Option<Allocation>,
    workers: Workers,
    /// The batch that is being filled.
    batch: Batch,
    /// The first byte of the guest that has not come yet.
    at: u64,
}

impl<W: Write + Seek + Send> CompressedSink<W> {
    /// Starts an image of `virtual_size` bytes.
    pub fn new(output: W, virtual_size: u64, options: &Options) -> Result<Self, StartError> {
        options.check_compressed()?;
        let geometry = Geometry::new(virtual_size, options.cluster_size)?;
        let how = How {
            codec: match options.compression_type {
                CompressionType::Zlib => Kind::Deflate {
                    window: options.compression_window,
                },
                CompressionType::Zstd => Kind::Zstd,
            },
            level: options.level(),
            size: options.cluster_size.len(),
            threads: options.threads,
        };
        Ok(Self {
            output: Output::new(output),
            options: options.clone(),
            geometry,
            allocation: Some(Allocation::new(geometry)),
            workers: Workers::start(how).map_err(StartError::Start)?,
            batch: Batch::default(),
            at: 0,
        })
    }

    /// The output; a whole image after [`Sink::finish`] only.
    pub fn into_inner(self) -> W {
        self.output.inner
    }

    /// Adds bytes to the guest cluster that they belong to, whose rest is zero.
    fn fill(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let size = self.geometry.cluster_size;
        let (cluster, within) = (at / size.bytes(), at % size.bytes());
        if self.batch.guests.last() != Some(&cluster) {
            if self.batch.is_full() {
                self.submit()?;
            }
            self.batch.guests.push(cluster);
        }
        let buffer = &mut self.batch.bytes;
        let clusters = self.batch.guests.len().saturating_sub(1);
        let within = usize::try_from(within).expect("less than a cluster");
        let start = clusters.saturating_mul(size.len()).saturating_add(within);
        buffer.resize(start, 0);
        buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        let mut full = self.workers.batch();
        std::mem::swap(&mut full, &mut self.batch);
        let len = full.guests.len().saturating_mul(self.geometry.cluster_size.len());
        full.bytes.resize(len, 0);
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
        let allocation = self.allocation.as_mut().ok_or_else(finished)?;
        let clusters = batch.bytes.chunks_exact(self.geometry.cluster_size.len());
        for ((guest, bytes), outcome) in batch.guests.iter().zip(clusters).zip(&batch.outcomes) {
            if *outcome == Outcome::Zero {
                continue;
            }
            if let Some(table) = allocation.enter(*guest) {
                self.output.write(table.at, &table.bytes)?;
            }
            let (at, bytes) = match outcome {
                Outcome::Compressed(range) => {
                    let piece = &batch.compressed[range.clone()];
                    let len = u64::try_from(piece.len()).expect("less than a cluster");
                    (allocation.compressed(*guest, len), piece)
                }
                _ => (allocation.plain(*guest), bytes),
            };
            self.output.write(at, bytes)?;
        }
        self.workers.recycle(batch);
        Ok(true)
    }

    fn advance(&mut self, to: &Range<u64>) -> io::Result<()> {
        if to.start != self.at || to.end > self.geometry.virtual_size {
            return Err(out_of_order());
        }
        self.at = to.end;
        Ok(())
    }
}

impl<W: Write + Seek + Send> Sink for CompressedSink<W> {
    fn data(&mut self, at: u64, mut bytes: &[u8]) -> io::Result<()> {
        let len = u64::try_from(bytes.len()).expect("a usize fits a u64");
        self.advance(&(at..at.saturating_add(len)))?;
        let size = self.geometry.cluster_size.bytes();
        let mut at = at;
        while !bytes.is_empty() {
            let room = size.get().saturating_sub(at % size);
            let room = usize::try_from(room).expect("a cluster fits usize");
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            self.fill(at, part)?;
            bytes = rest;
            at = at.saturating_add(u64::try_from(part.len()).expect("a usize fits a u64"));
        }
        Ok(())
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        self.advance(&range)
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        if (self.at, len) != (len, self.geometry.virtual_size) {
            return Err(out_of_order());
        }
        if !self.batch.guests.is_empty() {
            self.submit()?;
        }
        while self.emit()? {}
        let allocation = self.allocation.take().ok_or_else(finished)?;
        for part in allocation.finish(&self.options) {
            self.output.write(part.at, &part.bytes)?;
        }
        self.output.flush()
    }
}

fn out_of_order() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "an image comes in ascending order, without gaps, up to its length",
    )
}

fn finished() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the image is finished already")
}

/// Bytes gathered before they are written.
const GATHER: usize = 256 * 1024;

/// A file written in runs that mostly continue each other.
#[derive(Debug)]
struct Output<W> {
    inner: W,
    /// Where in the file `gathered` begins.
    at: u64,
    gathered: Vec<u8>,
}

impl<W: Write + Seek> Output<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            at: 0,
            gathered: Vec::with_capacity(GATHER),
        }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let gathered = u64::try_from(self.gathered.len()).expect("a usize fits a u64");
        if at != self.at.saturating_add(gathered) || self.gathered.len() >= GATHER {
            self.write_gathered()?;
            self.at = at;
        }
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }

    fn write_gathered(&mut self) -> io::Result<()> {
        if !self.gathered.is_empty() {
            self.inner.seek(SeekFrom::Start(self.at))?;
            self.inner.write_all(&self.gathered)?;
            self.gathered.clear();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_gathered()?;
        self.inner.flush()
    }
}
