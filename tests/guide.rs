//! `elements/GUIDE.md`, followed word by word: its files are written, its commands run, and what they say is what it shows,
//! but for how long things took and how wide columns are. What takes a system from the network is only planned.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use oracle::blackbox;

use crate::lab::{DIB, Lab};

/// What the guide has its reader do.
enum Step<'a> {
    /// Write a file.
    File(&'a str, &'a str),
    /// Run a command, which says this.
    Command(String, String),
    /// Plan a build that takes its system from the network.
    Plan(String),
}

fn steps(text: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut parts = text.split("```");
    while let (Some(before), Some(block)) = (parts.next(), parts.next()) {
        let (language, body) = block.split_once('\n').unwrap();
        if let Some((_, mark)) = before.rsplit_once("<!-- file: ") {
            let (path, rest) = mark.split_once(" -->").unwrap();
            assert!(rest.trim().is_empty(), "a block follows its mark at once: {path}");
            steps.push(Step::File(path, body));
        } else if language == "sh" {
            let commands = body.lines().filter(|line| line.contains("-image-create "));
            steps.extend(commands.map(|command| Step::Plan(command.to_owned())));
        } else if language == "console" {
            for command in format!("\n{body}").split("\n$ ").skip(1) {
                let (command, said) = command.split_once('\n').unwrap_or((command, ""));
                steps.push(Step::Command(command.to_owned(), said.to_owned()));
            }
        }
    }
    steps
}

/// A text without how long things took, and how wide columns are.
fn timeless(text: &str) -> String {
    let word = |word: &str| {
        let number = word.trim_start_matches('(');
        let seconds = number.contains('.') && number.parse::<f64>().is_ok();
        if seconds {
            word.replace(number, "N")
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.trim_end().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_guide_leads_to_an_element_that_works() {
    let Some(lab) = Lab::new() else { return };
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("elements/GUIDE.md")).unwrap();
    let steps = steps(&text);
    assert!(steps.len() > 20, "only {} steps were found", steps.len());
    // The shell of the reader lives through all of it.
    let mut script = String::from("exec 2>&1\n");
    let mut shown = Vec::new();
    let mut planned = 0;
    for step in steps {
        match step {
            Step::File(path, body) => {
                writeln!(
                    script,
                    "mkdir -p $(dirname {path}); cat >{path} <<'GUIDE'\n{body}GUIDE"
                )
                .unwrap();
            }
            Step::Plan(command) => {
                planned += 1;
                writeln!(script, "(disk-image-create() {{ dib plan \"$@\" >/dev/null; }}; {command}) || echo '{command} is not understood'")
                    .unwrap();
            }
            Step::Command(command, said) => {
                writeln!(script, "echo '@@@'; {command}").unwrap();
                shown.push((command, said));
            }
        }
    }
    assert_eq!(planned, 1, "commands that are only planned");
    let links = lab.dir().join("links");
    fs::create_dir(&links).unwrap();
    lab.run(DIB, &["install-links", links.to_str().unwrap()]).ok();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", links.display());
    let tmp = lab.dir().join("tmp");
    let variables = [
        ("PATH", path.as_str()),
        ("HOME", lab.dir().to_str().unwrap()),
        ("TMP_DIR", tmp.to_str().unwrap()),
    ];
    let output = blackbox::run(Path::new("/bin/bash"), &["-c", &script], &variables, &lab.out(""));
    let said = String::from_utf8_lossy(&output.stdout);
    let place = format!("{}/", lab.out("").canonicalize().unwrap().display());
    let said = said.replace(&place, "");
    let answers: Vec<&str> = said.split("@@@\n").skip(1).collect();
    assert_eq!(answers.len(), shown.len(), "{said}");
    for ((command, expected), answer) in shown.iter().zip(answers) {
        assert_eq!(timeless(answer), timeless(expected), "$ {command}\n{said}");
    }
}
