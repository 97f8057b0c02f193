//! The tree as a newc archive of cpio, as the kernel unpacks it into its first root.

use image_formats::cpio::{self, Options};

use super::Writer;
use crate::error::{Context, Result};
use crate::output::Rules;
use crate::output::digest::Digits;
use crate::output::writing::{Image, Target, ascending};
use crate::ui;

/// The archive, uncompressed.
pub(super) struct Cpio;

impl Writer for Cpio {
    fn word(&self) -> &'static str {
        "cpio"
    }

    fn is_of_tree(&self) -> bool {
        true
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>> {
        let archival = image.archival()?;
        let lost = cpio::without_xattrs(archival.tree);
        if let Some(first) = lost.first() {
            ui::note(format_args!(
                "extended attributes of {} files, such as /{}, are left out: cpio has none",
                lost.len(),
                first.escape_ascii()
            ));
        }
        let identity = archival.facts.identity;
        let options = Options {
            latest: identity.clamp.then_some(identity.epoch),
        };
        let map = cpio::plan(archival.tree, &options).image(|| "cannot plan the archive".to_owned())?;
        ascending(&image.with(&map), rules, to)
    }
}
