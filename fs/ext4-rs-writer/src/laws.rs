//! Laws of this crate as functions of bytes: unit tests call them with drawn bytes, fuzz targets with searched ones.
//!
//! Not an interface: they panic where the code is wrong. What a file system is worth that obeys these laws, foreign
//! judges say in the tests.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "tests that live here so that the fuzz targets can call them"
)]

mod drawn;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use image_core::laws::{Draw, copied, scan_directory};
use image_core::map::Source;
use image_core::store::{self, FileId, Open};
use image_core::tree::{Content, Time};
use image_core::{Extent, Identity, Map, Store as _, Tree};

use crate::features::{Compat, RoCompat};
use crate::units::BlockSize;
use crate::{Error, Journal, Layout, Options, Profile, Size, layout, mke2fs};

/// Extents up to this length are rendered whole, longer ones at their ends.
const RENDERED_MAX: u64 = 1 << 18;

/// Whatever the words are, they are options of mke2fs or a refusal that can be printed.
pub fn mke2fs_options(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let identity = Identity::new(b"seed", Time::default(), false);
    let mut options = Options::new(Profile::Default, identity);
    if let Err(error) = mke2fs::apply(&mut options, &text) {
        assert!(!error.to_string().is_empty());
    }
}

/// A drawn tree with drawn options is a file system that obeys `planned`, or is refused. What was drawn and planned
/// is for judges.
pub fn tree_to_ext4(bytes: &[u8]) -> Option<(Tree, Options)> {
    let mut draw = Draw::new(bytes);
    let options = drawn::options(&mut draw);
    // Two nodes of one name are no tree.
    let tree = drawn::tree(&mut draw).ok()?;
    planned(&tree, &options).map(|_| (tree, options))
}

/// What is drawn, planned and written is read back as the same tree; whatever is changed of the image then, reading it
/// ends, with a tree whose files can be read or refused, or with a refusal that can be printed.
pub fn ext4_reader(bytes: &[u8]) {
    let (tree_bytes, changes) = bytes.split_at(bytes.len().min(200));
    let mut draw = Draw::new(tree_bytes);
    let mut options = drawn::options(&mut draw);
    options.size = Size::Minimal;
    options.journal = Journal::Fixed(0);
    let Ok(tree) = drawn::tree(&mut draw) else { return };
    let Ok(layout) = layout(&tree, &options) else {
        return;
    };
    if layout.map().len() > 8 << 20 {
        return;
    }
    let mut image = copied(layout.map(), &Digits);
    let (found, _) = crate::read(image.clone()).unwrap_or_else(|error| panic!("{error}"));
    let added = found.nodes().len() - tree.nodes().len();
    assert!(added <= 1, "{added} nodes came from nowhere, beside lost+found");
    let faults = crate::reader::check(&image).unwrap();
    assert!(faults.is_empty(), "{faults:?}");

    let mut draw = Draw::new(changes);
    if draw.below(4) > 0 {
        // Without checksums a change gets further.
        let at = 1024 + std::mem::offset_of!(crate::superblock::Superblock, s_feature_ro_compat) + 1;
        image[at] &= !4;
    }
    while !draw.is_empty() {
        let len = u64::try_from(image.len()).unwrap();
        // Most of what matters stands at the start.
        let end = *draw.pick(&[2048, 64 << 10, len]);
        let at = index(draw.below(end.min(len)));
        image[at] = draw.byte();
    }
    read_or_refused(image);
}

/// Reads an image, and the start of each of its files.
fn read_or_refused(image: Vec<u8>) {
    match crate::reader::check(&image) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(faults) => assert!(faults.iter().all(|fault| !fault.to_string().is_empty())),
    }
    match crate::read(image) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok((tree, store)) => tree.nodes().iter().for_each(|node| {
            if let Content::File(data) = &node.content {
                let mut buf = vec![0; index(data.len.min(64 << 10))];
                let _ = store.open(data.file).unwrap().read_exact_at(&mut buf, 0);
            }
        }),
    }
}

