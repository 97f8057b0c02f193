//! Archives of every kind, the hostile ones too; those that a tool can make are made by GNU tar.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use super::*;

/// A place to unpack to, and one beside it that must stay as it is.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::write(dir.path().join("victim"), "whole").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("in").join(name)
    }

    fn unpack(&self, archive: Vec<u8>, word: &str) -> Result<(), String> {
        let into = Rooted::open(&self.path("")).unwrap();
        let selection = Selection::parse(word).unwrap();
        let done = unpack(io::Cursor::new(archive), &into, &selection).map_err(|error| error.to_string());
        assert_eq!(
            std::fs::read_to_string(self.dir.path().join("victim")).unwrap(),
            "whole"
        );
        assert_eq!(std::fs::read_dir(self.dir.path()).unwrap().count(), 2);
        done
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// All that is there, sorted.
    fn names(&self) -> String {
        let mut found = Vec::new();
        let mut left = vec![self.path("")];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
                let name = entry
                    .path()
                    .strip_prefix(self.path(""))
                    .unwrap()
                    .display()
                    .to_string();
                found.push(name);
                if entry.file_type().unwrap().is_dir() {
                    left.push(entry.path());
                }
            }
        }
        found.sort();
        found.join(" ")
    }
}

/// A name, a kind, and the content or where the link leads.
type Member<'a> = (&'a str, EntryType, &'a str);

