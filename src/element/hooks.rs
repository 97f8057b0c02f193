//! The tree of hooks: what the elements of a build make together, decided before anything is written.
//!
//! Every first-level directory of an element but `tests` and `__pycache__` is merged into one of the same name, be it
//! a phase or not; hidden entries directly in it are left out. Two elements that bring the same entry to the same
//! directory make the build fail before any hook runs. Deeper directories merge silently, and so do plain files at an
//! element's first level, where the last element wins: `element-deps` and READMEs are there in each.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use regex_lite::Regex;

use crate::element::library::{Bytes, Element, Item, ItemKind, Origin, lies_with};
use crate::error::{Context, Error, Kind, Result};
use crate::given;
use crate::phase::Phase;
use crate::runner::is_hook_name;

/// What stands where in the tree of hooks, and which element brought it.
#[derive(Clone, Debug, Default)]
pub struct HookTree {
    entries: BTreeMap<PathBuf, Entry>,
}

/// An entry of the tree of hooks.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The element that brought it.
    pub element: String,
    /// Where it comes from, for messages.
    pub from: PathBuf,
    /// What it is.
    pub kind: ItemKind,
}

impl HookTree {
    /// Merges the elements, in order.
    pub fn merge(elements: &[&Element]) -> Result<Self> {
        let mut tree = Self::default();
        for element in elements {
            let items = element.items()?;
            for item in items {
                tree.add(element, item)?;
            }
        }
        Ok(tree)
    }

    /// The entries, by path, parents first.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries.iter().map(|(path, entry)| (&**path, entry))
    }

    /// An entry.
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The files directly in a directory: names, whether each may run, and what it is.
    pub fn files<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = (&'a [u8], bool, &'a Entry)> {
        self.entries.iter().filter_map(move |(path, entry)| {
            let name = path.strip_prefix(dir).ok()?;
            let run = match &entry.kind {
                ItemKind::File { run, .. } => *run,
                ItemKind::Symlink { runs, file: true, .. } => *runs,
                _ => return None,
            };
            let single = name.components().count() == 1;
            single.then(|| (name.as_os_str().as_bytes(), run, entry))
        })
    }

    /// How much room its files take.
    pub fn bytes(&self) -> u64 {
        let bytes = |entry: &Entry| match &entry.kind {
            ItemKind::File { bytes, .. } => bytes.total(),
            _ => 0,
        };
        self.entries.values().map(bytes).fold(0, u64::saturating_add)
    }

    /// Files of phases that look like hooks and are none, and what waits for a first boot in vain.
    pub fn warnings(&self, names: &Regex) -> Vec<String> {
        let mut warnings = Vec::new();
        for phase in Phase::ALL {
            for (name, run, entry) in self.files(&phase.dir()) {
                let why = match (run, is_hook_name(names, name)) {
                    (true, false) if name.contains(&b'.') => "its name has a dot",
                    (true, false) => "its name is none of a hook",
                    (false, true) => "it may not be executed",
                    _ => continue,
                };
                warnings.push(format!(
                    "{} of element {} is no hook and will not run: {why}",
                    entry.from.display(),
                    entry.element
                ));
            }
        }
        let first_boot = self.get(Path::new(&Phase::FirstBoot.dir()));
        let base = self.entries.values().any(|entry| entry.element == "base");
        if let Some(entry) = first_boot.filter(|_| !base) {
            warnings.push(format!(
                "first-boot.d of element {} is laid into the image, but nothing runs it: element base is left out",
                entry.element
            ));
        }
        warnings
    }

    /// Writes the tree into an empty directory.
    pub fn write(&self, into: &Path) -> Result<()> {
        for (path, entry) in &self.entries {
            write(&entry.kind, &into.join(path)).host(|| format!("cannot write hook {}", path.display()))?;
        }
        Ok(())
    }

    fn add(&mut self, element: &Element, item: Item) -> Result<()> {
        let from = match &element.origin {
            Origin::Directory(dir) => dir.join(&item.path),
            Origin::BuiltIn => Path::new("(built in)").join(&element.name).join(&item.path),
        };
        let names: Vec<&[u8]> = item
            .path
            .components()
            .map(|part| part.as_os_str().as_bytes())
            .collect();
        let kind = match (&names[..], item.kind) {
            ([name], kind @ ItemKind::File { .. }) if !name.ends_with(b".pyc") => kind,
            ([name], ItemKind::Symlink { runs, file: true, .. }) if !name.ends_with(b".pyc") => {
                first_level_link(&from, runs).host(|| format!("cannot follow {}", from.display()))?
            }
            ([dir], kind @ ItemKind::Directory) if merges(dir) => kind,
            ([dir, name, ..], kind) if merges(dir) && !name.starts_with(b".") => kind,
            _ => return Ok(()),
        };
        let single = names.len() == 1;
        if let (
            [name],
            ItemKind::File {
                bytes: Bytes::OnDisk(path),
                ..
            },
        ) = (&names[..], &kind)
            && is_read(name)
        {
            let tried = || format!("element {}: cannot read {}", element.name, from.display());
            given::require_text(path).map_err(|error| Error::new(Kind::Elements, tried()).because(error))?;
        }
        if let Some(earlier) = self.entries.get(&item.path) {
            let both_directories = earlier.kind == ItemKind::Directory && kind == ItemKind::Directory;
            if !both_directories && names.len() == 2 {
                return Err(duplicate(&item.path, earlier, &from));
            }
            let one_directory = (earlier.kind == ItemKind::Directory) != (kind == ItemKind::Directory);
            if one_directory {
                return Err(duplicate(&item.path, earlier, &from));
            }
            if both_directories && !single {
                return Ok(());
            }
        }
        let element = element.name.clone();
        self.entries.insert(item.path, Entry { element, from, kind });
        Ok(())
    }
}

