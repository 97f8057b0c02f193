//! Growth: what `--max-online-resize` promises, in numbers, by resize2fs on a file and by the kernel on a mount.

use std::path::Path;

use ext4_rs_writer::units::{BlockSize, Blocks};
use ext4_rs_writer::{Error, Options, Profile, Size, layout};
use image_core::FileId;
use image_core::tree::Data;

use crate::common::{GIB, MIB, PIB, PROFILES, PatternStore, TIB, empty, files, fsck, options, tmpfs, write};

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
        Err(Error::GrowthConflict { available_inodes: 7936, needed_inodes: 30_011, .. })
    ));
}

#[test]
fn what_cannot_be_promised_is_refused() {
    let mut legacy = options(Profile::Legacy);
    legacy.max_size = Some(64 * TIB);
    assert!(matches!(layout(&empty(), &legacy), Err(Error::GrowthImpossible { .. })));
}

#[test]
fn images_grow_offline() {
    if !oracle::require(&["resize2fs", "e2fsck"]) {
        return;
    }
    for profile in PROFILES {
        for block_size in [BlockSize::KIB_1, BlockSize::KIB_4] {
            let mut options = options(profile);
            options.block_size = block_size;
            options.size = Size::Fixed(300 * MIB);
            let dir = tmpfs();
            let image = write(&layout(&files([Data::dense(FileId(1), 9 * MIB)]), &options).unwrap(), &PatternStore, dir.path());
            // resize2fs wants to see a check that is younger than the last mount.
            oracle::output("e2fsck", &["-fy".as_ref(), image.as_os_str()]);
            oracle::run("resize2fs", &[image.as_os_str(), "3G".as_ref()]);
            fsck(&image);
            oracle::run("resize2fs", &["-M".as_ref(), image.as_os_str()]);
            fsck(&image);
        }
    }
}

fn set_len(image: &Path, len: u64) {
    std::fs::File::options().write(true).open(image).unwrap().set_len(len).unwrap();
}

/// Grows a mounted image by steps; what the kernel wrote is e2fsck's to judge.
fn grow_online(options: &Options, steps: &[u64]) {
    if !oracle::require(&["resize2fs", "e2fsck", "losetup"]) || !oracle::mounted::require() {
        return;
    }
    let dir = tmpfs();
    let tree = files([Data::dense(FileId(1), 9 * MIB)]);
    let planned = layout(&tree, options).unwrap();
    let image = write(&planned, &PatternStore, dir.path());
    // The device must be as long as the largest step before it is mounted.
    set_len(&image, *steps.last().unwrap());
    oracle::mounted::write(&image, |mount| {
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let path = mount.to_str().unwrap();
        let device = mounts.lines().find(|line| line.split(' ').nth(1) == Some(path)).unwrap();
        let device = device.split(' ').next().unwrap().to_owned();
        for step in steps {
            let size = format!("{}K", step / 1024);
            oracle::run("resize2fs", &[device.as_ref(), size.as_ref()]);
            let found = rustix::fs::statvfs(mount).unwrap();
            assert!(found.f_blocks * found.f_frsize > step / 10 * 9, "{found:?}");
        }
    });
    fsck(&image);
}

#[test]
fn images_grow_online_past_the_reserve_into_meta_bg() {
    let mut options = grown(64 * TIB);
    options.size = Size::Fixed(2 * GIB);
    grow_online(&options, &[20 * GIB, 200 * GIB]);
    // One reserved block: 64 more groups, then meta_bg.
    options.max_size = Some(9 * GIB);
    let planned = layout(&empty(), &options).unwrap();
    assert_eq!(planned.summary().reserved_gdt_blocks, Blocks(1));
    grow_online(&options, &[20 * GIB, 100 * GIB]);
}

#[test]
fn older_profiles_grow_online() {
    for profile in [Profile::Legacy, Profile::Modern, Profile::Ext3] {
        let mut options = options(profile);
        options.size = Size::Fixed(GIB);
        grow_online(&options, &[3 * GIB]);
    }
}
