//! Newc archives as trees, with the store that serves their files from where they lie.
//!
//! An archive may come from anywhere: whatever its bytes are, reading it ends with a tree or an error, in memory bounded by
//! its length. As with the kernel, several archives may stand one behind the other, with zeros between them; names begin
//! at the root, and a later member replaces an earlier one of its name. A name with `..` is refused, and so is one below
//! what is no directory. What follows in another form, as a compressed ramdisk does behind the microcode, is refused.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use image_core::ReadAt;
use image_core::store::{self, FileId, Open, Store};
use image_core::tree::{Builder, Data, Device, Meta, NewContent, NodeId, Time, Tree, TreeError, XattrsId};

use super::NAME_MAX;
use super::header::TRAILER;
use crate::names::normal;

/// Bytes of a header.
const HEAD: usize = 110;
/// Bytes that are read at once where zeros are skipped.
const PIECE: usize = 64 << 10;

/// Why an archive could not be read as a tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive could not be read.
    #[error("cannot read the archive")]
    Io(#[from] io::Error),
    /// There is no header where one must be.
    #[error("there is no header of a newc archive at byte {at}")]
    NoHeader {
        /// Where.
        at: u64,
    },
    /// The archive ends within a member.
    #[error("the archive is cut off within the member at byte {at}")]
    Truncated {
        /// Where the member begins.
        at: u64,
    },
    /// Something else follows.
    #[error(
        "what follows the archive at byte {at} is no other one: only archives that are not compressed are read"
    )]
    Follows {
        /// Where it begins.
        at: u64,
    },
    /// A member cannot be part of a tree.
    #[error("member '{}': {trouble}", path.escape_ascii())]
    Member {
        /// Its name, as the archive has it.
        path: Vec<u8>,
        /// What is wrong with it.
        trouble: &'static str,
    },
    /// The members do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Serves the files of an archive.
#[derive(Debug)]
pub struct CpioStore {
    archive: Arc<dyn ReadAt>,
    /// Where the files lie, and their lengths.
    files: Vec<(u64, u64)>,
}

/// A member, as its header has it.
#[derive(Clone, Copy)]
struct Member {
    /// Inode and device, by which other names are told.
    identity: [u32; 3],
    mode: u32,
    meta: Meta,
    links: u32,
    device: Device,
    /// Where the data begin.
    at: u64,
    len: u32,
}

/// What one file's names are, while they come in.
struct Group {
    member: Member,
    paths: Vec<Vec<u8>>,
}

/// Reads an uncompressed archive: the tree, and the store that serves its files.
pub fn read(archive: impl ReadAt + 'static) -> Result<(Tree, CpioStore), Error> {
    let mut reading = Reading {
        archive: Arc::new(archive),
        builder: Tree::builder(Meta::root(0o755)),
        names: BTreeMap::new(),
        groups: BTreeMap::new(),
        files: Vec::new(),
    };
    let mut at = 0;
    loop {
        at = reading.one(at)?;
        match reading.next_archive(at)? {
            Some(next) => at = next,
            None => return reading.build(),
        }
    }
}

struct Reading {
    archive: Arc<dyn ReadAt>,
    builder: Builder,
    /// What each name stands for, and whether that is a directory.
    names: BTreeMap<Vec<u8>, (NodeId, bool)>,
    groups: BTreeMap<[u32; 3], Group>,
    files: Vec<(u64, u64)>,
}

impl Reading {
    /// Reads one archive. Gives where it ends.
    fn one(&mut self, start: u64) -> Result<u64, Error> {
        let mut at = start;
        loop {
            let (path, member) = self.header(at)?;
            let end = member.at.saturating_add(member.len.into());
            if end > self.archive.len() {
                return Err(Error::Truncated { at });
            }
            at = end.next_multiple_of(4);
            if path == TRAILER {
                for (_, group) in std::mem::take(&mut self.groups) {
                    self.make(group)?;
                }
                return Ok(at);
            }
            self.member(path, member)?;
        }
    }

    /// Where another archive begins, behind zeros.
    fn next_archive(&self, from: u64) -> Result<Option<u64>, Error> {
        let (mut at, end) = (from, self.archive.len());
        let mut piece = vec![0; PIECE];
        while at < end {
            let len = usize::try_from(end.saturating_sub(at)).map_or(PIECE, |rest| rest.min(PIECE));
            self.archive.read_exact_at(&mut piece[..len], at)?;
            let Some(found) = piece[..len].iter().position(|byte| *byte != 0) else {
                at = at.saturating_add(length(len));
                continue;
            };
            at = at.saturating_add(length(found));
            let rest = piece.get(found..len).unwrap_or_default();
            // At the end of a piece a mark may be cut off; the header then tells.
            let begins = |mark: &[u8]| mark.starts_with(rest.get(..mark.len()).unwrap_or(rest));
            if begins(b"070701") || begins(b"070702") {
                return Ok(Some(at));
            }
            return Err(Error::Follows { at });
        }
        Ok(None)
    }

