//! The codecs of containers that compress block by block, and the threads that run them.
//!
//! Why batches: one cluster of 512 bytes is too little to hand to another thread. Where batches begin and end, and how
//! many threads there are, changes no byte: every cluster is compressed on its own, and results come back in order.

use std::io;
use std::num::NonZero;
use std::ops::Range;

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::pool::Pool;

/// Bytes of the guest that a thread takes at a time, unless one cluster has more.
const BATCH: usize = 256 * 1024;

/// Batches on their way per thread besides the one being compressed: ready or done.
const AHEAD: usize = 3;

/// Bytes that all batches may have together, compressed ones with them: where clusters are long, fewer are on their way.
const TOGETHER: usize = 64 << 20;

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct How {
    pub(crate) codec: Kind,
    /// How hard.
    pub(crate) level: u8,
    /// Bytes in a block.
    pub(crate) size: usize,
    pub(crate) threads: NonZero<usize>,
}

/// What compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Raw deflate with a window of so many bytes, as a power of two.
    Deflate {
        /// 9 to 15.
        window: u8,
    },
    /// Deflate in zlib's wrapping, with any window. What can't be compressed is wrapped all the same.
    Zlib,
    /// zstd.
    Zstd,
}

/// Clusters of the guest, then what became of them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Which clusters, ascending.
    pub(crate) guests: Vec<u64>,
    /// Their bytes, back to back.
    pub(crate) bytes: Vec<u8>,
    /// What each became.
    pub(crate) outcomes: Vec<Outcome>,
    /// The compressed pieces, back to back.
    pub(crate) compressed: Vec<u8>,
}

/// What became of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It holds zeros only, and is not written.
    Zero,
    /// It can't be compressed, and is written as it is.
    Plain,
    /// It is these bytes of [`Batch::compressed`].
    Compressed(Range<usize>),
}

impl Batch {
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH
    }

    fn clear(&mut self) {
        self.guests.clear();
        self.bytes.clear();
        self.outcomes.clear();
        self.compressed.clear();
    }

    fn compress(&mut self, codec: &mut Codec, how: &How) -> io::Result<()> {
        for cluster in self.bytes.chunks_exact(how.size) {
            let outcome = if is_zero(cluster) {
                Outcome::Zero
            } else {
                let start = self.compressed.len();
                codec.append(cluster, &mut self.compressed)?;
                let len = self.compressed.len().saturating_sub(start);
                if len < how.size || how.codec == Kind::Zlib {
                    Outcome::Compressed(start..self.compressed.len())
                } else {
                    self.compressed.truncate(start);
                    Outcome::Plain
                }
            };
            self.outcomes.push(outcome);
        }
        Ok(())
    }
}

/// Whether there is no byte but zeros. Ors, since the processor does many at once where it may not stop early.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(1024)
        .all(|chunk| chunk.iter().fold(0, |or, byte| or | byte) == 0)
}

