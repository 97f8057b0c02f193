//! Archives by GNU tar, in each of its formats, read as trees and compared with the directory that they were made of.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use image_core::store::Store;
use image_core::tree::{Content, NodeId, Tree};
use image_formats::tar::{self, Error, TarStore};
use rustix::fs::FileType;

/// What counts about one name: everything exactly, and what GNU's own format can hold.
#[derive(Clone, Debug, PartialEq)]
struct Fact {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    what: String,
    xattr: Vec<u8>,
}

type Facts = BTreeMap<Vec<u8>, Fact>;

/// A directory with what archives get wrong: holes, links, long names, odd bytes, binary xattrs.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/plain"), b"plain").unwrap();
    fs::set_permissions(root.join("a/plain"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(root.join("a/plain"), root.join("z-link")).unwrap();
    symlink("a/plain", root.join("symlink")).unwrap();
    symlink("t".repeat(300), root.join("long-symlink")).unwrap();
    let long = "n".repeat(150);
    fs::create_dir(root.join(&long)).unwrap();
    fs::write(root.join(&long).join(&long), vec![7; 100_000]).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"not \xff utf-8\n")), b"odd").unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    for i in 0..40 {
        sparse
            .write_all_at(&[i; 4096], u64::from(i) * 100 * 4096)
            .unwrap();
    }
    sparse.set_len(40 << 20).unwrap();
    File::create(root.join("hole")).unwrap().set_len(1 << 20).unwrap();
    let fifo = root.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o640.into(),
        0,
    )
    .unwrap();
    // Not every file system takes them; the test of what root makes insists.
    let none = rustix::fs::XattrFlags::empty();
    let _ = rustix::fs::setxattr(root.join("a/plain"), "user.binary", b"\n=\0\nend", none);
    let stamp = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        },
        last_modification: rustix::fs::Timespec {
            tv_sec: -5,
            tv_nsec: 123_456_789,
        },
    };
    rustix::fs::utimensat(rustix::fs::CWD, fifo, &stamp, rustix::fs::AtFlags::empty()).unwrap();
}

fn facts_of_directory(root: &Path, at: &Path, facts: &mut Facts) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            facts_of_directory(root, &path, facts);
            "directory".to_owned()
        } else if kind.is_symlink() {
            format!(
                "symlink {}",
                fs::read_link(&path)
                    .unwrap()
                    .as_os_str()
                    .as_bytes()
                    .escape_ascii()
            )
        } else if kind.is_fifo() {
            "fifo".to_owned()
        } else {
            format!("{} links, {}", meta.nlink(), sum(&fs::read(&path).unwrap()))
        };
        let mut xattr = [0; 100];
        let len = rustix::fs::lgetxattr(&path, "user.binary", &mut xattr[..]).unwrap_or(0);
        let fact = Fact {
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            what,
            xattr: xattr[..len].to_vec(),
        };
        facts.insert(
            path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(),
            fact,
        );
    }
}

fn facts_of_tree(tree: &Tree, store: &TarStore, at: NodeId, prefix: &[u8], facts: &mut Facts) {
    let Content::Directory(entries) = tree.node(at).content else {
        panic!("a directory")
    };
    for (name, id) in tree.entries(entries) {
        let path = if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        };
        let node = tree.node(id);
        let what = match &node.content {
            Content::Directory(_) => {
                facts_of_tree(tree, store, id, &path, facts);
                "directory".to_owned()
            }
            Content::Symlink(target) => format!("symlink {}", tree.target(*target).escape_ascii()),
            Content::Fifo => "fifo".to_owned(),
            Content::File(data) => {
                let mut bytes = vec![0; usize::try_from(data.len).unwrap()];
                let open = store.open(data.file).unwrap();
                for range in data.ranges() {
                    let place = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                    open.read_exact_at(&mut bytes[place], range.start).unwrap();
                }
                format!("{} links, {}", node.links, sum(&bytes))
            }
            other => format!("{other:?}"),
        };
        let xattr = tree
            .xattrs(node.meta.xattrs)
            .iter()
            .find(|xattr| xattr.name == b"user.binary");
        let fact = Fact {
            mode: node.meta.mode.into(),
            owner: (node.meta.uid, node.meta.gid),
            mtime: (node.meta.mtime.secs, node.meta.mtime.nanos.into()),
            what,
            xattr: xattr.map(|xattr| xattr.value.clone()).unwrap_or_default(),
        };
        facts.insert(path, fact);
    }
}

/// A digest good enough to tell test files apart.
fn sum(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    format!("{} bytes, {sum:x}", bytes.len())
}

fn archive(root: &Path, archive: &Path, options: &[&str]) {
    let mut args: Vec<&OsStr> = vec!["-C".as_ref(), root.as_ref(), "-cf".as_ref(), archive.as_ref()];
    args.extend(options.iter().map(OsStr::new));
    args.push(".".as_ref());
    oracle::run("tar", &args);
}

