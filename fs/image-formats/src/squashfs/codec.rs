//! The compressors: one block of an image at a time, into a buffer that bounds what comes out.

mod xz;

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};
use lzma_rust2::LzmaReader;

/// Why a block cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The compressed bytes are no stream of their compressor, or end early.
    #[error("its compressed data are damaged")]
    Malformed,
    /// More comes out than a block can hold.
    #[error("it holds more than {0} bytes")]
    TooLong(usize),
    /// What comes out is not as long as it must be.
    #[error("it holds {found} bytes instead of {expected}")]
    WrongLength {
        /// What came out.
        found: usize,
        /// What should.
        expected: usize,
    },
    /// The checksum of what comes out is another.
    #[error("its checksum is wrong")]
    Checksum,
    /// A kind of checksum that neither the kernel nor this reader knows.
    #[error("its checksum is of kind {0}, which is not known")]
    UnknownChecksum(u8),
    /// A filter that this reader does not have.
    #[error("its filter {0:#x} is not known")]
    UnknownFilter(u64),
    /// It says that it is longer than blocks can be.
    #[error("its {0} bytes are more than a block can have")]
    TooManyBytes(u64),
    /// A block that holds nothing.
    #[error("it is empty")]
    Empty,
}

/// A compressor that images of this reader may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compressor {
    /// zlib streams.
    Gzip,
    /// The older format of LZMA, with its own header.
    Lzma,
    /// xz streams, with or without a filter for machine code.
    Xz,
    /// zstd frames.
    #[cfg(feature = "zstd")]
    Zstd,
}

/// Why a compressor is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It has a name.
    Named(&'static str),
    /// It has none.
    Unknown,
}

impl Compressor {
    /// What the superblock's `compression` means.
    pub(super) fn of(compression: u16) -> Result<Self, Missing> {
        match compression {
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Lzma),
            3 => Err(Missing::Named("lzo")),
            4 => Ok(Self::Xz),
            5 => Err(Missing::Named("lz4")),
            #[cfg(feature = "zstd")]
            6 => Ok(Self::Zstd),
            #[cfg(not(feature = "zstd"))]
            6 => Err(Missing::Named("zstd")),
            _ => Err(Missing::Unknown),
        }
    }

    /// Unpacks a block to the beginning of `out`; gives how many bytes it holds.
    pub(crate) fn unpack(self, packed: &[u8], out: &mut [u8]) -> Result<usize, Damage> {
        if packed.is_empty() {
            return Err(Damage::Empty);
        }
        match self {
            Self::Gzip => {
                let mut codec = Decompress::new(true);
                let status = codec.decompress(packed, out, FlushDecompress::Finish);
                match status.map_err(|_| Damage::Malformed)? {
                    Status::StreamEnd => Ok(usize::try_from(codec.total_out()).expect("it fits the buffer")),
                    _ if codec.total_out() == u64::try_from(out.len()).unwrap_or(u64::MAX) => {
                        Err(Damage::TooLong(out.len()))
                    }
                    _ => Err(Damage::Malformed),
                }
            }
            Self::Lzma => lzma(packed, out),
            Self::Xz => xz::unpack(packed, out),
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::bulk::decompress_to_buffer(packed, out).map_err(|_| Damage::Malformed),
        }
    }
}

/// LZMA with the header of `.lzma` files: properties, dictionary, length.
fn lzma(packed: &[u8], out: &mut [u8]) -> Result<usize, Damage> {
    let (head, packed) = packed.split_first_chunk::<13>().ok_or(Damage::Malformed)?;
    let [props, d0, d1, d2, d3, length @ ..] = *head;
    let length = u64::from_le_bytes(length);
    let dictionary = dictionary(u32::from_le_bytes([d0, d1, d2, d3]), out.len());
    let reader = LzmaReader::new_with_props(packed, length, props, dictionary, None);
    fill(reader.map_err(|_| Damage::Malformed)?, out)
}

/// As much of a dictionary as a stream of `len` bytes can use, whatever it asks for.
fn dictionary(asked: u32, len: usize) -> u32 {
    asked.min(u32::try_from(len).unwrap_or(u32::MAX)).max(4096)
}

/// Reads to the end, which must come before the buffer's.
fn fill(mut reader: impl Read, out: &mut [u8]) -> Result<usize, Damage> {
    let mut done = 0_usize;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => return Ok(done),
            Ok(read) => done = done.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Damage::Malformed),
        }
    }
    match reader.read(&mut [0]) {
        Ok(0) => Ok(done),
        Ok(_) => Err(Damage::TooLong(out.len())),
        Err(_) => Err(Damage::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// The streams of all compressors that can be had.
    fn streams(bytes: &[u8]) -> Vec<(Compressor, Vec<u8>)> {
        let mut xz = lzma_rust2::XzOptions::with_preset(1);
        xz.set_check_sum_type(lzma_rust2::CheckType::Crc32);
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), xz).unwrap();
        xz.write_all(bytes).unwrap();
        let options = lzma_rust2::LzmaOptions::with_preset(1);
        let length = u64::try_from(bytes.len()).unwrap();
        let mut lzma = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, Some(length)).unwrap();
        lzma.write_all(bytes).unwrap();
        vec![
            (Compressor::Gzip, zlib(bytes)),
            (Compressor::Xz, xz.finish().unwrap()),
            (Compressor::Lzma, lzma.finish().unwrap()),
            #[cfg(feature = "zstd")]
            (Compressor::Zstd, zstd::bulk::compress(bytes, 3).unwrap()),
        ]
    }

    #[test]
    fn what_comes_out_is_bounded_by_the_buffer() {
        let bytes = image_core::laws::filler(10_000, 1);
        for (compressor, packed) in streams(&bytes) {
            let mut out = vec![0; 10_001];
            assert_eq!(compressor.unpack(&packed, &mut out), Ok(10_000), "{compressor:?}");
            assert!(out[..10_000] == bytes);
            assert_eq!(compressor.unpack(&packed, &mut out[..10_000]), Ok(10_000));
            assert!(compressor.unpack(&packed, &mut out[..9_999]).is_err());
            assert!(compressor.unpack(&packed, &mut []).is_err());
        }
    }

    #[test]
    fn damaged_streams_are_errors() {
        let bytes = image_core::laws::filler(5000, 2);
        for (compressor, packed) in streams(&bytes) {
            let mut out = vec![0; 8192];
            for len in 0..packed.len() {
                // What stands behind the last byte is not needed: an end mark of LZMA's, the index of xz.
                let cut = compressor.unpack(&packed[..len], &mut out);
                let whole = cut == Ok(5000) && out[..5000] == bytes && len + 40 > packed.len();
                assert!(cut.is_err() || whole, "{compressor:?} cut at {len}: {cut:?}");
            }
            for at in 0..packed.len() {
                let mut damaged = packed.clone();
                damaged[at] ^= 0x55;
                let _ = compressor.unpack(&damaged, &mut out);
            }
        }
    }
}
