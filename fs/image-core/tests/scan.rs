//! Scans real directories: everything is kept, nothing depends on chance, and what is wrong is named.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::fs::{self, File};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use image_core::scan::{Error, FileKey, Options, StandIn, StandIns};
use image_core::store::{self, State, Store as _};
use image_core::tree::{Content, Data, Device, Time};
use image_core::{DirStore, Node, NodeId, Tree, scan};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, StatxFlags, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat,
    utimensat,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

fn options(threads: usize) -> Options {
    Options {
        threads: NonZero::new(threads),
        ..Options::default()
    }
}

fn find<'a>(tree: &'a Tree, path: &[u8]) -> (NodeId, &'a Node) {
    let mut at = NodeId::ROOT;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let Content::Directory(entries) = tree.node(at).content else {
            panic!("{} is below a file", path.escape_ascii())
        };
        let found = tree.entries(entries).find(|(entry, _)| *entry == name);
        at = found.unwrap_or_else(|| panic!("no {}", path.escape_ascii())).1;
    }
    (at, tree.node(at))
}

fn data(node: &Node) -> &Data {
    let Content::File(data) = &node.content else {
        panic!("a file")
    };
    data
}

fn xattrs<'a>(tree: &'a Tree, node: &Node) -> Vec<(&'a [u8], &'a [u8])> {
    let set = tree.xattrs(node.meta.xattrs);
    set.iter()
        .map(|xattr| (&xattr.name[..], &xattr.value[..]))
        .collect()
}

fn set_mtime(path: &Path, secs: i64, nanos: i64) {
    let time = Timespec {
        tv_sec: secs,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with one of everything that anyone can make.
fn plain(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("dir/deeper/still")).unwrap();
    fs::write(at("dir/file"), b"contents").unwrap();
    fs::write(at("empty"), b"").unwrap();
    fs::hard_link(at("dir/file"), at("dir/twin")).unwrap();
    symlink("../nowhere", at("dir/link")).unwrap();
    fs::hard_link(at("dir/link"), at("twin-link")).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"\xff\xfe not utf-8 \n");
    fs::write(root.join(name), b"bytes").unwrap();
    fs::write(at(&"n".repeat(255)), b"long").unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from(0o644), 0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
    let mode = |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    mode("dir/file", 0o6755);
    mode("dir/deeper", 0o1777);
    mode("empty", 0o400);
    set_mtime(&at("dir/file"), -5, 123_456_789);
    set_mtime(&at("dir/link"), 4_000_000_000, 1);
    let sparse = File::create(at("sparse")).unwrap();
    sparse.write_all_at(&[1; 4096], 1 << 20).unwrap();
    sparse.write_all_at(&[2; 10], 5 << 20).unwrap();
    sparse.set_len(9 << 20).unwrap();
    File::create(at("hole")).unwrap().set_len(1 << 30).unwrap();
    set_mtime(root, 7, 8);
}

#[test]
fn what_anyone_can_make_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    plain(dir.path());
    let (tree, store) = scan(dir.path(), &options(2)).unwrap();
    assert_eq!(
        tree.node(NodeId::ROOT).meta.mtime,
        Time { secs: 7, nanos: 8 },
        "the root's own time"
    );
    let (file, node) = find(&tree, b"dir/file");
    assert_eq!(node.meta.mode, 0o6755);
    assert_eq!(node.links, 2);
    assert_eq!(
        node.meta.mtime,
        Time {
            secs: -5,
            nanos: 123_456_789
        }
    );
    assert_eq!(node.meta.uid, rustix::process::geteuid().as_raw());
    assert_eq!(find(&tree, b"dir/twin").0, file);
    assert_eq!(find(&tree, b"dir/deeper").1.meta.mode, 0o1777);
    let (link, node) = find(&tree, b"twin-link");
    assert_eq!(link, find(&tree, b"dir/link").0, "symlinks have hard links too");
    assert_eq!(node.meta.mtime.secs, 4_000_000_000);
    let Content::Symlink(target) = node.content else {
        panic!("a symlink")
    };
    assert_eq!(tree.target(target), b"../nowhere");
    assert_eq!(find(&tree, b"fifo").1.content, Content::Fifo);
    assert_eq!(find(&tree, b"socket").1.content, Content::Socket);
    assert_eq!(data(find(&tree, &[b'n'; 255]).1).len, 4);
    let odd = data(find(&tree, b"\xff\xfe not utf-8 \n").1);
    let mut bytes = [0; 5];
    let open = store.open(odd.file).unwrap();
    open.read_exact_at(&mut bytes, 0).unwrap();
    open.finish().unwrap();
    assert_eq!(&bytes, b"bytes");
}

