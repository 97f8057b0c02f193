//! Names: which a directory can hold, and the short names that stand for long ones.
//!
//! Spec: Microsoft FAT Specification, sections 6.1 and 7.
//!
//! A name that is short but for the case of its letters keeps its letters: if each of its halves is of one case by two
//! bits, else by a long name. Other names get the first six characters that a short name can have and a number.

use std::collections::{HashMap, HashSet};

use super::disk::{SMALL_EXTENSION, SMALL_NAME};

/// Why a directory cannot hold a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// It is no UTF-8, and cannot be turned into UTF-16.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// A character that no long name can have.
    #[error("'{}' cannot be part of it", .0.escape_default())]
    Character(char),
    /// Dots and spaces at the end are dropped by who reads.
    #[error("it ends with '{0}', which is lost")]
    Tail(char),
    /// More characters than 20 parts of a long name hold.
    #[error("it has {0} units of UTF-16, more than 255")]
    TooLong(usize),
}

/// What stands in the directory for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) short: [u8; 11],
    /// Which halves of it are shown in small letters.
    pub(super) small: u8,
    /// The long name, unless the short one tells all.
    pub(super) long: Option<Vec<u16>>,
}

/// A name as text, if a directory can hold it.
pub(super) fn checked(name: &[u8]) -> Result<&str, BadName> {
    let name = std::str::from_utf8(name).map_err(|_| BadName::NotUtf8)?;
    let bad = |char: &char| char.is_ascii_control() || "\"*/:<>?\\|".contains(*char);
    if let Some(char) = name.chars().find(bad) {
        return Err(BadName::Character(char));
    }
    if let Some(tail) = name.chars().next_back().filter(|char| ". ".contains(*char)) {
        return Err(BadName::Tail(tail));
    }
    match name.encode_utf16().count() {
        units @ 256.. => Err(BadName::TooLong(units)),
        _ => Ok(name),
    }
}

/// A name without case: names of one directory must differ in it.
pub(super) fn folded(name: &str) -> String {
    let fold = |char: char| {
        let mut upper = char.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(one), None) if one.is_ascii() == char.is_ascii() => one,
            _ => char,
        }
    };
    name.chars().map(fold).collect()
}

/// What stands for the names of one directory, in their order.
pub(super) fn stored(names: &[&str]) -> Vec<Stored> {
    let plain: Vec<Option<([u8; 11], u8, bool)>> = names.iter().map(|name| plain(name)).collect();
    let mut taken: HashSet<[u8; 11]> = plain.iter().flatten().map(|(short, ..)| *short).collect();
    let mut last = HashMap::new();
    let numbered = names.iter().zip(plain).map(|(name, plain)| {
        let (short, small, tells_all) = plain.unwrap_or_else(|| {
            let (base, extension) = parts(name);
            (number(&base, &extension, &mut taken, &mut last), 0, false)
        });
        Stored {
            short,
            small,
            long: (!tells_all).then(|| name.encode_utf16().collect()),
        }
    });
    numbered.collect()
}

/// A name that is short but for its case: in capital letters, with the bits for small ones, and whether these tell all.
fn plain(name: &str) -> Option<([u8; 11], u8, bool)> {
    let (base, extension) = match name.split_once('.') {
        Some((_, "")) => return None,
        Some(halves) => halves,
        None => (name, ""),
    };
    let fits = |half: &str, len| half.len() <= len && half.bytes().all(is_short);
    if base.is_empty() || !fits(base, 8) || !fits(extension, 3) {
        return None;
    }
    let has = |half: &str, is: fn(&u8) -> bool| half.as_bytes().iter().any(is);
    let small = |half| has(half, u8::is_ascii_lowercase);
    let mixed = |half| small(half) && has(half, u8::is_ascii_uppercase);
    let tells_all = !mixed(base) && !mixed(extension);
    let bit = |half, bit| if small(half) && tells_all { bit } else { 0 };
    let bits = bit(base, SMALL_NAME) | bit(extension, SMALL_EXTENSION);
    let upper = |half: &str| half.to_ascii_uppercase().into_bytes();
    Some((joined(&upper(base), &upper(extension)), bits, tells_all))
}

/// Whether a short name can have the byte, in capitals.
fn is_short(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'()-@^_`{}~".contains(&byte)
}

