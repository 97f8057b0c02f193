//! The law of squashfs images, and a maker of small ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image_core::laws::{Draw, filler};
use image_core::store::Store;
use image_core::tree::{Content, Device, Tree, Xattr};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use crate::squashfs::codec::Compressor;
use crate::squashfs::disk::{
    BaseInode, DATA_UNCOMPRESSED, DevInode, DirEntry, DirHeader, FragmentEntry, LdirInode, LregInode, MAGIC,
    METADATA_SIZE, METADATA_UNCOMPRESSED, NONE, RegInode, Superblock, SymlinkInode, XATTR_VALUE_OOL,
    XattrEntry, XattrId, XattrIdTable,
};
use crate::squashfs::{self};

/// Bytes of a block.
const BLOCK: usize = 4096;

/// An image is the tree that it was made of; with some bytes changed, it is a tree whose files can be tried, or an error
/// that can be printed.
pub fn squashfs(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let changes: Vec<(u64, u8)> = (0..draw.below(6))
        .map(|_| (draw.below(1 << 17), draw.byte()))
        .collect();
    let (mut image, want) = Maker::default().image(&mut draw);
    for (at, byte) in &changes {
        let at = usize::try_from(*at).unwrap();
        // The superblock, or the tables, which stand behind the data.
        let len = image.len();
        let at = match at % 4 {
            0 => at / 4 % 96,
            1 => at / 4 % len,
            _ => len - 1 - at / 4 % len.min(4096),
        };
        image[at] = *byte;
    }
    let read = squashfs::read(image);
    if changes.is_empty() {
        let (tree, store) = read.unwrap();
        return assert_eq!(lines(&tree, &store), want);
    }
    let (tree, store) = match read {
        Ok(read) => read,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for node in tree.nodes() {
        if let Content::File(data) = &node.content
            && let Ok(open) = store.open(data.file)
        {
            for range in data.ranges().take(100) {
                let mut buf = vec![0; usize::try_from(range.end - range.start).unwrap().min(1 << 16)];
                let _ = open.read_exact_at(&mut buf, range.start);
                let last = range.end - u64::try_from(buf.len()).unwrap();
                let _ = open.read_exact_at(&mut buf, last);
            }
        }
    }
}

/// Whatever a block's bytes are, unpacking it ends, with no more than the block can hold or with an error. Of xz and lzma
/// most have a sound head, behind which the drawn bytes are what is decoded.
pub fn squashfs_codecs(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let compressor = *draw.pick(&[Compressor::Xz, Compressor::Lzma, Compressor::Gzip]);
    let mut packed = match (compressor, draw.below(5)) {
        (Compressor::Xz, filter @ 1..) => xz_head(*draw.pick(&[3, 4, 7, 10, 11]), filter == 1),
        (Compressor::Lzma, 1..) => {
            let props = draw.byte() % 225;
            let len = *draw.pick(&[u64::MAX, 8192, 100, 1 << 40]);
            [&[props, 0, draw.byte(), 0, 0][..], &len.to_le_bytes()].concat()
        }
        _ => Vec::new(),
    };
    packed.extend(draw.rest());
    let mut out = vec![0; METADATA_SIZE];
    if let Ok(len) = compressor.unpack(&packed, &mut out) {
        assert!(len <= out.len());
    }
}

/// How an xz stream without a checksum begins, and its block with LZMA2, behind another filter if so wanted.
fn xz_head(filter: u8, filtered: bool) -> Vec<u8> {
    let checked = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        [bytes, &crc.sum().to_le_bytes()].concat()
    };
    let block: &[u8] = match filter {
        _ if !filtered => &[2, 0, 0x21, 1, 0x16, 0, 0, 0],
        3 => &[3, 1, 3, 1, 4, 0x21, 1, 0x16, 0, 0, 0, 0],
        filter => &[2, 1, filter, 0, 0x21, 1, 0x16, 0],
    };
    [&b"\xfd7zXZ\0"[..], &checked(&[0, 0]), &checked(block)].concat()
}

