//! `cache-url [-f] URL DEST`: makes a file what the server has, and asks for it only if the server has another.
//!
//! In `DIB_IMAGE_CACHE` the file is an entry of the cache, with all that [`crate::cache`] does for one. Elsewhere it is
//! just a file, replaced at once. A fifo gets what was fetched when it is whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::cache::{CacheError, Done, Entry, Wish, known_file};
use crate::environment::Environment;
use crate::fetch::error::{FetchError, Why};
use crate::fetch::part::Part;
use crate::fetch::url::{Url, without_user};
use crate::fetch::{Answer, Fetcher, Request};
use crate::ui;

/// The status by which callers tell that there is no such file.
const NOT_FOUND: u8 = 44;

/// Downloads a URL to a file, unless the file is what the server has.
#[derive(Debug, Parser)]
#[command(name = "cache-url")]
struct Args {
    /// Have caches on the way ask their source, and fetch the file in any case
    #[arg(short = 'f')]
    force: bool,
    /// http, https or file
    url: String,
    /// The file, or a fifo
    dest: PathBuf,
}

/// Runs the command; its exit status is 0, 44 (the server has no such file) or 1.
pub fn run(args: &[OsString]) -> u8 {
    let args: Args = match super::parsed(args) {
        Ok(args) => args,
        Err(status) => return status,
    };
    match cache(&args, &Environment::capture()) {
        Ok(done) => {
            let url = without_user(&args.url);
            ui::note(match done {
                Done::Fetched => format!("cache-url: downloaded {url}"),
                Done::Kept => format!("cache-url: the server has no other {url}, using what is there"),
                Done::Found => format!("cache-url: offline, using what is there of {url}"),
            });
            0
        }
        Err(error) => {
            ui::note(format_args!("cache-url: {error}"));
            match error {
                CacheError::Fetch(error) if error.why.is_not_found() => NOT_FOUND,
                _ => 1,
            }
        }
    }
}

fn cache(args: &Args, environment: &Environment) -> Result<Done, CacheError> {
    let failed = |why| FetchError {
        url: without_user(&args.url),
        why,
        tries: 1,
    };
    let url = Url::parse(&args.url).map_err(|error| failed(Why::Url(error)))?;
    let fetcher = Fetcher::new(environment);
    let offline = environment.non_empty("DIB_OFFLINE").is_some();
    let writing = || Why::local(format!("cannot write {}", args.dest.display()));
    if fs::metadata(&args.dest).is_ok_and(|meta| meta.file_type().is_fifo()) {
        return into_fifo(&fetcher, &url, args.force, &args.dest);
    }
    let dir = directory(&args.dest);
    fs::create_dir_all(dir).map_err(|error| failed(writing()(error)))?;
    if args.dest.file_name().is_none() || args.dest.is_dir() {
        let error = io::Error::from(io::ErrorKind::IsADirectory);
        return Err(failed(writing()(error)).into());
    }
    if let Some(entry) = Entry::in_cache(&args.dest, environment) {
        let wish = Wish {
            force: args.force,
            offline,
            ..Wish::default()
        };
        return entry.obtain(&fetcher, &url, wish, environment);
    }
    let unless = known_file(&args.dest, None).map_err(|error| failed(writing()(error)))?;
    if offline && !args.force && unless.is_some() {
        return Ok(Done::Found);
    }
    let request = Request {
        url: &url,
        unless: unless.filter(|_| !args.force),
        reload: args.force,
        sha256: None,
        len_max: None,
    };
    replace(&fetcher, &request, &args.dest)
}

fn directory(dest: &Path) -> &Path {
    match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Fetches into a file of another name, which then takes the place of the one that is there.
fn replace(fetcher: &Fetcher, request: &Request<'_>, dest: &Path) -> Result<Done, CacheError> {
    let failed = |error| FetchError {
        url: request.url.to_string(),
        why: Why::local(format!("cannot write {}", dest.display()))(error),
        tries: 1,
    };
    let temporary = tempfile::Builder::new()
        .prefix(".download.")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(directory(dest))
        .map_err(failed)?;
    let mut part = Part::new(temporary.reopen().map_err(failed)?);
    if fetcher.fetch(request, &mut part)? == Answer::Kept {
        return Ok(Done::Kept);
    }
    part.file().sync_all().map_err(failed)?;
    temporary.persist(dest).map_err(|error| failed(error.error))?;
    Ok(Done::Fetched)
}

/// Fetches, and only then wakes who reads from the fifo.
fn into_fifo(fetcher: &Fetcher, url: &Url, force: bool, fifo: &Path) -> Result<Done, CacheError> {
    let failed = |error| FetchError {
        url: url.to_string(),
        why: Why::local(format!("cannot write {}", fifo.display()))(error),
        tries: 1,
    };
    let request = Request {
        url,
        unless: None,
        reload: force,
        sha256: None,
        len_max: None,
    };
    let mut part = Part::new(tempfile::tempfile().map_err(failed)?);
    fetcher.fetch(&request, &mut part)?;
    let mut whole = part.file();
    whole.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut out = File::options().write(true).open(fifo).map_err(failed)?;
    io::copy(&mut whole, &mut out).map_err(failed)?;
    Ok(Done::Fetched)
}
