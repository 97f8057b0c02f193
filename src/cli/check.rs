//! `dib check`: whether an image is consistent.

use std::env::consts::ARCH;
use std::path::PathBuf;

use clap::Parser;

use super::after_help;
use super::inspect::{print_json, scratch};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::inspect::check::{SCHEMA, Verdict};
use crate::inspect::layout;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib check debian.qcow2
      a line for each thing that is wrong, with structure and place: tables and reference counts of qcow2; footers,
      tables and places of vhd, vdi and vmdk; both copies of a GPT; of ext4 what e2fsck checks; of XFS, Btrfs
      and others that everything but the data of files can be read, by right checksums where there are some

  dib check --json image.raw | jq '.findings | length'
      how many

The status tells: 0, nothing is wrong; 1, something is; 2, trouble.";

/// Check whether container, partition table and file systems of an image are consistent. Changes nothing.
#[derive(Debug, Parser)]
#[command(name = "check", after_help = after_help(&format!("{EXAMPLES}\n\n{SCHEMA}")))]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
}

/// Checks it. Findings are a failure without a message.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let verdict = checked(args, environment).map_err(Error::into_trouble)?;
    if verdict.is_clean() {
        Ok(())
    } else {
        Err(Error::new(Kind::Found, "something is wrong"))
    }
}

fn checked(args: &Args, environment: &Environment) -> Result<Verdict> {
    let choice = layout::choice(environment, ARCH)?;
    let verdict = Verdict::of(&args.image, &choice, &scratch(environment));
    let verdict = verdict
        .map_err(|error| error.of_named(&args.image))
        .image(|| format!("cannot check {}", args.image.display()))?;
    if args.json {
        print_json(&verdict)?;
    } else {
        ui::print(&verdict)?;
    }
    Ok(verdict)
}
