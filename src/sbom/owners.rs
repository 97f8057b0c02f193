//! Which package of the distribution has the files of a package of Python: that one brought it, whatever hook ran.
//!
//! dpkg keeps a list of paths for each package, `var/lib/dpkg/info/NAME[:ARCH].list`; apk's database has lines `F:DIRECTORY`
//! and `R:FILE` below the package's own. rpm's files are known to rpm alone, which is asked for those of Python.

use std::collections::HashMap;
use std::io;

use super::{APK_DATABASES, DATABASE_MAX, Package, clean, head_in, read};
use crate::sandbox::rooted::Rooted;

/// Where dpkg keeps its lists.
const DPKG_LISTS: &str = "var/lib/dpkg/info";

/// Bytes of a list that are read: those of packages with modules of Python have some thousand lines.
const LIST_MAX: u64 = 16 << 20;

/// Writes into packages of Python, each with the path of what describes it, whose they are; `of_rpm` are paths of packages of
/// rpm, and these.
pub fn mark(tree: &Rooted, of_rpm: &[(String, String)], found: &mut [(Vec<u8>, Package)]) -> io::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let mut owners = HashMap::new();
    let places: HashMap<&[u8], usize> = found
        .iter()
        .enumerate()
        .map(|(number, (place, _))| (place.as_slice(), number))
        .collect();
    let mut owned = |path: &[u8], owner: &str| {
        if let Some(number) = places.get(path) {
            owners.entry(*number).or_insert_with(|| clean(owner));
        }
    };
    if let Some(lists) = tree.dir(DPKG_LISTS)? {
        for (name, _) in lists.entries()? {
            let Some(package) = name.strip_suffix(b".list") else {
                continue;
            };
            let package = String::from_utf8_lossy(package);
            let package = package.split(':').next().unwrap_or_default();
            let list = head_in(&lists, &name, LIST_MAX)?.unwrap_or_default();
            for line in list.split(|byte| *byte == b'\n') {
                owned(line.strip_prefix(b"/").unwrap_or(line), package);
            }
        }
    }
    for path in APK_DATABASES {
        let installed = read(tree, path, DATABASE_MAX)?.unwrap_or_default();
        of_apk(&installed, &mut owned);
    }
    for (path, package) in of_rpm {
        owned(path.as_bytes(), package);
    }
    for (number, owner) in owners {
        if let Some((_, package)) = found.get_mut(number) {
            package.within = Some(owner);
        }
    }
    Ok(())
}

/// Tells every path of apk's `installed`, and whose it is.
fn of_apk(installed: &[u8], owned: &mut impl FnMut(&[u8], &str)) {
    let (mut package, mut dir) = (String::new(), &b""[..]);
    for line in installed.split(|byte| *byte == b'\n') {
        match line {
            [b'P', b':', name @ ..] => package = String::from_utf8_lossy(name).into_owned(),
            [b'F', b':', path @ ..] => {
                dir = path;
                owned(dir, &package);
            }
            [b'R', b':', name @ ..] => owned(&[dir, name].join(&b'/'), &package),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::Kind;
    use crate::sbom::sample::Sample;

    #[test]
    fn what_lies_in_packages_is_theirs() {
        let sample = Sample::of(&[
            (
                "var/lib/dpkg/info/python3-yaml:amd64.list",
                "/.\n/usr/lib/yaml-1.egg-info\n",
            ),
            (
                "var/lib/dpkg/info/python3-yaml:amd64.md5sums",
                "/opt/own-1.dist-info\n",
            ),
            ("var/lib/dpkg/info/tool.list", "/usr/lib/tool-1.egg-info/PKG-INFO"),
            (
                "lib/apk/db/installed",
                "P:py3-six\nV:1\nF:usr/lib\nF:usr/lib/six-1.dist-info\nR:METADATA\n\n\
                 P:py3-old\nF:usr/lib\nR:old-1.egg-info\n",
            ),
        ]);
        sample.link("var/lib/dpkg/info/odd.list", "/etc/passwd");
        let one = |place: &str| (place.as_bytes().to_vec(), Package::new(Kind::Python, place, "1"));
        let mut found = [
            one("usr/lib/yaml-1.egg-info"),
            one("usr/lib/six-1.dist-info"),
            one("usr/lib/old-1.egg-info"),
            one("usr/lib/dnf-1.dist-info"),
            one("usr/lib/tool-1.egg-info"),
            one("opt/own-1.dist-info"),
        ];
        let of_rpm = [("usr/lib/dnf-1.dist-info".to_owned(), "python3-dnf".to_owned())];
        mark(&sample.tree(), &of_rpm, &mut found).unwrap();
        let owners = found.map(|(_, package)| package.within.unwrap_or_default());
        assert_eq!(
            owners,
            ["python3-yaml", "py3-six", "py3-old", "python3-dnf", "", ""]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_list_of_apk_is_too_odd_to_be_read(bytes: Vec<u8>, text in "([PFR]:|\n|a|/)*") {
            for bytes in [&bytes[..], text.as_bytes()] {
                of_apk(bytes, &mut |_, _| {});
            }
        }
    }
}
