//! All that a subvolume can hold, in file systems of many forms.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use image_core::ReadAt;
use image_core::laws::filler;
use image_formats::btrfs::FileSystem;
use oracle::snapshot;
use rustix::fs::{CWD, FallocateFlags, FileType, XattrFlags, fallocate, lsetxattr, mknodat};

use crate::{comparable, filled, noise, require};

/// Options of mkfs.btrfs and of mount.
const FORMS: [(&str, &str); 9] = [
    ("", ""),
    ("--nodesize 4096 -m single -O ^no-holes -R ^free-space-tree", ""),
    ("--nodesize 65536 -m dup -d dup", "compress-force=zlib"),
    ("--mixed --nodesize 4096", "compress-force=lzo"),
    ("--csum sha256", "compress=lzo"),
    ("--csum blake2", "compress-force=zstd"),
    ("-R quota", "compress-force=zstd:1"),
    ("-O ^extref,^skinny-metadata", "nodatasum"),
    (
        "-O ^no-holes -R ^free-space-tree",
        "compress-force=zstd:3,nospace_cache",
    ),
];

/// Two names that directories find by one hash, the CRC-32C of a name.
fn one_hash(prefix: &str) -> [String; 2] {
    let mut known = HashMap::new();
    let mut names = (0..).map(|number| format!("{prefix}{number}"));
    names
        .find_map(|name| {
            let other = known.insert(crc32c::crc32c(name.as_bytes()), name.clone())?;
            Some([other, name])
        })
        .expect("there are more names than hashes")
}

/// Fills a root with what file systems hold.
fn fill(root: &Path) {
    let put = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).unwrap();
    fs::create_dir_all(root.join("a/b/c/d/e/f")).unwrap();
    put("a/plain", b"plain");
    fs::set_permissions(root.join("a/plain"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(root.join("a/plain"), Some(4_000_000_000), Some(70_000)).unwrap();
    fs::hard_link(root.join("a/plain"), root.join("z-link")).unwrap();
    fs::create_dir(root.join("empty-directory")).unwrap();
    put("odd \n name", b"odd");
    fs::write(root.join(OsStr::from_bytes(b"not \xff utf-8")), b"odd").unwrap();
    for len in [1, 1000, 4000] {
        // A link must fit a tree block.
        let made = symlink("t".repeat(len), root.join(format!("symlink-{len}")));
        assert!(made.is_ok() || len == 4000, "{made:?}");
    }
    put("empty", b"");
    // Inline, and not; compressible, and not; about as long as sectors and as compressed extents.
    for len in [
        1,
        100,
        2047,
        2048,
        4095,
        4096,
        4097,
        131_071,
        131_072,
        131_073,
        (3 << 20) + 77,
    ] {
        put(&format!("filler-{len}"), &filler(len, 3));
        put(&format!("noise-{len}"), &noise(len));
        put(&format!("zeros-{len}"), &vec![0; len]);
    }
    nodes(root);
    attributes(root);
    holes(root);
}

fn nodes(root: &Path) {
    for (name, kind, major, minor) in [
        ("null", FileType::CharacterDevice, 1, 3),
        ("disk", FileType::BlockDevice, 259, 70_000),
        ("fifo", FileType::Fifo, 0, 0),
        ("socket", FileType::Socket, 0, 0),
    ] {
        let device = rustix::fs::makedev(major, minor);
        mknodat(CWD, root.join(name), kind, 0o640.into(), device).unwrap();
    }
}

fn attributes(root: &Path) {
    let set = |file: &str, name: &str, value: &[u8]| {
        lsetxattr(root.join(file), name, value, XattrFlags::empty()).unwrap();
    };
    set("a/plain", "user.small", b"value");
    set("a/plain", "user.empty", b"");
    set("empty", "user.large", &filler(3000, 5));
    set("symlink-1", "trusted.link", b"of a link");
    let mut capability = vec![1, 0, 0, 2, 0, 0x20];
    capability.resize(20, 0);
    set("a/plain", "security.capability", &capability);
    let acl = [
        2_u8, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255,
        255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ];
    set("empty", "system.posix_acl_access", &acl);
    set("a/b", "system.posix_acl_default", &acl);
    for i in 0..100 {
        set("a/b/c", &format!("user.number-{i}"), i.to_string().as_bytes());
    }
    // Two names of one hash stand in one item.
    for name in one_hash("user.") {
        set("a/b/c", &name, name.as_bytes());
    }
    property(root);
}

/// A property of Btrfs, which is none of the file's.
fn property(root: &Path) {
    let path = root.join("a/b/c/d");
    let args = ["property", "set"].map(OsStr::new);
    let words = ["compression", "zlib"].map(OsStr::new);
    oracle::run("btrfs", &[&args[..], &[path.as_os_str()], &words].concat());
    fs::write(path.join("inherits"), filler(50_000, 1)).unwrap();
}

fn holes(root: &Path) {
    let create = |name: &str| File::create(root.join(name)).unwrap();
    let sparse = create("sparse");
    for i in 0..40_u8 {
        sparse
            .write_all_at(&[i + 1; 4096], u64::from(i) * 700_000)
            .unwrap();
    }
    sparse.set_len(40 << 20).unwrap();
    create("hole").set_len(5_000_000).unwrap();
    // Inline, with a hole behind.
    let grown = create("grown");
    grown.write_all_at(b"short", 0).unwrap();
    grown.sync_all().unwrap();
    grown.set_len(1_000_000).unwrap();
    // Inline, made shorter and longer again.
    let cut = create("cut");
    cut.write_all_at(&filler(1500, 1), 0).unwrap();
    for len in [700, 1200] {
        cut.sync_all().unwrap();
        cut.set_len(len).unwrap();
    }
    let allocated = create("allocated");
    fallocate(&allocated, FallocateFlags::empty(), 0, 3_000_000).unwrap();
    allocated.write_all_at(&filler(10_000, 1), 500_000).unwrap();
    let behind = create("allocated-behind");
    behind.write_all_at(&noise(10_000), 0).unwrap();
    fallocate(&behind, FallocateFlags::KEEP_SIZE, 0, 1_000_000).unwrap();
    // Parts of extents: overwritten, punched out, cut, and shared.
    let parts = create("parts");
    parts.write_all_at(&filler(1 << 20, 7), 0).unwrap();
    parts.sync_all().unwrap();
    parts.write_all_at(&noise(4096), 65_536).unwrap();
    parts.write_all_at(&filler(8192, 9), 300_000).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&parts, punch, 500_000, 50_000).unwrap();
    parts.sync_all().unwrap();
    parts.set_len(900_001).unwrap();
    let shared = create("shared");
    rustix::fs::ioctl_ficlone(&shared, File::open(root.join("parts")).unwrap()).unwrap();
    shared.write_all_at(&noise(5000), 100_000).unwrap();
}

