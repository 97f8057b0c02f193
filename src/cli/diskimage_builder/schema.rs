//! What a file of images may say: the one table of keys, and its check.
//!
//! The order of the table is that of the arguments on a command line.

use std::fmt::Write as _;
use std::path::Path;

use crate::document::{self, Placed, Value};
use crate::error::{Context, Error, Result};
use crate::suggest::nearest;

/// A key of an entry.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: &'static str,
    /// What its value must look like.
    pub(super) shape: Shape,
    /// The option that it becomes; empty if it becomes something else.
    pub(super) option: &'static str,
}

/// What a value must look like, and so what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A text: the option's value.
    Text,
    /// One of some words: the option's value.
    OneOf(&'static [&'static str]),
    /// True or false: the option, or nothing.
    Switch,
    /// A number up to this: the option, so many times.
    Times(u64),
    /// A number of 1 or more: the option's value.
    Number,
    /// A list of words, of some or any: the option's value, with commas, or the operands.
    Words(Option<&'static [&'static str]>),
    /// A map of words: the option's value, `K=V` with commas.
    Pairs,
    /// A map of texts: variables.
    Variables,
    /// True or false: chooses the command.
    Command,
}

/// The option of the key that names a lock.
pub(super) const LOCKED: &str = "--locked";

/// Every key.
pub(super) static KEYS: [Key; 28] = [
    key("imagename", Shape::Text, "-o"),
    key("arch", Shape::OneOf(&ARCHITECTURES), "-a"),
    key("types", Shape::Words(Some(&TYPES)), "-t"),
    key("environment", Shape::Variables, ""),
    key("ramdisk", Shape::Command, ""),
    key("debug-trace", Shape::Times(2), "-x"),
    key("uncompressed", Shape::Switch, "-u"),
    key("clear", Shape::Switch, "-c"),
    key("checksum", Shape::Switch, "--checksum"),
    key("no-tmpfs", Shape::Switch, "--no-tmpfs"),
    key("offline", Shape::Switch, "--offline"),
    key("locked", Shape::Text, LOCKED),
    key("skip-base", Shape::Switch, "-n"),
    key("logfile", Shape::Text, "--logfile"),
    key("image-cache", Shape::Text, "--image-cache"),
    key("mkfs-options", Shape::Text, "--mkfs-options"),
    key("root-label", Shape::Text, "--root-label"),
    key("ramdisk-element", Shape::Text, "--ramdisk-element"),
    key("docker-target", Shape::Text, "--docker-target"),
    key("image-size", Shape::Number, "--image-size"),
    key("image-extra-size", Shape::Number, "--image-extra-size"),
    key("max-online-resize", Shape::Number, "--max-online-resize"),
    key("min-tmpfs", Shape::Number, "--min-tmpfs"),
    key("mkfs-journal-size", Shape::Number, "--mkfs-journal-size"),
    key("qemu-img-options", Shape::Pairs, "--qemu-img-options"),
    key(
        "install-type",
        Shape::OneOf(&["source", "package"]),
        "--install-type",
    ),
    key("packages", Shape::Words(None), "-p"),
    key("elements", Shape::Words(None), ""),
];

const ARCHITECTURES: [&str; 10] = [
    "aarch64", "amd64", "arm64", "armhf", "powerpc", "ppc64", "ppc64el", "ppc64le", "s390x", "x86_64",
];

const TYPES: [&str; 8] = ["qcow2", "tar", "tgz", "squashfs", "vhd", "docker", "aci", "raw"];

const fn key(name: &'static str, shape: Shape, option: &'static str) -> Key {
    Key { name, shape, option }
}

/// A checked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Text(String),
    Truth(bool),
    Number(u64),
    Words(Vec<String>),
    Pairs(Vec<(String, String)>),
}

/// A key that an entry has, by its place in the table, and what it says where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) key: usize,
    pub(super) setting: Setting,
    /// `FILE:LINE: `
    pub(super) place: String,
}

/// An entry of a file.
pub(super) type Entry = Vec<Said>;

/// Reads a file.
pub(super) fn read(file: &Path) -> Result<Vec<Entry>> {
    let text = std::fs::read_to_string(file).host(|| format!("cannot read {}", file.display()))?;
    check(&file.display().to_string(), &text)
}

