//! The tree as a squashfs image, compressed by xz as the original program's are, or as was asked for.

use image_formats::squashfs::{self, SquashfsSink, WriteOptions};

use super::Writer;
use crate::error::{Context, Result};
use crate::output::Rules;
use crate::output::digest::Digits;
use crate::output::writing::{Image, TRIED, Target, in_order};
use crate::ui;

pub(super) struct Squashfs;

impl Writer for Squashfs {
    fn word(&self) -> &'static str {
        "squashfs"
    }

    fn suffix(&self) -> &'static str {
        "squash"
    }

    fn is_of_tree(&self) -> bool {
        true
    }

    fn streams(&self, _: &Rules) -> bool {
        false
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>> {
        let archival = image.archival()?;
        let options = WriteOptions {
            compression: rules.squashfs,
            epoch: archival.facts.identity.epoch,
            clamp: archival.facts.identity.clamp,
            ..WriteOptions::default()
        };
        let plan = squashfs::plan(archival.tree, &options);
        let plan = plan.image(|| "cannot plan the squashfs image".to_owned())?;
        let acls = plan.dropped().acls;
        if acls > 0 {
            ui::warn(format_args!(
                "squashfs has no ACLs: those of {acls} files are dropped"
            ));
        }
        let map = plan.map().clone();
        let tried = || TRIED.to_owned();
        let sink = SquashfsSink::new(to.writer()?, plan, rules.threads()).image(tried)?;
        in_order(&image.with(&map), rules, to, sink)
    }
}
