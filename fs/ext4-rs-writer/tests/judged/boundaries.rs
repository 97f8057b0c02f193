//! Values at which the format changes its form.

use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::{Error, Profile, layout};
use image_core::tree::{Device, NewContent, Time};
use image_core::{NodeId, Tree};

use crate::forest::Forest;
use crate::image::{judged, mounted, options, profile, with_block_size};

const ROOT: NodeId = NodeId::ROOT;
const BLOCK_SIZES: [BlockSize; 3] = [BlockSize::KIB_1, BlockSize::KIB_2, BlockSize::KIB_4];
const PROFILES: [Profile; 5] = [
    Profile::Default,
    Profile::Legacy,
    Profile::Modern,
    Profile::Ext3,
    Profile::Ext2,
];

#[test]
fn symlinks_stand_in_the_inode_up_to_59_bytes() {
    for block_size in BLOCK_SIZES {
        let mut forest = Forest::new();
        let longest = block_size.buffer() - 1;
        for len in [1, 58, 59, 60, 61, 255, 1000, longest - 1, longest] {
            forest.node(
                ROOT,
                format!("link-{len}"),
                NewContent::Symlink(&b"x/".repeat(len)[..len]),
            );
        }
        judged(&forest.build(), &with_block_size(block_size));
    }
    let mut forest = Forest::new();
    forest.node(ROOT, "link", NewContent::Symlink(&[b'x'; 1024]));
    let error = layout(&forest.build(), &with_block_size(BlockSize::KIB_1)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TargetTooLong {
                len: 1024,
                max: 1023,
                ..
            }
        ),
        "{error}"
    );
}

/// A file of `islands` blocks, each behind a hole of one block.
fn islands(forest: &mut Forest, block: u64, islands: u64) {
    let ranges = (0..islands).map(|i| {
        let start = (2 * i + 1) * block;
        start..start + block
    });
    let len = 2 * islands * block + 7;
    forest.sparse(ROOT, format!("islands-{islands}"), len, ranges);
}

#[test]
fn extent_trees_grow_by_a_level_where_they_must() {
    for block_size in BLOCK_SIZES {
        let mut forest = Forest::new();
        let block = block_size.bytes();
        // 12 bytes an entry, behind a header of 12, and a checksum of 4 at the end.
        let leaf = (block - 12) / 12;
        for n in [0, 1, 3, 4, 5, leaf, leaf + 1, 4 * leaf, 4 * leaf + 1] {
            islands(&mut forest, block, n);
        }
        judged(&forest.build(), &with_block_size(block_size));
    }
}

#[test]
fn extent_trees_have_three_levels_where_they_must() {
    let mut forest = Forest::new();
    let leaf = (1024 - 12) / 12;
    islands(&mut forest, 1024, 4 * leaf * leaf);
    islands(&mut forest, 1024, 4 * leaf * leaf + 1);
    judged(&forest.build(), &with_block_size(BlockSize::KIB_1));
}

#[test]
fn block_maps_have_three_levels_where_they_must() {
    for old in [Profile::Ext3, Profile::Ext2] {
        let mut options = profile(old);
        options.block_size = BlockSize::KIB_1;
        let mut forest = Forest::new();
        for blocks in [11, 12, 13, 12 + 256, 13 + 256, 12 + 256 + 65536, 13 + 256 + 65536] {
            forest.file(ROOT, format!("dense-{blocks}"), blocks * 1024 - 1);
            let last = (blocks - 1) * 1024;
            #[expect(clippy::single_range_in_vec_init, reason = "one range of data")]
            forest.sparse(ROOT, format!("sparse-{blocks}"), last + 1024, [last..last + 1024]);
        }
        mounted(&forest.build(), &options);
    }
}

#[test]
fn files_of_every_length_around_a_block_are_kept() {
    for block_size in BLOCK_SIZES {
        let mut forest = Forest::new();
        let block = block_size.bytes();
        for len in [
            0,
            1,
            block - 1,
            block,
            block + 1,
            15 * block,
            16 * block + 1,
            (1 << 20) + 1,
        ] {
            forest.file(ROOT, format!("file-{len}"), len);
            forest.sparse(ROOT, format!("hole-{len}"), len, []);
        }
        judged(&forest.build(), &with_block_size(block_size));
    }
}

#[test]
fn names_are_bytes_up_to_255_of_them() {
    for block_size in BLOCK_SIZES {
        let mut forest = Forest::new();
        for i in 0..40_u8 {
            let mut name = vec![b'n'; 255];
            name[..2].copy_from_slice(&[0xff, 0x80 + i]);
            forest.file(ROOT, name, 1);
        }
        for byte in (1..=255).filter(|byte| !b"/.".contains(byte)) {
            forest.node(ROOT, [byte], NewContent::Fifo);
        }
        judged(&forest.build(), &with_block_size(block_size));
    }
}