#[test]
fn holes_are_found() {
    let dir = tempfile::tempdir().unwrap();
    plain(dir.path());
    let (tree, _) = scan(dir.path(), &options(1)).unwrap();
    let sparse = data(find(&tree, b"sparse").1);
    let len: u64 = sparse.ranges().map(|range| range.end - range.start).sum();
    assert!(len <= 256 * 1024, "{:?}", sparse.ranges);
    let covered = |at| sparse.ranges().any(|range| range.contains(&at));
    assert!(covered(1 << 20) && covered((1 << 20) + 4095) && covered((5 << 20) + 9));
    assert!(!covered(0) && !covered(3 << 20) && !covered((9 << 20) - 1));
    assert_eq!(data(find(&tree, b"hole").1).ranges().count(), 0);
    assert!(data(find(&tree, b"dir/file").1).ranges.is_none());
    assert!(data(find(&tree, b"empty").1).ranges.is_none());
}

#[test]
fn what_root_can_make_is_kept() {
    if !oracle::require_root() {
        return;
    }
    let Some(dir) = oracle::place::for_xattrs() else {
        return;
    };
    let at = |name: &str| dir.path().join(name);
    let node = |name: &str, kind, major, minor| {
        mknodat(CWD, at(name), kind, Mode::from(0o600), makedev(major, minor)).unwrap();
    };
    node("null", FileType::CharacterDevice, 1, 3);
    node("large", FileType::BlockDevice, 4095, 1_048_575);
    fs::hard_link(at("null"), at("null-twin")).unwrap();
    fs::write(at("owned"), b"").unwrap();
    std::os::unix::fs::chown(at("owned"), Some(100_000), Some(3_000_000_000)).unwrap();
    symlink("x", at("link")).unwrap();
    let set = |name: &str, xattr: &str, value: &[u8]| {
        lsetxattr(at(name), xattr, value, XattrFlags::empty()).unwrap();
    };
    let acl = [2, 0, 0, 0].into_iter().chain(
        [(1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 4, -1), (32, 0, -1)]
            .into_iter()
            .flat_map(|(tag, perm, id): (u8, u8, i32)| [tag, 0, perm, 0].into_iter().chain(id.to_le_bytes())),
    );
    let acl: Vec<u8> = acl.collect();
    set("owned", "system.posix_acl_access", &acl);
    set("owned", "trusted.blob", &[7; 3000]);
    set("link", "trusted.on-a-link", b"");
    set("null", "trusted.on-a-node", b"n");
    set(".", "trusted.on-the-root", b"r");
    let (tree, _) = scan(dir.path(), &options(2)).unwrap();
    let (null, node) = find(&tree, b"null");
    assert_eq!(node.content, Content::CharDevice(Device { major: 1, minor: 3 }));
    assert_eq!(find(&tree, b"null-twin").0, null);
    assert_eq!(xattrs(&tree, node), [(&b"trusted.on-a-node"[..], &b"n"[..])]);
    let large = Device {
        major: 4095,
        minor: 1_048_575,
    };
    assert_eq!(find(&tree, b"large").1.content, Content::BlockDevice(large));
    let owned = find(&tree, b"owned").1;
    assert_eq!((owned.meta.uid, owned.meta.gid), (100_000, 3_000_000_000));
    assert_eq!(
        xattrs(&tree, owned),
        [
            (&b"system.posix_acl_access"[..], &acl[..]),
            (b"trusted.blob", &[7; 3000])
        ]
    );
    assert_eq!(
        xattrs(&tree, find(&tree, b"link").1),
        [(&b"trusted.on-a-link"[..], &b""[..])]
    );
    assert_eq!(
        xattrs(&tree, tree.node(NodeId::ROOT)),
        [(&b"trusted.on-the-root"[..], &b"r"[..])]
    );
}

#[test]
fn labels_capabilities_and_users_attributes_are_kept() {
    if !oracle::require_root() {
        return;
    }
    let Some(dir) = oracle::place::for_xattrs() else {
        return;
    };
    // Version 2: cap_net_bind_service.
    let mut capability = vec![1, 0, 0, 2, 0, 4];
    capability.resize(20, 0);
    let expected = [
        (&b"security.capability"[..], &capability[..]),
        (b"security.selinux", b"system_u:object_r:bin_t:s0\0"),
        (b"user.mime_type", b"text/plain"),
    ];
    fs::write(dir.path().join("file"), b"").unwrap();
    for (name, value) in expected {
        lsetxattr(dir.path().join("file"), name, value, XattrFlags::empty()).unwrap();
    }
    let (tree, _) = scan(dir.path(), &options(2)).unwrap();
    assert_eq!(xattrs(&tree, find(&tree, b"file").1), expected);
}

