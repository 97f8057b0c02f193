//! A test case tried: built, its image looked into, booted if that is wanted.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::boot::{self, Booted};
use super::found::{Case, DIRECTORY};
use crate::element::hooks::materialise;
use crate::element::library::{Library, Origin};
use crate::element::portrait::harmless;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::sandbox::launch::{Ending, Sandbox, run_self_in};

/// What scripts of cases find defined.
const ASSERTIONS: &str = include_str!("assertions.bash");

/// The status of a script that skips its case.
const SKIP: u8 = 77;

/// Bytes of the end of a log that are read.
const TAIL_MAX: u64 = 1 << 20;

/// Lines of it that are shown of a case that failed.
const LINES_SHOWN: usize = 40;

/// How a case ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// As it should; what of it was left out.
    Passed {
        /// Why a boot that is wanted was none.
        unbooted: Option<String>,
    },
    /// It cannot run here.
    Skipped(String),
    /// It did not.
    Failed {
        /// Why.
        why: String,
        /// The end of what was said.
        said: Vec<String>,
    },
}

/// Where cases are tried.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    library: &'a Library,
    environment: &'a Environment,
    /// A directory of its own for every case.
    work: PathBuf,
    /// Programs that scripts find first.
    programs: PathBuf,
    assertions: PathBuf,
    /// The cases of built-in elements.
    built_in: PathBuf,
}

impl<'a> Bench<'a> {
    /// Makes what all cases share in a directory.
    pub(super) fn new(library: &'a Library, environment: &'a Environment, dir: &Path) -> Result<Self> {
        let tried = || format!("cannot write to {}", dir.display());
        let bench = Self {
            library,
            environment,
            work: dir.join("cases"),
            programs: dir.join("programs"),
            assertions: dir.join("assertions.bash"),
            built_in: dir.join("elements"),
        };
        for dir in [&bench.work, &bench.programs, &bench.built_in] {
            fs::create_dir(dir).host(tried)?;
        }
        fs::write(&bench.assertions, ASSERTIONS).host(tried)?;
        let program = std::env::current_exe().host(|| "cannot find this program itself".to_owned())?;
        for name in ["dib", super::assertions::NAME, "cache-url"] {
            std::os::unix::fs::symlink(&program, bench.programs.join(name)).host(tried)?;
        }
        Ok(bench)
    }

    /// Tries a case, and says how long it took. What keeps one case from being tried is that case's failure, and the
    /// others go on; only who interrupts a build ends them all.
    pub(super) fn run(&self, case: &Case) -> Result<(Outcome, Duration)> {
        let since = Instant::now();
        let dir = self.work.join(case.title());
        let made = fs::create_dir_all(&dir).host(|| format!("cannot make {}", dir.display()));
        let outcome = match made.and_then(|()| self.tried(case, &dir)) {
            Err(error) if !matches!(error.kind(), Kind::Interrupted { .. }) => {
                let hints = error.hints().iter().map(|hint| format!("hint: {hint}"));
                failed(harmless(&error.message()), hints.collect())
            }
            other => other?,
        };
        Ok((outcome, since.elapsed()))
    }

    /// Removes what a case left: images of all of them would fill a disk.
    pub(super) fn clear(&self, case: &Case) {
        let _ = fs::remove_dir_all(self.work.join(case.title()));
    }

    fn tried(&self, case: &Case, dir: &Path) -> Result<Outcome> {
        if self.library.get(&case.name).is_some() {
            let why = format!(
                "a case may not have the name of an element: rename '{}'",
                case.name
            );
            return Ok(failed(why, Vec::new()));
        }
        let siblings = self.siblings(case)?;
        let environment = self.variables(case, dir, &siblings)?;
        let script = |name: &str| siblings.join(&case.name).join(name);
        if case.require.is_some() {
            let log = dir.join("require.log");
            match self.script(&script("require"), dir, &log, &environment)? {
                Ending::Exited(0) => {}
                _ => return Ok(Outcome::Skipped(last_line(&log))),
            }
        }
        if let Some(outcome) = build(case, dir, &environment)? {
            return Ok(outcome);
        }
        if case.assert.is_some() {
            let log = dir.join("assert.log");
            match self.script(&script("assert"), dir, &log, &environment)? {
                Ending::Exited(0) => {}
                Ending::Exited(SKIP) => return Ok(Outcome::Skipped(last_line(&log))),
                ending => return Ok(failed(format!("assert {ending}"), tail(&log))),
            }
        }
        let Some(wanted) = &case.boot else {
            return Ok(Outcome::Passed { unbooted: None });
        };
        Ok(match boot::boot(&image(case, dir), wanted, dir, &environment)? {
            Booted::Yes => Outcome::Passed { unbooted: None },
            Booted::Not(why) => Outcome::Passed { unbooted: Some(why) },
            Booted::Otherwise { why, console } => failed(why, tail(&console)),
        })
    }

    /// The directory of the cases of a case's element.
    fn siblings(&self, case: &Case) -> Result<PathBuf> {
        let element = match &case.element.origin {
            Origin::Directory(dir) => dir.clone(),
            Origin::BuiltIn => {
                let dir = self.built_in.join(&case.element.name);
                if !dir.is_dir() {
                    materialise(&case.element, &self.built_in)?;
                }
                dir
            }
        };
        Ok(element.join(DIRECTORY))
    }

