//! An element as its readers want to know it: what kind it is, what it says of itself, its hooks, its variables, what it
//! needs.
//!
//! Nothing of it is kept in a list somewhere: the kind follows from what the element holds, the summary is the first
//! sentence of its README, the variables are those of its README's tables and those that its files read.

use std::collections::BTreeSet;
use std::path::Path;

use regex_lite::Regex;
use serde::Serialize;

use super::library::{Element, Item, ItemKind, Library};
use super::resolve::OPERATING_SYSTEM;
use crate::error::Result;
use crate::phase::Phase;
use crate::runner::{HOOK_NAMES, hook_order, is_snippet_name};

pub use variables::Variable;

mod variables;

/// The version of the JSON.
pub const VERSION: u32 = 1;

/// What the JSON of `dib elements` holds.
pub const SCHEMA: &str = "\
JSON, version 1:
  version   1; within a version fields are only added
  elements  by name: {name, kind, summary, place, provides, needs}; place is a directory or 'this program'; 'show' adds
            hooks, in the order of phases: {phase, hook, path, install_type}, null where it is for all types; snippets of
            environment.d; data, the names of its other directories and files; variables: {name, default, meaning}, null
            where its README has none; cases, the names of its tests; tree: {name, known, provided_by, needs}, each element
            with what it needs where it comes first; and readme";

/// Levels of a tree of dependencies that are told.
const LEVELS_MAX: usize = 64;

/// What an element is, by what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It provides an operating system.
    System,
    /// It lays out disks, or has machines boot them.
    Disk,
    /// It brings parts of ramdisks.
    Ramdisk,
    /// It has hooks.
    Hooks,
    /// It installs packages, without a hook.
    Packages,
    /// It brings commands or files, without a hook.
    Files,
    /// It sets variables, and nothing more.
    Settings,
    /// It stands for what it needs.
    Group,
    /// Its name is all there is to it.
    Marker,
}

/// A short account of an element.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: What,
    /// The first sentence of its README.
    pub summary: String,
    /// Where it lies.
    pub place: String,
    /// What else it is.
    pub provides: Vec<String>,
    /// What it needs.
    pub needs: Vec<String>,
}

/// All about an element.
#[derive(Clone, Debug, Serialize)]
pub struct Portrait {
    /// In short.
    #[serde(flatten)]
    pub line: Line,
    /// Its hooks, phase by phase, in the order in which they run.
    pub hooks: Vec<Hook>,
    /// Its snippets of `environment.d`.
    pub snippets: Vec<String>,
    /// What else it holds, at its first level.
    pub data: Vec<String>,
    /// Its variables.
    pub variables: Vec<Variable>,
    /// The names of its test cases.
    pub cases: Vec<String>,
    /// What it needs, and what that needs.
    pub tree: Need,
    /// Its README.
    pub readme: String,
}

/// A hook.
#[derive(Clone, Debug, Serialize)]
pub struct Hook {
    /// The directory of its phase.
    pub phase: String,
    /// Its name.
    pub hook: String,
    /// Its path in the element.
    pub path: String,
    /// The install type that it is for, if it is not for all.
    pub install_type: Option<String>,
}

/// An element that is needed, with what it needs itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Its name.
    pub name: String,
    /// Whether there is an element of this name.
    pub known: bool,
    /// The elements that provide it where there is none.
    pub provided_by: Vec<String>,
    /// What it needs; empty where an element stands a second time.
    pub needs: Vec<Need>,
}

impl Line {
    /// That of an element.
    pub fn of(element: &Element) -> Result<Self> {
        let items = element.items()?;
        Ok(Self::with(element, &items, &readme(&items)))
    }

    fn with(element: &Element, items: &[Item], readme: &str) -> Self {
        Self {
            name: element.name.clone(),
            kind: what(element, items),
            summary: summary(readme),
            place: element.origin.to_string(),
            provides: element.provides.clone(),
            needs: element.deps.clone(),
        }
    }
}

