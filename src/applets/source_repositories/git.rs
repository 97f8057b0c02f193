//! Mirrors of git repositories in the cache, and checkouts of them in the tree, made by the host's `git`.
//!
//! - A mirror appears whole: it is cloned under another name, then renamed.
//! - What git is told comes after `--`, and nothing that could be an option is told at all.
//! - A checkout is made in a directory that is held open, whatever becomes of the path to it. A `.git` that the tree had
//!   already may tell git to run programs; so it is read here, and never used: a new one takes its place.
//! - No log of references, which would tell the image who built it, when and where.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::fetch::Patience;
use crate::fetch::url::without_user;
use crate::sandbox::launch::Sandbox;
use crate::sandbox::rooted::Rooted;
use crate::ui;

/// All branches and tags.
const EVERYTHING: [&str; 2] = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];

/// The directory in which a checkout's `.git` is made.
const NEW: &str = ".dib-checkout";

/// The host's git.
#[derive(Debug)]
pub(super) struct Git {
    environment: Environment,
    patience: Patience,
}

/// Refuses what git would take for an option, or a shell of a helper for more.
pub(super) fn require_harmless(location: &str, reference: &str) -> Result<()> {
    for (what, word) in [("location", location), ("ref", reference)] {
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if word.is_empty() || word.starts_with('-') || word.contains(odd) {
            return Err(Error::new(
                Kind::Elements,
                format!("'{}' is no {what} of git", word.escape_debug()),
            ));
        }
    }
    Ok(())
}

