//! Trees as archives: ustar headers, and pax records for what these cannot say.
//!
//! Spec: <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13>, and for sparse files
//! <https://www.gnu.org/software/tar/manual/html_node/PAX-1.html>
//!
//! Invariants:
//! - members come as a walk in the order of the names meets them, directories before what is in them; a node's first
//!   name is the member with its data, and each later one a hard link to it;
//! - an archive is a function of the tree and the options: no name of a user, no time but the tree's;
//! - all headers are rendered when they are copied, from 24 bytes for each member.
//!
//! Sockets are left out, as all writers of archives do: see [`left_out`].

use std::ops::Range;
use std::sync::Arc;

use image_core::map::{Map, MapError, Table};
use image_core::tree::{Content, Node, NodeId, Time, Tree};

use super::header::{self, Facts};

/// Bytes of a block.
const BLOCK: u64 = 512;
/// Archives are whole records of this many bytes, as everybody writes them.
const RECORD: u64 = 20 * BLOCK;
/// No member.
const NONE: u32 = u32::MAX;

/// How an archive is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// What all names begin with, with a `/` at its end.
    pub prefix: Vec<u8>,
    /// Whether the holes of files are told; else they are zeros, which every reader understands.
    pub sparse: bool,
    /// Times after this one are written as this one.
    pub latest: Option<Time>,
    /// Files besides those of the tree, by name, at the end.
    pub extra: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            prefix: b"./".to_vec(),
            sparse: true,
            latest: None,
            extra: Vec::new(),
        }
    }
}

/// Why a tree cannot be an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A device number that no header can say.
    #[error("{}: device {major}:{minor} has no place in an archive, which ends at 2097151", path.escape_ascii())]
    Device {
        /// The device's name.
        path: Vec<u8>,
        /// Its number.
        major: u32,
        /// And the other half of it.
        minor: u32,
    },
    /// The archive would be longer than 2^64 bytes, or have 2^32 members.
    #[error("the archive is too long: more than 2^64 bytes, or 2^32 members")]
    TooLong,
    /// Two parts of the archive overlap: a mistake of this module.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// One name of a node.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Where its header begins among all headers.
    at: u64,
    /// The member that is its directory.
    parent: u32,
    /// Which entry of the directory it is.
    nth: u32,
    /// The member that has the data, where this one is a hard link.
    first: u32,
}

/// All headers, one behind the other.
struct Headers {
    tree: Tree,
    options: WriteOptions,
    members: Vec<Member>,
    len: u64,
}

/// The archive of a tree.
pub fn plan(tree: &Tree, options: &WriteOptions) -> Result<Map, PlanError> {
    let mut headers = Headers {
        tree: tree.clone(),
        options: options.clone(),
        members: Vec::with_capacity(tree.nodes().len()),
        len: 0,
    };
    let mut places: Vec<(Range<u64>, u64, NodeId)> = Vec::with_capacity(tree.nodes().len());
    let mut at = 0_u64;
    headers.walk(|header, node, data| {
        places.push((header.clone(), at, node));
        at = header
            .end
            .checked_sub(header.start)?
            .checked_add(data)?
            .checked_add(at)?
            .checked_next_multiple_of(BLOCK)?;
        Some(())
    })?;
    let extra: Vec<Vec<u8>> = options.extra.iter().map(header::extra).collect();
    let extra_len = extra
        .iter()
        .fold(0_u64, |sum, bytes| sum.saturating_add(length(bytes)));
    // Two zero blocks end it.
    let end = at
        .checked_add(extra_len)
        .and_then(|end| end.checked_add(BLOCK.saturating_mul(2)))
        .and_then(|end| end.checked_next_multiple_of(RECORD));
    let mut map = Map::builder(end.ok_or(PlanError::TooLong)?);
    map.reserve(places.len().saturating_mul(2));
    let sparse = options.sparse;
    let headers = Arc::new(headers);
    let rendered: Arc<dyn Table> = headers.clone();
    let table = map.table(rendered);
    for (i, (range, at, node)) in places.into_iter().enumerate() {
        let len = range.end.saturating_sub(range.start);
        map.rendered(at, table, range, "member header");
        let Content::File(data) = &tree.node(node).content else {
            continue;
        };
        if headers.members[i].first != NONE {
            continue;
        }
        let mut at = at.saturating_add(len);
        let packed = sparse && data.ranges.is_some();
        for run in data.ranges() {
            let run_len = run.end.saturating_sub(run.start);
            let place = if packed { at } else { at.saturating_add(run.start) };
            map.file(place, data.file, run.start, run_len, "file");
            if packed {
                at = at.saturating_add(run_len);
            }
        }
    }
    for bytes in extra {
        let len = length(&bytes);
        map.bytes(at, bytes, "extra member");
        at = at.saturating_add(len);
    }
    Ok(map.build()?)
}

/// The paths of what a tree's archive leaves out: sockets.
pub fn left_out(tree: &Tree) -> Vec<Vec<u8>> {
    let sockets = tree.iter().filter(|(_, node)| is_left_out(node));
    sockets.map(|(id, _)| tree.path(id)).collect()
}

