//! Partition tables, judged by sgdisk, sfdisk and partx, and compared with theirs byte for byte.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use image_core::Map;
use image_formats::{gpt, mbr};
use oracle::require;
use uuid::Uuid;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Runs a tool with words and, at their end, a file.
fn tool(words: &str, file: &Path) -> String {
    let mut words = words.split_whitespace();
    let tool = words.next().unwrap();
    let args: Vec<&OsStr> = words.map(OsStr::new).chain([file.as_os_str()]).collect();
    oracle::run(tool, &args)
}

/// Writes a map into a sparse file.
fn write(map: &Map, file: &Path) {
    let image = File::create(file).unwrap();
    image.set_len(map.len()).unwrap();
    for extent in map.extents() {
        image.write_all_at(extent.bytes().unwrap(), extent.start).unwrap();
    }
}

fn read(file: &Path, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
    File::open(file)
        .unwrap()
        .read_exact_at(&mut bytes, range.start)
        .unwrap();
    bytes
}

fn partition(range: Range<u64>) -> mbr::Partition {
    mbr::Partition {
        range,
        kind: 0x83,
        boot: false,
        logical: false,
    }
}

fn table(len: u64, partitions: Vec<mbr::Partition>) -> mbr::Table {
    mbr::Table {
        len,
        align: MIB,
        disk_id: 0x1234_5678,
        partitions,
        boot_code: None,
    }
}

/// Partitions of so many bytes one after the other, the first few of them primary.
fn placed(len: u64, primary: usize, sizes: &[u64]) -> mbr::Table {
    let mut placer = mbr::Placer::new(len, MIB).unwrap();
    let partitions = sizes.iter().enumerate().map(|(index, bytes)| {
        let logical = index >= primary;
        let range = if logical {
            placer.logical(*bytes)
        } else {
            placer.primary(*bytes)
        };
        mbr::Partition {
            logical,
            ..partition(range.unwrap())
        }
    });
    table(len, partitions.collect())
}

/// `number first-sector last-sector type`, as `sfdisk --dump` tells them.
fn dumped(file: &Path) -> Vec<String> {
    let dump = tool("sfdisk --dump", file);
    let lines = dump.lines().filter(|line| line.contains("start="));
    let field = |line: &str, name: &str| -> String {
        let (_, rest) = line.split_once(name).unwrap();
        rest.trim_start().split(',').next().unwrap().to_owned()
    };
    let lines = lines.map(|line| {
        let (device, rest) = line.split_once(" : ").unwrap();
        let number = device.trim_start_matches(file.to_str().unwrap());
        let start: u64 = field(rest, "start=").parse().unwrap();
        let size: u64 = field(rest, "size=").parse().unwrap();
        format!("{number} {start} {} 0x{}", start + size - 1, field(rest, "type="))
    });
    lines.collect()
}

