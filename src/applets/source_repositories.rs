//! `source-repositories`: fetches what the `source-repository-*` files of all elements name, into the cache, then into
//! the tree.
//!
//! | module | what it is |
//! |---|---|
//! | `git` | mirrors of git repositories, and checkouts of them |
//! | `place` | where a source is kept in the cache, and where it goes in the tree |
//!
//! What came into the image is recorded there: `dib-manifest-git-IMAGE` has a line `NAME git PATH URL SHA` for each
//! checkout, `dib-manifest-sources-IMAGE` a line of JSON for each source with its commit or SHA-256, so that a later
//! build can be held to the same, and `/etc/dib-source-repositories` all paths.

mod git;
mod place;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use serde::Serialize;

use crate::cache::lock::Lock;
use crate::cache::{CacheError, Entry, Wish};
use crate::element::source_repositories::{Fault, Kind as Type, Repository, expand, lines};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::fetch::Fetcher;
use crate::fetch::url::{Url, without_user};
use crate::sandbox::launch::Sandbox;
use crate::sandbox::rooted::Rooted;
use crate::ui;
use crate::unpack::{Selection, unpack};
use git::Git;
use place::Caches;

/// How long another build may hold the cache for one file.
const PATIENCE: Duration = Duration::from_mins(10);

/// Fetches what the source-repository files of all elements name; everything else is in the variables of a build.
#[derive(Debug, Parser)]
#[command(name = "source-repositories")]
struct Args {}

/// A build, as a hook of it sees it.
struct Build<'a> {
    environment: &'a Environment,
    hooks: PathBuf,
    tree: Rooted,
    caches: Caches,
    fetcher: Fetcher,
    git: Git,
    offline: bool,
    paths: Vec<String>,
    used: Vec<Used>,
}

