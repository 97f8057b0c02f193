//! The hook runner: the files of a directory that are hooks, in order, each a process.
//!
//! `environment.d`, beside the directory, is sourced first, by bash with `set -ue -o pipefail`; what it exports reaches
//! every hook. bash then becomes this program, which tells the environment that it found. No shell runs the loop over
//! the hooks: a tree needs bash only if an element brings `environment.d` or a hook asks for it.
//!
//! Two orders, and elements depend on both: hooks by the number that their name begins with, then by bytes;
//! snippets of `environment.d` by bytes alone, since their whole paths are sorted, which begin with no number.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex_lite::Regex;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::sandbox::launch::{Ending, Sandbox};
use crate::sandbox::witness::{Refusal, Witness};
use crate::ui;
use crate::ui::notice::Failure;

/// Names of hooks: no dots, so that `x.sh` and editors' copies never run.
pub const HOOK_NAMES: &str = "^[0-9A-Za-z_-]+$";

/// The name of the runner in the tree of hooks.
pub const NAME: &str = "dib-run-parts";

/// The argument on which the runner prints its environment, entries ended by NUL.
pub const TELL_ENVIRONMENT: &str = "--tell-environment";

/// The most of a first line that the kernel reads.
const LINE_MAX: u64 = 256;

/// Names of files.
type Names = Vec<Vec<u8>>;

/// A directory of hooks.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Its path as this process sees it.
    pub here: PathBuf,
    /// Its path as hooks see it.
    pub there: PathBuf,
    /// Where hooks run.
    pub sandbox: Sandbox,
    /// The runner, as processes in the sandbox see it.
    pub runner: PathBuf,
    /// Who hears what hooks are refused.
    pub witness: Option<Witness>,
}

/// Why a directory of hooks could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A hook failed.
    #[error("{} {ending}", name.escape_ascii())]
    Hook {
        /// Its name.
        name: Vec<u8>,
        /// How it ended.
        ending: Ending,
    },
    /// A hook could not be started.
    #[error("{} cannot be started", name.escape_ascii())]
    Start {
        /// Its name.
        name: Vec<u8>,
        /// The program that its first line names.
        interpreter: Option<Vec<u8>>,
        /// What the system said.
        source: io::Error,
    },
    /// A snippet of `environment.d` failed.
    #[error("environment.d/{} {ending}", snippet.escape_ascii())]
    Environment {
        /// Its name.
        snippet: Vec<u8>,
        /// How the shell that sourced it ended.
        ending: Ending,
    },
    /// A hook succeeded, but something that it did not get would be missing in the image.
    #[error("{} succeeded without an owner that it wanted: {refusal}", name.escape_ascii())]
    Refused {
        /// Its name.
        name: Vec<u8>,
        /// What it did not get.
        refusal: Refusal,
    },
    /// The environment that `environment.d` made was not told.
    #[error("the program that tells the environment {ending}")]
    Untold {
        /// How it ended.
        ending: Ending,
    },
    /// bash could not be started to source `environment.d`.
    #[error("bash cannot be started, which environment.d needs")]
    NoShell(#[source] io::Error),
    /// The directory cannot be read.
    #[error("cannot read {}", dir.display())]
    Read {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl RunError {
    /// The status that the failure gives the run.
    pub fn status(&self) -> u8 {
        match self {
            RunError::Hook { ending, .. }
            | RunError::Environment { ending, .. }
            | RunError::Untold { ending } => ending.status(),
            RunError::Start { source, .. } | RunError::NoShell(source) => {
                if source.kind() == io::ErrorKind::NotFound {
                    127
                } else {
                    126
                }
            }
            RunError::Read { .. } | RunError::Refused { .. } => 1,
        }
    }
}

impl RunError {
    /// How what ran failed.
    fn failure(&self) -> Failure {
        let (ending, words) = match self {
            RunError::Hook { ending, .. }
            | RunError::Environment { ending, .. }
            | RunError::Untold { ending } => (Some(*ending), ending.to_string()),
            RunError::Start {
                source,
                interpreter: Some(interpreter),
                ..
            } => {
                let named = interpreter.escape_ascii();
                (
                    None,
                    format!("cannot be started: {source}: its first line names '{named}'"),
                )
            }
            RunError::Start { source, .. } | RunError::NoShell(source) => {
                (None, format!("cannot be started: {source}"))
            }
            RunError::Read { source, .. } => (None, format!("cannot be read: {source}")),
            RunError::Refused { refusal, .. } => {
                let words = format!("succeeded without an owner that it wanted: {refusal}");
                (None, words)
            }
        };
        let file = match self {
            RunError::Environment { snippet, .. } => {
                Some(format!("environment.d/{}", String::from_utf8_lossy(snippet)))
            }
            _ => None,
        };
        Failure {
            status: self.status().max(1),
            signal: ending.and_then(Ending::signal),
            ending: words,
            file,
        }
    }
}

/// The program that the first line of a script names, be it with a carriage return at its end.
fn interpreter(script: &Path) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    let file = crate::given::open(script).ok()?;
    file.take(LINE_MAX).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| b" \t".contains(byte));
    words.find(|word| !word.is_empty()).map(<[u8]>::to_vec)
}

