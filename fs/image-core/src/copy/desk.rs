//! Where threads claim segments and hand them in, and where the sink is given them in order.
//!
//! Invariants:
//! - segments are claimed in ascending order, each with a buffer: so the one that is due is always claimed before the
//!   buffers run out, and nobody waits for ever;
//! - only the thread that has taken the sink off the desk calls it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Error;
use super::segment::{Run, SEGMENT, Segment, Segments};
use crate::map::Map;
use crate::sink::Sink;
use crate::store::{self, Open};

/// Buffers beyond one for each thread: how far the readers may run ahead of the sink.
const AHEAD: usize = 4;

pub(super) struct Desk<'a, S> {
    state: Mutex<State<'a, S>>,
    /// A buffer was given back, or the work is over.
    wake: Condvar,
}

struct State<'a, S> {
    segments: Segments<'a>,
    /// The number of the next segment to be claimed.
    claimed: u64,
    /// The number of the next segment to be given to the sink.
    due: u64,
    ready: BTreeMap<u64, Claim<'a>>,
    buffers: Vec<Vec<u8>>,
    /// Absent while a thread gives it segments.
    sink: Option<&'a mut S>,
    /// Whether the sink may still be offered files.
    offer: bool,
    failed: Option<Error>,
    stopped: bool,
}

/// A segment in a thread's hands.
pub(super) struct Claim<'a> {
    number: u64,
    pub(super) segment: Segment<'a>,
    /// The bytes of a [`Segment::Bytes`].
    pub(super) buf: Vec<u8>,
    /// The file of a [`Segment::File`].
    pub(super) open: Option<Box<dyn Open + 'a>>,
}

impl<'a, S: Sink> Desk<'a, S> {
    pub(super) fn new(map: &'a Map, sink: &'a mut S, threads: usize) -> Self {
        let state = State {
            segments: Segments::new(map),
            claimed: 0,
            due: 0,
            ready: BTreeMap::new(),
            buffers: vec![Vec::new(); threads.saturating_add(AHEAD)],
            sink: Some(sink),
            offer: true,
            failed: None,
            stopped: false,
        };
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a, S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next segment, or `None` when there are no more, or when it is no use.
    pub(super) fn claim(&self) -> Option<Claim<'a>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(buf) = state.buffers.pop() {
                let offer = state.offer;
                let Some(segment) = state.segments.next(offer) else {
                    state.buffers.push(buf);
                    return None;
                };
                let number = state.claimed;
                state.claimed = number.saturating_add(1);
                return Some(Claim {
                    number,
                    segment,
                    buf,
                    open: None,
                });
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands a filled segment in, and gives the sink all that are due, unless another thread is at it.
    pub(super) fn hand_in(&self, claim: Claim<'a>, filled: Result<(), store::Error>) {
        if let Err(error) = filled {
            return self.fail(error.into());
        }
        let mut state = self.lock();
        state.ready.insert(claim.number, claim);
        let Some(sink) = state.sink.take() else { return };
        while !state.stopped {
            let due = state.due;
            let Some(mut claim) = state.ready.remove(&due) else {
                break;
            };
            drop(state);
            let taken = claim.give(sink);
            state = self.lock();
            match taken {
                Ok(offer) => state.offer &= offer,
                Err(error) => {
                    drop(state);
                    self.fail(error);
                    state = self.lock();
                }
            }
            state.due = due.saturating_add(1);
            state.buffers.push(claim.buf);
            self.wake.notify_one();
        }
        state.sink = Some(sink);
    }

    /// Notes a failure and stops. A store's error is kept before a sink's, a change before any other.
    pub(super) fn fail(&self, error: Error) {
        let rank = |error: &Error| match error {
            Error::Store(store::Error::SourceChanged { .. }) => 2,
            Error::Store(_) => 1,
            Error::Sink { .. } => 0,
        };
        let mut state = self.lock();
        if state.failed.as_ref().is_none_or(|kept| rank(kept) < rank(&error)) {
            state.failed = Some(error);
        }
        drop(state);
        self.stop();
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.wake.notify_all();
    }

    /// Stops all threads if this one panics: what it has claimed will never be handed in.
    pub(super) fn stop_on_panic(&self) -> impl Drop + use<'_, 'a, S> {
        StopOnPanic(self)
    }

    /// The failure, if there was one.
    pub(super) fn close(self) -> Result<(), Error> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.failed.map_or(Ok(()), Err)
    }
}

struct StopOnPanic<'d, 'a, S: Sink>(&'d Desk<'a, S>);

impl<S: Sink> Drop for StopOnPanic<'_, '_, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

impl Claim<'_> {
    /// Gives the segment to the sink; says whether it may be offered more files.
    fn give<S: Sink>(&mut self, sink: &mut S) -> Result<bool, Error> {
        match self.segment.clone() {
            Segment::Hole(range) => {
                let at = range.start;
                sink.hole(range).map_err(refused("hole", at))?;
            }
            Segment::Bytes { range, extents } => {
                let what = extents.first().map_or("data", |extent| extent.what);
                sink.data(range.start, &self.buf)
                    .map_err(refused(what, range.start))?;
            }
            Segment::File(run) => {
                let open = self
                    .open
                    .take()
                    .expect("a file's segment is opened when it is filled");
                let taken = offer(&*open, &run, sink).and_then(|taken| {
                    if !taken {
                        self.read(&*open, &run, sink)?;
                    }
                    Ok(taken)
                });
                // A file that shrank makes the sink fail too; what happened to the file is the cause.
                open.finish()?;
                return taken;
            }
        }
        Ok(true)
    }

    /// Reads what the sink did not take.
    fn read<S: Sink>(&mut self, open: &dyn Open, run: &Run, sink: &mut S) -> Result<(), Error> {
        let mut done = 0;
        while done < run.len {
            let len = SEGMENT.min(run.len.saturating_sub(done));
            self.buf.resize(usize::try_from(len).unwrap_or_default(), 0);
            open.read_exact_at(&mut self.buf, run.offset.saturating_add(done))?;
            let at = run.start.saturating_add(done);
            sink.data(at, &self.buf).map_err(refused(run.what, at))?;
            done = done.saturating_add(len);
        }
        Ok(())
    }
}

fn offer<S: Sink>(open: &dyn Open, run: &Run, sink: &mut S) -> Result<bool, Error> {
    let Some((fd, base)) = open.descriptor() else {
        return Ok(false);
    };
    sink.file(run.start, fd, base.saturating_add(run.offset), run.len)
        .map_err(refused(run.what, run.start))
}

fn refused(what: &'static str, at: u64) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Sink { what, at, source }
}
