//! The unit tests of elements: `tests/test_*.py`, run by the host's python.
//!
//! Each element is a world of its own: `tests` is a package whose parent is the element, so that tests of several elements
//! may have equal names. They run where `elements` is a directory, as they always did.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::time::Instant;

use regex_lite::Regex;

use super::trial::{Outcome, tail};
use super::{Tally, elements_named};
use crate::element::hooks::materialise;
use crate::element::library::{Element, Library, Origin};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Result};
use crate::sandbox::launch::{Ending, Sandbox};

/// Runs those of the elements that words name, be they names or patterns; without words all.
pub(super) fn run(
    library: &Library,
    words: &[String],
    environment: &Environment,
    dir: &Path,
    tally: &mut Tally,
) -> Result<()> {
    let mut environment = environment.clone();
    environment.set("PYTHONDONTWRITEBYTECODE", "1");
    for element in elements(library, words)? {
        let since = Instant::now();
        let outcome = tried(element, &environment, dir)?;
        tally.count(&format!("{}/tests", element.name), outcome, since.elapsed())?;
    }
    Ok(())
}

fn elements<'a>(library: &'a Library, words: &[String]) -> Result<Vec<&'a Element>> {
    let patterns = words.iter().map(|word| {
        Regex::new(word).map_err(|error| Error::usage(format!("'{word}' is no pattern")).because(error))
    });
    let patterns = patterns.collect::<Result<Vec<_>>>()?;
    let named = |name: &&str| {
        words.is_empty()
            || words.iter().any(|word| word == name)
            || !elements_named(library, words) && patterns.iter().any(|pattern| pattern.is_match(name))
    };
    let mut found = Vec::new();
    for name in library.names().filter(named) {
        let element = library.get(name).expect("it is one of its names");
        let is_test = |name: &str| {
            name.strip_suffix(".py")
                .is_some_and(|stem| stem.starts_with("test_"))
        };
        let mut items = element.items()?.into_iter();
        let tested = items.any(|item| {
            let name = item.path.strip_prefix("tests").ok();
            name.is_some_and(|name| is_test(&name.to_string_lossy()))
        });
        if tested {
            found.push(element);
        }
    }
    Ok(found)
}

fn tried(element: &Element, environment: &Environment, dir: &Path) -> Result<Outcome> {
    let path = environment.non_empty("PATH").unwrap_or_default();
    if !std::env::split_paths(path).any(|dir| dir.join("python3").is_file()) {
        return Ok(Outcome::Skipped("no python3".to_owned()));
    }
    let place = match &element.origin {
        Origin::Directory(place) => place.clone(),
        Origin::BuiltIn => {
            let all = dir.join("elements");
            materialise(element, &all)?;
            all.join(&element.name)
        }
    };
    let tried = || format!("cannot test {}", element.name);
    let log = dir.join("unit.log");
    let output = File::create(&log).host(tried)?;
    let words = ["-m", "unittest", "discover", "-s"].map(OsStr::new);
    let tests = place.join("tests");
    let more = [tests.as_os_str(), OsStr::new("-t"), place.as_os_str()];
    let args: Vec<OsString> = words.into_iter().chain(more).map(OsStr::to_owned).collect();
    let above = place.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let ending = Sandbox::host().run_in(above, &output, OsStr::new("python3"), &args, environment);
    let ending = ending.host(tried)?;
    let said = tail(&log);
    // Older versions take none for a success.
    let none = said.iter().any(|line| line.starts_with("Ran 0 tests"));
    Ok(match ending {
        Ending::Exited(0) if !none => Outcome::Passed { unbooted: None },
        Ending::Exited(_) if none => Outcome::Failed {
            why: "no test of it could be found".to_owned(),
            said,
        },
        ending => Outcome::Failed {
            why: format!("python3 {ending}"),
            said,
        },
    })
}
