//! Access to a tree that cannot leave it: every symlink in it leads where it will lead once the tree is a root.
//!
//! The tree is made by hooks. An absolute link, `/etc` of the tree say, must never let the builder touch the host's.

pub(super) mod copy;
pub mod lay_out;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::removal;

/// A directory of a tree, held open.
#[derive(Debug)]
pub struct Rooted {
    dir: OwnedFd,
}

impl Rooted {
    /// Opens the tree at `root`.
    pub fn open(root: &Path) -> io::Result<Self> {
        let dir = fs::openat(
            CWD,
            root,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self { dir })
    }

    /// Opens a directory below this one, taking this one as the root; `None` if there is none.
    pub fn dir(&self, path: impl AsRef<Path>) -> io::Result<Option<Self>> {
        match self.resolve(path.as_ref()) {
            Ok(dir) => Ok(Some(Self { dir })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what a path leads to. While anything is renamed or mounted anywhere on the machine, the kernel cannot tell whether a
    /// `..` in it stays inside, and asks for another try.
    fn resolve(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        /// Far more than a busy machine needs.
        const TRIES: u32 = 10_000;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let open = || fs::openat2(&self.dir, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
        let mut opened = open();
        for _ in 1..TRIES {
            if opened.as_ref().err() != Some(&Errno::AGAIN) {
                break;
            }
            std::thread::yield_now();
            opened = open();
        }
        opened
    }

    /// A path by which system calls that know no descriptors reach this directory, as long as it is held open.
    pub fn magic_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.dir.as_raw_fd()))
    }

    /// Makes a directory, unless there is something of this name; whether it did.
    pub fn make_dir(&self, name: &str, mode: u32) -> io::Result<bool> {
        match fs::mkdirat(&self.dir, name, Mode::from_raw_mode(mode)) {
            Ok(()) => {
                // The mode of mkdir is cut by the umask.
                fs::fchmod(self.child(name.as_bytes())?.fd(), Mode::from_raw_mode(mode))?;
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.dir, name, AtFlags::REMOVEDIR)?)
    }

    /// Removes a name that is no directory; whether there was one.
    pub fn remove(&self, name: &[u8]) -> io::Result<bool> {
        match fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Renames within this directory.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(&self.dir, from, &self.dir, to)?)
    }

    /// What stands under a name, without following it.
    pub fn stat(&self, name: impl rustix::path::Arg) -> io::Result<Option<Stat>> {
        match fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What kind of file stands under a name.
    pub fn kind(&self, name: impl rustix::path::Arg) -> io::Result<Option<FileType>> {
        let kind = |stat: Stat| FileType::from_raw_mode(stat.st_mode);
        Ok(self.stat(name)?.map(kind))
    }

    /// Opens a regular file of this directory, to read and, if `write`, to change.
    pub fn file(&self, name: impl rustix::path::Arg, write: bool) -> io::Result<File> {
        let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(&self.dir, name, flags, Mode::empty())?;
        if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(File::from(file))
    }

    /// The bytes of a regular file.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(name, false)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Makes a file anew, in the place of whatever had the name and is no directory.
    pub fn write(&self, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        self.create(name.as_bytes(), mode)?.write_all(bytes)
    }

    /// Makes an empty file, in the place of whatever had the name and is no directory.
    pub fn create(&self, name: &[u8], mode: u32) -> io::Result<File> {
        self.remove(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&self.dir, name, flags, Mode::from_raw_mode(0o600))?);
        // The mode of open is cut by the umask.
        fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        Ok(file)
    }

    /// Opens a directory some way below this one, and makes what is not there. Links lead inside this directory.
    pub fn make_dirs(&self, names: &[&[u8]], mode: u32) -> io::Result<Self> {
        let whole = |count: usize| std::ffi::OsString::from_vec(names[..count].join(&b'/'));
        let open = |path: &Path| {
            self.dir(if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            })
        };
        if let Some(dir) = open(Path::new(&whole(names.len())))? {
            return Ok(dir);
        }
        let mut dir = open(Path::new(""))?.ok_or(io::ErrorKind::NotFound)?;
        for (index, name) in names.iter().enumerate() {
            match fs::mkdirat(&dir.dir, *name, Mode::from_raw_mode(mode)) {
                Ok(()) => fs::chmodat(&dir.dir, *name, Mode::from_raw_mode(mode), AtFlags::empty())?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            // What is there may be a link, which may lead to no directory, or out, where nothing is.
            dir = open(Path::new(&whole(index + 1)))?.ok_or(io::ErrorKind::NotADirectory)?;
        }
        Ok(dir)
    }

