//! Files that are large not by their length alone, but by the blocks they have: gigabytes to terabytes of them.
//!
//! Nearly all of these blocks are zero, so that an image costs what is marked in it; but nothing between tree and image
//! knows that. Other writers were wrong about files of more than 340 extents, which one node does not hold (42.5 GiB in
//! one piece), about files of more than 128 GiB, and may be about blocks past 2 TiB, which `i_blocks_lo` does not count.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::{Inodes, Options, Profile, Size};
use image_core::sink::{FileSink, Sink};
use image_core::store::{Error, FileId, Open, Store};
use image_core::{NodeId, Tree};
use oracle::snapshot;
use rustix::fs::SeekFrom;

use crate::forest::Forest;
use crate::image::{Image, options, profile, shows, written_by};

const ROOT: NodeId = NodeId::ROOT;
const GIB: u64 = 1 << 30;
const BLOCK: u64 = 4096;
/// Blocks between marks.
const STRIDE: u64 = 1 << 18;

/// What the marked block of this number holds, in every file; all others are zero.
///
/// Marked is the first block of each GiB, and the last.
fn mark(block: u64) -> Option<u8> {
    let marked = matches!(block % STRIDE, 0) || block % STRIDE == STRIDE - 1;
    marked.then(|| ((block / STRIDE * 7 + block % 2) % 251) as u8 + 1)
}

/// The marked blocks that touch a range of bytes.
fn marks(range: Range<u64>) -> impl Iterator<Item = (Range<u64>, u8)> {
    let strides = range.start / BLOCK / STRIDE..=range.end / BLOCK / STRIDE;
    strides.flat_map(move |stride| {
        [stride * STRIDE, (stride + 1) * STRIDE - 1]
            .into_iter()
            .filter_map(|block| Some((block * BLOCK, mark(block)?)))
            .map(|(start, byte)| (start.max(range.start)..(start + BLOCK).min(range.end), byte))
            .filter(|(part, _)| part.start < part.end)
            .collect::<Vec<_>>()
    })
}

fn expected(range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    for (part, byte) in marks(range.clone()) {
        bytes[(part.start - range.start) as usize..(part.end - range.start) as usize].fill(byte);
    }
    bytes
}

/// Serves any file.
struct Marked(File);

impl Marked {
    fn new() -> Self {
        Self(File::open("/dev/null").unwrap())
    }
}

impl Store for Marked {
    fn open(&self, _: FileId) -> Result<Box<dyn Open + '_>, Error> {
        Ok(Box::new(MarkedFile(&self.0)))
    }
}

struct MarkedFile<'a>(&'a File);

impl Open for MarkedFile<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        buf.copy_from_slice(&expected(offset..offset + buf.len() as u64));
        Ok(())
    }

    // So that long runs are offered to the sink.
    fn descriptor(&self) -> Option<(BorrowedFd<'_>, u64)> {
        Some((self.0.as_fd(), 0))
    }
}

/// Writes what is not zero, of long runs of a file only what is marked.
struct Marks(FileSink);

impl Sink for Marks {
    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.iter().any(|byte| *byte != 0) {
            self.0.data(at, bytes)?;
        }
        Ok(())
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        self.0.hole(range)
    }

    fn file(&mut self, at: u64, _: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
        for (part, _) in marks(offset..offset + len) {
            self.data(at + (part.start - offset), &expected(part))?;
        }
        Ok(true)
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        self.0.finish(len)
    }
}

/// An image of one file without holes, of so many bytes, and of one more file behind it.
fn image(len: u64, options: &Options) -> (Tree, Image) {
    let mut forest = Forest::new();
    forest.file(ROOT, "large", len);
    forest.file(ROOT, "small", 5000);
    let tree = forest.build();
    let image = written_by(&tree, &Marked::new(), options, |file| Marks(FileSink::new(file)));
    if oracle::ext4::require() {
        oracle::ext4::sound(&image.path);
    }
    (tree, image)
}

/// A file of terabytes needs no inode for each 4 KiB.
fn wide() -> Options {
    let mut options = options();
    options.inodes = Some(Inodes::Ratio(4 << 20));
    options
}

/// Every place of a file at which something may change, each with a block on either side.
fn places(len: u64) -> Vec<Range<u64>> {
    let powers = (27..44).map(|log| 1_u64 << log);
    // 32768 blocks in an extent, 340 extents in a node, four nodes in the root.
    let extents = [4, 340, 680, 4 * 340, 5 * 340, 340 * 340].map(|extents| extents * 32768 * BLOCK);
    let flex_groups = (1..40).map(|i| i * 2 * GIB);
    let mut places: Vec<u64> = powers.chain(extents).chain(flex_groups).collect();
    places.extend([BLOCK, len - len % BLOCK]);
    let around = |place: u64| place.saturating_sub(BLOCK)..(place + BLOCK).min(len);
    places
        .into_iter()
        .filter(|place| *place <= len)
        .map(around)
        .collect()
}

