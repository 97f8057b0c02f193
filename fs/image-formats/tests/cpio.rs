//! newc archives of trees, read back by the crate cpio and unpacked by GNU cpio and bsdtar, which both have their own
//! idea of hard links.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use image_core::scan::{Options, scan};
use image_core::sink::FileSink;
use image_core::tree::Time;
use image_core::{DirStore, Tree, copy};
use image_formats::cpio::{self, early};
use image_formats::laws::facts;
use rustix::fs::{CWD, FileType, mknodat};

/// A directory with what archives get wrong: links to files, links and nodes, odd names, holes, ids.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/plain"), b"plain").unwrap();
    fs::hard_link(root.join("a/plain"), root.join("z-link")).unwrap();
    fs::hard_link(root.join("a/plain"), root.join("a/b/link")).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::hard_link(root.join("empty"), root.join("z-empty")).unwrap();
    symlink("a/plain", root.join("symlink")).unwrap();
    symlink("t".repeat(300), root.join("long-symlink")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"not \xff utf-8\n")), b"odd").unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"middle", 500_000).unwrap();
    sparse.set_len(1 << 20).unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, 0o640.into(), 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    mknodat(
        CWD,
        root.join("null"),
        FileType::CharacterDevice,
        0o666.into(),
        null,
    )
    .unwrap();
    fs::hard_link(root.join("null"), root.join("z-null")).unwrap();
    let disk = rustix::fs::makedev(259, 0xf_ffff);
    mknodat(CWD, root.join("disk"), FileType::BlockDevice, 0o660.into(), disk).unwrap();
    let owned = root.join("owned");
    fs::write(&owned, b"by many").unwrap();
    std::os::unix::fs::chown(&owned, Some(3_000_000_000), Some(70_000)).unwrap();
    fs::set_permissions(&owned, fs::Permissions::from_mode(0o6755)).unwrap();
}

fn archived(root: &Path, archive: &Path, options: &cpio::Options) -> (Tree, DirStore) {
    let (tree, store) = scan(root, &Options::default()).unwrap();
    let map = cpio::plan(&tree, options).unwrap();
    copy(&map, &store, &mut FileSink::new(File::create(archive).unwrap())).unwrap();
    (tree, store)
}

/// Every name of two directories, with all that counts about it, to the second.
fn assert_same(a: &Path, b: &Path) {
    let seconds = |time: Time| Time { nanos: 0, ..time };
    let [a, b] = [a, b].map(|root| {
        let (tree, store) = scan(root, &Options::default()).unwrap();
        facts(&tree, &store, false, &seconds)
    });
    for (path, fact) in a.iter().filter(|(path, _)| !path.is_empty()) {
        assert_eq!(Some(fact), b.get(path), "{}", path.escape_ascii());
    }
    assert_eq!(a.len(), b.len());
}

#[test]
fn gnu_cpio_and_bsdtar_unpack_the_same() {
    if !oracle::require_root() || !oracle::require(&["cpio", "bsdtar", "sh"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [root, archive] = ["root", "archive"].map(|name| dir.path().join(name));
    fs::create_dir(&root).unwrap();
    make_tree(&root);
    archived(&root, &archive, &cpio::Options::default());
    for (name, line) in [
        ("cpio", "cpio -idm --quiet <\"$0\" 2>&1"),
        ("bsdtar", "bsdtar --numeric-owner -xpf \"$0\" 2>&1"),
    ] {
        let out = dir.path().join(name);
        fs::create_dir(&out).unwrap();
        let told = oracle::run(
            "sh",
            &[
                "-c".as_ref(),
                format!("cd \"$1\" && umask 0 && {line}").as_ref(),
                archive.as_os_str(),
                out.as_os_str(),
            ],
        );
        assert_eq!(told, "", "{name}");
        assert_same(&root, &out);
    }
}

#[test]
fn the_crate_cpio_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let [root, archive] = ["root", "archive"].map(|name| dir.path().join(name));
    fs::create_dir_all(root.join("b/deep")).unwrap();
    fs::write(root.join("b/one"), [7; 1001]).unwrap();
    fs::hard_link(root.join("b/one"), root.join("b/two")).unwrap();
    symlink("b/one", root.join("a-link")).unwrap();
    let latest = Time {
        secs: 1_000_000,
        nanos: 0,
    };
    archived(&root, &archive, &cpio::Options { latest: Some(latest) });
    let mut file = File::open(&archive).unwrap();
    let mut told = Vec::new();
    loop {
        let mut reader = ::cpio::NewcReader::new(file).unwrap();
        if reader.entry().is_trailer() {
            break;
        }
        let mut data = Vec::new();
        reader.read_to_end(&mut data).unwrap();
        let entry = reader.entry();
        assert_eq!(entry.mtime(), 1_000_000);
        told.push((
            entry.name().to_owned(),
            entry.ino(),
            entry.nlink(),
            entry.mode() >> 12,
            data.len(),
        ));
        file = reader.finish().unwrap();
    }
    let told: Vec<_> = told
        .iter()
        .map(|(name, ino, links, kind, len)| (name.as_str(), *ino, *links, *kind, *len))
        .collect();
    assert_eq!(
        told,
        [
            (".", 1, 1, 4, 0),
            ("a-link", 2, 1, 10, 5),
            ("b", 3, 1, 4, 0),
            ("b/deep", 4, 1, 4, 0),
            ("b/one", 5, 2, 8, 0),
            ("b/two", 5, 2, 8, 1001),
        ]
    );
}

#[test]
fn archives_repeat_whatever_the_directory_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let archives = ["one", "two"].map(|name| {
        let root = dir.path().join(name);
        fs::create_dir(&root).unwrap();
        for file in if name == "one" { ["a", "b"] } else { ["b", "a"] } {
            fs::write(root.join(file), file).unwrap();
            fs::set_permissions(root.join(file), fs::Permissions::from_mode(0o600)).unwrap();
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let archive = dir.path().join(format!("{name}.cpio"));
        let latest = Some(Time { secs: 1, nanos: 0 });
        archived(&root, &archive, &cpio::Options { latest });
        fs::read(archive).unwrap()
    });
    assert!(archives[0] == archives[1]);
}

#[test]
fn early_files_can_be_read_by_everybody() {
    if !oracle::require(&["cpio"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("early");
    let archive = early(&[(b"kernel/x86/microcode/GenuineIntel.bin", &[1; 2048])]).unwrap();
    fs::write(&path, archive).unwrap();
    let told = oracle::run(
        "sh",
        &[
            "-c".as_ref(),
            "cpio -it --quiet <\"$0\"".as_ref(),
            path.as_os_str(),
        ],
    );
    assert_eq!(
        told,
        "kernel\nkernel/x86\nkernel/x86/microcode\nkernel/x86/microcode/GenuineIntel.bin\n"
    );
}