impl Portrait {
    /// That of an element of a library.
    pub fn of(library: &Library, element: &Element) -> Result<Self> {
        let items = element.items()?;
        let readme = readme(&items);
        let snippets = names_in(&items, "environment.d");
        let snippets = snippets
            .into_iter()
            .filter(|name| is_snippet_name(name.as_bytes()));
        Ok(Self {
            line: Line::with(element, &items, &readme),
            hooks: hooks(&items),
            snippets: snippets.collect(),
            data: data(&items),
            variables: variables::variables(&items, &readme),
            cases: cases(&items),
            tree: need(library, &element.name, &mut BTreeSet::new(), 0),
            readme,
        })
    }
}

fn what(element: &Element, items: &[Item]) -> What {
    let has = |names: &[&str]| {
        names
            .iter()
            .any(|name| items.iter().any(|item| item.path == Path::new(name)))
    };
    let provides = |name: &str| element.provides.iter().any(|provided| provided == name);
    let disks = |item: &Item| {
        let name = item.path.to_string_lossy();
        name.starts_with("block-device-") && name.ends_with(".yaml")
    };
    let listed = ["package-installs.yaml", "package-installs.json"];
    if provides(OPERATING_SYSTEM) {
        What::System
    } else if provides("block-device") || provides("bootloader") || items.iter().any(disks) {
        What::Disk
    } else if has(&["init.d", "binary-deps.d", "ramdisk-install.d", "dracut-drivers.d"]) {
        What::Ramdisk
    } else if !hooks(items).is_empty() {
        What::Hooks
    } else if has(&listed) {
        What::Packages
    } else if has(&["bin", "static", "init-scripts", "modprobe.d", "dracut.conf.d"]) {
        What::Files
    } else if has(&["environment.d"]) {
        What::Settings
    } else if !element.deps.is_empty() {
        What::Group
    } else {
        What::Marker
    }
}

/// The README of an element, in whichever of its two languages, without what a terminal would obey.
fn readme(items: &[Item]) -> String {
    let text = ["README.md", "README.rst"]
        .iter()
        .find_map(|name| text_of(items, Path::new(name)));
    harmless(&text.unwrap_or_default())
}

fn text_of(items: &[Item], path: &Path) -> Option<String> {
    let item = items.iter().find(|item| item.path == path)?;
    match &item.kind {
        ItemKind::File { bytes, .. } => bytes.text().ok(),
        _ => None,
    }
}

/// A text whose control characters, but for the ends of lines and tabulators, are written out.
pub fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => clean.push(letter),
            '\r' => {}
            letter if letter.is_control() => clean.extend(letter.escape_default()),
            letter => clean.push(letter),
        }
    }
    clean
}

/// The first sentence of the first paragraph that is no title.
fn summary(readme: &str) -> String {
    let is_rule = |line: &str| {
        let first = line.chars().next();
        first.is_some_and(|first| !first.is_alphanumeric() && line.chars().all(|letter| letter == first))
    };
    let paragraphs = readme.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        // A title is a line with a rule below it, or one that begins with #.
        let title = lines
            .iter()
            .rposition(|line| is_rule(line) || line.starts_with('#'));
        lines[title.map_or(0, |title| title + 1)..].join(" ")
    });
    let is_text = |text: &String| {
        !text.is_empty() && !text.starts_with([':', '.', '|', '`', '-', '<']) || {
            // A sentence may begin with the name of a command.
            text.starts_with('`') && !text.starts_with("```")
        }
    };
    let Some(text) = paragraphs.into_iter().find(is_text) else {
        return String::new();
    };
    let links = Regex::new(r"\[([^\]]*)\]\([^)]*\)").expect("the pattern is a constant");
    let text = links.replace_all(&text, "$1").into_owned();
    let ends = text.match_indices(". ").map(|(at, _)| at);
    // "e.g." ends no sentence.
    let end = ends
        .filter(|at| {
            !text[..*at]
                .rsplit([' ', '('])
                .next()
                .unwrap_or_default()
                .contains('.')
        })
        .find(|at| text[at + 2..].starts_with(|letter: char| !letter.is_lowercase()));
    text[..end.map_or(text.len(), |end| end + 1)].to_owned()
}

