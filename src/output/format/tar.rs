//! Archives of the tree: tar, as it is or compressed, and rkt's images, which are tar with a manifest.

use std::num::NonZero;

use image_core::Map;
use image_formats::compress::{CompressingSink, Method};
use image_formats::tar::{self, WriteOptions};

use super::Writer;
use crate::error::{Context, Result};
use crate::output::Rules;
use crate::output::archive::Archival;
use crate::output::digest::{DigestingFile, Digits};
use crate::output::writing::{Image, TRIED, Target, ascending, copy};
use crate::ui;

/// The most threads of zstd, and of xz, whose tables are long: together they take some hundred MiB.
const ZSTD_THREADS_MAX: NonZero<usize> = NonZero::new(4).expect("it is not 0");
const XZ_THREADS_MAX: NonZero<usize> = NonZero::new(2).expect("it is not 0");

/// What becomes of the archive.
pub(super) enum Tar {
    /// Nothing.
    Plain,
    /// gzip, one member.
    Gzip,
    /// zstd, one frame.
    Zstd,
    /// xz, in blocks that can be unpacked apart.
    Xz,
}

impl Writer for Tar {
    fn word(&self) -> &'static str {
        match self {
            Tar::Plain => "tar",
            Tar::Gzip => "tgz",
            Tar::Zstd => "tar.zst",
            Tar::Xz => "tar.xz",
        }
    }

    fn is_of_tree(&self) -> bool {
        true
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>> {
        let map = plan(image.archival()?, &WriteOptions::default())?;
        let tried = || TRIED.to_owned();
        let (method, threads_max) = match self {
            Tar::Plain => return ascending(&image.with(&map), rules, to),
            Tar::Gzip => (Method::Gzip(6), NonZero::<usize>::MAX),
            Tar::Zstd => (Method::Zstd(9), ZSTD_THREADS_MAX),
            Tar::Xz => (Method::SmallXz(6), XZ_THREADS_MAX),
        };
        let threads = rules.threads().min(threads_max);
        let output = DigestingFile::new(to.writer()?, rules.checksums).image(tried)?;
        let sink = CompressingSink::new(output, method, threads).image(tried)?;
        let sink = copy(&image.with(&map), sink)?;
        let output = sink.into_inner().ok_or("the stream has no end").image(tried)?;
        output.into_digests().image(tried)
    }
}

/// rkt's image: the tree below `rootfs/`, and a manifest.
pub(super) struct Aci;

impl Writer for Aci {
    fn word(&self) -> &'static str {
        "aci"
    }

    fn is_of_tree(&self) -> bool {
        true
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>> {
        let archival = image.archival()?;
        let manifest = archival.facts.manifest.as_ref();
        if manifest.is_none() {
            ui::warn("ACI_MANIFEST names no manifest: the image of type aci has none");
        }
        let manifest = manifest.map(|bytes| (b"manifest".to_vec(), bytes.clone()));
        let options = WriteOptions {
            prefix: b"rootfs/".to_vec(),
            extra: manifest.into_iter().collect(),
            ..WriteOptions::default()
        };
        let map = plan(archival, &options)?;
        ascending(&image.with(&map), rules, to)
    }
}

/// The archive of the tree.
pub(super) fn plan(archival: &Archival<'_>, options: &WriteOptions) -> Result<Map> {
    let sockets = tar::left_out(archival.tree);
    if let Some(first) = sockets.first() {
        ui::note(format_args!(
            "{} of the tree, such as /{}, are left out: archives have no sockets",
            count(sockets.len()),
            first.escape_ascii()
        ));
    }
    let identity = archival.facts.identity;
    let options = WriteOptions {
        latest: identity.clamp.then_some(identity.epoch),
        ..options.clone()
    };
    tar::plan(archival.tree, &options).image(|| "cannot plan the archive".to_owned())
}

fn count(sockets: usize) -> String {
    format!("{sockets} {}", if sockets == 1 { "socket" } else { "sockets" })
}
