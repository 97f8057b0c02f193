//! What a phase finds in the tree besides the tree itself: one name for what each tier does in its own way.

use std::path::Path;

use super::compile_cache::CompileCache;
use super::mounts::{HooksInTree, TreeMounts};
use super::plain::{HooksCopy, PlainTree};
use super::tier::Tier;
use crate::error::Result;

/// `/dev`, `/proc` and `/sys` for hooks.
#[derive(Debug)]
pub enum Furnished {
    /// They are mounted.
    Mounted(TreeMounts),
    /// They stand in the place of the tree's own.
    Plain(PlainTree),
}

impl Furnished {
    /// Puts them into the tree; what has to go meanwhile is kept in the directory `aside`.
    pub fn put(tree: &Path, aside: &Path, tier: Tier) -> Result<Self> {
        if tier.has_namespaces() {
            TreeMounts::mount(tree, tier).map(Furnished::Mounted)
        } else {
            PlainTree::put(tree, aside).map(Furnished::Plain)
        }
    }

    /// Takes them away, with everything that hooks mounted.
    pub fn take_away(self, tree: &Path) -> Result<()> {
        match self {
            Furnished::Mounted(mounts) => mounts.unmount(tree),
            Furnished::Plain(plain) => plain.restore(tree),
        }
    }
}

/// What chroot phases see of the host.
#[derive(Debug)]
pub struct Lent {
    hooks: HooksShown,
    cache: Option<CompileCache>,
}

/// The hooks at `/tmp/in_target.d` of the tree.
#[derive(Debug)]
enum HooksShown {
    /// They are bound there, read-only.
    Bound(HooksInTree),
    /// They are copied there.
    Copied(HooksCopy),
}

impl Lent {
    /// Lends the hooks, and a cache of compilations if there is one.
    pub fn put(hooks: &Path, tree: &Path, tier: Tier, cache: Option<&Path>) -> Result<Self> {
        let hooks = if tier.has_namespaces() {
            HooksInTree::bind(hooks, tree).map(HooksShown::Bound)?
        } else {
            HooksCopy::put(hooks, tree).map(HooksShown::Copied)?
        };
        let cache = cache.map(|cache| CompileCache::lend(cache, tree, tier));
        let cache = cache.transpose()?.flatten();
        Ok(Self { hooks, cache })
    }

    /// Takes them back.
    pub fn take_away(self) -> Result<()> {
        self.cache.map_or(Ok(()), CompileCache::take_back)?;
        match self.hooks {
            HooksShown::Bound(bound) => bound.unbind(),
            HooksShown::Copied(copy) => copy.remove(),
        }
    }
}
