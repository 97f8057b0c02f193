//! Whatever ends the builder, nothing is left but what the next start sweeps: no mount, no process, no partial output.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use oracle::blackbox;

use crate::lab::{DISK_IMAGE_CREATE, Lab};

/// Points of a build: every phase, and moments after the last one, while the image is written.
const POINTS: usize = 20;

#[test]
fn kill_9_leaves_no_mount_no_process_and_no_partial_output() {
    let Some(lab) = Lab::new() else { return };
    let phases = [
        "root.d",
        "extra-data.d",
        "pre-install.d",
        "install.d",
        "post-install.d",
        "post-root.d",
        "block-device.d",
        "pre-finalise.d",
        "finalise.d",
        "cleanup.d",
    ];
    lab.hook(
        "root.d/00-wait",
        "[ $STOP != root.d ] || { touch here; sleep 3600; }",
    );
    for phase in &phases[1..] {
        let target = if matches!(
            *phase,
            "pre-install.d" | "install.d" | "post-install.d" | "finalise.d"
        ) {
            "mount -t tmpfs x /mnt; sleep 3600 & sleep 3600"
        } else {
            "mkdir -p $TARGET_ROOT/mnt; mount -t tmpfs x $TARGET_ROOT/mnt; touch here; sleep 3600"
        };
        lab.hook(
            &format!("{phase}/00-wait"),
            &format!("[ $STOP != {phase} ] || {{ {target}; }}"),
        );
    }
    fs::write(lab.out("x.raw"), "the old image").unwrap();
    for point in 0..POINTS {
        let stop = phases.get(point).copied().unwrap_or("never");
        let mut environment = lab.environment();
        environment.push(("STOP", stop));
        environment.push(("OVERWRITE_OLD_IMAGE", "1"));
        if point % 2 == 0 {
            environment.push(("DIB_NO_TMPFS", "1"));
        }
        let args = [
            "-n",
            "-o",
            "x",
            "-t",
            "raw,qcow2",
            "--checksum",
            "mini-os",
            "probe",
        ];
        let started = Instant::now();
        let mut child = blackbox::start(Path::new(DISK_IMAGE_CREATE), &args, &environment, &lab.out(""));
        let patience = match stop {
            "never" => Duration::from_millis(150 * u64::try_from(point - phases.len()).unwrap()),
            _ => Duration::from_mins(1),
        };
        while started.elapsed() < patience && !waits(&lab) {
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let _ = fs::remove_file(lab.out("here"));
        settled(&lab, stop);
        check_outputs(&lab, stop);
    }
    // The next start sweeps.
    lab.file("no-final-image/README.md", "");
    let mut lab = lab;
    lab.set("STOP", "never");
    lab.rehearse().ok();
}

/// Whether the hook of the phase waits: a host hook has said so, one in the chroot sleeps.
fn waits(lab: &Lab) -> bool {
    lab.out("here").exists()
        || processes(lab.dir())
            .iter()
            .any(|command| command.starts_with("sleep\x003600"))
}

/// The kernel ends the build's processes in its own time, which is short.
fn settled(lab: &Lab, stop: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let (processes, mounts) = (processes(lab.dir()), mounts(lab.dir()));
        if processes.is_empty() && mounts.is_empty() {
            return;
        }
        assert!(
            Instant::now() < until,
            "killed in {stop}: left {processes:?} and {mounts:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The command lines of processes that work or live in a directory.
fn processes(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let lives =
            |what: &str| fs::read_link(entry.path().join(what)).is_ok_and(|path| path.starts_with(dir));
        if lives("cwd") || lives("root") {
            found.push(fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default());
        }
    }
    found
}

fn mounts(dir: &Path) -> Vec<String> {
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let below = info.lines().filter(|line| line.contains(dir.to_str().unwrap()));
    below.map(str::to_owned).collect()
}

/// An output is the old one or a whole new one; its neighbours are whole too.
fn check_outputs(lab: &Lab, stop: &str) {
    for name in lab.names() {
        let whole = match name.as_str() {
            "x.raw" => {
                let bytes = fs::read(lab.out(&name)).unwrap();
                bytes == b"the old image" || {
                    oracle::ext4::fsck(&lab.out(&name));
                    true
                }
            }
            "x.qcow2" => {
                if oracle::find("qemu-img").is_some() {
                    oracle::qcow2::check(&lab.out(&name));
                }
                true
            }
            "x.raw.md5" | "x.raw.sha256" | "x.qcow2.md5" | "x.qcow2.sha256" => true,
            _ => false,
        };
        assert!(whole, "killed in {stop}: {name} is left");
    }
}

#[test]
fn a_request_to_end_cleans_up_and_says_so() {
    let Some(lab) = Lab::new() else { return };
    lab.hook("install.d/00-wait", "sleep 3600");
    let args = ["-n", "mini-os", "probe"];
    let environment = [&lab.environment()[..], &[("DIB_NO_TMPFS", "1")]].concat();
    let mut child = blackbox::start(Path::new(DISK_IMAGE_CREATE), &args, &environment, &lab.out(""));
    let until = Instant::now() + Duration::from_mins(1);
    while !waits(&lab) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(lab.left_behind(), [""; 0]);
    assert_eq!(lab.names(), [""; 0]);
}
