//! Which element brought a package: the one whose hook ran when it appeared.
//!
//! After each hook the ledger asks what is there. Databases are read again, and rpm is asked again, only where they changed.
//! Two elements bring packages for others, and are told apart from those: the hooks of `package-installs` install what lists of
//! elements ask for, so that what a list names is of the element with the list, and what such a package needs is of the same
//! element. What is there after the last hook and was seen after none is left without an element.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use rustix::fs::Stat;

use super::databases::FOR_ANY;
use super::{DATABASE_MAX, DATABASES, Key, Kind, Package, python, read, rpm};
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
    /// What rpm told last, and the files of its database then.
    rpm: (Vec<(Vec<u8>, Stamp)>, rpm::Installed),
    /// Names of packages as this distribution has them, and the elements whose lists ask for them.
    asked: BTreeMap<String, String>,
}

impl Ledger {
    /// Takes down which element's list asks for a package. The first one counts. Of a package with a version or a release,
    /// `NAME=VERSION` say, the name counts.
    pub fn ask(&mut self, package: &str, element: &str) {
        let end = package
            .find(['=', '<', '>', '~', '@', '/'])
            .filter(|end| *end > 0);
        let name = &package[..end.unwrap_or(package.len())];
        self.asked
            .entry(name.to_owned())
            .or_insert_with(|| element.to_owned());
    }

    /// Whether rpm's database is another than at the last time of asking.
    pub fn has_new_rpm(&mut self, tree: &Rooted) -> io::Result<bool> {
        let mut stamps = Vec::new();
        if let Some((dir, names)) = rpm::database(tree)? {
            for name in names {
                stamps.extend(dir.stat(name.as_slice())?.map(|stat| (name, of_stat(&stat))));
            }
        }
        let is_new = stamps != self.rpm.0;
        self.rpm.0 = stamps;
        Ok(is_new)
    }

    /// Takes down what rpm tells of the tree.
    pub fn rpm_tells(&mut self, installed: rpm::Installed) {
        self.rpm.1 = installed;
    }

    /// What rpm told last.
    pub fn rpm(&self) -> &rpm::Installed {
        &self.rpm.1
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
        let read = self.known.values().flat_map(|(_, packages)| packages);
        let packages: Vec<&Package> = read.chain(&self.rpm.1.packages).collect();
        here.extend(packages.iter().map(|package| package.key()));
        let renewed = self.renewed(&here);
        self.brought.retain(|key, _| here.contains(key));
        self.brought.extend(renewed);
        let fresh: BTreeSet<Key> = here
            .iter()
            .filter(|key| !self.brought.contains_key(key))
            .cloned()
            .collect();
        let wanted = match element {
            INSTALLER if !fresh.is_empty() => self.wanted(&packages, &fresh),
            _ => BTreeMap::new(),
        };
        for key in fresh {
            let by = wanted.get(&key).map_or(element, String::as_str).to_owned();
            self.brought.insert(key, by);
        }
        Ok(())
    }

    /// Packages of rpm that are there in the place of another version: whoever brought that has brought them.
    fn renewed(&self, here: &BTreeSet<Key>) -> BTreeMap<Key, String> {
        fn but_version((_, name, mark): &Key) -> (&str, Option<&str>) {
            let architecture = mark.as_deref().and_then(|mark| mark.rsplit_once('.'));
            (name, architecture.map(|(_, architecture)| architecture))
        }
        let gone: BTreeMap<_, &String> = self
            .brought
            .iter()
            .filter(|(key, _)| key.0 == Kind::Rpm && !here.contains(*key))
            .map(|(key, by)| (but_version(key), by))
            .collect();
        let fresh = here
            .iter()
            .filter(|key| key.0 == Kind::Rpm && !self.brought.contains_key(*key));
        let renewed = fresh.filter_map(|key| {
            let by = gone.get(&but_version(key))?;
            Some((key.clone(), (*by).clone()))
        });
        renewed.collect()
    }

