//! Whatever ends the builder, nothing is left but what the next start sweeps: no mount, no process, no partial output.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oracle::blackbox;
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{DISK_IMAGE_CREATE, Lab};

/// Builds that are ended: in every phase, at moments of one second and a half, the rest at random.
const POINTS: usize = 100;

/// What ends those at moments and at random, by turns.
const SIGNALS: [Signal; 4] = [Signal::KILL, Signal::INT, Signal::KILL, Signal::TERM];

/// The phases, in each of which a build can be made to wait.
const PHASES: [&str; 10] = [
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

const ARGS: [&str; 10] = [
    "-n",
    // A small image, so that a test of many builds is one of minutes.
    "--mkfs-journal-size",
    "4",
    "-o",
    "x",
    "-t",
    "raw,qcow2",
    "--checksum",
    "mini-os",
    "probe",
];

/// A lab whose builds wait in the phase that `STOP` names, with a mount and processes of a hook's own.
fn lab() -> Option<Lab> {
    let mut lab = Lab::new()?;
    for phase in PHASES {
        let script = match phase {
            "root.d" => "touch here; sleep 3600",
            "pre-install.d" | "install.d" | "post-install.d" | "finalise.d" => {
                "mount -t tmpfs x /mnt; sleep 3600 & sleep 3600"
            }
            _ => "mkdir -p $TARGET_ROOT/mnt; mount -t tmpfs x $TARGET_ROOT/mnt; touch here; sleep 3600",
        };
        let script = format!("[ ${{STOP:-}} != {phase} ] || {{ {script}; }}");
        lab.hook(&format!("{phase}/00-wait"), &script);
    }
    lab.set("OVERWRITE_OLD_IMAGE", "1").set("STOP", "never");
    Some(lab)
}

/// Starts a build that waits in a phase, or in none.
fn start(lab: &Lab, stop: &str, variables: &[(&str, &str)]) -> Child {
    let environment = [&lab.environment()[..], &[("STOP", stop)], variables].concat();
    blackbox::start(Path::new(DISK_IMAGE_CREATE), &ARGS, &environment, &lab.out(""))
}

/// Waits until the build waits in its phase.
fn until_it_waits(lab: &Lab) {
    let until = Instant::now() + Duration::from_mins(1);
    while !lab.out("here").exists() && !sleeps(lab) {
        assert!(Instant::now() < until, "the build never came to its phase");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn sleeps(lab: &Lab) -> bool {
    let sleeps = |command: &String| command.starts_with("sleep\x003600");
    processes(lab.dir()).iter().any(sleeps)
}

/// Numbers without any order, from a seed that a failed test tells.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("DIB_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let seed = seed.unwrap_or(u64::try_from(now).unwrap());
        eprintln!("DIB_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let end = u64::try_from(end.as_micros()).unwrap();
        Duration::from_micros(self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) % end.max(1))
    }
}

/// How long a build takes that nobody disturbs.
fn undisturbed(lab: &Lab) -> Duration {
    let started = Instant::now();
    assert!(start(lab, "never", &[]).wait().unwrap().success());
    started.elapsed()
}

#[test]
fn no_signal_leaves_a_mount_a_process_or_a_partial_output() {
    let mut random = Random::new();
    let Some(labs) = [lab(), lab()].into_iter().collect::<Option<Vec<_>>>() else {
        return;
    };
    let mut points: Vec<(&str, Duration)> = PHASES.map(|phase| (phase, Duration::ZERO)).to_vec();
    points.extend((0..10).map(|step| ("never", step * Duration::from_millis(150))));
    // The machine is as busy while two labs build as it will be.
    let whole = std::thread::scope(|scope| {
        let runs = [&labs[0], &labs[1]].map(|lab| scope.spawn(|| undisturbed(lab)));
        runs.map(|run| run.join().unwrap())[0]
    });
    while points.len() < POINTS {
        points.push(("never", random.below(whole + whole / 10)));
    }
    std::thread::scope(|scope| {
        for (number, lab) in labs.iter().enumerate() {
            let mine: Vec<_> = points.iter().skip(number).step_by(labs.len()).collect();
            scope.spawn(move || {
                for name in lab.names() {
                    fs::remove_file(lab.out(&name)).unwrap();
                }
                fs::write(lab.out("x.raw"), "the old image").unwrap();
                for (number, (stop, after)) in mine.into_iter().enumerate() {
                    let no_tmpfs = if number % 2 == 0 { "1" } else { "0" };
                    let started = Instant::now();
                    let mut child = start(lab, stop, &[("DIB_NO_TMPFS", no_tmpfs)]);
                    let signal = if *stop == "never" {
                        std::thread::sleep(after.saturating_sub(started.elapsed()));
                        SIGNALS[number / 2 % SIGNALS.len()]
                    } else {
                        until_it_waits(lab);
                        Signal::KILL
                    };
                    kill_process(Pid::from_child(&child), signal).unwrap();
                    child.wait().unwrap();
                    let _ = fs::remove_file(lab.out("here"));
                    let what = format!("{signal:?} in {stop} after {after:?}");
                    settled(lab, &what);
                    check_outputs(lab, &what);
                }
                // The next start sweeps.
                lab.run(DISK_IMAGE_CREATE, &ARGS).ok();
                assert_eq!(lab.left_behind(), [""; 0]);
                assert_eq!(lab.names(), WHOLE);
            });
        }
    });
}

/// The kernel ends the build's processes in its own time, which is short unless the machine is busy.
fn settled(lab: &Lab, what: &str) {
    settled_in(lab.dir(), what);
}

fn settled_in(dir: &Path, what: &str) {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let (processes, mounts) = (processes(dir), mounts(dir));
        if processes.is_empty() && mounts.is_empty() {
            return;
        }
        assert!(
            Instant::now() < until,
            "{what}: left {processes:?} and {mounts:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The command lines of processes that work or live in a directory, or hold something there open: a lock, say.
fn processes(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let within = |link: &Path| fs::read_link(link).is_ok_and(|path| path.starts_with(dir));
        let open = fs::read_dir(entry.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        let mut links = open.map(|fd| fd.path());
        let this = entry.file_name() == *std::process::id().to_string();
        if !this
            && (within(&entry.path().join("cwd"))
                || within(&entry.path().join("root"))
                || links.any(|link| within(&link)))
        {
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

/// All outputs of a build.
const WHOLE: [&str; 6] = [
    "x.qcow2",
    "x.qcow2.md5",
    "x.qcow2.sha256",
    "x.raw",
    "x.raw.md5",
    "x.raw.sha256",
];

/// An output is the old one or a whole new one, and no digest is of another one.
fn check_outputs(lab: &Lab, what: &str) {
    for name in lab.names() {
        // A whole image that has not come to its name is hidden, and goes with the next save.
        let hidden = name.starts_with(".x.") && name.contains(".dib-new.");
        assert!(hidden || WHOLE.contains(&name.as_str()), "{what}: {name} is left");
    }
    let raw = lab.out("x.raw");
    if fs::metadata(&raw).unwrap().size() > 100 {
        oracle::ext4::fsck(&raw);
    }
    if lab.out("x.qcow2").exists() && oracle::find("qemu-img").is_some() {
        oracle::qcow2::check(&lab.out("x.qcow2"));
    }
    for image in ["x.raw", "x.qcow2"] {
        if let Ok(text) = fs::read_to_string(lab.out(&format!("{image}.sha256"))) {
            let sum = oracle::run("sha256sum", &[lab.out(image).as_os_str()]);
            assert_eq!(text.split(' ').next(), sum.split(' ').next(), "{what}: {image}");
        }
    }
}

#[test]
fn a_request_to_end_cleans_up_and_says_so() {
    let Some(lab) = lab() else { return };
    let mut random = Random::new();
    let whole = undisturbed(&lab);
    let signals = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
    for (number, signal) in signals.into_iter().cycle().take(16).enumerate() {
        let stop = PHASES.get(number).copied().unwrap_or("never");
        let no_tmpfs = if number % 3 == 0 { "0" } else { "1" };
        let mut child = start(&lab, stop, &[("DIB_NO_TMPFS", no_tmpfs)]);
        if stop == "never" {
            // A signal that comes before the program has begun to heed them ends it as any program.
            std::thread::sleep(Duration::from_millis(30) + random.below(whole));
        } else {
            until_it_waits(&lab);
        }
        let pid = Pid::from_child(&child);
        kill_process(pid, signal).unwrap();
        // Whoever is impatient asks again, while the build cleans up.
        let _ = kill_process(pid, signal);
        let ended = child.wait().unwrap();
        let status = 128 + signal.as_raw();
        let early = ended.signal() == Some(signal.as_raw()) && stop == "never";
        assert!(
            early || ended.code() == Some(status) || (stop == "never" && ended.success()),
            "{signal:?} in {stop}: {ended}"
        );
        let _ = fs::remove_file(lab.out("here"));
        let what = format!("{signal:?} in {stop}");
        assert_eq!(lab.left_behind(), [""; 0], "{what}");
        settled(&lab, &what);
        check_outputs(&lab, &what);
    }
}

#[test]
fn a_terminal_that_goes_away_ends_the_build() {
    let Some(lab) = lab() else { return };
    if !oracle::require(&["env", "script"]) {
        return;
    }
    let environment = [&lab.environment()[..], &[("STOP", "install.d")]].concat();
    let command = format!("{DISK_IMAGE_CREATE} {}", ARGS.join(" "));
    // Tests may be run by nohup, whose builds shall go on.
    let args = ["--default-signal=HUP", "script", "-qc", &command, "/dev/null"];
    let env = oracle::find("env").unwrap();
    let mut terminal = blackbox::start(&env, &args, &environment, &lab.out(""));
    until_it_waits(&lab);
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !lab.left_behind().is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(lab.left_behind(), [""; 0]);
    settled(&lab, "the terminal went away");
    assert_eq!(lab.names(), [""; 0]);
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_build() {
    let Some(lab) = lab() else { return };
    lab.build_between("exec > >(head -n 1 > first)", &ARGS[1..], "")
        .ok();
    assert!(
        lab.text("first").contains("diskimage-builder version"),
        "{}",
        lab.text("first")
    );
    assert!(
        lab.names()
            .iter()
            .filter(|name| WHOLE.contains(&name.as_str()))
            .count()
            == WHOLE.len()
    );
}

#[test]
fn a_hook_that_is_killed_fails_the_build() {
    let Some(lab) = lab() else { return };
    for phase in ["root.d", "install.d"] {
        lab.hook(&format!("{phase}/10-dies"), "sleep 3600 & kill -9 $$");
        lab.build(&["-o", "x", "mini-os", "probe"])
            .failed(137, "10-dies was ended by signal 9");
        lab.hook(&format!("{phase}/10-dies"), "");
        settled(&lab, phase);
    }
    assert_eq!(lab.names(), [""; 0]);
}

#[test]
fn the_end_of_the_first_process_is_told_and_leaves_nothing() {
    let Some(lab) = lab() else { return };
    for no_tmpfs in ["0", "1"] {
        let mut child = start(&lab, "install.d", &[("DIB_NO_TMPFS", no_tmpfs)]);
        until_it_waits(&lab);
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let children = fs::read_to_string(children).unwrap();
        let first = children.split_whitespace().next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert_eq!(lab.left_behind(), [""; 0]);
        settled(&lab, "the first process was killed");
    }
    assert_eq!(lab.names(), [""; 0]);
}

#[test]
fn a_build_is_not_disturbed_by_the_end_of_another_nor_by_its_sweep() {
    let Some(lab) = lab() else { return };
    lab.hook(
        "install.d/50-wait",
        "[ -z \"${PATIENT:-}\" ] || { : > /patient; until [ -e /go ]; do sleep 0.05; done; }",
    );
    let mut patient = start(&lab, "never", &[("PATIENT", "1"), ("DIB_NO_TMPFS", "1")]);
    let place = |name: &str| lab.dir().join("tmp").join(name);
    let own = loop {
        let waits = |name: &String| place(name).join("mnt/patient").exists();
        if let Some(name) = lab.left_behind().into_iter().find(waits) {
            break name;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    for stop in ["root.d", "install.d", "cleanup.d"] {
        let mut other = start(&lab, stop, &[("DIB_NO_TMPFS", "1")]);
        until_it_waits(&lab);
        other.kill().unwrap();
        other.wait().unwrap();
        let _ = fs::remove_file(lab.out("here"));
        let mut others = lab.left_behind();
        others.retain(|name| *name != own);
        let [killed] = &others[..] else {
            panic!("killed in {stop}: {others:?}")
        };
        // As long as processes of it are there, it is not dead.
        settled_in(&place(killed), stop);
        // The next one sweeps what that one left, and nothing else.
        lab.file("no-final-image/README.md", "");
        let args = ["-n", "no-final-image", "mini-os"];
        lab.run(DISK_IMAGE_CREATE, &args).ok();
        assert_eq!(lab.left_behind().len(), 1, "killed in {stop}");
    }
    fs::write(place(&own).join("mnt/go"), "").unwrap();
    assert!(patient.wait().unwrap().success());
    assert_eq!(lab.left_behind(), [""; 0]);
    assert_eq!(lab.names(), WHOLE);
}
