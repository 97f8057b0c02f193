//! Sinks: where the bytes of an image go.
//!
//! [`copy`](mod@crate::copy) pushes: it calls a sink once for every byte of the image, in ascending order, either as
//! data or as part of a hole. A sink never asks for bytes, so that it may be a file, a pipe, a compressor or a digest.

mod checking;
mod file;

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

pub use checking::{CheckingSink, FailingSink};
pub use file::FileSink;

/// Receives an image, each byte exactly once, in ascending order.
pub trait Sink: Send {
    /// Learns, before anything else, how long the image will be.
    fn begin(&mut self, len: u64) -> io::Result<()> {
        let _ = len;
        Ok(())
    }

    /// Takes bytes that belong at byte `at`.
    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Takes note that `range` is zero. A sink onto something that is not fresh must zero it.
    fn hole(&mut self, range: Range<u64>) -> io::Result<()>;

    /// Takes `len` bytes of `source`, from its byte `offset` on, by a way that is cheaper than reading them, such as
    /// cloning blocks. `Ok(false)` means that there is none, and that nothing was taken.
    fn file(&mut self, at: u64, source: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
        let _ = (at, source, offset, len);
        Ok(false)
    }

    /// Learns that the image is complete, and how long it is.
    fn finish(&mut self, len: u64) -> io::Result<()> {
        let _ = len;
        Ok(())
    }
}

/// An image in memory.
#[derive(Clone, Debug, Default)]
pub struct MemorySink {
    bytes: Vec<u8>,
}

impl MemorySink {
    /// The image.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn grow_to(&mut self, len: u64) -> io::Result<()> {
        self.bytes
            .resize(usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?, 0);
        Ok(())
    }
}

impl Sink for MemorySink {
    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.grow_to(at)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        self.grow_to(range.end)
    }
}

/// A pipe, a socket, or anything else that is written once, from its first byte to its last.
#[derive(Debug)]
pub struct StreamSink<W>(pub W);

impl<W: io::Write + Send> Sink for StreamSink<W> {
    fn data(&mut self, _at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        let mut rest = range.end.saturating_sub(range.start);
        while rest > 0 {
            let zeros = &ZEROS[..usize::try_from(rest).unwrap_or(usize::MAX).min(ZEROS.len())];
            self.0.write_all(zeros)?;
            rest = rest.saturating_sub(length(zeros));
        }
        Ok(())
    }

    fn finish(&mut self, _len: u64) -> io::Result<()> {
        self.0.flush()
    }
}

/// Zeros, written where nothing better is possible.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a buffer's length is a u64")
}
