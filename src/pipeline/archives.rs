//! From the finished tree to the outputs that hold the tree itself, and no disk: for them there is no size and no file
//! system.

use image_core::{Store, Tree};

use crate::error::{Context, Result};
use crate::output::archive::{Archival, Facts, RUNTIME};
use crate::output::{self, Rules};
use crate::settings::Settings;

/// Writes a tree in every format that holds no disk. Says whether there are others.
pub fn archive(
    settings: &Settings,
    facts: &Facts,
    tree: &Tree,
    store: &impl Store,
    umask: u32,
) -> Result<bool> {
    let archival = Archival { tree, facts };
    let rules = Rules::of(settings, facts.identity, umask);
    rules.check(&settings.formats)?;
    output::archive_all(&archival, store, &settings.formats, &rules)?;
    Ok(settings.formats.iter().any(|format| !format.is_of_tree()))
}

/// The same for a root, without what only a running system has in it, or the host that builds.
pub(super) fn archive_root(
    settings: &Settings,
    facts: &Facts,
    tree: &Tree,
    store: &impl Store,
    umask: u32,
) -> Result<bool> {
    // The copy of a tree is for those who want it.
    if !settings.formats.iter().any(|format| format.is_of_tree()) {
        return Ok(true);
    }
    let emptied = tree.emptied(&RUNTIME);
    let tree = emptied.image(|| "cannot leave out what is in /dev, /proc, /sys and /tmp".to_owned())?;
    archive(settings, facts, &tree, store, umask)
}
