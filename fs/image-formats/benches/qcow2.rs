//! Compressed qcow2 of a root tree, against `mke2fs -d` followed by `qemu-img convert -c -W -m 16`.
//!
//! `DIB_BENCH_TREE=/path/to/a/root cargo bench -p image-formats`, best with `TMPDIR` on a tmpfs. Processor seconds
//! count: the clock on the wall depends on who else uses the machine. What our side is given is the ext4 image of
//! mke2fs, so the time for planning a file system is not in it, and neither is the bar's.
#![allow(clippy::print_stdout, reason = "a table is what it is for")]

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use image_core::store::{self, FileId, Open, Store};
use image_core::{Map, copy};
use image_formats::qcow2::{CompressedSink, Options};
use rustix::fs::SeekFrom;

/// Serves one file.
struct OneFile(File);

impl Store for OneFile {
    fn open(&self, _: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        Ok(Box::new(OpenFile(&self.0)))
    }
}

struct OpenFile<'a>(&'a File);

impl Open for OpenFile<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), store::Error> {
        self.0
            .read_exact_at(buf, offset)
            .map_err(|source| store::Error::Read {
                path: b"raw".to_vec(),
                source,
            })
    }
}

/// A sparse file as a map.
fn map(file: &File) -> Map {
    let len = file.metadata().unwrap().len();
    let mut map = Map::builder(len);
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(file.as_fd(), SeekFrom::Data(at)) {
        let end = rustix::fs::seek(file.as_fd(), SeekFrom::Hole(start)).unwrap();
        map.file(start, FileId(0), start, end - start, "data");
        at = end;
    }
    map.build().unwrap()
}

struct Taken {
    cpu: f64,
    wall: f64,
    bytes: u64,
}

fn timed(output: &Path, run: impl FnOnce()) -> Taken {
    let (cpu, wall) = (oracle::cpu_seconds(), Instant::now());
    run();
    Taken {
        cpu: oracle::cpu_seconds() - cpu,
        wall: wall.elapsed().as_secs_f64(),
        bytes: output.metadata().unwrap().len(),
    }
}

fn ours(raw: &Path, output: &Path, options: &str) -> Taken {
    let options = Options::parse(options).unwrap();
    timed(output, || {
        let file = File::open(raw).unwrap();
        let map = map(&file);
        let mut sink = CompressedSink::new(File::create(output).unwrap(), map.len(), &options).unwrap();
        copy(&map, &OneFile(file), &mut sink).unwrap();
    })
}

fn main() {
    let Some(tree) = std::env::var_os("DIB_BENCH_TREE") else {
        println!("skipped: DIB_BENCH_TREE names no tree");
        return;
    };
    if !oracle::require(&["mke2fs", "qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("raw"), dir.path().join("qcow2"));
    let made = timed(Path::new("/dev/null"), || {
        oracle::mke2fs(Path::new(&tree), &raw, 3 << 30);
    });
    let converted = timed(&image, || oracle::qcow2::convert_compressed(&raw, &image));
    let bar = made.cpu + converted.cpu;
    println!(
        "mke2fs -d: {:.2} s; bar: {bar:.2} s, {} bytes",
        made.cpu, converted.bytes
    );
    println!(
        "{:<40} {:>8} {:>8} {:>12} {:>8} {:>8}",
        "", "cpu s", "wall s", "bytes", "faster", "size"
    );
    let row = |name: &str, taken: &Taken| {
        let size = f64::from(u32::try_from(taken.bytes / 1024).unwrap())
            / f64::from(u32::try_from(converted.bytes / 1024).unwrap());
        let Taken { cpu, wall, bytes } = taken;
        println!(
            "{name:<40} {cpu:>8.2} {wall:>8.2} {bytes:>12} {:>7.2}x {:>7.3}x",
            bar / cpu,
            size
        );
    };
    row("qemu-img convert -c -W -m 16", &converted);
    let levels = (1..=9).map(|level| format!("compression_level={level}"));
    let zstd = [1, 3, 9].map(|level| format!("compression_type=zstd,compression_level={level}"));
    for options in levels.chain(zstd) {
        row(&options, &ours(&raw, &image, &options));
    }
}
