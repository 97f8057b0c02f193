//! What `package-installs.yaml` files ask for: gathered on the host, read in the chroot.
//!
//! - `package-installs-squash OUTPUT` reads the files of all elements, drops the entries whose conditions do not hold,
//!   and writes one list by phase as JSON. It runs where every element still lies in its own directory.
//! - `package-installs-list --phase P [--uninstall] FILE` prints the packages of one phase, translated by the elements'
//!   package maps, sorted and without duplicates. Installing them is the business of the hook that asks.
//!
//! A plain install anywhere cancels every removal of the same package.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::pkg_map::{Distribution, PackageMap};
use super::published;
use crate::sandbox::rooted::Rooted;
use crate::ui;

/// The lists of an element.
pub(crate) const FILES: [&str; 2] = ["package-installs.yaml", "package-installs.json"];

pub(crate) const PHASES: [&str; 3] = ["pre-install.d", "install.d", "post-install.d"];
pub(crate) const KEYS: [&str; 8] = [
    "phase",
    "uninstall",
    "build-only",
    "installtype",
    "arch",
    "not-arch",
    "dib_python_version",
    "when",
];

/// The squashed list: phase → what to do in it.
pub type Squashed = BTreeMap<String, Actions>;

/// Packages of one phase, each with the element that asks for it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Actions {
    install: BTreeSet<(String, String)>,
    uninstall: BTreeSet<(String, String)>,
}

/// What conditions are judged by: the variables of the build.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One entry of a file, its conditions already known to hold.
#[derive(Debug, PartialEq)]
struct Entry {
    phase: String,
    uninstall: bool,
    build_only: bool,
}

/// Gathers the entries of all elements, `(name, parsed file)`.
pub(crate) fn squash(
    elements: &[(String, Map<String, Value>)],
    variable: Lookup<'_>,
) -> Result<Squashed, String> {
    let mut squashed = Squashed::new();
    let mut plain = BTreeSet::new();
    for (element, packages) in elements {
        for (package, value) in packages {
            let in_place = |what| format!("element '{element}', package '{package}': {what}");
            for entry in entries(element, value, variable).map_err(in_place)? {
                let actions = squashed.entry(entry.phase).or_default();
                let asked = (package.clone(), element.clone());
                if entry.uninstall {
                    actions.uninstall.insert(asked);
                    continue;
                }
                if entry.build_only {
                    actions.uninstall.insert(asked.clone());
                } else {
                    plain.insert(package.clone());
                }
                actions.install.insert(asked);
            }
        }
    }
    for actions in squashed.values_mut() {
        actions.uninstall.retain(|(package, _)| !plain.contains(package));
    }
    Ok(squashed)
}

/// The packages that a file of an element wants installed in this build, whatever becomes of them later.
pub(crate) fn installed(
    element: &str,
    packages: Map<String, Value>,
    variable: Lookup<'_>,
) -> Result<Vec<String>, String> {
    let squashed = squash(&[(element.to_owned(), packages)], variable)?;
    let asked = squashed.into_values().flat_map(|actions| actions.install);
    Ok(asked.map(|(package, _)| package).collect())
}

/// The entries of one package that apply to this build.
fn entries(element: &str, value: &Value, variable: Lookup<'_>) -> Result<Vec<Entry>, String> {
    let empty = Map::new();
    let maps = match value {
        Value::Null => vec![&empty],
        Value::Object(map) => vec![map],
        Value::Array(list) => list
            .iter()
            .map(|item| item.as_object().ok_or_else(|| "a list must hold maps".to_owned()))
            .collect::<Result<_, _>>()?,
        _ => return Err("expected nothing, a map or a list of maps".into()),
    };
    maps.into_iter()
        .filter_map(|map| entry(element, map, variable).transpose())
        .collect()
}

