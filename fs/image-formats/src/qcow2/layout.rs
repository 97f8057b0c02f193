//! An uncompressed image as a pure function of the guest's map.
//!
//! ```text
//! header | L1 | L2 tables, by guest | data, by guest | refcount blocks | refcount table
//! ```
//!
//! Invariants:
//! - a guest cluster has a host cluster if an extent touches it; what is a hole in the guest is one in the file;
//! - clusters lie in guest order without gaps, so an extent of the guest stays one extent, whatever its length;
//! - every host cluster is used exactly once: all reference counts are 1.
//!
//! Why tables that render themselves: the plan's memory follows the extents of the guest, not its clusters.

use std::sync::Arc;

use image_core::Map;
use image_core::map::{Builder, Extent, Source, Table, TableId};

use super::geometry::{Error, Geometry, Refcounts};
use super::header::{Entry, Header};
use super::options::{Options, Preallocation};

/// Plans an uncompressed image of a guest.
pub fn plan(guest: &Map, options: &Options) -> Result<Map, Error> {
    let geometry = Geometry::new(guest.len(), options.cluster_size)?;
    let size = geometry.cluster_size;
    let data = match options.preallocation {
        Preallocation::Off => touched(guest, &geometry),
        Preallocation::Metadata => Runs::of([(0, size.clusters(guest.len()))]),
    };
    let per_table = size.entries();
    let tables = Runs::of(data.0.iter().map(|run| {
        let last = run.key.saturating_add(run.count).saturating_sub(1);
        (run.key / per_table, (last / per_table).saturating_add(1))
    }));
    let tables_at = geometry.l1_clusters().saturating_add(1);
    let data_at = tables_at.saturating_add(tables.count());
    let refcounts = Refcounts::behind(data_at.saturating_add(data.count()), size);

    let mut image = Map::builder(size.offset(refcounts.end()));
    image.bytes(
        0,
        Header::new(&geometry, &refcounts, options).render(),
        "qcow2 header",
    );
    let tables = Arc::new(tables);
    let l1 = Arc::clone(&tables);
    words(
        &mut image,
        1,
        geometry.l1_entries,
        "L1 table",
        &geometry,
        move |entry| {
            let table = l1.value(entry);
            table.map_or(0, |table| {
                Entry::plain(size.offset(tables_at.saturating_add(table))).0
            })
        },
    );
    place(&mut image, guest, &data, data_at, &geometry);
    let l2_entries = tables.count().saturating_mul(per_table.get());
    words(
        &mut image,
        tables_at,
        l2_entries,
        "L2 table",
        &geometry,
        move |word| {
            let first = tables.key(word / per_table).saturating_mul(per_table.get());
            let cluster = data.value(first.saturating_add(word % per_table));
            cluster.map_or(0, |cluster| {
                Entry::plain(size.offset(data_at.saturating_add(cluster))).0
            })
        },
    );
    count(&mut image, &refcounts, &geometry);
    Ok(image.build()?)
}

/// Lays out the refcount blocks and their table: every cluster of the image is used once.
fn count(image: &mut Builder, refcounts: &Refcounts, geometry: &Geometry) {
    let size = geometry.cluster_size;
    let blocks_at = refcounts.blocks_at;
    let (blocks, used) = (refcounts.blocks, refcounts.end());
    let block_words = used.div_ceil(4);
    words(
        image,
        refcounts.blocks_at,
        block_words,
        "refcount block",
        geometry,
        move |word| {
            const ONES: u64 = 0x0001_0001_0001_0001;
            let counts = used.saturating_sub(word.saturating_mul(4)).min(4);
            let bits = u32::try_from(counts).unwrap_or(4).saturating_mul(16);
            ONES & !u64::MAX.unbounded_shr(bits)
        },
    );
    words(
        image,
        refcounts.table_at,
        blocks,
        "refcount table",
        geometry,
        move |block| size.offset(blocks_at.saturating_add(block)),
    );
}

