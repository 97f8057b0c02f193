//! Which packages a root is made of.
//!
//! The seeds are what is essential, what is required, apt, and what the caller names. What these need is taken in until
//! nothing is missing: what has no alternative first, so that a choice is only made where it is left to make. Then the
//! first alternative is taken, and of several packages that provide a name the one that systems need most, as apt has
//! it. A choice that excludes what is there, or is excluded by it, is none.
//!
//! This is no search: a root of tens of packages that all come from one suite leaves hardly anything to choose, and
//! what does not fit is told by name.

use std::collections::{BTreeMap, BTreeSet};

use super::index::{Index, Package, Priority, is_of};
use super::relation::Alternative;

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// The architecture.
    pub architecture: &'a str,
    /// Packages by name, besides the base.
    pub include: Vec<&'a str>,
    /// Packages that must not be among them.
    pub exclude: Vec<&'a str>,
}

/// A solution.
#[derive(Debug)]
pub struct Solution<'a> {
    /// The packages, by name.
    pub packages: BTreeMap<&'a str, Package<'a>>,
    /// Those of them that the essential ones need, and these themselves.
    pub essential: BTreeSet<&'a str>,
    /// Those that were asked for, by name or by priority.
    pub manual: BTreeSet<&'a str>,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    /// The archive has nothing that is essential.
    #[error("the archive has no essential package for {0}")]
    NoBase(String),
    /// A package that was named.
    #[error("the archive has no package {0}")]
    Missing(String),
    /// A package that another needs.
    #[error("{package} {version} needs {group}, which the archive does not have")]
    Unmet {
        /// Who needs it.
        package: String,
        /// In which version.
        version: String,
        /// What it needs.
        group: String,
    },
    /// A relation that makes no sense.
    #[error("{package} has a relation that makes no sense: '{text}'")]
    Relation {
        /// Whose it is.
        package: String,
        /// What it says.
        text: String,
    },
    /// Two packages that cannot be together.
    #[error("{0} cannot be installed with {1}")]
    Conflict(String, String),
    /// A package that must not be there, but is needed.
    #[error("{0} is excluded, but {1}")]
    Excluded(String, String),
}

struct Search<'i, 'a> {
    index: &'i Index<'a>,
    wanted: &'i Wanted<'i>,
    chosen: BTreeMap<&'a str, Package<'a>>,
    /// Packages whose needs are still to be met.
    open: Vec<Package<'a>>,
    /// Needs that leave a choice.
    choices: Vec<(Package<'a>, Vec<Alternative<'a>>)>,
}

/// Solves.
pub fn solve<'a>(index: &Index<'a>, wanted: &Wanted<'_>) -> Result<Solution<'a>, SolveError> {
    let mut search = Search {
        index,
        wanted,
        chosen: BTreeMap::new(),
        open: Vec::new(),
        choices: Vec::new(),
    };
    let mut seeds: Vec<&Package<'a>> = index.all().filter(|package| package.essential).collect();
    seeds.sort_by_key(|package| package.name);
    if seeds.is_empty() {
        return Err(SolveError::NoBase(wanted.architecture.to_owned()));
    }
    for package in seeds {
        search.choose(package, "it is essential")?;
    }
    search.close()?;
    let essential: BTreeSet<&str> = search.chosen.keys().copied().collect();
    let mut manual: BTreeSet<&str> = BTreeSet::new();
    let mut required: Vec<&Package<'a>> = index
        .all()
        .filter(|package| package.priority == Priority::Required && !wanted.exclude.contains(&package.name))
        .collect();
    required.sort_by_key(|package| package.name);
    for name in wanted.include.iter().chain(&["apt"]) {
        let package = search.named(name)?;
        manual.insert(package.name);
        search.choose(package, "it was asked for")?;
    }
    for package in required {
        manual.insert(package.name);
        search.choose(package, "it is required")?;
    }
    search.close()?;
    search.check()?;
    Ok(Solution {
        packages: search.chosen,
        essential,
        manual,
    })
}

impl<'i, 'a> Search<'i, 'a> {
    fn named(&self, name: &str) -> Result<&'i Package<'a>, SolveError> {
        let alternative = Alternative {
            name,
            architecture: None,
            version: None,
        };
        let mut found = self
            .index
            .candidates(&alternative, self.wanted.architecture)
            .into_iter();
        found.next().ok_or_else(|| SolveError::Missing(name.to_owned()))
    }

