//! The build's directory, and the sweep of those whose builder died.
//!
//! A builder holds a lock on its directory for as long as it or its build lives, by the descriptor alone: the kernel
//! releases it however they end. A directory of the right name that nobody holds is a dead builder's, and goes.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

use super::offspring;
use crate::error::{Context, Result};
use crate::ui;

const PREFIX: &str = "dib_build.";

/// A directory that exists as long as this value, or until the next build's sweep.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Workdir {
    /// Sweeps `parent`, then makes a new directory in it.
    pub fn create(parent: &Path) -> Result<Self> {
        let tried = || format!("cannot make a directory for the build in {}", parent.display());
        let parent = parent.canonicalize().host(tried)?;
        sweep(&parent);
        // It is locked under a name that no sweep looks at, then gets its own.
        let name = random_name().host(tried)?;
        let (new, path) = (
            parent.join(format!(".{PREFIX}{name}")),
            parent.join(format!("{PREFIX}{name}")),
        );
        fs::DirBuilder::new().mode(0o755).create(&new).host(tried)?;
        let lock = lock(&new).host(tried)?;
        fs::rename(&new, &path).host(tried)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            ui::warn(format_args!("cannot remove {}: {error}", self.path.display()));
        }
    }
}

/// Eight letters that no other name has.
pub(crate) fn random_name() -> io::Result<String> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect())
}

fn lock(dir: &Path) -> io::Result<OwnedFd> {
    let fd = open(
        dir,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
    Ok(fd)
}

/// Removes what dead builders of this user left.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    let me = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let stale = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
        let path = entry.path();
        let mine = || fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir() && meta.uid() == me);
        if !stale || !mine() {
            continue;
        }
        if let Ok(_lock) = lock(&path) {
            ui::note(format_args!(
                "removing {}, left by a build that was killed",
                path.display()
            ));
            // Where no namespace held them, processes may have outlived everybody who would have ended them.
            let ended = offspring::end_strays(&path);
            if let Err(error) = ended.and_then(|()| remove(&path)) {
                ui::warn(format_args!("cannot remove {}: {error}", path.display()));
            }
        }
    }
}

/// Removes a directory and what is in it, on its own file system only: whatever else is mounted there stays whole.
fn remove(dir: &Path) -> io::Result<()> {
    let device = fs::symlink_metadata(dir)?.dev();
    remove_on(device, dir)
}

fn remove_on(device: u64, dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        if meta.dev() != device {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("{} is a mount point", path.display()),
            ));
        }
        if meta.is_dir() {
            remove_on(device, &path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_that_nobody_holds_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let stale = parent.path().join("dib_build.STALE");
        fs::create_dir_all(stale.join("mnt/etc")).unwrap();
        fs::create_dir(parent.path().join("other")).unwrap();
        let first = Workdir::create(parent.path()).unwrap();
        assert!(!stale.exists());
        fs::write(first.path().join("file"), "x").unwrap();
        let second = Workdir::create(parent.path()).unwrap();
        assert!(first.path().join("file").exists() && second.path().exists());
        assert!(parent.path().join("other").exists());
        let gone = first.path().to_owned();
        drop(first);
        assert!(!gone.exists());
    }
}
