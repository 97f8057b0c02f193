//! The disk itself, as a sparse file.

use super::Writer;
use crate::error::Result;
use crate::output::Rules;
use crate::output::digest::Digits;
use crate::output::writing::{Image, Target, ascending};

pub(super) struct Raw;

impl Writer for Raw {
    fn word(&self) -> &'static str {
        "raw"
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>> {
        ascending(image, rules, to)
    }
}