/// What a tree says of each of its names, in any order that is always the same.
fn lines(tree: &Tree, store: &impl Store) -> Vec<String> {
    let mut lines = Vec::new();
    for node in tree.nodes() {
        if let Content::Directory(entries) = node.content {
            lines.extend(tree.entries(entries).map(|(name, child)| {
                let child = tree.node(child);
                let what = match &child.content {
                    Content::Directory(_) => What::Directory,
                    Content::File(data) => {
                        let mut bytes = vec![0; usize::try_from(data.len).unwrap()];
                        let open = store.open(data.file).unwrap();
                        for range in data.ranges() {
                            let place =
                                usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                            open.read_exact_at(&mut bytes[place], range.start).unwrap();
                        }
                        What::File(bytes)
                    }
                    Content::Symlink(target) => What::Symlink(tree.target(*target).to_vec()),
                    Content::CharDevice(device) => What::Char(*device),
                    Content::BlockDevice(_) => panic!("none was made"),
                    Content::Fifo => What::Fifo,
                    Content::Socket => What::Socket,
                };
                let meta = (
                    child.meta.mode,
                    child.meta.uid,
                    child.meta.gid,
                    child.meta.mtime.secs,
                );
                line(name, &what, meta, tree.xattrs(child.meta.xattrs))
            }));
        }
    }
    lines.sort();
    lines
}

fn line(name: &[u8], what: &What, meta: (u16, u32, u32, i64), xattrs: &[Xattr]) -> String {
    format!("{} {meta:?} {what:?} {xattrs:?}", name.escape_ascii())
}

#[derive(Clone, Debug)]
enum What {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Char(Device),
    Fifo,
    Socket,
}

/// Metadata on their way into blocks.
#[derive(Default)]
struct Table {
    out: Vec<u8>,
    block: Vec<u8>,
    compressed: bool,
}

impl Table {
    /// Where the next record will stand.
    fn place(&self) -> (u32, u16) {
        (
            u32::try_from(self.out.len()).unwrap(),
            u16::try_from(self.block.len()).unwrap(),
        )
    }

    fn push(&mut self, record: &(impl IntoBytes + Immutable + ?Sized)) {
        self.block.extend(record.as_bytes());
        while self.block.len() >= METADATA_SIZE {
            let rest = self.block.split_off(METADATA_SIZE);
            self.flush();
            self.block = rest;
        }
    }

    fn flush(&mut self) {
        let block = std::mem::take(&mut self.block);
        let packed = if self.compressed {
            zlib(&block)
        } else {
            block.clone()
        };
        let plain = packed.len() >= block.len();
        let stored = if plain { block } else { packed };
        let header = u16::try_from(stored.len()).unwrap() | if plain { METADATA_UNCOMPRESSED } else { 0 };
        self.out.extend(header.to_le_bytes());
        self.out.extend(stored);
    }

    /// Appends the table to an image; gives where it begins.
    fn end(mut self, image: &mut Vec<u8>) -> u64 {
        if !self.block.is_empty() {
            self.flush();
        }
        let at = u64::try_from(image.len()).unwrap();
        image.extend(self.out);
        at
    }

