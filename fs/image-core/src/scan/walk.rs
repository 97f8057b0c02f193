//! The parallel walk: every directory listed, every file inspected, in no particular order.
//!
//! Jobs are directories to list, and runs of names to inspect, so that one huge directory keeps all threads busy too.

use std::collections::HashMap;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::num::NonZero;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Statx, openat, statat};
use rustix::io::Errno;

use super::beneath::Beneath;
use super::found::{Batch, DirectoryNumber, File, Found, Head, Kind, Status};
use super::inspect::{self, Mount, XattrReader};
use super::jobs::Jobs;
use super::names::{Names, long, short};
use super::{Error, Options, join, shown, stand_ins};
use crate::tree::{Device, Xattr};

/// Directories held open for jobs that wait, at most; those queued beyond are opened again by their path.
const OPEN_MAX: usize = 256;

/// Walks the whole tree.
pub(super) fn walk(beneath: &Beneath, options: &Options, bare: bool) -> Result<Found, Error> {
    if !bare {
        let root = format!("/proc/self/fd/{}", beneath.root().as_raw_fd());
        statat(CWD, root, AtFlags::empty()).map_err(|source| Error::NoProc {
            source: source.into(),
        })?;
    }
    let stat = inspect::status(beneath.root(), c"").map_err(at(b"", "read the status of"))?;
    let walk = Walk {
        beneath,
        options,
        bare,
        mount: Mount::of(&stat),
        jobs: Jobs::new(Job::List {
            parent: None,
            path: Vec::new(),
            number: DirectoryNumber(0),
        }),
        results: Mutex::default(),
        numbers: AtomicUsize::new(1),
        open: Arc::default(),
        sets: Mutex::new(Sets::new()),
    };
    let threads = options
        .threads
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        // Not on the caller's thread too: a worker's directory is its own, and changes.
        for _ in 0..threads {
            scope.spawn(|| walk.work());
        }
    });
    let results = walk.results.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = results.failed {
        return Err(error);
    }
    let sets = walk.sets.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Found {
        heads: results.heads,
        batches: results.batches,
        xattrs: sets.sets,
    })
}

/// What the threads share.
struct Walk<'a> {
    beneath: &'a Beneath,
    options: &'a Options,
    /// Whether extended attributes are left out.
    bare: bool,
    mount: Mount,
    jobs: Jobs<Job>,
    results: Mutex<Results>,
    /// The next [`DirectoryNumber`].
    numbers: AtomicUsize,
    /// Directories held open.
    open: Arc<AtomicUsize>,
    sets: Mutex<Sets>,
}

#[derive(Default)]
struct Results {
    heads: Vec<Head>,
    batches: Vec<Batch>,
    /// The failure whose path comes first, of those that were met.
    failed: Option<Error>,
}

enum Job {
    /// Lists a directory.
    List {
        /// The directory above, if it is still open.
        parent: Option<Arc<OpenDir>>,
        path: Vec<u8>,
        number: DirectoryNumber,
    },
    /// Inspects a run of a directory's entries.
    Inspect {
        dir: Arc<OpenDir>,
        path: Arc<[u8]>,
        number: DirectoryNumber,
        run: usize,
        names: Names,
    },
}

/// An open directory, counted.
struct OpenDir {
    fd: OwnedFd,
    open: Arc<AtomicUsize>,
}

impl Drop for OpenDir {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The distinct sets of extended attributes; set 0 is empty.
struct Sets {
    sets: Vec<Arc<[Xattr]>>,
    numbers: HashMap<Arc<[Xattr]>, u32>,
}

impl Sets {
    fn new() -> Self {
        Self {
            sets: vec![Arc::new([])],
            numbers: HashMap::new(),
        }
    }

