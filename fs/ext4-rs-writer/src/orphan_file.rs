//! The orphan file: where the kernel notes inodes that were deleted while open, without one list for all CPUs.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/globals.html#orphan-file>

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use crate::checksum::InodeSeed;
use crate::units::{Block, BlockSize};

const MAGIC: u32 = 0x0b10_ca04;
/// Bytes of magic and checksum at a block's end.
const TAIL: usize = 8;

/// A block without orphans.
pub(crate) fn block(at: Block, block_size: BlockSize, seed: Option<InodeSeed>) -> Vec<u8> {
    let mut bytes = vec![0; block_size.buffer()];
    let slots = bytes.len().saturating_sub(TAIL);
    let checksum = seed.map_or(0, |seed| seed.orphan_block(at, &bytes[..slots]));
    bytes[slots..].copy_from_slice([U32::new(MAGIC), U32::new(checksum)].as_bytes());
    bytes
}
