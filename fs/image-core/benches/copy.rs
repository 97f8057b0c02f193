//! How long it takes to build a map, to scan a tree, and to copy it, beside `cp -a`-like floors.
//!
//! A map of 10^6 extents has to be built in well under a second, or the run ends with failure.
//!
//! `cargo bench -p image-core` works on `DIB_BENCH_TREE`, and writes into `TMPDIR`, which should be a tmpfs.
#![allow(clippy::unwrap_used, reason = "a benchmark's failure is its panic")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use image_core::copy::{Options, copy_with};
use image_core::sink::FileSink;
use image_core::tree::Content;
use image_core::{DirStore, Map, Tree, scan};
use oracle::contender::Bars;

const ROUNDS: usize = 5;
const BLOCK: u64 = 4096;
/// Well under a second.
const MAP_SECONDS: f64 = 0.5;

fn main() -> ExitCode {
    let mut bars = Bars::default();
    let extents = best(|| {
        let map = extents(1_000_000);
        assert_eq!(map.extents().len(), 1_000_000);
    });
    let bar = bars.at_most(
        "seconds for a map of 10^6 extents",
        extents.as_secs_f64(),
        MAP_SECONDS,
    );
    println!("map of 10^6 extents: {extents:.3?} {bar}");
    let Some(root) = std::env::var_os("DIB_BENCH_TREE").map(PathBuf::from) else {
        println!("DIB_BENCH_TREE names no directory: nothing to scan and copy");
        return bars.verdict();
    };
    for threads in [1, 2, 4] {
        let time = best(|| drop(scanned(&root, threads)));
        println!("scan, {threads} threads: {time:.3?}");
    }
    let (tree, store) = scanned(&root, 2);
    let map = layout(&tree);
    println!("{} nodes, {} MiB", tree.nodes().len(), map.data_len() >> 20);
    for threads in [1, 2, 3, 4] {
        let time = best_of(|| copied(&map, &store, threads));
        println!("copy, {threads} threads: {time:.3?}");
    }
    bars.verdict()
}

/// The shortest of several rounds: what disturbs only ever adds.
fn best(mut work: impl FnMut()) -> Duration {
    best_of(|| {
        let start = Instant::now();
        work();
        start.elapsed()
    })
}

fn best_of(round: impl FnMut() -> Duration) -> Duration {
    std::iter::repeat_with(round).take(ROUNDS).min().unwrap()
}

/// A map of `count` extents, given from the last to the first.
fn extents(count: u64) -> Map {
    let mut builder = Map::builder(count * BLOCK * 2);
    for i in (0..count).rev() {
        let file = image_core::FileId(u32::try_from(i).unwrap());
        builder.file(i * BLOCK * 2, file, 0, BLOCK, "data");
    }
    builder.build().unwrap()
}

fn scanned(root: &Path, threads: usize) -> (Tree, DirStore) {
    let options = image_core::scan::Options {
        threads: NonZero::new(threads),
        ..Default::default()
    };
    scan(root, &options).unwrap()
}

/// All files of a tree one after the other, each from a block's border on.
fn layout(tree: &Tree) -> Map {
    let mut at = 0;
    let mut parts = Vec::new();
    for node in tree.nodes() {
        if let Content::File(data) = &node.content {
            for range in data.ranges() {
                parts.push((at, data.file, range.clone()));
                at += (range.end - range.start).next_multiple_of(BLOCK);
            }
        }
    }
    let mut builder = Map::builder(at);
    for (at, file, range) in parts {
        builder.file(at, file, range.start, range.end - range.start, "file");
    }
    builder.build().unwrap()
}

/// How long the copy takes; to free its bytes again is not part of it.
fn copied(map: &Map, store: &DirStore, threads: usize) -> Duration {
    let start = Instant::now();
    let mut sink = FileSink::new(tempfile::tempfile().unwrap());
    let options = Options {
        threads: NonZero::new(threads),
        packed: false,
    };
    copy_with(map, store, &mut sink, options).unwrap();
    start.elapsed()
}
