//! An image that others made, of which only the blocks that hold something are kept.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use image_core::ReadAt;

/// Bytes of a block.
const BLOCK: usize = 4096;

/// An image in memory, without its blocks that are zero. Clones share blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sparse {
    len: u64,
    blocks: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl Sparse {
    /// Those of an image.
    pub fn of(image: &[u8]) -> Self {
        let blocks = (0..).zip(image.chunks(BLOCK));
        let blocks = blocks.filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        Self {
            len: u64::try_from(image.len()).unwrap(),
            blocks: blocks
                .map(|(number, block)| (number, Arc::new(block.to_vec())))
                .collect(),
        }
    }

    /// Those that [`Sparse::pack`] packed.
    pub fn unpack(packed: &[u8]) -> Self {
        let mut bytes = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        let (len, mut rest) = bytes.split_first_chunk().unwrap();
        let mut sparse = Self {
            len: u64::from_le_bytes(*len),
            blocks: BTreeMap::new(),
        };
        while let Some((number, behind)) = rest.split_first_chunk() {
            let (block, behind) = behind.split_at(BLOCK);
            let block = Arc::new(block.to_vec());
            sparse.blocks.insert(u64::from_le_bytes(*number), block);
            rest = behind;
        }
        sparse
    }

    /// The length, and each block behind its number.
    pub fn pack(&self) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&self.len.to_le_bytes()).unwrap();
        for (number, block) in &self.blocks {
            encoder.write_all(&number.to_le_bytes()).unwrap();
            encoder.write_all(block).unwrap();
        }
        encoder.finish().unwrap()
    }

    pub fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    /// Puts bytes in their place.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let (number, within) = place(at);
            let (part, behind) = rest.split_at(rest.len().min(BLOCK - within));
            let block = self
                .blocks
                .entry(number)
                .or_insert_with(|| Arc::new(vec![0; BLOCK]));
            Arc::make_mut(block)[within..within + part.len()].copy_from_slice(part);
            at += u64::try_from(part.len()).unwrap();
            rest = behind;
        }
    }

    /// Where whole blocks are that are not zero.
    pub fn places(&self) -> impl Iterator<Item = u64> + '_ {
        self.blocks.keys().map(|number| number * 4096)
    }
}

/// The number of the block that has a byte, and where in it.
fn place(at: u64) -> (u64, usize) {
    (at / 4096, usize::try_from(at % 4096).unwrap())
}

impl ReadAt for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(u64::try_from(buf.len()).unwrap());
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let (number, within) = place(at);
            let here = rest.len().min(BLOCK - within);
            let (part, behind) = rest.split_at_mut(here);
            match self.blocks.get(&number) {
                Some(block) => part.copy_from_slice(&block[within..within + here]),
                None => part.fill(0),
            }
            at += u64::try_from(here).unwrap();
            rest = behind;
        }
        Ok(())
    }
}
