//! `dib-assert`: what the scripts of test cases ask of an image. The runner puts it on their PATH; it is no command of users.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::super::inspect::finder;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::inspect::find::Finder;
use crate::inspect::report::printable;
use crate::sbom;

/// The name by which the program is called.
pub(in crate::cli) const NAME: &str = "dib-assert";

/// Bytes of the longest database of packages that is read.
const DATABASE_MAX: usize = 256 << 20;

/// Fails unless it is so: `dib-assert WHAT IMAGE WORD...`.
pub(in crate::cli) fn run(args: &[OsString], environment: &Environment) -> Result<()> {
    let [_, what, image, words @ ..] = args else {
        return Err(Error::usage(format!("usage: {NAME} WHAT IMAGE WORD...")));
    };
    let names: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let mut finder = finder(Path::new(image), None, &names, environment)?;
    let checked = match (what.to_str(), &names[..]) {
        (Some("has"), names) => each(names, |name| has(&mut finder, name, true)),
        (Some("lacks"), names) => each(names, |name| has(&mut finder, name, false)),
        (Some("is"), [name, rest @ ..]) => is(&mut finder, name, rest),
        (Some("links"), [name, target]) => links(&mut finder, name, target),
        (Some("packaged"), names) => packaged(&mut finder, names),
        _ => return Err(Error::usage(format!("{NAME}: it does not know {}", shown(what)))),
    };
    checked.map_err(|why| Error::new(Kind::Image, format!("{}: {why}", Path::new(image).display())))
}

fn shown(word: &OsStr) -> String {
    printable(word.as_bytes())
}

fn each(names: &[&[u8]], mut check: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
    names.iter().try_for_each(|name| check(name))
}

fn has(finder: &mut Finder, name: &[u8], wanted: bool) -> Result<(), String> {
    let found = finder.find(name, false).map_err(|error| error.to_string())?;
    match (found.first(), wanted) {
        (None, true) => Err(format!("there is no {}", printable(name))),
        (Some(found), false) => Err(format!("there is {}", printable(&found.name))),
        _ => Ok(()),
    }
}

fn is(finder: &mut Finder, name: &[u8], rest: &[&[u8]]) -> Result<(), String> {
    let found = finder.find(name, false).map_err(|error| error.to_string())?;
    let found = found
        .first()
        .ok_or_else(|| format!("there is no {}", printable(name)))?;
    let view = finder.view();
    let spot = view.at(&found.path).ok_or("it went away")?;
    let meta = &view.node(spot).meta;
    let facts = [format!("{:04o}", meta.mode), format!("{}:{}", meta.uid, meta.gid)];
    for (fact, wanted) in facts.iter().zip(rest) {
        if fact.as_bytes() != *wanted {
            return Err(format!(
                "{} is {}, not {}",
                printable(name),
                facts.join(" "),
                printable(wanted)
            ));
        }
    }
    Ok(())
}

fn links(finder: &mut Finder, name: &[u8], target: &[u8]) -> Result<(), String> {
    let found = finder.find(name, false).map_err(|error| error.to_string())?;
    let found = found
        .first()
        .ok_or_else(|| format!("there is no {}", printable(name)))?;
    let view = finder.view();
    let led = view.at(&found.path).and_then(|spot| view.target(spot));
    match led {
        Some(led) if led == target => Ok(()),
        Some(led) => Err(format!("{} leads to {}", printable(name), printable(led))),
        None => Err(format!("{} is no link", printable(name))),
    }
}

fn packaged(finder: &mut Finder, names: &[&[u8]]) -> Result<(), String> {
    let mut installed = Vec::new();
    for (path, parse) in sbom::DATABASES {
        let text = read(finder, path.as_bytes()).map_err(|error| error.message())?;
        installed.extend(parse(&text.unwrap_or_default()));
    }
    each(names, |name| {
        let name = String::from_utf8_lossy(name);
        if installed.iter().any(|package| package.name == name) {
            Ok(())
        } else {
            Err(format!("{name} is not installed"))
        }
    })
}

fn read(finder: &mut Finder, path: &[u8]) -> Result<Option<Vec<u8>>> {
    let tried = || format!("cannot read {}", printable(path));
    let found = finder.one(path).image(tried)?;
    let bytes = found.and_then(|(_, spot)| finder.view().read(spot, DATABASE_MAX));
    bytes.transpose().image(tried)
}
