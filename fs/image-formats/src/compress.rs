//! Compressed streams of what is written once, from its first byte to its last: gzip, xz, zstd and lz4, on all
//! processors.
//!
//! | module | what it is |
//! |---|---|
//! | `pool` | threads that work on blocks, whose results come back in order |
//! | `gzip` | one member: blocks of deflate, each with the end of the one before as its dictionary |
//! | `xz` | one stream of blocks that are compressed, and can be decompressed, each on its own |
//! | `lz4` | legacy frames: blocks that are compressed each on its own, and nothing else |
//!
//! Invariants:
//! - the bytes are a function of what is compressed and of the [`Method`]: neither the number of threads nor their speed
//!   nor the pieces in which the bytes come change any;
//! - a stream is one gzip member, one zstd frame, one xz stream with CRC32, or one legacy frame of lz4, since this is what
//!   the kernel takes for a ramdisk. Of xz it takes several blocks, too.
//!
//! Why own gzip and xz: a parallel writer of one gzip member in pure Rust is not to be had, and that of `lzma-rust2`
//! queues whatever it is given, so that its memory grows with what is compressed.
//!
//! Levels of gzip from 2 on are those of this crate's own deflate, whose blocks are smaller than pigz's at each of them, and
//! made in less time. Level 1 is that of `zlib-rs`.

mod gzip;
mod lz4;
mod xz;

use std::fmt;
use std::io::{self, Write};
use std::num::NonZero;
use std::ops::Range;

use image_core::Sink;

use crate::pool::Pool;
pub use xz::BLOCK as XZ_BLOCK;
pub use xz::SMALL_BLOCK as SMALL_XZ_BLOCK;
pub(crate) use xz::single as xz_block;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// gzip, level 1 to 9.
    Gzip(u8),
    /// xz, preset 0 to 9.
    Xz(u8),
    /// The same in smaller blocks, with no longer a dictionary than 2 MiB: a quarter of the memory for each thread.
    SmallXz(u8),
    /// zstd, level 1 to 22, where the crate has it.
    Zstd(u8),
    /// lz4 in legacy frames, the only ones that the kernel takes. There is one level: 1.
    Lz4(u8),
}

/// Why a stream cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The method has no such level.
    #[error("there is no level {level}, only {} to {}", levels.start(), levels.end())]
    Level {
        /// What was asked for.
        level: u8,
        /// What there is.
        levels: std::ops::RangeInclusive<u8>,
    },
    /// The crate was built without it.
    #[error("this build has no zstd")]
    NoZstd,
    /// No thread, or no compressor, can be had.
    #[error("cannot start to compress")]
    Start(#[source] io::Error),
}

/// How many blocks of gzip wait for their threads, for all of these together: each takes more than a MiB.
const GZIP_AHEAD: usize = 24;

/// Compresses what it receives, and writes the stream.
pub struct CompressingSink<W: Write + Send> {
    stream: Stream<W>,
    /// The first byte that has not come yet.
    at: u64,
}

impl<W: Write + Send> fmt::Debug for CompressingSink<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompressingSink")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

enum Stream<W: Write + Send> {
    Blocks(Blocks<W>),
    #[cfg(feature = "zstd")]
    Zstd(zstd::stream::write::Encoder<'static, W>),
    /// What is left when the stream is ended, or could not be.
    Ended(Option<W>),
}

/// What is left to decide between those of blocks: how these are framed.
enum Framing {
    Gzip(gzip::Framing),
    Xz(xz::Framing),
    Lz4,
}

/// A block on its way to a thread: bytes, of which the first are only its dictionary.
#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    dictionary: usize,
}

/// A compressed block.
#[derive(Debug)]
struct Packed {
    bytes: Vec<u8>,
    /// Of the bytes that were compressed.
    crc: flate2::Crc,
}

/// A stream that is made of blocks.
struct Blocks<W> {
    output: W,
    framing: Framing,
    pool: Pool<Block, Packed>,
    /// Bytes that make a block.
    len: usize,
    /// Bytes at the end of a block that are the dictionary of the next.
    window: usize,
    filling: Block,
}

