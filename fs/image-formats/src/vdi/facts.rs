//! What a disk says of itself in its header, be it one that cannot be read.

use image_core::ReadAt;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::header::{DYNAMIC, Header, SIGNATURE, STATIC};
use super::reader::ReadError;

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Bytes of the guest.
    pub virtual_size: u64,
    /// `dynamic` or `static`; or `undo` or `differencing`, which need a parent; or `unknown`.
    pub subformat: &'static str,
    /// The text at its beginning, which names the program that made it.
    pub creator: Vec<u8>,
    /// Bytes in a block.
    pub block_size: u32,
}

impl Facts {
    /// Reads them.
    pub fn of(image: &impl ReadAt) -> Result<Self, ReadError> {
        let mut header = Header::new_zeroed();
        image.read_exact_at(header.as_mut_bytes(), 0)?;
        if header.signature.get() != SIGNATURE {
            return Err(ReadError::NotVdi);
        }
        let text = header.text.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = text.strip_prefix(b"<<<").unwrap_or(text).trim_ascii();
        let text = text.strip_suffix(b">>>").unwrap_or(text).trim_ascii();
        Ok(Self {
            virtual_size: header.disk_size.get(),
            subformat: match header.image_type.get() {
                DYNAMIC => "dynamic",
                STATIC => "static",
                3 => "undo",
                4 => "differencing",
                _ => "unknown",
            },
            creator: text.to_vec(),
            block_size: header.block_size.get(),
        })
    }
}
