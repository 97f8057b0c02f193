//! The guest of an image as bytes that can be read at any place, by several threads at once.
//!
//! A [`Reader`] has one table and one unpacked cluster at hand, and serves one thread. So there are as many as there are
//! threads, and as many as are kept: each new read takes the one that has its cluster at hand, if one has.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image_core::ReadAt;
use image_core::read_at::Cursor;
use image_core::store;

use super::reader::{ReadError, Reader};
use crate::guest::{Joined, Tell};

/// Readers that are kept: with clusters of 64 KiB, 128 KiB each.
const READERS_MAX: usize = 8;

type Source = Arc<dyn ReadAt>;

/// The guest of an image.
#[derive(Debug)]
pub struct Guest {
    image: Source,
    len: u64,
    /// Those that no thread uses now; the one used last stands last.
    readers: Mutex<Vec<Reader<Cursor<Source>>>>,
    /// A reader with nothing at hand, of which others are made.
    fresh: Reader<Cursor<Source>>,
}

impl Guest {
    /// Opens an image that has no backing file.
    pub fn open(image: impl ReadAt + 'static) -> Result<Self, ReadError> {
        let image: Source = Arc::new(image);
        let fresh = Reader::open(Cursor::new(Arc::clone(&image)))?;
        Ok(Self {
            image,
            len: fresh.virtual_size(),
            readers: Mutex::default(),
            fresh,
        })
    }

    /// Takes the reader that has a byte at hand, else a fresh one while there are few, else the one unused longest.
    fn take(&self, offset: u64) -> Reader<Cursor<Source>> {
        let mut readers = self.readers();
        let found = readers.iter().rposition(|reader| reader.has_at_hand(offset));
        let oldest = (readers.len() >= READERS_MAX).then_some(0);
        match found.or(oldest) {
            Some(at) => readers.remove(at),
            None => self.fresh.clone(),
        }
    }

    fn give_back(&self, reader: Reader<Cursor<Source>>) {
        let mut readers = self.readers();
        if readers.len() >= READERS_MAX {
            readers.remove(0);
        }
        readers.push(reader);
    }

    /// A thread that panicked took its reader along.
    fn readers(&self) -> MutexGuard<'_, Vec<Reader<Cursor<Source>>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl crate::guest::Guest for Guest {
    fn stretches(&self, tell: &mut Tell<'_>) -> io::Result<()> {
        let mut reader = self.fresh.clone();
        let size = reader.cluster_size();
        let mut joined = Joined::new(self.len, tell);
        let clusters = size.clusters(self.len);
        let mut cluster = reader.next_mapped(0);
        while cluster < clusters {
            if let Some(compressed) = reader.holds(cluster).map_err(told)? {
                let start = size.offset(cluster);
                joined.add(start..start.saturating_add(size.bytes().get()), compressed)?;
            }
            cluster = reader.next_mapped(cluster.saturating_add(1));
        }
        joined.finish()
    }
}

/// An error as readers of bytes know it.
fn told(error: ReadError) -> io::Error {
    match error {
        ReadError::Io(error) => error,
        ReadError::OutOfBounds { .. } => io::Error::new(io::ErrorKind::UnexpectedEof, error),
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

impl ReadAt for Guest {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut reader = self.take(offset);
        let read = reader.read_exact_at(buf, offset);
        self.give_back(reader);
        read.map_err(told)
    }

    fn check(&self) -> Result<(), store::Error> {
        self.image.check()
    }
}