#[test]
fn what_the_kernel_wrote_is_read_as_the_kernel_shows_it() {
    if !require() {
        return;
    }
    let readable = |options: &str| cfg!(feature = "zstd") || !options.contains("zstd");
    for (form, options) in FORMS.into_iter().filter(|(_, options)| readable(options)) {
        eprintln!("mkfs.btrfs {form}; mount {options}");
        let image = filled(form, options, fill);
        let shown = image.shown("");
        assert!(shown.len() > 50, "{} files", shown.len());
        snapshot::assert_same(&shown, &image.read(5));
        let system = image.open();
        let about = system.about();
        assert_eq!((&about.label[..], about.size), (&b"a label"[..], 256 << 20));
        assert!(about.used > 1 << 20 && about.used < about.size);
        assert!(about.features.iter().any(|name| name == "extended_iref") != form.contains("^extref"));
    }
}

#[test]
fn directories_of_many_names_are_whole() {
    if !require() {
        return;
    }
    for form in ["--nodesize 4096", "--nodesize 16384"] {
        let image = filled(form, "", |root| {
            for i in 0..20_000 {
                let name = format!("{i}-{}", "n".repeat(i % 60));
                fs::write(root.join(&name), b"").unwrap();
                if i % 7 == 0 {
                    fs::remove_file(root.join(name)).unwrap();
                }
            }
            for name in one_hash("") {
                fs::create_dir_all(root.join(&name).join("below")).unwrap();
            }
            let (mut deep, name) = (root.to_owned(), "d".repeat(20));
            for _ in 0..100 {
                deep.push(&name);
                fs::create_dir(&deep).unwrap();
            }
            // More names than the inode's first item of names holds.
            fs::write(root.join("linked"), b"linked").unwrap();
            for i in 0..2000 {
                fs::hard_link(root.join("linked"), root.join(format!("linked-{i}"))).unwrap();
            }
        });
        let shown = image.shown("");
        assert!(shown.len() > 19_000, "{} files", shown.len());
        snapshot::assert_same(&shown, &image.read(5));
    }
}

/// An image in memory that counts what is read of it.
#[derive(Clone, Debug)]
struct Counted {
    bytes: Arc<Vec<u8>>,
    read: Arc<AtomicU64>,
}

impl ReadAt for Counted {
    fn len(&self) -> u64 {
        ReadAt::len(&*self.bytes)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.bytes.read_exact_at(buf, offset)
    }
}

#[test]
fn one_file_takes_a_few_tree_blocks() {
    if !require() {
        return;
    }
    let image = filled("--nodesize 4096", "", |root| {
        for directory in 0..40 {
            let directory = root.join(format!("many-{directory}/below"));
            fs::create_dir_all(&directory).unwrap();
            for i in 0..200 {
                fs::write(directory.join(i.to_string()), b"some bytes").unwrap();
            }
        }
    });
    let source = Counted {
        bytes: Arc::new(fs::read(&image.path).unwrap()),
        read: Arc::default(),
    };
    let taken = |wanted: fn(&[u8]) -> bool| {
        let system = FileSystem::open(source.clone()).unwrap();
        let before = source.read.load(Ordering::Relaxed);
        let (tree, store) = system.read_some(5, &BTreeSet::new(), wanted).unwrap();
        let read = source.read.load(Ordering::Relaxed) - before;
        (read, comparable(snapshot::of_tree(&tree, &store)))
    };
    let (all, whole) = taken(|_| true);
    let (some, part) = taken(|path| matches!(path, b"many-7" | b"many-7/below"));
    assert!(some * 10 < all, "{some} of {all} bytes");
    assert_eq!(part.len(), 1 + 40 + 1 + 200);
    for (path, file) in part {
        assert_eq!(file, whole[&path], "{}", path.escape_ascii());
    }
}
