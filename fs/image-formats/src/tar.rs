//! Tar archives as trees, and trees as tar archives: ustar and pax, and GNU's own format read, all uncompressed.
//!
//! [`plan()`] makes a map of a tree's archive; [`crate::compress`] compresses it on its way.
//!
//! [`read`] reads the headers once and leaves the data where they are: the [`TarStore`] serves them from the archive,
//! so that an image is written from it without unpacking anything.
//!
//! Rules, since an archive is hostile until checked:
//! - leading `/` and `./` are dropped from names; a name with `..` is refused;
//! - a later member replaces an earlier one of the same name, but for a directory, which only changes its owner,
//!   mode, time and xattrs; a directory is never replaced by something else;
//! - missing parents become directories of root, mode 0755; a parent that is no directory is refused, so that nothing
//!   is ever written through a link;
//! - a hard link names an earlier member;
//! - an ACL in words needs numeric ids;
//! - xattrs are made portable as a scan makes them: capabilities of a user namespace become the image's, properties of
//!   the host's file system are left out.

mod acl;
mod collected;
mod header;
mod member;
mod pax;
mod plan;
mod xattrs;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use image_core::ReadAt;
use image_core::read_at::{ImageFile, Slice};
use image_core::store::{self, FileId, Open, Store};
use image_core::tree::{Device, Time, Tree, TreeError};
use tar::EntryType;

pub(crate) use collected::Collected;
pub(crate) use header::{padded, plain as member};
use pax::Records;
pub use plan::{PlanError, WriteOptions, left_out, plan};

/// Why an archive could not be read as a tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive could not be read.
    #[error("cannot read the archive")]
    Io(#[from] io::Error),
    /// The archive ends within a member.
    #[error("the archive is cut off within the member or header at byte {at}")]
    Truncated {
        /// Where the header or the data begin.
        at: u64,
    },
    /// A header is malformed.
    #[error("the header at byte {at} has a malformed {field}")]
    Header {
        /// Where the header begins.
        at: u64,
        /// Which field.
        field: &'static str,
    },
    /// A member cannot be part of a tree.
    #[error("member '{}': {trouble}", path.escape_ascii())]
    Member {
        /// Its name, as the archive has it.
        path: Vec<u8>,
        /// What is wrong with it.
        trouble: Trouble,
    },
    /// The members do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Why a member of an archive cannot be part of a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The name leads out of the tree.
    #[error("the name leads out of the tree")]
    LeadsOut,
    /// What should be its directory is none.
    #[error("'{}' is no directory", .0.escape_ascii())]
    ParentIsNoDirectory(Vec<u8>),
    /// A directory would be replaced by something else.
    #[error("a directory of that name came earlier")]
    ReplacesDirectory,
    /// A hard link to something that did not come earlier, or to a directory.
    #[error("hard link to '{}', which no earlier member is", .0.escape_ascii())]
    LinkTarget(Vec<u8>),
    /// In a layer of a container's image: a name that begins as those of removed files do, and names none.
    #[error("a whiteout that names no file")]
    Whiteout,
    /// A kind of member that has no place in a tree.
    #[error("kind '{}' has no place in a tree", char::from(*.0))]
    Kind(u8),
    /// An entry of an ACL is malformed, or names a user or group without its number.
    #[error("ACL entry '{}' is malformed or has no numeric id", .0.escape_ascii())]
    Acl(Vec<u8>),
    /// An xattr whose name or value is not encoded as its maker does.
    #[error("xattr '{}' is malformed", .0.escape_ascii())]
    Xattr(Vec<u8>),
    /// The sparse file's map is malformed.
    #[error("the map of the sparse file is malformed")]
    SparseMap,
    /// Pax sparse format 0.0, which pax headers cannot express unambiguously.
    #[error("sparse format 0.0 is not supported; write the archive with --sparse-version=1.0")]
    SparseFormat,
}

impl Error {
    fn header(at: u64, field: &'static str) -> Self {
        Error::Header { at, field }
    }

    fn member(path: &[u8], trouble: Trouble) -> Self {
        Error::Member {
            path: path.to_vec(),
            trouble,
        }
    }
}

