//! The files that a scan saw, opened again by the way it took, and only if they still are what it saw.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, pread};

use super::beneath::Beneath;
use super::join;
use crate::store::{Error, FileId, Open, State, Store};
use crate::tree::{Content, NodeId, Tree};

/// Directories kept open: neighbours in an image are mostly neighbours in a directory, for each thread another one.
const OPEN_DIRECTORIES: usize = 16;

/// The files below a scanned root.
///
/// A record takes 12 bytes: what a file is called, how long it is and of when stands in the tree.
#[derive(Debug)]
pub struct DirStore {
    beneath: Arc<Beneath>,
    tree: Tree,
    /// The inode number of each file.
    inodes: Vec<u64>,
    /// An entry of the tree that names each file.
    entries: Vec<u32>,
    /// The directories that hold entries, sorted by these.
    directories: Vec<Directory>,
    /// Those open, the one used last in front.
    open: Mutex<Vec<(usize, Arc<OwnedFd>)>>,
}

#[derive(Debug)]
struct Directory {
    entries: Range<u32>,
    /// The entry that names it; the root has none.
    named: Option<u32>,
}

impl DirStore {
    pub(super) fn new(beneath: Arc<Beneath>, tree: Tree, inodes: Vec<u64>) -> Self {
        let ranges = tree.iter().filter_map(|(id, node)| match node.content {
            Content::Directory(entries) => Some((id, entries.range())),
            _ => None,
        });
        let mut ranges: Vec<(NodeId, Range<u32>)> = ranges.filter(|(_, range)| !range.is_empty()).collect();
        ranges.sort_unstable_by_key(|(_, range)| range.start);
        let end = ranges.last().map_or(0, |(_, range)| range.end);
        let mut entries = vec![u32::MAX; inodes.len()];
        let mut named = vec![None; tree.nodes().len()];
        for at in (0..end).rev() {
            let (_, node) = tree.entry(at);
            named[node.index()] = Some(at);
            if let Content::File(data) = &tree.node(node).content {
                entries[data.file.index()] = at;
            }
        }
        let directories = ranges.into_iter().map(|(id, entries)| Directory {
            entries,
            named: named[id.index()],
        });
        Self {
            directories: directories.collect(),
            beneath,
            tree,
            inodes,
            entries,
            open: Mutex::default(),
        }
    }

    /// The path of a file, relative to the root.
    pub fn path(&self, file: FileId) -> Result<Vec<u8>, Error> {
        let entry = *self.entries.get(file.index()).ok_or(Error::Unknown(file))?;
        let dir = self.directory_path(self.directory_of(entry));
        Ok(join(&dir, self.tree.entry(entry).0))
    }

    /// Which of `directories` holds an entry.
    fn directory_of(&self, entry: u32) -> usize {
        self.directories.partition_point(|dir| dir.entries.end <= entry)
    }

    fn directory_path(&self, directory: usize) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = directory;
        while let Some(entry) = self.directories[at].named {
            names.push(self.tree.entry(entry).0);
            at = self.directory_of(entry);
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Opens a directory, or finds it open.
    fn directory(&self, directory: usize) -> Result<Arc<OwnedFd>, Errno> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = lock();
        if let Some(at) = open.iter().position(|(known, _)| *known == directory) {
            open[..=at].rotate_right(1);
            return Ok(Arc::clone(&open[0].1));
        }
        drop(open);
        let path = self.directory_path(directory);
        let fd = Arc::new(self.beneath.directory(&path, OFlags::PATH)?);
        let mut open = lock();
        open.truncate(OPEN_DIRECTORIES.saturating_sub(1));
        open.insert(0, (directory, Arc::clone(&fd)));
        Ok(fd)
    }

    fn planned(&self, file: FileId, entry: u32) -> State {
        let node = self.tree.node(self.tree.entry(entry).1);
        let Content::File(data) = &node.content else {
            return State::NotAFile;
        };
        State::File {
            len: data.len,
            mtime: (node.meta.mtime.secs, node.meta.mtime.nanos),
            inode: self.inodes[file.index()],
        }
    }

    fn read_error(&self, file: FileId, source: io::Error) -> Error {
        match self.path(file) {
            Ok(path) => Error::Read { path, source },
            Err(unknown) => unknown,
        }
    }

    fn changed(&self, file: FileId, planned: State, found: State) -> Error {
        match self.path(file) {
            Ok(path) => Error::SourceChanged { path, planned, found },
            Err(unknown) => unknown,
        }
    }
}

impl Store for DirStore {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, Error> {
        let entry = *self.entries.get(file.index()).ok_or(Error::Unknown(file))?;
        let planned = self.planned(file, entry);
        let (name, _) = self.tree.entry(entry);
        let opened = self
            .directory(self.directory_of(entry))
            .and_then(|dir| open_file(dir.as_fd(), name));
        let fd = opened.map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => self.changed(file, planned, State::Absent),
            // A symlink, a socket or a driver's node that has taken the file's name.
            Errno::LOOP | Errno::NXIO | Errno::NODEV => self.changed(file, planned, State::NotAFile),
            errno => self.read_error(file, errno.into()),
        })?;
        let open = OpenFile {
            store: self,
            file,
            planned,
            fd,
        };
        open.finish()?;
        Ok(Box::new(open))
    }
}

/// Opens a file without following a link, waiting for a peer, or leaving a trace in its access time where allowed.
fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only a file's owner may leave its access time alone.
        Err(Errno::PERM) => openat(dir, name, flags, Mode::empty()),
        result => result,
    }
}

struct OpenFile<'a> {
    store: &'a DirStore,
    file: FileId,
    planned: State,
    fd: OwnedFd,
}

impl Open for OpenFile<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        let mut rest = buf;
        let mut at = offset;
        while !rest.is_empty() {
            let len = match pread(&self.fd, &mut *rest, at) {
                Ok(0) => {
                    // Shorter than planned, so this fails and says by how much.
                    self.finish()?;
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(self.store.read_error(self.file, source));
                }
                Ok(len) => len,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(self.store.read_error(self.file, errno.into())),
            };
            rest = &mut rest[len..];
            at = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    fn descriptor(&self) -> Option<(BorrowedFd<'_>, u64)> {
        Some((self.fd.as_fd(), 0))
    }

    fn finish(&self) -> Result<(), Error> {
        let stat = fstat(&self.fd).map_err(|errno| self.store.read_error(self.file, errno.into()))?;
        let found = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => State::File {
                len: u64::try_from(stat.st_size).unwrap_or_default(),
                mtime: (
                    stat.st_mtime,
                    u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
                ),
                inode: stat.st_ino,
            },
            _ => State::NotAFile,
        };
        if found == self.planned {
            return Ok(());
        }
        Err(self.store.changed(self.file, self.planned, found))
    }
}
