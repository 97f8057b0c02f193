//! Packages of Python: directories `*.dist-info` with METADATA, and `*.egg-info`, as directory with PKG-INFO or as file.
//!
//! Spec: <https://packaging.python.org/en/latest/specifications/core-metadata/>.
//!
//! They may lie anywhere, in environments of applications say, so all directories are walked. What a directory names is told
//! by its entries alone: no file is looked at that is not a package.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use rustix::fs::{Dir, FileType};

use super::{Kind, Package, clean, head_in};
use crate::sandbox::rooted::Rooted;

/// Directories of the kernel and of the build, which hold nothing of the image.
const OUTSIDE: [&[u8]; 5] = [b"dev", b"proc", b"run", b"sys", b"tmp"];

/// Directories that are walked.
const DIRECTORIES_MAX: usize = 1 << 20;

/// Packages that are told.
const PACKAGES_MAX: usize = 100_000;

/// Bytes of metadata that are read: the description of a package comes last, and may be longer.
const METADATA_MAX: u64 = 1 << 20;

/// A package's place: its directory, and the name of what describes it there.
type Place = (Vec<u8>, Vec<u8>);

/// All packages of a tree, each with the path of what describes it.
pub fn packages(tree: &Rooted) -> io::Result<Vec<(Vec<u8>, Package)>> {
    let mut packages = Vec::new();
    for (above, name) in places(tree)? {
        if let Some(package) = package(tree, &above, &name)? {
            packages.push(([&above[..], &name[..]].join(&b'/'), package));
        }
    }
    Ok(packages)
}

/// The same by their files alone: fast enough to be asked after every hook.
pub fn keys(tree: &Rooted) -> io::Result<Vec<super::Key>> {
    let keys = places(tree)?.into_iter().map(|(above, name)| {
        let text = String::from_utf8_lossy(&name).into_owned();
        let stem = text.rsplit_once('.').map_or(text.as_str(), |(stem, _)| stem);
        let name = stem.split_once('-').map_or(stem, |(name, _)| name);
        (Kind::Python, normalised(name), Some(shown(&above)))
    });
    Ok(keys.collect())
}

/// A name as it is compared: <https://packaging.python.org/en/latest/specifications/name-normalization/>.
pub fn normalised(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '-' | '_' | '.' if plain.ends_with('-') => {}
            '-' | '_' | '.' => plain.push('-'),
            letter => plain.extend(letter.to_lowercase()),
        }
    }
    plain
}

fn shown(path: &[u8]) -> String {
    clean(&format!("/{}", String::from_utf8_lossy(path)))
}

fn places(tree: &Rooted) -> io::Result<Vec<Place>> {
    let mut places = Vec::new();
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
    let mut walked = 0;
    while let Some(path) = waiting.pop() {
        walked += 1;
        if walked > DIRECTORIES_MAX || places.len() > PACKAGES_MAX {
            return Err(io::Error::other(
                "the tree has too many directories to look for packages in",
            ));
        }
        let Some(dir) = dir(tree, &path)? else {
            continue;
        };
        for entry in Dir::read_from(dir.fd())? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => dir.kind(name)?.unwrap_or(FileType::Unknown),
                kind => kind,
            };
            let is_package = name.ends_with(b".dist-info") || name.ends_with(b".egg-info");
            match kind {
                FileType::Directory if is_package => places.push((path.clone(), name.to_vec())),
                FileType::RegularFile if name.ends_with(b".egg-info") => {
                    places.push((path.clone(), name.to_vec()));
                }
                FileType::Directory if !path.is_empty() || !OUTSIDE.contains(&name) => {
                    let mut below = path.clone();
                    if !below.is_empty() {
                        below.push(b'/');
                    }
                    below.extend(name);
                    waiting.push(below);
                }
                _ => {}
            }
        }
    }
    places.sort();
    Ok(places)
}

