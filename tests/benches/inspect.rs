//! How long looking into an image takes: a compressed qcow2 image of a Debian root of more than 1 GB.
//!
//! `cargo bench --bench inspect` works in `DIB_BENCH_DIR` (`/dev/shm/dib-bench`), which should be a tmpfs with 4 GiB to spare, and
//! keeps tree and image there for the next run. It prints medians, and ends with failure where one misses its bar.
#![allow(clippy::unwrap_used, reason = "a benchmark's failure is its panic")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use oracle::contender::Bars;
use oracle::trees;

const ROUNDS: usize = 15;
/// Seconds that a look may take, and that choosing kernel and ramdisk may take beyond reading both.
const LOOK: f64 = 0.1;

fn main() -> ExitCode {
    let dir =
        std::env::var_os("DIB_BENCH_DIR").map_or_else(|| PathBuf::from("/dev/shm/dib-bench"), PathBuf::from);
    fs::create_dir_all(&dir).unwrap();
    let Some(tree) = trees::rootfs(&dir) else {
        return ExitCode::SUCCESS;
    };
    let image = dir.join("inspected.qcow2");
    if !image.exists() {
        let name = dir.join("inspected");
        run(
            &dir,
            env!("CARGO_BIN_EXE_dib"),
            &["assemble", path(&tree), "-o", path(&name), "-t", "qcow2"],
        );
    }
    println!("{} MB compressed", image.metadata().unwrap().len() / 1_000_000);
    let dib = env!("CARGO_BIN_EXE_dib");
    let get_kernel = env!("CARGO_BIN_EXE_disk-image-get-kernel");
    let mut bars = Bars::default();
    let mut tell = |what: &str, seconds: f64| {
        println!("{what:<48} {seconds:.4} s  {}", bars.at_most(what, seconds, LOOK));
    };
    let timed = |program: &str, args: &[&str]| median(&|| run(&dir, program, args)).as_secs_f64();
    let image = path(&image);
    tell("dib inspect", timed(dib, &["inspect", image]));
    tell(
        "dib cat '/boot/vmlinuz*'",
        timed(dib, &["cat", image, "/boot/vmlinuz*"]),
    );
    let both = timed(dib, &["cat", image, "/boot/vmlinuz-*", "/boot/initrd.img-*"]);
    let taken = timed(get_kernel, &["-i", image, "-d", path(&dir)]);
    tell("disk-image-get-kernel, beyond reading both", taken - both);
    bars.verdict()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn median(run: &dyn Fn() -> Duration) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS).map(|_| run()).collect();
    times.sort();
    times[ROUNDS / 2]
}

fn run(dir: &Path, program: &str, args: &[&str]) -> Duration {
    let started = Instant::now();
    let status = Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success(), "{program} {args:?}");
    started.elapsed()
}
