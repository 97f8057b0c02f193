//! Containers of disk images, planned as maps of extents, and archives and file systems read as trees.
//!
//! | module | what it is |
//! |---|---|
//! | [`btrfs`] | Btrfs file systems of one device: their subvolumes read as trees |
//! | [`compress`] | compressed streams: gzip, xz, zstd and lz4, on all processors, the same bytes for any number |
//! | [`cpio`] | newc archives, as the kernel unpacks them into its first root: planned from trees, and read as trees |
//! | [`fat`] | FAT12, FAT16 and FAT32: planned from trees, and read as trees |
//! | [`gpt`] | GUID partition tables, and where diskimage-builder lays their partitions |
//! | [`grub`] | GRUB's boot code for old firmware, embedded without a device |
//! | [`guest`] | what containers hold, and which of it may be something |
//! | [`iso9660`] | optical discs with Rock Ridge, which boot on a PC from a disc and from a disk alike |
//! | [`keyed`] | options in the words of `qemu-img convert -o` |
//! | [`lvm`] | LVM2: labels and metadata of a volume group, and where its linear logical volumes lie |
//! | [`mbr`] | master boot records and their chains, and where diskimage-builder lays their partitions |
//! | [`oci`] | container images, in OCI layouts and archives of `docker save`: read as trees, and written of one layer |
//! | [`parts`] | what is wrong in a container whose parts lie outside its file or over each other |
//! | [`partitions`] | what every table asks of its partitions |
//! | [`qcow2`] | QEMU's copy-on-write image: uncompressed as a pure `Map → Map`, compressed as a sink; and its reader |
//! | [`squashfs`] | squashfs images: written in one pass, and read as trees, with stores that unpack their files from where they lie |
//! | [`swap`] | swap areas of Linux |
//! | [`tar`](mod@tar) | archives: planned from trees, and read as trees, with stores that serve their files from where they lie |
//! | [`vdi`] | `VirtualBox`'s disk, as a pure `Map → Map`, and its reader |
//! | [`vhd`] | Virtual PC's disk for Xen, Hyper-V and Azure, as a pure `Map → Map`, and its reader |
//! | [`vmdk`] | `VMware`'s disk: sparse as a pure `Map → Map`, stream-optimized as a sink; and its reader |
//! | [`xfs`] | XFS: read as trees |
//!
//! There is no module for raw images: a [`Map`](image_core::Map) is one.
#![forbid(unsafe_code)]
#![deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::unwrap_used)]
#![cfg_attr(
    test,
    allow(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::unwrap_used)
)]

mod blocks;
pub mod btrfs;
mod calendar;
pub mod compress;
pub mod cpio;
mod deflate;
pub mod fat;
pub mod gpt;
pub mod grub;
pub mod guest;
pub mod iso9660;
pub mod keyed;
#[doc(hidden)]
pub mod laws;
pub mod lvm;
pub mod mbr;
mod mode;
mod names;
pub mod oci;
mod packing;
pub mod partitions;
pub mod parts;
mod pool;
pub mod qcow2;
pub mod squashfs;
pub mod swap;
pub mod tar;
pub mod vdi;
pub mod vhd;
pub mod vmdk;
pub mod xfs;
