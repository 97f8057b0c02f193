//! Checks of one file.

use std::path::Path;

use serde::de::IgnoredAny;

use super::Finding;
use super::script::{self, Line};
use super::tree::File;
use crate::applets::pkg_map::PackageMap;
use crate::element::source_repositories::{Fault, Repository, expand, lines};
use crate::phase::{Phase, Place};

/// Names that tell a path of the build: what `sudo` in a host phase may touch.
const TARGETS: [&str; 7] = [
    "TARGET_ROOT",
    "TMP_MOUNT_PATH",
    "TMP_HOOKS_PATH",
    "TMP_BUILD_DIR",
    "TMP_IMAGE_DIR",
    "TMP_IMAGE_PATH",
    "IMAGE_BLOCK_DEVICE",
];

/// What is wrong with a file, whatever it asks to leave out.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut found = Found {
        file,
        findings: Vec::new(),
    };
    plain(&mut found);
    data(&mut found);
    if file.is_shell() {
        let lines = script::lines(&file.text);
        shell(&lines, &mut found);
        if file.interpreter() == Some("bash") {
            bash(&lines, &mut found);
        }
    }
    found.findings
}

/// Collects findings about a file.
struct Found<'a> {
    file: &'a File,
    findings: Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, line: usize, check: &'static str, text: impl Into<String>) {
        self.findings.push(Finding {
            path: self.file.path.clone(),
            line,
            check,
            text: text.into(),
        });
    }
}

/// Checks of any text.
fn plain(found: &mut Found<'_>) {
    let file = found.file;
    let snippet = file.element_dir() == Some("environment.d");
    if file.text.starts_with("#!") && !file.run && !snippet {
        found.add(1, "executable", "it begins with #!, but is not executable");
    }
    if snippet && file.run {
        found.add(1, "envexec", "a snippet is sourced: it need not be executable");
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        found.add(file.text.lines().count(), "newline", "the last line has no end");
    }
    let markdown = Path::new(file.name())
        .extension()
        .is_some_and(|extension| extension == "md");
    // Beside the elements there may be a guide to them.
    if markdown && file.part.is_some() && file.name() != "README.md" {
        found.add(1, "mddocs", "a document in Markdown that is no README.md");
    }
}

/// Checks of files that programs read.
fn data(found: &mut Found<'_>) {
    let file = found.file;
    let extension = Path::new(file.name())
        .extension()
        .and_then(|extension| extension.to_str());
    let first_level = file
        .part
        .as_ref()
        .is_some_and(|(_, path)| path.components().count() == 1);
    if matches!(extension, Some("yaml" | "yml"))
        && let Err(error) = serde_saphyr::from_multiple::<IgnoredAny>(&file.text)
    {
        let error = error.without_snippet();
        let line = error.location().map_or(1, |location| location.line());
        found.add(usize::try_from(line).unwrap_or(1), "yaml", error.to_string());
    }
    let json = if first_level && file.name() == "pkg-map" {
        serde_json::from_str::<PackageMap>(&file.text).err()
    } else if extension == Some("json") {
        serde_json::from_str::<IgnoredAny>(&file.text).err()
    } else {
        None
    };
    if let Some(error) = json {
        found.add(error.line().max(1), "json", error.to_string());
    }
    if first_level && file.name() == "element-deps" {
        let names: Vec<&str> = file.text.lines().map(str::trim).collect();
        if let Some(at) = names.windows(2).position(|pair| pair[0] > pair[1]) {
            let text = format!("{} comes before {}", names[at + 1], names[at]);
            found.add(at + 1, "depsorder", text);
        }
    }
    if first_level && file.name().starts_with("source-repository-") {
        for (number, line) in lines(&file.text) {
            // What variables hold is not known, and commands are the business of who builds.
            let read =
                expand(line, &|name| Some(format!("${name}"))).and_then(|line| line.parse::<Repository>());
            match read {
                Ok(_) | Err(Fault::Command | Fault::Expansion(_) | Fault::Unset { .. }) => {}
                Err(fault) => found.add(number, "sources", fault.to_string()),
            }
        }
    }
}

