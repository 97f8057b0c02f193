//! Packages of rpm, as the tree's own rpm tells them: its databases, of several kinds by age, are for it alone.
//!
//! It is asked for a copy of its database. A query, too, may leave files beside a database, and a bill of an image must not
//! change the image.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use rustix::fs::FileType;

use super::databases::{PACKAGES_MAX, mark_foreign};
use super::{DATABASE_MAX, Kind, Package, clean, read_in};
use crate::environment::Environment;
use crate::sandbox::launch::{Ending, Sandbox};
use crate::sandbox::rooted::Rooted;

/// Where the database lies; the first since distributions may be put back to a snapshot of `/usr`.
const PLACES: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];

/// Where the copy lies, in `/tmp` of the tree, which is emptied when hooks have ended.
const COPY: &str = ".dib-rpm";

/// What rpm said, beside the copy of its database.
const SAID: &str = ".said";

/// What is asked of each package, a line each: `LETTER:VALUE`, as apk writes down its own. An empty line ends a package.
macro_rules! asked {
    ($more:literal) => {
        concat!(
            "P:%{NAME}\\nV:%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\nA:%{ARCH}\\nL:%{LICENSE}\\nm:%{VENDOR}\\no:%{SOURCERPM}\\n",
            "[D:%{REQUIRENAME}\\n]",
            $more,
            "[p:%{PROVIDENAME}\\n][F:%{FILENAMES}\\n]\\n"
        )
    };
}

/// The second for an rpm before 4.12, which knows no weak dependencies.
const QUERIES: [&str; 2] = [asked!("[D:%{RECOMMENDNAME}\\n]"), asked!("")];

/// What rpm tells of what is installed.
#[derive(Debug, Default)]
pub struct Installed {
    /// The packages.
    pub packages: Vec<Package>,
    /// Where what is of Python in packages describes itself, and whose it is.
    pub python: Vec<(String, String)>,
}

/// The regular files of rpm's database in a tree, but for those that processes share while they work; `None` if there is none.
pub fn database(tree: &Rooted) -> io::Result<Option<(Rooted, Vec<Vec<u8>>)>> {
    for place in PLACES {
        let Some(dir) = tree.dir(place)? else { continue };
        let is_part = |(name, kind): &(Vec<u8>, FileType)| {
            *kind == FileType::RegularFile
                && !name.starts_with(b".")
                && !name.starts_with(b"__db.")
                && !name.ends_with(b"-shm")
        };
        let files: Vec<_> = dir.entries()?.into_iter().filter(is_part).collect();
        if !files.is_empty() {
            let names = files.into_iter().map(|(name, _)| name).collect();
            return Ok(Some((dir, names)));
        }
    }
    Ok(None)
}

/// Asks the rpm of the tree at `root`, by the variables of a chroot phase. Nothing is installed where there is no database.
pub fn ask(root: &Path, environment: &Environment) -> io::Result<Installed> {
    let tree = Rooted::open(root)?;
    let Some((from, names)) = database(&tree)? else {
        return Ok(Installed::default());
    };
    let tmp = tree
        .dir("tmp")?
        .ok_or_else(|| io::Error::other("the tree has no /tmp"))?;
    let _ = tmp.remove_all(COPY);
    tmp.make_dir(COPY, 0o700)?;
    let told = tmp.child(COPY.as_bytes()).and_then(|copy| {
        for name in &names {
            io::copy(
                &mut from.file(name.as_slice(), false)?,
                &mut copy.create(name, 0o600)?,
            )?;
        }
        query(root, &copy, environment)
    });
    tmp.remove_all(COPY)?;
    told
}

