//! Trees as images, in one pass: blocks of files are compressed on all processors while they come in, and the tables
//! that say where they are follow behind them.
//!
//! | module | what it is |
//! |---|---|
//! | `plan` | tree → which bytes of which files come in which order |
//! | `pack` | one block → the bytes that stand in the image |
//! | `tables` | records that run through compressed blocks of 8 KiB |
//! | `inodes` | tree and places of data → the tables of inodes and directories |
//! | `attributes` | sets of xattrs → their tables |
//!
//! Invariants:
//! - the bytes are a function of the tree, its files and the options: neither the number of threads nor their speed
//!   changes any;
//! - the blocks of one file stand one behind the other; files shorter than a block share fragments, which stand between
//!   the files, and those of the same bytes stand there once;
//! - a block of zeros takes no bytes, whether it was a hole or not;
//! - what cannot be said is dropped, and counted by [`Plan::dropped`]: ACLs, for which squashfs has no prefix, and
//!   fractions of seconds, as are times outside of 1970 to 2106.

mod attributes;
mod inodes;
mod pack;
mod plan;
mod tables;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::ops::Range;

use image_core::Sink;
use sha2::{Digest as _, Sha256};
use zerocopy::IntoBytes;

use super::disk::{FragmentEntry, Superblock};
use crate::pool::Pool;
pub use pack::Compression;
use pack::{Job, Outcome, Owner};
pub use plan::{Dropped, Plan, PlanError, WriteOptions, plan};

/// Images are whole pages, so that they can be the backing of a device.
const PAGE: u64 = 4096;

/// Where the data of a file stand.
#[derive(Clone, Debug, Default)]
struct Place {
    start: u64,
    /// What its blocks take, as the image's list of blocks has it.
    blocks: Vec<u32>,
    /// Bytes of its blocks that take none.
    sparse: u64,
    /// Which fragment has it, and where in it.
    fragment: Option<(u32, u32)>,
}

/// Writes the image of a [`Plan`], whose map's bytes it receives.
///
/// The output must be fresh: empty, and of no use to anybody before [`Sink::finish`] has written the superblock.
pub struct SquashfsSink<W: Write + Seek + Send> {
    output: BufWriter<W>,
    plan: Plan,
    pool: Pool<Job, Outcome>,
    places: Vec<Place>,
    fragments: Vec<FragmentEntry>,
    /// Which of the plan's files is coming in.
    current: usize,
    /// What came of its block.
    block: Vec<u8>,
    /// The ends of files that share the next fragment, and how many fragments were begun before it.
    fragment: Vec<u8>,
    fragments_begun: u32,
    /// In which fragment the bytes of a short file stand already, and where in it, by their SHA-256.
    shared: HashMap<[u8; 32], (u32, u32)>,
    /// Where the next block will stand.
    end: u64,
    /// The first byte that has not come yet.
    at: u64,
}

