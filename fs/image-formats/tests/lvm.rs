//! Planned volume groups, judged by LVM's own commands.

use std::fs::File;
use std::path::PathBuf;

use image_core::copy;
use image_core::sink::FileSink;
use image_core::store::MemoryStore;
use image_core::tree::Time;
use image_formats::lvm::{self, Group, Logical, Physical, Piece, Planned};
use oracle::lvm::Volumes;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn uuid(last: u8) -> [u8; 32] {
    let mut uuid = *b"0123456789abcdef0123456789abcdef";
    uuid[31] = last;
    uuid
}

fn group(name: &str, mebibytes: &[u64], logical: &[(&str, u64)]) -> Group {
    let numbers = || b'0'..;
    Group {
        name: name.to_owned(),
        uuid: uuid(b'z'),
        extent: 4 * MIB,
        physical: numbers()
            .zip(mebibytes)
            .map(|(number, mebibytes)| Physical {
                name: format!("/dev/disk{}", char::from(number)),
                uuid: uuid(number),
                len: mebibytes * MIB,
            })
            .collect(),
        logical: numbers()
            .zip(logical)
            .map(|(number, (name, extents))| Logical {
                name: (*name).to_owned(),
                uuid: uuid(number + 32),
                extents: *extents,
            })
            .collect(),
        epoch: Time {
            secs: 1_700_000_000,
            nanos: 0,
        },
    }
}

/// Writes the physical volumes, and lets LVM look at them.
fn written(planned: &Planned) -> (TempDir, Volumes) {
    let dir = tempfile::tempdir().unwrap();
    let images: Vec<PathBuf> = (0..planned.labels.len())
        .map(|number| dir.path().join(format!("{number}")))
        .collect();
    for (map, image) in planned.labels.iter().zip(&images) {
        let mut sink = FileSink::new(File::create(image).unwrap());
        copy(map, &MemoryStore::default(), &mut sink).unwrap();
    }
    let images: Vec<_> = images.iter().map(PathBuf::as_path).collect();
    let volumes = Volumes::attach(&images);
    (dir, volumes)
}

