//! From the finished tree to the outputs: scan, plan, copy.

use std::path::Path;

use image_core::scan::{self, scan};

use crate::error::{Context, Error, Kind, Result};
use crate::output;
use crate::plan::BuildPlan;
use crate::settings::SizeRule;

/// Checks, before the first hook runs, what of the image can be known to be wrong.
pub(super) fn check(plan: &BuildPlan) -> Result<()> {
    output::qcow2_options(plan.settings.format_options.as_deref()).map(drop)
}

/// The size of the image in KiB, decided by the tree as it is now.
pub(super) fn measure(plan: &BuildPlan, tree: &Path) -> Result<u64> {
    let SizeRule::Kib(kib) = plan.settings.size else {
        let _scanned = scan(tree, &scan::Options::default()).image(|| "cannot read the tree".to_owned())?;
        return Ok(0);
    };
    Ok(kib.next_multiple_of(64))
}

/// Scans the tree, plans its file system and writes it in every format.
pub(super) fn write(_plan: &BuildPlan, tree: &Path, _kib: u64, _umask: u32) -> Result<()> {
    scan(tree, &scan::Options::default()).image(|| "cannot read the tree".to_owned())?;
    Err(Error::new(Kind::Image, "the planner of ext4 is not there yet"))
}
