//! Where things lie: the layout that makes boots fast, as the map prints it and as dumpe2fs and debugfs find it.

use std::ops::Range;

use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::{Profile, Size, layout, mke2fs};
use image_core::map::Source;
use image_core::{FileId, NodeId};

use crate::forest::{Forest, Pattern};
use crate::image::{checked, options, profile};

const ROOT: NodeId = NodeId::ROOT;

#[test]
fn a_small_image_reads_like_a_table() {
    let mut forest = Forest::new();
    let dir = forest.dir(ROOT, "dir");
    forest.file(dir, "file", 5000);
    forest.sparse(ROOT, "sparse", 40_000, [0..1024, 20_480..30_000]);
    forest.node(ROOT, "link", image_core::tree::NewContent::Symlink(&[b'x'; 100]));
    forest.xattrs(&[("user.large", &[7; 300])]);
    forest.file(ROOT, "labelled", 1);
    let mut options = options();
    options.block_size = BlockSize::KIB_1;
    options.size = Size::Fixed(17 << 20);
    mke2fs::apply(&mut options, "-J size=1 -N 64").unwrap();
    let planned = layout(&forest.build(), &options).unwrap();
    assert_eq!(planned.map().to_string(), SMALL);
}

/// Blocks of 1 KiB: superblock and descriptors with their reserve; the bitmaps and inode tables of all three groups side
/// by side, with gaps where a group holds nothing yet; then inode 7 and the journal, directories, the xattr block, the
/// symlink's target, and files in the order of their inodes: those of the root, then those of the directory. Group 1 has
/// copies.
const SMALL: &str = concat!(
    "          1024 +1024         superblock                   bytes\n",
    "          2048 +192          group descriptors            bytes\n",
    "          3072 +138240       reserved group descriptors   table 3+0\n",
    "        141312 +1024         block bitmap                 table 0+0\n",
    "        143360 +1024         block bitmap                 table 0+2048\n",
    "        144384 +1024         inode bitmap                 table 1+0\n",
    "        147456 +4096         inode table                  table 2+0\n",
    "        165888 +1024         resize inode                 bytes\n",
    "        166912 +1024         journal superblock           bytes\n",
    "       1215488 +14336        directory                    table 4+0\n",
    "       1229824 +1024         xattr block                  table 5+0\n",
    "       1230848 +100          symlink                      bytes\n",
    "       1231872 +1            file                         file 3+0\n",
    "       1232896 +1024         file                         file 2+0\n",
    "       1233920 +9520         file                         file 2+20480\n",
    "       1244160 +5000         file                         file 1+0\n",
    "       8389632 +1024         backup superblock            bytes\n",
    "       8390656 +192          backup group descriptors     bytes\n",
    "      17825792 end\n",
);

/// Blocks of each file, by its number.
fn blocks(planned: &ext4_rs_writer::Layout, block: u64) -> Vec<Range<u64>> {
    let mut files: Vec<(FileId, Range<u64>)> = Vec::new();
    for extent in planned.map().extents() {
        if let Source::File { file, .. } = extent.source {
            files.push((file, extent.start / block..extent.end().div_ceil(block)));
        }
    }
    files.sort_by_key(|(file, range)| (*file, range.start));
    files.into_iter().map(|(_, range)| range).collect()
}

