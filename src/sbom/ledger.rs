//! Which element brought a package: the one whose hook ran when it appeared.
//!
//! After each hook the ledger asks what is there. Databases are read again only where they changed. Two elements bring
//! packages for others, and are told apart from those: the hooks of `package-installs` install what lists of elements ask
//! for, so that what a list names is of the element with the list, and what such a package needs is of the same element.
//! What is there after the last hook and was seen after none is left without an element.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use rustix::fs::Stat;

use super::{DATABASE_MAX, DATABASES, Key, Package, python, read, rpm_manifests};
use crate::sandbox::rooted::Rooted;

/// The element whose hooks install for others.
pub const INSTALLER: &str = "package-installs";

/// What stands for an element where the command line asked.
pub const COMMAND_LINE: &str = "(command line)";

/// A moment in the life of a file.
type Stamp = (u64, u64, i64, i64, u64, i64, u64);

/// What was there after the hooks so far, and who brought it.
#[derive(Debug, Default)]
pub struct Ledger {
    brought: BTreeMap<Key, String>,
    /// What each database said when it was read last.
    known: HashMap<&'static str, (Stamp, Vec<Package>)>,
    /// Names of packages as this distribution has them, and the elements whose lists ask for them.
    asked: BTreeMap<String, String>,
}

impl Ledger {
    /// Takes down which element's list asks for a package. The first one counts.
    pub fn ask(&mut self, package: String, element: &str) {
        self.asked.entry(package).or_insert_with(|| element.to_owned());
    }

    /// Looks what has appeared since the last look, which `element` has brought.
    pub fn look(&mut self, tree: &Rooted, element: &str) -> io::Result<()> {
        let mut here: BTreeSet<Key> = python::keys(tree)?.into_iter().collect();
        for (path, parse) in DATABASES {
            let Some(stamp) = stamp(tree, path)? else {
                self.known.remove(path);
                continue;
            };
            if self.known.get(path).is_none_or(|(known, _)| *known != stamp) {
                let bytes = read(tree, path, DATABASE_MAX)?.unwrap_or_default();
                self.known.insert(path, (stamp, parse(&bytes)));
            }
        }
        let packages: Vec<&Package> = self.known.values().flat_map(|(_, packages)| packages).collect();
        here.extend(packages.iter().map(|package| package.key()));
        let rpm = rpm_manifests(tree)?;
        here.extend(rpm.iter().map(Package::key));
        let fresh: BTreeSet<Key> = here
            .iter()
            .filter(|key| !self.brought.contains_key(key))
            .cloned()
            .collect();
        let wanted = match element {
            INSTALLER if !fresh.is_empty() => self.wanted(&packages, &fresh),
            _ => BTreeMap::new(),
        };
        self.brought.retain(|key, _| here.contains(key));
        for key in fresh {
            let by = wanted.get(&key.1).map_or(element, String::as_str).to_owned();
            self.brought.insert(key, by);
        }
        Ok(())
    }

    /// For whom packages were installed: those that lists name, and what these need that is new.
    fn wanted(&self, packages: &[&Package], fresh: &BTreeSet<Key>) -> BTreeMap<String, String> {
        let new: BTreeMap<&str, &Package> = packages
            .iter()
            .filter(|package| fresh.contains(&package.key()))
            .map(|package| (package.name.as_str(), *package))
            .collect();
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        let named = self
            .asked
            .iter()
            .filter(|(name, _)| new.contains_key(name.as_str()));
        let mut waiting: Vec<(String, String)> = named.map(|(name, by)| (name.clone(), by.clone())).collect();
        // What lists name themselves is nobody's dependency.
        wanted.extend(waiting.iter().cloned());
        waiting.reverse();
        while let Some((name, by)) = waiting.pop() {
            for need in new
                .get(name.as_str())
                .into_iter()
                .flat_map(|package| &package.needs)
            {
                if new.contains_key(need.as_str()) && !wanted.contains_key(need) {
                    wanted.insert(need.clone(), by.clone());
                    waiting.push((need.clone(), by.clone()));
                }
            }
        }
        wanted
    }

    /// Writes into packages what brought them; `system` is the element of the root, which rpm's packages count as of where
    /// no list names them.
    pub fn attribute(&self, packages: &mut [Package], system: Option<&str>) {
        for package in packages {
            let found = match package.kind {
                super::Kind::Python => {
                    let key = (
                        package.kind,
                        python::normalised(&package.name),
                        package.path.clone(),
                    );
                    self.brought.get(&key)
                }
                // One manifest tells all of them, at the end.
                super::Kind::Rpm => self.asked.get(&package.name),
                _ => self.brought.get(&package.key()),
            };
            let of_root = system.filter(|_| package.kind == super::Kind::Rpm);
            package.element = found.map(String::as_str).or(of_root).map(str::to_owned);
        }
    }
}

/// What changes when a file does.
fn stamp(tree: &Rooted, path: &str) -> io::Result<Option<Stamp>> {
    let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
    let Some(dir) = tree.dir(dir)? else {
        return Ok(None);
    };
    let of = |stat: Stat| {
        (
            stat.st_dev,
            stat.st_ino,
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec,
        )
    };
    Ok(dir.stat(name)?.map(of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::Kind;

    #[test]
    fn packages_are_of_the_element_that_wanted_them() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let status = |names: &[(&str, &str)]| {
            let one = |(name, needs): &(&str, &str)| {
                format!("Package: {name}\nStatus: install ok installed\nVersion: 1\nDepends: {needs}\n")
            };
            write(
                "var/lib/dpkg/status",
                &names.iter().map(one).collect::<Vec<_>>().join("\n"),
            );
        };
        let mut ledger = Ledger::default();
        ledger.ask("tool".into(), "one");
        ledger.ask("other".into(), "two");
        ledger.ask("other".into(), "three");
        let tree = || Rooted::open(dir.path()).unwrap();
        let mut names = vec![("base", ""), ("gone", "")];
        status(&names);
        ledger.look(&tree(), "root").unwrap();
        names.retain(|(name, _)| *name != "gone");
        names.extend([
            ("tool", "lib, base, other"),
            ("lib", "deep"),
            ("deep", "tool"),
            ("other", ""),
            ("stray", ""),
        ]);
        status(&names);
        ledger.look(&tree(), INSTALLER).unwrap();
        write("opt/x/p-1.dist-info/METADATA", "Name: P\nVersion: 1\n");
        names.push(("gone", ""));
        status(&names);
        ledger.look(&tree(), "mine").unwrap();
        let (mut packages, _) = crate::sbom::packages(&tree()).unwrap();
        packages.push(Package::new(Kind::Rpm, "tool", "1"));
        packages.push(Package::new(Kind::Rpm, "glibc", "1"));
        ledger.attribute(&mut packages, Some("root"));
        let told: Vec<_> = packages
            .iter()
            .map(|package| format!("{} {}", package.name, package.element.as_deref().unwrap_or("-")))
            .collect();
        assert_eq!(
            told,
            [
                "base root",
                "deep one",
                "gone mine",
                "lib one",
                "other two",
                "stray package-installs",
                "tool one",
                "P mine",
                "tool one",
                "glibc root"
            ]
        );
    }
}
