//! The tree, while members come in, of one archive or of the layers of a container's image.
//!
//! Names are settled at the end, since later members replace earlier ones. In [layers](Collected::layer), moreover,
//! - a file may replace a directory of a lower layer, with all that is in it;
//! - `.wh.NAME` removes `NAME` of the lower layers, and `.wh..wh..opq` all that they have in its directory; wherever
//!   they stand in their layer, they touch nothing that the layer itself brings;
//! - other names with `.wh..wh.` are the notes of a file system that once kept layers, and skipped.
//!
//! Spec: <https://github.com/opencontainers/image-spec/blob/main/layer.md>

use std::collections::BTreeMap;
use std::sync::Arc;

use image_core::store::FileId;
use image_core::tree::{Builder, Data, Meta, NewContent, NodeId, Tree, TreeError, XattrsId};
use tar::EntryType;

use super::member::Members;
use super::{Archive, Error, Member, Packed, Stored, TarStore, Trouble, xattrs};
use crate::names::normal;

/// How the names of removed files begin.
const WHITEOUT: &[u8] = b".wh.";
/// The name that removes all of its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// How the names of notes begin.
const NOTE: &[u8] = b".wh..wh.";

/// The tree, while members come in.
pub(crate) struct Collected {
    builder: Builder,
    /// What each name stands for so far.
    names: BTreeMap<Vec<u8>, Named>,
    archives: Vec<Archive>,
    files: Vec<Stored>,
}

/// What a name stands for.
#[derive(Clone, Copy)]
struct Named {
    node: NodeId,
    is_directory: bool,
    /// Which archive said so last.
    archive: usize,
}

impl Default for Collected {
    fn default() -> Self {
        let root = Named {
            node: NodeId::ROOT,
            is_directory: true,
            archive: 0,
        };
        Self {
            builder: Tree::builder(Meta::root(0o755)),
            names: BTreeMap::from([(Vec::new(), root)]),
            archives: Vec::new(),
            files: Vec::new(),
        }
    }
}

impl Collected {
    /// Adds the members of an archive.
    pub(super) fn archive(&mut self, archive: Archive) -> Result<(), Error> {
        self.archives.push(archive.clone());
        let mut members = Members::new(archive);
        while let Some(member) = members.next()? {
            let path = inside(&member)?;
            self.add(&member, path)?;
        }
        Ok(())
    }

    /// Puts a layer above what is there.
    pub(crate) fn layer(&mut self, archive: Archive) -> Result<(), Error> {
        self.archives.push(archive.clone());
        let mut members = Members::new(archive);
        let mut brought = Vec::new();
        while let Some(member) = members.next()? {
            let path = inside(&member)?;
            let mut parts = path.split(|byte| *byte == b'/');
            if !parts.any(|part| part.starts_with(WHITEOUT)) {
                brought.push((member, path));
                continue;
            }
            let (parent, name) = split(&path);
            if name == OPAQUE {
                self.remove_below(parent);
            } else if path
                .split(|byte| *byte == b'/')
                .any(|part| part.starts_with(NOTE))
            {
                // A note, or the files of one.
            } else {
                let name = name.strip_prefix(WHITEOUT);
                let name = name.filter(|name| !matches!(name, [] | [b'.'] | [b'.', b'.']));
                let name = name.ok_or_else(|| Error::member(&member.path, Trouble::Whiteout))?;
                self.remove(&join(parent, name));
            }
        }
        for (member, path) in brought {
            self.add(&member, path)?;
        }
        Ok(())
    }

    /// The tree, and the store that serves its files.
    pub(crate) fn build(mut self) -> Result<(Tree, TarStore), Error> {
        for (path, named) in self.names.iter().filter(|(path, _)| !path.is_empty()) {
            let (parent, name) = split(path);
            self.builder.link(self.names[parent].node, name, named.node)?;
        }
        let store = TarStore {
            archives: self.archives,
            files: self.files,
        };
        Ok((self.builder.build()?, store))
    }