    fn choose(&mut self, package: &Package<'a>, why: &str) -> Result<(), SolveError> {
        if self.wanted.exclude.contains(&package.name) {
            return Err(SolveError::Excluded(package.name.to_owned(), why.to_owned()));
        }
        if self.chosen.insert(package.name, *package).is_none() {
            self.open.push(*package);
        }
        Ok(())
    }

    /// Meets all needs.
    fn close(&mut self) -> Result<(), SolveError> {
        loop {
            while let Some(package) = self.open.pop() {
                for group in package.depends() {
                    let group = group.map_err(|text| SolveError::Relation {
                        package: package.name.to_owned(),
                        text: text.to_owned(),
                    })?;
                    self.need(package, group)?;
                }
            }
            // One choice may settle the next.
            self.choices
                .sort_by_key(|(package, _)| std::cmp::Reverse(package.name));
            let Some((package, group)) = self.choices.pop() else {
                return Ok(());
            };
            if !self.is_met(&group) {
                self.decide(package, &group)?;
            }
        }
    }

    fn need(&mut self, package: Package<'a>, group: Vec<Alternative<'a>>) -> Result<(), SolveError> {
        if self.is_met(&group) {
            return Ok(());
        }
        let candidates: BTreeSet<&str> = self.usable(&group).map(|package| package.name).collect();
        if candidates.len() > 1 {
            self.choices.push((package, group));
            return Ok(());
        }
        self.decide(package, &group)
    }

    fn decide(&mut self, package: Package<'a>, group: &[Alternative<'a>]) -> Result<(), SolveError> {
        let text = || {
            group
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" | ")
        };
        let all: Vec<&Package<'a>> = self.usable(group).collect();
        let fitting = all.iter().find(|candidate| self.rival(candidate).is_none());
        if let Some(candidate) = fitting.copied() {
            return self.choose(candidate, &format!("{} needs it", package.name));
        }
        match all
            .first()
            .and_then(|candidate| Some((candidate.name, self.rival(candidate)?)))
        {
            Some((candidate, rival)) => Err(SolveError::Conflict(candidate.to_owned(), rival.to_owned())),
            None => match group
                .iter()
                .find(|wanted| self.wanted.exclude.contains(&wanted.name))
            {
                Some(wanted) => Err(SolveError::Excluded(
                    wanted.name.to_owned(),
                    format!("{} needs it", package.name),
                )),
                None => Err(SolveError::Unmet {
                    package: package.name.to_owned(),
                    version: package.version.to_owned(),
                    group: text(),
                }),
            },
        }
    }

    /// Who may do for a group, in the order in which they are preferred.
    fn usable(&self, group: &[Alternative<'a>]) -> impl Iterator<Item = &'i Package<'a>> + use<'i, 'a> {
        let (index, wanted) = (self.index, self.wanted);
        let all = group
            .iter()
            .flat_map(|alternative| index.candidates(alternative, wanted.architecture));
        let all: Vec<_> = all
            .filter(|package| !wanted.exclude.contains(&package.name))
            .collect();
        all.into_iter()
    }

    fn is_met(&self, group: &[Alternative<'a>]) -> bool {
        group
            .iter()
            .any(|wanted| self.chosen.values().any(|package| self.does(package, wanted)))
    }

    /// Whether a package does for an alternative, by its name or what it provides.
    fn does(&self, package: &Package<'a>, wanted: &Alternative<'_>) -> bool {
        is_of(wanted, self.wanted.architecture)
            && ((package.name == wanted.name && wanted.accepts(package.version))
                || package.provides().any(|(name, version)| {
                    name == wanted.name
                        && match (wanted.version, version) {
                            (None, _) => true,
                            (Some(_), None) => false,
                            (Some(_), Some(version)) => wanted.accepts(version),
                        }
                }))
    }

    /// What is there that a package cannot be with.
    fn rival(&self, package: &Package<'a>) -> Option<&'a str> {
        let others = || self.chosen.values().filter(|other| other.name != package.name);
        let by_it = others().find(|other| package.excludes().any(|excluded| self.does(other, &excluded)));
        let of_it = || others().find(|other| other.excludes().any(|excluded| self.does(package, &excluded)));
        by_it.or_else(of_it).map(|other| other.name)
    }

    /// Whether all can be together.
    fn check(&self) -> Result<(), SolveError> {
        for package in self.chosen.values() {
            if let Some(rival) = self.rival(package) {
                return Err(SolveError::Conflict(package.name.to_owned(), rival.to_owned()));
            }
        }
        Ok(())
    }
}
