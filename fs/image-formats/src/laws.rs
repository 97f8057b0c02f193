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

mod archives;
mod btrfs_reader;
mod containers;
mod cpio_plan;
pub(crate) mod deflate;
mod disks;
mod fat_plan;
mod iso_plan;
mod lvm_plan;
mod lvm_reader;
mod oci;
mod sparse;
mod squashfs;
mod xfs_reader;

use std::fs::File;
use std::io::{Cursor, Seek, Write};
use std::num::NonZero;
use std::ops::Range;
use std::path::Path;

use image_core::copy;
use image_core::laws::{Draw, Model, copied, filler};
use image_core::store::Store;
use image_core::tree::{Content, Data, NodeId, Tree};

use crate::qcow2::options::{Compat, CompressionType, Options};
use crate::qcow2::{self, ClusterSize, CompressedSink, Reader};
use crate::{fat, tar};
pub use archives::{facts, squashfs_plan, tar_plan};
pub use btrfs_reader::{btrfs_reader, seal_btrfs};
pub use containers::containers;
pub use cpio_plan::cpio_plan;
pub use deflate::deflate_encoder;
pub use disks::disk_layouts;
pub use fat_plan::fat_plan;
pub use iso_plan::iso_plan;
pub use lvm_plan::lvm_plan;
pub use lvm_reader::lvm_reader;
pub use oci::oci;
pub use sparse::Sparse;
pub use squashfs::{squashfs, squashfs_codecs};
pub use xfs_reader::xfs_reader;

/// A small FAT file system, changed anywhere, is a tree whose files can be read or refused, or a refusal that can be
/// printed.
pub fn fat_reader(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let mut image = small_fat(draw.below(2) == 1);
    assert_eq!(fat::read(image.clone()).unwrap().0.nodes().len(), 3);
    while !draw.is_empty() {
        // The boot sector, the table, the root directory and a cluster or two are what there is.
        let end = *draw.pick(&[64, 2048, 8192]);
        let at = usize::try_from(draw.below(end)).unwrap();
        image[at] = draw.byte();
    }
    match fat::read(image) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok((tree, store)) => tree.nodes().iter().for_each(|node| {
            if let Content::File(data) = &node.content {
                let mut buf = vec![0; usize::try_from(data.len.min(1 << 16)).unwrap()];
                let _ = store.open(data.file).unwrap().read_exact_at(&mut buf, 0);
            }
        }),
    }
}

/// FAT12 or FAT32 with a directory and a file.
fn small_fat(fat32: bool) -> Vec<u8> {
    let mut image = vec![0_u8; 1 << 20];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    // 512 bytes a sector and a cluster, one table behind one reserved sector, 2048 sectors.
    put(11, &[0, 2, 1, 1, 0, 1, 16, 0, 0, 8, 0xf8, 6]);
    let (entry, table, root): (_, &[u8], _) = if fat32 {
        put(17, &[0, 0]);
        put(22, &[0, 0]);
        put(36, &[16, 0, 0, 0]);
        put(44, &[2, 0, 0, 0]);
        (
            [3_u8, 4],
            &[
                0xf8, 255, 255, 15, 255, 255, 255, 15, 255, 255, 255, 15, 255, 255, 255, 15, 255, 255, 255,
                15,
            ],
            17 * 512,
        )
    } else {
        ([2, 3], &[0xf8, 255, 255, 255, 255, 255], 7 * 512)
    };
    put(512, table);
    put(root, b"A DIR      \x10");
    put(root + 26, &entry[..1]);
    put(root + 32, b"A FILE  TXT\x20");
    put(root + 32 + 26, &entry[1..]);
    put(root + 32 + 28, &[200]);
    image
}

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

/// Whatever the bytes of an image are, reading it ends, with bytes or an error. Most of the images are ours with a few
/// bytes changed, which get further than any others.
pub fn qcow2_reader(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    if draw.below(4) == 0 {
        return read_anything(draw.rest());
    }
    let changes: Vec<(u64, u8)> = (0..draw.below(8))
        .map(|_| (draw.below(1 << 16), draw.byte()))
        .collect();
    let mut image = small_image(&mut draw);
    assert_eq!(qcow2::check(&image).unwrap(), []);
    for (at, byte) in changes {
        // Half of them hit the header.
        let end = if at % 2 == 0 { 112 } else { image.len() };
        image[usize::try_from(at).unwrap() / 2 % end] = byte;
    }
    read_anything(&image);
}

fn read_anything(image: &[u8]) {
    let bytes = image.to_vec();
    let _ = (qcow2::check(&bytes).map(drop), qcow2::Facts::of(&bytes).map(drop));
    let Ok(mut reader) = Reader::open(Cursor::new(image)) else {
        return;
    };
    let size = reader.virtual_size();
    let len = size.min(1 << 17);
    let mut guest = vec![0; usize::try_from(len).unwrap()];
    for offset in [0, size - len] {
        let _ = reader.read_exact_at(&mut guest, offset);
        let _ = reader.is_hole(offset / reader.cluster_size().bytes());
    }
    assert!(reader.read_exact_at(&mut [0], size).is_err());
}