#[test]
fn boot_records_lie_as_diskimage_builder_lays_them() {
    if !require(&["sfdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk");
    write(&mbr::plan(&placed(GIB, 3, &[10 * MIB])).unwrap(), &file);
    assert_eq!(dumped(&file), ["1 2048 22527 0x83"]);

    write(&mbr::plan(&placed(GIB, 3, &[10 * MIB; 5])).unwrap(), &file);
    assert_eq!(
        dumped(&file),
        [
            "1 2048 22527 0x83",
            "2 22528 43007 0x83",
            "3 43008 63487 0x83",
            "4 63488 2097151 0xf",
            "5 65536 86015 0x83",
            "6 88064 108543 0x83",
        ]
    );
    tool("sfdisk --verify", &file);
    let seen = tool("partx --raw --noheadings --output NR,START,END", &file);
    let seen: Vec<&str> = seen.lines().map(str::trim).collect();
    assert_eq!(
        seen,
        [
            "1 2048 22527",
            "2 22528 43007",
            "3 43008 63487",
            "4 63488 2097151",
            "5 65536 86015",
            "6 88064 108543"
        ]
    );
}

/// What sfdisk writes for a table.
fn sfdisk(table: &mbr::Table, file: &Path) {
    let mut script = format!("label: dos\nlabel-id: {:#x}\nunit: sectors\n", table.disk_id);
    let mut number = 0;
    let mut extended = false;
    for partition in &table.partitions {
        let (start, end) = (partition.range.start / 512, partition.range.end / 512);
        number += 1;
        if partition.logical && !extended {
            let first = start - table.align / 512;
            let size = table.len / 512 - first;
            writeln!(script, "{number}: start={first}, size={size}, type=f").unwrap();
            (number, extended) = (5, true);
        }
        let boot = if partition.boot { ", bootable" } else { "" };
        let (size, kind) = (end - start, partition.kind);
        writeln!(
            script,
            "{number}: start={start}, size={size}, type={kind:x}{boot}"
        )
        .unwrap();
    }
    let input = file.with_extension("sfdisk");
    fs::write(&input, script).unwrap();
    File::create(file).unwrap().set_len(table.len).unwrap();
    let command = format!(
        "sfdisk --quiet --no-reread {} < {}",
        file.display(),
        input.display()
    );
    oracle::run("sh", &["-c".as_ref(), command.as_ref()]);
}

#[test]
fn boot_records_are_those_of_sfdisk() {
    if !require(&["sfdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let mut boot = placed(GIB, 1, &[100 * MIB]);
    boot.partitions[0].boot = true;
    boot.partitions[0].kind = 0x07;
    let mut gaps = placed(20 * GIB, 2, &[MIB, 3 * GIB, 5 * GIB, GIB + 512, 4 * GIB, MIB]);
    gaps.partitions.remove(4);
    for table in [
        boot,
        placed(GIB, 3, &[10 * MIB; 5]),
        placed(GIB, 4, &[10 * MIB + 512; 4]),
        placed(GIB, 0, &[10 * MIB; 20]),
        // Cylinders end at 8 GiB, and 32 bits of bytes at 4.
        gaps,
        placed(2 << 40, 1, &[GIB, 1 << 40, (1 << 40) - 5 * GIB]),
    ] {
        let map = mbr::plan(&table).unwrap();
        write(&map, &ours);
        sfdisk(&table, &theirs);
        for extent in map.extents() {
            assert_eq!(
                read(&ours, extent.range()),
                read(&theirs, extent.range()),
                "{} at {}:\n{}",
                extent.what,
                extent.start / 512,
                tool("sfdisk --dump", &theirs),
            );
        }
        assert_eq!(dumped(&ours), dumped(&theirs));
        let verdict = tool("sfdisk --verify", &ours);
        assert!(verdict.contains("No errors detected"), "{verdict}");
    }
}

#[test]
fn boot_records_refuse_with_numbers() {
    let plan = |table: &mbr::Table| mbr::plan(table).unwrap_err().to_string();
    let one = |range| plan(&table(GIB, vec![partition(range)]));
    assert_eq!(
        one(MIB..MIB + 700),
        "partition 1: byte 1049276 lies inside a sector of 512 bytes"
    );
    assert_eq!(
        one(MIB..MIB),
        "partition 1 begins at byte 1048576 and ends at byte 1048576: it holds nothing"
    );
    assert_eq!(
        one(0..MIB),
        "partition 1 has bytes 0 to 1048576; partitions may have bytes 512 to 1073741824 of this disk"
    );
    assert_eq!(
        one(MIB..2 * GIB),
        "partition 1 has bytes 1048576 to 2147483648; partitions may have bytes 512 to 1073741824 of this disk"
    );
    let overlap = table(GIB, vec![partition(3 * MIB..5 * MIB), partition(MIB..4 * MIB)]);
    assert_eq!(
        plan(&overlap),
        "partition 1 begins at byte 3145728, before partition 2 ends at byte 4194304"
    );
    // A logical partition needs room for its boot record.
    let mut close = placed(GIB, 1, &[MIB, MIB]);
    close.partitions[1].range = 2 * MIB + 512..4 * MIB;
    assert_eq!(
        plan(&close),
        "partition 2 begins at byte 1049088, before partition 1 ends at byte 2097152"
    );
    assert_eq!(
        plan(&placed(GIB, 5, &[MIB; 5])),
        "5 primary partitions, and a table holds 4"
    );
    assert_eq!(
        plan(&placed(GIB, 4, &[MIB; 5])),
        "5 primary and extended partitions, and a table holds 4"
    );
    assert_eq!(
        plan(&placed(GIB, 0, &[MIB; 57])),
        "57 logical partitions, and a table holds 56"
    );
    assert_eq!(
        plan(&placed(3 << 40, 1, &[(3 << 40) - 2 * MIB])),
        "partition 1 ends at byte 3298533834752, and a master boot record reaches byte 2199023255552: a GPT has no such end"
    );
    // Its boot record would be there still.
    let mut empty = placed(GIB, 0, &[MIB]);
    empty.partitions[0].range.end = 2 * MIB;
    assert_eq!(
        plan(&empty),
        "partition 5 begins at byte 2097152 and ends at byte 2097152: it holds nothing"
    );
    let mut late = placed(GIB, 1, &[MIB, MIB, MIB]);
    late.partitions[2].logical = false;
    assert_eq!(
        plan(&late),
        "partition 3 of the list is primary, and logical ones come before it"
    );
    let mut kind = placed(GIB, 1, &[MIB]);
    kind.partitions[0].kind = 5;
    assert_eq!(
        plan(&kind),
        "partition 1 cannot be of type 0x05: that marks unused entries or extended partitions"
    );
}

#[test]
fn a_disk_beyond_two_tebibytes_may_have_a_boot_record_that_ends_there() {
    if !require(&["sfdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk");
    write(&mbr::plan(&placed(3 << 40, 1, &[GIB, GIB])).unwrap(), &file);
    assert_eq!(
        dumped(&file),
        [
            "1 2048 2099199 0x83",
            "2 2099200 4294967295 0xf",
            "5 2101248 4198399 0x83"
        ]
    );
}

/// What a table of partitions of so many MiB is, named and typed.
fn guid_table(len: u64, sector: u32, sizes: &[(u64, &str, &str, u64)]) -> gpt::Table {
    let mut placer = gpt::Placer::new(len);
    let partitions = (1..)
        .zip(sizes)
        .map(|(number, (mebibytes, code, name, attributes))| {
            let bytes = match mebibytes {
                0 => placer.free(),
                other => other * MIB,
            };
            gpt::Partition {
                range: placer.partition(bytes).unwrap(),
                kind: gpt::kind(code).unwrap(),
                uuid: Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_0000 + number),
                name: (*name).to_owned(),
                attributes: *attributes,
            }
        });
    gpt::Table {
        len,
        sector,
        disk_uuid: Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0),
        partitions: partitions.collect(),
        boot_code: None,
    }
}

/// What sgdisk writes for a table, in diskimage-builder's way, into a file or a device.
fn sgdisk(table: &gpt::Table, sizes: &[(u64, &str, &str, u64)], into: &Path) {
    let mut words = vec![format!("--disk-guid={}", table.disk_uuid)];
    for ((number, partition), (mebibytes, code, name, attributes)) in (1..).zip(&table.partitions).zip(sizes)
    {
        let mebibytes = match mebibytes {
            0 => (partition.range.end - partition.range.start) / MIB,
            other => *other,
        };
        words.extend([
            format!("-n{number}:0:+{mebibytes}M"),
            format!("-t{number}:{code}"),
            format!("-c{number}:{name}"),
            format!("-u{number}:{}", partition.uuid),
        ]);
        let set = (0..64).filter(|bit| attributes >> bit & 1 == 1);
        words.extend(set.map(|bit| format!("-A{number}:set:{bit}")));
    }
    let args = words.iter().map(OsStr::new).chain([into.as_os_str()]);
    oracle::run("sgdisk", &args.collect::<Vec<_>>());
}

const LAYOUTS: [&[(u64, &str, &str, u64)]; 4] = [
    &[],
    &[
        (8, "8300", "root", 0),
        (8, "8200", "swap", 0),
        (0, "8300", "rest", 0),
    ],
    &[
        (550, "EF00", "ESP", 1),
        (8, "EF02", "BSP", 0),
        (0, "8304", "root \u{fc}\u{1f427}", 1 << 59 | 1 << 63 | 4),
    ],
    &[(1, "8e00", "a name of thirty-six characters, ok.", 1 << 60); 100],
];

#[test]
fn guid_tables_are_those_of_sgdisk() {
    if !require(&["sgdisk", "sfdisk", "partx"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    for (len, layout) in [
        (GIB, LAYOUTS[0]),
        (GIB, LAYOUTS[1]),
        (GIB, LAYOUTS[2]),
        (GIB + 64 * 1024, LAYOUTS[3]),
        (3 << 40, LAYOUTS[1]),
    ] {
        let table = guid_table(len, 512, layout);
        let map = gpt::plan(&table).unwrap();
        write(&map, &ours);
        File::create(&theirs).unwrap().set_len(len).unwrap();
        sgdisk(&table, layout, &theirs);
        assert_eq!(map.extents().len(), 2);
        for extent in map.extents() {
            let (ours, theirs) = (read(&ours, extent.range()), read(&theirs, extent.range()));
            assert_same(&ours, &theirs, extent.start);
        }
        let verdict = tool("sgdisk --verify", &ours);
        assert!(verdict.contains("No problems found"), "{verdict}");
        let verdict = tool("sfdisk --verify", &ours);
        assert!(verdict.contains("No errors detected"), "{verdict}");
        let seen = tool("partx --raw --noheadings --output START,END", &ours);
        let planned = table.partitions.iter().map(|partition| {
            format!(
                "{} {}",
                partition.range.start / 512,
                partition.range.end / 512 - 1
            )
        });
        let seen: Vec<&str> = seen.lines().map(str::trim).collect();
        assert_eq!(seen, planned.collect::<Vec<_>>());
    }
    // The example of the layout's arithmetic: what 100% leaves.
    let table = guid_table(GIB, 512, LAYOUTS[1]);
    let last = &table.partitions[2].range;
    assert_eq!((last.end - last.start) / MIB, 1006);
}

/// The same bytes, but for the address of the protective entry's last sector by cylinder, head and sector: of UEFI's two
/// permitted forms each tool has one.
fn assert_same(ours: &[u8], theirs: &[u8], start: u64) {
    let (mut ours, mut theirs) = (ours.to_vec(), theirs.to_vec());
    if start == 0 {
        for bytes in [&mut ours, &mut theirs] {
            bytes[451..454].fill(0);
        }
    }
    let differing = ours.iter().zip(&theirs).position(|(a, b)| a != b);
    assert_eq!(differing.map(|at| start + u64::try_from(at).unwrap()), None);
}

#[test]
fn guid_tables_of_large_sectors_are_those_of_sgdisk() {
    if !oracle::require_root() || !require(&["sgdisk", "losetup"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let table = guid_table(GIB, 4096, LAYOUTS[2]);
    let map = gpt::plan(&table).unwrap();
    write(&map, &ours);
    File::create(&theirs).unwrap().set_len(GIB).unwrap();
    {
        let device = oracle::looped::attach(&theirs, 4096);
        sgdisk(&table, LAYOUTS[2], device.path());
    }
    for extent in map.extents() {
        let (ours, theirs) = (read(&ours, extent.range()), read(&theirs, extent.range()));
        assert_same(&ours, &theirs, extent.start);
    }
    let device = oracle::looped::attach(&ours, 4096);
    let verdict = tool("sgdisk --verify", device.path());
    assert!(verdict.contains("No problems found"), "{verdict}");
}

#[test]
fn guid_tables_refuse_with_numbers() {
    let sizes: &[_] = &[(8, "8300", "a", 0), (8, "8300", "b", 0)];
    let refused = |change: &dyn Fn(&mut gpt::Table)| {
        let mut table = guid_table(GIB, 512, sizes);
        change(&mut table);
        gpt::plan(&table).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&|table| table.partitions[0].range.start = 512),
        "partition 1 has bytes 512 to 9437184; partitions may have bytes 17408 to 1073724928 of this disk"
    );
    assert_eq!(
        refused(&|table| table.partitions[1].range.end = GIB),
        "partition 2 has bytes 9437184 to 1073741824; partitions may have bytes 17408 to 1073724928 of this disk"
    );
    assert_eq!(
        refused(&|table| table.partitions[1].range.start = MIB),
        "partition 2 begins at byte 1048576, before partition 1 ends at byte 9437184"
    );
    assert_eq!(
        refused(&|table| (table.sector, table.partitions[0].range.start) = (4096, MIB + 512)),
        "partition 1: byte 1049088 lies inside a sector of 4096 bytes"
    );
    assert_eq!(
        refused(&|table| table.sector = 520),
        "sectors of 520 bytes: disks have sectors of 512 or 4096"
    );
    assert_eq!(
        refused(&|table| table.len = GIB + 100),
        "a disk of 1073741924 bytes has no whole number of sectors of 512 bytes"
    );
    assert_eq!(
        refused(&|table| table.len = 30 * 512),
        "a disk of 15360 bytes is too short for a partition table: 34816 bytes are needed at least"
    );
    assert_eq!(
        refused(&|table| table.partitions[1].name = "x".repeat(37)),
        "partition 2: its name has 37 units of UTF-16, and an entry holds 36"
    );
    assert_eq!(
        refused(&|table| table.partitions[1].name = "a\0b".to_owned()),
        "partition 2: its name holds a NUL, which ends a name"
    );
    assert_eq!(
        refused(&|table| table.partitions[1].kind = [0; 16]),
        "partition 2: the type of only zeros marks unused entries"
    );
    assert_eq!(
        refused(&|table| table.partitions[1].uuid = table.partitions[0].uuid),
        "partitions 1 and 2 both have the GUID 11112222-3333-4444-5555-666677770001"
    );
    let many = vec![(1, "8300", "a", 0); 129];
    let error = gpt::plan(&guid_table(GIB, 512, &many)).unwrap_err();
    assert_eq!(error.to_string(), "129 partitions, and a table holds 128");
}

#[test]
fn placers_refuse_with_numbers() {
    let mut placer = gpt::Placer::new(10 * MIB);
    let error = placer.partition(9 * MIB).unwrap_err().to_string();
    assert_eq!(
        error,
        "a partition of 9437184 bytes, where 8388608 bytes are free"
    );
    let error = placer.partition(1000).unwrap_err().to_string();
    assert_eq!(
        error,
        "a partition of 1000 bytes, where 1048576 bytes are the least"
    );
    let mut placer = mbr::Placer::new(10 * MIB, MIB).unwrap();
    let error = placer.primary(9 * MIB).unwrap_err().to_string();
    assert_eq!(
        error,
        "a partition of 9437184 bytes, where 8388608 bytes are free"
    );
    placer.logical(MIB).unwrap();
    let error = placer.primary(MIB).unwrap_err().to_string();
    assert_eq!(
        error,
        "partition 2 of the list is primary, and logical ones come before it"
    );
    let error = mbr::Placer::new(10 * MIB, 1000).unwrap_err().to_string();
    assert_eq!(
        error,
        "partitions cannot be aligned to 1000 bytes: that is no multiple of 512"
    );
}

#[test]
fn kinds_are_those_of_sgdisk() {
    if !require(&["sgdisk"]) {
        return;
    }
    let list = oracle::run("sgdisk", &["--list-types".as_ref()]);
    let columns = list.lines().flat_map(|line| [line.get(..5), line.get(41..46)]);
    let codes = columns.flatten().filter_map(|word| word.strip_suffix(' '));
    let known: Vec<&str> = codes.filter(|code| gpt::kind(code).is_some()).collect();
    assert!(known.len() >= 241, "{} codes:\n{list}", known.len());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk");
    for codes in known.chunks(100) {
        File::create(&file).unwrap().set_len(GIB).unwrap();
        let words: Vec<String> = (1..)
            .zip(codes)
            .flat_map(|(number, code)| [format!("-n{number}:0:+1M"), format!("-t{number}:{code}")])
            .collect();
        let args = words.iter().map(OsStr::new).chain([file.as_os_str()]);
        oracle::run("sgdisk", &args.collect::<Vec<_>>());
        for (entry, code) in read(&file, 1024..17408).chunks(128).zip(codes) {
            assert_eq!(gpt::kind(code).unwrap(), entry[..16], "{code}");
        }
    }
}
