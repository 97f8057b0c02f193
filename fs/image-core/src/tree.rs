//! A root tree as a value: what `scan` returns and what planners read.
//!
//! A tree is three flat tables and two arenas: nodes (inodes), entries (names in directories) and xattr sets; bytes of
//! names and symlink targets stand in one arena, as bytes, since Linux names are no strings. Compact, because a
//! tree of a million files must fit beside the plan that is made of it.
//!
//! Invariants, established by [`Builder::build`]:
//! - node 0 is the root directory; every node is reached from it, every directory by exactly one entry;
//! - a directory's entries are sorted by the bytes of their names, which are unique, 1..=255 bytes long, without `/`
//!   and NUL, and neither `.` nor `..`;
//! - nodes are numbered in the order in which a depth-first walk in entry order meets them, a directory's entries
//!   before the entries of its subdirectories: one tree has one form, however it was collected.

mod attributed;
mod emptied;
mod portable;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::store::FileId;

/// An immutable root tree. Clones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(Arc<Tables>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tables {
    nodes: Vec<Node>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    xattrs: Vec<Arc<[Xattr]>>,
}

/// A node of a [`Tree`], by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

/// An inode: everything about a file but its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Owner, mode, time and xattrs.
    pub meta: Meta,
    /// What kind of file it is, and what it holds.
    pub content: Content,
    /// How many entries name it.
    pub links: u32,
}

/// What every kind of file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time. The host's access and change times are noise, and not kept.
    pub mtime: Time,
    /// Extended attributes.
    pub xattrs: XattrsId,
}

impl Meta {
    /// Root's, with the given mode, no xattrs, at second 0.
    pub fn root(mode: u16) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            xattrs: XattrsId::NONE,
        }
    }
}

/// A point in time: seconds since 1970-01-01 UTC, which may be negative, and nanoseconds after that second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since the epoch.
    pub secs: i64,
    /// Nanoseconds, below 10^9.
    pub nanos: u32,
}

/// A set of xattrs of a [`Tree`]; equal sets have equal ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XattrsId(u32);

impl XattrsId {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The id as an index, below [`Tree::xattr_sets`].
    pub fn index(self) -> usize {
        index(self.0)
    }
}

/// An extended attribute, as the system's xattr calls show it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// The full name with its prefix: `user.mime_type`.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A directory: see [`Tree::entries`].
    Directory(Entries),
    /// A regular file.
    File(Data),
    /// A symbolic link: see [`Tree::target`].
    Symlink(Target),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// The entries of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    first: u32,
    count: u32,
}

/// A name in the tree's arena, or a symlink's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    start: u32,
    len: u16,
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// What a regular file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Where its bytes come from.
    pub file: FileId,
    /// Its length in bytes.
    pub len: u64,
    /// Which of its bytes are data, sorted, disjoint, inside `0..len`; the rest is holes. `None`: all of them.
    pub ranges: Option<Arc<[Range<u64>]>>,
}

impl Data {
    /// A file without holes.
    pub fn dense(file: FileId, len: u64) -> Self {
        Self {
            file,
            len,
            ranges: None,
        }
    }

    /// A file of which just these bytes are data: sorted, no two ranges touching, inside `0..len`.
    pub fn with_ranges(file: FileId, len: u64, ranges: Vec<Range<u64>>) -> Self {
        let dense = match &ranges[..] {
            [] => len == 0,
            [range] => *range == (0..len),
            _ => false,
        };
        Self {
            file,
            len,
            ranges: (!dense).then(|| ranges.into()),
        }
    }

    /// The runs of data, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let whole = (self.ranges.is_none() && self.len > 0).then_some(0..self.len);
        self.ranges
            .iter()
            .flat_map(|ranges| ranges.iter().cloned())
            .chain(whole)
    }
}

impl Entries {
    /// Where the entries stand among all entries of the tree: a directory's are neighbours.
    pub(crate) fn range(self) -> Range<u32> {
        self.first..self.first.saturating_add(self.count)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    name: Target,
    node: NodeId,
}

/// Why nodes and names do not make a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A name that no directory can hold.
    #[error("'{}' cannot be the name of a file", .0.escape_ascii())]
    BadName(Vec<u8>),
    /// A symlink's target is empty, holds NUL or is longer than 4095 bytes.
    #[error("'{}' cannot be the target of a symbolic link", .0.escape_ascii())]
    BadTarget(Vec<u8>),
    /// One directory has two entries of one name.
    #[error("two entries of one directory are named '{}'", .0.escape_ascii())]
    DuplicateName(Vec<u8>),
    /// A directory was given a second name, or one above itself.
    #[error("directory '{}' is named twice, or lies within itself", .0.escape_ascii())]
    DirectoryLoop(Vec<u8>),
    /// An entry was put into something that is no directory.
    #[error("'{}' was put into something that is no directory", .0.escape_ascii())]
    NotADirectory(Vec<u8>),
    /// Names and targets need more than 4 GiB, or there are more than 2^32 nodes or entries.
    #[error("the tree is too large: more than 2^32 nodes, entries or bytes of names")]
    TooLarge,
}

