//! Opening directories beneath a root without ever leaving it.
//!
//! `openat2` with `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_XDEV` resolves a whole path at once. Kernels
//! before 5.6 lack it, and some containers' seccomp filters forbid it: there each component is opened by itself.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Longest path that is given to the kernel at once, safely below its limit of 4096 bytes.
const PATH_MAX: usize = 4000;

/// A root directory.
#[derive(Debug)]
pub(super) struct Beneath {
    root: OwnedFd,
    /// `openat2` was refused once.
    by_component: AtomicBool,
}

impl Beneath {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            by_component: AtomicBool::new(false),
        }
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens the directory `path`, whose components are names; the empty path is the root.
    pub(super) fn directory(&self, path: &[u8], access: OFlags) -> Result<OwnedFd, Errno> {
        let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut rest = path;
        let mut dir: Option<OwnedFd> = None;
        while !rest.is_empty() {
            let (head, tail) = self.split(rest);
            let last = tail.is_empty();
            let step = if last { flags } else { flags | OFlags::PATH };
            let from = dir.as_ref().unwrap_or(&self.root);
            match self.step(from, head, step) {
                Ok(fd) => {
                    dir = Some(fd);
                    rest = tail;
                }
                Err(Errno::NOSYS | Errno::PERM) if !self.by_component.load(Ordering::Relaxed) => {
                    self.by_component.store(true, Ordering::Relaxed);
                }
                Err(errno) => return Err(errno),
            }
        }
        match dir {
            Some(dir) => Ok(dir),
            None => openat(&self.root, c".", flags, Mode::empty()),
        }
    }

    /// Cuts what one step resolves off a path.
    fn split<'a>(&self, path: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let slash = if self.by_component.load(Ordering::Relaxed) {
            path.iter().position(|byte| *byte == b'/')
        } else if path.len() > PATH_MAX {
            path[..PATH_MAX].iter().rposition(|byte| *byte == b'/')
        } else {
            None
        };
        let Some(slash) = slash else {
            return (path, &[]);
        };
        (&path[..slash], &path[slash.saturating_add(1)..])
    }

    fn step(&self, from: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        if self.by_component.load(Ordering::Relaxed) {
            return openat(from, path, flags, Mode::empty());
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        openat2(from, path, flags, Mode::empty(), resolve)
    }

    /// As if the kernel had refused `openat2`.
    #[cfg(test)]
    pub(super) fn refuse_openat2(&self) {
        self.by_component.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn both_ways_stay_beneath() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b/c")).unwrap();
        symlink("/", root.path().join("a/out")).unwrap();
        symlink("b", root.path().join("a/in")).unwrap();
        for by_component in [false, true] {
            let beneath = Beneath::new(fs::File::open(root.path()).unwrap().into());
            if by_component {
                beneath.refuse_openat2();
            }
            for path in [&b""[..], b"a", b"a/b/c"] {
                beneath.directory(path, OFlags::RDONLY).unwrap();
            }
            for path in [&b"a/out"[..], b"a/out/etc", b"a/in", b"a/in/c"] {
                beneath.directory(path, OFlags::PATH).unwrap_err();
            }
        }
    }

    #[test]
    fn paths_longer_than_the_kernel_takes_are_opened() {
        let root = tempfile::tempdir().unwrap();
        let beneath = Beneath::new(fs::File::open(root.path()).unwrap().into());
        let mut path = Vec::new();
        let mut dir = beneath.directory(b"", OFlags::PATH).unwrap();
        for _ in 0..50 {
            let name = [b'n'; 200];
            rustix::fs::mkdirat(&dir, &name[..], Mode::RWXU).unwrap();
            path = super::super::join(&path, &name);
            dir = beneath.directory(&path, OFlags::PATH).unwrap();
        }
        assert!(path.len() > 10_000);
    }
}
