//! The tree of roots: where the trees begin, and which subvolumes there are.

use std::collections::BTreeMap;

use image_core::ReadAt;
use zerocopy::FromBytes;

use super::checksum::name_hash;
use super::disk::{InodeRef, Key, LEVELS, RootItem, RootItemMore, RootRef, kind, object};
use super::inode::{Ino, named};
use super::volume::{TreeRoot, Volume};
use super::walk::Ledger;
use super::{Error, Subvolume};

/// The longest path that a subvolume may have.
const PATH_MAX: usize = 4096;
const NO_UUID: [u8; 16] = [0; 16];

/// What the tree of roots tells.
#[derive(Debug)]
pub(super) struct Roots {
    /// The subvolumes that are in use, by their numbers.
    pub(super) subvolumes: BTreeMap<u64, Root>,
    /// The number of the one that is mounted where none is named.
    pub(super) default: u64,
    /// Where the checksums of the data stand.
    pub(super) sums: Option<TreeRoot>,
}

/// A subvolume.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) tree: TreeRoot,
    pub(super) snapshot: bool,
    /// What names it; nothing names the one at the top.
    pub(super) link: Option<Link>,
}

/// An entry of a directory that leads to a subvolume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The directory.
    pub(super) directory: Ino,
    pub(super) name: Vec<u8>,
}

impl Roots {
    /// Reads the tree of roots.
    pub(super) fn read<R: ReadAt>(volume: &Volume<R>, tree: TreeRoot) -> Result<Self, Error> {
        let mut roots = Self {
            subvolumes: BTreeMap::new(),
            default: object::FS_TREE,
            sums: None,
        };
        volume.items(tree, Key::MIN..=Key::MAX, |key, bytes| match key.kind {
            kind::ROOT_ITEM => roots.root(key.object, bytes),
            kind::ROOT_BACKREF => roots.link(key, bytes),
            kind::DIR_ITEM if key.object == object::ROOT_TREE_DIR => roots.default(key, bytes),
            _ => Ok(()),
        })?;
        if !roots.subvolumes.contains_key(&object::FS_TREE) {
            return Err(Error::BadRoot(object::FS_TREE));
        }
        Ok(roots)
    }

    fn root(&mut self, id: u64, bytes: &[u8]) -> Result<(), Error> {
        let is_subvolume = id == object::FS_TREE || (object::FIRST_FREE..=object::LAST_FREE).contains(&id);
        if !is_subvolume && id != object::CSUM_TREE {
            return Ok(());
        }
        let (item, rest) = RootItem::read_from_prefix(bytes).map_err(|_| Error::BadRoot(id))?;
        if item.level >= LEVELS {
            return Err(Error::BadRoot(id));
        }
        let tree = TreeRoot {
            at: item.bytenr.get(),
            level: item.level,
            generation: item.generation.get(),
        };
        if !is_subvolume {
            self.sums = Some(tree);
            return Ok(());
        }
        // One without references was deleted, and waits for the kernel to clear it away.
        if item.refs.get() == 0 {
            return Ok(());
        }
        let more = RootItemMore::read_from_prefix(rest).ok();
        let root = Root {
            tree,
            snapshot: more.is_some_and(|(more, _)| more.parent_uuid != NO_UUID),
            link: None,
        };
        self.subvolumes.insert(id, root);
        Ok(())
    }

    /// Keeps what names a subvolume. Its root stands before.
    fn link(&mut self, key: Key, bytes: &[u8]) -> Result<(), Error> {
        let malformed = || Error::BadRoot(key.object);
        let (head, name) = RootRef::read_from_prefix(bytes).map_err(|_| malformed())?;
        if name.len() != usize::from(head.name_len.get()) {
            return Err(malformed());
        }
        let Some(root) = self.subvolumes.get_mut(&key.object) else {
            return Ok(());
        };
        if root.link.is_some() || key.object == object::FS_TREE {
            return Err(malformed());
        }
        root.link = Some(Link {
            directory: Ino {
                subvolume: key.offset,
                inode: head.dirid.get(),
            },
            name: name.to_vec(),
        });
        Ok(())
    }

    fn default(&mut self, key: Key, bytes: &[u8]) -> Result<(), Error> {
        const NAME: &[u8] = b"default";
        if key.offset != name_hash(NAME) {
            return Ok(());
        }
        let all = named(bytes).ok_or(Error::BadRoot(object::ROOT_TREE_DIR))?;
        if let Some(entry) = all.iter().find(|entry| entry.name == NAME) {
            self.default = entry.location.object;
        }
        Ok(())
    }

    /// The subvolumes that have a path from the one at the top.
    pub(super) fn named<R: ReadAt>(
        &self,
        volume: &Volume<R>,
        ledger: &mut Ledger,
    ) -> Result<Vec<Subvolume>, Error> {
        let mut all = Vec::new();
        for (&id, root) in &self.subvolumes {
            if id != object::FS_TREE && root.link.is_none() {
                continue;
            }
            all.push(Subvolume {
                id,
                path: self.path(volume, id, ledger)?,
                snapshot: root.snapshot,
            });
        }
        Ok(all)
    }

    /// Goes up from a subvolume to the one at the top. A path has an end, so this has, whatever leads to itself.
    fn path<R: ReadAt>(&self, volume: &Volume<R>, id: u64, ledger: &mut Ledger) -> Result<Vec<u8>, Error> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut len = 0_usize;
        let mut push = |name: Vec<u8>| {
            len = len.saturating_add(name.len()).saturating_add(1);
            parts.push(name);
            (len <= PATH_MAX).then_some(()).ok_or(Error::NoPath(id))
        };
        let mut at = id;
        while at != object::FS_TREE {
            let link = self.subvolumes.get(&at).and_then(|root| root.link.as_ref());
            let Link { directory, name } = link.ok_or(Error::NoPath(id))?;
            push(name.clone())?;
            let Ino { subvolume, mut inode } = *directory;
            let parent = self.subvolumes.get(&subvolume).ok_or(Error::NoPath(id))?;
            while inode != object::FIRST_FREE {
                let ino = Ino { subvolume, inode };
                let found = parent_of(volume, parent.tree, ino, ledger)?;
                let (above, name) = found.ok_or(Error::NoPath(id))?;
                push(name)?;
                inode = above;
            }
            at = subvolume;
        }
        parts.reverse();
        Ok(parts.join(&b'/'))
    }
}

/// The directory that a directory is in, and its name there.
fn parent_of<R: ReadAt>(
    volume: &Volume<R>,
    tree: TreeRoot,
    ino: Ino,
    ledger: &mut Ledger,
) -> Result<Option<(u64, Vec<u8>)>, Error> {
    let mut found = None;
    volume.items(tree, ino.keys(kind::INODE_REF, kind::INODE_REF), |key, bytes| {
        ledger.take(bytes)?;
        let reference = InodeRef::read_from_prefix(bytes).ok();
        let name = reference.and_then(|(head, rest)| rest.get(..head.name_len.get().into()));
        found = name.map(|name| (key.offset, name.to_vec()));
        Ok(())
    })?;
    Ok(found)
}