/// What is left of a name in a short one: at most six characters and three.
fn parts(name: &str) -> (Vec<u8>, Vec<u8>) {
    let name = name.trim_start_matches(['.', ' ']);
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let kept = |half: &str, len| -> Vec<u8> {
        half.chars()
            .filter(|char| !matches!(char, ' ' | '.'))
            .map(|char| match u8::try_from(char) {
                Ok(byte) if is_short(byte) => byte.to_ascii_uppercase(),
                _ => b'_',
            })
            .take(len)
            .collect()
    };
    (kept(base, 6), kept(extension, 3))
}

/// The first short name that is not taken, of a base with a number.
fn number(
    base: &[u8],
    extension: &[u8],
    taken: &mut HashSet<[u8; 11]>,
    last: &mut HashMap<(Vec<u8>, Vec<u8>), u32>,
) -> [u8; 11] {
    // Numbers of one base only go up, so that a directory of many takes no time.
    let last = last.entry((base.to_vec(), extension.to_vec())).or_default();
    loop {
        *last = last.saturating_add(1);
        let tail = format!("~{last}").into_bytes();
        let room = 8_usize.saturating_sub(tail.len()).min(base.len());
        let short = joined(&[&base[..room], &tail].concat(), extension);
        if taken.insert(short) {
            return short;
        }
    }
}

/// Both halves, filled up with spaces.
fn joined(base: &[u8], extension: &[u8]) -> [u8; 11] {
    let mut short = [b' '; 11];
    let halves = short[..8].iter_mut().zip(base);
    halves.for_each(|(to, from)| *to = *from);
    let halves = short[8..].iter_mut().zip(extension);
    halves.for_each(|(to, from)| *to = *from);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shorts(names: &[&str]) -> Vec<(String, u8, bool)> {
        stored(names)
            .into_iter()
            .map(|stored| {
                let short = String::from_utf8(stored.short.to_vec()).unwrap();
                (short, stored.small, stored.long.is_some())
            })
            .collect()
    }

    #[test]
    fn short_names_need_no_long_one() {
        let cases = [
            ("EFI", "EFI        ", 0, false),
            ("grub.cfg", "GRUB    CFG", 0x18, false),
            ("BOOTX64.efi", "BOOTX64 EFI", 0x10, false),
            ("readme.TXT", "README  TXT", 0x08, false),
            ("Mixed.txt", "MIXED   TXT", 0, true),
            ("a1-~.$", "A1-~    $  ", 0x08, false),
            ("a b", "AB~1       ", 0, true),
            (".hidden", "HIDDEN~1   ", 0, true),
            ("two.dots.conf", "TWODOT~1CON", 0, true),
            ("☂", "_~1        ", 0, true),
            ("+", "_~1        ", 0, true),
        ];
        for (name, short, small, long) in cases {
            assert_eq!(shorts(&[name]), [(short.to_owned(), small, long)], "{name}");
        }
    }

    #[test]
    fn numbers_give_way_to_names_that_look_so() {
        let names: Vec<String> = (0..1200).map(|i| format!("fine name {i}")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push("finena~2");
        let all = shorts(&names);
        assert_eq!(all[0].0, "FINENA~1   ");
        assert_eq!(all[1].0, "FINENA~3   ");
        assert_eq!(all[8].0, "FINEN~10   ");
        assert_eq!(all[1199].0, "FIN~1201   ");
        assert_eq!(all[1200], ("FINENA~2   ".to_owned(), SMALL_NAME, false));
        let unique: HashSet<&String> = all.iter().map(|(short, ..)| short).collect();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn names_that_no_directory_holds_are_refused() {
        assert_eq!(checked(b"\xff"), Err(BadName::NotUtf8));
        assert_eq!(checked(b"a:b"), Err(BadName::Character(':')));
        assert_eq!(checked(b"a\n"), Err(BadName::Character('\n')));
        assert_eq!(checked(b"a."), Err(BadName::Tail('.')));
        assert_eq!(checked(b"a "), Err(BadName::Tail(' ')));
        assert_eq!(checked(b" .a"), Ok(" .a"));
        assert_eq!(folded("Äß"), folded("äß"));
        assert_ne!(folded("ß"), folded("SS"));
    }
}
