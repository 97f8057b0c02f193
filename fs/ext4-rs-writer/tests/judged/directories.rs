//! Directories from one name to a million.

use ext4_rs_writer::directory::{self, Directories};
use ext4_rs_writer::hash::Hasher;
use ext4_rs_writer::mke2fs;
use ext4_rs_writer::options::HashVersion;
use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::{Error, Options, layout};
use image_core::{NodeId, Tree};

use crate::forest::Forest;
use crate::image::{Image, judged, mounted, options, with_block_size};

const ROOT: NodeId = NodeId::ROOT;

/// One directory with `count` names of a few files.
fn crowd(count: u32) -> Tree {
    let mut forest = Forest::new();
    let dir = forest.dir(ROOT, "d");
    let mut file = None;
    for i in 0..count {
        let name = format!("entry-{i:010}");
        match file {
            Some(file) if i % 60_000 != 0 => forest.builder.link(dir, name.as_bytes(), file).unwrap(),
            _ => file = Some(forest.file(dir, name, 1)),
        }
    }
    forest.build()
}

#[test]
fn directories_of_every_size_around_a_block_are_kept() {
    for block_size in [BlockSize::KIB_1, BlockSize::KIB_2, BlockSize::KIB_4] {
        let mut forest = Forest::new();
        let block = block_size.buffer();
        // `.` and `..` take 24 bytes, each name of 12 bytes 20, the checksum 12.
        let full = (block - 24 - 12) / 20;
        for count in [0, 1, full - 1, full, full + 1, 2 * full, 3 * full + 7, 20 * full] {
            let dir = forest.dir(ROOT, format!("{count}"));
            for i in 0..count {
                forest.file(dir, format!("name-{i:07}"), 0);
            }
        }
        judged(&forest.build(), &with_block_size(block_size));
    }
}

#[test]
fn directories_without_index_checksums_or_types_are_lists() {
    for features in [
        "^dir_index",
        "^metadata_csum",
        "^filetype",
        "none,filetype",
        "^dir_index,^metadata_csum,^filetype",
    ] {
        let mut options = with_block_size(BlockSize::KIB_1);
        mke2fs::apply(&mut options, &format!("-O {features}")).unwrap();
        let mut forest = Forest::new();
        let dir = forest.dir(ROOT, "d");
        for i in 0..1000 {
            forest.dir(dir, format!("name-{i}"));
        }
        mounted(&forest.build(), &options);
    }
}

#[test]
fn every_hash_finds_every_name() {
    for hash in [HashVersion::Legacy, HashVersion::HalfMd4, HashVersion::Tea] {
        for signed in [true, false] {
            let mut options = with_block_size(BlockSize::KIB_1);
            (options.hash, options.hash_signed) = (hash, signed);
            let mut forest = Forest::new();
            let dir = forest.dir(ROOT, "d");
            for i in 0..3000_u32 {
                let mut name = format!("{i}-").into_bytes();
                name.extend((0..i % 70).map(|k| 1 + ((i * 7 + k * 31) % 255) as u8));
                name.retain(|byte| *byte != b'/');
                forest.file(dir, name, 0);
            }
            mounted(&forest.build(), &options);
        }
    }
}

/// The kernel must find every name by its hash, which reading the directory does not show.
fn names_are_found(image: &Image, count: u32) {
    oracle::mounted::read(&image.path, |root| {
        for i in (0..count).step_by(97) {
            let path = root.join(format!("d/entry-{i:010}"));
            assert!(path.symlink_metadata().is_ok(), "{}", path.display());
        }
        assert!(!root.join("d/entry-").exists());
    });
}

/// The index as debugfs reads it: its levels, and that it knows every name.
fn index_is_whole(image: &Image, levels: u32, count: usize) {
    if !oracle::require(&["debugfs"]) {
        return;
    }
    let dump = oracle::ext4::debugfs(&image.path, "htree_dump /d");
    let told = format!("Indirect levels: {levels}\n");
    assert!(dump.contains(&told), "{}", &dump[..400]);
    assert_eq!(dump.matches("entry-").count(), count);
}

#[test]
fn one_directory_has_two_hundred_thousand_names() {
    let image = judged(&crowd(200_000), &options());
    if oracle::mounted::require() {
        names_are_found(&image, 200_000);
    }
    index_is_whole(&image, 1, 200_000);
}

