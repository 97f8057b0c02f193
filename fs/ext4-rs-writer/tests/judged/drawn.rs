//! The trees and options of the fuzz target, drawn at random, before e2fsck and dumpe2fs; the kernel mounts one in ten of
//! those that it shows as they are.

use ext4_rs_writer::inode::Stamp;
use ext4_rs_writer::{Options, laws};
use image_core::Tree;
use image_core::tree::Time;
use oracle::snapshot::{self, Kind, Snapshot};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::forest::Pattern;
use crate::image::{checked, shows};

/// Of so many trees that could be mounted one is.
const MOUNTED: u32 = 10;

/// What the file system can hold of a tree, and what was asked for in its place.
fn held(tree: &Tree, options: &Options) -> Snapshot {
    let mut snapshot = snapshot::of_tree(tree, &Pattern);
    for (path, file) in &mut snapshot {
        let (secs, nanos) = file.mtime;
        let time = options.identity.time(Time { secs, nanos });
        let (time, _) = Stamp::clamped(time, options.inode_size);
        // Nanoseconds stand behind the first 128 bytes.
        let nanos = if options.inode_size > 128 { time.nanos } else { 0 };
        file.mtime = (time.secs, nanos);
        // The kernel shows `user.` of files and directories alone, and no ACL of a symlink.
        if !matches!(file.kind, Kind::Regular { .. } | Kind::Directory) {
            file.xattrs.retain(|name, _| !name.starts_with(b"user."));
        }
        if matches!(file.kind, Kind::Symlink(_)) {
            file.xattrs.retain(|name, _| !name.starts_with(b"system."));
        }
        for (name, value) in &mut file.xattrs {
            if name.starts_with(b"system.posix_acl") {
                forget_ids_of_nobody(value);
            }
        }
        if path.is_empty() {
            file.owner = options.root_owner.unwrap_or(file.owner);
            file.mode = options.root_mode.map_or(file.mode, u32::from);
        }
    }
    snapshot
}

/// An entry of an ACL has an id on disk only if its tag is that of a named user (2) or group (8). The kernel takes any
/// other id for none when it is given one, and shows all bits set.
fn forget_ids_of_nobody(acl: &mut [u8]) {
    for entry in acl[4..].chunks_exact_mut(8) {
        if !matches!(entry[0], 2 | 8) {
            entry[4..].fill(0xff);
        }
    }
}

/// Whether the kernel shows attributes as they are: it checks the form of capabilities when they are read, and an ACL
/// without entries is none.
fn shows_attributes(snapshot: &Snapshot) -> bool {
    let odd = |name: &[u8], value: &[u8]| {
        name == b"security.capability" || (name.starts_with(b"system.") && value.len() == 4)
    };
    let mut sets = snapshot.values().map(|file| &file.xattrs);
    sets.all(|set| set.iter().all(|(name, value)| !odd(name, value)))
}

#[test]
fn what_is_drawn_and_planned_is_clean() {
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let mounts = oracle::mounted::require();
    let planned = std::cell::Cell::new(0_u32);
    let result = TestRunner::new(config).run(&vec(any::<u8>(), 0..600), |bytes| {
        let Some((tree, options)) = laws::tree_to_ext4(&bytes) else {
            return Ok(());
        };
        let image = checked(&tree, &Pattern, &options);
        let expected = held(&tree, &options);
        if mounts && shows_attributes(&expected) && planned.replace(planned.get() + 1).is_multiple_of(MOUNTED)
        {
            shows(&image, &expected);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