    /// The variables of everything about a case: the caller's, the runner's, the case's own.
    fn variables(&self, case: &Case, dir: &Path, siblings: &Path) -> Result<Environment> {
        let mut all = self.environment.clone();
        let joined = |path: &OsStr, more: &Path, first: bool| {
            let old: Vec<PathBuf> = std::env::split_paths(path)
                .filter(|dir| !dir.as_os_str().is_empty())
                .collect();
            let new = [more.to_owned()];
            let (first, second) = if first {
                (&new[..], &old[..])
            } else {
                (&old[..], &new[..])
            };
            std::env::join_paths(first.iter().chain(second)).map_err(|error| {
                Error::usage(format!("{} cannot stand on a path", more.display())).because(error)
            })
        };
        let path = all.non_empty("ELEMENTS_PATH").unwrap_or_default().to_owned();
        all.set("ELEMENTS_PATH", joined(&path, siblings, false)?);
        let path = all
            .non_empty("PATH")
            .unwrap_or(OsStr::new("/usr/sbin:/usr/bin:/sbin:/bin"))
            .to_owned();
        all.set("PATH", joined(&path, &self.programs, true)?);
        // Roots that are made of packages are made once; times would stand before every line of a log.
        for name in [
            "DIB_DEBOOTSTRAP_CACHE",
            "DIB_DEBIAN_USE_DEBOOTSTRAP_CACHE",
            "DIB_NO_TIMESTAMP",
        ] {
            if all.get(name).is_none() {
                all.set(name, "1");
            }
        }
        let own = siblings.join(&case.name);
        let place = own.to_string_lossy();
        let lines = case.variables.as_deref().unwrap_or_default().lines();
        for line in lines
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (name, value) = line.split_once('=').ok_or_else(|| {
                let message = format!("case {}: variables: '{line}' is no NAME=VALUE", case.title());
                Error::new(Kind::Elements, message)
            })?;
            all.set(name, value.replace("$CASE", &place));
        }
        all.set("CASE", &own);
        all.set("IMAGE", image(case, dir));
        all.set("IMAGE_NAME", dir.join("image"));
        all.set("LOG", dir.join("log"));
        Ok(all)
    }

    fn script(&self, script: &Path, dir: &Path, log: &Path, environment: &Environment) -> Result<Ending> {
        const SOURCE: &str = "set -eu -o pipefail; source \"$1\"; source \"$2\"";
        let tried = || format!("cannot run {}", script.display());
        let output = File::create(log).host(tried)?;
        let words = [OsStr::new("-c"), OsStr::new(SOURCE), OsStr::new("bash")];
        let words = words
            .into_iter()
            .chain([self.assertions.as_os_str(), script.as_os_str()]);
        let args: Vec<OsString> = words.map(OsStr::to_owned).collect();
        Sandbox::host()
            .run_in(dir, &output, OsStr::new("bash"), &args, environment)
            .host(tried)
    }
}

/// Builds the image. `None`: it went as it should, and there is more to see.
fn build(case: &Case, dir: &Path, environment: &Environment) -> Result<Option<Outcome>> {
    let program = if case.ramdisk {
        "ramdisk-image-create"
    } else {
        "disk-image-create"
    };
    let mut args: Vec<OsString> = ["-n", "-o", "image"].map(OsString::from).to_vec();
    if !case.ramdisk {
        args.extend(["-t".into(), case.formats.join(",").into()]);
    }
    args.extend([case.element.name.clone().into(), case.name.clone().into()]);
    let more = case
        .arguments
        .as_deref()
        .unwrap_or_default()
        .lines()
        .map(str::trim);
    args.extend(more.filter(|word| !word.is_empty()).map(OsString::from));
    let log = dir.join("log");
    let tried = || format!("cannot build {}", case.title());
    let output = File::create(&log).host(tried)?;
    // Hooks and formats take IMAGE_NAME from the command line.
    let mut seen = environment.clone();
    for name in ["IMAGE", "IMAGE_NAME", "LOG"] {
        seen.unset(name);
    }
    let (ending, signal) = run_self_in(dir, &output, program, &args, &seen).host(tried)?;
    if let Some(signal) = signal {
        return Err(Error::new(
            Kind::Interrupted { signal },
            format!("{}: interrupted", case.title()),
        ));
    }
    let said = tail(&log);
    Ok(match (&case.fails, ending) {
        (None, Ending::Exited(0)) => None,
        (None, ending) => Some(failed(format!("the build {ending}"), said)),
        (Some(_), Ending::Exited(0)) => Some(failed("the build succeeded".to_owned(), said)),
        (Some(texts), _) => {
            let texts = texts.lines().map(str::trim).filter(|text| !text.is_empty());
            let missing = texts.filter(|text| !said.iter().any(|line| line.contains(text)));
            match missing.collect::<Vec<_>>().first() {
                Some(text) => Some(failed(
                    format!("the build failed, but did not say '{text}'"),
                    said,
                )),
                None => Some(Outcome::Passed { unbooted: None }),
            }
        }
    })
}

/// The first output.
fn image(case: &Case, dir: &Path) -> PathBuf {
    let suffix = match case.formats.first().map(String::as_str) {
        _ if case.ramdisk => "initramfs",
        // Its files have another ending.
        Some("squashfs") => "squash",
        Some(format) => format,
        None => "raw",
    };
    dir.join(format!("image.{suffix}"))
}

fn failed(why: String, said: Vec<String>) -> Outcome {
    Outcome::Failed { why, said }
}

/// The end of a log, without what a terminal would obey.
pub(super) fn tail(log: &Path) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let mut file = crate::given::open(log)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL_MAX)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = harmless(&String::from_utf8_lossy(&bytes));
    text.lines().map(str::to_owned).collect()
}

fn last_line(log: &Path) -> String {
    let lines = tail(log);
    let last = lines.into_iter().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or_else(|| "it does not say why".to_owned())
}

/// The lines of a failure that are shown.
pub(super) fn shown(said: &[String]) -> &[String] {
    &said[said.len().saturating_sub(LINES_SHOWN)..]
}
