//! qcow2 images before foreign judges, and what is not their business: determinism, faults, laws.

use std::fs::File;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use image_core::map::Piece;
use image_core::read_at::{ImageFile, ReadAt};
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
        // Found again by a window that is wide enough.
        (20 << 20, noise(24_000, 4).repeat(20)),
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
    rounded(std::iter::once(0..guest.map.len()), size, guest)
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

/// Matches from anywhere in a cluster, of 2 MiB too: QEMU inflates it in one go.
#[test]
fn zlib_with_the_largest_window() {
    judge("compression_window=15", compressed, without_zeros);
}

#[test]
fn zstd_v3() {
    judge("compression_type=zstd", compressed, without_zeros);
}

/// The bytes of the sample, compressed under the given options.
fn image(options: &Options) -> Vec<u8> {
    let guest = sample();
    let mut sink = CompressedSink::new(Cursor::new(Vec::new()), guest.map.len(), options).unwrap();
    copy(&guest.map, &guest.store, &mut sink).unwrap();
    sink.into_inner().into_inner()
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for text in ["cluster_size=4k", "", "compression_type=zstd"] {
        let with = |threads| {
            image(&Options {
                threads: NonZero::new(threads).unwrap(),
                ..Options::parse(text).unwrap()
            })
        };
        let one = with(1);
        for threads in 2..=4 {
            assert!(with(threads) == one, "{threads} threads, {text}");
        }
    }
}

#[test]
fn a_wider_window_finds_more() {
    let window = |bits: u8| image(&Options::parse(&format!("compression_window={bits}")).unwrap());
    assert!(window(15).len() < window(12).len());
}

#[test]
fn a_level_changes_the_bytes() {
    let level = |level: u8| image(&Options::parse(&format!("compression_level={level}")).unwrap());
    assert!(level(9).len() < level(1).len());
}

