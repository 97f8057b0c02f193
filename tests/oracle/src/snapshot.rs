//! Snapshots: all that can be seen of a tree, whoever shows it, so that two views of it can be compared.
//!
//! The walk below is not the product's `scan`: a bug there must not hide one in the writers.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use image_core::store::Open;
use image_core::tree::{Content, Node};
use image_core::{NodeId, Store, Tree};
use rustix::fs::{SeekFrom, lgetxattr, llistxattr};

/// All files by their paths from the root, which is the empty path.
pub type Snapshot = BTreeMap<Vec<u8>, File>;

/// What can be seen of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What it is.
    pub kind: Kind,
    /// Permissions.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// The least of the paths that name this file: equal for names of one file only.
    pub same_as: Vec<u8>,
    /// Names of it; for directories 2 and one for each subdirectory.
    pub links: u64,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular {
        /// Bytes in it.
        len: u64,
        /// A digest of its blocks that are not zero, and of where they are.
        digest: u64,
        /// Which of its 4 KiB blocks are data.
        data: Vec<Range<u64>>,
    },
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

const BLOCK: u64 = 4096;

/// What a directory of the host, perhaps a mounted image, shows.
pub fn of_dir(root: &Path) -> Snapshot {
    let mut snapshot = Snapshot::new();
    let mut inodes = HashMap::new();
    let mut seen: HashMap<_, Vec<u8>> = HashMap::new();
    let mut stack = vec![Vec::new()];
    let mut buf = vec![0; 64 << 10];
    while let Some(path) = stack.pop() {
        let host = root.join(OsStr::from_bytes(&path));
        let host = if path.is_empty() { root } else { &host };
        let fact = |error| panic!("{}: {error}", host.display());
        let metadata = fs::symlink_metadata(host).unwrap_or_else(fact);
        if metadata.is_dir() {
            for entry in fs::read_dir(host).unwrap_or_else(|error| panic!("{}: {error}", host.display())) {
                let name = entry
                    .unwrap_or_else(|error| panic!("{}: {error}", host.display()))
                    .file_name();
                stack.push(join(&path, name.as_bytes()));
            }
        }
        let inode = (metadata.dev(), metadata.ino());
        inodes.insert(path.clone(), inode);
        // One look at a file is enough, whatever it is called besides.
        if let Some(seen) = seen.get(&inode) {
            let seen = File::clone(&snapshot[seen]);
            snapshot.insert(path, seen);
            continue;
        }
        if metadata.nlink() > 1 && !metadata.is_dir() {
            seen.insert(inode, path.clone());
        }
        let file = File {
            kind: kind_of(host, &metadata),
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            mtime: (
                metadata.mtime(),
                u32::try_from(metadata.mtime_nsec()).expect("below 10^9"),
            ),
            same_as: Vec::new(),
            links: metadata.nlink(),
            xattrs: xattrs_of(host, &mut buf),
        };
        snapshot.insert(path, file);
    }
    identify(&mut snapshot, &inodes);
    snapshot
}

/// What a tree holds.
pub fn of_tree(tree: &Tree, store: &impl Store) -> Snapshot {
    let mut snapshot = Snapshot::new();
    let mut nodes = HashMap::new();
    let mut seen: HashMap<_, Vec<u8>> = HashMap::new();
    let mut stack = vec![(Vec::new(), NodeId::ROOT)];
    while let Some((path, id)) = stack.pop() {
        let node = tree.node(id);
        let mut links = u64::from(node.links);
        if let Content::Directory(entries) = node.content {
            links = 2;
            for (name, child) in tree.entries(entries) {
                links += u64::from(matches!(tree.node(child).content, Content::Directory(_)));
                stack.push((join(&path, name), child));
            }
        }
        nodes.insert(path.clone(), id);
        if let Some(seen) = seen.get(&id) {
            let seen = File::clone(&snapshot[seen]);
            snapshot.insert(path, seen);
            continue;
        }
        if node.links > 1 {
            seen.insert(id, path.clone());
        }
        let xattrs = tree.xattrs(node.meta.xattrs).iter();
        let file = File {
            kind: kind_in(tree, node, store),
            mode: node.meta.mode.into(),
            owner: (node.meta.uid, node.meta.gid),
            mtime: (node.meta.mtime.secs, node.meta.mtime.nanos),
            same_as: Vec::new(),
            links,
            xattrs: xattrs
                .map(|xattr| (xattr.name.clone(), xattr.value.clone()))
                .collect(),
        };
        snapshot.insert(path, file);
    }
    identify(&mut snapshot, &nodes);
    snapshot
}

