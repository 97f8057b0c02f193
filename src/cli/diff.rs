//! `dib diff`: in what two images differ.

use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use clap::Parser;

use super::after_help;
use super::inspect::{finder, print_json};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::inspect::diff::{SCHEMA, compare};
use crate::inspect::unseen::{self, Unseen};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib diff yesterday.qcow2 today.qcow2
      a line for each path: what only one has, or in what mode, owner, attributes, links or content differ

  dib diff --times root.tar ./root
      an archive and a directory, with times of modification

The status tells: 0, equal; 1, different; 2, trouble.";

/// Compare the files of two images, archives, container images or directories.
#[derive(Debug, Parser)]
#[command(name = "diff", after_help = after_help(&format!("{EXAMPLES}\n\n{SCHEMA}")))]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Compare times of modification, too
    #[arg(long)]
    times: bool,
    /// Threads that compare contents [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// The first image
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The second image
    #[arg(value_name = "B")]
    b: PathBuf,
}

/// Compares them. Differences are a failure without a message.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let equal = compared(args, environment).map_err(Error::into_trouble)?;
    if equal {
        Ok(())
    } else {
        Err(Error::new(Kind::Found, "the images differ"))
    }
}

fn compared(args: &Args, environment: &Environment) -> Result<bool> {
    let mut a = finder(&args.a, None, &[], environment)?;
    let mut b = finder(&args.b, None, &[], environment)?;
    let cannot = |path: &PathBuf| format!("cannot read {}", path.display());
    let (name_a, name_b) = (args.a.display().to_string(), args.b.display().to_string());
    for (name, finder) in [(&name_a, &a), (&name_b, &b)] {
        for Unseen { place, why } in unseen::of(finder.image(), finder.places()) {
            ui::warn(format_args!("{name}: {place} is not compared: {why}"));
        }
    }
    let view_a = a.read_all().image(|| cannot(&args.a))?;
    let view_b = b.read_all().image(|| cannot(&args.b))?;
    let threads = args.threads.or_else(|| thread::available_parallelism().ok());
    let threads = threads.map_or(1, NonZero::get);
    let compared = compare((&name_a, view_a), (&name_b, view_b), args.times, threads);
    let compared = compared.image(|| format!("cannot compare {name_a} with {name_b}"))?;
    if args.json {
        print_json(&compared)?;
    } else {
        ui::print(&compared)?;
    }
    Ok(compared.is_equal())
}
