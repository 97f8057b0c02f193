//! QEMU's copy-on-write image, compressed unless that is not wanted.

use std::fs::File;

use image_formats::qcow2;

use super::Writer;
use crate::error::{Context, Result};
use crate::output::Rules;
use crate::output::digest::Digits;
use crate::output::writing::{Image, TRIED, ascending, to_and_fro};

pub(super) struct Qcow2;

impl Writer for Qcow2 {
    fn word(&self) -> &'static str {
        "qcow2"
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, file: &File) -> Result<Vec<Digits>> {
        let tried = || TRIED.to_owned();
        if rules.compress {
            let own = file.try_clone().image(tried)?;
            let sink = qcow2::CompressedSink::new(own, image.map.len(), &rules.qcow2).image(tried)?;
            to_and_fro(image, rules, file, sink)
        } else {
            let planned = qcow2::plan(image.map, &rules.qcow2).image(tried)?;
            ascending(&planned, image.store, rules, file)
        }
    }
}