    /// Appends the table, which has no more than one block, and its index; gives where the index begins.
    fn end_indexed(self, image: &mut Vec<u8>) -> u64 {
        let block = self.end(image);
        let at = u64::try_from(image.len()).unwrap();
        image.extend(block.to_le_bytes());
        at
    }
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An inode that was written: its place, kind and number.
#[derive(Clone, Copy)]
struct Written {
    place: (u32, u16),
    kind: u16,
    number: u32,
}

/// Makes an image of drawn files.
#[derive(Default)]
struct Maker {
    image: Vec<u8>,
    inodes: Table,
    listings: Table,
    /// The ends of files, which all stand in one fragment.
    fragment: Vec<u8>,
    count: u32,
    want: Vec<String>,
    /// Inodes that more names may be given to, with what their lines say behind the name.
    linkable: Vec<(Written, String)>,
}

const IDS: [u32; 3] = [0, 1000, 4_000_000_000];

impl Maker {
    /// An image, and a line for each of its names.
    fn image(mut self, draw: &mut Draw<'_>) -> (Vec<u8>, Vec<String>) {
        self.image = vec![0; size_of::<Superblock>()];
        let compressed = draw.below(2) == 0;
        (self.inodes.compressed, self.listings.compressed) = (compressed, compressed);
        let root = self.directory(draw, 0);
        let fragment = FragmentEntry {
            start_block: U64::new(u64::try_from(self.image.len()).unwrap()),
            size: U32::new(u32::try_from(self.fragment.len()).unwrap() | DATA_UNCOMPRESSED),
            unused: U32::ZERO,
        };
        self.image.extend(&self.fragment);
        let mut image = self.image;
        let inode_table_start = self.inodes.end(&mut image);
        let directory_table_start = self.listings.end(&mut image);
        let mut fragments = Table::default();
        fragments.push(&fragment);
        let fragment_table_start = fragments.end_indexed(&mut image);
        let mut ids = Table::default();
        ids.push(&IDS.map(U32::new));
        let id_table_start = ids.end_indexed(&mut image);
        let xattr_id_table_start = xattr_tables(&mut image);
        let superblock = Superblock {
            s_magic: U32::new(MAGIC),
            inodes: U32::new(self.count),
            block_size: U32::new(u32::try_from(BLOCK).unwrap()),
            fragments: U32::new(1),
            compression: U16::new(1),
            block_log: U16::new(12),
            no_ids: U16::new(3),
            s_major: U16::new(4),
            root_inode: U64::new(u64::from(root.place.0) << 16 | u64::from(root.place.1)),
            bytes_used: U64::new(u64::try_from(image.len()).unwrap()),
            id_table_start: U64::new(id_table_start),
            xattr_id_table_start: U64::new(xattr_id_table_start),
            inode_table_start: U64::new(inode_table_start),
            directory_table_start: U64::new(directory_table_start),
            fragment_table_start: U64::new(fragment_table_start),
            lookup_table_start: U64::new(u64::MAX),
            ..Superblock::default()
        };
        image[..size_of::<Superblock>()].copy_from_slice(superblock.as_bytes());
        self.want.sort();
        (image, self.want)
    }

    /// Writes a drawn directory with all that is in it.
    fn directory(&mut self, draw: &mut Draw<'_>, depth: u32) -> Written {
        let mut entries: Vec<(String, Written)> = Vec::new();
        for i in 0..draw.below(6) {
            let name = format!("{}{i}", "n".repeat(usize::from(draw.byte() % 200)));
            if draw.below(8) == 0 && !self.linkable.is_empty() {
                let (written, line) = draw.pick(&self.linkable).clone();
                self.want.push(format!("{name}{line}"));
                entries.push((name, written));
                continue;
            }
            let what = match draw.below(9) {
                0 if depth < 3 => What::Directory,
                1 => What::Symlink(vec![b't'; usize::from(draw.byte()) * 9 + 1]),
                2 => What::Char(Device {
                    major: 259,
                    minor: 70_000,
                }),
                3 => What::Fifo,
                4 => What::Socket,
                _ => What::File(content(draw)),
            };
            let meta = (
                0o4755,
                IDS[1],
                IDS[usize::from(draw.byte() % 3)],
                i64::from(u32::MAX),
            );
            let set = *draw.pick(&[NONE, 0, 1]);
            let written = match what {
                What::Directory => self.directory(draw, depth + 1),
                _ => self.inode(draw, &what, meta, set),
            };
            let line = if matches!(what, What::Directory) {
                line(name.as_bytes(), &what, (0o700, 0, 0, 7), &[])
            } else {
                line(name.as_bytes(), &what, meta, &xattrs(set))
            };
            if !matches!(what, What::Directory) {
                self.linkable.push((written, line[name.len()..].to_owned()));
            }
            self.want.push(line);
            entries.push((name, written));
        }
        self.listed(draw, &entries)
    }

