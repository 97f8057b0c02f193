//! Stores: where the bytes of files come from while an image is copied.
//!
//! A plan knows files by [`FileId`] only. `scan` returns the store that opens the very files it saw;
//! [`MemoryStore`] serves bytes for tests, vectors and generated files; a tar archive is a store of slices of one file.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// A file of a [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

impl FileId {
    /// The id as an index.
    pub fn index(self) -> usize {
        usize::try_from(self.0).expect("a u32 fits usize on every target that builds images")
    }
}

/// Serves the files that a plan names. Shared by the threads that read ahead.
pub trait Store: Sync {
    /// Opens a file, and checks that it still is what was planned.
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, Error>;
}

impl<S: Store + ?Sized> Store for &S {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, Error> {
        (**self).open(file)
    }
}

/// An opened file of a [`Store`].
pub trait Open: Send {
    /// Fills `buf` from byte `offset` on, or fails: never short.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error>;

    /// The descriptor behind the file and where in it the file's byte 0 lies, for sinks that can clone blocks.
    fn descriptor(&self) -> Option<(BorrowedFd<'_>, u64)> {
        None
    }

    /// Checks once more, after the last read, that the file is what was planned.
    fn finish(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Why a file's bytes could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is no longer what the scan saw: an image of it would mix two states.
    #[error("{} changed while the image was written: planned {planned}, found {found}", path.escape_ascii())]
    SourceChanged {
        /// The file, relative to the root that was scanned.
        path: Vec<u8>,
        /// What the scan saw.
        planned: State,
        /// What is there now.
        found: State,
    },
    /// The file's bytes could not be read.
    #[error("cannot read {}", path.escape_ascii())]
    Read {
        /// The file, relative to the root that was scanned.
        path: Vec<u8>,
        /// What the system said.
        source: std::io::Error,
    },
    /// No such file in this store: the plan belongs to another one.
    #[error("the store has no file {}", .0.0)]
    Unknown(FileId),
}

/// What of a file must stay the same between scan and copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no such file.
    Absent,
    /// There is something of this name, but no regular file.
    NotAFile,
    /// A regular file.
    File {
        /// Its length in bytes.
        len: u64,
        /// Its modification time: seconds and nanoseconds.
        mtime: (i64, u32),
        /// Its inode number: a file replaced by another of the same length is another file.
        inode: u64,
    },
}

impl State {
    /// What an opened file is now.
    pub fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Ok(State::NotAFile);
        }
        let nanos = u32::try_from(meta.mtime_nsec()).unwrap_or(0);
        Ok(State::File {
            len: meta.len(),
            mtime: (meta.mtime(), nanos),
            inode: meta.ino(),
        })
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            State::Absent => write!(f, "nothing"),
            State::NotAFile => write!(f, "something that is no regular file"),
            State::File {
                len,
                mtime: (secs, nanos),
                inode,
            } => {
                write!(f, "{len} bytes of {secs}.{nanos:09} (inode {inode})")
            }
        }
    }
}

/// Files in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    files: Vec<Arc<[u8]>>,
}

impl MemoryStore {
    /// Adds a file.
    pub fn push(&mut self, bytes: impl Into<Arc<[u8]>>) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).expect("fewer than 2^32 files in memory"));
        self.files.push(bytes.into());
        id
    }
}

impl Store for MemoryStore {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, Error> {
        let bytes = self.files.get(file.index()).ok_or(Error::Unknown(file))?;
        Ok(Box::new(MemoryFile { bytes }))
    }
}

struct MemoryFile<'a> {
    bytes: &'a [u8],
}

impl Open for MemoryFile<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let source = start
            .checked_add(buf.len())
            .and_then(|end| self.bytes.get(start..end));
        let source = source.ok_or_else(|| Error::Read {
            path: b"(in memory)".to_vec(),
            source: std::io::ErrorKind::UnexpectedEof.into(),
        })?;
        buf.copy_from_slice(source);
        Ok(())
    }
}
