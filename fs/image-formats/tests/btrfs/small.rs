//! The small file system that the law of the reader changes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use image_formats::btrfs::FileSystem;
use image_formats::laws::Sparse;
use oracle::snapshot::{self, Snapshot};
use rustix::fs::{CWD, FallocateFlags, FileType, XattrFlags, fallocate, lsetxattr, mknodat};

use crate::{btrfs, comparable, filled, make_null, noise, require, sparse};

/// Where the law has it.
const PLACE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../fixtures/vectors/btrfs/small.gz"
);

fn fill(root: &Path) {
    fs::create_dir_all(root.join("directory/below")).unwrap();
    fs::write(root.join("directory/inline"), b"some bytes").unwrap();
    fs::hard_link(root.join("directory/inline"), root.join("linked")).unwrap();
    symlink("directory/inline", root.join("symlink")).unwrap();
    make_null(&root.join("null"));
    mknodat(CWD, root.join("fifo"), FileType::Fifo, 0o600.into(), 0).unwrap();
    for name in ["user.name", "trusted.other"] {
        lsetxattr(root.join("linked"), name, b"value", XattrFlags::empty()).unwrap();
    }
    for kind in ["zlib", "lzo"] {
        let path = root.join(kind);
        let file = File::create(&path).unwrap();
        let words = ["property", "set", path.to_str().unwrap(), "compression", kind].map(OsStr::new);
        oracle::run("btrfs", &words);
        file.write_all_at(&b"what can be compressed ".repeat(900), 0)
            .unwrap();
        file.sync_all().unwrap();
        file.write_all_at(b"another extent", 5000).unwrap();
    }
    let plain = File::create(root.join("plain")).unwrap();
    plain.write_all_at(&noise(8192), 0).unwrap();
    plain.write_all_at(&noise(4096), 20_000).unwrap();
    fallocate(&plain, FallocateFlags::empty(), 40_000, 20_000).unwrap();
    plain.sync_all().unwrap();
    let shared = File::create(root.join("shared")).unwrap();
    rustix::fs::ioctl_ficlone(&shared, File::open(root.join("plain")).unwrap()).unwrap();
    for name in ["one", "one/two"] {
        btrfs(&["subvolume", "create"], &root.join(name));
        fs::write(root.join(name).join("file"), name).unwrap();
    }
    let source = root.join("one").into_os_string().into_string().unwrap();
    btrfs(&["subvolume", "snapshot", &source], &root.join("snapshot"));
    for i in 0..40 {
        fs::write(
            root.join(format!("directory/below/a name that takes room {i}")),
            b"",
        )
        .unwrap();
    }
}

/// All subvolumes, without the times, which are those of the making.
fn shown(image: &Sparse) -> Vec<(Vec<u8>, Snapshot)> {
    let system = FileSystem::open(image.clone()).unwrap();
    let subvolumes = system.subvolumes().iter();
    let read = subvolumes.map(|subvolume| {
        let (tree, store) = system.read(subvolume.id, &BTreeSet::new()).unwrap();
        let mut shown = comparable(snapshot::of_tree(&tree, &store));
        for file in shown.values_mut() {
            file.mtime = (0, 0);
        }
        (subvolume.path.clone(), shown)
    });
    read.collect()
}

#[test]
fn the_file_system_of_the_law_is_one_of_its_kind() {
    if !require() {
        return;
    }
    let made = sparse(&filled("--nodesize 4096 -m single", "", fill).path);
    if std::env::var_os("DIB_BLESS").is_some() {
        fs::write(PLACE, made.pack()).unwrap();
        return;
    }
    assert_eq!(Sparse::small_btrfs().pack(), fs::read(PLACE).unwrap());
    let (expected, found) = (shown(&made), shown(&Sparse::small_btrfs()));
    assert_eq!(expected.len(), 4);
    assert_eq!(found.len(), 4);
    for ((path, expected), (other, found)) in expected.iter().zip(&found) {
        assert_eq!(path, other);
        snapshot::assert_same(expected, found);
    }
}
