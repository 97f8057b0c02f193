//! A Debian root to a tgz: scanned, planned as an archive and compressed in one pass, against `tar | pigz` at the same
//! level. Then the other types, for what they cost.
//!
//! `cargo bench -p image-formats --bench archives` works in `DIB_BENCH_DIR` (`/dev/shm/dib-bench`). Times are medians of
//! interleaved rounds; ratios are to pigz at level 6.
//!
//! A run that misses a bar ends with failure: at each level at least as fast as pigz, and where it is as small as pigz at
//! level 6, too.
#![allow(clippy::print_stdout, reason = "a table is what it is for")]

use std::fs::File;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use image_core::{copy, scan};
use image_formats::compress::{CompressingSink, Method};
use image_formats::tar::{self, WriteOptions};
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
        let map = tar::plan(&tree, &WriteOptions::default()).unwrap();
        let mut sink = CompressingSink::new(File::create(output).unwrap(), method, threads).unwrap();
        copy(&map, &store, &mut sink).unwrap();
    })
}

/// What everybody else does: tar into pigz.
fn theirs(tree: &Path, output: &Path, level: u8) -> Taken {
    timed(output, || {
        let mut tar = Command::new(oracle::find("tar").unwrap())
            .args(["--format=posix", "--xattrs", "-cf", "-", "-C"])
            .arg(tree)
            .arg(".")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pigz = Command::new(oracle::find("pigz").unwrap())
            .args(["-n", &format!("-{level}")])
            .stdin(tar.stdout.take().unwrap())
            .stdout(File::create(output).unwrap())
            .status()
            .unwrap();
        assert!(pigz.success() && tar.wait().unwrap().success());
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

fn main() -> ExitCode {
    let mut bars = Bars::default();
    let dir = std::env::var_os("DIB_BENCH_DIR").map_or_else(|| "/dev/shm/dib-bench".into(), PathBuf::from);
    std::fs::create_dir_all(&dir).unwrap();
    if !oracle::require(&["tar", "pigz"]) {
        return bars.verdict();
    }
    let Some(tree) = trees::rootfs(&dir) else {
        return bars.verdict();
    };
    let work = tempfile::tempdir_in(&dir).unwrap();
    let output = work.path().join("output");
    let levels = [1, 6, 9];
    let mut methods: Vec<Method> = levels.map(Method::Gzip).to_vec();
    #[cfg(feature = "zstd")]
    methods.extend([3, 9].map(Method::Zstd));
    let mut peers: Vec<Vec<Taken>> = levels.iter().map(|_| Vec::new()).collect();
    let mut taken: Vec<Vec<Taken>> = methods.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (level, taken) in levels.iter().zip(&mut peers) {
            taken.push(theirs(&tree, &output, *level));
        }
        for (method, taken) in methods.iter().zip(&mut taken) {
            taken.push(ours(&tree, &output, *method));
        }
    }
    let peers: Vec<Taken> = peers.iter().map(|taken| median(taken)).collect();
    let base = &peers[1];
    let kib = |taken: &Taken| f64::from(u32::try_from(taken.bytes / 1024).unwrap());
    println!(
        "{:<20} {:>8} {:>12} {:>8} {:>8}  bars",
        "", "wall s", "bytes", "wall", "size"
    );
    let row = |name: &str, taken: &Taken, cell: &str| {
        let Taken { wall, bytes } = taken;
        let (faster, size) = (base.wall / wall, kib(taken) / kib(base));
        println!("{name:<20} {wall:>8.2} {bytes:>12} {faster:>7.2}x {size:>7.3}x  {cell}");
    };
    for (level, peer) in levels.iter().zip(&peers) {
        row(&format!("tar | pigz -{level}"), peer, "");
    }
    let mut as_small: f64 = 0.0;
    for (i, (method, taken)) in methods.iter().zip(&taken).enumerate() {
        let taken = median(taken);
        let mut cell = String::new();
        if let (Method::Gzip(level), Some(peer)) = (method, peers.get(i)) {
            let told = format!("time of pigz to ours at level {level}");
            cell = bars.at_least(&told, peer.wall / taken.wall, 1.0);
            if kib(&taken) <= kib(base) {
                as_small = as_small.max(base.wall / taken.wall);
            }
        }
        row(&format!("{method:?}"), &taken, &cell);
    }
    let cell = bars.at_least("time of pigz -6 to ours where it is not larger", as_small, 1.0);
    println!("as small as pigz -6, and {as_small:.2}x as fast: {cell}");
    bars.verdict()
}
