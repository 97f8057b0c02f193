//! Tar archives as trees: ustar, pax and GNU, uncompressed.
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
mod member;
mod pax;
mod xattrs;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use image_core::store::{self, FileId, Open, State, Store};
use image_core::tree::{Builder, Data, Device, Meta, NewContent, NodeId, Time, Tree, TreeError, XattrsId};
use tar::EntryType;

use member::Members;
use pax::Records;

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

/// Serves the files of an archive from where they lie in it.
#[derive(Debug)]
pub struct TarStore {
    archive: File,
    path: Vec<u8>,
    planned: State,
    files: Vec<Stored>,
}

#[derive(Debug)]
struct Stored {
    at: u64,
    len: u64,
    /// Runs of data, packed one behind the other in the archive; `None`: all is data.
    ranges: Option<Vec<Range<u64>>>,
}

/// Reads an uncompressed archive: the tree, and the store that serves its files. `path` names it in messages.
pub fn read(archive: File, path: &Path) -> Result<(Tree, TarStore), Error> {
    let planned = State::of(&archive)?;
    let State::File { len, .. } = planned else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file").into());
    };
    let mut members = Members::new(archive.try_clone()?, len);
    let mut collected = Collected::new();
    while let Some(member) = members.next()? {
        collected.add(member)?;
    }
    let path = path.as_os_str().as_encoded_bytes().to_vec();
    let (tree, files) = collected.build()?;
    Ok((
        tree,
        TarStore {
            archive,
            path,
            planned,
            files,
        },
    ))
}

/// The tree, while members come in; names are settled at the end, since later members replace earlier ones.
struct Collected {
    builder: Builder,
    /// The node of each name that came so far, and whether it is a directory.
    nodes: HashMap<Vec<u8>, (NodeId, bool)>,
    /// The names in the order in which they came first, which makes the result deterministic.
    names: Vec<Vec<u8>>,
    files: Vec<Stored>,
}

impl Collected {
    fn new() -> Self {
        let builder = Tree::builder(Meta::root(0o755));
        Self {
            builder,
            nodes: HashMap::from([(Vec::new(), (NodeId::ROOT, true))]),
            names: Vec::new(),
            files: Vec::new(),
        }
    }

    fn add(&mut self, member: Member) -> Result<(), Error> {
        let path = normal(&member.path).ok_or_else(|| Error::member(&member.path, Trouble::LeadsOut))?;
        let trouble = |trouble| Error::Member {
            path: member.path.clone(),
            trouble,
        };
        self.parent(&path, &member.path)?;
        let meta = self.meta(&member)?;
        let existing = self.nodes.get(&path).copied();
        let is_directory = member.kind == EntryType::Directory;
        match existing {
            Some((node, true)) if is_directory => {
                self.builder.set_meta(node, meta);
                return Ok(());
            }
            Some((_, true)) => return Err(trouble(Trouble::ReplacesDirectory)),
            _ => {}
        }
        let link = member.link.as_deref().unwrap_or_default();
        let node = match member.kind {
            EntryType::Link => {
                let target = normal(link).and_then(|target| self.nodes.get(&target));
                let node = target.and_then(|(node, is_directory)| (!is_directory).then_some(*node));
                node.ok_or_else(|| trouble(Trouble::LinkTarget(link.to_vec())))?
            }
            EntryType::Directory => self.builder.node(meta, NewContent::Directory)?,
            EntryType::Symlink => self.builder.node(meta, NewContent::Symlink(link))?,
            EntryType::Char => self.builder.node(meta, NewContent::CharDevice(member.device))?,
            EntryType::Block => self.builder.node(meta, NewContent::BlockDevice(member.device))?,
            EntryType::Fifo => self.builder.node(meta, NewContent::Fifo)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let file = FileId(u32::try_from(self.files.len()).map_err(|_| TreeError::TooLarge)?);
                let ranges = member.ranges.as_ref().map(|ranges| ranges.clone().into());
                let data = Data {
                    file,
                    len: member.len,
                    ranges,
                };
                self.files.push(Stored {
                    at: member.data_at,
                    len: member.len,
                    ranges: member.ranges,
                });
                self.builder.node(meta, NewContent::File(data))?
            }
            kind => return Err(trouble(Trouble::Kind(kind.as_byte()))),
        };
        self.name(path, node, is_directory);
        Ok(())
    }

    fn name(&mut self, path: Vec<u8>, node: NodeId, is_directory: bool) {
        if self.nodes.insert(path.clone(), (node, is_directory)).is_none() {
            self.names.push(path);
        }
    }

    /// Makes the directories above `path` that no member made.
    fn parent(&mut self, path: &[u8], named: &[u8]) -> Result<(), Error> {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let parent = &path[..at];
            match self.nodes.get(parent) {
                Some((_, true)) => {}
                Some(_) => {
                    return Err(Error::member(
                        named,
                        Trouble::ParentIsNoDirectory(parent.to_vec()),
                    ));
                }
                None => {
                    let node = self.builder.node(Meta::root(0o755), NewContent::Directory)?;
                    self.name(parent.to_vec(), node, true);
                }
            }
        }
        Ok(())
    }

    fn meta(&mut self, member: &Member) -> Result<Meta, Error> {
        let set = xattrs::of(&member.records).map_err(|trouble| Error::member(&member.path, trouble))?;
        let xattrs = if set.is_empty() {
            XattrsId::NONE
        } else {
            self.builder.xattrs(set)?
        };
        let Member {
            mode,
            uid,
            gid,
            mtime,
            ..
        } = *member;
        Ok(Meta {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        })
    }

    fn build(mut self) -> Result<(Tree, Vec<Stored>), Error> {
        for path in &self.names {
            let slash = path.iter().rposition(|byte| *byte == b'/');
            let (parent, name) = match slash {
                Some(slash) => (
                    &path[..slash],
                    path.get(slash.saturating_add(1)..).unwrap_or_default(),
                ),
                None => (&b""[..], &path[..]),
            };
            let (parent, _) = self.nodes[parent];
            let (node, _) = self.nodes[path];
            self.builder.link(parent, name, node)?;
        }
        Ok((self.builder.build()?, self.files))
    }
}

