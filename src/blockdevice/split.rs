//! One tree → a tree for each file system, cut at mount points.
//!
//! The tree above keeps an empty directory at a mount point; what was below it becomes the other file system's, whose root is
//! like that directory. A mount point that is not there is made. Names of one file on both sides of a cut become a file
//! each, as they do when a tree is copied into mounted file systems.

use std::collections::HashMap;

use image_core::tree::{Builder, Content, Meta, NewContent, Time, TreeError, XattrsId};
use image_core::{NodeId, Tree};

/// Why a tree cannot be cut.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// Something else is where a file system shall be mounted, or on the way there.
    #[error("'/{}' is no directory, and a file system is mounted on '{point}'", path.escape_ascii())]
    NotADirectory {
        /// What is no directory.
        path: Vec<u8>,
        /// The mount point.
        point: String,
    },
    /// The parts make no trees.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// The permissions of a mount point that is made.
const MADE: u16 = 0o755;

/// Cuts a tree at mount points: the first is `/`, the others are in order. `now` is when a mount point was made that the
/// tree has not.
pub fn split(tree: &Tree, points: &[&str], now: Time) -> Result<Vec<Tree>, SplitError> {
    if points.len() < 2 {
        return Ok(vec![tree.clone()]);
    }
    let mut cut = Cut {
        tree,
        points: points
            .iter()
            .map(|point| point.trim_start_matches('/').as_bytes())
            .collect(),
        names: points,
        now,
        builders: Vec::new(),
        links: HashMap::new(),
        xattrs: HashMap::new(),
        directories: HashMap::new(),
    };
    for _ in points {
        cut.builders.push(Tree::builder(Meta {
            mtime: now,
            ..Meta::root(MADE)
        }));
    }
    cut.walk()?;
    cut.complete()?;
    let trees = cut.builders.into_iter().map(Builder::build);
    Ok(trees.collect::<Result<_, _>>()?)
}

struct Cut<'a> {
    tree: &'a Tree,
    /// The mount points, without the slash that they begin with.
    points: Vec<&'a [u8]>,
    names: &'a [&'a str],
    now: Time,
    /// The trees that become.
    builders: Vec<Builder>,
    /// Files with several names, by tree.
    links: HashMap<(usize, NodeId), NodeId>,
    xattrs: HashMap<(usize, XattrsId), XattrsId>,
    /// Directories on the way to mount points: the tree that they are in, and their node.
    directories: HashMap<Vec<u8>, (usize, NodeId)>,
}

