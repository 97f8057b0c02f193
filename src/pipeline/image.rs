//! From the finished tree to the outputs: scan, label, cut, place, plan, copy.

use std::path::Path;

use image_core::scan::{self, StandIns, scan};
use image_core::{Identity, Store, Tree};

use super::archives::archive_root;
use crate::blockdevice::disk;
use crate::blockdevice::layout::{FIRST, Layout};
use crate::blockdevice::old::Kept;
use crate::blockdevice::placing::{Placed, place};
use crate::boot::BootCode;
use crate::error::{Context, Error, Result};
use crate::output::archive::Facts;
use crate::output::{self, Rules};
use crate::plan::BuildPlan;
use crate::selinux::Policy;
use crate::settings::{Settings, SizeRule};
use crate::ui::{self, usage::Usage};

/// What is cleared when the tree is finished has no say in the size of the image: logs differ from run to run.
const CLEARED: [&[u8]; 2] = [b"tmp", b"var/log"];

/// What is made of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    /// What was asked for.
    pub settings: &'a Settings,
    /// The disks.
    pub layout: &'a Layout,
    /// UUIDs and time stamps.
    pub identity: Identity,
    /// What hooks of old wrote on the first disk.
    pub kept: Option<&'a Kept>,
    /// What disks boot, for the BIOS.
    pub boot: Option<&'a BootCode>,
    /// What outputs may not grant.
    pub umask: u32,
}

/// Where everything on the disks lies, decided by the tree as it is now.
pub(super) fn measure(plan: &BuildPlan, tree: &Path, stand_ins: StandIns) -> Result<Placed> {
    let size = plan.disk_size();
    let layout = &plan.layout;
    if layout.disks.iter().all(|disk| disk.size.or(size).is_some()) {
        return placed(&plan.settings, plan.identity, layout, &[], size);
    }
    let exclude = CLEARED.iter().map(|path| path.to_vec()).collect();
    let _work = ui::work("measure the tree");
    let (tree, store) = scanned(
        tree,
        &scan::Options {
            exclude,
            stand_ins,
            threads: None,
        },
    )?;
    let (tree, _) = labelled(plan, tree, &store)?;
    let trees = layout.cut(&tree, plan.identity)?;
    placed(&plan.settings, plan.identity, layout, &trees, size)
}

/// Places everything on disks whose lengths every format takes.
fn placed(
    settings: &Settings,
    identity: Identity,
    layout: &Layout,
    trees: &[Tree],
    size: Option<u64>,
) -> Result<Placed> {
    let rules = Rules::of(settings, identity, 0);
    let round = |len| rules.rounded(&settings.formats, len);
    let fits = |placed: &Placed| placed.disks.iter().all(|disk| round(disk.len) == disk.len);
    let first = place(layout, trees, size, identity.epoch)?;
    for disk in &first.disks {
        rules.check_len(&settings.formats, round(disk.len))?;
    }
    if fits(&first) {
        return Ok(first);
    }
    let longest = first.disks.iter().map(|disk| round(disk.len)).max();
    let placed = place(layout, trees, longest, identity.epoch)?;
    if fits(&placed) {
        return Ok(placed);
    }
    Err(
        Error::usage("a disk has a length that a type of the image cannot have")
            .hint("a VHD for azure has whole MiB: set the size of the disk in the layout"),
    )
}

/// Scans the tree, plans its disks and writes them in every format.
pub(super) fn write(
    plan: &BuildPlan,
    tree: &Path,
    stand_ins: StandIns,
    placed: &Placed,
    making: &Making<'_>,
) -> Result<()> {
    let how = scan::Options {
        stand_ins,
        ..scan::Options::default()
    };
    let work = ui::work("scan the tree");
    let (tree, store) = scanned(tree, &how)?;
    let (tree, policy) = labelled(plan, tree, &store)?;
    drop(work);
    ui::scanned(&tree);
    if let Some(usage) = Usage::wanted(&plan.environment, &tree) {
        ui::note(usage);
    }
    let facts = Facts::new(&plan.settings, &plan.environment, plan.identity)?;
    if !archive_root(&plan.settings, &facts, &tree, &store, making.umask)? {
        return Ok(());
    }
    let mut trees = making.layout.cut(&tree, making.identity)?;
    if let Some(mut policy) = policy {
        trees = with_lost_found(making, trees, &mut policy)?;
    }
    making.write(&trees, &store, placed)
}