/// What ext4-view, a reader written by others, finds in an image. It shows neither links, devices, xattrs nor holes:
/// compare with [`as_ext4_view_sees`].
pub fn of_ext4_view(image: &Path) -> Snapshot {
    let fs = ext4_view::Ext4::load_from_path(image).unwrap_or_else(|error| panic!("ext4-view: {error}"));
    let mut snapshot = Snapshot::new();
    let mut stack = vec![Vec::new()];
    while let Some(path) = stack.pop() {
        let absolute = [b"/", &path[..]].concat();
        let fact = |error: ext4_view::Ext4Error| -> ! {
            panic!("ext4-view: /{}: {error}", path.escape_ascii());
        };
        let metadata = fs
            .symlink_metadata(&absolute[..])
            .unwrap_or_else(|error| fact(error));
        let kind = match metadata.file_type() {
            ext4_view::FileType::Directory => {
                for entry in fs.read_dir(&absolute[..]).unwrap_or_else(|error| fact(error)) {
                    let entry = entry.unwrap_or_else(|error| fact(error));
                    let name = entry.file_name();
                    if !matches!(name.as_ref(), b"." | b"..") {
                        stack.push(join(&path, name.as_ref()));
                    }
                }
                Kind::Directory
            }
            ext4_view::FileType::Symlink => {
                let target = fs.read_link(&absolute[..]).unwrap_or_else(|error| fact(error));
                Kind::Symlink(target.as_ref().to_vec())
            }
            ext4_view::FileType::Regular => Kind::Regular {
                len: metadata.len(),
                digest: if metadata.len() <= VIEWED_MAX {
                    let bytes = fs.read(&absolute[..]).unwrap_or_else(|error| fact(error));
                    let mut digest = Digest::default();
                    digest.add(0, &bytes);
                    digest.finish()
                } else {
                    0
                },
                data: Vec::new(),
            },
            ext4_view::FileType::CharacterDevice => Kind::CharDevice(0, 0),
            ext4_view::FileType::BlockDevice => Kind::BlockDevice(0, 0),
            ext4_view::FileType::Fifo => Kind::Fifo,
            ext4_view::FileType::Socket => Kind::Socket,
        };
        let mtime = metadata.modified();
        let file = File {
            kind,
            mode: u32::from(metadata.mode()) & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            mtime: (mtime.seconds(), mtime.nanoseconds()),
            same_as: Vec::new(),
            links: 0,
            xattrs: BTreeMap::new(),
        };
        snapshot.insert(path, file);
    }
    snapshot
}

/// Files up to this length are read through ext4-view, which reads holes too.
const VIEWED_MAX: u64 = 64 << 20;

/// A snapshot without what ext4-view does not show.
pub fn as_ext4_view_sees(mut snapshot: Snapshot) -> Snapshot {
    for file in snapshot.values_mut() {
        file.links = 0;
        file.same_as.clear();
        file.xattrs.clear();
        match &mut file.kind {
            Kind::Regular { len, digest, data } => {
                data.clear();
                if *len > VIEWED_MAX {
                    *digest = 0;
                }
            }
            Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => (*major, *minor) = (0, 0),
            _ => {}
        }
    }
    snapshot
}

/// Panics with the first differences unless an image shows what it should.
///
/// The `/lost+found` that the writer adds is no difference, and a directory whose links its file system does not count
/// has 1.
pub fn assert_same(expected: &Snapshot, found: &Snapshot) {
    let adds_lost_found = !expected.contains_key(LOST_FOUND) && found.contains_key(LOST_FOUND);
    let mut differences = Vec::new();
    for (path, file) in expected {
        let Some(other) = found.get(path) else {
            differences.push(format!("/{}: missing", path.escape_ascii()));
            continue;
        };
        let mut file = file.clone();
        if path.is_empty() && adds_lost_found && file.links > 0 {
            file.links += 1;
        }
        if file.kind == Kind::Directory && other.links == 1 && file.links > 65_000 {
            file.links = 1;
        }
        if file != *other {
            differences.push(format!(
                "/{}:\n  expected {file:?}\n  found    {other:?}",
                path.escape_ascii()
            ));
        }
    }
    let extra = found
        .keys()
        .filter(|path| !(expected.contains_key(*path) || adds_lost_found && path[..] == *LOST_FOUND));
    differences.extend(extra.map(|path| format!("/{}: not expected", path.escape_ascii())));
    let shown: Vec<_> = differences.iter().take(10).map(String::as_str).collect();
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        shown.join("\n")
    );
}

const LOST_FOUND: &[u8] = b"lost+found";

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        name.to_vec()
    } else {
        [dir, b"/", name].concat()
    }
}

/// Names every file after the least path that leads to it.
fn identify<K: Copy + Eq + std::hash::Hash>(snapshot: &mut Snapshot, ids: &HashMap<Vec<u8>, K>) {
    let mut first: HashMap<K, Vec<u8>> = HashMap::new();
    for (path, file) in snapshot {
        let least = first.entry(ids[path]).or_insert_with(|| path.clone());
        file.same_as.clone_from(least);
    }
}

