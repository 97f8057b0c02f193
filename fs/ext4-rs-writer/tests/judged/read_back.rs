//! This crate's reader before images that others made: mke2fs in many forms, and the kernel that wrote to them.

use std::fs::{self, File};
use std::path::Path;

use ext4_rs_writer::reader::{ReadError, about};
use image_core::read_at::ImageFile;
use oracle::{populated, snapshot};

use crate::image::{read_back, temporary};

/// Forms of file systems, each with what its like has that others have not.
const FORMS: [&str; 17] = [
    "-t ext2",
    "-t ext2 -b 1024 -I 128",
    "-t ext2 -r 0 -b 4096",
    "-t ext3 -b 2048",
    "-t ext3 -O ^dir_index,^filetype",
    "-t ext4",
    "-t ext4 -b 1024",
    "-t ext4 -b 2048 -I 512",
    "-t ext4 -O ^64bit,^metadata_csum,uninit_bg",
    "-t ext4 -O ^flex_bg,^resize_inode,meta_bg",
    "-t ext4 -O ^resize_inode,sparse_super2",
    "-t ext4 -O ^resize_inode,meta_bg -b 1024 -g 256 -N 8192",
    "-t ext4 -O metadata_csum_seed,64bit",
    "-t ext4 -O ea_inode",
    "-t ext4 -O ^extent,^64bit",
    "-t ext4 -O bigalloc -C 16384",
    "-t ext4 -O large_dir,extra_isize",
];

pub(crate) fn make(image: &Path, form: &str) {
    File::create(image).unwrap().set_len(96 << 20).unwrap();
    let mut args = vec!["-q", "-F"];
    args.extend(form.split(' '));
    args.push(image.to_str().unwrap());
    let args: Vec<_> = args.into_iter().map(std::ffi::OsStr::new).collect();
    oracle::run("mke2fs", &args);
}

#[test]
fn what_others_wrote_is_read_as_the_kernel_shows_it() {
    if !oracle::mounted::require() || !oracle::require(&["mke2fs", "e2fsck"]) {
        return;
    }
    let dir = temporary();
    for form in FORMS {
        let image = dir.path().join("image");
        make(&image, form);
        oracle::mounted::write(&image, |root| {
            populated::fill(root);
            populated::attribute(root);
        });
        oracle::ext4::fsck(&image);
        let source = ImageFile::new(File::open(&image).unwrap(), &image).unwrap();
        let faults = ext4_rs_writer::reader::check(&source).unwrap();
        assert!(faults.is_empty(), "{form}: {faults:?}");
        let shown = oracle::mounted::read(&image, snapshot::of_dir);
        assert!(shown.len() > 2000, "{form}: {} files", shown.len());
        eprintln!("mke2fs {form}");
        snapshot::assert_same(&shown, &read_back(&image));
    }
}

#[test]
fn what_is_not_read_is_named() {
    if !oracle::require(&["mke2fs"]) {
        return;
    }
    let dir = temporary();
    let path = dir.path().join("image");
    let refusal = || {
        let source = ImageFile::new(File::open(&path).unwrap(), &path).unwrap();
        ext4_rs_writer::read(source).map(|_| ()).unwrap_err()
    };
    make(&path, "-t ext4 -O inline_data");
    assert!(matches!(refusal(), ReadError::Unsupported(what) if what.contains("inline_data")));
    fs::write(&path, vec![0; 4096]).unwrap();
    assert!(matches!(refusal(), ReadError::NotExt));
    make(
        &path,
        "-t ext4 -L a-label -U 5e0b8f1c-2f7e-4e0f-9a57-3f0a5c1d2e4b",
    );
    let source = ImageFile::new(File::open(&path).unwrap(), &path).unwrap();
    let said = about(&source).unwrap();
    assert_eq!(
        (&said.label[..], said.kind, said.block_bytes),
        (&b"a-label"[..], "ext4", 1024)
    );
    assert_eq!(said.blocks, 96 << 10);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    assert!(matches!(
        refusal(),
        ReadError::Superblock {
            field: "number of blocks",
            ..
        }
    ));
}
