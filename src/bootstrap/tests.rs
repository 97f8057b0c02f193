//! What the modules of a bootstrap do with each other, on archives and packages made here.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use super::database::{self, Installed};
use super::deb::Deb;
use super::index::{Index, IndexError};
use super::lock::{Chosen, Lock};
use super::order::Needs;
use super::settle::{diversions, settle};
use super::signature::{Keyring, SignatureError, verify_inline};
use super::solve::{SolveError, Wanted, solve};
use super::unpack::{self, unpack_some};
use crate::sandbox::rooted::Rooted;

const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// An index of packages: a name, which may have a version after `=`, and more fields.
fn index_text(packages: &[(&str, &str)]) -> String {
    let paragraph = |(name, fields): &(&str, &str)| {
        let (name, version) = name.split_once('=').unwrap_or((name, "1"));
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}Filename: pool/{name}.deb\nSize: 1\nSHA256: {SUM}\n"
        )
    };
    packages.iter().map(paragraph).collect::<Vec<_>>().join("\n")
}

/// The names that a root is made of.
fn solved(packages: &[(&str, &str)], include: &[&str], exclude: &[&str]) -> Result<String, SolveError> {
    let base = [("base", "Essential: yes\n"), ("apt", "Priority: important\n")];
    let text = index_text(&[&base, packages].concat());
    let mut index = Index::default();
    index.add(&text, 0, "amd64").unwrap();
    index.complete();
    let wanted = Wanted {
        architecture: "amd64",
        include: include.to_vec(),
        exclude: exclude.to_vec(),
    };
    let solution = solve(&index, &wanted)?;
    let all = solution
        .packages
        .values()
        .filter(|package| !["base", "apt"].contains(&package.name));
    Ok(all
        .map(|package| format!("{}={}", package.name, package.version))
        .collect::<Vec<_>>()
        .join(" "))
}

#[test]
fn needs_are_met_as_apt_meets_them() {
    let solved = |packages: &[(&str, &str)], include: &[&str]| solved(packages, include, &[]).unwrap();
    // The latest version, by dpkg's order.
    assert_eq!(
        solved(&[("a=1.9", ""), ("a=1.10", ""), ("a=1.10~x", "")], &["a"]),
        "a=1.10"
    );
    // What is required comes by itself, what is optional does not.
    assert_eq!(
        solved(
            &[("r", "Priority: required\n"), ("o", "Priority: optional\n")],
            &[]
        ),
        "r=1"
    );
    // The first alternative, unless another one is there anyway.
    let choice = [
        ("a", "Depends: x | y\n"),
        ("x", ""),
        ("y", ""),
        ("z", "Depends: y\n"),
    ];
    assert_eq!(solved(&choice, &["a"]), "a=1 x=1");
    assert_eq!(solved(&choice, &["a", "z"]), "a=1 y=1 z=1");
    // An alternative that the archive does not have, or not in that version, is none.
    assert_eq!(
        solved(
            &[("a", "Depends: x (>= 2) | n | y\n"), ("x", ""), ("y", "")],
            &["a"]
        ),
        "a=1 y=1"
    );
    // Who provides a name: the most needed first; with a version only if it provides that.
    let provided = [
        ("a", "Depends: mail\n"),
        ("m", "Provides: mail\n"),
        ("n", "Provides: mail (= 3)\nPriority: important\n"),
        ("b", "Pre-Depends: mail (>= 2)\n"),
        ("c", "Depends: mail (>= 4) | m:any\n"),
    ];
    assert_eq!(solved(&provided, &["a"]), "a=1 n=1");
    assert_eq!(solved(&provided, &["b"]), "b=1 n=1");
    assert_eq!(solved(&provided, &["c"]), "c=1 m=1");
    // What cannot be with what is there is not taken.
    let rivals = [
        ("a", "Depends: x | y\n"),
        ("x", "Conflicts: w\n"),
        ("y", ""),
        ("w", ""),
    ];
    assert_eq!(solved(&rivals, &["a", "w"]), "a=1 w=1 y=1");
    // Circles end.
    assert_eq!(
        solved(&[("a", "Depends: b\n"), ("b", "Depends: a\n")], &["b"]),
        "a=1 b=1"
    );
    // Another architecture is no package of ours.
    assert_eq!(
        solved(&[("a", "Depends: x:i386 | x:amd64\n"), ("x", "")], &["a"]),
        "a=1 x=1"
    );
}

