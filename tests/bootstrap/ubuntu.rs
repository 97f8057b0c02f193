//! What Ubuntu's archive has, before tools that are not ours: its indexes as they were recorded, beside what apt chose of
//! them, and packages as it compresses them.
//!
//! `fixtures/vectors/ubuntu/MANIFEST` says where each file comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;

use diskimage_builder::bootstrap::database::Installed;
use diskimage_builder::bootstrap::deb::{Control, Deb};
use diskimage_builder::bootstrap::deb822::paragraphs;
use diskimage_builder::bootstrap::index::Index;
use diskimage_builder::bootstrap::order::Needs;
use diskimage_builder::bootstrap::relation::groups;
use diskimage_builder::bootstrap::solve::{Wanted, solve};
use diskimage_builder::bootstrap::unpack;
use diskimage_builder::sandbox::rooted::Rooted;
use oracle::snapshot::{self, Kind, Snapshot};
use oracle::{require, require_root};

/// What every script may count on is configured before all else, whatever it needs: dpkg puts off what has to wait.
const FIRST: [&str; 2] = ["base-passwd", "base-files"];

fn recorded(name: &str) -> Vec<u8> {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/vectors/ubuntu");
    fs::read(Path::new(vectors).join(name)).unwrap()
}

fn index_of(suite: &str) -> String {
    let packed = recorded(&format!("{suite}.Packages.xz"));
    let mut text = String::new();
    let mut reader = lzma_rust2::XzReader::new(&packed[..], false);
    reader.read_to_string(&mut text).unwrap();
    text
}

/// What apt would do, one call after the other: the packages with their versions, and those of each call in the order in
/// which they were configured.
fn simulated(suite: &str) -> (BTreeMap<String, String>, Vec<Vec<String>>) {
    let text = String::from_utf8(recorded(&format!("{suite}.simulated"))).unwrap();
    let (mut packages, mut calls) = (BTreeMap::new(), Vec::new());
    for line in text.lines() {
        match *line.split(' ').collect::<Vec<_>>() {
            ["Inst", name, version] => drop(packages.insert(name.to_owned(), version.to_owned())),
            ["Conf", name, _] => {
                let call: &mut Vec<String> = calls.last_mut().unwrap();
                call.push(name.to_owned());
            }
            _ => calls.push(Vec::new()),
        }
    }
    (packages, calls)
}

#[test]
fn recorded_suites_are_solved_as_apt_solves_them() {
    for suite in ["noble", "jammy"] {
        let text = index_of(suite);
        let mut index = Index::default();
        index.add(&text, 0, "amd64").unwrap();
        index.complete();
        // apt comes by itself.
        let wanted = Wanted {
            architecture: "amd64",
            include: vec!["tzdata"],
            ..Wanted::default()
        };
        let (theirs, _) = simulated(suite);
        assert!(theirs.len() > 70, "{suite}");
        assert!(
            index.all().count() > 2 * theirs.len(),
            "there is something to choose"
        );
        let solution = solve(&index, &wanted).unwrap();
        let chosen = solution.packages.values();
        let ours: BTreeMap<String, String> = chosen
            .map(|package| (package.name.to_owned(), package.version.to_owned()))
            .collect();
        assert_eq!(ours, theirs, "{suite}");
    }
}

/// Who needs whom among these packages, where it can be nobody else.
fn needs(packages: &[Installed]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        let provided = groups(package.control.field("Provides"))
            .filter_map(Result::ok)
            .flatten();
        let names = provided.map(|provided| provided.name).chain([package.name()]);
        for name in names {
            named.entry(name).or_default().insert(package.name());
        }
    }
    let of = |package: &'_ Installed| {
        let fields = ["Depends", "Pre-Depends"].map(|field| package.control.field(field).to_owned());
        let mut needs = BTreeSet::new();
        for group in fields.iter().flat_map(|field| groups(field)).map(Result::unwrap) {
            let who: BTreeSet<&str> = group
                .iter()
                .filter_map(|alternative| named.get(alternative.name))
                .flatten()
                .copied()
                .collect();
            if who.len() == 1 {
                needs.extend(who);
            }
        }
        needs
    };
    packages
        .iter()
        .map(|package| (package.name(), of(package)))
        .collect()
}

/// Pairs of packages of which the first must be configured before the second: it is needed, and needs nothing that needs
/// the second.
fn pairs(packages: &[Installed]) -> Vec<(&str, &str)> {
    let needs = needs(packages);
    let reaches = |from: &str, to: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(&needs[next]);
            }
        }
        seen.contains(to)
    };
    let all = needs
        .iter()
        .flat_map(|(package, needs)| needs.iter().map(move |need| (*need, *package)));
    all.filter(|(need, package)| !reaches(need, package)).collect()
}

