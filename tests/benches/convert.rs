//! `dib convert` against `qemu-img convert`, from every type to every other.
//!
//! `cargo bench --bench convert` works in `DIB_BENCH_DIR` (`/dev/shm/dib-bench`), which should be a tmpfs with 6 GiB to
//! spare, and keeps its tree there for the next run. The disk is a Debian root as ext4. Each row is the median of
//! interleaved rounds, and its ratio is qemu-img's time to ours; a run in which one is below 1 ends with failure.
//! Words choose the types to come from: `cargo bench --bench convert -- raw qcow2`.
#![allow(clippy::unwrap_used, reason = "a benchmark's failure is its panic")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::ffi::OsStr;
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
}

const KINDS: [Kind; 7] = [
    Kind {
        name: "raw",
        ours: &["-t", "raw"],
        theirs: &["-O", "raw"],
    },
    Kind {
        name: "qcow2 -u",
        ours: &["-t", "qcow2", "-u"],
        theirs: &["-O", "qcow2"],
    },
    Kind {
        name: "qcow2",
        ours: &["-t", "qcow2"],
        theirs: &["-c", "-O", "qcow2"],
    },
    Kind {
        name: "vhd",
        ours: &["-t", "vhd"],
        theirs: &["-O", "vpc", "-o", "force_size=on"],
    },
    Kind {
        name: "vdi",
        ours: &["-t", "vdi"],
        theirs: &["-O", "vdi"],
    },
    Kind {
        name: "vmdk",
        ours: &["-t", "vmdk"],
        theirs: &["-O", "vmdk"],
    },
    Kind {
        name: "vmdk stream",
        ours: &["-t", "vmdk", "--qemu-img-options", "subformat=streamOptimized"],
        theirs: &["-O", "vmdk", "-o", "subformat=streamOptimized"],
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
        "{:<12} {:<12} {:>9} {:>9} {:>7} {:>7}  bar",
        "from", "to", "ours s", "theirs s", "wall", "cpu"
    );
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    for from in KINDS
        .iter()
        .filter(|kind| chosen.is_empty() || chosen.iter().any(|word| word == kind.name))
    {
        let source = work.path().join("source");
        theirs(&from.with_format(), &raw, &source);
        for to in &KINDS {
            let (mut own, mut other) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                own.push(ours(to, &source, work.path()));
                other.push(theirs(to.theirs, &source, &work.path().join("theirs")));
            }
            let (own, other) = (median(&own), median(&other));
            let wall = other.0 / own.0;
            let what = format!("qemu-img's time to ours from {} to {}", from.name, to.name);
            println!(
                "{:<12} {:<12} {:>9.2} {:>9.2} {wall:>6.2}x {:>6.2}x  {}",
                from.name,
                to.name,
                own.0,
                other.0,
                other.1 / own.1,
                bars.at_least(&what, wall, 1.0),
            );
        }
    }
    bars.verdict()
}

impl Kind {
    fn with_format(&self) -> Vec<&'static str> {
        [&["-f", "raw"], self.theirs].concat()
    }
}

fn ours(to: &Kind, source: &Path, work: &Path) -> Cost {
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
    std::fs::remove_file(name.with_extension(to.ours[1])).unwrap();
    cost
}

fn theirs(words: &[&str], source: &Path, image: &Path) -> Cost {
    let mut args: Vec<&OsStr> = ["convert", "-W", "-m", "16"].map(OsStr::new).into();
    args.extend(words.iter().map(OsStr::new));
    args.extend([source.as_os_str(), image.as_os_str()]);
    measure(&oracle::find("qemu-img").unwrap(), &args)
}

/// Wall and processor seconds.
fn median(costs: &[Cost]) -> (f64, f64) {
    let of = |value: fn(&Cost) -> Duration| {
        let mut values: Vec<f64> = costs.iter().map(|cost| value(cost).as_secs_f64()).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (of(|cost| cost.wall), of(|cost| cost.cpu))
}
