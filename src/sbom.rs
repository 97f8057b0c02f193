//! What an image is made of: its packages, each with the element that brought it, as SPDX and as `CycloneDX`.
//!
//! | module | what it does |
//! |---|---|
//! | [`databases`] | the databases of dpkg and apk → packages |
//! | [`rpm`] | what rpm says of its own → packages |
//! | [`python`] | what pip and its kin leave in a tree → packages |
//! | [`owners`] | which package of a distribution brought what is of Python |
//! | [`ledger`] | which element brought a package: what was there after each hook |
//! | [`spdx`], [`cyclonedx`] | packages → the two documents |
//!
//! The tree is hostile until read: what is read of it is bounded in length and number, and no link leads out of it. A
//! document is a function of the tree, the elements and the identity of the build: the same build gives the same bytes.

pub mod cyclonedx;
pub mod databases;
pub mod ledger;
pub mod owners;
pub mod python;
pub mod rpm;
#[cfg(test)]
mod sample;
pub mod spdx;

use std::io::{self, Read as _};
use std::path::Path;

use crate::sandbox::rooted::Rooted;

/// Bytes of the longest database that is read.
pub const DATABASE_MAX: u64 = 256 << 20;

/// Where a database lies, and what makes packages of it.
pub type Database = (&'static str, fn(&[u8]) -> Vec<Package>);

/// The databases that say what is installed.
pub const DATABASES: [Database; 3] = [
    ("var/lib/dpkg/status", databases::dpkg),
    (APK_DATABASES[0], databases::apk),
    (APK_DATABASES[1], databases::apk),
];

/// Where apk writes down what it installed; the second since Alpine has merged its directories.
const APK_DATABASES: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

/// What a package is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// dpkg.
    Deb,
    /// rpm.
    Rpm,
    /// apk.
    Apk,
    /// Python.
    Python,
}

/// A package of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// What it is of.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version, as its manager writes it.
    pub version: String,
    /// Its architecture.
    pub architecture: Option<String>,
    /// Where it lies, for those that may be there more than once.
    pub path: Option<String>,
    /// Its licence, in whatever words.
    pub licence: Option<String>,
    /// Who keeps or sells it.
    pub supplier: Option<String>,
    /// The source package that it is made of.
    pub source: Option<String>,
    /// Names of packages that it needs.
    pub needs: Vec<String>,
    /// Names besides its own by which others may ask for it: virtual packages, libraries, commands.
    pub provides: Vec<String>,
    /// Whether it is for another architecture than its package manager: the same package may be there for both.
    pub foreign: bool,
    /// The package of the distribution that it is a part of.
    pub within: Option<String>,
    /// What brought it: an element, or the command line.
    pub element: Option<String>,
}

impl Package {
    /// One of which no more is known.
    pub fn new(kind: Kind, name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            version: version.into(),
            architecture: None,
            path: None,
            licence: None,
            supplier: None,
            source: None,
            needs: Vec::new(),
            provides: Vec::new(),
            foreign: false,
            within: None,
            element: None,
        }
    }

    /// What tells it from all others of a tree: its version only of rpm, which may have several of a kernel.
    pub fn key(&self) -> Key {
        let foreign = self.architecture.as_ref().filter(|_| self.foreign);
        let mark = match self.kind {
            Kind::Rpm => {
                let architecture = self.architecture.as_deref().unwrap_or_default();
                Some(format!("{}.{architecture}", self.version))
            }
            _ => self.path.as_ref().or(foreign).cloned(),
        };
        (self.kind, self.name.clone(), mark)
    }

    /// Its package URL: <https://github.com/package-url/purl-spec>.
    pub fn purl(&self, distribution: &Distribution) -> String {
        let id = distribution.id.as_deref().unwrap_or("unknown");
        let (kind, namespace) = match self.kind {
            Kind::Deb => ("deb", Some(id)),
            Kind::Rpm => ("rpm", Some(id)),
            Kind::Apk => ("apk", Some(id)),
            Kind::Python => ("pypi", None),
        };
        let name = match self.kind {
            Kind::Python => python::normalised(&self.name),
            _ => self.name.clone(),
        };
        let mut purl = format!("pkg:{kind}/");
        if let Some(namespace) = namespace {
            purl.extend([&encoded(&namespace.to_lowercase()), "/"]);
        }
        let (epoch, version) = match (self.kind, self.version.split_once(':')) {
            (Kind::Rpm, Some((epoch, version))) => (Some(epoch), version),
            _ => (None, self.version.as_str()),
        };
        purl.push_str(&encoded(&name));
        if !version.is_empty() {
            purl.extend(["@", &encoded(version)]);
        }
        let distro = distribution.version.as_deref().filter(|_| namespace.is_some());
        let distro = distro.map(|version| format!("{id}-{version}"));
        let qualifiers = [
            ("arch", self.architecture.as_deref()),
            ("distro", distro.as_deref()),
            ("epoch", epoch),
        ];
        let mut mark = "?";
        for (name, value) in qualifiers {
            if let Some(value) = value {
                purl.extend([mark, name, "=", &encoded(value)]);
                mark = "&";
            }
        }
        purl
    }
}

/// What tells packages of a tree apart: kind, name, and the place, the architecture, or the version and the architecture of those
/// that may be there more than once.
pub type Key = (Kind, String, Option<String>);

/// A part of a package URL.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte);
    let bytes = text.bytes().map(|byte| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    bytes.collect()
}

/// What an image says that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `ID`.
    pub id: Option<String>,
    /// `VERSION_ID`.
    pub version: Option<String>,
    /// `PRETTY_NAME`.
    pub name: Option<String>,
}

