//! The store of a file system: bytes of files, checked and unpacked when they are read.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use image_core::ReadAt;
use image_core::store::{self, FileId, Open, Store};

use super::extents::{self, Bytes, Extent, Packing};
use super::inode::Ino;
use super::volume::{TreeRoot, Volume};
use super::{Error, to_u64};

/// Serves the files of a file system from where they lie in it.
#[derive(Debug)]
pub struct BtrfsStore<R> {
    volume: Arc<Volume<R>>,
    files: Vec<Stored>,
}

/// Where a file is found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) tree: TreeRoot,
    pub(super) ino: Ino,
    pub(super) len: u64,
    /// Whether its data have checksums.
    pub(super) sums: bool,
}

impl<R> BtrfsStore<R> {
    pub(super) fn new(volume: Arc<Volume<R>>, files: Vec<Stored>) -> Self {
        Self { volume, files }
    }
}

impl<R: ReadAt> Store for BtrfsStore<R> {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        let stored = self.files.get(file.index()).ok_or(store::Error::Unknown(file))?;
        self.volume.source.check()?;
        let extents = extents::read(&self.volume, stored.tree, stored.ino, stored.len, |_| Ok(()));
        Ok(Box::new(Opened {
            volume: &self.volume,
            stored,
            extents: extents.map_err(|error| failed(stored, error))?,
            last: RefCell::default(),
        }))
    }
}

/// A file is named by its inode, which `btrfs inspect-internal` and `ls -i` show.
fn failed(stored: &Stored, error: Error) -> store::Error {
    let Ino { subvolume, inode } = stored.ino;
    store::Error::Read {
        path: format!("inode {inode} of subvolume {subvolume}").into_bytes(),
        source: match error {
            Error::Io(error) => error,
            error => io::Error::new(io::ErrorKind::InvalidData, error),
        },
    }
}

struct Opened<'a, R> {
    volume: &'a Volume<R>,
    stored: &'a Stored,
    extents: Vec<Extent>,
    /// The extent unpacked last, by where it begins: files are often read in pieces that are no extents.
    last: RefCell<Option<(u64, Vec<u8>)>>,
}

impl<R: ReadAt> Open for Opened<'_, R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), store::Error> {
        let end = offset.checked_add(to_u64(buf.len()));
        if end.is_none_or(|end| end > self.stored.len) {
            return Err(failed(
                self.stored,
                Error::Io(io::ErrorKind::UnexpectedEof.into()),
            ));
        }
        self.read(buf, offset).map_err(|error| failed(self.stored, error))
    }

    fn finish(&self) -> Result<(), store::Error> {
        self.volume.source.check()
    }
}

impl<R: ReadAt> Opened<'_, R> {
    /// Reads bytes that the file has.
    fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        let (mut buf, mut offset) = (buf, offset);
        while !buf.is_empty() {
            let at = self.extents.partition_point(|extent| extent.end() <= offset);
            let next = self.extents.get(at);
            let extent = next.filter(|extent| extent.start <= offset);
            let until = match (extent, next) {
                (Some(extent), _) => extent.end(),
                (None, Some(next)) => next.start,
                (None, None) => u64::MAX,
            };
            let here = until.saturating_sub(offset).min(to_u64(buf.len()));
            let (part, rest) = buf.split_at_mut(usize::try_from(here).expect("no more than the buffer"));
            match extent {
                Some(extent) => self.extent(part, extent, offset.saturating_sub(extent.start))?,
                None => part.fill(0),
            }
            offset = offset.saturating_add(here);
            buf = rest;
        }
        Ok(())
    }

    /// Reads bytes that an extent has.
    fn extent(&self, buf: &mut [u8], extent: &Extent, within: u64) -> Result<(), Error> {
        match &extent.bytes {
            Bytes::Plain { at } => {
                let at = at.saturating_add(within);
                self.volume.data(buf, at, self.stored.sums)
            }
            Bytes::Inline { bytes, packed: None } => {
                copy(buf, bytes, within);
                Ok(())
            }
            Bytes::Inline {
                bytes,
                packed: Some(packing),
            } => self.unpacked(buf, extent, (within, *packing), || Ok(bytes.to_vec())),
            &Bytes::Packed { at, len, packing } => self.unpacked(buf, extent, (within, packing), || {
                let mut packed = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
                self.volume.data(&mut packed, at, self.stored.sums)?;
                Ok(packed)
            }),
        }
    }

    fn unpacked(
        &self,
        buf: &mut [u8],
        extent: &Extent,
        (within, packing): (u64, Packing),
        packed: impl FnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<(), Error> {
        let mut last = self.last.borrow_mut();
        let kept = last.take().filter(|(start, _)| *start == extent.start);
        let (_, bytes) = last.insert(match kept {
            Some(kept) => kept,
            None => (extent.start, unpack(&packed()?, packing, extent.start)?),
        });
        copy(buf, bytes, within.saturating_add(to_u64(packing.skip)));
        Ok(())
    }
}

fn unpack(packed: &[u8], packing: Packing, start: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; packing.unpacked];
    let unpacked = packing.codec.unpack(packed, &mut bytes);
    unpacked.map_err(|damage| Error::Packed { start, damage })?;
    Ok(bytes)
}

/// Copies bytes of an extent, which has them.
fn copy(buf: &mut [u8], bytes: &[u8], within: u64) {
    let start = usize::try_from(within).expect("an extent's bytes are in memory");
    let end = start.saturating_add(buf.len());
    buf.copy_from_slice(&bytes[start..end]);
}
