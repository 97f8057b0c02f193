//! `dib lock`: the packages of a build, each by version and SHA-256, in a file that `--locked` takes.
//!
//! What a build installs is known when it has been installed: hooks decide it on the way. So the build is run, but for its
//! image, and its elements write down what comes in.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use super::{after_help, disk_image_create};
use crate::environment::Environment;
use crate::error::{Context, Error, Kind, Result};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib lock --file web.lock -p nginx debian-minimal
      installs what that image would have, writes no image, and keeps every package's version and digest in web.lock

  dib build --locked web.lock --offline -o web -p nginx debian-minimal
      the image, of these packages and no others, out of the cache where they are there";

/// Write down the packages of a build. Takes all options of disk-image-create.
#[derive(Debug, Parser)]
#[command(name = "lock", after_help = after_help(EXAMPLES))]
pub struct Args {
    /// The lock
    #[arg(long, value_name = "FILE", default_value = "dib.lock", help_heading = disk_image_create::BEYOND)]
    file: PathBuf,
    #[command(flatten)]
    build: disk_image_create::Args,
}

/// Runs the build without an image, and puts its lock into place when it has succeeded.
pub fn run(args: Args, line: &[OsString], mut environment: Environment) -> Result<()> {
    let tried = || format!("cannot write the lock {}", args.file.display());
    let file = std::path::absolute(&args.file).host(tried)?;
    let mut part = file.file_name().ok_or_else(|| Error::usage(tried()))?.to_owned();
    part.push(".part");
    let part = file.with_file_name(part);
    let _ = std::fs::remove_file(&part);
    environment.set("DIB_LOCK", &part);
    environment.unset("DIB_LOCKED");
    let built = disk_image_create::run(args.build.with_element("no-final-image"), line, environment);
    if built.is_err() {
        // A lock that is not whole is of no use to anybody.
        let _ = std::fs::remove_file(&part);
    }
    built?;
    if !part.exists() {
        let error = Error::new(Kind::Elements, "no element of this build writes a lock");
        return Err(error.hint("debian-minimal does"));
    }
    std::fs::rename(&part, &file).host(tried)?;
    ui::note(format_args!("locked in {}", file.display()));
    Ok(())
}
