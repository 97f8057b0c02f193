//! The guest of a disk, its own or another program's.
//!
//! A disk may come from anywhere: whatever its bytes are, reading it ends with the guest's bytes or with an error, in
//! memory bounded by the file's length and [`BLOCKS_MAX`].

use std::io;
use std::num::NonZero;
use std::sync::Arc;

use image_core::ReadAt;
use image_core::store;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

use super::header::{BLOCKS_MAX, DISCARDED, DYNAMIC, Header, SIGNATURE, STATIC, UNALLOCATED, VERSION};
use crate::guest::{Joined, Tell, by_blocks, invalid, read_block};

/// Bytes in a block, at least and at most: 1 MiB is what everybody writes.
const BLOCK_RANGE: std::ops::RangeInclusive<u32> = (64 << 10)..=(64 << 20);

/// Why a disk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It does not begin as one.
    #[error("not a VDI image")]
    NotVdi,
    /// It is of a version or type that is not read.
    #[error("VDI images of {what} {found:#x} are not supported")]
    Unsupported {
        /// What of it.
        what: &'static str,
        /// The number.
        found: u32,
    },
    /// It needs another file.
    #[error("VDI images with a parent are not supported")]
    Differencing,
    /// It says of itself what cannot be.
    #[error("the VDI image has {what} {found}")]
    Impossible {
        /// What of it.
        what: &'static str,
        /// The number.
        found: u64,
    },
    /// The file could not be read.
    #[error("cannot read the VDI image")]
    Io(#[from] io::Error),
}

/// The guest of a disk.
#[derive(Debug)]
pub struct Guest {
    pub(super) image: Arc<dyn ReadAt>,
    pub(super) header: Header,
    len: u64,
    pub(super) block: NonZero<u64>,
    pub(super) data_at: u64,
    pub(super) map: Vec<U32>,
}

impl Guest {
    /// Opens a disk that has no parent.
    pub fn open(image: impl ReadAt + 'static) -> Result<Self, ReadError> {
        let image: Arc<dyn ReadAt> = Arc::new(image);
        let mut header = Header::new_zeroed();
        image.read_exact_at(header.as_mut_bytes(), 0)?;
        if header.signature.get() != SIGNATURE {
            return Err(ReadError::NotVdi);
        }
        let unsupported = |what, found| ReadError::Unsupported { what, found };
        if header.version.get() != VERSION {
            return Err(unsupported("version", header.version.get()));
        }
        let kind = header.image_type.get();
        if header.uuid_link != [0; 16] || header.uuid_parent != [0; 16] {
            return Err(ReadError::Differencing);
        }
        if kind != DYNAMIC && kind != STATIC {
            return Err(unsupported("type", kind));
        }
        if header.block_extra.get() != 0 {
            return Err(unsupported(
                "extra bytes before a block",
                header.block_extra.get(),
            ));
        }
        let impossible = |what, found| ReadError::Impossible { what, found };
        let size = header.block_size.get();
        let block =
            NonZero::new(u64::from(size)).filter(|_| BLOCK_RANGE.contains(&size) && size.is_power_of_two());
        let block = block.ok_or(impossible("blocks of", size.into()))?;
        // What is written in the header may be no whole number of sectors; the guest sees whole ones.
        let len = header.disk_size.get();
        let needed = len.div_ceil(block.get());
        let count = header.blocks_in_image.get();
        if needed > u64::from(count).min(BLOCKS_MAX) {
            return Err(impossible("a map that does not fit its length of", len));
        }
        let needed = usize::try_from(needed).expect("a bounded map fits memory");
        let map_at = u64::from(header.offset_blocks.get());
        let mut map = vec![U32::ZERO; needed];
        image.read_exact_at(map.as_mut_bytes(), map_at)?;
        Ok(Self {
            image,
            header,
            len,
            block,
            data_at: header.offset_data.get().into(),
            map,
        })
    }

    /// Where the data of a block lie, if it is there.
    fn at(&self, block: u64) -> Option<u64> {
        let entry = self.map.get(usize::try_from(block).ok()?)?.get();
        let at = u64::from(entry).saturating_mul(self.block.get());
        (entry != UNALLOCATED && entry != DISCARDED).then_some(self.data_at.saturating_add(at))
    }
}

impl ReadAt for Guest {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        by_blocks(self.len, self.block, buf, offset, |part, block, within| {
            read_block(&self.image, part, self.at(block), within)
        })
    }

    fn check(&self) -> Result<(), store::Error> {
        self.image.check()
    }
}

impl crate::guest::Guest for Guest {
    fn stretches(&self, tell: &mut Tell<'_>) -> io::Result<()> {
        let mut joined = Joined::new(self.len, tell);
        let count = u64::try_from(self.map.len()).map_err(invalid)?;
        for block in (0..count).filter(|block| self.at(*block).is_some()) {
            let start = block.saturating_mul(self.block.get());
            joined.add(start..start.saturating_add(self.block.get()), false)?;
        }
        joined.finish()
    }
}
