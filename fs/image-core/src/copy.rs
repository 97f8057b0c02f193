//! The one loop that moves the bytes of an image, from a store to a sink, as a map says.
//!
//! The map is cut into segments, in ascending order. Every thread claims the next segment and fills a buffer with its
//! bytes; whichever thread is free gives the sink the segments that are due. So reading, opening and rendering use all
//! processors and overlap with writing, while the sink sees one ascending sequence, the same for any number of threads:
//! it may be a file, a pipe, a compressor or a digest.
//!
//! Small files that are neighbours in the image are read straight to their places in one buffer, with the ends of their
//! last blocks zeroed, and written at once. Long runs of a file are first offered to the sink, which may clone them.

mod desk;
mod fill;
mod segment;

use std::num::NonZero;

use crate::map::Map;
use crate::sink::Sink;
use crate::store::{self, Store};
use desk::Desk;
use fill::Reader;

/// How to copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How many threads read; `None` is one for each processor, up to 16. The bytes are the same for any number.
    pub threads: Option<NonZero<usize>>,
    /// Whether reading takes work, since files lie packed in something: then no long run of one is offered to the sink,
    /// which could not clone it, but all threads read it.
    pub packed: bool,
}

/// Why an image could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read, or changed. Of several errors, one of these is told: it explains the others.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The sink refused.
    #[error("cannot write the {what} at byte {at}")]
    Sink {
        /// What was being written.
        what: &'static str,
        /// Where in the image.
        at: u64,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The most threads that read unless more are asked for: each has three segments in memory, and many of them wait for
/// one sink.
const THREADS_MAX: usize = 16;

/// Copies an image on all processors: every byte of `map`, in ascending order, once.
pub fn copy(map: &Map, store: &impl Store, sink: &mut impl Sink) -> Result<(), Error> {
    copy_with(map, store, sink, Options::default())
}

/// Copies an image as `options` say: every byte of `map`, in ascending order, once.
pub fn copy_with(map: &Map, store: &impl Store, sink: &mut impl Sink, options: Options) -> Result<(), Error> {
    let of_machine = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = options
        .threads
        .map_or_else(|| of_machine().min(THREADS_MAX), NonZero::get);
    sink.begin(map.len()).map_err(refused("beginning", 0))?;
    let desk = Desk::new(map, sink, threads, !options.packed);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| work(&desk, map, store));
        }
        work(&desk, map, store);
    });
    desk.close()?;
    sink.finish(map.len()).map_err(refused("end", map.len()))
}

fn refused(what: &'static str, at: u64) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Sink { what, at, source }
}

/// Fills one segment after the other, until there are no more or something failed.
fn work<'a, S: Sink>(desk: &Desk<'a, S>, map: &'a Map, store: &'a impl Store) {
    let _stop = desk.stop_on_panic();
    let mut reader = Reader::new(map, store);
    while let Some(mut claim) = desk.claim() {
        let filled = reader.fill(&mut claim);
        desk.hand_in(claim, filled);
    }
    if let Err(error) = reader.finish() {
        desk.fail(error.into());
    }
}