fn is_left_out(node: &Node) -> bool {
    matches!(node.content, Content::Socket)
}

impl Headers {
    /// Adds all members, and tells of each where its header lies among the headers, its node, and how long its data are.
    fn walk(
        &mut self,
        mut tell: impl FnMut(&Range<u64>, NodeId, u64) -> Option<()>,
    ) -> Result<(), PlanError> {
        let tree = self.tree.clone();
        let mut firsts = vec![NONE; tree.nodes().len()];
        self.add(NONE, 0, NONE, NodeId::ROOT, &mut tell)?;
        let Content::Directory(root) = tree.node(NodeId::ROOT).content else {
            return Ok(());
        };
        let mut stack = vec![(0_u32, root, 0_u32)];
        while let Some((parent, entries, nth)) = stack.pop() {
            let Some((_, id)) = usize::try_from(nth)
                .ok()
                .and_then(|nth| tree.nth_entry(entries, nth))
            else {
                continue;
            };
            stack.push((parent, entries, nth.saturating_add(1)));
            let node = tree.node(id);
            if is_left_out(node) {
                continue;
            }
            let first = firsts[id.index()];
            let member = self.add(parent, nth, first, id, &mut tell)?;
            if let Content::Directory(entries) = node.content {
                stack.push((member, entries, 0));
            } else if first == NONE {
                firsts[id.index()] = member;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        parent: u32,
        nth: u32,
        first: u32,
        id: NodeId,
        tell: &mut impl FnMut(&Range<u64>, NodeId, u64) -> Option<()>,
    ) -> Result<u32, PlanError> {
        let number = u32::try_from(self.members.len())
            .ok()
            .filter(|number| *number != NONE);
        let number = number.ok_or(PlanError::TooLong)?;
        let at = self.len;
        self.members.push(Member {
            at,
            parent,
            nth,
            first,
        });
        if let Content::CharDevice(device) | Content::BlockDevice(device) = self.tree.node(id).content
            && device.major.max(device.minor) > header::OCTAL_7
        {
            return Err(PlanError::Device {
                path: self.resolve(number).0,
                major: device.major,
                minor: device.minor,
            });
        }
        let (bytes, data) = self.header(number);
        self.len = at.checked_add(length(&bytes)).ok_or(PlanError::TooLong)?;
        tell(&(at..self.len), id, data).ok_or(PlanError::TooLong)?;
        Ok(number)
    }

    fn member(&self, number: u32) -> Member {
        self.members[usize::try_from(number).expect("a u32 fits a usize")]
    }

    /// A member's node, and its name with all directories, the prefix, and a `/` behind a directory's.
    fn resolve(&self, number: u32) -> (Vec<u8>, NodeId) {
        let mut above = Vec::new();
        let mut member = self.member(number);
        while member.parent != NONE {
            above.push(member.nth);
            member = self.member(member.parent);
        }
        let mut path = self.options.prefix.clone();
        let mut node = NodeId::ROOT;
        for nth in above.into_iter().rev() {
            let Content::Directory(entries) = self.tree.node(node).content else {
                unreachable!("a member's parent is a directory");
            };
            let entry = usize::try_from(nth)
                .ok()
                .and_then(|nth| self.tree.nth_entry(entries, nth));
            let (name, id) = entry.expect("a member is an entry of its parent");
            path.extend_from_slice(name);
            node = id;
            if matches!(self.tree.node(node).content, Content::Directory(_)) {
                path.push(b'/');
            }
        }
        (path, node)
    }

    /// What stands before a member's data, and how long these are.
    fn header(&self, number: u32) -> (Vec<u8>, u64) {
        let (path, id) = self.resolve(number);
        let first = self.member(number).first;
        let node = self.tree.node(id);
        let time = node.meta.mtime;
        header::render(&Facts {
            path,
            link: (first != NONE).then(|| self.resolve(first).0),
            target: match node.content {
                Content::Symlink(target) => self.tree.target(target),
                _ => b"",
            },
            node,
            mtime: self.options.latest.map_or(time, |latest| time.min(latest)),
            xattrs: self.tree.xattrs(node.meta.xattrs),
            sparse: self.options.sparse,
        })
    }
}

impl Table for Headers {
    fn len(&self) -> u64 {
        self.len
    }

    fn render(&self, offset: u64, buf: &mut [u8]) {
        let behind = self.members.partition_point(|member| member.at <= offset);
        let mut number = behind.saturating_sub(1);
        let mut skip = offset.saturating_sub(self.members[number].at);
        let mut rest = buf;
        while !rest.is_empty() {
            let (bytes, _) = self.header(u32::try_from(number).expect("fewer than 2^32 members"));
            let bytes = &bytes[usize::try_from(skip).expect("inside of a header")..];
            let (part, left) = rest.split_at_mut(bytes.len().min(rest.len()));
            part.copy_from_slice(&bytes[..part.len()]);
            (rest, skip) = (left, 0);
            number = number.saturating_add(1);
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a buffer's length is a u64")
}