impl<W: Write + Send> CompressingSink<W> {
    /// Starts a stream that `threads` threads compress.
    pub fn new(mut output: W, method: Method, threads: NonZero<usize>) -> Result<Self, StartError> {
        let levels = match method {
            Method::Gzip(_) => 1..=9,
            Method::Xz(_) | Method::SmallXz(_) => 0..=9,
            Method::Zstd(_) => 1..=22,
            Method::Lz4(_) => 1..=1,
        };
        let level = method.level();
        if !levels.contains(&level) {
            return Err(StartError::Level { level, levels });
        }
        let stream = match method {
            Method::Gzip(level) => {
                let (head, framing) = gzip::Framing::begin(level);
                output.write_all(&head).map_err(StartError::Start)?;
                let ahead = GZIP_AHEAD.checked_div(threads.get()).unwrap_or(1).clamp(1, 4);
                let pool = Pool::start("gzip", threads, ahead, || {
                    let mut codec = gzip::Codec::new(level);
                    Ok(move |block: &mut Block| codec.pack(block))
                });
                Stream::Blocks(Blocks {
                    output,
                    framing: Framing::Gzip(framing),
                    pool: pool.map_err(StartError::Start)?,
                    len: gzip::BLOCK,
                    window: gzip::WINDOW,
                    filling: Block::empty(),
                })
            }
            Method::Xz(_) | Method::SmallXz(_) => {
                let shape = match method {
                    Method::SmallXz(_) => xz::Shape::small(level),
                    _ => xz::Shape::large(level),
                };
                let (head, framing) = xz::Framing::begin(shape);
                output.write_all(&head).map_err(StartError::Start)?;
                let pool = Pool::start("xz", threads, 1, || {
                    Ok(move |block: &mut Block| xz::pack(shape, block))
                });
                Stream::Blocks(Blocks {
                    output,
                    framing: Framing::Xz(framing),
                    pool: pool.map_err(StartError::Start)?,
                    len: shape.block(),
                    window: 0,
                    filling: Block::empty(),
                })
            }
            Method::Lz4(_) => {
                output.write_all(&lz4::MAGIC).map_err(StartError::Start)?;
                let pool = Pool::start("lz4", threads, 1, || Ok(|block: &mut Block| Ok(lz4::pack(block))));
                Stream::Blocks(Blocks {
                    output,
                    framing: Framing::Lz4,
                    pool: pool.map_err(StartError::Start)?,
                    len: lz4::BLOCK,
                    window: 0,
                    filling: Block::empty(),
                })
            }
            #[cfg(feature = "zstd")]
            Method::Zstd(level) => Stream::Zstd(zstd(output, level, threads).map_err(StartError::Start)?),
            #[cfg(not(feature = "zstd"))]
            Method::Zstd(_) => return Err(StartError::NoZstd),
        };
        Ok(Self { stream, at: 0 })
    }

    /// The output, with a whole stream after [`Sink::finish`] only; `None` where that failed.
    pub fn into_inner(self) -> Option<W> {
        match self.stream {
            Stream::Blocks(blocks) => Some(blocks.output),
            #[cfg(feature = "zstd")]
            Stream::Zstd(_) => None,
            Stream::Ended(output) => output,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Blocks(blocks) => blocks.take(bytes),
            #[cfg(feature = "zstd")]
            Stream::Zstd(encoder) => encoder.write_all(bytes),
            Stream::Ended(_) => Err(out_of_order()),
        }
    }
}

impl Method {
    fn level(self) -> u8 {
        match self {
            Method::Gzip(level)
            | Method::Xz(level)
            | Method::SmallXz(level)
            | Method::Zstd(level)
            | Method::Lz4(level) => level,
        }
    }
}

/// Bytes that a thread takes at a time of zstd, up to [`ZSTD_JOBS_UP_TO`].
#[cfg(feature = "zstd")]
const ZSTD_JOB: u32 = 4 << 20;