impl Cut<'_> {
    fn walk(&mut self) -> Result<(), SplitError> {
        let root = self.meta(0, self.tree.node(NodeId::ROOT).meta)?;
        self.builders[0].set_meta(NodeId::ROOT, root);
        self.directories.insert(Vec::new(), (0, NodeId::ROOT));
        let mut open = vec![(NodeId::ROOT, 0, NodeId::ROOT, Vec::new())];
        while let Some((from, into, at, path)) = open.pop() {
            let Content::Directory(entries) = self.tree.node(from).content else {
                continue;
            };
            for (name, child) in self.tree.entries(entries) {
                let path = join(&path, name);
                let node = self.tree.node(child);
                let is_directory = matches!(node.content, Content::Directory(_));
                let leads = self.leads_to(&path);
                if let Some(point) = leads.filter(|_| !is_directory) {
                    return Err(self.not_a_directory(path, point));
                }
                let copy = self.copy(into, child)?;
                self.builders[into].link(at, name, copy)?;
                if !is_directory {
                    continue;
                }
                let (into, copy) = match self.points.iter().position(|point| *point == path) {
                    Some(other) => {
                        let meta = self.meta(other, node.meta)?;
                        self.builders[other].set_meta(NodeId::ROOT, meta);
                        (other, NodeId::ROOT)
                    }
                    None => (into, copy),
                };
                if leads.is_some() {
                    self.directories.insert(path.clone(), (into, copy));
                }
                open.push((child, into, copy, path));
            }
        }
        Ok(())
    }

    /// Makes the mount points that the tree has not.
    fn complete(&mut self) -> Result<(), SplitError> {
        for (index, point) in self.points.clone().into_iter().enumerate().skip(1) {
            let mut path = Vec::new();
            for name in point.split(|byte| *byte == b'/') {
                let (into, at) = self.directories[&path];
                path = join(&path, name);
                if self.directories.contains_key(&path) {
                    continue;
                }
                let meta = Meta {
                    mtime: self.now,
                    ..Meta::root(MADE)
                };
                let made = self.builders[into].node(meta, NewContent::Directory)?;
                self.builders[into].link(at, name, made)?;
                let at = if path == point {
                    (index, NodeId::ROOT)
                } else {
                    (into, made)
                };
                self.directories.insert(path.clone(), at);
            }
        }
        Ok(())
    }

    /// The mount point that a path is, or is on the way to.
    fn leads_to(&self, path: &[u8]) -> Option<usize> {
        let leads = |point: &[u8]| {
            let rest = point.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        self.points.iter().position(|point| leads(point))
    }

    fn not_a_directory(&self, path: Vec<u8>, point: usize) -> SplitError {
        SplitError::NotADirectory {
            path,
            point: self.names[point].to_owned(),
        }
    }

    /// A node in another tree; a directory without its entries.
    fn copy(&mut self, into: usize, id: NodeId) -> Result<NodeId, SplitError> {
        let tree = self.tree;
        let node = tree.node(id);
        if let Some(known) = self.links.get(&(into, id)) {
            return Ok(*known);
        }
        let meta = self.meta(into, node.meta)?;
        let copy = self.builders[into].node(meta, tree.new_content(node))?;
        if node.links > 1 {
            self.links.insert((into, id), copy);
        }
        Ok(copy)
    }

    fn meta(&mut self, into: usize, meta: Meta) -> Result<Meta, SplitError> {
        if meta.xattrs == XattrsId::NONE {
            return Ok(meta);
        }
        let key = (into, meta.xattrs);
        let xattrs = if let Some(known) = self.xattrs.get(&key) {
            *known
        } else {
            let set = self.tree.xattrs(meta.xattrs).to_vec();
            let id = self.builders[into].xattrs(set)?;
            self.xattrs.insert(key, id);
            id
        };
        Ok(Meta { xattrs, ..meta })
    }
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        return name.to_vec();
    }
    [dir, b"/", name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_core::tree::{Data, Xattr};

    /// Paths of a tree with the mode of each, in order.
    fn paths(tree: &Tree) -> Vec<String> {
        let mut found = vec![format!("/ {:o}", tree.node(NodeId::ROOT).meta.mode)];
        for (id, node) in tree.iter().skip(1) {
            let path = String::from_utf8(tree.path(id)).unwrap();
            found.push(format!("{path} {:o}", node.meta.mode));
        }
        found.sort();
        found
    }

    /// `/boot/{efi/x, vmlinuz}`, `/copy`, a second name of `/boot/vmlinuz`, and `/lib`, a link.
    fn sample() -> Tree {
        let mut builder = Tree::builder(Meta::root(0o755));
        let root = NodeId::ROOT;
        let label = builder
            .xattrs(vec![Xattr {
                name: b"user.a".to_vec(),
                value: b"v".to_vec(),
            }])
            .unwrap();
        let boot_meta = Meta {
            xattrs: label,
            ..Meta::root(0o700)
        };
        let boot = builder.node(boot_meta, NewContent::Directory).unwrap();
        let efi = builder.node(Meta::root(0o711), NewContent::Directory).unwrap();
        let store = &mut image_core::store::MemoryStore::default();
        let mut file =
            |bytes: &[u8]| NewContent::File(Data::dense(store.push(bytes.to_vec()), bytes.len() as u64));
        let x = builder.node(Meta::root(0o600), file(b"x")).unwrap();
        let vmlinuz = builder.node(Meta::root(0o644), file(b"linux")).unwrap();
        let lib = builder
            .node(Meta::root(0o777), NewContent::Symlink(b"usr/lib"))
            .unwrap();
        for (parent, name, node) in [
            (root, &b"boot"[..], boot),
            (boot, b"efi", efi),
            (efi, b"x", x),
            (boot, b"vmlinuz", vmlinuz),
            (root, b"copy", vmlinuz),
            (root, b"lib", lib),
        ] {
            builder.link(parent, name, node).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn a_tree_is_cut_at_its_mount_points() {
        let now = Time { secs: 5, nanos: 0 };
        let trees = split(&sample(), &["/", "/boot", "/boot/efi", "/srv/data"], now).unwrap();
        let found: Vec<Vec<String>> = trees.iter().map(paths).collect();
        assert_eq!(
            found[0],
            [
                "/ 755",
                "boot 700",
                "copy 644",
                "lib 777",
                "srv 755",
                "srv/data 755"
            ]
        );
        assert_eq!(found[1], ["/ 700", "efi 711", "vmlinuz 644"]);
        assert_eq!(found[2], ["/ 711", "x 600"]);
        assert_eq!(found[3], ["/ 755"]);
        // One file has a name on each side now, and is two.
        assert!(
            trees[..2]
                .iter()
                .all(|tree| tree.nodes().iter().all(|node| node.links <= 1))
        );
        let xattrs = |tree: &Tree, node: usize| tree.xattrs(tree.nodes()[node].meta.xattrs).len();
        assert_eq!((xattrs(&trees[0], 1), xattrs(&trees[1], 0)), (1, 1));
        assert_eq!(trees[3].node(NodeId::ROOT).meta.mtime, now);
    }

    #[test]
    fn a_tree_without_cuts_stays_as_it_is() {
        assert_eq!(split(&sample(), &["/"], Time::default()).unwrap(), [sample()]);
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        for (point, path) in [
            ("/lib/x", "/lib"),
            ("/lib", "/lib"),
            ("/boot/vmlinuz/y", "/boot/vmlinuz"),
        ] {
            let error = split(&sample(), &["/", point], Time::default()).unwrap_err();
            let told = format!("'{path}' is no directory, and a file system is mounted on '{point}'");
            assert_eq!(error.to_string(), told);
        }
    }
}
