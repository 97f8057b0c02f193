//! Which suites of which archives packages come from: lines as apt's `sources.list` has them.
//!
//! Spec: sources.list(5), the one-line form. `copy:` means `file:`: both are read where they are.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::fetch::url::{Url, without_user};

/// A suite, and what of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The archive, without a slash at its end.
    pub archive: String,
    /// The suite.
    pub suite: String,
    /// Its components; empty: the archive is flat, and the suite the path to its index.
    pub components: Vec<String>,
    /// A key ring of its own.
    pub signed_by: Option<PathBuf>,
    /// Whether it is believed without a signature.
    pub trusted: bool,
}

impl Source {
    /// A suite of a mirror.
    pub fn of_mirror(mirror: &str, suite: &str, components: &[String]) -> Result<Self> {
        let source = Self {
            archive: archive(mirror)?,
            suite: suite.to_owned(),
            components: components.to_vec(),
            signed_by: None,
            trusted: false,
        };
        source.checked(suite)
    }

    /// Reads a line; `None`: it names no binary packages.
    pub fn parse(line: &str) -> Result<Option<Self>> {
        let wrong = |told: &str| Error::usage(format!("'{}' is no source of packages: {told}", shown(line)));
        let text = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = text
            .strip_prefix("deb")
            .filter(|rest| rest.starts_with([' ', '\t']))
        else {
            return if text.is_empty() || text.starts_with("deb-src") {
                Ok(None)
            } else {
                Err(wrong("it begins with neither deb nor deb-src"))
            };
        };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(inside) => inside.split_once(']').ok_or_else(|| wrong("a bracket is open"))?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else {
            return Err(wrong("it has no address, or no suite"));
        };
        let components: Vec<String> = words.map(str::to_owned).collect();
        if suite.ends_with('/') || components.is_empty() {
            return Err(wrong("an archive without components cannot be bootstrapped from"));
        }
        let mut source = Self::of_mirror(uri, suite, &components)?;
        for option in options.split_whitespace() {
            match option.split_once('=') {
                Some(("signed-by", path)) => source.signed_by = Some(path.into()),
                Some(("trusted", "yes")) => source.trusted = true,
                Some(("trusted", "no") | ("arch" | "arch+" | "lang" | "by-hash" | "pdiffs", _)) => {}
                _ => return Err(wrong(&format!("the option '{option}' is not known"))),
            }
        }
        Ok(Some(source))
    }

    fn checked(self, line: &str) -> Result<Self> {
        let words = std::iter::once(&self.suite).chain(&self.components);
        match words.into_iter().find(|word| !super::release::is_below(word)) {
            None => Ok(self),
            Some(word) => Err(Error::usage(format!(
                "'{word}' is no suite and no component ({})",
                shown(line)
            ))),
        }
    }

    /// The address of a file of the suite.
    pub fn url_of(&self, path: &str) -> Result<Url> {
        address(&self.archive, &format!("dists/{}/{path}", self.suite))
    }

    /// The line that names it to apt.
    pub fn line(&self) -> String {
        format!(
            "deb {} {} {}",
            without_user(&self.archive),
            self.suite,
            self.components.join(" ")
        )
    }
}

/// Archive and suite, as messages name them.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "suite {} of {}", self.suite, without_user(&self.archive))
    }
}

/// The address of a file below an archive.
pub fn address(archive: &str, path: &str) -> Result<Url> {
    let text = format!("{archive}/{}", path.replace('~', "%7e").replace('+', "%2b"));
    Url::parse(&text)
        .map_err(|error| Error::usage(format!("'{}' is no address: {error}", without_user(&text))))
}

/// An archive's address in the form that everything else expects.
fn archive(uri: &str) -> Result<String> {
    let uri = uri.trim_end_matches('/');
    let text = match uri.split_once(':') {
        Some(("copy" | "file", path)) if path.starts_with('/') => {
            format!("file:///{}", path.trim_start_matches('/'))
        }
        _ => uri.to_owned(),
    };
    Url::parse(&text).map_err(|error| {
        Error::usage(format!("'{}' is no archive: {error}", without_user(uri)))
            .hint("an archive begins with http://, https://, file: or copy:")
    })?;
    Ok(text)
}

/// A line without its passwords.
fn shown(line: &str) -> String {
    line.split(' ').map(without_user).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_apt_reads_them() {
        let source =
            Source::parse("deb [arch=amd64 signed-by=/k.gpg trusted=yes] http://u:p@h/debian/ a main x # c");
        let source = source.unwrap().unwrap();
        assert_eq!((&*source.archive, &*source.suite), ("http://u:p@h/debian", "a"));
        assert_eq!(source.components, ["main", "x"]);
        assert!(source.trusted && source.signed_by.as_deref() == Some("/k.gpg".as_ref()));
        assert_eq!(source.line(), "deb http://h/debian a main x");
        assert_eq!(source.to_string(), "suite a of http://h/debian");
        assert_eq!(
            source.url_of("Release").unwrap().to_string(),
            "http://h/debian/dists/a/Release"
        );
        for (uri, archive) in [
            ("copy:/m", "file:///m"),
            ("file:/m/", "file:///m"),
            ("file:///m", "file:///m"),
        ] {
            assert_eq!(Source::of_mirror(uri, "a", &[]).unwrap().archive, archive);
        }
        for line in ["", "# deb x", "deb-src http://h a main"] {
            assert_eq!(Source::parse(line).unwrap(), None, "{line}");
        }
        for (line, told) in [
            ("rpm http://h a main", "neither deb nor deb-src"),
            ("deb http://h", "no address, or no suite"),
            ("deb http://h a/", "without components"),
            ("deb [x", "a bracket is open"),
            ("deb [y=z] http://h a main", "the option 'y=z' is not known"),
            ("deb ftp://u:p@h a main", "'ftp://h' is no archive"),
            ("deb http://h ../a main", "'../a' is no suite"),
        ] {
            let error = Source::parse(line).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
