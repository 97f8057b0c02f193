//! The value every image writer shares.
//!
//! Phase map, in the order in which a build passes through it:
//!
//! | module | what it is |
//! |---|---|
//! | [`tree`] | a root tree as a value: nodes, names, xattrs; what planners read |
//! | [`scan`](mod@scan) | directory on disk → [`Tree`] and the [`Store`] that serves its files |
//! | [`identity`] | every UUID, seed and time stamp of a build, fixed before the first hook runs |
//! | [`map`] | an image as a map of extents; what planners return |
//! | [`read_at`] | the bytes of an image that is read: a file, a part of one, or what a format holds |
//! | [`store`] | where the bytes of files come from while an image is copied |
//! | [`runs`] | the store of a file system that is read: runs of its image |
//! | [`sink`] | where the bytes of an image go |
//! | [`copy`](mod@copy) | the one loop that moves bytes, from store to sink, as a map says |
//!
//! Everything but `scan`, `read_at`, `store`, `runs`, `sink` and `copy` is pure: no clock, no randomness, no environment, no file.
#![forbid(unsafe_code)]
#![deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::unwrap_used)]
#![cfg_attr(
    test,
    allow(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::unwrap_used)
)]

pub mod copy;
pub mod identity;
#[doc(hidden)]
pub mod laws;
pub mod map;
pub mod read_at;
pub mod runs;
pub mod scan;
pub mod sink;
pub mod store;
pub mod tree;

pub use copy::copy;
pub use identity::Identity;
pub use map::{Extent, Map, Source};
pub use read_at::ReadAt;
pub use scan::{DirStore, scan};
pub use sink::Sink;
pub use store::{FileId, Store};
pub use tree::{Node, NodeId, Tree};
