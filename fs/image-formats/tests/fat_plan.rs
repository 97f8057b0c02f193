//! Planned FAT file systems, judged by `fsck.vfat`, by the crate `fatfs`, by mtools and by our own reader.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Seek, Write};
use std::path::Path;

use image_core::read_at::ImageFile;
use image_core::sink::FileSink;
use image_core::tree::{Data, Device, Meta, NewContent, NodeId, Time, Tree};
use image_core::{FileId, Store, copy, scan};
use image_formats::fat::{self, Kind, Options, PlanError};
use oracle::snapshot;

const EPOCH: Time = Time {
    secs: 1_700_000_001,
    nanos: 0,
};

fn options(kind: Kind, len: u64) -> Options {
    Options {
        kind,
        len,
        sector: 512,
        hidden_sectors: 2048,
        label: *b"ESP        ",
        volume_id: 0x1234_5678,
        cluster: None,
        epoch: EPOCH,
    }
}

/// A tree with names of every kind, long and short chains, empty files, holes, and a directory of many clusters.
fn fill(root: &Path) {
    let odd = root.join("EFI/a directory with a long name");
    fs::create_dir_all(root.join("EFI/BOOT")).unwrap();
    fs::create_dir_all(root.join("loader/entries/empty")).unwrap();
    fs::create_dir_all(&odd).unwrap();
    fs::write(root.join("EFI/BOOT/BOOTX64.EFI"), vec![0x4d; 700_001]).unwrap();
    fs::write(root.join("EFI/empty"), "").unwrap();
    let long = "n".repeat(255);
    let names = [
        "grub.cfg",
        "UPPER.TXT",
        "mixed.Case",
        "ünïcode ☂.txt",
        "x",
        "𝄞 clef",
        ".dot",
        "a+b,c;d=[e]",
        "trailing.tar.gz",
        "thirteen char",
        "LONGFI~1.TXT",
        "longfilename.txt",
        "longfilename2.txt",
        &long,
    ];
    for (i, name) in names.iter().enumerate() {
        fs::write(odd.join(name), &[b'a'; 14_000][..i * 700]).unwrap();
    }
    for i in 0..400 {
        fs::write(
            root.join(format!("EFI/BOOT/a-longer-name-{i}.conf")),
            format!("{i}"),
        )
        .unwrap();
    }
    // More than a cluster of the root directory.
    for i in 0..40 {
        fs::write(root.join(format!("in-the-root-{i}")), "").unwrap();
    }
    let mut sparse = File::create(root.join("sparse")).unwrap();
    sparse.seek(std::io::SeekFrom::Start(300_000)).unwrap();
    sparse.write_all(b"here").unwrap();
    sparse.set_len(700_000).unwrap();
}

/// Plans a directory of the host, and writes the image. Gives back the plan.
fn write(files: &Path, options: &Options, image: &Path) -> Tree {
    let (tree, store) = scan(files, &scan::Options::default()).unwrap();
    write_tree(&tree, &store, options, image);
    tree
}

fn write_tree(tree: &Tree, store: &impl Store, options: &Options, image: &Path) {
    let map = fat::plan(tree, options).unwrap();
    assert_eq!(map.len(), options.len);
    let mut sink = FileSink::new(File::create(image).unwrap());
    copy(&map, store, &mut sink).unwrap();
}

/// Nothing but a version and a summary may be said.
fn fsck(image: &Path) {
    let said = oracle::run("fsck.vfat", &[OsStr::new("-n"), image.as_os_str()]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines.len() == 2 && lines[0].starts_with("fsck.fat") && lines[1].contains(" files, "),
        "{said}"
    );
}

/// What the crate `fatfs` reads: paths, and the bytes of files.
fn of_fatfs(image: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let fs = fatfs::FileSystem::new(
        File::options().read(true).write(true).open(image).unwrap(),
        fatfs::FsOptions::new(),
    )
    .unwrap();
    assert_eq!(fs.volume_label(), "ESP");
    assert_eq!(fs.volume_id(), 0x1234_5678);
    assert_eq!(
        fs.read_volume_label_from_root_dir().unwrap().as_deref(),
        Some("ESP")
    );
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), fs.root_dir())];
    while let Some((path, directory)) = open.pop() {
        for entry in directory.iter().map(Result::unwrap) {
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            let path = format!("{path}/{name}");
            let bytes = entry.is_file().then(|| {
                let mut bytes = Vec::new();
                entry.to_file().read_to_end(&mut bytes).unwrap();
                bytes
            });
            if entry.is_dir() {
                open.push((path.clone(), entry.to_dir()));
            }
            found.insert(path, bytes);
        }
    }
    found
}

