//! `diskimage-builder`: builds the images that YAML files describe, each by a `disk-image-create` of its own.
//!
//! | module | what it is |
//! |---|---|
//! | `schema` | the table of keys; values → entries, or every fault with its file, line and key |
//! | `images` | entries → images, merged by name; an image → its command line |
//!
//! Why each image is a process: a build moves into namespaces of its own and takes its environment from its caller, so
//! images of one run share nothing, and one that fails leaves the others alone.

mod images;
mod schema;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use self::images::{Call, Image};
use super::after_help;
use crate::environment::Environment;
use crate::error::{Error, Kind, Result};
use crate::sandbox::launch::{self, Ending};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  diskimage-builder images.yaml
      builds what the file describes, for example

        - imagename: web
          types: [qcow2, raw]
          packages: [nginx]
          environment: {DIB_RELEASE: trixie}
          elements: [debian-minimal]

  diskimage-builder --dry-run images.yaml more.yaml
      only prints the command lines, those of both files

  diskimage-builder --lock images.yaml
      writes the lock that each image names by its key locked, as dib lock does; with it the image is built of
      those packages and no others

A file is a list of maps. Keys: imagename, arch, types, environment, ramdisk, debug-trace, uncompressed,
clear, checksum, no-tmpfs, offline, locked, skip-base, logfile, image-cache, mkfs-options, root-label, ramdisk-element,
docker-target, image-size, image-extra-size, max-online-resize, min-tmpfs, mkfs-journal-size, qemu-img-options,
install-type, packages, elements; each stands for the option of disk-image-create of that name.
An entry without imagename belongs to the image of the entry before it. Entries of one imagename are merged:
lists are joined, maps updated, other values replaced.";

/// Build the images that YAML files describe.
#[derive(Debug, Parser)]
#[command(name = "diskimage-builder", version, disable_version_flag = true, after_help = after_help(EXAMPLES))]
pub struct Args {
    /// Print the command lines, build nothing
    #[arg(long)]
    dry_run: bool,
    /// Build no image: write the locks that images name
    #[arg(long)]
    lock: bool,
    /// Build no further image after one that failed
    #[arg(long)]
    stop_on_failure: bool,
    /// Files in YAML or JSON
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Builds them, in order.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let mut entries = Vec::new();
    for file in &args.files {
        entries.extend(schema::read(file)?);
    }
    let images = images::merge(entries);
    if images.is_empty() {
        return Err(Error::usage("the files describe no image").hint("--help shows an example"));
    }
    let calls: Vec<(&Image, Call<'_>)> = if args.lock {
        let locking = images.iter().filter_map(|image| Some((image, image.locking()?)));
        locking.collect()
    } else {
        images.iter().map(|image| (image, image.building())).collect()
    };
    if calls.is_empty() {
        let error = Error::usage("no image names a lock");
        return Err(error.hint("its key locked does, with a file"));
    }
    let mut failed = Vec::new();
    let mut left = calls.len();
    for (image, call) in &calls {
        left -= 1;
        ui::note(format_args!("{call}\n"));
        if args.dry_run {
            continue;
        }
        if let Err(how) = run_one(&image.name, call, environment)? {
            failed.push(format!("{}: {} {how}", image.name, call.command));
            if args.stop_on_failure {
                break;
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let untried = match left {
        0 => String::new(),
        left => format!(", {left} not tried"),
    };
    let message = format!(
        "{} of {} images failed{untried}:\n    {}",
        failed.len(),
        calls.len(),
        failed.join("\n    ")
    );
    Err(Error::new(Kind::Image, message))
}

/// The command lines of the images that a text describes.
pub(crate) fn lines(text: &str) -> Result<Vec<String>> {
    let images = images::merge(schema::check("images.yaml", text)?);
    Ok(images.iter().map(|image| image.building().to_string()).collect())
}

/// Runs what is run for one image; how that failed, if it did. A signal to end ends the whole run.
fn run_one(
    name: &str,
    call: &Call<'_>,
    environment: &Environment,
) -> Result<std::result::Result<(), String>> {
    let mut environment = environment.clone();
    for (name, value) in call.environment {
        environment.set(name, value);
    }
    let args: Vec<OsString> = call.arguments.iter().map(Into::into).collect();
    match launch::run_self(call.command, &args, &environment) {
        Err(error) => Ok(Err(format!("cannot be started: {error}"))),
        Ok((_, Some(signal))) => Err(Error::new(
            Kind::Interrupted { signal },
            format!("ended by signal {signal} while image '{name}' was built"),
        )),
        Ok((Ending::Exited(0), None)) => Ok(Ok(())),
        Ok((ending, None)) => Ok(Err(ending.to_string())),
    }
}
