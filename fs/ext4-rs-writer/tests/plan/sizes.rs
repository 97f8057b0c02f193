//! Sizes: given ones around every boundary, computed ones, the smallest, and what is refused.

use ext4_rs_writer::units::{BlockSize, Blocks};
use ext4_rs_writer::{Error, Inodes, Journal, Profile, Size, layout, mke2fs};
use image_core::FileId;
use image_core::store::MemoryStore;
use image_core::tree::Data;

use crate::common::{GIB, KIB, MIB, PROFILES, PatternStore, empty, files, judge, judge_empty, options};

#[test]
fn sizes_around_flex_groups_are_clean() {
    for n in [1, 2, 3] {
        for delta in [
            -4096_i64, -64, -1, 0, 1, 49, 63, 64, 112, 2048, 2049, 2100, 2101, 4096, 32768, 34900,
        ] {
            let blocks = (n * 2 * GIB / 4096).checked_add_signed(delta).unwrap();
            let mut options = options(Profile::Default);
            options.size = Size::Fixed(blocks * 4096);
            let layout = judge_empty(&options);
            assert_eq!(layout.map().len(), blocks * 4096);
            assert!(layout.summary().blocks <= Blocks(blocks));
        }
    }
}

#[test]
fn sizes_around_groups_are_clean_in_every_profile() {
    for profile in PROFILES {
        for (block_size, group) in [
            (BlockSize::KIB_1, 8 * MIB),
            (BlockSize::KIB_2, 32 * MIB),
            (BlockSize::KIB_4, 128 * MIB),
        ] {
            for (groups, delta) in
                (1..6).flat_map(|groups| [-1_i64, 0, 1, 300, 700, 1500].map(|delta| (groups, delta)))
            {
                let mut options = options(profile);
                options.block_size = block_size;
                let blocks = (groups * group / block_size.bytes())
                    .checked_add_signed(delta)
                    .unwrap();
                options.size = Size::Fixed(blocks * block_size.bytes() + 17);
                judge_empty(&options);
            }
        }
    }
}

#[test]
fn small_images_work_down_to_the_least_and_below_are_refused() {
    for profile in PROFILES {
        for block_size in [BlockSize::KIB_1, BlockSize::KIB_4] {
            let mut options = options(profile);
            options.block_size = block_size;
            let mut least = None;
            for kib in (16..6000).step_by(if block_size == BlockSize::KIB_1 { 97 } else { 252 }) {
                options.size = Size::Fixed(kib * KIB);
                match layout(&empty(), &options) {
                    Ok(_) => {
                        judge_empty(&options);
                        least.get_or_insert(kib);
                    }
                    Err(Error::DoesNotFit { .. } | Error::ImpossibleSize { .. }) => assert_eq!(least, None),
                    Err(other) => panic!("{other}"),
                }
            }
            assert!(least.is_some());
        }
    }
}

#[test]
fn the_rule_computes_the_size() {
    let tree = files([Data::dense(FileId(0), 42 * MIB)]);
    let mut options = options(Profile::Default);
    let used = layout(&tree, &options).unwrap().summary().used_bytes / KIB;
    // The file and the root directory.
    assert_eq!(used, 42 * 1024 + 4);
    let expect = |kib: u64| kib.next_multiple_of(64) * KIB;
    let layout_of = |options: &_| judge(&tree, &PatternStore, options).map().len();
    assert_eq!(layout_of(&options), expect((used as f64 / 0.6) as u64 + 65536));
    options.journal = Journal::Fixed(4 * MIB);
    options.size = Size::Extra(10 * MIB);
    assert_eq!(layout_of(&options), expect(used + 10240 + 4096));
}

#[test]
fn the_journal_that_counts_is_the_one_that_is_made() {
    let tree = files([Data::dense(FileId(0), 42 * MIB)]);
    let used = 42 * 1024 + 4;
    for (profile, words, journal) in [
        (Profile::Default, "", 64),
        (Profile::Default, "-J size=16", 16),
        (Profile::Default, "-O ^has_journal", 0),
        (Profile::Ext3, "", 64),
        (Profile::Ext2, "", 0),
        (Profile::Ext2, "-j", 64),
    ] {
        let mut options = options(profile);
        mke2fs::apply(&mut options, words).unwrap();
        let planned = layout(&tree, &options).unwrap();
        let kib: u64 = used * 5 / 3 + journal * 1024;
        assert_eq!(
            planned.map().len(),
            kib.next_multiple_of(64) * KIB,
            "{profile:?} {words}"
        );
        assert_eq!(planned.summary().journal_blocks, Blocks(journal * 256));
    }
}

