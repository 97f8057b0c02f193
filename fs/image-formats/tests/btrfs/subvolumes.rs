//! Subvolumes and snapshots.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use image_formats::btrfs::{Error, Subvolume};
use oracle::snapshot::{self, Snapshot};

use crate::{btrfs, comparable, filled, require};

/// Subvolumes as Fedora's images have them, with one within, and snapshots.
fn subvolumes(root: &Path) {
    for name in ["root", "home", "deleted"] {
        btrfs(&["subvolume", "create"], &root.join(name));
        fs::write(root.join(name).join("file"), name).unwrap();
    }
    fs::create_dir_all(root.join("root/var/lib")).unwrap();
    btrfs(&["subvolume", "create"], &root.join("root/var/lib/within"));
    fs::write(root.join("root/var/lib/within/file"), b"within").unwrap();
    fs::create_dir(root.join("root/home")).unwrap();
    let source = root.join("root").into_os_string().into_string().unwrap();
    btrfs(&["subvolume", "snapshot", &source], &root.join("root/snapshot"));
    btrfs(&["subvolume", "snapshot", "-r", &source], &root.join("snapshot"));
    fs::write(root.join("root/later"), b"later").unwrap();
    fs::rename(root.join("root/var"), root.join("root/moved")).unwrap();
    btrfs(&["subvolume", "delete"], &root.join("deleted"));
    btrfs(&["subvolume", "set-default"], &root.join("root"));
}

#[test]
fn subvolumes_are_directories_of_each_other() {
    if !require() {
        return;
    }
    let image = filled("", "compress-force=zlib", subvolumes);
    let system = image.open();
    let id = |path: &str| {
        let found = system.subvolumes().iter().find(|one| one.path == path.as_bytes());
        found.unwrap_or_else(|| panic!("no {path}")).id
    };
    let listed = oracle::mounted::with("btrfs", &image.path, "loop,ro,subvolid=5", |root| {
        oracle::run(
            "btrfs",
            &["subvolume", "list", "-a"]
                .map(OsStr::new)
                .into_iter()
                .chain([root.as_os_str()])
                .collect::<Vec<_>>(),
        )
    });
    let mut listed: Vec<(u64, String)> = listed.lines().map(entry).collect();
    listed.push((5, String::new()));
    listed.sort();
    let found = system.subvolumes().iter();
    let found: Vec<_> = found
        .map(|Subvolume { id, path, .. }| (*id, String::from_utf8(path.clone()).unwrap()))
        .collect();
    assert_eq!(found, listed);
    assert_eq!(found.len(), 6);
    assert_eq!(system.default_subvolume(), id("root"));
    let snapshots = system.subvolumes().iter().filter(|one| one.snapshot);
    assert!(
        snapshots
            .map(|one| &one.path[..])
            .eq([&b"root/snapshot"[..], b"snapshot"])
    );

    // Of snapshots in it, a tree has the directory alone.
    let without = |mut shown: Snapshot, path: &str| {
        let len = shown.len();
        shown.retain(|name, _| !name.starts_with(format!("{path}/").as_bytes()));
        assert!(shown.len() < len);
        shown
    };
    let shown = without(image.shown(""), "snapshot");
    assert_eq!(shown, without(image.shown("subvol=root"), "snapshot"));
    assert!(shown.contains_key(&b"moved/lib/within/file"[..]) && shown.contains_key(&b"later"[..]));
    snapshot::assert_same(&shown, &image.read(id("root")));
    let top = without(without(image.shown("subvolid=5"), "snapshot"), "root/snapshot");
    snapshot::assert_same(&top, &image.read(5));

    // A snapshot is read where it is asked for. What subvolumes were in its source are not in it, but empty directories that
    // the kernel shows as made just now, all as one inode.
    let now = |mut snapshot: Snapshot| {
        for path in [&b"var/lib/within"[..], b"snapshot"] {
            let directory = snapshot.get_mut(path).unwrap();
            (directory.mtime, directory.same_as) = ((0, 0), path.to_vec());
        }
        snapshot
    };
    let shown = now(image.shown("subvol=snapshot"));
    assert!(!shown.contains_key(&b"var/lib/within/file"[..]) && !shown.contains_key(&b"later"[..]));
    snapshot::assert_same(&shown, &now(image.read(id("snapshot"))));

    // What stands apart is an empty directory.
    let apart = BTreeSet::from([id("home"), id("root/moved/lib/within")]);
    let (tree, store) = system.read(5, &apart).unwrap();
    let found = comparable(snapshot::of_tree(&tree, &store));
    snapshot::assert_same(&without(without(top, "home"), "root/moved/lib/within"), &found);
    let error = system.read(4711, &apart).unwrap_err();
    assert!(matches!(error, Error::NoSubvolume(4711)), "{error}");
}

/// A line of `btrfs subvolume list -a`: `ID 256 gen 9 top level 5 path <FS_TREE>/root`.
fn entry(line: &str) -> (u64, String) {
    let id = line.split(' ').nth(1).unwrap().parse().unwrap();
    let path = line.split_once(" path ").unwrap().1;
    (id, path.trim_start_matches("<FS_TREE>/").to_owned())
}