    /// For whom packages were installed: those that lists name, and what these need that is new.
    fn wanted(&self, packages: &[&Package], fresh: &BTreeSet<Key>) -> BTreeMap<Key, String> {
        let names = Names::of(packages, fresh);
        let mut wanted: BTreeMap<Key, String> = BTreeMap::new();
        let mut waiting: Vec<(&Package, &str)> = Vec::new();
        // What lists name themselves is nobody's dependency, and no more than that by another name.
        let (real, virtual_): (Vec<_>, Vec<_>) = self
            .asked
            .iter()
            .partition(|(name, _)| names.new.contains_key(name.as_str()));
        for (name, by) in real.into_iter().chain(virtual_) {
            for package in names.meant(name, None) {
                wanted.entry(package.key()).or_insert_with(|| {
                    waiting.push((package, by));
                    by.clone()
                });
            }
        }
        waiting.reverse();
        while let Some((package, by)) = waiting.pop() {
            let architecture = package.architecture.as_deref();
            let architecture = architecture.filter(|own| !FOR_ANY.contains(own));
            for need in package
                .needs
                .iter()
                .flat_map(|need| names.meant(need, architecture))
            {
                wanted.entry(need.key()).or_insert_with(|| {
                    waiting.push((need, by));
                    by.to_owned()
                });
            }
        }
        wanted
    }

    /// Writes into packages what brought them.
    pub fn attribute(&self, packages: &mut [Package]) {
        for package in packages.iter_mut() {
            let found = match package.kind {
                Kind::Python => {
                    let key = (
                        package.kind,
                        python::normalised(&package.name),
                        package.path.clone(),
                    );
                    self.brought.get(&key)
                }
                _ => self.brought.get(&package.key()),
            };
            package.element = found.cloned();
        }
        let whole = |package: &&Package| package.kind != Kind::Python && !package.foreign;
        let elements: HashMap<String, String> = packages
            .iter()
            .filter(whole)
            .filter_map(|package| Some((package.name.clone(), package.element.clone()?)))
            .collect();
        for package in packages {
            if let Some(element) = package.within.as_ref().and_then(|owner| elements.get(owner)) {
                package.element = Some(element.clone());
            }
        }
    }
}

/// What names mean among the packages of a tree.
struct Names<'a> {
    /// Those that are new, by their own names.
    new: BTreeMap<&'a str, Vec<&'a Package>>,
    /// The same by what they provide.
    provided: BTreeMap<&'a str, Vec<&'a Package>>,
    /// Names, of packages or of what they provide, that something has which was there before.
    old: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(packages: &[&'a Package], fresh: &BTreeSet<Key>) -> Self {
        let mut names = Self {
            new: BTreeMap::new(),
            provided: BTreeMap::new(),
            old: BTreeSet::new(),
        };
        for package in packages.iter().copied() {
            let others = package.provides.iter().map(String::as_str);
            if fresh.contains(&package.key()) {
                names.new.entry(&package.name).or_default().push(package);
                for name in others {
                    names.provided.entry(name).or_default().push(package);
                }
            } else {
                names.old.insert(&package.name);
                names.old.extend(others);
            }
        }
        names
    }

    /// The new packages that a name means, for whoever has an architecture: the system's own where none is given. What an old
    /// package satisfies has brought none.
    fn meant(&self, name: &str, architecture: Option<&str>) -> Vec<&'a Package> {
        let known = |name: &str| self.new.contains_key(name) || self.provided.contains_key(name);
        let (name, architecture) = match name.rsplit_once(':') {
            Some((bare, given)) if !known(name) && !self.old.contains(name) => (bare, Some(given)),
            _ => (name, architecture),
        };
        let is_old = self.old.contains(name);
        let provided = || self.provided.get(name).filter(|_| !is_old);
        let Some(all) = self.new.get(name).or_else(provided) else {
            return Vec::new();
        };
        let fits = |package: &&&Package| match (architecture, package.architecture.as_deref()) {
            (Some(wanted), Some(own)) => wanted == own || !package.foreign && FOR_ANY.contains(&own),
            _ => !package.foreign,
        };
        let fitting: Vec<&Package> = all.iter().filter(fits).copied().collect();
        // One of another architecture will do where there is no other.
        if fitting.is_empty() && !is_old {
            return all.clone();
        }
        fitting
    }
}

/// What changes when a file does.
fn stamp(tree: &Rooted, path: &str) -> io::Result<Option<Stamp>> {
    let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
    let Some(dir) = tree.dir(dir)? else {
        return Ok(None);
    };
    Ok(dir.stat(name)?.as_ref().map(of_stat))
}

