//! Planned ISO 9660 images, judged by `xorriso`, `isoinfo`, `bsdtar`, `sgdisk` and the kernel.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;

use image_core::sink::FileSink;
use image_core::store::MemoryStore;
use image_core::tree::{Data, Device, Meta, NewContent, NodeId, Time, Tree};
use image_core::{Map, Store, copy, scan};
use image_formats::fat;
use image_formats::iso9660::{self, BLOCK, Bios, Options, PlanError};
use oracle::snapshot;
use proptest::prelude::*;
use uuid::Uuid;

const EPOCH: Time = Time {
    secs: 1_700_000_000,
    nanos: 0,
};

fn options() -> Options {
    Options {
        label: "A_DISC_2026".to_owned(),
        epoch: EPOCH,
        clamp: false,
        bios: None,
        efi: None,
        disk_uuid: Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888),
        efi_uuid: Uuid::from_u128(0x9999_2222_3333_4444_5555_6666_7777_8888),
    }
}

fn write(tree: &Tree, store: &impl Store, options: &Options, image: &Path) -> Map {
    let map = iso9660::plan(tree, options).unwrap();
    assert_eq!(map, iso9660::plan(tree, options).unwrap());
    let mut sink = FileSink::new(File::create(image).unwrap());
    copy(&map, store, &mut sink).unwrap();
    map
}

/// Names of every kind, long targets, links, holes, a deep path, and directories of many blocks.
fn fill(root: &Path) {
    fs::create_dir_all(root.join("a/b/c/d/e/f/g/h/i/j/k")).unwrap();
    fs::write(root.join("a/b/c/d/e/f/g/h/i/j/k/deep"), "deep").unwrap();
    fs::create_dir_all(root.join("empty/too")).unwrap();
    fs::write(root.join("nothing"), "").unwrap();
    let names = root.join("names");
    fs::create_dir(&names).unwrap();
    for name in [
        "grub.cfg",
        "Grub.cfg",
        "GRUB.CFG",
        ".hidden",
        "a.tar.gz",
        "dot.",
        "ünïcode ☂",
        "a;1",
        "=+,",
    ] {
        fs::write(names.join(name), name).unwrap();
    }
    fs::write(names.join(OsStr::from_bytes(b"\xff\x01byte")), "bytes").unwrap();
    for len in [30, 31, 250, 251, 255] {
        fs::write(names.join("n".repeat(len)), "long").unwrap();
    }
    let many = root.join("many");
    fs::create_dir(&many).unwrap();
    for i in 0..300 {
        fs::write(
            many.join(format!("a-longer-name-than-others-{i}.conf")),
            &[b'x'; 5000][..i * 9],
        )
        .unwrap();
        fs::create_dir(many.join(format!("directory.{i}"))).unwrap();
    }
    let links = root.join("links");
    fs::create_dir(&links).unwrap();
    let long = format!("/{}/x", ["component"; 60].join("/"));
    let longest = "y/".repeat(2000) + "z";
    let part = "p".repeat(255);
    for (i, target) in [
        "a", "/", "/a", "../..", "./a/../b", "a//b", "a/", &long, &longest, &part,
    ]
    .iter()
    .enumerate()
    {
        symlink(target, links.join(format!("link{i}"))).unwrap();
    }
    fs::hard_link(
        root.join("many/a-longer-name-than-others-7.conf"),
        root.join("hard"),
    )
    .unwrap();
    let mut sparse = File::create(root.join("sparse")).unwrap();
    sparse.seek(std::io::SeekFrom::Start(300_000)).unwrap();
    sparse.write_all(b"here").unwrap();
    sparse.set_len(700_001).unwrap();
}

/// A directory as an image shows it: no parts of seconds, no holes, no xattrs; bsdtar sees a target without its last slash.
fn shown(root: &Path) -> snapshot::Snapshot {
    let mut snapshot = snapshot::of_dir(root);
    for file in snapshot.values_mut() {
        file.mtime.1 = 0;
        file.xattrs.clear();
        match &mut file.kind {
            snapshot::Kind::Regular { data, .. } => data.clear(),
            snapshot::Kind::Symlink(target) if target.len() > 1 && target.ends_with(b"/") => {
                target.pop();
            }
            _ => {}
        }
    }
    snapshot
}

