//! A container image → the tree of its root: which of an archive's images is meant, and where its layers are unpacked.
//!
//! Any archive may hold a root, or the layout of a container image that holds one: the names at its top tell. A root has
//! directories that no layout has, so that a file which happens to be called `manifest.json` makes none of it.

use std::fs::File;
use std::path::Path;

use image_core::scan::{self, scan};
use image_core::tree::{Content, NodeId, Time};
use image_core::{Store, Tree};
use image_formats::oci::{self, Choice, Platform};
use image_formats::tar::{self, TarStore};

use super::{InspectError, about};
use crate::blockdevice::split::split;
use crate::environment::Environment;
use crate::error::{Error, Result};

/// The image that the environment means: of `DIB_CONTAINER_PLATFORM`, else for the architecture of the build.
pub fn choice(environment: &Environment, arch: &str) -> Result<Choice> {
    let platform = match environment.text("DIB_CONTAINER_PLATFORM")? {
        Some(text) => platform(text).ok_or_else(|| {
            Error::usage(format!(
                "DIB_CONTAINER_PLATFORM: '{text}' is no platform, such as linux/arm64"
            ))
        })?,
        None => Platform {
            os: "linux".to_owned(),
            architecture: in_go(arch).to_owned(),
            variant: None,
        },
    };
    let tag = environment.text("DIB_CONTAINER_TAG")?.map(str::to_owned);
    Ok(Choice { platform, tag })
}

/// `OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`.
fn platform(text: &str) -> Option<Platform> {
    let mut words = text.split('/').map(str::to_owned);
    let platform = Platform {
        os: words.next()?,
        architecture: words.next()?,
        variant: words.next(),
    };
    (words.next().is_none() && text.split('/').all(|word| !word.is_empty())).then_some(platform)
}

/// What Go calls an architecture, whichever word elements have for it.
fn in_go(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" => "386",
        "armhf" | "armel" => "arm",
        "ppc64el" => "ppc64le",
        other => other,
    }
}

/// The root in an archive, which holds it or a container image.
pub fn of_archive(
    file: File,
    path: &Path,
    choice: &Choice,
    scratch: &Path,
) -> Result<(Tree, TarStore), InspectError> {
    let (tree, store) = tar::read(file, path)?;
    if is_layout(&tree) {
        return of_layout(&tree, &store, choice, scratch);
    }
    if is_aci(&tree) {
        let below = split(&tree, &["/", "/rootfs"], Time::default())?.pop();
        return Ok((below.unwrap_or(tree), store));
    }
    Ok((tree, store))
}

/// Whether a tree is rkt's image: a manifest, and the root below `rootfs`.
fn is_aci(tree: &Tree) -> bool {
    let Content::Directory(entries) = tree.node(NodeId::ROOT).content else {
        return false;
    };
    let entries: Vec<_> = tree.entries(entries).collect();
    let [(b"manifest", _), (b"rootfs", root)] = entries[..] else {
        return false;
    };
    matches!(tree.node(root).content, Content::Directory(_))
}

/// The root of the container image in a directory.
pub fn of_dir(path: &Path, choice: &Choice, scratch: &Path) -> Result<(Tree, TarStore), InspectError> {
    let (layout, store) = scan(path, &scan::Options::default())?;
    of_layout(&layout, &store, choice, scratch)
}

fn of_layout(
    layout: &Tree,
    store: &impl Store,
    choice: &Choice,
    scratch: &Path,
) -> Result<(Tree, TarStore), InspectError> {
    // Failing to make a file is of the scratch directory, not of the image.
    tempfile::tempfile_in(scratch).map_err(about(scratch))?;
    Ok(oci::read(layout, store, choice, &mut || {
        tempfile::tempfile_in(scratch)
    })?)
}

/// Whether a tree is the layout of a container image, and no root.
pub fn is_layout(tree: &Tree) -> bool {
    let Content::Directory(entries) = tree.node(NodeId::ROOT).content else {
        return false;
    };
    let has = |wanted: &str| tree.entries(entries).any(|(name, _)| name == wanted.as_bytes());
    let is_root = ["bin", "etc", "usr"].into_iter().any(has);
    !is_root && (has("oci-layout") || has("manifest.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_is_named_or_that_of_the_build() {
        let chosen = |variables: &[(&'static str, &str)], arch: &str| {
            let mut environment = Environment::default();
            for (name, value) in variables {
                environment.set(*name, *value);
            }
            choice(&environment, arch).map(|choice| choice.to_string())
        };
        assert_eq!(chosen(&[], "aarch64").unwrap(), "for linux/arm64");
        assert_eq!(chosen(&[], "i386").unwrap(), "for linux/386");
        assert_eq!(chosen(&[], "s390x").unwrap(), "for linux/s390x");
        let named = [
            ("DIB_CONTAINER_PLATFORM", "linux/arm/v7"),
            ("DIB_CONTAINER_TAG", "12"),
        ];
        assert_eq!(chosen(&named, "amd64").unwrap(), "'12' for linux/arm/v7");
        for bad in ["linux", "linux/", "a/b/c/d", "/amd64"] {
            let told = chosen(&[("DIB_CONTAINER_PLATFORM", bad)], "amd64").unwrap_err();
            assert!(told.to_string().contains("is no platform"), "{told}");
        }
    }
}
