//! The reading of a command line that callers of the original program know: that of `getopt_long`, before clap.
//!
//! Options and operands interleave; `--` ends options; a long name may be cut short as long as it stays unambiguous;
//! short options cluster; an option that needs a value takes the next word, whatever that looks like. The words are
//! rewritten into the one form that leaves clap nothing to decide: `--name`, `--name=value`, `-n`, `-n=value`, then
//! `--` and all operands.
//!
//! Names that the original program has win over those that only this one has (which stand under a heading of their
//! own), so that what was an unambiguous abbreviation there stays one here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, Command};

use crate::error::{Error, Result};
use crate::suggest::nearest;

/// Rewrites the words after the name of the command, which must have been built.
pub(super) fn arrange(command: &Command, words: &[OsString]) -> Result<Vec<OsString>> {
    let mut options = Vec::with_capacity(words.len() + 1);
    let mut operands = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.as_bytes() {
            b"--" => operands.extend(rest.by_ref().cloned()),
            [b'-', b'-', long @ ..] => options.push(long_option(command, long, &mut rest)?),
            [b'-', cluster @ ..] if !cluster.is_empty() => {
                short_options(command, cluster, &mut rest, &mut options)?;
            }
            _ => operands.push(word.clone()),
        }
    }
    if !operands.is_empty() {
        options.push("--".into());
        options.append(&mut operands);
    }
    Ok(options)
}

fn long_option<'a>(
    command: &Command,
    word: &[u8],
    rest: &mut impl Iterator<Item = &'a OsString>,
) -> Result<OsString> {
    let mut parts = word.splitn(2, |byte| *byte == b'=');
    let given = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let value = parts.next().map(OsStr::from_bytes);
    let (name, arg) = find_long(command, &given)?;
    match (takes_value(arg), value) {
        (false, None) => Ok(format!("--{name}").into()),
        (false, Some(_)) => Err(Error::usage(format!("option '--{name}' takes no value"))),
        (true, Some(value)) => Ok(joined(&format!("--{name}"), value)),
        (true, None) => match rest.next() {
            Some(value) => Ok(joined(&format!("--{name}"), value)),
            None => Err(without_value(&format!("--{name}"), arg)),
        },
    }
}

fn short_options<'a>(
    command: &Command,
    cluster: &[u8],
    rest: &mut impl Iterator<Item = &'a OsString>,
    options: &mut Vec<OsString>,
) -> Result<()> {
    for (at, letter) in cluster.iter().enumerate() {
        let letter = char::from(*letter);
        let known = |arg: &&Arg| arg.get_short() == Some(letter);
        let Some(arg) = command.get_arguments().find(known) else {
            return Err(unknown_letter(command, letter, cluster));
        };
        if !takes_value(arg) {
            options.push(format!("-{letter}").into());
            continue;
        }
        let attached = &cluster[at + 1..];
        let value = if attached.is_empty() {
            let next = rest.next().map(OsString::as_os_str);
            next.ok_or_else(|| without_value(&format!("-{letter}"), arg))?
        } else {
            OsStr::from_bytes(attached)
        };
        options.push(joined(&format!("-{letter}"), value));
        break;
    }
    Ok(())
}

/// The option whose name is `given` or begins with it.
fn find_long<'a>(command: &'a Command, given: &str) -> Result<(&'a str, &'a Arg)> {
    let named = |arg: &'a Arg| {
        let names = arg.get_long_and_visible_aliases().unwrap_or_default();
        names.into_iter().map(move |name| (name, arg))
    };
    let all: Vec<(&str, &Arg)> = command.get_arguments().flat_map(named).collect();
    if let Some(exact) = all.iter().find(|(name, _)| *name == given) {
        return Ok(*exact);
    }
    let begun = all
        .iter()
        .filter(|(name, _)| !given.is_empty() && name.starts_with(given));
    let (original, own): (Vec<_>, Vec<_>) = begun
        .copied()
        .partition(|(_, arg)| arg.get_help_heading().is_none());
    match (&original[..], &own[..]) {
        ([one], _) | ([], [one]) => Ok(*one),
        ([], []) => {
            let error = Error::usage(format!("unrecognized option '--{given}'"));
            Err(match nearest(given, all.iter().map(|(name, _)| *name)) {
                Some(name) => error.hint(format!("did you mean --{name}?")),
                None => error.hint("--help lists the options"),
            })
        }
        (some, more) => {
            let names = some.iter().chain(more).map(|(name, _)| format!("--{name}"));
            let names = names.collect::<Vec<_>>().join(", ");
            Err(Error::usage(format!("option '--{given}' is ambiguous"))
                .hint(format!("it may stand for {names}")))
        }
    }
}

fn unknown_letter(command: &Command, letter: char, cluster: &[u8]) -> Error {
    let error = Error::usage(format!("unrecognized option '-{letter}'"));
    // `-offline`: one dash too few. Short words stand at a distance of one from too much.
    let word = String::from_utf8_lossy(cluster);
    let names = command.get_arguments().filter_map(Arg::get_long);
    match nearest(&word, names).filter(|_| word.len() > 3) {
        Some(name) => error.hint(format!("did you mean --{name}?")),
        None => error.hint("--help lists the options"),
    }
}

fn without_value(option: &str, arg: &Arg) -> Error {
    let value = arg.get_value_names().and_then(<[_]>::first);
    let value = value.map_or("value", |name| name.as_str());
    Error::usage(format!("option '{option}' needs a value: {option} {value}"))
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn joined(option: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(option);
    word.push("=");
    word.push(value);
    word
}
