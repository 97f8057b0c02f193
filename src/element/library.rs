//! The element library: every element of `ELEMENTS_PATH`, and last the built-in ones.
//!
//! An element is a directory; its name is the directory's, or that of the directory a symlink leads to. Of two
//! elements of one name the one that comes earlier on the path wins, whole.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Kind, Result};
use crate::given;

/// Path below `elements/`, whether it may be run, bytes.
type Embedded = (&'static str, bool, &'static [u8]);

static BUILT_IN: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/elements.rs"));

/// Every element that can be named.
#[derive(Clone, Debug, Default)]
pub struct Library {
    elements: BTreeMap<String, Element>,
    warnings: Vec<String>,
    /// Why elements cannot be used, by their names.
    faults: BTreeMap<String, Fault>,
}

/// A file of an element that cannot be read, and why.
type Fault = (PathBuf, String);

/// An element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub origin: Origin,
    /// What it needs, in the order of its `element-deps`.
    pub deps: Vec<String>,
    /// What else it is, in the order of its `element-provides`.
    pub provides: Vec<String>,
}

/// Where an element lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a directory.
    Directory(PathBuf),
    /// In this program.
    BuiltIn,
}

/// A file of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Path within the element.
    pub path: PathBuf,
    /// What it is.
    pub kind: ItemKind,
}

/// What a file of an element is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Whether it may be run.
        run: bool,
        /// Where its bytes are.
        bytes: Bytes,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: PathBuf,
        /// Whether that is a regular file which may be run.
        runs: bool,
        /// Whether that is a regular file.
        file: bool,
    },
}

/// Where the bytes of an element's file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// In a file.
    OnDisk(PathBuf),
    /// In this program.
    Embedded(&'static [u8]),
}

impl Bytes {
    /// The bytes as text; what is no UTF-8 in it is replaced.
    pub fn text(&self) -> Result<String> {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Bytes::OnDisk(path) => {
                let bytes = given::read(path).host(|| format!("cannot read {}", path.display()))?;
                Ok(lossy(&bytes))
            }
            Bytes::Embedded(bytes) => Ok(lossy(bytes)),
        }
    }

    /// How much room they take.
    pub fn total(&self) -> u64 {
        match self {
            Bytes::OnDisk(path) => given::bytes_taken(path),
            Bytes::Embedded(bytes) => bytes.len() as u64,
        }
    }
}

impl Library {
    /// Reads the directories of `path`, in order, and adds the built-in elements last.
    pub fn load(path: &[PathBuf]) -> Result<Self> {
        let mut library = Self::default();
        for dir in path {
            library.read(dir)?;
        }
        library.built_in();
        Ok(library)
    }

    /// What is odd about the library, for the log: elements that hide others.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// An element by name.
    pub fn get(&self, name: &str) -> Option<&Element> {
        self.elements.get(name)
    }

    /// Fails if an element cannot be used. Only a build that needs it is concerned.
    pub fn require_sound(&self, name: &str) -> Result<()> {
        let Some((path, why)) = self.faults.get(name) else {
            return Ok(());
        };
        let message = format!("element {name}: cannot read {}: {why}", path.display());
        Err(Error::new(Kind::Elements, message))
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.elements.keys().map(String::as_str)
    }

    fn read(&mut self, dir: &Path) -> Result<()> {
        let tried = || format!("ELEMENTS_PATH: cannot read directory {}", dir.display());
        let mut entries: Vec<_> = fs::read_dir(dir)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(|error| Error::new(Kind::Elements, tried()).because(error))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut found = BTreeMap::new();
        for entry in entries {
            let path = dir.join(entry.file_name());
            if !path.is_dir() {
                continue;
            }
            let real = path.canonicalize().host(tried)?;
            let name = real.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
            found.insert(name.into_owned(), real);
        }
        for (name, real) in found {
            let mut fault = None;
            let mut read = |file: &str| {
                let path = real.join(file);
                let bytes = read_own(&path, &real).unwrap_or_else(|error| {
                    fault = Some((path, error.to_string()));
                    Vec::new()
                });
                words(&bytes)
            };
            let (deps, provides) = (read("element-deps"), read("element-provides"));
            if let Some(fault) = fault.filter(|_| !self.elements.contains_key(&name)) {
                self.faults.insert(name.clone(), fault);
            }
            self.add(Element {
                deps,
                provides,
                origin: Origin::Directory(real),
                name,
            });
        }
        Ok(())
    }

    fn built_in(&mut self) {
        let mut built_in: BTreeMap<&str, Element> = BTreeMap::new();
        for (path, _, bytes) in BUILT_IN {
            let Some((name, file)) = path.split_once('/') else {
                continue;
            };
            let element = built_in.entry(name).or_insert_with(|| Element {
                name: name.to_owned(),
                origin: Origin::BuiltIn,
                deps: Vec::new(),
                provides: Vec::new(),
            });
            match file {
                "element-deps" => element.deps = words(bytes),
                "element-provides" => element.provides = words(bytes),
                _ => {}
            }
        }
        for element in built_in.into_values() {
            self.add(element);
        }
    }

    /// Adds an element that has nothing but a name and the texts of its two files.
    pub(crate) fn define(&mut self, name: &str, deps: &[u8], provides: &[u8]) {
        self.add(Element {
            name: name.to_owned(),
            origin: Origin::Directory(PathBuf::from("/e").join(name)),
            deps: words(deps),
            provides: words(provides),
        });
    }

