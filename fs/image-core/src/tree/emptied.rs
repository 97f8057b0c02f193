//! Trees without what only a running system has below some of its directories, and with a directory more.

use super::{Builder, Content, Meta, NewContent, NodeId, Tree, TreeError, Xattr};

impl Tree {
    /// The tree with nothing in the directories that stand in its root by these names. What is named elsewhere too stays
    /// there, with a link less.
    pub fn emptied(&self, names: &[&[u8]]) -> Result<Tree, TreeError> {
        self.copied(names)?.build()
    }

    /// The tree with an empty directory more in its root.
    pub fn with_directory(&self, name: &[u8], meta: Meta, xattrs: Vec<Xattr>) -> Result<Tree, TreeError> {
        let mut builder = self.copied(&[])?;
        let xattrs = builder.xattrs(xattrs)?;
        let made = builder.node(Meta { xattrs, ..meta }, NewContent::Directory)?;
        builder.link(NodeId::ROOT, name, made)?;
        builder.build()
    }

    /// A copy that may still be changed, without what is in some directories of the root.
    fn copied(&self, names: &[&[u8]]) -> Result<Builder, TreeError> {
        let root = self.node(NodeId::ROOT).meta;
        let mut builder = Tree::builder(root);
        // Sets have other numbers in the new tree.
        let xattrs = builder.xattrs(self.xattrs(root.xattrs).to_vec())?;
        builder.set_meta(NodeId::ROOT, Meta { xattrs, ..root });
        builder.reserve(self.nodes().len());
        let mut twins: Vec<Option<NodeId>> = vec![None; self.nodes().len()];
        twins[NodeId::ROOT.index()] = Some(NodeId::ROOT);
        let mut stack = vec![(NodeId::ROOT, NodeId::ROOT)];
        while let Some((directory, twin)) = stack.pop() {
            let Content::Directory(entries) = self.node(directory).content else {
                continue;
            };
            for (name, id) in self.entries(entries) {
                let node = self.node(id);
                let child = if let Some(child) = twins[id.index()] {
                    child
                } else {
                    let set = self.xattrs(node.meta.xattrs).to_vec();
                    let meta = Meta {
                        xattrs: builder.xattrs(set)?,
                        ..node.meta
                    };
                    builder.node(meta, self.new_content(node))?
                };
                twins[id.index()] = Some(child);
                builder.link(twin, name, child)?;
                let empty = directory == NodeId::ROOT && names.contains(&name);
                if !empty {
                    stack.push((id, child));
                }
            }
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::FileId;
    use crate::tree::Data;

    #[test]
    fn only_what_is_in_the_named_directories_goes() {
        let mut builder = Tree::builder(Meta::root(0o755));
        let mut set = |value: &[u8]| {
            let set = vec![Xattr {
                name: b"user.a".to_vec(),
                value: value.to_vec(),
            }];
            builder.xattrs(set).unwrap()
        };
        let (of_root, xattrs) = (set(b"2"), set(b"1"));
        let root = Meta {
            xattrs: of_root,
            ..Meta::root(0o755)
        };
        builder.set_meta(NodeId::ROOT, root);
        let meta = Meta {
            xattrs,
            ..Meta::root(0o600)
        };
        let mut directory = |parent, name: &[u8]| {
            let node = builder.node(Meta::root(0o1777), NewContent::Directory).unwrap();
            builder.link(parent, name, node).unwrap();
            node
        };
        let tmp = directory(NodeId::ROOT, b"tmp");
        let below = directory(tmp, b"below");
        let var = directory(NodeId::ROOT, b"var");
        let other = directory(var, b"tmp");
        let file = builder
            .node(meta, NewContent::File(Data::dense(FileId(7), 9)))
            .unwrap();
        for (parent, name) in [(below, b"a"), (other, b"b"), (NodeId::ROOT, b"c")] {
            builder.link(parent, name, file).unwrap();
        }
        let tree = builder.build().unwrap();
        let paths = |tree: &Tree| -> Vec<String> {
            let paths = tree.iter().map(|(id, _)| tree.path(id));
            paths.map(|path| path.escape_ascii().to_string()).collect()
        };
        let whole = tree.emptied(&[]).unwrap();
        assert_eq!((whole.nodes(), paths(&whole)), (tree.nodes(), paths(&tree)));
        let emptied = tree.emptied(&[b"tmp", b"c"]).unwrap();
        assert_eq!(paths(&emptied), ["", "c", "tmp", "var", "var/tmp"]);
        let file = &emptied.nodes()[1];
        assert_eq!(
            (file.links, emptied.xattrs(file.meta.xattrs)[0].value.as_slice()),
            (2, &b"1"[..])
        );
        assert_eq!(emptied.nodes()[2].meta.mode, 0o1777);
        let of_root = emptied.xattrs(emptied.node(NodeId::ROOT).meta.xattrs);
        assert_eq!(of_root[0].value, b"2");
        let label = Xattr {
            name: b"user.b".to_vec(),
            value: b"3".to_vec(),
        };
        let more = emptied
            .with_directory(b"more", Meta::root(0o700), vec![label.clone()])
            .unwrap();
        assert_eq!(paths(&more), ["", "c", "more", "tmp", "var", "var/tmp"]);
        let made = &more.nodes()[2];
        assert_eq!(
            (made.meta.mode, more.xattrs(made.meta.xattrs)),
            (0o700, &[label][..])
        );
        assert!(more.with_directory(b"c", Meta::root(0o700), Vec::new()).is_err());
    }
}