    fn number(&mut self, set: Vec<Xattr>) -> u32 {
        let set: Arc<[Xattr]> = set.into();
        if let Some(number) = self.numbers.get(&set) {
            return *number;
        }
        let number = short(self.sets.len());
        self.sets.push(Arc::clone(&set));
        self.numbers.insert(set, number);
        number
    }
}

/// Turns what the system said on `path` into an [`Error`].
fn at<E: Into<std::io::Error>>(path: &[u8], attempt: &'static str) -> impl FnOnce(E) -> Error {
    let path = shown(path);
    move |source| Error::Io {
        path,
        attempt,
        source: source.into(),
    }
}

impl Walk<'_> {
    fn work(&self) {
        let mut xattrs = XattrReader::new(self.bare);
        self.jobs.work(|job| {
            let result = match job {
                Job::List { parent, path, number } => self.list(parent, &path, number, &mut xattrs),
                Job::Inspect {
                    dir,
                    path,
                    number,
                    run,
                    names,
                } => self.inspect(&dir, &path, number, run, &names, &mut xattrs),
            };
            if let Err(error) = result {
                self.jobs.stop();
                let failed = &mut self.results().failed;
                if failed.as_ref().is_none_or(|first| error.path() < first.path()) {
                    *failed = Some(error);
                }
            }
        });
    }

    fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(
        &self,
        parent: Option<Arc<OpenDir>>,
        path: &[u8],
        number: DirectoryNumber,
        xattrs: &mut XattrReader,
    ) -> Result<(), Error> {
        let dir = self.open(parent.as_deref(), path)?;
        drop(parent);
        let stat = inspect::status(&dir.fd, c"").map_err(at(path, "read the status of"))?;
        if Mount::of(&stat) != self.mount {
            return Err(Error::MountPoint { path: shown(path) });
        }
        xattrs.enter(dir.fd.as_fd());
        let set = xattrs
            .of_directory(dir.fd.as_fd())
            .map_err(at(path, "read the extended attributes of"))?;
        let head = Head {
            number,
            status: self.status(&stat, set),
        };
        let names = self.names(&dir, path)?;
        self.results().heads.push(head);
        let mut runs = names.runs();
        let first = runs.next().unwrap_or_default();
        let path: Arc<[u8]> = path.into();
        let jobs = (1..).zip(runs).map(|(run, names)| Job::Inspect {
            dir: Arc::clone(&dir),
            path: Arc::clone(&path),
            number,
            run,
            names,
        });
        self.jobs.add(jobs.collect());
        self.inspect(&dir, &path, number, 0, &first, xattrs)
    }