#[test]
fn one_directory_gives_one_tree() {
    let dir = tempfile::tempdir().unwrap();
    plain(dir.path());
    fs::create_dir(dir.path().join("wide")).unwrap();
    for i in 0..3000_u32 {
        let name = format!("{:08x}", i.wrapping_mul(0x9e37_79b9));
        let path = dir.path().join("wide").join(name);
        if i % 50 == 0 {
            fs::create_dir(path).unwrap();
        } else {
            fs::write(path, i.to_string()).unwrap();
        }
    }
    let (first, store) = scan(dir.path(), &options(1)).unwrap();
    for threads in [2, 3, 8] {
        let (tree, other) = scan(dir.path(), &options(threads)).unwrap();
        assert_eq!(tree, first, "{threads} threads");
        for (id, node) in tree.iter() {
            if let Content::File(data) = &node.content {
                let path = tree.path(id);
                assert_eq!(other.path(data.file).unwrap(), path);
                assert_eq!(store.path(data.file).unwrap(), path);
            }
        }
    }
}

#[test]
fn deep_paths_and_many_open_levels_are_scanned() {
    let dir = tempfile::tempdir().unwrap();
    let mut at: std::os::fd::OwnedFd = File::open(dir.path()).unwrap().into();
    let name = "d".repeat(100);
    for _ in 0..300 {
        for name in [&name[..], "x"] {
            rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
        }
        at = rustix::fs::openat(&at, &name[..], rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    }
    let file = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&at, "leaf", file, Mode::RUSR).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
    let (tree, store) = scan(dir.path(), &options(2)).unwrap();
    assert_eq!(tree.nodes().len(), 602);
    let leaf = tree
        .nodes()
        .iter()
        .find(|node| matches!(node.content, Content::File(_)));
    let mut bytes = [0; 4];
    let open = store.open(data(leaf.unwrap()).file).unwrap();
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"deep");
}

#[test]
fn excluded_paths_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["lost+found/x", "a/lost+found", "b/c/d"] {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    let options = Options {
        exclude: vec![b"lost+found".to_vec(), b"b/c".to_vec()],
        ..options(2)
    };
    let (tree, _) = scan(dir.path(), &options).unwrap();
    let Content::Directory(entries) = tree.node(NodeId::ROOT).content else {
        panic!("a directory")
    };
    let names: Vec<_> = tree.entries(entries).map(|(name, _)| name).collect();
    assert_eq!(names, [&b"a"[..], b"b"]);
    find(&tree, b"a/lost+found");
    assert_eq!(tree.nodes().len(), 4);
}

