//! ext4 as a value: a tree and options in, a map of extents out.
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
pub mod mke2fs;
pub mod inode;
mod inode_table;
pub mod journal;
mod layout;
mod numbering;
pub mod options;
mod orphan_file;
mod placement;
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
pub use summary::Summary;

use image_core::{Map, Tree};

/// Plans a file system that holds a tree.
pub fn plan(tree: &Tree, options: &Options) -> Result<Map, Error> {
    layout(tree, options).map(Layout::into_map)
}