    /// Opens the directory `path` in its parent, without following a link.
    fn open(&self, parent: Option<&OpenDir>, path: &[u8]) -> Result<Arc<OpenDir>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match parent {
            Some(parent) => {
                let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                openat(&parent.fd, name, flags, Mode::empty())
            }
            None => self.beneath.directory(path, OFlags::RDONLY),
        };
        let fd = fd.map_err(|errno| match errno {
            Errno::XDEV => Error::MountPoint { path: shown(path) },
            errno => at(path, "open the directory")(errno),
        })?;
        self.open.fetch_add(1, Ordering::Relaxed);
        let open = Arc::clone(&self.open);
        Ok(Arc::new(OpenDir { fd, open }))
    }

    /// The names in a directory, sorted, without those excluded.
    fn names(&self, dir: &OpenDir, path: &[u8]) -> Result<Names, Error> {
        let mut buf = [MaybeUninit::uninit(); 16 * 1024];
        let mut names = Names::default();
        let mut entries = RawDir::new(&dir.fd, &mut buf);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(at(path, "list the directory"))?;
            let name = entry.file_name();
            let is_link_to_directory = matches!(name.to_bytes(), b"." | b"..");
            if !is_link_to_directory && !self.is_excluded(path, name) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn is_excluded(&self, dir: &[u8], name: &CStr) -> bool {
        let name = name.to_bytes();
        self.options
            .exclude
            .iter()
            .any(|path| path.ends_with(name) && *path == join(dir, name))
    }

    fn inspect(
        &self,
        dir: &Arc<OpenDir>,
        path: &[u8],
        number: DirectoryNumber,
        run: usize,
        names: &Names,
        xattrs: &mut XattrReader,
    ) -> Result<(), Error> {
        xattrs.enter(dir.fd.as_fd());
        let mut text = names.text.clone();
        let mut files = Vec::with_capacity(names.names.len());
        let mut jobs = Vec::new();
        for range in &names.names {
            let name = CStr::from_bytes_with_nul(&names.text[long(range)])
                .expect("the kernel's names end with their only NUL");
            let file = self.file(dir, path, name, &mut text, xattrs)?;
            if let Kind::Directory(number) = file.kind {
                let keep = self.open.load(Ordering::Relaxed) < OPEN_MAX;
                jobs.push(Job::List {
                    parent: keep.then(|| Arc::clone(dir)),
                    path: join(path, name.to_bytes()),
                    number,
                });
            }
            files.push(File {
                name: range.start..range.end.saturating_sub(1),
                ..file
            });
        }
        self.jobs.add(jobs);
        self.results().batches.push(Batch {
            directory: number,
            run,
            text: text.into(),
            files: files.into(),
        });
        Ok(())
    }

    /// Inspects one file; of a directory, only that it is one.
    fn file(
        &self,
        dir: &OpenDir,
        dir_path: &[u8],
        name: &CStr,
        text: &mut Vec<u8>,
        xattrs: &mut XattrReader,
    ) -> Result<File, Error> {
        let failed = |attempt| {
            let path = join(dir_path, name.to_bytes());
            move |errno: Errno| at(&path, attempt)(errno)
        };
        let stat = inspect::status(&dir.fd, name).map_err(|e| failed("read the status of")(e))?;
        if Mount::of(&stat) != self.mount {
            let path = join(dir_path, name.to_bytes());
            return Err(Error::MountPoint { path });
        }
        let device = Device {
            major: stat.stx_rdev_major,
            minor: stat.stx_rdev_minor,
        };
        let mut stands_in = false;
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::Directory => {
                Kind::Directory(DirectoryNumber(self.numbers.fetch_add(1, Ordering::Relaxed)))
            }
            FileType::Symlink => {
                let target = inspect::target(&dir.fd, name).map_err(|e| failed("read the link")(e))?;
                let start = text.len();
                text.extend_from_slice(&target);
                Kind::Symlink(short(start)..short(text.len()))
            }
            FileType::CharacterDevice => Kind::CharDevice(device),
            FileType::BlockDevice => Kind::BlockDevice(device),
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            _ => match self.options.stand_ins.kind(&stat) {
                Some(node) => {
                    stands_in = true;
                    node
                }
                None => Kind::File {
                    len: stat.stx_size,
                    inode: stat.stx_ino,
                    ranges: ranges(dir, dir_path, name, &stat)?,
                },
            },
        };
        let is_directory = matches!(kind, Kind::Directory(_));
        let mut set = if is_directory {
            Vec::new()
        } else {
            xattrs
                .of_file(name)
                .map_err(|e| failed("read the extended attributes of")(e))?
        };
        if stands_in {
            stand_ins::of_node(&mut set);
        }
        let device = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
        let linked = (stat.stx_nlink > 1 && !is_directory).then(|| Box::new((device, stat.stx_ino)));
        Ok(File {
            name: 0..0,
            status: self.status(&stat, set),
            kind,
            linked,
        })
    }

    fn status(&self, stat: &Statx, set: Vec<Xattr>) -> Status {
        let xattrs = if set.is_empty() {
            0
        } else {
            let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
            sets.number(set)
        };
        Status {
            mode: stat.stx_mode & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mtime: inspect::mtime(stat),
            xattrs,
        }
    }
}

/// Which bytes of a file are data; only one with fewer blocks than bytes can have holes.
fn ranges(
    dir: &OpenDir,
    dir_path: &[u8],
    name: &CStr,
    stat: &Statx,
) -> Result<Option<Arc<[Range<u64>]>>, Error> {
    const SECTOR: u64 = 512;
    if stat.stx_blocks.saturating_mul(SECTOR) >= stat.stx_size {
        return Ok(None);
    }
    inspect::ranges(&dir.fd, name, stat.stx_size).map_err(|source| {
        let path = join(dir_path, name.to_bytes());
        at(&path, "find the holes of")(source)
    })
}