    fn header(&self, at: u64) -> Result<(Vec<u8>, Member), Error> {
        let truncated = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Truncated { at },
            _ => Error::Io(source),
        };
        let mut head = [0; HEAD];
        self.archive.read_exact_at(&mut head, at).map_err(truncated)?;
        let no_header = || Error::NoHeader { at };
        if !matches!(&head[..6], b"070701" | b"070702") {
            return Err(no_header());
        }
        let mut numbers = [0; 13];
        for (number, digits) in numbers.iter_mut().zip(head[6..].chunks(8)) {
            let text = std::str::from_utf8(digits).ok();
            let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let read = text.and_then(|text| u32::from_str_radix(text, 16).ok());
            *number = read.ok_or_else(no_header)?;
        }
        let [
            inode,
            mode,
            uid,
            gid,
            links,
            time,
            len,
            dev,
            dev_minor,
            major,
            minor,
            name_len,
            _,
        ] = numbers;
        let name_len = usize::try_from(name_len).ok();
        let name_len = name_len.filter(|len| (1..=NAME_MAX.saturating_add(1)).contains(len));
        let mut name = vec![0; name_len.ok_or_else(no_header)?];
        let name_at = at.saturating_add(length(HEAD));
        self.archive
            .read_exact_at(&mut name, name_at)
            .map_err(truncated)?;
        let data_at = name_at.saturating_add(length(name.len())).next_multiple_of(4);
        // The NUL at its end.
        name.pop();
        let member = Member {
            identity: [inode, dev, dev_minor],
            mode,
            meta: Meta {
                mode: u16::try_from(mode & 0o7777).expect("twelve bits"),
                uid,
                gid,
                mtime: Time {
                    secs: time.into(),
                    nanos: 0,
                },
                xattrs: XattrsId::NONE,
            },
            links,
            device: Device { major, minor },
            at: data_at,
            len,
        };
        Ok((name, member))
    }

    fn member(&mut self, path: Vec<u8>, member: Member) -> Result<(), Error> {
        if member.links < 2 || member.mode >> 12 == 4 {
            let paths = vec![path];
            return self.make(Group { member, paths });
        }
        let group = self.groups.entry(member.identity).or_insert_with(|| Group {
            member,
            paths: Vec::new(),
        });
        // The data come with the last name, or with the first.
        if member.len > 0 {
            group.member = member;
        }
        group.paths.push(path);
        Ok(())
    }

    /// Makes a node with all of its names.
    fn make(&mut self, group: Group) -> Result<(), Error> {
        let Group { member, paths } = group;
        let Some(first) = paths.first() else {
            return Ok(());
        };
        let trouble = |trouble| Error::Member {
            path: first.clone(),
            trouble,
        };
        let is_directory = member.mode >> 12 == 4;
        if is_directory && normal(first).is_some_and(|path| path.is_empty()) {
            self.builder.set_meta(NodeId::ROOT, member.meta);
            return Ok(());
        }
        let target;
        let content = match member.mode >> 12 {
            4 => NewContent::Directory,
            8 => {
                let file = FileId(u32::try_from(self.files.len()).map_err(|_| TreeError::TooLarge)?);
                self.files.push((member.at, member.len.into()));
                NewContent::File(Data::dense(file, member.len.into()))
            }
            10 => {
                let len = usize::try_from(member.len).ok().filter(|len| *len <= NAME_MAX);
                let mut bytes = vec![0; len.ok_or_else(|| trouble("its target is too long"))?];
                self.archive.read_exact_at(&mut bytes, member.at)?;
                target = bytes;
                NewContent::Symlink(&target)
            }
            2 => NewContent::CharDevice(member.device),
            6 => NewContent::BlockDevice(member.device),
            1 => NewContent::Fifo,
            12 => NewContent::Socket,
            _ => return Err(trouble("its kind has no place in a tree")),
        };
        let node = self.builder.node(member.meta, content)?;
        for path in &paths {
            let trouble = |trouble| Error::Member {
                path: path.clone(),
                trouble,
            };
            let name = normal(path).ok_or_else(|| trouble("the name leads out of the tree"))?;
            if name.is_empty() {
                return Err(trouble("the root is no directory"));
            }
            self.names.insert(name, (node, is_directory));
        }
        Ok(())
    }

    fn build(mut self) -> Result<(Tree, CpioStore), Error> {
        let names = std::mem::take(&mut self.names);
        let mut made: BTreeMap<Vec<u8>, NodeId> = BTreeMap::new();
        for (path, (node, is_directory)) in names {
            let mut parent = NodeId::ROOT;
            // Parents sort before what is in them; one that no member made is made here.
            for (slash, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                let above = &path[..slash];
                parent = if let Some(node) = made.get(above) {
                    *node
                } else {
                    let missing = self.builder.node(Meta::root(0o755), NewContent::Directory)?;
                    self.builder.link(parent, last(above), missing)?;
                    made.insert(above.to_vec(), missing);
                    missing
                };
            }
            self.builder.link(parent, last(&path), node)?;
            if is_directory {
                made.insert(path, node);
            }
        }
        let store = CpioStore {
            archive: self.archive,
            files: self.files,
        };
        Ok((self.builder.build()?, store))
    }
}

/// The name in its directory.
fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a usize fits a u64")
}

impl Store for CpioStore {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        let place = self.files.get(file.index()).ok_or(store::Error::Unknown(file))?;
        self.archive.check()?;
        Ok(Box::new(OpenMember {
            archive: &self.archive,
            place: *place,
        }))
    }
}

struct OpenMember<'a> {
    archive: &'a Arc<dyn ReadAt>,
    place: (u64, u64),
}

impl Open for OpenMember<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), store::Error> {
        let (at, len) = self.place;
        let fits = offset
            .checked_add(length(buf.len()))
            .is_some_and(|end| end <= len);
        let read = if fits {
            self.archive.read_exact_at(buf, at.saturating_add(offset))
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        };
        read.map_err(|source| store::Error::Read {
            path: b"the archive".to_vec(),
            source,
        })
    }

    fn finish(&self) -> Result<(), store::Error> {
        self.archive.check()
    }
}