    /// Writes a directory's listing and inode.
    fn listed(&mut self, draw: &mut Draw<'_>, entries: &[(String, Written)]) -> Written {
        let (start_block, offset) = self.listings.place();
        let mut len = 3;
        for run in entries.chunk_by(|a, b| a.1.place.0 == b.1.place.0) {
            self.listings.push(&DirHeader {
                count: U32::new(u32::try_from(run.len()).unwrap() - 1),
                start_block: U32::new(run[0].1.place.0),
                inode_number: U32::new(run[0].1.number),
            });
            len += size_of::<DirHeader>();
            for (name, written) in run {
                self.listings.push(&DirEntry {
                    offset: U16::new(written.place.1),
                    inode_number: U16::ZERO,
                    r#type: U16::new(written.kind),
                    size: U16::new(u16::try_from(name.len()).unwrap() - 1),
                });
                self.listings.push(name.as_bytes());
                len += size_of::<DirEntry>() + name.len();
            }
        }
        let extended = draw.below(2) == 1;
        let written = self.base(if extended { 8 } else { 1 }, 0o700, 0, 0, 7);
        if extended {
            self.inodes.push(&LdirInode {
                file_size: U32::new(u32::try_from(len).unwrap()),
                start_block: U32::new(start_block),
                offset: U16::new(offset),
                xattr: U32::new(NONE),
                ..LdirInode::default()
            });
        } else {
            self.inodes.push(&crate::squashfs::disk::DirInode {
                file_size: U16::new(u16::try_from(len).unwrap()),
                start_block: U32::new(start_block),
                offset: U16::new(offset),
                ..Default::default()
            });
        }
        written
    }

    fn base(&mut self, kind: u16, mode: u16, uid: u16, gid: u16, mtime: u32) -> Written {
        self.count += 1;
        let place = self.inodes.place();
        self.inodes.push(&BaseInode {
            inode_type: U16::new(kind),
            mode: U16::new(mode),
            uid: U16::new(uid),
            guid: U16::new(gid),
            mtime: U32::new(mtime),
            inode_number: U32::new(self.count),
        });
        Written {
            place,
            kind: (kind - 1) % 7 + 1,
            number: self.count,
        }
    }

    fn inode(&mut self, draw: &mut Draw<'_>, what: &What, meta: (u16, u32, u32, i64), set: u32) -> Written {
        let extended = set != NONE || draw.below(2) == 1;
        let kind = match what {
            What::Directory => panic!("has its own function"),
            What::File(_) => 2,
            What::Symlink(_) => 3,
            What::Char(_) => 5,
            What::Fifo => 6,
            What::Socket => 7,
        } + if extended { 7 } else { 0 };
        let gid = IDS.iter().position(|id| *id == meta.2).unwrap();
        let (start, sizes, fragment) = match what {
            What::File(bytes) => self.blocks(draw, bytes),
            _ => (0, Vec::new(), None),
        };
        let written = self.base(kind, meta.0, 1, u16::try_from(gid).unwrap(), u32::MAX);
        match what {
            What::File(bytes) => {
                let (fragment, offset) = fragment.map_or((NONE, 0), |offset| (0, offset));
                let len = u32::try_from(bytes.len()).unwrap();
                if extended {
                    self.inodes.push(&LregInode {
                        start_block: U64::new(start),
                        file_size: U64::new(len.into()),
                        fragment: U32::new(fragment),
                        offset: U32::new(offset),
                        xattr: U32::new(set),
                        ..LregInode::default()
                    });
                } else {
                    self.inodes.push(&RegInode {
                        start_block: U32::new(u32::try_from(start).unwrap()),
                        fragment: U32::new(fragment),
                        offset: U32::new(offset),
                        file_size: U32::new(len),
                    });
                }
                return self.sizes(written, &sizes);
            }
            What::Symlink(target) => {
                self.inodes.push(&SymlinkInode {
                    nlink: U32::new(1),
                    symlink_size: U32::new(u32::try_from(target.len()).unwrap()),
                });
                self.inodes.push(&target[..]);
            }
            What::Char(device) => self.inodes.push(&DevInode {
                nlink: U32::new(1),
                rdev: U32::new(device.minor & 0xff | device.major << 8 | (device.minor & 0xf_ff00) << 12),
            }),
            _ => self.inodes.push(&U32::new(1)),
        }
        if extended {
            self.inodes.push(&U32::new(set));
        }
        written
    }

