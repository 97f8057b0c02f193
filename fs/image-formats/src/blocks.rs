//! Guests cut into blocks of one size, of which a container holds those that hold something.
//!
//! Blocks lie in guest order, at equal distances: so where one lies follows from its rank among them.

use std::num::NonZero;
use std::sync::Arc;

use image_core::Map;
use image_core::map::{Builder, Extent, Source, Table, TableId};

/// Where blocks lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// Bytes of the guest in a block.
    pub(crate) block: NonZero<u64>,
    /// Where the data of the first block lie in the image.
    pub(crate) data_at: u64,
    /// Bytes from block to block.
    pub(crate) stride: u64,
}

impl Places {
    /// Where the block of a rank lies.
    pub(crate) fn at(&self, rank: u64) -> u64 {
        self.data_at.saturating_add(self.stride.saturating_mul(rank))
    }
}

/// Lays the guest's extents where their blocks lie.
pub(crate) fn place(image: &mut Builder, guest: &Map, data: &Runs, places: &Places) {
    let block = places.block;
    let mut known: Vec<(TableId, TableId)> = Vec::new();
    image.reserve(guest.extents().len());
    for extent in guest.extents() {
        let (mut at, end) = (extent.start, extent.end());
        while at < end {
            // Blocks without anything between them need no cut.
            let border = (at / block).saturating_add(1).saturating_mul(block.get());
            let next = if places.stride == block.get() {
                end
            } else {
                border.min(end)
            };
            let source = match extent.source.advance(at.saturating_sub(extent.start)) {
                Source::Rendered { table, offset } => Source::Rendered {
                    table: adopted(image, guest, table, &mut known),
                    offset,
                },
                source => source,
            };
            let rank = data.value(at / block);
            let rank = rank.expect("an extent's blocks are allocated");
            image.extent(Extent {
                start: places.at(rank).saturating_add(at % block),
                len: next.saturating_sub(at),
                source,
                what: extent.what,
            });
            at = next;
        }
    }
}

/// The image's name of a table of the guest.
fn adopted(image: &mut Builder, guest: &Map, table: TableId, known: &mut Vec<(TableId, TableId)>) -> TableId {
    let at = known.binary_search_by_key(&table, |(guest, _)| *guest);
    let at = at.unwrap_or_else(|at| {
        known.insert(at, (table, image.table(Arc::clone(guest.table(table)))));
        at
    });
    known[at].1
}

/// Lays a table of words, each a function of its index, at a byte.
pub(crate) fn words<const N: usize>(
    image: &mut Builder,
    at: u64,
    count: u64,
    what: &'static str,
    word: impl Fn(u64) -> [u8; N] + Send + Sync + 'static,
) {
    let table = Words { count, word };
    let len = table.len();
    let table = image.table(Arc::new(table));
    image.rendered(at, table, 0..len, what);
}

/// A table of words, each a function of its index.
struct Words<F> {
    count: u64,
    word: F,
}

impl<const N: usize, F: Fn(u64) -> [u8; N] + Send + Sync> Table for Words<F> {
    fn len(&self) -> u64 {
        self.count.saturating_mul(width::<N>())
    }

    fn render(&self, offset: u64, buf: &mut [u8]) {
        let mut index = offset.checked_div(width::<N>()).unwrap_or(0);
        let skip = offset.checked_rem(width::<N>()).unwrap_or(0);
        let skip = usize::try_from(skip).unwrap_or(0);
        let head = N.saturating_sub(skip).min(buf.len());
        let (head, rest) = buf.split_at_mut(if skip == 0 { 0 } else { head });
        if !head.is_empty() {
            let word = (self.word)(index);
            head.copy_from_slice(&word[skip..skip.saturating_add(head.len())]);
            index = index.saturating_add(1);
        }
        for (index, part) in (index..).zip(rest.chunks_mut(N)) {
            let word = (self.word)(index);
            part.copy_from_slice(&word[..part.len()]);
        }
    }
}

fn width<const N: usize>() -> u64 {
    u64::try_from(N).expect("a word has a few bytes")
}

/// Ascending keys, each with a value: its rank among them. Kept as runs of consecutive keys.
#[derive(Debug)]
pub(crate) struct Runs(Vec<Run>);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// The first key.
    pub(crate) key: u64,
    /// Its value.
    pub(crate) value: u64,
    /// How many there are.
    pub(crate) count: u64,
}

impl Runs {
    /// The blocks that an extent touches.
    pub(crate) fn touched(guest: &Map, block: NonZero<u64>) -> Self {
        Self::of(guest.extents().iter().map(|extent| {
            let last = extent.end().saturating_sub(1);
            (extent.start / block, (last / block).saturating_add(1))
        }))
    }

    /// Every block.
    pub(crate) fn all(len: u64, block: NonZero<u64>) -> Self {
        Self::of([(0, len.div_ceil(block.get()))])
    }

    /// The runs, ascending.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Run> {
        self.0.iter()
    }

    /// The union of ranges that ascend and may touch or overlap.
    pub(crate) fn of(ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for (start, end) in ranges {
            let (known, value) = runs.last().map_or((0, 0), |run| {
                (
                    run.key.saturating_add(run.count),
                    run.value.saturating_add(run.count),
                )
            });
            let key = start.max(known);
            let count = end.saturating_sub(key);
            match runs.last_mut() {
                _ if count == 0 => {}
                Some(last) if known == key => last.count = last.count.saturating_add(count),
                _ => runs.push(Run { key, value, count }),
            }
        }
        Self(runs)
    }

    /// How many keys there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.last().map_or(0, |run| run.value.saturating_add(run.count))
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: u64) -> Option<u64> {
        let after = self.0.partition_point(|run| run.key <= key);
        let run = self.0.get(after.checked_sub(1)?)?;
        let skip = key.saturating_sub(run.key);
        (skip < run.count).then(|| run.value.saturating_add(skip))
    }

    /// The key of a value below [`Runs::count`].
    pub(crate) fn key(&self, value: u64) -> u64 {
        let after = self.0.partition_point(|run| run.value <= value);
        let run = after.checked_sub(1).and_then(|at| self.0.get(at));
        let run = run.expect("a value below the count has a run");
        run.key.saturating_add(value.saturating_sub(run.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_rank_their_keys() {
        let runs = Runs::of([(3, 5), (4, 6), (6, 7), (9, 10), (9, 12)]);
        let keys = [3, 4, 5, 6, 9, 10, 11];
        assert_eq!(runs.0.len(), 2);
        assert_eq!(runs.count(), 7);
        for (value, key) in (0..).zip(keys) {
            assert_eq!(runs.value(key), Some(value));
            assert_eq!(runs.key(value), key);
        }
        for key in [0, 2, 7, 8, 12] {
            assert_eq!(runs.value(key), None);
        }
        assert_eq!(Runs::of([]).count(), 0);
    }

    #[test]
    fn words_render_the_same_in_any_pieces() {
        let table = Words {
            count: 5,
            word: |i| 0x0102_0304_0506_0708_u64.wrapping_mul(i + 1).to_be_bytes(),
        };
        let mut whole = vec![0; 40];
        table.render(0, &mut whole);
        assert_eq!(whole[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        for start in 0..40 {
            for end in start..=40 {
                let mut part = vec![0; end - start];
                table.render(start as u64, &mut part);
                assert_eq!(part, whole[start..end]);
            }
        }
    }
}
