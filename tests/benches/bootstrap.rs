//! A Debian root beside mmdebstrap's, in one run: from the same files on disk, and from the network with nothing kept.
//!
//! `cargo bench -p diskimage-builder --bench bootstrap` prints the table; run as root. Times are medians of interleaved
//! rounds, ratios are to ours. The archive is that of the machine's own apt, the suite `DIB_RELEASE` or `bookworm`. It
//! works in `DIB_BENCH_DIR`, or a temporary directory.
//!
//! For the first row all that both need lies in a directory in the form of an archive, which mmdebstrap reads by `copy:`;
//! ours has it in its cache, too. A run that misses a bar ends with failure; no test does, since what else a machine does
//! is in every time.
#![allow(clippy::unwrap_used, reason = "a benchmark's failure is its panic")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use oracle::archive::{self, Part};
use oracle::contender::Bars;
use oracle::find;

const ROUNDS: usize = 3;

fn main() -> ExitCode {
    let place = std::env::var_os("DIB_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(place).unwrap();
    // mmdebstrap's apt drops its privileges, and must reach what it works on.
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let suite = std::env::var("DIB_RELEASE").unwrap_or_else(|_| "bookworm".to_owned());
    let bench = Bench {
        dir: dir.path().to_owned(),
        archive: archive::of_apt(Part::Suite).unwrap(),
        suite,
    };
    let mut bars = Bars::default();
    // Each row is told as soon as it is known.
    let mut row = |name: &str, (ours, theirs): (Duration, Duration), bar: f64| {
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        let cell = bars.at_least(name, ratio, bar);
        println!(
            "{} {name}: ours {:.2} s, mmdebstrap {:.2} s, ratio {cell}",
            bench.suite,
            ours.as_secs_f64(),
            theirs.as_secs_f64()
        );
    };
    let mirror = bench.mirror();
    let warm = Bench::rounds(&|| bench.ours(&mirror, "warm"), &|| bench.theirs(&mirror));
    row("warm, from disk", warm, 2.0);
    let cold = Bench::rounds(
        &|| {
            let _ = fs::remove_dir_all(bench.dir.join("cold"));
            bench.ours(&bench.archive, "cold")
        },
        &|| bench.theirs(&bench.archive),
    );
    row("cold, from the network", cold, 1.0);
    bars.verdict()
}

struct Bench {
    dir: PathBuf,
    archive: String,
    suite: String,
}

impl Bench {
    /// The medians of both.
    fn rounds(ours: &dyn Fn() -> Duration, theirs: &dyn Fn() -> Duration) -> (Duration, Duration) {
        let mut times = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            times.0.push(ours());
            times.1.push(theirs());
        }
        let median = |mut times: Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        (median(times.0), median(times.1))
    }

    /// All that a root needs, in a directory in the form of an archive.
    fn mirror(&self) -> String {
        let mirror = self.dir.join("mirror");
        let address = format!("copy://{}", mirror.display());
        if mirror.exists() {
            return address;
        }
        let lock = self.dir.join("lock");
        self.bootstrap(&self.archive, "warm", &[&format!("--lock={}", lock.display())]);
        let kept = self.dir.join("warm/packages");
        let by_digest = |digest: &str| kept.join("sha256").join(&digest[..2]).join(digest);
        let put = |path: &str, from: &Path| {
            let to = mirror.join(path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        };
        let lock: serde_json::Value = serde_json::from_slice(&fs::read(lock).unwrap()).unwrap();
        for package in lock["packages"].as_array().unwrap() {
            let text = |field: &str| package[field].as_str().unwrap();
            put(text("filename"), &by_digest(text("sha256")));
        }
        let releases = fs::read_dir(kept.join("releases"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let named = |path: &PathBuf| path.file_name().unwrap().len() == 32;
        let release = releases.into_iter().find(named).unwrap();
        put(&format!("dists/{}/InRelease", self.suite), &release);
        let index = "main/binary-amd64/Packages.xz";
        let text = fs::read_to_string(release).unwrap();
        let line = text.lines().filter(|line| line.ends_with(index));
        let digest = line
            .map(|line| line.split_whitespace().next().unwrap())
            .find(|digest| digest.len() == 64);
        let digest = digest.unwrap();
        for path in [
            index.to_owned(),
            format!("main/binary-amd64/by-hash/SHA256/{digest}"),
        ] {
            put(&format!("dists/{}/{path}", self.suite), &by_digest(digest));
        }
        // From now on the cache knows the directory's addresses, too.
        self.bootstrap(&address, "warm", &[]);
        address
    }

    fn ours(&self, archive: &str, cache: &str) -> Duration {
        self.bootstrap(archive, cache, &[])
    }

    fn bootstrap(&self, archive: &str, cache: &str, more: &[&str]) -> Duration {
        let link = self.dir.join("deb-bootstrap");
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dib"), &link).unwrap();
        }
        let cache = format!("--cache={}", self.dir.join(cache).display());
        let root = self.dir.join("root");
        let mut command = Command::new(link);
        command.args(["--no-check-valid-until", &cache]).args(more);
        Self::timed(command.arg(&self.suite).arg(&root).arg(archive), &root)
    }

    fn theirs(&self, archive: &str) -> Duration {
        let root = self.dir.join("root");
        let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/elements/debootstrap/keyrings");
        let mut command = Command::new(find("mmdebstrap").unwrap());
        command.env("TMPDIR", &self.dir).args([
            "--variant=minbase",
            "--mode=root",
            &format!("--keyring={keys}"),
            "--aptopt=Acquire::Check-Valid-Until \"false\"",
        ]);
        Self::timed(command.arg(&self.suite).arg(&root).arg(archive), &root)
    }

    /// How long a program takes to make a root, which then goes.
    fn timed(command: &mut Command, root: &Path) -> Duration {
        let start = Instant::now();
        let output = command.stdin(Stdio::null()).output().unwrap();
        let time = start.elapsed();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {said}");
        fs::remove_dir_all(root).unwrap();
        time
    }
}
