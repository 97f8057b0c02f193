//! Break points: where a build stops, for what, and how it goes on.

use std::path::Path;

use oracle::blackbox;

use crate::lab::{DISK_IMAGE_CREATE, Lab};

/// Runs the hooks of `probe` with words on standard input, and gives the status and the log.
fn typed(lab: &Lab, lines: &[(&str, &str)]) -> (i32, String) {
    let args = ["-n", "no-final-image", "mini-os", "probe"];
    let (status, log) = blackbox::converse(
        Path::new(DISK_IMAGE_CREATE),
        &args,
        &lab.environment(),
        &lab.out(""),
        lines,
    );
    (status.code().unwrap_or(-1), log)
}

/// The break points that a log tells of.
fn stops(log: &str) -> Vec<&str> {
    let lines = log.lines().filter_map(|line| line.split_once("At stage "));
    lines.map(|(_, point)| point).collect()
}

#[test]
fn every_phase_stops_before_and_after() {
    let Some(mut lab) = Lab::new() else { return };
    let stages = [
        "root",
        "extra-data",
        "pre-install",
        "install",
        "post-install",
        "first-boot",
        "post-root",
        "block-device-size",
        "block-device",
        "pre-finalise",
        "finalise",
        "cleanup",
    ];
    let points: Vec<String> = stages
        .iter()
        .flat_map(|stage| ["before", "after"].map(|side| format!("{side}-{stage}")))
        .collect();
    // Phases in the chroot stop only where there are hooks of theirs; those outside stop always.
    for phase in ["pre-install", "install", "post-install", "finalise"] {
        lab.hook(&format!("{phase}.d/10-x"), "");
    }
    lab.set("break", &points.join(","));
    let log = lab.rehearse().ok().out;
    assert_eq!(stops(&log), points);
    assert_eq!(
        log.matches("Starting debug shell. Exit to resume building.\n")
            .count(),
        points.len()
    );
    assert_eq!(log.matches("Resuming\n").count(), points.len());
    std::fs::remove_dir_all(lab.dir().join("elements/probe/install.d")).unwrap();
    lab.set("break", "before-install,after-post-install");
    assert_eq!(stops(&lab.rehearse().ok().out), ["after-post-install"]);
}

#[test]
fn a_shell_reads_standard_input_until_it_ends() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook("install.d/10-x", "export LATER=1; [ -e /mnt/by-hand ]");
    lab.file("probe/environment.d/10-x", "export SNIPPET=sourced\n");
    lab.set("break", "before-install,before-root,after-install,after-root");
    let lines = [
        (
            "At stage before-root",
            "echo \"in $PWD on ${TARGET_ROOT:+the host}\"; exit 3\n",
        ),
        ("At stage after-root", "echo ${SNIPPET-no} snippet; exit\n"),
        (
            "At stage before-install",
            "touch /mnt/by-hand; echo $PWD ${TARGET_ROOT-inside}; ls /tmp/in_target.d; exit\n",
        ),
        ("At stage after-install", "echo $SNIPPET; cat\nof cat\n"),
    ];
    let (status, log) = typed(&lab, &lines);
    assert_eq!(status, 0, "{log}");
    let out = lab.out("").canonicalize().unwrap();
    for part in [
        &format!("in {} on the host\n", out.display()),
        "sourced snippet\n",
        "/ inside\n",
        "install.d\n",
        "of cat\n",
    ] {
        assert!(log.contains(part), "no '{part}' in {log}");
    }
    assert_eq!(stops(&log).len(), 4);
}

#[test]
fn the_command_of_the_caller_runs_whole_where_it_counts() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook("install.d/10-fails", "exit 7");
    lab.set("break", "before-root,after-root,before-install,after-error")
        .set("break_cmd", "echo one in $PWD; echo two; false");
    let failed = lab.rehearse().failed(7, "10-fails");
    // In the chroot the failed hook's directory is /; the command has no say after a phase, nor before one in the chroot.
    let out = lab.out("").canonicalize().unwrap().display().to_string();
    assert_eq!(
        failed.out.matches(&format!("one in {out}\n")).count(),
        1,
        "{}",
        failed.out
    );
    assert_eq!(failed.out.matches("one in /\n").count(), 1, "{}", failed.out);
    assert_eq!(failed.out.matches("two\n").count(), 2, "{}", failed.out);
    lab.set("break_outside_target", "1");
    let failed = lab.rehearse().failed(7, "10-fails");
    assert_eq!(
        failed.out.matches(&format!("one in {out}\n")).count(),
        2,
        "{}",
        failed.out
    );
}

