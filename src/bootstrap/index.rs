//! `Packages`: what a component of a suite has for an architecture.
//!
//! Spec: <https://wiki.debian.org/DebianRepository/Format>. All paragraphs of all indexes are kept as slices of their
//! texts; of several versions of a name the latest is the candidate, as apt has it without preferences.

use std::collections::HashMap;

use super::deb822::{Paragraph, paragraphs};
use super::relation::{Alternative, groups, is_name};
use super::release::{is_below, is_sha256};
use super::version;

/// A package that could be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its architecture, or `all`.
    pub architecture: &'a str,
    /// What it is to other architectures: `same`, `foreign`, `allowed`, or nothing.
    pub multi_arch: &'a str,
    /// Whether every system has it.
    pub essential: bool,
    /// How much a system needs it.
    pub priority: Priority,
    /// Where it is, below the archive.
    pub filename: &'a str,
    /// Its bytes.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: &'a str,
    /// Which of the texts names it.
    pub text: usize,
    relations: Relations<'a>,
}

/// Its relations to others, as they are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Relations<'a> {
    depends: &'a str,
    pre_depends: &'a str,
    provides: &'a str,
    conflicts: &'a str,
    breaks: &'a str,
}

/// How much a system needs a package, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Without it nothing works.
    Required,
    /// A person would look for it.
    Important,
    /// A small system has it.
    Standard,
    /// All others.
    Optional,
}

/// Why an index makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// A paragraph without a name.
    #[error("a paragraph has no Package")]
    NoName,
    /// A field that a package must have.
    #[error("package {package}: {field} is missing, or makes no sense")]
    Field {
        /// The package.
        package: String,
        /// The field.
        field: &'static str,
    },
}

/// Everything that could be installed.
#[derive(Debug, Default)]
pub struct Index<'a> {
    by_name: HashMap<&'a str, Package<'a>>,
    /// Who provides a name that may be nobody's own, and in which version.
    providers: HashMap<&'a str, Vec<(&'a str, Option<&'a str>)>>,
}

impl<'a> Package<'a> {
    fn read(paragraph: Paragraph<'a>, text: usize) -> Result<Self, IndexError> {
        let mut package = Self {
            name: "",
            version: "",
            architecture: "",
            multi_arch: "",
            essential: false,
            priority: Priority::Optional,
            filename: "",
            size: u64::MAX,
            sha256: "",
            text,
            relations: Relations::default(),
        };
        for (name, value) in paragraph.fields() {
            match name {
                "Package" => package.name = value,
                "Version" => package.version = value,
                "Architecture" => package.architecture = value,
                "Multi-Arch" => package.multi_arch = value,
                "Essential" => package.essential = value == "yes",
                "Priority" => {
                    package.priority = match value {
                        "required" => Priority::Required,
                        "important" => Priority::Important,
                        "standard" => Priority::Standard,
                        _ => Priority::Optional,
                    }
                }
                "Filename" => package.filename = value.strip_prefix("./").unwrap_or(value),
                "Size" => package.size = value.parse().unwrap_or(u64::MAX),
                "SHA256" => package.sha256 = value,
                "Depends" => package.relations.depends = value,
                "Pre-Depends" => package.relations.pre_depends = value,
                "Provides" => package.relations.provides = value,
                "Conflicts" => package.relations.conflicts = value,
                "Breaks" => package.relations.breaks = value,
                _ => {}
            }
        }
        package.checked()
    }

