//! `cached-root save DIR FILE`, `cached-root restore FILE DIR`: the root of a bootstrap → the cache, and back.
//!
//! An entry is whole or not there, and its digest stands beside it, as for all that [`crate::cache`] keeps. Restoring ends
//! with status [`ABSENT`] where there is none, and with [`DAMAGED`] where one is not what its digest says: nothing was
//! written then, and the root is to be made. One without a digest, from another program, is taken as it is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use flate2::{Compression, write::GzEncoder};

use super::extract_image::lay_out;
use crate::bootstrap::{kept_root, skeleton};
use crate::cache::lock::Lock;
use crate::cache::{Entry, State};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::inspect::layout;
use crate::sandbox::rooted::Rooted;
use crate::settings::host_arch;
use crate::ui;

/// The status where there is no such entry.
pub const ABSENT: u8 = 3;
/// The status where the entry is damaged.
pub const DAMAGED: u8 = 4;

/// Keeps the root of a bootstrap in the cache.
#[derive(Debug, Parser)]
#[command(name = "cached-root")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Puts a root into the cache
    Save {
        /// The root
        dir: PathBuf,
        /// The entry, a tar.gz
        file: PathBuf,
    },
    /// Makes the root of an entry in a directory; the status is 3 where there is none, and 4 where it is damaged
    Restore {
        /// The entry
        file: PathBuf,
        /// An empty directory
        dir: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: &[OsString]) -> u8 {
    let args: Args = match super::parsed(args) {
        Ok(args) => args,
        Err(status) => return status,
    };
    let environment = Environment::capture();
    let done = match &args.command {
        Command::Save { dir, file } => save(dir, file, &environment),
        Command::Restore { file, dir } => restore(file, dir, &environment),
    };
    done.unwrap_or_else(|error| {
        ui::error(&error);
        1
    })
}

/// The entry at a path, which is another one wherever somebody stands.
fn entry(file: &Path) -> Result<Entry> {
    let path = std::path::absolute(file).host(|| format!("cannot find {}", file.display()))?;
    Ok(Entry::at(&path))
}

fn save(dir: &Path, file: &Path, environment: &Environment) -> Result<u8> {
    let what = format!("root {}", file.display());
    entry(file)?.keep(&what, environment, |to| {
        let mut packed = GzEncoder::new(to, Compression::default());
        let told = || format!("cannot keep the root {}", dir.display());
        kept_root::write(dir, &mut packed).map_err(|error| Error::new(Kind::Host, told()).because(error))?;
        packed.finish().host(told)?;
        Ok(())
    })?;
    Ok(0)
}

fn restore(file: &Path, dir: &Path, environment: &Environment) -> Result<u8> {
    let entry = entry(file)?;
    let _lock = Lock::of_entry(entry.path(), environment)?;
    match entry.state()? {
        State::Absent => return Ok(ABSENT),
        State::Damaged { how } => {
            ui::warn(format_args!(
                "{} of the cache is damaged: {how}; making it again",
                file.display()
            ));
            return Ok(DAMAGED);
        }
        State::Unknown | State::Sound(_) => {}
    }
    let scratch = environment
        .non_empty("TMP_BUILD_DIR")
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let arch = environment.text("ARCH")?.map_or_else(host_arch, str::to_owned);
    lay_out(file, dir, &layout::choice(environment, &arch)?, &scratch)?;
    let tried = || format!("cannot make the nodes of {}", dir.display());
    Rooted::open(dir)
        .and_then(|tree| skeleton::make_nodes(&tree))
        .host(tried)?;
    Ok(0)
}
