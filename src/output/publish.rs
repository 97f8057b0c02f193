//! Giving outputs their names: all at once, or not at all.
//!
//! An output is written as a file without a name, or, where the file system knows none, under a hidden one that ends
//! in random letters. Whoever holds such a file holds a lock on it, so that a hidden file which nobody has locked was
//! left by a program that was killed; the next save of the same output removes it.
//!
//! One save after the other gives names in a directory, by a lock on that directory: so the image, its digests and
//! what an older image became always are of one build. A save that finds the lock taken for longer than names take to
//! give goes on without it: it is not another save that has it, but whoever ran this program under `flock DIRECTORY`,
//! which keeps others out as well.
//!
//! The order of steps is such that a stop between any two leaves the old image or the new one, and digests of no other:
//! hidden names, old names beside the old ones, old digests away, new image, new digests, directory synced.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::clock::Moment;
use crate::sandbox::caller;
use crate::sandbox::workdir::random_name;
use crate::ui;

/// How long the lock on a directory is waited for.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// What stands between the name of an output and the random letters of a hidden file's name.
const HIDDEN: &str = ".dib-new.";

/// Suffixes of the files that belong to an output.
const DIGESTS: [&str; 2] = ["md5", "sha256"];

/// A file that is not yet what it will be called.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) file: File,
    dir: OwnedFd,
    name: OsString,
    /// The name it has until then, if it has any.
    hidden: Option<OsString>,
}

impl Fresh {
    /// Makes it in the directory of `path`, on the file system where it will stay.
    pub(super) fn create(path: &Path, mode: u32) -> io::Result<Self> {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = fs::open(dir, flags, Mode::empty())?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        require_replaceable(&dir, name)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
        match fs::openat(&dir, ".", flags, Mode::from_raw_mode(mode)) {
            Ok(file) => Self::new(file.into(), dir, name.to_owned(), None, mode),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Self::hidden(&dir, name, mode),
            Err(error) => Err(error.into()),
        }
    }

    fn new(
        file: File,
        dir: OwnedFd,
        name: OsString,
        hidden: Option<OsString>,
        mode: u32,
    ) -> io::Result<Self> {
        let fresh = Self {
            file,
            dir,
            name,
            hidden,
        };
        fs::fchmod(&fresh.file, Mode::from_raw_mode(mode))?;
        caller::own(&fresh.file)?;
        // Where nothing can be locked, nothing is taken for left behind.
        let _ = fs::flock(&fresh.file, FlockOperation::NonBlockingLockExclusive);
        Ok(fresh)
    }

    /// Makes it under a hidden name.
    fn hidden(dir: &OwnedFd, name: &OsStr, mode: u32) -> io::Result<Self> {
        sweep(dir, name);
        loop {
            let hidden = hidden_name(name)?;
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
            let file = fs::openat(dir, &hidden, flags, Mode::from_raw_mode(mode))?;
            let fresh = Self::new(file.into(), dir.try_clone()?, name.to_owned(), Some(hidden), mode)?;
            // Another save's sweep may come between its making and its locking.
            if fs::fstat(&fresh.file)?.st_nlink > 0 {
                return Ok(fresh);
            }
        }
    }

    /// Gives it a hidden name, if it has none: the last step that needs room.
    fn stage(&mut self) -> io::Result<()> {
        if self.hidden.is_none() {
            let hidden = hidden_name(&self.name)?;
            let magic = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
            fs::linkat(CWD, &magic, &self.dir, &hidden, AtFlags::SYMLINK_FOLLOW)?;
            self.hidden = Some(hidden);
        }
        Ok(())
    }

    /// Gives it its name, in the place of what had that name.
    fn take_name(&mut self) -> io::Result<()> {
        self.stage()?;
        if let Some(hidden) = &self.hidden {
            fs::renameat(&self.dir, hidden, &self.dir, &self.name)?;
        }
        self.hidden = None;
        Ok(())
    }
}

/// What did not come to its name goes.
impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            let _ = fs::unlinkat(&self.dir, hidden, AtFlags::empty());
        }
    }
}