/// What names of hooks look like: the default, or `RUN_PARTS_REGEX`.
pub fn hook_names(environment: &Environment) -> Result<Regex> {
    let pattern = environment.text("RUN_PARTS_REGEX")?.unwrap_or(HOOK_NAMES);
    Regex::new(pattern).map_err(|error| Error::usage(format!("RUN_PARTS_REGEX={pattern}")).because(error))
}

/// Whether a name is that of a hook.
pub fn is_hook_name(names: &Regex, name: &[u8]) -> bool {
    names.is_match(&String::from_utf8_lossy(name))
}

/// Whether a name is that of a snippet of `environment.d`.
pub fn is_snippet_name(name: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    !name.is_empty() && name.iter().all(fits)
}

impl Parts {
    /// The hooks, in order, and the names of files that are none.
    pub fn list(&self, names: &Regex) -> Result<(Names, Names), RunError> {
        let files = files(&self.here)?;
        let (hooks, ignored): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|(name, run)| *run && is_hook_name(names, name));
        let names = |files: Vec<(Vec<u8>, bool)>| files.into_iter().map(|(name, _)| name).collect();
        let mut hooks: Vec<Vec<u8>> = names(hooks);
        hooks.sort_by(|a, b| hook_order(a, b));
        Ok((hooks, names(ignored)))
    }

    /// Sources `environment.d`, if there is any: the environment of the hooks.
    pub fn environment(&self, environment: &Environment, trace: bool) -> Result<Environment, RunError> {
        const SOURCE: &str = r#"
set -ue -o pipefail
exec {dib_told}>&1 1>&2
dib_runner=$1 dib_trace=$2
shift 2
for dib_snippet in "$@"; do
    builtin printf '%s\0' "${dib_snippet##*/}" >&"$dib_told"
    if [ "$dib_trace" = 1 ]; then set -x; fi
    source "$dib_snippet"
    { set +x; } 2>/dev/null
done
builtin printf '\0' >&"$dib_told"
exec -a dib-run-parts "$dib_runner" --tell-environment 1>&"$dib_told" {dib_told}>&-
"#;
        let here = self.here.parent().unwrap_or(Path::new("/")).join("environment.d");
        let there = self
            .there
            .parent()
            .unwrap_or(Path::new("/"))
            .join("environment.d");
        let mut snippets: Vec<Vec<u8>> = if here.is_dir() {
            files(&here)?.into_iter().map(|(name, _)| name).collect()
        } else {
            Vec::new()
        };
        snippets.retain(|name| is_snippet_name(name));
        snippets.sort_unstable();
        if snippets.is_empty() {
            return Ok(environment.clone());
        }
        let trace = if trace { "1" } else { "0" };
        let mut args: Vec<OsString> = ["-c", SOURCE, "environment.d"].map(OsString::from).to_vec();
        args.push(self.runner.clone().into_os_string());
        args.push(trace.into());
        args.extend(
            snippets
                .into_iter()
                .map(|name| there.join(OsString::from_vec(name)).into_os_string()),
        );
        let step = ui::hook(b"environment.d");
        let told = self.sandbox.capture(OsStr::new("bash"), &args, environment);
        let told = told
            .map_err(RunError::NoShell)
            .and_then(|(ending, bytes)| tell(ending, &bytes));
        step.ended(told.as_ref().err().map(RunError::failure));
        told
    }

    /// Runs the hooks in an environment, one after another, up to the first that fails.
    pub fn run(&self, names: &Regex, environment: &Environment, trace: bool) -> Result<(), RunError> {
        self.run_by(names, trace, |hook| self.sandbox.run_hook(hook, environment))
    }

    /// Runs them, and tells each that has ended, however it did.
    pub fn run_telling(
        &self,
        names: &Regex,
        environment: &Environment,
        trace: bool,
        mut ended: impl FnMut(&Path),
    ) -> Result<(), RunError> {
        self.run_by(names, trace, |hook| {
            let ending = self.sandbox.run_hook(hook, environment);
            ended(hook);
            ending
        })
    }

    /// Runs them, and returns what they wrote to their standard output.
    pub fn run_listening(
        &self,
        names: &Regex,
        environment: &Environment,
        trace: bool,
    ) -> Result<Vec<u8>, RunError> {
        let mut heard = Vec::new();
        self.run_by(names, trace, |hook| {
            let (ending, bytes) = self.sandbox.capture_hook(hook, environment)?;
            // Who follows the build sees it, too, if a little later.
            let _ = ui::print(format_args!("{}", String::from_utf8_lossy(&bytes)));
            heard.extend(bytes);
            Ok(ending)
        })?;
        Ok(heard)
    }

    fn run_by(
        &self,
        names: &Regex,
        trace: bool,
        mut run: impl FnMut(&Path) -> io::Result<Ending>,
    ) -> Result<(), RunError> {
        let (hooks, ignored) = self.list(names)?;
        for name in ignored.iter().filter(|_| trace) {
            ui::note(format_args!(
                "{} is ignored: it may not be run, or is no name of a hook",
                name.escape_ascii()
            ));
        }
        // Who sourced environment.d was no hook.
        self.refusals();
        let mut profile = Vec::with_capacity(hooks.len());
        for name in hooks {
            let path = self.there.join(OsStr::from_bytes(&name));
            ui::note(format_args!("{} Running {}", NAME, path.display()));
            let hook = ui::hook(&name);
            let ran = match run(&path) {
                Ok(Ending::Exited(0)) => self.judge(&name),
                Ok(ending) => Err(RunError::Hook {
                    name: name.clone(),
                    ending,
                }),
                Err(source) => Err(RunError::Start {
                    interpreter: interpreter(&self.here.join(OsStr::from_bytes(&name))),
                    name: name.clone(),
                    source,
                }),
            };
            let took = hook.ended(ran.as_ref().err().map(RunError::failure));
            ran?;
            ui::note(format_args!("{} {} completed", NAME, name.escape_ascii()));
            profile.push((name, took));
        }
        if !profile.is_empty() {
            ui::note(profile_table(&profile));
        }
        Ok(())
    }
}