/// An archive of members, their names unchecked.
fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, text) in members {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        header.set_mtime(1_000_000_000);
        let link = kind.is_symlink() || kind.is_hard_link();
        let bytes = if link || kind.is_dir() { "" } else { text };
        if link {
            header.as_gnu_mut().unwrap().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, bytes.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

const FILE: EntryType = EntryType::Regular;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

#[test]
fn members_come_with_mode_and_time_and_without_privileges() {
    let place = Place::new();
    let members = [
        ("d/", EntryType::Directory, ""),
        ("d/file", FILE, "one"),
        ("/d/absolute", FILE, "two"),
        ("d/link", LINK, "../../nowhere"),
        ("d/hard", HARD, "d/file"),
        ("./e/f/deep", FILE, "three"),
        ("d/file", FILE, "again"),
    ];
    place.unpack(archive(&members), ".").unwrap();
    assert_eq!(place.names(), "d d/absolute d/file d/hard d/link e e/f e/f/deep");
    assert_eq!(
        (place.text("d/hard"), place.text("d/file")),
        ("one".into(), "again".into())
    );
    let meta = std::fs::metadata(place.path("d/file")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o755, 1_000_000_000));
    assert_eq!(std::fs::metadata(place.path("d")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(
        std::fs::read_link(place.path("d/link")).unwrap(),
        Path::new("../../nowhere")
    );
}

#[test]
fn nothing_leads_out() {
    let outside = |place: &Place| place.dir.path().join("victim").display().to_string();
    let table: [(&[Member<'_>], &str); 9] = [
        (
            &[("../victim", FILE, "x")],
            "member '../victim' leads out of the archive",
        ),
        (&[("a/../../victim", FILE, "x")], "leads out of the archive"),
        (&[("a", LINK, ".."), ("a/victim", FILE, "x")], ""),
        (&[("a", LINK, "@"), ("a", FILE, "x")], ""),
        (&[("a", HARD, "../victim")], "member 'a' leads out of the archive"),
        (&[("a", HARD, "@")], "member 'a' cannot be written: "),
        (
            &[("a", LINK, "@"), ("b", HARD, "a")],
            "member 'b' is a link to no regular file",
        ),
        (&[("a", EntryType::Char, "")], "member 'a' is a device"),
        (&[("a", EntryType::Fifo, "")], "member 'a' is a fifo"),
    ];
    for (members, told) in table {
        let place = Place::new();
        let victim = outside(&place);
        let members: Vec<_> = members
            .iter()
            .map(|(name, kind, text)| (*name, *kind, if *text == "@" { &victim } else { *text }))
            .collect();
        let done = place.unpack(archive(&members), ".");
        match done {
            Ok(()) => assert_eq!(told, "", "{members:?}"),
            Err(error) => assert!(!told.is_empty() && error.contains(told), "{members:?}: {error}"),
        }
    }
    // What was there before, too, leads nowhere but inside.
    let place = Place::new();
    symlink(place.dir.path(), place.path("out")).unwrap();
    assert!(place.unpack(archive(&[("out/victim", FILE, "x")]), ".").is_err());
}

#[test]
fn words_select() {
    let members = [
        ("top", FILE, "top"),
        ("x-1.0/a", FILE, "a"),
        ("x-1.0/sub/b", FILE, "b"),
        (".hidden/c", FILE, "c"),
        ("y/.d", FILE, "d"),
        ("x-1.0/hard", HARD, "x-1.0/a"),
    ];
    let selected = |word: &str| {
        let place = Place::new();
        place.unpack(archive(&members), word).map(|()| place.names())
    };
    assert_eq!(
        selected(".").unwrap(),
        ".hidden .hidden/c top x-1.0 x-1.0/a x-1.0/hard x-1.0/sub x-1.0/sub/b y y/.d"
    );
    assert_eq!(selected("*").unwrap(), ".d a hard sub sub/b");
    assert_eq!(selected("x-*").unwrap(), "a hard sub sub/b");
    assert_eq!(selected("./x-1.?/sub/").unwrap(), "b");
    assert_eq!(selected("y").unwrap(), ".d");
    assert_eq!(selected("z").unwrap_err(), "the archive has no z/");
    assert_eq!(Selection::parse("../x"), None);
    let patterns = [
        ("*", "a", true),
        ("a*c*e", "abcde", true),
        ("a*c", "abcd", false),
        ("??", "a", false),
        ("", "", true),
    ];
    for (pattern, name, is) in patterns {
        assert_eq!(
            matches(pattern.as_bytes(), name.as_bytes()),
            is,
            "{pattern} {name}"
        );
    }
}

#[test]
fn what_tar_makes_is_read_however_it_is_compressed() {
    if !oracle::require(&["tar", "gzip", "bzip2", "xz", "zstd"]) {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    let long = "n".repeat(200);
    std::fs::create_dir_all(source.path().join(&long)).unwrap();
    std::fs::write(source.path().join(&long).join("file"), "text".repeat(50_000)).unwrap();
    let sparse = File::create(source.path().join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (1 << 20) - 3).unwrap();
    for options in [
        &["-cf"][..],
        &["-czf"],
        &["-cjf"],
        &["-cJf"],
        &["--zstd", "-cf"],
        &["--sparse", "-H", "gnu", "-cf"],
        &["-H", "posix", "-cf"],
        &["-H", "posix", "--sparse", "-cf"],
    ] {
        let made = tempfile::NamedTempFile::new().unwrap();
        let words: Vec<_> = options.iter().map(OsStr::new).collect();
        let rest = [
            made.path().as_os_str(),
            "-C".as_ref(),
            source.path().as_os_str(),
            ".".as_ref(),
        ];
        oracle::run("tar", &[&words[..], &rest].concat());
        let place = Place::new();
        let done = place.unpack(std::fs::read(made.path()).unwrap(), ".");
        if options.starts_with(&["-H", "posix", "--sparse"]) {
            assert!(done.unwrap_err().contains("is sparse in a form that is not read"));
            continue;
        }
        done.unwrap();
        assert_eq!(
            place.text(&format!("{long}/file")),
            "text".repeat(50_000),
            "{options:?}"
        );
        let read = std::fs::read(place.path("sparse")).unwrap();
        assert!(read.len() == 1 << 20 && read.ends_with(b"\0end"), "{options:?}");
    }
}

#[test]
fn what_is_no_archive_is_told() {
    for bytes in [
        &b"no archive at all, but more than nothing"[..],
        &[0x1f, 0x8b, 1, 2],
        &[7; 2000],
    ] {
        let told = Place::new().unpack(bytes.to_vec(), ".").unwrap_err();
        assert!(told.contains("cannot be read"), "{told}");
    }
    assert_eq!(
        Place::new().unpack(Vec::new(), ".").unwrap_err(),
        "the archive has no /"
    );
    let mut cut = archive(&[("a", FILE, &"x".repeat(5000))]);
    cut.truncate(3000);
    assert!(Place::new().unpack(cut, ".").is_err());
}
