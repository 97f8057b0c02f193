//! The options of mke2fs, as `--mkfs-options` takes them: text → [`Options`].
//!
//! Reference: mke2fs(8). What shapes the file system is honoured, what only steers the tool (`-q`, `-F`, `-v`) is
//! accepted, and everything else is refused by name, with the reason where there is one (`refused`): an option that
//! is ignored silently is an image that surprises. Later options win, as in mke2fs, but for `-t` and `-T`, which choose
//! the defaults that the others change.
//!
//! Two usage types are this writer's own: `-T legacy` and `-T modern` are the profiles of these names.

mod extended;
mod features;
mod kinds;
mod numbers;
mod refused;
mod words;

use std::fmt;

use crate::features::Compat;
use crate::options::{Inodes, Journal, OnErrors, Options};
use crate::units::BlockSize;
use numbers::{bytes, label, number, permyriad, size};
use uuid::Uuid;

/// Why the text is no list of options. The words in it are the user's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something that mke2fs has not.
    #[error("unknown option '{0}'")]
    UnknownOption(Name),
    /// An option of mke2fs that has no meaning here.
    #[error("option '{option}' has no place here: {why}")]
    Refused {
        /// The option.
        option: Name,
        /// Why not.
        why: &'static str,
    },
    /// A word that is no option, such as a device.
    #[error("'{0}' is no option: the image and its size are chosen elsewhere")]
    UnexpectedWord(String),
    /// The text ends where an option's value should stand.
    #[error("option '{0}' needs a value")]
    MissingValue(Name),
    /// A value that the option can't take.
    #[error("option '{option}' can't be '{value}'")]
    BadValue {
        /// The option.
        option: Name,
        /// Its value.
        value: String,
    },
    /// A value that mke2fs's option can take, but not this one.
    #[error("option '{option}' can't be '{value}': {why}")]
    RefusedValue {
        /// The option.
        option: Name,
        /// Its value.
        value: String,
        /// Why not.
        why: &'static str,
    },
    /// A feature that mke2fs has not either.
    #[error("unknown feature '{0}'")]
    UnknownFeature(String),
    /// A feature that this writer does not make.
    #[error("this writer does not make the feature {name}: {why}")]
    NotMade {
        /// The feature, by mke2fs's name.
        name: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// A quote that never ends.
    #[error("a quote is not closed")]
    OpenQuote,
}

/// An option's name: a flag, or a word behind one, such as `-E stride`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    flag: char,
    word: Option<String>,
}

impl Name {
    fn flag(flag: char) -> Self {
        Self { flag, word: None }
    }

    fn word(flag: char, word: &str) -> Self {
        let word = Some(word.to_owned());
        Self { flag, word }
    }

    fn bad(self, value: &str) -> Error {
        Error::BadValue {
            option: self,
            value: value.to_owned(),
        }
    }

    fn refused(self, value: &str, why: &'static str) -> Error {
        Error::RefusedValue {
            option: self,
            value: value.to_owned(),
            why,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-{}", self.flag)?;
        self.word.as_ref().map_or(Ok(()), |word| write!(f, " {word}"))
    }
}

/// Changes options as mke2fs's command line would.
pub fn apply(options: &mut Options, text: &str) -> Result<(), Error> {
    let words = words::split(text)?;
    let mut parsed = parse(&words)?;
    // The type gives the defaults, its usage changes them; sizes in blocks need to know the block's, and what -E says of
    // descriptors the features.
    let rank = |flag: char| match flag {
        't' => 0,
        'T' => 1,
        'b' => 2,
        'E' | 'R' => 4,
        _ => 3,
    };
    parsed.sort_by_key(|(flag, _)| rank(*flag));
    for (flag, value) in &parsed {
        set(options, *flag, value)?;
    }
    Ok(())
}

/// Options and their values, where they have one.
fn parse(words: &[String]) -> Result<Vec<(char, String)>, Error> {
    const WITH_VALUE: &str = "beEgGiIJLmMNoOrRtTU";
    const WITHOUT_VALUE: &str = "DFjKqv";
    let mut parsed = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(flags) = word.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
            return Err(Error::UnexpectedWord(word.clone()));
        };
        let mut flags = flags.chars();
        while let Some(flag) = flags.next() {
            let name = Name::flag(flag);
            if WITHOUT_VALUE.contains(flag) {
                parsed.push((flag, String::new()));
            } else if WITH_VALUE.contains(flag) {
                let value = value(&mut flags, &mut words, name)?;
                parsed.push((flag, value));
            } else {
                return Err(refused::option(name));
            }
        }
    }
    Ok(parsed)
}