#[test]
fn an_error_stops_where_it_happened() {
    let Some(mut lab) = Lab::new() else { return };
    lab.set("break", "after-error")
        .set("break_cmd", "echo ${TARGET_ROOT:+host} $SEEN");
    lab.file("probe/environment.d/10-x", "export SEEN=seen\n");
    for (hook, script, status, told) in [
        ("install.d/10-x", "exit 7", 7, "| seen\n"),
        ("block-device.d/10-x", "exit 9", 1, "| host seen\n"),
        ("cleanup.d/10-x", "exit 5", 5, "| host seen\n"),
    ] {
        lab.hook(hook, script);
        let said = lab.rehearse().failed(status, "element probe");
        assert!(
            said.out.replace("|  ", "| ").contains(told),
            "{hook}: {}",
            said.out
        );
        lab.hook(hook, "");
    }
    // Packages and environment.d fail in a place, too.
    lab.set("break_cmd", "echo at $PWD");
    let said = lab
        .build(&["-p", "x", "no-final-image", "mini-os"])
        .failed(127, "install-packages");
    assert!(said.out.contains("at /\n"), "{}", said.out);
    lab.file(
        "probe/environment.d/20-x",
        "[ -z \"${HOME##/root}\" ] && exit 4 || true\n",
    );
    let said = lab.rehearse().failed(4, "environment.d/20-x ended with status 4");
    assert!(
        said.err.contains("element probe") && said.err.contains("probe/environment.d/20-x"),
        "{}",
        said.err
    );
    assert_eq!(stops(&said.out), ["after-error"]);
}

#[test]
fn unknown_words_are_warned_of_before_anything_runs() {
    let mut lab = Lab::unprivileged();
    lab.set("break", "after-eror,before-install");
    let said = lab.run(crate::lab::DIB, &["plan", "-n", "mini-os"]).ok();
    assert_eq!(
        said.err,
        "warning: break: there is no break point 'after-eror'; did you mean after-error?\n"
    );
}

#[test]
fn a_terminal_gets_a_shell_with_job_control() {
    let Some(mut lab) = Lab::new().filter(|_| oracle::require(&["script", "stty"])) else {
        return;
    };
    lab.hook("install.d/10-x", "");
    lab.set("break", "before-install").set("TERM", "dumb");
    // What is started in the background of a script ignores interrupts; its shell's jobs shall not.
    let build = format!("{DISK_IMAGE_CREATE} -n no-final-image mini-os probe");
    let command = format!("stty rows 33 cols 77; trap '' INT; {build}; echo ended $?");
    // Every line ends with what ends one in either of the terminal's modes, as what is typed may arrive in either.
    let lines = [
        // A prompt has no line end: only a terminal shows it.
        ("# ", "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all ''terminals\n"),
        ("all terminals\r\n", ""),
        ("# ", "set -o | grep monitor; echo $LINES x $COLUMNS\n"),
        ("33 x 77\r\n", ""),
        // A job that answers is certainly there and has not taken an interrupt for itself, as a shell would.
        ("# ", "cat -E\n"),
        ("cat -E\r\n", "a job hears\n"),
        // An interrupt ends the job, neither the shell nor the build; a job that was stopped goes on.
        ("a job hears$\r\n", "\u{3}"),
        ("# ", "echo status $?\n"),
        ("status 130\r\n", ""),
        ("# ", "bash -c 'echo second\"\" job; read x; echo got $x'\n"),
        ("second job\r\n", "\u{1a}"),
        ("Stopped", ""),
        ("# ", "fg\n"),
        // The terminal keeps what is typed until the job reads, be it on its way to the foreground yet or not.
        ("got $x'\r\n", "it\n"),
        ("got it\r\n", ""),
        ("# ", "exit\n"),
        ("ended 0", ""),
    ];
    let script = oracle::find("script").unwrap();
    let args = ["-q", "-e", "-c", command.as_str(), "/dev/null"];
    let (status, shown) = blackbox::converse(&script, &args, &lab.environment(), &lab.out(""), &lines);
    assert!(status.success(), "{shown}");
    assert!(shown.contains("monitor") && shown.contains("on\r\n"), "{shown}");
    let (stage, prompt) = (shown.find("At stage before-install"), shown.find("# "));
    assert!(stage < prompt, "{shown}");
    // What is shown after the shell is shown as before: each line at the left.
    let after = shown.split("Resuming").nth(1).unwrap();
    assert!(!after.replace("\r\n", "").contains('\n'), "{after:?}");
}