impl NodeId {
    /// The root directory.
    pub const ROOT: Self = Self(0);

    /// The id as an index.
    pub fn index(self) -> usize {
        index(self.0)
    }
}

fn index(i: u32) -> usize {
    usize::try_from(i).expect("a u32 fits usize on every target that builds images")
}

fn count(i: usize) -> Result<u32, TreeError> {
    u32::try_from(i).map_err(|_| TreeError::TooLarge)
}

impl Tree {
    /// Starts a tree with its root directory.
    pub fn builder(root: Meta) -> Builder {
        let content = Content::Directory(Entries { first: 0, count: 0 });
        Builder {
            nodes: vec![Node {
                meta: root,
                content,
                links: 0,
            }],
            links: Vec::new(),
            bytes: Vec::new(),
            xattrs: vec![Arc::new([])],
            xattr_ids: HashMap::from([(Arc::from([]), XattrsId::NONE)]),
        }
    }

    /// All nodes, in the order of their ids.
    pub fn nodes(&self) -> &[Node] {
        &self.0.nodes
    }

    /// All nodes with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).map(NodeId).zip(&self.0.nodes)
    }

    /// The id of the node that [`Tree::nodes`] has at an index.
    pub fn id(&self, index: usize) -> Option<NodeId> {
        let id = u32::try_from(index).ok().map(NodeId)?;
        (index < self.nodes().len()).then_some(id)
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.0.nodes[id.index()]
    }

    /// A directory's entries, sorted by name. `.` and `..` are not among them.
    pub fn entries(&self, entries: Entries) -> impl ExactSizeIterator<Item = (&[u8], NodeId)> + Clone {
        let first = index(entries.first);
        let end = first.saturating_add(index(entries.count));
        self.0.entries[first..end]
            .iter()
            .map(|entry| (self.text(entry.name), entry.node))
    }

    /// One entry of a directory, by its place among [`Tree::entries`].
    pub fn nth_entry(&self, entries: Entries, i: usize) -> Option<(&[u8], NodeId)> {
        let i = u32::try_from(i).ok().filter(|i| *i < entries.count)?;
        Some(self.entry(entries.first.checked_add(i)?))
    }

    /// A symlink's target.
    pub fn target(&self, target: Target) -> &[u8] {
        self.text(target)
    }

    /// What a copy of a node in another tree is: for a directory, one that is empty so far.
    pub fn new_content(&self, node: &Node) -> NewContent<'_> {
        match &node.content {
            Content::Directory(_) => NewContent::Directory,
            Content::File(data) => NewContent::File(data.clone()),
            Content::Symlink(target) => NewContent::Symlink(self.target(*target)),
            Content::CharDevice(device) => NewContent::CharDevice(*device),
            Content::BlockDevice(device) => NewContent::BlockDevice(*device),
            Content::Fifo => NewContent::Fifo,
            Content::Socket => NewContent::Socket,
        }
    }

    /// A set of xattrs, sorted by name.
    pub fn xattrs(&self, id: XattrsId) -> &[Xattr] {
        &self.0.xattrs[index(id.0)]
    }

    /// How many distinct sets of xattrs there are; ids are below it.
    pub fn xattr_sets(&self) -> usize {
        self.0.xattrs.len()
    }

    /// The first path that leads to a node, from the root, without a leading `/`; for messages.
    pub fn path(&self, node: NodeId) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut child = node;
        while child != NodeId::ROOT {
            // Entries are laid out as nodes are numbered, so the first match is the first in a walk.
            let Some(at) = self.0.entries.iter().position(|entry| entry.node == child) else {
                break;
            };
            parts.push(self.text(self.0.entries[at].name));
            let holds = |node: &Node| match node.content {
                Content::Directory(entries) => (index(entries.first)
                    ..index(entries.first).saturating_add(index(entries.count)))
                    .contains(&at),
                _ => false,
            };
            let Some((parent, _)) = self.iter().find(|(_, node)| holds(node)) else {
                break;
            };
            child = parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// An entry by its place among all entries, which [`Entries::range`] counts.
    pub(crate) fn entry(&self, at: u32) -> (&[u8], NodeId) {
        let entry = &self.0.entries[index(at)];
        (self.text(entry.name), entry.node)
    }

    fn text(&self, text: Target) -> &[u8] {
        let start = index(text.start);
        &self.0.bytes[start..start.saturating_add(usize::from(text.len))]
    }
}