/// Has rpm tell what is in a database.
fn query(root: &Path, database: &Rooted, environment: &Environment) -> io::Result<Installed> {
    let place = format!("/tmp/{COPY}");
    let mut failure = String::new();
    for query in QUERIES {
        let args = ["--dbpath", &place, "--query", "--all", "--queryformat", query].map(OsString::from);
        // What it warns of on the way is no line of a package.
        let said = database.create(SAID.as_bytes(), 0o600)?;
        let ending = Sandbox::chroot(root)
            .run_in(root, &said, OsStr::new("rpm"), &args, environment)
            .map_err(|error| io::Error::new(error.kind(), format!("rpm cannot be started: {error}")))?;
        let said = read_in(database, SAID.as_bytes(), DATABASE_MAX)?.unwrap_or_default();
        if ending == Ending::Exited(0) {
            return Ok(parse(&said));
        }
        let said = String::from_utf8_lossy(&said);
        failure = format!("rpm {ending}: {}", clean(said.lines().last().unwrap_or_default()));
    }
    Err(io::Error::other(failure))
}

/// The packages that rpm's answer lists.
fn parse(said: &[u8]) -> Installed {
    let said = String::from_utf8_lossy(said);
    // Most files are needed by nobody by their paths.
    let needs = said.lines().filter_map(|line| line.strip_prefix("D:"));
    let needed: HashSet<&str> = needs
        .flat_map(names_of_need)
        .filter(|name| name.starts_with('/'))
        .collect();
    let mut packages = Vec::new();
    let mut python = BTreeSet::new();
    for paragraph in said.split("\n\n").take(PACKAGES_MAX) {
        let mut package = Package::new(Kind::Rpm, "", "");
        for (letter, value) in paragraph.lines().filter_map(|line| line.split_once(':')) {
            // What a package does not tell.
            if value.is_empty() || value == "(none)" {
                continue;
            }
            match letter {
                "P" => package.name = clean(value),
                "V" => package.version = clean(value),
                "A" => package.architecture = Some(clean(value)),
                "L" => package.licence = Some(clean(value)),
                "m" => package.supplier = Some(clean(value)),
                "o" => package.source = Some(clean(value)),
                "D" => package
                    .needs
                    .extend(names_of_need(value).into_iter().map(str::to_owned)),
                "p" => package.provides.push(value.to_owned()),
                "F" => {
                    if needed.contains(value) {
                        package.provides.push(value.to_owned());
                    }
                    python.extend(python_place(value).map(|place| (place.to_owned(), package.name.clone())));
                }
                _ => {}
            }
        }
        // The keys that packages are signed with are none.
        if !package.name.is_empty() && !package.version.is_empty() && package.name != "gpg-pubkey" {
            package.provides.extend(long_names(&package));
            packages.push(package);
        }
    }
    mark_foreign(&mut packages, "rpm");
    Installed {
        packages,
        python: python.into_iter().collect(),
    }
}

/// The names in what a package needs: one, or those of a condition, `(a or b)`, `(a if b)`, but for what that depends on.
/// Its other words, operators and versions, are nobody's names.
fn names_of_need(need: &str) -> Vec<&str> {
    if !need.starts_with('(') {
        return vec![need];
    }
    let mut names = Vec::new();
    let mut words = need.split_whitespace();
    while let Some(word) = words.next() {
        if ["if", "unless", "without"].contains(&word) {
            skip_operand(&mut words);
            continue;
        }
        let mut name = word.trim_start_matches('(');
        // `config(a)` has its own.
        while name.ends_with(')') && name.matches(')').count() > name.matches('(').count() {
            name = &name[..name.len() - 1];
        }
        names.push(name);
    }
    names
}

/// Skips a word, or all words between parentheses.
fn skip_operand<'a>(words: &mut impl Iterator<Item = &'a str>) {
    let (mut opened, mut closed) = (0, 0);
    for word in words {
        opened += word.matches('(').count();
        closed += word.matches(')').count();
        if opened <= closed {
            break;
        }
    }
}

