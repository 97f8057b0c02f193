//! The test cases of a library: directories `test-elements/CASE` of its elements.

use std::path::Path;

use super::super::elements::unknown;
use crate::element::library::{Element, Item, ItemKind, Library};
use crate::element::portrait::cases;
use crate::error::{Error, Kind, Result};
use crate::suggest::nearest;

/// The directory of an element that holds its cases.
pub(super) const DIRECTORY: &str = "test-elements";

/// A test case of an element.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// The element.
    pub(super) element: Element,
    /// The case's name, under which it is an element itself.
    pub(super) name: String,
    /// More words of the command line, one a line.
    pub(super) arguments: Option<String>,
    /// Variables of the build, one a line.
    pub(super) variables: Option<String>,
    /// The types of the image.
    pub(super) formats: Vec<String>,
    /// Whether a ramdisk is built.
    pub(super) ramdisk: bool,
    /// A script that succeeds where the case can run.
    pub(super) require: Option<String>,
    /// What a build that must fail says.
    pub(super) fails: Option<String>,
    /// A script about the image.
    pub(super) assert: Option<String>,
    /// What the serial line of the booted image says.
    pub(super) boot: Option<String>,
}

impl Case {
    /// The name by which it is called.
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.element.name, self.name)
    }

    fn read(element: &Element, items: &[Item], name: &str) -> Result<Self> {
        let dir = Path::new(DIRECTORY).join(name);
        let text = |file: &str| -> Result<Option<String>> {
            let path = dir.join(file);
            match items.iter().find(|item| item.path == path).map(|item| &item.kind) {
                Some(ItemKind::File { bytes, .. }) => bytes.text().map(Some),
                Some(ItemKind::Symlink { .. }) => element.linked_text(&path),
                Some(ItemKind::Directory) | None => Ok(None),
            }
        };
        let formats = text("test-output-formats")?.unwrap_or_default();
        let formats: Vec<String> = formats
            .split([',', ' ', '\n'])
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        Ok(Self {
            element: element.clone(),
            name: name.to_owned(),
            arguments: text("arguments")?,
            variables: text("variables")?,
            formats: if formats.is_empty() {
                vec!["raw".to_owned()]
            } else {
                formats
            },
            ramdisk: text("element-type")?.is_some_and(|word| word.trim() == "ramdisk"),
            require: text("require")?,
            fails: text("fails")?,
            assert: text("assert")?,
            boot: text("boot")?,
        })
    }
}

/// The cases that words name, `ELEMENT` or `ELEMENT/CASE`; without words all.
pub(super) fn find(library: &Library, words: &[String]) -> Result<Vec<Case>> {
    let mut found = Vec::new();
    if words.is_empty() {
        for name in library.names() {
            let (element, items) = opened(library, name)?;
            for case in cases(&items) {
                found.push(Case::read(element, &items, &case)?);
            }
        }
        return Ok(found);
    }
    for word in words {
        let (name, wanted) = match word.split_once('/') {
            Some((name, case)) => (name, Some(case)),
            None => (word.as_str(), None),
        };
        let (element, items) = opened(library, name)?;
        let all = cases(&items);
        let chosen: Vec<&String> = all
            .iter()
            .filter(|case| wanted.is_none_or(|wanted| *case == wanted))
            .collect();
        if chosen.is_empty() {
            return Err(none(name, wanted, &all));
        }
        for case in chosen {
            found.push(Case::read(element, &items, case)?);
        }
    }
    Ok(found)
}

fn opened<'a>(library: &'a Library, name: &str) -> Result<(&'a Element, Vec<Item>)> {
    let element = library.get(name).ok_or_else(|| unknown(library, name))?;
    Ok((element, element.items()?))
}

fn none(name: &str, wanted: Option<&str>, all: &[String]) -> Error {
    let message = match wanted {
        Some(case) => format!("element {name} has no test case '{case}'"),
        None => format!("element {name} has no test case"),
    };
    let error = Error::new(Kind::Elements, message);
    let near = wanted.and_then(|wanted| nearest(wanted, all.iter().map(String::as_str)));
    match near {
        Some(near) => error.hint(format!("did you mean {name}/{near}?")),
        None if all.is_empty() => {
            error.hint(format!("a case is a directory {DIRECTORY}/NAME of the element"))
        }
        None => error.hint(format!("its cases are {}", all.join(", "))),
    }
}
