//! An image → the trees that make up its root, each whole and with its mount point.
//!
//! Which partition is mounted where is [`compose`]'s business, so that what a build takes of a cloud image is what
//! `dib ls` shows of it.

use std::path::Path;

use image_formats::oci::Choice;

use super::InspectError;
use super::compose;
use super::contents::Files;
use super::image::Image;
use super::view::Scope;

/// A tree and where it is mounted: `""` for the root.
#[derive(Debug)]
pub struct Mounted {
    /// The mount point, without a leading `/`.
    pub at: Vec<u8>,
    /// What is there.
    pub files: Files,
}

/// Opens an image and reads its root and what belongs to it, the root first. Of a container image the one of `choice` is
/// taken.
pub fn read(path: &Path, choice: &Choice, scratch: &Path) -> Result<Vec<Mounted>, InspectError> {
    let mut image = Image::open(path, choice, scratch)?;
    if let Some(files) = image.packed.take() {
        return Ok(vec![Mounted {
            at: Vec::new(),
            files,
        }]);
    }
    let places = compose::places(&image, None)?;
    let whole = |place: &compose::Place| {
        let files = compose::read(&image, &places, place, &Scope::All)?;
        let at = place.at.clone();
        Ok(Mounted { at, files })
    };
    places.iter().map(whole).collect()
}