/// Whether a word can only be the name of an object.
fn is_object(word: &str) -> bool {
    matches!(word.len(), 40 | 64) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Git {
    /// The git of this environment.
    pub(super) fn new(environment: &Environment) -> Self {
        let mut clean = environment.clone();
        // A caller that is a git hook itself names its own repository by these.
        for name in [
            "GIT_ALTERNATE_OBJECT_DIRECTORIES",
            "GIT_COMMON_DIR",
            "GIT_DIR",
            "GIT_INDEX_FILE",
            "GIT_NAMESPACE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_PREFIX",
            "GIT_WORK_TREE",
        ] {
            clean.unset(name);
        }
        clean.set("LC_ALL", "C");
        // Nobody sits there to tell a password.
        clean.set("GIT_TERMINAL_PROMPT", "0");
        Self {
            environment: clean,
            patience: Patience::new(environment, 4, 5.0),
        }
    }

    /// Brings the mirror up to date as far as a reference needs, and returns the commit that it is; of `*`, none.
    pub(super) fn mirror(
        &self,
        cache: &Path,
        location: &str,
        reference: &str,
        offline: bool,
    ) -> Result<Option<String>> {
        let all = reference == "*";
        let fresh = !cache.exists();
        if fresh {
            self.clone_mirror(cache, location)?;
        }
        let there = if all {
            Some(String::new())
        } else {
            self.commit(cache, reference)?
        };
        if !(there.is_some() && (fresh || offline)) {
            self.patiently(location, || self.update(cache, location, reference))?;
        }
        belong_to_parent(cache).host(|| format!("cannot give {} to its owner", cache.display()))?;
        if all {
            return Ok(None);
        }
        let missing = || {
            let message = format!("{} has no ref '{reference}'", without_user(location));
            Error::new(Kind::Host, message).hint("a ref is a branch, a tag, a commit, or * for everything")
        };
        self.commit(cache, reference)?.map(Some).ok_or_else(missing)
    }

    fn clone_mirror(&self, cache: &Path, location: &str) -> Result<()> {
        let mut new = cache.as_os_str().to_owned();
        new.push(".tmp");
        let new = PathBuf::from(new);
        let clear = || match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let tried = || format!("cannot clone into {}", new.display());
        self.patiently(location, || {
            clear().host(tried)?;
            let words = ["clone", "--quiet", "--bare", "--template=", "--", location];
            self.run(None, &words, Some(new.as_os_str()))
        })?;
        fs::rename(&new, cache).host(tried)
    }

    fn update(&self, cache: &Path, location: &str, reference: &str) -> Result<bool> {
        let fetch = |what: &[&str]| {
            let words = ["fetch", "--quiet", "--prune", "--update-head-ok", "--", location];
            self.run(Some(cache), &[&words[..], what].concat(), None)
        };
        // Named references may lie outside of branches and tags; objects lie on those.
        if reference != "*" && !is_object(reference) && fetch(&[&format!("+{reference}:{reference}")])? {
            return Ok(true);
        }
        if !fetch(&EVERYTHING)? {
            return Ok(false);
        }
        if is_object(reference) && self.commit(cache, reference)?.is_none() {
            // Some servers give away objects of which nobody told them.
            self.run(
                Some(cache),
                &["fetch", "--quiet", "--", location, reference],
                None,
            )?;
        }
        Ok(true)
    }

    /// Tries until it succeeds, some times.
    fn patiently(&self, location: &str, attempt: impl Fn() -> Result<bool>) -> Result<()> {
        let tries = self.patience.retries + 1;
        for left in (0..tries).rev() {
            if attempt()? {
                return Ok(());
            }
            if left > 0 {
                let pause = self.patience.pause;
                ui::note(format_args!(
                    "git failed for {}; trying again in {:.1} s",
                    without_user(location),
                    pause.as_secs_f64()
                ));
                std::thread::sleep(pause);
            }
        }
        let message = format!("git failed {tries} times for {}", without_user(location));
        Err(Error::new(Kind::Host, message).hint("the lines above are what git said"))
    }

    /// The commit that a reference is in a repository.
    fn commit(&self, repository: &Path, reference: &str) -> Result<Option<String>> {
        let wanted = format!("{reference}^{{commit}}");
        let words = ["rev-parse", "--quiet", "--verify", &wanted];
        let (succeeded, out) = self.capture(repository, &words)?;
        Ok(succeeded.then(|| out.trim().to_owned()))
    }

    /// Checks a commit out, that of the default branch if there is none, and returns it; `None`: it was there.
    pub(super) fn check_out(
        &self,
        dir: &Rooted,
        cache: &Path,
        reference: &str,
        commit: Option<&str>,
    ) -> Result<Option<String>> {
        let tried = || "cannot make the checkout".to_owned();
        let branch = format!("refs/heads/fetch_{reference}");
        if let Some(found) = Checkout::read(dir, &branch).host(tried)? {
            found.require(cache, reference)?;
            if commit.is_some() && found.commit.as_deref() == commit {
                return Ok(None);
            }
        }
        clear(dir, NEW).host(tried)?;
        let here = held(dir);
        let new = here.join(NEW);
        let quiet = [
            "clone",
            "--quiet",
            "--no-checkout",
            "--no-hardlinks",
            "--template=",
            "--",
        ];
        let source = cache
            .to_str()
            .ok_or_else(|| Error::usage("the path of the cache is no UTF-8 text"))?;
        self.succeed(None, &[&quiet[..], &[source]].concat(), Some(new.as_os_str()))?;
        let commit = if let Some(commit) = commit {
            if self.commit(&new, commit)?.is_none() {
                self.succeed(Some(&new), &["fetch", "--quiet", "--", source, commit], None)?;
            }
            self.succeed(Some(&new), &["update-ref", &branch, commit], None)?;
            commit.to_owned()
        } else {
            let words = ["fetch", "--quiet", "--prune", "--update-head-ok", "--", source];
            self.succeed(Some(&new), &[&words[..], &EVERYTHING].concat(), None)?;
            let head = self.commit(&new, "HEAD")?;
            head.ok_or_else(|| Error::new(Kind::Host, "the repository has no commit at its HEAD"))?
        };
        clear(dir, ".git").host(tried)?;
        dir.rename(&format!("{NEW}/.git"), ".git").host(tried)?;
        dir.remove_dir(NEW).host(tried)?;
        self.succeed(Some(&here), &["reset", "--quiet", "--hard", &commit], None)?;
        if self.environment.non_empty("SOURCE_DATE_EPOCH").is_some() {
            // An index without the times and numbers of the files: it is the same next time.
            self.succeed(Some(&here), &["read-tree", &commit], None)?;
        }
        Ok(Some(commit))
    }

    fn succeed(&self, repository: Option<&Path>, words: &[&str], last: Option<&OsStr>) -> Result<()> {
        if self.run(repository, words, last)? {
            return Ok(());
        }
        let message = format!("git {} failed", words.first().unwrap_or(&""));
        Err(Error::new(Kind::Host, message).hint("the lines above are what git said"))
    }

    /// Runs git; whether it succeeded.
    fn run(&self, repository: Option<&Path>, words: &[&str], last: Option<&OsStr>) -> Result<bool> {
        let args = arguments(repository, words, last);
        let environment = self.as_owner(repository);
        let ending = Sandbox::host()
            .run(OsStr::new("git"), &args, &environment)
            .map_err(no_git)?;
        Ok(ending.status() == 0)
    }

    fn capture(&self, repository: &Path, words: &[&str]) -> Result<(bool, String)> {
        let args = arguments(Some(repository), words, None);
        let environment = self.as_owner(Some(repository));
        let ran = Sandbox::host().capture(OsStr::new("git"), &args, &environment);
        let (ending, out) = ran.map_err(no_git)?;
        Ok((ending.status() == 0, String::from_utf8_lossy(&out).into_owned()))
    }

    /// git works for root on what root and the user of `SUDO_UID` own, and on nobody else's. A cache may be another
    /// user's, whose name is as good.
    fn as_owner(&self, repository: Option<&Path>) -> Environment {
        let mut environment = self.environment.clone();
        let owner = repository
            .and_then(|path| fs::metadata(path).ok())
            .map(|meta| meta.uid());
        if let Some(owner) = owner.filter(|owner| *owner != 0 && rustix::process::geteuid().is_root()) {
            environment.set("SUDO_UID", owner.to_string());
        }
        environment
    }
}

fn arguments(repository: Option<&Path>, words: &[&str], last: Option<&OsStr>) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["-c", "core.logAllRefUpdates=false", "-c", "gc.auto=0"]
        .map(OsString::from)
        .to_vec();
    if let Some(repository) = repository {
        args.push("-C".into());
        args.push(repository.into());
    }
    args.extend(words.iter().map(OsString::from));
    args.extend(last.map(OsStr::to_owned));
    args
}

