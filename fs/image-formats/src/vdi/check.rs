//! Whether the parts of a disk agree: its map, where its blocks lie, and how many the header says there are.

use image_core::ReadAt;

use super::header::{DISCARDED, Header, STATIC, UNALLOCATED};
use super::reader::{Guest, ReadError};
use crate::parts::{Fault, Parts};

/// Checks a disk. An error is one of reading it, or that too little of it is sound to be checked.
pub fn check(image: impl ReadAt + 'static) -> Result<Vec<Fault>, ReadError> {
    let guest = Guest::open(image)?;
    let header = &guest.header;
    let block = guest.block.get();
    let mut parts = Parts::new(guest.image.len(), "a block", guest.data_at, block);
    let size = u64::try_from(size_of::<Header>()).expect("512");
    parts.area("the header", 0..size);
    let entries = u64::from(header.blocks_in_image.get());
    let map_at = u64::from(header.offset_blocks.get());
    let map_end = map_at.saturating_add(entries.saturating_mul(4));
    parts.area("the map", map_at..map_end);
    for entry in guest.map.iter().map(|entry| entry.get()) {
        if entry != UNALLOCATED && entry != DISCARDED {
            parts.block(entry, 1);
        }
    }
    let needed = u64::try_from(guest.map.len()).expect("a usize fits a u64");
    let number = |what, says, is| Fault::Number { what, says, is };
    let found = parts.blocks();
    let says = u64::from(header.blocks_allocated.get());
    if says != found {
        parts.fault(number("the number of blocks in the file", says, found));
    }
    if header.image_type.get() == STATIC && found != needed {
        parts.fault(number("the number of blocks of a static disk", found, needed));
    }
    Ok(parts.finish())
}
