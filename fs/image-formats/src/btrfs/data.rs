//! The bytes of files, checked against the checksums that the file system has of each of their sectors.
//!
//! Why checked: an image is read to be built upon, and a bit that its copy lost is to be told here and not where the
//! file is used. What it costs is a pass of CRC-32C, which is faster than any disk.

use image_core::ReadAt;

use super::disk::{Key, kind, object};
use super::superblock::SECTOR;
use super::volume::Volume;
use super::{Error, to_u64};

/// The most bytes that are read at once.
const PIECE: usize = 1 << 20;
/// Bytes of a sector.
const BYTES: usize = 4096;
const _: () = assert!(SECTOR == 4096);

impl<R: ReadAt> Volume<R> {
    /// Fills `buf` with data from a logical address on; `sums` says whether they have checksums.
    pub(super) fn data(&self, buf: &mut [u8], at: u64, sums: bool) -> Result<(), Error> {
        let (mut buf, mut at) = (buf, at);
        while !buf.is_empty() {
            let within =
                usize::try_from(at & u64::from(SECTOR.saturating_sub(1))).expect("less than a sector");
            let whole = buf.len().min(PIECE) & !(BYTES.saturating_sub(1));
            // Only whole sectors have checksums.
            let direct = within == 0 && whole > 0;
            let here = if direct {
                whole
            } else {
                buf.len().min(BYTES.saturating_sub(within))
            };
            let (part, rest) = buf.split_at_mut(here);
            if direct {
                self.sectors(part, at, sums)?;
            } else {
                let mut sector = [0; BYTES];
                self.sectors(&mut sector, at.saturating_sub(to_u64(within)), sums)?;
                part.copy_from_slice(&sector[within..within.saturating_add(here)]);
            }
            at = at.saturating_add(to_u64(here));
            buf = rest;
        }
        Ok(())
    }

    /// Fills `buf` with whole sectors, from the first of their copies that is sound.
    fn sectors(&self, buf: &mut [u8], at: u64, sums: bool) -> Result<(), Error> {
        let len = to_u64(buf.len());
        let mut last = Error::Unmapped { at, len };
        for place in self.chunks.places(at, len)? {
            self.source.read_exact_at(buf, place)?;
            if !sums {
                return Ok(());
            }
            match self.verify(buf, at) {
                Err(error @ Error::DataChecksum { .. }) => last = error,
                verified => return verified,
            }
        }
        Err(last)
    }

    /// Whether sectors have the checksums that stand in the tree of checksums.
    fn verify(&self, sectors: &[u8], at: u64) -> Result<(), Error> {
        let Some(tree) = self.sums else {
            return Err(Error::NoDataChecksum { at });
        };
        let key = |at| Key::new(object::EXTENT_CSUM, kind::EXTENT_CSUM, at);
        let last = at.saturating_add(to_u64(sectors.len())).saturating_sub(1);
        let mut rest = sectors.chunks_exact(BYTES).peekable();
        let mut next = at;
        self.items_from_floor(tree, &(key(at)..=key(last)), &mut |found, stored| {
            if (found.object, found.kind) != (object::EXTENT_CSUM, kind::EXTENT_CSUM) {
                return Ok(());
            }
            // Of an item behind the next sector, that sector has no checksum.
            let Some(before) = next.checked_sub(found.offset) else {
                return Ok(());
            };
            let skip = usize::try_from(before.div_euclid(SECTOR.into())).unwrap_or(usize::MAX);
            for sum in stored.chunks_exact(self.checksum.len()).skip(skip) {
                let Some(sector) = rest.next() else { break };
                if !self.checksum.fits(sector, sum) {
                    return Err(Error::DataChecksum { at: next });
                }
                next = next.saturating_add(SECTOR.into());
            }
            Ok(())
        })?;
        match rest.peek() {
            None => Ok(()),
            Some(_) => Err(Error::NoDataChecksum { at: next }),
        }
    }
}