impl Distribution {
    /// As a tree's `os-release` has it.
    pub fn of(tree: &Rooted) -> io::Result<Self> {
        let mut found = Self::default();
        for path in ["etc/os-release", "usr/lib/os-release"] {
            let Some(text) = read(tree, path, crate::given::TEXT_MAX)? else {
                continue;
            };
            for line in String::from_utf8_lossy(&text).lines() {
                let Some((name, value)) = line.split_once('=') else {
                    continue;
                };
                let value = value.trim().trim_matches(['"', '\'']);
                let value = Some(clean(value)).filter(|value| !value.is_empty());
                match name.trim() {
                    "ID" => found.id = value,
                    "VERSION_ID" => found.version = value,
                    "PRETTY_NAME" => found.name = value,
                    _ => {}
                }
            }
            break;
        }
        Ok(found)
    }
}

/// All packages of a tree, in order, of which rpm has told its own; and what cannot be told of them.
pub fn packages(tree: &Rooted, rpm: &rpm::Installed) -> io::Result<(Vec<Package>, Vec<String>)> {
    let mut packages = Vec::new();
    let mut warnings = Vec::new();
    // Where one directory has both names, all that it lists is found twice, and kept once.
    for (path, parse) in DATABASES {
        match read(tree, path, DATABASE_MAX)? {
            Some(bytes) => packages.extend(parse(&bytes)),
            None if is_there(tree, path)? => {
                warnings.push(format!(
                    "packages are not listed: /{path} is no file of the image"
                ));
            }
            None => {}
        }
    }
    packages.extend_from_slice(&rpm.packages);
    let mut found = python::packages(tree)?;
    owners::mark(tree, &rpm.python, &mut found)?;
    packages.extend(found.into_iter().map(|(_, package)| package));
    packages.sort();
    packages.dedup();
    Ok((packages, warnings))
}

/// Whether anything stands where a database would.
fn is_there(tree: &Rooted, path: &str) -> io::Result<bool> {
    let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
    tree.dir(dir)?
        .map_or(Ok(false), |dir| Ok(dir.stat(name)?.is_some()))
}

/// The bytes of a regular file of a tree; `None` if there is none.
fn read(tree: &Rooted, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let path = Path::new(path);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let Some(dir) = tree.dir(dir.unwrap_or(Path::new(".")))? else {
        return Ok(None);
    };
    let name = path.file_name().unwrap_or_default();
    read_in(&dir, name.as_encoded_bytes(), limit)
}

/// The first bytes of a regular file, of which no more are wanted.
fn head_in(dir: &Rooted, name: &[u8], limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match dir.file(name, false) {
        Ok(file) => file,
        // A link in its place is not followed: os-release is found under its other name, too.
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn read_in(dir: &Rooted, name: &[u8], limit: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(bytes) = head_in(dir, name, limit + 1)? else {
        return Ok(None);
    };
    if bytes.len() as u64 > limit {
        let message = format!(
            "{} is longer than the {limit} bytes that are read",
            name.escape_ascii()
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(Some(bytes))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory
    ) || error.raw_os_error() == Some(libc::ELOOP)
}

/// A word or line as a document takes it: no control character, and of a length that has an end.
pub(crate) fn clean(text: &str) -> String {
    const LETTERS_MAX: usize = 1024;
    text.trim()
        .chars()
        .filter(|letter| !letter.is_control())
        .take(LETTERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::sample::Sample;
    use super::*;

    #[test]
    fn package_urls_are_those_of_the_specification() {
        let debian = Distribution {
            id: Some("debian".into()),
            version: Some("13".into()),
            name: None,
        };
        let mut deb = Package::new(Kind::Deb, "libstdc++6", "1:14.2.0-19+b1");
        deb.architecture = Some("amd64".into());
        assert_eq!(
            deb.purl(&debian),
            "pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19%2Bb1?arch=amd64&distro=debian-13"
        );
        let fedora = Distribution {
            id: Some("Fedora".into()),
            ..Distribution::default()
        };
        let rpm = Package::new(Kind::Rpm, "bash", "2:5.2-1.fc40");
        assert_eq!(rpm.purl(&fedora), "pkg:rpm/fedora/bash@5.2-1.fc40?epoch=2");
        let python = Package::new(Kind::Python, "Zope.Interface_x", "6.0");
        assert_eq!(python.purl(&debian), "pkg:pypi/zope-interface-x@6.0");
    }

    #[test]
    fn a_tree_is_read_within_itself_and_within_limits() {
        let dpkg = "var/lib/dpkg/status";
        let sample = Sample::of(&[
            (
                "usr/lib/os-release",
                "ID=debian\nVERSION_ID=\"13\"\nPRETTY_NAME='Debian \x1b[2J'\n",
            ),
            (dpkg, "Package: a\nStatus: install ok installed\nVersion: 1\n"),
        ]);
        sample.link("etc", "../usr/lib/os-release");
        let outside = Sample::of(&[("site-packages/x.dist-info/METADATA", "Name: x\nVersion: 1\n")]);
        sample.link("out", outside.path());
        let tree = sample.tree();
        let rpm = rpm::Installed::default();
        let (packages, warnings) = packages(&tree, &rpm).unwrap();
        assert_eq!(packages.len(), 1, "{packages:?}");
        assert!(warnings.is_empty(), "{warnings:?}");
        let distribution = Distribution::of(&tree).unwrap();
        assert_eq!(distribution.name.as_deref(), Some("Debian [2J"));
        let huge = std::fs::File::create(sample.path().join(dpkg)).unwrap();
        huge.set_len(DATABASE_MAX + 1).unwrap();
        let error = super::packages(&tree, &rpm).unwrap_err().to_string();
        assert!(error.contains("longer than"), "{error}");
    }
}
