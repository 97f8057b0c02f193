//! `pkg-map`: generic package names → the names of one distribution.
//!
//! An element's `pkg-map` file is JSON with up to four sections, of which the most specific one that knows a name
//! wins: `release` over `distro` over `family` over `default`. An empty name drops the package; a name may be several
//! words, which are several packages.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Deserialize;

use super::published;
use crate::ui;

/// Where `extra-data.d` of element `pkg-map` lays the maps in the image.
const MAPS: &str = "usr/share/pkg-map";

/// Families are named by the map files; a distribution belongs to at most one.
const FAMILIES: [(&str, &[&str]); 4] = [
    (
        "redhat",
        &["almalinux", "centos", "fedora", "openeuler", "rhel", "rocky"],
    ),
    ("debian", &["debian", "ubuntu"]),
    ("suse", &["opensuse"]),
    ("gentoo", &["gentoo"]),
];

type Names = BTreeMap<String, String>;

/// A `pkg-map` file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PackageMap {
    default: Names,
    family: BTreeMap<String, Names>,
    distro: BTreeMap<String, Names>,
    release: BTreeMap<String, BTreeMap<String, Names>>,
}

/// What an image is, as far as package names depend on it.
#[derive(Clone, Debug)]
pub struct Distribution {
    name: String,
    release: String,
}

impl Distribution {
    /// The distribution `name` in its `release`. `8-stream` has the names of release `8`.
    pub fn new(name: &str, release: &str) -> Self {
        let release = release.strip_suffix("-stream").unwrap_or(release);
        Self {
            name: name.into(),
            release: release.into(),
        }
    }

    /// As the operating system element tells it.
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var(name).unwrap_or_default();
        Self::new(&variable("DISTRO_NAME"), &variable("DIB_RELEASE"))
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The family that it belongs to.
    pub(super) fn family(&self) -> Option<&'static str> {
        let member = |(_, names): &&(&str, &[&str])| names.contains(&self.name.as_str());
        FAMILIES.iter().find(member).map(|(family, _)| *family)
    }
}

impl PackageMap {
    /// The map of one element in an image whose root is `root`; `None` if the element has none.
    pub fn of_element(root: &Path, element: &str) -> Result<Option<Self>, String> {
        let path = root.join(MAPS).join(element);
        if path.is_file() {
            Self::read(&path).map(Some)
        } else {
            Ok(None)
        }
    }

