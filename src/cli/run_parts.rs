//! `dib-run-parts`: runs a directory of hooks, on the host, in a chroot, or in an image at its first boot.
//!
//! It reads its own arguments: a tree where it runs may hold nothing else, and it must do little before it does that.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::after_help;
use crate::environment::Environment;
use crate::error::{Context, Error, Kind, Result};
use crate::runner::{NAME, Parts, TELL_ENVIRONMENT, hook_names};
use crate::sandbox::launch::Sandbox;
use crate::ui;

const USAGE: &str = "\
Usage: dib-run-parts [--list] DIRECTORY

Runs the executable files of DIRECTORY whose names are made of letters, digits, _ and -,
by the number that the name begins with, then by name; the first that fails ends the run.
Beforehand sources the files of DIRECTORY/../environment.d with bash.

      --list  print what would run

RUN_PARTS_REGEX replaces the pattern of names; DIB_DEBUG_TRACE=1 traces environment.d and
tells which files are ignored. Ends with 0, with the status of the hook that failed, or with 1.

Example: dib-run-parts /etc/first-boot.d";

/// What the manual says besides.
const MANUAL: &str = "\
Examples:
  dib-run-parts /etc/first-boot.d
      runs them by the number that their names begin with, then by name, up to the first that fails

Environment:
  DIRECTORY/../environment.d  its files are sourced beforehand, with bash
  RUN_PARTS_REGEX             replaces the pattern of names
  DIB_DEBUG_TRACE             1: trace environment.d, and tell which files are ignored";

/// The command as the manual and completions show it; nothing parses by this.
pub(super) fn command() -> clap::Command {
    clap::Command::new("dib-run-parts")
        .about("Run a directory of hooks")
        .arg(
            clap::Arg::new("list")
                .long("list")
                .help("Print what would run")
                .action(clap::ArgAction::SetTrue),
        )
        .arg(
            clap::Arg::new("directory")
                .value_name("DIRECTORY")
                .help("The hooks: its executable files whose names are made of letters, digits, _ and -")
                .required(true),
        )
        .after_help(after_help(MANUAL))
}

/// Runs or lists the hooks.
pub fn run(args: &[OsString], environment: &Environment) -> Result<()> {
    let (list, dir) = match args {
        [arg] if arg == TELL_ENVIRONMENT => return tell(environment),
        [arg] if arg == "-h" || arg == "--help" => {
            return ui::print(after_help(USAGE));
        }
        [list, dir] | [dir, list] if list == "--list" => (true, dir),
        [dir] if !dir.as_bytes().starts_with(b"-") => (false, dir),
        [option, ..] if option.as_bytes().starts_with(b"-") && option != "--list" => {
            let option = option.to_string_lossy();
            return Err(Error::usage(format!("unrecognized option '{option}'")).hint(USAGE));
        }
        _ => return Err(Error::usage("one directory is needed").hint(USAGE)),
    };
    let dir = PathBuf::from(dir);
    if !dir.is_dir() {
        return Err(Error::usage(format!("{} is no directory", dir.display())).hint(USAGE));
    }
    let found = || format!("cannot find {}", dir.display());
    // `DIRECTORY/..` must name the same directory however DIRECTORY is written, be it by a link.
    let absolute = dir.canonicalize().host(found)?;
    let parts = Parts {
        here: absolute.clone(),
        there: absolute,
        sandbox: Sandbox::host(),
        runner: itself().host(|| format!("cannot find {NAME} itself"))?,
        witness: None,
    };
    let names = hook_names(environment)?;
    if list {
        let (hooks, _) = parts.list(&names).host(|| NAME.to_owned())?;
        for hook in hooks {
            ui::print(format_args!("{}/{}\n", dir.display(), hook.escape_ascii()))?;
        }
        return Ok(());
    }
    let trace = environment
        .get("DIB_DEBUG_TRACE")
        .is_some_and(|level| level != "0" && !level.is_empty());
    let sourced = parts.environment(environment, trace);
    let ran = sourced.and_then(|environment| parts.run(&names, &environment, trace));
    ran.map_err(|error| {
        let status = error.status().max(1);
        Error::new(Kind::Hook { status }, NAME).because(error)
    })
}

/// Prints the environment, as bash found it, for the runner that started bash.
fn tell(environment: &Environment) -> Result<()> {
    let out = std::io::stdout();
    std::io::Write::write_all(&mut out.lock(), &environment.to_nul_separated())
        .host(|| "cannot tell the environment".to_owned())
}

/// This program: by the path that it was called by where there is no proc, as in a chroot into which nothing may be
/// mounted.
fn itself() -> std::io::Result<PathBuf> {
    std::env::current_exe().or_else(|error| {
        let called = std::env::args_os().next().map(PathBuf::from);
        called
            .filter(|path| path.is_absolute() && path.exists())
            .ok_or(error)
    })
}
