//! Relations between packages: `Depends` and its like.
//!
//! Spec: deb-control(5), Debian policy 7.1. Groups after commas, of which each wants one of its alternatives.
//!
//! Restrictions by architecture and build profile, `[amd64]` and `<!nocheck>`, stand in source packages; in a binary
//! package they are passed over.

use std::cmp::Ordering;

use super::version;

/// A package that would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alternative<'a> {
    /// Its name, or that of what it provides.
    pub name: &'a str,
    /// The architecture that it is wanted of, `any` or `native` among them.
    pub architecture: Option<&'a str>,
    /// Which versions would do.
    pub version: Option<(Comparison, &'a str)>,
}

/// How a version must compare to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<<`
    Earlier,
    /// `<=`
    NotLater,
    /// `=`
    Same,
    /// `>=`
    NotEarlier,
    /// `>>`
    Later,
}

impl Comparison {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "<<" => Comparison::Earlier,
            "<=" | "<" => Comparison::NotLater,
            "=" => Comparison::Same,
            ">=" | ">" => Comparison::NotEarlier,
            ">>" => Comparison::Later,
            _ => return None,
        })
    }

    /// Whether `found` compares so to `wanted`.
    pub fn holds(self, found: &str, wanted: &str) -> bool {
        let order = version::compare(found, wanted);
        match self {
            Comparison::Earlier => order == Ordering::Less,
            Comparison::NotLater => order != Ordering::Greater,
            Comparison::Same => order == Ordering::Equal,
            Comparison::NotEarlier => order != Ordering::Less,
            Comparison::Later => order == Ordering::Greater,
        }
    }
}

impl Alternative<'_> {
    /// Whether a package of the wanted name does, by its version.
    pub fn accepts(&self, found: &str) -> bool {
        self.version
            .is_none_or(|(comparison, wanted)| comparison.holds(found, wanted))
    }
}

/// As it is written.
impl std::fmt::Display for Alternative<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        if let Some(architecture) = self.architecture {
            write!(f, ":{architecture}")?;
        }
        if let Some((comparison, version)) = self.version {
            let sign = match comparison {
                Comparison::Earlier => "<<",
                Comparison::NotLater => "<=",
                Comparison::Same => "=",
                Comparison::NotEarlier => ">=",
                Comparison::Later => ">>",
            };
            write!(f, " ({sign} {version})")?;
        }
        Ok(())
    }
}

/// Reads a field; a group without an alternative that makes sense is `Err` with its text.
pub fn groups(field: &str) -> impl Iterator<Item = Result<Vec<Alternative<'_>>, &str>> {
    let groups = field.split(',').map(str::trim).filter(|group| !group.is_empty());
    groups.map(|group| {
        let alternatives: Option<Vec<_>> = group.split('|').map(alternative).collect();
        alternatives.ok_or(group)
    })
}

fn alternative(text: &str) -> Option<Alternative<'_>> {
    let text = text.trim();
    let end = text
        .find(|c: char| c.is_whitespace() || "([<".contains(c))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let (name, architecture) = match name.split_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (name, None),
    };
    let named = |word: &str| !word.is_empty() && word.bytes().all(is_name);
    if !named(name) || architecture.is_some_and(|word| !named(word)) {
        return None;
    }
    let version = match rest.trim_start().strip_prefix('(') {
        None => None,
        Some(rest) => {
            let (inside, _) = rest.split_once(')')?;
            let inside = inside.trim();
            let end = inside.find(|c| !"<>=".contains(c)).unwrap_or(inside.len());
            let (sign, version) = inside.split_at(end);
            let version = version.trim();
            (!version.is_empty() && !version.contains(char::is_whitespace)).then_some(())?;
            Some((Comparison::parse(sign)?, version))
        }
    };
    Some(Alternative {
        name,
        architecture,
        version,
    })
}

/// Whether a byte may stand in the name of a package.
pub fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-._".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_with_all_that_may_stand_in_them() {
        let field =
            "libc6 (>= 2.36), awk | mawk:any (<<2) [amd64],\n python3:any,, debconf(=1)|x:i386 <!nocheck>";
        let read: Vec<Vec<String>> = groups(field)
            .map(|group| group.unwrap().iter().map(ToString::to_string).collect())
            .collect();
        let expected: [&[&str]; 4] = [
            &["libc6 (>= 2.36)"],
            &["awk", "mawk:any (<< 2)"],
            &["python3:any"],
            &["debconf (= 1)", "x:i386"],
        ];
        assert_eq!(read, expected);
        for wrong in ["(>= 1)", "a (1)", "a (>= )", "a (>= 1", "a |", "a b(", "\u{e9}"] {
            let all: Result<Vec<_>, _> = groups(wrong).collect();
            assert!(wrong == "a b(" || all.is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_decide() {
        let one = alternative("a (>> 1.0~)").unwrap();
        assert!(one.accepts("1.0") && !one.accepts("1.0~") && alternative("a").unwrap().accepts(""));
        let table = [
            ("<<", [true, false, false]),
            ("<=", [true, true, false]),
            ("=", [false, true, false]),
            (">=", [false, true, true]),
            (">>", [false, false, true]),
        ];
        for (sign, holds) in table {
            let comparison = Comparison::parse(sign).unwrap();
            assert_eq!(
                ["1", "2", "3"].map(|found| comparison.holds(found, "2")),
                holds,
                "{sign}"
            );
        }
    }
}
