//! Extents: where a file's bytes lie, compressed or as they are.
//!
//! What no extent covers is a hole, and so is an extent without an address, and one that was allocated but never
//! written.

use std::ops::Range;

use image_core::ReadAt;
use zerocopy::FromBytes;

use super::codec::{Codec, Missing};
use super::disk::{ExtentHead, ExtentPlace, Key, PACKED_MAX, kind};
use super::error::InodeTrouble;
use super::inode::Ino;
use super::superblock::SECTOR;
use super::volume::{TreeRoot, Volume};
use super::{Error, to_u64};

const INLINE: u8 = 0;
const REGULAR: u8 = 1;
const PREALLOC: u8 = 2;

/// A run of a file's bytes.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    /// Where in the file it begins.
    pub(super) start: u64,
    /// Bytes of the file in it.
    pub(super) len: u64,
    pub(super) bytes: Bytes,
}

impl Extent {
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// Where bytes stand.
#[derive(Clone, Debug)]
pub(super) enum Bytes {
    /// In the item itself.
    Inline {
        bytes: Box<[u8]>,
        packed: Option<Packing>,
    },
    /// At a logical address.
    Plain { at: u64 },
    /// At a logical address, compressed.
    Packed { at: u64, len: u32, packing: Packing },
}

/// How to unpack an extent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    pub(super) codec: Codec,
    /// Bytes that come out: [`PACKED_MAX`] at most.
    pub(super) unpacked: usize,
    /// The first of them that the file has here.
    pub(super) skip: usize,
}

/// Reads the extents of a file of `len` bytes: they ascend and do not overlap, and none passes its end. Every item is
/// shown to `see` first.
pub(super) fn read<R: ReadAt>(
    volume: &Volume<R>,
    tree: TreeRoot,
    ino: Ino,
    len: u64,
    mut see: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Vec<Extent>, Error> {
    let (mut extents, mut next) = (Vec::new(), 0);
    volume.items(
        tree,
        ino.keys(kind::EXTENT_DATA, kind::EXTENT_DATA),
        |key, bytes| {
            see(bytes)?;
            if key.offset < next || !aligned(key.offset) {
                return Err(ino.error(InodeTrouble::ExtentStart(key.offset)));
            }
            let (covers, bytes) = Item { ino, key, bytes }.read()?;
            next = covers.end;
            if let Some(bytes) = bytes.filter(|_| covers.start < len) {
                extents.push(Extent {
                    start: covers.start,
                    len: covers.end.min(len).saturating_sub(covers.start),
                    bytes,
                });
            }
            Ok(())
        },
    )?;
    Ok(extents)
}

/// Which bytes of a file are data.
pub(super) fn ranges(extents: &[Extent]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for extent in extents {
        match ranges.last_mut() {
            Some(last) if last.end == extent.start => last.end = extent.end(),
            _ => ranges.push(extent.start..extent.end()),
        }
    }
    ranges
}

/// An item of an extent.
struct Item<'a> {
    ino: Ino,
    key: Key,
    bytes: &'a [u8],
}

impl Item<'_> {
    /// Which bytes of the file it covers, and where they stand, if it is no hole.
    fn read(&self) -> Result<(Range<u64>, Option<Bytes>), Error> {
        let malformed = || self.ino.error(InodeTrouble::item(self.key));
        let (head, rest) = ExtentHead::read_from_prefix(self.bytes).map_err(|_| malformed())?;
        if head.encryption != 0 {
            return Err(self.wrong("encryption", head.encryption.into()));
        }
        if head.other_encoding.get() != 0 {
            return Err(self.wrong("other_encoding", head.other_encoding.get().into()));
        }
        if head.kind == INLINE {
            return self.inline(&head, rest);
        }
        let place = ExtentPlace::read_from_bytes(rest).map_err(|_| malformed())?;
        let covers = self.covers(place.num_bytes.get())?;
        match head.kind {
            PREALLOC => Ok((covers, None)),
            REGULAR if place.disk_bytenr.get() == 0 => Ok((covers, None)),
            REGULAR => Ok((covers, Some(self.regular(&head, &place)?))),
            other => Err(self.wrong("type", other.into())),
        }
    }

    fn covers(&self, len: u64) -> Result<Range<u64>, Error> {
        let end = self.key.offset.checked_add(len);
        match end.filter(|end| len > 0 && aligned(*end)) {
            Some(end) => Ok(self.key.offset..end),
            None => Err(self.wrong("num_bytes", len)),
        }
    }

    fn inline(&self, head: &ExtentHead, bytes: &[u8]) -> Result<(Range<u64>, Option<Bytes>), Error> {
        let len = head.ram_bytes.get();
        let codec = self.codec(head.compression)?;
        let fits = match codec {
            None => len == to_u64(bytes.len()),
            Some(_) => len <= PACKED_MAX.into(),
        };
        if self.key.offset != 0 || !fits {
            return Err(self.wrong("ram_bytes", len));
        }
        let unpacked = usize::try_from(len).map_err(|_| self.wrong("ram_bytes", len))?;
        let packed = codec.map(|codec| Packing {
            codec,
            unpacked,
            skip: 0,
        });
        let bytes = bytes.into();
        // One without a byte is none.
        Ok((0..len, (len > 0).then_some(Bytes::Inline { bytes, packed })))
    }

    fn regular(&self, head: &ExtentHead, place: &ExtentPlace) -> Result<Bytes, Error> {
        let (at, taken) = (place.disk_bytenr.get(), place.disk_num_bytes.get());
        let (skip, len) = (place.offset.get(), place.num_bytes.get());
        let codec = self.codec(head.compression)?;
        let held = if codec.is_some() {
            head.ram_bytes.get()
        } else {
            taken
        };
        if !aligned(at) {
            return Err(self.wrong("disk_bytenr", at));
        }
        if !aligned(taken) || at.checked_add(taken).is_none() {
            return Err(self.wrong("disk_num_bytes", taken));
        }
        if !aligned(skip) || skip.checked_add(len).is_none_or(|end| end > held) {
            return Err(self.wrong("offset", skip));
        }
        let Some(codec) = codec else {
            return Ok(Bytes::Plain {
                at: at.saturating_add(skip),
            });
        };
        let number = |field, value| {
            let small = u32::try_from(value).ok().filter(|value| *value <= PACKED_MAX);
            small.ok_or_else(|| self.wrong(field, value))
        };
        let index = |field, value| {
            let index = usize::try_from(number(field, value)?);
            index.map_err(|_| self.wrong(field, value))
        };
        Ok(Bytes::Packed {
            at,
            len: number("disk_num_bytes", taken)?,
            packing: Packing {
                codec,
                unpacked: index("ram_bytes", held)?,
                skip: index("offset", skip)?,
            },
        })
    }

    fn codec(&self, compression: u8) -> Result<Option<Codec>, Error> {
        Codec::of(compression).map_err(|missing| match missing {
            #[cfg(not(feature = "zstd"))]
            Missing::Named(name) => self.ino.error(InodeTrouble::UnsupportedCompressor {
                start: self.key.offset,
                name,
            }),
            Missing::Unknown => self.wrong("compression", compression.into()),
        })
    }

    fn wrong(&self, field: &'static str, value: u64) -> Error {
        self.ino.error(InodeTrouble::Extent {
            start: self.key.offset,
            field,
            value,
        })
    }
}

/// Whether something begins with a sector.
fn aligned(at: u64) -> bool {
    at.is_multiple_of(SECTOR.into())
}
