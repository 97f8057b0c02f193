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
use crate::settings::Settings;

use super::surroundings::Dirs;

/// The parameters of the original's engine, in the build's directory: what `DIB_BLOCK_DEVICE_PARAMS_YAML` names.
pub(super) const PARAMS: &str = "block-device/params.yaml";

/// The layout's text beside them.
const CONFIG: &str = "block-device/config.yaml";

/// What the journal has that nobody chose, in the words of the original program.
const JOURNAL_MIB: u64 = 64;

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

/// Writes the files of the original's engine, which elements may look into. The length of the first disk is known only once
/// the tree is.
pub(super) fn write_parameters(plan: &BuildPlan, dirs: &Dirs, len: Option<u64>) -> Result<()> {
    for (path, text) in [
        (CONFIG, plan.layout_text.clone()),
        (PARAMS, parameters(plan, dirs, len)),
    ] {
        let tried = || format!("cannot write {path} of the build");
        let (dir, name) = path.split_once('/').expect("both lie in a directory");
        let build = Rooted::open(&dirs.build).host(tried)?;
        // A hook may have put anything in their place.
        let dir = build.make_dirs(&[dir.as_bytes()], 0o755).host(tried)?;
        dir.remove_all(name).host(tried)?;
        dir.write(name, 0o644, text.as_bytes()).host(tried)?;
    }
    Ok(())
}

fn parameters(plan: &BuildPlan, dirs: &Dirs, len: Option<u64>) -> String {
    let path = |path: &Path| path.display().to_string();
    let settings = &plan.settings;
    let known = [
        ("config", path(&dirs.build.join(CONFIG))),
        ("image-dir", path(&dirs.image)),
        ("root-fs-type", settings.fs_type.clone()),
        ("root-label", settings.root_label.clone()),
        ("mount-base", path(&dirs.tree)),
        ("build-dir", path(&dirs.build)),
    ];
    let later = len.map(|len| {
        [
            ("image-size", format!("{}KiB", len / 1024)),
            ("root-fs-opts", root_options(settings)),
        ]
    });
    let mut text = String::new();
    for (name, value) in known.into_iter().chain(later.into_iter().flatten()) {
        let quoted = value.replace('\'', "''");
        writeln!(text, "{name}: '{quoted}'").expect("a String takes everything");
    }
    text
}

/// What the original program tells mkfs of the root file system.
fn root_options(settings: &Settings) -> String {
    let resize = settings
        .max_online_resize
        .map(|blocks| format!("-E resize={blocks}"));
    let journal = settings.journal_mib.unwrap_or(JOURNAL_MIB);
    let usual = (settings.fs_type == "ext4").then(|| format!("-i 4096 -J size={journal}"));
    let given = Some(settings.mkfs_options.clone()).filter(|given| !given.is_empty());
    let words: Vec<String> = [resize, usual, given].into_iter().flatten().collect();
    words.join(" ")
}
