//! `dib plan`: what a build would do.

use std::ffi::OsString;

use clap::Parser;

use super::{after_help, disk_image_create};
use crate::environment::Environment;
use crate::error::{Context, Result};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib plan debian-minimal vm
      the elements, and every hook with its phase, element and path, in the order in which they run

  dib plan --json debian-minimal | jq '.phases[].hooks[].hook'";

/// Print what a build would do, hook by hook. Takes all options of disk-image-create.
#[derive(Debug, Parser)]
#[command(name = "plan", after_help = after_help(EXAMPLES))]
pub struct Args {
    /// Print JSON
    #[arg(long, help_heading = disk_image_create::BEYOND)]
    json: bool,
    #[command(flatten)]
    build: disk_image_create::Args,
}

/// Prints the plan.
pub fn run(args: Args, line: &[OsString], environment: Environment) -> Result<()> {
    let plan = disk_image_create::plan(args.build, line, environment)?;
    for warning in &plan.warnings {
        ui::warn(warning);
    }
    let outline = plan.outline()?;
    if args.json {
        let json = serde_json::to_string_pretty(&outline).host(|| "cannot print the plan".to_owned())?;
        ui::print(format_args!("{json}\n"));
    } else {
        ui::print(outline);
    }
    Ok(())
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
