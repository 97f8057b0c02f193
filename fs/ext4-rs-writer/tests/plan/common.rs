//! What the battery shares: options, trees, stores, and the way of an image to its judges.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ext4_rs_writer::{Layout, Options, Profile, layout};
use image_core::sink::{FileSink, Sink};
use image_core::store::{self, MemoryStore, Open, Store};
use image_core::tree::{Data, Meta, NewContent, Time};
use image_core::{FileId, Identity, NodeId, Tree, copy};
use tempfile::TempDir;

pub(crate) const PROFILES: [Profile; 5] = [
    Profile::Default,
    Profile::Legacy,
    Profile::Modern,
    Profile::Ext3,
    Profile::Ext2,
];
pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const TIB: u64 = 1 << 40;
pub(crate) const PIB: u64 = 1 << 50;

pub(crate) fn options(profile: Profile) -> Options {
    let epoch = Time {
        secs: 1_700_000_000,
        nanos: 5,
    };
    Options::new(profile, Identity::new(b"seed", epoch, false))
}

/// A directory in memory, where sparse images are cheap and of any size.
pub(crate) fn tmpfs() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

pub(crate) fn empty() -> Tree {
    Tree::builder(Meta::root(0o755)).build().unwrap()
}

/// A tree of files in the root, each with the given data, served by one store of zeros and ones.
pub(crate) fn files(data: impl IntoIterator<Item = Data>) -> Tree {
    let mut builder = Tree::builder(Meta::root(0o755));
    for (i, data) in data.into_iter().enumerate() {
        let node = builder.node(Meta::root(0o644), NewContent::File(data)).unwrap();
        builder
            .link(NodeId::ROOT, format!("file {i}").as_bytes(), node)
            .unwrap();
    }
    builder.build().unwrap()
}

/// Serves files of any length, all bytes of which are the file's number.
#[derive(Debug)]
pub(crate) struct PatternStore;

impl Store for PatternStore {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        Ok(Box::new(Pattern(file)))
    }
}

struct Pattern(FileId);

impl Open for Pattern {
    fn read_exact_at(&self, buf: &mut [u8], _: u64) -> Result<(), store::Error> {
        buf.fill(self.0.0.to_le_bytes()[0]);
        Ok(())
    }
}

/// Leaves out what is zero, so that large files of zeros cost nothing.
struct Sparse(FileSink);

impl Sink for Sparse {
    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.iter().any(|byte| *byte != 0) {
            self.0.data(at, bytes)?;
        }
        Ok(())
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        self.0.hole(range)
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        self.0.finish(len)
    }
}

pub(crate) fn write(layout: &Layout, store: &impl Store, dir: &Path) -> PathBuf {
    let path = dir.join("image");
    let mut sink = Sparse(FileSink::new(File::create(&path).unwrap()));
    copy(layout.map(), store, &mut sink).unwrap();
    path
}

/// Plans, writes and asks the judges.
pub(crate) fn judge(tree: &Tree, store: &impl Store, options: &Options) -> Layout {
    let layout = layout(tree, options).unwrap();
    if oracle::ext4::require() {
        let dir = tmpfs();
        oracle::ext4::sound(&write(&layout, store, dir.path()));
    }
    layout
}

pub(crate) fn judge_empty(options: &Options) -> Layout {
    judge(&empty(), &MemoryStore::default(), options)
}