/// An output that is written, and what it shall be called.
#[derive(Debug)]
pub(super) struct Named<'a> {
    pub(super) image: Fresh,
    pub(super) path: &'a Path,
    /// What its name ends in, after a dot.
    pub(super) suffix: &'a str,
    /// Its digests: `(suffix, text)`.
    pub(super) digests: Vec<(&'a str, String)>,
}

/// Gives an image its name, which ends in its type's `suffix`, and its digests theirs: `(suffix, text)`. What had the name is
/// kept under another one, or goes with `overwrite`.
pub(super) fn publish(
    image: Fresh,
    path: &Path,
    suffix: &str,
    digests: &[(&str, String)],
    mode: u32,
    overwrite: bool,
) -> io::Result<()> {
    let digests = digests.to_vec();
    let one = Named {
        image,
        path,
        suffix,
        digests,
    };
    publish_all(vec![one], mode, overwrite)
}

/// The same for outputs of one directory that are nothing without each other: all get their names, or none keeps its own.
pub(super) fn publish_all(mut outputs: Vec<Named<'_>>, mode: u32, overwrite: bool) -> io::Result<()> {
    let Some(first) = outputs.first() else {
        return Ok(());
    };
    let mut beside = Vec::new();
    for output in &outputs {
        for (suffix, text) in &output.digests {
            let fresh = Fresh::create(&suffixed(output.path, suffix), mode)?;
            io::Write::write_all(&mut &fresh.file, text.as_bytes())?;
            fresh.file.sync_all()?;
            beside.push(fresh);
        }
    }
    let lock = lock(&first.image.dir, first.path)?;
    for fresh in outputs.iter().map(|output| &output.image).chain(&beside) {
        sweep(&lock, &fresh.name);
    }
    let images = outputs.iter_mut().map(|output| &mut output.image);
    for fresh in images.chain(&mut beside) {
        fresh.stage()?;
    }
    for output in &outputs {
        require_replaceable(&lock, &output.image.name)?;
    }
    let mut kept = Vec::new();
    for output in outputs.iter().filter(|_| !overwrite) {
        kept.push(keep_old(&lock, &output.image.name, output.suffix)?);
    }
    for output in &outputs {
        for suffix in DIGESTS {
            remove(&lock, &with_suffix(&output.image.name, suffix))?;
        }
    }
    let images = outputs.iter_mut().map(|output| &mut output.image);
    let mut named = Vec::new();
    let taken = images.chain(&mut beside).try_for_each(|fresh| {
        fresh.take_name()?;
        named.push(fresh.name.clone());
        Ok(())
    });
    if let Err(error) = taken {
        for name in &named {
            let _ = remove(&lock, name);
        }
        restore(&lock, &outputs, &kept);
        return Err(error);
    }
    sync(&lock)?;
    for (output, kept) in outputs.iter().zip(kept) {
        if let Some(kept) = kept {
            let kept = output.path.with_file_name(kept);
            let path = output.path.display();
            ui::note(format_args!("the old {path} is now {}", kept.display()));
        }
    }
    Ok(())
}

