//! `dib inspect`: what an image is and what is in it. Also what the commands that look into images share.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::after_help;
use crate::environment::Environment;
use crate::error::{Context as _, Result};
use crate::inspect::find::Finder;
use crate::inspect::image::Image;
use crate::inspect::layout;
use crate::inspect::report::{Report, SCHEMA};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib inspect debian.qcow2
      container, partitions, file systems, system and kernels; nothing is mounted, and no right is needed

  dib inspect --json image.vhd | jq -r '.filesystems[] | select(.mount_point == \"/\").uuid'
      one fact

Which partition is mounted where:
  The root is the last partition whose file system has /etc and /usr or /bin. Its /etc/fstab tells where file systems
  with a label or UUID of their own belong; what it leaves out, the EFI system partition and /boot, is known by type
  or name.";

/// Print what an image is and what is in it: disks, archives, container images, directories.
#[derive(Debug, Parser)]
#[command(name = "inspect", after_help = after_help(&format!("{EXAMPLES}\n\n{SCHEMA}")))]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
}

/// Prints it.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let choice = layout::choice(environment, ARCH)?;
    let report = Report::of(&args.image, &choice, &scratch(environment));
    let report = report
        .map_err(|error| error.of_named(&args.image))
        .image(|| format!("cannot inspect {}", args.image.display()))?;
    if args.json {
        print_json(&report)
    } else {
        ui::print(report)
    }
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value).host(|| "cannot print JSON".to_owned())?;
    ui::print(format_args!("{json}\n"))
}

/// Where what has to be unpacked lies.
pub(super) fn scratch(environment: &Environment) -> PathBuf {
    environment
        .non_empty("TMPDIR")
        .map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

/// Opens an image to look for files in it; directories above `names` are read at once.
pub(super) fn finder(
    path: &Path,
    partition: Option<u32>,
    names: &[&[u8]],
    environment: &Environment,
) -> Result<Finder> {
    let choice = layout::choice(environment, ARCH)?;
    let image = Image::open(path, &choice, &scratch(environment));
    let finder = image.and_then(|image| Finder::new(image, partition, names));
    let finder = finder.map_err(|error| error.of_named(path));
    finder.image(|| format!("cannot read {}", path.display()))
}
