//! A Debian root to a compressed qcow2: scanned, planned as ext4 and compressed in one pass, against `mke2fs -d`
//! followed by `qemu-img convert -c -W -m 16`.
//!
//! `cargo bench -p image-formats` works in `DIB_BENCH_DIR` (`/dev/shm/dib-bench`), which should be a tmpfs with 6 GiB to
//! spare, and keeps its tree there for the next run. Times are medians of interleaved rounds; ratios are to the peers'.
//! Words on the command line choose among our options, such as `compression_level=5`.
//!
//! A run that misses a bar ends with failure: at the default level 2.2 times faster and at most 3 % larger; and with a
//! window of 32 KiB some level that is 2.5 times faster and not larger.
#![allow(clippy::print_stdout, reason = "a table is what it is for")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use ext4_rs_writer::{Profile, Size, plan};
use image_core::tree::Time;
use image_core::{Identity, copy, scan};
use image_formats::qcow2::{CompressedSink, CompressionType, Options};
use oracle::contender::Bars;
use oracle::trees;

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

fn main() -> ExitCode {
    let mut bars = Bars::default();
    let dir = std::env::var_os("DIB_BENCH_DIR").map_or_else(|| "/dev/shm/dib-bench".into(), PathBuf::from);
    std::fs::create_dir_all(&dir).unwrap();
    if !oracle::require(&["mke2fs", "qemu-img"]) {
        return bars.verdict();
    }
    let Some(tree) = trees::rootfs(&dir) else {
        return bars.verdict();
    };
    let work = tempfile::tempdir_in(&dir).unwrap();
    let (raw, image) = (work.path().join("raw"), work.path().join("qcow2"));

    let mut chosen: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if chosen.is_empty() {
        chosen.extend((1..=9).map(|level| format!("compression_level={level}")));
        chosen.extend((2..=6).map(|level| format!("compression_window=15,compression_level={level}")));
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
        "{:<40} {:>8} {:>8} {:>12} {:>8} {:>8} {:>8}  bars",
        "", "wall s", "cpu s", "bytes", "wall", "cpu", "size"
    );
    let peer = median(&peers);
    row("mke2fs -d, qemu-img convert -c -W -m 16", &peer, &peer, "");
    let mut smaller = 0.0_f64;
    for (options, taken) in chosen.iter().zip(&taken) {
        let taken = median(taken);
        let (faster, size) = (peer.wall / taken.wall, taken.size_to(&peer));
        let mut cell = String::new();
        if *options == format!("compression_level={}", CompressionType::Zlib.default_level()) {
            let time = bars.at_least("time of the peers to ours at the default level", faster, 2.2);
            let size = bars.at_most("our size to theirs at the default level", size, 1.03);
            cell = format!("{time}, {size}");
        } else if options.starts_with("compression_window=") && size <= 1.0 {
            smaller = smaller.max(faster);
        }
        row(options, &taken, &peer, &cell);
    }
    if chosen.len() > 1 {
        let cell = bars.at_least("time of the peers to ours where it is not larger", smaller, 2.5);
        println!("not larger with a window of 32 KiB, and {smaller:.2}x as fast: {cell}");
    }
    bars.verdict()
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

impl Taken {
    /// Our bytes for each of theirs.
    fn size_to(&self, peer: &Taken) -> f64 {
        let kib = |taken: &Taken| f64::from(u32::try_from(taken.bytes / 1024).unwrap());
        kib(self) / kib(peer)
    }
}

fn row(name: &str, taken: &Taken, peer: &Taken, bars: &str) {
    let Taken { cpu, wall, bytes } = taken;
    println!(
        "{name:<40} {wall:>8.2} {cpu:>8.2} {bytes:>12} {:>7.2}x {:>7.2}x {:>7.3}x  {bars}",
        peer.wall / wall,
        peer.cpu / cpu,
        taken.size_to(peer),
    );
}
