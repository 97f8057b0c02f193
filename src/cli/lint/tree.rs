//! The files of a directory, each with what the checks want to know of it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// A text file.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// Its path, from where the directory was named.
    pub(super) path: PathBuf,
    /// The element that it belongs to, if any, and its path in that.
    pub(super) part: Option<(String, PathBuf)>,
    /// What it says.
    pub(super) text: String,
    /// Whether it may be executed.
    pub(super) run: bool,
}

/// The text files below a directory, sorted; no link is followed, no version control and no compiled Python is read.
pub(super) fn files(dir: &Path, of_elements: bool) -> Result<Vec<File>> {
    let mut found = Vec::new();
    walk(dir, &mut found).host(|| format!("cannot read {}", dir.display()))?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    for file in found.iter_mut().filter(|_| of_elements) {
        let inside = file.path.strip_prefix(dir).unwrap_or(&file.path);
        let mut parts = inside.components();
        let element = parts
            .next()
            .map(|part| part.as_os_str().to_string_lossy().into_owned());
        let path = parts.as_path().to_owned();
        let within = !path.as_os_str().is_empty();
        file.part = element.filter(|_| within).map(|element| (element, path));
    }
    Ok(found)
}

fn walk(dir: &Path, found: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if meta.is_dir() && ![".git", "__pycache__"].contains(&&*name) {
            walk(&path, found)?;
        } else if meta.is_file() {
            let Ok(text) = String::from_utf8(fs::read(&path)?) else {
                continue;
            };
            if text.contains('\0') {
                continue;
            }
            found.push(File {
                path,
                part: None,
                text,
                run: meta.permissions().mode() & 0o111 != 0,
            });
        }
    }
    Ok(())
}

impl File {
    /// The directory of an element that it stands in directly, if it does.
    pub(super) fn element_dir(&self) -> Option<&str> {
        let (_, path) = self.part.as_ref()?;
        let parent = path.parent()?.to_str()?;
        (!parent.is_empty() && !parent.contains('/')).then_some(parent)
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
    }

    /// The name of the program that runs it, if it names one.
    pub(super) fn interpreter(&self) -> Option<&str> {
        let first = self.text.lines().next()?.strip_prefix("#!")?;
        let mut words = first.split_whitespace();
        let program = words.next()?.rsplit('/').next()?;
        match program {
            "env" => words.find(|word| !word.starts_with('-')),
            _ => Some(program),
        }
    }

    /// Whether it is read by a shell, by itself or as a snippet of `environment.d`.
    pub(super) fn is_shell(&self) -> bool {
        self.element_dir() == Some("environment.d") && self.interpreter().is_none()
            || self
                .interpreter()
                .is_some_and(|program| ["sh", "bash", "dash", "ksh", "zsh"].contains(&program))
    }
}
