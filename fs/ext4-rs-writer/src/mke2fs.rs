//! The options of mke2fs, as `--mkfs-options` takes them: text → [`Options`].
//!
//! Reference: mke2fs(8). What shapes the file system is honoured, what only steers the tool (`-q`, `-F`, `-v`) is
//! accepted, and everything else is refused by name: an option that is ignored silently is an image that surprises.
//! Later options win, as in mke2fs, but for `-t` and `-T`, which choose the defaults that the others change.

mod extended;
mod words;

use crate::features::{Compat, Feature, Features, Incompat, Profile, RoCompat};
use crate::options::{Inodes, Journal, Options};
use crate::units::BlockSize;

/// Why the text is no list of options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something that mke2fs has not, or that has no meaning here.
    #[error("unknown option '{0}'")]
    UnknownOption(String),
    /// A word that is no option, such as a device.
    #[error("'{0}' is no option: the image and its size are chosen elsewhere")]
    UnexpectedWord(String),
    /// The text ends where an option's value should stand.
    #[error("option '{0}' needs a value")]
    MissingValue(String),
    /// A value that the option can't take.
    #[error("option '{option}' can't be '{value}'")]
    BadValue {
        /// The option.
        option: String,
        /// Its value.
        value: String,
    },
    /// A feature that this writer does not make.
    #[error("unknown feature '{0}'")]
    UnknownFeature(String),
    /// A quote that never ends.
    #[error("a quote is not closed")]
    OpenQuote,
}

/// Changes options as mke2fs's command line would.
pub fn apply(options: &mut Options, text: &str) -> Result<(), Error> {
    let words = words::split(text)?;
    let mut parsed = parse(&words)?;
    // The type gives the defaults, and sizes in blocks need to know the block's.
    let rank = |flag: char| match flag {
        't' | 'T' => 0,
        'b' => 1,
        _ => 2,
    };
    parsed.sort_by_key(|(flag, _)| rank(*flag));
    for (flag, value) in &parsed {
        set(options, *flag, value)?;
    }
    Ok(())
}

/// Options and their values, where they have one.
fn parse(words: &[String]) -> Result<Vec<(char, String)>, Error> {
    const WITH_VALUE: &str = "beEgGiIJLmNOrTtU";
    const WITHOUT_VALUE: &str = "DFjKqv";
    let mut parsed = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(flags) = word.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
            return Err(Error::UnexpectedWord(word.clone()));
        };
        let mut flags = flags.chars();
        while let Some(flag) = flags.next() {
            let name = format!("-{flag}");
            if WITHOUT_VALUE.contains(flag) {
                parsed.push((flag, String::new()));
            } else if WITH_VALUE.contains(flag) {
                let value = value(&mut flags, &mut words, name)?;
                parsed.push((flag, value));
            } else {
                return Err(Error::UnknownOption(name));
            }
        }
    }
    Ok(parsed)
}

/// An option's value: the rest of its word, or the next one.
fn value<'a>(
    flags: &mut std::str::Chars<'_>,
    words: &mut impl Iterator<Item = &'a String>,
    option: String,
) -> Result<String, Error> {
    let rest: String = flags.collect();
    if !rest.is_empty() {
        return Ok(rest);
    }
    words.next().cloned().ok_or(Error::MissingValue(option))
}

/// The defaults of a kind of file system.
fn file_system_type(options: &mut Options, flag: char, value: &str) -> Result<(), Error> {
    for name in value.split(',') {
        let (profile, ratio) = match (flag, name) {
            (_, "ext2") => (Some(Profile::Ext2), None),
            (_, "ext3") => (Some(Profile::Ext3), None),
            (_, "ext4") => (Some(Profile::Default), None),
            // Usage types of mke2fs.conf.
            ('T', "small" | "news") => (None, Some(4096)),
            ('T', "floppy") => (None, Some(8192)),
            ('T', "default" | "big" | "huge") => (None, Some(16384)),
            ('T', "largefile") => (None, Some(1 << 20)),
            ('T', "largefile4") => (None, Some(4 << 20)),
            _ => return Err(bad(flag, value)),
        };
        if let Some(profile) = profile {
            options.features = profile.features();
        }
        if let Some(ratio) = ratio {
            options.inodes = Some(Inodes::Ratio(ratio));
        }
    }
    Ok(())
}