#[test]
fn the_quotient_by_six_tenths_is_exact() {
    for used in (0..100_000_u64).chain([1 << 40, (1 << 40) + 1]) {
        assert_eq!(used * 5 / 3, (used as f64 / 0.6) as u64, "{used}");
    }
}

#[test]
fn the_smallest_image_is_clean_and_no_smaller_one_works() {
    for profile in PROFILES {
        for block_size in [BlockSize::KIB_1, BlockSize::KIB_4] {
            for len in [0, 1, 3 * MIB + 1, 130 * MIB] {
                let tree = files([Data::dense(FileId(0), len), Data::dense(FileId(1), len / 7)]);
                let mut options = options(profile);
                options.block_size = block_size;
                options.size = Size::Minimal;
                let least = judge(&tree, &PatternStore, &options);
                assert!(least.summary().free_blocks < Blocks(80), "{}", least.summary());
                let journal = least.summary().journal_blocks.bytes(block_size).0;
                options.size = Size::Fixed(least.map().len() - block_size.bytes());
                options.inodes = Some(Inodes::Count(least.summary().inodes.try_into().unwrap()));
                options.journal = Journal::Fixed(journal);
                let smaller = layout(&tree, &options);
                assert!(
                    matches!(
                        smaller,
                        Err(Error::DoesNotFit { .. } | Error::ImpossibleSize { .. })
                    ),
                    "{smaller:?}"
                );
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_both_numbers() {
    let tree = files([Data::dense(FileId(0), 300 * MIB)]);
    let mut options = options(Profile::Default);
    options.size = Size::Fixed(256 * MIB);
    let refused = layout(&tree, &options).unwrap_err();
    let Error::DoesNotFit {
        needed_bytes,
        available_bytes,
        ..
    } = refused
    else {
        panic!("{refused}")
    };
    // The file, two directories, the least journal and the block of inode 7; and 256 MiB without what two
    // groups take for themselves: two superblocks with a descriptor block and 31 in reserve, bitmaps, inode tables.
    assert_eq!(needed_bytes, 300 * MIB + (1 + 4 + 1024 + 1) * 4 * KIB);
    assert_eq!(available_bytes, 256 * MIB - 2 * (1 + 1 + 31 + 2 + 2048) * 4 * KIB);
    assert_eq!(
        refused.to_string(),
        format!(
            "the tree needs {needed_bytes} bytes and 12 inodes, \
             the file system has room for {available_bytes} bytes and 65536 inodes"
        )
    );
    options.inodes = Some(Inodes::Count(12));
    options.size = Size::Headroom;
    let refused = layout(&files((0..100).map(|_| Data::dense(FileId(0), 0))), &options);
    assert!(matches!(
        refused,
        Err(Error::DoesNotFit {
            needed_inodes: 111,
            available_inodes: 12,
            ..
        })
    ));
}

#[test]
fn the_journal_shrinks_where_a_tree_leaves_no_room_for_the_usual_one() {
    let tree = files([Data::dense(FileId(0), 100 * MIB)]);
    let mut options = options(Profile::Default);
    options.size = Size::Fixed(128 * MIB);
    let tight = judge(&tree, &PatternStore, &options);
    assert_eq!(tight.summary().journal_blocks, Blocks(4096));
    options.size = Size::Fixed(256 * MIB);
    assert_eq!(
        judge(&tree, &PatternStore, &options).summary().journal_blocks,
        Blocks(16384)
    );
}

#[test]
fn empty_files_get_the_inodes_they_need() {
    let tree = files((0..60_000).map(|_| Data::dense(FileId(0), 0)));
    for size in [Size::Minimal, Size::Headroom, Size::Fixed(200 * MIB)] {
        let mut options = options(Profile::Default);
        options.size = size;
        judge(&tree, &MemoryStore::default(), &options);
    }
}
