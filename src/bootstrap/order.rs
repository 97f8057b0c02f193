//! In which order packages are configured.
//!
//! dpkg itself puts off what needs something that is still to be configured, and breaks circles, so the order that it is
//! given only has to be a good one: what others need first, and before all else the names of users and groups. The same
//! packages give the same order.

use std::collections::{BTreeMap, BTreeSet};

use super::database::Installed;
use super::relation::groups;

/// What every script may count on.
const FIRST: [&str; 2] = ["base-passwd", "base-files"];

/// Who needs whom, by number.
#[derive(Debug)]
pub struct Needs {
    depends: Vec<Vec<usize>>,
    pre_depends: Vec<Vec<usize>>,
}

impl Needs {
    /// Reads the relations of packages.
    pub fn of(packages: &[Installed]) -> Self {
        let mut named: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, package) in packages.iter().enumerate() {
            let provides = groups(package.control.field("Provides"))
                .filter_map(Result::ok)
                .flatten();
            let names = provides.map(|provided| provided.name);
            for name in std::iter::once(package.name()).chain(names) {
                named.entry(name).or_default().push(number);
            }
        }
        let read = |field: &str| {
            let of = |package: &Installed| {
                let alternatives = groups(package.control.field(field))
                    .filter_map(Result::ok)
                    .flatten();
                let numbers = alternatives
                    .filter_map(|alternative| named.get(alternative.name))
                    .flatten();
                numbers.copied().collect::<BTreeSet<_>>().into_iter().collect()
            };
            packages.iter().map(of).collect()
        };
        Self {
            depends: read("Depends"),
            pre_depends: read("Pre-Depends"),
        }
    }

    /// Everything that these need before they are unpacked, with all that this needs itself.
    pub fn before_unpacking(&self, number: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = self.pre_depends[number].clone();
        while let Some(next) = open.pop() {
            if found.insert(next) {
                open.extend(&self.depends[next]);
                open.extend(&self.pre_depends[next]);
            }
        }
        found
    }

    /// All packages, each after those that it needs, but for circles.
    pub fn order(&self, packages: &[Installed]) -> Vec<usize> {
        let mut roots: Vec<usize> = (0..packages.len()).collect();
        let rank = |name: &str| {
            FIRST
                .iter()
                .position(|first| *first == name)
                .unwrap_or(FIRST.len())
        };
        roots.sort_by_key(|number| {
            let name = packages[*number].name();
            (rank(name), name.to_owned())
        });
        let (mut order, mut seen) = (Vec::new(), vec![false; packages.len()]);
        for first in roots
            .iter()
            .take_while(|number| rank(packages[**number].name()) < FIRST.len())
        {
            seen[*first] = true;
            order.push(*first);
        }
        for root in roots {
            self.visit(root, &mut seen, &mut order);
        }
        order
    }

    /// Puts what a package needs before it.
    fn visit(&self, root: usize, seen: &mut [bool], order: &mut Vec<usize>) {
        // The second time that a package comes off the stack, all that it needs is in order.
        let mut stack = vec![(root, false)];
        while let Some((number, done)) = stack.pop() {
            if done {
                order.push(number);
                continue;
            }
            if std::mem::replace(&mut seen[number], true) {
                continue;
            }
            stack.push((number, true));
            let needs = self.depends[number]
                .iter()
                .rev()
                .chain(self.pre_depends[number].iter().rev());
            stack.extend(needs.map(|need| (*need, false)));
        }
    }
}
