//! Legacy frames of lz4: a magic number, then blocks of which each begins with its compressed length. There is no end and
//! no checksum; what is written stands whole in each block.
//!
//! Spec: <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md#legacy-frame>

use std::io::{self, Write};

use flate2::Crc;

use super::{Block, Packed};

/// Bytes that a thread takes at a time: all blocks but the last must have as many.
pub(super) const BLOCK: usize = 8 << 20;

/// 0x184c2102, the least byte first.
pub(super) const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// Compresses a block.
pub(super) fn pack(block: &Block) -> Packed {
    Packed {
        bytes: lz4_flex::block::compress(block.content()),
        crc: Crc::new(),
    }
}

/// Writes a block behind its length.
pub(super) fn block(packed: &Packed, output: &mut impl Write) -> io::Result<()> {
    let len = u32::try_from(packed.bytes.len()).expect("a block is little longer than 8 MiB");
    output.write_all(&len.to_le_bytes())?;
    output.write_all(&packed.bytes)
}