    fn sizes(&mut self, written: Written, sizes: &[U32]) -> Written {
        self.inodes.push(sizes);
        written
    }

    /// Writes a file's blocks; gives where they begin, their sizes, and where in the fragment the end stands.
    fn blocks(&mut self, draw: &mut Draw<'_>, bytes: &[u8]) -> (u64, Vec<U32>, Option<u32>) {
        let start = u64::try_from(self.image.len()).unwrap();
        let in_fragment = draw.below(2) == 0 && self.fragment.len() + bytes.len() % BLOCK <= BLOCK;
        let (bytes, tail) = if in_fragment {
            bytes.split_at(bytes.len() / BLOCK * BLOCK)
        } else {
            (bytes, &b""[..])
        };
        let mut sizes = Vec::new();
        for block in bytes.chunks(BLOCK) {
            let packed = zlib(block);
            let size = if block.iter().all(|byte| *byte == 0) {
                0
            } else if draw.below(2) == 0 && packed.len() < block.len() {
                self.image.extend(&packed);
                u32::try_from(packed.len()).unwrap()
            } else {
                self.image.extend(block);
                u32::try_from(block.len()).unwrap() | DATA_UNCOMPRESSED
            };
            sizes.push(U32::new(size));
        }
        let offset = u32::try_from(self.fragment.len()).unwrap();
        self.fragment.extend(tail);
        (start, sizes, (!tail.is_empty()).then_some(offset))
    }
}

/// A file of a drawn length, with holes.
fn content(draw: &mut Draw<'_>) -> Vec<u8> {
    let len = *draw.pick(&[0, 1, 100, 4095, 4096, 4097, 8192, 20_000]);
    let mut bytes = filler(len, draw.byte());
    for block in bytes.chunks_mut(BLOCK) {
        if draw.below(3) == 0 {
            block.fill(0);
        }
    }
    bytes
}

/// The xattrs of a set.
fn xattrs(set: u32) -> Vec<Xattr> {
    let xattr = |name: &str, value: &[u8]| Xattr {
        name: name.into(),
        value: value.to_vec(),
    };
    match set {
        0 => vec![xattr("trusted.empty", b""), xattr("user.long", &[b'v'; 300])],
        1 => vec![xattr("security.same", &[b'v'; 300])],
        _ => Vec::new(),
    }
}

/// Appends both sets, the second with the value of the first; gives where their head begins.
fn xattr_tables(image: &mut Vec<u8>) -> u64 {
    let mut values = Table::default();
    let entry = |kind: u16, name: &str| XattrEntry {
        r#type: U16::new(kind),
        size: U16::new(u16::try_from(name.len()).unwrap()),
    };
    values.push(&entry(0, "long"));
    values.push(&b"long"[..]);
    let long = values.place().1;
    values.push(&U32::new(300));
    values.push(&[b'v'; 300][..]);
    values.push(&entry(1, "empty"));
    values.push(&b"empty"[..]);
    values.push(&U32::ZERO);
    let second = values.place().1;
    values.push(&entry(2 | XATTR_VALUE_OOL, "same"));
    values.push(&b"same"[..]);
    values.push(&U32::new(8));
    values.push(&U64::new(long.into()));
    let mut ids = Table::default();
    for (place, count) in [(0, 2), (second, 1)] {
        ids.push(&XattrId {
            xattr: U64::new(place.into()),
            count: U32::new(count),
            size: U32::ZERO,
        });
    }
    let xattr_table_start = values.end(image);
    let block = ids.end(image);
    let at = u64::try_from(image.len()).unwrap();
    let head = XattrIdTable {
        xattr_table_start: U64::new(xattr_table_start),
        xattr_ids: U32::new(2),
        unused: U32::ZERO,
    };
    image.extend(head.as_bytes());
    image.extend(block.to_le_bytes());
    at
}
