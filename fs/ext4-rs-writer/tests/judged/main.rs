//! Whole images before foreign judges: e2fsck, the kernel, ext4-view, GRUB, debugfs.
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
mod image;
mod random;
mod sizes;
mod vectors;
mod xattrs;