/// What a new node is; entries of directories come by [`Builder::link`].
#[derive(Clone, Debug)]
pub enum NewContent<'a> {
    /// A directory, empty so far.
    Directory,
    /// A regular file.
    File(Data),
    /// A symbolic link to the given target.
    Symlink(&'a [u8]),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Collects nodes and names in any order; [`Builder::build`] sorts, checks and numbers them.
#[derive(Debug)]
pub struct Builder {
    nodes: Vec<Node>,
    links: Vec<Link>,
    bytes: Vec<u8>,
    xattrs: Vec<Arc<[Xattr]>>,
    xattr_ids: HashMap<Arc<[Xattr]>, XattrsId>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    parent: NodeId,
    name: Target,
    node: NodeId,
}

impl Builder {
    /// Makes room for `nodes` more nodes, each with one name.
    pub fn reserve(&mut self, nodes: usize) {
        self.nodes.reserve_exact(nodes);
        self.links.reserve_exact(nodes);
    }

    /// Adds a set of xattrs, or finds it; names are unique, in any order.
    pub fn xattrs(&mut self, mut set: Vec<Xattr>) -> Result<XattrsId, TreeError> {
        set.sort_unstable();
        let set: Arc<[Xattr]> = set.into();
        if let Some(id) = self.xattr_ids.get(&set) {
            return Ok(*id);
        }
        let id = XattrsId(count(self.xattrs.len())?);
        self.xattrs.push(Arc::clone(&set));
        self.xattr_ids.insert(set, id);
        Ok(id)
    }

    /// Adds a node, which has no name yet; one that never gets a name is left out of the tree.
    ///
    /// The id is the builder's: [`Builder::build`] numbers the nodes anew.
    pub fn node(&mut self, meta: Meta, content: NewContent<'_>) -> Result<NodeId, TreeError> {
        let content = match content {
            NewContent::Directory => Content::Directory(Entries { first: 0, count: 0 }),
            NewContent::File(data) => Content::File(data),
            NewContent::Symlink(target) => {
                if target.is_empty() || target.len() > 4095 || target.contains(&0) {
                    return Err(TreeError::BadTarget(target.to_vec()));
                }
                Content::Symlink(self.text(target)?)
            }
            NewContent::CharDevice(device) => Content::CharDevice(device),
            NewContent::BlockDevice(device) => Content::BlockDevice(device),
            NewContent::Fifo => Content::Fifo,
            NewContent::Socket => Content::Socket,
        };
        let id = NodeId(count(self.nodes.len())?);
        self.nodes.push(Node {
            meta,
            content,
            links: 0,
        });
        Ok(id)
    }

    /// Changes what a node has, say when an archive names its directory after the files in it.
    pub fn set_meta(&mut self, node: NodeId, meta: Meta) {
        self.nodes[node.index()].meta = meta;
    }

    /// Names a node in a directory.
    pub fn link(&mut self, parent: NodeId, name: &[u8], node: NodeId) -> Result<(), TreeError> {
        let bad = name.is_empty() || name.len() > 255 || name == b"." || name == b"..";
        if bad || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
            return Err(TreeError::BadName(name.to_vec()));
        }
        if !matches!(self.nodes[parent.index()].content, Content::Directory(_)) {
            return Err(TreeError::NotADirectory(name.to_vec()));
        }
        let named = &mut self.nodes[node.index()];
        if matches!(named.content, Content::Directory(_)) && (named.links > 0 || node == NodeId::ROOT) {
            return Err(TreeError::DirectoryLoop(name.to_vec()));
        }
        named.links = named.links.checked_add(1).ok_or(TreeError::TooLarge)?;
        let name = self.text(name)?;
        self.links.push(Link { parent, name, node });
        Ok(())
    }

    /// Sorts the entries, checks the invariants and numbers the nodes.
    pub fn build(mut self) -> Result<Tree, TreeError> {
        self.nodes[0].links = 0;
        let text = |t: Target| &self.bytes[index(t.start)..index(t.start).saturating_add(usize::from(t.len))];
        self.links.sort_by(|a, b| {
            a.parent
                .cmp(&b.parent)
                .then_with(|| text(a.name).cmp(text(b.name)))
        });
        let twin = self
            .links
            .windows(2)
            .find(|w| w[0].parent == w[1].parent && text(w[0].name) == text(w[1].name));
        if let Some(twin) = twin {
            return Err(TreeError::DuplicateName(text(twin[0].name).to_vec()));
        }
        let (order, entries) = self.number()?;
        if let Some(lost) = self.links.iter().find(|link| {
            matches!(self.nodes[link.node.index()].content, Content::Directory(_))
                && order.numbers[link.node.index()].is_none()
        }) {
            return Err(TreeError::DirectoryLoop(text(lost.name).to_vec()));
        }
        drop(std::mem::take(&mut self.links));
        self.bytes.shrink_to_fit();
        Ok(Tree(Arc::new(Tables {
            nodes: order.apply(self.nodes),
            entries,
            bytes: self.bytes,
            xattrs: self.xattrs,
        })))
    }

    /// Walks the sorted links depth-first, and numbers nodes and lays out entries as it meets them.
    fn number(&self) -> Result<(Order, Vec<Entry>), TreeError> {
        let mut order = Order {
            numbers: vec![None; self.nodes.len()],
            nodes: Vec::with_capacity(self.nodes.len()),
        };
        let mut entries = Vec::with_capacity(self.links.len());
        order.meet(NodeId::ROOT)?;
        let mut stack = vec![NodeId::ROOT];
        while let Some(dir) = stack.pop() {
            let first = self.links.partition_point(|link| link.parent < dir);
            let links = &self.links[first..];
            let links = &links[..links.partition_point(|link| link.parent == dir)];
            let at = order.numbers[dir.index()].expect("a directory is met before it is entered");
            order.nodes[at.index()].1 = Some(Entries {
                first: count(entries.len())?,
                count: count(links.len())?,
            });
            for link in links {
                let node = order.meet(link.node)?;
                entries.push(Entry {
                    name: link.name,
                    node,
                });
            }
            let is_directory = |id: &NodeId| matches!(self.nodes[id.index()].content, Content::Directory(_));
            stack.extend(links.iter().rev().map(|link| link.node).filter(is_directory));
        }
        Ok((order, entries))
    }

    fn text(&mut self, text: &[u8]) -> Result<Target, TreeError> {
        let start = count(self.bytes.len())?;
        self.bytes.extend_from_slice(text);
        count(self.bytes.len())?;
        let len = u16::try_from(text.len()).map_err(|_| TreeError::TooLarge)?;
        Ok(Target { start, len })
    }
}

