//! Guests: what containers hold, as bytes that can be read at any place, and which of them may hold something.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use image_core::store::{self, FileId, Open, Store};
use image_core::{Map, ReadAt};

use crate::packing::is_zero;

/// A stretch of a guest that may hold something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Which bytes.
    pub range: Range<u64>,
    /// Whether it lies compressed: whoever compressed it saw no zeros, and looking for some is dear.
    pub compressed: bool,
}

/// Who is told of stretches.
pub type Tell<'a> = dyn FnMut(Stretch) -> io::Result<()> + 'a;

/// What a container holds.
pub trait Guest: ReadAt {
    /// Tells the stretches that may hold something, ascending and disjoint, until `tell` fails. What is between them is
    /// zero.
    fn stretches(&self, tell: &mut Tell<'_>) -> io::Result<()>;

    /// The file that has the same bytes at the same places, unless it is a container: a sink may clone them.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// What is looked at for zeros at a time: the smallest hole that an image gets.
const UNIT: usize = 64 << 10;
/// What is read of a unit first: most that are not zero are not zero there, and the rest need not be read twice.
const GLIMPSE: usize = 4 << 10;
/// Units that a thread takes at a time.
const UNITS: u64 = 64;

/// The most pieces that a guest is cut into by what its container says, and again by what it holds: with what is planned
/// of them they take some 150 MiB.
const PIECES_MAX: usize = 1 << 19;
/// The largest hole that is taken for data where there would be more pieces.
const FILLED_MAX: u64 = 1 << 20;

/// A guest as a map of one file, that of its [`GuestStore`]. What is zero is a hole, whether or not the container says so;
/// but where that made more pieces than memory is for, the smallest holes are data.
pub fn map(guest: &dyn Guest, threads: NonZero<usize>) -> io::Result<Map> {
    map_of(guest, threads, PIECES_MAX)
}

fn map_of(guest: &dyn Guest, threads: NonZero<usize>, pieces_max: usize) -> io::Result<Map> {
    let mut filled = 0;
    let known = loop {
        // All is looked at again, since what one thread found says nothing of the others: the same guest is to be cut
        // the same each time.
        if let Some(known) = pieces(guest, threads, pieces_max, filled)? {
            break known;
        }
        if filled >= FILLED_MAX {
            let why = format!("the disk has more than {pieces_max} pieces of data");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        filled = u64::try_from(UNIT).expect("64 KiB").max(filled.saturating_mul(2));
    };
    let mut image = Map::builder(guest.len());
    image.reserve(known.len());
    for Range { start, end } in known {
        image.file(start, FileId(0), start, end.saturating_sub(start), "guest data");
    }
    image.build().map_err(invalid)
}

/// The pieces of a guest that hold data, ascending, with holes of up to `filled` bytes between them taken for data; `None`
/// if there are too many.
fn pieces(
    guest: &dyn Guest,
    threads: NonZero<usize>,
    pieces_max: usize,
    filled: u64,
) -> io::Result<Option<Vec<Range<u64>>>> {
    let mut known: Vec<Range<u64>> = Vec::new();
    let mut unknown: Vec<Range<u64>> = Vec::new();
    let mut full = false;
    let told = guest.stretches(&mut |stretch| {
        let to = if stretch.compressed {
            &mut known
        } else {
            &mut unknown
        };
        append(to, stretch.range, filled);
        full = known.len().saturating_add(unknown.len()) > pieces_max;
        if full {
            // Nothing more needs to be told.
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(())
    });
    if full {
        return Ok(None);
    }
    told?;
    let cut = Mutex::new(Cut {
        stretches: unknown.into_iter(),
        rest: 0..0,
    });
    let next = || cut.lock().unwrap_or_else(PoisonError::into_inner).next();
    let pieces = AtomicUsize::new(known.len());
    let work = || {
        let mut found = Vec::new();
        let mut buf = vec![0; UNIT];
        while let Some(job) = next() {
            let own = look(guest, &job, filled, &mut buf)?;
            // What is whole will be joined with what is before and behind it.
            let more = if own == [job] { 0 } else { own.len() };
            if pieces.fetch_add(more, Ordering::Relaxed).saturating_add(more) > pieces_max {
                return Ok(None);
            }
            found.extend(own);
        }
        Ok::<_, io::Error>(Some(found))
    };
    let looked = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
        let ends = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        let died = |_| io::Error::other("a thread that looks for zeros has died");
        ends.map(|end| end.map_err(died)?)
            .collect::<io::Result<Option<Vec<_>>>>()
    })?;
    let Some(looked) = looked else { return Ok(None) };
    known.extend(looked.into_iter().flatten());
    known.sort_unstable_by_key(|range| range.start);
    known.dedup_by(|next, last| join(last, next, filled));
    Ok(Some(known))
}

/// Adds a range behind others.
fn append(ranges: &mut Vec<Range<u64>>, range: Range<u64>, filled: u64) {
    let joined = ranges.last_mut().is_some_and(|last| join(last, &range, filled));
    if !joined {
        ranges.push(range);
    }
}

/// Joins a range with one that does not begin before it, if no more than so many bytes are between them.
fn join(last: &mut Range<u64>, next: &Range<u64>, filled: u64) -> bool {
    let close = next.start <= last.end.saturating_add(filled);
    if close {
        last.end = last.end.max(next.end);
    }
    close
}

/// Cuts stretches into what a thread takes at a time. All cuts at once would be many, of a guest that is large and empty.
struct Cut {
    stretches: std::vec::IntoIter<Range<u64>>,
    /// What is left of the one that is being cut.
    rest: Range<u64>,
}

impl Cut {
    fn next(&mut self) -> Option<Range<u64>> {
        let chunk = u64::try_from(UNIT).expect("64 KiB").saturating_mul(UNITS);
        while self.rest.is_empty() {
            self.rest = self.stretches.next()?;
        }
        let Range { start, end } = self.rest;
        // Units begin at multiples of their size, so that they are whole blocks of whatever is written.
        let next = start.saturating_add(1).checked_next_multiple_of(chunk);
        let next = next.map_or(end, |next| next.min(end));
        self.rest.start = next;
        Some(start..next)
    }
}

/// The units of a range that are not zero, joined.
fn look(guest: &dyn Guest, range: &Range<u64>, filled: u64, buf: &mut [u8]) -> io::Result<Vec<Range<u64>>> {
    let unit = u64::try_from(UNIT).expect("64 KiB");
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let next = at.saturating_add(1).next_multiple_of(unit).min(range.end);
        let len = usize::try_from(next.saturating_sub(at)).map_err(invalid)?;
        let (first, rest) = buf[..len].split_at_mut(len.min(GLIMPSE));
        guest.read_exact_at(first, at)?;
        let mut zero = is_zero(first);
        if zero && !rest.is_empty() {
            guest.read_exact_at(
                rest,
                at.saturating_add(u64::try_from(first.len()).map_err(invalid)?),
            )?;
            zero = is_zero(rest);
        }
        if !zero {
            append(&mut found, at..next, filled);
        }
        at = next;
    }
    Ok(found)
}

/// Serves the one file of a guest's [`map`].
#[derive(Debug)]
pub struct GuestStore {
    guest: Arc<dyn Guest>,
    path: Vec<u8>,
}

impl GuestStore {
    /// Serves a guest. `path` names it in messages.
    pub fn new(guest: Arc<dyn Guest>, path: Vec<u8>) -> Self {
        Self { guest, path }
    }
}

impl Store for GuestStore {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        if file != FileId(0) {
            return Err(store::Error::Unknown(file));
        }
        self.guest.check()?;
        Ok(Box::new(GuestFile(self)))
    }
}

