//! FAT12, FAT16 and FAT32 file systems, read as trees and planned from trees: EFI system partitions, say.
//!
//! Spec: Microsoft FAT Specification, 2005 <https://academy.cba.mit.edu/classes/networking_communications/SD/FAT.pdf>
//!
//! FAT knows no owners and no modes: everything is root's, 0755 and 0644. Its times have no zone, and are taken for UTC.
//!
//! An image is hostile until read: files and directories together use no cluster twice, so that every chain ends and memory
//! is bounded by the image.
//!
//! What is planned is written once: every chain is one run, in the order of the tree, and the same tree gives the same
//! bytes. Links and special files are refused; owners, modes and xattrs are dropped, as mounting does.
//!
//! Why own code: the crate `fatfs` writes directories that `fsck.vfat` wants to repair, and wants the whole volume to write
//! into. As a reader it adds and multiplies what the boot sector says without checks, which is a panic where overflow is
//! checked, and follows chains that bite their tails. Tests let it read what is planned here.

mod boot;
mod clusters;
mod contents;
mod disk;
mod geometry;
mod layout;
mod names;
mod plan;
mod short;
mod time;

use std::io;

use image_core::ReadAt;
use image_core::store::{self, FileId, Open, Store};
use image_core::tree::{Builder, Data, Meta, NewContent, NodeId, Tree, TreeError};

use clusters::{Chain, Volume};
pub use plan::{Kind, Options, PlanError, least, plan};
pub use short::BadName;

/// Why an image cannot be read as a tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be read.
    #[error("cannot read the image")]
    Io(#[from] io::Error),
    /// The boot sector makes no sense.
    #[error("no FAT file system: the boot sector's {field} cannot be {value}")]
    BootSector {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// A cluster is outside of the file system, or in use twice.
    #[error("cluster {0} is outside of the file system, or in use twice")]
    Cluster(u32),
    /// A file has fewer clusters than its length needs.
    #[error("'{name}' has {len} bytes, but its clusters hold {held}")]
    Short {
        /// The file's name.
        name: String,
        /// Bytes that it says it has.
        len: u64,
        /// Bytes in its clusters.
        held: u64,
    },
    /// Names do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Serves the files of an image.
#[derive(Debug)]
pub struct FatStore<R> {
    source: R,
    files: Vec<(u64, Chain)>,
}

/// Reads a file system: its tree, and the store that serves its files.
pub fn read<R: ReadAt>(source: R) -> Result<(Tree, FatStore<R>), Error> {
    let mut volume = Volume::open(&source)?;
    let mut builder = Tree::builder(Meta::root(0o755));
    let mut files = Vec::new();
    let mut open = vec![(volume.root()?, NodeId::ROOT)];
    while let Some((directory, node)) = open.pop() {
        let bytes = volume.bytes(&directory)?;
        for entry in names::entries(&bytes) {
            if let Some(below) = add(&mut volume, &mut builder, &mut files, node, &entry)? {
                open.push(below);
            }
        }
    }
    Ok((builder.build()?, FatStore { source, files }))
}

/// Adds what an entry names. Gives it back if it is a directory.
fn add<R: ReadAt>(
    volume: &mut Volume<'_, R>,
    builder: &mut Builder,
    files: &mut Vec<(u64, Chain)>,
    parent: NodeId,
    entry: &names::Entry,
) -> Result<Option<(Chain, NodeId)>, Error> {
    let meta = |mode| Meta {
        mtime: entry.modified,
        ..Meta::root(mode)
    };
    let chain = volume.chain(entry.cluster)?;
    if entry.is_directory {
        let node = builder.node(meta(0o755), NewContent::Directory)?;
        builder.link(parent, entry.name.as_bytes(), node)?;
        return Ok(Some((chain, node)));
    }
    let len = u64::from(entry.len);
    if chain.len() < len {
        return Err(Error::Short {
            name: entry.name.clone(),
            len,
            held: chain.len(),
        });
    }
    let file = FileId(u32::try_from(files.len()).map_err(|_| TreeError::TooLarge)?);
    files.push((len, chain));
    let node = builder.node(meta(0o644), NewContent::File(Data::dense(file, len)))?;
    builder.link(parent, entry.name.as_bytes(), node)?;
    Ok(None)
}

impl<R: ReadAt> Store for FatStore<R> {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        let (len, chain) = self.files.get(file.index()).ok_or(store::Error::Unknown(file))?;
        self.source.check()?;
        Ok(Box::new(OpenFile {
            source: &self.source,
            len: *len,
            chain,
        }))
    }
}

struct OpenFile<'a, R> {
    source: &'a R,
    len: u64,
    chain: &'a Chain,
}

impl<R: ReadAt> Open for OpenFile<'_, R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), store::Error> {
        let end = u64::try_from(buf.len())
            .ok()
            .and_then(|len| offset.checked_add(len));
        let read = if end.is_some_and(|end| end <= self.len) {
            self.chain.read(self.source, buf, offset)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        };
        read.map_err(|source| store::Error::Read {
            path: b"(in a FAT file system)".to_vec(),
            source,
        })
    }

    fn finish(&self) -> Result<(), store::Error> {
        self.source.check()
    }
}

/// A count of things in memory.
fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("a usize fits a u64")
}
