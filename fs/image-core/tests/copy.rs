//! Copies real files: the bytes are right by every way there is, and a change outranks every other failure.
#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test's failure is its panic"
)]

use std::fs::{self, File};
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;

use image_core::copy::{Error, Options, copy_with};
use image_core::sink::{CheckingSink, FailingSink, FileSink, MemorySink, StreamSink};
use image_core::store::Error as StoreError;
use image_core::tree::Content;
use image_core::{DirStore, Map, Sink, Tree, scan};

const BLOCK: u64 = 4096;
const LONG: usize = 3_000_001;

/// Small files, files that fill their blocks, and two long ones, the second with holes.
fn files(root: &Path) -> (Tree, DirStore) {
    fs::create_dir(root.join("small")).unwrap();
    for i in 0..200_usize {
        let bytes: Vec<u8> = (0..i * 61).map(|at| (at * 7 + i) as u8).collect();
        fs::write(root.join("small").join(i.to_string()), bytes).unwrap();
    }
    let long: Vec<u8> = (0..LONG).map(|at| (at * 13 / 7) as u8 | 1).collect();
    fs::write(root.join("long"), &long).unwrap();
    fs::write(root.join("whole"), &long[..1 << 20]).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(&long[..200_000], 1 << 20).unwrap();
    sparse.write_all_at(&long[..4096], 2 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    scan(root, &image_core::scan::Options::default()).unwrap()
}

/// All files one after the other, each from a block's border on, and what the image must then be.
fn image(root: &Path, tree: &Tree) -> (Map, Vec<u8>) {
    let mut at = 0;
    let mut model = Vec::new();
    let mut extents = Vec::new();
    for (id, node) in tree.iter() {
        if let Content::File(data) = &node.content {
            let path = root.join(String::from_utf8(tree.path(id)).unwrap());
            model.extend(fs::read(path).unwrap());
            model.resize(model.len().next_multiple_of(BLOCK as usize), 0);
            for range in data.ranges() {
                extents.push((at + range.start, data.file, range));
            }
            at += data.len.next_multiple_of(BLOCK);
        }
    }
    let mut builder = Map::builder(at);
    for (at, file, range) in extents {
        builder.file(at, file, range.start, range.end - range.start, "file");
    }
    (builder.build().unwrap(), model)
}

fn threads(threads: usize) -> Options {
    Options {
        threads: NonZero::new(threads),
        packed: false,
    }
}

/// Never takes a file, but asks for the offer of each.
struct Proud(MemorySink);

impl Sink for Proud {
    fn data(&mut self, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.data(at, bytes)
    }

    fn hole(&mut self, range: std::ops::Range<u64>) -> std::io::Result<()> {
        self.0.hole(range)
    }
}

#[test]
fn every_sink_gets_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, store) = files(dir.path());
    let (map, model) = image(dir.path(), &tree);
    for n in 1..=4 {
        let mut sink = CheckingSink::new(FileSink::new(tempfile::tempfile().unwrap()));
        copy_with(&map, &store, &mut sink, threads(n)).unwrap();
        let file = sink.into_inner().into_inner();
        assert_eq!(file.metadata().unwrap().len(), map.len());
        let mut bytes = vec![0; model.len()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == model, "{n} threads into a file");
        let mut sink = CheckingSink::new(Proud(MemorySink::default()));
        copy_with(&map, &store, &mut sink, threads(n)).unwrap();
        assert!(
            sink.into_inner().0.into_bytes() == model,
            "{n} threads into memory"
        );
        let mut sink = CheckingSink::new(StreamSink(Vec::new()));
        copy_with(&map, &store, &mut sink, threads(n)).unwrap();
        assert!(sink.into_inner().0 == model, "{n} threads into a stream");
    }
}

#[test]
fn holes_stay_holes() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, store) = files(dir.path());
    let (map, _) = image(dir.path(), &tree);
    let mut sink = FileSink::new(tempfile::tempfile().unwrap());
    copy_with(&map, &store, &mut sink, threads(2)).unwrap();
    let blocks = std::os::unix::fs::MetadataExt::blocks(&sink.into_inner().metadata().unwrap());
    let holes = 2 * 1024 * 1024;
    assert!(
        blocks * 512 < map.len() - holes,
        "{blocks} blocks of {} bytes",
        map.len()
    );
}

#[test]
fn a_sink_that_fails_at_any_call_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, store) = files(dir.path());
    let (map, _) = image(dir.path(), &tree);
    for calls in 0..40 {
        for n in [1, 3] {
            let mut sink = FailingSink::new(MemorySink::default(), calls);
            match copy_with(&map, &store, &mut sink, threads(n)) {
                Err(Error::Sink { source, .. }) => {
                    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                }
                Err(error) => panic!("{calls} calls: {error}"),
                Ok(()) => assert!(calls > 10),
            }
        }
    }
}

/// Changes a file once the sink has been called for it, as a process that still runs would.
struct Meddling<'a> {
    path: &'a Path,
    /// From which byte of the image on.
    from: u64,
    change: fn(&Path),
    /// Fails after the change, as a sink of a file that shrank would.
    fails: bool,
    changed: bool,
}

impl Sink for Meddling<'_> {
    fn data(&mut self, at: u64, _: &[u8]) -> std::io::Result<()> {
        if at >= self.from && !self.changed {
            self.changed = true;
            (self.change)(self.path);
        }
        if self.changed && self.fails {
            return Err(std::io::ErrorKind::Other.into());
        }
        Ok(())
    }

    fn hole(&mut self, _: std::ops::Range<u64>) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_change_while_copying_outranks_what_the_sink_says() {
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 4] = [
        ("shrank", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(1_000_000)
                .unwrap();
        }),
        ("grew", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(4_000_000)
                .unwrap();
        }),
        ("changed", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .write_all_at(b"x", 2_999_000)
                .unwrap();
        }),
        ("emptied", |path| fs::write(path, b"").unwrap()),
    ];
    for (name, change) in changes {
        for (n, fails) in [(1, false), (2, false), (1, true)] {
            let dir = tempfile::tempdir().unwrap();
            let (tree, store) = files(dir.path());
            let (map, _) = image(dir.path(), &tree);
            let path = dir.path().join("long");
            let mut sink = Meddling {
                path: &path,
                from: map.extents()[0].start + 1,
                change,
                fails,
                changed: false,
            };
            let error = copy_with(&map, &store, &mut sink, threads(n)).unwrap_err();
            let Error::Store(StoreError::SourceChanged { path, .. }) = error else {
                panic!("{name}, {n} threads: {error}")
            };
            assert_eq!(path, b"long", "{name}, {n} threads");
        }
    }
}

#[test]
fn a_file_that_vanished_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, store) = files(dir.path());
    let (map, _) = image(dir.path(), &tree);
    fs::remove_file(dir.path().join("small/77")).unwrap();
    let error = copy_with(&map, &store, &mut MemorySink::default(), threads(2)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("small/77 changed while the image was written: planned 4697 bytes"),
        "{error}"
    );
    assert!(error.to_string().ends_with("found nothing"), "{error}");
}
