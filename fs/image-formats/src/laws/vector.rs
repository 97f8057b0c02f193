//! An image that others made, of which only the blocks that hold something are kept, and whose bytes a law changes.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};

use flate2::read::GzDecoder;
use image_core::ReadAt;

/// Bytes of a block.
const BLOCK: usize = 1024;
const BLOCK_BYTES: u64 = 1024;

/// Blocks by their numbers.
#[derive(Debug)]
pub(super) struct Vector {
    blocks: BTreeMap<u64, Vec<u8>>,
    len: u64,
}

impl Vector {
    /// Unpacks one: its length, then of each block its number and its bytes; numbers have 8 bytes, little-endian, and gzip
    /// is around all of it.
    pub(super) fn unpack(packed: &[u8]) -> Self {
        let mut bytes = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let blocks = bytes[8..].chunks_exact(8 + BLOCK);
        Self {
            len: number(&bytes),
            blocks: blocks.map(|block| (number(block), block[8..].to_vec())).collect(),
        }
    }

    /// Where blocks begin that hold something.
    pub(super) fn starts(&self) -> impl Iterator<Item = u64> + '_ {
        self.blocks.keys().map(|number| number * BLOCK_BYTES)
    }
}

fn within_block(at: u64) -> usize {
    usize::try_from(at % BLOCK_BYTES).unwrap()
}

/// A vector with changes.
#[derive(Debug)]
pub(super) struct Changed {
    vector: &'static Vector,
    changes: HashMap<u64, Vec<u8>>,
}

impl Changed {
    pub(super) fn new(vector: &'static Vector) -> Self {
        let changes = HashMap::new();
        Self { vector, changes }
    }

    fn block(&self, number: u64) -> Option<&Vec<u8>> {
        self.changes
            .get(&number)
            .or_else(|| self.vector.blocks.get(&number))
    }

    /// Bytes of it.
    pub(super) fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    /// Puts bytes in place of others.
    pub(super) fn put(&mut self, bytes: &[u8], at: u64) {
        for (at, byte) in (at..).zip(bytes) {
            let (number, within) = (at / BLOCK_BYTES, within_block(at));
            if !self.changes.contains_key(&number) {
                let block = self.vector.blocks.get(&number);
                let block = block.cloned().unwrap_or_else(|| vec![0; BLOCK]);
                self.changes.insert(number, block);
            }
            self.changes.get_mut(&number).unwrap()[within] = *byte;
        }
    }
}

impl ReadAt for Changed {
    fn len(&self) -> u64 {
        self.vector.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset
            .checked_add(u64::try_from(buf.len()).unwrap())
            .is_none_or(|end| end > self.len())
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut rest, mut at) = (buf, offset);
        while !rest.is_empty() {
            let within = within_block(at);
            let (part, behind) = rest.split_at_mut((BLOCK - within).min(rest.len()));
            match self.block(at / BLOCK_BYTES) {
                Some(block) => part.copy_from_slice(&block[within..within + part.len()]),
                None => part.fill(0),
            }
            at += u64::try_from(part.len()).unwrap();
            rest = behind;
        }
        Ok(())
    }
}
