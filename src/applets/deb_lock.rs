//! `deb-lock FILE`: adds to a lock what `apt-get download --print-uris` prints, which is read from standard input.
//!
//! The packages go into the cache by their digest, where a locked build finds them without a network.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;

use crate::bootstrap::lock::Lock;
use crate::bootstrap::repository;
use crate::bootstrap::sources::Source;
use crate::bootstrap::store::Store;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Result};
use crate::ui;

/// Runs the command.
pub fn run(args: &[OsString]) -> u8 {
    let done = match args {
        [_, file] => add(Path::new(file)),
        _ => Err(Error::usage("deb-lock takes one argument, the lock")),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            ui::error(&error);
            error.kind().status()
        }
    }
}

fn add(path: &Path) -> Result<()> {
    let environment = Environment::capture();
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .host(|| "cannot read what apt prints".to_owned())?;
    let mut lock = Lock::read(path)?;
    repository::add(&mut lock, &text)?;
    let cache = environment.non_empty("DIB_IMAGE_CACHE").map(Path::new);
    let cache =
        cache.ok_or_else(|| Error::usage("DIB_IMAGE_CACHE is not set: this is for hooks of a build"))?;
    let kept = cache
        .join("apt")
        .join(environment.get("DISTRO_NAME").unwrap_or_default());
    let store = Store::open(cache, &environment)?;
    repository::keep(&sources(&lock, &environment)?, &lock.later, &store, &kept)?;
    crate::cache::replace_text(path, &lock.text())
        .host(|| format!("cannot write the lock {}", path.display()))
}

/// The archives of the build, which may have passwords that the lock has not.
fn sources(lock: &Lock, environment: &Environment) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for name in ["DIB_DISTRIBUTION_MIRROR", "DIB_DEBIAN_SECURITY_MIRROR"] {
        if let Some(mirror) = environment.text(name)?.filter(|mirror| !mirror.is_empty()) {
            sources.push(Source::of_mirror(mirror, &lock.suite, &[])?);
        }
    }
    Ok(sources)
}
