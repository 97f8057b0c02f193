//! File systems that are damaged, or that somebody changed on purpose and gave right checksums again.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::iter::successors;
use std::ops::Range;
use std::path::Path;

use image_core::store::Store;
use image_core::tree::Content;
use image_formats::btrfs::{BlockTrouble, Error, FileSystem};
use image_formats::laws::{Sparse, seal_btrfs};
use rustix::fs::{XattrFlags, lsetxattr};

use crate::{btrfs, filled, make, make_null, noise, require, sparse};

const SUPERBLOCK: u64 = 64 << 10;
const NODE: usize = 16 << 10;
/// Where the items of a leaf begin, and the bytes of one's head.
const HEADER: usize = 101;
const ITEM: usize = 25;
/// Bytes of an entry of a block above the leaves.
const POINTER: usize = 33;

/// Inodes of [`fill`], as the kernel numbers them.
const DIRECTORY: u64 = 257;
const PLAIN: u64 = 258;
const NOISE: u64 = 259;
const PACKED: u64 = 260;
const LINK: u64 = 261;
const NULL: u64 = 262;
/// Trees.
const ROOTS: u64 = 1;
const CHUNKS: u64 = 3;
const FILES: u64 = 5;
const SUMS: u64 = 7;

fn fill(root: &Path) {
    fs::create_dir(root.join("directory")).unwrap();
    fs::write(root.join("plain"), b"inline").unwrap();
    fs::write(root.join("noise"), noise(100_000)).unwrap();
    fs::write(root.join("packed"), b"some text ".repeat(20_000)).unwrap();
    std::os::unix::fs::symlink("target", root.join("link")).unwrap();
    make_null(&root.join("null"));
    lsetxattr(root.join("plain"), "user.name", b"value", XattrFlags::empty()).unwrap();
    btrfs(&["subvolume", "create"], &root.join("subvolume"));
}

/// A small file system of a form.
fn small(form: &str) -> Sparse {
    sparse(&filled(form, "compress-force=zlib", fill).path)
}

/// Reads all that there is; gives what is wrong, with all its causes.
fn trouble(image: &Sparse) -> Result<(), String> {
    let causes = |error: &dyn std::error::Error| {
        let all = successors(Some(error), |error| error.source());
        all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    };
    let system = FileSystem::open(image.clone()).map_err(|error| causes(&error))?;
    let read = system.read(5, &BTreeSet::new());
    let (tree, store) = read.map_err(|error| causes(&error))?;
    for node in tree.nodes() {
        if let Content::File(data) = &node.content {
            let open = store.open(data.file).map_err(|error| causes(&error))?;
            let mut bytes = vec![0; usize::try_from(data.len).unwrap()];
            open.read_exact_at(&mut bytes, 0)
                .map_err(|error| causes(&error))?;
        }
    }
    Ok(())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize
}

/// The tree that a block belongs to, in all its generations.
fn owner(block: &[u8]) -> u64 {
    u64_at(block, 88)
}

/// Changes all blocks of a tree that can be changed so, with right checksums.
fn change(image: &Sparse, tree: u64, mut change: impl FnMut(&mut [u8]) -> Option<()>) -> Sparse {
    let mut image = image.clone();
    let mut changed = 0;
    for at in image.tree_blocks(NODE) {
        let mut block = image.get(at, NODE);
        if owner(&block) == tree && change(&mut block).is_some() {
            seal_btrfs(&mut block);
            image.put(at, &block);
            changed += 1;
        }
    }
    assert!(changed > 0, "no block was changed");
    image
}

/// Flips a bit of what begins at a byte.
fn flip(image: &mut Sparse, at: u64) {
    let start = at.div_euclid(4096) * 4096;
    let mut block = image.get(start, 4096);
    block[usize::try_from(at - start).unwrap()] ^= 1;
    image.put(start, &block);
}

