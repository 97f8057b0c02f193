//! Images of every size at which the last group, or the last flex group, changes.

use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::{Error, Inodes, Options, Profile, Size, layout, mke2fs};
use image_core::{NodeId, Tree};

use crate::forest::{Forest, Pattern};
use crate::image::{checked, judged, options, profile};

fn small() -> Tree {
    let mut forest = Forest::new();
    let dir = forest.dir(NodeId::ROOT, "dir");
    for i in 0..50 {
        forest.file(dir, format!("{i}"), i * 5000);
    }
    forest.build()
}

/// Blocks beside a border.
const BESIDE: [i64; 25] = [
    -1000, -65, -64, -33, -17, -16, -2, -1, 0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 50, 64, 65, 257, 513, 515,
    1000,
];

fn fixed(options: &Options, bytes: u64) -> Options {
    let mut options = options.clone();
    options.size = Size::Fixed(bytes);
    options
}

fn beside(border: u64, by: i64, block: u64) -> u64 {
    border.checked_add_signed(by).unwrap() * block
}

#[test]
fn sizes_around_every_flex_group_are_clean() {
    let tree = small();
    for n in 1..=3 {
        for by in BESIDE {
            checked(&tree, &Pattern, &fixed(&options(), beside(n * 524_288, by, 4096)));
        }
    }
    // And further on: behind the flex groups with groups 49, 81 and 125, whose copies stand in the way, where the
    // descriptors need a block more, and at 128 GiB. Each group costs 130 blocks, the last one at least 180.
    let mut wide = options();
    wide.inodes = Some(Inodes::Ratio(1 << 16));
    for n in [4, 5, 6, 8, 16, 32, 64] {
        for by in [-181, -64, -1, 0, 1, 179, 181] {
            checked(&tree, &Pattern, &fixed(&wide, beside(n * 524_288, by, 4096)));
        }
    }
}

/// The blocks that dumpe2fs counts in an image of so many.
fn counted(tree: &Tree, options: &Options, image: u64) -> u64 {
    let options = fixed(options, image * options.block_size.bytes());
    let image = checked(tree, &Pattern, &options);
    let text = oracle::ext4::dumpe2fs(&image.path, true);
    let line = text.lines().find_map(|line| line.strip_prefix("Block count:"));
    let count = line.unwrap().trim().parse().unwrap();
    assert_eq!(image.layout.summary().blocks.0, count);
    count
}

/// A last group that holds no more than its own metadata would only cost, so that there is none of one block; mke2fs
/// leaves such a tail out, too.
#[test]
fn a_last_group_is_as_short_as_is_worth_it_and_no_shorter() {
    if !oracle::ext4::require() {
        return;
    }
    let tree = small();
    // Per group: bitmaps, the inode table, and in groups with a copy the superblock, a descriptor block and the reserve.
    for (words, groups, per_group, cost) in [
        // Group 16 has no copy.
        ("-N 272", 16, 32768, 2 + 1),
        ("-N 524288", 16, 32768, 2 + 1928),
        ("-O ^flex_bg -N 524288", 16, 32768, 2 + 1928),
        // Group 1 has one.
        ("-O ^resize_inode -N 128", 1, 32768, 1 + 1 + 2 + 4),
        ("-b 1024 -N 2064", 2, 8192, 2 + 172),
    ] {
        let mut options = options();
        mke2fs::apply(&mut options, words).unwrap();
        let first = options.block_size.first_data_block().0;
        let whole = first + groups * per_group;
        let worth = cost + 50;
        for tail in [1, 2, cost - 1, cost, cost + 1, worth - 1] {
            assert_eq!(counted(&tree, &options, whole + tail), whole, "{words}: {tail}");
        }
        for tail in [worth, worth + 1, per_group - 1] {
            assert_eq!(
                counted(&tree, &options, whole + tail),
                whole + tail,
                "{words}: {tail}"
            );
        }
    }
}

#[test]
fn sizes_around_every_group_are_clean() {
    let tree = small();
    for n in [1, 2, 3, 9] {
        for by in BESIDE {
            checked(&tree, &Pattern, &fixed(&options(), beside(n * 32768, by, 4096)));
        }
    }
}

#[test]
fn sizes_around_groups_of_small_blocks_are_clean_in_every_profile() {
    let tree = small();
    for made in [
        Profile::Default,
        Profile::Legacy,
        Profile::Modern,
        Profile::Ext3,
        Profile::Ext2,
    ] {
        let mut options = profile(made);
        options.block_size = BlockSize::KIB_1;
        for n in [2, 3, 17] {
            for by in BESIDE {
                checked(&tree, &Pattern, &fixed(&options, beside(n * 8192, by, 1024)));
            }
        }
    }
}

#[test]
fn the_smallest_image_holds_the_tree_and_a_smaller_one_does_not() {
    for block_size in [BlockSize::KIB_1, BlockSize::KIB_2, BlockSize::KIB_4] {
        for tree in [Forest::new().build(), small()] {
            let mut options = options();
            options.block_size = block_size;
            options.size = Size::Minimal;
            judged(&tree, &options);
            // A smaller image would have a smaller journal, and still be one.
            mke2fs::apply(&mut options, "-O ^has_journal").unwrap();
            let image = judged(&tree, &options);
            let bytes = image.layout.summary().image_bytes;
            assert_eq!(image.path.metadata().unwrap().len(), bytes);
            let error =
                layout(&tree, &fixed(&options, bytes - block_size.bytes())).map(|smaller| *smaller.summary());
            assert!(
                matches!(
                    error,
                    Err(Error::DoesNotFit { .. } | Error::ImpossibleSize { .. })
                ),
                "{bytes} bytes of {block_size}: {error:?}"
            );
        }
    }
}

#[test]
fn twenty_tebibytes_are_sparse() {
    let mut options = fixed(&options(), 20 << 40);
    options.inodes = Some(Inodes::Ratio(1 << 20));
    let image = judged(&small(), &options);
    let allocated = std::os::unix::fs::MetadataExt::blocks(&image.path.metadata().unwrap()) * 512;
    assert!(allocated < 2 << 30, "{allocated} bytes are allocated");
}