    /// What goes into paths and addresses is of the form that it should have.
    fn checked(self) -> Result<Self, IndexError> {
        let word =
            |word: &str| word.bytes().all(is_name) && word.starts_with(|c: char| c.is_ascii_alphanumeric());
        let version = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-._~:".contains(&byte))
        };
        if self.name.is_empty() {
            return Err(IndexError::NoName);
        }
        let checks = [
            ("Package", word(self.name)),
            ("Version", version(self.version)),
            ("Architecture", word(self.architecture)),
            ("Filename", is_below(self.filename)),
            ("Size", self.size != u64::MAX),
            ("SHA256", is_sha256(self.sha256)),
        ];
        match checks.into_iter().find(|(_, sound)| !sound) {
            None => Ok(self),
            Some((field, _)) => Err(IndexError::Field {
                package: self.name.to_owned(),
                field,
            }),
        }
    }

    /// What must be there for it to work, what must be there first among them.
    pub fn depends(&self) -> impl Iterator<Item = Result<Vec<Alternative<'a>>, &'a str>> + use<'a> {
        groups(self.relations.pre_depends).chain(groups(self.relations.depends))
    }

    /// What must work before it is unpacked.
    pub fn pre_depends(&self) -> impl Iterator<Item = Result<Vec<Alternative<'a>>, &'a str>> + use<'a> {
        groups(self.relations.pre_depends)
    }

    /// What must not be there with it.
    pub fn excludes(&self) -> impl Iterator<Item = Alternative<'a>> + use<'a> {
        let all = groups(self.relations.conflicts).chain(groups(self.relations.breaks));
        all.filter_map(Result::ok).flatten()
    }

    /// The other names that it answers to, each with a version if it has one.
    pub fn provides(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        let all = groups(self.relations.provides).filter_map(Result::ok).flatten();
        all.map(|provided| (provided.name, provided.version.map(|(_, version)| version)))
    }

    /// The name by which dpkg files it.
    pub fn file_name(&self) -> String {
        file_name(self.name, self.architecture, self.multi_arch)
    }
}

/// The name by which dpkg files a package: with its architecture where another may stand beside it.
pub fn file_name(name: &str, architecture: &str, multi_arch: &str) -> String {
    if multi_arch == "same" {
        format!("{name}:{architecture}")
    } else {
        name.to_owned()
    }
}

impl<'a> Index<'a> {
    /// Takes in the packages of a text for an architecture.
    pub fn add(&mut self, text: &'a str, number: usize, architecture: &str) -> Result<(), IndexError> {
        for paragraph in paragraphs(text) {
            let package = Package::read(paragraph, number)?;
            if package.architecture != "all" && package.architecture != architecture {
                continue;
            }
            let known = self.by_name.get(package.name);
            if known.is_none_or(|known| version::compare(known.version, package.version).is_lt()) {
                self.by_name.insert(package.name, package);
            }
        }
        Ok(())
    }

    /// Finds out who provides what, once everything is in.
    pub fn complete(&mut self) {
        self.providers.clear();
        for package in self.by_name.values() {
            for (name, version) in package.provides() {
                self.providers
                    .entry(name)
                    .or_default()
                    .push((package.name, version));
            }
        }
    }

    /// The package of a name.
    pub fn get(&self, name: &str) -> Option<&Package<'a>> {
        self.by_name.get(name)
    }

    /// All packages, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Package<'a>> {
        self.by_name.values()
    }

    /// Who would do for an alternative: the package of that name, then those that provide it, the most needed first.
    pub fn candidates(&self, wanted: &Alternative<'_>, architecture: &str) -> Vec<&Package<'a>> {
        if !is_of(wanted, architecture) {
            return Vec::new();
        }
        let real = self
            .get(wanted.name)
            .filter(|package| wanted.accepts(package.version));
        let mut providers: Vec<&Package<'a>> = self
            .providers
            .get(wanted.name)
            .into_iter()
            .flatten()
            .filter(|(_, version)| match (wanted.version, version) {
                (None, _) => true,
                // A name that is provided without a version does for none.
                (Some(_), None) => false,
                (Some(_), Some(version)) => wanted.accepts(version),
            })
            .filter_map(|(name, _)| self.get(name))
            .collect();
        providers.sort_by_key(|package| (!package.essential, package.priority, package.name));
        real.into_iter().chain(providers).collect()
    }
}

/// Whether what is wanted may be of this architecture.
pub fn is_of(wanted: &Alternative<'_>, architecture: &str) -> bool {
    wanted
        .architecture
        .is_none_or(|word| matches!(word, "any" | "native" | "all") || word == architecture)
}
