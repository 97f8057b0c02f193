//! Laws of what an archive sends: every byte of it is a stranger's until a key has vouched for it, and much even then.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::sync::LazyLock;
use std::time::SystemTime;

use image_core::laws::Draw;

use crate::bootstrap::deb::Deb;
use crate::bootstrap::deb822::paragraphs;
use crate::bootstrap::index::Index;
use crate::bootstrap::lock::Lock;
use crate::bootstrap::relation::groups;
use crate::bootstrap::release::{Release, is_below};
use crate::bootstrap::settle::diversions;
use crate::bootstrap::signature::{Keyring, verify_detached, verify_inline};
use crate::bootstrap::solve::{SolveError, Wanted, solve};
use crate::bootstrap::sources::Source;
use crate::bootstrap::version::compare;

/// A text of some of these pieces, or bytes.
fn text(draw: &mut Draw<'_>, pieces: &[&str], most: u64) -> String {
    let mut text = Vec::new();
    for _ in 0..draw.below(most) {
        match draw.below(16) {
            15 => text.push(draw.byte()),
            _ => text.extend(draw.pick(pieces).bytes()),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Versions have one order, whatever they are: no two are each later than the other, and it goes on over three.
pub fn package_versions(bytes: &[u8]) {
    const PIECES: [&str; 12] = ["0", "1", "9", "00", "10", "~", "+", "-", ".", ":", "a", "Z"];
    let mut draw = Draw::new(bytes);
    let [a, b, c] = [(); 3].map(|()| text(&mut draw, &PIECES, 8));
    assert_eq!(compare(&a, &a), Ordering::Equal);
    assert_eq!(compare(&a, &b), compare(&b, &a).reverse(), "{a} {b}");
    if compare(&a, &b) == compare(&b, &c) {
        assert_eq!(compare(&a, &c), compare(&a, &b), "{a} {b} {c}");
    }
}

/// Whatever stands in a relation, what is read of it, written out, is read as the same.
pub fn package_relations(bytes: &[u8]) {
    const PIECES: [&str; 14] = [
        "a", "b-c", ":any", " ", "(", ">= ", "<<", "1.0~", ")", "|", ",", "[x]", "<y>", "\n",
    ];
    let field = text(&mut Draw::new(bytes), &PIECES, 24);
    for group in groups(&field).filter_map(Result::ok) {
        assert!(!group.is_empty());
        let written: Vec<String> = group.iter().map(ToString::to_string).collect();
        let written = written.join(" | ");
        let again: Vec<_> = groups(&written).collect();
        assert_eq!(again, [Ok(group)], "{written}");
    }
}

/// Descriptions of suites, lines of sources, locks and diversions are read, or the reason is told; no path that comes
/// of one leads out of where it should be.
pub fn archive_texts(bytes: &[u8]) {
    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const PIECES: [&str; 22] = [
        "Suite: x\n",
        "SHA256:\n",
        " ",
        SUM,
        " 1 ",
        "a/b",
        "../",
        "/",
        "\n",
        "Date: ",
        "Sat, 01 Jan 2000 00:00:00 UTC",
        "Valid-Until:",
        "deb ",
        "[trusted=yes] ",
        "http://h",
        "file:/m",
        " main",
        "{\"version\":1,",
        "\"packages\":[",
        "\"",
        "#",
        ":",
    ];
    let text = text(&mut Draw::new(bytes), &PIECES, 24);
    match Release::parse(&text) {
        Ok(release) => assert!(release.files.keys().all(|path| is_below(path))),
        Err(told) => assert!(!told.to_string().is_empty()),
    }
    if let Ok(Some(source)) = Source::parse(&text) {
        let shown = source
            .url_of("x")
            .expect("a source that was read has addresses")
            .to_string();
        // What the archive's own address leads through is its owner's business.
        assert!(shown.ends_with("/x"), "{shown}");
    }
    assert!(Lock::parse(&text).is_err() || text.contains("version"));
    let _ = diversions(text.as_bytes());
    let whole: usize = paragraphs(&text).map(|paragraph| paragraph.text().len()).sum();
    assert!(whole <= text.len());
}

/// A solution has every package that its packages need, and none twice; and what has none is told.
pub fn package_solutions(bytes: &[u8]) {
    const NAMES: [&str; 6] = ["apt", "b", "c", "d", "e", "v"];
    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mut draw = Draw::new(bytes);
    let mut text = String::new();
    for name in NAMES.iter().take(5) {
        let mut fields = String::new();
        for field in ["Depends", "Pre-Depends", "Provides", "Conflicts", "Breaks"] {
            if draw.below(3) == 0 {
                let sign = *draw.pick(&["", " (>= 1)", " (<< 1)", " (= 1)"]);
                let mark = *draw.pick(&[",", "|"]);
                let mark = if field.ends_with("Depends") { mark } else { "," };
                let [one, two] = [(); 2].map(|()| *draw.pick(&NAMES));
                let _ = writeln!(fields, "{field}: {one}{sign} {mark} {two}");
            }
        }
        let essential = if draw.below(4) == 0 {
            "Essential: yes\n"
        } else {
            ""
        };
        let _ = write!(
            text,
            "Package: {name}\nVersion: 1\nArchitecture: all\n{essential}{fields}Filename: x\nSize: 1\nSHA256: {SUM}\n\n"
        );
    }
    let mut index = Index::default();
    index.add(&text, 0, "amd64").expect("the text is sound");
    index.complete();
    let wanted = Wanted {
        architecture: "amd64",
        ..Wanted::default()
    };
    let solution = match solve(&index, &wanted) {
        Ok(solution) => solution,
        Err(SolveError::Relation { package, text }) => panic!("{package}: {text}"),
        Err(told) => return assert!(!told.to_string().is_empty()),
    };
    for package in solution.packages.values() {
        for group in package.depends().map(|group| group.expect("the text is sound")) {
            let met = group.iter().any(|wanted| {
                let candidates = index.candidates(wanted, "amd64");
                candidates
                    .iter()
                    .any(|package| solution.packages.contains_key(package.name))
            });
            assert!(met, "{}: {group:?}", package.name);
        }
    }
}

/// A package file, damaged somewhere, is read or refused; what is read of it ends.
pub fn package_files(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    tar.append_data(&mut header, "./control", &b"A: b"[..])
        .expect("memory takes it");
    let tar = tar.into_inner().expect("memory takes it");
    let mut whole = b"!<arch>\n".to_vec();
    for (name, part) in [
        ("debian-binary", &b"2.0\n"[..]),
        ("control.tar", &tar),
        ("data.tar", &tar),
    ] {
        let head = format!("{name:<16}{:<32}{:<10}`\n", "", part.len());
        whole.extend(head.bytes());
        whole.extend(part);
    }
    for _ in 0..draw.below(6) {
        let at = usize::try_from(draw.below(whole.len() as u64)).expect("it is small");
        whole[at] = draw.byte();
    }
    let keep = usize::try_from(draw.below(whole.len() as u64 + 1)).expect("it is small");
    whole.truncate(if draw.below(2) == 0 { whole.len() } else { keep });
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    file.write_all(&whole).expect("it can be written");
    let Ok(deb) = Deb::of(file) else { return };
    if let Ok(control) = deb.control() {
        assert!(!control.text.trim().is_empty());
    }
    if let Ok(mut archive) = deb.data()
        && let Ok(entries) = archive.entries()
    {
        let mut read = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            let _ = entry.take(1 << 20).read_to_end(&mut read);
        }
    }
}

static RINGS: LazyLock<Vec<Keyring>> =
    LazyLock::new(|| Keyring::shipped().expect("the shipped keys are keys"));

/// Nothing that is not signed by a known key passes for signed, however it looks.
pub fn signed_texts(bytes: &[u8]) {
    const PIECES: [&str; 10] = [
        "-----BEGIN PGP SIGNED MESSAGE-----\n",
        "Hash: SHA256\n",
        "\n",
        "Suite: x\n",
        "- -",
        "-----BEGIN PGP SIGNATURE-----\n\n",
        "iQIzBAEBCgAdFiEE",
        "=abcd\n",
        "-----END PGP SIGNATURE-----\n",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n",
    ];
    let text = text(&mut Draw::new(bytes), &PIECES, 16);
    let rings: &[Keyring] = &RINGS;
    let now = SystemTime::UNIX_EPOCH;
    assert!(verify_inline(text.as_bytes(), rings, now).is_err());
    assert!(verify_detached(b"", text.as_bytes(), rings, now).is_err());
    assert!(verify_detached(b"", bytes, rings, now).is_err());
    let _ = Keyring::read(text.as_bytes(), "it");
    let _ = Keyring::read(bytes, "it");
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn package_versions(bytes in vec(any::<u8>(), 0..40)) {
            super::package_versions(&bytes);
        }

        #[test]
        fn package_relations(bytes in vec(any::<u8>(), 0..60)) {
            super::package_relations(&bytes);
        }

        #[test]
        fn archive_texts(bytes in vec(any::<u8>(), 0..60)) {
            super::archive_texts(&bytes);
        }

        #[test]
        fn package_solutions(bytes in vec(any::<u8>(), 0..60)) {
            super::package_solutions(&bytes);
        }

        #[test]
        fn package_files(bytes in vec(any::<u8>(), 0..40)) {
            super::package_files(&bytes);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn signed_texts(bytes in vec(any::<u8>(), 0..60)) {
            super::signed_texts(&bytes);
        }
    }
}