fn no_git(error: io::Error) -> Error {
    let error = if error.kind() == io::ErrorKind::NotFound {
        Error::new(Kind::Host, "git is not there")
    } else {
        Error::new(Kind::Host, "git cannot be started").because(error)
    };
    error.hint("install git on this machine, or say DIB_REPOTYPE_NAME=tar with a DIB_REPOLOCATION_NAME")
}

/// A path by which children reach a directory that is held open here.
fn held(dir: &Rooted) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        dir.fd().as_raw_fd()
    ))
}

/// Removes what has a name in a directory, and what is in it.
fn clear(dir: &Rooted, name: &str) -> io::Result<()> {
    match dir.kind(name)? {
        None => Ok(()),
        Some(FileType::Directory) => {
            dir.child(name.as_bytes())?.clear()?;
            dir.remove_dir(name)
        }
        Some(_) => dir.remove(name.as_bytes()).map(drop),
    }
}

/// What a directory of the tree says that it was checked out from.
#[derive(Debug, Default)]
struct Checkout {
    is_one: bool,
    origin: Option<String>,
    commit: Option<String>,
}

impl Checkout {
    /// Reads it as data; `None`: the directory is empty.
    fn read(dir: &Rooted, branch: &str) -> io::Result<Option<Self>> {
        if dir.entries()?.iter().all(|(name, _)| name == NEW.as_bytes()) {
            return Ok(None);
        }
        let Some(FileType::Directory) = dir.kind(".git")? else {
            return Ok(Some(Self::default()));
        };
        let git = dir.child(b".git")?;
        let text = |dir: &Rooted, name: &str| {
            let bytes = dir.read(name).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (parent, last) = branch.rsplit_once('/').unwrap_or((".", branch));
        let loose = git
            .dir(parent)?
            .map(|dir| text(&dir, last))
            .filter(|text| !text.is_empty());
        let packed = || {
            let packed = text(&git, "packed-refs");
            let line = packed
                .lines()
                .find_map(|line| line.strip_suffix(branch)?.strip_suffix(' '));
            line.map(str::to_owned)
        };
        Ok(Some(Self {
            is_one: true,
            origin: origin(&text(&git, "config")),
            commit: loose.or_else(packed).map(|text| text.trim().to_owned()),
        }))
    }

    /// Refuses what came from elsewhere.
    fn require(&self, cache: &Path, reference: &str) -> Result<()> {
        let refused = |why: String| {
            let error = Error::new(Kind::Elements, format!("the destination is there already: {why}"));
            Err(error.hint("two lines may share a destination only with the same location and ref"))
        };
        if !self.is_one {
            return refused("it is no checkout".into());
        }
        match &self.origin {
            Some(origin) if Path::new(origin) == cache => {}
            origin => {
                let origin = origin.as_deref().unwrap_or("nowhere");
                return refused(format!(
                    "it came from {}, not from {}",
                    without_user(origin),
                    cache.display()
                ));
            }
        }
        if reference != "*" && self.commit.is_none() {
            return refused(format!("it was not checked out by ref '{reference}'"));
        }
        Ok(())
    }
}

/// `remote.origin.url` of a config file.
fn origin(config: &str) -> Option<String> {
    let mut within = false;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            within = line == "[remote \"origin\"]";
        } else if within
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "url"
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

/// Gives a mirror that root made to the owner of the cache.
fn belong_to_parent(mirror: &Path) -> io::Result<()> {
    let parent = mirror
        .parent()
        .map_or(Ok(None), |parent| fs::metadata(parent).map(Some))?;
    let Some(owner) = parent.filter(|owner| owner.uid() != 0 && rustix::process::geteuid().is_root()) else {
        return Ok(());
    };
    let mut left = vec![mirror.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path)?;
        if (meta.uid(), meta.gid()) != (owner.uid(), owner.gid()) {
            std::os::unix::fs::lchown(&path, Some(owner.uid()), Some(owner.gid()))?;
        }
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_git_is_told_is_an_option() {
        assert!(require_harmless("https://h/x", "refs/changes/1/2").is_ok());
        for (location, reference) in [
            ("--upload-pack=x", "master"),
            ("", "master"),
            ("x", "-f"),
            ("x", ""),
            ("x\ny", "master"),
        ] {
            assert!(
                require_harmless(location, reference).is_err(),
                "{location} {reference}"
            );
        }
    }

    #[test]
    fn the_origin_of_a_checkout_is_read_not_run() {
        let config = "[core]\n\tfsmonitor = rm\n\turl = no\n[remote \"other\"]\n\turl = no\n\
            [remote \"origin\"]\n\turl = /cache/x\n\tfetch = y\n";
        assert_eq!(origin(config).as_deref(), Some("/cache/x"));
        assert_eq!(origin("[remote \"other\"]\nurl = x"), None);
    }
}
