//! A tree on disk to an ext4 image on disk, beside everything else that does so.
//!
//! `cargo bench -p ext4-rs-writer --bench ext4` prints one table for each tree; times are medians of interleaved rounds,
//! ratios are to ours. It works in `DIB_BENCH_DIR` (`/dev/shm/dib-bench`), which should be a tmpfs with 8 GiB to spare,
//! and keeps its trees there for the next run. Words on the command line choose among `rootfs`, `many`, `flat`, `scale`,
//! `reflink`.
//!
//! The bars are this project's promises; a run that misses one ends with failure. No test does, since what else a machine
//! does is in every time: the ratios want a quiet one.
#![allow(clippy::unwrap_used, reason = "a benchmark's failure is its panic")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

#[path = "ext4/mkext4_contender.rs"]
mod mkext4_contender;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ext4_rs_writer::{Options, Profile, Size, plan};
use image_core::sink::FileSink;
use image_core::tree::Time;
use image_core::{Identity, Tree, copy, scan};
use oracle::contender::{Bars, Cost, Xfs, measure};
use oracle::trees;

const ROUNDS: usize = 9;

/// Contenders, each with how many times longer than ours it has to take.
type Contenders<'a> = &'a [(&'a str, Option<f64>)];

/// For trees of files: `cp -a` is to be beaten to 0.65 of its time.
const FILES: Contenders<'_> = &[
    ("ours", None),
    ("mkext4", Some(1.2)),
    ("mke2fs", Some(3.2)),
    ("cp", Some(1.0 / 0.65)),
];
/// mke2fs takes over 40 minutes here: it looks every name up in a list.
const NAMES: Contenders<'_> = &[("ours", None), ("mkext4", Some(1.0)), ("cp", None)];
/// Where blocks can be shared.
const SHARED: Contenders<'_> = &[("ours", None), ("mkext4", Some(2.0)), ("mke2fs", None)];
/// Peak memory for the many small files, in MB.
const MANY_MB: f64 = 40.0;
/// Memory for each inode beyond its name, in bytes, at 10^6 of them.
const INODE_BYTES: f64 = 400.0;
/// How much more processor time of its own an entry may take among 10^6 than among 10^5.
const GROWTH: f64 = 1.5;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [contender, tree, image, len] = &args[..] {
        let (tree, image, len) = (Path::new(tree), Path::new(image), len.parse().unwrap());
        match &contender[..] {
            "ours" => ours(tree, image, len),
            _ => mkext4_contender::write(tree, image, len),
        }
        return ExitCode::SUCCESS;
    }
    let mut bars = Bars::default();
    if !oracle::require(&["time", "mke2fs", "cp"]) {
        return bars.verdict();
    }
    let dir = std::env::var_os("DIB_BENCH_DIR").map_or_else(|| "/dev/shm/dib-bench".into(), PathBuf::from);
    fs::create_dir_all(&dir).unwrap();
    let chosen = |name: &str| args.is_empty() || args.iter().any(|arg| arg == name);
    if chosen("rootfs")
        && let Some(tree) = trees::rootfs(&dir)
    {
        compare("rootfs", &tree, &dir, FILES, &mut bars);
    }
    if chosen("many")
        && let Some(tree) = trees::many(&dir)
    {
        let rss = compare("many", &tree, &dir, FILES, &mut bars);
        let megabytes = f64::from(u32::try_from(rss).unwrap()) * 1024.0 / 1e6;
        println!(
            "peak memory {megabytes:.1} MB {}",
            bars.at_most("peak memory", megabytes, MANY_MB)
        );
    }
    if chosen("flat")
        && let Some(tree) = trees::flat(&dir, 200_000)
    {
        compare("flat", &tree, &dir, NAMES, &mut bars);
    }
    if chosen("scale") {
        scale(&dir, &mut bars);
    }
    if chosen("reflink") && oracle::require(&["mkfs.xfs", "mount", "umount"]) && oracle::require_root() {
        reflink(&dir, &mut bars);
    }
    bars.verdict()
}

fn identity() -> Identity {
    let epoch = Time {
        secs: 1_700_000_000,
        nanos: 0,
    };
    Identity::new(b"benchmark", epoch, false)
}

fn options(size: Size) -> Options {
    Options {
        size,
        ..Options::new(Profile::Default, identity())
    }
}

fn scanned(tree: &Path) -> (Tree, image_core::DirStore) {
    scan(tree, &image_core::scan::Options::default()).unwrap()
}

/// Our own contender.
fn ours(tree: &Path, image: &Path, len: u64) {
    let (tree, store) = scanned(tree);
    let map = plan(&tree, &options(Size::Fixed(len))).unwrap();
    drop(tree);
    copy(&map, &store, &mut FileSink::new(File::create(image).unwrap())).unwrap();
}

/// The same tree on XFS, where blocks can be shared.
fn reflink(dir: &Path, bars: &mut Bars) {
    let Some(tree) = trees::rootfs(dir) else { return };
    let xfs = Xfs::mount(dir, 8 << 30);
    let copy = xfs.path().join("tree");
    oracle::run("cp", &["-a".as_ref(), tree.as_ref(), copy.as_ref()]);
    compare("reflink", &copy, xfs.path(), SHARED, bars);
}

