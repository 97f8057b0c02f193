//! `dib-lint`: finds mistakes in elements.
//!
//! | module | what it is |
//! |---|---|
//! | `checks` | the table of checks |
//! | `tree` | the directories → files, each with what is known of it |
//! | `script` | a shell script → its lines, comments and texts told apart |
//! | `files` | checks of one file |
//! | `elements` | checks of an element, and of all of them together |
//! | `exclusions` | what a project or a file does not want to hear |
//!
//! The names of checks that the original program has are its names, so that comments in elements stay right. It differs on
//! purpose: README.md is as good as README.rst, as it is to readers; there are more checks, which name mistakes that a
//! build would pass over in silence; and Python is not checked, since no interpreter is part of this program.

mod checks;
mod elements;
mod exclusions;
mod files;
mod script;
mod tree;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser;

use self::checks::CHECKS;
use self::exclusions::Exclusions;
use super::after_help;
use crate::environment::Environment;
use crate::error::{Context, Error, Kind, Result};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib-lint
      checks the directory elements, and lib if there is one, below the current directory

  ELEMENTS_DIR=my-elements dib-lint
      checks another directory; LIB_DIR names one of scripts that are no elements

A finding is a line on standard output: FILE:LINE: CHECK: TEXT. A file leaves checks out by a comment:
    # dib-lint: disable=setu sete
A project leaves them out in tox.ini:
    [dib-lint]
    ignore = setpipefail
Python is not checked: use flake8.";

fn help() -> String {
    let checks = CHECKS.iter().map(|(name, what)| format!("  {name:<14} {what}\n"));
    after_help(&format!(
        "{EXAMPLES}\n\nChecks:\n{}",
        checks.collect::<String>().trim_end()
    ))
}

/// Find mistakes in elements.
#[derive(Debug, Parser)]
#[command(name = "dib-lint", version, after_help = help())]
pub struct Args {}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: PathBuf,
    line: usize,
    check: &'static str,
    text: String,
}

/// Prints what is wrong, and fails if anything is.
pub fn run(_: &Args, environment: &Environment) -> Result<()> {
    let dir = |variable: &str, name: &str| match environment.non_empty(variable) {
        Some(dir) => Some(PathBuf::from(dir)),
        None => [PathBuf::from(name), Path::new("diskimage_builder").join(name)]
            .into_iter()
            .find(|dir| dir.is_dir()),
    };
    let elements = dir("ELEMENTS_DIR", "elements").ok_or_else(|| {
        Error::usage("there is no directory elements here").hint("ELEMENTS_DIR names one that is elsewhere")
    })?;
    let ini = match std::fs::read_to_string("tox.ini") {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other.host(|| "cannot read tox.ini".to_owned())?,
    };
    let findings = findings(
        &elements,
        dir("LIB_DIR", "lib").as_deref(),
        &Exclusions::of_project(&ini),
    )?;
    for finding in &findings {
        let Finding {
            path,
            line,
            check,
            text,
        } = finding;
        ui::print(format_args!("{}:{line}: {check}: {text}\n", path.display()))?;
    }
    match findings.len() {
        0 => Ok(()),
        1 => Err(Error::new(Kind::Elements, "1 finding")),
        many => Err(Error::new(Kind::Elements, format!("{many} findings"))),
    }
}

