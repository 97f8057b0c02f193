//! A Debian root to a compressed qcow2: scanned, planned as ext4 and compressed in one pass, against `mke2fs -d`
//! followed by `qemu-img convert -c -W -m 16`.
//!
//! `cargo bench -p image-formats` works in `DIB_BENCH_DIR` (`/dev/shm/dib-bench`), which should be a tmpfs with 6 GiB to
//! spare, and keeps its tree there for the next run. Times are medians of interleaved rounds; ratios are to the peers'.
//! Words on the command line choose among our options, such as `compression_level=5`.
#![allow(clippy::print_stdout, reason = "a table is what it is for")]

#[path = "../../ext4-rs-writer/benches/ext4/trees.rs"]
#[allow(dead_code, reason = "its other trees are for other benchmarks")]
mod trees;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ext4_rs_writer::{Profile, Size, plan};
use image_core::tree::Time;
use image_core::{Identity, copy, scan};
use image_formats::qcow2::{CompressedSink, Options};

const ROUNDS: usize = 3;

/// Of the image on both sides: the tree and what a user would leave free.
const LEN: u64 = 2 << 30;

struct Taken {
    cpu: f64,
    wall: f64,
    bytes: u64,
}

fn timed(output: &Path, run: impl FnOnce()) -> Taken {
    let (cpu, wall) = (oracle::cpu_seconds(), Instant::now());
    run();
    Taken {
        cpu: oracle::cpu_seconds() - cpu,
        wall: wall.elapsed().as_secs_f64(),
        bytes: output.metadata().unwrap().len(),
    }
}

fn ours(tree: &Path, output: &Path, options: &str) -> Taken {
    let options = Options::parse(options).unwrap();
    let epoch = Time {
        secs: 1_700_000_000,
        nanos: 0,
    };
    let ext4 = ext4_rs_writer::Options {
        size: Size::Fixed(LEN),
        ..ext4_rs_writer::Options::new(Profile::Default, Identity::new(b"benchmark", epoch, false))
    };
    timed(output, || {
        let (tree, store) = scan(tree, &image_core::scan::Options::default()).unwrap();
        let map = plan(&tree, &ext4).unwrap();
        let mut sink = CompressedSink::new(File::create(output).unwrap(), map.len(), &options).unwrap();
        copy(&map, &store, &mut sink).unwrap();
    })
}

/// What everybody else does: a file system first, then a compressed copy of it.
fn theirs(tree: &Path, raw: &Path, output: &Path) -> Taken {
    timed(output, || {
        oracle::mke2fs(tree, raw, LEN);
        oracle::qcow2::convert_compressed(raw, output);
    })
}

fn main() {
    let dir = std::env::var_os("DIB_BENCH_DIR").map_or_else(|| "/dev/shm/dib-bench".into(), PathBuf::from);
    std::fs::create_dir_all(&dir).unwrap();
    if !oracle::require(&["mke2fs", "qemu-img"]) {
        return;
    }
    let Some(tree) = trees::rootfs(&dir) else { return };
    let work = tempfile::tempdir_in(&dir).unwrap();
    let (raw, image) = (work.path().join("raw"), work.path().join("qcow2"));

    let mut chosen: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if chosen.is_empty() {
        chosen.extend((1..=9).map(|level| format!("compression_level={level}")));
        chosen.extend([1, 3, 9].map(|level| format!("compression_type=zstd,compression_level={level}")));
    }
    let mut peers = Vec::new();
    let mut taken: Vec<Vec<Taken>> = chosen.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        peers.push(theirs(&tree, &raw, &image));
        for (options, taken) in chosen.iter().zip(&mut taken) {
            taken.push(ours(&tree, &image, options));
        }
    }

    println!(
        "{:<40} {:>8} {:>8} {:>12} {:>8} {:>8} {:>8}",
        "", "wall s", "cpu s", "bytes", "wall", "cpu", "size"
    );
    let bar = median(&peers);
    row("mke2fs -d, qemu-img convert -c -W -m 16", &bar, &bar);
    for (options, taken) in chosen.iter().zip(&taken) {
        row(options, &median(taken), &bar);
    }
}

fn median(taken: &[Taken]) -> Taken {
    let of = |value: fn(&Taken) -> f64| {
        let mut values: Vec<f64> = taken.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Taken {
        cpu: of(|taken| taken.cpu),
        wall: of(|taken| taken.wall),
        bytes: taken[0].bytes,
    }
}

fn row(name: &str, taken: &Taken, bar: &Taken) {
    let Taken { cpu, wall, bytes } = taken;
    let size =
        f64::from(u32::try_from(bytes / 1024).unwrap()) / f64::from(u32::try_from(bar.bytes / 1024).unwrap());
    println!(
        "{name:<40} {wall:>8.2} {cpu:>8.2} {bytes:>12} {:>7.2}x {:>7.2}x {size:>7.3}x",
        bar.wall / wall,
        bar.cpu / cpu,
    );
}
