//! `dib convert` against `qemu-img convert`, from every type to every other.
//!
//! `cargo bench --bench convert` works in `DIB_BENCH_DIR` (`/dev/shm/dib-bench`), which should be a tmpfs with 6 GiB to
//! spare, and keeps its tree there for the next run. The disk is a Debian root as ext4. Each row is the median of
//! interleaved rounds, each output removed before the next run, and its ratios are qemu-img's time to ours, and our size
//! to qemu-img's. A run that misses a bar ends with failure: from a raw disk that of its row, from others as fast as
//! qemu-img; and a raw copy as fast as `cp --sparse=always`.
//! Words choose the types to come from, and behind `to` those to go to: `cargo bench --bench convert -- qcow2 to raw vhd`.
#![allow(clippy::unwrap_used, reason = "a benchmark's failure is its panic")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]
#![allow(
    clippy::cast_precision_loss,
    reason = "ratios of sizes are shown with three digits"
)]

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use oracle::contender::{Bars, Cost, measure};
use oracle::trees;

const ROUNDS: usize = 3;

/// Bytes of the disk: the tree and what a user would leave free.
const LEN: u64 = 1600 << 20;

/// A type in our word and qemu-img's, with our options, and with its own.
struct Kind {
    name: &'static str,
    ours: &'static [&'static str],
    theirs: &'static [&'static str],
    /// How many times qemu-img's time is to be ours, from a raw disk.
    faster: f64,
    /// How many times qemu-img's size ours may be, where it is compressed.
    size: Option<f64>,
}

const KINDS: [Kind; 9] = [
    Kind {
        name: "raw",
        ours: &["-t", "raw"],
        theirs: &["-O", "raw"],
        faster: 1.0,
        size: None,
    },
    Kind {
        name: "qcow2 -u",
        ours: &["-t", "qcow2", "-u"],
        theirs: &["-O", "qcow2"],
        faster: 1.0,
        size: None,
    },
    Kind {
        name: "qcow2",
        ours: &["-t", "qcow2"],
        theirs: &["-c", "-O", "qcow2"],
        faster: 2.2,
        size: Some(1.03),
    },
    Kind {
        name: "qcow2 15",
        ours: &[
            "-t",
            "qcow2",
            "--qemu-img-options",
            "compression_window=15,compression_level=4",
        ],
        theirs: &["-c", "-O", "qcow2"],
        faster: 2.5,
        size: Some(1.0),
    },
    Kind {
        name: "qcow2 zstd",
        ours: &["-t", "qcow2", "--qemu-img-options", "compression_type=zstd"],
        theirs: &["-c", "-O", "qcow2", "-o", "compression_type=zstd"],
        faster: 1.6,
        size: None,
    },
    Kind {
        name: "vhd",
        ours: &["-t", "vhd"],
        theirs: &["-O", "vpc", "-o", "force_size=on"],
        faster: 1.0,
        size: None,
    },
    Kind {
        name: "vdi",
        ours: &["-t", "vdi"],
        theirs: &["-O", "vdi"],
        faster: 1.0,
        size: None,
    },
    Kind {
        name: "vmdk",
        ours: &["-t", "vmdk"],
        theirs: &["-O", "vmdk"],
        faster: 1.0,
        size: None,
    },
    Kind {
        name: "vmdk stream",
        ours: &["-t", "vmdk", "--qemu-img-options", "subformat=streamOptimized"],
        theirs: &["-O", "vmdk", "-o", "subformat=streamOptimized"],
        faster: 1.0,
        size: None,
    },
];

fn main() -> ExitCode {
    let mut bars = Bars::default();
    let dir = std::env::var_os("DIB_BENCH_DIR").map_or_else(|| "/dev/shm/dib-bench".into(), PathBuf::from);
    std::fs::create_dir_all(&dir).unwrap();
    if !oracle::require(&["mke2fs", "qemu-img", "time"]) {
        return bars.verdict();
    }
    let Some(tree) = trees::rootfs(&dir) else {
        return bars.verdict();
    };
    let work = tempfile::tempdir_in(&dir).unwrap();
    let raw = work.path().join("disk");
    oracle::mke2fs(&tree, &raw, LEN);
    println!(
        "{:<12} {:<12} {:>9} {:>9} {:>7} {:>7} {:>7}  bars",
        "from", "to", "ours s", "theirs s", "wall", "cpu", "size"
    );
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let mut sides = words.split(|word| word == "to");
    let [sources, targets] = [(); 2].map(|()| chosen(sides.next().unwrap_or_default()));
    for from in &sources {
        let source = work.path().join("source");
        theirs(&from.with_format(), &raw, &source);
        for to in &targets {
            let rounds: Vec<[Taken; 2]> = std::iter::repeat_with(|| {
                let image = work.path().join("theirs");
                let own = ours(to, &source, work.path());
                let other = theirs(to.theirs, &source, &image);
                std::fs::remove_file(&image).unwrap();
                [own, other]
            })
            .take(ROUNDS)
            .collect();
            row(&mut bars, from, to, &rounds);
        }
    }
    copies(&mut bars, &raw, work.path());
    bars.verdict()
}

