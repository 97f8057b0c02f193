//! What the operator sees of a build, beside its log: the card of a failed hook, signs of life, times, sizes, events.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use diskimage_builder::ui::events::{Event, Line};
use oracle::blackbox;

use crate::lab::{DISK_IMAGE_CREATE, Lab, Said};

/// An operating system of a few files, the same on every host, and no hook that runs in it.
pub(crate) fn small_os(lab: &Lab) {
    lab.file("os/element-provides", "operating-system\n").file(
        "os/root.d/10-root",
        "#!/bin/sh\nset -eu\ncd $TARGET_ROOT\nmkdir etc dev proc sys tmp\nprintf small > etc/hostname\n",
    );
}

/// The events in a file; each is of the schema, whole.
#[track_caller]
fn events(path: &Path) -> Vec<Line> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    let read = |line: &str| {
        let event: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let (as_is, again): (serde_json::Value, serde_json::Value) = (
            serde_json::from_str(line).unwrap(),
            serde_json::to_value(&event).unwrap(),
        );
        assert_eq!(as_is, again, "a field that the schema does not have");
        event
    };
    text.lines().map(read).collect()
}

/// The names of events.
fn names(lines: &[Line]) -> Vec<String> {
    let name = |line: &Line| {
        let value = serde_json::to_value(line).unwrap();
        value["event"].as_str().unwrap().to_owned()
    };
    lines.iter().map(name).collect()
}

