//! Where threads claim segments, and where filled ones are given to the sink, in order.
//!
//! A thread that has filled a segment lays it on the desk. If it is the one that is due, and nobody is giving, this
//! thread gives it, and then whatever else has become ready in order; else it goes on to fill another segment. So
//! nobody waits for a turn unless it is far ahead: [`Desk::AHEAD`] segments for each thread.
//!
//! Segments are claimed in ascending order, so the one that is due is in some thread's hands or on the desk, and
//! nobody waits for ever: only threads that hold nothing wait.
//!
//! Why no thread waits for its own turn: to be woken takes longer than to write a small segment, or to clone one.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::segment::{Run, SEGMENT, Segment, Segments};
use super::{Error, refused};
use crate::map::Map;
use crate::sink::Sink;
use crate::store::{self, Open};

pub(super) struct Desk<'a, S> {
    state: Mutex<State<'a>>,
    /// There is room on the desk, or the work is over.
    wake: Condvar,
    /// Locked by the thread that is giving.
    sink: Mutex<&'a mut S>,
    /// How many segments may lie on the desk.
    room: usize,
}

struct State<'a> {
    segments: Segments<'a>,
    /// The number of the next segment to be claimed.
    claimed: u64,
    /// The number of the next segment to be given to the sink.
    due: u64,
    /// Filled segments, the one that is due first; `None` is one that some thread is filling.
    ready: VecDeque<Option<Claim<'a>>>,
    /// Whether some thread is giving.
    giving: bool,
    /// How many threads wait for room.
    waiting: usize,
    /// Buffers of segments that were given.
    spare: Vec<Vec<u8>>,
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
    /// How many filled segments each thread may have lying on the desk.
    const AHEAD: usize = 2;

    pub(super) fn new(map: &'a Map, sink: &'a mut S, threads: usize, offer: bool) -> Self {
        let state = State {
            segments: Segments::new(map),
            claimed: 0,
            due: 0,
            ready: VecDeque::new(),
            giving: false,
            waiting: 0,
            spare: Vec::new(),
            offer,
            failed: None,
            stopped: false,
        };
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            sink: Mutex::new(sink),
            room: threads.saturating_mul(Self::AHEAD),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next segment, to be filled, or `None` when there are no more, or when it is no use.
    pub(super) fn claim(&self) -> Option<Claim<'a>> {
        let mut state = self.lock();
        while !state.stopped && state.ready.len() >= self.room {
            state.waiting = state.waiting.saturating_add(1);
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting = state.waiting.saturating_sub(1);
        }
        if state.stopped {
            return None;
        }
        let offer = state.offer;
        let segment = state.segments.next(offer)?;
        let number = state.claimed;
        state.claimed = number.saturating_add(1);
        state.ready.push_back(None);
        Some(Claim {
            number,
            segment,
            buf: state.spare.pop().unwrap_or_default(),
            open: None,
        })
    }

    /// Lays a filled segment on the desk, and gives the sink what is due, unless another thread does.
    pub(super) fn hand_in(&self, claim: Claim<'a>, filled: Result<(), store::Error>) {
        if let Err(error) = filled {
            self.fail(error.into());
            return;
        }
        let mut state = self.lock();
        let place = usize::try_from(claim.number.saturating_sub(state.due)).unwrap_or(usize::MAX);
        let place = state.ready.get_mut(place);
        *place.expect("a segment that was claimed has its place until it is given") = Some(claim);
        if state.giving {
            return;
        }
        state.giving = true;
        while let Some(claim) = state.take_due() {
            drop(state);
            let given = self.give(claim);
            state = self.lock();
            match given {
                Ok((offer, buf)) => {
                    state.offer &= offer;
                    state.spare.push(buf);
                }
                Err(error) => {
                    drop(state);
                    self.fail(error);
                    return;
                }
            }
            // Not at every segment: a thread that is woken for one will soon wait again.
            if state.waiting > 0 && state.ready.len() <= self.room / 2 {
                self.wake.notify_all();
            }
        }
        state.giving = false;
    }

    fn give(&self, mut claim: Claim<'a>) -> Result<(bool, Vec<u8>), Error> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let offer = claim.give(&mut **sink)?;
        Ok((offer, claim.buf))
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

impl<'a> State<'a> {
    /// The segment that is due, if it is ready.
    fn take_due(&mut self) -> Option<Claim<'a>> {
        if self.stopped {
            return None;
        }
        let claim = self.ready.front_mut()?.take()?;
        self.ready.pop_front();
        self.due = self.due.saturating_add(1);
        Some(claim)
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