/// What an entry of a directory costs, however many there are. The kernel's share grows with its caches and with memory
/// that is touched for the first time; the program's own should not.
fn scale(dir: &Path, bars: &mut Bars) {
    println!("\nscale: one directory");
    println!(
        "{:>8} {:>8} {:>12} {:>12} {:>16} {:>20}",
        "entries", "wall s", "cpu us each", "user us each", "RSS bytes each", "beyond names, each"
    );
    let mut first = None;
    for files in [100_000, 200_000, 500_000, 1_000_000] {
        let Some(tree) = trees::flat(dir, files) else {
            return;
        };
        let out = dir.join("out");
        let costs: Vec<Cost> = (0..3)
            .map(|_| {
                let cost = once("ours", &tree, &out, 16 << 30);
                fs::remove_file(&out).unwrap();
                cost
            })
            .collect();
        let wall = median(&costs, |cost| cost.wall).as_secs_f64();
        let rss = costs.iter().map(|cost| cost.rss * 1024).max().unwrap();
        let names: u64 = (0..files).map(|i| trees::flat_name(i).len() as u64).sum();
        let each = u64::from(files);
        let user = median(&costs, |cost| cost.user / files).as_secs_f64() * 1e6;
        let beyond = rss.saturating_sub(names) / each;
        println!(
            "{files:>8} {wall:>8.3} {:>12.2} {user:>12.2} {:>16} {beyond:>20}",
            median(&costs, |cost| cost.cpu / files).as_secs_f64() * 1e6,
            rss / each,
        );
        let first = *first.get_or_insert(user);
        if files == 1_000_000 {
            let beyond = f64::from(u32::try_from(beyond).unwrap());
            let memory = bars.at_most("bytes an inode beyond its name", beyond, INODE_BYTES);
            let growth = bars.at_most("processor time an entry, 10^6 to 10^5", user / first, GROWTH);
            println!(
                "bytes an inode {memory}, time an entry {:.2} {growth}",
                user / first
            );
        }
    }
}

/// Runs the contenders in turns and prints their table. Returns our peak memory, in KiB.
fn compare(name: &str, tree: &Path, dir: &Path, contenders: Contenders<'_>, bars: &mut Bars) -> u64 {
    let len = {
        let (tree, _) = scanned(tree);
        // Not right above a multiple of 2 GiB, where mkext4 cannot build.
        plan(&tree, &options(Size::Headroom))
            .unwrap()
            .len()
            .next_multiple_of(512 << 20)
    };
    let out = dir.join("out");
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((contender, _), costs) in contenders.iter().zip(&mut costs) {
            costs.push(once(contender, tree, &out, len));
            let removed = if out.is_dir() {
                fs::remove_dir_all(&out)
            } else {
                fs::remove_file(&out)
            };
            removed.unwrap();
        }
    }
    println!("\n{name}: {} MiB image", len >> 20);
    println!(
        "{:<8} {:>8} {:>8} {:>8} {:>9}  bar",
        "", "wall s", "cpu s", "ratio", "RSS MiB"
    );
    let first = median(&costs[0], |cost| cost.wall);
    let rss = |costs: &[Cost]| costs.iter().map(|cost| cost.rss).max().unwrap();
    for ((contender, bar), costs) in contenders.iter().zip(&costs) {
        let (wall, cpu) = (median(costs, |cost| cost.wall), median(costs, |cost| cost.cpu));
        let ratio = wall.as_secs_f64() / first.as_secs_f64();
        let bar = bar.map(|bar| bars.at_least(&format!("{contender} on {name}, to ours"), ratio, bar));
        println!(
            "{contender:<8} {:>8.3} {:>8.3} {ratio:>8.2} {:>9}  {}",
            wall.as_secs_f64(),
            cpu.as_secs_f64(),
            rss(costs) / 1024,
            bar.unwrap_or_default()
        );
    }
    rss(&costs[0])
}

fn median(costs: &[Cost], of: impl Fn(&Cost) -> Duration) -> Duration {
    let mut times: Vec<Duration> = costs.iter().map(of).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Runs one contender once, as a process of its own.
fn once(contender: &str, tree: &Path, out: &Path, len: u64) -> Cost {
    let (tree, out, bytes) = (tree.as_os_str(), out.as_os_str(), len.to_string());
    match contender {
        "cp" => measure(&oracle::find("cp").unwrap(), &[OsStr::new("-a"), tree, out]),
        "mke2fs" => {
            let blocks = (len / 4096).to_string();
            let args = [
                "-q", "-F", "-t", "ext4", "-b", "4096", "-i", "4096", "-J", "size=64", "-d",
            ]
            .map(OsStr::new);
            let args = [&args[..], &[tree, out, blocks.as_ref()]].concat();
            measure(&oracle::find("mke2fs").unwrap(), &args)
        }
        _ => {
            let program = std::env::current_exe().unwrap();
            measure(&program, &[contender.as_ref(), tree, out, bytes.as_ref()])
        }
    }
}
