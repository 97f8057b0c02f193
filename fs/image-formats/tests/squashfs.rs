//! Images by mksquashfs, with each of their compressors, read as trees and compared with the directory that
//! they were made of.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use image_core::laws::filler;
use image_core::read_at::{ImageFile, Slice};
use image_core::store::Store;
use image_core::tree::{Content, Tree};
use image_formats::squashfs::{self, Error, SquashfsStore};
use rustix::fs::{CWD, FileType, XattrFlags, lsetxattr, mknodat};

/// A directory with what images get wrong: files about as long as blocks, holes, links, many names, xattrs, nodes.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/plain"), b"plain").unwrap();
    fs::set_permissions(root.join("a/plain"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(root.join("a/plain"), root.join("z-link")).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    symlink("a/plain", root.join("symlink")).unwrap();
    symlink("t".repeat(4000), root.join("long-symlink")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"not \xff utf-8\n")), b"odd").unwrap();
    fs::create_dir(root.join("empty-directory")).unwrap();
    fs::create_dir(root.join("many")).unwrap();
    for i in 0..1500 {
        fs::write(
            root.join(format!("many/{i}-{}", "n".repeat(i % 90))),
            format!("{i}"),
        )
        .unwrap();
    }
    // Compressible, and not.
    for (i, len) in [
        4095,
        4096,
        4097,
        131_071,
        131_072,
        131_073,
        1 << 20,
        (3 << 20) + 77,
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(
            root.join(format!("filler-{i}")),
            filler(len, u8::try_from(i).unwrap()),
        )
        .unwrap();
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(len)
        .collect();
        fs::write(root.join(format!("noise-{i}")), noise).unwrap();
    }
    let sparse = File::create(root.join("sparse")).unwrap();
    for i in 0..40 {
        sparse
            .write_all_at(&[i + 1; 4096], u64::from(i) * 700_000)
            .unwrap();
    }
    sparse.set_len(40 << 20).unwrap();
    File::create(root.join("hole"))
        .unwrap()
        .set_len(5_000_000)
        .unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, 0o640.into(), 0).unwrap();
}

/// What only root can make.
fn make_root_tree(root: &Path) {
    for (name, kind, major, minor) in [
        ("null", FileType::CharacterDevice, 1, 3),
        ("disk", FileType::BlockDevice, 259, 70_000),
    ] {
        let device = rustix::fs::makedev(major, minor);
        mknodat(CWD, root.join(name), kind, 0o660.into(), device).unwrap();
    }
    mknodat(CWD, root.join("socket"), FileType::Socket, 0o600.into(), 0).unwrap();
    rustix::fs::chown(root.join("a"), Some(rustix::fs::Uid::from_raw(70_000)), None).unwrap();
    rustix::fs::chown(
        root.join("a/plain"),
        Some(rustix::fs::Uid::from_raw(4_000_000_000)),
        Some(rustix::fs::Gid::from_raw(12)),
    )
    .unwrap();
    let set = |path: &str, name: &str, value: &[u8]| {
        lsetxattr(root.join(path), name, value, XattrFlags::empty()).unwrap();
    };
    // One value of many files stands once; each of them also has one of its own.
    for i in 0..700 {
        let path = format!("many/{i}-{}", "n".repeat(i % 90));
        set(&path, "trusted.shared", &filler(300, 9));
        set(&path, "trusted.own", i.to_string().as_bytes());
    }
    let mut capability = vec![1, 0, 0, 2, 0, 0x20];
    capability.resize(20, 0);
    set("a/plain", "security.capability", &capability);
    for path in ["null", "socket", "fifo", "symlink", "a"] {
        set(path, "trusted.kind", path.as_bytes());
    }
    set("a", "trusted.empty", b"");
}

/// Makes an image of a directory.
fn make_image(root: &Path, image: &Path, options: &[&str]) {
    let _ = fs::remove_file(image);
    let mut args = vec![root.as_os_str(), image.as_os_str()];
    args.extend(["-no-progress", "-quiet", "-processors", "2"].map(OsStr::new));
    args.extend(options.iter().map(OsStr::new));
    oracle::run("mksquashfs", &args);
}

fn read(image: &Path) -> Result<(Tree, SquashfsStore), Error> {
    squashfs::read(ImageFile::new(File::open(image).unwrap(), image).unwrap())
}

