//! `dib install-links`: the names of the program as links in a directory, for who has nothing but the one binary.
//!
//! All or nothing: what is not ours already is found before the first link is made.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use clap::Parser;

use super::{COMMANDS, after_help};
use crate::error::{Context, Error, Kind, Result};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib install-links /usr/local/bin
      disk-image-create and the other names of the program, as links to this file";

/// Make links that call this program by its other names.
#[derive(Debug, Parser)]
#[command(name = "install-links", after_help = after_help(EXAMPLES))]
pub struct Args {
    /// Directory of the links
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Makes them, and prints those that are new.
pub fn run(args: &Args) -> Result<()> {
    let program = std::env::current_exe().host(|| "cannot find this program itself".to_owned())?;
    let dir = &args.dir;
    if !dir.is_dir() {
        return Err(Error::usage(format!("{} is no directory", dir.display())));
    }
    let (mut missing, mut foreign) = (Vec::new(), Vec::new());
    for name in COMMANDS {
        let link = dir.join(name);
        match fs::symlink_metadata(&link) {
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push(link),
            Err(error) => return Err(error).host(|| format!("cannot look at {}", link.display())),
            Ok(_) if is(&link, &program) => {}
            Ok(_) => foreign.push(link.display().to_string()),
        }
    }
    if !foreign.is_empty() {
        let message = format!("there already is {}", foreign.join(", "));
        return Err(Error::new(Kind::Host, message).hint("remove what may go, and try again"));
    }
    for link in missing {
        symlink(&program, &link).host(|| format!("cannot make the link {}", link.display()))?;
        ui::print(format_args!("{}\n", link.display()))?;
    }
    Ok(())
}

/// Whether a path leads to this program.
fn is(path: &Path, program: &Path) -> bool {
    let place = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    place(path).is_some_and(|found| Some(found) == place(program))
}
