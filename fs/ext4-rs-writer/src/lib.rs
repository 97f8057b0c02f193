//! ext4 as a value: a tree and options in, a map of extents out.
#![forbid(unsafe_code)]
#![deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::unwrap_used)]
#![cfg_attr(
    test,
    allow(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::unwrap_used)
)]

pub mod checksum;
pub mod directory;
pub mod error;
pub mod features;
pub mod hash;
pub mod mke2fs;
pub mod options;
mod render;
pub mod units;
pub mod xattr;

pub use error::Error;
pub use features::{Features, Profile};
pub use options::{Inodes, Journal, Options, Size};