struct GuestFile<'a>(&'a GuestStore);

impl Open for GuestFile<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), store::Error> {
        let read = self.0.guest.read_exact_at(buf, offset);
        read.map_err(|source| store::Error::Read {
            path: self.0.path.clone(),
            source,
        })
    }

    fn descriptor(&self) -> Option<(BorrowedFd<'_>, u64)> {
        Some((self.0.guest.descriptor()?, 0))
    }

    fn finish(&self) -> Result<(), store::Error> {
        self.0.guest.check()
    }
}

/// Joins stretches that continue each other.
pub(crate) struct Joined<'a, 'b> {
    tell: &'a mut Tell<'b>,
    last: Option<Stretch>,
    /// Nothing is told past it.
    len: u64,
}

impl<'a, 'b> Joined<'a, 'b> {
    pub(crate) fn new(len: u64, tell: &'a mut Tell<'b>) -> Self {
        Self {
            tell,
            last: None,
            len,
        }
    }

    pub(crate) fn add(&mut self, range: Range<u64>, compressed: bool) -> io::Result<()> {
        let range = range.start..range.end.min(self.len);
        match &mut self.last {
            _ if range.is_empty() => {}
            Some(last) if last.range.end == range.start && last.compressed == compressed => {
                last.range.end = range.end;
            }
            last => {
                if let Some(last) = last.replace(Stretch { range, compressed }) {
                    (self.tell)(last)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        match self.last.take() {
            Some(last) => (self.tell)(last),
            None => Ok(()),
        }
    }
}

/// Tables or blocks read last, by their numbers, for all threads.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    kept: Mutex<VecDeque<(u64, Arc<T>)>>,
    max: usize,
}

impl<T> Recent<T> {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            kept: Mutex::default(),
            max,
        }
    }