impl Parts {
    fn refusals(&self) -> Vec<Refusal> {
        self.witness.as_ref().map(Witness::refusals).unwrap_or_default()
    }

    /// What a hook that succeeded was refused meanwhile. Of the network and of devices it may have had no need.
    fn judge(&self, name: &[u8]) -> Result<(), RunError> {
        for refusal in self.refusals() {
            if refusal.is_of_owner() {
                let name = name.to_vec();
                return Err(RunError::Refused { name, refusal });
            }
            let name = name.escape_ascii();
            if refusal.is_of_network() {
                ui::warn(format_args!(
                    "{name} wanted the network, which this build has not: {refusal}"
                ));
            } else {
                ui::warn(format_args!("{name}: {refusal}"));
            }
        }
        Ok(())
    }
}

/// What the shell that sourced the snippets told: their names as they are sourced; behind an empty one the environment.
fn tell(ending: Ending, bytes: &[u8]) -> Result<Environment, RunError> {
    match (bytes.windows(2).position(|pair| pair == b"\0\0"), ending) {
        (Some(border), Ending::Exited(0)) => Ok(Environment::from_nul_separated(&bytes[border + 2..])),
        (Some(_), ending) => Err(RunError::Untold { ending }),
        (None, ending) => {
            let mut names = bytes.split(|byte| *byte == 0).rev();
            let snippet = names.find(|name| !name.is_empty()).unwrap_or_default().to_vec();
            // A snippet that calls `exit 0` has told no environment: the build cannot go on without one.
            let ending = if ending == Ending::Exited(0) {
                Ending::Exited(1)
            } else {
                ending
            };
            Err(RunError::Environment { snippet, ending })
        }
    }
}

