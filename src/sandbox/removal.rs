//! Removing what hooks left, whatever it is.
//!
//! Every step goes by the descriptor of an open directory, never follows a link, and stays on the mount where it
//! began: whoever moves directories about meanwhile, or binds another one there, cannot lead it elsewhere.
//!
//! - Depth: a tree may be deeper than there are descriptors, or room on a stack. What lies [`DEPTH_MAX`] levels down is
//!   moved up to the first level, and removed from there.
//! - Files that are immutable or may only be appended to lose that flag; directories that their owner may not change
//!   get the right to it.
//! - A failure ends nothing but itself: all else is removed, then the first failure is told, with its path.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, IFlags, Mode, OFlags, ResolveFlags, chmod, fstat, ioctl_getflags, ioctl_setflags,
    openat, openat2, renameat, statat, unlinkat,
};
use rustix::io::Errno;

/// How deep a directory may lie before it is moved up. Each level holds two descriptors.
const DEPTH_MAX: usize = 64;

/// How often a directory is read, unless it comes to hold less each time: somebody goes on to write there.
const PASSES_MAX: u32 = 100;

/// Removes all that is in a directory.
pub(super) fn clear(dir: BorrowedFd<'_>) -> io::Result<()> {
    let mut removal = Removal { top: dir, moved: 0 };
    removal.clear(dir, 0).map_err(Into::into)
}

/// Removes what has a name, with all that is in it.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let mut removal = Removal { top: dir, moved: 0 };
    let removed = match open(dir, name) {
        Ok(below) => {
            removal.top = below.as_fd();
            let cleared = removal.clear(below.as_fd(), 1);
            cleared.and_then(|()| unlink(dir, name, AtFlags::REMOVEDIR).map_err(Failure::from))
        }
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => unlink(dir, name, AtFlags::empty()).map_err(Failure::from),
        Err(error) => Err(error.into()),
    };
    removed.map_err(|failure| failure.within(name).into())
}

/// A removal under way.
struct Removal<'a> {
    /// Where it began.
    top: BorrowedFd<'a>,
    /// How many directories were moved up to there.
    moved: u64,
}

impl Removal<'_> {
    /// Empties a directory: reads it until nothing more in it can be removed.
    fn clear(&mut self, dir: BorrowedFd<'_>, depth: usize) -> Result<(), Failure> {
        let mut passes = 0;
        while passes < PASSES_MAX {
            let (moved, mut removed, mut failed) = (self.moved, false, None);
            for entry in Dir::read_from(dir)? {
                let entry = entry?;
                let name = entry.file_name();
                if name == c"." || name == c".." {
                    continue;
                }
                match self.remove(dir, name, entry.file_type(), depth) {
                    Ok(()) => removed = true,
                    Err(failure) => failed = failed.or_else(|| Some(failure.within(name))),
                }
            }
            if !removed {
                return failed.map_or(Ok(()), Err);
            }
            passes += u32::from(moved == self.moved);
        }
        Err(Errno::BUSY.into())
    }

    fn remove(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        depth: usize,
    ) -> Result<(), Failure> {
        if kind != FileType::Directory {
            match unlink(dir, name, AtFlags::empty()) {
                // Not every file system tells what its entries are.
                Err(Errno::ISDIR) => {}
                other => return Ok(other?),
            }
        }
        if depth >= DEPTH_MAX {
            return Ok(self.move_up(dir, name)?);
        }
        let below = open(dir, name)?;
        self.clear(below.as_fd(), depth + 1)?;
        Ok(unlink(dir, name, AtFlags::REMOVEDIR)?)
    }

    /// Moves a directory to where the removal began, under a name that nothing there has.
    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        loop {
            self.moved += 1;
            let free = format!(".dib-moved.{}", self.moved);
            match loosened(dir, name, || renameat(dir, name, self.top, &free)) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                other => return other,
            }
        }
    }
}

/// Opens a directory that is none of another mount.
fn open(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    loosened(dir, name, || {
        match openat2(dir, name, flags, Mode::empty(), resolve) {
            // Older kernels lack it, and some containers forbid it.
            Err(Errno::NOSYS | Errno::PERM) => {
                let fd = openat(dir, name, flags, Mode::empty())?;
                if fstat(&fd)?.st_dev == fstat(dir)?.st_dev {
                    Ok(fd)
                } else {
                    Err(Errno::XDEV)
                }
            }
            other => other,
        }
    })
}

