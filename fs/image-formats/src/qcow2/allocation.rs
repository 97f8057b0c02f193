//! Where a compressed image puts what, discovered cluster by cluster, in guest order.
//!
//! ```text
//! header | L1 | data of the first L2 table's clusters | that L2 table | data | L2 table | … | refcount blocks | refcount table
//! ```
//!
//! Invariants:
//! - a place depends on the clusters before it only, so that the image is written in one pass;
//! - compressed pieces lie back to back, at any byte; where a plain cluster or a table cuts a run of them off, the
//!   rest of their last cluster is a gap, and the smallest gap that holds a later piece takes it;
//! - `refcounts[c]` is 1 for a plain cluster or a table, else the number of pieces that touch host cluster `c`: a piece
//!   with its last sector never reaches a cluster that its bytes don't reach.
//!
//! Memory: the L1 table, one L2 table, and 2 bytes per host cluster.

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U64};

use super::geometry::{Geometry, Refcounts};
use super::header::{Entry, Header};
use super::options::Options;

/// Gaps kept for later pieces. Most stay too small for any piece; a few are enough to hold those that matter.
const GAPS_MAX: usize = 32;

/// The books of a compressed image.
#[derive(Debug)]
pub(super) struct Allocation {
    geometry: Geometry,
    /// The first host byte that is not given out, where the last thing given out is a compressed piece.
    tail: Option<u64>,
    /// Rests of clusters behind compressed pieces: first byte, and bytes.
    gaps: Vec<(u64, u64)>,
    /// One count per host cluster given out.
    refcounts: Vec<U16>,
    l1: Vec<U64>,
    l2: Vec<U64>,
    /// Which L1 entry `l2` belongs to; all its clusters so far were zero while it is `None`.
    open: Option<usize>,
}

/// Metadata that has found its place.
#[derive(Debug)]
pub(super) struct Rendered {
    /// Where in the file.
    pub(super) at: u64,
    /// What stands there.
    pub(super) bytes: Vec<u8>,
}

impl Allocation {
    pub(super) fn new(geometry: Geometry) -> Self {
        let len = |n: u64| usize::try_from(n).expect("the largest L1 table fits memory");
        let front = geometry.l1_clusters().saturating_add(1);
        Self {
            geometry,
            tail: None,
            gaps: Vec::new(),
            refcounts: vec![U16::new(1); len(front)],
            l1: vec![U64::ZERO; len(geometry.l1_entries)],
            l2: vec![U64::ZERO; len(geometry.cluster_size.entries().get())],
            open: None,
        }
    }

    /// Announces the next guest cluster that holds data. Returns the L2 table that ends before it, if one does.
    pub(super) fn enter(&mut self, guest: u64) -> Option<Rendered> {
        let table = guest / self.geometry.cluster_size.entries();
        let table = usize::try_from(table).expect("an L1 index fits usize");
        let closed = if self.open == Some(table) {
            None
        } else {
            self.close()
        };
        self.open = Some(table);
        closed
    }

    /// Ends the open L2 table, if there is one.
    pub(super) fn close(&mut self) -> Option<Rendered> {
        let table = self.open.take()?;
        let at = self.cluster();
        self.l1[table] = U64::new(Entry::plain(at).0);
        let bytes = self.l2.as_bytes().to_vec();
        self.l2.fill(U64::ZERO);
        Some(Rendered { at, bytes })
    }

    /// Finds a place for a cluster as it is. Returns its first byte in the file.
    pub(super) fn plain(&mut self, guest: u64) -> u64 {
        let at = self.cluster();
        self.map(guest, Entry::plain(at));
        at
    }

    /// Finds a place for a cluster's compressed bytes, at least 1 of them. Returns the first in the file.
    pub(super) fn compressed(&mut self, guest: u64, len: u64) -> u64 {
        let size = self.geometry.cluster_size;
        let fits = self.gaps.iter().enumerate().filter(|(_, gap)| gap.1 >= len);
        let at = if let Some((index, _)) = fits.min_by_key(|(_, gap)| gap.1) {
            let gap = &mut self.gaps[index];
            let at = gap.0;
            *gap = (at.saturating_add(len), gap.1.saturating_sub(len));
            at
        } else {
            let at = self.tail.unwrap_or_else(|| self.end());
            let end = at.saturating_add(len);
            let clusters = usize::try_from(size.clusters(end)).expect("host clusters fit memory");
            self.refcounts.resize(clusters, U16::ZERO);
            self.tail = Some(end).filter(|end| !end.is_multiple_of(size.bytes().get()));
            at
        };
        let last = at.saturating_add(len).saturating_sub(1);
        for cluster in at / size.bytes()..=last / size.bytes() {
            let count = usize::try_from(cluster)
                .ok()
                .and_then(|c| self.refcounts.get_mut(c));
            let count = count.expect("the piece lies inside the clusters given out");
            let more = count.get().checked_add(1);
            *count = U16::new(more.expect("a cluster of 2 MiB holds fewer than 65535 pieces of 50 bytes"));
        }
        self.map(guest, Entry::compressed(at, len, size));
        at
    }