#[test]
fn one_directory_has_a_million_names() {
    let image = mounted(&crowd(1_000_000), &options());
    if oracle::mounted::require() {
        names_are_found(&image, 1_000_000);
    }
    index_is_whole(&image, 1, 1_000_000);
}

/// Nanoseconds that this thread has been running, which other work on the machine does not lengthen.
fn running() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

#[test]
fn planning_takes_time_in_proportion_to_names() {
    let format = || {
        let options = options();
        directory::Format {
            block_size: options.block_size,
            checksums: true,
            file_types: true,
            index: true,
            large: false,
            hasher: Hasher::new([1, 2, 3, 4]),
            lost_found_blocks: 4,
        }
    };
    let time = |tree: &Tree| {
        let once = || {
            let start = running()?;
            Directories::plan(tree, format()).unwrap();
            running()?.checked_sub(start)
        };
        (0..3).filter_map(|_| once()).min()
    };
    let (few, many) = (time(&crowd(100_000)), time(&crowd(1_000_000)));
    let (Some(few), Some(many)) = (few, many) else {
        oracle::skip("no /proc/thread-self/schedstat");
        return;
    };
    eprintln!("{few} ns for 100,000, {many} ns for 1,000,000");
    // Ten times the names take about 15 times as long, since they leave the caches and are sorted; what is quadratic
    // would take a hundred times as long.
    assert!(many < few * 25, "{few} ns for 100,000, {many} ns for 1,000,000");
}

#[test]
fn an_index_of_two_levels_may_be_full() {
    // 1 KiB blocks: 123 children of the root, 126 of each node below, three names of 255 bytes in a leaf.
    let mut forest = Forest::new();
    let dir = forest.dir(ROOT, "d");
    let file = forest.file(ROOT, "file", 1);
    let mut name = [b'n'; 255];
    for i in 0..50_000_u32 {
        name[..10].copy_from_slice(format!("{i:010}").as_bytes());
        forest.builder.link(dir, &name, file).unwrap();
    }
    let tree = forest.build();
    let mut options = with_block_size(BlockSize::KIB_1);
    let error = layout(&tree, &options).unwrap_err();
    assert!(matches!(&error, Error::Directory(_)), "{error}");
    let error = error.to_string();
    for word in ["/d", "large_dir", "GRUB"] {
        assert!(error.contains(word), "no '{word}' in: {error}");
    }
    mke2fs::apply(&mut options, "-O large_dir").unwrap();
    mounted(&tree, &options);
}

#[test]
fn names_of_equal_hash_are_found_across_leaves() {
    let options = with_block_size(BlockSize::KIB_1);
    let mut forest = Forest::new();
    let dir = forest.dir(ROOT, "d");
    let file = forest.file(ROOT, "file", 1);
    let names = colliding(&options);
    assert!(names.len() > 1000, "only {} names collide", names.len());
    for name in names {
        forest.builder.link(dir, name.as_bytes(), file).unwrap();
    }
    let image = mounted(&forest.build(), &options);
    if oracle::require(&["debugfs"]) {
        let dump = oracle::ext4::debugfs(&image.path, "htree_dump /d");
        let continued = dump.lines().filter(|line| {
            let hash = line
                .strip_prefix("Entry #")
                .and_then(|rest| rest.split("Hash 0x").nth(1));
            hash.and_then(|hash| hash.split(',').next())
                .is_some_and(|hash| hash.ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']))
        });
        assert!(continued.count() > 0, "no run of equal hashes crosses a leaf");
    }
}

/// All names among two million that share their hash with another, by the half-MD4 of these options.
fn colliding(options: &Options) -> Vec<String> {
    let seed = options.hash_seed.as_bytes().chunks(4);
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(seed) {
        *word = u32::from_le_bytes(bytes.try_into().unwrap());
    }
    let hasher = Hasher::new(words);
    let name = |i: u32| format!("name-{i:07}");
    let mut hashed: Vec<(u32, u32)> = (0..2_000_000)
        .map(|i| (hasher.hash(name(i).as_bytes()).major, i))
        .collect();
    hashed.sort_unstable();
    let collide = hashed.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1);
    collide.flatten().map(|(_, i)| name(*i)).collect()
}
