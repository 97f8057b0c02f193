//! Indices of directories: checksums, the shape of the tree, and whether each name lies where its hash belongs.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/dynamic.html#hash-tree-directories>

use std::collections::HashSet;

use image_core::ReadAt;
use zerocopy::FromBytes;
use zerocopy::little_endian::{U16, U32};

use super::{Check, Checked, Fault};
use crate::hash::Hasher;
use crate::options::HashVersion;
use crate::reader::volume::Loaded;
use crate::units::{Block, to_u64};

/// Where the root's children begin, and those of other blocks of an index.
const ROOT_CHILDREN: usize = 0x20;
const NODE_CHILDREN: usize = 8;
/// Where the root says which hash it is, and how many levels there are below it.
const HASH_VERSION: usize = 0x1c;
const LEVELS: usize = 0x1e;
/// Names are compared without regard to case.
const CASEFOLD_FL: u32 = 0x4000_0000;
const UNSIGNED_HASH: u32 = 2;
/// The deepest index that there is.
const LEVELS_MAX: u8 = 3;

/// A child of a block of an index: from which hash on, and up to which, names lie there.
struct Child {
    block: u64,
    from: u32,
    until: Option<u32>,
}

struct Index<'a> {
    directory: &'a Loaded,
    places: &'a [Block],
    hasher: Option<Hasher>,
    levels: u8,
    /// Blocks of the directory that the index leads to.
    met: HashSet<u64>,
}

fn word(block: &[u8], at: usize) -> u16 {
    let bytes = block.get(at..).unwrap_or_default();
    U16::read_from_prefix(bytes).map_or(0, |(word, _)| word.get())
}

fn long(block: &[u8], at: usize) -> u32 {
    let bytes = block.get(at..).unwrap_or_default();
    U32::read_from_prefix(bytes).map_or(0, |(long, _)| long.get())
}

impl<R: ReadAt> Check<'_, R> {
    /// Checks the index of a directory, whose blocks lie at these places.
    pub(super) fn index(&mut self, directory: &Loaded, places: &[Block]) -> Checked {
        let root = self.block(places[0].0)?;
        let levels = root.get(LEVELS).copied().unwrap_or(0);
        if levels >= LEVELS_MAX {
            return self.bad(directory, "the number of levels", 0, levels.into());
        }
        let mut index = Index {
            directory,
            places,
            hasher: self.hasher(directory, root.get(HASH_VERSION).copied().unwrap_or(0)),
            levels,
            met: HashSet::from([0]),
        };
        self.node(&mut index, 0, 0, (0, None))?;
        // A block that no child leads to holds names that are never found.
        let all = to_u64(places.len());
        if to_u64(index.met.len()) < all {
            let lost = (0..all).find(|block| !index.met.contains(block)).unwrap_or(0);
            self.bad(directory, "the number of children that lead", lost, 0)?;
        }
        Ok(())
    }

    fn bad(&mut self, directory: &Loaded, what: &'static str, block: u64, value: u64) -> Checked {
        let directory = directory.ino.0;
        self.fault(Fault::Index {
            directory,
            what,
            block,
            value,
        })
    }

    fn hasher(&self, directory: &Loaded, version: u8) -> Option<Hasher> {
        if directory.inode.i_flags.get() & CASEFOLD_FL != 0 {
            return None;
        }
        let sb = &self.volume.superblock;
        let seed = sb.s_hash_seed;
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(seed.chunks_exact(4)) {
            *word = long(bytes, 0);
        }
        Some(Hasher {
            algorithm: match version {
                0 => HashVersion::Legacy,
                1 => HashVersion::HalfMd4,
                2 => HashVersion::Tea,
                _ => return None,
            },
            unsigned: sb.s_flags.get() & UNSIGNED_HASH != 0,
            seed: words,
        })
    }

    /// A block of the index at a level, whose hashes lie between two.
    fn node(&mut self, index: &mut Index<'_>, at: u64, level: u8, range: (u32, Option<u32>)) -> Checked {
        let place = usize::try_from(at).ok().and_then(|at| index.places.get(at));
        let Some(place) = place else {
            return self.bad(index.directory, "a child", at, at);
        };
        let block = self.block(place.0)?;
        let start = if at == 0 { ROOT_CHILDREN } else { NODE_CHILDREN };
        let (limit, count) = (
            usize::from(word(&block, start)),
            usize::from(word(&block, start.saturating_add(2))),
        );
        let tail = if self.volume.seed.is_some() { 8 } else { 0 };
        let room = block.len().saturating_sub(start).saturating_sub(tail) / 8;
        if count == 0 || count > limit || limit > room {
            return self.bad(index.directory, "the number of children", at, to_u64(count));
        }
        let end = |count: usize| start.saturating_add(count.saturating_mul(8));
        if let Some(seed) = index.directory.seed(&self.volume) {
            let [reserved, says] = [0, 4].map(|at| long(&block, end(limit).saturating_add(at)));
            if says != seed.htree_node(&block[..end(count)], reserved) {
                self.fault(index.directory.checksum("a block of the index").into())?;
            }
        }
        let mut children: Vec<Child> = Vec::with_capacity(count);
        for nth in 0..count {
            let at = end(nth);
            let from = if nth == 0 { range.0 } else { long(&block, at) };
            if let Some(last) = children.last_mut() {
                last.until = Some(from);
            }
            children.push(Child {
                block: long(&block, at.saturating_add(4)).into(),
                from,
                until: range.1,
            });
        }
        for child in children {
            if child.until.is_some_and(|until| until < child.from) {
                self.bad(index.directory, "the hash of a child", at, child.from.into())?;
            }
            if child.block >= to_u64(index.places.len()) || !index.met.insert(child.block) {
                self.bad(index.directory, "a child", at, child.block)?;
                continue;
            }
            if level < index.levels {
                let below = level.saturating_add(1);
                self.node(index, child.block, below, (child.from, child.until))?;
            } else {
                self.leaf(index, &child)?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, index: &Index<'_>, child: &Child) -> Checked {
        let Some(hasher) = index.hasher else {
            return Ok(());
        };
        let place = usize::try_from(child.block)
            .ok()
            .and_then(|at| index.places.get(at));
        let Some(place) = place else {
            return Ok(());
        };
        let block = self.block(place.0)?;
        // What is no entry was told when the names were read.
        let before = self.faults.len();
        let names = self.names(&block, index.directory)?;
        self.faults.truncate(before);
        for name in names {
            let hash = hasher.hash(&name.name).major;
            let behind = match child.until {
                // The lowest bit tells that a run of equal hashes goes on there.
                Some(until) if until & 1 == 1 => hash > until & !1,
                Some(until) => hash >= until,
                None => false,
            };
            if hash < child.from & !1 || behind {
                let (directory, block) = (index.directory.ino.0, child.block);
                self.fault(Fault::Misplaced {
                    directory,
                    block,
                    hash,
                })?;
            }
        }
        Ok(())
    }
}