/// Takes so many bytes, then fails.
struct Full {
    room: usize,
    file: Cursor<Vec<u8>>,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.room.min(bytes.len());
        self.room -= len;
        if len == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(&bytes[..len])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Full {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[test]
fn a_full_disk_ends_the_copy_and_its_threads() {
    let guest = sample();
    let options = Options::default();
    let start = |room| {
        let file = Cursor::new(Vec::new());
        CompressedSink::new(Full { room, file }, guest.map.len(), &options).unwrap()
    };
    let mut roomy = start(usize::MAX);
    copy(&guest.map, &guest.store, &mut roomy).unwrap();
    let all = usize::MAX - roomy.into_inner().room;
    // The header's cluster comes last.
    for room in [0, 1, 100_000, all / 2, all - (1 << 16) - 1, all - (1 << 16)] {
        let mut sink = start(room);
        let error = copy(&guest.map, &guest.store, &mut sink).unwrap_err();
        let image_core::copy::Error::Sink { source, .. } = error else {
            panic!("the sink failed, not the store: {error}")
        };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        let file = sink.into_inner().file.into_inner();
        assert!(
            Reader::open(Cursor::new(file)).is_err(),
            "a part of an image has no header"
        );
    }
}

#[test]
fn an_image_comes_in_order_and_whole() {
    let start = || CompressedSink::new(Cursor::new(Vec::new()), 4096, &Options::default()).unwrap();
    let refused =
        |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    refused(start().data(1, b"x"));
    refused(start().hole(0..4097));
    refused(start().finish(4096));
    let mut sink = start();
    sink.data(0, b"x").unwrap();
    refused(sink.data(0, b"x"));
    sink.hole(1..4096).unwrap();
    refused(sink.finish(4095));
    sink.finish(4096).unwrap();
    refused(sink.finish(4096));
}

#[test]
fn lengths_and_options_are_judged_before_anything_is_written() {
    let start = |len, options| CompressedSink::new(Cursor::new(Vec::new()), len, &options).unwrap_err();
    let error = start(1000, Options::default());
    assert_eq!(
        error.to_string(),
        "1000 bytes are no whole number of sectors of 512 bytes"
    );
    let error = start(512, Options::parse("preallocation=metadata").unwrap());
    assert_eq!(
        error.to_string(),
        "preallocation needs an image that is not compressed"
    );
    let odd = Map::builder(513).build().unwrap();
    assert!(qcow2::plan(&odd, &Options::default()).is_err());
}

#[test]
fn an_empty_guest_has_an_image() {
    if !oracle::require(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qcow2");
    for len in [0, 512, 1 << 40] {
        let map = Map::builder(len).build().unwrap();
        let guest = Guest {
            map,
            store: MemoryStore::default(),
        };
        uncompressed(&guest, &Options::default(), &path);
        oracle::qcow2::check(&path);
        compressed(&guest, &Options::default(), &path);
        oracle::qcow2::check(&path);
        assert!(oracle::qcow2::data(&path).is_empty());
    }
}

#[test]
fn several_threads_read_the_images_of_qemu_at_once() {
    if !oracle::require(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("raw"), dir.path().join("qcow2"));
    let mut bytes = text(6 << 20, 5);
    bytes[1 << 20..2 << 20].fill(0);
    bytes[4 << 20..5 << 20].copy_from_slice(&noise(1 << 20, 6));
    std::fs::write(&raw, &bytes).unwrap();
    for options in [
        &["-c"][..],
        &["-c", "-o", "cluster_size=4k"],
        &["-c", "-o", "compression_type=zstd"],
        &["-o", "compat=0.10,cluster_size=512"],
    ] {
        let mut args = vec!["convert", "-f", "raw", "-O", "qcow2"];
        args.extend(options);
        let mut args: Vec<&std::ffi::OsStr> = args.into_iter().map(std::ffi::OsStr::new).collect();
        args.extend([raw.as_os_str(), image.as_os_str()]);
        oracle::run("qemu-img", &args);
        let file = ImageFile::new(File::open(&image).unwrap(), &image).unwrap();
        let guest = qcow2::Guest::open(file).unwrap();
        assert_eq!(guest.len(), 6 << 20);
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    let mut buf = vec![0; 30_000];
                    while let at @ ..600 = next.fetch_add(1, Ordering::Relaxed) {
                        // To and fro, over the ends of clusters.
                        let at = at * 7_654_321 % ((6 << 20) - 30_000);
                        guest.read_exact_at(&mut buf, at).unwrap();
                        let start = usize::try_from(at).unwrap();
                        assert!(
                            buf == bytes[start..start + buf.len()],
                            "{options:?}: bytes at {at}"
                        );
                    }
                });
            }
        });
        let error = guest.read_exact_at(&mut [0; 2], (6 << 20) - 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        guest.check().unwrap();
        std::fs::write(&image, "").unwrap();
        assert!(guest.check().is_err());
    }
}

/// A file that is as long as it says, and zero behind its first bytes.
#[derive(Debug)]
struct Long {
    start: Vec<u8>,
    len: u64,
}

impl ReadAt for Long {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        assert!(buf.len() <= 32 << 20, "{} bytes at once", buf.len());
        buf.fill(0);
        let offset = usize::try_from(offset).unwrap();
        let there = self.start.get(offset..).unwrap_or_default();
        let len = there.len().min(buf.len());
        buf[..len].copy_from_slice(&there[..len]);
        Ok(())
    }
}

#[test]
fn a_check_makes_no_table_that_no_image_has() {
    let mut header = vec![0_u8; 1 << 16];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &16_u32.to_be_bytes());
    put(36, &u32::MAX.to_be_bytes());
    put(40, &(1_u64 << 16).to_be_bytes());
    put(48, &(1_u64 << 36).to_be_bytes());
    put(56, &(1_u32 << 15).to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    let len = 1 << 38;
    let faults = qcow2::check(&Long { start: header, len }).unwrap();
    let texts: Vec<String> = faults.iter().take(2).map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "the header's number of L1 entries cannot be 4294967295",
            "the header's size of the refcount table cannot be 2147483648"
        ]
    );
}