    /// The names in this directory and what they are, sorted.
    pub fn entries(&self) -> io::Result<Vec<(Vec<u8>, FileType)>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if let Some(kind) = self.kind(name)? {
                entries.push((name.to_vec(), kind));
            }
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// A directory directly in this one that is no link.
    pub fn child(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self {
            dir: fs::openat(&self.dir, name, flags, Mode::empty())?,
        })
    }

    /// Removes everything in this directory, but nothing that is mounted there.
    pub fn clear(&self) -> io::Result<()> {
        removal::clear(self.fd())
    }

    /// Removes what has a name, with all that is in it, be it a directory or not.
    pub fn remove_all(&self, name: &str) -> io::Result<()> {
        let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
        removal::remove(self.fd(), &name)
    }

    /// Visits the regular files of this directory and of those below it, however deep: the directory each is in, and
    /// its name.
    ///
    /// Nothing may move directories meanwhile. The way back up leads by `..`, and an error tells where that is not
    /// whence the walk came.
    pub fn each_file(&self, visit: &mut impl FnMut(&Self, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut levels = vec![Level::enter(self, visit)?];
        let mut here = self.child(b".")?;
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.below.pop() {
                here = here.child(&name)?;
                let level = Level::enter(&here, visit)?;
                levels.push(level);
                continue;
            }
            levels.pop();
            if let Some(above) = levels.last() {
                here = here.child(b"..")?;
                if identity(&here.dir)? != above.identity {
                    return Err(io::Error::other("a directory was moved while it was read"));
                }
            }
        }
        Ok(())
    }

    /// The directory's descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.dir)
    }
}

/// A directory on the way of a walk.
struct Level {
    identity: (u64, u64),
    /// Directories in it that are still to be walked.
    below: Vec<Vec<u8>>,
}

impl Level {
    fn enter(dir: &Rooted, visit: &mut impl FnMut(&Rooted, &[u8]) -> io::Result<()>) -> io::Result<Self> {
        let mut below = Vec::new();
        for (name, kind) in dir.entries()? {
            match kind {
                FileType::Directory => below.push(name),
                FileType::RegularFile => visit(dir, &name).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", name.escape_ascii()))
                })?,
                _ => {}
            }
        }
        // The next one is taken from the end.
        below.reverse();
        Ok(Self {
            identity: identity(&dir.dir)?,
            below,
        })
    }
}

/// What tells a directory from all others.
fn identity(dir: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = fs::fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn paths_that_lead_up_are_found_while_others_rename() {
        let (root, busy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        let (one, other) = (busy.path().join("one"), busy.path().join("other"));
        std::fs::create_dir(&one).unwrap();
        let rooted = Rooted::open(root.path()).unwrap();
        let renamed = AtomicU32::new(0);
        let failed = std::thread::scope(|scope| {
            scope.spawn(|| {
                while renamed.fetch_add(1, Ordering::Relaxed) < 20_000 {
                    std::fs::rename(&one, &other).unwrap();
                    std::fs::rename(&other, &one).unwrap();
                }
            });
            let mut failed = 0;
            while renamed.load(Ordering::Relaxed) < 20_000 {
                let found = rooted.dir("a/../a/b/../b/..");
                failed += u32::from(!matches!(found, Ok(Some(_))));
            }
            failed
        });
        assert_eq!(failed, 0);
    }

    #[test]
    fn links_lead_inside_the_tree() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("real/deep")).unwrap();
        std::fs::write(root.path().join("real/file"), "inside").unwrap();
        symlink("/real", root.path().join("absolute")).unwrap();
        symlink(outside.path(), root.path().join("escape")).unwrap();
        let rooted = Rooted::open(root.path()).unwrap();
        let dir = rooted.dir("absolute").unwrap().unwrap();
        assert_eq!(dir.read("file").unwrap(), b"inside");
        assert!(rooted.dir("escape").unwrap().is_none());
        assert!(
            rooted.dir("../../..").unwrap().is_some(),
            "the root is its own parent"
        );
        assert!(rooted.dir("/real/deep").unwrap().is_some());
        dir.write("file", 0o640, b"anew").unwrap();
        assert_eq!(std::fs::read(root.path().join("real/file")).unwrap(), b"anew");
        let made = rooted.make_dirs(&[b"absolute", b"new", b"newer"], 0o750).unwrap();
        made.write("file", 0o644, b"deep").unwrap();
        assert_eq!(
            std::fs::read(root.path().join("real/new/newer/file")).unwrap(),
            b"deep"
        );
        for names in [&[&b"escape"[..], b"x"][..], &[b"real", b"file", b"x"]] {
            assert!(rooted.make_dirs(names, 0o755).is_err(), "{names:?}");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        rooted.clear().unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(outside.path().exists());
    }

    #[test]
    fn files_are_visited_in_order_however_deep_they_lie() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["b/x", "a", "c"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        for file in ["b/x/1", "b/2", "a/3", "4", "c/5"] {
            std::fs::write(root.path().join(file), "").unwrap();
        }
        symlink("/etc", root.path().join("link")).unwrap();
        let mut deep = Rooted::open(&root.path().join("c")).unwrap();
        for _ in 0..1_500 {
            deep.make_dir("d", 0o755).unwrap();
            deep = deep.child(b"d").unwrap();
        }
        deep.write("6", 0o644, b"").unwrap();
        let mut seen = Vec::new();
        let rooted = Rooted::open(root.path()).unwrap();
        rooted
            .each_file(&mut |dir, name| {
                assert!(dir.stat(name)?.is_some());
                seen.push(name[0]);
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, *b"432156");
        rooted.remove_all("c").unwrap();
        rooted.remove_all("4").unwrap();
        rooted.remove_all("absent").unwrap();
        assert!(rooted.stat("c").unwrap().is_none() && rooted.stat("4").unwrap().is_none());
    }
}