fn bytes(tree: &Tree, store: &impl Store, index: usize) -> Vec<u8> {
    let Content::File(data) = &tree.nodes()[index].content else {
        panic!("a file")
    };
    let mut bytes = vec![0; usize::try_from(data.len).unwrap()];
    let open = store.open(data.file).unwrap();
    for range in data.ranges() {
        let place = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        open.read_exact_at(&mut bytes[place], range.start).unwrap();
    }
    open.finish().unwrap();
    bytes
}

/// Two trees are one: a tree has one form, so that nodes of one number are to be compared. Times are whole seconds.
fn assert_same(found: (&Tree, &impl Store), want: (&Tree, &impl Store), with_xattrs: bool, what: &str) {
    assert_eq!(found.0.nodes().len(), want.0.nodes().len(), "{what}");
    for (i, (a, b)) in found.0.nodes().iter().zip(want.0.nodes()).enumerate() {
        let path = want.0.path(want.0.id(i).unwrap());
        let path = format!("{what}: {}", path.escape_ascii());
        let meta = |node: &image_core::Node| {
            (
                node.meta.mode,
                node.meta.uid,
                node.meta.gid,
                node.meta.mtime.secs,
                node.links,
            )
        };
        assert_eq!(meta(a), meta(b), "{path}");
        if with_xattrs {
            assert_eq!(
                found.0.xattrs(a.meta.xattrs),
                want.0.xattrs(b.meta.xattrs),
                "{path}"
            );
        } else {
            assert!(found.0.xattrs(a.meta.xattrs).is_empty(), "{path}");
        }
        match (&a.content, &b.content) {
            (Content::Directory(a), Content::Directory(b)) => {
                let (a, b): (Vec<_>, Vec<_>) = (found.0.entries(*a).collect(), want.0.entries(*b).collect());
                assert_eq!(a, b, "{path}");
            }
            (Content::Symlink(a), Content::Symlink(b)) => {
                assert_eq!(found.0.target(*a), want.0.target(*b), "{path}");
            }
            (Content::File(_), Content::File(_)) => {
                assert!(bytes(found.0, found.1, i) == bytes(want.0, want.1, i), "{path}");
            }
            (a, b) => assert_eq!(a, b, "{path}"),
        }
    }
}

const COMPRESSORS: [&[&str]; 6] = [
    &["-comp", "gzip"],
    &["-comp", "xz"],
    &[
        "-comp",
        "xz",
        "-Xbcj",
        "x86,arm,armthumb,powerpc,sparc,ia64",
        "-Xdict-size",
        "100%",
    ],
    &["-comp", "zstd"],
    &["-comp", "lzma"],
    &[
        "-comp",
        "gzip",
        "-Xcompression-level",
        "1",
        "-Xstrategy",
        "huffman_only,fixed",
    ],
];

#[test]
fn images_of_mksquashfs_are_the_trees_they_were_made_of() {
    if !oracle::require(&["mksquashfs"]) || !oracle::require_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("root"), dir.path().join("image"));
    make_tree(&root);
    make_root_tree(&root);
    let (want, disk) = image_core::scan(&root, &image_core::scan::Options::default()).unwrap();
    let layouts: [&[&str]; 5] = [
        &["-b", "128K"],
        &["-b", "4K", "-no-fragments"],
        &["-b", "1M", "-always-use-fragments"],
        &["-noI", "-noD", "-noF", "-noX", "-no-duplicates", "-no-exports"],
        &["-b", "64K", "-no-xattrs", "-no-sparse", "-noId"],
    ];
    let table = COMPRESSORS
        .iter()
        .map(|compressor| (*compressor, layouts[0]))
        .chain(layouts[1..].iter().map(|layout| (COMPRESSORS[0], *layout)))
        .chain([(COMPRESSORS[3], layouts[2]), (COMPRESSORS[1], layouts[1])]);
    for (compressor, layout) in table {
        let options = [compressor, layout].concat();
        let what = options.join(" ");
        make_image(&root, &image, &options);
        let (tree, store) = read(&image).unwrap_or_else(|error| panic!("{what}: {error}"));
        let with_xattrs = !layout.contains(&"-no-xattrs");
        assert_same((&tree, &store), (&want, &disk), with_xattrs, &what);
        let holes = tree
            .nodes()
            .iter()
            .filter(|node| matches!(&node.content, Content::File(data) if data.ranges.is_some()));
        assert_eq!(
            holes.count(),
            if layout.contains(&"-no-sparse") { 0 } else { 2 },
            "{what}"
        );
    }
}

