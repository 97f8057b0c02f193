//! The laws, on drawn bytes.

use image_formats::laws;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn qcow2_plan(bytes in vec(any::<u8>(), 0..200)) {
        laws::qcow2_plan(&bytes);
    }

    #[test]
    fn qcow2_reader(bytes in vec(any::<u8>(), 0..200)) {
        laws::qcow2_reader(&bytes);
    }

    #[test]
    fn disk_layouts(bytes in vec(any::<u8>(), 0..100)) {
        laws::disk_layouts(&bytes);
    }

    #[test]
    fn containers(bytes in vec(any::<u8>(), 0..200)) {
        laws::containers(&bytes);
    }

    #[test]
    fn fat_reader(bytes in vec(any::<u8>(), 0..100)) {
        laws::fat_reader(&bytes);
    }

    #[test]
    fn fat_plan(bytes in vec(any::<u8>(), 0..300)) {
        laws::fat_plan(&bytes);
    }

    #[test]
    fn lvm_plan(bytes in vec(any::<u8>(), 0..200)) {
        laws::lvm_plan(&bytes);
    }

    #[test]
    fn xfs_reader(bytes in vec(any::<u8>(), 0..100)) {
        laws::xfs_reader(&bytes);
    }

    #[test]
    fn lvm_reader(bytes in vec(any::<u8>(), 0..200)) {
        laws::lvm_reader(&bytes);
    }

    #[test]
    fn btrfs_reader(bytes in vec(any::<u8>(), 0..200)) {
        laws::btrfs_reader(&bytes);
    }

    #[test]
    fn tar_reader(bytes in vec(any::<u8>(), 0..300)) {
        laws::tar_reader(&bytes, tempfile::tempfile().unwrap());
    }

    #[test]
    fn tar_plan(bytes in vec(any::<u8>(), 0..300)) {
        laws::tar_plan(&bytes, &mut || tempfile::tempfile().unwrap());
    }

    #[test]
    fn iso_plan(bytes in vec(any::<u8>(), 0..300)) {
        laws::iso_plan(&bytes);
    }

    #[test]
    fn cpio_plan(bytes in vec(any::<u8>(), 0..300)) {
        laws::cpio_plan(&bytes);
    }

    #[test]
    fn oci(bytes in vec(any::<u8>(), 0..300)) {
        laws::oci(&bytes, &mut || tempfile::tempfile().unwrap());
    }

    #[test]
    fn deflate_encoder(bytes in vec(any::<u8>(), 0..300)) {
        laws::deflate_encoder(&bytes);
    }

    #[test]
    fn squashfs_plan(bytes in vec(any::<u8>(), 0..300)) {
        laws::squashfs_plan(&bytes);
    }

    #[test]
    fn squashfs(bytes in vec(any::<u8>(), 0..300)) {
        laws::squashfs(&bytes);
    }

    #[test]
    fn squashfs_codecs(bytes in vec(any::<u8>(), 0..300)) {
        laws::squashfs_codecs(&bytes);
    }

    #[test]
    fn qcow2_options(text in "((compat|cluster_size|preallocation|compression_level|size)=[0-9a-zA-Z.]{0,4},?){0,3}") {
        laws::qcow2_options(text.as_bytes());
    }
}