/// A drawn journal over a sound file system: reading it ends, with a tree whose files can be read or refused, or with a
/// refusal that can be printed.
pub fn ext4_journal(bytes: &[u8]) {
    const BLOCK: usize = 1024;
    let mut draw = Draw::new(bytes);
    let mut options = Options::new(Profile::Default, Identity::new(b"seed", Time::default(), false));
    options.block_size = BlockSize::KIB_1;
    options.size = Size::Minimal;
    options.journal = Journal::Fixed(1 << 20);
    // Without checksums what is drawn gets further.
    options.features.ro_compat.remove(RoCompat::METADATA_CSUM);
    let Ok(tree) = drawn::tree(&mut draw) else { return };
    let Ok(layout) = layout(&tree, &options) else {
        return;
    };
    let mut image = copied(layout.map(), &Digits);
    let recover = 1024 + std::mem::offset_of!(crate::superblock::Superblock, s_feature_incompat);
    image[recover] |= 4;
    let begins = [0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4];
    let mut blocks = (0..image.len()).step_by(BLOCK);
    let journal = blocks.find(|at| image[*at..].starts_with(&begins)).unwrap();
    let mut put = |at: usize, word: u32| image[at..at + 4].copy_from_slice(&word.to_be_bytes());
    let len = 8 + u32::from(draw.byte() % 16);
    let start = 1 + u32::from(draw.byte()) % (len - 1);
    for (field, word) in [
        (0x10, len),
        (0x18, 5),
        (0x1c, start),
        (0x28, u32::from(draw.byte() % 8)),
    ] {
        put(journal + field, word);
    }
    let (mut at, mut sequence) = (start, 5);
    while !draw.is_empty() {
        let block = journal + BLOCK * index(at.into());
        let kind = u32::from(*draw.pick(&[1_u8, 1, 2, 2, 5, 5, 0, 9]));
        for (field, word) in [(0, 0xc03b_3998), (4, kind), (8, sequence)] {
            put(block + field, word);
        }
        let words = u32::from(draw.byte() % 12);
        put(block + 12, if kind == 5 { 16 + 4 * words } else { words });
        for word in 0..index(words.into()) {
            let drawn = u32::from_be_bytes([0, *draw.pick(&[0_u8, 0, 0, 9]), draw.byte(), draw.byte()]);
            put(block + 16 + 4 * word, drawn);
        }
        sequence += u32::from(kind == 2);
        at = if at + 1 == len { 1 } else { at + 1 };
    }
    read_or_refused(image);
}

/// Serves files of digits, however many and however long.
struct Digits;

impl image_core::Store for Digits {
    fn open(&self, _: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        Ok(Box::new(Digits))
    }
}

impl Open for Digits {
    fn read_exact_at(&self, buf: &mut [u8], _: u64) -> Result<(), store::Error> {
        buf.fill(b'7');
        Ok(())
    }
}

/// A drawn directory becomes an image in which each of its files lies, byte for byte. `dir` is empty, and gets it.
pub fn scan_to_ext4(bytes: &[u8], dir: &Path) {
    let (choices, files) = bytes.split_at(bytes.len().min(4));
    let mut draw = Draw::new(choices);
    let profile = *draw.pick(&[Profile::Default, Profile::Modern, Profile::Ext2, Profile::Legacy]);
    let mut options = Options::new(profile, Identity::new(b"seed", Time::default(), false));
    options.size = Size::Minimal;
    options.block_size = *draw.pick(&[BlockSize::KIB_1, BlockSize::KIB_4, BlockSize::KIB_2]);
    if draw.below(4) > 0 {
        let journal = Compat::HAS_JOURNAL | Compat::ORPHAN_FILE;
        options.features.compat.remove(journal);
    }
    let (tree, store) = scan_directory(files, dir);
    // A target that no block of 1 KiB holds, and the like.
    let Some(layout) = planned(&tree, &options) else {
        return;
    };
    let image = copied(layout.map(), &store);
    for extent in layout.map().extents() {
        let Source::File { file, offset } = extent.source else {
            continue;
        };
        let mut bytes = vec![0; index(extent.len)];
        store
            .open(file)
            .unwrap()
            .read_exact_at(&mut bytes, offset)
            .unwrap();
        assert!(image[index(extent.start)..index(extent.end())] == bytes[..]);
    }
}

