//! `dib ls`: the files of an image.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::Parser;
use serde::Serialize;

use super::after_help;
use super::inspect::{finder, print_json};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::inspect::InspectError;
use crate::inspect::compose::joined;
use crate::inspect::find::{Finder, Found};
use crate::inspect::listing::{Listed, SCHEMA};
use crate::inspect::report::printable;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib ls debian.qcow2 /boot
      what is there, as ls -l shows it; a separate /boot is found

  dib ls -R --json root.tar.gz /etc
      all of it, for programs

  dib ls --partition 1 disk.raw
      a partition by its number";

/// List files of an image. A `+` after the permissions tells of extended attributes; times are in UTC.
#[derive(Debug, Parser)]
#[command(name = "ls", after_help = after_help(&format!("{EXAMPLES}\n\n{SCHEMA}")))]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// List directories with all that is below them
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Look into the partition of this number alone
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Path in the image, or a pattern with * ? [...] [default: /]
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
}

#[derive(Serialize)]
struct Listing {
    version: u32,
    entries: Vec<Listed>,
}

/// Directories with their entries, as they are printed.
#[derive(Default)]
struct Shelves {
    text: String,
    entries: Vec<Listed>,
}

/// Prints them.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let root = [OsString::from("/")];
    let paths = if args.paths.is_empty() {
        &root[..]
    } else {
        &args.paths
    };
    let names: Vec<&[u8]> = paths.iter().map(|path| path.as_bytes()).collect();
    let mut finder = finder(&args.image, args.partition, &names, environment)?;
    let tried = || format!("cannot read {}", args.image.display());
    if args.recursive {
        finder.read_all().image(tried)?;
    }
    let mut found = Vec::new();
    for name in names {
        let here = finder.find(name, true).image(tried)?;
        if here.is_empty() {
            return Err(nothing(args, name));
        }
        found.extend(here);
    }
    let shelves = shelve(args, &mut finder, &found).image(tried)?;
    if args.json {
        let entries = shelves.entries;
        print_json(&Listing { version: 1, entries })
    } else {
        ui::print(shelves.text)
    }
}

fn nothing(args: &Args, name: &[u8]) -> Error {
    let message = format!("{} has no {}", args.image.display(), printable(name));
    Error::new(Kind::Image, message)
}

/// Files first, then each directory under its name, if there are several.
fn shelve(args: &Args, finder: &mut Finder, found: &[Found]) -> Result<Shelves, InspectError> {
    let mut shelves = Shelves::default();
    let mut directories = Vec::new();
    for found in found {
        let view = finder.view();
        let Some(spot) = view.at(&found.path) else {
            continue;
        };
        if view.is_directory(spot) {
            directories.push((found.name.clone(), found.path.clone()));
        } else {
            shelves.add(Listed::of(view, spot, &found.name, &found.name));
        }
    }
    let titled = args.recursive || directories.len() > 1 || !shelves.entries.is_empty();
    directories.reverse();
    while let Some((name, path)) = directories.pop() {
        if titled {
            let gap = if shelves.text.is_empty() { "" } else { "\n" };
            let title = format!("{gap}{}:\n", printable(&name));
            shelves.text.push_str(&title);
        }
        let mut below = Vec::new();
        for (entry, spot) in finder.list(&path)? {
            let slash: &[u8] = if name.ends_with(b"/") { b"" } else { b"/" };
            let full = [&name[..], slash, &entry].concat();
            let view = finder.view();
            shelves.add(Listed::of(view, spot, &full, &entry));
            if args.recursive && view.is_directory(spot) {
                below.push((full, joined(&path, &entry)));
            }
        }
        directories.extend(below.into_iter().rev());
    }
    Ok(shelves)
}

impl Shelves {
    fn add(&mut self, listed: Listed) {
        self.text.push_str(&listed.to_string());
        self.text.push('\n');
        self.entries.push(listed);
    }
}