fn small_image(draw: &mut Draw<'_>) -> Vec<u8> {
    let Model { map, store, .. } = Model::draw(draw, 16384);
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

/// Whatever the words are, they are options or a refusal that can be printed.
pub fn qcow2_options(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Options::parse(&text) {
        Ok(options) => assert!(options.compression_type.levels().contains(&options.level())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Whatever an archive holds, it is a tree whose files can be read, or an error that can be printed. `file` is empty,
/// and takes the archive: of drawn members, since few others get past their checksums.
pub fn tar_reader(bytes: &[u8], mut file: File) {
    let mut draw = Draw::new(bytes);
    let archive = if draw.below(8) == 0 {
        draw.rest().to_vec()
    } else {
        archive(&mut draw)
    };
    file.write_all(&archive).unwrap();
    file.rewind().unwrap();
    let (tree, store) = match tar::read(file, Path::new("archive")) {
        Ok(read) => read,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    read_all(&tree, &store);
}

/// Reads every file of a tree, which must be sound.
fn read_all(tree: &Tree, store: &impl Store) {
    for (id, node) in tree.iter() {
        assert!(id == NodeId::ROOT || !tree.path(id).is_empty());
        let Content::File(data) = &node.content else {
            continue;
        };
        let open = store.open(data.file).unwrap();
        for run in runs(data) {
            let mut buf = vec![0; usize::try_from(run.end - run.start).unwrap()];
            open.read_exact_at(&mut buf, run.start).unwrap();
        }
        open.finish().unwrap();
    }
}

/// The runs of a file's data, each of which must have bytes, lie behind the one before it and end within the file.
fn runs(data: &Data) -> impl Iterator<Item = Range<u64>> + '_ {
    let mut end = 0;
    data.ranges().inspect(move |run| {
        assert!(end <= run.start && run.start < run.end && run.end <= data.len);
        end = run.end;
    })
}

/// What members and links are named.
const NAMES: [&str; 15] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "./",
    "a/",
    "../x",
    "/abs//b",
    "",
    "a/../b",
    ".wh.a",
    "a/.wh.b",
    "a/.wh..wh..opq",
    ".wh.",
    "b/.wh..wh.plnk/c",
];

/// Pax records.
const RECORDS: [(&str, &str); 22] = [
    ("path", "a/long"),
    ("linkpath", "a"),
    ("mtime", "-1.5"),
    ("mtime", "99999999999999999999"),
    ("size", "3"),
    ("size", "18446744073709551615"),
    ("uid", "4294967295"),
    ("gid", "-1"),
    ("SCHILY.xattr.user.a", "b=\n\0"),
    ("SCHILY.xattr.", ""),
    ("LIBARCHIVE.xattr.user.a", "dHdv"),
    ("LIBARCHIVE.xattr.user%2eb", "Zg=="),
    ("LIBARCHIVE.xattr.%", "="),
    ("RHT.security.selinux", "u:r:t:s0"),
    (
        "SCHILY.acl.access",
        "user::rwx,user:x:r--:5,group::r--,mask::r--,other::---",
    ),
    ("SCHILY.acl.default", "user::rwx\ngroup::r-x\nother::---"),
    ("GNU.sparse.major", "1"),
    ("GNU.sparse.realsize", "1000"),
    ("GNU.sparse.name", "a/sparse"),
    ("GNU.sparse.map", "0,1,5,2"),
    ("GNU.sparse.size", "7"),
    ("GNU.sparse.numblocks", "1"),
];

/// An archive of drawn members.
fn archive(draw: &mut Draw<'_>) -> Vec<u8> {
    const KINDS: &[u8] = b"0005512346xxxxgSKL7Z";
    let mut archive = Vec::new();
    while !draw.is_empty() && archive.len() < 1 << 16 {
        let mut header = ::tar::Header::new_gnu();
        let kind = *draw.pick(KINDS);
        let mut data = match kind {
            b'x' | b'g' => (0..draw.below(4))
                .flat_map(|_| record(*draw.pick(&RECORDS)))
                .collect(),
            b'K' | b'L' => draw.pick(&NAMES).as_bytes().to_vec(),
            b'0' | b'7' if draw.below(2) == 0 => b"2\n0\n1\n512\n2\n".to_vec(),
            b'0' | b'7' | b'S' => filler(usize::from(draw.byte()) * 4, 1),
            _ => Vec::new(),
        };
        header.set_entry_type(::tar::EntryType::new(kind));
        header.set_size(u64::try_from(data.len()).unwrap());
        header.set_mode(u32::from(draw.byte()) << 4);
        header.set_mtime(draw.below(1 << 33));
        let (name, link) = (draw.pick(&NAMES).as_bytes(), draw.pick(&NAMES).as_bytes());
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
        for _ in 0..draw.below(4) {
            let at = usize::try_from(draw.below(512)).unwrap();
            header.as_mut_bytes()[at] = draw.byte();
        }
        if draw.byte() != 255 {
            header.set_cksum();
        }
        archive.extend_from_slice(header.as_bytes());
        data.resize(data.len().next_multiple_of(512), 0);
        archive.extend(data);
    }
    if draw.below(2) == 0 {
        archive.extend([0; 1024]);
    }
    archive
}

/// A pax record, whose length counts itself.
fn record((key, value): (&str, &str)) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let len = (rest + 1..rest + 9)
        .find(|len| rest + len.to_string().len() == *len)
        .unwrap();
    format!("{len} {key}={value}\n").into_bytes()
}
