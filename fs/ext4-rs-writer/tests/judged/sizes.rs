//! Images of every size at which the last group, or the last flex group, changes.

use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::{Error, Inodes, Options, Profile, Size, layout};
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
            ext4_rs_writer::mke2fs::apply(&mut options, "-O ^has_journal").unwrap();
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
    let image = checked(&small(), &Pattern, &options);
    let allocated = std::os::unix::fs::MetadataExt::blocks(&image.path.metadata().unwrap()) * 512;
    assert!(allocated < 2 << 30, "{allocated} bytes are allocated");
}