/// The names of the files directly in a directory.
fn names_in(items: &[Item], dir: &str) -> Vec<String> {
    let within = items.iter().filter(|item| item.kind != ItemKind::Directory);
    let names = within.filter_map(|item| {
        let name = item.path.strip_prefix(dir).ok()?;
        (name.components().count() == 1).then(|| name.to_string_lossy().into_owned())
    });
    names.collect()
}

fn hooks(items: &[Item]) -> Vec<Hook> {
    let pattern = Regex::new(HOOK_NAMES).expect("the pattern is a constant");
    let mut hooks = Vec::new();
    for phase in Phase::ALL {
        let dir = phase.dir();
        hooks.extend(hooks_in(items, &pattern, &dir, &dir, None));
        if phase == Phase::Install {
            for (of_type, install_type) in of_install_types(items) {
                hooks.extend(hooks_in(items, &pattern, &of_type, &dir, Some(install_type)));
            }
        }
    }
    hooks
}

/// The directories `install.d/NAME-TYPE-install`, of which element `install-types` links the hooks of one type into `install.d`,
/// and their types.
fn of_install_types(items: &[Item]) -> Vec<(String, &str)> {
    let dirs = items.iter().filter(|item| item.kind == ItemKind::Directory);
    let of_type = dirs.filter_map(|item| {
        let path = item.path.to_str()?;
        let name = path.strip_prefix("install.d/")?.strip_suffix("-install")?;
        let (_, install_type) = name.rsplit_once('-')?;
        (!name.contains('/')).then(|| (path.to_owned(), install_type))
    });
    of_type.collect()
}

/// The hooks of a phase that lie in a directory, by the pattern of their names.
fn hooks_in(
    items: &[Item],
    pattern: &Regex,
    dir: &str,
    phase: &str,
    install_type: Option<&str>,
) -> Vec<Hook> {
    let runs = |name: &String| {
        let path = Path::new(dir).join(name);
        let item = items.iter().find(|item| item.path == path);
        item.is_some_and(|item| match &item.kind {
            ItemKind::File { run, .. } => *run,
            ItemKind::Symlink { runs, .. } => *runs,
            ItemKind::Directory => false,
        })
    };
    let mut names = names_in(items, dir);
    names.retain(|name| pattern.is_match(name) && runs(name));
    names.sort_by(|a, b| hook_order(a.as_bytes(), b.as_bytes()));
    let hooks = names.into_iter().map(|hook| Hook {
        path: format!("{dir}/{hook}"),
        phase: phase.to_owned(),
        hook,
        install_type: install_type.map(str::to_owned),
    });
    hooks.collect()
}

/// What there is at the first level besides phases, lists that have a place of their own here, and READMEs.
fn data(items: &[Item]) -> Vec<String> {
    let phases: Vec<String> = Phase::ALL.into_iter().map(Phase::dir).collect();
    let own = [
        "element-deps",
        "element-provides",
        "environment.d",
        "test-elements",
        "tests",
    ];
    let first = items.iter().filter(|item| item.path.components().count() == 1);
    let names = first.map(|item| {
        let slash = if item.kind == ItemKind::Directory { "/" } else { "" };
        (item.path.to_string_lossy().into_owned(), slash)
    });
    names
        .filter(|(name, _)| {
            !name.starts_with("README") && !phases.contains(name) && !own.contains(&name.as_str())
        })
        .map(|(name, slash)| format!("{name}{slash}"))
        .collect()
}

/// The names of an element's test cases.
pub fn cases(items: &[Item]) -> Vec<String> {
    let directories = items.iter().filter(|item| item.kind == ItemKind::Directory);
    let names = directories.filter_map(|item| {
        let name = item.path.strip_prefix("test-elements").ok()?;
        (name.components().count() == 1).then(|| name.to_string_lossy().into_owned())
    });
    names.collect()
}

