//! Btrfs file systems of one device: their subvolumes as trees, and stores that serve their files from where they lie.
//!
//! Spec: <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html>
//!
//! [`FileSystem::open`] reads what there is: superblock, chunks, subvolumes. [`FileSystem::read`] walks a subvolume's
//! directories once; bytes of files are read when somebody asks for them, by any number of threads. What it keeps is
//! what a scan keeps: owners, modes, times, extended attributes, hard links, devices, holes. [`FileSystem::read_some`]
//! walks only directories that somebody wants: items are looked up by their keys, so finding one file takes a few tree
//! blocks.
//!
//! | module | what it is |
//! |---|---|
//! | `disk` | what stands in a file system, field by field |
//! | `checksum` | the kinds of checksums |
//! | `superblock` | the beginning, and [`About`] |
//! | `chunks` | logical addresses → bytes of the device |
//! | `node` | a tree block |
//! | `volume` | items by their keys |
//! | `roots` | the subvolumes |
//! | `inode`, `extents` | what stands of a file |
//! | `walk` | file system → tree |
//! | `data`, `codec` | bytes of files: checked, unpacked |
//! | `store` | [`BtrfsStore`] |
//!
//! A file system is hostile until read:
//! - every tree block has to have the right checksum, and be the one that the block above it means: by its place, level,
//!   generation and keys. So a tree is one, and no item is met twice in it;
//! - data have to have the right checksums, too, but for files that have none (`nodatasum`);
//! - of what is there twice (profile DUP), the second is read if the first is damaged;
//! - a directory has one name, and a subvolume one place, so the walk ends; what is read of all items is no more than the
//!   file system has bytes, so memory is bounded by the image's length. An opened file takes the list of its extents
//!   and what an extent takes while it is unpacked, some hundred KiB.
//!
//! A subvolume within another is a directory of it. Snapshots stay empty directories, for each of them is a file
//! system of its own that shares all its files with another.
//!
//! Compressed files: zlib, LZO, and zstd where the crate has it.
//!
//! Not read, and said by name: several devices and profiles of them, zoned devices, extent trees of version 2, stripe
//! trees, checksums of kind xxhash, sectors of other than 4 KiB, and a file system whose log has to be replayed: that is
//! one of a machine that lost its power.
//!
//! Why own code: of the crates that read Btrfs, `btrfs-disk` 0.13 proves no checksum of what it reads and passes over
//! items that are cut off, and `btrfs-fs` on top of it is asynchronous.

pub(crate) mod checksum;
mod chunks;
mod codec;
mod data;
pub(crate) mod disk;
mod error;
mod extents;
mod inode;
mod node;
mod roots;
mod store;
mod superblock;
mod volume;
mod walk;

use std::collections::BTreeSet;
use std::sync::Arc;

use image_core::{ReadAt, Tree};

pub use codec::Damage;
pub use error::{BlockTrouble, Error, InodeTrouble};
use roots::Roots;
pub use store::BtrfsStore;
pub use superblock::About;
use volume::{TreeRoot, Volume};
use walk::Ledger;

/// An opened file system.
#[derive(Debug)]
pub struct FileSystem<R> {
    volume: Arc<Volume<R>>,
    about: About,
    roots: Roots,
    subvolumes: Vec<Subvolume>,
}

/// A subvolume: a tree of files that can be mounted by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subvolume {
    /// Its number, which `subvolid=` of `mount` takes. The one at the top is 5.
    pub id: u64,
    /// Its path from the one at the top, without a leading `/`: what `subvol=` of `mount` takes.
    pub path: Vec<u8>,
    /// Whether it was made as a snapshot of another.
    pub snapshot: bool,
}

impl<R: ReadAt> FileSystem<R> {
    /// Opens a file system.
    pub fn open(source: R) -> Result<Self, Error> {
        let (mut volume, superblock) = Volume::open(source)?;
        let about = superblock.about(volume.checksum);
        let tree = TreeRoot {
            at: superblock.root.get(),
            level: superblock.root_level,
            generation: superblock.generation.get(),
        };
        let roots = Roots::read(&volume, tree)?;
        volume.sums = roots.sums;
        let subvolumes = roots.named(&volume, &mut Ledger::new(about.size))?;
        Ok(Self {
            volume: Arc::new(volume),
            about,
            roots,
            subvolumes,
        })
    }

    /// What it says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The subvolumes that can be reached, by their numbers: first the one at the top, whose path is empty.
    pub fn subvolumes(&self) -> &[Subvolume] {
        &self.subvolumes
    }

    /// The number of the subvolume that is mounted where none is named.
    pub fn default_subvolume(&self) -> u64 {
        self.roots.default
    }

    /// Reads a subvolume: its tree, and the store that serves its files. Subvolumes within it are read, too, but for
    /// snapshots, and for those that stand `apart`, since something else is mounted in their place: of these there are
    /// empty directories.
    pub fn read(&self, subvolume: u64, apart: &BTreeSet<u64>) -> Result<(Tree, BtrfsStore<R>), Error> {
        self.read_some(subvolume, apart, |_| true)
    }

    /// Reads what is in the directories that are `wanted`, by their paths from the subvolume's root on, without a leading
    /// `/`: the tree has the others without an entry. The root is read in any case, of others only what is named by those
    /// that are.
    pub fn read_some(
        &self,
        subvolume: u64,
        apart: &BTreeSet<u64>,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<(Tree, BtrfsStore<R>), Error> {
        let (tree, files) = walk::walk(self, subvolume, apart, wanted)?;
        Ok((tree, BtrfsStore::new(Arc::clone(&self.volume), files)))
    }
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).expect("a usize fits a u64")
}
