//! `dib plan`: what a build would do.

use std::ffi::OsString;

use clap::Parser;

use super::{after_help, disk_image_create};
use crate::environment::Environment;
use crate::error::{Context, Result};
use crate::plan::outline::{Outline, SCHEMA};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib plan -p nginx debian-minimal
      every setting and where it comes from, the elements and why each is one, every hook with its phase, element
      and path in the order in which they run, what is ignored, and what would be fetched

  dib plan --ramdisk debian-minimal
      the same of a ramdisk

  dib plan --json debian-minimal | jq '.phases[].hooks[].hook'
      the hooks, in order

  dib plan --json -t raw debian-minimal | jq -r '.settings | to_entries[] | select(.value.origin != \"default\").key'
      what the command line and the environment decide";

/// Print what a build would do. Takes all options of disk-image-create.
#[derive(Debug, Parser)]
#[command(name = "plan", after_help = after_help(&format!("{EXAMPLES}\n\n{SCHEMA}")))]
pub struct Args {
    /// Print JSON
    #[arg(long, help_heading = disk_image_create::BEYOND)]
    json: bool,
    /// What ramdisk-image-create would do
    #[arg(long, help_heading = disk_image_create::BEYOND)]
    ramdisk: bool,
    #[command(flatten)]
    build: disk_image_create::Args,
}

/// Prints the plan.
pub fn run(args: Args, line: &[OsString], environment: Environment) -> Result<()> {
    let plan = disk_image_create::plan(args.build.for_ramdisk(args.ramdisk), line, environment)?;
    let outline = Outline::of(&plan)?;
    for warning in outline.warnings() {
        ui::warn(warning);
    }
    if args.json {
        let json = serde_json::to_string_pretty(&outline).host(|| "cannot print the plan".to_owned())?;
        ui::print(format_args!("{json}\n"))
    } else {
        ui::print(outline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_is_sound() {
        Args::command().debug_assert();
    }
}
