//! Values in inodes of their own, where neither an inode nor its block of xattrs has room for them.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/eainode.html>
//!
//! Equal values are one inode, which counts the entries on disk that name it: those of a block once, however many
//! inodes share the block. All of these inodes count the value's blocks among their own all the same.

use std::collections::HashMap;
use std::sync::Arc;

use super::attribute::Apart;
use super::count;
use crate::checksum::Seed;
use crate::units::{BlockSize, Blocks, Bytes, Ino, to_u64, to_usize as index};

/// A value in an inode of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueInode {
    /// The value.
    pub bytes: Arc<[u8]>,
    /// Its hash, which the inode and each entry hold.
    pub hash: u32,
    /// Entries that name the inode.
    pub references: u64,
}

impl ValueInode {
    /// Blocks that the value takes.
    pub fn blocks(&self, block_size: BlockSize) -> Blocks {
        Bytes(to_u64(self.bytes.len())).blocks(block_size)
    }
}

/// The values that have got an inode so far.
pub(super) struct Values<'a> {
    seed: Seed,
    ino: &'a dyn Fn(u32) -> Ino,
    known: HashMap<Arc<[u8]>, u32>,
    pub(super) inodes: Vec<ValueInode>,
}

impl<'a> Values<'a> {
    /// None; `ino` says which inode each value has, by its index.
    pub(super) fn new(seed: Seed, ino: &'a dyn Fn(u32) -> Ino) -> Self {
        Self {
            seed,
            ino,
            known: HashMap::new(),
            inodes: Vec::new(),
        }
    }

    /// Gives a value an inode, or finds the one it has.
    pub(super) fn put(&mut self, value: &[u8]) -> Apart {
        let i = if let Some(i) = self.known.get(value) {
            *i
        } else {
            let i = count(self.inodes.len());
            let bytes: Arc<[u8]> = value.into();
            self.known.insert(Arc::clone(&bytes), i);
            self.inodes.push(ValueInode {
                hash: self.seed.xattr_value(value),
                bytes,
                references: 0,
            });
            i
        };
        Apart {
            index: i,
            ino: (self.ino)(i),
            len: count(value.len()),
            hash: self.inodes[index(i)].hash,
        }
    }

    /// Counts an entry that names a value.
    pub(super) fn refer(&mut self, value: u32) {
        let references = &mut self.inodes[index(value)].references;
        *references = references.saturating_add(1);
    }
}