fn unlink(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match loosened(dir, name, || unlinkat(dir, name, flags)) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Tries again, if it was forbidden, once what may forbid it is taken away.
fn loosened<T>(
    dir: BorrowedFd<'_>,
    name: &CStr,
    mut try_it: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match try_it() {
        Err(Errno::PERM | Errno::ACCESS) => {
            // Whatever cannot be loosened makes the second try fail as the first.
            let _ = loosen(dir, c".");
            let _ = loosen(dir, name);
            try_it()
        }
        other => other,
    }
}

/// Takes the flags that forbid changes off a file or directory, and gives a directory's owner the right to change it.
fn loosen(dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let kind = FileType::from_raw_mode(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
    if kind == FileType::Directory {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = openat(dir, name, flags, Mode::empty())?;
        // An immutable one refuses, until it is loosened below.
        let _ = chmod(format!("/proc/self/fd/{}", path.as_raw_fd()), Mode::RWXU);
    } else if kind != FileType::RegularFile {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty())?;
    let kept = ioctl_getflags(&file)? - (IFlags::IMMUTABLE | IFlags::APPEND);
    ioctl_setflags(&file, kept)
}

/// What could not be removed, and why.
#[derive(Debug)]
struct Failure {
    /// Its path, relative to where the removal is; empty: the directory itself.
    path: Vec<u8>,
    error: Errno,
}

impl Failure {
    /// The failure as it is seen from the directory above.
    fn within(mut self, name: &CStr) -> Self {
        let slash = if self.path.is_empty() { &b""[..] } else { b"/" };
        self.path = [name.to_bytes(), slash, &self.path].concat();
        self
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self {
            path: Vec::new(),
            error,
        }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let path = failure.path.escape_ascii();
        match failure.error {
            Errno::XDEV => Self::new(io::ErrorKind::ResourceBusy, format!("{path} is a mount point")),
            error => Self::new(Self::from(error).kind(), format!("{path}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use rustix::fs::{CWD, mkdirat};

    fn directory(path: &Path) -> OwnedFd {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("precious"), "").unwrap();
        fs::create_dir_all(dir.path().join("gone/deep")).unwrap();
        symlink(outside.path(), dir.path().join("gone/deep/link")).unwrap();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        let fd = directory(dir.path());
        remove(fd.as_fd(), c"link").unwrap();
        remove(fd.as_fd(), c"gone").unwrap();
        remove(fd.as_fd(), c"gone").unwrap();
        assert_eq!(names(dir.path()), [""; 0]);
        assert_eq!(names(outside.path()), ["precious"]);
    }

    #[test]
    fn no_tree_is_too_deep() {
        const DEPTH: usize = 2_000;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".dib-moved.1"), "taken").unwrap();
        fs::create_dir_all(dir.path().join(".dib-moved.2/taken")).unwrap();
        // Longer than any path may be, deeper than there may be descriptors.
        let name = c"a name of some length that makes the path longer than the system takes";
        let mut at = directory(dir.path());
        for _ in 0..DEPTH {
            mkdirat(&at, name, Mode::RWXU).unwrap();
            at = openat(&at, name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
        clear(directory(dir.path()).as_fd()).unwrap();
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn modes_and_flags_do_not_protect() {
        let dir = tempfile::tempdir().unwrap();
        let shut = dir.path().join("shut");
        fs::create_dir_all(shut.join("below")).unwrap();
        fs::write(shut.join("below/file"), "").unwrap();
        fs::write(shut.join("kept"), "").unwrap();
        for path in [shut.join("below"), shut.join("kept"), shut.clone()] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        }
        let flagged = if rustix::process::geteuid().is_root() {
            let file = fs::File::open(shut.join("kept")).unwrap();
            let immutable = ioctl_setflags(&file, IFlags::IMMUTABLE).is_ok();
            let append = ioctl_setflags(directory(&shut), IFlags::APPEND).is_ok();
            immutable && append
        } else {
            false
        };
        if flagged {
            assert!(fs::remove_file(shut.join("kept")).is_err());
        }
        clear(directory(dir.path()).as_fd()).unwrap();
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn a_failure_is_told_when_all_else_is_gone() {
        let failure = Failure::from(Errno::IO).within(c"b\n").within(c"a");
        assert_eq!(
            io::Error::from(failure).to_string(),
            "a/b\\n: Input/output error (os error 5)"
        );
        let failure = Failure::from(Errno::XDEV).within(c"proc");
        assert_eq!(io::Error::from(failure).to_string(), "proc is a mount point");
    }
}
