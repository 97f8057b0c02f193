//! Checks of elements: what a build would pass over, and what two of them would quarrel about.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::Finding;
use super::exclusions::Exclusions;
use super::tree::File;
use crate::element::ignored::{Why, ignored};
use crate::element::library::{Element, Item, Library, Origin};
use crate::error::Result;
use crate::plan::packages::packages;
use crate::runner::hook_names;

/// What is wrong with the elements of a directory.
pub(super) fn check(dir: &Path, files: &[File]) -> Result<Vec<Finding>> {
    let library = Library::load(&[dir.to_owned()])?;
    let real = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let mut findings = Vec::new();
    let mut hooks: BTreeMap<&Path, Vec<&Element>> = BTreeMap::new();
    let elements: Vec<&Element> = library
        .names()
        .filter(|name| !name.starts_with('.'))
        .filter_map(|name| library.get(name))
        .filter(|element| matches!(&element.origin, Origin::Directory(dir) if dir.starts_with(&real)))
        .collect();
    for element in &elements {
        let place = dir.join(&element.name);
        let readme = ["README.rst", "README.md"]
            .iter()
            .any(|name| place.join(name).is_file());
        if !readme {
            let text = "there is neither README.rst nor README.md";
            findings.push(finding(&place, "readme", text.to_owned()));
        }
        let items = element.items()?;
        findings.extend(passed_over(&place, element, &items, files)?);
    }
    for file in files {
        let Some((name, path)) = &file.part else { continue };
        let Some(element) = elements.iter().find(|element| element.name == *name) else {
            continue;
        };
        let merged = file
            .element_dir()
            .is_some_and(|dir| dir != "tests" && !dir.starts_with('.'));
        if !merged || file.name().starts_with('.') {
            continue;
        }
        let owners = hooks.entry(path.as_path()).or_default();
        let exclude = |other: &&&Element| other.provides.iter().any(|name| element.provides.contains(name));
        if let Some(other) = owners.iter().find(|other| !exclude(other)) {
            let text = format!(
                "element {} has the same file, so they cannot be used together",
                other.name
            );
            if !Exclusions::of_file(&file.text).has("duplicate") {
                findings.push(finding(&file.path, "duplicate", text));
            }
        }
        owners.push(element);
    }
    Ok(findings)
}

/// What of an element a build would pass over, though its author may have meant it.
fn passed_over(place: &Path, element: &Element, items: &[Item], files: &[File]) -> Result<Vec<Finding>> {
    let names = hook_names(&crate::environment::Environment::default())?;
    let mut findings = Vec::new();
    for ignored in ignored(items, &names) {
        let path = place.join(&ignored.path);
        let file = files.iter().find(|file| file.path == path);
        let excluded = file.map_or_else(Exclusions::default, |file| Exclusions::of_file(&file.text));
        let name = ignored.path.file_name().unwrap_or_default().to_string_lossy();
        // Two digits and a dash: what all hooks are named like, and hardly any data is.
        let like_a_hook = matches!(name.as_bytes(), [b'0'..=b'9', b'0'..=b'9', b'-', ..]);
        let check = match ignored.why {
            Why::NoPhase(Some(_)) | Why::Misspelt(_) => "phasename",
            Why::HookName => "hookname",
            // What begins with #! is another check's.
            Why::NotExecutable if like_a_hook && !file.is_some_and(|file| file.text.starts_with("#!")) => {
                "hookmode"
            }
            _ => continue,
        };
        if !excluded.has(check) {
            findings.push(finding(&path, check, ignored.why.to_string()));
        }
    }
    // YAML and JSON that cannot be read at all are other checks'.
    let (_, faults) = packages(element, items, &|_| None)?;
    for fault in faults {
        let Some((_, fault)) = fault.split_once(": ") else {
            continue;
        };
        let Some((file, text)) = fault.split_once(": ") else {
            continue;
        };
        if text.starts_with("element '") {
            findings.push(finding(&place.join(file), "packages", text.to_owned()));
        }
    }
    Ok(findings)
}

fn finding(path: &Path, check: &'static str, text: String) -> Finding {
    Finding {
        path: path.to_owned(),
        line: 1,
        check,
        text,
    }
}