    /// The one of a number, made if it is not at hand. Two threads may make it at once.
    pub(crate) fn get(&self, number: u64, make: impl FnOnce() -> io::Result<T>) -> io::Result<Arc<T>> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lock()
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, found)| Arc::clone(found));
        if let Some(found) = found {
            return Ok(found);
        }
        let made = Arc::new(make()?);
        let mut kept = lock();
        if kept.len() >= self.max {
            kept.pop_front();
        }
        kept.push_back((number, Arc::clone(&made)));
        Ok(made)
    }
}

/// Reads a part of a guest block by block: `read` gets a part, the block's number, and where in the block the part begins.
pub(crate) fn by_blocks(
    len: u64,
    block: NonZero<u64>,
    mut buf: &mut [u8],
    offset: u64,
    mut read: impl FnMut(&mut [u8], u64, u64) -> io::Result<()>,
) -> io::Result<()> {
    let wanted = u64::try_from(buf.len()).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    if offset.checked_add(wanted).is_none_or(|end| end > len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut at = offset;
    while !buf.is_empty() {
        let within = at % block;
        let room = usize::try_from(block.get().saturating_sub(within)).unwrap_or(usize::MAX);
        let (part, rest) = buf.split_at_mut(room.min(buf.len()));
        read(part, at / block, within)?;
        at = at.saturating_add(u64::try_from(part.len()).unwrap_or(0));
        buf = rest;
    }
    Ok(())
}

/// Fills a part of a block, which may be nowhere. A block that the file ends in is zero from there on; one behind the
/// end is an error.
pub(crate) fn read_block(
    image: &dyn ReadAt,
    buf: &mut [u8],
    block_at: Option<u64>,
    within: u64,
) -> io::Result<()> {
    let Some(block_at) = block_at else {
        buf.fill(0);
        return Ok(());
    };
    let len = image.len();
    if block_at >= len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let at = block_at.saturating_add(within);
    let there = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX);
    let (part, behind) = buf.split_at_mut(there.min(buf.len()));
    behind.fill(0);
    if part.is_empty() {
        return Ok(());
    }
    image.read_exact_at(part, at)
}

/// An error about what an image says.
pub(crate) fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that is all ones in stretches of a unit, each behind so many bytes of nothing.
    #[derive(Debug)]
    struct Ones {
        len: u64,
        gap: u64,
    }

    impl ReadAt for Ones {
        fn len(&self) -> u64 {
            self.len
        }

        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            if offset > 1 << 26 {
                return Err(io::Error::other("so far"));
            }
            buf.fill(1);
            Ok(())
        }
    }

    impl Guest for Ones {
        fn stretches(&self, tell: &mut Tell<'_>) -> io::Result<()> {
            let mut joined = Joined::new(self.len, tell);
            let step = self.gap + 65536;
            if self.gap == 0 {
                joined.add(0..self.len, false)?;
                return joined.finish();
            }
            for start in (self.gap..self.len).step_by(usize::try_from(step).unwrap()) {
                joined.add(start..start + 65536, false)?;
            }
            joined.finish()
        }
    }

    #[test]
    fn cuts_are_made_when_they_are_wanted() {
        // As many chunks as would fill memory, if all were cut at once.
        let guest = Ones { len: 1 << 62, gap: 0 };
        let error = map(&guest, NonZero::new(2).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "so far");
    }

    #[test]
    fn a_guest_has_no_more_pieces_than_fit_memory() {
        let one = NonZero::<usize>::MIN;
        let cut = |len, gap, pieces_max| {
            let map = map_of(&Ones { len, gap }, one, pieces_max)?;
            Ok::<_, io::Error>((map.extents().len(), map.data_len()))
        };
        assert_eq!(cut(10 << 17, 65536, 100).unwrap(), (10, 10 << 16));
        // The first 64 KiB are a hole whatever happens: nothing is before them.
        assert_eq!(cut(10 << 17, 65536, 9).unwrap(), (1, 19 << 16));
        assert_eq!(cut(20 << 20, (1 << 20) - 65536, 20).unwrap(), (20, 20 << 16));
        assert_eq!(cut(20 << 20, (1 << 20) - 65536, 19).unwrap().0, 1);
        let error = cut(1 << 62, 1 << 21, 20).unwrap_err();
        assert_eq!(error.to_string(), "the disk has more than 20 pieces of data");
    }

    #[test]
    fn data_is_no_piece_for_each_time_that_it_is_looked_at() {
        let guest = Ones {
            len: 60 << 20,
            gap: 0,
        };
        for threads in [1, 3] {
            let map = map_of(&guest, NonZero::new(threads).unwrap(), 1).unwrap();
            assert_eq!((map.extents().len(), map.data_len()), (1, 60 << 20));
        }
    }
}
