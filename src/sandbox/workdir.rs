//! The build's directory, and the sweep of those whose builder died.
//!
//! A builder holds a lock on its directory for as long as it or its build lives, by the descriptor alone: the kernel
//! releases it however they end. A directory of the right name that nobody holds is a dead builder's, and goes. The
//! right name has twelve letters, that of the original program, which holds no lock, eight.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat, statat,
};
use rustix::io::Errno;

use super::{offspring, removal};
use crate::error::{Context, Result};
use crate::ui;

const PREFIX: &str = "dib_build.";

/// What random names are made of: no letter is taken for another one.
const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// How many letters a random name has: 60 bits.
const NAME_LEN: usize = 12;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory that exists as long as this value, or until the next build's sweep.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
    parent: OwnedFd,
    name: CString,
    _lock: OwnedFd,
}

impl Workdir {
    /// Sweeps `parent`, then makes a new directory in it.
    pub fn create(parent: &Path) -> Result<Self> {
        let tried = || format!("cannot make a directory for the build in {}", parent.display());
        let path = parent.canonicalize().host(tried)?;
        let parent = openat(CWD, &path, DIRECTORY, Mode::empty()).host(tried)?;
        sweep(&parent, &path);
        let (name, lock) = make(&parent)
            .host(tried)
            .map_err(|error| error.hint("TMP_DIR names another directory"))?;
        Ok(Self {
            path: path.join(name.to_string_lossy().as_ref()),
            parent,
            name,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if let Err(error) = removal::remove(self.parent.as_fd(), &self.name) {
            ui::warn(format_args!("cannot remove {}: {error}", self.path.display()));
        }
    }
}

/// Makes a directory of a name that there is not, and locks it.
fn make(parent: &OwnedFd) -> io::Result<(CString, OwnedFd)> {
    loop {
        let name = CString::new(format!("{PREFIX}{}", random_name()?))?;
        match mkdirat(parent, &name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => continue,
            other => other?,
        }
        // Another build's sweep may come between making and locking: then it is gone, or about to be.
        match lock(parent, &name) {
            Ok(lock) if is_still(&lock, parent, &name) => return Ok((name, lock)),
            Ok(_) | Err(Errno::WOULDBLOCK | Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether an open directory still has its name.
fn is_still(dir: &OwnedFd, parent: &OwnedFd, name: &CString) -> bool {
    let here = fstat(dir).map(|stat| (stat.st_dev, stat.st_ino));
    let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| (stat.st_dev, stat.st_ino));
    here.is_ok() && here == there
}

/// Letters that no other name has.
pub(crate) fn random_name() -> io::Result<String> {
    let mut bytes = [0; NAME_LEN];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect())
}

fn lock(parent: &OwnedFd, name: &CString) -> Result<OwnedFd, Errno> {
    let fd = openat(parent, name, DIRECTORY, Mode::empty())?;
    flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
    Ok(fd)
}

/// Whether a name is one that this program gave.
fn is_ours(name: &[u8]) -> bool {
    let letters = name.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    letters.len() == NAME_LEN && letters.iter().all(|letter| LETTERS.contains(letter))
}

/// Removes what dead builders of this user left.
fn sweep(parent: &OwnedFd, path: &Path) {
    let Ok(entries) = Dir::read_from(parent) else {
        return;
    };
    let me = rustix::process::geteuid().as_raw();
    let mine = |name: &CString| {
        statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_uid == me
        })
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_owned();
        if !is_ours(name.to_bytes()) || !mine(&name) {
            continue;
        }
        if let Ok(_lock) = lock(parent, &name) {
            let path = path.join(name.to_string_lossy().as_ref());
            ui::note(format_args!(
                "removing {}, left by a build that was killed",
                path.display()
            ));
            // Where no namespace held them, processes may have outlived everybody who would have ended them.
            let ended = offspring::end_strays(&path);
            if let Err(error) = ended.and_then(|()| removal::remove(parent.as_fd(), &name)) {
                ui::warn(format_args!("cannot remove {}: {error}", path.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_directories_that_nobody_holds_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let stale = parent.path().join("dib_build.STALESTALE22");
        fs::create_dir_all(stale.join("mnt/etc")).unwrap();
        // The original program's, a user's own, a link, a file.
        let others = ["dib_build.ABCDEFGH", "dib_build.STALESTALE22.old", "other"];
        for name in others {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("other", parent.path().join("dib_build.LINKLINKLINK")).unwrap();
        fs::write(parent.path().join("dib_build.FJLEFJLEFJLE"), "").unwrap();
        let first = Workdir::create(parent.path()).unwrap();
        assert!(!stale.exists());
        fs::write(first.path().join("file"), "x").unwrap();
        let second = Workdir::create(parent.path()).unwrap();
        assert!(first.path().join("file").exists() && second.path().exists());
        for name in [&others[..], &["dib_build.LINKLINKLINK", "dib_build.FJLEFJLEFJLE"]].concat() {
            assert!(parent.path().join(name).exists(), "{name}");
        }
        let gone = first.path().to_owned();
        drop(first);
        assert!(!gone.exists());
    }

    #[test]
    fn sweeps_and_builds_at_one_time_do_not_meet() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let workdir = Workdir::create(parent.path()).unwrap();
                        fs::write(workdir.path().join("file"), "x").unwrap();
                        assert!(workdir.path().join("file").exists());
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
