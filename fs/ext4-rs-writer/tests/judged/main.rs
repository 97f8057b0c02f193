//! Whole images before foreign judges: e2fsck, the kernel, ext4-view, GRUB, debugfs.

mod boundaries;
mod churn;
mod directories;
mod forest;
mod growth;
mod hosts;
mod image;
mod random;
mod sizes;
mod xattrs;
