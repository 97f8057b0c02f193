//! Whole images before foreign judges: e2fsck, dumpe2fs, the kernel, ext4-view, GRUB, debugfs.
//!
//! Here judges look at what is *in* an image, and compare it with the tree; the battery `plan` looks at what is around
//! it, sizes and shapes and what is refused, for which e2fsck is judge enough.
#![allow(
    clippy::cast_possible_truncation,
    reason = "contents of files are any bytes that differ"
)]

mod boundaries;
mod churn;
mod directories;
mod drawn;
mod forest;
mod growth;
mod hosts;
mod identity;
mod image;
mod large;
mod placed;
mod random;
mod read_back;
mod replayed;
mod sizes;
mod vectors;
mod xattrs;