#[test]
fn errors_name_the_path() {
    let error = scan(Path::new("/no such directory"), &Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot open the directory .");
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/closed")).unwrap();
    fs::set_permissions(dir.path().join("a/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let error = without_privileges(|| scan(dir.path(), &Options::default()).unwrap_err());
    assert_eq!(error.to_string(), "cannot open the directory a/closed");
}

/// Runs something on a thread for which permissions hold, even if it is root's: capabilities are each thread's own, and
/// the threads that it starts inherit them.
fn without_privileges<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let unprivileged = || {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(unprivileged).join().unwrap())
}

#[test]
fn a_mount_point_is_an_error() {
    let is_mounted = |path: &str| {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        mounts.lines().any(|line| line.split(' ').nth(1) == Some(path))
    };
    if !is_mounted("/dev/pts") && !oracle::skip("nothing is mounted on /dev/pts") {
        return;
    }
    let error = scan(Path::new("/dev"), &options(1)).unwrap_err();
    assert!(matches!(&error, Error::MountPoint { .. }), "{error}");
}

/// One file of 8 bytes of long ago, in a directory of its own.
fn one_file() -> (tempfile::TempDir, DirStore, image_core::FileId) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();
    fs::write(dir.path().join("dir/file"), b"contents").unwrap();
    set_mtime(&dir.path().join("dir/file"), 1_000_000_000, 0);
    let (tree, store) = scan(dir.path(), &options(1)).unwrap();
    let file = data(find(&tree, b"dir/file").1).file;
    (dir, store, file)
}

/// What `open` finds after a change.
fn found_after(change: impl FnOnce(&Path)) -> State {
    let (dir, store, file) = one_file();
    store.open(file).unwrap();
    change(&dir.path().join("dir/file"));
    match store.open(file).err() {
        Some(store::Error::SourceChanged { path, planned, found }) => {
            assert_eq!(path, b"dir/file");
            assert!(matches!(
                planned,
                State::File {
                    len: 8,
                    mtime: (1_000_000_000, 0),
                    ..
                }
            ));
            found
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_source_that_changed_is_found() {
    let len = |state| match state {
        State::File { len, .. } => Some(len),
        _ => None,
    };
    assert_eq!(
        len(found_after(|path| fs::write(path, b"other...").unwrap())),
        Some(8)
    );
    assert_eq!(
        len(found_after(|path| fs::write(path, b"less").unwrap())),
        Some(4)
    );
    assert_eq!(
        len(found_after(|path| fs::write(path, b"much longer").unwrap())),
        Some(11)
    );
    assert_eq!(found_after(|path| fs::remove_file(path).unwrap()), State::Absent);
    let gone = found_after(|path| fs::rename(path, path.with_file_name("other")).unwrap());
    assert_eq!(gone, State::Absent);
    let link = found_after(|path| {
        fs::rename(path, path.with_file_name("other")).unwrap();
        symlink("other", path).unwrap();
    });
    assert_eq!(link, State::NotAFile);
    let fifo = found_after(|path| {
        fs::remove_file(path).unwrap();
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
    });
    assert_eq!(fifo, State::NotAFile);
    let replaced = found_after(|path| {
        let other = path.with_file_name("other");
        fs::write(&other, b"CONTENTS").unwrap();
        set_mtime(&other, 1_000_000_000, 0);
        fs::rename(other, path).unwrap();
    });
    assert!(matches!(
        replaced,
        State::File {
            len: 8,
            mtime: (1_000_000_000, 0),
            ..
        }
    ));
}

#[test]
fn a_source_that_changes_while_open_is_found() {
    let (dir, store, file) = one_file();
    let open = store.open(file).unwrap();
    fs::write(dir.path().join("dir/file"), b"less").unwrap();
    let mut bytes = [0; 8];
    assert!(matches!(
        open.read_exact_at(&mut bytes, 0),
        Err(store::Error::SourceChanged { .. })
    ));
    fs::write(dir.path().join("dir/file"), b"CONTENTS").unwrap();
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert!(matches!(open.finish(), Err(store::Error::SourceChanged { .. })));
}

#[test]
fn a_directory_swapped_for_a_link_is_not_followed() {
    let (dir, store, file) = one_file();
    let (inside, outside) = (dir.path().join("dir"), dir.path().join("moved"));
    fs::rename(&inside, &outside).unwrap();
    symlink("moved", &inside).unwrap();
    // Never opened before, so that no descriptor leads to the old place.
    let error = store.open(file).err().unwrap();
    assert!(matches!(error, store::Error::SourceChanged { .. }), "{error}");
}

#[test]
fn stand_ins_become_what_they_stand_for() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["char", "block", "older", "file"] {
        fs::write(at(name), "written to").unwrap();
    }
    fs::hard_link(at("char"), at("twin")).unwrap();
    fs::rename(at("block"), at("moved")).unwrap();
    fs::set_permissions(at("char"), fs::Permissions::from_mode(0o4620)).unwrap();
    rustix::fs::setxattr(at("char"), "user.mark", b"", XattrFlags::empty()).unwrap();
    let key = |name: &str| {
        let stat = rustix::fs::statx(
            CWD,
            at(name),
            AtFlags::empty(),
            StatxFlags::BASIC_STATS | StatxFlags::BTIME,
        );
        let stat = stat.unwrap();
        let born = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        FileKey {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            born: born.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
        }
    };
    let device = |major, minor| Device { major, minor };
    let mut stand_ins = StandIns::default();
    stand_ins.insert(key("char"), StandIn::Char(device(1, 3)));
    stand_ins.insert(key("moved"), StandIn::Block(device(259, 70_000)));
    // A file that had the number before, and is gone; one of which only the number is known, and that is not empty.
    let gone = FileKey {
        born: Some((1, 1)),
        ..key("older")
    };
    stand_ins.insert(gone, StandIn::Char(device(1, 1)));
    let unborn = FileKey {
        born: None,
        ..key("file")
    };
    stand_ins.insert(unborn, StandIn::Char(device(1, 1)));
    let options = Options {
        stand_ins,
        ..options(1)
    };
    let (tree, _) = scan(dir.path(), &options).unwrap();
    let (node, char) = find(&tree, b"char");
    assert_eq!(char.content, Content::CharDevice(device(1, 3)));
    assert_eq!((char.meta.mode, char.links), (0o4620, 2));
    assert!(
        xattrs(&tree, char).is_empty(),
        "nodes have no attributes of users"
    );
    assert_eq!(find(&tree, b"twin").0, node);
    assert_eq!(
        find(&tree, b"moved").1.content,
        Content::BlockDevice(device(259, 70_000))
    );
    for name in [&b"older"[..], b"file"] {
        assert_eq!(data(find(&tree, name).1).len, 10, "{}", name.escape_ascii());
    }
}
