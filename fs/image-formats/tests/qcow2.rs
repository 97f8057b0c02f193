//! qcow2 images before foreign judges, and what is not their business: determinism, faults, laws.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use image_core::map::Piece;
use image_core::sink::MemorySink;
use image_core::store::MemoryStore;
use image_core::{Map, Sink, copy};
use image_formats::qcow2::{self, ClusterSize, CompressedSink, Options, Reader};

/// A guest: a map and the store of its files.
struct Guest {
    map: Map,
    store: MemoryStore,
}

/// Bytes without any order.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next)
        .take(len / 8 + 1)
        .flatten()
        .collect();
    bytes.truncate(len);
    bytes
}

/// Bytes as of a text: few words, many repetitions.
fn text(len: usize, seed: u64) -> Vec<u8> {
    let letters = noise(8 * 64, seed);
    let mut bytes: Vec<u8> = noise(len / 8 + 1, seed + 1)
        .iter()
        .flat_map(|pick| letters.chunks(8).nth(usize::from(pick % 64)).unwrap())
        .map(|letter| letter % 96 + 32)
        .collect();
    bytes.truncate(len);
    bytes
}

/// The zeros that a file of the sample holds: they are seen while compressing only.
const ZEROS: Range<u64> = (12 << 20) + 7..(12 << 20) + 300_007;

/// Data of every kind at odd places of a guest whose last cluster is not whole, over two L2 tables of 64 KiB clusters.
fn sample() -> Guest {
    let mut store = MemoryStore::default();
    let len = (700 << 20) + 512;
    let mut map = Map::builder(len);
    let mut files = vec![
        (1024, text(100_000, 1)),
        (200_000, noise(1_000_000, 2)),
        (4 << 20, text(3 << 20, 3)),
        (ZEROS.start, vec![0; 300_000]),
        ((600 << 20) - 3, text(7, 5)),
        (len - 700, noise(700, 6)),
    ];
    // Text and noise by turns, so that plain and compressed clusters of every size take turns too.
    for i in 0..40 {
        let bytes = if i % 2 == 0 {
            noise(65_000, i)
        } else {
            text(65_000, i)
        };
        files.push(((8 << 20) + i * 70_001, bytes));
    }
    for (at, bytes) in files {
        let len = u64::try_from(bytes.len()).unwrap();
        map.file(at, store.push(bytes), 0, len, "file data");
    }
    map.bytes(0, vec![0x5a; 512], "boot sector");
    let map = map.build().unwrap();
    Guest { map, store }
}

/// Writes a map as a sparse file.
struct RawSink(File);

impl Sink for RawSink {
    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn hole(&mut self, _: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

fn raw(map: &Map, store: &MemoryStore, path: &Path) {
    copy(map, store, &mut RawSink(File::create(path).unwrap())).unwrap();
}

fn uncompressed(guest: &Guest, options: &Options, path: &Path) {
    let image = qcow2::plan(&guest.map, options).unwrap();
    raw(&image, &guest.store, path);
}

fn compressed(guest: &Guest, options: &Options, path: &Path) {
    let mut sink = CompressedSink::new(File::create(path).unwrap(), guest.map.len(), options).unwrap();
    copy(&guest.map, &guest.store, &mut sink).unwrap();
}

/// The ranges that extents cover, rounded to clusters and joined.
fn planned(guest: &Guest, size: ClusterSize) -> Vec<Range<u64>> {
    rounded(
        guest.map.extents().iter().map(image_core::Extent::range),
        size,
        guest,
    )
}

/// The same without the clusters that hold nothing but zeros.
fn without_zeros(guest: &Guest, size: ClusterSize) -> Vec<Range<u64>> {
    let ranges = guest.map.extents().iter().map(image_core::Extent::range);
    rounded(ranges.filter(|range| *range != ZEROS), size, guest)
}

fn everything(guest: &Guest, size: ClusterSize) -> Vec<Range<u64>> {
    rounded([0..guest.map.len()], size, guest)
}

fn rounded(
    ranges: impl IntoIterator<Item = Range<u64>>,
    size: ClusterSize,
    guest: &Guest,
) -> Vec<Range<u64>> {
    let bytes = size.bytes().get();
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let start = range.start / bytes * bytes;
        let end = range.end.next_multiple_of(bytes).min(guest.map.len());
        match joined.last_mut() {
            Some(last) if last.end >= start => last.end = end.max(last.end),
            _ => joined.push(start..end),
        }
    }
    joined
}

/// Panics unless our own reader finds the guest in an image; of long holes it reads the ends.
fn read_back(guest: &Guest, image: &Path) {
    const LEN_MAX: u64 = 1 << 20;
    let mut reader = Reader::open(File::open(image).unwrap()).unwrap();
    assert_eq!(reader.virtual_size(), guest.map.len());
    for piece in guest.map.pieces() {
        let range = match &piece {
            Piece::Hole(range) => range.clone(),
            Piece::Extent(extent) => extent.range(),
        };
        let last = range.end.saturating_sub(LEN_MAX).max(range.start);
        for start in [range.start, last] {
            let part = start..range.end.min(start + LEN_MAX);
            let mut found = vec![0xff; usize::try_from(part.end - part.start).unwrap()];
            reader.read_exact_at(&mut found, start).unwrap();
            let mut wanted = MemorySink::default();
            copy(&guest.map.slice(part.clone()).unwrap(), &guest.store, &mut wanted).unwrap();
            assert!(found == wanted.into_bytes(), "bytes {part:?} differ");
        }
    }
}

/// Judges images of every cluster size, and of the given options, that `write` makes; `data` says where QEMU is to
/// find data in them.
fn judge(
    options: &str,
    write: impl Fn(&Guest, &Options, &Path),
    data: impl Fn(&Guest, ClusterSize) -> Vec<Range<u64>>,
) {
    if !oracle::require(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw_image, image) = (dir.path().join("raw"), dir.path().join("qcow2"));
    let guest = sample();
    raw(&guest.map, &guest.store, &raw_image);
    for size in ClusterSize::all() {
        let options = Options {
            cluster_size: size,
            ..Options::parse(options).unwrap()
        };
        write(&guest, &options, &image);
        oracle::qcow2::check(&image);
        oracle::qcow2::compare(&raw_image, &image);
        assert_eq!(oracle::qcow2::data(&image), data(&guest, size), "{size:?}");
        read_back(&guest, &image);
        let info = oracle::qcow2::info(&image);
        let cluster_size = format!("\"cluster-size\": {}", size.bytes());
        assert!(info.contains(&cluster_size), "{info}");
        let whole_clusters = image.metadata().unwrap().len() % size.bytes();
        assert_eq!(whole_clusters, 0);
    }
}

#[test]
fn uncompressed_v3() {
    judge("compat=1.1,lazy_refcounts=on", uncompressed, planned);
}

#[test]
fn uncompressed_v2() {
    judge("compat=0.10", uncompressed, planned);
}

#[test]
fn uncompressed_with_all_metadata() {
    judge("preallocation=metadata", uncompressed, everything);
}

#[test]
fn zlib_v3() {
    judge("", compressed, without_zeros);
}

#[test]
fn zlib_v2() {
    judge("compat=0.10", compressed, without_zeros);
}

#[test]
fn zstd_v3() {
    judge("compression_type=zstd", compressed, without_zeros);
}