/// Checks of what a shell reads.
fn shell(lines: &[Line<'_>], found: &mut Found<'_>) {
    let first = lines.first().map_or("", |line| line.text);
    let path = first.trim_start_matches("#!").split_whitespace().next();
    // What is no hook may stay in the image, which may have no bash.
    let hook = found
        .file
        .element_dir()
        .is_some_and(|dir| dir.strip_suffix(".d").is_some());
    let allowed = path == Some("/bin/bash") || (path == Some("/bin/sh") && !hook);
    if found.file.interpreter().is_some() && !allowed {
        found.add(1, "shebang", format!("{first} is not #!/bin/bash"));
    }
    let snippet = found.file.element_dir() == Some("environment.d");
    for line in lines.iter().filter(|line| !line.document) {
        let blanks = line.text.len() - line.text.trim_start_matches(' ').len();
        let indent = line.text.len() - line.text.trim_start().len();
        let content = !line.text.trim().is_empty();
        if content && line.text[..indent].contains('\t') {
            found.add(line.number, "tabindent", "indented by a tab");
        } else if content && line.fresh && blanks % 4 != 0 {
            let text = format!("indented by {blanks} blanks, which is no multiple of 4");
            found.add(line.number, "indent", text);
        }
        let commands = script::command_words(&line.code);
        if exports_a_command(&line.code) {
            let text = "export hides that the command failed: set the variable first, then export it";
            found.add(line.number, "export", text);
        }
        if commands.iter().any(|words| words[0] == "which") {
            found.add(line.number, "which", "use type -P, or command -v");
        }
        if snippet && options(&commands).any(|option| option == "x" || option == "xtrace") {
            found.add(
                line.number,
                "envtrace",
                "tracing is the business of who sources the snippet",
            );
        }
    }
}

/// Checks of bash scripts.
fn bash(lines: &[Line<'_>], found: &mut Found<'_>) {
    let commands = script::commands(lines);
    let words: Vec<_> = commands
        .iter()
        .flat_map(|(_, _, code)| script::command_words(code))
        .collect();
    let first = lines.first().map_or("", |line| line.text);
    let shebang: Vec<&str> = first.split_whitespace().skip(1).collect();
    let shebang = [[&["set"], &shebang[..]].concat()];
    let set: Vec<String> = options(&words).chain(options(&shebang)).collect();
    for (check, short, long) in [
        ("sete", "e", "errexit"),
        ("setu", "u", "nounset"),
        ("setpipefail", "pipefail", "pipefail"),
    ] {
        if !set.iter().any(|option| option == short || option == long) {
            found.add(1, check, format!("does not set -o {long}"));
        }
    }
    if !found.file.text.contains("DIB_DEBUG_TRACE") {
        found.add(
            1,
            "dibdebugtrace",
            "does not trace where DIB_DEBUG_TRACE asks for it",
        );
    }
    if found.file.element_dir().is_some_and(is_host_phase) {
        for (number, text, code) in &commands {
            let sudo = script::command_words(code).iter().any(|words| words[0] == "sudo");
            // A hook that starts itself anew as root is judged by its other lines.
            let itself = text.contains("exec sudo -E \"$0\"");
            if sudo && !itself && !TARGETS.iter().any(|target| text.contains(target)) {
                let text = "sudo on the host names no path of the build, such as $TARGET_ROOT";
                found.add(*number, "safe_sudo", text);
            }
        }
    }
}

/// Whether a line exports what a command prints; arithmetic cannot fail.
fn exports_a_command(code: &str) -> bool {
    let exports = code.trim_start().strip_prefix("export ");
    exports.is_some_and(|rest| {
        let substitutes = rest
            .match_indices("$(")
            .any(|(at, _)| !rest[at..].starts_with("$(("));
        rest.contains('=') && (substitutes || rest.contains('`'))
    })
}

/// The options that `set` sets among commands, by letter or by name.
fn options<'a>(commands: &'a [Vec<&'a str>]) -> impl Iterator<Item = String> + 'a {
    let sets = commands.iter().filter(|words| words[0] == "set");
    sets.flat_map(|words| {
        let mut options = Vec::new();
        let mut rest = words[1..].iter();
        while let Some(word) = rest.next() {
            let Some(letters) = word.strip_prefix('-') else {
                continue;
            };
            options.extend(letters.chars().map(String::from));
            if letters.ends_with('o') {
                options.extend(rest.next().map(|name| (*name).to_owned()));
            }
        }
        options
    })
}

fn is_host_phase(dir: &str) -> bool {
    Phase::ALL
        .into_iter()
        .any(|phase| phase.dir() == dir && phase.place() == Place::Host)
}