fn entry(element: &str, map: &Map<String, Value>, variable: Lookup<'_>) -> Result<Option<Entry>, String> {
    if let Some(key) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key '{key}'"));
    }
    let word = |key| map.get(key).map(text).transpose();
    let applies = arch_applies(
        word("arch")?,
        word("not-arch")?,
        &variable("ARCH").unwrap_or_default(),
    )? && word("installtype")?.is_none_or(|wanted| wanted == install_type(element, variable))
        && word("dib_python_version")?.is_none_or(|wanted| wanted == python_version(variable))
        && conditions_hold(map.get("when"), variable)?;
    let phase = word("phase")?.unwrap_or_else(|| "install.d".into());
    if !PHASES.contains(&phase.as_str()) {
        return Err(format!("no packages are installed in phase '{phase}'"));
    }
    let flag = |key| map.get(key).map_or(Ok(false), |value| truth(key, value));
    let entry = Entry {
        phase,
        uninstall: flag("uninstall")?,
        build_only: flag("build-only")?,
    };
    Ok(applies.then_some(entry))
}

fn arch_applies(only: Option<String>, not: Option<String>, arch: &str) -> Result<bool, String> {
    let lists = |words: &str| words.split(',').any(|word| word.trim() == arch);
    match (only, not) {
        (Some(_), Some(_)) => Err("'arch' and 'not-arch' exclude each other".into()),
        (Some(only), None) => Ok(lists(&only)),
        (None, Some(not)) => Ok(!lists(&not)),
        (None, None) => Ok(true),
    }
}

fn install_type(element: &str, variable: Lookup<'_>) -> String {
    variable(&format!("DIB_INSTALLTYPE_{}", element.replace('-', "_")))
        .or_else(|| variable("DIB_DEFAULT_INSTALLTYPE"))
        .unwrap_or_else(|| "source".into())
}

fn python_version(variable: Lookup<'_>) -> String {
    variable("DIB_PYTHON_VERSION").unwrap_or_else(|| "3".into())
}

/// Whether all of `when` holds: `VAR = value` or `VAR != value`, or a list of those.
fn conditions_hold(when: Option<&Value>, variable: Lookup<'_>) -> Result<bool, String> {
    let conditions = match when {
        None | Some(Value::Null) => return Ok(true),
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one) => vec![one],
    };
    for condition in conditions {
        let condition = text(condition)?;
        let (name, wanted, equal) = match (condition.split_once("!="), condition.split_once('=')) {
            (Some((name, value)), _) => (name, value, false),
            (None, Some((name, value))) => (name, value, true),
            (None, None) => {
                return Err(format!(
                    "'{condition}' is neither 'VAR = value' nor 'VAR != value'"
                ));
            }
        };
        let name = name.trim();
        let value = variable(name).ok_or_else(|| format!("'{condition}': {name} is not set"))?;
        if (value == wanted.trim()) != equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A scalar as the text that was written: YAML takes `3` for a number.
fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other => Err(format!("expected a word, not {other}")),
    }
}

fn truth(key: &str, value: &Value) -> Result<bool, String> {
    match text(value)?.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        other => Err(format!("'{key}' is true or false, not '{other}'")),
    }
}

/// Whether a value says yes.
pub(crate) fn is_true(value: &Value) -> bool {
    truth("", value).is_ok_and(|truth| truth)
}

/// The packages of one phase under their names in this distribution.
fn list(
    actions: &Actions,
    uninstall: bool,
    root: &Path,
    distribution: &Distribution,
) -> Result<BTreeSet<String>, String> {
    let asked = if uninstall {
        &actions.uninstall
    } else {
        &actions.install
    };
    let mut names = BTreeSet::new();
    for (package, element) in asked {
        let map = PackageMap::of_element(root, element)?.unwrap_or_default();
        names.extend(
            map.lookup(package, distribution)
                .unwrap_or_else(|| vec![package.clone()]),
        );
    }
    Ok(names)
}