/// The entries of a text, or every fault.
pub(super) fn check(file: &str, text: &str) -> Result<Vec<Entry>> {
    let mut faults = Faults {
        file,
        text: String::new(),
    };
    let entries = document::parse(text, "list of images").map_err(|(line, told)| {
        let place = line.map_or_else(|| format!("{file}: "), |line| faults.place(line));
        Error::usage(format!("{place}{told}"))
    })?;
    let Value::List(entries) = &entries.value else {
        let found = entries.value.sort();
        faults.add(entries.line, &format!("expected a list of images, found {found}"));
        return Err(Error::usage(faults.text.trim_end()).hint("--help shows an example"));
    };
    let entries = entries.iter().map(|item| entry(item, &mut faults)).collect();
    match faults.text.trim_end() {
        "" => Ok(entries),
        told => Err(Error::usage(told)),
    }
}

/// Collects what is wrong, a line each.
struct Faults<'a> {
    file: &'a str,
    text: String,
}

impl Faults<'_> {
    fn place(&self, line: u64) -> String {
        format!("{}:{line}: ", self.file)
    }

    fn add(&mut self, line: u64, what: &str) {
        let place = self.place(line);
        writeln!(self.text, "{place}{what}").expect("a String takes everything");
    }
}

fn entry(item: &Placed<Value>, faults: &mut Faults<'_>) -> Entry {
    let Value::Map(pairs) = &item.value else {
        faults.add(
            item.line,
            &format!("expected an image, a map of keys, found {}", item.value.sort()),
        );
        return Entry::new();
    };
    let mut entry = Entry::new();
    for (name, value) in pairs {
        let Some(key) = KEYS.iter().position(|key| key.name == name.value) else {
            let meant = meant(&name.value, KEYS.iter().map(|key| key.name));
            faults.add(name.line, &format!("unknown key '{}'{meant}", name.value));
            continue;
        };
        match setting(KEYS[key].shape, value) {
            Ok(setting) => entry.push(Said {
                key,
                setting,
                place: faults.place(name.line),
            }),
            Err((line, what)) => faults.add(line, &format!("{}: {what}", name.value)),
        }
    }
    entry
}

fn setting(shape: Shape, value: &Placed<Value>) -> Result<Setting, (u64, String)> {
    let expected = match (shape, &value.value) {
        (Shape::Text, Value::Text(text)) => return Ok(Setting::Text(text.clone())),
        (Shape::OneOf(words), Value::Text(text)) => {
            return one_of(words, text)
                .map(Setting::Text)
                .map_err(|what| (value.line, what));
        }
        (Shape::Switch | Shape::Command, Value::Truth(truth)) => return Ok(Setting::Truth(*truth)),
        (Shape::Times(max), Value::Whole(number)) => {
            return whole(*number, 0, max).map_err(|what| (value.line, what));
        }
        (Shape::Number, Value::Whole(number)) => {
            return whole(*number, 1, u64::MAX).map_err(|what| (value.line, what));
        }
        (Shape::Words(known), Value::List(items)) => {
            return items
                .iter()
                .map(|item| word(known, item))
                .collect::<Result<_, _>>()
                .map(Setting::Words);
        }
        (Shape::Pairs | Shape::Variables, Value::Map(pairs)) => {
            return pairs
                .iter()
                .map(|(name, value)| pair(shape, name, value))
                .collect::<Result<_, _>>()
                .map(Setting::Pairs);
        }
        (Shape::Text | Shape::OneOf(_), _) => "a text",
        (Shape::Switch | Shape::Command, _) => "true or false",
        (Shape::Times(_) | Shape::Number, _) => "a whole number",
        (Shape::Words(_), _) => "a list of words",
        (Shape::Pairs | Shape::Variables, _) => "a map",
    };
    Err((value.line, unexpected(expected, &value.value)))
}

fn unexpected(expected: &str, found: &Value) -> String {
    let quotes = match found {
        Value::Truth(_) | Value::Whole(_) | Value::Fraction(_) if expected == "a text" => {
            "; put it in quotes"
        }
        _ => "",
    };
    match found {
        Value::Fraction(number) => format!("expected {expected}, found {number}{quotes}"),
        other => format!("expected {expected}, found {}{quotes}", other.sort()),
    }
}

fn one_of(words: &[&str], text: &str) -> Result<String, String> {
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    let meant = meant(text, words.iter().copied());
    Err(format!("'{text}' is none of {}{meant}", words.join(", ")))
}