/// One thread's compressor.
enum Codec {
    Deflate(Compress, How),
    #[cfg(feature = "zstd")]
    Zstd(zstd::bulk::Compressor<'static>, Vec<u8>),
}

impl Codec {
    fn new(how: How) -> io::Result<Self> {
        match how.codec {
            Kind::Deflate { .. } | Kind::Zlib => Ok(Self::Deflate(Self::deflate(how), how)),
            #[cfg(feature = "zstd")]
            Kind::Zstd => {
                let codec = zstd::bulk::Compressor::new(how.level.into())?;
                Ok(Self::Zstd(codec, Vec::new()))
            }
            #[cfg(not(feature = "zstd"))]
            Kind::Zstd => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn deflate(how: How) -> Compress {
        let level = Compression::new(how.level.into());
        match how.codec {
            Kind::Deflate { window } => Compress::new_with_window_bits(level, false, window),
            _ => Compress::new(level, true),
        }
    }

    /// Appends one cluster, compressed, to `out`.
    fn append(&mut self, cluster: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Deflate(codec, how) => {
                // More than deflate can ever need. zlib-rs may panic when a stream is reset that was not ended for
                // want of room, so there is always room, and a stream that ends differently is not used again.
                out.reserve(
                    cluster
                        .len()
                        .saturating_add(cluster.len() / 4)
                        .saturating_add(1024),
                );
                let status = codec.compress_vec(cluster, out, FlushCompress::Finish);
                if matches!(status, Ok(Status::StreamEnd)) {
                    codec.reset();
                    return Ok(());
                }
                *codec = Self::deflate(*how);
                Err(io::Error::other("deflate did not end its stream"))
            }
            #[cfg(feature = "zstd")]
            Self::Zstd(codec, frame) => {
                frame.clear();
                frame.reserve(zstd::zstd_safe::compress_bound(cluster.len()));
                codec.compress_to_buffer(cluster, frame)?;
                out.extend_from_slice(frame);
                Ok(())
            }
        }
    }
}

/// The threads, and buffers for what they work on. Batches go in and come out in one order.
#[derive(Debug)]
pub(crate) struct Workers {
    pool: Pool<Batch, ()>,
    spare: Vec<Batch>,
}

impl Workers {
    pub(crate) fn start(how: How) -> io::Result<Self> {
        let of_batch = how.size.max(BATCH).saturating_mul(2);
        let most = TOGETHER.checked_div(of_batch).unwrap_or(1);
        let threads = how
            .threads
            .min(NonZero::new(most).unwrap_or(NonZero::<usize>::MIN));
        let ahead = (most / threads).saturating_sub(1).min(AHEAD);
        let pool = Pool::start("compress", threads, ahead, || {
            let mut codec = Codec::new(how)?;
            Ok(move |batch: &mut Batch| batch.compress(&mut codec, &how))
        })?;
        Ok(Self {
            pool,
            spare: Vec::new(),
        })
    }

    /// An empty batch, with the buffers of one that is done.
    pub(crate) fn batch(&mut self) -> Batch {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes back a batch whose results are used.
    pub(crate) fn recycle(&mut self, mut batch: Batch) {
        batch.clear();
        self.spare.push(batch);
    }

    /// Hands a batch to the threads. There must be room: see [`Workers::next`].
    pub(crate) fn submit(&mut self, batch: Batch) -> io::Result<()> {
        self.pool.submit(batch)
    }

    /// Whether a result must be taken before another batch is handed in.
    pub(crate) fn is_full(&self) -> bool {
        self.pool.is_full()
    }

    /// Waits for the oldest batch; `None` when none is under way.
    pub(crate) fn next(&mut self) -> io::Result<Option<Batch>> {
        Ok(self.pool.next()?.map(|(batch, ())| batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(how: How, bytes: &[u8]) -> Vec<Outcome> {
        let mut batch = Batch {
            bytes: bytes.to_vec(),
            ..Batch::default()
        };
        let mut codec = Codec::new(how).unwrap();
        batch.compress(&mut codec, &how).unwrap();
        batch.outcomes
    }

    #[test]
    fn clusters_become_nothing_themselves_or_less() {
        let mut noise = 1_u32;
        let mut random = || {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            noise.to_le_bytes()[0]
        };
        for size in (9..=21).map(|bits| 1_usize << bits) {
            for codec in [Kind::Deflate { window: 12 }, Kind::Zstd, Kind::Zlib] {
                let threads = NonZero::<usize>::MIN;
                let how = How {
                    codec,
                    level: 3,
                    size,
                    threads,
                };
                let mut bytes = vec![0; size];
                bytes.extend(std::iter::repeat_with(&mut random).take(size));
                bytes.extend(std::iter::repeat_n(b'a', size));
                bytes.extend(std::iter::repeat_with(&mut random).take(size));
                let [zero, plain, small, again] = &outcomes(how, &bytes)[..] else {
                    panic!("four clusters")
                };
                assert_eq!(zero, &Outcome::Zero);
                let kept = [plain, again].map(|outcome| *outcome == Outcome::Plain);
                assert_eq!(kept, [codec != Kind::Zlib; 2]);
                assert!(matches!(small, Outcome::Compressed(range) if range.len() < size / 8 + 16));
            }
        }
    }

    #[test]
    fn one_byte_is_enough_not_to_be_zero() {
        let mut bytes = vec![0; 4096];
        assert!(is_zero(&bytes));
        for at in [0, 1, 1023, 1024, 4095] {
            bytes[at] = 1;
            assert!(!is_zero(&bytes));
            bytes[at] = 0;
        }
    }
}