fn of_stat(stat: &Stat) -> Stamp {
    (
        stat.st_dev,
        stat.st_ino,
        stat.st_size,
        stat.st_mtime,
        stat.st_mtime_nsec,
        stat.st_ctime,
        stat.st_ctime_nsec,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::sample::{Sample, told};

    #[test]
    fn packages_are_of_the_element_that_wanted_them() {
        let sample = Sample::of(&[]);
        let mut ledger = Ledger::default();
        ledger.ask("tool", "one");
        ledger.ask("other", "two");
        ledger.ask("other", "three");
        let mut names = vec![("base", ""), ("gone", "")];
        sample.installed(&names);
        ledger.look(&sample.tree(), "root").unwrap();
        names.retain(|(name, _)| *name != "gone");
        names.extend([
            ("tool", "Depends: lib, base, other"),
            ("lib", "Depends: deep"),
            ("deep", "Depends: tool"),
            ("other", ""),
            ("stray", ""),
        ]);
        sample.installed(&names);
        ledger.look(&sample.tree(), INSTALLER).unwrap();
        sample.write("opt/x/p-1.dist-info/METADATA", "Name: P\nVersion: 1\n");
        names.push(("gone", ""));
        sample.installed(&names);
        ledger.look(&sample.tree(), "mine").unwrap();
        let (mut packages, _) = crate::sbom::packages(&sample.tree(), ledger.rpm()).unwrap();
        packages.push(Package::new(Kind::Rpm, "tool", "1"));
        ledger.attribute(&mut packages);
        assert_eq!(
            told(&packages),
            [
                "base root",
                "deep one",
                "gone mine",
                "lib one",
                "other two",
                "stray package-installs",
                "tool one",
                "P mine",
                "tool -",
            ]
        );
    }

    #[test]
    fn names_mean_what_is_new_by_any_of_them() {
        let sample = Sample::of(&[]);
        let status = |all: &[(&str, &str, &str, &str)]| {
            let one = |&(name, architecture, needs, provides): &(_, &str, &str, &str)| {
                let fields = format!("Architecture: {architecture}\nDepends: {needs}\nProvides: {provides}");
                (name, fields)
            };
            sample.installed(&all.iter().map(one).collect::<Vec<_>>());
        };
        let mut ledger = Ledger::default();
        for (name, by) in [
            ("awk", "by-old"),
            ("mail-agent", "by-virtual"),
            ("mta", "by-name"),
            ("mta-other", "by-name"),
            ("tool=1.2-3", "by-version"),
            ("wine:i386", "by-architecture"),
        ] {
            ledger.ask(name, by);
        }
        let mut all = vec![
            ("dpkg", "amd64", "", ""),
            ("libc6", "amd64", "", ""),
            ("mawk", "amd64", "", "awk"),
        ];
        status(&all);
        ledger.look(&sample.tree(), "root").unwrap();
        all.extend([
            ("gawk", "amd64", "", "awk"),
            ("postfix", "amd64", "ssl-provider", "mail-agent"),
            ("mta", "amd64", "", "mail-agent"),
            ("openssl", "amd64", "libc6", "ssl-provider"),
            ("tool", "all", "", ""),
            ("wine", "i386", "libc6, data", ""),
            ("libc6", "i386", "", ""),
            ("data", "all", "", ""),
        ]);
        status(&all);
        ledger.look(&sample.tree(), INSTALLER).unwrap();
        let (mut packages, _) = crate::sbom::packages(&sample.tree(), ledger.rpm()).unwrap();
        let mut python = Package::new(Kind::Python, "tool", "1");
        python.within = Some("tool".to_owned());
        packages.push(python);
        ledger.attribute(&mut packages);
        assert_eq!(
            told(&packages),
            [
                "data by-architecture",
                "dpkg root",
                // mawk was there: nobody needed this for that.
                "gawk package-installs",
                "libc6 root",
                "libc6 by-architecture",
                "mawk root",
                "mta by-name",
                "openssl by-virtual",
                "postfix by-virtual",
                "tool by-version",
                "wine by-architecture",
                "tool by-version",
            ]
        );
    }

    #[test]
    fn packages_of_rpm_are_of_the_hook_after_which_rpm_tells_of_them() {
        let sample = Sample::of(&[]);
        let mut ledger = Ledger::default();
        for (name, by) in [
            ("MTA", "by-other-name"),
            ("webapp", "by-name"),
            ("yum", "by-name"),
            ("kernel-6.9", "by-version"),
        ] {
            ledger.ask(name, by);
        }
        let rpm = |name: &str, needs: &[&str], provides: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Package {
                architecture: Some("noarch".to_owned()),
                needs: owned(needs),
                provides: owned(provides),
                ..Package::new(Kind::Rpm, name, "1")
            }
        };
        let mut told = vec![
            rpm("glibc", &[], &["libc.so.6()(64bit)"]),
            rpm("dnf", &[], &["yum"]),
        ];
        let mut look = |told: &[Package], element: &str| {
            ledger.rpm_tells(rpm::Installed {
                packages: told.to_vec(),
                python: Vec::new(),
            });
            ledger.look(&sample.tree(), element).unwrap();
        };
        look(&told, "root");
        told.extend([
            rpm("deep", &["libc.so.6()(64bit)"], &["libweb.so.1"]),
            rpm("kernel", &["dracut"], &["kernel-6.9"]),
            rpm("dracut", &[], &[]),
            rpm("postfix", &[], &["MTA"]),
            rpm("stray", &[], &[]),
            rpm("webapp", &["libweb.so.1"], &[]),
            // What is called so is meant, not what provides it.
            rpm("yum", &[], &[]),
        ]);
        look(&told, INSTALLER);
        told.push(rpm("late", &[], &[]));
        look(&told, "mine");
        let mut python = Package::new(Kind::Python, "Web", "1");
        python.within = Some("webapp".to_owned());
        told.push(python);
        told.sort();
        ledger.attribute(&mut told);
        assert_eq!(
            super::super::sample::told(&told),
            [
                "deep by-name",
                "dnf root",
                "dracut by-version",
                "glibc root",
                "kernel by-version",
                "late mine",
                "postfix by-other-name",
                "stray package-installs",
                "webapp by-name",
                "yum by-name",
                "Web by-name",
            ]
        );
    }

    #[test]
    fn packages_of_rpm_stay_whose_they_are_when_they_are_renewed() {
        let sample = Sample::of(&[]);
        let mut ledger = Ledger::default();
        let rpm = |name: &str, version: &str, architecture: &str| Package {
            architecture: Some(architecture.to_owned()),
            ..Package::new(Kind::Rpm, name, version)
        };
        let old = [
            rpm("glibc", "2.1-1", "x86_64"),
            rpm("kernel", "6.1-1", "x86_64"),
            rpm("rpm", "4-1", "x86_64"),
        ];
        let mut new = [
            rpm("glibc", "2.2-1", "i686"),
            rpm("glibc", "2.2-1", "x86_64"),
            rpm("kernel", "6.1-1", "x86_64"),
            rpm("kernel", "6.2-1", "x86_64"),
            rpm("rpm", "4-1", "x86_64"),
        ];
        for (packages, element) in [(&old[..], "root"), (&new[..], "mine")] {
            ledger.rpm_tells(rpm::Installed {
                packages: packages.to_vec(),
                python: Vec::new(),
            });
            ledger.look(&sample.tree(), element).unwrap();
        }
        ledger.attribute(&mut new);
        let by = new.map(|package| package.element.unwrap_or_default());
        assert_eq!(by, ["mine", "root", "root", "mine", "root"]);
    }

    #[test]
    fn rpm_is_asked_again_where_its_database_is_another() {
        let sample = Sample::of(&[]);
        let mut ledger = Ledger::default();
        let mut asked = || ledger.has_new_rpm(&sample.tree()).unwrap();
        assert!(!asked());
        sample.write("var/lib/rpm/rpmdb.sqlite", "one");
        assert!(asked() && !asked());
        sample.write("var/lib/rpm/rpmdb.sqlite-shm", "shared");
        assert!(!asked());
        sample.write("var/lib/rpm/rpmdb.sqlite-wal", "more");
        assert!(asked() && !asked());
        std::fs::remove_dir_all(sample.path().join("var")).unwrap();
        assert!(asked() && !asked());
    }
}
