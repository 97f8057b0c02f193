//! Contenders of benchmarks: each runs as a process of its own, so that its peak memory is its own.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::{find, run};

/// What one run of a contender cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Wall time.
    pub wall: Duration,
    /// Processor time in the program itself.
    pub user: Duration,
    /// Processor time there and in the kernel.
    pub cpu: Duration,
    /// Peak resident memory, in KiB.
    pub rss: u64,
}

/// Runs a program to its end, or panics with what it said.
pub fn measure(program: &Path, args: &[&OsStr]) -> Cost {
    let report = tempfile::NamedTempFile::new().expect("a temporary file for the report of `time`");
    let time = find("time").expect("no time: call require first");
    let start = Instant::now();
    let output = Command::new(time)
        .args(["--format", "%U %S %M", "--output"])
        .arg(report.path())
        .arg(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("time: {error}"));
    let wall = start.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", program.display());
    let report = std::fs::read_to_string(report.path()).expect("the report of `time`");
    let numbers: Vec<f64> = report
        .split_whitespace()
        .map(|n| n.parse().expect("a number"))
        .collect();
    let [user, system, rss] = numbers[..] else {
        panic!("`time` reported {report}")
    };
    Cost {
        wall,
        user: Duration::from_secs_f64(user),
        cpu: Duration::from_secs_f64(user + system),
        rss: format!("{rss:.0}").parse().expect("a whole number"),
    }
}

/// The bars of a benchmark: what was measured against what has to be reached.
#[derive(Debug, Default)]
pub struct Bars(Vec<String>);

impl Bars {
    /// Notes a number that has to be `bar` at least. Returns the cell of a table that says so.
    pub fn at_least(&mut self, what: &str, value: f64, bar: f64) -> String {
        self.note(what, value, bar, ">=", value >= bar)
    }

    /// Notes a number that may be `bar` at most. Returns the cell of a table that says so.
    pub fn at_most(&mut self, what: &str, value: f64, bar: f64) -> String {
        self.note(what, value, bar, "<=", value <= bar)
    }

    fn note(&mut self, what: &str, value: f64, bar: f64, relation: &str, reached: bool) -> String {
        if !reached {
            self.0
                .push(format!("{what} is {value:.3}, and has to be {relation} {bar:.3}"));
        }
        let verdict = if reached { "ok" } else { "MISSED" };
        format!("{relation} {bar:.2} {verdict}")
    }

    /// Failure if any bar was missed, and which.
    pub fn verdict(self) -> ExitCode {
        for missed in &self.0 {
            eprintln!("missed: {missed}");
        }
        if self.0.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// An XFS file system that shares blocks, mounted for as long as the value lives.
#[derive(Debug)]
pub struct Xfs {
    image: PathBuf,
    at: PathBuf,
}

impl Xfs {
    /// Makes one of `len` bytes, in the existing directory `dir`.
    pub fn mount(dir: &Path, len: u64) -> Self {
        let (image, at) = (dir.join("xfs.img"), dir.join("xfs"));
        File::create(&image)
            .and_then(|file| file.write_all_at(&[0], len.saturating_sub(1)))
            .expect("an image for XFS");
        std::fs::create_dir_all(&at).expect("a mount point");
        run(
            "mkfs.xfs",
            &[
                OsStr::new("-q"),
                "-m".as_ref(),
                "reflink=1".as_ref(),
                image.as_ref(),
            ],
        );
        run(
            "mount",
            &[OsStr::new("-o"), "loop".as_ref(), image.as_ref(), at.as_ref()],
        );
        Self { image, at }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        run("umount", &[self.at.as_ref()]);
        let _ = std::fs::remove_file(&self.image);
    }
}
