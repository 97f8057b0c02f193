//! The law of Btrfs file systems that anyone may have changed.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use image_core::ReadAt;
use image_core::laws::Draw;
use image_core::store::Store;
use image_core::tree::{Content, Data};

use super::runs;
use super::sparse::Sparse;
use crate::btrfs::{Error, FileSystem, checksum::Checksum, disk};

/// A file system of 256 MiB in tree blocks of 4 KiB, made by `mkfs.btrfs --nodesize 4096 -m single` and filled by the
/// kernel: a directory, files inline, as they are, and compressed by zlib and LZO, with holes and shared extents, links,
/// nodes, attributes, a subvolume in a subvolume and a snapshot. Of it, the blocks that are not zero. The test
/// `the_file_system_of_the_law_is_one_of_its_kind` makes such a one anew.
const SMALL: &[u8] = include_bytes!("../../../../fixtures/vectors/btrfs/small.gz");

/// Bytes of a tree block there.
const BLOCK: usize = 4096;

impl Sparse {
    /// The small file system of the law.
    pub fn small_btrfs() -> Self {
        Self::unpack(SMALL)
    }

    /// Where tree blocks of so many bytes are, those of earlier generations among them.
    pub fn tree_blocks(&self, node: usize) -> Vec<u64> {
        let uuid = self.get(disk::SUPERBLOCK_AT + 32, 16);
        self.places()
            .filter(|at| {
                let block = self.get(*at, BLOCK);
                block[32..48] == uuid && block[64..72] != disk::MAGIC
            })
            .filter(|at| at + u64::try_from(node).unwrap() <= self.len())
            .filter(|at| {
                let block = self.get(*at, node);
                Checksum::Crc32c.sum(&block[disk::CHECKSUM_LEN..])[..4] == block[..4]
            })
            .collect()
    }
}

/// Gives a superblock or a tree block its checksum.
pub fn seal_btrfs(structure: &mut [u8]) {
    let sum = Checksum::Crc32c.sum(&structure[disk::CHECKSUM_LEN..]);
    structure[..disk::CHECKSUM_LEN].copy_from_slice(&sum);
}

/// The small file system, and where all that is read of it stands but for data: its superblock and the tree blocks of
/// its last generation.
fn small() -> &'static (Sparse, Vec<u64>) {
    static SMALL: OnceLock<(Sparse, Vec<u64>)> = OnceLock::new();
    SMALL.get_or_init(|| {
        let seen = Seen {
            image: Sparse::small_btrfs(),
            places: Mutex::default(),
        };
        let seen = Arc::new(seen);
        try_all(&FileSystem::open(Arc::clone(&seen)).unwrap(), |error| {
            panic!("{error}")
        });
        let mut places = vec![disk::SUPERBLOCK_AT];
        let read = seen.places.lock().unwrap();
        let blocks = seen.image.tree_blocks(BLOCK);
        places.extend(blocks.into_iter().filter(|at| read.contains(at)));
        (seen.image.clone(), places)
    })
}

/// An image that notes what is read of it.
#[derive(Debug)]
struct Seen {
    image: Sparse,
    places: Mutex<BTreeSet<u64>>,
}

impl ReadAt for Seen {
    fn len(&self) -> u64 {
        self.image.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.places.lock().unwrap().insert(offset);
        self.image.read_exact_at(buf, offset)
    }
}

/// A file system whose tree blocks were changed and given right checksums again is a tree whose files can be tried, or
/// an error that can be printed.
pub fn btrfs_reader(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let (small, places) = small();
    let mut image = small.clone();
    while !draw.is_empty() {
        let at = *draw.pick(places);
        let mut block = image.get(at, BLOCK);
        for _ in 0..=draw.below(4) {
            change(&mut draw, &mut block, at == disk::SUPERBLOCK_AT);
        }
        seal_btrfs(&mut block);
        image.put(at, &block);
    }
    match FileSystem::open(image) {
        Ok(system) => try_all(&system, |error| assert!(!error.to_string().is_empty())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Reads all subvolumes, and their files.
fn try_all<R: ReadAt>(system: &FileSystem<R>, refused: impl Fn(&Error)) {
    for subvolume in system.subvolumes() {
        match system.read(subvolume.id, &BTreeSet::new()) {
            Err(error) => refused(&error),
            Ok((tree, store)) => tree.nodes().iter().for_each(|node| {
                if let Content::File(data) = &node.content {
                    try_file(&store, data);
                }
            }),
        }
    }
}

/// Changes a byte of a header, an entry or an item.
fn change(draw: &mut Draw<'_>, block: &mut [u8], superblock: bool) {
    let header = size_of::<disk::Header>();
    let (start, end) = match draw.below(4) {
        0 if superblock => (0x30, 0x12b),
        _ if superblock => (0x32b, 0x32b + 200),
        0 => (48, header),
        1 => (header, header + 20 * size_of::<disk::Item>()),
        // The items lie at the end; most of the blocks have room before them.
        2 => (BLOCK - 1000, BLOCK),
        _ => (header, BLOCK),
    };
    let span = u64::try_from(end - start).unwrap();
    let at = start + usize::try_from(draw.below(span)).unwrap();
    block[at] = match draw.below(3) {
        0 => draw.byte(),
        1 => block[at] ^ 1 << draw.below(8),
        _ => *draw.pick(&[0, 1, 0x7f, 0x80, 0xff]),
    };
}

/// Reads the first bytes and the last of each run of data; what is read must be what is read again.
fn try_file(store: &impl Store, data: &Data) {
    let Ok(open) = store.open(data.file) else { return };
    for run in runs(data).take(100) {
        let mut first = vec![0; usize::try_from((run.end - run.start).min(1 << 14)).unwrap()];
        let mut second = first.clone();
        let whole = open.read_exact_at(&mut first, run.start).is_ok();
        let last = run.end - u64::try_from(first.len()).unwrap();
        let _ = open.read_exact_at(&mut second, last);
        if whole && open.read_exact_at(&mut second, run.start).is_ok() {
            assert!(first == second);
        }
    }
    assert!(open.read_exact_at(&mut [0], data.len).is_err());
}
