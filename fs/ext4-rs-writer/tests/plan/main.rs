//! Whole images: sizes, shapes and growth, judged by e2fsck, resize2fs and the kernel.
#![allow(clippy::pedantic, missing_docs)]

mod common;
mod growth;
mod images;
mod large;
mod mixtures;
mod scale;
mod sizes;