#[test]
fn recorded_suites_are_configured_in_an_order_that_apt_would_take() {
    for suite in ["noble", "jammy"] {
        let text = index_of(suite);
        let (chosen, calls) = simulated(suite);
        let packages: Vec<Installed> = paragraphs(&text)
            .filter(|paragraph| chosen.contains_key(paragraph.get("Package").unwrap()))
            .map(|paragraph| Installed {
                control: Control {
                    text: paragraph.text().to_owned(),
                    files: Vec::new(),
                },
                unpacked: unpack::Unpacked::default(),
            })
            .collect();
        let ours = Needs::of(&packages).order(&packages);
        let ours: Vec<&str> = ours.iter().map(|number| packages[*number].name()).collect();
        assert_eq!(ours.len(), chosen.len());
        let pairs = pairs(&packages);
        assert!(pairs.len() > 100, "{suite}: {} pairs", pairs.len());
        let at = |order: &[&str], name: &str| order.iter().position(|other| *other == name);
        for (need, package) in pairs {
            let orders = calls
                .iter()
                .map(|call| call.iter().map(String::as_str).collect::<Vec<_>>());
            for theirs in orders {
                // The second call has nothing of what only the first one needs.
                if let (Some(need_at), Some(package_at)) = (at(&theirs, need), at(&theirs, package)) {
                    assert!(need_at < package_at, "{suite}: apt has {package} before {need}");
                }
            }
            assert!(
                FIRST.contains(&package) || at(&ours, need) < at(&ours, package),
                "{suite}: {package} comes before {need}"
            );
        }
    }
}

/// What packages decide alone: directories get owners and times from all of them together.
fn without_directories(snapshot: Snapshot) -> Snapshot {
    let mut snapshot = snapshot;
    snapshot.retain(|_, file| file.kind != Kind::Directory);
    snapshot
}

#[test]
fn packages_in_every_compression_are_unpacked_as_dpkg_unpacks_them() {
    if !require(&["dpkg-deb"]) || !require_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let put = |path: &str, bytes: &[u8]| {
        let path = source.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let control = "Package: toy\nVersion: 1:2.0-1ubuntu1\nArchitecture: all\nMaintainer: Toy <toy@archive.invalid>\nDescription: toy\n";
    put("DEBIAN/control", control.as_bytes());
    put("DEBIAN/conffiles", b"/etc/toy.conf\n");
    put("etc/toy.conf", b"conf\n");
    // More than one block of any compression.
    let large: Vec<u8> = (0..600_000_u32)
        .flat_map(|n| (n.wrapping_mul(n)).to_le_bytes())
        .collect();
    put("usr/lib/toy/large", &large);
    put("usr/bin/toy", b"#!/bin/sh\n");
    let at = |path: &str| source.join(path);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    fs::set_permissions(at("usr/bin/toy"), mode).unwrap();
    fs::hard_link(at("usr/bin/toy"), at("usr/bin/also")).unwrap();
    std::os::unix::fs::symlink("../bin/toy", at("usr/lib/link")).unwrap();
    let dpkg_deb = |args: &[&str]| {
        let args = args.iter().map(std::ffi::OsStr::new).collect::<Vec<_>>();
        oracle::run("dpkg-deb", &args)
    };
    for form in ["zstd", "xz", "gzip", "none"] {
        let [path, theirs, ours] =
            ["deb", "theirs", "ours"].map(|name| dir.path().join(format!("{form}.{name}")));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let compression = format!("-Z{form}");
        let args = ["--root-owner-group", "--uniform-compression", &compression, "-b"];
        dpkg_deb(&[&args[..], &[&text(&source), &text(&path)]].concat());
        dpkg_deb(&["-x", &text(&path), &text(&theirs)]);
        fs::create_dir(&ours).unwrap();
        let deb = Deb::open(&path).unwrap();
        let read = deb.control().unwrap();
        assert_eq!(read.text, control, "{form}");
        let unpacked = unpack::unpack(&deb, &read, &Rooted::open(&ours).unwrap()).unwrap();
        assert!(unpacked.clashes.is_empty(), "{form}");
        let [theirs, ours] = [&theirs, &ours].map(|root| without_directories(snapshot::of_dir(root)));
        assert_eq!(theirs.len(), 5, "{form}");
        snapshot::assert_same(&theirs, &ours);
    }
}
