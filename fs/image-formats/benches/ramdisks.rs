//! A Debian root to a ramdisk: scanned, planned as a newc archive and compressed in one pass, against
//! `find | cpio -o -H newc | pigz` and `| gzip -6`; its size against `| gzip -9`.
//!
//! `cargo bench -p image-formats --bench ramdisks` works in `DIB_BENCH_DIR` (`/dev/shm/dib-bench`). Times are medians of
//! interleaved rounds; gzip -9 runs once, for its size.
//!
//! A run that misses a bar ends with failure: at the default at least as fast as with pigz, twice as fast as with
//! gzip -6, and at most 3 % larger than gzip -9 makes it.
#![allow(clippy::print_stdout, reason = "a table is what it is for")]

use std::fs::File;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use image_core::{copy, scan};
use image_formats::compress::{CompressingSink, Method};
use image_formats::cpio;
use oracle::contender::Bars;
use oracle::trees;

const ROUNDS: usize = 3;

struct Taken {
    wall: f64,
    bytes: u64,
}

fn timed(output: &Path, run: impl FnOnce()) -> Taken {
    let start = Instant::now();
    run();
    Taken {
        wall: start.elapsed().as_secs_f64(),
        bytes: output.metadata().unwrap().len(),
    }
}

fn ours(tree: &Path, output: &Path, method: Method) -> Taken {
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    timed(output, || {
        let (tree, store) = scan(tree, &image_core::scan::Options::default()).unwrap();
        let map = cpio::plan(&tree, &cpio::Options::default()).unwrap();
        let mut sink = CompressingSink::new(File::create(output).unwrap(), method, threads).unwrap();
        copy(&map, &store, &mut sink).unwrap();
    })
}

/// What everybody else does.
fn theirs(tree: &Path, output: &Path, compress: &str) -> Taken {
    timed(output, || {
        let made = Command::new(oracle::find("sh").unwrap())
            .arg("-c")
            .arg(format!("find . | cpio -o -H newc --quiet | {compress}"))
            .current_dir(tree)
            .stdout(Stdio::from(File::create(output).unwrap()))
            .status()
            .unwrap();
        assert!(made.success(), "{compress}");
    })
}

fn median(taken: &[Taken]) -> Taken {
    let mut walls: Vec<f64> = taken.iter().map(|taken| taken.wall).collect();
    walls.sort_by(f64::total_cmp);
    Taken {
        wall: walls[walls.len() / 2],
        bytes: taken[0].bytes,
    }
}

fn row(name: &str, taken: &Taken, cell: &str) {
    println!("{name:<28} {:>8.2} {:>12}  {cell}", taken.wall, taken.bytes);
}

fn main() -> ExitCode {
    let mut bars = Bars::default();
    let dir = std::env::var_os("DIB_BENCH_DIR").map_or_else(|| "/dev/shm/dib-bench".into(), PathBuf::from);
    std::fs::create_dir_all(&dir).unwrap();
    if !oracle::require(&["sh", "cpio", "gzip", "pigz"]) {
        return bars.verdict();
    }
    let Some(tree) = trees::rootfs(&dir) else {
        return bars.verdict();
    };
    let work = tempfile::tempdir_in(&dir).unwrap();
    let output = work.path().join("output");
    let mut taken: [Vec<Taken>; 3] = Default::default();
    for _ in 0..ROUNDS {
        taken[0].push(theirs(&tree, &output, "pigz -n"));
        taken[1].push(theirs(&tree, &output, "gzip -n -6"));
        taken[2].push(ours(&tree, &output, Method::Gzip(6)));
    }
    let [pigz, gzip, own] = taken.map(|taken| median(&taken));
    let best = theirs(&tree, &output, "gzip -n -9");
    println!("{:<28} {:>8} {:>12}", "", "wall s", "bytes");
    row("find | cpio | pigz", &pigz, "");
    row("find | cpio | gzip -6", &gzip, "");
    row("find | cpio | gzip -9", &best, "");
    let kib = |taken: &Taken| f64::from(u32::try_from(taken.bytes / 1024).unwrap());
    let cells = [
        bars.at_least("time with pigz to ours", pigz.wall / own.wall, 1.0),
        bars.at_least("time with gzip -6 to ours", gzip.wall / own.wall, 2.0),
        bars.at_least(
            "size by gzip -9, 3 % more, to ours",
            kib(&best) * 1.03 / kib(&own),
            1.0,
        ),
    ];
    row("ours, gzip:6", &own, &cells.join(", "));
    for method in [Method::Lz4(1), Method::Zstd(3), Method::Zstd(9), Method::Xz(1)] {
        row(&format!("ours, {method:?}"), &ours(&tree, &output, method), "");
    }
    bars.verdict()
}
