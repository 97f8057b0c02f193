//! What hooks can read of the disks: the facts among the hooks, and the files that the original program leaves.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::blockdevice::facts::{FILE, Facts};
use crate::blockdevice::layout::{FIRST, Layout};
use crate::blockdevice::placing::Placed;
use crate::error::{Context, Result};
use crate::plan::BuildPlan;
use crate::sandbox::caller;
use crate::sandbox::rooted::Rooted;

use super::surroundings::Dirs;

/// The parameters of the original's engine, in the build's directory: what `DIB_BLOCK_DEVICE_PARAMS_YAML` names.
pub(super) const PARAMS: &str = "block-device/params.yaml";

/// The layout's text beside them.
const CONFIG: &str = "block-device/config.yaml";

/// Writes the facts where hooks find them.
pub(super) fn tell(layout: &Layout, dirs: &Dirs, placed: Option<&Placed>) -> Result<()> {
    let tried = || format!("cannot write {FILE} among the hooks");
    let facts = Facts::of(layout, placed);
    let hooks = Rooted::open(&dirs.hooks).host(tried)?;
    hooks.remove_all(FILE).host(tried)?;
    hooks.write(FILE, 0o644, facts.json().as_bytes()).host(tried)
}

/// Makes the file that stands for the first disk while `block-device.d` runs.
pub(super) fn stand_in(dirs: &Dirs, placed: &Placed) -> Result<PathBuf> {
    let path = dirs.image.join(format!("{FIRST}.raw"));
    let tried = || format!("cannot make {}", path.display());
    let file = fs::File::create_new(&path).host(tried)?;
    file.set_len(placed.disks.first().map_or(0, |disk| disk.len))
        .host(tried)?;
    caller::own(&file).host(tried)?;
    Ok(path)
}

/// Writes the files of the original's engine, which elements may look into.
pub(super) fn write_parameters(plan: &BuildPlan, dirs: &Dirs) -> Result<()> {
    let config = dirs.build.join(CONFIG);
    let tried = || format!("cannot write {}", config.display());
    if let Some(dir) = config.parent() {
        fs::create_dir(dir).host(tried)?;
    }
    fs::write(&config, &plan.layout_text).host(tried)?;
    let path = |path: &Path| path.display().to_string();
    let settings = &plan.settings;
    let mut text = String::new();
    for (name, value) in [
        ("config", path(&config)),
        ("image-dir", path(&dirs.image)),
        ("root-fs-type", settings.fs_type.clone()),
        ("root-label", settings.root_label.clone()),
        ("mount-base", path(&dirs.tree)),
        ("build-dir", path(&dirs.build)),
    ] {
        let quoted = value.replace('\'', "''");
        writeln!(text, "{name}: '{quoted}'").expect("a String takes everything");
    }
    fs::write(dirs.build.join(PARAMS), text).host(tried)
}
