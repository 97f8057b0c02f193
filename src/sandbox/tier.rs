//! The ladder of privileges: what a build may do, found by trying, as plain data.
//!
//! | tier | needs | how hooks run |
//! |---|---|---|
//! | T0 | root with the right to mount (`CAP_SYS_ADMIN`) | namespaces and mounts of the build's own |
//! | T1 | root as default containers have it | a plain chroot; nothing is mounted |
//! | T2 | a user with subordinate ids | a user namespace, in it as T0; device nodes are recorded, not made |
//!
//! The image is the same in each, byte for byte: its owners, modes, nodes and capabilities come from the scan.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::idmap::IdMap;
use crate::error::{Context, Error, Result};

/// A rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Root with the right to mount.
    T0,
    /// Root without it.
    T1,
    /// A user with subordinate ids.
    T2,
}

impl Tier {
    /// Every tier, in the order in which they are tried.
    pub const ALL: [Tier; 3] = [Tier::T0, Tier::T1, Tier::T2];

    /// What it takes.
    pub fn needs(self) -> &'static str {
        match self {
            Tier::T0 => "root with the right to mount",
            Tier::T1 => "root without the right to mount, as in a container",
            Tier::T2 => "a user with subordinate ids",
        }
    }

    /// Whether hooks have mounts and processes of their own, which end with the build.
    pub fn has_namespaces(self) -> bool {
        self != Tier::T1
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tier::T0 => "T0",
            Tier::T1 => "T1",
            Tier::T2 => "T2",
        })
    }
}

impl FromStr for Tier {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let found = Tier::ALL.into_iter().find(|tier| tier.to_string() == word);
        found.ok_or_else(|| {
            Error::usage(format!("--privileges: there is no tier '{word}'"))
                .hint("the tiers are T0, T1 and T2; 'dib doctor' tells which of them this host allows")
        })
    }
}

impl Serialize for Tier {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which network hooks have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// None but a loopback interface.
    None,
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "host" => Ok(Network::Host),
            "none" => Ok(Network::None),
            _ => Err(Error::usage(format!("--network: there is no network '{word}'"))
                .hint("host is the host's network, none is none")),
        }
    }
}

/// What a build may do.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The tier.
    pub tier: Tier,
    /// Why this one, for people.
    pub why: String,
    /// The ids of the user namespace that the build gets; `None`: it stays in its own.
    pub ids: Option<IdMap>,
    /// Which network hooks have.
    pub network: Network,
}

impl Grant {
    /// Takes up what must be taken up before the first directory of the build is made: the ids, of which all that the
    /// build leaves may be, and without which none of it could be removed.
    pub fn take_up(&self) -> Result<()> {
        let Some(ids) = &self.ids else {
            return Ok(());
        };
        ids.enter().host(|| "cannot set up a user namespace".to_owned())
    }
}

/// The line that says which tier it is, and why.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Privileges: {}, {}", self.tier, self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_read_as_they_are_written() {
        for tier in Tier::ALL {
            assert_eq!(tier.to_string().parse::<Tier>().unwrap(), tier);
        }
        let error = "T3".parse::<Tier>().unwrap_err().to_string();
        assert!(error.contains("T3") && error.contains("T2"), "{error}");
        assert!("some".parse::<Network>().is_err());
    }
}
