//! What package managers write down of what they installed.
//!
//! - dpkg's `status`: deb822(5); a package is there if its status ends in `installed`.
//! - apk's `installed`: lines `LETTER:VALUE`, an empty line after each package:
//!   <https://wiki.alpinelinux.org/wiki/Apk_spec>.
//! - rpm's database is read by rpm alone: see [`super::rpm`].

use super::{Kind, Package, clean};
use crate::bootstrap::deb822::paragraphs;

/// Packages that one database may list.
pub(super) const PACKAGES_MAX: usize = 200_000;

/// What packages say that are for every architecture.
pub(super) const FOR_ANY: [&str; 2] = ["all", "noarch"];

/// The packages of a `status` of dpkg.
pub fn dpkg(status: &[u8]) -> Vec<Package> {
    let text = String::from_utf8_lossy(status);
    let mut packages = Vec::new();
    for paragraph in paragraphs(&text).take(PACKAGES_MAX) {
        let field = |name| paragraph.get(name).map(clean).filter(|value| !value.is_empty());
        let installed = field("Status").is_some_and(|status| status.ends_with(" installed"));
        let (Some(name), Some(version), true) = (field("Package"), field("Version"), installed) else {
            continue;
        };
        let needs = ["Pre-Depends", "Depends"]
            .iter()
            .filter_map(|name| paragraph.get(name));
        packages.push(Package {
            architecture: field("Architecture"),
            supplier: field("Maintainer"),
            source: field("Source"),
            needs: needs.flat_map(names_of_relation).collect(),
            provides: paragraph
                .get("Provides")
                .map(names_of_relation)
                .unwrap_or_default(),
            ..Package::new(Kind::Deb, name, version)
        });
    }
    mark_foreign(&mut packages, "dpkg");
    packages
}

/// Marks packages of another architecture than that of the package that installs them, which is the system's.
pub(super) fn mark_foreign(packages: &mut [Package], installer: &str) {
    let installer = packages.iter().find(|package| package.name == installer);
    let Some(native) = installer.and_then(|installer| installer.architecture.clone()) else {
        return;
    };
    for package in packages {
        let own = package.architecture.as_ref();
        package.foreign = own.is_some_and(|own| *own != native && !FOR_ANY.contains(&own.as_str()));
    }
}

/// The names in a relation of packages, alternatives too.
fn names_of_relation(relation: &str) -> Vec<String> {
    let words = relation.split([',', '|']);
    let name = |word: &str| {
        let end = word.find(|letter: char| letter.is_whitespace() || "(:[<".contains(letter));
        word[..end.unwrap_or(word.len())].to_owned()
    };
    words
        .map(str::trim)
        .map(name)
        .filter(|name| !name.is_empty())
        .collect()
}

/// The packages of apk's `installed`.
pub fn apk(installed: &[u8]) -> Vec<Package> {
    let text = String::from_utf8_lossy(installed);
    let mut packages = Vec::new();
    for paragraph in text.split("\n\n").take(PACKAGES_MAX) {
        let mut package = Package::new(Kind::Apk, "", "");
        for line in paragraph.lines() {
            let Some((letter, value)) = line.split_once(':') else {
                continue;
            };
            let value = clean(value);
            // A field may be there and say nothing.
            if value.is_empty() {
                continue;
            }
            match letter {
                "P" => package.name = value,
                "V" => package.version = value,
                "A" => package.architecture = Some(value),
                "L" => package.licence = Some(value),
                "m" => package.supplier = Some(value),
                "o" => package.source = Some(value),
                "D" => package.needs = names_of_needs(&value),
                "p" => package.provides = names_of_needs(&value),
                _ => {}
            }
        }
        // With a dot begin names of groups that `apk add --virtual` made: those are in no archive, and have no files.
        let is_group = package.name.starts_with('.');
        if !package.name.is_empty() && !package.version.is_empty() && !is_group {
            packages.push(package);
        }
    }
    packages
}

/// The names in what a package of apk needs or provides: `so:libc.musl-x86_64.so.1`, `busybox>=1.36`. What must not be there
/// (`!name`) matches no name.
fn names_of_needs(words: &str) -> Vec<String> {
    let name = |word: &str| {
        let end = word.find(['<', '>', '=', '~']);
        word[..end.unwrap_or(word.len())].to_owned()
    };
    words.split_whitespace().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpkg_lists_what_is_installed() {
        let status = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2-3\n\
                      Depends: b (>= 2) | c:any, d [amd64]\nPre-Depends: e\nMaintainer: M <m@example.org>\n\
                      Description: x\n .\n more\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: broken\nStatus: install ok installed\n\n\
                      Package: half\nStatus: install ok half-installed\nVersion: 1\n\nPackage: odd\n";
        let packages = dpkg(status.as_bytes());
        let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["a"]);
        assert_eq!(packages[0].needs, ["e", "b", "c", "d"]);
        assert_eq!(packages[0].version, "1:2-3");
        assert_eq!(dpkg(b"\xff\n\n\0:\n"), []);
    }

    #[test]
    fn packages_of_dpkg_tell_what_else_they_are_called_and_where_they_run() {
        let paragraph = |name: &str, architecture: &str| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: 1\n\
                 Provides: mail (= 2), mailer:any\n\n"
            )
        };
        let status = [
            paragraph("libc6", "amd64"),
            paragraph("libc6", "i386"),
            paragraph("doc", "all"),
        ];
        let told = |status: &str| {
            let packages = dpkg(status.as_bytes());
            assert_eq!(packages[0].provides, ["mail", "mailer"]);
            packages.iter().map(|package| package.key().2).collect::<Vec<_>>()
        };
        // Nothing tells the system's own architecture.
        assert_eq!(told(&status.concat()), [None, None, None]);
        let all = status.concat() + &paragraph("dpkg", "amd64");
        assert_eq!(told(&all), [None, Some("i386".to_owned()), None, None]);
    }

    #[test]
    fn apk_lists_its_own() {
        let installed = b"C:Q1x=\nP:busybox\nV:1.36.1-r2\nA:x86_64\nL:GPL-2.0-only\nm:N <n@example.org>\nD:so:libc.so.1 a>=1\np:cmd:sh=1.36.1-r2 /bin/sh\n\
                          F:bin\nR:busybox\n\nP:incomplete\n\nP:.build-deps\nV:20260101.000000\nD:gcc\n\n";
        let packages = apk(installed);
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].licence.as_deref(), Some("GPL-2.0-only"));
        assert_eq!(packages[0].needs, ["so:libc.so.1", "a"]);
        assert_eq!(packages[0].provides, ["cmd:sh", "/bin/sh"]);
    }

    proptest::proptest! {
        #[test]
        fn no_database_is_too_odd_to_be_read(bytes: Vec<u8>, text in "(Package|P|Status|V|Version|: |:|\n| |installed|\\{|\")*") {
            for bytes in [&bytes[..], text.as_bytes()] {
                for parse in [dpkg, apk] {
                    parse(bytes);
                }
            }
        }
    }
}
