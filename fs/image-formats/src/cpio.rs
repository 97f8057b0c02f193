//! Trees as newc archives of cpio, what the kernel unpacks into its first root; and such archives [read] as trees.
//!
//! Spec: <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>
//!
//! Invariants:
//! - members come as a walk in the order of the names meets them, directories before what is in them; the root is `.`,
//!   and no other name begins with a dot and a slash;
//! - a node's inode is its number in the tree and one more, on device 0:0; all its names say so, and the last of them
//!   has the data, as GNU cpio writes it and every reader takes it;
//! - an archive is a function of the tree and the options, a whole number of blocks of 512 bytes long.
//!
//! The format knows neither holes nor extended attributes nor parts of seconds: see [`without_xattrs`]. Times before 1970
//! are written as 1970, and those after 2106 as that.

mod header;
mod reader;

use std::collections::BTreeSet;
use std::sync::Arc;

use image_core::map::{Builder, Extent, Map, MapError, Source};
use image_core::tree::{Content, Node, NodeId, Time, Tree, XattrsId};

use header::Header;
pub(crate) use header::TRAILER;
pub use reader::{CpioStore, Error, read};

/// The most bytes of a file: its length has eight digits.
pub const FILE_MAX: u64 = 0xffff_ffff;

/// The most bytes of a name, without the NUL that ends it.
pub const NAME_MAX: usize = 4095;

/// Archives are whole blocks of this many bytes.
const BLOCK: u64 = 512;

/// How an archive is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Times after this one are written as this one.
    pub latest: Option<Time>,
}

/// Why a tree cannot be an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A file is longer than a header can say.
    #[error("{}: {len} bytes have no place in a newc archive, whose files end at {FILE_MAX}", path.escape_ascii())]
    FileTooLong {
        /// The file's first name.
        path: Vec<u8>,
        /// Its length.
        len: u64,
    },
    /// A path is longer than the kernel takes.
    #[error("{}: a path of {len} bytes is too long for the kernel, which takes {NAME_MAX}", path.escape_ascii())]
    NameTooLong {
        /// The path.
        path: Vec<u8>,
        /// Its length.
        len: usize,
    },
    /// The root has an entry by the name that ends an archive.
    #[error("{}: a newc archive ends at a member of this name, so that it can have none", path.escape_ascii())]
    NameEndsArchive {
        /// The path.
        path: Vec<u8>,
    },
    /// The tree has more nodes than there are numbers for.
    #[error("{nodes} nodes: a newc archive has 4294967295 inodes at most")]
    TooManyNodes {
        /// Nodes of the tree.
        nodes: usize,
    },
    /// The archive would be longer than 2^64 bytes.
    #[error("the archive is too long: more than 2^64 bytes")]
    TooLong,
    /// Two parts of the archive overlap: a mistake of this module.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// One name of a node, in the order of the archive.
struct Member {
    path: Vec<u8>,
    node: NodeId,
    /// Whether it is the one with the data.
    last: bool,
}

/// The archive of a tree.
pub fn plan(tree: &Tree, options: &Options) -> Result<Map, PlanError> {
    let nodes = tree.nodes().len();
    if u32::try_from(nodes).is_err() {
        return Err(PlanError::TooManyNodes { nodes });
    }
    let mut heads = Vec::new();
    // Where each run of headers begins in the archive, and among the headers; and the data between them.
    let mut runs: Vec<(u64, usize)> = vec![(0, 0)];
    let mut files: Vec<(u64, NodeId)> = Vec::new();
    let mut at = 0_u64;
    for member in members(tree)? {
        let node = tree.node(member.node);
        let header = head(tree, &member, node, options)?;
        let before = length(&heads);
        header.write(&member.path, &mut heads);
        if let Content::Symlink(target) = &node.content {
            heads.extend_from_slice(tree.target(*target));
        }
        heads.resize(heads.len().next_multiple_of(4), 0);
        at = at.saturating_add(length(&heads).saturating_sub(before));
        if let (Content::File(data), true) = (&node.content, member.last)
            && data.len > 0
        {
            files.push((at, member.node));
            at = at
                .checked_add(data.len)
                .and_then(|end| end.checked_next_multiple_of(4))
                .ok_or(PlanError::TooLong)?;
            runs.push((at, heads.len()));
        }
    }
    let before = length(&heads);
    Header::trailer().write(TRAILER, &mut heads);
    at = at.saturating_add(length(&heads).saturating_sub(before));
    let len = at.checked_next_multiple_of(BLOCK).ok_or(PlanError::TooLong)?;
    let mut map = Map::builder(len);
    lay_headers(&mut map, &runs, heads);
    for (at, node) in files {
        if let Content::File(data) = &tree.node(node).content {
            for run in data.ranges() {
                let len = run.end.saturating_sub(run.start);
                map.file(at.saturating_add(run.start), data.file, run.start, len, "file");
            }
        }
    }
    Ok(map.build()?)
}

