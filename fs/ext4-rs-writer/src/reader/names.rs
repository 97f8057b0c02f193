//! A block of a directory: its names.

use zerocopy::FromBytes;

use image_core::ReadAt;

use super::ReadError;
use super::volume::{Loaded, Volume};
use crate::directory::block::{Head, TAIL_TYPE, Tail};
use crate::inode::INDEX_FL;
use crate::units::{Ino, to_u64};

/// The names in a block with their inodes, but for `.` and `..`. A block of an index has no others.
pub(super) fn entries<'b, R: ReadAt>(
    block: &'b [u8],
    directory: &Loaded,
    volume: &Volume<'_, R>,
) -> Result<Vec<(&'b [u8], Ino)>, ReadError> {
    check(block, directory, volume)?;
    let mut names = Vec::new();
    let mut rest = block;
    while !rest.is_empty() {
        let at = to_u64(block.len().saturating_sub(rest.len()));
        let corrupt = || directory.corrupt("an entry in a block of the directory, at byte", at);
        let (head, after) = Head::read_from_prefix(rest).map_err(|_| corrupt())?;
        let len = usize::from(head.rec_len.get());
        let name = after.get(..head.name_len.into());
        let fits = size_of::<Head>().saturating_add(head.name_len.into()) <= len;
        if !fits || len > rest.len() || !len.is_multiple_of(4) {
            return Err(corrupt());
        }
        if let Some(name) = name.filter(|name| head.inode.get() != 0 && *name != b"." && *name != b"..") {
            names.push((name, Ino(head.inode.get())));
        }
        rest = &rest[len..];
    }
    Ok(names)
}

/// Whether one entry that names nothing, or `..`, covers a block's rest: there the index stands. What else the block
/// held before it became one may still be at its end.
fn is_of_index(block: &[u8]) -> bool {
    let rec_len = |at: usize| {
        let head = block.get(at..).and_then(|rest| Head::read_from_prefix(rest).ok());
        head.map_or(0, |(head, _)| usize::from(head.rec_len.get()))
    };
    rec_len(0) == block.len() || (rec_len(0) == 12 && rec_len(12).saturating_add(12) == block.len())
}

/// Checks the block's checksum. Blocks of an index end otherwise, and what they say is not needed.
pub(super) fn check<R: ReadAt>(
    block: &[u8],
    directory: &Loaded,
    volume: &Volume<'_, R>,
) -> Result<(), ReadError> {
    let Some(seed) = directory.seed(volume) else {
        return Ok(());
    };
    let (entries, tail) = block.split_at(block.len().saturating_sub(size_of::<Tail>()));
    let tail = Tail::read_from_bytes(tail).expect("as many bytes");
    let is_tail = tail.head.inode.get() == 0
        && usize::from(tail.head.rec_len.get()) == size_of::<Tail>()
        && tail.head.name_len == 0
        && tail.head.file_type == TAIL_TYPE;
    let fits = is_tail && tail.checksum.get() == seed.directory_leaf(entries);
    let indexed = directory.inode.i_flags.get() & INDEX_FL != 0;
    if fits || (indexed && is_of_index(block)) {
        Ok(())
    } else {
        Err(directory.checksum("a block of the directory"))
    }
}