    /// Closes the books: what stands at the end of the file, then what stands at its beginning.
    pub(super) fn finish(mut self, options: &Options) -> Vec<Rendered> {
        let size = self.geometry.cluster_size;
        let mut rest: Vec<Rendered> = self.close().into_iter().collect();
        let counts = Refcounts::behind(size.clusters(self.end()), size);
        let clusters = usize::try_from(counts.end()).expect("host clusters fit memory");
        self.refcounts.resize(clusters, U16::new(1));
        let table: Vec<U64> = (counts.blocks_at..counts.table_at)
            .map(|block| U64::new(size.offset(block)))
            .collect();
        let header = Header::new(&self.geometry, &counts, options);
        let parts = [
            (counts.blocks_at, counts.blocks, self.refcounts.as_bytes()),
            (counts.table_at, counts.table, table.as_bytes()),
            (1, self.geometry.l1_clusters(), self.l1.as_bytes()),
            (0, 1, header.render()),
        ];
        rest.extend(parts.map(|(cluster, clusters, bytes)| {
            let len = usize::try_from(size.offset(clusters)).expect("tables fit memory");
            let mut bytes = bytes.to_vec();
            bytes.resize(len, 0);
            Rendered {
                at: size.offset(cluster),
                bytes,
            }
        }));
        rest
    }

    /// The byte after the last host cluster given out.
    fn end(&self) -> u64 {
        let clusters = u64::try_from(self.refcounts.len()).expect("a usize fits a u64");
        self.geometry.cluster_size.offset(clusters)
    }

    /// Gives out the next whole cluster. What a run of pieces left of its last one becomes a gap.
    fn cluster(&mut self) -> u64 {
        let at = self.end();
        if let Some(tail) = self.tail.take() {
            if self.gaps.len() == GAPS_MAX {
                let smallest = (0..GAPS_MAX).min_by_key(|i| self.gaps[*i].1);
                self.gaps.swap_remove(smallest.expect("there are gaps"));
            }
            self.gaps.push((tail, at.saturating_sub(tail)));
        }
        self.refcounts.push(U16::new(1));
        at
    }

    fn map(&mut self, guest: u64, entry: Entry) {
        let index = guest % self.geometry.cluster_size.entries();
        let slot = usize::try_from(index).ok().and_then(|i| self.l2.get_mut(i));
        *slot.expect("an L2 table has an entry for every remainder") = U64::new(entry.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::geometry::ClusterSize;
    use super::*;

    fn allocation() -> Allocation {
        Allocation::new(Geometry::new(1 << 30, ClusterSize::DEFAULT).unwrap())
    }

    const CLUSTER: u64 = 1 << 16;

    #[test]
    fn pieces_lie_back_to_back_and_cross_clusters() {
        let mut books = allocation();
        books.enter(0);
        assert_eq!(books.compressed(0, 40_000), 2 * CLUSTER);
        assert_eq!(books.compressed(1, 40_000), 2 * CLUSTER + 40_000);
        let counts: Vec<u16> = books.refcounts.iter().map(|count| count.get()).collect();
        assert_eq!(counts, [1, 1, 2, 1]);
    }

    #[test]
    fn the_smallest_gap_that_holds_a_piece_takes_it() {
        let mut books = allocation();
        books.enter(0);
        books.compressed(0, 5_536); // leaves 60,000
        assert_eq!(books.plain(1), 3 * CLUSTER);
        assert_eq!(books.compressed(2, 64_000), 4 * CLUSTER); // leaves 1,536
        assert_eq!(books.plain(3), 5 * CLUSTER);
        assert_eq!(books.compressed(4, 1_000), 4 * CLUSTER + 64_000);
        assert_eq!(books.compressed(5, 1_000), 2 * CLUSTER + 5_536);
        assert_eq!(books.compressed(6, 65_000), 6 * CLUSTER);
        let counts: Vec<u16> = books.refcounts.iter().map(|count| count.get()).collect();
        assert_eq!(counts, [1, 1, 2, 1, 2, 1, 1]);
    }

    #[test]
    fn an_l2_table_ends_where_the_next_one_begins() {
        let mut books = allocation();
        assert!(books.enter(8191).is_none());
        books.plain(8191);
        let table = books.enter(8192).unwrap();
        assert_eq!(table.at, 3 * CLUSTER);
        assert_eq!(table.bytes[65528..], Entry::plain(2 * CLUSTER).0.to_be_bytes());
        assert_eq!(books.l1[0].get(), Entry::plain(3 * CLUSTER).0);
        assert!(books.l2.iter().all(|entry| *entry == U64::ZERO));
    }
}