/// Plans twice: either time the plan is refused for the same reason, or has the same bytes, and the data of every file
/// once.
fn planned(tree: &Tree, options: &Options) -> Option<Layout> {
    let second = layout(tree, options);
    let first = match layout(tree, options) {
        Ok(first) => first,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(
                !matches!(error, Error::Map(_)),
                "the planner contradicts itself: {error}"
            );
            assert_eq!(second.unwrap_err(), error);
            return None;
        }
    };
    let second = second.unwrap();
    assert_eq!(first.summary(), second.summary());
    assert_eq!(first.map().len(), first.summary().image_bytes);
    if let Size::Fixed(bytes) = options.size {
        assert_eq!(first.map().len(), bytes);
    }
    let summary = first.summary();
    assert!(summary.free_blocks <= summary.blocks && summary.free_inodes <= summary.inodes);
    assert!(!summary.to_string().is_empty());
    same_bytes(first.map(), second.map());
    holds_every_file(tree, first.map());
    Some(first)
}

/// Two plans of one tree are one layout with the same bytes, rendered in whatever pieces.
fn same_bytes(first: &Map, second: &Map) {
    assert_eq!(first.len(), second.len());
    assert_eq!(first.extents().len(), second.extents().len());
    let mut end = 0;
    for (one, other) in first.extents().iter().zip(second.extents()) {
        assert_eq!((one.range(), one.what), (other.range(), other.what));
        assert!(end <= one.start && one.start < one.end() && one.end() <= first.len());
        end = one.end();
        let ends = if one.len <= RENDERED_MAX {
            [0..one.len, 0..0]
        } else {
            [0..RENDERED_MAX / 2, one.len - RENDERED_MAX / 2..one.len]
        };
        for part in ends {
            let piece = part.end - part.start;
            assert!(
                rendered(first, one, part.clone(), piece) == rendered(second, other, part, 1000),
                "{one} differs"
            );
        }
    }
}

/// Bytes of an extent that come from no file, rendered piece by piece.
fn rendered(map: &Map, extent: &Extent, part: Range<u64>, piece: u64) -> Vec<u8> {
    let mut bytes = vec![0; index(part.end - part.start)];
    match &extent.source {
        Source::Bytes { .. } => {
            bytes.copy_from_slice(&extent.bytes().unwrap()[index(part.start)..index(part.end)]);
        }
        Source::Rendered { table, offset } => {
            let table = map.table(*table);
            assert!(offset + extent.len <= table.len());
            let mut at = offset + part.start;
            for piece in bytes.chunks_mut(index(piece).max(1)) {
                table.render(at, piece);
                at += u64::try_from(piece.len()).unwrap();
            }
        }
        Source::File { .. } => {}
    }
    bytes
}

/// The image has just the data of each file, once.
fn holds_every_file(tree: &Tree, map: &Map) {
    let mut found: BTreeMap<FileId, Vec<Range<u64>>> = BTreeMap::new();
    for extent in map.extents() {
        if let Source::File { file, offset } = extent.source {
            let range = offset..offset + extent.len;
            found.entry(file).or_default().push(range);
        }
    }
    for node in tree.nodes() {
        if let Content::File(data) = &node.content {
            let found = found.remove(&data.file).unwrap_or_default();
            assert_eq!(merged(found), merged(data.ranges().collect()));
        }
    }
    assert!(found.is_empty(), "files that the tree has not");
}

/// Ranges in order, neighbours joined.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => merged.push(range),
        }
    }
    merged
}

fn index(byte: u64) -> usize {
    usize::try_from(byte).unwrap()
}
