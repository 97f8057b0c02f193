//! How long the program takes to answer: to the first hook with all built-in elements at hand, and to a mistake on its
//! command line.
//!
//! `cargo bench --bench start` prints medians, and ends with failure where one misses its bar. The hook is one of a root
//! that is made of nothing: what is measured is this program, from its start until bash runs the hook.
#![allow(clippy::unwrap_used, reason = "a benchmark's failure is its panic")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oracle::contender::Bars;

const ROUNDS: usize = 21;

/// What a build takes until its first hook runs, and what a mistake takes until it is told, in seconds.
const FIRST_HOOK: f64 = 0.3;
const MISTAKE: f64 = 0.1;

/// Built-in elements such as a real image is made of, so that all their hooks are put together.
const ELEMENTS: [&str; 18] = [
    "base",
    "cloud-init-nocloud",
    "devuser",
    "dhcp-all-interfaces",
    "dpkg",
    "element-manifest",
    "enable-serial-console",
    "growroot",
    "journal-to-console",
    "local-config",
    "manifests",
    "modprobe-blacklist",
    "openssh-server",
    "package-installs",
    "stable-interface-names",
    "sysctl",
    "sysprep",
    "vm",
];

/// Tells when it runs, by bash's own clock, and ends the build.
const HOOK: &str = "#!/bin/bash\necho \"$EPOCHREALTIME\" >\"$STAMP\"\nexit 1\n";

fn main() -> ExitCode {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hook = dir.join("elements/os/root.d/00-first");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, HOOK).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.join("elements/os/element-provides"), "operating-system\n").unwrap();

    let mut bars = Bars::default();
    let mut tell = |what: &str, bar: f64, run: &dyn Fn() -> Duration| {
        let seconds = median(run).as_secs_f64();
        println!("{what:<48} {seconds:.4} s  {}", bars.at_most(what, seconds, bar));
    };
    let all = [&["os"], &ELEMENTS[..]].concat();
    tell("start to the first hook", FIRST_HOOK, &|| first_hook(dir, &all));
    tell("an option that does not exist", MISTAKE, &|| {
        mistake(dir, &["--no-such-option", "os"])
    });
    tell("an element that does not exist", MISTAKE, &|| {
        mistake(dir, &["no-such-element", "os"])
    });
    bars.verdict()
}

fn median(run: &dyn Fn() -> Duration) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS).map(|_| run()).collect();
    times.sort();
    times[ROUNDS / 2]
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_disk-image-create"));
    command
        .args(args)
        .current_dir(dir)
        .env("ELEMENTS_PATH", dir.join("elements"))
        .env("DISTRO_NAME", "debian")
        .env("DIB_INIT_SYSTEM", "systemd")
        .env("STAMP", dir.join("stamp"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn first_hook(dir: &Path, elements: &[&str]) -> Duration {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let args = [&["-n", "-o", "x"], elements].concat();
    assert!(!command(dir, &args).status().unwrap().success());
    let stamp = dir.join("stamp");
    let seconds = fs::read_to_string(&stamp).expect("the first hook ran");
    fs::remove_file(stamp).unwrap();
    Duration::from_secs_f64(seconds.trim().parse().unwrap()).saturating_sub(started)
}

fn mistake(dir: &Path, args: &[&str]) -> Duration {
    let started = Instant::now();
    assert!(!command(dir, args).status().unwrap().success());
    started.elapsed()
}