fn kind_of(path: &Path, metadata: &Metadata) -> Kind {
    let kind = metadata.file_type();
    let device = (
        rustix::fs::major(metadata.rdev()),
        rustix::fs::minor(metadata.rdev()),
    );
    if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        let target = fs::read_link(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Kind::Symlink(target.as_os_str().as_bytes().to_vec())
    } else if kind.is_char_device() {
        Kind::CharDevice(device.0, device.1)
    } else if kind.is_block_device() {
        Kind::BlockDevice(device.0, device.1)
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else {
        regular(path, metadata.len()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

fn regular(path: &Path, len: u64) -> io::Result<Kind> {
    let file = fs::File::open(path)?;
    let mut data = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&file, SeekFrom::Hole(start))?;
        data.push(start..end);
        at = end;
    }
    let data = rounded(data, len);
    let mut digest = Digest::default();
    let mut buf = vec![0; PIECE];
    for range in &data {
        let mut at = range.start;
        while at < range.end {
            let want = buf
                .len()
                .min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
            file.read_exact_at(&mut buf[..want], at)?;
            digest.add(at, &buf[..want]);
            at += want as u64;
        }
    }
    // The last block again, through the ordinary call: a read must end where the length says.
    let mut reader = &file;
    io::Seek::seek(&mut reader, io::SeekFrom::Start(len.saturating_sub(1)))?;
    let tail = reader.take(2).read(&mut [0; 2])?;
    assert_eq!(tail as u64, len.min(1), "{} ends elsewhere", path.display());
    Ok(Kind::Regular {
        len,
        digest: digest.finish(),
        data,
    })
}

fn kind_in(tree: &Tree, node: &Node, store: &impl Store) -> Kind {
    match &node.content {
        Content::Directory(_) => Kind::Directory,
        Content::Symlink(target) => Kind::Symlink(tree.target(*target).to_vec()),
        Content::CharDevice(device) => Kind::CharDevice(device.major, device.minor),
        Content::BlockDevice(device) => Kind::BlockDevice(device.major, device.minor),
        Content::Fifo => Kind::Fifo,
        Content::Socket => Kind::Socket,
        Content::File(file) => {
            let data: Vec<_> = file.ranges().collect();
            let open = (!data.is_empty()).then(|| store.open(file.file).expect("the store has the file"));
            let mut digest = Digest::default();
            for range in rounded(data.clone(), file.len) {
                // Piece by piece: a file may be larger than memory.
                for start in range.clone().step_by(PIECE) {
                    let end = range.end.min(start + PIECE as u64);
                    let bytes = bytes_in(open.as_deref(), &data, start..end);
                    digest.add(start, &bytes);
                }
            }
            Kind::Regular {
                len: file.len,
                digest: digest.finish(),
                data: rounded(data, file.len),
            }
        }
    }
}

/// Bytes that are read at once: whole blocks.
const PIECE: usize = 1 << 20;

/// A piece of a file in a store. What lies between its ranges of data is zero.
fn bytes_in(open: Option<&dyn Open>, data: &[Range<u64>], piece: Range<u64>) -> Vec<u8> {
    let at = |byte: u64| usize::try_from(byte - piece.start).expect("fits memory");
    let mut bytes = vec![0; at(piece.end)];
    let first = data.partition_point(|part| part.end <= piece.start);
    for part in data[first..].iter().take_while(|part| part.start < piece.end) {
        let (start, end) = (part.start.max(piece.start), part.end.min(piece.end));
        if let Some(open) = open {
            open.read_exact_at(&mut bytes[at(start)..at(end)], start)
                .expect("the store has the bytes");
        }
    }
    bytes
}

/// Ranges as whole blocks, joined where they touch, but none past the end.
fn rounded(ranges: Vec<Range<u64>>, len: u64) -> Vec<Range<u64>> {
    let mut blocks: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let start = range.start / BLOCK * BLOCK;
        let end = range.end.next_multiple_of(BLOCK).min(len);
        match blocks.last_mut() {
            Some(last) if last.end >= start => last.end = end,
            _ => blocks.push(start..end),
        }
    }
    blocks
}

fn xattrs_of(path: &Path, buf: &mut [u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let len = match llistxattr(path, &mut *buf) {
        Ok(len) => len,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => panic!("xattrs of {}: {error}", path.display()),
    };
    let names = buf[..len].to_vec();
    names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| match lgetxattr(path, name, &mut *buf) {
            Ok(len) => Some((name.to_vec(), buf[..len].to_vec())),
            // Listed, but not shown: `user.` of what is neither file nor directory, ACLs of symlinks.
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => None,
            Err(error) => panic!("{} of {}: {error}", name.escape_ascii(), path.display()),
        })
        .collect()
}

/// A digest of the blocks of a file that are not zero.
#[derive(Default)]
struct Digest(DefaultHasher);

impl Digest {
    /// Adds bytes, of which the first lies at a multiple of the block size.
    fn add(&mut self, at: u64, bytes: &[u8]) {
        for (i, block) in (0..).zip(bytes.chunks(4096)) {
            // Zeros at the end of a block are the same as a block that ends earlier.
            let len = block
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            if len > 0 {
                self.0.write_u64(at + i * BLOCK);
                self.0.write_usize(len);
                self.0.write(&block[..len]);
            }
        }
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}
