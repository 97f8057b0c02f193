//! Sinks for tests: one that checks what it is told, one that fails.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use super::Sink;

/// Passes everything on, and panics unless each byte comes once, in ascending order, up to the length of the image.
#[derive(Clone, Debug, Default)]
pub struct CheckingSink<S> {
    inner: S,
    begun: Option<u64>,
    at: u64,
    finished: bool,
}

impl<S> CheckingSink<S> {
    /// Checks what `inner` is given.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            begun: None,
            at: 0,
            finished: false,
        }
    }

    /// The sink below, of a whole image.
    pub fn into_inner(self) -> S {
        assert!(self.finished, "the image was not finished");
        self.inner
    }

    fn advance(&mut self, range: &Range<u64>) {
        assert!(!self.finished, "{range:?} came after the end");
        assert_eq!(self.at, range.start, "{range:?} does not follow");
        assert!(range.start < range.end, "{range:?} is empty");
        self.at = range.end;
    }
}

fn range(at: u64, len: u64) -> Range<u64> {
    at..at.checked_add(len).expect("an image's length is a u64")
}

impl<S: Sink> Sink for CheckingSink<S> {
    fn begin(&mut self, len: u64) -> io::Result<()> {
        assert_eq!((self.at, self.begun), (0, None), "the image had begun");
        self.begun = Some(len);
        self.inner.begin(len)
    }

    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.advance(&range(at, super::length(bytes)));
        self.inner.data(at, bytes)
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        self.advance(&range);
        self.inner.hole(range)
    }

    fn file(&mut self, at: u64, source: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
        let taken = self.inner.file(at, source, offset, len)?;
        if taken {
            self.advance(&range(at, len));
        }
        Ok(taken)
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        assert_eq!(self.at, len, "the image is not whole");
        assert_eq!(self.begun, Some(len), "the image was to be of another length");
        assert!(!self.finished, "the image was finished twice");
        self.finished = true;
        self.inner.finish(len)
    }
}

/// Passes a number of calls on, and fails from then on.
#[derive(Clone, Debug)]
pub struct FailingSink<S> {
    inner: S,
    calls: usize,
}

impl<S> FailingSink<S> {
    /// Lets `calls` calls through.
    pub fn new(inner: S, calls: usize) -> Self {
        Self { inner, calls }
    }

    fn call(&mut self) -> io::Result<&mut S> {
        self.calls = self.calls.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        Ok(&mut self.inner)
    }
}

impl<S: Sink> Sink for FailingSink<S> {
    fn begin(&mut self, len: u64) -> io::Result<()> {
        self.call()?.begin(len)
    }

    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.call()?.data(at, bytes)
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        self.call()?.hole(range)
    }

    fn file(&mut self, at: u64, source: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
        self.call()?.file(at, source, offset, len)
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        self.call()?.finish(len)
    }
}
