//! Containers of disk images, planned as maps of extents, and archives and file systems read as trees.
//!
//! | module | what it is |
//! |---|---|
//! | [`fat`] | FAT12, FAT16 and FAT32: planned from trees, and read as trees |
//! | [`qcow2`] | QEMU's copy-on-write image: uncompressed as a pure `Map → Map`, compressed as a sink; and its reader |
//! | [`oci`] | container images, in OCI layouts and archives of `docker save`, read as trees |
//! | [`squashfs`] | squashfs images read as trees, and stores that unpack their files from where they lie |
//! | [`tar`](mod@tar) | archives read as trees, and stores that serve their files from where they lie |
//!
//! There is no module for raw images: a [`Map`](image_core::Map) is one.
#![forbid(unsafe_code)]
#![deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::unwrap_used)]
#![cfg_attr(
    test,
    allow(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::unwrap_used)
)]

pub mod fat;
#[doc(hidden)]
pub mod laws;
pub mod oci;
pub mod qcow2;
pub mod squashfs;
pub mod tar;