/// An option's value: the rest of its word, or the next one.
fn value<'a>(
    flags: &mut std::str::Chars<'_>,
    words: &mut impl Iterator<Item = &'a String>,
    option: Name,
) -> Result<String, Error> {
    let rest: String = flags.collect();
    if !rest.is_empty() {
        return Ok(rest);
    }
    words.next().cloned().ok_or(Error::MissingValue(option))
}

/// Applies one option.
fn set(options: &mut Options, flag: char, value: &str) -> Result<(), Error> {
    let bad = || Name::flag(flag).bad(value);
    match flag {
        'b' => options.block_size = block_size(value)?,
        'g' => options.blocks_per_group = Some(number(value).ok_or_else(bad)?),
        'G' => options.flex_groups = number(value).ok_or_else(bad)?,
        'i' => options.inodes = Some(Inodes::Ratio(size(value).ok_or_else(bad)?)),
        'N' => options.inodes = Some(Inodes::Count(number(value).ok_or_else(bad)?)),
        'I' => options.inode_size = number(value).ok_or_else(bad)?,
        'm' => options.reserved_permyriad = permyriad(value).ok_or_else(bad)?,
        'L' => options.label = label(value).ok_or_else(bad)?,
        // With the NUL that ends it.
        'M' => options.last_mounted = label::<64>(value).filter(|dir| dir[63] == 0).ok_or_else(bad)?,
        'U' => options.uuid = uuid(options, value)?,
        'O' => features::apply(&mut options.features, value)?,
        'J' => journal(options, value)?,
        'E' | 'R' => extended::apply(options, value)?,
        't' => kinds::file_system(options, value)?,
        'T' => kinds::usage(options, value)?,
        'j' => options.features.compat.insert(Compat::HAS_JOURNAL),
        'e' => options.on_errors = OnErrors::named(value).ok_or_else(bad)?,
        'o' if value.eq_ignore_ascii_case("linux") || value == "0" => {}
        'o' => return Err(Name::flag(flag).refused(value, refused::CREATOR)),
        'r' => extended::revision(Name::flag(flag), value)?,
        'D' | 'F' | 'K' | 'q' | 'v' => {}
        _ => return Err(bad()),
    }
    Ok(())
}

fn block_size(value: &str) -> Result<BlockSize, Error> {
    let option = Name::flag('b');
    let bytes = bytes(value);
    bytes.and_then(BlockSize::new).ok_or_else(|| match bytes {
        Some(8192 | 16384 | 32768 | 65536) => option.refused(value, refused::LARGE_BLOCKS),
        _ => option.bad(value),
    })
}

/// A UUID, or how to come by one: from the identity, whose seed decides whether it is the same every time.
fn uuid(options: &Options, value: &str) -> Result<Uuid, Error> {
    let option = Name::flag('U');
    match value {
        "random" => Ok(options.derived_uuid()),
        "clear" | "null" => Ok(Uuid::nil()),
        "time" => Err(option.refused(value, refused::TIME_UUID)),
        _ => value.parse().map_err(|_| option.bad(value)),
    }
}

fn journal(options: &mut Options, list: &str) -> Result<(), Error> {
    for word in list.split(',').filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let option = Name::word('J', name);
        match name {
            // MiB, as mke2fs takes them; a suffix makes it other bytes, which mke2fs refuses.
            "size" => {
                let plain = number(value).and_then(|mebibytes: u64| mebibytes.checked_mul(1 << 20));
                let size = plain.or_else(|| bytes(value)).ok_or_else(|| option.bad(value))?;
                options.journal = Journal::Fixed(size);
                options.features.compat.insert(Compat::HAS_JOURNAL);
            }
            _ => return Err(refused::journal(option, name)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