impl Making<'_> {
    /// Places what a tree fills, and writes the disks in every format.
    pub fn make(&self, tree: &Tree, store: &impl Store) -> Result<()> {
        let trees = self.layout.cut(tree, self.identity)?;
        let size = self.settings.disk_size();
        let placed = placed(self.settings, self.identity, self.layout, &trees, size);
        let placed = placed.map_err(|error| self.advise(error))?;
        self.write(&trees, store, &placed)
    }

    /// Plans the disks and writes them in every format.
    fn write(&self, trees: &[Tree], store: &impl Store, placed: &Placed) -> Result<()> {
        let Self { settings, layout, .. } = *self;
        let rules = Rules::of(settings, self.identity, self.umask);
        rules.check(&settings.formats)?;
        if settings.name == output::stdout::NAME && layout.disks.len() > 1 {
            return Err(Error::usage(
                "-o -: the layout has several disks, and standard output takes one",
            ));
        }
        let work = ui::work("plan the file system");
        let maps = disk::maps(layout, placed, trees, self.kept, self.boot, self.identity);
        drop(work);
        let maps = maps.map_err(|error| self.advise(error))?;
        for (disk, map) in maps {
            let rules = Rules {
                name: name_of(&settings.name, &disk),
                ..rules.clone()
            };
            output::write_all(&map, store, &settings.formats, &rules)?;
        }
        Ok(())
    }

    fn advise(&self, error: Error) -> Error {
        match self.settings.size {
            SizeRule::Kib(_) => error.hint("--image-size sets the size of the image"),
            _ => error.hint("--image-extra-size gives the tree more room"),
        }
    }
}

/// What the outputs of a disk are called: those of the first as the user said, the others with their disk's name.
pub fn name_of(name: &str, disk: &str) -> String {
    if disk == FIRST {
        name.to_owned()
    } else {
        format!("{name}-{disk}")
    }
}

/// Where firmware looks for boot loaders: a file system that has no labels.
const ESP: &str = "/boot/efi";

fn unlabelled() -> String {
    "cannot label the files of the tree for SELinux".to_owned()
}

/// The tree with the labels of its policy, where an element wants them and there is one.
fn labelled(plan: &BuildPlan, tree: Tree, store: &impl Store) -> Result<(Tree, Option<Policy>)> {
    if !plan.wants_labels() {
        return Ok((tree, None));
    }
    let Some(mut policy) = Policy::of(&tree, store).image(unlabelled)? else {
        return Ok((tree, None));
    };
    let points = plan.layout.mount_points();
    let apart: Vec<&[u8]> = points
        .filter(|point| *point == ESP)
        .map(|point| point.trim_start_matches('/').as_bytes())
        .collect();
    let tree = policy.label(tree, &apart).image(unlabelled)?;
    Ok((tree, Some(policy)))
}

/// The trees of the file systems, with what mkfs puts into those of ext.
fn with_lost_found(making: &Making<'_>, trees: Vec<Tree>, policy: &mut Policy) -> Result<Vec<Tree>> {
    let mut mounted = making.layout.filesystems.iter().filter_map(|filesystem| {
        let point = filesystem.mount.as_ref()?.point.as_str();
        (point != "none").then(|| (point, filesystem.format.kernel_name()))
    });
    let labelled = trees.into_iter().map(|tree| match mounted.next() {
        Some((point, kind)) if kind.starts_with("ext") => policy
            .with_lost_found(tree, point, making.identity.epoch)
            .image(unlabelled),
        _ => Ok(tree),
    });
    labelled.collect()
}

fn scanned(tree: &Path, options: &scan::Options) -> Result<(Tree, scan::DirStore)> {
    scan(tree, options).image(|| "cannot read the finished tree".to_owned())
}
