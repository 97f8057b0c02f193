//! `svc-map-install`: the service maps of all elements → `/usr/share/svc-map/services` of the tree.
//!
//! An element's `svc-map` file is YAML: generic service name → distribution, family or `default` → the name there. Of those
//! the most specific one counts; where none does, the service is called what it is. The merged map has a line
//! `GENERIC: NAME` for each service, which is YAML and what the command `svc-map`, a script in the image, reads.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::pkg_map::Distribution;
use super::published;

/// Where the script looks.
const DIRECTORY: [&[u8]; 3] = [b"usr", b"share", b"svc-map"];

/// The file of one element: service → section → name.
type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// Reads the file of one element. An empty one maps nothing.
pub(crate) fn parse(text: &str) -> Result<Sections, String> {
    let read: Option<Sections> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    Ok(read.unwrap_or_default())
}

/// Merges the files of all elements, `(name, parsed file)`, for one distribution.
pub(crate) fn merge(
    elements: &[(String, Sections)],
    distribution: &Distribution,
) -> Result<BTreeMap<String, String>, String> {
    let mut merged: BTreeMap<String, (String, &str)> = BTreeMap::new();
    for (element, services) in elements {
        for (service, sections) in services {
            let in_place = |what: String| format!("element '{element}', service '{service}': {what}");
            if let Some((_, earlier)) = merged.get(service) {
                return Err(in_place(format!("element '{earlier}' maps it already")));
            }
            let family = distribution.family().unwrap_or_default();
            let found = [distribution.name(), family, "default"]
                .into_iter()
                .find_map(|section| sections.get(section));
            let name = found.unwrap_or(service).clone();
            for word in [service, &name] {
                require_plain(word).map_err(in_place)?;
            }
            merged.insert(service.clone(), (name, element));
        }
    }
    Ok(merged
        .into_iter()
        .map(|(service, (name, _))| (service, name))
        .collect())
}

/// The merged map as an image keeps it.
pub(crate) fn lines(merged: &BTreeMap<String, String>) -> String {
    let lines = merged
        .iter()
        .map(|(service, name)| [service, ": ", name, "\n"].concat());
    lines.collect()
}

/// Refuses what is no name of a service, and would not be one word of a line either.
fn require_plain(word: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@._:\\-".contains(c);
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if word.starts_with(first) && word.chars().all(plain) && !word.ends_with(':') {
        Ok(())
    } else {
        Err(format!("'{}' is no name of a service", word.escape_debug()))
    }
}

/// Runs `svc-map-install`.
pub fn run_install(args: &[OsString]) -> u8 {
    published::finish("svc-map-install", args, || {
        let mut elements = Vec::new();
        for (name, directory) in published::elements()? {
            if let Some(text) = published::text(&directory, "svc-map")? {
                let path = directory.join("svc-map");
                let services = parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
                elements.push((name, services));
            }
        }
        let merged = merge(&elements, &Distribution::from_environment())?;
        let directory = published::tree()?.make_dirs(&DIRECTORY, 0o755);
        let written =
            directory.and_then(|directory| directory.write("services", 0o644, lines(&merged).as_bytes()));
        written.map_err(|error| format!("cannot write /usr/share/svc-map/services of the tree: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOVA: &str = "nova-api:\n  default: openstack-nova-api\n  debian: nova-api\n\
        nova-cert: {suse: a, fedora: b, redhat: c}\nplain: {gentoo: x}\n";

    fn merged(files: &[(&str, &str)], distribution: &str) -> Result<String, String> {
        let mut elements = Vec::new();
        for (element, text) in files {
            elements.push(((*element).to_owned(), parse(text)?));
        }
        let merged = merge(&elements, &Distribution::new(distribution, ""))?;
        let pairs = merged.iter().map(|(service, name)| format!("{service}={name}"));
        Ok(pairs.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_most_specific_section_wins() {
        for (distribution, expected) in [
            ("ubuntu", "nova-api=nova-api nova-cert=nova-cert plain=plain"),
            ("opensuse", "nova-api=openstack-nova-api nova-cert=a plain=plain"),
            ("fedora", "nova-api=openstack-nova-api nova-cert=b plain=plain"),
            ("centos", "nova-api=openstack-nova-api nova-cert=c plain=plain"),
            (
                "alpine",
                "nova-api=openstack-nova-api nova-cert=nova-cert plain=plain",
            ),
        ] {
            assert_eq!(
                merged(&[("nova", NOVA), ("empty", "")], distribution).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (files, told) in [
            (
                &[("a", "x: {default: y}"), ("b", "x: {}")][..],
                "element 'b', service 'x': element 'a' maps it already",
            ),
            (&[("a", "x: {default: [y]}")], "expected string"),
            (&[("a", "x: {default: 'y z'}")], "'y z' is no name of a service"),
            (
                &[("a", "x: {default: \"y\\n\"}")],
                "'y\\n' is no name of a service",
            ),
            (&[("a", "x: y")], ""),
        ] {
            let error = merged(files, "debian").unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
