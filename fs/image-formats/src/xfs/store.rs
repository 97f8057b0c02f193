//! The store of an image: files read from where their blocks lie.

use std::io;

use image_core::ReadAt;
use image_core::store::{self, FileId, Open, Store};

use super::mapping::Mapped;
use super::to_u64;

/// A file of an image.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) ino: u64,
    pub(super) len: u64,
    pub(super) mapped: Mapped,
}

/// Serves the files of an image.
#[derive(Debug)]
pub struct XfsStore<R> {
    pub(super) source: R,
    pub(super) block_bytes: u64,
    pub(super) files: Vec<Stored>,
}

impl<R: ReadAt> Store for XfsStore<R> {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        let stored = self.files.get(file.index()).ok_or(store::Error::Unknown(file))?;
        self.source.check()?;
        Ok(Box::new(Opened { store: self, stored }))
    }
}

struct Opened<'a, R> {
    store: &'a XfsStore<R>,
    stored: &'a Stored,
}

impl<R: ReadAt> Open for Opened<'_, R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), store::Error> {
        let failed = |source| store::Error::Read {
            path: format!("inode {}", self.stored.ino).into_bytes(),
            source,
        };
        let end = offset.checked_add(to_u64(buf.len()));
        if end.is_none_or(|end| end > self.stored.len) {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        let XfsStore {
            source, block_bytes, ..
        } = self.store;
        let read = self.stored.mapped.read(source, *block_bytes, buf, offset);
        read.map_err(failed)
    }

    fn finish(&self) -> Result<(), store::Error> {
        self.store.source.check()
    }
}
