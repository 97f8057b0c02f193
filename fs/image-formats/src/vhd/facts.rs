//! What a disk says of itself in footer and header, be it one that cannot be read.

use image_core::ReadAt;
use zerocopy::FromBytes as _;

use super::header::{COOKIE, DYNAMIC, DYNAMIC_COOKIE, FIXED, Footer, Header};
use super::layout::SECTOR;
use super::reader::{ReadError, footer_at, length};

/// The disk's type: it needs its parent.
const DIFFERENCING: u32 = 4;

/// What footer and header say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Bytes of the guest, as readers take them.
    pub virtual_size: u64,
    /// `fixed`, `dynamic` or `differencing`, or `unknown`.
    pub subformat: &'static str,
    /// Who is said to have made it: four bytes.
    pub creator: [u8; 4],
    /// Bytes in a block; `None` for a fixed disk, or where no header is.
    pub block_size: Option<u32>,
}

impl Facts {
    /// Reads them.
    pub fn of(image: &impl ReadAt) -> Result<Self, ReadError> {
        let end = image.len().checked_sub(SECTOR).ok_or(ReadError::NotVhd)?;
        let mut footer = footer_at(image, 0)?;
        if footer.cookie != COOKIE {
            footer = footer_at(image, end)?;
        }
        if footer.cookie != COOKIE {
            return Err(ReadError::NotVhd);
        }
        let subformat = match footer.disk_type.get() {
            FIXED => "fixed",
            DYNAMIC => "dynamic",
            DIFFERENCING => "differencing",
            _ => "unknown",
        };
        Ok(Self {
            virtual_size: length(&footer),
            subformat,
            creator: footer.creator_application,
            block_size: (subformat != "fixed")
                .then(|| block_size(image, &footer))
                .flatten(),
        })
    }
}

fn block_size(image: &impl ReadAt, footer: &Footer) -> Option<u32> {
    let mut bytes = [0; 1024];
    image.read_exact_at(&mut bytes, footer.data_offset.get()).ok()?;
    let header = Header::read_from_bytes(&bytes).ok()?;
    (header.cookie == DYNAMIC_COOKIE).then(|| header.block_size.get())
}
