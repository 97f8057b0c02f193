//! `dib cat`: the bytes of files of an image.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::Parser;

use super::after_help;
use super::inspect::finder;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::inspect::copied::copied;
use crate::inspect::report::printable;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib cat debian.qcow2 '/boot/vmlinuz-*' >vmlinuz
      a kernel, wherever /boot is

  dib cat image.tar.gz /etc/os-release /etc/fstab
      two files, one after the other

  dib cat --partition 1 disk.raw /EFI/BOOT/BOOTX64.EFI | sha256sum
      a file of a partition by its number";

/// Print files of an image.
#[derive(Debug, Parser)]
#[command(name = "cat", after_help = after_help(EXAMPLES))]
pub struct Args {
    /// Look into the partition of this number alone
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Path in the image, or a pattern with * ? [...]
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<OsString>,
}

/// Prints them.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let names: Vec<&[u8]> = args.paths.iter().map(|path| path.as_bytes()).collect();
    let mut finder = finder(&args.image, args.partition, &names, environment)?;
    let tried = || format!("cannot read {}", args.image.display());
    for name in names {
        let found = finder.find(name, true).image(tried)?;
        if found.is_empty() {
            return Err(refused(args, name, "is not there"));
        }
        for found in found {
            let view = finder.view();
            let spot = view.at(&found.path);
            let spot = spot.and_then(|spot| Some((spot, view.length(spot)?)));
            let (spot, len) = spot.ok_or_else(|| refused(args, &found.name, "is no regular file"))?;
            let whole = copied(view, spot, len, ui::print_bytes);
            if !whole.image(tried)?? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn refused(args: &Args, name: &[u8], why: &str) -> Error {
    let message = format!("{}: {} {why}", args.image.display(), printable(name));
    Error::new(Kind::Image, message)
}