fn rows(said: &str) -> Vec<Vec<&str>> {
    said.lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// 15, 23 and 1 extents, of which the second volume takes from all.
fn spread() -> Group {
    group("vg-one", &[64, 96, 5], &[("root", 10), ("var", 29)])
}

const QUIET: [&str; 5] = ["--noheadings", "--units", "b", "--nosuffix", "-o"];

#[test]
fn lvm_sees_what_was_planned() {
    if !oracle::lvm::require() {
        return;
    }
    let planned = lvm::plan(&spread()).unwrap();
    let piece = |physical, extent: u64, extents: u64| Piece {
        physical,
        offset: MIB + extent * 4 * MIB,
        len: extents * 4 * MIB,
    };
    assert_eq!(planned.places[0], [piece(0, 0, 10)]);
    assert_eq!(
        planned.places[1],
        [piece(0, 10, 5), piece(1, 0, 23), piece(2, 0, 1)]
    );

    let (_dir, volumes) = written(&planned);
    let ask = |tool, columns: &[&str]| volumes.ask(tool, &[&QUIET[..], columns].concat());
    let said = ask(
        "vgs",
        &["vg_name,vg_uuid,vg_size,vg_extent_size,pv_count,lv_count,vg_free_count,vg_seqno,vg_attr"],
    );
    let group_uuid = "012345-6789-abcd-ef01-2345-6789-abcdez";
    assert_eq!(
        rows(&said),
        [[
            "vg-one",
            group_uuid,
            "163577856",
            "4194304",
            "3",
            "2",
            "0",
            "1",
            "wz--n-"
        ]]
    );
    let said = ask(
        "lvs",
        &["lv_name,lv_uuid,lv_size,seg_count,lv_layout,lv_time,lv_host"],
    );
    let rest = "linear 2023-11-14 22:13:20 +0000 dib";
    let expected = [
        format!("root 012345-6789-abcd-ef01-2345-6789-abcdeP 41943040 1 {rest}"),
        format!("var 012345-6789-abcd-ef01-2345-6789-abcdeQ 121634816 3 {rest}"),
    ];
    let said: Vec<String> = rows(&said).into_iter().map(|row| row.join(" ")).collect();
    assert_eq!(said, expected);
}

#[test]
fn lvm_finds_segments_and_devices() {
    if !oracle::lvm::require() {
        return;
    }
    let planned = lvm::plan(&spread()).unwrap();
    let (_dir, volumes) = written(&planned);
    let ask = |tool, columns: &[&str]| volumes.ask(tool, &[&QUIET[..], columns].concat());
    let said = ask(
        "lvs",
        &["lv_name,seg_start_pe,seg_size_pe,seg_pe_ranges", "--segments"],
    );
    let range = |number, range: &str| format!("{}:{range}", volumes.device(number));
    assert_eq!(
        rows(&said),
        [
            ["root", "0", "10", &range(0, "0-9")],
            ["var", "0", "5", &range(0, "10-14")],
            ["var", "5", "23", &range(1, "0-22")],
            ["var", "28", "1", &range(2, "0-0")],
        ]
    );
    let said = ask(
        "pvs",
        &[
            "pv_name,pv_uuid,dev_size,pe_start,pv_pe_count,pv_mda_count,pv_in_use",
            "--sort",
            "dev_size",
        ],
    );
    assert_eq!(rows(&said).len(), 3, "{said}");
    let first = "012345-6789-abcd-ef01-2345-6789-abcde0";
    let device = volumes.device(0);
    assert!(
        rows(&said).contains(&vec![device, first, "67108864", "1048576", "15", "1", "used"]),
        "{said}"
    );
    assert_eq!(volumes.ask("vgck", &["vg-one"]), "");
}

#[test]
fn checksums_and_headers_are_sound() {
    if !oracle::lvm::require() {
        return;
    }
    let planned = lvm::plan(&group("vg", &[64], &[("root", 1)])).unwrap();
    let (_dir, volumes) = written(&planned);
    let said = volumes.ask("pvck", &["--dump", "headers", volumes.device(0)]);
    assert!(!said.contains("CHECK") && !said.contains("WARNING"), "{said}");
    for line in [
        "label_header.id LABELONE",
        "pv_header.device_size 67108864",
        "pv_header_extension.flags 1",
        "mda_header_1.size 1044480",
        "vgname vg seqno 1",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let said = volumes.ask("pvck", &["--dump", "metadata", volumes.device(0)]);
    assert!(
        said.contains("creation_time = 1700000000") && said.contains("creation_host = \"dib\""),
        "{said}"
    );
    volumes.ask("pvck", &[volumes.device(0)]);
}

#[test]
fn odd_names_and_many_volumes_are_read() {
    if !oracle::lvm::require() {
        return;
    }
    let names: Vec<String> = (0..120)
        .map(|number| format!("{number}+volume_of.many-"))
        .collect();
    let mut planned_for = group("0.odd+", &[1 << 10], &[]);
    planned_for.extent = 1 << 20;
    let digits = |number: u8| *format!("{number:032}").as_bytes().first_chunk::<32>().unwrap();
    planned_for.logical = (0..)
        .zip(&names)
        .map(|(number, name)| Logical {
            name: name.clone(),
            uuid: digits(number),
            extents: 2,
        })
        .collect();
    let (_dir, volumes) = written(&lvm::plan(&planned_for).unwrap());
    let said = volumes.ask("lvs", &["--noheadings", "-o", "lv_name", "0.odd+"]);
    let mut expected: Vec<&str> = names.iter().map(String::as_str).collect();
    expected.sort_unstable();
    let mut found: Vec<&str> = said.lines().map(str::trim).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(volumes.ask("vgck", &["0.odd+"]), "");
}

#[test]
fn the_same_group_gives_the_same_bytes() {
    let group = group("vg", &[64, 96], &[("root", 20)]);
    assert_eq!(
        lvm::plan(&group).unwrap().labels,
        lvm::plan(&group).unwrap().labels
    );
}

/// What is said of a good group that was changed.
fn said(change: impl FnOnce(&mut Group)) -> String {
    let mut group = group("vg", &[64, 96], &[("root", 20), ("var", 10)]);
    assert!(lvm::plan(&group).is_ok());
    change(&mut group);
    lvm::plan(&group).unwrap_err().to_string()
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    assert_eq!(
        said(|group| group.logical[1].extents = 19),
        "the logical volume 'var' needs 19 extents of 4194304 bytes, and 18 of the 38 of its group are free"
    );
    assert_eq!(
        said(|group| group.logical[1].extents = 0),
        "the logical volume 'var' has no extent"
    );
    for extent in [0, 1000, 3 << 15, 2 << 40] {
        let expected = format!(
            "an extent of {extent} bytes is neither a power of two from 1024 on nor a multiple of 131072, or has 2 TiB \
             or more"
        );
        assert_eq!(said(|group| group.extent = extent), expected);
    }
    assert_eq!(
        said(|group| group.physical.clear()),
        "the volume group 'vg' has no physical volume"
    );
    for len in [5 * MIB - 512, 64 * MIB + 1] {
        let expected = format!(
            "the physical volume '/dev/disk1' has {len} bytes, which are no multiple of 512 from 5242880 on"
        );
        assert_eq!(said(|group| group.physical[1].len = len), expected);
    }
    let many = |group: &mut Group| {
        group.extent = 1024;
        group.physical[0].len = 5 << 40;
    };
    assert_eq!(
        said(many),
        "the volume group 'vg' has 5368805376 extents of 1024 bytes, and LVM counts 4294967295 at most"
    );
    let wordy = |group: &mut Group| {
        group.extent = 1024;
        let volume = |number: u32| Logical {
            name: format!("v{number}"),
            uuid: *format!("{number:032}").as_bytes().first_chunk::<32>().unwrap(),
            extents: 1,
        };
        group.logical = (0..1866).map(volume).collect();
    };
    assert_eq!(
        said(wordy),
        "the description of the volume group has 526541 bytes, and there is room for 521984"
    );
    assert_eq!(lvm::extents(64 * MIB, 4 * MIB), 15);
    assert_eq!(lvm::extents(64 * MIB, 0), 0);
}

#[test]
fn names_that_lvm_would_not_take_are_refused() {
    assert_eq!(
        said(|group| group.logical[1].name = "root".to_owned()),
        "two logical volumes are called 'root'"
    );
    let cases = [
        ("a b", "letters, digits and '+_.-' can be part of it, ' ' cannot"),
        ("-x", "it must not be empty, '.' or '..', nor begin with '-'"),
        ("", "it must not be empty, '.' or '..', nor begin with '-'"),
        ("pool_tdata", "names with '_tdata' are LVM's own"),
        ("snapshot0", "names with 'snapshot' are LVM's own"),
    ];
    for (name, why) in cases {
        let expected = format!("'{name}' cannot be the name of a volume: {why}");
        assert_eq!(said(|group| group.logical[0].name = name.to_owned()), expected);
    }
    assert!(said(|group| group.name = "v/g".to_owned()).contains("'/' cannot"));
    assert!(said(|group| group.physical[0].name = "a\\b".to_owned()).contains("cannot"));
    // The hyphen that is doubled and the one between both names count.
    let long = "n".repeat(113);
    let group = group("volume-group", &[64], &[(&long, 1)]);
    assert!(lvm::plan(&group).is_ok());
    let longer = Group {
        name: "volume-groups".to_owned(),
        ..group
    };
    let error = lvm::plan(&longer).unwrap_err().to_string();
    assert!(
        error.ends_with("it is 128 bytes long, and can have 127"),
        "{error}"
    );
}

#[test]
fn uuids_are_letters_and_digits_and_differ() {
    let expected = "is not 32 letters and digits, or is that of another one";
    assert_eq!(
        said(|group| group.logical[1].uuid = group.physical[0].uuid),
        format!("the UUID of 'var' {expected}")
    );
    assert_eq!(
        said(|group| group.physical[0].uuid[3] = b'-'),
        format!("the UUID of '/dev/disk0' {expected}")
    );
}