/// The same of a directory of the host.
fn of_host(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for path in snapshot::of_dir(root).into_keys().filter(|path| !path.is_empty()) {
        let path = String::from_utf8(path).unwrap();
        let host = root.join(&path);
        found.insert(
            format!("/{path}"),
            host.is_file().then(|| fs::read(&host).unwrap()),
        );
    }
    found
}

/// What FAT keeps: names, contents, and times in steps of two seconds.
fn comparable(mut snapshot: snapshot::Snapshot) -> snapshot::Snapshot {
    snapshot.remove(&Vec::new());
    for file in snapshot.values_mut() {
        (file.links, file.mode) = (0, 0);
        file.mtime = (file.mtime.0.min(EPOCH.secs) / 2 * 2, 0);
        if let snapshot::Kind::Regular { data, .. } = &mut file.kind {
            data.clear();
        }
    }
    snapshot
}

#[test]
fn every_kind_is_what_others_read() {
    if !oracle::require(&["fsck.vfat", "mtype", "grub-fstest"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, files) = (dir.path().join("image"), dir.path().join("files"));
    fill(&files);
    let expected = of_host(&files);
    let mebibyte = 1 << 20;
    let wide = |options| Options {
        sector: 4096,
        ..options
    };
    for options in [
        options(Kind::Fat12, 8 * mebibyte),
        wide(options(Kind::Fat12, 20 * mebibyte + 1000)),
        options(Kind::Fat16, 64 * mebibyte),
        wide(options(Kind::Fat16, 100 * mebibyte)),
        options(Kind::Fat32, 64 * mebibyte),
        wide(options(Kind::Fat32, 300 * mebibyte)),
        options(Kind::Auto, 550 * mebibyte),
        wide(options(Kind::Auto, 550 * mebibyte)),
    ] {
        write(&files, &options, &image);
        fsck(&image);
        assert!(of_fatfs(&image) == expected, "{options:?}");
        let source = ImageFile::new(File::open(&image).unwrap(), &image).unwrap();
        let (tree, store) = fat::read(source).unwrap();
        snapshot::assert_same(
            &comparable(snapshot::of_dir(&files)),
            &comparable(snapshot::of_tree(&tree, &store)),
        );
        for path in [
            "EFI/BOOT/BOOTX64.EFI",
            "EFI/a directory with a long name/mixed.Case",
        ] {
            let read = oracle::ext4::grub_cat(&image, &format!("/{path}"));
            assert_eq!(read, fs::read(files.join(path)).unwrap(), "{options:?}");
        }
        let words = [
            "LC_ALL=C.UTF-8",
            "mtype",
            "-i",
            image.to_str().unwrap(),
            "::EFI/a directory with a long name/x",
        ];
        let typed = oracle::run("env", &words.map(OsStr::new));
        assert_eq!(typed.len(), 4 * 700);
    }
}

/// The fields of the boot sector that say how much lies where: bytes in a sector, sectors in a cluster, entries of the
/// root directory, the media, whether it is FAT32.
fn shape(image: &Path) -> (u16, u8, u16, u8, bool) {
    let mut boot = [0; 512];
    File::open(image).unwrap().read_exact(&mut boot).unwrap();
    let word = |at: usize| u16::from_le_bytes([boot[at], boot[at + 1]]);
    (word(11), boot[13], word(17), boot[21], word(22) == 0)
}

#[test]
fn clusters_are_as_large_as_those_of_mkfs() {
    if !oracle::require(&["mkfs.fat", "fsck.vfat"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let cases = [
        (
            Kind::Auto,
            "",
            &[
                1, 4, 8, 9, 16, 33, 127, 130, 255, 257, 511, 512, 550, 8192, 8193, 16385, 32769,
            ][..],
        ),
        (Kind::Fat32, "-F32", &[34, 64, 256, 260, 261, 511, 8192]),
        (Kind::Fat16, "-F16", &[17, 64, 512, 1024]),
        (Kind::Fat12, "-F12", &[1, 8, 16, 32]),
    ];
    for (kind, word, sizes) in cases {
        for size in sizes.iter().map(|mebibytes: &u64| mebibytes << 20) {
            write(&empty, &options(kind, size), &ours);
            File::create(&theirs).unwrap().set_len(size).unwrap();
            let words = [word, "-h", "2048", theirs.to_str().unwrap()];
            let words: Vec<&OsStr> = words
                .iter()
                .filter(|word| !word.is_empty())
                .map(OsStr::new)
                .collect();
            oracle::run("mkfs.fat", &words);
            assert_eq!(shape(&ours), shape(&theirs), "{kind:?} {size}");
            fsck(&ours);
        }
    }
}

#[test]
fn the_number_of_clusters_tells_the_width() {
    if !oracle::require(&["fsck.vfat"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, files) = (dir.path().join("image"), dir.path().join("files"));
    fs::create_dir(&files).unwrap();
    fs::write(files.join("a file"), "x").unwrap();
    let (tree, store) = scan(&files, &scan::Options::default()).unwrap();
    let cluster = |kind, len| Options {
        cluster: Some(512),
        ..options(kind, len)
    };
    // One boot sector or 32, two tables, 32 sectors of a root directory or none, and the clusters.
    let sectors = |clusters: u64, bits: u64, before: u64| {
        (before + clusters + 2 * ((clusters + 2) * bits).div_ceil(4096)) * 512
    };
    let small = (sectors(1, 12, 33), sectors(4085, 12, 33) - 512);
    let middle = (sectors(4085, 16, 33), sectors(65_525, 16, 33) - 512);
    let large = sectors(65_525, 32, 32);
    for (kind, least, most) in [(Kind::Fat12, small.0, small.1), (Kind::Fat16, middle.0, middle.1)] {
        for len in [least, least + 512, most - 512, most] {
            write_tree(&tree, &store, &cluster(kind, len), &image);
            assert_eq!(of_fatfs(&image).len(), 1);
            fsck(&image);
        }
        for len in [least - 512, most + 512] {
            let error = fat::plan(&tree, &cluster(kind, len)).unwrap_err();
            let numbers = format!("{kind:?} cannot have {len} bytes: from {least} to {most} bytes");
            assert!(error.to_string().starts_with(&numbers), "{error}");
        }
    }
    write_tree(&tree, &store, &cluster(Kind::Fat32, large), &image);
    assert_eq!(of_fatfs(&image).len(), 1);
    fsck(&image);
    assert!(matches!(
        fat::plan(&tree, &cluster(Kind::Fat32, large - 512)),
        Err(PlanError::Length { least, .. }) if least == large
    ));
}

#[test]
fn the_least_length_is_just_enough() {
    let mut builder = Tree::builder(Meta::root(0o755));
    for i in 0..300 {
        let data = Data::dense(FileId(i), 100_001);
        let node = builder.node(Meta::root(0o644), NewContent::File(data)).unwrap();
        builder
            .link(NodeId::ROOT, format!("{i}").as_bytes(), node)
            .unwrap();
    }
    let tree = builder.build().unwrap();
    for (kind, sector, cluster) in [
        (Kind::Auto, 512, None),
        (Kind::Fat16, 512, None),
        (Kind::Fat12, 512, None),
        (Kind::Fat32, 512, None),
        (Kind::Fat32, 4096, None),
        (Kind::Auto, 4096, Some(4096)),
        (Kind::Fat32, 512, Some(16384)),
    ] {
        let options = Options {
            sector,
            cluster,
            ..options(kind, 0)
        };
        let least = fat::least(&tree, &options).unwrap();
        for (len, fits) in [
            (least, true),
            (least - u64::from(sector), false),
            (least + 1, true),
        ] {
            let planned = fat::plan(&tree, &Options { len, ..options });
            assert_eq!(planned.is_ok(), fits, "{options:?} {len}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let mut builder = Tree::builder(Meta::root(0o755));
    for i in 0..512 {
        let node = builder
            .node(
                Meta::root(0o644),
                NewContent::File(Data::dense(FileId(i), 40_000)),
            )
            .unwrap();
        builder
            .link(NodeId::ROOT, format!("{i}").as_bytes(), node)
            .unwrap();
    }
    let tree = builder.build().unwrap();
    let said = |options: &Options| fat::plan(&tree, options).unwrap_err().to_string();
    assert_eq!(
        said(&options(Kind::Fat16, 64 << 20)),
        "the names in the root directory need 513 entries, and FAT12 and FAT16 have 512"
    );
    let unnamed = Options {
        label: [b' '; 11],
        ..options(Kind::Fat16, 64 << 20)
    };
    assert!(fat::plan(&tree, &unnamed).is_ok());
    assert_eq!(
        said(&Options {
            len: 20 << 20,
            ..unnamed
        }),
        "the files need 10240 clusters of 2048 bytes, and a file system of 20971520 bytes has 10211: 21030912 bytes \
         are enough"
    );
    // What does not fit the root directory of FAT16 makes FAT32 the least.
    assert!(fat::least(&tree, &options(Kind::Auto, 0)).unwrap() >= 512 << 20);
    assert_eq!(
        said(&Options {
            sector: 520,
            ..unnamed
        }),
        "a sector has 512, 1024, 2048 or 4096 bytes, and cannot have 520"
    );
    assert!(
        said(&Options {
            cluster: Some(1000),
            ..unnamed
        })
        .contains("cluster of 1000 bytes")
    );
    assert!(
        said(&Options {
            label: *b"A.B        ",
            ..unnamed
        })
        .contains("'.'")
    );
    assert!(
        said(&Options {
            len: 3 << 40,
            ..unnamed
        })
        .contains("cannot have 3298534883328 bytes")
    );
}

#[test]
fn a_full_directory_is_refused_with_its_path() {
    let mut builder = Tree::builder(Meta::root(0o755));
    let directory = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
    builder.link(NodeId::ROOT, b"many", directory).unwrap();
    for i in 0..22_000 {
        let node = builder
            .node(Meta::root(0o644), NewContent::File(Data::dense(FileId(0), 0)))
            .unwrap();
        builder
            .link(directory, format!("a long name {i}").as_bytes(), node)
            .unwrap();
    }
    let error = fat::plan(&builder.build().unwrap(), &options(Kind::Fat32, 64 << 20)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the names in '/many' need 65992 entries, and a directory has 65536 at most"
    );
}

#[test]
fn what_fat_has_not_is_refused_by_path() {
    let device = Device { major: 1, minor: 3 };
    let cases = [
        (
            &b"link"[..],
            NewContent::Symlink(b"x"),
            "'/dir/link' is a symbolic link, and a FAT file system has none",
        ),
        (
            b"null",
            NewContent::CharDevice(device),
            "'/dir/null' is a character device, and a FAT file system has none",
        ),
        (
            b"pipe",
            NewContent::Fifo,
            "'/dir/pipe' is a named pipe, and a FAT file system has none",
        ),
        (
            b"big",
            NewContent::File(Data::dense(FileId(0), 1 << 32)),
            "'/dir/big' has 4294967296 bytes, and a file here has less than 4294967296",
        ),
        (
            b"a\xff",
            NewContent::Directory,
            "'/dir/a\u{fffd}' cannot be named so in a FAT file system: it is not UTF-8",
        ),
        (
            b"a:b",
            NewContent::Directory,
            "'/dir/a:b' cannot be named so in a FAT file system: ':' cannot be part of it",
        ),
        (
            b"dot.",
            NewContent::Directory,
            "'/dir/dot.' cannot be named so in a FAT file system: it ends with '.', which is lost",
        ),
        (
            b"OTHER",
            NewContent::Directory,
            "'/dir/OTHER' and '/dir/other' are one name in a FAT file system, which sees no case",
        ),
    ];
    for (name, content, expected) in cases {
        let mut builder = Tree::builder(Meta::root(0o755));
        let directory = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
        let other = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
        let node = builder.node(Meta::root(0o644), content).unwrap();
        builder.link(NodeId::ROOT, b"dir", directory).unwrap();
        builder.link(directory, b"other", other).unwrap();
        builder.link(directory, name, node).unwrap();
        let tree = builder.build().unwrap();
        let error = fat::plan(&tree, &options(Kind::Auto, 64 << 20)).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(
            fat::least(&tree, &options(Kind::Auto, 0))
                .unwrap_err()
                .to_string(),
            expected
        );
    }
}

#[test]
fn a_second_name_is_a_file_of_its_own() {
    if !oracle::require(&["fsck.vfat"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, files) = (dir.path().join("image"), dir.path().join("files"));
    fs::create_dir(&files).unwrap();
    fs::write(files.join("one"), [1; 5000]).unwrap();
    fs::hard_link(files.join("one"), files.join("two")).unwrap();
    write(&files, &options(Kind::Auto, 2 << 20), &image);
    fsck(&image);
    assert_eq!(of_fatfs(&image), of_host(&files));
}

#[test]
fn holes_are_gaps() {
    let mut builder = Tree::builder(Meta::root(0o755));
    let data = Data {
        ranges: Some([4096..8192, 1 << 20..(1 << 20) + 5].into()),
        ..Data::dense(FileId(3), 2 << 20)
    };
    let node = builder.node(Meta::root(0o644), NewContent::File(data)).unwrap();
    builder.link(NodeId::ROOT, b"sparse", node).unwrap();
    let map = fat::plan(&builder.build().unwrap(), &options(Kind::Fat16, 64 << 20)).unwrap();
    let data: Vec<u64> = map
        .extents()
        .iter()
        .filter(|extent| extent.what == "file data")
        .flat_map(|extent| [extent.start, extent.len])
        .collect();
    assert_eq!(data.len(), 4);
    assert_eq!(data[2] - data[0], (1 << 20) - 4096);
    assert_eq!([data[1], data[3]], [4096, 5]);
}