/// Applies one option.
fn set(options: &mut Options, flag: char, value: &str) -> Result<(), Error> {
    let bad = || bad(flag, value);
    match flag {
        'b' => {
            options.block_size = number(value).and_then(BlockSize::new).ok_or_else(bad)?;
        }
        'g' => options.blocks_per_group = Some(number(value).ok_or_else(bad)?),
        'G' => options.flex_groups = number(value).ok_or_else(bad)?,
        'i' => options.inodes = Some(Inodes::Ratio(size(value).ok_or_else(bad)?)),
        'N' => options.inodes = Some(Inodes::Count(number(value).ok_or_else(bad)?)),
        'I' => options.inode_size = number(value).ok_or_else(bad)?,
        'm' => options.reserved_permyriad = permyriad(value).ok_or_else(bad)?,
        'L' => options.label = label(value).ok_or_else(bad)?,
        'U' => options.uuid = value.parse().map_err(|_| bad())?,
        'O' => features(&mut options.features, value)?,
        'J' => journal(options, value)?,
        'E' => extended::apply(options, value)?,
        't' | 'T' => file_system_type(options, flag, value)?,
        'j' => options.features.compat.insert(Compat::HAS_JOURNAL),
        // What the kernel does after an error, and the revision of the format: the ones that are in use.
        'e' if value == "continue" => {}
        'r' if value == "1" => {}
        'D' | 'F' | 'K' | 'q' | 'v' => {}
        _ => return Err(bad()),
    }
    Ok(())
}

fn bad(flag: char, value: &str) -> Error {
    Error::BadValue {
        option: format!("-{flag}"),
        value: value.to_owned(),
    }
}

/// Sets and clears features: `^name` clears, `none` clears all.
fn features(features: &mut Features, list: &str) -> Result<(), Error> {
    for word in list.split([',', ' ']).filter(|word| !word.is_empty()) {
        if word == "none" {
            *features = Features::default();
            continue;
        }
        let (name, on) = match word.strip_prefix(['^', '-']) {
            Some(name) => (name, false),
            None => (word.strip_prefix('+').unwrap_or(word), true),
        };
        // What this writer never makes is as good as cleared.
        if !on && NEVER_MADE.contains(&name) {
            continue;
        }
        let feature = Feature::named(name).ok_or_else(|| Error::UnknownFeature(name.to_owned()))?;
        features.set(feature, on);
        exclude(features, feature, on);
    }
    Ok(())
}

/// Features of mke2fs that this writer has not, so that clearing them changes nothing.
const NEVER_MADE: [&str; 13] = [
    "bigalloc",
    "casefold",
    "encrypt",
    "fast_commit",
    "inline_data",
    "meta_bg",
    "mmp",
    "quota",
    "sparse_super2",
    "test_fs",
    "verity",
    "journal_dev",
    "lazy_bg",
];

/// As mke2fs does: asking for one kind of checksum drops the other, and no journal leaves nothing to be orphaned in.
fn exclude(features: &mut Features, feature: Feature, on: bool) {
    match feature {
        Feature::RoCompat(RoCompat::METADATA_CSUM) if on => features.ro_compat.remove(RoCompat::GDT_CSUM),
        Feature::RoCompat(RoCompat::METADATA_CSUM) => {
            features.incompat.remove(Incompat::CSUM_SEED);
        }
        Feature::RoCompat(RoCompat::GDT_CSUM) if on => {
            features.ro_compat.remove(RoCompat::METADATA_CSUM);
            features.incompat.remove(Incompat::CSUM_SEED);
        }
        Feature::Compat(Compat::HAS_JOURNAL) if !on => features.compat.remove(Compat::ORPHAN_FILE),
        _ => {}
    }
}

fn journal(options: &mut Options, list: &str) -> Result<(), Error> {
    for word in list.split(',').filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let option = || format!("-J {name}");
        match name {
            "size" => {
                let mebibytes: u64 = number(value).ok_or_else(|| Error::BadValue {
                    option: option(),
                    value: value.to_owned(),
                })?;
                let bytes = mebibytes.checked_mul(1 << 20).ok_or_else(|| Error::BadValue {
                    option: option(),
                    value: value.to_owned(),
                })?;
                options.journal = Journal::Fixed(bytes);
                options.features.compat.insert(Compat::HAS_JOURNAL);
            }
            _ => return Err(Error::UnknownOption(option())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// A number of bytes with an optional suffix, such as `4k`.
fn size(text: &str) -> Option<u32> {
    let (digits, shift) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 10),
        None => match text.strip_suffix(['m', 'M']) {
            Some(digits) => (digits, 20),
            None => (text, 0),
        },
    };
    digits.parse::<u32>().ok()?.checked_mul(1 << shift)
}

/// A percentage with up to two decimals, in hundredths of a percent.
fn permyriad(text: &str) -> Option<u16> {
    let text = text.strip_suffix('%').unwrap_or(text);
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let mut hundredths = 0_u16;
    let mut weight = 10_u16;
    for digit in decimals.chars() {
        let digit = u16::try_from(digit.to_digit(10)?).ok()?;
        hundredths = hundredths.checked_add(digit.checked_mul(weight)?)?;
        weight /= 10;
    }
    let whole: u16 = if whole.is_empty() && !decimals.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let all = whole.checked_mul(100)?.checked_add(hundredths)?;
    (all <= 5000).then_some(all)
}

fn label(text: &str) -> Option<[u8; 16]> {
    let mut label = [0; 16];
    label.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(label)
}