#[test]
fn files_of_a_directory_lie_together_and_each_in_one_piece() {
    for made in [Profile::Default, Profile::Ext2] {
        let mut forest = Forest::new();
        // The directories' files are made in turns, so that only the tree says which belong together.
        let dirs: Vec<_> = (0..20).map(|i| forest.dir(ROOT, format!("dir-{i:02}"))).collect();
        for i in 0..50 {
            for dir in &dirs {
                forest.file(*dir, format!("file-{i:02}"), 1 + i * 1000);
            }
        }
        let tree = forest.build();
        let options = profile(made);
        let image = checked(&tree, &Pattern, &options);
        assert_eq!(image.layout.summary().fragmented_files, 0);
        let files = blocks(&image.layout, 4096);
        assert_eq!(files.len(), 20 * 50, "one piece each");
        let mut spans: Vec<Range<u64>> = (0..20)
            .map(|dir| {
                let own = || files.iter().skip(dir).step_by(20);
                let first = own().map(|range| range.start).min().unwrap();
                let last = own().map(|range| range.end).max().unwrap();
                let filled: u64 = own().map(|range| range.end - range.start).sum();
                // ext2 has a block of its map behind each file of more than twelve blocks.
                assert!(
                    last - first <= filled + 10,
                    "directory {dir} is spread over {first}..{last}"
                );
                first..last
            })
            .collect();
        spans.sort_by_key(|span| span.start);
        assert!(
            spans.windows(2).all(|pair| pair[0].end <= pair[1].start),
            "{spans:?}"
        );
        if oracle::require(&["debugfs"]) {
            // Their inodes are neighbours, too: who lists a directory reads one block of the table after the other.
            let listed = oracle::ext4::debugfs(&image.path, "ls -p /dir-07");
            let inodes: Vec<u32> = listed
                .lines()
                .filter(|line| line.contains("/file-"))
                .map(|line| line.split('/').nth(1).unwrap().parse().unwrap())
                .collect();
            let (least, most) = (inodes.iter().min().unwrap(), inodes.iter().max().unwrap());
            assert_eq!((inodes.len(), most - least), (50, 49));
        }
    }
}

/// Numbers behind a word in the lines of dumpe2fs, one a group: `Block bitmap at 259`.
fn places(text: &str, word: &str) -> Vec<u64> {
    let starts = text.match_indices(word).map(|(at, _)| &text[at + word.len()..]);
    let digits = starts.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap());
    digits.map(|digits| digits.parse().unwrap()).collect()
}

#[test]
fn metadata_is_packed_by_flex_groups() {
    if !oracle::ext4::require() {
        return;
    }
    for (words, flex) in [("", 16), ("-G 4", 4), ("-G 64", 64), ("-O ^flex_bg", 1)] {
        let mut options = options();
        options.size = Size::Fixed(9 << 30);
        mke2fs::apply(&mut options, words).unwrap();
        let mut forest = Forest::new();
        for i in 0..300 {
            forest.dir(ROOT, format!("dir-{i}"));
        }
        let image = checked(&forest.build(), &Pattern, &options);
        let text = oracle::ext4::dumpe2fs(&image.path, false);
        let [blocks, inodes, tables] =
            ["Block bitmap at ", "Inode bitmap at ", "Inode table at "].map(|word| places(&text, word));
        assert_eq!((blocks.len(), inodes.len(), tables.len()), (72, 72, 72));
        for first in (0..72).step_by(flex) {
            let count = flex.min(72 - first);
            let row = |at: &[u64], len: u64| (0..count).all(|i| at[first + i] == at[first] + i as u64 * len);
            assert!(
                row(&blocks, 1) && row(&inodes, 1) && row(&tables, 2048),
                "{words} group {first}"
            );
            // Bitmaps right behind the copy of the superblock, if the first group has one; tables where they fit in one
            // piece between the copies.
            let group = first as u64 * 32768;
            let end = group + count as u64 * 32768;
            assert!(
                (group..group + 1100).contains(&blocks[first]),
                "{words}: {}",
                blocks[first]
            );
            assert_eq!(inodes[first], blocks[first] + count as u64, "{words}");
            assert!(
                (group..end).contains(&tables[first]),
                "{words}: {}",
                tables[first]
            );
        }
        // Directories lie side by side, before any file.
        let directories: Vec<_> = image
            .layout
            .map()
            .extents()
            .iter()
            .filter(|extent| extent.what == "directory")
            .collect();
        let (first, last) = (directories[0].start, directories[directories.len() - 1].end());
        assert_eq!(
            (last - first) / 4096,
            300 + 4 + 3,
            "the root has three blocks, lost+found four"
        );
    }
}
