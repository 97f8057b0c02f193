//! Whether the parts of a disk agree: footers, header and table, and where its blocks lie.

use image_core::ReadAt;

use super::header::{DYNAMIC, FIXED, Footer};
use super::layout::SECTOR;
use super::reader::{Blocks, ReadError, UNUSED, footer_at, length};
use crate::parts::{Fault, Parts};

/// Checks a disk. An error is one of reading it, or that too little of it is sound to be checked.
pub fn check(image: &dyn ReadAt) -> Result<Vec<Fault>, ReadError> {
    let end = image.len().checked_sub(SECTOR).ok_or(ReadError::NotVhd)?;
    let (front, last) = (footer_at(image, 0)?, footer_at(image, end)?);
    let mut parts = Parts::new(image.len(), "a block", 0, SECTOR);
    if !last.is_sound() {
        parts.fault(Fault::Checksum("the footer at the end"));
    }
    let footer = if last.is_sound() { last } else { front };
    if !footer.is_sound() {
        return Err(ReadError::Damaged("footer"));
    }
    parts.area("the footer", end..image.len());
    match footer.disk_type.get() {
        FIXED => fixed(&footer, end, &mut parts),
        DYNAMIC => dynamic(image, &front, &footer, &mut parts)?,
        other => return Err(ReadError::Unsupported(other)),
    }
    Ok(parts.finish())
}

fn fixed(footer: &Footer, end: u64, parts: &mut Parts) {
    let (what, says) = ("the length of the disk", footer.current_size.get());
    if says != end {
        parts.fault(Fault::Number { what, says, is: end });
    }
}

fn dynamic(image: &dyn ReadAt, front: &Footer, footer: &Footer, parts: &mut Parts) -> Result<(), ReadError> {
    if !front.is_sound() {
        parts.fault(Fault::Checksum("the copy of the footer in front"));
    } else if front != footer {
        let (one, other) = ("the copy of the footer in front", "the footer at the end");
        parts.fault(Fault::Differ { one, other });
    }
    parts.area("the copy of the footer", 0..SECTOR);
    let header_at = footer.data_offset.get();
    parts.area("the header", header_at..header_at.saturating_add(1024));
    let blocks = match Blocks::read(image, header_at, length(footer)) {
        Err(ReadError::Damaged(_)) => {
            parts.fault(Fault::Checksum("the header"));
            return Ok(());
        }
        blocks => blocks?,
    };
    let table_len = blocks.entries.saturating_mul(4);
    let table = blocks.table_at..blocks.table_at.saturating_add(table_len);
    parts.area("the table of blocks", table);
    let block = blocks.size.get().saturating_add(blocks.bitmap) / SECTOR;
    let sectors = u32::try_from(block).unwrap_or(u32::MAX);
    for entry in blocks.table.iter().map(|entry| entry.get()) {
        if entry != UNUSED {
            parts.block(entry, sectors);
        }
    }
    Ok(())
}
