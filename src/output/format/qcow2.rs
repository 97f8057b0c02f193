//! QEMU's copy-on-write image, compressed unless that is not wanted.

use image_formats::qcow2::{self, Options};

use super::Writer;
use crate::error::{Context, Error, Result};
use crate::output::Rules;
use crate::output::digest::Digits;
use crate::output::options::known_to;
use crate::output::writing::{Image, TRIED, Target, ascending, in_order, planned, refused, too_long};

pub(super) struct Qcow2;

fn options(rules: &Rules) -> Result<Options> {
    let known = known_to(&Options::KEYS, &rules.options);
    let words: Vec<String> = known.map(|(key, value)| format!("{key}={value}")).collect();
    let mut options = Options::parse(&words.join(",")).map_err(refused)?;
    options.threads = rules.threads();
    Ok(options)
}

impl Writer for Qcow2 {
    fn word(&self) -> &'static str {
        "qcow2"
    }

    fn keys(&self) -> &'static [&'static str] {
        &Options::KEYS
    }

    fn check(&self, rules: &Rules) -> Result<()> {
        let options = options(rules)?;
        if rules.compress {
            let checked = options.check_compressed().map_err(refused);
            checked.map_err(|error| error.hint("-u writes an image that is not compressed"))?;
        }
        Ok(())
    }

    fn check_len(&self, len: u64, rules: &Rules) -> Result<()> {
        qcow2::check_len(len, &options(rules)?).map_err(too_long)
    }

    fn streams(&self, rules: &Rules) -> bool {
        !rules.compress
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>> {
        let tried = || TRIED.to_owned();
        let options = options(rules)?;
        if !rules.compress {
            let disk = planned(qcow2::plan(image.map, &options))?;
            return ascending(&image.with(&disk), rules, to);
        }
        let Target::File(file) = to else {
            return Err(Error::usage("a compressed qcow2 is written to and fro"));
        };
        let own = file.try_clone().image(tried)?;
        let sink = qcow2::CompressedSink::new(own, image.map.len(), &options).image(tried)?;
        in_order(image, rules, to, sink)
    }
}
