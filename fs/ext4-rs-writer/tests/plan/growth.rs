//! Growth: what `--max-online-resize` promises, in numbers, and resize2fs on images that are not mounted.

use ext4_rs_writer::units::{BlockSize, Blocks};
use ext4_rs_writer::{Error, Options, Profile, Size, layout};
use image_core::FileId;
use image_core::tree::Data;

use crate::common::{
    GIB, MIB, PIB, PROFILES, PatternStore, TIB, empty, files, judge_empty, options, tmpfs, write,
};

fn grown(max: u64) -> Options {
    let mut options = options(Profile::Default);
    options.max_size = Some(max);
    options
}

#[test]
fn the_promise_holds_by_number() {
    for max in [16 * TIB, 64 * TIB, 256 * TIB, PIB] {
        for len in [0, MIB, 700 * MIB] {
            let planned = layout(&files([Data::dense(FileId(0), len)]), &grown(max)).unwrap();
            assert!(planned.summary().growth_ceiling_bytes >= max);
        }
    }
}

#[test]
fn an_image_grows_virtually_until_it_has_the_inodes() {
    let tree = files((0..30_000).map(|_| Data::dense(FileId(0), 1)));
    let planned = layout(&tree, &grown(PIB)).unwrap();
    // 30,012 inodes at 496 a group need 61 groups.
    assert_eq!(planned.summary().groups, 61);
    assert!(planned.map().data_len() < 400 * MIB);
    let mut fixed = grown(PIB);
    fixed.size = Size::Fixed(2 * GIB);
    assert!(matches!(
        layout(&tree, &fixed),
        Err(Error::GrowthConflict {
            available_inodes: 7936,
            needed_inodes: 30_011,
            ..
        })
    ));
}

#[test]
fn what_cannot_be_promised_is_refused() {
    let mut legacy = options(Profile::Legacy);
    legacy.max_size = Some(64 * TIB);
    assert!(matches!(
        layout(&empty(), &legacy),
        Err(Error::GrowthImpossible { .. })
    ));
}

#[test]
fn the_reserve_is_what_the_promise_needs_beyond_the_descriptors() {
    for (max, reserved) in [
        (8 * GIB, 0),
        (9 * GIB, 1),
        (TIB, 127),
        (8 * TIB, 1023),
        (64 * TIB, 1024),
    ] {
        let mut options = grown(max);
        options.size = Size::Fixed(2 * GIB);
        let planned = layout(&empty(), &options).unwrap();
        assert_eq!(planned.summary().reserved_gdt_blocks, Blocks(reserved));
        judge_empty(&options);
    }
}

#[test]
fn images_grow_offline() {
    if !oracle::require(&["resize2fs", "e2fsck", "dumpe2fs"]) {
        return;
    }
    for profile in PROFILES {
        for block_size in [BlockSize::KIB_1, BlockSize::KIB_4] {
            let mut options = options(profile);
            options.block_size = block_size;
            options.size = Size::Fixed(300 * MIB);
            let dir = tmpfs();
            let image = write(
                &layout(&files([Data::dense(FileId(1), 9 * MIB)]), &options).unwrap(),
                &PatternStore,
                dir.path(),
            );
            // resize2fs wants to see a check that is younger than the last mount.
            oracle::output("e2fsck", &["-fy".as_ref(), image.as_os_str()]);
            oracle::run("resize2fs", &[image.as_os_str(), "3G".as_ref()]);
            oracle::ext4::sound(&image);
            oracle::run("resize2fs", &["-M".as_ref(), image.as_os_str()]);
            oracle::ext4::sound(&image);
        }
    }
}