/// The final numbers of a builder's nodes.
struct Order {
    /// Builder's id → final id.
    numbers: Vec<Option<NodeId>>,
    /// Final id → builder's id, and a directory's entries.
    nodes: Vec<(NodeId, Option<Entries>)>,
}

impl Order {
    /// Puts nodes in order, in place if they are: a scan of a million files needs no second copy of them.
    fn apply(self, mut nodes: Vec<Node>) -> Vec<Node> {
        for (id, directory) in &self.nodes {
            if let Some(entries) = directory {
                nodes[id.index()].content = Content::Directory(*entries);
            }
        }
        if nodes.len() == self.nodes.len() && self.nodes.is_sorted_by_key(|(id, _)| *id) {
            return nodes;
        }
        let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
        let ordered = self.nodes.iter().map(|(id, _)| nodes[id.index()].take());
        ordered
            .map(|node| node.expect("a walk meets each node once"))
            .collect()
    }

    fn meet(&mut self, node: NodeId) -> Result<NodeId, TreeError> {
        if let Some(number) = self.numbers[node.index()] {
            return Ok(number);
        }
        let number = NodeId(count(self.nodes.len())?);
        self.numbers[node.index()] = Some(number);
        self.nodes.push((node, None));
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tree: &Tree, node: NodeId) -> Vec<(String, NodeId)> {
        let Content::Directory(entries) = tree.node(node).content else {
            panic!("a directory")
        };
        tree.entries(entries)
            .map(|(name, id)| (String::from_utf8_lossy(name).into_owned(), id))
            .collect()
    }

