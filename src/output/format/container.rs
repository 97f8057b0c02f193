//! The tree as a container's image of one layer, in an archive that is an OCI layout: of type docker, one that
//! `docker load` and `podman load` take too.

use image_formats::oci::{ArchiveOptions, ArchiveSink};
use image_formats::tar::WriteOptions;

use super::{Writer, tar};
use crate::error::{Context, Result};
use crate::output::Rules;
use crate::output::digest::Digits;
use crate::output::writing::{Image, TRIED, Target, in_order};

pub(super) enum Container {
    /// With the manifest of `docker save`.
    Docker,
    /// Without.
    Oci,
}

impl Writer for Container {
    fn word(&self) -> &'static str {
        match self {
            Container::Docker => "docker",
            Container::Oci => "oci",
        }
    }

    fn suffix(&self) -> &'static str {
        match self {
            Container::Docker => "docker.tar",
            Container::Oci => "oci.tar",
        }
    }

    fn is_of_tree(&self) -> bool {
        true
    }

    fn streams(&self, _: &Rules) -> bool {
        false
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>> {
        let archival = image.archival()?;
        let holes = WriteOptions {
            sparse: false,
            ..WriteOptions::default()
        };
        let map = tar::plan(archival, &holes)?;
        let platform = archival.facts.platform.clone();
        let platform = platform.ok_or("for no platform").image(|| TRIED.to_owned())?;
        let options = ArchiveOptions {
            platform,
            name: archival.facts.name.clone(),
            created: Some(archival.facts.created.clone()),
            level: rules.compress.then_some(6),
            docker: matches!(self, Container::Docker),
            threads: rules.threads(),
        };
        let tried = || TRIED.to_owned();
        let sink = ArchiveSink::new(to.writer()?, options).image(tried)?;
        in_order(&image.with(&map), rules, to, sink)
    }
}
