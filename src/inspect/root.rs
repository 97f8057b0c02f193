//! An image → the trees that make up its root, each whole and with its mount point.
//!
//! Which partition is mounted where is [`compose`]'s business, so that what a build takes of a cloud image is what
//! `dib ls` shows of it.

use std::path::Path;

use image_formats::oci::Choice;

use super::InspectError;
use super::compose;
use super::contents::{self, Files};
use super::image::Image;

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
    let whole = |place: compose::Place| {
        let volume = &image.volumes[place.volume];
        let files = contents::read(volume.bytes.clone(), volume.contents, &image.place(place.volume))?;
        Ok(Mounted { at: place.at, files })
    };
    compose::places(&image, None)?.into_iter().map(whole).collect()
}