/// A name without empty and `.` components; `None` if it leads out of the tree.
fn normal(path: &[u8]) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    (!parts.contains(&&b".."[..])).then(|| parts.join(&b'/'))
}

impl Store for TarStore {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        let stored = self.files.get(file.index()).ok_or(store::Error::Unknown(file))?;
        let opened = OpenMember { store: self, stored };
        opened.finish()?;
        Ok(Box::new(opened))
    }
}

struct OpenMember<'a> {
    store: &'a TarStore,
    stored: &'a Stored,
}

impl OpenMember<'_> {
    fn failed(&self, source: io::Error) -> store::Error {
        store::Error::Read {
            path: self.store.path.clone(),
            source,
        }
    }

    /// Where in the archive byte `offset` of the file lies, if `len` bytes of data lie there in one piece.
    fn locate(&self, offset: u64, len: u64) -> Option<u64> {
        let end = offset.checked_add(len)?;
        let Some(ranges) = &self.stored.ranges else {
            return (end <= self.stored.len).then(|| self.stored.at.checked_add(offset))?;
        };
        let mut at = self.stored.at;
        for range in ranges {
            if range.start <= offset && end <= range.end {
                return at.checked_add(offset.checked_sub(range.start)?);
            }
            at = at.checked_add(range.end.checked_sub(range.start)?)?;
        }
        None
    }
}

impl Open for OpenMember<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), store::Error> {
        let at = u64::try_from(buf.len())
            .ok()
            .and_then(|len| self.locate(offset, len));
        let at = at.ok_or_else(|| self.failed(io::ErrorKind::UnexpectedEof.into()))?;
        self.store
            .archive
            .read_exact_at(buf, at)
            .map_err(|source| self.failed(source))
    }

    fn descriptor(&self) -> Option<(BorrowedFd<'_>, u64)> {
        self.stored
            .ranges
            .is_none()
            .then(|| (self.store.archive.as_fd(), self.stored.at))
    }

    fn finish(&self) -> Result<(), store::Error> {
        let (planned, path) = (self.store.planned, self.store.path.clone());
        match State::of(&self.store.archive).map_err(|source| self.failed(source))? {
            found if found == planned => Ok(()),
            found => Err(store::Error::SourceChanged { path, planned, found }),
        }
    }
}
