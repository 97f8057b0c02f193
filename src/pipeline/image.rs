//! From the finished tree to the outputs: scan, plan, copy.

use std::path::Path;

use ext4_rs_writer::{Options, Size, layout};
use image_core::scan::{self, StandIns, scan};
use image_core::{Store, Tree};

use crate::blockdevice::format::Format;
use crate::error::{Context, Error, Kind, Result};
use crate::output::{self, Rules};
use crate::plan::BuildPlan;
use crate::settings::{Settings, SizeRule};
use crate::ui::{self, usage::Usage};

/// What is cleared when the tree is finished has no say in the size of the image: logs differ from run to run.
const CLEARED: [&[u8]; 2] = [b"tmp", b"var/log"];

/// The size of the image in KiB, decided by the tree as it is now.
pub(super) fn measure(plan: &BuildPlan, tree: &Path, stand_ins: StandIns) -> Result<u64> {
    let options = root_options(plan)?;
    let bytes = if let Size::Fixed(bytes) = options.size {
        bytes
    } else {
        let exclude = CLEARED.iter().map(|path| path.to_vec()).collect();
        let _work = ui::work("measure the tree");
        let (tree, _) = scanned(
            tree,
            &scan::Options {
                exclude,
                stand_ins,
                threads: None,
            },
        )?;
        let planned = layout(&tree, options).image(|| "cannot plan the file system".to_owned())?;
        planned.map().len()
    };
    Ok(bytes / 1024)
}

/// Scans the tree, plans its file system and writes it in every format.
pub(super) fn write(plan: &BuildPlan, tree: &Path, stand_ins: StandIns, kib: u64, umask: u32) -> Result<()> {
    let how = scan::Options {
        stand_ins,
        ..scan::Options::default()
    };
    let work = ui::work("scan the tree");
    let (tree, store) = scanned(tree, &how)?;
    drop(work);
    ui::scanned(&tree);
    if let Some(usage) = Usage::wanted(&plan.environment, &tree) {
        ui::note(usage);
    }
    let options = Options {
        size: Size::Fixed(kib.saturating_mul(1024)),
        ..root_options(plan)?.clone()
    };
    make(&plan.settings, &tree, &store, &options, umask)
}

/// The options of the one file system that can be written so far.
fn root_options(plan: &BuildPlan) -> Result<&Options> {
    match &plan.layout.root().format {
        Format::Ext { options, .. } if plan.layout.is_bare() => Ok(options),
        _ => Err(Error::new(Kind::Image, "no disk with partitions can be written")),
    }
}

/// Plans a tree's file system and writes it in every format.
pub fn make(
    settings: &Settings,
    tree: &Tree,
    store: &impl Store,
    options: &Options,
    umask: u32,
) -> Result<()> {
    let work = ui::work("plan the file system");
    let planned = layout(tree, options).image(|| "cannot plan the file system".to_owned());
    drop(work);
    let planned = planned.map_err(|error| match settings.size {
        SizeRule::Kib(_) => error.hint("--image-size sets the size of the image"),
        _ => error.hint("--image-extra-size gives the tree more room"),
    })?;
    ui::note(planned.summary().to_string().trim_end());
    let mut qcow2 = output::qcow2_options(settings.format_options.as_deref())?;
    if let Some(threads) = settings.threads {
        qcow2.threads = threads;
    }
    let rules = Rules {
        name: settings.name.clone(),
        compress: settings.compress,
        qcow2,
        checksums: settings.checksums,
        overwrite: settings.overwrite,
        mode: 0o666 & !umask,
    };
    output::write_all(planned.map(), store, &settings.formats, &rules)
}

fn scanned(tree: &Path, options: &scan::Options) -> Result<(Tree, scan::DirStore)> {
    scan(tree, options).image(|| "cannot read the finished tree".to_owned())
}
