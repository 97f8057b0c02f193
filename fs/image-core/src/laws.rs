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

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, mknodat, utimensat,
};

use crate::copy::{Options, copy_with};
use crate::map::{Map, Piece, Table};
use crate::sink::{CheckingSink, MemorySink};
use crate::store::{FileId, MemoryStore, Store};
use crate::tree::{Content, NodeId};
use crate::{DirStore, Extent, Tree, copy, scan};

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
pub fn copied(map: &Map, store: &impl Store) -> Vec<u8> {
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
            packed: threads == 3,
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

/// A scan of drawn files, of every kind that anyone can make, is what was made: on any number of threads, and its store
/// serves what is in them. `dir` is an empty directory, and gets the files.
pub fn scan_directory(bytes: &[u8], dir: &Path) -> (Tree, DirStore) {
    let mut draw = Draw::new(bytes);
    let made = directory(&mut draw, dir);
    let scanned = |threads| {
        let options = scan::Options {
            threads: NonZero::new(threads),
            ..scan::Options::default()
        };
        scan(dir, &options).unwrap()
    };
    let (tree, store) = scanned(1);
    let (same, _) = scanned(3);
    assert_eq!(tree, same, "the number of threads shows");
    let named: usize = tree
        .nodes()
        .iter()
        .map(|node| match node.content {
            Content::Directory(entries) => tree.entries(entries).len(),
            _ => 0,
        })
        .sum();
    assert_eq!(named, made);
    for (id, node) in tree.iter() {
        let path = dir.join(OsStr::from_bytes(&tree.path(id)));
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(u32::from(node.meta.mode), metadata.permissions().mode() & 0o7777);
        if let Content::File(data) = &node.content {
            let bytes = fs::read(&path).unwrap();
            let mut seen = vec![0; bytes.len()];
            assert_eq!(data.len, u64::try_from(bytes.len()).unwrap());
            let open = store.open(data.file).unwrap();
            for range in data.ranges() {
                let part = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                open.read_exact_at(&mut seen[part], range.start).unwrap();
            }
            assert!(seen == bytes, "{} differs", path.display());
        } else if id != NodeId::ROOT && metadata.is_symlink() {
            assert!(matches!(node.content, Content::Symlink(_)));
        }
    }
    (tree, store)
}

/// Makes drawn files in a directory, and says how many names they have. What the host refuses, such as a second file of
/// one name, is not made.
fn directory(draw: &mut Draw<'_>, root: &Path) -> usize {
    let mut dirs = vec![root.to_owned()];
    let mut others: Vec<PathBuf> = Vec::new();
    let mut names = 0;
    while !draw.is_empty() && names < 40 {
        let letter = draw.byte().max(1);
        let name =
            vec![if letter == b'/' { b'_' } else { letter }; usize::from(*draw.pick(&[1, 2, 3, 255_u8]))];
        let path = draw.pick(&dirs).join(OsStr::from_bytes(&name));
        if fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        let kind = draw.below(7);
        let made = match kind {
            0 => fs::create_dir(&path),
            1 => fs::write(&path, filler(usize::from(draw.byte()) * 37, draw.byte())),
            2 => sparse(draw, &path),
            3 => symlink("l".repeat(usize::from(draw.byte()) * 16 + 1), &path),
            4 if others.is_empty() => continue,
            4 => fs::hard_link(draw.pick(&others), &path),
            5 => mknodat(CWD, &path, FileType::Fifo, Mode::from(0o600), 0).map_err(Into::into),
            _ => fs::write(&path, []),
        };
        if made.is_err() {
            continue;
        }
        names += 1;
        dress(draw, &path, kind == 0);
        if kind == 0 {
            dirs.push(path);
        } else {
            others.push(path);
        }
    }
    names
}

fn sparse(draw: &mut Draw<'_>, path: &Path) -> io::Result<()> {
    let file = File::create_new(path)?;
    for _ in 0..draw.below(4) {
        let at = draw.below(1 << 18);
        file.write_all_at(&filler(usize::from(draw.byte()) * 40, draw.byte()), at)?;
    }
    file.set_len(draw.below(1 << 19))
}

/// Gives a file a drawn mode, time and xattr, as far as the host's file system has them.
fn dress(draw: &mut Draw<'_>, path: &Path, is_directory: bool) {
    if !path.is_symlink() {
        let own = if is_directory { 0o700 } else { 0o400 };
        let mode = u32::try_from(draw.below(0o10000)).unwrap() | own;
        let _ = fs::set_permissions(path, Permissions::from_mode(mode));
    }
    if draw.below(4) == 0 {
        let _ = lsetxattr(
            path,
            "user.drawn",
            &filler(usize::from(draw.byte()), 1),
            XattrFlags::empty(),
        );
    }
    let time = Timespec {
        tv_sec: i64::try_from(draw.below(1 << 33)).unwrap() - (1 << 31),
        tv_nsec: i64::try_from(draw.below(1_000_000_000)).unwrap(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let _ = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
}
