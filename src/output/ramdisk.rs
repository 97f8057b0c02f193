//! A ramdisk and its kernel, as hooks left them in the tree: saved by the rules of images, both or none.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::PathBuf;

use super::digest::{self, DigestingFile, Digits};
use super::publish::{self, Fresh, Named};
use super::{Rules, explain, stdout};
use crate::error::{Context, Error, Kind, Result};
use crate::sandbox::rooted::Rooted;
use crate::ui;

/// What the names of the outputs end with.
pub const SUFFIXES: [&str; 2] = ["initramfs", "kernel"];

/// Where hooks leave them, in `/tmp` of the tree.
const PLACES: [&str; 2] = ["ramdisk", "kernel"];

/// What hooks made.
#[derive(Debug)]
pub struct Made {
    /// In the order of [`SUFFIXES`].
    files: [File; 2],
}

/// A file that is written and has no name yet.
struct Ready {
    fresh: Fresh,
    path: PathBuf,
    digests: Vec<Digits>,
}

/// Whether outputs can have this name.
pub fn check(name: &str) -> Result<()> {
    if name == stdout::NAME {
        return Err(Error::usage(
            "-o -: a ramdisk and its kernel are two files, and standard output takes one",
        ));
    }
    Ok(())
}

/// Whether both can be saved, as far as that can be known before there is anything.
pub fn rehearse(name: &str) -> Result<()> {
    for path in paths(name) {
        publish::rehearse(&path).image(|| format!("cannot save {}", path.display()))?;
    }
    Ok(())
}

fn paths(name: &str) -> [PathBuf; 2] {
    SUFFIXES.map(|suffix| PathBuf::from(format!("{name}.{suffix}")))
}

impl Made {
    /// Finds them in a tree.
    pub fn open(tree: &Rooted) -> Result<Self> {
        let open = |name: &str| {
            let tried = || format!("no hook left /tmp/{name} in the tree");
            let tmp = tree
                .dir("tmp")
                .and_then(|tmp| tmp.ok_or_else(|| io::ErrorKind::NotFound.into()));
            let file = tmp.and_then(|tmp| tmp.file(name, false));
            file.map_err(|error| {
                Error::new(Kind::Elements, tried()).because(error).hint(
                    "--ramdisk-element names the element that makes the ramdisk: ramdisk or dracut-ramdisk",
                )
            })
        };
        let [ramdisk, kernel] = PLACES.map(open);
        Ok(Self {
            files: [ramdisk?, kernel?],
        })
    }

    /// Saves both.
    pub fn save(mut self, rules: &Rules) -> Result<()> {
        let mut ready = Vec::new();
        for ((file, path), suffix) in self.files.iter_mut().zip(paths(&rules.name)).zip(SUFFIXES) {
            ready.push(write(file, path, suffix, rules)?);
        }
        let saved: Vec<PathBuf> = ready.iter().map(|one| one.path.clone()).collect();
        let named = ready.into_iter().zip(&saved).zip(SUFFIXES);
        let named = named.map(|((one, path), suffix)| {
            let digests = one.digests.iter();
            let digests = digests.map(|(suffix, digits)| (*suffix, digest::line(digits, path)));
            Named {
                image: one.fresh,
                path,
                suffix,
                digests: digests.collect(),
            }
        });
        publish::publish_all(named.collect(), rules.mode, rules.overwrite)
            .image(|| format!("cannot save {}.initramfs and its kernel", rules.name))?;
        for path in &saved {
            ui::note(format_args!("Image file {} created...", path.display()));
        }
        Ok(())
    }
}

fn write(from: &mut File, path: PathBuf, suffix: &str, rules: &Rules) -> Result<Ready> {
    let tried = || format!("cannot write {}", path.display());
    let len = from.metadata().image(tried)?.len();
    let output = ui::output(&path, suffix, len);
    let fresh = Fresh::create(&path, rules.mode).image(tried)?;
    let written = fresh
        .file
        .try_clone()
        .and_then(|file| DigestingFile::new(file, rules.checksums))
        .and_then(|mut to| {
            from.rewind()?;
            let bytes = io::copy(from, &mut to)?;
            fresh.file.sync_all()?;
            Ok((bytes, to.into_digests()?))
        });
    let (bytes, digests) = written
        .image(tried)
        .map_err(|error| explain(error, &fresh.file))?;
    output.finished(bytes, digests.clone());
    Ok(Ready { fresh, path, digests })
}