/// A member with everything that its headers say.
struct Member {
    path: Vec<u8>,
    link: Option<Vec<u8>>,
    records: Records,
    uid: u32,
    gid: u32,
    mtime: Time,
    mode: u16,
    device: Device,
    kind: EntryType,
    data_at: u64,
    len: u64,
    ranges: Option<Vec<Range<u64>>>,
}

/// Serves the files of archives from where they lie in them.
#[derive(Debug)]
pub struct TarStore {
    archives: Vec<Archive>,
    files: Vec<Stored>,
}

/// An archive: a file, or what a part of one holds.
pub(crate) type Archive = Slice<Arc<ImageFile>>;

#[derive(Debug)]
struct Stored {
    /// Which archive has it.
    archive: usize,
    at: u64,
    len: u64,
    /// `None`: all is data.
    packed: Option<Packed>,
}

/// The runs of data of a sparse file, packed one behind the other in the archive.
#[derive(Debug)]
struct Packed {
    ranges: Arc<[Range<u64>]>,
    /// Bytes of data before each.
    before: Vec<u64>,
}

impl Packed {
    fn new(ranges: Arc<[Range<u64>]>) -> Self {
        let mut sum = 0_u64;
        let before = ranges.iter().map(|range| {
            let here = sum;
            sum = sum.saturating_add(range.end.saturating_sub(range.start));
            here
        });
        let before = before.collect();
        Self { ranges, before }
    }

    /// The runs from the one on that ends behind byte `offset`, each with the bytes of data before it.
    fn behind(&self, offset: u64) -> impl Iterator<Item = (&Range<u64>, u64)> {
        let first = self.ranges.partition_point(|range| range.end <= offset);
        self.ranges[first..]
            .iter()
            .zip(self.before[first..].iter().copied())
    }
}

/// Reads an uncompressed archive: the tree, and the store that serves its files. `path` names it in messages.
pub fn read(archive: File, path: &Path) -> Result<(Tree, TarStore), Error> {
    let file = Arc::new(ImageFile::new(archive, path)?);
    let len = file.len();
    let archive = Slice::new(file, 0..len).expect("a file holds all of itself");
    let mut collected = Collected::default();
    collected.archive(archive)?;
    collected.build()
}

impl Store for TarStore {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        let stored = self.files.get(file.index()).ok_or(store::Error::Unknown(file))?;
        let archive = self
            .archives
            .get(stored.archive)
            .ok_or(store::Error::Unknown(file))?;
        archive.check()?;
        Ok(Box::new(OpenMember { archive, stored }))
    }
}

struct OpenMember<'a> {
    archive: &'a Archive,
    stored: &'a Stored,
}

impl OpenMember<'_> {
    /// Fills `buf` with the bytes from `offset` on, of which none is behind the file's end; holes are zeros.
    fn read(&self, mut buf: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(packed) = &self.stored.packed else {
            return self
                .archive
                .read_exact_at(buf, self.stored.at.saturating_add(offset));
        };
        let mut at = offset;
        for (range, before) in packed.behind(offset) {
            let hole = range.start.saturating_sub(at);
            let hole = usize::try_from(hole).unwrap_or(usize::MAX).min(buf.len());
            let (zeros, rest) = buf.split_at_mut(hole);
            zeros.fill(0);
            if rest.is_empty() {
                return Ok(());
            }
            let from = range.start.max(at);
            let len = usize::try_from(range.end.saturating_sub(from)).unwrap_or(usize::MAX);
            let (data, rest) = rest.split_at_mut(len.min(rest.len()));
            let within = before.saturating_add(from.saturating_sub(range.start));
            self.archive
                .read_exact_at(data, self.stored.at.saturating_add(within))?;
            (at, buf) = (range.end, rest);
        }
        buf.fill(0);
        Ok(())
    }
}

impl Open for OpenMember<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), store::Error> {
        let failed = |source| store::Error::Read {
            path: self.archive.whole().path().to_vec(),
            source,
        };
        let len = u64::try_from(buf.len()).ok();
        let end = len.and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.stored.len) {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        self.read(buf, offset).map_err(failed)
    }

    fn descriptor(&self) -> Option<(BorrowedFd<'_>, u64)> {
        let at = self.archive.start().checked_add(self.stored.at)?;
        let dense = self.stored.packed.is_none();
        dense.then(|| (self.archive.whole().as_fd(), at))
    }

    fn finish(&self) -> Result<(), store::Error> {
        self.archive.check()
    }
}
