//! Laws of this crate as functions of bytes: unit tests call them with drawn bytes, fuzz targets with searched ones.
//!
//! Not an interface: they panic where the code is wrong.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "tests that live here so that the fuzz targets can call them"
)]

use image_core::Identity;
use image_core::tree::Time;

use crate::{Options, Profile, mke2fs};

/// Whatever the words are, they are options of mke2fs or a refusal that can be printed.
pub fn mke2fs_options(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let identity = Identity::new(b"seed", Time::default(), false);
    let mut options = Options::new(Profile::Default, identity);
    if let Err(error) = mke2fs::apply(&mut options, &text) {
        assert!(!error.to_string().is_empty());
    }
}
