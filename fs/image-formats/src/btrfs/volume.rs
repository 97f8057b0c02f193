//! The file system around the files: tree blocks by their logical addresses, items by their keys.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use image_core::ReadAt;

use super::checksum::Checksum;
use super::chunks::Chunks;
use super::disk::{Key, KeyPtr, Superblock};
use super::node::{Node, Place};
use super::{Error, to_u64};

/// Bytes of tree blocks that are kept.
const CACHE_BYTES: usize = 16 << 20;

/// A file system that was opened.
#[derive(Debug)]
pub(super) struct Volume<R> {
    pub(super) source: R,
    pub(super) checksum: Checksum,
    pub(super) chunks: Chunks,
    /// Where the checksums of the data stand, if there are any.
    pub(super) sums: Option<TreeRoot>,
    node_size: usize,
    uuid: [u8; 16],
    cache: Mutex<Cache>,
}

/// Where a tree begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TreeRoot {
    pub(super) at: u64,
    pub(super) level: u8,
    pub(super) generation: u64,
}

/// What takes the items that were looked for.
type Take<'a> = dyn FnMut(Key, &[u8]) -> Result<(), Error> + 'a;

impl<R: ReadAt> Volume<R> {
    /// Opens a file system up to its chunks.
    pub(super) fn open(source: R) -> Result<(Self, Superblock), Error> {
        let (superblock, checksum) = Superblock::read(&source)?;
        let node_size = usize::try_from(superblock.nodesize.get()).unwrap_or(usize::MAX);
        let mut volume = Self {
            source,
            checksum,
            chunks: Chunks::of_superblock(&superblock)?,
            sums: None,
            node_size,
            uuid: superblock.tree_uuid(),
            cache: Mutex::new(Cache::new(CACHE_BYTES.div_euclid(node_size))),
        };
        let root = TreeRoot {
            at: superblock.chunk_root.get(),
            level: superblock.chunk_root_level,
            generation: superblock.chunk_root_generation.get(),
        };
        let mut chunks = Chunks::new(&superblock);
        volume.items(root, Key::MIN..=Key::MAX, |key, bytes| chunks.add(key, bytes))?;
        volume.chunks = chunks;
        Ok((volume, superblock))
    }

    /// Takes the items of a tree whose keys are in a range, in their order.
    pub(super) fn items(
        &self,
        root: TreeRoot,
        range: RangeInclusive<Key>,
        mut take: impl FnMut(Key, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let start = *range.start();
        self.items_from_floor(root, &range, &mut |key, bytes| {
            if key < start {
                return Ok(());
            }
            take(key, bytes)
        })
    }

    /// The same, and before them the last one that is below all of the range: it may reach into it.
    pub(super) fn items_from_floor(
        &self,
        root: TreeRoot,
        range: &RangeInclusive<Key>,
        take: &mut Take<'_>,
    ) -> Result<(), Error> {
        let place = Place {
            level: root.level,
            generation: root.generation,
            first: None,
            end: None,
        };
        self.descend(root.at, &place, range, take)
    }

    /// Takes items of a block and all below it. The level drops from each block to the next, so this ends.
    fn descend(
        &self,
        at: u64,
        place: &Place,
        range: &RangeInclusive<Key>,
        take: &mut Take<'_>,
    ) -> Result<(), Error> {
        let node = self.node(at)?;
        node.check_place(place)
            .map_err(|trouble| Error::Block { at, trouble })?;
        let items = node.items();
        let first = items.partition_point(|item| item.key.get() <= *range.start());
        for item in items.iter().skip(first.saturating_sub(1)) {
            let key = item.key.get();
            if key > *range.end() {
                break;
            }
            take(key, node.data(item))?;
        }
        let pointers = node.pointers();
        let first = pointers.partition_point(|pointer| pointer.key.get() <= *range.start());
        let first = first.saturating_sub(1);
        let ends = pointers.iter().map(|pointer| Some(pointer.key.get()));
        let ends = ends.chain([place.end]).skip(1);
        for (pointer, end) in pointers.iter().zip(ends).skip(first) {
            if pointer.key.get() > *range.end() {
                break;
            }
            let below = below(pointer, node.level(), end);
            self.descend(pointer.blockptr.get(), &below, range, take)?;
        }
        Ok(())
    }

    /// The tree block at an address, from the first of its copies that is sound.
    fn node(&self, at: u64) -> Result<Arc<Node>, Error> {
        if let Some(node) = self.cache().get(at) {
            return Ok(node);
        }
        let mut last = Error::Unmapped {
            at,
            len: to_u64(self.node_size),
        };
        for place in self.chunks.places(at, to_u64(self.node_size))? {
            let mut bytes = vec![0; self.node_size];
            self.source.read_exact_at(&mut bytes, place)?;
            match Node::new(bytes, at, &self.uuid, self.checksum) {
                Ok(node) => {
                    let node = Arc::new(node);
                    self.cache().insert(at, Arc::clone(&node));
                    return Ok(node);
                }
                Err(trouble) => last = Error::Block { at, trouble },
            }
        }
        Err(last)
    }

    /// A thread that panicked left the cache whole: it holds nothing but blocks that were checked.
    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn below(pointer: &KeyPtr, level: u8, end: Option<Key>) -> Place {
    Place {
        level: level.saturating_sub(1),
        generation: pointer.generation.get(),
        first: Some(pointer.key.get()),
        end,
    }
}

/// The blocks used last, in two halves: when the newer is full, it becomes the older, and what that held is forgotten
/// but for what was used meanwhile.
#[derive(Debug)]
struct Cache {
    new: HashMap<u64, Arc<Node>>,
    old: HashMap<u64, Arc<Node>>,
    half: usize,
}

impl Cache {
    fn new(blocks: usize) -> Self {
        Self {
            new: HashMap::new(),
            old: HashMap::new(),
            half: blocks.div_euclid(2),
        }
    }

    fn get(&mut self, at: u64) -> Option<Arc<Node>> {
        if let Some(node) = self.new.get(&at) {
            return Some(Arc::clone(node));
        }
        let node = self.old.remove(&at)?;
        self.insert(at, Arc::clone(&node));
        Some(node)
    }

    fn insert(&mut self, at: u64, node: Arc<Node>) {
        if self.new.len() >= self.half {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(at, node);
    }
}
