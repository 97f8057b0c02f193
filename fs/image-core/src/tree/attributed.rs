//! Trees with another value of one extended attribute: labels that a policy gives to files.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Content, Node, NodeId, Tree, TreeError, Xattr, XattrsId, count};

/// Sets of xattrs as they become known, each once.
struct Sets {
    all: Vec<Arc<[Xattr]>>,
    ids: HashMap<Arc<[Xattr]>, XattrsId>,
}

impl Sets {
    fn new() -> Self {
        Self {
            all: vec![Arc::new([])],
            ids: HashMap::from([(Arc::from([]), XattrsId::NONE)]),
        }
    }

    fn id(&mut self, set: Arc<[Xattr]>) -> Result<XattrsId, TreeError> {
        if let Some(id) = self.ids.get(&set) {
            return Ok(*id);
        }
        let id = XattrsId(count(self.all.len())?);
        self.all.push(Arc::clone(&set));
        self.ids.insert(set, id);
        Ok(id)
    }
}

impl Tree {
    /// The tree with values of an attribute given anew. `value` is asked of every node once, with the first path that leads
    /// to it, without a leading `/`; what it has no answer for stays as it is.
    pub fn with_attribute<E: From<TreeError>>(
        self,
        name: &[u8],
        mut value: impl FnMut(&[u8], &Node) -> Result<Option<Arc<[u8]>>, E>,
    ) -> Result<Tree, E> {
        let mut sets = Sets::new();
        let mut known = HashMap::new();
        let mut given = vec![XattrsId::NONE; self.nodes().len()];
        self.each_first(|path, id| {
            let node = self.node(id);
            let key = (node.meta.xattrs, value(path, node)?);
            let set = if let Some(set) = known.get(&key) {
                *set
            } else {
                let set = match &key.1 {
                    Some(value) => replaced(self.xattrs(key.0), name, value),
                    None => Arc::from(self.xattrs(key.0)),
                };
                let set = sets.id(set)?;
                known.insert(key, set);
                set
            };
            given[id.index()] = set;
            Ok::<(), E>(())
        })?;
        let mut tables = Arc::try_unwrap(self.0).unwrap_or_else(|shared| (*shared).clone());
        for (node, set) in tables.nodes.iter_mut().zip(given) {
            node.meta.xattrs = set;
        }
        tables.xattrs = sets.all;
        Ok(Tree(Arc::new(tables)))
    }

    /// Visits every node once, in the order of their ids, with the first path that leads to it.
    fn each_first<E>(&self, mut visit: impl FnMut(&[u8], NodeId) -> Result<(), E>) -> Result<(), E> {
        visit(b"", NodeId::ROOT)?;
        let mut last = NodeId::ROOT;
        let mut stack = vec![(NodeId::ROOT, Vec::new())];
        while let Some((directory, above)) = stack.pop() {
            let Content::Directory(entries) = self.node(directory).content else {
                continue;
            };
            let below = stack.len();
            for (name, id) in self.entries(entries) {
                // Nodes are numbered as a walk meets them: a number that is not new is another name of a known one.
                if id <= last {
                    continue;
                }
                last = id;
                let path = if above.is_empty() {
                    name.to_vec()
                } else {
                    [&above[..], b"/", name].concat()
                };
                visit(&path, id)?;
                if matches!(self.node(id).content, Content::Directory(_)) {
                    stack.push((id, path));
                }
            }
            stack[below..].reverse();
        }
        Ok(())
    }
}

/// A set with another value of an attribute.
fn replaced(set: &[Xattr], name: &[u8], value: &[u8]) -> Arc<[Xattr]> {
    let new = Xattr {
        name: name.to_vec(),
        value: value.to_vec(),
    };
    let others = set.iter().filter(|xattr| xattr.name != name).cloned();
    let mut set: Vec<Xattr> = others.chain([new]).collect();
    set.sort_unstable();
    set.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Meta, NewContent};

    const NAME: &[u8] = b"security.selinux";

    fn xattr(name: &[u8], value: &[u8]) -> Xattr {
        Xattr {
            name: name.to_vec(),
            value: value.to_vec(),
        }
    }

    /// `/b/{d/e, f}`, `/c`, a second name of `/b/f`, with attributes.
    fn sample() -> Tree {
        let mut builder = Tree::builder(Meta::root(0o755));
        let old = vec![xattr(NAME, b"old"), xattr(b"user.a", b"1")];
        let old = builder.xattrs(old).unwrap();
        let meta = Meta {
            xattrs: old,
            ..Meta::root(0o644)
        };
        let b = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
        let d = builder.node(meta, NewContent::Directory).unwrap();
        let e = builder.node(Meta::root(0o644), NewContent::Fifo).unwrap();
        let f = builder.node(meta, NewContent::Symlink(b"x")).unwrap();
        for (parent, name, node) in [
            (NodeId::ROOT, &b"b"[..], b),
            (b, b"d", d),
            (d, b"e", e),
            (b, b"f", f),
            (NodeId::ROOT, b"c", f),
        ] {
            builder.link(parent, name, node).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn every_node_is_asked_for_once_by_its_first_name() {
        let mut asked = Vec::new();
        let tree = sample();
        let new = tree
            .clone()
            .with_attribute(NAME, |path, _| {
                asked.push(String::from_utf8(path.to_vec()).unwrap());
                let value = Arc::from([path, b"\0"].concat());
                Ok::<_, TreeError>((path != b"b/d").then_some(value))
            })
            .unwrap();
        assert_eq!(asked, ["", "b", "c", "b/d", "b/d/e"]);
        let found: Vec<_> = new
            .iter()
            .map(|(id, node)| (new.path(id), new.xattrs(node.meta.xattrs).to_vec()))
            .collect();
        let mine = |value: &[u8]| xattr(NAME, value);
        assert_eq!(
            found,
            [
                (b"".to_vec(), vec![mine(b"\0")]),
                (b"b".to_vec(), vec![mine(b"b\0")]),
                (b"c".to_vec(), vec![mine(b"c\0"), xattr(b"user.a", b"1")]),
                (b"b/d".to_vec(), vec![mine(b"old"), xattr(b"user.a", b"1")]),
                (b"b/d/e".to_vec(), vec![mine(b"b/d/e\0")]),
            ]
        );
        let same = tree
            .clone()
            .with_attribute(NAME, |_, _| Ok::<_, TreeError>(None))
            .unwrap();
        assert_eq!(same, tree);
    }

    #[test]
    fn the_first_refusal_ends_it() {
        let refused = sample().with_attribute(NAME, |path, _| {
            if path == b"c" {
                Err(TreeError::TooLarge)
            } else {
                Ok(None)
            }
        });
        assert_eq!(refused, Err(TreeError::TooLarge));
    }
}
