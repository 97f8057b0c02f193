//! Laws of this crate as functions of bytes: unit tests call them with drawn bytes, fuzz targets with searched ones.
//!
//! Not an interface: they panic where the code is wrong.
#![allow(
    clippy::missing_panics_doc,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests that live here so that the fuzz targets can call them"
)]

use std::io::Cursor;
use std::num::NonZero;

use image_core::copy;
use image_core::laws::{Draw, Model, copied};

use crate::qcow2::options::{Compat, CompressionType, Options};
use crate::qcow2::{self, ClusterSize, CompressedSink, Reader};

/// A guest read through the tables of its image, planned or compressed, is the guest.
pub fn qcow2_plan(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let bits = *draw.pick(&[9_u32, 9, 9, 10, 12, 12, 16]);
    let compat = *draw.pick(&[Compat::V3, Compat::V2]);
    let zstd = cfg!(feature = "zstd") && compat == Compat::V3 && draw.below(2) == 1;
    let options = Options {
        cluster_size: ClusterSize::new(1_u64.rotate_left(bits)).unwrap(),
        compat,
        compression_type: if zstd {
            CompressionType::Zstd
        } else {
            CompressionType::Zlib
        },
        threads: NonZero::<usize>::MIN,
        ..Options::default()
    };
    let len = draw.below(400) * 512;
    let Model { map, store, bytes } = Model::draw(&mut draw, len);

    let image = qcow2::plan(&map, &options).unwrap();
    assert_eq!(read(copied(&image, &store)), bytes);

    let mut sink = CompressedSink::new(Cursor::new(Vec::new()), len, &options).unwrap();
    copy(&map, &store, &mut sink).unwrap();
    assert_eq!(read(sink.into_inner().into_inner()), bytes);
}

fn read(image: Vec<u8>) -> Vec<u8> {
    let mut reader = Reader::open(Cursor::new(image)).unwrap();
    let mut guest = vec![0xff; usize::try_from(reader.virtual_size()).unwrap()];
    reader.read_exact_at(&mut guest, 0).unwrap();
    guest
}

/// Whatever the bytes of an image are, reading it ends, with bytes or an error.
pub fn qcow2_reader(bytes: &[u8]) {
    let Ok(mut reader) = Reader::open(Cursor::new(bytes)) else {
        return;
    };
    let size = reader.virtual_size();
    let len = size.min(1 << 20);
    let mut guest = vec![0; usize::try_from(len).unwrap()];
    for offset in [0, size - len] {
        let _ = reader.read_exact_at(&mut guest, offset);
        let _ = reader.is_hole(offset / reader.cluster_size().bytes());
    }
    assert!(reader.read_exact_at(&mut [0], size).is_err());
}

/// Whatever the words are, they are options or a refusal that can be printed.
pub fn qcow2_options(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Options::parse(&text) {
        Ok(options) => assert!(options.compression_type.levels().contains(&options.level())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A small image to begin with, for the seeds of [`qcow2_reader`].
pub fn qcow2_seed(bytes: &[u8]) -> Vec<u8> {
    let mut draw = Draw::new(bytes);
    let Model { map, store, .. } = Model::draw(&mut draw, 16384);
    let options = Options {
        cluster_size: ClusterSize::new(512).unwrap(),
        threads: NonZero::<usize>::MIN,
        ..Options::default()
    };
    if draw.below(2) == 0 {
        return copied(&qcow2::plan(&map, &options).unwrap(), &store);
    }
    let mut sink = CompressedSink::new(Cursor::new(Vec::new()), map.len(), &options).unwrap();
    copy(&map, &store, &mut sink).unwrap();
    sink.into_inner().into_inner()
}
