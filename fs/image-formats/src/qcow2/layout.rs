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
use image_core::map::Builder;

use super::geometry::{Error, Geometry, Refcounts};
use super::header::{Entry, Header};
use super::options::{Options, Preallocation};
use crate::blocks::{Places, Runs, place, words};

/// Whether there can be an image of a guest of so many bytes.
pub fn check_len(len: u64, options: &Options) -> Result<(), Error> {
    Geometry::new(len, options.cluster_size).map(drop)
}

/// Plans an uncompressed image of a guest.
pub fn plan(guest: &Map, options: &Options) -> Result<Map, Error> {
    let geometry = Geometry::new(guest.len(), options.cluster_size)?;
    let size = geometry.cluster_size;
    let data = match options.preallocation {
        Preallocation::Off => Runs::touched(guest, size.bytes()),
        Preallocation::Metadata => Runs::all(guest.len(), size.bytes()),
    };
    let per_table = size.entries();
    let tables = Runs::of(data.iter().map(|run| {
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
        size.offset(1),
        geometry.l1_entries,
        "L1 table",
        move |entry| {
            let table = l1.value(entry);
            table
                .map_or(0, |table| {
                    Entry::plain(size.offset(tables_at.saturating_add(table))).0
                })
                .to_be_bytes()
        },
    );
    let places = Places {
        block: size.bytes(),
        data_at: size.offset(data_at),
        stride: size.bytes().get(),
    };
    place(&mut image, guest, &data, &places);
    let l2_entries = tables.count().saturating_mul(per_table.get());
    words(
        &mut image,
        size.offset(tables_at),
        l2_entries,
        "L2 table",
        move |word| {
            let first = tables.key(word / per_table).saturating_mul(per_table.get());
            let cluster = data.value(first.saturating_add(word % per_table));
            cluster
                .map_or(0, |cluster| {
                    Entry::plain(size.offset(data_at.saturating_add(cluster))).0
                })
                .to_be_bytes()
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
        size.offset(refcounts.blocks_at),
        block_words,
        "refcount block",
        move |word| {
            const ONES: u64 = 0x0001_0001_0001_0001;
            let counts = used.saturating_sub(word.saturating_mul(4)).min(4);
            let bits = u32::try_from(counts).unwrap_or(4).saturating_mul(16);
            (ONES & !u64::MAX.unbounded_shr(bits)).to_be_bytes()
        },
    );
    words(
        image,
        size.offset(refcounts.table_at),
        blocks,
        "refcount table",
        move |block| size.offset(blocks_at.saturating_add(block)).to_be_bytes(),
    );
}
