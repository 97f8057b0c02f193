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

use std::num::NonZero;
use std::sync::Arc;

use crate::copy::{Options, copy_with};
use crate::map::{Map, Piece, Table};
use crate::sink::{CheckingSink, MemorySink};
use crate::store::{FileId, MemoryStore};
use crate::{Extent, copy};

/// Choices drawn from bytes; when they run out, every choice is the first one.
#[derive(Debug)]
pub struct Draw<'a>(&'a [u8]);

impl<'a> Draw<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let bytes = match end {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 5,
        };
        (0..bytes).fold(0_u64, |n, _| n << 8 | u64::from(self.byte())) % end
    }

    /// One of several.
    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        let len = u64::try_from(of.len()).unwrap();
        &of[usize::try_from(self.below(len)).unwrap()]
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Bytes that differ from place to place, without being any effort to compress or to tell apart.
pub fn filler(len: usize, seed: u8) -> Vec<u8> {
    let start = u32::from(seed).wrapping_mul(0x9e37_79b9);
    (0_u32..)
        .take(len)
        .map(|i| (start ^ (i / 7).wrapping_mul(0x85eb_ca6b)).to_be_bytes()[usize::from(seed % 4)])
        .collect()
}

struct Filler(Vec<u8>);

impl Table for Filler {
    fn len(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap()
    }

    fn render(&self, offset: u64, buf: &mut [u8]) {
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.0[start..start + buf.len()]);
    }
}

/// An image, the store of its files, and its bytes one by one.
#[derive(Debug)]
pub struct Model {
    pub map: Map,
    pub store: MemoryStore,
    pub bytes: Vec<u8>,
}

impl Model {
    /// An image of `len` bytes with extents of every kind at drawn places.
    pub fn draw(draw: &mut Draw<'_>, len: u64) -> Self {
        let mut store = MemoryStore::default();
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        let mut map = Map::builder(len);
        let mut at = 0;
        for _ in 0..draw.below(24) {
            at += draw.below(len / 8 + 2);
            if at >= len {
                break;
            }
            let extent_len = (draw.below(len / 4 + 2)).min(len - at);
            let size = usize::try_from(extent_len).unwrap();
            let seed = draw.byte();
            let skip = usize::from(seed % 5);
            let content = if seed == 0 {
                vec![0; size + skip]
            } else {
                filler(size + skip, seed)
            };
            let start = usize::try_from(at).unwrap();
            bytes[start..start + size].copy_from_slice(&content[skip..]);
            let offset = u64::try_from(skip).unwrap();
            match draw.below(3) {
                0 => map.bytes(at, &content[skip..], "bytes"),
                1 => {
                    let table = map.table(Arc::new(Filler(content)));
                    map.rendered(at, table, offset..offset + extent_len, "table");
                }
                _ => map.file(at, store.push(content), offset, extent_len, "file"),
            }
            at += extent_len;
        }
        let map = map.build().unwrap();
        Self { map, store, bytes }
    }
}

/// What [`copy()`] makes of a map.
pub fn copied(map: &Map, store: &MemoryStore) -> Vec<u8> {
    let mut sink = MemorySink::default();
    copy(map, store, &mut sink).unwrap();
    sink.into_bytes()
}

/// `copy` gives the model's bytes; `pieces` tile the image; `slice` and `place` are what they are of byte vectors.
pub fn map_algebra(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let len = draw.below(5000);
    let Model { map, store, bytes } = Model::draw(&mut draw, len);
    assert_eq!(copied(&map, &store), bytes);

    let mut at = 0;
    for piece in map.pieces() {
        let (range, zero) = match piece {
            Piece::Hole(range) => (range, true),
            Piece::Extent(extent) => (extent.range(), false),
        };
        assert!(range.start == at && range.end > at, "pieces tile the image");
        let part = &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        assert!(!zero || part.iter().all(|byte| *byte == 0));
        at = range.end;
    }
    assert_eq!(at, len);

    let start = draw.below(len + 1);
    let end = start + draw.below(len - start + 1);
    let slice = map.slice(start..end).unwrap();
    let part = &bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
    assert_eq!(copied(&slice, &store), part);
    assert!(map.slice(start..len + 1).is_err());

    let before = draw.below(300);
    let room = before + slice.len() + draw.below(300);
    let placed = Map::builder(room).build().unwrap().place(before, &slice).unwrap();
    assert_eq!(placed.slice(before..before + slice.len()).unwrap(), slice);
    assert_eq!(placed.data_len(), slice.data_len());
    if slice.data_len() > 0 {
        assert!(placed.place(before, &slice).is_err(), "extents never overlap");
    }
    assert!(placed.place(room - slice.len() + 1, &slice).is_err());
    assert!(
        map.extents()
            .windows(2)
            .all(|pair| pair[0].end() <= pair[1].start)
    );
}

/// Any number of threads gives a sink the same bytes, each once and in ascending order.
pub fn copy_in_order(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    // Long enough for runs that are offered to the sink, and for several segments.
    let len = draw.below(1 << 20);
    let Model { map, store, bytes } = Model::draw(&mut draw, len);
    for threads in 1..=4 {
        let mut sink = CheckingSink::new(MemorySink::default());
        let options = Options {
            threads: NonZero::new(threads),
        };
        copy_with(&map, &store, &mut sink, options).unwrap();
        assert!(
            sink.into_inner().into_bytes() == bytes,
            "{threads} threads: {map}"
        );
    }
}

/// Extents in any order and of any size make one map without overlap, or none.
pub fn map_builder(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let len = draw.below(1 << 20);
    let mut builder = Map::builder(len);
    let mut given: Vec<Extent> = Vec::new();
    while !draw.is_empty() && given.len() < 64 {
        let file = FileId(u32::try_from(draw.below(3)).unwrap());
        let (start, extent_len) = (draw.below(1 << 20), draw.below(5000));
        let start = if draw.byte() == 255 {
            u64::MAX - start
        } else {
            start
        };
        let mut one = Map::builder(u64::MAX);
        one.file(start, file, 0, extent_len.min(u64::MAX - start), "file");
        given.extend(one.build().unwrap().extents().iter().cloned());
        builder.file(start, file, 0, extent_len.min(u64::MAX - start), "file");
    }
    let apart = |a: &Extent, b: &Extent| a.end() <= b.start || b.end() <= a.start;
    let inside = given.iter().all(|extent| extent.end() <= len);
    let disjoint = (0..given.len()).all(|i| given[..i].iter().all(|other| apart(&given[i], other)));
    let mut reversed = Map::builder(len);
    for extent in given.iter().rev() {
        reversed.extent(extent.clone());
    }
    let map = builder.build();
    assert_eq!(map.is_ok(), inside && disjoint);
    if let Ok(map) = map {
        assert_eq!(reversed.build().unwrap(), map, "the order of insertion shows");
    }
}
