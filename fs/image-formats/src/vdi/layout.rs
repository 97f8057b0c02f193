//! A disk as a pure function of the guest's map.
//!
//! ```text
//! header | map | up to a whole MiB | block | block | …
//! ```
//!
//! Invariants: blocks lie in guest order; in a static disk all of them are there.

use std::num::NonZero;
use std::sync::Arc;

use image_core::Map;
use image_core::map::MapError;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::header::{BLOCKS_MAX, DYNAMIC, Header, SIGNATURE, STATIC, UNALLOCATED, VERSION};
use crate::blocks::{Places, Runs, place, words};
use crate::keyed::{OptionError, bad, switch, unknown, unsupported};

/// Bytes in a block: the one size that all versions read.
const BLOCK: NonZero<u64> = NonZero::new(1 << 20).expect("not zero");
/// Where the map is.
const MAP_AT: u64 = 512;

/// How a disk is written. The guest's bytes are the same under all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether all blocks have a place in the file.
    pub is_static: bool,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// The UUID of its state.
    pub state: [u8; 16],
}

impl Options {
    /// The options that a user can give.
    pub const KEYS: [&str; 3] = ["static", "preallocation", "size"];

    /// A dynamic disk.
    pub fn new(uuid: [u8; 16], state: [u8; 16]) -> Self {
        Self {
            is_static: false,
            uuid,
            state,
        }
    }

    /// Follows an option of `qemu-img convert -O vdi -o`.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        match key {
            "static" => self.is_static = switch("static", value)?,
            "preallocation" => {
                self.is_static = match value {
                    "off" => false,
                    "metadata" => true,
                    _ => return Err(bad("preallocation", value, "off or metadata")),
                }
            }
            "size" => return Err(unsupported("size", value, "the size is that of the disk")),
            _ => return Err(unknown("vdi", key)),
        }
        Ok(())
    }
}

/// Why there can be no VDI of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its length is no whole number of sectors.
    #[error("{len} bytes are no whole number of sectors of 512 bytes")]
    PartOfASector {
        /// Bytes in the image.
        len: u64,
    },
    /// Readers would refuse it.
    #[error("{len} bytes are too many for a VDI: at most {}", BLOCKS_MAX << 20)]
    TooLarge {
        /// Bytes in the image.
        len: u64,
    },
    /// The plan contradicts itself.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Whether there can be a disk of a guest of so many bytes.
pub fn check_len(len: u64) -> Result<(), Error> {
    if !len.is_multiple_of(512) {
        return Err(Error::PartOfASector { len });
    }
    if len.div_ceil(BLOCK.get()) > BLOCKS_MAX {
        return Err(Error::TooLarge { len });
    }
    Ok(())
}

/// Plans a disk of a guest.
pub fn plan(guest: &Map, options: &Options) -> Result<Map, Error> {
    let len = guest.len();
    check_len(len)?;
    let blocks = len.div_ceil(BLOCK.get());
    let data = Arc::new(if options.is_static {
        Runs::all(len, BLOCK)
    } else {
        Runs::touched(guest, BLOCK)
    });
    let small = |n: u64| u32::try_from(n).expect("bounded by the most blocks");
    let map_end = MAP_AT.saturating_add(blocks.saturating_mul(4));
    let places = Places {
        block: BLOCK,
        data_at: map_end.next_multiple_of(BLOCK.get()),
        stride: BLOCK.get(),
    };
    let header = Header {
        text: text(b"<<< Oracle VM VirtualBox Disk Image >>>\n"),
        signature: U32::new(SIGNATURE),
        version: U32::new(VERSION),
        header_size: U32::new(400),
        image_type: U32::new(if options.is_static { STATIC } else { DYNAMIC }),
        image_flags: U32::ZERO,
        description: [0; 256],
        offset_blocks: U32::new(small(MAP_AT)),
        offset_data: U32::new(small(places.data_at)),
        cylinders: U32::ZERO,
        heads: U32::ZERO,
        sectors: U32::ZERO,
        sector_size: U32::new(512),
        unused: U32::ZERO,
        disk_size: U64::new(len),
        block_size: U32::new(small(BLOCK.get())),
        block_extra: U32::ZERO,
        blocks_in_image: U32::new(small(blocks)),
        blocks_allocated: U32::new(small(data.count())),
        uuid_image: options.uuid,
        uuid_last_snap: options.state,
        uuid_link: [0; 16],
        uuid_parent: [0; 16],
        translated: [0; 16],
        padding: [0; 40],
    };
    let mut image = Map::builder(places.at(data.count()));
    image.bytes(0, header.as_bytes(), "VDI header");
    let known = Arc::clone(&data);
    words(&mut image, MAP_AT, blocks, "block map", move |block| {
        known.value(block).map_or(UNALLOCATED, small).to_le_bytes()
    });
    place(&mut image, guest, &data, &places);
    Ok(image.build()?)
}

fn text(line: &[u8]) -> [u8; 64] {
    let mut text = [0; 64];
    text[..line.len()].copy_from_slice(line);
    text
}
