//! The laws of archives: what is read back is what was written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Cursor, Seek, Write as _};
use std::num::NonZero;
use std::path::Path;

use image_core::copy;
use image_core::laws::{Draw, copied, filler};
use image_core::store::{MemoryStore, Store};
use image_core::tree::{Content, Data, Device, Meta, NewContent, NodeId, Time, Tree, Xattr};

use crate::cpio::TRAILER;
use crate::squashfs::{self, Compression, SquashfsSink};
use crate::tar::{self, WriteOptions};

/// An ACL as the system's xattr calls show it: a user and a mask besides what a mode says.
const ACL: &[u8] = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x07\0\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x05\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

/// The archive of any tree is read as that tree, with its holes or with zeros in their places.
pub fn tar_plan(bytes: &[u8], file: &mut dyn FnMut() -> File) {
    let mut draw = Draw::new(bytes);
    let sparse = draw.below(2) == 0;
    let (tree, store) = tree(&mut draw, 0x1f_ffff);
    let options = WriteOptions {
        sparse,
        prefix: draw.pick(&[&b"./"[..], b"", b"rootfs/"]).to_vec(),
        ..WriteOptions::default()
    };
    let map = tar::plan(&tree, &options).unwrap();
    let mut archive = file();
    archive.write_all(&copied(&map, &store)).unwrap();
    archive.rewind().unwrap();
    let (read, read_store) = tar::read(archive, Path::new("archive")).unwrap();
    let mut want = facts(&tree, &store, sparse, &|time| time);
    let (names, sockets) = (want.len(), tar::left_out(&tree).len());
    want.retain(|_, fact| !fact.ends_with(" Socket"));
    assert!(want.len() + sockets <= names && (sockets > 0) == (want.len() < names));
    let mut found = facts(&read, &read_store, sparse, &|time| time);
    let strip = options.prefix == b"rootfs/";
    if options.prefix.is_empty() {
        // The root has no name then, and is no member.
        want.remove(&b""[..]);
        found.remove(&b""[..]);
    }
    if strip {
        found.remove(&b""[..]);
        found = found
            .into_iter()
            .map(|(path, fact)| {
                let rest = path.strip_prefix(b"rootfs").unwrap();
                let fact = fact.replace("first name rootfs/", "first name ");
                (rest.strip_prefix(b"/").unwrap_or(rest).to_vec(), fact)
            })
            .collect();
    }
    assert_same(&found, &want);
}

/// The image of any tree is read as that tree, but for what squashfs cannot say, and is the same on two threads.
pub fn squashfs_plan(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let options = squashfs::WriteOptions {
        compression: *draw.pick(&[Compression::Gzip, Compression::Gzip, Compression::Xz]),
        block: *draw.pick(&[4096, 8192]),
        ..squashfs::WriteOptions::default()
    };
    let (tree, store) = tree(&mut draw, 0xf_ffff);
    let [image, again] = [1, 2].map(|threads| {
        let plan = squashfs::plan(&tree, &options).unwrap();
        let map = plan.map().clone();
        let threads = NonZero::new(threads).unwrap();
        let mut sink = SquashfsSink::new(Cursor::new(Vec::new()), plan, threads).unwrap();
        copy(&map, &store, &mut sink).unwrap();
        sink.into_inner().unwrap().into_inner()
    });
    assert!(image == again, "the number of threads shows");
    let time = |time: Time| Time {
        secs: time.secs.clamp(0, u32::MAX.into()),
        nanos: 0,
    };
    let mut want = facts(&tree, &store, false, &time);
    let acl = format!("system.posix_acl_access={} ", ACL.escape_ascii());
    for fact in want.values_mut() {
        *fact = fact.replace(&acl, "");
    }
    let (read, read_store) = squashfs::read(image).unwrap();
    assert_same(&facts(&read, &read_store, false, &|time| time), &want);
}

/// Tells the first difference, since all would fill pages.
fn assert_same(found: &BTreeMap<Vec<u8>, String>, want: &BTreeMap<Vec<u8>, String>) {
    for path in found.keys().chain(want.keys()) {
        assert_eq!(found.get(path), want.get(path), "{}", path.escape_ascii());
    }
}