    fn add(&mut self, element: Element) {
        if let Some(winner) = self.elements.get(&element.name) {
            self.warnings.push(format!(
                "element {} of {} hides the one of {}",
                winner.name, winner.origin, element.origin
            ));
        } else {
            self.elements.insert(element.name.clone(), element);
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Directory(dir) => dir.display().fmt(f),
            Origin::BuiltIn => f.write_str("this program"),
        }
    }
}

impl Element {
    /// Its files and directories, parents first, sorted; links stay links.
    pub fn items(&self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        match &self.origin {
            Origin::Directory(dir) => {
                walk(dir, Path::new(""), &mut items).host(|| format!("cannot read element {}", self.name))?;
            }
            Origin::BuiltIn => items = self.embedded(),
        }
        items.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(items)
    }

    /// The text of the file that a link of the element leads to, which is the element's own, or a neighbour's.
    pub fn linked_text(&self, link: &Path) -> Result<Option<String>> {
        let Origin::Directory(dir) = &self.origin else {
            return Ok(None);
        };
        let path = dir.join(link);
        let bytes = read_own(&path, dir).map_err(|error| {
            let message = format!("element {}: cannot read {}", self.name, path.display());
            Error::new(Kind::Elements, message).because(error)
        })?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The text of one of its files, by a link, too; `None` if it is no file, or none that may be read.
    pub fn text_of(&self, item: &Item) -> Option<String> {
        match &item.kind {
            ItemKind::File { bytes, .. } => bytes.text().ok(),
            ItemKind::Symlink { file: true, .. } => self.linked_text(&item.path).ok().flatten(),
            _ => None,
        }
    }

    fn embedded(&self) -> Vec<Item> {
        let mut items: BTreeMap<PathBuf, ItemKind> = BTreeMap::new();
        for (path, run, bytes) in BUILT_IN {
            let Ok(path) = Path::new(path).strip_prefix(&self.name) else {
                continue;
            };
            for dir in path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()) {
                items.insert(dir.to_owned(), ItemKind::Directory);
            }
            let bytes = Bytes::Embedded(bytes);
            items.insert(path.to_owned(), ItemKind::File { run: *run, bytes });
        }
        let item = |(path, kind)| Item { path, kind };
        items.into_iter().map(item).collect()
    }
}

/// Reads a file of an element, by links, too. Its readers show what is in it, so none is read from a file outside.
fn read_own(path: &Path, element: &Path) -> io::Result<Vec<u8>> {
    match path.canonicalize() {
        Ok(real) if lies_with(&real, element) => given::read(&real),
        Ok(real) => Err(io::Error::other(format!(
            "it leads to {}, outside of the directory of elements",
            real.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(path) {
            // A link that leads nowhere is no file that is lacking.
            Ok(_) => Err(error),
            Err(_) => Ok(Vec::new()),
        },
        Err(error) => Err(error),
    }
}

/// Whether a file, whose path leads over no link, is the element's own, or that of a neighbour.
pub(super) fn lies_with(real: &Path, element: &Path) -> bool {
    real.starts_with(element.parent().unwrap_or(element))
}

fn walk(root: &Path, below: &Path, items: &mut Vec<Item>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let real = root.join(&path);
        let meta = fs::symlink_metadata(&real)?;
        let kind = if meta.is_dir() {
            walk(root, &path, items)?;
            ItemKind::Directory
        } else if meta.is_symlink() {
            let aim = fs::metadata(&real).ok().filter(fs::Metadata::is_file);
            ItemKind::Symlink {
                target: fs::read_link(&real)?,
                runs: aim.as_ref().is_some_and(runs),
                file: aim.is_some(),
            }
        } else if meta.is_file() {
            ItemKind::File {
                run: runs(&meta),
                bytes: Bytes::OnDisk(real),
            }
        } else {
            continue;
        };
        items.push(Item { path, kind });
    }
    Ok(())
}

fn runs(meta: &fs::Metadata) -> bool {
    meta.permissions().mode() & 0o111 != 0
}

/// The names of a deps or provides file: one a line, blanks around them and empty lines ignored.
fn words(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let words = text.lines().map(str::trim).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A library of elements that are only names, deps and provides.
    pub(crate) fn library(elements: &[(&str, &[&str], &[&str])]) -> Library {
        let mut library = Library::default();
        for (name, deps, provides) in elements {
            library.define(name, deps.join("\n").as_bytes(), provides.join("\n").as_bytes());
        }
        library
    }

    #[test]
    fn deps_are_read_whatever_ends_their_lines() {
        assert_eq!(words(b"b\r\n\n  a \t\nc"), ["b", "a", "c"]);
        assert_eq!(words(b""), [""; 0]);
    }

    #[test]
    fn an_earlier_directory_wins_with_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        for element in ["one/x", "two/x", "two/y", "real/z"] {
            fs::create_dir_all(dir.path().join(element)).unwrap();
        }
        fs::write(dir.path().join("one/x/element-deps"), "y").unwrap();
        fs::write(dir.path().join("two/x/element-deps"), "z").unwrap();
        std::os::unix::fs::symlink("../real/z", dir.path().join("two/alias")).unwrap();
        let library = Library::load(&[dir.path().join("one"), dir.path().join("two")]).unwrap();
        assert_eq!(library.get("x").unwrap().deps, ["y"]);
        assert_eq!(library.warnings().len(), 1);
        assert!(
            library.get("alias").is_none(),
            "a link's element has its target's name"
        );
        assert!(library.get("z").is_some());
        let missing = Library::load(&[dir.path().join("three")]).unwrap_err();
        assert!(missing.to_string().contains("three"), "{missing}");
    }
}