    fn read(path: &Path) -> Result<Self, String> {
        let text = crate::given::read_text(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The names of package `name`: none if it is dropped, `None` if the map does not know it.
    pub fn lookup(&self, name: &str, distribution: &Distribution) -> Option<Vec<String>> {
        let release = self
            .release
            .get(&distribution.name)
            .and_then(|releases| releases.get(&distribution.release));
        let family = distribution.family().and_then(|family| self.family.get(family));
        [
            release,
            self.distro.get(&distribution.name),
            family,
            Some(&self.default),
        ]
        .into_iter()
        .flatten()
        .find_map(|names| names.get(name))
        .map(|found| found.split_whitespace().map(String::from).collect())
    }
}

impl PackageMap {
    /// The map as lines `SECTION NAME WORD...`, which a shell can read where this program is not: `default`,
    /// `family=F`, `distro=D` or `release=D/R`. Names that hold blanks cannot be asked for, and are left out.
    pub(crate) fn lines(&self) -> String {
        let mut sections = vec![("default".to_owned(), &self.default)];
        sections.extend(
            self.family
                .iter()
                .map(|(family, names)| (format!("family={family}"), names)),
        );
        sections.extend(
            self.distro
                .iter()
                .map(|(distro, names)| (format!("distro={distro}"), names)),
        );
        for (distro, releases) in &self.release {
            let named = releases
                .iter()
                .map(|(release, names)| (format!("release={distro}/{release}"), names));
            sections.extend(named);
        }
        let single = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
        let mut lines = String::new();
        for (section, names) in sections.iter().filter(|(section, _)| single(section)) {
            for (name, words) in names.iter().filter(|(name, _)| single(name)) {
                let words: Vec<&str> = words.split_whitespace().collect();
                lines.push_str([section, name.as_str(), &words.join(" ")].join(" ").trim_end());
                lines.push('\n');
            }
        }
        lines
    }
}

/// Runs `pkg-map-install`: lays the maps of all elements into the tree, as they are and as lines.
pub fn run_install(args: &[OsString]) -> u8 {
    published::finish("pkg-map-install", args, || {
        let failed = |error| format!("cannot write /{MAPS} of the tree: {error}");
        let names: Vec<&[u8]> = MAPS.split('/').map(str::as_bytes).collect();
        let maps = published::tree()?.make_dirs(&names, 0o755).map_err(failed)?;
        let lines = maps.make_dirs(&[b".lines"], 0o755).map_err(failed)?;
        for (element, directory) in published::elements()? {
            let Some(text) = published::text(&directory, "pkg-map")? else {
                continue;
            };
            maps.write(&element, 0o644, text.as_bytes()).map_err(failed)?;
            match serde_json::from_str::<PackageMap>(&text) {
                Ok(map) => lines
                    .write(&element, 0o644, map.lines().as_bytes())
                    .map_err(failed)?,
                // It fails where it is asked, which may be nowhere.
                Err(error) => ui::warn(format_args!("{}: {error}", directory.join("pkg-map").display())),
            }
        }
        let told = Distribution::from_environment();
        let line = format!("{} {}\n", told.name, told.release);
        maps.write(".distribution", 0o644, line.as_bytes())
            .map_err(failed)
    })
}

/// Prints the package names of this distribution for generic ones.
#[derive(Debug, Parser)]
#[command(name = "pkg-map")]
struct Args {
    /// The element whose map to ask
    #[arg(long, required_unless_present = "pkg_map")]
    element: Option<String>,
    /// A map file to ask instead
    #[arg(long)]
    pkg_map: Option<PathBuf>,
    /// The distribution [default: `DISTRO_NAME`]
    #[arg(long)]
    distro: Option<String>,
    /// Its release [default: `DIB_RELEASE`]
    #[arg(long)]
    release: Option<String>,
    /// Print a name that the map does not know as it is
    #[arg(long)]
    missing_ok: bool,
    /// The root of the tree that holds the maps
    #[arg(long, default_value = "/")]
    prefix: PathBuf,
    /// Say what is looked up where
    #[arg(long)]
    debug: bool,
    /// Generic names
    #[arg(required = true)]
    names: Vec<String>,
}

/// Runs the command; its exit status is 0, 1 (bad arguments, a name without a mapping) or 2 (no map).
pub fn run(args: &[OsString]) -> u8 {
    let args: Args = match super::parsed(args) {
        Ok(args) => args,
        Err(status) => return status,
    };
    match names(&args) {
        Ok(names) => {
            let told = names
                .iter()
                .try_for_each(|name| ui::print(format_args!("{name}\n")));
            match told {
                Ok(()) => 0,
                Err(error) => {
                    ui::note(format_args!("pkg-map: {}", error.message()));
                    1
                }
            }
        }
        Err((status, message)) => {
            ui::note(format_args!("pkg-map: {message}"));
            status
        }
    }
}

fn names(args: &Args) -> Result<Vec<String>, (u8, String)> {
    let element = args.element.as_deref().unwrap_or_default();
    let map = match &args.pkg_map {
        Some(path) if path.is_file() => PackageMap::read(path).map(Some),
        Some(_) => Ok(None),
        None => PackageMap::of_element(&args.prefix, element),
    };
    let map = match map.map_err(|message| (1, message))? {
        Some(map) => map,
        None if args.missing_ok => PackageMap::default(),
        None => return Err((2, format!("no package map of element '{element}'"))),
    };
    let told = Distribution::from_environment();
    let distribution = Distribution::new(
        args.distro.as_deref().unwrap_or(&told.name),
        args.release.as_deref().unwrap_or(&told.release),
    );
    if args.debug {
        ui::note(format_args!(
            "pkg-map: element '{element}', {distribution:?}, family {:?}",
            distribution.family()
        ));
    }
    let mut found = Vec::new();
    for name in &args.names {
        match map.lookup(name, &distribution) {
            Some(names) => found.extend(names),
            None if args.missing_ok => found.push(name.clone()),
            None => return Err((1, format!("no mapping of '{name}' for {}", distribution.name))),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = r#"{
        "release": { "debian": { "trixie": { "dhcp": "dhcpcd-base" } }, "centos": { "8": { "dhcp": "old" } } },
        "distro": { "debian": { "dhcp": "isc-dhcp-client", "both": "one two" } },
        "family": { "debian": { "dhcp": "dhclient", "gone": "" } },
        "default": { "dhcp": "dhcp-client", "gone": "gone" }
    }"#;

    fn lookup(name: &str, distro: &str, release: &str) -> Option<Vec<String>> {
        let map: PackageMap = serde_json::from_str(MAP).unwrap();
        map.lookup(name, &Distribution::new(distro, release))
    }

    #[test]
    fn the_most_specific_section_wins() {
        let dhcp = |distro, release| lookup("dhcp", distro, release).unwrap().join(" ");
        assert_eq!(dhcp("debian", "trixie"), "dhcpcd-base");
        assert_eq!(dhcp("debian", "bookworm"), "isc-dhcp-client");
        assert_eq!(dhcp("ubuntu", "noble"), "dhclient");
        assert_eq!(dhcp("fedora", "41"), "dhcp-client");
        assert_eq!(dhcp("centos", "8-stream"), "old");
    }

    #[test]
    fn a_name_may_become_none_or_several() {
        assert_eq!(lookup("gone", "debian", "sid"), Some(vec![]));
        assert_eq!(
            lookup("both", "debian", "sid"),
            Some(vec!["one".into(), "two".into()])
        );
        assert_eq!(lookup("unknown", "debian", "sid"), None);
    }

    fn ask(args: &[&str]) -> Result<Vec<String>, (u8, String)> {
        names(&Args::try_parse_from([&["pkg-map"], args].concat()).unwrap())
    }

    #[test]
    fn what_is_missing_decides_the_status() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(MAPS)).unwrap();
        std::fs::write(dir.path().join(MAPS).join("net"), MAP).unwrap();
        let root = dir.path().to_str().unwrap();
        let net = [
            "--prefix",
            root,
            "--element",
            "net",
            "--distro",
            "debian",
            "--release",
            "sid",
        ];
        assert_eq!(
            ask(&[&net[..], &["both", "gone"]].concat()).unwrap(),
            ["one", "two"]
        );
        assert_eq!(ask(&[&net[..], &["unknown"]].concat()).unwrap_err().0, 1);
        assert_eq!(
            ask(&[&net[..], &["--missing-ok", "unknown"]].concat()).unwrap(),
            ["unknown"]
        );
        assert_eq!(
            ask(&["--prefix", root, "--element", "none", "a"]).unwrap_err().0,
            2
        );
        assert_eq!(
            ask(&["--prefix", root, "--element", "none", "--missing-ok", "a"]).unwrap(),
            ["a"]
        );
    }
}