/// The guest clusters that an extent touches.
fn touched(guest: &Map, geometry: &Geometry) -> Runs {
    let bytes = geometry.cluster_size.bytes();
    Runs::of(guest.extents().iter().map(|extent| {
        let last = extent.end().saturating_sub(1);
        (extent.start / bytes, (last / bytes).saturating_add(1))
    }))
}

/// Lays the guest's extents where their clusters lie.
fn place(image: &mut image_core::map::Builder, guest: &Map, data: &Runs, data_at: u64, geometry: &Geometry) {
    let size = geometry.cluster_size;
    let mut known: Vec<(TableId, TableId)> = Vec::new();
    image.reserve(guest.extents().len());
    for extent in guest.extents() {
        let source = match &extent.source {
            Source::Rendered { table, offset } => {
                let at = known.binary_search_by_key(table, |(guest, _)| *guest);
                let at = at.unwrap_or_else(|at| {
                    known.insert(at, (*table, image.table(Arc::clone(guest.table(*table)))));
                    at
                });
                Source::Rendered {
                    table: known[at].1,
                    offset: *offset,
                }
            }
            source => source.clone(),
        };
        let cluster = data.value(extent.start / size.bytes());
        let cluster = cluster.expect("an extent's clusters are allocated");
        let start = size.offset(data_at.saturating_add(cluster));
        image.extent(Extent {
            start: start.saturating_add(extent.start % size.bytes()),
            len: extent.len,
            source,
            what: extent.what,
        });
    }
}

/// Lays a table of big-endian words at a host cluster.
fn words(
    image: &mut image_core::map::Builder,
    cluster: u64,
    count: u64,
    what: &'static str,
    geometry: &Geometry,
    word: impl Fn(u64) -> u64 + Send + Sync + 'static,
) {
    let table = Words { count, word };
    let len = table.len();
    let table = image.table(Arc::new(table));
    image.rendered(geometry.cluster_size.offset(cluster), table, 0..len, what);
}

/// A table of big-endian words, each a function of its index.
struct Words<F> {
    count: u64,
    word: F,
}

impl<F: Fn(u64) -> u64 + Send + Sync> Table for Words<F> {
    fn len(&self) -> u64 {
        self.count.saturating_mul(8)
    }

    fn render(&self, offset: u64, buf: &mut [u8]) {
        let mut index = offset / 8;
        let skip = usize::try_from(offset % 8).unwrap_or(0);
        let head = 8_usize.saturating_sub(skip).min(buf.len());
        let (head, rest) = buf.split_at_mut(if skip == 0 { 0 } else { head });
        if !head.is_empty() {
            let word = (self.word)(index).to_be_bytes();
            head.copy_from_slice(&word[skip..skip.saturating_add(head.len())]);
            index = index.saturating_add(1);
        }
        for (index, part) in (index..).zip(rest.chunks_mut(8)) {
            let word = (self.word)(index).to_be_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }
}

/// Ascending keys, each with a value: its rank among them. Kept as runs of consecutive keys.
#[derive(Debug)]
struct Runs(Vec<Run>);

#[derive(Clone, Copy, Debug)]
struct Run {
    key: u64,
    value: u64,
    count: u64,
}

impl Runs {
    /// The union of ranges that ascend and may touch or overlap.
    fn of(ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
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
    fn count(&self) -> u64 {
        self.0.last().map_or(0, |run| run.value.saturating_add(run.count))
    }

    /// The value of a key.
    fn value(&self, key: u64) -> Option<u64> {
        let after = self.0.partition_point(|run| run.key <= key);
        let run = self.0.get(after.checked_sub(1)?)?;
        let skip = key.saturating_sub(run.key);
        (skip < run.count).then(|| run.value.saturating_add(skip))
    }

    /// The key of a value below [`Runs::count`].
    fn key(&self, value: u64) -> u64 {
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
            word: |i| 0x0102_0304_0506_0708_u64.wrapping_mul(i + 1),
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
