//! Trees in memory whose files cost nothing: each byte is a function of file and offset.

use std::ops::Range;

use image_core::store::{Error, FileId, Open, Store};
use image_core::tree::{self, Data, Meta, NewContent, Time, Xattr, XattrsId};
use image_core::{NodeId, Tree};

/// Grows a tree.
#[derive(Debug)]
pub(crate) struct Forest {
    pub(crate) builder: tree::Builder,
    files: u32,
    /// What every new node has.
    pub(crate) meta: Meta,
}

impl Forest {
    pub(crate) fn new() -> Self {
        Self::at(Time {
            secs: 1_600_000_000,
            nanos: 123_456_789,
        })
    }

    /// A tree of the given time.
    pub(crate) fn at(mtime: Time) -> Self {
        let mut meta = Meta::root(0o755);
        meta.mtime = mtime;
        Self {
            builder: Tree::builder(meta),
            files: 0,
            meta,
        }
    }

    pub(crate) fn node(&mut self, parent: NodeId, name: impl AsRef<[u8]>, content: NewContent<'_>) -> NodeId {
        let node = self.builder.node(self.meta, content).unwrap();
        self.builder.link(parent, name.as_ref(), node).unwrap();
        node
    }

    pub(crate) fn dir(&mut self, parent: NodeId, name: impl AsRef<[u8]>) -> NodeId {
        self.node(parent, name, NewContent::Directory)
    }

    /// A file without holes.
    pub(crate) fn file(&mut self, parent: NodeId, name: impl AsRef<[u8]>, len: u64) -> NodeId {
        let data = Data::dense(self.file_id(), len);
        self.node(parent, name, NewContent::File(data))
    }

    /// A file with data in the given ranges only.
    pub(crate) fn sparse(
        &mut self,
        parent: NodeId,
        name: impl AsRef<[u8]>,
        len: u64,
        ranges: impl IntoIterator<Item = Range<u64>>,
    ) -> NodeId {
        let data = Data {
            file: self.file_id(),
            len,
            ranges: Some(ranges.into_iter().collect()),
        };
        self.node(parent, name, NewContent::File(data))
    }

    /// What nodes have from now on: these xattrs beside their other properties.
    pub(crate) fn xattrs(&mut self, set: &[(&str, &[u8])]) -> XattrsId {
        let set = set.iter().map(|(name, value)| Xattr {
            name: name.as_bytes().to_vec(),
            value: value.to_vec(),
        });
        self.meta.xattrs = self.builder.xattrs(set.collect()).unwrap();
        self.meta.xattrs
    }

    pub(crate) fn build(self) -> Tree {
        self.builder.build().unwrap()
    }

    pub(crate) fn file_id(&mut self) -> FileId {
        self.files += 1;
        FileId(self.files)
    }
}

/// The store of every [`Forest`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern;

impl Store for Pattern {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, Error> {
        Ok(Box::new(PatternFile(file)))
    }
}

struct PatternFile(FileId);

impl Open for PatternFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        const LINE: u64 = 64;
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let len = rest.len().min((LINE - at % LINE) as usize);
            let (line, next) = rest.split_at_mut(len);
            let mixed = (at / LINE + 1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(u64::from(self.0.0).wrapping_mul(0xd134_2543_de82_ef95));
            line.fill(((mixed >> 40) as u8).max(1));
            at += len as u64;
            rest = next;
        }
        Ok(())
    }
}
