//! One block, compressed, as long as that makes it shorter.

use std::io;

use flate2::{Compress, FlushCompress, Status};

use super::plan::WriteOptions;
use crate::compress::xz_block;
use crate::squashfs::disk::DATA_UNCOMPRESSED;

/// The compressors that images can have here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// zlib streams, level 9.
    Gzip,
    /// xz streams with a dictionary as long as a block, preset 6.
    Xz,
    /// zstd frames, level 15.
    #[cfg(feature = "zstd")]
    Zstd,
}

impl Compression {
    /// Every compressor, by the word that `mksquashfs -comp` has for it.
    pub const WORDS: &[(&str, Self)] = &[
        ("gzip", Self::Gzip),
        ("xz", Self::Xz),
        #[cfg(feature = "zstd")]
        ("zstd", Self::Zstd),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, compression)| *compression == self);
        found.map_or("", |(word, _)| word)
    }

    /// What the superblock's `compression` says.
    pub(super) fn number(self) -> u16 {
        match self {
            Self::Gzip => 1,
            Self::Xz => 4,
            #[cfg(feature = "zstd")]
            Self::Zstd => 6,
        }
    }

    /// A block's bytes, compressed; `None` if they are no fewer.
    pub(super) fn pack(self, bytes: &[u8], dictionary: u32) -> io::Result<Option<Vec<u8>>> {
        let packed = match self {
            Self::Gzip => zlib(bytes)?,
            Self::Xz => xz_block(bytes, 6, dictionary)?,
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::bulk::compress(bytes, 15)?,
        };
        Ok((packed.len() < bytes.len()).then_some(packed))
    }
}

fn zlib(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut codec = Compress::new(flate2::Compression::new(9), true);
    // More than deflate can ever need.
    let room = bytes.len().saturating_add(bytes.len() / 4).saturating_add(1024);
    let mut packed = Vec::with_capacity(room);
    match codec.compress_vec(bytes, &mut packed, FlushCompress::Finish)? {
        Status::StreamEnd => Ok(packed),
        _ => Err(io::Error::other("deflate did not end its stream")),
    }
}

/// Whose block it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A file's, by its place in the plan.
    File(usize),
    /// The next fragment.
    Fragment,
}

/// A block on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) owner: Owner,
    pub(super) bytes: Vec<u8>,
    /// Blocks of a hole, which have no bytes.
    pub(super) holes: u64,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is zero.
    Zero,
    /// It is stored as it is.
    Plain,
    /// It is these bytes.
    Packed(Vec<u8>),
}

/// Compresses a block.
pub(super) fn run(job: &Job, options: WriteOptions) -> io::Result<Outcome> {
    // Ors, since the processor does many at once where it may not stop early.
    let is_zero = |bytes: &[u8]| {
        bytes
            .chunks(1024)
            .all(|chunk| chunk.iter().fold(0, |or, byte| or | byte) == 0)
    };
    if job.owner != Owner::Fragment && is_zero(&job.bytes) {
        return Ok(Outcome::Zero);
    }
    let packed = options.compression.pack(&job.bytes, options.block)?;
    Ok(packed.map_or(Outcome::Plain, Outcome::Packed))
}

/// How a list of blocks says that one is stored as it is.
pub(super) fn plain(bytes: &[u8]) -> u32 {
    packed(bytes) | DATA_UNCOMPRESSED
}

/// And that it is compressed.
pub(super) fn packed(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a block has 1 MiB at most")
}
