//! One gzip member of blocks that are compressed apart: each ends in an empty stored block, which fills the last byte,
//! so that what the threads make can be put together as it is. The dictionary of a block is the end of the one before,
//! which a decoder has in its window anyway: so cutting costs next to nothing.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc1952> and <https://www.rfc-editor.org/rfc/rfc1951>

use std::io::{self, Write};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::{Block, Packed};
use crate::deflate::{Encoder, End};

/// Bytes that a thread takes at a time.
pub(super) const BLOCK: usize = 512 * 1024;

/// Deflate's window.
pub(super) const WINDOW: usize = 1 << WINDOW_BITS;

const WINDOW_BITS: u8 = 15;

/// What the member needs besides its blocks.
pub(super) struct Framing {
    crc: Crc,
}

impl Framing {
    /// The member's header, without time and name.
    pub(super) fn begin(level: u8) -> ([u8; 10], Self) {
        // XFL: 2 says slowest, 4 fastest. The system is unknown: 255.
        let extra = match level {
            9 => 2,
            1 => 4,
            _ => 0,
        };
        let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra, 255];
        (head, Self { crc: Crc::new() })
    }

    pub(super) fn block(&mut self, _: &Block, packed: &Packed, output: &mut impl Write) -> io::Result<()> {
        self.crc.combine(&packed.crc);
        output.write_all(&packed.bytes)
    }

    /// A last, empty block, the checksum, and the length modulo 2^32.
    pub(super) fn end(self) -> Vec<u8> {
        let mut tail = vec![3, 0];
        tail.extend(self.crc.sum().to_le_bytes());
        tail.extend(self.crc.amount().to_le_bytes());
        tail
    }
}

/// A thread's compressor.
pub(super) enum Codec {
    /// zlib-rs, which has the faster level 1: one look at one place.
    Fast,
    Own(Box<Encoder>),
}

impl Codec {
    pub(super) fn new(level: u8) -> Self {
        match level {
            ..=1 => Self::Fast,
            _ => Self::Own(Box::new(Encoder::new(level, WINDOW_BITS))),
        }
    }

    /// Compresses a block.
    pub(super) fn pack(&mut self, block: &Block) -> io::Result<Packed> {
        let bytes = match self {
            Self::Fast => fast(block)?,
            Self::Own(encoder) => {
                let mut bytes = Vec::with_capacity(block.content().len() / 2);
                encoder.encode(&block.bytes, block.dictionary, End::Piece, &mut bytes);
                bytes
            }
        };
        let mut crc = Crc::new();
        crc.update(block.content());
        Ok(Packed { bytes, crc })
    }
}

fn fast(block: &Block) -> io::Result<Vec<u8>> {
    let content = block.content();
    // A new one for each block: zlib-rs may panic when a stream is reset that was not ended.
    let mut codec = Compress::new(Compression::fast(), false);
    if block.dictionary > 0 {
        codec.set_dictionary(block.dictionary())?;
    }
    // More than deflate can ever need, so that it never has to be asked twice.
    let room = content
        .len()
        .saturating_add(content.len() / 4)
        .saturating_add(1024);
    let mut bytes = Vec::with_capacity(room);
    let status = codec.compress_vec(content, &mut bytes, FlushCompress::Sync)?;
    let took = usize::try_from(codec.total_in()).unwrap_or(0);
    if !matches!(status, Status::Ok) || took != content.len() || bytes.len() == bytes.capacity() {
        return Err(io::Error::other("deflate did not take its block"));
    }
    Ok(bytes)
}