    /// `/b/{x,y}`, `/a` and `/c`, a hard link to `/b/x`, put together in the given order.
    fn sample(order: &[usize]) -> Tree {
        let mut builder = Tree::builder(Meta::root(0o755));
        let dir = builder.node(Meta::root(0o700), NewContent::Directory).unwrap();
        let fifo = builder.node(Meta::root(0o644), NewContent::Fifo).unwrap();
        let link = builder
            .node(Meta::root(0o777), NewContent::Symlink(b"b/x"))
            .unwrap();
        let sock = builder.node(Meta::root(0o755), NewContent::Socket).unwrap();
        let root = NodeId::ROOT;
        let links: [(NodeId, &[u8], NodeId); 5] = [
            (root, b"b", dir),
            (dir, b"y", sock),
            (dir, b"x", fifo),
            (root, b"a", link),
            (root, b"c", fifo),
        ];
        for i in order {
            let (parent, name, node) = links[*i];
            builder.link(parent, name, node).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn only_a_file_with_holes_keeps_its_ranges() {
        for (len, ranges, holes) in [
            (0, &[][..], false),
            (9, &[(0, 9)], false),
            (9, &[], true),
            (9, &[(0, 8)], true),
            (9, &[(1, 9)], true),
            (9, &[(0, 4), (5, 9)], true),
        ] {
            let ranges: Vec<_> = ranges.iter().map(|(start, end)| *start..*end).collect();
            let data = Data::with_ranges(FileId(3), len, ranges.clone());
            assert_eq!(data.ranges.is_some(), holes, "{len} bytes, {ranges:?}");
            assert_eq!(data.ranges().collect::<Vec<_>>(), ranges);
        }
    }

    #[test]
    fn one_tree_has_one_form() {
        let tree = sample(&[0, 1, 2, 3, 4]);
        assert_eq!(
            names(&tree, NodeId::ROOT),
            [
                ("a".into(), NodeId(1)),
                ("b".into(), NodeId(2)),
                ("c".into(), NodeId(3))
            ]
        );
        assert_eq!(
            names(&tree, NodeId(2)),
            [("x".into(), NodeId(3)), ("y".into(), NodeId(4))]
        );
        let other = sample(&[4, 2, 0, 3, 1]);
        assert_eq!(
            tree.nodes().iter().map(|n| n.meta.mode).collect::<Vec<_>>(),
            other.nodes().iter().map(|n| n.meta.mode).collect::<Vec<_>>()
        );
        assert_eq!(names(&other, NodeId(2)), names(&tree, NodeId(2)));
        assert_eq!(tree.node(NodeId(3)).links, 2);
        assert_eq!(tree.path(NodeId(4)), b"b/y");
        assert_eq!(tree.path(NodeId::ROOT), b"");
    }

    #[test]
    fn what_no_directory_can_hold_is_refused() {
        let mut builder = Tree::builder(Meta::root(0o755));
        let fifo = builder.node(Meta::root(0o644), NewContent::Fifo).unwrap();
        let dir = builder.node(Meta::root(0o644), NewContent::Directory).unwrap();
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'n'; 256]] {
            assert_eq!(
                builder.link(NodeId::ROOT, name, fifo),
                Err(TreeError::BadName(name.to_vec()))
            );
        }
        assert_eq!(
            builder.link(fifo, b"x", fifo),
            Err(TreeError::NotADirectory(b"x".to_vec()))
        );
        builder.link(NodeId::ROOT, b"d", dir).unwrap();
        assert_eq!(
            builder.link(NodeId::ROOT, b"e", dir),
            Err(TreeError::DirectoryLoop(b"e".to_vec()))
        );
        builder.link(NodeId::ROOT, b"d", fifo).unwrap();
        assert_eq!(builder.build(), Err(TreeError::DuplicateName(b"d".to_vec())));
    }

    #[test]
    fn directories_within_themselves_are_refused() {
        let mut builder = Tree::builder(Meta::root(0o755));
        let a = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
        let b = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
        builder.link(a, b"b", b).unwrap();
        builder.link(b, b"a", a).unwrap();
        assert!(matches!(builder.build(), Err(TreeError::DirectoryLoop(_))));
    }

    #[test]
    fn equal_xattr_sets_are_one() {
        let xattr = |name: &[u8]| Xattr {
            name: name.to_vec(),
            value: b"v".to_vec(),
        };
        let mut builder = Tree::builder(Meta::root(0o755));
        let first = builder.xattrs(vec![xattr(b"user.b"), xattr(b"user.a")]).unwrap();
        assert_eq!(
            builder.xattrs(vec![xattr(b"user.a"), xattr(b"user.b")]).unwrap(),
            first
        );
        assert_eq!(builder.xattrs(vec![]).unwrap(), XattrsId::NONE);
    }
}
