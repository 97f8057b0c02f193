//! Files of an element that a build passes over, and why: what an author may have meant to run.
//!
//! Elements may hold anything, and siblings read what is never run, so nothing here is an error. `dib plan` lists it,
//! `dib-lint` finds fault with what looks like a mistake.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

use super::library::{Item, ItemKind};
use crate::phase::Phase;
use crate::runner::{is_hook_name, is_snippet_name};
use crate::suggest::nearest;

/// Directories that are no phases, though their names end in `.d`.
const KNOWN_DIRS: [&str; 11] = [
    "environment.d",
    "first-boot.d",
    "binary-deps.d",
    "init.d",
    "udev.d",
    "ramdisk-install.d",
    "dracut-drivers.d",
    "dracut.conf.d",
    "modprobe.d",
    "yum.repos.d",
    "sudoers.d",
];

/// Files at an element's first level that mean something.
const KNOWN_FILES: [&str; 6] = [
    "element-deps",
    "element-provides",
    "package-installs.yaml",
    "package-installs.json",
    "pkg-map",
    "svc-map",
];

/// A file or directory that is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Path within the element.
    pub path: PathBuf,
    /// Why.
    pub why: Why,
}

/// Why a file is passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It may not be run.
    #[error("not executable")]
    NotExecutable,
    /// Its name is not that of a hook.
    #[error("its name is no hook's: those are made of letters, digits, _ and -")]
    HookName,
    /// Its name is not that of a snippet of `environment.d`.
    #[error("its name is no snippet's: those are made of letters, digits, _, - and .")]
    SnippetName,
    /// Its name begins with a dot.
    #[error("hidden")]
    Hidden,
    /// The directory is for authors, not for builds.
    #[error("for authors, not for builds")]
    Private,
    /// The directory looks like a phase and is none.
    #[error("no phase, so never run{}", meant(.0.as_deref()))]
    NoPhase(Option<String>),
    /// The name is nearly one that means something.
    #[error("means nothing{}", meant(Some(.0)))]
    Misspelt(&'static str),
}

fn meant(near: Option<&str>) -> String {
    near.map_or(String::new(), |near| format!("; did you mean {near}?"))
}

/// What of an element's items is passed over, when `names` are the names of hooks.
pub fn ignored(items: &[Item], names: &Regex) -> Vec<Ignored> {
    let found = items.iter().filter_map(|item| {
        let why = why(item, names)?;
        let path = item.path.clone();
        Some(Ignored { path, why })
    });
    found.collect()
}

fn why(item: &Item, names: &Regex) -> Option<Why> {
    let parts: Vec<&str> = item
        .path
        .iter()
        .map(|part| part.to_str().unwrap_or_default())
        .collect();
    let is_dir = item.kind == ItemKind::Directory;
    match parts[..] {
        [dir] if is_dir => first_level_dir(dir),
        [file] => {
            let near = nearest(file, KNOWN_FILES).filter(|near| *near != file);
            near.map(Why::Misspelt)
        }
        [dir, _] if dir.starts_with('.') || private(dir) => None,
        [_, name] if name.starts_with('.') => Some(Why::Hidden),
        ["environment.d", name] if !is_dir => (!is_snippet_name(name.as_bytes())).then_some(Why::SnippetName),
        [dir, name] if !is_dir && is_phase(dir) && !name.starts_with("package-installs-") => {
            hook(&item.path, &item.kind, names)
        }
        _ => None,
    }
}

fn hook(path: &Path, kind: &ItemKind, names: &Regex) -> Option<Why> {
    let runs = match kind {
        ItemKind::File { run, .. } => *run,
        ItemKind::Symlink { runs, .. } => *runs,
        ItemKind::Directory => return None,
    };
    let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    match (is_hook_name(names, name), runs) {
        (_, false) => Some(Why::NotExecutable),
        (false, true) => Some(Why::HookName),
        (true, true) => None,
    }
}

fn first_level_dir(dir: &str) -> Option<Why> {
    if dir.starts_with('.') {
        return Some(Why::Hidden);
    }
    if private(dir) {
        return Some(Why::Private);
    }
    if is_phase(dir) || KNOWN_DIRS.contains(&dir) {
        return None;
    }
    let phases: Vec<String> = phase_dirs().collect();
    let near = nearest(dir, phases.iter().map(String::as_str));
    let near = near.filter(|near| near.len().abs_diff(dir.len()) <= 2);
    (near.is_some() || dir.strip_suffix(".d").is_some()).then(|| Why::NoPhase(near.map(str::to_owned)))
}

/// Whether a first-level directory is never merged.
fn private(dir: &str) -> bool {
    ["tests", "__pycache__"].contains(&dir)
}

fn is_phase(dir: &str) -> bool {
    phase_dirs().any(|phase| phase == dir)
}

fn phase_dirs() -> impl Iterator<Item = String> {
    Phase::ALL.into_iter().map(Phase::dir)
}

#[cfg(test)]
mod tests {
    use super::super::library::Bytes;
    use super::*;
    use crate::environment::Environment;
    use crate::runner::hook_names;

    #[test]
    fn what_is_passed_over_is_told_with_its_reason() {
        let file = |path: &str, run| Item {
            path: path.into(),
            kind: ItemKind::File {
                run,
                bytes: Bytes::Embedded(b""),
            },
        };
        let dir = |path: &str| Item {
            path: path.into(),
            kind: ItemKind::Directory,
        };
        let items = [
            dir("install.d"),
            dir("pre-instal.d"),
            dir("tests"),
            dir(".git"),
            dir("conf.d"),
            dir("bin"),
            dir("static"),
            dir("udev.d"),
            dir("install.d/foo-source-install"),
            file("elements-deps", false),
            file("README.md", false),
            file("element-deps", false),
            file("source-repository-x", false),
            file("install.d/10-runs", true),
            file("install.d/10-not", false),
            file("install.d/package-installs-x", false),
            file("install.d/x.sh", true),
            file("install.d/.hidden", true),
            file("install.d/foo-source-install/10-x.sh", true),
            file("environment.d/10-a.bash", false),
            file("environment.d/10 b", false),
            file("tests/x.sh", true),
            file("static/x.txt", false),
            file("static/.keep", false),
        ];
        let names = hook_names(&Environment::default()).unwrap();
        let found: Vec<String> = ignored(&items, &names)
            .iter()
            .map(|ignored| format!("{}: {}", ignored.path.display(), ignored.why))
            .collect();
        let expected = [
            "pre-instal.d: no phase, so never run; did you mean pre-install.d?",
            "tests: for authors, not for builds",
            ".git: hidden",
            "conf.d: no phase, so never run",
            "elements-deps: means nothing; did you mean element-deps?",
            "install.d/10-not: not executable",
            "install.d/x.sh: its name is no hook's: those are made of letters, digits, _ and -",
            "install.d/.hidden: hidden",
            "environment.d/10 b: its name is no snippet's: those are made of letters, digits, _, - and .",
            "static/.keep: hidden",
        ];
        assert_eq!(found, expected);
    }
}
