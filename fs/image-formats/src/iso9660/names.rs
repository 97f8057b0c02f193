//! Names that ECMA-119 allows, for files whose names Rock Ridge tells: unique, and in the order that it asks for.
//!
//! Spec: ECMA-119, sections 7.5, 7.6 and 9.3.

use std::collections::{HashMap, HashSet};

/// The most characters of a file's name and extension, and of a directory's name.
const LEN_MAX: usize = 30;
/// The most characters of an extension.
const EXTENSION_MAX: usize = 8;

/// A name and an extension: records stand in the order of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    stem: Vec<u8>,
    extension: Vec<u8>,
}

impl Name {
    fn of(name: &[u8], is_directory: bool) -> Self {
        let dot = name.iter().rposition(|byte| *byte == b'.');
        let dot = dot.filter(|dot| *dot > 0 && !is_directory);
        let (stem, extension) = dot.map_or((name, &[][..]), |dot| name.split_at(dot));
        let extension: Vec<u8> = allowed(extension).skip(1).take(EXTENSION_MAX).collect();
        let most = LEN_MAX.saturating_sub(extension.len());
        let stem = allowed(stem).take(most).collect();
        Self { stem, extension }
    }

    /// The same name with a number.
    fn numbered(&self, number: u32) -> Self {
        let number = format!("_{number}").into_bytes();
        let most = LEN_MAX
            .saturating_sub(self.extension.len())
            .saturating_sub(number.len());
        let mut stem = self.stem.clone();
        stem.truncate(most);
        stem.extend(number);
        Self {
            stem,
            extension: self.extension.clone(),
        }
    }

    /// As it stands in a record.
    pub(super) fn identifier(&self, is_directory: bool) -> Vec<u8> {
        if is_directory {
            return self.stem.clone();
        }
        [&self.stem[..], b".", &self.extension, b";1"].concat()
    }
}

/// The characters that are allowed, in place of any.
fn allowed(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    text.iter().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() => byte.to_ascii_uppercase(),
        _ => b'_',
    })
}

/// The names of one directory that are in use.
#[derive(Debug, Default)]
pub(super) struct Names {
    used: HashSet<Name>,
    /// How many were numbered of each that was asked for.
    numbered: HashMap<Name, u32>,
}

impl Names {
    /// A name of its own for a file or a directory.
    pub(super) fn unique(&mut self, name: &[u8], is_directory: bool) -> Name {
        let wanted = Name::of(name, is_directory);
        let mut found = wanted.clone();
        while !self.used.insert(found.clone()) {
            let number = self.numbered.entry(wanted.clone()).or_default();
            *number = number.saturating_add(1);
            found = wanted.numbered(*number);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_allowed_characters_and_unique() {
        let mut names = Names::default();
        let mut of = |name: &str, is_directory| {
            let found = names.unique(name.as_bytes(), is_directory);
            String::from_utf8(found.identifier(is_directory)).unwrap()
        };
        assert_eq!(of("vmlinuz", false), "VMLINUZ.;1");
        assert_eq!(of("grub.cfg", false), "GRUB.CFG;1");
        assert_eq!(of("Grub.cfg", false), "GRUB_1.CFG;1");
        assert_eq!(of("GRUB.CFG", false), "GRUB_2.CFG;1");
        assert_eq!(of(".hidden", false), "_HIDDEN.;1");
        assert_eq!(of("a.tar.gz", false), "A_TAR.GZ;1");
        assert_eq!(of("trailing.", false), "TRAILING.;1");
        assert_eq!(of("conf.d", true), "CONF_D");
        assert_eq!(of("vmlinuz", true), "VMLINUZ_1");
        let long = "ü".repeat(60);
        assert_eq!(of(&long, false), format!("{}.;1", "_".repeat(30)));
        assert_eq!(of(&long, true), format!("{}_1", "_".repeat(28)));
        let extension = format!("x.{}", "e".repeat(40));
        assert_eq!(of(&extension, false), "X.EEEEEEEE;1");
    }

    #[test]
    fn many_names_that_become_one_are_numbered_in_a_moment() {
        let mut names = Names::default();
        for first in 0..200_u8 {
            for second in 128..=255 {
                names.unique(&[first | 128, second, first >> 7], false);
            }
        }
        assert_eq!(names.used.len(), 25_600);
    }
}
