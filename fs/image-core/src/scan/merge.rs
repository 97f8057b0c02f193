//! What the walk found, in any order → one [`Tree`], in its only order.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::found::{Batch, DirectoryNumber, File, Found, Head, Kind, Status};
use super::names::long;
use super::{Error, join, shown};
use crate::store::FileId;
use crate::tree::{Builder, Data, Meta, NewContent, NodeId, Tree, TreeError, Xattr, XattrsId};

/// Makes the tree, and the inode number of each [`FileId`] in it.
pub(super) fn merge(found: Found) -> Result<(Tree, Vec<u64>), Error> {
    let Found {
        mut heads,
        mut batches,
        xattrs,
    } = found;
    heads.sort_unstable_by_key(|head| head.number);
    batches.sort_unstable_by_key(|batch| (batch.directory, batch.run));
    let files = batches
        .iter()
        .fold(1_usize, |sum, batch| sum.saturating_add(batch.files.len()));
    // One vector for each directory, so that it is freed as soon as it is in the tree.
    let mut directories: Vec<Vec<Batch>> = heads.iter().map(|_| Vec::new()).collect();
    for batch in batches {
        directories[batch.directory.0].push(batch);
    }
    let mut merge = Merge {
        set_ids: vec![None; xattrs.len()],
        xattrs,
        heads,
        builder: Tree::builder(Meta::root(0)),
        linked: HashMap::new(),
        inodes: Vec::new(),
    };
    merge.builder.reserve(files);
    let root = merge.meta(&[], DirectoryNumber(0))?;
    merge.builder.set_meta(NodeId::ROOT, root);
    let mut stack = vec![(NodeId::ROOT, DirectoryNumber(0), Vec::new())];
    while let Some((node, number, path)) = stack.pop() {
        let batches = std::mem::take(&mut directories[number.0]);
        let first = stack.len();
        merge.directory(node, &path, batches, &mut stack)?;
        stack[first..].reverse();
    }
    let Merge { builder, inodes, .. } = merge;
    let tree = builder.build().map_err(|source| Error::Tree {
        path: shown(&[]),
        source,
    })?;
    Ok((tree, inodes))
}

struct Merge {
    heads: Vec<Head>,
    xattrs: Vec<Arc<[Xattr]>>,
    /// The builder's ids of `xattrs`, given in the order in which the tree meets them.
    set_ids: Vec<Option<XattrsId>>,
    builder: Builder,
    /// Nodes that may be met again, by device and inode.
    linked: HashMap<(u64, u64), NodeId>,
    inodes: Vec<u64>,
}

impl Merge {
    /// Adds a directory's entries, in order, and stacks its subdirectories.
    fn directory(
        &mut self,
        dir: NodeId,
        path: &[u8],
        batches: Vec<Batch>,
        stack: &mut Vec<(NodeId, DirectoryNumber, Vec<u8>)>,
    ) -> Result<(), Error> {
        for batch in batches {
            for file in &batch.files {
                let name = text(&batch, &file.name);
                let failed = |source| Error::Tree {
                    path: join(path, name),
                    source,
                };
                let known = file.linked.as_ref().and_then(|key| self.linked.get(key.as_ref()));
                let node = match known {
                    Some(node) => *node,
                    None => self.node(&batch, file, path)?,
                };
                self.builder.link(dir, name, node).map_err(failed)?;
                if let Kind::Directory(number) = file.kind {
                    stack.push((node, number, join(path, name)));
                }
            }
        }
        Ok(())
    }

    fn node(&mut self, batch: &Batch, file: &File, dir: &[u8]) -> Result<NodeId, Error> {
        let path = || join(dir, text(batch, &file.name));
        let meta = match file.kind {
            Kind::Directory(number) => self.meta(&path(), number)?,
            _ => self
                .translate(&file.status)
                .map_err(|source| Error::Tree { path: path(), source })?,
        };
        let content = match &file.kind {
            Kind::Directory(_) => NewContent::Directory,
            Kind::File { len, inode, ranges } => {
                let id = u32::try_from(self.inodes.len()).map_err(|_| Error::Tree {
                    path: path(),
                    source: TreeError::TooLarge,
                })?;
                self.inodes.push(*inode);
                NewContent::File(Data {
                    file: FileId(id),
                    len: *len,
                    ranges: ranges.clone(),
                })
            }
            Kind::Symlink(target) => NewContent::Symlink(text(batch, target)),
            Kind::CharDevice(device) => NewContent::CharDevice(*device),
            Kind::BlockDevice(device) => NewContent::BlockDevice(*device),
            Kind::Fifo => NewContent::Fifo,
            Kind::Socket => NewContent::Socket,
        };
        let node = self
            .builder
            .node(meta, content)
            .map_err(|source| Error::Tree { path: path(), source })?;
        if let Some(key) = &file.linked {
            self.linked.insert(**key, node);
        }
        Ok(node)
    }

    /// A directory's own, as it was when it was listed.
    fn meta(&mut self, path: &[u8], number: DirectoryNumber) -> Result<Meta, Error> {
        let heads = std::mem::take(&mut self.heads);
        let meta = self.translate(&heads[number.0].status);
        self.heads = heads;
        meta.map_err(|source| Error::Tree {
            path: shown(path),
            source,
        })
    }

    fn translate(&mut self, status: &Status) -> Result<Meta, TreeError> {
        let set = usize::try_from(status.xattrs).map_err(|_| TreeError::TooLarge)?;
        let xattrs = match self.set_ids[set] {
            Some(id) => id,
            None => self.builder.xattrs(self.xattrs[set].to_vec())?,
        };
        self.set_ids[set] = Some(xattrs);
        Ok(Meta {
            mode: status.mode,
            uid: status.uid,
            gid: status.gid,
            mtime: status.mtime,
            xattrs,
        })
    }
}

fn text<'a>(batch: &'a Batch, range: &Range<u32>) -> &'a [u8] {
    &batch.text[long(range)]
}