#[test]
fn the_maker_without_root_is_understood_too() {
    if !oracle::require(&["mksquashfs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("root"), dir.path().join("image"));
    make_tree(&root);
    let (want, disk) = image_core::scan(&root, &image_core::scan::Options::default()).unwrap();
    make_image(&root, &image, &[]);
    let (tree, store) = read(&image).unwrap();
    assert_same((&tree, &store), (&want, &disk), true, "defaults");

    // In the middle of something longer, and read by four threads at once, each through all files.
    let mut disk_image = vec![7; 5000];
    let long = fs::read(&image).unwrap();
    let end = 5000 + u64::try_from(long.len()).unwrap();
    disk_image.extend(long);
    disk_image.extend([7; 100]);
    let (tree, store) = squashfs::read(Slice::new(disk_image, 5000..end).unwrap()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_same((&tree, &store), (&want, &disk), true, "four threads"));
        }
    });
}

#[test]
fn files_are_read_in_any_pieces() {
    if !oracle::require(&["mksquashfs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("root"), dir.path().join("image"));
    fs::create_dir(&root).unwrap();
    let mut want = filler(50_000, 3);
    want[8192..20_480].fill(0);
    fs::write(root.join("file"), &want).unwrap();
    make_image(&root, &image, &["-b", "4K", "-always-use-fragments"]);
    let (tree, store) = read(&image).unwrap();
    let Content::File(data) = &tree.nodes()[1].content else {
        panic!("a file")
    };
    assert_eq!(data.ranges().collect::<Vec<_>>(), [0..8192, 20_480..50_000]);
    let open = store.open(data.file).unwrap();
    for step in [1, 100, 4095, 4096, 4097, 9000, 50_000] {
        let mut found = vec![0xff; 50_000];
        for (piece, at) in found.chunks_mut(step).zip((0..).step_by(step)) {
            open.read_exact_at(piece, at).unwrap();
        }
        assert!(found == want, "in pieces of {step}");
    }
    let error = open.read_exact_at(&mut [0; 2], 49_999).unwrap_err();
    assert_eq!(error.to_string(), "cannot read inode 1");
    assert!(store.open(image_core::FileId(1)).is_err());

    fs::write(&image, "something else").unwrap();
    let error = store.open(data.file).err().unwrap().to_string();
    assert!(error.contains("changed while the image was written"), "{error}");
}

/// What spoils an image.
type Change = Box<dyn Fn(&mut Vec<u8>)>;

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    if !oracle::require(&["mksquashfs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("root"), dir.path().join("image"));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), filler(10_000, 3)).unwrap();
    for compressor in ["lz4", "lzo"] {
        make_image(&root, &image, &["-comp", compressor]);
        let error = read(&image).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("images compressed with {compressor} are not supported; gzip, xz and zstd are")
        );
    }
    make_image(&root, &image, &[]);
    let good = fs::read(&image).unwrap();
    let used = u64::from_le_bytes(good[40..48].try_into().unwrap());
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        squashfs::read(bytes).unwrap_err().to_string()
    };
    let table: [(Change, String); 7] = [
        (Box::new(|b| b.truncate(50)), "not a squashfs image".into()),
        (Box::new(|b| b[0] = 0), "not a squashfs image".into()),
        (
            Box::new(|b| b[28] = 3),
            "squashfs version 3.0 is not known, only 4.0".into(),
        ),
        (Box::new(|b| b[20] = 9), "compressor 9 is not known".into()),
        (
            Box::new(|b| b[22] = 30),
            "the superblock's block_log cannot be 30".into(),
        ),
        (
            Box::new(|b| b[12] = 1),
            "the superblock's block_size cannot be 131073".into(),
        ),
        (
            Box::new(|b| b.truncate(200)),
            format!("the image is cut off: it has 200 of its {used} bytes"),
        ),
    ];
    for (change, want) in table {
        assert_eq!(damaged(&*change), want);
    }
}
