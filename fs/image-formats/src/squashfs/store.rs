//! The store of an image: blocks of files, unpacked when they are read.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use image_core::store::{self, FileId, Open, Store};

use super::blocks::{File, Packed, Sizes};
use super::cache::Block;
use super::codec::Damage;
use super::{Error, Image, Trouble};

/// Serves the files of an image from where they lie in it.
#[derive(Debug)]
pub struct SquashfsStore {
    image: Image,
    files: Vec<File>,
}

impl SquashfsStore {
    pub(super) fn new(image: Image, files: Vec<File>) -> Self {
        Self { image, files }
    }
}

impl Store for SquashfsStore {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        let found = self.files.get(file.index()).ok_or(store::Error::Unknown(file))?;
        self.image.source.check()?;
        let sizes = found.sizes(&self.image).map_err(|error| failed(found, error))?;
        Ok(Box::new(Opened {
            image: &self.image,
            file: found,
            sizes,
            last: RefCell::new((usize::MAX, Vec::new())),
        }))
    }
}

/// A file is named by its inode, which `unsquashfs -lln` and other tools show.
fn failed(file: &File, error: Error) -> store::Error {
    store::Error::Read {
        path: format!("inode {}", file.number).into_bytes(),
        source: match error {
            Error::Io(error) => error,
            error => io::Error::new(io::ErrorKind::InvalidData, error),
        },
    }
}

struct Opened<'a> {
    image: &'a Image,
    file: &'a File,
    sizes: Sizes,
    /// The block unpacked last, and its number: files are often read in pieces that are no blocks.
    last: RefCell<(usize, Vec<u8>)>,
}

impl Open for Opened<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), store::Error> {
        let end = u64::try_from(buf.len())
            .ok()
            .and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.file.len) {
            return Err(failed(self.file, Error::Io(io::ErrorKind::UnexpectedEof.into())));
        }
        self.read(buf, offset).map_err(|error| failed(self.file, error))
    }

    fn finish(&self) -> Result<(), store::Error> {
        self.image.source.check()
    }
}

impl Opened<'_> {
    /// Reads bytes that the file has.
    fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        let log = self.image.superblock.block_log.get();
        let size = self.image.block_size();
        let mut index = usize::try_from(offset >> log).unwrap_or(usize::MAX);
        let mut within = usize::try_from(offset & u64::try_from(size.saturating_sub(1)).unwrap_or(0))
            .expect("less than a block");
        let mut rest = buf;
        while !rest.is_empty() {
            let count = size.saturating_sub(within).min(rest.len());
            let (part, behind) = rest.split_at_mut(count);
            match self.sizes.get(index) {
                Some(packed) => self.read_block(part, index, packed, within)?,
                None => self.read_fragment(part, within)?,
            }
            (index, within, rest) = (index.saturating_add(1), 0, behind);
        }
        Ok(())
    }

    fn read_block(&self, buf: &mut [u8], index: usize, packed: Packed, within: usize) -> Result<(), Error> {
        if packed.len == 0 {
            buf.fill(0);
            return Ok(());
        }
        let expected = self.block_len(index);
        if packed.plain {
            judge(packed, packed.len, expected)?;
            let at = packed
                .at
                .saturating_add(u64::try_from(within).expect("less than a block"));
            return self.image.read(buf, at);
        }
        if buf.len() == expected {
            let found = self.image.unpack(packed, buf)?;
            return judge(packed, found, expected);
        }
        let mut last = self.last.borrow_mut();
        if last.0 != index {
            // Until it is whole, it is no block's.
            last.0 = usize::MAX;
            last.1.resize(expected, 0);
            let found = self.image.unpack(packed, &mut last.1)?;
            judge(packed, found, expected)?;
            last.0 = index;
        }
        buf.copy_from_slice(part(&last.1, within, buf.len()).unwrap_or_default());
        Ok(())
    }

    /// Bytes of the file in a block that is on its list.
    fn block_len(&self, index: usize) -> usize {
        let size = self.image.block_size();
        let before = u64::try_from(index)
            .ok()
            .and_then(|index| index.checked_mul(u64::try_from(size).ok()?));
        let left = self.file.len.saturating_sub(before.unwrap_or(u64::MAX));
        usize::try_from(left).map_or(size, |left| left.min(size))
    }

    fn read_fragment(&self, buf: &mut [u8], within: usize) -> Result<(), Error> {
        let outside = || Error::Io(io::ErrorKind::UnexpectedEof.into());
        let (index, Range { start, end }) = self.file.in_fragment(self.image).ok_or_else(outside)?;
        let packed = self.file.fragment_entry(self.image, index)?;
        let block = self.image.fragment(packed)?;
        let tail = block.bytes.get(start..end).ok_or_else(|| Error::Inode {
            number: self.file.number,
            trouble: Trouble::OutsideFragment {
                offset: u32::try_from(start).unwrap_or(u32::MAX),
                len: u32::try_from(end.saturating_sub(start)).unwrap_or(u32::MAX),
            },
        })?;
        buf.copy_from_slice(part(tail, within, buf.len()).ok_or_else(outside)?);
        Ok(())
    }
}

/// Refuses a block that holds less or more than the file has in it.
fn judge(packed: Packed, found: usize, expected: usize) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Block {
        at: packed.at,
        damage: Damage::WrongLength { found, expected },
    })
}

fn part(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

impl Image {
    /// Unpacks a block to the beginning of `out`; gives how many bytes it holds.
    fn unpack(&self, packed: Packed, out: &mut [u8]) -> Result<usize, Error> {
        let mut bytes = vec![0; packed.len];
        self.read(&mut bytes, packed.at)?;
        let unpacked = self.compressor.unpack(&bytes, out);
        unpacked.map_err(|damage| Error::Block {
            at: packed.at,
            damage,
        })
    }

    /// An unpacked fragment.
    fn fragment(&self, packed: Packed) -> Result<Block, Error> {
        self.fragments.get(packed.at, || {
            let size = self.block_size();
            if packed.len > size {
                return Err(Error::Block {
                    at: packed.at,
                    damage: Damage::TooManyBytes(u64::try_from(packed.len).unwrap_or(u64::MAX)),
                });
            }
            let mut bytes = vec![0; if packed.plain { packed.len } else { size }];
            if packed.plain {
                self.read(&mut bytes, packed.at)?;
            } else {
                let len = self.unpack(packed, &mut bytes)?;
                bytes.truncate(len);
            }
            Ok(Block {
                bytes: Arc::from(bytes),
                next: packed.at,
            })
        })
    }
}