/// A directory of the tree, which no link stands for: all on the way were found to be directories.
fn dir(tree: &Rooted, path: &[u8]) -> io::Result<Option<Rooted>> {
    let path = if path.is_empty() {
        b".".to_vec()
    } else {
        path.to_vec()
    };
    tree.dir(PathBuf::from(OsString::from_vec(path)))
}

fn package(tree: &Rooted, above: &[u8], name: &[u8]) -> io::Result<Option<Package>> {
    let Some(here) = dir(tree, above)? else {
        return Ok(None);
    };
    let within: &[u8] = if name.ends_with(b".dist-info") {
        b"METADATA"
    } else {
        b"PKG-INFO"
    };
    let bytes = match here.child(name) {
        Ok(inside) => head_in(&inside, within, METADATA_MAX)?,
        Err(_) => head_in(&here, name, METADATA_MAX)?,
    };
    Ok(bytes.and_then(|bytes| described(&bytes, shown(above))))
}

/// What the head of metadata says; its body is the description.
fn described(bytes: &[u8], path: String) -> Option<Package> {
    let text = String::from_utf8_lossy(bytes);
    let mut package = Package::new(Kind::Python, "", "");
    package.path = Some(path);
    for line in text.lines().take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        let value = Some(clean(value)).filter(|value| !value.is_empty() && value != "UNKNOWN");
        match (name, value) {
            ("Name", Some(value)) => package.name = value,
            ("Version", Some(value)) => package.version = value,
            ("License-Expression", value) => package.licence = value,
            ("License", value) => package.licence = package.licence.take().or(value),
            ("Author", value) => package.supplier = value,
            _ => {}
        }
    }
    (!package.name.is_empty() && !package.version.is_empty()).then_some(package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::sample::Sample;

    #[test]
    fn packages_are_found_wherever_they_lie() {
        let long = "x".repeat(usize::try_from(METADATA_MAX).unwrap());
        let sample = Sample::of(&[
            (
                "usr/lib/python3/dist-packages/PyYAML-6.0.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: PyYAML\nVersion: 6.0\nLicense: MIT\nAuthor: UNKNOWN\n\nName: not this\n",
            ),
            (
                "opt/venv/lib/python3.12/site-packages/a.b-1.egg-info/PKG-INFO",
                "Name: a.b\nVersion: 1\n",
            ),
            (
                "usr/lib/python3/dist-packages/old-2.egg-info",
                "Name: old\nVersion: 2\n",
            ),
            ("usr/lib/python3/dist-packages/empty-2.dist-info/RECORD", ""),
            (
                "opt/long-3.dist-info/METADATA",
                &format!("Name: long\nVersion: 3\n\n{long}\n"),
            ),
            ("tmp/x/y-1.dist-info/METADATA", "Name: y\nVersion: 1\n"),
        ]);
        sample.link("lib", "usr/lib");
        let tree = sample.tree();
        let found: Vec<_> = packages(&tree)
            .unwrap()
            .into_iter()
            .map(|(_, package)| {
                (
                    package.name,
                    package.version,
                    package.path.unwrap(),
                    package.supplier,
                )
            })
            .collect();
        let owned = |name: &str, version: &str, path: &str| {
            (name.to_owned(), version.to_owned(), path.to_owned(), None)
        };
        assert_eq!(
            found,
            [
                owned("long", "3", "/opt"),
                owned("a.b", "1", "/opt/venv/lib/python3.12/site-packages"),
                owned("PyYAML", "6.0", "/usr/lib/python3/dist-packages"),
                owned("old", "2", "/usr/lib/python3/dist-packages"),
            ]
        );
        let keys: Vec<_> = keys(&tree)
            .unwrap()
            .into_iter()
            .map(|(_, name, _)| name)
            .collect();
        assert_eq!(keys, ["long", "a-b", "pyyaml", "empty", "old"]);
        assert_eq!(normalised("Zope..Interface_-x"), "zope-interface-x");
    }
}