/// Events as they are in every run: without times, digests and this machine's paths.
fn settled(lab: &Lab, file: &str) -> String {
    events(&lab.out(file));
    let mut text = lab.plain(&lab.text(file));
    for (pattern, instead) in [
        (
            r#""at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z""#,
            r#""at":"TIME""#,
        ),
        (r#""seconds":\d{1,2}\.\d{1,3}\b"#, r#""seconds":0.5"#),
        (r#""version":"\d[^"]*""#, r#""version":"VERSION""#),
        (r#""md5":"[0-9a-f]{32}""#, r#""md5":"DIGEST""#),
        (r#""sha256":"[0-9a-f]{64}""#, r#""sha256":"DIGEST""#),
    ] {
        let pattern = regex_lite::Regex::new(pattern).unwrap();
        text = pattern.replace_all(&text, instead).into_owned();
    }
    text
}

#[test]
fn a_build_is_told_event_by_event() {
    let Some(lab) = Lab::new() else { return };
    small_os(&lab);
    lab.hook("cleanup.d/50-own", "true")
        .hook(
            "extra-data.d/10-late",
            "printf '#!/bin/sh\\n' > $TMP_HOOKS_PATH/extra-data.d/../cleanup.d/60-late
             chmod +x $TMP_HOOKS_PATH/cleanup.d/60-late",
        )
        .file("probe/environment.d/10-x", "export X=1\n");
    let args = [
        "-a",
        "amd46",
        "-o",
        "i",
        "-t",
        "raw",
        "--checksum",
        "--image-size=0.01",
    ];
    let args = [&args[..], &["--events", "events", "os", "probe"]].concat();
    lab.build(&args).ok();
    oracle::golden::check("events/finished.jsonl", &settled(&lab, "events"));

    lab.hook("cleanup.d/50-own", "echo one; echo two >&2; exit 5");
    lab.build(&args).failed(5, "50-own");
    oracle::golden::check("events/failed.jsonl", &settled(&lab, "events"));

    lab.build(&["--events", "events", "os", "no-such"])
        .failed(1, "no-such");
    oracle::golden::check("events/not-started.jsonl", &settled(&lab, "events"));
}

#[test]
fn a_descriptor_takes_events_and_no_hook_gets_it() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook("extra-data.d/10-see", "[ ! -e /proc/self/fd/7 ]")
        .hook("install.d/10-see", "[ ! -e /proc/self/fd/7 ]");
    let build = ["-n", "no-final-image", "mini-os", "probe"];
    let script = "exec \"$0\" \"$@\" 7>> events";
    let told = |lab: &Lab, args: &[&str]| {
        let args = [&["-c", script, DISK_IMAGE_CREATE], &build[..], args].concat();
        lab.run("/bin/bash", &args).ok();
        events(&lab.out("events"))
    };
    let lines = told(&lab, &["--events", "7"]);
    assert!(matches!(lines[0].event, Event::BuildStarted { .. }));
    assert!(matches!(
        lines[lines.len() - 1].event,
        Event::BuildFinished { .. }
    ));
    // The variable says the same; the option beats it.
    lab.set("DIB_EVENTS", "7");
    assert_eq!(told(&lab, &[]).len(), 2 * lines.len());
    lab.run(DISK_IMAGE_CREATE, &[&build[..], &["--events", "other"]].concat())
        .ok();
    assert_eq!(names(&events(&lab.out("other"))), names(&lines));
    lab.run(DISK_IMAGE_CREATE, &["--events", "/no/such/dir/e", "mini-os"])
        .failed(1, "cannot write events to /no/such/dir/e: ");
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_build() {
    let Some(lab) = Lab::new() else { return };
    small_os(&lab);
    let script = "\"$0\" -n --events 7 no-final-image os 7> >(exec true); echo status $?";
    let said = lab.run("/bin/bash", &["-c", script, DISK_IMAGE_CREATE]).ok();
    assert!(said.out.ends_with("status 0\n"), "{}{}", said.out, said.err);
}

#[test]
fn no_hook_can_pretend_to_be_the_build() {
    let Some(lab) = Lab::new() else { return };
    let lies = r#"
        trap '' PIPE
        for lie in '"phase-ended"' '{"warning":{"text":"a lie"}}' '{"ended":"finished"}'; do
            echo "$lie"
            for fd in /proc/1/fd/*; do { echo "$lie" > $fd; } 2> /dev/null || true; done
        done
        echo 'warning: a lie'"#;
    lab.hook("extra-data.d/10-lies", lies)
        .hook("install.d/10-lies", lies)
        .hook("install.d/20-fails", "exit 9");
    lab.build(&["--events", "events", "no-final-image", "mini-os", "probe"])
        .failed(9, "20-fails");
    let lines = events(&lab.out("events"));
    let names = names(&lines);
    let count = |name: &str| names.iter().filter(|known| *known == name).count();
    assert_eq!((count("warning"), count("phase-started")), (0, 3), "{names:?}");
    assert_eq!(count("phase-ended"), count("phase-started"));
    let Event::BuildFailed { hook: Some(card), .. } = &lines[lines.len() - 1].event else {
        panic!("{names:?}");
    };
    assert_eq!((card.hook.as_str(), card.status), ("20-fails", 9));
}

/// Starts a build that writes events and stops in a hook, and returns it with the id of its first process.
fn stopped(lab: &Lab, args: &[&str]) -> (std::process::Child, rustix::process::Pid) {
    lab.hook("extra-data.d/10-wait", "touch here; sleep 3600");
    let args = [
        &["-n", "--events", "events", "--logfile", "log"],
        args,
        &["mini-os", "probe"],
    ]
    .concat();
    let child = blackbox::start(
        Path::new(DISK_IMAGE_CREATE),
        &args,
        &lab.environment(),
        &lab.out(""),
    );
    let until = Instant::now() + Duration::from_mins(1);
    while !lab.out("here").exists() {
        assert!(Instant::now() < until, "the hook never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::remove_file(lab.out("here")).unwrap();
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let first = children.split_whitespace().next().unwrap().parse().unwrap();
    (child, rustix::process::Pid::from_raw(first).unwrap())
}

#[test]
fn the_last_event_comes_whatever_ends_the_build() {
    use rustix::process::{Pid, Signal, kill_process};
    let Some(lab) = Lab::new() else { return };
    for (kill_the_build, status, message) in [
        (true, 1, "the build ended without a word, by signal 9"),
        (false, 143, "ended by signal 15"),
    ] {
        let (mut builder, build) = stopped(&lab, &["--no-tmpfs"]);
        if kill_the_build {
            kill_process(build, Signal::KILL).unwrap();
        } else {
            kill_process(Pid::from_child(&builder), Signal::TERM).unwrap();
        }
        assert_eq!(builder.wait().unwrap().code(), Some(status));
        let lines = events(&lab.out("events"));
        let Event::BuildFailed {
            status: told,
            message: text,
            hook,
            ..
        } = &lines[lines.len() - 1].event
        else {
            panic!("{:?}", names(&lines));
        };
        assert_eq!((i32::from(*told), text.as_str()), (status, message));
        assert_eq!(*hook, None, "no hook failed");
        assert!(lab.text("log").contains(&format!(" | error: {message}\n")));
        assert_eq!(lab.left_behind(), [""; 0]);
    }
}

#[test]
fn the_card_of_a_failed_hook_has_all_that_is_needed() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook("install.d/05-before", "echo 'not of the hook that fails'")
        .hook(
            "install.d/10-fails",
            "i=0; while [ $i -lt 30 ]; do i=$((i + 1)); echo line $i; done\nno-such-tool --flag\necho never",
        );
    let args = ["--logfile", "my log", "no-final-image", "mini-os", "probe"];
    let Said { status, err, .. } = lab.build(&args);
    assert_eq!(status, 127);
    let place = lab.dir().join("elements/probe/install.d/10-fails");
    let mut expected = format!(
        "error: phase install.d, element probe: 10-fails ended with status 127\n\
         \x20   hook     install.d/10-fails\n    element  probe\n    path     {}\n\
         \x20   status   127, after SECONDS s\n    output   its last 20 lines\n",
        place.display()
    );
    for number in 12..=30 {
        writeln!(expected, "      | line {number}").unwrap();
    }
    let end = format!(
        "      | /tmp/in_target.d/install.d/10-fails: line 4: no-such-tool: command not found\n\
         \x20   a shell where it failed:\n\
         \x20     break=after-error {DISK_IMAGE_CREATE} -n --logfile 'my log' no-final-image mini-os probe\n\
         hint: 'no-such-tool' is not in the image: install its package in an earlier phase, \
         say by package-installs.yaml\n"
    );
    expected.push_str(&end);
    let seconds = regex_lite::Regex::new(r"after \d+\.\d{3} s").unwrap();
    let err = seconds.replace_all(&err, "after SECONDS s");
    assert_eq!(err, expected);
    // The log tells the same, each line with its time.
    let log = lab.text("my log");
    let logged: Vec<&str> = log
        .lines()
        .map(|line| line.split_once(" | ").unwrap().1)
        .collect();
    let logged = logged.join("\n") + "\n";
    assert!(
        seconds
            .replace_all(&logged, "after SECONDS s")
            .ends_with(&expected),
        "{log}"
    );

    // The command does what it says.
    let shell = expected
        .split("      break=")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    lab.set("break_cmd", "touch /tmp/was-here; cat $0 | head -c 0")
        .set("DIB_QUIET", "0");
    let said = lab.run("/bin/bash", &["-c", &format!("break={shell}")]);
    assert_eq!(said.status, 127);
    assert!(said.out.contains("At stage after-error"), "{}", said.out);
}

#[test]
fn a_snippet_that_fails_is_named_with_its_element() {
    let Some(lab) = Lab::new() else { return };
    lab.file("other/environment.d/50-site", "export SITE=$NO_SUCH_VARIABLE\n");
    lab.hook("install.d/10-x", "true");
    let said = lab
        .build(&["no-final-image", "mini-os", "probe", "other"])
        .failed(1, "phase root.d, element other: ");
    for part in [
        "    file     environment.d/50-site, sourced for root.d\n    element  other\n",
        "other/environment.d/50-site\n",
        "hint: the variable NO_SUCH_VARIABLE is not set: ",
    ] {
        assert!(said.err.contains(part), "no '{part}' in {}", said.err);
    }
}

#[test]
fn silence_is_broken_by_what_runs() {
    let Some(mut lab) = Lab::new() else { return };
    lab.set("_DIB_HEARTBEAT_MS", "300").set("DIB_NO_TIMESTAMP", "1");
    lab.hook("install.d/10-slow", "sleep 1.1").hook(
        "install.d/20-talks",
        "for i in 1 2 3 4 5 6 7 8; do sleep 0.1; echo talking; done",
    );
    let said = lab.rehearse().ok();
    let beats: Vec<&str> = said
        .out
        .lines()
        .filter(|line| line.starts_with("still running"))
        .collect();
    let slow = |line: &&str| line.starts_with("still running: install.d/10-slow of element probe, for ");
    assert!(
        (2..=3).contains(&beats.iter().copied().filter(slow).count()),
        "{beats:?}"
    );
    assert!(!said.out.contains("20-talks of"), "{}", said.out);
    // Into the log file, where that is all there is.
    lab.hook("install.d/20-talks", "true");
    let said = lab
        .build(&["--logfile", "log", "no-final-image", "mini-os", "probe"])
        .ok();
    assert_eq!(said.out, "Output logs going to: log\n");
    assert!(
        lab.text("log")
            .contains(" | still running: install.d/10-slow of element probe, for ")
    );
}

#[test]
fn the_profile_tells_where_all_time_went() {
    let Some(mut lab) = Lab::new() else { return };
    small_os(&lab);
    lab.set("DIB_NO_TIMESTAMP", "1");
    lab.hook("extra-data.d/10-slow", "sleep 0.3")
        .hook("extra-data.d/20-fast", "true");
    let said = lab.build(&["-t", "raw,qcow2", "-o", "i", "os", "probe"]).ok().out;
    let (_, table) = said.split_once("    seconds  what the time went to\n").unwrap();
    let mut rows = table.lines().skip(1).map(|line| {
        let (seconds, what) = line.split_at(11);
        (
            what.strip_prefix("  ").unwrap_or(what),
            seconds.trim().parse::<f64>(),
        )
    });
    let named: Vec<(&str, f64)> = rows
        .by_ref()
        .map_while(|(what, time)| Some((what, time.ok()?)))
        .collect();
    let what: Vec<&str> = named.iter().map(|(what, _)| *what).collect();
    let expected = [
        "root.d",
        "  10-root  (os)",
        "extra-data.d",
        "  10-slow  (probe)",
        "  20-fast  (probe)",
        "measure the tree",
        "finish the tree",
        "scan the tree",
        "plan the file system",
        "write i.qcow2",
        "write i.raw",
        "from the start to the last image",
    ];
    assert_eq!(what, expected);
    let of: BTreeMap<&str, f64> = named.into_iter().collect();
    assert!((0.3..2.0).contains(&of["  10-slow  (probe)"]), "{of:?}");
    assert!(of["extra-data.d"] >= of["  10-slow  (probe)"] + of["  20-fast  (probe)"] - 0.002);
    let wholes = of
        .iter()
        .filter(|(what, _)| !what.starts_with(' ') && !what.starts_with("from"));
    let sum: f64 = wholes.map(|(_, seconds)| seconds).sum();
    assert!(of["from the start to the last image"] >= sum - 0.01, "{of:?}");
    assert!(said.ends_with("\nBuild completed successfully\n"), "{said}");
}

#[test]
fn sizes_are_told_where_they_are_wanted_before_the_image_is_written() {
    let Some(mut lab) = Lab::new() else { return };
    small_os(&lab);
    lab.hook(
        "root.d/20-big",
        "head -c 11M /dev/zero | tr '\\0' x > $TARGET_ROOT/big; head -c 9M /dev/zero | tr '\\0' x > $TARGET_ROOT/less",
    );
    lab.set("DIB_NO_TIMESTAMP", "1");
    let report = |lab: &Lab| {
        let said = lab.build(&["-t", "raw", "-o", "i", "os", "probe"]).ok().out;
        let (_, rest) = said.split_once("Image size report\n")?;
        let lines = rest.lines().take_while(|line| line.starts_with("  "));
        let lines: Vec<&str> = lines.map(str::trim).collect();
        assert!(
            rest.contains("Image file i.raw created"),
            "the report comes before the image"
        );
        Some(lines.join("\n"))
    };
    assert_eq!(report(&lab), None);
    lab.set("DIB_SHOW_IMAGE_USAGE", "1");
    assert_eq!(report(&lab).unwrap(), "20.0 MiB  /\n11.0 MiB  /big");
    lab.set("DIB_SHOW_IMAGE_USAGE", "0")
        .set("DIB_SHOW_IMAGE_USAGE_FULL", "1");
    let full = report(&lab).unwrap();
    assert!(
        full.contains("9.0 MiB  /less\n") && full.contains("4.0 KiB  /etc/hostname"),
        "{full}"
    );
}
