//! What the core tells the hooks of a build: where its elements lie, and where its tree is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::sandbox::rooted::Rooted;
use crate::ui;

/// The elements of the build and their directories, sorted by name. Of two elements of one name there is one here.
pub(super) fn elements() -> Result<Vec<(String, PathBuf)>, String> {
    let published =
        std::env::var("IMAGE_ELEMENT_YAML").map_err(|error| format!("IMAGE_ELEMENT_YAML: {error}"))?;
    let pairs = published.lines().filter_map(|line| line.split_once(": "));
    Ok(pairs.map(|(name, path)| (name.to_owned(), path.into())).collect())
}

/// The text of a file of an element, if there is one.
pub(super) fn text(directory: &Path, name: &str) -> Result<Option<String>, String> {
    let path = directory.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let text = crate::given::read_text(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Some(text))
}

/// The tree of the build, which no link in it leads out of.
pub(super) fn tree() -> Result<Rooted, String> {
    let path = std::env::var_os("TMP_MOUNT_PATH")
        .ok_or("TMP_MOUNT_PATH is not set: this is for hooks of a build")?;
    Rooted::open(Path::new(&path)).map_err(|error| format!("{}: {error}", Path::new(&path).display()))
}

/// A command that hooks call without arguments: says what was wrong.
pub(super) fn finish(name: &str, args: &[OsString], body: impl FnOnce() -> Result<(), String>) -> u8 {
    let done = match args.get(1) {
        Some(more) => Err(format!("unknown argument '{}'", more.display())),
        None => body(),
    };
    match done {
        Ok(()) => 0,
        Err(message) => {
            ui::note(format_args!("{name}: {message}"));
            1
        }
    }
}