/// Lays the headers between the data of files.
fn lay_headers(map: &mut Builder, runs: &[(u64, usize)], heads: Vec<u8>) {
    let end = heads.len();
    let heads: Arc<[u8]> = heads.into();
    for (i, (start, offset)) in runs.iter().enumerate() {
        let next = runs.get(i.saturating_add(1)).map_or(end, |(_, offset)| *offset);
        map.extent(Extent {
            start: *start,
            len: u64::try_from(next.saturating_sub(*offset)).expect("a buffer's length is a u64"),
            source: Source::Bytes {
                bytes: Arc::clone(&heads),
                offset: *offset,
            },
            what: "member headers",
        });
    }
}

/// A small archive of files that are in memory, with the directories above them: what stands, uncompressed, before a
/// ramdisk, for those parts of the kernel that look before anything is unpacked.
pub fn early(files: &[(&[u8], &[u8])]) -> Result<Vec<u8>, PlanError> {
    let mut paths: BTreeSet<&[u8]> = BTreeSet::new();
    for (path, _) in files {
        for (i, byte) in path.iter().enumerate() {
            if *byte == b'/' {
                paths.insert(&path[..i]);
            }
        }
    }
    let directories = paths.iter().map(|path| (*path, None));
    let files = files.iter().map(|(path, bytes)| (*path, Some(*bytes)));
    let mut archive = Vec::new();
    for (inode, (path, bytes)) in (1..).zip(directories.chain(files)) {
        let bytes_len = bytes.map_or(0, length);
        let len = u32::try_from(bytes_len).map_err(|_| PlanError::FileTooLong {
            path: path.to_vec(),
            len: bytes_len,
        })?;
        if path.len() > NAME_MAX {
            return Err(name_too_long(path));
        }
        let mode = if bytes.is_some() { 0o100_644 } else { 0o040_755 };
        let header = Header {
            inode,
            mode,
            links: 1,
            len,
            ..Header::default()
        };
        header.write(path, &mut archive);
        archive.extend_from_slice(bytes.unwrap_or_default());
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    Header::trailer().write(TRAILER, &mut archive);
    let block = usize::try_from(BLOCK).expect("512 is a usize");
    archive.resize(archive.len().next_multiple_of(block), 0);
    Ok(archive)
}

/// The paths of what has extended attributes, which an archive leaves out: capabilities of programs, say.
pub fn without_xattrs(tree: &Tree) -> Vec<Vec<u8>> {
    let with = tree.iter().filter(|(_, node)| node.meta.xattrs != XattrsId::NONE);
    with.map(|(id, _)| tree.path(id)).collect()
}

/// All names, in order.
fn members(tree: &Tree) -> Result<Vec<Member>, PlanError> {
    let mut left: Vec<u32> = tree.nodes().iter().map(|node| node.links).collect();
    let mut members = vec![Member {
        path: b".".to_vec(),
        node: NodeId::ROOT,
        last: true,
    }];
    let mut stack = vec![(Vec::new(), NodeId::ROOT)];
    while let Some((path, id)) = stack.pop() {
        if id != NodeId::ROOT {
            let left = &mut left[id.index()];
            *left = left.saturating_sub(1);
            if path.len() > NAME_MAX {
                return Err(name_too_long(&path));
            }
            // Readers know the trailer by its whole name: deeper down it is one like any other.
            if path == TRAILER {
                return Err(PlanError::NameEndsArchive { path });
            }
            members.push(Member {
                path: path.clone(),
                node: id,
                last: *left == 0,
            });
        }
        if let Content::Directory(entries) = tree.node(id).content {
            let start = stack.len();
            for (name, child) in tree.entries(entries) {
                let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                stack.push(([&path, slash, name].concat(), child));
            }
            stack[start..].reverse();
        }
    }
    Ok(members)
}

fn name_too_long(path: &[u8]) -> PlanError {
    PlanError::NameTooLong {
        path: path.to_vec(),
        len: path.len(),
    }
}

fn head(tree: &Tree, member: &Member, node: &Node, options: &Options) -> Result<Header, PlanError> {
    let (kind, len, device) = match &node.content {
        Content::Directory(_) => (0o040_000, 0, None),
        Content::File(data) => (0o100_000, data.len, None),
        Content::Symlink(target) => (0o120_000, length(tree.target(*target)), None),
        Content::CharDevice(device) => (0o020_000, 0, Some(device)),
        Content::BlockDevice(device) => (0o060_000, 0, Some(device)),
        Content::Fifo => (0o010_000, 0, None),
        Content::Socket => (0o140_000, 0, None),
    };
    // Links that have several names are links all the same to the kernel, which looks for no first one.
    let whole = member.last || matches!(node.content, Content::Symlink(_));
    let len = if whole { len } else { 0 };
    let meta = &node.meta;
    let time = options.latest.map_or(meta.mtime, |latest| meta.mtime.min(latest));
    let inode = u32::try_from(member.node.index()).expect("plan() has counted the nodes");
    Ok(Header {
        inode: inode.saturating_add(1),
        mode: u32::from(meta.mode) | kind,
        owner: meta.uid,
        group: meta.gid,
        // A directory's links are its subdirectories too, by which nobody tells a hard link.
        links: if matches!(node.content, Content::Directory(_)) {
            1
        } else {
            node.links
        },
        time: u32::try_from(time.secs.clamp(0, u32::MAX.into())).expect("clamped"),
        len: u32::try_from(len).map_err(|_| PlanError::FileTooLong {
            path: tree.path(member.node),
            len,
        })?,
        device: device.map_or((0, 0), |device| (device.major, device.minor)),
    })
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a buffer's length is a u64")
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_core::store::FileId;
    use image_core::tree::{Data, Device, Meta, NewContent};

    fn tree(files: &[(&[u8], NewContent<'_>)]) -> Tree {
        let mut builder = Tree::builder(Meta::root(0o755));
        for (name, content) in files {
            let node = builder.node(Meta::root(0o644), content.clone()).unwrap();
            builder.link(NodeId::ROOT, name, node).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn what_has_no_place_is_refused_by_name() {
        let long = |len| tree(&[(b"big", NewContent::File(Data::dense(FileId(0), len)))]);
        assert!(plan(&long(FILE_MAX), &Options::default()).is_ok());
        let error = plan(&long(FILE_MAX + 1), &Options::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "big: 4294967296 bytes have no place in a newc archive, whose files end at 4294967295"
        );
        // 16 names of 255 bytes and the slashes between them are 4095 bytes.
        let deep = |last: &[u8]| {
            let mut builder = Tree::builder(Meta::root(0o755));
            let mut parent = NodeId::ROOT;
            for name in [&[b'n'; 255][..]; 15].iter().chain([&last]) {
                let node = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
                builder.link(parent, name, node).unwrap();
                parent = node;
            }
            plan(&builder.build().unwrap(), &Options::default())
        };
        assert!(deep(&[b'n'; 255]).is_ok());
        let mut builder = Tree::builder(Meta::root(0o755));
        let mut parent = NodeId::ROOT;
        for _ in 0..17 {
            let node = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
            builder.link(parent, &[b'n'; 240], node).unwrap();
            parent = node;
        }
        let error = plan(&builder.build().unwrap(), &Options::default()).unwrap_err();
        assert!(
            matches!(error, PlanError::NameTooLong { len: 4096, .. }),
            "{error}"
        );
    }

    #[test]
    fn the_name_that_ends_archives_is_refused_in_the_root_alone() {
        let error = plan(&tree(&[(TRAILER, NewContent::Fifo)]), &Options::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "TRAILER!!!: a newc archive ends at a member of this name, so that it can have none"
        );
        let mut builder = Tree::builder(Meta::root(0o755));
        let directory = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
        builder.link(NodeId::ROOT, b"a", directory).unwrap();
        let file = builder.node(Meta::root(0o644), NewContent::Fifo).unwrap();
        builder.link(directory, TRAILER, file).unwrap();
        builder.link(NodeId::ROOT, b"TRAILER!!!!", file).unwrap();
        assert!(plan(&builder.build().unwrap(), &Options::default()).is_ok());
    }

    #[test]
    fn an_archive_of_nothing_is_a_root_and_a_trailer() {
        let map = plan(&tree(&[]), &Options::default()).unwrap();
        assert_eq!(map.len(), 512);
        assert_eq!(map.to_string().lines().count(), 2, "{map}");
    }

    #[test]
    fn times_and_devices_are_told() {
        let mut builder = Tree::builder(Meta::root(0o755));
        let meta = Meta {
            mtime: Time { secs: 99, nanos: 1 },
            ..Meta::root(0o600)
        };
        let device = Device { major: 5, minor: 1 };
        let node = builder.node(meta, NewContent::CharDevice(device)).unwrap();
        builder.link(NodeId::ROOT, b"console", node).unwrap();
        let tree = builder.build().unwrap();
        let told = |latest| {
            let members = members(&tree).unwrap();
            let options = Options {
                latest: Some(Time {
                    secs: latest,
                    nanos: 0,
                }),
            };
            head(&tree, &members[1], tree.node(members[1].node), &options).unwrap()
        };
        assert_eq!((told(100).time, told(98).time, told(-1).time), (99, 98, 0));
        assert_eq!((told(0).device, told(0).mode), ((5, 1), 0o020_600));
    }

    #[test]
    fn early_files_have_their_directories() {
        let archive = early(&[
            (b"kernel/x86/microcode/AuthenticAMD.bin", b"amd"),
            (b"kernel/x86/microcode/GenuineIntel.bin", b"intel"),
        ])
        .unwrap();
        assert_eq!(archive.len() % 512, 0);
        let text = String::from_utf8(archive).unwrap();
        let names = [
            "kernel\0",
            "kernel/x86\0",
            "kernel/x86/microcode\0",
            "AMD.bin\0",
            "Intel.bin\0",
            "TRAILER!!!\0",
        ];
        let places: Vec<_> = names.iter().map(|name| text.find(name).unwrap()).collect();
        assert!(places.is_sorted(), "{places:?}");
    }
}