/// The kernel and ext4-view find at every border of the file what belongs there, and the kernel counts its blocks.
fn is_whole(image: &Image, len: u64) {
    let places = places(len);
    if oracle::mounted::require() {
        oracle::mounted::read(&image.path, |root| {
            let file = File::open(root.join("large")).unwrap();
            for place in &places {
                let mut bytes = vec![0; (place.end - place.start) as usize];
                file.read_exact_at(&mut bytes, place.start).unwrap();
                assert!(bytes == expected(place.clone()), "{place:?}");
            }
            let metadata = file.metadata().unwrap();
            assert_eq!(metadata.len(), len);
            let data = len.next_multiple_of(BLOCK) / 512;
            // The blocks of the map come on top: at most one for each 340 extents, and one above them.
            let map = metadata.blocks() - data;
            assert!(
                map.is_multiple_of(8) && map / 8 <= len / (40 * GIB) + 2,
                "{map} sectors"
            );
            assert_eq!(
                rustix::fs::seek(&file, SeekFrom::Hole(0)).unwrap(),
                len,
                "no holes"
            );
        });
    }
    for (bytes, place) in oracle::ext4::viewed(&image.path, "/large", &places)
        .iter()
        .zip(&places)
    {
        assert!(*bytes == expected(place.clone()), "ext4-view: {place:?}");
    }
}

/// The leaves of a file's extents, and the levels of nodes above them.
fn extents(image: &Image, path: &str) -> (u64, u64) {
    let text = oracle::ext4::debugfs(&image.path, &format!("ex {path}"));
    // `Level Entries       Logical      Physical Length Flags`: ` 1/ 1   1/341 ...`.
    let rows = text.lines().filter_map(|line| {
        let (level, rest) = line.split_once('/')?;
        let depth = rest.split_whitespace().next()?;
        Some((level.trim().parse::<u64>().ok()?, depth.parse::<u64>().ok()?))
    });
    let mut leaves = 0;
    let mut levels = 0;
    for (level, depth) in rows {
        leaves += u64::from(level == depth);
        levels = levels.max(depth);
    }
    (leaves, levels)
}

#[test]
fn a_file_of_more_than_4_gib_is_whole() {
    let len = 4 * GIB + 3 * BLOCK + 17;
    let (tree, image) = image(len, &options());
    if oracle::mounted::require() {
        shows(&image, &snapshot::of_tree(&tree, &Marked::new()));
    }
    is_whole(&image, len);
}

#[test]
fn files_of_more_extents_than_one_node_holds_are_whole() {
    // 340 extents are 42.5 GiB at most, if none was cut short; 1360 are what a tree of two levels holds, 170 GiB.
    for (len, leaves, levels) in [
        (43 * GIB + 1, 344, 1),
        (129 * GIB, 1032, 1),
        (172 * GIB - 7, 1376, 2),
    ] {
        let (_, image) = image(len, &wide());
        is_whole(&image, len);
        if oracle::require(&["debugfs"]) {
            let (found, depth) = extents(&image, "/large");
            assert!(found >= leaves, "{found} extents of {len} bytes");
            assert_eq!(depth, levels, "{found} extents of {len} bytes");
        }
    }
}

#[test]
fn blocks_past_two_tebibytes_are_counted() {
    // 2 TiB are 2^32 sectors: more than the lower half of the count.
    let len = (2 << 40) + 5 * GIB + 1;
    let (_, image) = image(len, &wide());
    is_whole(&image, len);
    if oracle::require(&["debugfs"]) {
        let text = oracle::ext4::debugfs(&image.path, "stat /large");
        let count = text.split("Blockcount: ").nth(1).unwrap();
        let count: u64 = count.split_whitespace().next().unwrap().parse().unwrap();
        assert!(count > len.div_ceil(512) && count > 1 << 32, "{text}");
    }
    // Without the feature there is no upper half.
    let mut options = wide();
    ext4_rs_writer::mke2fs::apply(&mut options, "-O ^huge_file").unwrap();
    let mut forest = Forest::new();
    forest.file(ROOT, "large", 2 << 40);
    let error = ext4_rs_writer::layout(&forest.build(), &options).unwrap_err();
    assert!(
        matches!(error, ext4_rs_writer::Error::FileTooLong { .. }),
        "{error}"
    );
}

#[test]
fn a_file_larger_than_any_run_lies_in_pieces() {
    for made in [
        Profile::Default,
        Profile::Legacy,
        Profile::Modern,
        Profile::Ext3,
        Profile::Ext2,
    ] {
        for block_size in [BlockSize::KIB_1, BlockSize::KIB_4] {
            let mut options = profile(made);
            options.block_size = block_size;
            options.size = Size::Minimal;
            let len = 2500 << 20;
            let (tree, image) = image(len, &options);
            assert_eq!(image.layout.summary().fragmented_files, 1);
            if block_size == BlockSize::KIB_4 && made != Profile::Legacy && oracle::mounted::require() {
                shows(&image, &snapshot::of_tree(&tree, &Marked::new()));
            }
        }
    }
}

/// A file of blocks, each behind a hole of one.
fn islands(profile: &Options, count: u64) -> Tree {
    let block = profile.block_size.bytes();
    let mut forest = Forest::new();
    let ranges = (0..count).map(|i| i * 2 * block..(i * 2 + 1) * block);
    forest.sparse(ROOT, "islands", count * 2 * block, ranges);
    forest.build()
}

#[test]
fn maps_of_old_file_systems_have_every_depth() {
    for made in [Profile::Legacy, Profile::Ext2] {
        for count in [4, 5, 336, 337, 28_224, 28_225] {
            let mut options = profile(made);
            options.block_size = BlockSize::KIB_1;
            let tree = islands(&options, count);
            crate::image::checked(&tree, &Marked::new(), &options);
        }
    }
}