#[test]
fn archives_of_gnu_tar_are_the_trees_they_were_made_of() {
    if !oracle::require(&["tar"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, file) = (dir.path().join("root"), dir.path().join("t.tar"));
    make_tree(&root);
    let mut all = Facts::new();
    facts_of_directory(&root, &root, &mut all);
    assert_eq!(all.len(), 12);
    // The GNU format has whole seconds and no xattrs.
    let coarse = |mut fact: Fact| {
        (fact.mtime.1, fact.xattr) = (0, Vec::new());
        fact
    };
    let gnu: Facts = all
        .clone()
        .into_iter()
        .map(|(path, fact)| (path, coarse(fact)))
        .collect();
    let pax = ["--format=posix", "--xattrs", "--xattrs-include=*"];
    let table: [(Vec<&str>, &Facts); 5] = [
        (vec!["--format=gnu", "-S"], &gnu),
        (pax.to_vec(), &all),
        ([&pax[..], &["-S", "--sparse-version=1.0"]].concat(), &all),
        ([&pax[..], &["-S", "--sparse-version=0.1"]].concat(), &all),
        ([&pax[..], &["--sort=name", "--numeric-owner"]].concat(), &all),
    ];
    for (options, want) in table {
        archive(&root, &file, &options);
        let (tree, store) = tar::read(File::open(&file).unwrap(), &file).unwrap();
        let mut found = Facts::new();
        facts_of_tree(&tree, &store, NodeId::ROOT, b"", &mut found);
        assert_eq!(&found, want, "{options:?}");
    }
}

/// What only root can make: devices, owners, and xattrs of every kind.
fn make_root_tree(root: &Path) {
    make_tree(root);
    let node = |name: &str, kind, device| {
        rustix::fs::mknodat(rustix::fs::CWD, root.join(name), kind, 0o620.into(), device).unwrap();
    };
    node("a/null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    // The numbers of GNU tar's headers go up to seven octal digits.
    node(
        "a/large",
        FileType::BlockDevice,
        rustix::fs::makedev(4095, 1_048_575),
    );
    // GNU tar writes each name of a device as one of its own, but those of a symlink as links.
    fs::hard_link(root.join("symlink"), root.join("symlink-link")).unwrap();
    std::os::unix::fs::lchown(root.join("symlink"), Some(7), Some(8)).unwrap();
    std::os::unix::fs::chown(root.join("a/b"), Some(70_000), Some(3_000_000)).unwrap();
    let set = |name: &str, xattr: &str, value: &[u8]| {
        rustix::fs::lsetxattr(root.join(name), xattr, value, rustix::fs::XattrFlags::empty())
            .unwrap_or_else(|error| panic!("{xattr} of {name}: {error}"));
    };
    set("a/plain", "user.binary", b"\n=\0\nend");
    set(
        "a/plain",
        "security.capability",
        &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    for name in ["a/plain", "a/b", "symlink", "a/null", "fifo", "sparse"] {
        set(name, "security.selinux", b"system_u:object_r:usr_t:s0\0");
    }
    set("a/b", "trusted.overlay.opaque", b"y");
    set("symlink", "trusted.on-a-link", b"l");
    let rules: [&OsStr; 2] = [
        "-m".as_ref(),
        "u:1000:rwx,g:2000:r-x,d:u:1000:rwx,d:g::r-x".as_ref(),
    ];
    oracle::run("setfacl", &[&rules[..], &[root.join("a/b").as_ref()]].concat());
    let rules: [&OsStr; 2] = ["-m".as_ref(), "u:1000:r".as_ref()];
    oracle::run("setfacl", &[&rules[..], &[root.join("sparse").as_ref()]].concat());
}

/// An image of a tree.
fn written(tree: &Tree, store: &impl Store) -> Vec<u8> {
    let epoch = image_core::tree::Time { secs: 1, nanos: 0 };
    let identity = image_core::Identity::new(b"seed", epoch, false);
    let mut options = ext4_rs_writer::Options::new(ext4_rs_writer::Profile::Default, identity);
    options.size = ext4_rs_writer::Size::Minimal;
    let map = ext4_rs_writer::plan(tree, &options).unwrap();
    let mut sink = image_core::sink::MemorySink::default();
    image_core::copy(&map, store, &mut sink).unwrap();
    sink.into_bytes()
}

#[test]
fn archives_of_what_root_makes_are_the_trees_and_the_images_they_were_made_of() {
    if !oracle::require(&["tar", "setfacl"]) || !oracle::require_root() {
        return;
    }
    let Some(dir) = oracle::place::for_xattrs() else {
        return;
    };
    let (root, file) = (dir.path().join("root"), dir.path().join("t.tar"));
    make_root_tree(&root);
    let (scanned, files) = image_core::scan(&root, &image_core::scan::Options::default()).unwrap();
    let expected = oracle::snapshot::of_tree(&scanned, &files);
    let attributes = |path: &[u8]| expected[path].xattrs.len();
    assert_eq!(
        [
            attributes(b"a/plain"),
            attributes(b"a/b"),
            attributes(b"symlink"),
            attributes(b"sparse")
        ],
        [3, 4, 2, 2]
    );
    let image = written(&scanned, &files);
    let pax = ["--format=posix", "--xattrs", "--xattrs-include=*", "--acls"];
    for options in [
        &["--sparse-version=1.0"][..],
        &["--sparse-version=0.1"],
        &["--sparse-version=1.0", "--sort=name", "--numeric-owner"],
    ] {
        archive(&root, &file, &[&pax[..], &["-S"], options].concat());
        let (tree, store) = tar::read(File::open(&file).unwrap(), &file).unwrap();
        oracle::snapshot::assert_same(&expected, &oracle::snapshot::of_tree(&tree, &store));
        assert!(written(&tree, &store) == image, "{options:?}: other bytes");
    }
}

#[test]
fn sparse_members_keep_their_holes() {
    if !oracle::require(&["tar"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, file) = (dir.path().join("root"), dir.path().join("t.tar"));
    make_tree(&root);
    for options in [&["--format=gnu", "-S"][..], &["--format=posix", "-S"]] {
        archive(&root, &file, options);
        let (tree, store) = tar::read(File::open(&file).unwrap(), &file).unwrap();
        let sparse = tree.nodes().iter().find_map(|node| match &node.content {
            Content::File(data) if data.len == 40 << 20 => Some(data.clone()),
            _ => None,
        });
        let sparse = sparse.unwrap();
        let mut whole = vec![0xff; 40 << 20];
        let opened = store.open(sparse.file).unwrap();
        opened.read_exact_at(&mut whole, 0).unwrap();
        assert!(whole == fs::read(root.join("sparse")).unwrap());
        let data: u64 = sparse.ranges().map(|range| range.end - range.start).sum();
        assert!((39 * 4096..2 << 20).contains(&data), "{data} bytes of data");
    }
}

/// A record of a pax header.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let len = (1..100).find(|len: &usize| len.to_string().len() + rest.len() == *len);
    format!("{}{rest}", len.unwrap()).into_bytes()
}

/// A member whose map a pax header tells.
fn mapped(records: &[(&str, &str)], data: &[u8]) -> Result<(Tree, TarStore), Error> {
    let header: Vec<u8> = records
        .iter()
        .flat_map(|(key, value)| record(key, value))
        .collect();
    read(&[("x", b'x', "", &header), ("f", b'0', "", data)])
}

#[test]
fn a_sparse_file_is_read_across_its_holes() {
    // Runs that touch, a hole, a run, a hole at the end.
    let records = [("GNU.sparse.map", "3,2,5,4,20,3"), ("GNU.sparse.size", "30")];
    let (_, store) = mapped(&records, b"abcdefghi").unwrap();
    let whole = b"\0\0\0abcdef\0\0\0\0\0\0\0\0\0\0\0ghi\0\0\0\0\0\0\0";
    let file = store.open(image_core::FileId(0)).unwrap();
    for start in 0..=whole.len() {
        for end in start..=whole.len() {
            let mut found = vec![0xff; end - start];
            file.read_exact_at(&mut found, start.try_into().unwrap()).unwrap();
            assert_eq!(found, whole[start..end], "{start}..{end}");
        }
    }
    for (offset, len) in [(30, 1), (29, 2), (u64::MAX, 1)] {
        assert!(file.read_exact_at(&mut vec![0; len], offset).is_err());
    }
}

#[test]
fn a_line_of_a_map_has_no_more_digits_than_a_number() {
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "9"),
    ];
    let data = |start: &str| {
        let mut data = format!("1\n{start}\n5\n").into_bytes();
        data.resize(512, 0);
        data.extend(b"abcde");
        data
    };
    mapped(&records, &data(&"0".repeat(20))).unwrap();
    for bad in [data(&"0".repeat(21)), vec![0; 4096], b"2\n".repeat(1024)] {
        let error = mapped(&records, &bad).unwrap_err().to_string();
        assert_eq!(error, "member 'f': the map of the sparse file is malformed");
    }
}

/// A member: name, kind, link, data.
type Given<'a> = (&'a str, u8, &'a str, &'a [u8]);