#[test]
fn bsdtar_unpacks_the_tree_as_it_was() {
    if !oracle::require_root() || !oracle::require(&["bsdtar", "blkid"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("root"), dir.path().join("image.iso"));
    fs::create_dir(&root).unwrap();
    fill(&root);
    oracle::run(
        "mknod",
        &[
            root.join("device").as_os_str(),
            "c".as_ref(),
            "10".as_ref(),
            "200".as_ref(),
        ],
    );
    oracle::run(
        "mknod",
        &[
            root.join("block").as_os_str(),
            "b".as_ref(),
            "259".as_ref(),
            "3".as_ref(),
        ],
    );
    oracle::run("mkfifo", &[root.join("pipe").as_os_str()]);
    let strange = fs::File::open(root.join("names/grub.cfg")).unwrap();
    rustix::fs::fchmod(&strange, rustix::fs::Mode::from_raw_mode(0o6751)).unwrap();
    std::os::unix::fs::chown(root.join("nothing"), Some(70_000), Some(4_000_000_000)).unwrap();
    let (tree, store) = scan(&root, &scan::Options::default()).unwrap();
    write(&tree, &store, &options(), &image);
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    oracle::run(
        "bsdtar",
        &["-xpf".as_ref(), image.as_os_str(), "-C".as_ref(), out.as_os_str()],
    );
    let (mut expected, mut found) = (shown(&root), shown(&out));
    // It leaves the directory that it unpacks into as it is.
    for snapshot in [&mut expected, &mut found] {
        snapshot.remove(&b""[..]);
    }
    assert_eq!(expected.len(), found.len());
    for (path, file) in &expected {
        assert_eq!(found.get(path), Some(file), "{}", path.escape_ascii());
    }
    let described = oracle::run(
        "blkid",
        &["-p".as_ref(), "-o".as_ref(), "export".as_ref(), image.as_os_str()],
    );
    for line in [
        "TYPE=iso9660",
        "LABEL=A_DISC_2026",
        "UUID=2023-11-14-22-13-20-00",
        "BLOCK_SIZE=2048",
    ] {
        assert!(
            described.lines().any(|found| found == line),
            "{line}: {described}"
        );
    }
}

#[test]
fn xorriso_and_isoinfo_find_nothing_strange() {
    if !oracle::require(&["xorriso", "isoinfo", "bsdtar"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("root"), dir.path().join("image.iso"));
    fs::create_dir(&root).unwrap();
    fill(&root);
    // Longer than xorriso lets a target be; and one that it shows without its second slash.
    fs::remove_file(root.join("links/link8")).unwrap();
    fs::remove_file(root.join("links/link5")).unwrap();
    let (tree, store) = scan(&root, &scan::Options::default()).unwrap();
    write(&tree, &store, &options(), &image);

    let said = oracle::run("isoinfo", &["-d".as_ref(), "-i".as_ref(), image.as_os_str()]);
    for words in [
        "CD-ROM is in ISO 9660 format",
        "Volume id: A_DISC_2026",
        "Application id: DISKIMAGE-BUILDER",
        "NO Joliet present",
        "Rock Ridge signatures version 1 found",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let out = dir.path().join("out");
    let indev: [&OsStr; 10] = [
        "-abort_on".as_ref(),
        "WARNING".as_ref(),
        "-indev".as_ref(),
        image.as_os_str(),
        "-osirrox".as_ref(),
        "on".as_ref(),
        "-extract".as_ref(),
        "/".as_ref(),
        out.as_os_str(),
        "-end".as_ref(),
    ];
    let said = oracle::run("xorriso", &indev);
    assert!(!said.contains("WARNING") && !said.contains("SORRY"), "{said}");
    oracle::run("chmod", &["-R".as_ref(), "u+w".as_ref(), out.as_os_str()]);
    let listed = oracle::run("bsdtar", &["-tf".as_ref(), image.as_os_str()]);
    assert_eq!(listed.lines().count(), snapshot::of_dir(&root).len());
    let verbose = oracle::run("bsdtar", &["-tvf".as_ref(), image.as_os_str()]);
    assert!(
        verbose
            .lines()
            .any(|line| line.contains("hard link to") || line.contains(" link to ")),
        "{verbose}"
    );
    let expected = contents(&root);
    let found = contents(&out);
    assert_eq!(found.len(), expected.len());
    for (path, bytes) in &expected {
        assert!(found.get(path) == Some(bytes), "{}", path.escape_ascii());
    }
}

/// The bytes of files and the targets of links.
fn contents(root: &Path) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let read = |path: Vec<u8>| {
        let host = root.join(OsStr::from_bytes(&path));
        let bytes = match fs::read_link(&host) {
            Ok(target) => Some(target.as_os_str().as_bytes().to_vec()),
            Err(_) if host.is_file() => Some(fs::read(&host).unwrap()),
            Err(_) => None,
        };
        (path, bytes)
    };
    snapshot::of_dir(root).into_keys().map(read).collect()
}

/// A small FAT file system and an image of the form that GRUB's has.
fn bootable(store: &mut MemoryStore) -> Options {
    let mut builder = Tree::builder(Meta::root(0o755));
    let loader = store.push(vec![0x4d; 70_001]);
    let node = builder
        .node(Meta::root(0o644), NewContent::File(Data::dense(loader, 70_001)))
        .unwrap();
    builder.link(NodeId::ROOT, b"BOOTX64.EFI", node).unwrap();
    let tree = builder.build().unwrap();
    let mut of_fat = fat::Options {
        kind: fat::Kind::Auto,
        len: 0,
        sector: 512,
        hidden_sectors: 0,
        label: *b"EFIBOOT    ",
        volume_id: 7,
        cluster: None,
        epoch: EPOCH,
    };
    of_fat.len = fat::least(&tree, &of_fat).unwrap().next_multiple_of(BLOCK);
    let mut hybrid = vec![0x90; 512];
    hybrid[510..].copy_from_slice(&[0x55, 0xaa]);
    Options {
        bios: Some(Bios {
            image: (0..40_001_u32).map(|i| u8::try_from(i % 251).unwrap()).collect(),
            hybrid: Some(hybrid),
        }),
        efi: Some(fat::plan(&tree, &of_fat).unwrap()),
        ..options()
    }
}

/// What xorriso says of what boots.
fn report(image: &Path) -> String {
    let how = ["-report_el_torito", "plain"].map(OsStr::new);
    oracle::run("xorriso", &["-indev".as_ref(), image.as_os_str(), how[0], how[1]])
}

#[test]
fn one_firmware_is_enough() {
    if !oracle::require(&["xorriso"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image.iso");
    let mut store = MemoryStore::default();
    let options = bootable(&mut store);
    let tree = Tree::builder(Meta::root(0o755)).build().unwrap();
    for (bios, efi) in [(true, false), (false, true)] {
        let one = Options {
            bios: options.bios.clone().filter(|_| bios),
            efi: options.efi.clone().filter(|_| efi),
            ..options.clone()
        };
        write(&tree, &store, &one, &image);
        let said = report(&image);
        let images = said
            .lines()
            .filter(|line| line.starts_with("El Torito boot img :"))
            .count();
        assert_eq!(images, 1, "{said}");
        assert_eq!(said.contains("BIOS"), bios, "{said}");
    }
}

#[test]
fn what_boots_is_where_catalog_and_partition_table_say() {
    if !oracle::require(&["xorriso", "sgdisk", "fsck.vfat"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image.iso");
    let mut store = MemoryStore::default();
    let options = bootable(&mut store);
    let tree = Tree::builder(Meta::root(0o755)).build().unwrap();
    write(&tree, &store, &options, &image);

    let said = report(&image);
    let line = |words: &str| {
        let found = said.lines().find(|line| line.starts_with(words));
        found
            .unwrap_or_else(|| panic!("{words}: {said}"))
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert!(
        said.contains("El Torito cat LBA") || said.contains("El Torito catalog"),
        "{said}"
    );
    // Number, platform, bootable, emulation, load segment, and so on; the sectors and the block end the line.
    let bios = line("El Torito boot img :   1");
    let efi = line("El Torito boot img :   2");
    assert!(
        bios.contains(&"BIOS") && bios.contains(&"y") && bios.contains(&"none"),
        "{said}"
    );
    assert!(
        efi.contains(&"UEFI") && efi.contains(&"y") && efi.contains(&"none"),
        "{said}"
    );
    assert!(said.contains("grub2-mbr") && said.contains("GPT"), "{said}");

    let bytes = fs::read(&image).unwrap();
    let number =
        |at: usize| usize::try_from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap();
    let at = 2048 * bios.last().unwrap().parse::<usize>().unwrap();
    assert_eq!(bytes[at], 0);
    assert_eq!(
        [number(at + 8), number(at + 12) * 2048, number(at + 16)],
        [16, at, 40_001]
    );
    assert_eq!(number(at + 2548), at / 512 + 5);
    assert_eq!(number(0x1b0), at / 512 + 4);
    assert_eq!(bytes[at + 40_000], u8::try_from(40_000 % 251).unwrap());

    let said = oracle::run("sgdisk", &["-v".as_ref(), "-i1".as_ref(), image.as_os_str()]);
    assert!(said.contains("No problems found"), "{said}");
    assert!(said.contains("EFI system partition"), "{said}");
    let first = said
        .lines()
        .find_map(|line| line.strip_prefix("First sector: "))
        .unwrap();
    let first: u64 = first.split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(first * 512, 2048 * efi.last().unwrap().parse::<u64>().unwrap());
    let mut of_fat = vec![0; usize::try_from(options.efi.as_ref().unwrap().len()).unwrap()];
    File::open(&image)
        .unwrap()
        .read_exact_at(&mut of_fat, first * 512)
        .unwrap();
    let partition = dir.path().join("partition");
    fs::write(&partition, of_fat).unwrap();
    oracle::run("fsck.vfat", &["-n".as_ref(), partition.as_os_str()]);
}

#[test]
fn files_longer_than_a_section_are_whole() {
    if !oracle::require(&["grub-fstest", "bsdtar"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image.iso");
    let mut builder = Tree::builder(Meta::root(0o755));
    let mut store = MemoryStore::default();
    let file = store.push(vec![7; 4096]);
    // Its only data lies where the second section begins; holes cost nothing.
    let len: u64 = (9 << 30) + 5;
    let start = (1 << 32) - 4096;
    let data = Data {
        file,
        len,
        ranges: Some(std::iter::once(0..4096).collect()),
    };
    let node = builder.node(Meta::root(0o644), NewContent::File(data)).unwrap();
    builder.link(NodeId::ROOT, b"long", node).unwrap();
    let tree = builder.build().unwrap();
    let map = write(&tree, &store, &options(), &image);
    assert!(map.data_len() < 1 << 20);
    let place = map
        .extents()
        .iter()
        .find(|extent| extent.what == "file")
        .unwrap()
        .start;
    let marked = File::options().write(true).open(&image).unwrap();
    for at in [start, len - 5] {
        marked.write_all_at(b"mark", place + at).unwrap();
    }
    let listed = oracle::run("bsdtar", &["-tvf".as_ref(), image.as_os_str()]);
    assert!(listed.contains(&format!(" {len} ")), "{listed}");
    // GRUB goes from section to section, as the kernel does.
    for at in [0, start, len - 5] {
        let (skip, count) = (format!("--skip={at}"), OsStr::new("--length=4"));
        let args = [
            image.as_os_str(),
            "cat".as_ref(),
            "(loop0)/long".as_ref(),
            skip.as_ref(),
            count,
        ];
        let found = oracle::output("grub-fstest", &args).stdout;
        let expected = if at == 0 { [7; 4] } else { *b"mark" };
        assert_eq!(found, expected, "{at}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_numbers() {
    let tree = Tree::builder(Meta::root(0o755)).build().unwrap();
    let refused = |change: &dyn Fn(&mut Options)| {
        let mut options = options();
        change(&mut options);
        iso9660::plan(&tree, &options).unwrap_err().to_string()
    };
    let bios = |len: usize, hybrid: Option<usize>| {
        Some(Bios {
            image: vec![0; len],
            hybrid: hybrid.map(|len| vec![0; len]),
        })
    };
    let cases: [(String, &str); 6] = [
        (
            refused(&|options| options.label = "a disc".to_owned()),
            "'a' cannot be part of a label",
        ),
        (
            refused(&|options| options.label = "X".repeat(33)),
            "32 characters at most, and not 33",
        ),
        (
            refused(&|options| options.bios = bios(63, None)),
            "has 63 bytes: it needs 64",
        ),
        (
            refused(&|options| options.bios = bios(2559, Some(512))),
            "has 2559 bytes: it needs 2560",
        ),
        (
            refused(&|options| options.bios = bios(4096, Some(511))),
            "boot.img has 511 bytes",
        ),
        (
            refused(&|options| options.efi = Some(Map::builder(2047).build().unwrap())),
            "has 2047 bytes",
        ),
    ];
    for (said, words) in cases {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn more_than_can_be_counted_is_refused() {
    let mut builder = Tree::builder(Meta::root(0o755));
    for i in 0..65_535 {
        let node = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
        builder
            .link(NodeId::ROOT, format!("{i}").as_bytes(), node)
            .unwrap();
    }
    let error = iso9660::plan(&builder.build().unwrap(), &options()).unwrap_err();
    assert!(
        matches!(error, PlanError::Directories { asked: 65_536 }),
        "{error}"
    );
    let mut builder = Tree::builder(Meta::root(0o755));
    let file = MemoryStore::default().push(*b"x");
    let data = Data {
        file,
        len: 8 << 40,
        ranges: Some([].into()),
    };
    let node = builder.node(Meta::root(0o644), NewContent::File(data)).unwrap();
    builder.link(NodeId::ROOT, b"long", node).unwrap();
    let error = iso9660::plan(&builder.build().unwrap(), &options()).unwrap_err();
    assert!(
        matches!(
            error,
            PlanError::TooLong {
                blocks: 4_294_967_321..
            }
        ),
        "{error}"
    );
}

#[test]
fn time_and_identity_are_all_that_is_not_the_tree() {
    let mut builder = Tree::builder(Meta::root(0o755));
    let meta = Meta {
        mtime: Time {
            secs: EPOCH.secs + 5,
            nanos: 1,
        },
        ..Meta::root(0o644)
    };
    let device = NewContent::CharDevice(Device { major: 1, minor: 3 });
    let node = builder.node(meta, device).unwrap();
    builder.link(NodeId::ROOT, b"null", node).unwrap();
    let tree = builder.build().unwrap();
    let plan = |change: &dyn Fn(&mut Options)| {
        let mut options = bootable(&mut MemoryStore::default());
        change(&mut options);
        iso9660::plan(&tree, &options).unwrap()
    };
    let plain = plan(&|_| ());
    assert_eq!(plain, plan(&|_| ()));
    assert_ne!(plain, plan(&|options| options.clamp = true));
    assert_ne!(plain, plan(&|options| options.epoch.secs += 1));
    assert_ne!(plain, plan(&|options| options.disk_uuid = Uuid::nil()));
    assert_ne!(plain, plan(&|options| options.label = "B".to_owned()));
    let later = |secs| plan(&|options| (options.clamp, options.epoch.secs) = (true, secs));
    assert_ne!(later(EPOCH.secs + 6), later(EPOCH.secs + 7));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the tree, `bsdtar` unpacks it as it was.
    #[test]
    fn trees_come_back(files in proptest::collection::btree_map("[a-zA-Zü ][a-zA-Z.ü ]{0,11}(/[a-z]{1,40}){0,3}", 0_usize..9000, 0..40)) {
        if !oracle::require(&["bsdtar"]) {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        let (root, out, image) = (dir.path().join("root"), dir.path().join("out"), dir.path().join("image.iso"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&out).unwrap();
        for (path, len) in &files {
            let path = root.join(path);
            // What is a file already, or a directory, stays so.
            if path.parent().is_some_and(|parent| fs::create_dir_all(parent).is_ok()) {
                match len % 5 {
                    0 => drop(symlink("x/".repeat(len / 10) + "y", path)),
                    _ => drop(fs::write(path, vec![b'z'; *len])),
                }
            }
        }
        let (tree, store) = scan(&root, &scan::Options::default()).unwrap();
        write(&tree, &store, &options(), &image);
        oracle::run("bsdtar", &["-xf".as_ref(), image.as_os_str(), "-C".as_ref(), out.as_os_str()]);
        prop_assert_eq!(contents(&out), contents(&root));
    }
}