/// The types that words name; without words, all.
fn chosen(words: &[String]) -> Vec<&'static Kind> {
    let named = |kind: &&Kind| words.is_empty() || words.iter().any(|word| word == kind.name);
    KINDS.iter().filter(named).collect()
}

/// What a conversion took, and the bytes on disk that it made.
struct Taken {
    cost: Cost,
    size: u64,
}

fn row(bars: &mut Bars, from: &Kind, to: &Kind, rounds: &[[Taken; 2]]) {
    let [own, other] = [0, 1].map(|side| median(rounds, side));
    let what = format!("from {} to {}", from.name, to.name);
    let least = if from.name == "raw" { to.faster } else { 1.0 };
    let wall = other.0 / own.0;
    let mut cell = bars.at_least(&format!("qemu-img's time to ours {what}"), wall, least);
    let [own_size, other_size] = [0, 1].map(|side| rounds[0][side].size as f64);
    if let Some(most) = to.size {
        let size = bars.at_most(
            &format!("our size to qemu-img's {what}"),
            own_size / other_size,
            most,
        );
        cell = format!("{cell}, {size}");
    }
    println!(
        "{:<12} {:<12} {:>9.2} {:>9.2} {wall:>6.2}x {:>6.2}x {:>6.3}x  {cell}",
        from.name,
        to.name,
        own.0,
        other.0,
        other.1 / own.1,
        own_size / other_size,
    );
}

/// A raw disk to a raw disk, beside cp.
fn copies(bars: &mut Bars, raw: &Path, work: &Path) {
    let image = work.join("theirs");
    let args = ["--sparse=always".as_ref(), raw.as_os_str(), image.as_os_str()];
    let rounds: Vec<[Taken; 2]> = std::iter::repeat_with(|| {
        let own = ours(&KINDS[0], raw, work);
        let cost = measure(&oracle::find("cp").unwrap(), &args);
        let other = taken(cost, &image);
        std::fs::remove_file(&image).unwrap();
        [own, other]
    })
    .take(ROUNDS)
    .collect();
    let [own, other] = [0, 1].map(|side| median(&rounds, side));
    let wall = other.0 / own.0;
    let cell = bars.at_least("cp's time to ours", wall, 1.0);
    println!(
        "{:<25} {:>9.2} {:>9.2} {wall:>6.2}x {:>6.2}x  {cell}",
        "raw, cp --sparse=always",
        own.0,
        other.0,
        other.1 / own.1
    );
}

fn taken(cost: Cost, image: &Path) -> Taken {
    let size = image.metadata().unwrap().blocks() * 512;
    Taken { cost, size }
}

impl Kind {
    fn with_format(&self) -> Vec<&'static str> {
        [&["-f", "raw"], self.theirs].concat()
    }
}

fn ours(to: &Kind, source: &Path, work: &Path) -> Taken {
    let name = work.join("ours");
    let mut args: Vec<&OsStr> = [
        "convert".as_ref(),
        source.as_os_str(),
        "-o".as_ref(),
        name.as_os_str(),
    ]
    .into();
    args.extend(to.ours.iter().map(OsStr::new));
    let cost = measure(Path::new(env!("CARGO_BIN_EXE_dib")), &args);
    let image = name.with_extension(to.ours[1]);
    let taken = taken(cost, &image);
    std::fs::remove_file(&image).unwrap();
    taken
}

fn theirs(words: &[&str], source: &Path, image: &Path) -> Taken {
    let mut args: Vec<&OsStr> = ["convert", "-W", "-m", "16"].map(OsStr::new).into();
    args.extend(words.iter().map(OsStr::new));
    args.extend([source.as_os_str(), image.as_os_str()]);
    taken(measure(&oracle::find("qemu-img").unwrap(), &args), image)
}

/// Wall and processor seconds of one side.
fn median(rounds: &[[Taken; 2]], side: usize) -> (f64, f64) {
    let of = |value: fn(&Cost) -> Duration| {
        let mut values: Vec<f64> = rounds
            .iter()
            .map(|round| value(&round[side].cost).as_secs_f64())
            .collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (of(|cost| cost.wall), of(|cost| cost.cpu))
}