fn build(members: &[Given<'_>]) -> tempfile::NamedTempFile {
    let mut bytes = Vec::new();
    for (name, kind, link, data) in members {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = *kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    file
}

fn read(members: &[Given<'_>]) -> Result<(Tree, TarStore), Error> {
    let file = build(members);
    tar::read(File::open(file.path()).unwrap(), file.path())
}

#[test]
fn hostile_members_are_refused_by_name() {
    let acl: &[u8] = b"44 SCHILY.acl.access=user::rw-,user:lisa:r-\n";
    let table: [(&[Given<'_>], &str); 9] = [
        (
            &[("../etc/passwd", b'0', "", b"x")],
            "member '../etc/passwd': the name leads out of the tree",
        ),
        (
            &[("a/../../b", b'0', "", b"x")],
            "member 'a/../../b': the name leads out of the tree",
        ),
        (
            &[("l", b'2', "/etc", b""), ("l/x", b'0', "", b"x")],
            "member 'l/x': 'l' is no directory",
        ),
        (
            &[("d/", b'5', "", b""), ("d", b'0', "", b"x")],
            "member 'd': a directory of that name came earlier",
        ),
        (
            &[("h", b'1', "gone", b"")],
            "member 'h': hard link to 'gone', which no earlier member is",
        ),
        (
            &[("d/", b'5', "", b""), ("h", b'1', "d", b"")],
            "member 'h': hard link to 'd', which no earlier member is",
        ),
        (
            &[("v", b'V', "", b"")],
            "member 'v': kind 'V' has no place in a tree",
        ),
        (
            &[("x", b'x', "", acl), ("f", b'0', "", b"")],
            "member 'f': ACL entry 'user:lisa:r-' is malformed or has no numeric id",
        ),
        (
            &[("x", b'x', "", b"9 size=x\n"), ("f", b'0', "", b"")],
            "the header at byte 1024 has a malformed size",
        ),
    ];
    for (members, want) in table {
        assert_eq!(read(members).unwrap_err().to_string(), want);
    }
}

#[test]
fn later_members_replace_earlier_ones_and_parents_appear() {
    let members: &[Given<'_>] = &[
        ("/abs/f", b'0', "", b"old"),
        ("./abs/f", b'0', "", b"newer"),
        ("abs/", b'5', "", b""),
    ];
    let (tree, store) = read(members).unwrap();
    let mut facts = Facts::new();
    facts_of_tree(&tree, &store, NodeId::ROOT, b"", &mut facts);
    let fact = |what: String| Fact {
        mode: 0o644,
        owner: (0, 0),
        mtime: (0, 0),
        what,
        xattr: Vec::new(),
    };
    let file = fact(format!("1 links, {}", sum(b"newer")));
    let want = [
        (b"abs".to_vec(), fact("directory".to_owned())),
        (b"abs/f".to_vec(), file),
    ];
    assert_eq!(facts, Facts::from(want));
}

#[test]
fn cut_off_and_damaged_archives_are_refused() {
    let file = build(&[("f", b'0', "", &[1; 3000])]);
    let bytes = fs::read(file.path()).unwrap();
    for len in [100, 512, 513, 2000] {
        fs::write(file.path(), &bytes[..len]).unwrap();
        let error = tar::read(File::open(file.path()).unwrap(), file.path()).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{len}: {error}");
    }
    let mut damaged = bytes.clone();
    damaged[1] = b'x';
    fs::write(file.path(), damaged).unwrap();
    let error = tar::read(File::open(file.path()).unwrap(), file.path()).unwrap_err();
    assert_eq!(error.to_string(), "the header at byte 0 has a malformed checksum");
    // A member of exabytes must not be believed.
    let error = read(&[
        ("x", b'x', "", b"28 size=9223372036854775807\n"),
        ("f", b'0', "", b""),
    ])
    .unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
}

#[test]
fn an_archive_that_changes_is_noticed() {
    let file = build(&[("f", b'0', "", b"data")]);
    let (_, store) = tar::read(File::open(file.path()).unwrap(), file.path()).unwrap();
    let id = image_core::FileId(0);
    store.open(id).unwrap();
    File::options()
        .append(true)
        .open(file.path())
        .unwrap()
        .set_len(99_999)
        .unwrap();
    let error = store.open(id).err().unwrap().to_string();
    assert!(error.contains("changed while the image was written"), "{error}");
}

#[test]
fn global_headers_speak_for_members_that_do_not() {
    let members: [Given<'_>; 5] = [
        ("g", b'g', "", b"8 uid=7\n"),
        ("a", b'0', "", b""),
        ("x", b'x', "", b"8 uid=9\n"),
        ("b", b'0', "", b""),
        ("c", b'0', "", b""),
    ];
    let (tree, _) = read(&members).unwrap();
    let Content::Directory(entries) = tree.node(NodeId::ROOT).content else {
        panic!("a directory")
    };
    let owners: Vec<u32> = tree
        .entries(entries)
        .map(|(_, id)| tree.node(id).meta.uid)
        .collect();
    assert_eq!(owners, [7, 9, 7]);
}
