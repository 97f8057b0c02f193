//! The packages of a root, each by its version and SHA-256: what was chosen once, to be chosen again.
//!
//! A lock names everything that a bootstrap needs of an archive, so that a locked one asks for no index: whatever the
//! archive has meanwhile, and with the packages in the cache without any archive, the root is made of the same bytes.
//!
//! It is JSON, one package a line in order of names, so that two locks can be compared by eye.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::release::{is_below, is_sha256};
use super::sources;
use crate::error::{Context as _, Error, Kind, Result};

/// The version of the form.
const VERSION: u32 = 1;

/// A package that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// Its SHA-256.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// The archive that has it, without a password.
    pub archive: String,
    /// Where it is there.
    pub filename: String,
    /// Whether the essential packages are it, or need it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub essential: bool,
    /// Whether it is there for others that need it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    version: u32,
    /// The suite that was asked for.
    pub suite: String,
    /// The architecture.
    pub architecture: String,
    /// What was asked for besides the base.
    pub include: Vec<String>,
    /// The packages, by name.
    pub packages: Vec<Chosen>,
    /// The packages that were installed when the root was there, by name and version.
    #[serde(default)]
    pub later: Vec<Chosen>,
}

impl Lock {
    /// A lock of these packages.
    pub fn new(suite: &str, architecture: &str, include: &[String], packages: Vec<Chosen>) -> Self {
        Self {
            version: VERSION,
            suite: suite.to_owned(),
            architecture: architecture.to_owned(),
            include: include.to_vec(),
            packages,
            later: Vec::new(),
        }
    }

    /// Reads a lock, and takes nothing in it for granted.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            crate::given::read_text(path).host(|| format!("cannot read the lock {}", path.display()))?;
        Self::parse(&text).map_err(|told| Error::usage(format!("{} is no lock: {told}", path.display())))
    }

    /// Reads the text of a lock.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lock: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if lock.version != VERSION {
            return Err(format!("its form is version {}, not {VERSION}", lock.version));
        }
        for package in lock.packages.iter().chain(&lock.later) {
            let wrong = |what: &str| Err(format!("package '{}' has no sound {what}", package.name));
            if !is_sha256(&package.sha256) {
                return wrong("sha256");
            }
            if !is_below(&package.filename) {
                return wrong("filename");
            }
            if sources::address(&package.archive, &package.filename).is_err() {
                return wrong("archive");
            }
        }
        Ok(lock)
    }

    /// The text.
    pub fn text(&self) -> String {
        let lines = |packages: &[Chosen]| {
            let lines: Vec<String> = packages
                .iter()
                .map(|package| format!("    {}", line(package)))
                .collect();
            lines.join(",\n")
        };
        format!(
            "{{\n  \"version\": {},\n  \"suite\": {},\n  \"architecture\": {},\n  \"include\": {},\n  \"packages\": [\n{}\n  ],\n  \"later\": [\n{}\n  ]\n}}\n",
            self.version,
            line(&self.suite),
            line(&self.architecture),
            line(&self.include),
            lines(&self.packages),
            lines(&self.later)
        )
    }

    /// Whether it was made for what is asked for now.
    pub fn must_fit(&self, suite: &str, architecture: &str, include: &[String]) -> Result<()> {
        let differs = |what: &str, locked: &str, wanted: &str| {
            let message = format!("the lock is for {what} '{locked}', not '{wanted}'");
            Err(Error::new(Kind::Usage, message).hint("make it anew without --locked"))
        };
        if self.suite != suite {
            return differs("suite", &self.suite, suite);
        }
        if self.architecture != architecture {
            return differs("architecture", &self.architecture, architecture);
        }
        let sorted = |words: &[String]| {
            let mut words = words.to_vec();
            words.sort();
            words.dedup();
            words
        };
        if sorted(&self.include) != sorted(include) {
            return differs("the packages", &self.include.join(","), &include.join(","));
        }
        Ok(())
    }
}

/// A value as one line of JSON.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers are JSON")
}