impl<W: Write + Seek + Send> fmt::Debug for SquashfsSink<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SquashfsSink")
            .field("at", &self.at)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl<W: Write + Seek + Send> SquashfsSink<W> {
    /// Starts an image, whose blocks `threads` threads compress.
    pub fn new(output: W, plan: Plan, threads: NonZero<usize>) -> io::Result<Self> {
        let options = plan.options;
        let pool = Pool::start("squashfs", threads, 4, || {
            Ok(move |job: &mut Job| pack::run(job, options))
        })?;
        let mut output = BufWriter::with_capacity(256 * 1024, output);
        // The superblock's place.
        output.write_all(Superblock::default().as_bytes())?;
        Ok(Self {
            output,
            pool,
            places: vec![Place::default(); plan.files.len()],
            fragments: Vec::new(),
            current: 0,
            block: Vec::new(),
            fragment: Vec::new(),
            fragments_begun: 0,
            shared: HashMap::new(),
            end: length(Superblock::default().as_bytes()),
            at: 0,
            plan,
        })
    }

    /// The output; a whole image after [`Sink::finish`] only.
    pub fn into_inner(self) -> io::Result<W> {
        self.output.into_inner().map_err(io::IntoInnerError::into_error)
    }

    /// How many bytes the block that is coming in still takes. `None` behind the last file.
    fn room(&self) -> Option<u64> {
        let file = self.plan.files.get(self.current)?;
        let block = u64::from(self.plan.options.block);
        let rest = file.range.end.saturating_sub(self.at);
        let filled = length(&self.block);
        Some(rest.min(block.saturating_sub(filled)))
    }

    /// Notes that bytes up to `at` came in, and hands the block on if it is whole.
    fn advance(&mut self, at: u64) -> io::Result<()> {
        self.at = at;
        let file = &self.plan.files[self.current];
        let whole = self.block.len() == self.plan.options.block_len();
        let ended = at == file.range.end;
        let short = file.is_short(self.plan.options);
        if ended && short {
            self.share()?;
        } else if (ended || whole) && !self.block.is_empty() {
            let bytes = std::mem::take(&mut self.block);
            let owner = Owner::File(self.current);
            self.submit(Job {
                owner,
                bytes,
                holes: 0,
            })?;
        }
        if ended {
            self.current = self.current.saturating_add(1);
        }
        Ok(())
    }

    /// Puts a short file into a fragment, unless its bytes stand in one.
    fn share(&mut self) -> io::Result<()> {
        let digest = Sha256::digest(&self.block).into();
        if let Some(place) = self.shared.get(&digest) {
            self.places[self.current].fragment = Some(*place);
            self.block.clear();
            return Ok(());
        }
        let together = self.fragment.len().saturating_add(self.block.len());
        if together > self.plan.options.block_len() {
            self.end_fragment()?;
        }
        let offset = u32::try_from(self.fragment.len()).expect("less than a block");
        let place = (self.fragments_begun, offset);
        self.places[self.current].fragment = Some(place);
        self.shared.insert(digest, place);
        self.fragment.append(&mut self.block);
        Ok(())
    }

    fn end_fragment(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.fragment);
        if bytes.is_empty() {
            return Ok(());
        }
        self.fragments_begun = self.fragments_begun.saturating_add(1);
        self.submit(Job {
            owner: Owner::Fragment,
            bytes,
            holes: 0,
        })
    }

    fn submit(&mut self, job: Job) -> io::Result<()> {
        while self.pool.is_full() {
            self.emit()?;
        }
        self.pool.submit(job)
    }

    /// Writes the oldest block under way. `false` when there is none.
    fn emit(&mut self) -> io::Result<bool> {
        let Some((job, outcome)) = self.pool.next()? else {
            return Ok(false);
        };
        let (bytes, size) = match &outcome {
            Outcome::Zero => (&[][..], 0),
            Outcome::Plain => (&job.bytes[..], pack::plain(&job.bytes)),
            Outcome::Packed(bytes) => (&bytes[..], pack::packed(bytes)),
        };
        match job.owner {
            Owner::Fragment => self.fragments.push(FragmentEntry {
                start_block: self.end.into(),
                size: size.into(),
                unused: 0.into(),
            }),
            Owner::File(index) => {
                let place = &mut self.places[index];
                if place.blocks.is_empty() {
                    place.start = self.end;
                }
                let block = u64::from(self.plan.options.block);
                let holes = usize::try_from(job.holes).map_err(|_| io::ErrorKind::OutOfMemory)?;
                place.blocks.resize(place.blocks.len().saturating_add(holes), 0);
                place.sparse = place.sparse.saturating_add(block.saturating_mul(job.holes));
                if job.holes == 0 {
                    place.blocks.push(size);
                    if matches!(outcome, Outcome::Zero) {
                        place.sparse = place.sparse.saturating_add(length(&job.bytes));
                    }
                }
            }
        }
        self.output.write_all(bytes)?;
        self.end = self.end.saturating_add(length(bytes));
        Ok(true)
    }

    /// Writes all tables, and the superblock.
    fn tables(&mut self) -> io::Result<()> {
        let (bytes, superblock) = inodes::tables(&self.plan, &self.places, &self.fragments, self.end)?;
        self.output.write_all(&bytes)?;
        let end = superblock.bytes_used.get();
        let padding = end.next_multiple_of(PAGE).saturating_sub(end);
        let zeros = [0; 4096];
        self.output
            .write_all(&zeros[..usize::try_from(padding).expect("less than a page")])?;
        self.output.seek(SeekFrom::Start(0))?;
        self.output.write_all(superblock.as_bytes())?;
        self.output.flush()
    }
}

impl<W: Write + Seek + Send> Sink for SquashfsSink<W> {
    fn data(&mut self, at: u64, mut bytes: &[u8]) -> io::Result<()> {
        if at != self.at {
            return Err(out_of_order());
        }
        while !bytes.is_empty() {
            let room = self.room().ok_or_else(out_of_order)?;
            let (part, rest) = bytes.split_at(usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
            self.block.extend_from_slice(part);
            self.advance(self.at.saturating_add(length(part)))?;
            bytes = rest;
        }
        Ok(())
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        if range.start != self.at {
            return Err(out_of_order());
        }
        let block = u64::from(self.plan.options.block);
        while self.at < range.end {
            let left = range.end.saturating_sub(self.at);
            let room = self.room().ok_or_else(out_of_order)?;
            let file = &self.plan.files[self.current];
            let len = left.min(file.range.end.saturating_sub(self.at));
            let holes = len.checked_div(block).unwrap_or(0);
            let took = if self.block.is_empty() && holes > 0 {
                let owner = Owner::File(self.current);
                self.submit(Job {
                    owner,
                    bytes: Vec::new(),
                    holes,
                })?;
                block.saturating_mul(holes)
            } else {
                let len = room.min(left);
                let filled = self.block.len();
                let zeros = usize::try_from(len).expect("at most a block");
                self.block.resize(filled.saturating_add(zeros), 0);
                len
            };
            self.advance(self.at.saturating_add(took))?;
        }
        Ok(())
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        if len != self.at || self.current != self.plan.files.len() {
            return Err(out_of_order());
        }
        self.end_fragment()?;
        while self.emit()? {}
        self.tables()
    }
}

fn out_of_order() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the files of a plan come in ascending order, without gaps, up to their end",
    )
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a buffer's length is a u64")
}