/// Where the items of a kind stand that some object of a leaf has: the item's head and its bytes.
fn items(block: &[u8], object: u64, kind: u8) -> Vec<(usize, Range<usize>)> {
    let count = if block[100] == 0 { u32_at(block, 96) } else { 0 };
    let heads = (0..count).map(|index| HEADER + index * ITEM);
    heads
        .filter(|head| u64_at(block, *head) == object && block[head + 8] == kind)
        .map(|head| {
            let start = HEADER + u32_at(block, head + 17);
            (head, start..start + u32_at(block, head + 21))
        })
        .collect()
}

/// Changes the first item of a kind that an object has, from a byte on.
fn change_item(image: &Sparse, tree: u64, (object, kind): (u64, u8), at: usize, bytes: &[u8]) -> Sparse {
    change(image, tree, |block| {
        let (_, item) = items(block, object, kind).into_iter().next()?;
        block[item][at..][..bytes.len()].copy_from_slice(bytes);
        Some(())
    })
}

/// The item of the root's entries that names an inode.
fn change_entry(image: &Sparse, inode: u64, at: usize, bytes: &[u8]) -> Sparse {
    change(image, FILES, |block| {
        let mut items = items(block, 256, 96).into_iter();
        let (_, item) = items.find(|(_, item)| u64_at(block, item.start) == inode)?;
        block[item][at..][..bytes.len()].copy_from_slice(bytes);
        Some(())
    })
}

/// Holds each error against what it should say.
fn judge(cases: Vec<(Sparse, &str)>) {
    for (image, expected) in cases {
        match trouble(&image) {
            Ok(()) => panic!("nothing is wrong, instead of: {expected}"),
            Err(found) => assert!(found.contains(expected), "{found}\ninstead of: {expected}"),
        }
    }
}

const MANY: &[u8] = &[0xff; 8];

#[test]
fn what_is_wrong_with_a_tree_block_is_named() {
    if !require() {
        return;
    }
    let image = small("");
    assert_eq!(trouble(&image), Ok(()));
    let set = |at: usize, bytes: &'static [u8]| {
        change(&image, FILES, |block| {
            block[at..][..bytes.len()].copy_from_slice(bytes);
            Some(())
        })
    };
    judge(vec![
        (set(48, &[0xff]), "it says that it lies at"),
        (set(80, MANY), "its generation is 18446744073709551615 instead of"),
        (set(96, &[0xff, 0xff]), "it cannot have 65535 items"),
        (set(100, &[9]), "its level is 9 instead of 7"),
        (
            set(HEADER, MANY),
            "the key of item 1 is not above the one before it",
        ),
        (
            set(HEADER + 17, &[0, 0]),
            "the bytes of item 0 are not where they should be",
        ),
        (
            set(HEADER + ITEM + 21, &[1]),
            "the bytes of item 1 are not where they should be",
        ),
    ]);
    judge(vec![(set(32, MANY), "it belongs to another file system")]);
    for tree in [ROOTS, CHUNKS, FILES, SUMS] {
        let mut damaged = image.clone();
        for at in image.tree_blocks(NODE) {
            if owner(&image.get(at, NODE)) == tree {
                flip(&mut damaged, at + 16_000);
            }
        }
        judge(vec![(damaged, "its checksum is wrong")]);
    }
}