#[test]
fn what_cannot_be_solved_is_named() {
    let told = |packages: &[(&str, &str)], include: &[&str], exclude: &[&str]| {
        solved(packages, include, exclude).unwrap_err().to_string()
    };
    assert_eq!(told(&[], &["nano"], &[]), "the archive has no package nano");
    assert_eq!(
        told(&[("a=2", "Depends: x (>= 3) | y\n"), ("x", "")], &["a"], &[]),
        "a 2 needs x (>= 3) | y, which the archive does not have"
    );
    assert_eq!(
        told(&[("a", "Breaks: b (<< 2)\n"), ("b", "")], &["a", "b"], &[]),
        "a cannot be installed with b"
    );
    assert_eq!(
        told(&[("a", "Depends: b\n"), ("b", "Breaks: a\n")], &["a"], &[]),
        "b cannot be installed with a"
    );
    assert_eq!(
        told(&[("a", "Depends: b\n"), ("b", "")], &["a"], &["b"]),
        "b is excluded, but a needs it"
    );
    assert_eq!(
        told(&[("a", "Depends: (x)\n")], &["a"], &[]),
        "a has a relation that makes no sense: '(x)'"
    );
    let none = solve(
        &Index::default(),
        &Wanted {
            architecture: "vax",
            ..Wanted::default()
        },
    );
    assert_eq!(
        none.unwrap_err().to_string(),
        "the archive has no essential package for vax"
    );
}

#[test]
fn an_index_is_read_or_its_package_named() {
    let read = |text: &str| Index::default().add(text, 0, "amd64");
    let sound = index_text(&[("a", "")]);
    assert_eq!(read(&sound), Ok(()));
    assert_eq!(read("Version: 1\n"), Err(IndexError::NoName));
    for (from, to, field) in [
        ("Package: a", "Package: ../a", "Package"),
        ("Version: 1", "Version: 1 2", "Version"),
        ("pool/a.deb", "pool/../../a.deb", "Filename"),
        ("Size: 1", "Size: one", "Size"),
        (SUM, "abc", "SHA256"),
    ] {
        let told = read(&sound.replace(from, to)).unwrap_err().to_string();
        assert!(told.contains(field), "{told}");
    }
    let foreign = sound.replace("amd64", "i386");
    let mut index = Index::default();
    index.add(&foreign, 0, "amd64").unwrap();
    assert!(index.get("a").is_none());
}

/// A package file: its control files, and the members of its data.
fn deb(dir: &Path, control: &[(&str, &str)], data: &dyn Fn(&mut tar::Builder<Vec<u8>>)) -> Deb {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in control {
        member(
            &mut builder,
            &format!("./{name}"),
            tar::EntryType::Regular,
            text,
            0o755,
        );
    }
    let control = builder.into_inner().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    data(&mut builder);
    let data = builder.into_inner().unwrap();
    let mut ar = b"!<arch>\n".to_vec();
    for (name, bytes) in [
        ("debian-binary", &b"2.0\n"[..]),
        ("control.tar", &control),
        ("data.tar", &data),
    ] {
        ar.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                100_644,
                bytes.len()
            )
            .bytes(),
        );
        ar.extend(bytes);
        if !bytes.len().is_multiple_of(2) {
            ar.push(b'\n');
        }
    }
    let path = dir.join("x.deb");
    fs::write(&path, ar).unwrap();
    Deb::open(&path).unwrap()
}

/// A member whose content, or target, is `text`. Names are written as they are, however hostile.
fn member(builder: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, text: &str, mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_000);
    let ids = fs::metadata("/proc/self").unwrap();
    header.set_uid(ids.uid().into());
    header.set_gid(ids.gid().into());
    let is_file = kind == tar::EntryType::Regular;
    if !is_file {
        header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
    }
    let content = if is_file { text } else { "" };
    header.set_size(content.len() as u64);
    header.set_cksum();
    builder.append(&header, content.as_bytes()).unwrap();
}

use tar::EntryType::{Directory, Link, Regular, Symlink};

/// Unpacks a package of these members into a tree.
fn installed(
    tree: &Path,
    name: &str,
    control: &[(&str, &str)],
    members: &[(&str, tar::EntryType, &str)],
) -> Result<(Installed, Deb), String> {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "Package: {name}\nVersion: 1\nArchitecture: all\n{}",
        control.first().map_or("", |one| one.1)
    );
    let mut files = vec![("control", text.as_str())];
    files.extend(control.iter().skip(1));
    let deb = deb(dir.path(), &files, &|builder| {
        for (path, kind, text) in members {
            member(builder, path, *kind, text, 0o755);
        }
    });
    let control = deb.control().map_err(|error| error.to_string())?;
    let unpacked =
        unpack::unpack(&deb, &control, &Rooted::open(tree).unwrap()).map_err(|error| error.to_string())?;
    Ok((Installed { control, unpacked }, deb))
}

