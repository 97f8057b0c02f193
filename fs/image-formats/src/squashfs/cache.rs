//! The blocks unpacked last, as few as memory allows, for all threads.
//!
//! Whoever needs a block that another thread is just unpacking waits for it, instead of doing the same work: the small
//! files of one fragment are neighbours, so that threads which read ahead all want it at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Error;

/// An unpacked block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) bytes: Arc<[u8]>,
    /// Where in the image the next one begins.
    pub(super) next: u64,
}

type Place = Arc<Mutex<Option<Block>>>;

/// Blocks by where in the image they begin.
#[derive(Debug)]
pub(super) struct Cache {
    /// The one used last stands last.
    places: Mutex<Vec<(u64, Place)>>,
    max: usize,
}

impl Cache {
    /// A cache of `max` blocks.
    pub(super) fn new(max: usize) -> Self {
        Self {
            places: Mutex::default(),
            max,
        }
    }

    /// The block at byte `at`, which `unpack` makes if need be.
    pub(super) fn get(&self, at: u64, unpack: impl FnOnce() -> Result<Block, Error>) -> Result<Block, Error> {
        let place = self.place(at);
        let mut held = lock(&place);
        if let Some(block) = &*held {
            return Ok(block.clone());
        }
        Ok(held.insert(unpack()?).clone())
    }

    fn place(&self, at: u64) -> Place {
        let mut places = lock(&self.places);
        let found = places.iter().rposition(|(known, _)| *known == at);
        let entry = match found {
            Some(found) => places.remove(found),
            None => (at, Place::default()),
        };
        if places.len() >= self.max {
            places.remove(0);
        }
        let place = Arc::clone(&entry.1);
        places.push(entry);
        place
    }
}

/// A thread that panicked left the block unmade, not half made.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_used_last_are_kept_and_failures_are_not() {
        let cache = Cache::new(2);
        let made = std::cell::Cell::new(0);
        let get = |at| {
            let block = cache.get(at, || {
                made.set(made.get() + 1);
                Ok(Block {
                    bytes: Arc::new([]),
                    next: at + 1,
                })
            });
            assert_eq!(block.unwrap().next, at + 1);
            made.get()
        };
        assert_eq!([1, 2, 1, 3, 1, 2].map(get), [1, 2, 2, 3, 3, 4]);
        assert!(cache.get(9, || Err(Error::NotSquashfs)).is_err());
        assert_eq!(get(9), 5);
    }
}
