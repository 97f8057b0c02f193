//! `VirtualBox`'s disk.

use image_formats::vdi::{self, Options};

use super::Writer;
use crate::error::Result;
use crate::output::Rules;
use crate::output::digest::Digits;
use crate::output::options::known_to;
use crate::output::writing::{Image, Target, ascending, planned, refused, too_long};

pub(super) struct Vdi;

fn options(rules: &Rules) -> Result<Options> {
    let uuid = |purpose| rules.identity.uuid(purpose).into_bytes();
    let mut options = Options::new(uuid("vdi"), uuid("vdi / state"));
    for (key, value) in known_to(&Options::KEYS, &rules.options) {
        options.set(key, value).map_err(refused)?;
    }
    Ok(options)
}

impl Writer for Vdi {
    fn word(&self) -> &'static str {
        "vdi"
    }

    fn keys(&self) -> &'static [&'static str] {
        &Options::KEYS
    }

    fn check(&self, rules: &Rules) -> Result<()> {
        options(rules).map(drop)
    }

    fn check_len(&self, len: u64, _: &Rules) -> Result<()> {
        vdi::check_len(len).map_err(too_long)
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>> {
        let disk = planned(vdi::plan(image.map, &options(rules)?))?;
        ascending(&image.with(&disk), rules, to)
    }
}
