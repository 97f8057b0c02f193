//! The guest of a disk, its own or another program's.
//!
//! A disk may come from anywhere: whatever its bytes are, reading it ends with the guest's bytes or with an error, in
//! memory bounded by the largest table of blocks.

use std::io;
use std::num::NonZero;
use std::sync::Arc;

use image_core::ReadAt;
use image_core::store;
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::header::{COOKIE, DYNAMIC, FIXED, Footer, Header};
use super::layout::{LEN_MAX, SECTOR};
use crate::guest::{Joined, Tell, by_blocks, invalid, read_block};

/// The smallest block that is read: it bounds the table.
const BLOCK_MIN: u32 = 256 << 10;
/// An entry without a block.
pub(super) const UNUSED: u32 = u32::MAX;

/// Why a disk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no footer where one must be.
    #[error("not a VHD image")]
    NotVhd,
    /// A checksum is wrong.
    #[error("the {0} of the VHD image is damaged: its checksum is wrong")]
    Damaged(&'static str),
    /// It is of a type that is not read.
    #[error("VHD images of type {0} are not supported: {kind}", kind = type_name(*.0))]
    Unsupported(u32),
    /// It says of itself what cannot be.
    #[error("the VHD image has {what} {found}")]
    Impossible {
        /// What of it.
        what: &'static str,
        /// The number.
        found: u64,
    },
    /// The file could not be read.
    #[error("cannot read the VHD image")]
    Io(#[from] io::Error),
}

fn type_name(kind: u32) -> &'static str {
    match kind {
        4 => "a differencing disk needs its parent",
        _ => "it is neither fixed nor dynamic",
    }
}

/// The guest of a disk.
#[derive(Debug)]
pub struct Guest {
    image: Arc<dyn ReadAt>,
    len: u64,
    /// `None` for a fixed disk.
    blocks: Option<Blocks>,
}

/// Where the blocks of a dynamic disk lie.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) size: NonZero<u64>,
    /// Bytes of the bitmap before each.
    pub(super) bitmap: u64,
    /// Where the table is, and its entries, of which the last may be for no block.
    pub(super) table_at: u64,
    pub(super) entries: u64,
    pub(super) table: Vec<U32>,
}

impl Guest {
    /// Whether the last bytes of a file are the footer of a fixed disk, which nothing else tells from a raw one.
    pub fn is_fixed(image: &dyn ReadAt) -> io::Result<bool> {
        let Some(len) = image.len().checked_sub(SECTOR) else {
            return Ok(false);
        };
        let footer = footer_at(image, len)?;
        let fits = footer.current_size.get() <= len;
        Ok(footer.is_sound() && footer.disk_type.get() == FIXED && fits)
    }

    /// Opens a disk that has no parent.
    pub fn open(image: impl ReadAt + 'static) -> Result<Self, ReadError> {
        let image: Arc<dyn ReadAt> = Arc::new(image);
        let end = image.len().checked_sub(SECTOR).ok_or(ReadError::NotVhd)?;
        // The first copy is that of a dynamic disk; it is good where the file was cut off, too.
        let mut footer = footer_at(&image, 0)?;
        if footer.cookie != COOKIE {
            footer = footer_at(&image, end)?;
        }
        if footer.cookie != COOKIE {
            return Err(ReadError::NotVhd);
        }
        if !footer.is_sound() {
            return Err(ReadError::Damaged("footer"));
        }
        let len = length(&footer);
        if len > LEN_MAX || !len.is_multiple_of(SECTOR) {
            return Err(ReadError::Impossible {
                what: "a length of",
                found: len,
            });
        }
        let blocks = match footer.disk_type.get() {
            FIXED if len > end => {
                return Err(ReadError::Impossible {
                    what: "too few bytes for a length of",
                    found: len,
                });
            }
            FIXED => None,
            DYNAMIC => Some(Blocks::read(&image, footer.data_offset.get(), len)?),
            other => return Err(ReadError::Unsupported(other)),
        };
        Ok(Self { image, len, blocks })
    }
}

pub(super) fn footer_at(image: &dyn ReadAt, at: u64) -> io::Result<Footer> {
    let mut footer = Footer::new_zeroed();
    image.read_exact_at(footer.as_mut_bytes(), at)?;
    Ok(footer)
}

/// What readers take for the length: what the geometry says, where the maker is known to have meant it.
pub(super) fn length(footer: &Footer) -> u64 {
    let careless = [*b"vpc ", *b"qemu"].contains(&footer.creator_application);
    let geometry = footer.geometry_len();
    // A geometry that can't grow says nothing.
    let says = footer.cylinders.get() < u16::MAX && geometry > 0;
    if careless && says {
        geometry
    } else {
        footer.current_size.get()
    }
}

impl Blocks {
    pub(super) fn read(image: &dyn ReadAt, header_at: u64, len: u64) -> Result<Self, ReadError> {
        let mut bytes = [0; 1024];
        image.read_exact_at(&mut bytes, header_at)?;
        let header = Header::read_from_bytes(&bytes).map_err(|_| ReadError::NotVhd)?;
        if !header.is_sound() {
            return Err(ReadError::Damaged("header"));
        }
        let size = header.block_size.get();
        let impossible = |what, found| ReadError::Impossible { what, found };
        if size < BLOCK_MIN || !size.is_power_of_two() {
            return Err(impossible("blocks of", size.into()));
        }
        let size = NonZero::<u64>::from(NonZero::new(size).ok_or(ReadError::NotVhd)?);
        let needed = len.div_ceil(size.get());
        let entries = u64::from(header.max_table_entries.get());
        if entries < needed {
            return Err(impossible("a table too short for its length, of", entries));
        }
        let count = usize::try_from(needed).expect("a bounded table fits memory");
        let mut table = vec![U32::ZERO; count];
        let table_at = header.table_offset.get();
        image.read_exact_at(table.as_mut_bytes(), table_at)?;
        let bitmap = (size.get() / SECTOR / 8).next_multiple_of(SECTOR);
        Ok(Self {
            size,
            bitmap,
            table_at,
            entries,
            table,
        })
    }

    /// Where the data of a block lie, if it is there.
    fn at(&self, block: u64) -> Option<u64> {
        let index = usize::try_from(block).ok()?;
        let sector = self.table.get(index)?.get();
        let at = u64::from(sector)
            .saturating_mul(SECTOR)
            .saturating_add(self.bitmap);
        (sector != UNUSED).then_some(at)
    }
}

impl ReadAt for Guest {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(blocks) = &self.blocks else {
            let whole = NonZero::new(self.len.max(1)).expect("at least 1");
            return by_blocks(self.len, whole, buf, offset, |part, _, within| {
                self.image.read_exact_at(part, within)
            });
        };
        by_blocks(self.len, blocks.size, buf, offset, |part, block, within| {
            read_block(&self.image, part, blocks.at(block), within)
        })
    }

    fn check(&self) -> Result<(), store::Error> {
        self.image.check()
    }
}

impl crate::guest::Guest for Guest {
    fn stretches(&self, tell: &mut Tell<'_>) -> io::Result<()> {
        let mut joined = Joined::new(self.len, tell);
        match &self.blocks {
            None => joined.add(0..self.len, false)?,
            Some(blocks) => {
                let count = u64::try_from(blocks.table.len()).map_err(invalid)?;
                for block in (0..count).filter(|block| blocks.at(*block).is_some()) {
                    let start = block.saturating_mul(blocks.size.get());
                    joined.add(start..start.saturating_add(blocks.size.get()), false)?;
                }
            }
        }
        joined.finish()
    }
}