/// The regular files of a directory, those that symlinks lead to included: names, and whether each may be run.
fn files(dir: &Path) -> Result<Vec<(Vec<u8>, bool)>, RunError> {
    let failed = |source| RunError::Read {
        dir: dir.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Ok(meta) = fs::metadata(dir.join(&name)) else {
            continue;
        };
        if meta.is_file() {
            files.push((name.into_vec(), meta.permissions().mode() & 0o111 != 0));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The order of hooks: by the number at the start, none being 0, then by all bytes.
pub fn hook_order(a: &[u8], b: &[u8]) -> Ordering {
    Number::leading(a).cmp(&Number::leading(b)).then_with(|| a.cmp(b))
}

/// A decimal number of any length, as it stands at the start of a name.
#[derive(PartialEq, Eq, PartialOrd)]
struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
}

impl<'a> Number<'a> {
    fn leading(name: &'a [u8]) -> Self {
        let digits = |bytes: &'a [u8]| {
            let end = bytes
                .iter()
                .position(|byte| !byte.is_ascii_digit())
                .unwrap_or(bytes.len());
            bytes.split_at(end)
        };
        let (minus, rest) = name.strip_prefix(b"-").map_or((false, name), |rest| (true, rest));
        let (whole, rest) = digits(rest);
        let fraction = rest.strip_prefix(b".").map_or(&b""[..], |rest| digits(rest).0);
        let zeros = whole.iter().take_while(|byte| **byte == b'0').count();
        let tail = fraction.iter().rev().take_while(|byte| **byte == b'0').count();
        let (whole, fraction) = (&whole[zeros..], &fraction[..fraction.len() - tail]);
        Self {
            negative: minus && !(whole.is_empty() && fraction.is_empty()),
            whole,
            fraction,
        }
    }
}

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = |number: &Self| {
            (
                number.whole.len(),
                number.whole.to_vec(),
                number.fraction.to_vec(),
            )
        };
        match (self.negative, other.negative) {
            (false, false) => size(self).cmp(&size(other)),
            (true, true) => size(other).cmp(&size(self)),
            (a, b) => b.cmp(&a),
        }
    }
}

fn profile_table(profile: &[(Vec<u8>, Duration)]) -> String {
    let mut table = String::from("\n    seconds  hook\n    -------  ----\n");
    for (name, time) in profile {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "  {:>9.3}  {}", time.as_secs_f64(), name.escape_ascii());
    }
    let total: Duration = profile.iter().map(|(_, time)| *time).sum();
    let _ = write!(table, "  {:>9.3}  in all", total.as_secs_f64());
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_run_by_number_then_by_bytes() {
        let order = [
            "-3x", "abc", "0-x", "2-b", "5_x", "010-c", "10-A", "10-a", "10-b", "10.5", "20-link", "99-z",
        ];
        let mut sorted: Vec<&str> = order.iter().rev().copied().collect();
        sorted.sort_by(|a, b| hook_order(a.as_bytes(), b.as_bytes()));
        // `0-x` and `abc` are both 0; bytes decide.
        let mut expected = order.to_vec();
        expected.swap(1, 2);
        assert_eq!(sorted, expected);
        let long = ["99999999999999999999-a", "100000000000000000000-a"];
        assert_eq!(hook_order(long[0].as_bytes(), long[1].as_bytes()), Ordering::Less);
        assert_eq!(hook_order(b"-0", b"0"), Ordering::Less, "both are 0");
    }

    #[test]
    fn names_with_dots_are_no_hooks() {
        let names = hook_names(&Environment::default()).unwrap();
        for (name, is) in [
            ("10-a", true),
            ("a_b", true),
            ("x.sh", false),
            ("a b", false),
            ("", false),
        ] {
            assert_eq!(is_hook_name(&names, name.as_bytes()), is, "{name}");
        }
        let mut environment = Environment::default();
        environment.set("RUN_PARTS_REGEX", "[");
        assert!(hook_names(&environment).is_err());
    }
}
