//! One xz stream of blocks that are compressed apart. A block's header says how long it is, so that `xz -T` can
//! decompress them apart too.
//!
//! Spec: <https://tukaani.org/xz/xz-file-format.txt>

use std::io::{self, Write};

use flate2::Crc;
use lzma_rust2::{Lzma2Options, Lzma2Writer, LzmaOptions};

use super::{Block, Packed, length};

/// Bytes that a thread takes at a time: twice the dictionary of the default preset.
pub const BLOCK: usize = 16 << 20;

/// The same where memory is dear: an encoder takes some twelve times its dictionary.
pub const SMALL_BLOCK: usize = 8 << 20;
const SMALL_DICTIONARY: u32 = 2 << 20;

const MAGIC: [u8; 6] = *b"\xfd7zXZ\0";
/// CRC32, the one that the kernel has.
const FLAGS: [u8; 2] = [0, 1];

/// Preset, and bytes of a block and of a dictionary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    level: u8,
    block: usize,
    dictionary_max: u32,
}

impl Shape {
    pub(super) fn large(level: u8) -> Self {
        Self {
            level,
            block: BLOCK,
            dictionary_max: u32::try_from(BLOCK).expect("16 MiB fit"),
        }
    }

    pub(super) fn small(level: u8) -> Self {
        Self {
            level,
            block: SMALL_BLOCK,
            dictionary_max: SMALL_DICTIONARY,
        }
    }

    /// Bytes that a thread takes at a time.
    pub(super) fn block(self) -> usize {
        self.block
    }

    /// A preset's options, with no longer a dictionary than is allowed.
    fn options(self) -> LzmaOptions {
        let mut options = LzmaOptions::with_preset(self.level.into());
        options.dict_size = options.dict_size.min(self.dictionary_max);
        options
    }
}

/// What the stream needs besides its blocks.
pub(super) struct Framing {
    dictionary: u8,
    /// Unpadded and uncompressed length of each block.
    index: Vec<(u64, u64)>,
}

impl Framing {
    /// The stream's header.
    pub(super) fn begin(shape: Shape) -> (Vec<u8>, Self) {
        let dictionary = dictionary_bits(shape.options().dict_size);
        let framing = Self {
            dictionary,
            index: Vec::new(),
        };
        (stream_header(), framing)
    }

    pub(super) fn block(
        &mut self,
        block: &Block,
        packed: &Packed,
        output: &mut impl Write,
    ) -> io::Result<()> {
        let (framed, unpadded) = framed(block.content(), packed, self.dictionary, true);
        self.index.push((unpadded, length(block.content())));
        output.write_all(&framed)
    }

    /// The index, and the stream's footer.
    pub(super) fn end(self) -> Vec<u8> {
        tail(&self.index)
    }
}

/// Compresses a block.
pub(super) fn pack(shape: Shape, block: &Block) -> io::Result<Packed> {
    lzma2(shape.options(), block.content())
}

/// A whole stream of one block, whose dictionary is `dictionary` bytes, a power of two: what squashfs has.
pub(crate) fn single(bytes: &[u8], level: u8, dictionary: u32) -> io::Result<Vec<u8>> {
    let mut options = LzmaOptions::with_preset(level.into());
    options.dict_size = dictionary;
    let packed = lzma2(options, bytes)?;
    let (framed, unpadded) = framed(bytes, &packed, dictionary_bits(dictionary), false);
    Ok([stream_header(), framed, tail(&[(unpadded, length(bytes))])].concat())
}

fn lzma2(options: LzmaOptions, bytes: &[u8]) -> io::Result<Packed> {
    let options = Lzma2Options {
        lzma_options: options,
        ..Lzma2Options::default()
    };
    let mut writer = Lzma2Writer::new(Vec::with_capacity(bytes.len() / 3), options);
    writer.write_all(bytes)?;
    let packed = writer.finish()?;
    let mut crc = Crc::new();
    crc.update(bytes);
    Ok(Packed { bytes: packed, crc })
}

/// How headers tell the length of a dictionary that is a power of two, of 4 KiB at least.
fn dictionary_bits(len: u32) -> u8 {
    let log = u8::try_from(len.ilog2()).expect("at most 31");
    log.saturating_sub(12).saturating_mul(2)
}

fn stream_header() -> Vec<u8> {
    [&MAGIC[..], &FLAGS, &crc_of(&FLAGS)].concat()
}

/// A block with its header, padding and checksum, and its length without padding.
fn framed(content: &[u8], packed: &Packed, dictionary: u8, sizes: bool) -> (Vec<u8>, u64) {
    let mut header = vec![0, if sizes { 0xc0 } else { 0 }];
    if sizes {
        number(length(&packed.bytes), &mut header);
        number(length(content), &mut header);
    }
    header.extend([0x21, 1, dictionary]);
    header.resize(header.len().next_multiple_of(4), 0);
    header[0] = u8::try_from(header.len() / 4).expect("a header has some twenty bytes");
    let crc = crc_of(&header);
    header.extend(crc);
    let unpadded = [length(&header), length(&packed.bytes), 4]
        .iter()
        .fold(0_u64, |sum, len| sum.saturating_add(*len));
    let mut block = header;
    block.extend_from_slice(&packed.bytes);
    block.resize(block.len().next_multiple_of(4), 0);
    block.extend(packed.crc.sum().to_le_bytes());
    (block, unpadded)
}

/// The index of the blocks, and the stream's footer.
fn tail(blocks: &[(u64, u64)]) -> Vec<u8> {
    let mut index = vec![0];
    number(
        u64::try_from(blocks.len()).expect("a usize fits a u64"),
        &mut index,
    );
    for (unpadded, content) in blocks {
        number(*unpadded, &mut index);
        number(*content, &mut index);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    let crc = crc_of(&index);
    index.extend(crc);
    let words = u32::try_from(index.len() / 4).expect("an index of 2^34 bytes has no place in memory");
    let backward = [&words.saturating_sub(1).to_le_bytes()[..], &FLAGS].concat();
    [&index[..], &crc_of(&backward), &backward, b"YZ"].concat()
}

/// A number of seven bits a byte, the least first.
fn number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("seven bits"));
}

fn crc_of(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}