#[test]
fn blocks_that_are_not_those_of_the_block_above_are_refused() {
    if !require() {
        return;
    }
    let image = filled("", "", |root| {
        for i in 0..2000 {
            fs::write(root.join(format!("{i}")), b"some bytes").unwrap();
        }
    });
    let image = sparse(&image.path);
    assert_eq!(trouble(&image), Ok(()));
    // The last pointer of a block above the leaves leads to inodes. It is a key of 17 bytes, an address and a generation.
    let last = |block: &[u8]| (block[100] > 0).then(|| HEADER + (u32_at(block, 96) - 1) * POINTER);
    let pointer = |at: usize, bytes: &[u8]| {
        change(&image, FILES, |block| {
            let at = last(block)? + at;
            block[at..][..bytes.len()].copy_from_slice(bytes);
            Some(())
        })
    };
    let twice = change(&image, FILES, |block| {
        let last = last(block)?;
        block.copy_within(last + 17 - POINTER..last, last + 17);
        Some(())
    });
    judge(vec![
        (twice, "its keys are not those that the block above it says"),
        (
            pointer(16, &[1]),
            "its keys are not those that the block above it says",
        ),
        (pointer(25, MANY), "its generation is"),
        (pointer(17, MANY), "are not in one chunk"),
        (
            change_item(&image, ROOTS, (FILES, 132), 238, &[2]),
            "its level is 1 instead of 2",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_an_inode_is_named() {
    if !require() {
        return;
    }
    let image = small("");
    let item =
        |inode: u64, kind: u8, at: usize, bytes: &[u8]| change_item(&image, FILES, (inode, kind), at, bytes);
    let entry = |inode: u64, at: usize, bytes: &[u8]| change_entry(&image, inode, at, bytes);
    let shared = DIRECTORY.to_le_bytes();
    judge(vec![
        (
            item(PLAIN, 1, 16, MANY),
            "no file can have 18446744073709551615 bytes",
        ),
        (
            item(PLAIN, 1, 52, &[0; 4]),
            "inode 258 of subvolume 5: its mode 0o0 is not known",
        ),
        (item(PLAIN, 1, 144, MANY), "its time has 4294967295 nanoseconds"),
        (
            item(256, 1, 53, &[0x81]),
            "inode 256 of subvolume 5: it is no directory",
        ),
        (
            item(NULL, 1, 56, MANY),
            "its device number 0xffffffffffffffff is none",
        ),
        (
            item(LINK, 1, 16, &[3]),
            "its target of 3 bytes is not one of a symbolic link",
        ),
        (
            item(LINK, 1, 16, &[0, 16]),
            "its target of 4096 bytes is not one of a symbolic link",
        ),
        (item(PLAIN, 24, 25, &[99]), "its item (24 "),
        (
            entry(PLAIN, 0, &[0xff, 0xff]),
            "inode 65535 of subvolume 5: there is none",
        ),
        (entry(PLAIN, 8, &[77]), "an entry leads to an item of kind 77"),
        (entry(PLAIN, 27, &[99]), "its item (96 "),
        (
            entry(PLAIN, 30, b"/"),
            "directory 256 of subvolume 5 does not fit a tree: '/lain' cannot be the name",
        ),
        (entry(PLAIN, 0, &shared), "is named twice, or lies within itself"),
        (
            entry(DIRECTORY, 0, &256_u64.to_le_bytes()),
            "is named twice, or lies within itself",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_an_extent_is_named() {
    if !require() {
        return;
    }
    let image = small("");
    let extent = |inode: u64, at: usize, bytes: &[u8]| change_item(&image, FILES, (inode, 108), at, bytes);
    let start = |inode: u64, which: usize, start: u64| {
        change(&image, FILES, |block| {
            let (head, _) = *items(block, inode, 108).get(which)?;
            block[head + 9..][..8].copy_from_slice(&start.to_le_bytes());
            Some(())
        })
    };
    judge(vec![
        (
            extent(NOISE, 16, &[7]),
            "the extent at byte 0: its compression cannot be 7",
        ),
        (extent(NOISE, 17, &[1]), "its encryption cannot be 1"),
        (extent(NOISE, 18, &[1]), "its other_encoding cannot be 1"),
        (extent(NOISE, 20, &[3]), "its type cannot be 3"),
        (extent(NOISE, 21, &[1]), "its disk_bytenr cannot be"),
        (extent(NOISE, 28, &[0x7f]), "are not in one chunk"),
        (extent(NOISE, 29, &[1]), "its disk_num_bytes cannot be"),
        (extent(NOISE, 38, &[0xff]), "its offset cannot be"),
        (extent(NOISE, 45, &[1]), "its num_bytes cannot be"),
        (extent(NOISE, 45, &[0; 8]), "its num_bytes cannot be 0"),
        (extent(PACKED, 11, &[0xff]), "its ram_bytes cannot be"),
        (extent(PACKED, 32, &[0xf0]), "its disk_num_bytes cannot be"),
        (
            extent(PACKED, 16, &[2]),
            "the compressed extent at byte 0 of the file cannot be unpacked",
        ),
        (extent(PLAIN, 8, &[7]), "its ram_bytes cannot be 7"),
        (extent(PLAIN, 20, &[1]), "its item (108 0) is malformed"),
        (start(NOISE, 0, 1), "an extent cannot begin at byte 1"),
        (start(PACKED, 1, 4096), "an extent cannot begin at byte 4096"),
        (
            start(PLAIN, 0, 4096),
            "the extent at byte 4096: its ram_bytes cannot be 6",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_roots_and_chunks_is_named() {
    if !require() {
        return;
    }
    let image = small("");
    let root = |object: u64, kind: u8, at: usize, bytes: &[u8]| {
        change_item(&image, ROOTS, (object, kind), at, bytes)
    };
    let chunk = |at: usize, bytes: &[u8]| change_item(&image, CHUNKS, (256, 228), at, bytes);
    judge(vec![
        (root(FILES, 132, 238, &[9]), "the root of tree 5 is malformed"),
        (root(FILES, 132, 176, MANY), "are not in one chunk"),
        (root(256, 144, 16, &[99]), "the root of tree 256 is malformed"),
        (
            root(256, 144, 0, &[99, 9]),
            "the path of subvolume 256 leads nowhere",
        ),
        (chunk(0, &[0; 8]), "its length cannot be 0"),
        (chunk(0, MANY), "its length cannot be"),
        (
            chunk(24, &[0x11]),
            "the file system uses profile RAID1, which cannot be read",
        ),
        (chunk(31, &[1]), "its type cannot be"),
        (chunk(44, &[5]), "its num_stripes cannot be 5"),
        (chunk(48, &[9]), "its devid cannot be 9"),
        (chunk(62, &[0xff]), "its offset cannot be"),
    ]);
}

#[test]
fn what_is_wrong_with_the_superblock_is_named() {
    if !require() {
        return;
    }
    let image = small("");
    let set = |at: usize, bytes: &[u8]| {
        let mut image = image.clone();
        let mut superblock = image.get(SUPERBLOCK, 4096);
        superblock[at..][..bytes.len()].copy_from_slice(bytes);
        seal_btrfs(&mut superblock);
        image.put(SUPERBLOCK, &superblock);
        image
    };
    let mut damaged = image.clone();
    flip(&mut damaged, SUPERBLOCK + 4095);
    let cut = Sparse::of(&image.get(0, 1 << 20));
    judge(vec![
        (damaged, "the superblock has a wrong checksum"),
        (Sparse::of(&[0; 1 << 20]), "no Btrfs file system"),
        (Sparse::of(&[0; 4096]), "no Btrfs file system"),
        (cut, "the image is cut off: it has 1048576 of the 268435456 bytes"),
        (set(0x30, &[1]), "the superblock's bytenr cannot be"),
        (set(0x58, MANY), "are not in one chunk"),
        (set(0x60, &[1]), "its log tree has to be replayed"),
        (set(0x88, &[2]), "the file system uses more than one device"),
        (set(0x90, &[0, 0x20]), "sectors of other than 4096 bytes"),
        (set(0x94, &[1]), "the superblock's nodesize cannot be 16385"),
        (
            set(0xa0, &[0, 9]),
            "the superblock's sys_chunk_array_size cannot be",
        ),
        (
            set(0xa0, &[20, 0]),
            "the superblock's sys_chunk_array_size cannot be 20",
        ),
        (set(0xbc, &[0x80]), "the file system uses raid56"),
        (set(0xbd, &[0x08]), "the file system uses raid1c34"),
        (set(0xbd, &[0x10]), "the file system uses zoned"),
        (set(0xbd, &[0x20]), "the file system uses extent_tree_v2"),
        (
            set(0xc0, &[1]),
            "the file system needs features 0x100000000, which are not known",
        ),
        (set(0xc4, &[9]), "checksums of kind 9 are not known"),
        (set(0xc6, &[9]), "the superblock's root_level cannot be 9"),
        (set(0xc7, &[9]), "the superblock's chunk_root_level cannot be 9"),
    ]);
}

/// Where the image has a sector with some bytes.
fn places(image: &Sparse, bytes: &[u8]) -> Vec<u64> {
    image
        .places()
        .filter(|at| image.get(*at, 4096) == bytes)
        .collect()
}

#[test]
fn data_are_checked() {
    if !require() {
        return;
    }
    let image = small("");
    let places = places(&image, &noise(100_000)[4096..8192]);
    assert_eq!(places.len(), 1);
    let mut damaged = image.clone();
    flip(&mut damaged, places[0] + 5);
    let without = change(&image, SUMS, |block| {
        // The last of them, so that the keys still ascend.
        let (head, _) = items(block, u64::MAX - 9, 128).pop()?;
        block[head + 9 + 4] = 0x7f;
        Some(())
    });
    let wrong = change_item(&image, SUMS, (u64::MAX - 9, 128), 2, MANY);
    judge(vec![
        (
            damaged.clone(),
            "inode 259 of subvolume 5: the data at logical address",
        ),
        (damaged, "have a wrong checksum"),
        (without, "have no checksum"),
        (wrong, "have a wrong checksum"),
    ]);
}

#[test]
fn second_copies_stand_in_for_damaged_ones() {
    if !require() {
        return;
    }
    let image = small("-m dup -d dup");
    let data = places(&image, &noise(4096));
    assert_eq!(data.len(), 2);
    let mut copies: HashMap<u64, Vec<u64>> = HashMap::new();
    for at in image.tree_blocks(NODE) {
        copies
            .entry(u64_at(&image.get(at, NODE), 48))
            .or_default()
            .push(at);
    }
    // What mkfs.btrfs wrote first, in places that it gave up, stands there once.
    copies.retain(|_, copies| copies.len() == 2);
    assert!(copies.len() > 5, "{copies:?}");
    for which in [0, 1] {
        let mut damaged = image.clone();
        flip(&mut damaged, data[which]);
        for copies in copies.values() {
            flip(&mut damaged, copies[which] + 16_000);
        }
        assert_eq!(trouble(&damaged), Ok(()));
        flip(&mut damaged, data[1 - which]);
        judge(vec![(damaged.clone(), "have a wrong checksum")]);
        for copies in copies.values() {
            flip(&mut damaged, copies[1 - which] + 16_000);
        }
        let error = FileSystem::open(damaged).unwrap_err();
        let trouble = BlockTrouble::Checksum;
        assert!(
            matches!(error, Error::Block { trouble: found, .. } if found == trouble),
            "{error}"
        );
    }
}

#[test]
fn what_is_not_read_is_named() {
    if !require() {
        return;
    }
    let image = make("--csum xxhash");
    judge(vec![(sparse(&image.path), "checksums of kind xxhash")]);

    // What was forced to the disk before the machine lost its power.
    let image = make("");
    let copy = image.path.with_extension("copy");
    image.write("", |root| {
        let file = File::create(root.join("file")).unwrap();
        file.sync_all().unwrap();
        fs::copy(&image.path, &copy).unwrap();
    });
    judge(vec![(sparse(&copy), "its log tree has to be replayed")]);

    let other = image.path.with_extension("other");
    File::create(&other).unwrap().set_len(256 << 20).unwrap();
    let args = ["-q", "-f", "-d", "raid1", "-m", "raid1"].map(OsStr::new);
    let files = [image.path.as_os_str(), other.as_os_str()];
    oracle::run("mkfs.btrfs", &[&args[..], &files].concat());
    judge(vec![(sparse(&image.path), "more than one device")]);
}

#[test]
fn another_uuid_can_be_given() {
    if !require() {
        return;
    }
    let image = filled("", "", fill);
    let uuid = |image: &Path| FileSystem::open(sparse(image)).unwrap().about().uuid;
    let before = uuid(&image.path);
    oracle::run("btrfstune", &["-m".as_ref(), image.path.as_os_str()]);
    assert_ne!(uuid(&image.path), before);
    assert_eq!(trouble(&sparse(&image.path)), Ok(()));
}