/// Gathers the package-installs files of all elements into one list.
#[derive(Debug, Parser)]
#[command(name = "package-installs-squash")]
struct SquashArgs {
    /// Where to write the list
    output: PathBuf,
}

/// Runs `package-installs-squash`.
pub fn run_squash(args: &[OsString]) -> u8 {
    finish(
        "package-installs-squash",
        super::parsed::<SquashArgs>(args),
        |args| {
            let mut elements = Vec::new();
            for (name, path) in published::elements()? {
                let parsed = read_element(&path)?;
                elements.extend(parsed.into_iter().map(|packages| (name.clone(), packages)));
            }
            let squashed = squash(&elements, &|name| std::env::var(name).ok())?;
            let json = serde_json::to_string_pretty(&squashed).map_err(|error| error.to_string())?;
            write(&args.output, &(json + "\n")).map_err(|error| format!("{}: {error}", args.output.display()))
        },
    )
}

/// Writes a file; one of the tree inside the tree, whatever links are on the way.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let tree = std::env::var_os("TMP_MOUNT_PATH").map(PathBuf::from);
    let within = tree
        .as_deref()
        .and_then(|tree| Some((tree, path.strip_prefix(tree).ok()?)));
    let Some((tree, within)) = within else {
        return std::fs::write(path, text);
    };
    let names: Vec<&[u8]> = within
        .components()
        .map(|name| name.as_os_str().as_bytes())
        .collect();
    let (name, parents) = names.split_last().ok_or(io::ErrorKind::InvalidInput)?;
    let name = std::str::from_utf8(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    Rooted::open(tree)?
        .make_dirs(parents, 0o755)?
        .write(name, 0o644, text.as_bytes())
}

/// The files of one element: its YAML, its JSON, or both.
fn read_element(directory: &Path) -> Result<Vec<Map<String, Value>>, String> {
    let mut found = Vec::new();
    for name in FILES {
        if let Some(text) = published::text(directory, name)? {
            let wrong = |why: String| format!("{}: {why}", directory.join(name).display());
            found.extend(parse(&text).map_err(wrong)?);
        }
    }
    Ok(found)
}

/// The packages of one file. JSON is YAML, too; an empty file asks for nothing.
pub(crate) fn parse(text: &str) -> Result<Option<Map<String, Value>>, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// Prints the packages of one phase, under their names in this distribution.
#[derive(Debug, Parser)]
#[command(name = "package-installs-list")]
struct ListArgs {
    /// The phase
    #[arg(long)]
    phase: String,
    /// Those to remove, not those to install
    #[arg(long)]
    uninstall: bool,
    /// The root of the tree that holds the package maps
    #[arg(long, default_value = "/")]
    prefix: PathBuf,
    /// What package-installs-squash wrote
    file: PathBuf,
}

/// Runs `package-installs-list`.
pub fn run_list(args: &[OsString]) -> u8 {
    finish("package-installs-list", super::parsed::<ListArgs>(args), |args| {
        let wrong = |why: String| format!("{}: {why}", args.file.display());
        let text = crate::given::read_text(&args.file).map_err(|error| wrong(error.to_string()))?;
        let squashed: Squashed = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if let Some(actions) = squashed.get(&args.phase) {
            let distribution = Distribution::from_environment();
            for name in list(actions, args.uninstall, &args.prefix, &distribution)? {
                ui::print(format_args!("{name}\n")).map_err(|error| error.message())?;
            }
        }
        Ok(())
    })
}

