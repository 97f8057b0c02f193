//! Command lines as GRUB's tools read them: `--long`, `--long=VALUE`, `--long VALUE`, `-s`, `-sVALUE`, operands.
//!
//! What the real tool knows and we do not is refused by name: passed over in silence, an option could mean that the
//! image boots otherwise than its author thinks.

use std::ffi::OsString;

use crate::error::{Error, Result};

/// An option of a tool.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its long name.
    pub long: &'static str,
    /// Its short name, if it has one.
    pub short: Option<char>,
    /// Whether a value follows.
    pub valued: bool,
}

/// An option without a value.
pub const fn flag(long: &'static str) -> Known {
    Known {
        long,
        short: None,
        valued: false,
    }
}

/// An option with a value.
pub const fn valued(long: &'static str) -> Known {
    Known {
        long,
        short: None,
        valued: true,
    }
}

/// The same under a letter, too.
pub const fn short(letter: char, known: Known) -> Known {
    Known {
        short: Some(letter),
        ..known
    }
}

/// A command line that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    options: Vec<(&'static str, String)>,
    /// What is no option.
    pub operands: Vec<String>,
}

impl Words {
    /// Reads the arguments that follow the name of a tool.
    pub fn read(tool: &str, args: &[OsString], known: &[Known]) -> Result<Self> {
        let mut words = Self::default();
        let mut texts = Vec::new();
        for arg in args {
            let text = arg.to_str();
            texts.push(
                text.ok_or_else(|| Error::usage(format!("{tool}: {} is no UTF-8 text", arg.display())))?,
            );
        }
        let mut rest = texts.into_iter();
        while let Some(text) = rest.next() {
            if text == "--" {
                words.operands.extend(rest.map(str::to_owned));
                break;
            }
            let Some(option) = text.strip_prefix('-').filter(|option| !option.is_empty()) else {
                words.operands.push(text.to_owned());
                continue;
            };
            let (found, attached) = if let Some(long) = option.strip_prefix('-') {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                };
                (known.iter().find(|known| known.long == name), value)
            } else {
                let letter = option.chars().next();
                let value = letter.map(|letter| &option[letter.len_utf8()..]);
                let found = known.iter().find(|known| known.short == letter);
                (found, value.filter(|value| !value.is_empty()))
            };
            let found = found.ok_or_else(|| unknown(tool, text))?;
            let value = match (found.valued, attached) {
                (true, Some(value)) => value,
                (true, None) => rest
                    .next()
                    .ok_or_else(|| Error::usage(format!("{tool}: {text} lacks its value")))?,
                (false, None) => "",
                (false, Some(_)) => return Err(unknown(tool, text)),
            };
            words.options.push((found.long, value.to_owned()));
        }
        Ok(words)
    }

    /// Whether an option was given.
    pub fn has(&self, long: &str) -> bool {
        self.value(long).is_some()
    }

    /// The last value of an option.
    pub fn value<'a>(&'a self, long: &'a str) -> Option<&'a str> {
        self.values(long).last()
    }

    /// All values of an option.
    pub fn values<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> {
        let given = self.options.iter().filter(move |(name, _)| *name == long);
        given.map(|(_, value)| value.as_str())
    }
}

fn unknown(tool: &str, option: &str) -> Error {
    Error::usage(format!("{tool}: option {option} is not supported here"))
        .hint("while an image is built this stands in for GRUB's tool and knows what elements use of it")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Known; 3] = [
        short('t', valued("target")),
        short('v', flag("verbose")),
        flag("force"),
    ];

    fn read(line: &str) -> Result<Words> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Words::read("tool", &args, &KNOWN)
    }

    #[test]
    fn values_are_attached_or_follow() {
        for line in ["--target=a x", "--target a x", "-ta x", "-t a x", "-t b x -ta"] {
            let words = read(line).unwrap();
            assert_eq!(words.value("target"), Some("a"), "{line}");
            assert_eq!(words.operands, ["x"], "{line}");
        }
        let words = read("-v -- --force -").unwrap();
        assert!(words.has("verbose") && !words.has("force"));
        assert_eq!(words.operands, ["--force", "-"]);
        assert_eq!(read("-t a --target=b").unwrap().values("target").count(), 2);
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (line, told) in [
            ("--compress=xz", "option --compress=xz is not supported here"),
            ("-x", "option -x is not supported here"),
            ("--force=1", "option --force=1 is not supported here"),
            ("-vv", "option -vv is not supported here"),
            ("--target", "--target lacks its value"),
        ] {
            let error = read(line).unwrap_err().message();
            assert!(error.contains(told), "{error}");
        }
    }
}
