//! What a disk says of itself in header and text, be it one that cannot be read.

use image_core::ReadAt;

use super::header::{COMPRESSED, MAGIC, SECTOR};
use super::reader::{Description, ReadError, header_at};

/// The types that the specification has.
const TYPES: [&str; 12] = [
    "monolithicSparse",
    "streamOptimized",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "fullDevice",
    "partitionedDevice",
    "vmfs",
    "vmfsSparse",
    "vmfsRDM",
    "vmfsRaw",
    "custom",
];

/// What header and text say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Bytes of the guest.
    pub virtual_size: u64,
    /// The type in the words of the specification; what none of them is goes by whether grains are compressed.
    pub subformat: &'static str,
    /// Bytes in a grain.
    pub grain_size: u64,
}

impl Facts {
    /// Reads them.
    pub fn of(image: &impl ReadAt) -> Result<Self, ReadError> {
        let header = header_at(image, 0)?;
        if header.magic != MAGIC {
            return Err(ReadError::NotVmdk);
        }
        let said = Description::read(image, &header)?.value("createType");
        let known = TYPES.into_iter().find(|known| said.as_deref() == Some(known));
        let by_flags = if header.flags.get() & COMPRESSED == 0 {
            "monolithicSparse"
        } else {
            "streamOptimized"
        };
        Ok(Self {
            virtual_size: header.capacity.get().saturating_mul(SECTOR),
            subformat: known.unwrap_or(by_flags),
            grain_size: header.grain_size.get().saturating_mul(SECTOR),
        })
    }
}
