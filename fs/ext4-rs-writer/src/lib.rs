//! ext4 as a value: a tree and options in, a map of extents out.
//!
//! [`plan`] is pure: no clock, no randomness, no environment, no file. ext4 checksums nothing but metadata, so every
//! metadata byte is known before any file is read; inode tables, bitmaps and directory blocks are rendered when they
//! are copied, from the tree and a few bytes for each node.
//!
//! Phase map, in the order of planning:
//!
//! | module | what it is |
//! |---|---|
//! | [`options`], [`features`] | what to make; profiles for kinds of targets |
//! | `census` | what the tree asks of any file system: blocks, inodes, directories ([`directory`]), [`xattr`]s |
//! | `size` | the size that fits, given or searched for |
//! | [`geometry`], [`group`] | how blocks divide into groups, and where each group's metadata lies |
//! | `placement`, `space`, `file_map` | which blocks everything gets |
//! | `layout` | all of it put together into a [`Map`], and a [`Summary`] |
//! | [`superblock`], [`inode`], [`extent`], [`journal`], `block_map`, `resize`, `orphan_file` | structures, rendered |
//! | [`checksum`], [`hash`] | what guards them, and what orders directories |
//! | [`reader`] | the way back: an image as a tree, and the store that serves its files |
//!
//! ```
//! use ext4_rs_writer::{Options, Profile, plan};
//! use image_core::store::MemoryStore;
//! use image_core::tree::{Data, Meta, NewContent, Time};
//! use image_core::{Identity, NodeId, Tree};
//!
//! let mut store = MemoryStore::default();
//! let mut tree = Tree::builder(Meta::root(0o755));
//! let hello = NewContent::File(Data::dense(store.push(*b"hello\n"), 6));
//! let file = tree.node(Meta::root(0o644), hello)?;
//! tree.link(NodeId::ROOT, b"greeting", file)?;
//!
//! let identity = Identity::new(b"a seed", Time { secs: 1_700_000_000, nanos: 0 }, true);
//! let map = plan(&tree.build()?, &Options::new(Profile::Default, identity))?;
//! assert_eq!(map.len(), (64 << 20) + (64 << 10));
//! assert_eq!(map.extents()[0].what, "superblock");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::unwrap_used)]
#![cfg_attr(
    test,
    allow(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::unwrap_used)
)]

mod bitmap;
mod block_map;
mod census;
pub mod checksum;
pub mod directory;
pub mod error;
pub mod extent;
pub mod features;
mod file_map;
pub mod geometry;
pub mod group;
pub mod hash;
pub mod inode;
mod inode_table;
pub mod journal;
#[doc(hidden)]
pub mod laws;
mod layout;
pub mod mke2fs;
mod numbering;
pub mod options;
mod orphan_file;
mod placement;
pub mod reader;
mod render;
mod resize;
mod size;
mod space;
mod summary;
pub mod superblock;
pub mod units;
pub mod xattr;

pub use error::Error;
pub use features::{Features, Profile};
pub use layout::{Layout, layout};
pub use options::{Inodes, Journal, Options, Size};
pub use reader::{Ext4Store, ReadError, read};
pub use summary::Summary;

use image_core::{Map, Tree};

/// Plans a file system that holds a tree.
pub fn plan(tree: &Tree, options: &Options) -> Result<Map, Error> {
    layout(tree, options).map(Layout::into_map)
}