/// What a tree says of each of its names. Holes are told where they should be the same.
pub fn facts(
    tree: &Tree,
    store: &impl Store,
    holes: bool,
    time: &dyn Fn(Time) -> Time,
) -> BTreeMap<Vec<u8>, String> {
    let mut facts = BTreeMap::new();
    let mut firsts: BTreeMap<NodeId, Vec<u8>> = BTreeMap::new();
    let mut stack = vec![(Vec::new(), NodeId::ROOT)];
    while let Some((path, id)) = stack.pop() {
        let node = tree.node(id);
        if let Content::Directory(entries) = node.content {
            let below = tree.entries(entries).map(|(name, id)| {
                let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                ([&path[..], slash, name].concat(), id)
            });
            stack.extend(below.collect::<Vec<_>>().into_iter().rev());
        }
        let first = firsts.entry(id).or_insert_with(|| path.clone());
        let Meta {
            mode,
            uid,
            gid,
            mtime,
            ..
        } = node.meta;
        let mtime = time(mtime);
        let mut fact = format!("{mode:o} {uid}:{gid} {}.{:09} ", mtime.secs, mtime.nanos);
        for Xattr { name, value } in tree.xattrs(node.meta.xattrs) {
            write!(fact, "{}={} ", name.escape_ascii(), value.escape_ascii()).unwrap();
        }
        match &node.content {
            Content::Directory(_) => fact.push_str("directory"),
            Content::File(data) => {
                fact.push_str(&file_facts(store, data, holes));
                write!(fact, ", first name {}", first.escape_ascii()).unwrap();
            }
            Content::Symlink(target) => write!(fact, "to {}", tree.target(*target).escape_ascii()).unwrap(),
            other => write!(fact, "{other:?}").unwrap(),
        }
        facts.insert(path, fact);
    }
    facts
}

/// All bytes of a file, its holes as zeros.
fn bytes_of(store: &impl Store, data: &Data) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(data.len).unwrap()];
    let open = store.open(data.file).unwrap();
    for run in data.ranges() {
        let place = usize::try_from(run.start).unwrap()..usize::try_from(run.end).unwrap();
        open.read_exact_at(&mut bytes[place], run.start).unwrap();
    }
    open.finish().unwrap();
    bytes
}

/// What a node is in the words of `stat`: its mode below the bits of its kind, the number of its device, and its bytes or
/// where it leads.
pub(super) fn stat(tree: &Tree, store: &impl Store, id: NodeId) -> (u32, (u32, u32), Vec<u8>) {
    let node = tree.node(id);
    let (kind, device, data) = match &node.content {
        Content::Fifo => (1, None, Vec::new()),
        Content::CharDevice(device) => (2, Some(device), Vec::new()),
        Content::Directory(_) => (4, None, Vec::new()),
        Content::BlockDevice(device) => (6, Some(device), Vec::new()),
        Content::File(data) => (8, None, bytes_of(store, data)),
        Content::Symlink(target) => (10, None, tree.target(*target).to_vec()),
        Content::Socket => (12, None, Vec::new()),
    };
    let device = device.map_or((0, 0), |device| (device.major, device.minor));
    (kind << 12 | u32::from(node.meta.mode & 0o7777), device, data)
}

fn file_facts(store: &impl Store, data: &Data, holes: bool) -> String {
    let bytes = bytes_of(store, data);
    let sum = bytes.iter().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte)
    });
    let runs: Vec<_> = data.ranges().filter(|_| holes).collect();
    format!("{} bytes, {sum:x}, {runs:?}", data.len)
}