/// Whether a first-level file is one that this program reads for hooks.
fn is_read(name: &[u8]) -> bool {
    let lists: [&[u8]; 3] = [b"package-installs.yaml", b"package-installs.json", b"pkg-map"];
    lists.contains(&name) || name.starts_with(b"source-repository-")
}

/// Whether a first-level directory of an element becomes part of the tree of hooks.
fn merges(dir: &[u8]) -> bool {
    dir != b"tests" && dir != b"__pycache__" && !dir.starts_with(b".")
}

/// What a link at an element's first level leads to is what counts: the link itself would dangle. What lies outside of
/// the directory of elements is not read, but hooks on the host find it where the link leads.
fn first_level_link(link: &Path, runs: bool) -> io::Result<ItemKind> {
    let real = link.canonicalize()?;
    if link.parent().is_some_and(|element| lies_with(&real, element)) {
        let bytes = Bytes::OnDisk(real);
        return Ok(ItemKind::File { run: runs, bytes });
    }
    Ok(ItemKind::Symlink {
        target: real,
        runs,
        file: true,
    })
}

fn duplicate(path: &Path, earlier: &Entry, second: &Path) -> Error {
    let message = format!(
        "There is a duplicated hook in your elements: {} is both {} and {}",
        path.display(),
        earlier.from.display(),
        second.display()
    );
    Error::new(Kind::Elements, message).hint("rename one of them, or leave out one of the elements")
}

/// Writes one file of an element.
fn write(kind: &ItemKind, to: &Path) -> io::Result<()> {
    match kind {
        ItemKind::Directory => match fs::create_dir(to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        },
        ItemKind::Symlink { target, .. } => symlink(target, to),
        ItemKind::File { run, bytes } => {
            let mut file = fs::File::create_new(to)?;
            match bytes {
                // It was a file when the element was read.
                Bytes::OnDisk(from) => given::copy(&given::open_itself(from)?, &file)?,
                Bytes::Embedded(bytes) => file.write_all(bytes)?,
            }
            let mode = if *run { 0o755 } else { 0o644 };
            file.set_permissions(fs::Permissions::from_mode(mode))
        }
    }
}

/// Writes a built-in element's directory, for hooks that look for their element's own files.
pub fn materialise(element: &Element, into: &Path) -> Result<()> {
    let dir = into.join(&element.name);
    let tried = || format!("cannot write element {} to {}", element.name, dir.display());
    fs::create_dir_all(&dir).host(tried)?;
    for item in element.items()? {
        debug_assert!(
            item.path
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
        );
        write(&item.kind, &dir.join(&item.path)).host(tried)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::library::Library;
    use crate::element::resolve::resolve;

    /// Makes elements of `(path, contents, run)` and merges those named.
    fn merged(files: &[(&str, bool)], words: &[&str]) -> (tempfile::TempDir, Result<HookTree>) {
        let dir = tempfile::tempdir().unwrap();
        for (file, run) in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, file).unwrap();
            let mode = if *run { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let library = Library::load(&[dir.path().to_owned()]).unwrap();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let tree = HookTree::merge(&resolve(&library, &words).unwrap());
        (dir, tree)
    }

    #[test]
    fn directories_merge_and_hidden_entries_stay_out() {
        let files = [
            ("a/install.d/10-a", true),
            ("a/install.d/.hidden", true),
            ("a/install.d/deep/.kept", false),
            ("a/tests/test_x.py", false),
            ("a/x.pyc", false),
            ("a/README.rst", false),
            ("b/README.rst", false),
            ("b/install.d/deep/.kept", false),
            ("b/install.d/20-b", false),
            ("b/bin/tool", true),
        ];
        let (_dir, tree) = merged(&files, &["a", "b"]);
        let tree = tree.unwrap();
        let paths: Vec<_> = tree.entries().map(|(path, _)| path.to_str().unwrap()).collect();
        let expected = [
            "README.rst",
            "bin",
            "bin/tool",
            "install.d",
            "install.d/10-a",
            "install.d/20-b",
            "install.d/deep",
            "install.d/deep/.kept",
        ];
        assert_eq!(paths, expected);
        assert_eq!(tree.get(Path::new("README.rst")).unwrap().element, "b");
        let files: Vec<_> = tree
            .files("install.d")
            .map(|(name, run, _)| (name, run))
            .collect();
        assert_eq!(files, [(&b"10-a"[..], true), (b"20-b", false)]);
        let out = tempfile::tempdir().unwrap();
        tree.write(out.path()).unwrap();
        let mode = fs::metadata(out.path().join("bin/tool"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn equal_entries_of_any_directory_are_refused_with_both_paths() {
        for dir in ["install.d", "static", "environment.d"] {
            let (a, b) = (format!("a/{dir}/10-x"), format!("b/{dir}/10-x"));
            let (_dir, tree) = merged(&[(&a, true), (&b, true)], &["a", "b"]);
            let message = tree.unwrap_err().to_string();
            assert!(message.contains("There is a duplicated hook"), "{message}");
            assert!(message.contains(&a) && message.contains(&b), "{message}");
        }
    }
}
