//! What the kernel makes of an image when it is used.

use std::fs;

use ext4_rs_writer::Profile;
use ext4_rs_writer::units::BlockSize;
use image_core::NodeId;
use image_core::tree::NewContent;

use crate::forest::{Forest, Pattern};
use crate::image::{checked, options, profile};

#[test]
fn directories_stay_sound_when_names_come_and_go() {
    if !oracle::mounted::require() || !oracle::require(&["e2fsck"]) {
        return;
    }
    for block_size in [BlockSize::KIB_1, BlockSize::KIB_4] {
        let mut options = options();
        options.block_size = block_size;
        options.size = ext4_rs_writer::Size::Extra(128 << 20);
        let mut forest = Forest::new();
        for count in [10, 1000, 12_000] {
            let dir = forest.dir(NodeId::ROOT, format!("d{count}"));
            for i in 0..count {
                forest.node(dir, format!("old-name-{i}"), NewContent::Symlink(b"target"));
            }
        }
        let image = checked(&forest.build(), &Pattern, &options);
        oracle::mounted::write(&image.path, |root| {
            for count in [10, 1000, 12_000] {
                let dir = root.join(format!("d{count}"));
                for i in 0..count {
                    fs::write(dir.join(format!("a-rather-new-name-{i}")), b"new").unwrap();
                    if i % 3 != 0 {
                        fs::remove_file(dir.join(format!("old-name-{i}"))).unwrap();
                    }
                }
                for i in (0..count).filter(|i| i % 3 == 0) {
                    let link = fs::read_link(dir.join(format!("old-name-{i}"))).unwrap();
                    assert_eq!(link.as_os_str(), "target");
                }
            }
            fs::remove_dir_all(root.join("d1000")).unwrap();
            fs::create_dir(root.join("fresh")).unwrap();
        });
        oracle::ext4::fsck(&image.path);
    }
}

#[test]
fn a_full_image_is_sound() {
    if !oracle::mounted::require() || !oracle::require(&["e2fsck"]) {
        return;
    }
    for made in [
        Profile::Default,
        Profile::Legacy,
        Profile::Modern,
        Profile::Ext3,
        Profile::Ext2,
    ] {
        let mut forest = Forest::new();
        forest.file(NodeId::ROOT, "file", 100_000);
        let image = checked(&forest.build(), &Pattern, &profile(made));
        oracle::mounted::write(&image.path, |root| {
            let filled = fs::write(root.join("filler"), vec![1; 256 << 20]);
            assert!(filled.is_err(), "the image has no 256 MiB");
            let last = (0..1_000_000).find(|i| fs::create_dir(root.join(format!("dir-{i}"))).is_err());
            assert!(last.is_some());
        });
        oracle::ext4::fsck(&image.path);
    }
}
