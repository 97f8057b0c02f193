//! What a phase finds in the tree besides the tree itself: one name for what each tier does in its own way.

use std::path::Path;

use super::mounts::{CacheInTree, HooksInTree, TreeMounts};
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

/// What chroot phases see of the host: the hooks at `/tmp/in_target.d` of the tree, and a cache at `/tmp/ccache`.
#[derive(Debug)]
pub enum HooksShown {
    /// They are bound there, the hooks read-only.
    Bound(HooksInTree, Option<CacheInTree>),
    /// The hooks are copied there. A cache of compilations is none if it is copied: programs make their own, which goes
    /// with `/tmp`.
    Copied(HooksCopy),
}

impl HooksShown {
    /// Shows them.
    pub fn put(hooks: &Path, tree: &Path, tier: Tier, cache: Option<&Path>) -> Result<Self> {
        if !tier.has_namespaces() {
            return HooksCopy::put(hooks, tree).map(HooksShown::Copied);
        }
        let hooks = HooksInTree::bind(hooks, tree)?;
        let cache = cache.map(|cache| CacheInTree::bind(cache, tree)).transpose()?;
        Ok(HooksShown::Bound(hooks, cache))
    }

    /// Shows them no longer.
    pub fn take_away(self) -> Result<()> {
        match self {
            HooksShown::Bound(hooks, cache) => {
                cache.map_or(Ok(()), CacheInTree::unbind)?;
                hooks.unbind()
            }
            HooksShown::Copied(copy) => copy.remove(),
        }
    }
}