fn whole(number: i128, min: u64, max: u64) -> Result<Setting, String> {
    let found = u64::try_from(number)
        .ok()
        .filter(|number| (min..=max).contains(number));
    found.map(Setting::Number).ok_or_else(|| match max {
        u64::MAX => format!("{number} is less than {min}"),
        _ => format!("{number} is not between {min} and {max}"),
    })
}

fn word(known: Option<&[&str]>, item: &Placed<Value>) -> Result<String, (u64, String)> {
    let told = match (&item.value, known) {
        (Value::Text(text), None) => return Ok(text.clone()),
        (Value::Text(text), Some(known)) => one_of(known, text),
        (other, _) => Err(unexpected("a text", other)),
    };
    told.map_err(|what| (item.line, what))
}

/// A variable and its value, or an option of a format and its value, which may be a number or a switch there.
fn pair(
    shape: Shape,
    name: &Placed<String>,
    value: &Placed<Value>,
) -> Result<(String, String), (u64, String)> {
    let text = match (&value.value, shape) {
        (Value::Text(text), _) => text.clone(),
        (Value::Truth(truth), Shape::Pairs) => if *truth { "on" } else { "off" }.to_owned(),
        (Value::Whole(number), Shape::Pairs) => number.to_string(),
        (other, _) => {
            let told = unexpected("a text", other);
            return Err((value.line, format!("{}: {told}", name.value)));
        }
    };
    let bad_name = name.value.is_empty() || name.value.contains(['=', '\0', '\n']);
    if bad_name || text.contains('\0') {
        let told = format!("'{}' cannot be set", name.value.escape_debug());
        return Err((name.line, told));
    }
    Ok((name.value.clone(), text))
}

fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or(String::new(), |near| format!("; did you mean {near}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_file_line_and_key_all_at_once() {
        let text = "\
- imagenam: web
  arch: amd46
  types: [qcow2,
    qcow]
  environment: {A: x, B: 1}
  debug-trace: 3
- image-size: 0
  min-tmpfs: 1.5
  max-online-resize: many
  checksum: 1
  root-label: true
  packages: vim
  elements: [vm, 5]
  qemu-img-options: {compat: 1.1}
  install-type:
- word
";
        let told = check("i.yaml", text).unwrap_err().to_string();
        let expected = "\
i.yaml:1: unknown key 'imagenam'; did you mean imagename?
i.yaml:2: arch: 'amd46' is none of aarch64, amd64, arm64, armhf, powerpc, ppc64, ppc64el, ppc64le, s390x, x86_64; \
did you mean amd64?
i.yaml:4: types: 'qcow' is none of qcow2, tar, tgz, squashfs, vhd, docker, aci, raw; did you mean qcow2?
i.yaml:5: environment: B: expected a text, found a number; put it in quotes
i.yaml:6: debug-trace: 3 is not between 0 and 2
i.yaml:7: image-size: 0 is less than 1
i.yaml:8: min-tmpfs: expected a whole number, found 1.5
i.yaml:9: max-online-resize: expected a whole number, found a text
i.yaml:10: checksum: expected true or false, found a number
i.yaml:11: root-label: expected a text, found true or false; put it in quotes
i.yaml:12: packages: expected a list of words, found a text
i.yaml:13: elements: expected a text, found a number; put it in quotes
i.yaml:14: qemu-img-options: compat: expected a text, found 1.1; put it in quotes
i.yaml:15: install-type: expected a text, found nothing
i.yaml:16: expected an image, a map of keys, found a text";
        assert_eq!(told, expected);
    }

    #[test]
    fn the_help_names_every_key() {
        let (_, keys) = super::super::EXAMPLES.split_once("Keys: ").unwrap();
        let (keys, _) = keys.split_once(';').unwrap();
        let named: Vec<&str> = keys.split(',').map(str::trim).collect();
        assert_eq!(named, KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_is_one_list() {
        for (text, told) in [
            ("", "f:1: expected a list of images, found nothing"),
            ("imagename: x", "f:1: expected a list of images, found a map"),
            (
                "- {}\n---\n- {}\n",
                "f:3: a second document; a file holds one list of images",
            ),
            ("- a: b: c\n", "f:1: "),
            ("- imagename: x\n  imagename: y\n", "f:2: "),
        ] {
            let found = check("f", text).unwrap_err().to_string();
            assert!(found.starts_with(told), "{text}: {found}");
        }
        assert!(check("f", "[]").unwrap().is_empty());
        assert_eq!(check("f", "[{\"imagename\": \"x\"}]").unwrap().len(), 1);
    }
}
