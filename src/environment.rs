//! The environment: the caller's variables, captured once, and what hooks see of them.
//!
//! Elements name hundreds of variables that only the caller sets, so the caller's whole environment reaches every
//! hook, as bytes. What the build adds or takes away is listed in [`crate::pipeline`], in one place.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::{Error, Result};

/// Variables and their values, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// The caller's environment. Only `main` asks for it.
    pub fn capture() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
        }
    }

    /// Parses `NAME=value` entries, each ended by NUL, as `/proc/PID/environ` and `env -0` show them.
    pub fn from_nul_separated(bytes: &[u8]) -> Self {
        let entries = bytes.split(|byte| *byte == 0);
        let pairs = entries.filter_map(|entry| {
            // A name may begin with `=`, in theory; a value may hold it.
            let at = 1 + entry.get(1..)?.iter().position(|byte| *byte == b'=')?;
            let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            Some((os(&entry[..at]), os(&entry[at + 1..])))
        });
        Self {
            variables: pairs.collect(),
        }
    }

    /// The environment as `NAME=value` entries, each ended by NUL.
    pub fn to_nul_separated(&self) -> Vec<u8> {
        let entry =
            |(name, value): (&OsStr, &OsStr)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat();
        self.iter().flat_map(entry).collect()
    }

    /// All variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (&**name, &**value))
    }

    /// A variable's value, if it is set, be it empty.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(|value| &**value)
    }

    /// A variable's value, if it is set and not empty.
    pub fn non_empty(&self, name: &str) -> Option<&OsStr> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// A variable's value as text, if it is set and not empty.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        let Some(value) = self.non_empty(name) else {
            return Ok(None);
        };
        let text = value.to_str();
        text.map(Some).ok_or_else(|| {
            Error::usage(format!(
                "{name} is no UTF-8 text: {}",
                value.as_bytes().escape_ascii()
            ))
        })
    }

    /// Sets a variable.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.variables.insert(name.into(), value.into());
    }

    /// Unsets a variable.
    pub fn unset(&mut self, name: &str) {
        self.variables.remove(OsStr::new(name));
    }

    /// Keeps the variables whose names `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        self.variables.retain(|name, _| keep(name.as_bytes()));
    }

    /// The variables whose names begin with `prefix`, as `declare -p` of a shell prints them, one a line.
    pub fn declarations(&self, prefix: &str) -> OsString {
        let lines = self
            .iter()
            .filter(|(name, _)| name.as_bytes().starts_with(prefix.as_bytes()))
            .map(|(name, value)| {
                let quoted = quoted(value.as_bytes());
                [b"declare -x ", name.as_bytes(), b"=\"", &quoted, b"\""].concat()
            });
        OsString::from_vec(lines.collect::<Vec<_>>().join(&b'\n'))
    }
}

/// Text as it stands between the double quotes of a shell.
fn quoted(text: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len());
    for byte in text {
        if matches!(byte, b'"' | b'\\' | b'$' | b'`') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Environment {
        let mut environment = Environment::default();
        environment.set("DIB_B", "two\nlines = \"$x\"");
        environment.set("DIB_A", "");
        environment.set("OTHER", OsString::from_vec(b"\xff=".to_vec()));
        environment
    }

    #[test]
    fn entries_survive_the_way_through_a_process() {
        let bytes = sample().to_nul_separated();
        assert_eq!(bytes, b"DIB_A=\0DIB_B=two\nlines = \"$x\"\0OTHER=\xff=\0");
        assert_eq!(Environment::from_nul_separated(&bytes), sample());
    }

    #[test]
    fn declarations_can_be_read_by_a_shell() {
        assert_eq!(
            sample().declarations("DIB_"),
            OsStr::new("declare -x DIB_A=\"\"\ndeclare -x DIB_B=\"two\nlines = \\\"\\$x\\\"\"")
        );
    }

    #[test]
    fn text_must_be_text() {
        assert_eq!(sample().text("DIB_A").unwrap(), None);
        assert!(sample().text("OTHER").is_err());
    }
}