/// A source that came into the image, and which version of it.
#[derive(Debug, Serialize)]
struct Used {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    destination: String,
    location: String,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// Runs the command.
pub fn run(args: &[OsString]) -> u8 {
    if let Err(status) = super::parsed::<Args>(args) {
        return status;
    }
    match fetch_all(&Environment::capture()) {
        Ok(()) => 0,
        Err(error) => {
            ui::note(format_args!("source-repositories: {error}"));
            error.kind().status()
        }
    }
}

fn fetch_all(environment: &Environment) -> Result<()> {
    if environment.non_empty("NO_SOURCE_REPOSITORIES").is_some() {
        ui::note("source-repositories: none, by NO_SOURCE_REPOSITORIES");
        return Ok(());
    }
    let named = |name| {
        let missing = || Error::usage(format!("{name} is not set: this is for hooks of a build"));
        environment.non_empty(name).map(PathBuf::from).ok_or_else(missing)
    };
    let (hooks, tree) = (named("TMP_HOOKS_PATH")?, named("TMP_MOUNT_PATH")?);
    let files = files(&hooks)?;
    if files.is_empty() {
        return Ok(());
    }
    let mut build = Build {
        environment,
        hooks,
        tree: Rooted::open(&tree).host(|| format!("cannot open {}", tree.display()))?,
        caches: Caches::open(&named("DIB_IMAGE_CACHE")?)?,
        fetcher: Fetcher::new(environment),
        git: Git::new(environment),
        offline: environment.non_empty("DIB_OFFLINE").is_some(),
        paths: Vec::new(),
        used: Vec::new(),
    };
    for file in files {
        build.fetch_file(&file)?;
    }
    build.record()
}

/// The names of the files, sorted. Editors' copies are none.
fn files(hooks: &Path) -> Result<Vec<String>> {
    let tried = || format!("cannot read {}", hooks.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(hooks).host(tried)? {
        let entry = entry.host(tried)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with("source-repository-") && !name.ends_with('~') && entry.path().is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

impl Build<'_> {
    fn fetch_file(&mut self, file: &str) -> Result<()> {
        let path = self.hooks.join(file);
        let text = crate::given::read_text(&path).host(|| format!("cannot read {}", path.display()))?;
        let lock = self.caches.lock();
        let _lock = Lock::take(
            &lock,
            "the cache of source repositories",
            PATIENCE,
            self.environment,
        )?;
        let count = lines(&text).count();
        for (index, (number, line)) in lines(&text).enumerate() {
            let here = |error: Error| {
                let kind = error.kind();
                Error::new(kind, format!("{file}, line {number}")).because(error)
            };
            let repository = self.read(line).map_err(here)?;
            let Some(repository) = repository else { continue };
            ui::note(format_args!(
                "source-repositories: {file} {} of {count}: {} from {}",
                index + 1,
                repository.name,
                without_user(&repository.location)
            ));
            self.fetch(&repository).map_err(|error| {
                let kind = error.kind();
                Error::new(kind, format!("{file}, line {number}, {}", repository.name)).because(error)
            })?;
        }
        Ok(())
    }

    /// The repository that a line names, as the caller wants it; `None`: it is not to be fetched.
    fn read(&self, line: &str) -> Result<Option<Repository>> {
        let wrong = |fault: Fault| Error::new(Kind::Elements, fault.to_string());
        let variable = |name: &str| {
            let value = self.environment.get(name)?;
            Some(value.to_string_lossy().into_owned())
        };
        let expanded = match expand(line, &variable) {
            Err(Fault::Command | Fault::Expansion(_)) => self.expand_by_shell(line)?,
            other => other.map_err(wrong)?,
        };
        if expanded.trim().is_empty() || expanded.trim_start().starts_with('#') {
            return Ok(None);
        }
        let repository: Repository = expanded.parse().map_err(wrong)?;
        let (repository, by) = repository.overridden(&variable).map_err(wrong)?;
        if !by.is_empty() {
            ui::note(format_args!(
                "source-repositories: {} by {}",
                repository.name,
                by.join(", ")
            ));
        }
        if !repository.is_fetched(&variable) {
            ui::note(format_args!(
                "source-repositories: {} is not installed from source",
                repository.name
            ));
            return Ok(None);
        }
        Ok(Some(repository))
    }

    /// What only a shell can expand: commands and the like. They are the element's, as its hooks are.
    fn expand_by_shell(&self, line: &str) -> Result<String> {
        let args = ["-c", "set -euf -o pipefail; eval \"echo $1\"", "bash", line].map(OsString::from);
        let ran = Sandbox::host().capture(OsStr::new("bash"), &args, self.environment);
        let (ending, out) = ran.host(|| "cannot start bash to expand the line".to_owned())?;
        if ending.status() != 0 {
            return Err(Error::new(
                Kind::Elements,
                format!("the shell that expands the line {ending}"),
            ));
        }
        String::from_utf8(out).map_err(|_| Error::new(Kind::Elements, "the line expands to no UTF-8 text"))
    }

    fn fetch(&mut self, repository: &Repository) -> Result<()> {
        let names = place::destination(&repository.destination)?;
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let cache = self.caches.of(repository)?;
        let (commit, sha256) = match repository.kind {
            Type::Git => {
                let Some(commit) = self.check_out(repository, &cache, &names)? else {
                    self.paths.push(repository.destination.clone());
                    return Ok(());
                };
                (Some(commit), None)
            }
            Type::Tar => (None, Some(self.unpack(repository, &cache, &names)?)),
            Type::File => (None, Some(self.copy(repository, &cache, &names)?)),
            Type::Package => return Ok(()),
        };
        self.paths.push(repository.destination.clone());
        self.used.push(Used {
            name: repository.name.clone(),
            kind: repository.kind.to_string(),
            destination: repository.destination.clone(),
            location: without_user(&repository.location),
            reference: repository.reference.clone(),
            commit,
            sha256,
        });
        Ok(())
    }

    /// The commit that was checked out; `None`: it was there.
    fn check_out(&self, repository: &Repository, cache: &Path, names: &[&[u8]]) -> Result<Option<String>> {
        let reference = repository.reference.as_deref().unwrap_or("master");
        git::require_harmless(&repository.location, reference)?;
        let commit = self
            .git
            .mirror(cache, &repository.location, reference, self.offline)?;
        let dir = self.tree.make_dirs(names, 0o755);
        let dir = dir.host(|| format!("cannot make {} in the tree", repository.destination))?;
        self.git.check_out(&dir, cache, reference, commit.as_deref())
    }

    fn unpack(&self, repository: &Repository, cache: &Path, names: &[&[u8]]) -> Result<String> {
        let entry = self.obtain(repository, cache)?;
        let word = repository.reference.as_deref().unwrap_or_else(|| {
            ui::warn(format_args!(
                "{}: an archive without REF is unpacked by '*', which is deprecated: say '.' for all of it",
                repository.name
            ));
            "*"
        });
        let outside = || Error::new(Kind::Elements, format!("'{word}' leads out of the archive"));
        let selection = Selection::parse(word).ok_or_else(outside)?;
        let tried = || format!("cannot unpack {} to {}", cache.display(), repository.destination);
        let into = self.tree.make_dirs(names, 0o755).host(tried)?;
        let archive = File::open(entry.path()).host(tried)?;
        unpack(archive, &into, &selection).host(tried)?;
        entry.sha256()
    }

    fn copy(&self, repository: &Repository, cache: &Path, names: &[&[u8]]) -> Result<String> {
        let entry = self.obtain(repository, cache)?;
        let tried = || format!("cannot copy {} to {}", cache.display(), repository.destination);
        let Some((name, parents)) = names.split_last() else {
            return Err(Error::new(Kind::Elements, "the destination is no file"));
        };
        let dir = self.tree.make_dirs(parents, 0o755).host(tried)?;
        let mut from = File::open(entry.path()).host(tried)?;
        let mut to = dir.create(name, 0o644).host(tried)?;
        io::copy(&mut from, &mut to).host(tried)?;
        entry.sha256()
    }

    fn obtain(&self, repository: &Repository, cache: &Path) -> Result<Entry> {
        let wrong = |error| {
            let message = format!("{}: {error}", without_user(&repository.location));
            Error::new(Kind::Elements, message)
        };
        let url = Url::parse(&repository.location).map_err(wrong)?;
        let entry = Entry::at(cache);
        let wish = Wish {
            offline: self.offline,
            ..Wish::default()
        };
        match entry.obtain(&self.fetcher, &url, wish, self.environment) {
            Ok(_) => Ok(entry),
            Err(CacheError::Cache(error)) => Err(error),
            Err(CacheError::Fetch(error)) => Err(Error::new(Kind::Host, error.to_string())),
        }
    }

    /// Tells the image what came into it.
    fn record(&self) -> Result<()> {
        let tried = || "cannot record the sources in the tree".to_owned();
        if !self.paths.is_empty() {
            let etc = self.tree.make_dirs(&[b"etc"], 0o755).host(tried)?;
            append(&etc, "dib-source-repositories", 0o644, &self.paths).host(tried)?;
        }
        if self.used.is_empty() {
            return Ok(());
        }
        let text = |name| {
            self.environment
                .non_empty(name)
                .map(|value| value.to_string_lossy().into_owned())
        };
        let dir = text("DIB_MANIFEST_IMAGE_DIR").unwrap_or_else(|| "/etc/dib-manifests".into());
        let names = place::destination(&dir)?;
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let manifests = self.tree.make_dirs(&names, 0o755).host(tried)?;
        let image = text("IMAGE_NAME").unwrap_or_else(|| "image".into());
        let image = image.rsplit('/').next().unwrap_or_default();
        let git = |used: &Used| {
            let commit = used.commit.as_ref()?;
            Some(format!(
                "{} git {} {} {commit}",
                used.name, used.destination, used.location
            ))
        };
        let git: Vec<String> = self.used.iter().filter_map(git).collect();
        if !git.is_empty() {
            append(&manifests, &format!("dib-manifest-git-{image}"), 0o644, &git).host(tried)?;
        }
        let all: Vec<String> = self
            .used
            .iter()
            .filter_map(|used| serde_json::to_string(used).ok())
            .collect();
        append(&manifests, &format!("dib-manifest-sources-{image}"), 0o644, &all).host(tried)
    }
}

/// Adds lines to a file of the tree, which is made anew: what hard links lead to it stays as it was.
fn append(dir: &Rooted, name: &str, mode: u32, lines: &[String]) -> io::Result<()> {
    let mut bytes = match dir.kind(name)? {
        Some(rustix::fs::FileType::RegularFile) => dir.read(name)?,
        _ => Vec::new(),
    };
    for line in lines {
        bytes.extend(line.as_bytes());
        bytes.push(b'\n');
    }
    dir.write(name, mode, &bytes)
}
