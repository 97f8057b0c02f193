//! `extract-image FILE ARCHIVE URL CACHED`: the root of a cloud image → the tree of the build.
//!
//! FILE is the image's name below URL and in the cache, where it is fetched to unless the server has no other. Images are
//! read as they are: no archive of the root is made of them, so ARCHIVE and CACHED only matter where they are there already
//! and, offline, the image is not. `DIB_LOCAL_IMAGE` names another image, and then nothing is fetched; it may be the directory of a container
//! image. `docker://NAME` names one of a registry, which is pulled into the cache.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use image_formats::oci::Choice;

use crate::cache::registry::{self, Name};
use crate::cache::{Entry, State, Wish};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::fetch::Fetcher;
use crate::fetch::url::Url;
use crate::inspect::{layout, root};
use crate::sandbox::rooted::Rooted;
use crate::sandbox::sudo;
use crate::settings::host_arch;
use crate::ui;

/// Lays the root of a disk image, or of an archive, out in the tree of the build.
#[derive(Debug, Parser)]
#[command(name = "extract-image")]
struct Args {
    /// Name of the image
    file: String,
    /// Name of an archive of its root
    archive: String,
    /// Where the image is: its name is put behind this
    url: String,
    /// An archive of its root in the cache
    cached: PathBuf,
}

/// Runs the command; its exit status is 0 or 1.
pub fn run(args: &[OsString]) -> u8 {
    let parsed: Args = match super::parsed(args) {
        Ok(parsed) => parsed,
        Err(status) => return status,
    };
    if !rustix::process::geteuid().is_root() {
        ui::note(format_args!("extract-image: {}", sudo::exec(args)));
        return 1;
    }
    match extract(&parsed, &Environment::capture()) {
        Ok(()) => 0,
        Err(error) => {
            ui::error(&error);
            1
        }
    }
}

fn extract(args: &Args, environment: &Environment) -> Result<()> {
    let place = |name: &str| {
        let value = environment.non_empty(name).map(PathBuf::from);
        value.ok_or_else(|| Error::usage(format!("extract-image: {name} is not set")))
    };
    let tree = place("TARGET_ROOT")?;
    let scratch = environment
        .non_empty("TMP_BUILD_DIR")
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let arch = environment.text("ARCH")?.map_or_else(host_arch, str::to_owned);
    let choice = layout::choice(environment, &arch)?;
    let image = image(args, environment, &choice, &place("DIB_IMAGE_CACHE")?)?;
    lay_out(&image, &tree, &choice, &scratch)
}

/// The layout of an image of a registry, in the cache.
fn pulled(name: &str, environment: &Environment, choice: &Choice, cache: &Path) -> Result<PathBuf> {
    let known = Name::parse(name).ok_or_else(|| {
        Error::usage(format!(
            "'docker://{name}' cannot be the name of a container's image"
        ))
        .hint("for example: docker://docker.io/library/debian:12")
    })?;
    registry::pull(&known, &choice.platform, cache, environment)
}

/// The image, which is on this machine then.
fn image(args: &Args, environment: &Environment, choice: &Choice, cache: &Path) -> Result<PathBuf> {
    if let Some(local) = environment.non_empty("DIB_LOCAL_IMAGE") {
        let name = local.to_str().and_then(|local| local.strip_prefix("docker://"));
        return match name {
            Some(name) => pulled(name, environment, choice, cache),
            None => Ok(PathBuf::from(local)),
        };
    }
    let offline = environment.non_empty("DIB_OFFLINE").is_some();
    let entry = Entry::at(&cache.join(&args.file));
    if offline && args.cached.is_file() && entry.state()? == State::Absent {
        return Ok(args.cached.clone());
    }
    let text = format!("{}/{}", args.url.trim_end_matches('/'), args.file);
    let url = Url::parse(&text).map_err(|error| Error::usage(format!("{text}: {error}")))?;
    let wish = Wish {
        offline,
        ..Wish::default()
    };
    entry
        .obtain(&Fetcher::new(environment), &url, wish, environment)
        .map_err(|error| Error::new(Kind::Host, format!("cannot fetch {text}")).because(error))?;
    Ok(entry.path().to_owned())
}

/// Lays the root of an image out, with all that is mounted in it.
pub(super) fn lay_out(image: &Path, tree: &Path, choice: &Choice, scratch: &Path) -> Result<()> {
    let read = || format!("cannot use the image {}", image.display());
    let parts =
        root::read(image, choice, scratch).map_err(|error| Error::new(Kind::Host, read()).because(error))?;
    for part in parts {
        let place = Rooted::open(tree).host(read)?;
        let names: Vec<&[u8]> = part.at.split(|byte| *byte == b'/').collect();
        let names = if part.at.is_empty() { &[][..] } else { &names };
        let place = place.make_dirs(names, 0o755).host(read)?;
        let refused = place
            .lay_out(&part.files.tree, &*part.files.store)
            .map_err(|error| Error::new(Kind::Host, read()).because(error))?;
        if refused > 0 {
            ui::note(format_args!(
                "extract-image: {refused} extended attributes cannot be set here and are left out"
            ));
        }
    }
    Ok(())
}
