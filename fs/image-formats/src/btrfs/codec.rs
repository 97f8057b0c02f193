//! The compressors: one extent at a time, into a buffer that bounds what comes out.
//!
//! A packed extent is padded to whole sectors. If fewer bytes come out than the extent has, the rest is zero; if more,
//! they are cut: so the kernel reads them, and so `BTRFS_IOC_ENCODED_WRITE` defines them.

mod lzo;

use flate2::{Decompress, FlushDecompress, Status};

/// Why an extent cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The compressed bytes are no stream of their compressor, or end early.
    #[error("its compressed data are damaged")]
    Malformed,
    /// Its segments are longer than the extent.
    #[error("its segments take {0} bytes, more than there are")]
    CutOff(u32),
}

/// A compressor that extents may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    /// zlib streams.
    Zlib,
    /// LZO1X, sector by sector.
    Lzo,
    /// zstd frames.
    #[cfg(feature = "zstd")]
    Zstd,
}

/// Why a compressor is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It has a name.
    #[cfg(not(feature = "zstd"))]
    Named(&'static str),
    /// It has none.
    Unknown,
}

impl Codec {
    /// What an extent's `compression` means.
    pub(super) fn of(compression: u8) -> Result<Option<Self>, Missing> {
        match compression {
            0 => Ok(None),
            1 => Ok(Some(Self::Zlib)),
            2 => Ok(Some(Self::Lzo)),
            #[cfg(feature = "zstd")]
            3 => Ok(Some(Self::Zstd)),
            #[cfg(not(feature = "zstd"))]
            3 => Err(Missing::Named("zstd")),
            _ => Err(Missing::Unknown),
        }
    }

    /// Unpacks an extent and fills `out`.
    pub(super) fn unpack(self, packed: &[u8], out: &mut [u8]) -> Result<(), Damage> {
        let len = match self {
            Self::Zlib => zlib(packed, out)?,
            Self::Lzo => lzo::unpack(packed, out)?,
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd(packed, out)?,
        };
        out.iter_mut().skip(len).for_each(|byte| *byte = 0);
        Ok(())
    }
}

fn zlib(packed: &[u8], out: &mut [u8]) -> Result<usize, Damage> {
    let mut codec = Decompress::new(true);
    let status = codec.decompress(packed, out, FlushDecompress::Finish);
    let len = usize::try_from(codec.total_out()).unwrap_or(usize::MAX);
    match status.map_err(|_| Damage::Malformed)? {
        Status::StreamEnd => Ok(len),
        _ if len == out.len() => Ok(len),
        _ => Err(Damage::Malformed),
    }
}

/// The first frame. Its window is an extent at most, so that no frame can ask for more memory.
#[cfg(feature = "zstd")]
fn zstd(packed: &[u8], out: &mut [u8]) -> Result<usize, Damage> {
    use std::io::{ErrorKind, Read};

    const WINDOW_LOG: u32 = super::disk::PACKED_MAX.ilog2();
    let decoder = zstd::stream::read::Decoder::with_buffer(packed);
    let mut decoder = decoder.map_err(|_| Damage::Malformed)?.single_frame();
    decoder
        .window_log_max(WINDOW_LOG)
        .map_err(|_| Damage::Malformed)?;
    let mut done = 0_usize;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match decoder.read(rest) {
            Ok(0) => break,
            Ok(read) => done = done.saturating_add(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Damage::Malformed),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use image_core::laws::filler;

    use super::*;

    /// The streams of the compressors, padded as extents are; `lzo` has vectors of its own.
    fn streams(bytes: &[u8]) -> Vec<(Codec, Vec<u8>)> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        let mut streams = vec![
            (Codec::Zlib, encoder.finish().unwrap()),
            #[cfg(feature = "zstd")]
            (Codec::Zstd, zstd::bulk::compress(bytes, 1).unwrap()),
        ];
        for (_, packed) in &mut streams {
            packed.resize(packed.len().next_multiple_of(4096), 0);
        }
        streams
    }

    #[test]
    fn an_extent_is_as_long_as_it_says() {
        let bytes = filler(10_000, 1);
        for (codec, packed) in streams(&bytes) {
            let mut out = vec![0xff; 12_288];
            codec.unpack(&packed, &mut out).unwrap();
            assert!(out[..10_000] == bytes && out[10_000..] == [0; 2288], "{codec:?}");
            let mut out = vec![0xff; 4096];
            codec.unpack(&packed, &mut out).unwrap();
            assert!(out == bytes[..4096], "{codec:?}");
        }
    }

    #[test]
    fn damaged_streams_are_errors() {
        let bytes = filler(10_000, 1);
        for (codec, packed) in streams(&bytes) {
            let mut out = vec![0; 12_288];
            assert_eq!(
                codec.unpack(&packed[..20], &mut out),
                Err(Damage::Malformed),
                "{codec:?}"
            );
            let mut damaged = packed.clone();
            damaged[..8].fill(0x55);
            assert_eq!(
                codec.unpack(&damaged, &mut out),
                Err(Damage::Malformed),
                "{codec:?}"
            );
        }
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn frames_with_larger_windows_than_extents_are_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(20).unwrap();
        encoder.write_all(&filler(2 << 20, 1)).unwrap();
        let packed = encoder.finish().unwrap();
        let unpacked = Codec::Zstd.unpack(&packed, &mut vec![0; 4096]);
        assert_eq!(unpacked, Err(Damage::Malformed));
    }

    #[test]
    fn compressors_that_are_not_there_are_refused() {
        assert_eq!(Codec::of(0), Ok(None));
        assert_eq!(Codec::of(4), Err(Missing::Unknown));
        #[cfg(not(feature = "zstd"))]
        assert_eq!(Codec::of(3), Err(Missing::Named("zstd")));
    }
}