#[test]
fn an_empty_tree_is_a_file_system() {
    for made in PROFILES {
        for block_size in BLOCK_SIZES {
            let mut options = profile(made);
            options.block_size = block_size;
            judged(&Forest::new().build(), &options);
        }
    }
}

#[test]
fn every_kind_of_node_survives_in_every_profile() {
    for made in PROFILES {
        for block_size in BLOCK_SIZES {
            let mut forest = Forest::new();
            let dir = forest.dir(ROOT, "dir");
            for (i, (major, minor)) in [(0, 0), (1, 3), (255, 255), (256, 0), (1, 256), (4095, 1_048_575)]
                .into_iter()
                .enumerate()
            {
                let device = Device { major, minor };
                forest.node(dir, format!("c{i}"), NewContent::CharDevice(device));
                forest.node(dir, format!("b{i}"), NewContent::BlockDevice(device));
            }
            for mode in [0o0, 0o7777, 0o4755, 0o2755, 0o1777] {
                forest.meta.mode = mode;
                forest.file(dir, format!("mode-{mode:o}"), 3);
            }
            for owner in [1, 65535, 65536, u32::MAX - 1] {
                (forest.meta.uid, forest.meta.gid) = (owner, owner - 1);
                forest.node(dir, format!("owner-{owner}"), NewContent::Fifo);
            }
            let socket = forest.node(dir, "socket", NewContent::Socket);
            let link = forest.node(ROOT, "link", NewContent::Symlink(b"dir/socket"));
            forest.builder.link(dir, b"socket again", socket).unwrap();
            forest.builder.link(dir, b"link again", link).unwrap();
            let mut options = profile(made);
            options.block_size = block_size;
            judged(&forest.build(), &options);
        }
    }
}

#[test]
fn times_are_kept_from_1901_to_2446() {
    let mut forest = Forest::new();
    for secs in [
        -(1_i64 << 31),
        -(1 << 31) + 1,
        -1,
        0,
        1,
        (1 << 31) - 1,
        1 << 31,
        (1 << 32) - 1,
        1 << 32,
        (1 << 33) + 17,
        (1 << 34) - (1 << 31) - 1,
    ] {
        for nanos in [0, 1, 999_999_999] {
            forest.meta.mtime = Time { secs, nanos };
            forest.file(ROOT, format!("{secs}.{nanos}"), 1);
        }
    }
    mounted(&forest.build(), &options());
}

fn links(count: u32) -> Tree {
    let mut forest = Forest::new();
    let file = forest.file(ROOT, "first", 5);
    for i in 1..count {
        forest
            .builder
            .link(ROOT, format!("link-{i:05}").as_bytes(), file)
            .unwrap();
    }
    forest.build()
}

#[test]
fn files_have_up_to_65000_links() {
    mounted(&links(65_000), &options());
    let error = layout(&links(65_001), &options()).unwrap_err();
    assert!(
        matches!(error, Error::TooManyLinks { links: 65_001, .. }),
        "{error}"
    );
}

#[test]
fn directories_have_more_than_65000_subdirectories() {
    // Small blocks, since each directory has one.
    let options = with_block_size(BlockSize::KIB_1);
    for count in [64_998, 64_999, 66_000] {
        let mut forest = Forest::new();
        let dir = forest.dir(ROOT, "d");
        for i in 0..count {
            forest.dir(dir, format!("{i}"));
        }
        // Most of the time is the kernel's walk; one size shows that names and links are right.
        if count == 66_000 {
            mounted(&forest.build(), &options);
        } else {
            crate::image::checked(&forest.build(), &crate::forest::Pattern, &options);
        }
    }
}

#[test]
fn files_end_where_block_numbers_do() {
    let mut forest = Forest::new();
    let longest = (1_u64 << 44) - 4096;
    let end = |len: u64| [0..4096, (5 << 30)..(5 << 30) + 9000, len - 4096..len];
    forest.sparse(
        ROOT,
        "over 4 GiB",
        (5 << 30) + 20000,
        [4096..8192, (5 << 30)..(5 << 30) + 9000],
    );
    forest.sparse(ROOT, "16 TiB", longest, end(longest));
    judged(&forest.build(), &options());
    let mut forest = Forest::new();
    forest.sparse(ROOT, "too long", longest + 4096, []);
    let error = layout(&forest.build(), &options()).unwrap_err();
    assert!(matches!(error, Error::FileTooLong { .. }), "{error}");
}
