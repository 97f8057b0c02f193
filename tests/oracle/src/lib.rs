//! Foreign judges: the only opinions that count on what our writers wrote.
//!
//! Every judge is one function that runs a tool which is not ours and panics with the tool's own words. A judge that
//! is missing skips the test with its reason, except where `DIB_TEST_REQUIRE_ALL=1` (CI): there a skip is a failure.
#![allow(clippy::missing_panics_doc, reason = "a judge's verdict is its panic")]

pub mod archive;
pub mod blackbox;
pub mod boot;
pub mod containers;
pub mod contender;
pub mod elf;
pub mod emulator;
pub mod ext4;
pub mod golden;
pub mod http;
pub mod looped;
pub mod lvm;
pub mod mounted;
pub mod place;
pub mod populated;
pub mod qcow2;
pub mod rung;
pub mod snapshot;
pub mod terminal;
pub mod trace;
pub mod trees;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Whether the tools can be found; if not, says so, or fails where skips are forbidden.
pub fn require(tools: &[&str]) -> bool {
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| find(tool).is_none())
        .copied()
        .collect();
    missing.is_empty() || skip(&format!("no {}", missing.join(", ")))
}

/// Whether the test runs as root; if not, says so, or fails where skips are forbidden.
pub fn require_root() -> bool {
    rustix::process::geteuid().is_root() || skip("not root")
}

/// Notes that a test is skipped, and why. Always `false`, for `if !require(..) { return; }`.
pub fn skip(why: &str) -> bool {
    assert!(
        std::env::var_os("DIB_TEST_REQUIRE_ALL").is_none_or(|all| all != "1"),
        "DIB_TEST_REQUIRE_ALL=1 forbids to skip: {why}"
    );
    // Not by eprintln!, which the test runner keeps to itself as long as a test passes.
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
    false
}

/// Where a tool lies: on PATH, or where administrators' tools lie.
pub fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(sbin)
        .map(|dir| dir.join(tool))
        .find(|file| file.is_file())
}

/// Runs a judge and returns what it printed, or panics with it unless it ended with status 0.
pub fn run(tool: &str, args: &[&std::ffi::OsStr]) -> String {
    let output = output(tool, args);
    let text = both(&output);
    assert!(
        output.status.success(),
        "{tool} {args:?}: {}\n{text}",
        output.status
    );
    text
}

/// Runs a judge, whatever it says.
pub fn output(tool: &str, args: &[&std::ffi::OsStr]) -> Output {
    let path = find(tool).unwrap_or_else(|| panic!("no {tool}: call require first"));
    Command::new(path)
        .args(args)
        .envs([("LC_ALL", "C"), ("TZ", "UTC")])
        .output()
        .unwrap_or_else(|error| panic!("{tool}: {error}"))
}

fn both(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat()
}

/// Processor seconds, user's and system's, that this process and the judges it has run have taken so far.
///
/// On a busy machine these tell two programs apart where the clock on the wall doesn't.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a process can read its own stat");
    // The name before the fields may hold blanks, but ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')').expect("the name stands in parentheses");
    let ticks = fields.split_ascii_whitespace().skip(11).take(4);
    let ticks = ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
    ticks / 100.0
}

/// Writes a directory into an ext4 image of `len` bytes, as `mke2fs -d` does.
pub fn mke2fs(tree: &std::path::Path, image: &std::path::Path, len: u64) {
    let file = std::fs::File::create(image).expect("the image can be created");
    file.set_len(len).expect("the image can be sparse");
    let args = ["-q", "-F", "-t", "ext4", "-i", "4096", "-d"].map(std::ffi::OsStr::new);
    let files = [tree.as_os_str(), image.as_os_str()];
    run("mke2fs", &args.into_iter().chain(files).collect::<Vec<_>>());
}