/// Gives the older outputs that were kept their names back, as far as those are free.
fn restore(dir: &OwnedFd, outputs: &[Named<'_>], kept: &[Option<OsString>]) {
    for (output, kept) in outputs.iter().zip(kept) {
        let Some(kept) = kept else { continue };
        let own = &output.image.name;
        let with = |suffix| (with_suffix(kept, suffix), with_suffix(own, suffix));
        let [md5, sha256] = DIGESTS.map(with);
        for (from, to) in [(kept.clone(), own.clone()), md5, sha256] {
            if fs::linkat(dir, &from, dir, &to, AtFlags::empty()).is_ok()
                || kind(dir, &to).ok().flatten().is_some()
            {
                let _ = fs::unlinkat(dir, &from, AtFlags::empty());
            } else {
                let _ = fs::renameat(dir, &from, dir, &to);
            }
        }
    }
}

/// Makes the names last. Not every file system of a network can.
fn sync(dir: &OwnedFd) -> io::Result<()> {
    match fs::fsync(dir) {
        Err(Errno::INVAL | Errno::NOTSUP | Errno::BADF) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether an output can be saved under a name: makes an empty one, up to the step before it would get that name.
pub(super) fn rehearse(path: &Path) -> io::Result<()> {
    for path in [path.to_owned(), suffixed(path, DIGESTS[1])] {
        Fresh::create(&path, 0o600)?.stage()?;
    }
    Ok(())
}

/// An output replaces files and symlinks, never anything that stands for more than its bytes.
fn require_replaceable(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let what = match kind(dir, name)? {
        None | Some(FileType::RegularFile | FileType::Symlink) => return Ok(()),
        Some(FileType::Directory) => "a directory",
        Some(FileType::Fifo) => "a fifo",
        Some(FileType::Socket) => "a socket",
        Some(_) => "a device",
    };
    let message = format!("{} is {what}: no image takes its place", name.display());
    Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
}

fn kind(dir: &OwnedFd, name: &OsStr) -> io::Result<Option<FileType>> {
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens a directory anew and locks it.
fn lock(dir: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = fs::openat(dir, ".", flags, Mode::empty())?;
    let until = Instant::now() + PATIENCE;
    while let Err(Errno::WOULDBLOCK | Errno::INTR) = fs::flock(&dir, FlockOperation::NonBlockingLockExclusive)
    {
        if Instant::now() > until {
            ui::warn(format_args!(
                "the directory of {} is locked by another program, and stays so: going on",
                path.display()
            ));
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(dir)
}

/// Gives an older output and its digests a name with the time in it, and returns that. They keep the old name too.
fn keep_old(dir: &OwnedFd, name: &OsStr, suffix: &str) -> io::Result<Option<OsString>> {
    if kind(dir, name)?.is_none() {
        return Ok(None);
    }
    let kept = unused_name(dir, name, suffix)?;
    for suffix in [None, Some(DIGESTS[0]), Some(DIGESTS[1])] {
        let named = |name: &OsStr| suffix.map_or_else(|| name.to_owned(), |suffix| with_suffix(name, suffix));
        let (from, to) = (named(name), named(&kept));
        if kind(dir, &from)?.is_none_or(|kind| kind == FileType::Directory) {
            continue;
        }
        // A file system without hard links: for a moment there is no image of the old name.
        if fs::linkat(dir, &from, dir, &to, AtFlags::empty()).is_err() {
            fs::renameat(dir, &from, dir, &to)?;
        }
    }
    Ok(Some(kept))
}

/// `NAME-YYYY.MM.DD-HH.MM.SS.SUFFIX`, numbered where that second has seen such a name before. A suffix may have dots in it.
fn unused_name(dir: &OwnedFd, name: &OsStr, suffix: &str) -> io::Result<OsString> {
    let time = Moment::now().in_file_name();
    let end = format!(".{suffix}");
    let stem = name.as_bytes().strip_suffix(end.as_bytes());
    let stem = stem.ok_or(io::ErrorKind::InvalidInput)?;
    for number in 1_u32.. {
        let mut kept = OsStr::from_bytes(stem).to_owned();
        kept.push(format!("-{time}"));
        if number > 1 {
            kept.push(format!("-{number}"));
        }
        kept.push(&end);
        if kind(dir, &kept)?.is_none() {
            return Ok(kept);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes the hidden files of an output that nobody holds.
fn sweep(dir: &OwnedFd, name: &OsStr) {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(HIDDEN);
    let Ok(entries) = Dir::read_from(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.to_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = fs::openat(dir, name, flags, Mode::empty()) else {
            continue;
        };
        if fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::unlinkat(dir, name, AtFlags::empty());
        }
    }
}

fn remove(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The path of a file that belongs to an output.
pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(with_suffix(path.as_os_str(), suffix))
}

fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    OsString::from_vec([name.as_bytes(), b".", suffix.as_bytes()].concat())
}

fn hidden_name(name: &OsStr) -> io::Result<OsString> {
    let letters = random_name()?;
    let (name, letters) = (name.as_bytes(), letters.as_bytes());
    Ok(OsString::from_vec(
        [b".", name, HIDDEN.as_bytes(), letters].concat(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Write as _;

    const MODE: u32 = 0o644;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A fresh file as it is on file systems that know no files without names.
    fn named(path: &Path) -> Fresh {
        let dir = fs::open(path.parent().unwrap(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        Fresh::hidden(&dir, path.file_name().unwrap(), MODE).unwrap()
    }

    fn save(mut fresh: Fresh, path: &Path, text: &str, digests: &[&str], overwrite: bool) {
        fresh.file.write_all(text.as_bytes()).unwrap();
        let digests: Vec<_> = digests
            .iter()
            .map(|suffix| (*suffix, format!("{suffix} of {text}")))
            .collect();
        publish(fresh, path, "raw", &digests, MODE, overwrite).unwrap();
    }

    fn fresh(path: &Path) -> Fresh {
        Fresh::create(path, MODE).unwrap()
    }

    fn is_image(name: &str) -> bool {
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "raw")
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn an_old_output_is_kept_with_its_digests_or_replaced() {
        for make in [fresh, named] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("n.raw");
            save(make(&path), &path, "one", &DIGESTS, false);
            save(make(&path), &path, "two", &DIGESTS, false);
            save(make(&path), &path, "three", &["md5"], false);
            let found = names(dir.path());
            assert_eq!(found.len(), 8, "{found:?}");
            assert_eq!(
                (read(&path), read(&suffixed(&path, "md5"))),
                ("three".into(), "md5 of three".into())
            );
            let mut kept: Vec<String> = Vec::new();
            for name in found
                .iter()
                .filter(|name| name.starts_with("n-") && is_image(name))
            {
                let old = dir.path().join(name);
                kept.push(read(&old));
                for suffix in DIGESTS {
                    assert_eq!(
                        read(&suffixed(&old, suffix)),
                        format!("{suffix} of {}", read(&old))
                    );
                }
            }
            kept.sort();
            assert_eq!(kept, ["one", "two"], "of one second, too");
            save(make(&path), &path, "four", &[], true);
            assert_eq!(
                names(dir.path()).len(),
                7,
                "the digest of what was replaced is gone"
            );
            assert_eq!(read(&path), "four");
        }
    }

    #[test]
    fn what_is_not_published_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.raw");
        drop((fresh(&path), named(&path)));
        let mut staged = fresh(&path);
        staged.stage().unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(staged);
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn hidden_files_of_the_dead_are_swept_and_those_of_the_living_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.raw");
        for name in [".n.raw.dib-new.0", ".n.raw.md5.dib-new.0", ".m.raw.dib-new.0"] {
            std::fs::write(dir.path().join(name), "left").unwrap();
        }
        let other = named(&path);
        save(fresh(&path), &path, "new", &DIGESTS, false);
        let hidden: Vec<_> = names(dir.path())
            .into_iter()
            .filter(|name| name.starts_with('.'))
            .collect();
        let living = other.hidden.clone().unwrap().into_string().unwrap();
        assert_eq!(hidden, [".m.raw.dib-new.0".to_owned(), living]);
    }

    #[test]
    fn a_link_is_replaced_and_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aim) = (dir.path().join("n.raw"), dir.path().join("aim"));
        std::fs::write(&aim, "precious").unwrap();
        std::os::unix::fs::symlink("aim", &path).unwrap();
        save(fresh(&path), &path, "new", &[], false);
        assert_eq!((read(&aim), read(&path)), ("precious".into(), "new".into()));
        let found = names(dir.path());
        let kept = found.iter().find(|name| name.starts_with("n-")).unwrap();
        assert_eq!(
            std::fs::read_link(dir.path().join(kept)).unwrap(),
            Path::new("aim")
        );
    }

    #[test]
    fn what_is_more_than_its_bytes_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path, what: &str| {
            let error = Fresh::create(path, MODE).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        std::fs::create_dir(dir.path().join("a.raw")).unwrap();
        refused(&dir.path().join("a.raw"), "a.raw is a directory");
        fs::mknodat(CWD, dir.path().join("b.raw"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        refused(&dir.path().join("b.raw"), "b.raw is a fifo");
        refused(Path::new("/dev/null"), "null is a device");
        // It may come to be there while the image is written.
        let (path, image) = (dir.path().join("c.raw"), fresh(&dir.path().join("c.raw")));
        std::fs::create_dir(&path).unwrap();
        let error = publish(image, &path, "raw", &[], MODE, false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("c.raw is a directory"), "{error}");
        assert_eq!(names(dir.path()), ["a.raw", "b.raw", "c.raw"]);
    }

    #[test]
    fn of_two_outputs_both_get_their_names_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["n.raw", "m.raw"].map(|name| dir.path().join(name));
        let both = |text: &str| {
            let named = paths.iter().map(|path| {
                let image = self::named(path);
                (&image.file).write_all(text.as_bytes()).unwrap();
                Named {
                    image,
                    path,
                    suffix: "raw",
                    digests: vec![("md5", format!("md5 of {text}"))],
                }
            });
            named.collect::<Vec<_>>()
        };
        let told = || {
            let names = names(dir.path()).into_iter();
            let text = |name: &String| read(&dir.path().join(name));
            names.map(|name| (text(&name), name)).collect::<Vec<_>>()
        };
        // The second can get no name: what has its bytes is gone.
        let spoilt = |text: &str| {
            let outputs = both(text);
            std::fs::remove_file(dir.path().join(outputs[1].image.hidden.as_ref().unwrap())).unwrap();
            outputs
        };
        publish_all(spoilt("none"), MODE, false).unwrap_err();
        assert_eq!(told(), []);
        publish_all(both("one"), MODE, false).unwrap();
        let before = told();
        assert_eq!(before.len(), 4, "{before:?}");
        publish_all(spoilt("two"), MODE, false).unwrap_err();
        assert_eq!(told(), before);
        publish_all(both("three"), MODE, false).unwrap();
        assert_eq!((told().len(), read(&paths[1])), (8, "three".into()));
    }

    #[test]
    fn saves_at_the_same_time_keep_every_image_with_its_own_digests() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.raw");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (path, make) = (&path, if thread % 2 == 0 { fresh } else { named });
                scope.spawn(move || {
                    for round in 0..10 {
                        let digests = if u32::is_multiple_of(round, 3) {
                            &DIGESTS[..1]
                        } else {
                            &DIGESTS[..]
                        };
                        save(make(path), path, &format!("{thread}/{round}"), digests, false);
                    }
                });
            }
        });
        let mut images = BTreeMap::new();
        for name in names(dir.path()).iter().filter(|name| is_image(name)) {
            let text = read(&dir.path().join(name));
            let digests = DIGESTS.map(|suffix| {
                let text = std::fs::read_to_string(dir.path().join(format!("{name}.{suffix}")));
                text.ok()
            });
            let round: u32 = text.split('/').nth(1).unwrap().parse().unwrap();
            let sha256 = (!round.is_multiple_of(3)).then(|| format!("sha256 of {text}"));
            assert_eq!(digests, [Some(format!("md5 of {text}")), sha256], "{name}");
            images.insert(text, name.clone());
        }
        assert_eq!(images.len(), 40);
        assert!(names(dir.path()).iter().all(|name| !name.starts_with('.')));
    }

    #[test]
    fn a_directory_that_stays_locked_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let held = fs::open(dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        fs::flock(&held, FlockOperation::LockExclusive).unwrap();
        let path = dir.path().join("n.raw");
        let started = Instant::now();
        save(fresh(&path), &path, "new", &[], false);
        assert!(started.elapsed() >= PATIENCE);
        assert_eq!(names(dir.path()), ["n.raw"]);
    }
}
