//! The disks of a build: YAML → a layout, a value that is decided before the first hook.
//!
//! | module | what it is |
//! |---|---|
//! | `source` | which text it is: the user's, an element's, or the built-in one |
//! | `config` | text → nodes, or every fault with its line |
//! | [`sizes`] | sizes and parts of the whole, as layouts write them |
//! | `resolve`, `volumes` | nodes → [`layout`]: what stands on what |
//! | [`format`](mod@format) | what stands there, with label and identity |
//! | [`split`](mod@split) | one tree → a tree for each file system |
//! | [`placing`] | where everything lies, once the trees are known |
//! | [`disk`] | the map of every disk: tables, boot code, volumes, file systems |
//! | [`facts`] | what hooks can learn of it |
//! | [`old`] | what `block-device.d` of old made of a file |
//!
//! No device of any kind is made or asked: `/dev/dib/image0p1` is a name for what is planned.

mod config;
pub mod disk;
pub mod facts;
pub mod format;
pub mod layout;
pub mod old;
pub mod placing;
mod resolve;
pub mod sizes;
mod source;
pub mod split;
#[cfg(test)]
mod tests;
mod volumes;

use std::path::Path;

use image_core::Tree;
use image_core::tree::{Meta, Time};

use self::config::Faults;
pub use self::format::Defaults;
pub use self::layout::Layout;
use self::resolve::Failure;
use self::source::Source;
use crate::element::library::Element;
use crate::error::{Error, Result};

/// Decides the layout of a build. Returns its text, too.
pub fn decide(elements: &[Element], defaults: &Defaults<'_>) -> Result<(Layout, String)> {
    let source = Source::of_build(defaults.environment, elements, defaults.settings)?;
    read(&source, defaults).map(|layout| (layout, source.text))
}

/// Reads the layout that a file describes.
pub fn of_file(path: &Path, defaults: &Defaults<'_>) -> Result<Layout> {
    read(&Source::of_file(path)?, defaults)
}

/// The layout of what has no elements: one file system on the whole disk.
pub fn bare(defaults: &Defaults<'_>) -> Result<Layout> {
    read(&Source::built_in(), defaults)
}

/// What is on a file system that nothing fills.
fn empty_tree(epoch: Time) -> Tree {
    let root = Meta {
        mtime: epoch,
        ..Meta::root(0o755)
    };
    Tree::builder(root).build().expect("a root alone is a tree")
}

fn read(source: &Source, defaults: &Defaults<'_>) -> Result<Layout> {
    let mut faults = Faults::default();
    let config = config::parse(&source.text, &mut faults);
    let layout = if config.nodes.is_empty() {
        if faults.is_empty() {
            faults.add(1, "the layout is empty");
        }
        Err(Failure::Text)
    } else {
        resolve::resolve(&config, defaults, &source.place, &mut faults)
    };
    if let Some(told) = faults.told(&source.place) {
        return Err(Error::new(source.kind, told));
    }
    match layout {
        Ok(mut layout) => {
            let ignored = config.ignored.iter();
            let warnings = ignored.map(|(line, told)| format!("{}:{line}: {told}", source.place));
            layout.warnings.extend(warnings);
            Ok(layout)
        }
        Err(Failure::Asked(error)) => Err(error),
        Err(Failure::Text) => Err(Error::new(source.kind, format!("{}: no layout", source.place))),
    }
}
