//! A disk of which only both ends are kept: where a partition table is written, and nothing else.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// The disk, and where in it is written next.
#[derive(Debug)]
pub(super) struct Ends {
    len: u64,
    middle: Range<u64>,
    position: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Ends {
    /// A disk of `len` bytes that keeps all before and behind its middle, which lies in it.
    pub(super) fn new(len: u64, middle: Range<u64>) -> Self {
        let zeros = |bytes| vec![0; usize::try_from(bytes).expect("an end is a few KiB")];
        Self {
            head: zeros(middle.start),
            tail: zeros(len.saturating_sub(middle.end)),
            len,
            middle,
            position: 0,
        }
    }

    /// The bytes of both ends.
    pub(super) fn into_parts(self) -> (Vec<u8>, Vec<u8>) {
        (self.head, self.tail)
    }

    /// What lies from the position on, up to the end of its end; none of the middle.
    fn rest(&mut self) -> &mut [u8] {
        let (end, skip) = if self.position < self.middle.start {
            (&mut self.head, Some(self.position))
        } else {
            (&mut self.tail, self.position.checked_sub(self.middle.end))
        };
        let skip = skip.and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| end.get_mut(skip..)).unwrap_or_default()
    }

    fn advance(&mut self, len: usize) {
        self.position = self
            .position
            .saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }
}

impl Read for Ends {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = (&*self.rest()).read(buf)?;
        self.advance(read);
        Ok(read)
    }
}

impl Write for Ends {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.rest().write(buf)?;
        self.advance(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Ends {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