    fn remove(&mut self, path: &[u8]) {
        self.names.remove(path);
        self.remove_below(path);
    }

    /// Removes all that is in a directory.
    fn remove_below(&mut self, path: &[u8]) {
        if path.is_empty() {
            return self.names.retain(|path, _| path.is_empty());
        }
        // The names that begin with the directory's and a slash are neighbours; behind the slash comes `0`.
        let below = self.names.range([path, b"/"].concat()..[path, b"0"].concat());
        let below: Vec<Vec<u8>> = below.map(|(path, _)| path.clone()).collect();
        for path in below {
            self.names.remove(&path);
        }
    }

    fn add(&mut self, member: &Member, path: Vec<u8>) -> Result<(), Error> {
        let trouble = |trouble| Error::Member {
            path: member.path.clone(),
            trouble,
        };
        self.parent(&path, &member.path)?;
        let meta = self.meta(member)?;
        let archive = self.archives.len();
        let is_directory = member.kind == EntryType::Directory;
        match self.names.get_mut(&path) {
            Some(named) if named.is_directory && is_directory => {
                named.archive = archive;
                self.builder.set_meta(named.node, meta);
                return Ok(());
            }
            Some(named) if named.is_directory => {
                if named.archive == archive || path.is_empty() {
                    return Err(trouble(Trouble::ReplacesDirectory));
                }
                self.remove(&path);
            }
            _ => {}
        }
        let link = member.link.as_deref().unwrap_or_default();
        let node = match member.kind {
            EntryType::Link => {
                let target = normal(link).and_then(|target| self.names.get(&target));
                let node = target.and_then(|named| (!named.is_directory).then_some(named.node));
                node.ok_or_else(|| trouble(Trouble::LinkTarget(link.to_vec())))?
            }
            EntryType::Directory => self.builder.node(meta, NewContent::Directory)?,
            EntryType::Symlink => self.builder.node(meta, NewContent::Symlink(link))?,
            EntryType::Char => self.builder.node(meta, NewContent::CharDevice(member.device))?,
            EntryType::Block => self.builder.node(meta, NewContent::BlockDevice(member.device))?,
            EntryType::Fifo => self.builder.node(meta, NewContent::Fifo)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(member, meta)?,
            kind => return Err(trouble(Trouble::Kind(kind.as_byte()))),
        };
        self.name(path, node, is_directory);
        Ok(())
    }

    fn file(&mut self, member: &Member, meta: Meta) -> Result<NodeId, Error> {
        let file = FileId(u32::try_from(self.files.len()).map_err(|_| TreeError::TooLarge)?);
        let ranges: Option<Arc<[_]>> = member.ranges.as_deref().map(Into::into);
        let data = Data {
            file,
            len: member.len,
            ranges: ranges.clone(),
        };
        self.files.push(Stored {
            archive: self.archives.len().saturating_sub(1),
            at: member.data_at,
            len: member.len,
            packed: ranges.map(Packed::new),
        });
        Ok(self.builder.node(meta, NewContent::File(data))?)
    }

    fn name(&mut self, path: Vec<u8>, node: NodeId, is_directory: bool) {
        let named = Named {
            node,
            is_directory,
            archive: self.archives.len(),
        };
        self.names.insert(path, named);
    }

    /// Makes the directories above `path` that no member made.
    fn parent(&mut self, path: &[u8], named: &[u8]) -> Result<(), Error> {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let parent = &path[..at];
            match self.names.get(parent) {
                Some(Named {
                    is_directory: true, ..
                }) => {}
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
}

/// A member's name, which must not lead out of the tree.
fn inside(member: &Member) -> Result<Vec<u8>, Error> {
    normal(&member.path).ok_or_else(|| Error::member(&member.path, Trouble::LeadsOut))
}

/// The directory and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (
            &path[..slash],
            path.get(slash.saturating_add(1)..).unwrap_or_default(),
        ),
        None => (b"", path),
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}
