//! A build on a terminal, and where colour and drawing must not be.

use std::fs::File;
use std::path::Path;

use oracle::terminal::{Out, run};

use crate::lab::{DISK_IMAGE_CREATE, Lab};

const ESCAPE: char = '\u{1b}';

fn lab() -> Option<Lab> {
    let lab = Lab::new()?;
    lab.hook("install.d/10-slow", "echo said; sleep 1.2; echo said again");
    Some(lab)
}

/// What a build writes to the terminal that it runs on.
fn shown(lab: &Lab, variables: &[(&str, &str)], args: &[&str], out: Out) -> (Option<i32>, String) {
    let environment = [&lab.environment()[..], &[("TERM", "xterm")], variables].concat();
    let args = [&["-n", "no-final-image", "mini-os", "probe"], args].concat();
    let (status, text) = run(
        Path::new(DISK_IMAGE_CREATE),
        &args,
        &environment,
        &lab.out(""),
        out,
    );
    assert_eq!(lab.left_behind(), [""; 0]);
    (status, text)
}

/// Whether a text has sequences that set colours or weights: `ESC [ ... m`.
fn coloured(text: &str) -> bool {
    text.split("\u{1b}[").skip(1).any(|rest| {
        let end = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        end.starts_with('m')
    })
}

#[test]
fn a_terminal_shows_what_runs_and_lines_scroll_above_it() {
    let Some(lab) = lab() else { return };
    let (status, text) = shown(&lab, &[], &[], Out::Terminal);
    assert_eq!(status, Some(0), "{text}");
    let drawn = |seconds: &str| {
        let pieces = text.split(['\r', '\n']);
        pieces
            .filter(|piece| piece.contains("install.d/10-slow of element probe, ") && piece.contains(seconds))
            .count()
    };
    assert!(drawn(", 0 s") > 0 && drawn(", 1 s") > 0, "{text:?}");
    assert!(
        text.contains(" | said\r\n") && text.contains(" | said again\r\n"),
        "{text:?}"
    );
    assert!(coloured(&text), "headings are bold");
    assert!(
        text.contains("\u{1b}[1mRunning hooks of install.d\u{1b}[0m"),
        "{text:?}"
    );
    // At the end the line is gone: what was drawn last was cleared.
    let (_, end) = text.rsplit_once("Build completed successfully\r\n").unwrap();
    assert!(!end.contains("install.d"), "{end:?}");
}

#[test]
fn colour_is_there_only_where_it_may_be() {
    let Some(lab) = lab() else { return };
    lab.hook("install.d/20-fails", "exit 3");
    let (status, text) = shown(&lab, &[("NO_COLOR", "1")], &[], Out::Terminal);
    assert_eq!(status, Some(3));
    assert!(text.contains("install.d/10-slow of element probe"), "{text:?}");
    assert!(!coloured(&text), "{text:?}");
    let (_, text) = shown(&lab, &[], &["--color", "never"], Out::Terminal);
    assert!(!coloured(&text), "{text:?}");
    let (_, text) = shown(&lab, &[("NO_COLOR", "1")], &["--color=always"], Out::Terminal);
    assert!(
        text.contains("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m phase install.d"),
        "{text:?}"
    );
}

#[test]
fn nothing_is_drawn_where_nobody_would_see_it() {
    let Some(lab) = lab() else { return };
    // Drawn lines would stand among those of a program that reads standard output and shows it on the same terminal.
    let (status, text) = shown(&lab, &[], &[], Out::File(File::create(lab.out("out")).unwrap()));
    assert_eq!((status, text.as_str()), (Some(0), ""));
    assert!(!lab.text("out").contains(ESCAPE) && lab.text("out").contains("said again"));
    for (variables, args) in [
        (&[("TERM", "dumb")][..], &[][..]),
        (&[("DIB_QUIET", "1")], &[]),
        (&[], &["--logfile", "log"]),
    ] {
        let (status, text) = shown(&lab, variables, args, Out::Terminal);
        assert_eq!(status, Some(0));
        assert!(
            !text.contains(ESCAPE) && !text.contains("of element probe"),
            "{variables:?}: {text:?}"
        );
    }
    // Traces are read line by line: colour is for headings only.
    let (_, text) = shown(&lab, &[], &["-x"], Out::Terminal);
    assert!(!text.contains("of element probe"), "{text:?}");
    let said = lab.build(&["no-final-image", "mini-os", "probe"]).ok();
    assert!(!said.out.contains(ESCAPE) && !said.err.contains(ESCAPE));
    let mut lab = lab;
    lab.set("CLICOLOR_FORCE", "1");
    let said = lab.build(&["no-final-image", "mini-os", "probe"]).ok();
    assert!(coloured(&said.out), "{}", said.out);
    let said = lab
        .build(&["--color", "never", "no-final-image", "mini-os", "probe"])
        .ok();
    assert!(!said.out.contains(ESCAPE));
}

#[test]
fn a_shell_at_a_break_point_has_the_terminal_for_itself() {
    let Some(lab) = lab() else { return };
    let variables = [
        ("break", "before-extra-data"),
        ("break_cmd", "echo shell; sleep 1.2; echo end of shell"),
    ];
    let (status, text) = shown(&lab, &variables, &[], Out::Terminal);
    assert_eq!(status, Some(0));
    let (_, shell) = text.split_once("At stage before-extra-data").unwrap();
    let (shell, _) = shell.split_once("Resuming").unwrap();
    let (_, shell) = shell.split_once("shell\r\n").unwrap();
    assert!(
        !shell.contains(ESCAPE) && shell.contains("end of shell"),
        "{shell:?}"
    );
}