#[test]
fn packages_are_unpacked_as_dpkg_does_it() {
    let tree = tempfile::tempdir().unwrap();
    let path = |path: &str| tree.path().join(path);
    fs::create_dir_all(path("usr/bin")).unwrap();
    symlink("usr/bin", path("bin")).unwrap();
    let (package, _) = installed(
        tree.path(),
        "a",
        &[
            ("control", ""),
            ("conffiles", "/etc/a\nremove-on-upgrade /etc/b\n"),
            ("md5sums", ""),
        ],
        &[
            ("./", Directory, ""),
            ("./bin/", Directory, ""),
            ("./bin/a", Regular, "text"),
            ("./usr/bin/b", Link, "./bin/a"),
            ("./etc/a", Regular, "conf"),
            ("./link", Symlink, "/anywhere"),
        ],
    )
    .unwrap();
    assert!(path("bin").is_symlink(), "a link to a directory stays");
    assert_eq!(fs::read_to_string(path("usr/bin/a")).unwrap(), "text");
    assert_eq!(fs::metadata(path("usr/bin/b")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(path("bin/a")).unwrap().mtime(), 1_000);
    assert_eq!(fs::read_link(path("link")).unwrap(), Path::new("/anywhere"));
    assert!(package.unpacked.clashes.is_empty());
    let root = Rooted::open(tree.path()).unwrap();
    database::write(&root, "amd64", [&package].into_iter()).unwrap();
    let read = |name: &str| fs::read_to_string(path("var/lib/dpkg").join(name)).unwrap();
    assert_eq!(
        read("info/a.list"),
        "/.\n/bin\n/bin/a\n/usr/bin/b\n/etc/a\n/link\n"
    );
    // printf conf | md5sum
    let status = "Package: a\nStatus: install ok unpacked\nVersion: 1\nArchitecture: all\nConffiles:\n /etc/a 0e9b17b7c6f6cb0b71d8f9d1a4a6a0d5\n";
    let sum = read("status")
        .lines()
        .last()
        .unwrap()
        .split(' ')
        .next_back()
        .unwrap()
        .to_owned();
    assert_eq!(
        read("status").replace(&sum, "SUM"),
        status.replace("0e9b17b7c6f6cb0b71d8f9d1a4a6a0d5", "SUM")
    );
    assert_eq!((sum.len(), read("arch").as_str()), (32, "amd64\n"));
}

#[test]
fn hostile_members_are_refused_by_name() {
    let outside = tempfile::tempdir().unwrap();
    let tree = tempfile::tempdir().unwrap();
    symlink(outside.path(), tree.path().join("out")).unwrap();
    let told = |members: &[(&str, tar::EntryType, &str)]| {
        installed(tree.path(), "a", &[("control", "")], members)
            .map(drop)
            .unwrap_err()
    };
    assert_eq!(
        told(&[("../x", Regular, "x")]),
        "its member '../x' leads out of the tree"
    );
    assert!(told(&[("./a\nb", Regular, "x")]).contains("leads out of the tree"));
    assert!(told(&[("./out/x", Regular, "x")]).contains("its member 'out/x' cannot be written"));
    assert!(told(&[("./h", Link, "../../etc/passwd")]).contains("leads out of the tree"));
    assert!(told(&[("./h", Link, "etc/nothing")]).contains("its member 'h' cannot be written"));
    assert!(told(&[("./l", Symlink, "")]).contains("its member 'l' is a link to nothing"));
    assert!(told(&[("./", Regular, "x")]).contains("the tree itself"));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn files_of_two_packages_are_settled() {
    let tree = tempfile::tempdir().unwrap();
    let root = Rooted::open(tree.path()).unwrap();
    let read = |path: &str| fs::read_to_string(tree.path().join(path)).unwrap();
    let package = |name: &str, fields: &str, paths: &[&str]| {
        let members: Vec<_> = paths.iter().map(|path| (*path, Regular, name)).collect();
        installed(tree.path(), name, &[("control", fields)], &members).unwrap()
    };
    let (a, _) = package("a", "", &["./x", "./d"]);
    let (b, b_deb) = package("b", "Replaces: a (<< 2)\n", &["./x"]);
    let (c, _) = package("c", "", &["./d"]);
    let mut both = [a, b];
    let (moves, losers) = settle(&mut both, &[]).unwrap();
    assert_eq!(losers, [0], "the file is no longer a's");
    unpack_some(&b_deb, &moves[&1], &root).unwrap();
    assert_eq!(read("x"), "b");
    let [a, b] = both;
    assert_eq!(a.unpacked.places, [b"d".to_vec()]);
    let told = settle(&mut [a, c], &[]).unwrap_err().to_string();
    assert_eq!(told, "a and c both bring /d");

    let diverted = diversions(b"/x\n/x.distrib\nb\n/broken\n");
    assert_eq!(diverted.len(), 1);
    let (a, a_deb) = package("a", "", &["./x"]);
    let mut both = [a, b];
    let (moves, losers) = settle(&mut both, &diverted).unwrap();
    assert!(losers.is_empty());
    unpack_some(&a_deb, &moves[&0], &root).unwrap();
    unpack_some(&b_deb, &moves[&1], &root).unwrap();
    assert_eq!((read("x"), read("x.distrib")), ("b".into(), "a".into()));
}

#[test]
fn what_others_need_comes_first() {
    let tree = tempfile::tempdir().unwrap();
    let package = |name: &str, fields: &str| {
        installed(tree.path(), name, &[("control", fields)], &[])
            .unwrap()
            .0
    };
    let packages = [
        package("a", "Depends: c, virtual\n"),
        package("b", "Provides: virtual\nPre-Depends: d\n"),
        package("base-passwd", "Depends: d\n"),
        package("c", "Depends: a\n"),
        package("d", ""),
    ];
    let needs = Needs::of(&packages);
    let order = needs.order(&packages);
    let names: Vec<&str> = order.iter().map(|number| packages[*number].name()).collect();
    assert_eq!(names, ["base-passwd", "d", "b", "c", "a"]);
    assert_eq!(needs.before_unpacking(1).into_iter().collect::<Vec<_>>(), [4]);
}

#[test]
fn packages_that_are_none_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let whole = {
        drop(deb(dir.path(), &[("control", "Package: a\n")], &|_| {}));
        fs::read(dir.path().join("x.deb")).unwrap()
    };
    let told = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Deb::of(File::open(&path).unwrap())
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert!(told(b"").ends_with("it is too short"));
    assert!(told(b"no archive").ends_with("it does not begin as one"));
    assert!(told(&whole[..whole.len() - 600]).ends_with("a member ends early"));
    assert!(told(&whole[..70]).ends_with("a member ends early"));
    assert!(told(b"!<arch>\n").ends_with("it has no control.tar"));
    let mut other = whole.clone();
    other[8] = b'x';
    assert!(told(&other).ends_with("its first member is not debian-binary"));
    let odd = deb(dir.path(), &[("control", "Package: a\n"), ("a b", "")], &|_| {});
    assert!(odd.control().unwrap_err().to_string().contains("odd name"));
    let empty = deb(dir.path(), &[("postinst", "")], &|_| {});
    assert!(empty.control().unwrap_err().to_string().contains("no control"));
}

#[test]
fn the_shipped_keys_are_keys_and_vouch_for_nobody_else() {
    let rings = Keyring::shipped().unwrap();
    assert_eq!(rings.len(), 2);
    assert!(rings[0].may_sign("Debian") && !rings[0].may_sign("Ubuntu"));
    let now = std::time::SystemTime::now();
    let told = verify_inline(b"Suite: x\n", &rings, now).map(drop).unwrap_err();
    assert!(matches!(told, SignatureError::Form(_)), "{told}");
    assert!(Keyring::read(b"", "it").is_err() && Keyring::read(b"-----BEGIN PGP", "it").is_err());
}

#[test]
fn locks_are_read_with_suspicion() {
    let chosen = Chosen {
        name: "a".into(),
        version: "1".into(),
        architecture: "all".into(),
        sha256: SUM.into(),
        size: 1,
        archive: "http://h/debian".into(),
        filename: "pool/a.deb".into(),
        essential: true,
        automatic: false,
    };
    let lock = Lock::new("x", "amd64", &["b".into()], vec![chosen]);
    let text = lock.text();
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    for (from, to, told) in [
        (SUM, "abc", "package 'a' has no sound sha256"),
        ("pool/a.deb", "../a.deb", "package 'a' has no sound filename"),
        ("http://h/debian", "ftp://h", "package 'a' has no sound archive"),
        (
            "\"version\": 1,",
            "\"version\": 2,",
            "its form is version 2, not 1",
        ),
        ("\n  ]\n}", "", "EOF"),
    ] {
        let error = Lock::parse(&text.replace(from, to)).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
    assert!(lock.must_fit("x", "amd64", &["b".into(), "b".into()]).is_ok());
    let told = |suite, architecture| lock.must_fit(suite, architecture, &[]).unwrap_err().to_string();
    assert!(told("y", "amd64").starts_with("the lock is for suite 'x', not 'y'"));
    assert!(told("x", "i386").starts_with("the lock is for architecture 'amd64', not 'i386'"));
    assert!(told("x", "amd64").starts_with("the lock is for the packages 'b', not ''"));
}
