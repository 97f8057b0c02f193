//! Virtual PC's disk, for whom `--vhd-creator` says.

use image_formats::vhd::{self, Options};

use super::Writer;
use crate::error::Result;
use crate::output::Rules;
use crate::output::digest::Digits;
use crate::output::options::known_to;
use crate::output::writing::{Image, Target, ascending, planned, refused, too_long};

pub(super) struct Vhd;

fn options(rules: &Rules) -> Result<Options> {
    let identity = &rules.identity;
    let uuid = identity.uuid("vhd").into_bytes();
    let mut options = Options::new(rules.vhd, uuid, identity.epoch);
    for (key, value) in known_to(&Options::KEYS, &rules.options) {
        options.set(key, value).map_err(refused)?;
    }
    options.check(rules.vhd).map_err(refused)?;
    Ok(options)
}

impl Writer for Vhd {
    fn word(&self) -> &'static str {
        "vhd"
    }

    fn keys(&self) -> &'static [&'static str] {
        &Options::KEYS
    }

    fn check(&self, rules: &Rules) -> Result<()> {
        options(rules).map(drop)
    }

    fn check_len(&self, len: u64, _: &Rules) -> Result<()> {
        vhd::check_len(len).map_err(too_long)
    }

    fn grain(&self, rules: &Rules) -> u64 {
        rules.vhd.grain()
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>> {
        let disk = planned(vhd::plan(image.map, &options(rules)?))?;
        ascending(&image.with(&disk), rules, to)
    }
}