fn finish<A>(name: &str, args: Result<A, u8>, body: impl FnOnce(A) -> Result<(), String>) -> u8 {
    match args {
        Err(status) => status,
        Ok(args) => match body(args) {
            Ok(()) => 0,
            Err(message) => {
                ui::note(format_args!("{name}: {message}"));
                1
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        let set = [
            ("ARCH", "amd64"),
            ("DISTRO_NAME", "debian"),
            ("DIB_INSTALLTYPE_my_tool", "package"),
            ("EMPTY", ""),
        ];
        set.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    }

    fn squash_files(files: &[(&str, &str)]) -> Result<Squashed, String> {
        let parsed: Vec<_> = files
            .iter()
            .map(|(element, text)| ((*element).to_owned(), serde_saphyr::from_str(text).unwrap()))
            .collect();
        squash(&parsed, &variables)
    }

    /// The packages that one file of element `my-tool` installs in install.d.
    fn installed(text: &str) -> Vec<String> {
        let mut squashed = squash_files(&[("my-tool", text)]).unwrap();
        let actions = squashed.remove("install.d").unwrap_or_default();
        actions.install.into_iter().map(|(package, _)| package).collect()
    }

    #[test]
    fn conditions_choose() {
        let table = [
            ("a:", true),
            ("a: {}", true),
            ("a: {arch: amd64}", true),
            ("a: {arch: 'i386, amd64'}", true),
            ("a: {arch: arm64}", false),
            ("a: {not-arch: 'arm64, amd64'}", false),
            ("a: {not-arch: arm64}", true),
            ("a: {installtype: package}", true),
            ("a: {installtype: source}", false),
            ("a: {dib_python_version: 3}", true),
            ("a: {dib_python_version: '2'}", false),
            ("a: {when: DISTRO_NAME = debian}", true),
            ("a: {when: DISTRO_NAME!=debian}", false),
            ("a: {when: [DISTRO_NAME = debian, ARCH != amd64]}", false),
            ("a: {when: EMPTY = }", true),
            ("a: [{arch: arm64}, {arch: amd64}]", true),
            ("a: {uninstall: yes}", false),
            ("a: {phase: post-install.d}", false),
        ];
        for (text, expected) in table {
            assert_eq!(!installed(text).is_empty(), expected, "{text}");
        }
    }

    #[test]
    fn a_plain_install_cancels_every_removal() {
        let squashed = squash_files(&[
            (
                "a",
                "gcc: {build-only: true}\nvim: {uninstall: true}\nmake: {build-only: true}",
            ),
            ("b", "gcc:\nvim: {phase: post-install.d}"),
        ])
        .unwrap();
        let removed = &squashed["install.d"].uninstall;
        assert_eq!(
            removed
                .iter()
                .map(|(package, _)| package.as_str())
                .collect::<Vec<_>>(),
            ["make"]
        );
        assert_eq!(squashed["install.d"].install.len(), 3);
    }

    #[test]
    fn mistakes_are_named() {
        let table = [
            (
                "a: {arhc: amd64}",
                "element 'my-tool', package 'a': unknown key 'arhc'",
            ),
            (
                "a: {arch: x, not-arch: y}",
                "'arch' and 'not-arch' exclude each other",
            ),
            ("a: {when: UNSET = 1}", "UNSET is not set"),
            ("a: {when: debian}", "neither"),
            ("a: {phase: root.d}", "'root.d'"),
            ("a: {uninstall: maybe}", "'uninstall' is true or false"),
            ("a: word", "expected nothing, a map or a list of maps"),
        ];
        for (text, expected) in table {
            let error = squash_files(&[("my-tool", text)]).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_list_survives_its_file_and_is_translated() {
        let squashed = squash_files(&[("net", "dhcp:\ntcpdump:")]).unwrap();
        let json = serde_json::to_string(&squashed).unwrap();
        let read: Squashed = serde_json::from_str(&json).unwrap();
        assert_eq!(read, squashed);

        let dir = tempfile::tempdir().unwrap();
        let maps = dir.path().join("usr/share/pkg-map");
        std::fs::create_dir_all(&maps).unwrap();
        std::fs::write(maps.join("net"), r#"{"default": {"dhcp": "zeta alpha"}}"#).unwrap();
        let names = list(
            &read["install.d"],
            false,
            dir.path(),
            &Distribution::new("debian", "sid"),
        )
        .unwrap();
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            ["alpha", "tcpdump", "zeta"]
        );
    }
}