/// Longer names by which package tools and lists know a package.
fn long_names(package: &Package) -> Vec<String> {
    let name = &package.name;
    // An epoch is left out as often as not.
    let version = package.version.split_once(':');
    let release = version.map_or(package.version.as_str(), |(_, rest)| rest);
    let version = release.rsplit_once('-').map_or(release, |(version, _)| version);
    let mut names = vec![format!("{name}-{version}"), format!("{name}-{release}")];
    if let Some(architecture) = &package.architecture {
        names.push(format!("{name}.{architecture}"));
        names.push(format!("{name}-{release}.{architecture}"));
    }
    names
}

/// Where a package of Python describes itself, if that is a file of it.
fn python_place(path: &str) -> Option<&str> {
    let end = [".dist-info", ".egg-info"].iter().find_map(|kind| {
        let end = path.find(&format!("{kind}/")).map(|start| start + kind.len());
        end.or_else(|| path.ends_with(kind).then_some(path.len()))
    })?;
    Some(path[..end].trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::sample::Sample;

    /// As rpm 4.18 answers the query, with a warning of it on top.
    const SAID: &str = "\
warning: Generating 6 missing index(es), please wait...
P:gpg-pubkey
V:1-2
A:(none)
L:pubkey
m:(none)
o:(none)
D:(none)
p:(none)
F:(none)

P:rpm
V:4.18-1
A:x86_64
L:GPL
m:Toys
o:rpm-4.18-1.src.rpm
D:/bin/sh
D:(glibc-langpack or (locale(de) if config(rpm)))
D:(with unless (x or (y and z)) else last)
p:rpm
p:rpm(x86-64)
F:/usr/bin/rpm
F:/usr/lib/python3/site-packages/rpm-4.18.dist-info
F:/usr/lib/python3/site-packages/rpm-4.18.dist-info/METADATA
F:/usr/lib/python3/site-packages/old-1.egg-info

P:bash
V:2:5.2-1
A:i686
F:/bin/sh
F:/bin/bash

P:odd
";

    #[test]
    fn an_answer_lists_packages_and_what_they_are_known_by() {
        let installed = parse(SAID.as_bytes());
        let [rpm, bash] = &installed.packages[..] else {
            panic!("{installed:?}");
        };
        assert_eq!((rpm.name.as_str(), rpm.version.as_str()), ("rpm", "4.18-1"));
        assert_eq!(rpm.licence.as_deref(), Some("GPL"));
        assert_eq!(rpm.supplier.as_deref(), Some("Toys"));
        assert_eq!(rpm.source.as_deref(), Some("rpm-4.18-1.src.rpm"));
        assert_eq!(
            rpm.needs,
            [
                "/bin/sh",
                "glibc-langpack",
                "or",
                "locale(de)",
                "with",
                "else",
                "last"
            ]
        );
        assert!(!rpm.foreign && bash.foreign);
        assert_eq!(
            bash.provides,
            [
                "/bin/sh",
                "bash-5.2",
                "bash-5.2-1",
                "bash.i686",
                "bash-5.2-1.i686"
            ]
        );
        let python = ["old-1.egg-info", "rpm-4.18.dist-info"];
        let python = python.map(|name| (format!("usr/lib/python3/site-packages/{name}"), "rpm".to_owned()));
        assert_eq!(installed.python, python);
    }

    #[test]
    fn a_database_is_what_no_process_shares() {
        let sample = Sample::of(&[("usr/lib/sysimage/rpm/.rpm.lock", "")]);
        assert!(database(&sample.tree()).unwrap().is_none());
        for name in ["Packages", "Name", "__db.001", "rpmdb.sqlite-shm"] {
            sample.write(&format!("var/lib/rpm/{name}"), name);
        }
        sample.link("var/lib/rpm/led", "Packages");
        let (_, names) = database(&sample.tree()).unwrap().unwrap();
        assert_eq!(names, [&b"Name"[..], b"Packages"]);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_is_too_odd_to_be_read(bytes: Vec<u8>, text in "([PVADpF]:|\n|\\(|\\)|[.]dist-info|/|-|a| )*") {
            for bytes in [&bytes[..], text.as_bytes()] {
                parse(bytes);
            }
        }
    }
}
