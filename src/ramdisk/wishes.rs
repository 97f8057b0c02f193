//! Words that elements leave in the files of a directory, such as `binary-deps.d`, and which element wants each.
//!
//! In the chroot the directories of all elements are one. So the host, where they are apart, writes down beforehand
//! which element brought each file; a file that came later is called by its own name.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::RECORDS;

/// The file, in the directory of [`RECORDS`], that says who brought what.
pub const ORIGINS: &str = "origins.json";

/// Directories whose files are told apart.
const DIRECTORIES: [&str; 5] = [
    "binary-deps.d",
    "dracut-drivers.d",
    "init.d",
    "ramdisk-install.d",
    "udev.d",
];

/// Elements by the files, relative to the tree of hooks, that they brought.
pub type Origins = BTreeMap<PathBuf, String>;

/// A word, and the element that wants it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish {
    /// The word.
    pub word: String,
    /// The element.
    pub element: String,
}

/// What elements bring, by their names and directories.
pub fn origins(elements: &[(String, PathBuf)]) -> io::Result<Origins> {
    let mut origins = Origins::new();
    for (element, directory) in elements {
        for name in DIRECTORIES {
            let entries = match fs::read_dir(directory.join(name)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                origins.insert(Path::new(name).join(entry?.file_name()), element.clone());
            }
        }
    }
    Ok(origins)
}

/// The files of a directory of hooks that count, sorted by the bytes of their names: those that are not hidden.
pub fn files(hooks: &Path, directory: &str) -> io::Result<Vec<PathBuf>> {
    let directory = hooks.join(directory);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && path.is_file()
    });
    files.sort();
    Ok(files)
}

/// All words of a directory of hooks, each once, with the first that wants it.
pub fn wishes(hooks: &Path, directory: &str) -> io::Result<Vec<Wish>> {
    let origins: Origins = match fs::read(hooks.join(RECORDS).join(ORIGINS)) {
        Ok(json) => serde_json::from_slice(&json)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Origins::new(),
        Err(error) => return Err(error),
    };
    let mut wishes: Vec<Wish> = Vec::new();
    for file in files(hooks, directory)? {
        let name = file.file_name().unwrap_or(OsStr::new(""));
        let element = origins
            .get(&Path::new(directory).join(name))
            .cloned()
            .unwrap_or_else(|| name.to_string_lossy().into_owned());
        for word in crate::given::read_text(&file)?.split_whitespace() {
            if !wishes.iter().any(|wish| wish.word == word) {
                wishes.push(Wish {
                    word: word.to_owned(),
                    element: element.clone(),
                });
            }
        }
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_know_who_wants_them() {
        let dir = tempfile::tempdir().unwrap();
        let [one, hooks] = ["one", "hooks"].map(|name| dir.path().join(name));
        for (path, text) in [
            (one.join("binary-deps.d/tools"), ""),
            (hooks.join("binary-deps.d/tools"), "a  b\nc\n"),
            (hooks.join("binary-deps.d/late"), "b\nd"),
            (hooks.join("binary-deps.d/.hidden"), "e"),
        ] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let origins = origins(&[("element".to_owned(), one), ("other".to_owned(), "/none".into())]).unwrap();
        fs::create_dir(hooks.join(RECORDS)).unwrap();
        let records = hooks.join(RECORDS).join(ORIGINS);
        fs::write(records, serde_json::to_vec(&origins).unwrap()).unwrap();
        let wishes = wishes(&hooks, "binary-deps.d").unwrap();
        let told: Vec<_> = wishes
            .iter()
            .map(|wish| (wish.word.as_str(), wish.element.as_str()))
            .collect();
        assert_eq!(
            told,
            [("b", "late"), ("d", "late"), ("a", "element"), ("c", "element")]
        );
        assert_eq!(super::wishes(&hooks, "udev.d").unwrap(), []);
    }
}
