//! A sink that tells the operator how far an output is.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use image_core::Sink;

/// Often enough for the eye, seldom enough to cost nothing.
pub(super) const EVERY: Duration = Duration::from_millis(200);

/// Passes everything on to another sink, and tells how many bytes of the image that was, now and then.
#[derive(Debug)]
pub(super) struct Counted<S, T> {
    sink: S,
    tell: T,
    every: Duration,
    told: Instant,
}

impl<S: Sink, T: Fn(u64) + Send> Counted<S, T> {
    pub(super) fn new(sink: S, every: Duration, tell: T) -> Self {
        Self {
            sink,
            tell,
            every,
            told: Instant::now(),
        }
    }

    pub(super) fn into_inner(self) -> S {
        self.sink
    }

    fn at(&mut self, end: u64) {
        if self.told.elapsed() >= self.every {
            (self.tell)(end);
            self.told = Instant::now();
        }
    }
}

impl<S: Sink, T: Fn(u64) + Send> Sink for Counted<S, T> {
    fn begin(&mut self, len: u64) -> io::Result<()> {
        self.sink.begin(len)
    }

    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.sink.data(at, bytes)?;
        self.at(at.saturating_add(bytes.len() as u64));
        Ok(())
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        let end = range.end;
        self.sink.hole(range)?;
        self.at(end);
        Ok(())
    }

    fn file(&mut self, at: u64, source: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
        let taken = self.sink.file(at, source, offset, len)?;
        if taken {
            self.at(at.saturating_add(len));
        }
        Ok(taken)
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        self.sink.finish(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_core::sink::MemorySink;
    use std::sync::Mutex;

    #[test]
    fn progress_is_told_in_bytes_of_the_image() {
        let told = Mutex::new(Vec::new());
        let mut sink = Counted::new(MemorySink::default(), Duration::ZERO, |bytes| {
            told.lock().unwrap().push(bytes);
        });
        sink.begin(10).unwrap();
        sink.data(0, b"abcd").unwrap();
        sink.hole(4..9).unwrap();
        sink.data(9, b"j").unwrap();
        sink.finish(10).unwrap();
        assert_eq!(sink.into_inner().into_bytes(), b"abcd\0\0\0\0\0j");
        assert_eq!(*told.lock().unwrap(), [4, 9, 10]);
    }

    #[test]
    fn it_is_told_seldom() {
        let mut sink = Counted::new(MemorySink::default(), Duration::from_hours(1), |_| {
            panic!("not an hour has passed");
        });
        sink.data(0, b"abcd").unwrap();
        assert!(!sink.file(4, rustix::stdio::stdin(), 0, 4).unwrap());
    }
}
