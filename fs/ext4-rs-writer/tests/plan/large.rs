//! Large things: deep extent trees, files that no single run holds, files of terabytes.

use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::{Error, Profile, Size, layout};
use image_core::FileId;
use image_core::tree::Data;

use crate::common::{GIB, KIB, MIB, PROFILES, PatternStore, TIB, files, judge, options};

/// A file of so many blocks, each followed by a hole.
fn islands(count: u64, block: u64) -> Data {
    let mut data = Data::dense(FileId(1), count * 2 * block);
    data.ranges = Some((0..count).map(|i| i * 2 * block..(i * 2 + 1) * block).collect());
    data
}

#[test]
fn extent_trees_of_every_depth_are_clean() {
    for profile in [Profile::Default, Profile::Legacy, Profile::Ext2] {
        for count in [4, 5, 336, 337, 28_224, 28_225] {
            let mut options = options(profile);
            options.block_size = BlockSize::KIB_1;
            judge(&files([islands(count, KIB)]), &PatternStore, &options);
        }
    }
    for count in [4, 5, 1360, 1361] {
        judge(
            &files([islands(count, 4 * KIB)]),
            &PatternStore,
            &options(Profile::Default),
        );
    }
}

#[test]
fn a_file_larger_than_any_run_lies_in_pieces() {
    for profile in PROFILES {
        for block_size in [BlockSize::KIB_1, BlockSize::KIB_4] {
            let mut options = options(profile);
            options.block_size = block_size;
            options.size = Size::Minimal;
            let layout = judge(
                &files([Data::dense(FileId(0), 2500 * MIB), Data::dense(FileId(0), 77)]),
                &PatternStore,
                &options,
            );
            assert_eq!(layout.summary().fragmented_files, 1);
        }
    }
}

#[test]
fn files_of_four_gigabytes_and_sixteen_terabytes_are_clean() {
    let mut sparse = Data::dense(FileId(1), 16 * TIB - 4 * KIB);
    sparse.ranges = Some(
        [
            0..1,
            5 * TIB..5 * TIB + 1,
            16 * TIB - 4 * KIB - 1..16 * TIB - 4 * KIB,
        ]
        .into(),
    );
    let tree = files([sparse, Data::dense(FileId(0), 4 * GIB + 1)]);
    judge(&tree, &PatternStore, &options(Profile::Default));
    let mut long = Data::dense(FileId(1), 16 * TIB);
    long.ranges = Some(std::iter::once(0..1).collect());
    assert!(matches!(
        layout(&files([long]), &options(Profile::Default)),
        Err(Error::FileTooLong { .. })
    ));
}

#[test]
fn files_at_the_edges_of_block_maps_are_clean() {
    let edges = [12, 13, 12 + 256, 13 + 256, 12 + 256 + 65536, 13 + 256 + 65536];
    let data = edges.map(|blocks| Data::dense(FileId(0), blocks * KIB));
    for profile in [Profile::Ext2, Profile::Ext3] {
        let mut options = options(profile);
        options.block_size = BlockSize::KIB_1;
        judge(&files(data.clone()), &PatternStore, &options);
    }
}