fn need(library: &Library, name: &str, seen: &mut BTreeSet<String>, level: usize) -> Need {
    let element = library.get(name);
    let first = seen.insert(name.to_owned());
    let deps = element
        .filter(|_| first && level < LEVELS_MAX)
        .map(|element| &element.deps);
    let provides = |other: &&str| {
        library
            .get(other)
            .is_some_and(|other| other.provides.iter().any(|provided| provided == name))
    };
    let provided_by = match element {
        Some(_) => Vec::new(),
        None => library.names().filter(provides).map(str::to_owned).collect(),
    };
    Need {
        name: name.to_owned(),
        known: element.is_some(),
        provided_by,
        needs: deps
            .into_iter()
            .flatten()
            .map(|dep| need(library, dep, seen, level + 1))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::library::tests::library;
    use super::*;

    #[test]
    fn the_first_sentence_sums_an_element_up() {
        for (readme, expected) in [
            ("# a\n\nDoes a thing. Then more.\n", "Does a thing."),
            (
                "# a\n\nDoes\na thing: so\nand so.\n\nMore.\n",
                "Does a thing: so and so.",
            ),
            ("=\na\n=\nOf old. More.\n", "Of old."),
            (
                "===\nold\n===\n\nOf old, e.g. this. More.\n",
                "Of old, e.g. this.",
            ),
            (
                "# a\n\n`cmd [-f] X` makes [b](../b/README.md). More.\n",
                "`cmd [-f] X` makes b.",
            ),
            ("# a\n\nVersion 1.5 of it. More.\n", "Version 1.5 of it."),
            ("# a\n\n```sh\nx\n```\n\nText.\n", "Text."),
            ("", ""),
        ] {
            assert_eq!(summary(readme), expected, "{readme}");
        }
        assert_eq!(harmless("a\x1b[2Jb\r\n\tc"), "a\\u{1b}[2Jb\n\tc");
    }

    #[test]
    fn variables_are_those_of_the_table_and_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join("e").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let readme = "# e\n\nIt is.\n\n| Variable | Default | Meaning |\n|---|---|---|\n| `DIB_A` | `1` | how many |\n";
        write("README.md", readme);
        write(
            "environment.d/10-e.bash",
            "export DIB_A=${DIB_A:-1} DIB_B=${DIB_B:-two}\n",
        );
        write(
            "install.d/data",
            "${DIB_C} $DIB_DEBUG_TRACE ${DIB_B:-} DIB_TYPE_$name\n",
        );
        write("test-elements/builds/assert", "echo $DIB_NOT_ITS\n");
        let library = Library::load(&[dir.path().to_owned()]).unwrap();
        let portrait = Portrait::of(&library, library.get("e").unwrap()).unwrap();
        let told: Vec<_> = portrait
            .variables
            .iter()
            .map(|variable| {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                format!(
                    "{} {} {}",
                    variable.name,
                    text(&variable.default),
                    text(&variable.meaning)
                )
            })
            .collect();
        assert_eq!(told, ["DIB_A `1` how many", "DIB_B two ", "DIB_C  "]);
        assert_eq!(
            portrait.line.kind,
            What::Settings,
            "a file that may not run is no hook"
        );
        assert_eq!(
            (&portrait.cases[..], &portrait.snippets[..]),
            (&["builds".to_owned()][..], &["10-e.bash".to_owned()][..])
        );
    }

    fn told(need: &Need) -> String {
        let needs: Vec<_> = need.needs.iter().map(told).collect();
        let by = need.provided_by.join("|");
        let mark = if need.known {
            String::new()
        } else {
            format!("?{by}")
        };
        format!("{}{mark}({})", need.name, needs.join(" "))
    }

    #[test]
    fn a_tree_shows_each_element_once_with_what_it_needs() {
        let library = library(&[
            ("a", &["b", "c", "disk"], &[]),
            ("b", &["c", "a"], &[]),
            ("c", &["d"], &[]),
            ("d", &["nowhere"], &[]),
            ("mbr", &[], &["disk"]),
        ]);
        let tree = need(&library, "a", &mut BTreeSet::new(), 0);
        assert_eq!(told(&tree), "a(b(c(d(nowhere?())) a()) c() disk?mbr())");
    }
}