/// The last level whose window is no longer than such a job.
#[cfg(feature = "zstd")]
const ZSTD_JOBS_UP_TO: u8 = 15;

/// One frame with a checksum. The C library cuts it into jobs by parameters, never by threads, as long as there is one:
/// its mode without any makes other bytes. By its own parameters it would keep five jobs of four windows each for two
/// threads.
#[cfg(feature = "zstd")]
fn zstd<W: Write>(
    output: W,
    level: u8,
    threads: NonZero<usize>,
) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    let mut encoder = zstd::stream::write::Encoder::new(output, level.into())?;
    encoder.include_checksum(true)?;
    if level <= ZSTD_JOBS_UP_TO {
        encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(ZSTD_JOB))?;
    }
    encoder.multithread(u32::try_from(threads.get()).unwrap_or(u32::MAX).min(200))?;
    Ok(encoder)
}

impl Block {
    fn empty() -> Self {
        Self {
            bytes: Vec::new(),
            dictionary: 0,
        }
    }

    fn dictionary(&self) -> &[u8] {
        &self.bytes[..self.dictionary]
    }

    fn content(&self) -> &[u8] {
        &self.bytes[self.dictionary..]
    }
}

impl<W: Write> Blocks<W> {
    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.len.saturating_sub(self.filling.content().len());
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            self.filling.bytes.extend_from_slice(part);
            bytes = rest;
            if self.filling.content().len() == self.len {
                self.submit()?;
            }
        }
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        let content = self.filling.content();
        let window = &content[content.len().saturating_sub(self.window)..];
        let mut next = Vec::with_capacity(self.len.saturating_add(self.window));
        next.extend_from_slice(window);
        let next = Block {
            dictionary: next.len(),
            bytes: next,
        };
        let full = std::mem::replace(&mut self.filling, next);
        while self.pool.is_full() {
            self.emit()?;
        }
        self.pool.submit(full)
    }

    /// Writes the oldest block under way. `false` when there is none.
    fn emit(&mut self) -> io::Result<bool> {
        let Some((block, packed)) = self.pool.next()? else {
            return Ok(false);
        };
        match &mut self.framing {
            Framing::Gzip(framing) => framing.block(&block, &packed, &mut self.output)?,
            Framing::Xz(framing) => framing.block(&block, &packed, &mut self.output)?,
            Framing::Lz4 => lz4::block(&packed, &mut self.output)?,
        }
        Ok(true)
    }

    fn end(mut self) -> io::Result<W> {
        if !self.filling.content().is_empty() {
            self.submit()?;
        }
        while self.emit()? {}
        let tail = match self.framing {
            Framing::Gzip(framing) => framing.end(),
            Framing::Xz(framing) => framing.end(),
            Framing::Lz4 => Vec::new(),
        };
        self.output.write_all(&tail)?;
        self.output.flush()?;
        Ok(self.output)
    }
}

impl<W: Write + Send> Sink for CompressingSink<W> {
    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if at != self.at {
            return Err(out_of_order());
        }
        self.at = at.saturating_add(length(bytes));
        self.take(bytes)
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        if range.start != self.at {
            return Err(out_of_order());
        }
        while self.at < range.end {
            let rest = usize::try_from(range.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
            let zeros = &ZEROS[..rest.min(ZEROS.len())];
            self.take(zeros)?;
            self.at = self.at.saturating_add(length(zeros));
        }
        Ok(())
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        if len != self.at {
            return Err(out_of_order());
        }
        let output = match std::mem::replace(&mut self.stream, Stream::Ended(None)) {
            Stream::Blocks(blocks) => blocks.end()?,
            #[cfg(feature = "zstd")]
            Stream::Zstd(encoder) => {
                let mut output = encoder.finish()?;
                output.flush()?;
                output
            }
            Stream::Ended(_) => return Err(out_of_order()),
        };
        self.stream = Stream::Ended(Some(output));
        Ok(())
    }
}

fn out_of_order() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "a stream comes in ascending order, without gaps, and ends once",
    )
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a buffer's length is a u64")
}
