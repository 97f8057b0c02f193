//! The ladder of privileges: every tier builds, cleans up after itself, and makes the same image.

mod by_sudo;
mod devices;
mod doctor;
mod matrix;
mod network;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::rung::{Rung, Stairs};

/// Waits in a hook of a phase, with a process that has left its parents and its session behind.
const WAIT: &str = "trap '' TERM HUP; ( sleep 3600 & ) ; sleep 3600";

#[test]
fn kill_9_leaves_nothing_in_any_tier() {
    for rung in Rung::ALL {
        let Some(mut stairs) = Stairs::new(rung) else {
            continue;
        };
        for phase in ["root.d", "install.d", "cleanup.d"] {
            let script = format!("[ $STOP != {phase} ] || {{ {WAIT}; }}");
            stairs.lab.hook(&format!("{phase}/00-wait"), &script);
        }
        stairs.lab.file("no-final-image/README.md", "");
        let args = ["no-final-image", "mini-os", "probe"];
        for phase in ["root.d", "install.d", "cleanup.d"] {
            stairs.lab.set("STOP", phase);
            let mut child = stairs.start(&[&["disk-image-create", "-n"], &args[..]].concat());
            until(
                || sleepers(stairs.lab.dir()) == 2,
                || format!("{rung:?} never waits in {phase}"),
            );
            child.kill().unwrap();
            child.wait().unwrap();
            settled(stairs.lab.dir(), || format!("{rung:?}, killed in {phase}"));
        }
        stairs.lab.set("STOP", "never");
        stairs.build(&args).ok();
    }
}

#[test]
fn without_namespaces_the_build_dies_with_its_keeper_too() {
    let Some(mut stairs) = Stairs::new(Rung::T1) else {
        return;
    };
    stairs.lab.hook("install.d/00-wait", WAIT);
    let mut child = stairs.start(&["disk-image-create", "-n", "mini-os", "probe"]);
    until(|| sleepers(stairs.lab.dir()) == 2, || "it never waits".to_owned());
    let keeper = children(child.id());
    assert_eq!(keeper.len(), 1, "a keeper stands between builder and build");
    let pid = rustix::process::Pid::from_raw(keeper[0]).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    settled(stairs.lab.dir(), || "the keeper was killed".to_owned());
    assert_eq!(stairs.lab.left_behind(), [""; 0]);
    stairs.lab.set("STOP", "never");
}

#[test]
fn a_request_to_end_cleans_up_in_any_tier() {
    for rung in Rung::ALL {
        let Some(stairs) = Stairs::new(rung) else { continue };
        stairs.lab.hook("install.d/00-wait", WAIT);
        let mut child = stairs.start(&["disk-image-create", "-n", "mini-os", "probe"]);
        until(
            || sleepers(stairs.lab.dir()) == 2,
            || format!("{rung:?} never waits"),
        );
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(143), "{rung:?}");
        settled(stairs.lab.dir(), || format!("{rung:?} was asked to end"));
        assert_eq!(stairs.lab.left_behind(), [""; 0], "{rung:?}");
    }
}

#[track_caller]
/// A daemon is of no process group of the build's, and often of a user of its own, of whom root in a container sees little.
#[test]
fn daemons_of_hooks_end_with_the_build_in_any_tier() {
    for rung in Rung::ALL {
        let Some(stairs) = Stairs::new(rung) else {
            continue;
        };
        for phase in ["root.d", "install.d", "finalise.d"] {
            let daemon = "set -m; sleep 3600 >/dev/null 2>&1 & disown";
            stairs.lab.hook(&format!("{phase}/00-daemon"), daemon);
        }
        let of_a_user =
            "set -m; setpriv --reuid 33 --regid 33 --clear-groups sleep 3600 >/dev/null 2>&1 & disown";
        stairs.lab.hook("cleanup.d/00-daemon", of_a_user);
        stairs.lab.file("no-final-image/README.md", "");
        let args = ["disk-image-create", "-n", "no-final-image", "mini-os", "probe"];
        let mut child = stairs.start(&args);
        until(
            || child.try_wait().unwrap().is_some(),
            || format!("{rung:?} waits for daemons for ever"),
        );
        assert!(child.wait().unwrap().success(), "{rung:?}");
        settled(stairs.lab.dir(), || format!("{rung:?} leaves a daemon"));
    }
}

fn until(mut done: impl FnMut() -> bool, what: impl Fn() -> String) {
    let end = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < end, "{}", what());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The kernel ends processes in its own time, which is short.
#[track_caller]
fn settled(dir: &Path, what: impl Fn() -> String) {
    until(
        || processes(dir).is_empty() && mounts(dir).is_empty(),
        || format!("{}: left {:?} and {:?}", what(), processes(dir), mounts(dir)),
    );
}

/// The command lines of all processes of builds in a lab: its elements stand in their environment.
fn processes(dir: &Path) -> Vec<String> {
    let mark = format!("ELEMENTS_PATH={}/", dir.display()).into_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.windows(mark.len()).any(|window| window == mark) {
            found.push(fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default());
        }
    }
    found
}

fn sleepers(dir: &Path) -> usize {
    let all = processes(dir);
    all.iter()
        .filter(|command| command.starts_with("sleep\x003600"))
        .count()
}

fn mounts(dir: &Path) -> Vec<String> {
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let below = info.lines().filter(|line| line.contains(dir.to_str().unwrap()));
    below.map(str::to_owned).collect()
}

fn children(of: u32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}