/// A tree of drawn nodes of every kind, with device numbers up to `device`, and the store of its files.
pub(super) fn tree(draw: &mut Draw<'_>, device: u32) -> (Tree, MemoryStore) {
    let mut store = MemoryStore::default();
    let mut builder = Tree::builder(Meta::root(0o755));
    let mut directories = vec![NodeId::ROOT];
    let mut others = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    while !draw.is_empty() && names.len() < 60 {
        let parent = *draw.pick(&directories);
        let letter = draw.byte().max(1);
        let letter = if matches!(letter, b'/' | b'.') {
            b'_'
        } else {
            letter
        };
        let mut name = vec![letter; usize::from(*draw.pick(&[1, 2, 98, 101, 255_u8]))];
        // A name that means something to one of the formats, now and then.
        if letter == b'!' {
            name = TRAILER.to_vec();
        }
        if !names.insert((parent, name.clone())) {
            continue;
        }
        let kind = draw.below(10);
        if kind == 0 && !others.is_empty() {
            builder.link(parent, &name, *draw.pick(&others)).unwrap();
            continue;
        }
        let set = xattrs(draw);
        let meta = Meta {
            mode: u16::try_from(draw.below(0o10000)).unwrap(),
            uid: *draw.pick(&[0, 1000, 0x1f_ffff, 0x20_0000, u32::MAX]),
            gid: *draw.pick(&[0, 7, 0x20_0000]),
            mtime: Time {
                secs: *draw.pick(&[0, 1_700_000_000, -2, 0x2_0000_0000, 1 << 40]),
                nanos: *draw.pick(&[0, 1, 750_000_000]),
            },
            xattrs: builder.xattrs(set).unwrap(),
        };
        let number = Device {
            major: *draw.pick(&[1, 8, 0xfff]),
            minor: *draw.pick(&[3, 0xff, device]),
        };
        let target = vec![letter; usize::from(*draw.pick(&[1, 100, 101, 255_u8])) * 7];
        let content = match kind {
            1 | 2 => NewContent::Directory,
            3 => NewContent::Symlink(&target),
            4 => NewContent::CharDevice(number),
            5 => NewContent::BlockDevice(number),
            6 => NewContent::Fifo,
            7 => NewContent::Socket,
            _ => NewContent::File(file(draw, &mut store)),
        };
        let is_directory = matches!(content, NewContent::Directory);
        let node = builder.node(meta, content).unwrap();
        builder.link(parent, &name, node).unwrap();
        if is_directory {
            directories.push(node);
        } else {
            others.push(node);
        }
    }
    (builder.build().unwrap(), store)
}

/// A file about as long as blocks are, dense or with holes.
fn file(draw: &mut Draw<'_>, store: &mut MemoryStore) -> Data {
    let len = *draw.pick(&[0, 1, 511, 512, 513, 4095, 4096, 9000_usize]) + usize::from(draw.byte()) * 37;
    let mut bytes = filler(len, draw.byte());
    let mut runs = Vec::new();
    if draw.below(2) == 0 {
        return Data::dense(store.push(bytes), u64::try_from(len).unwrap());
    }
    let mut at = usize::from(draw.byte()) * 9;
    let mut end = 0;
    while at < len && runs.len() < 60 {
        bytes[end..at].fill(0);
        end = (at + 1 + usize::from(draw.byte()) * 5).min(len);
        runs.push(u64::try_from(at).unwrap()..u64::try_from(end).unwrap());
        at = end + 1 + usize::from(draw.byte()) * 40;
    }
    bytes[end..].fill(0);
    Data {
        file: store.push(bytes),
        len: u64::try_from(len).unwrap(),
        ranges: Some(runs.into()),
    }
}

fn xattrs(draw: &mut Draw<'_>) -> Vec<Xattr> {
    let all: [(&[u8], &[u8]); 6] = [
        (b"user.a", b"=\n\0 1"),
        (b"user.=%25%3d", b""),
        (
            b"security.capability",
            &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (b"security.selinux", b"u:r:t:s0\0"),
        (b"system.posix_acl_access", ACL),
        (b"trusted.overlay.opaque", b"y"),
    ];
    let wanted = draw.below(4) == 3;
    let mask = if wanted { draw.byte() } else { 0 };
    let chosen = all.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
    chosen
        .map(|(_, (name, value))| Xattr {
            name: name.to_vec(),
            value: value.to_vec(),
        })
        .collect()
}
