//! The disk itself, as a sparse file.

use std::fs::File;

use super::Writer;
use crate::error::Result;
use crate::output::Rules;
use crate::output::digest::Digits;
use crate::output::writing::{Image, ascending};

pub(super) struct Raw;

impl Writer for Raw {
    fn word(&self) -> &'static str {
        "raw"
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, file: &File) -> Result<Vec<Digits>> {
        ascending(image.map, image.store, rules, file)
    }
}
