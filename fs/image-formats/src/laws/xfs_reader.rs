//! The law of XFS file systems that anyone may have changed.

use std::sync::LazyLock;

use image_core::laws::Draw;
use image_core::store::Store;
use image_core::tree::{Content, Tree};

use super::runs;
use super::sparse::Sparse;
use crate::xfs;

/// A file system of 300 MiB with blocks of 1 KiB and inodes of 512 bytes, filled by the kernel with short and long forms
/// of everything; its log is as mkfs.xfs left it. Of it, the blocks that are not zero.
static SMALL: LazyLock<Sparse> =
    LazyLock::new(|| Sparse::unpack(include_bytes!("../../../../fixtures/vectors/xfs/small.gz")));

/// Bytes of an inode there.
const INODE: u64 = 512;
/// Names that one of its files has.
const LINKS: u32 = 633;

/// A structure: where it begins, its bytes, and where in them its checksum is.
type Structure = (u64, usize, Option<usize>);

static STRUCTURES: LazyLock<Vec<Structure>> = LazyLock::new(|| {
    let blocks = SMALL.places().flat_map(|at| (at..at + 4096).step_by(1024));
    let found: Vec<Structure> = blocks.flat_map(|start| structures(&SMALL, start)).collect();
    assert!(found.len() > 100);
    found
});

/// The structures that begin in a block.
fn structures(image: &Sparse, start: u64) -> Vec<Structure> {
    let block = image.get(start, 1024);
    if block.starts_with(b"IN") {
        return [start, start + INODE].map(|at| (at, 512, Some(100))).to_vec();
    }
    let one = |len, crc| vec![(start, len, crc)];
    match (&block[..4], &block[8..10]) {
        (b"XFSB", _) if start == 0 => one(512, Some(224)),
        (b"XDB3" | b"XDD3", _) => one(4096, Some(4)),
        (b"BMA3", _) => one(1024, Some(64)),
        (b"XSLM", _) => one(2048, Some(12)),
        (b"XARM", _) | (_, [0x3b, 0xee] | [0x3e, 0xbe]) => one(1024, Some(12)),
        ([0xfe, 0xed, 0xba, 0xbe], _) => one(1024, None),
        _ => Vec::new(),
    }
}

/// A file system is read as it is. With whatever is changed in its structures, whose checksums are right again, it is a
/// tree whose files can be read or refused, or a refusal that can be printed.
pub fn xfs_reader(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let mut image = SMALL.clone();
    let unchanged = draw.is_empty();
    while !draw.is_empty() {
        let (start, len, crc) = *draw.pick(&STRUCTURES);
        let mut structure = image.get(start, len);
        for _ in 0..=draw.below(4) {
            // What is in a structure stands at its beginning, most often.
            let end = *draw.pick(&[64, 256, 512, 4096]);
            let at = usize::try_from(draw.below(end)).unwrap() % len;
            structure[at] = draw.byte();
        }
        if let Some(crc) = crc {
            structure[crc..crc + 4].fill(0);
            let sum = crc32c::crc32c(&structure);
            structure[crc..crc + 4].copy_from_slice(&sum.to_le_bytes());
        }
        image.put(start, &structure);
    }
    let about = xfs::about(&image).map(|about| about.label);
    match xfs::read(image) {
        Err(error) => assert!(!unchanged && !error.to_string().is_empty()),
        Ok((tree, store)) => {
            let is_whole = || tree.nodes().iter().any(|node| node.links == LINKS);
            assert!(!unchanged || (about.unwrap() == b"small" && is_whole()));
            read_ends(&tree, &store, unchanged);
        }
    }
}

/// Reads the first and last bytes of each run of every file.
fn read_ends(tree: &Tree, store: &impl Store, unchanged: bool) {
    for node in tree.nodes() {
        let Content::File(data) = &node.content else {
            continue;
        };
        let open = store.open(data.file).unwrap();
        for run in runs(data) {
            let mut buf = vec![0; usize::try_from((run.end - run.start).min(4096)).unwrap()];
            for at in [run.start, run.end - u64::try_from(buf.len()).unwrap()] {
                assert!(open.read_exact_at(&mut buf, at).is_ok() || !unchanged);
            }
        }
        open.finish().unwrap();
    }
}
