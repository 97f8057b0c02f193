//! Who wanted a build: the user that the builder was before it became root for it, by [`sudo`](super::sudo).
//!
//! Hooks on the host run as that user, and what they may change is the user's: the tree of hooks, the caches, the locks,
//! the outputs. In the chroot the hooks are root's, as they are in every other build, since hooks copy their files into
//! the image with the owners that they have.
//!
//! A process has one caller or none, from its start on.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, Gid, Uid, chown, chownat, fchown};

use super::rooted::Rooted;

/// A user who called, as the kernel knows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// The group's.
    pub gid: u32,
    /// The other groups'.
    pub groups: Vec<u32>,
}

/// The user who called, and how.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) user: User,
    /// The process that became this one's ancestor.
    pub(super) process: u32,
    /// Its command line.
    pub(super) args: Vec<OsString>,
    /// Hangs up when that process is gone, or wants this one to end.
    pub(super) leash: OwnedFd,
}

static CALLER: OnceLock<Caller> = OnceLock::new();

impl Caller {
    /// That of this process.
    pub(super) fn get() -> Option<&'static Self> {
        CALLER.get()
    }

    /// Makes this caller that of this process.
    pub(super) fn install(self) {
        // There is one start of a process.
        let _ = CALLER.set(self);
    }
}

/// The user for whom this process became root, if it did.
pub fn user() -> Option<&'static User> {
    Caller::get().map(|caller| &caller.user)
}

/// The command line as the user wrote it.
pub fn command_line() -> Vec<OsString> {
    Caller::get().map_or_else(|| std::env::args_os().collect(), |caller| caller.args.clone())
}

/// What hangs up when the user's process wants this one to end.
pub(super) fn leash() -> Option<BorrowedFd<'static>> {
    Caller::get().map(|caller| caller.leash.as_fd())
}

/// Gives a new file to the user who called.
pub fn own(file: impl AsFd) -> io::Result<()> {
    match user() {
        Some(user) => Ok(fchown(
            file,
            Some(Uid::from_raw(user.uid)),
            Some(Gid::from_raw(user.gid)),
        )?),
        None => Ok(()),
    }
}

/// Makes a directory and those above it; what was not there belongs to the user who called.
pub fn make_dirs(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
    std::fs::create_dir_all(path)?;
    if let Some(user) = user() {
        for dir in missing {
            chown(dir, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
        }
    }
    Ok(())
}

/// Gives everything of root's in a directory, and the directory, to the user who called.
pub fn give(dir: &Path) -> io::Result<()> {
    pass(dir, |user| ((0, 0), (user.uid, user.gid)))
}

/// Takes everything of that user's in a directory, and the directory, back to root.
pub fn take(dir: &Path) -> io::Result<()> {
    pass(dir, |user| ((user.uid, user.gid), (0, 0)))
}

type Ids = (u32, u32);

fn pass(dir: &Path, ids: impl FnOnce(&User) -> (Ids, Ids)) -> io::Result<()> {
    let Some(user) = user() else { return Ok(()) };
    let (from, to) = ids(user);
    let dir = Rooted::open(dir)?;
    let (uid, gid) = (Uid::from_raw(to.0), Gid::from_raw(to.1));
    fchown(dir.fd(), Some(uid), Some(gid))?;
    pass_entries(&dir, from, to)
}

fn pass_entries(dir: &Rooted, from: Ids, to: Ids) -> io::Result<()> {
    for (name, kind) in dir.entries()? {
        let Some(stat) = dir.stat(&name[..])? else {
            continue;
        };
        let uid = (stat.st_uid == from.0).then(|| Uid::from_raw(to.0));
        let gid = (stat.st_gid == from.1).then(|| Gid::from_raw(to.1));
        if uid.is_some() || gid.is_some() {
            chownat(dir.fd(), &name[..], uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if kind == FileType::Directory {
            pass_entries(&dir.child(&name)?, from, to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn only_what_was_one_owners_becomes_the_others() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("dir")).unwrap();
        for name in ["dir/root", "other"] {
            std::fs::write(at(name), "").unwrap();
        }
        std::os::unix::fs::symlink("/etc", at("link")).unwrap();
        std::os::unix::fs::chown(at("other"), Some(7), Some(0)).unwrap();
        let rooted = Rooted::open(dir.path()).unwrap();
        let owners = || {
            ["dir", "dir/root", "other", "link"].map(|name| {
                let meta = std::fs::symlink_metadata(at(name)).unwrap();
                (meta.uid(), meta.gid())
            })
        };
        pass_entries(&rooted, (0, 0), (1000, 100)).unwrap();
        assert_eq!(owners(), [(1000, 100), (1000, 100), (7, 100), (1000, 100)]);
        pass_entries(&rooted, (1000, 100), (0, 0)).unwrap();
        assert_eq!(owners(), [(0, 0), (0, 0), (7, 0), (0, 0)]);
        assert_eq!(std::fs::metadata("/etc").unwrap().uid(), 0);
    }
}