/// What is wrong, sorted by place.
fn findings(elements: &Path, lib: Option<&Path>, project: &Exclusions) -> Result<BTreeSet<Finding>> {
    let mut findings = BTreeSet::new();
    let of_elements = tree::files(elements, true)?;
    let of_lib = lib.map(|dir| tree::files(dir, false)).transpose()?;
    for file in of_elements.iter().chain(of_lib.iter().flatten()) {
        let excluded = Exclusions::of_file(&file.text);
        let found = files::check(file);
        findings.extend(found.into_iter().filter(|finding| !excluded.has(finding.check)));
    }
    findings.extend(elements::check(elements, &of_elements)?);
    findings.retain(|finding| !project.has(finding.check));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const SOUND: &str =
        "#!/bin/bash\nif [ ${DIB_DEBUG_TRACE:-0} -gt 0 ]; then\n    set -x\nfi\nset -eu -o pipefail\n";

    /// What is wrong with files of a tree, `(path, text, executable)`.
    fn found(files: &[(&str, &str, bool)], ini: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text, run) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            let mode = if *run { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let root = dir.path();
        let found = findings(root, None, &Exclusions::of_project(ini)).unwrap();
        found
            .iter()
            .map(|finding| {
                let path = finding.path.strip_prefix(root).unwrap().display();
                format!("{path}:{}: {}: {}", finding.line, finding.check, finding.text)
            })
            .collect()
    }

    /// What is wrong with one file of an element that is sound otherwise: `line: check`.
    fn wrong(path: &str, text: &str, run: bool) -> String {
        let path = format!("e/{path}");
        let found = found(&[("e/README.md", "e\n", false), (&path, text, run)], "");
        let short = found.iter().map(|line| {
            let parts: Vec<_> = line.splitn(4, ':').collect();
            format!("{}:{}", parts[1], parts[2])
        });
        short.collect::<Vec<_>>().join(", ")
    }

    /// Files with one mistake, or none: path, text, whether it may be executed, what is found. An `@` is a sound script.
    #[rustfmt::skip]
    const FILES: [(&str, &str, bool, &str); 38] = [
        ("install.d/10-x", "@echo\n", true, ""),
        ("install.d/10-x", "@echo\n", false, "1: executable"),
        ("install.d/10-x", "data\n", false, "1: hookmode"),
        ("install.d/x", "data\n", false, ""),
        ("install.d/10-x.sh", "@echo\n", true, "1: hookname"),
        ("install.d/10-x", "@  echo\n", true, "6: indent"),
        ("install.d/10-x", "@echo a \\\n  b\n", true, ""),
        ("install.d/10-x", "@cat <<E\n  a\n\tb\nE\n", true, ""),
        ("install.d/10-x", "@echo 'a\n  b'\n", true, ""),
        ("install.d/10-x", "@\techo\n", true, "6: tabindent"),
        ("install.d/10-x", "@echo", true, "6: newline"),
        ("install.d/10-x", "@export A=$(id)\n", true, "6: export"),
        ("install.d/10-x", "@export A=\"`id`\"\n", true, "6: export"),
        ("install.d/10-x", "@export A=$((1 + 1)) B='$(x)'\n", true, ""),
        ("install.d/10-x", "@x=$(which id)\n", true, "6: which"),
        ("install.d/10-x", "@if which id; then :; fi\n", true, "6: which"),
        ("install.d/10-x", "@echo which id # which\n", true, ""),
        ("install.d/10-x", "#!/bin/sh\necho\n", true, "1: shebang"),
        ("install.d/10-x", "#!/usr/bin/env bash\n@", true, "1: shebang"),
        ("install.d/10-x", "#!/usr/bin/python3\nx = 1\n", true, ""),
        ("root.d/10-x", "@sudo mkdir /x\n", true, "6: safe_sudo"),
        ("root.d/10-x", "@sudo mkdir \\\n    $TARGET_ROOT/x\n", true, ""),
        ("install.d/10-x", "@sudo mkdir /x\n", true, ""),
        ("environment.d/10-x", "export A=b\n", false, ""),
        ("environment.d/10-x", "export A=b\n", true, "1: envexec"),
        ("environment.d/10-x", "set -eux\n", false, "1: envtrace"),
        ("element-deps", "b\na\n", false, "1: depsorder"),
        ("element-deps", "a\nb\n", false, ""),
        ("notes.md", "x\n", false, "1: mddocs"),
        ("x.yaml", "a: b\nc: [\n", false, "2: yaml"),
        ("x.json", "{\n]\n", false, "2: json"),
        ("pkg-map", "{\"default\": 1}\n", false, "1: json"),
        ("package-installs.yaml", "vim:\n  arhc: x\n", false, "1: packages"),
        ("package-installs.yaml", "vim:\n  when: A = b\n", false, ""),
        ("source-repository-x", "x git /opt/x\n", false, "1: sources"),
        ("source-repository-x", "# x\nx git /opt/x $URL\n", false, ""),
        ("pre-instal.d/10-x", "@echo\n", true, "1: phasename"),
        ("elements-deps", "a\n", false, "1: phasename"),
    ];

    #[test]
    fn each_check_finds_its_mistake_and_nothing_else() {
        for (path, text, run, expected) in FILES {
            assert_eq!(
                wrong(path, &text.replace('@', SOUND), run),
                expected,
                "{path}\n{text}"
            );
        }
        for (old, new, expected) in [
            ("-eu", "-u", "1: sete"),
            ("-eu", "-e", "1: setu"),
            (" -o pipefail", "", "1: setpipefail"),
            ("-eu -o", "-euo", ""),
            ("DIB_DEBUG_TRACE", "X", "1: dibdebugtrace"),
        ] {
            assert_eq!(
                wrong("install.d/10-x", &SOUND.replace(old, new), true),
                expected,
                "{new}"
            );
        }
    }

    #[test]
    fn every_check_of_the_table_has_a_mistake_above() {
        let this = include_str!("lint.rs");
        for (name, _) in CHECKS {
            let named = [format!(": {name}\""), format!(": {name}: ")];
            assert!(named.iter().any(|named| this.contains(named)), "{name}");
        }
    }

    #[test]
    fn elements_are_checked_together() {
        let files = [
            ("a/README.rst", "a\n", false),
            ("a/install.d/10-x", SOUND, true),
            ("b/install.d/10-x", SOUND, true),
            ("b/install.d/20-y", SOUND, true),
            ("c/README.md", "c\n", false),
            ("c/install.d/20-y", SOUND, true),
            ("c/element-provides", "operating-system\n", false),
            ("b/element-provides", "operating-system\n", false),
        ];
        assert_eq!(
            found(&files, ""),
            [
                "b:1: readme: there is neither README.rst nor README.md",
                "b/install.d/10-x:1: duplicate: element a has the same file, so they cannot be used together"
            ],
            "b and c exclude each other anyway"
        );
        let ini = "[other]\nignore=x\n[dib-lint]\nignore = readme\n    duplicate\n";
        assert_eq!(found(&files, ini), [""; 0]);
    }

    #[test]
    fn a_file_leaves_checks_out_by_a_comment() {
        let text = "#!/bin/sh\n# dib-lint: disable=shebang indent\n  echo\n\techo\n";
        assert_eq!(wrong("install.d/10-x", text, true), "4: tabindent");
    }
}
