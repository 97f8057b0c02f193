//! `dib test-element`: builds the test cases that elements bring, and looks into their images; `--unit` runs their unit tests.
//!
//! | module | what it does |
//! |---|---|
//! | `found` | a library → its cases |
//! | `trial` | a case → how it ended |
//! | `assertions` | what scripts of cases ask of an image |
//! | `boot` | an image that shall boot, in qemu where there is one |
//! | `unit` | tests in Python |

pub(super) mod assertions;
mod boot;
mod found;
mod trial;
mod unit;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tempfile::TempDir;

use self::trial::{Bench, Outcome, shown};
use super::after_help;
use crate::element::library::Library;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::sandbox::probe;
use crate::sandbox::sudo::Sudo;
use crate::sandbox::tier::Tier;
use crate::settings::{Flags, Settings, elements_path};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib test-element
      builds every test case of every element, and checks each image

  ELEMENTS_PATH=$PWD/elements dib test-element motd modprobe/files
      the cases of one element, and one case of another

  dib test-element --unit
      runs the tests in Python that elements bring

A case is a directory test-elements/CASE of an element, and an element itself. The image is built of the element and the
case, without base, as raw. All of these files are optional:
  element-deps         what else is in the image; test-root is an operating system that costs 2 s and needs no network
  arguments            more words for disk-image-create, one a line
  variables            NAME=VALUE, one a line; $CASE in a value is the directory of the case
  test-output-formats  other types of the image; the first is the one that is looked into
  element-type         ramdisk: build a ramdisk
  require              bash; if it fails, the case is skipped, and the last line that it says is why
  fails                the build must fail, and say every line of this file
  assert               bash; must succeed; 77 skips the case
  boot                 lines that the serial line must say when the image boots, in qemu where there is one

Variables of assert and require: IMAGE, the image; IMAGE_NAME, the same without its type; LOG, the log of the build; CASE.
Functions: has PATH..., lacks PATH..., is PATH MODE [UID:GID], links PATH TARGET, says PATH REGEX, silent PATH REGEX,
packaged NAME..., logged REGEX, programs NAME..., reachable URL, debian_archive, skip REASON, fail REASON.

Unit tests are files tests/test_*.py of an element, with a file tests/__init__.py beside them.

Variables:
  DIB_TEST_REQUIRE_ALL   1: what is skipped has failed
  DIB_TEST_BOOT_SECONDS  how long a boot may take [default: 600]
  DIB_DEBOOTSTRAP_CACHE, DIB_DEBIAN_USE_DEBOOTSTRAP_CACHE
                         whether cases share a root out of an archive, in the cache of images, where it stays [default: 1]
Images, logs and consoles lie in a directory below TMPDIR that is removed at the end, unless --keep names another.";

/// Test elements by the cases that they bring.
#[derive(Debug, Parser)]
#[command(name = "test-element", after_help = after_help(EXAMPLES))]
pub struct Args {
    /// Run the unit tests of elements, tests/test_*.py
    #[arg(long)]
    unit: bool,
    /// Keep what the cases leave in a new directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Element or case; with --unit a pattern will do [default: all]
    #[arg(value_name = "ELEMENT[/CASE]")]
    cases: Vec<String>,
}

/// How cases ended so far.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    skipped: usize,
    failed: usize,
    /// A skip is a failure.
    all: bool,
}

/// Tests, tells each outcome, and fails if a case did.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let library = Library::load(&elements_path(environment))?;
    let mut tally = Tally {
        all: environment
            .get("DIB_TEST_REQUIRE_ALL")
            .is_some_and(|all| all == "1"),
        ..Tally::default()
    };
    let (dir, _temporary) = place(args, environment)?;
    if args.unit {
        unit::run(&library, &args.cases, environment, &dir, &mut tally)?;
        return tally.end();
    }
    let cases = found::find(&library, &args.cases)?;
    let obstacle = obstacle(environment)?;
    let bench = Bench::new(&library, environment, &dir)?;
    for case in &cases {
        let (outcome, took) = match &obstacle {
            Some(why) => (Outcome::Skipped(why.clone()), Duration::ZERO),
            None => bench.run(case)?,
        };
        tally.count(&case.title(), outcome, took)?;
        if args.keep.is_none() {
            bench.clear(case);
        }
    }
    tally.end()
}

/// The directory of all cases, and what removes it at the end unless it is kept.
fn place(args: &Args, environment: &Environment) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(dir) = &args.keep {
        let tried = || format!("cannot make {}", dir.display());
        std::fs::create_dir(dir).host(tried)?;
        return Ok((std::path::absolute(dir).host(tried)?, None));
    }
    let above = super::inspect::scratch(environment);
    let dir = tempfile::Builder::new().prefix("dib-test.").tempdir_in(&above);
    let dir = dir.host(|| format!("cannot write to {}", above.display()))?;
    Ok((dir.path().to_owned(), Some(dir)))
}

/// Why nothing can be built here, if so.
fn obstacle(environment: &Environment) -> Result<Option<String>> {
    let settings = Settings::new(Flags::default(), environment)?;
    let works = |tier: &Tier| probe::probe(*tier, &settings.tmp_dir).is_empty();
    let may = Tier::ALL.iter().any(works) || Sudo::ask().is_ok();
    Ok((!may).then(|| "this host allows no build; 'dib doctor' explains why".to_owned()))
}

/// Whether every word is the name of an element.
fn elements_named(library: &Library, words: &[String]) -> bool {
    words.iter().all(|word| library.get(word).is_some())
}

impl Tally {
    /// Tells how a case ended.
    fn count(&mut self, title: &str, outcome: Outcome, took: Duration) -> Result<()> {
        let seconds = took.as_secs_f64();
        match outcome {
            Outcome::Passed { unbooted: None } => {
                self.passed += 1;
                ui::print(format_args!("ok       {title} ({seconds:.1} s)\n"))
            }
            Outcome::Passed { unbooted: Some(why) } if !self.all => {
                self.passed += 1;
                ui::print(format_args!(
                    "ok       {title} ({seconds:.1} s), but it was not booted: {why}\n"
                ))
            }
            Outcome::Skipped(why) if !self.all => {
                self.skipped += 1;
                ui::print(format_args!("skipped  {title}: {why}\n"))
            }
            Outcome::Passed { unbooted: Some(why) } | Outcome::Skipped(why) => {
                self.failed += 1;
                ui::print(format_args!(
                    "FAILED   {title}: DIB_TEST_REQUIRE_ALL=1 forbids to skip: {why}\n"
                ))
            }
            Outcome::Failed { why, said } => {
                self.failed += 1;
                ui::print(format_args!("FAILED   {title} ({seconds:.1} s): {why}\n"))?;
                for line in shown(&said) {
                    ui::print(format_args!("    | {line}\n"))?;
                }
                Ok(())
            }
        }
    }

    fn end(self) -> Result<()> {
        let Self {
            passed,
            skipped,
            failed,
            ..
        } = self;
        ui::print(format_args!(
            "{passed} passed, {failed} failed, {skipped} skipped\n"
        ))?;
        match failed {
            0 => Ok(()),
            _ => Err(Error::new(Kind::Found, format!("{failed} failed"))),
        }
    }
}
