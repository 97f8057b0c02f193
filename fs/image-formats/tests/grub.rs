//! GRUB's boot code, compared with what `grub-bios-setup` writes to a block device, byte for byte.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;

use image_core::Map;
use image_formats::{gpt, grub, mbr};
use uuid::Uuid;

const MIB: u64 = 1 << 20;
const LEN: u64 = 16 * MIB;
/// Where Debian's `grub-pc-bin` puts it: `grub-pc`, which has it on PATH, would want to be the machine's boot loader.
const SETUP: &str = "/usr/lib/grub/i386-pc/grub-bios-setup";
const BOOT: &str = "/usr/lib/grub/i386-pc/boot.img";

fn guid_table(boot_partition: Range<u64>) -> gpt::Table {
    let partition = |number, kind, range| gpt::Partition {
        range,
        kind: gpt::kind(kind).unwrap(),
        uuid: Uuid::from_u128(number),
        name: String::new(),
        attributes: 0,
    };
    gpt::Table {
        len: LEN,
        sector: 512,
        disk_uuid: Uuid::from_u128(0),
        partitions: vec![
            partition(1, "8300", 8 * MIB..10 * MIB),
            partition(2, "ef02", boot_partition),
        ],
        boot_code: None,
    }
}

fn boot_records() -> mbr::Table {
    let partition = mbr::Partition {
        range: MIB..8 * MIB,
        kind: 0x83,
        boot: true,
        logical: false,
    };
    mbr::Table {
        len: LEN,
        align: MIB,
        disk_id: 0x89ab_cdef,
        partitions: vec![partition],
        boot_code: None,
    }
}

/// A core with modules of GRUB's.
fn core(modules: &str, dir: &Path) -> Vec<u8> {
    let file = dir.join("core.img");
    let words = "-O i386-pc -d /usr/lib/grub/i386-pc -p /boot/grub -o";
    let words = words.split(' ').map(OsStr::new).chain([file.as_os_str()]);
    let words = words.chain(modules.split(' ').map(OsStr::new));
    oracle::run("grub-mkimage", &words.collect::<Vec<_>>());
    fs::read(file).unwrap()
}

fn disk(map: &Map, core: Option<(u64, &[u8])>) -> Vec<u8> {
    let mut disk = vec![0; usize::try_from(LEN).unwrap()];
    let extents = map
        .extents()
        .iter()
        .map(|extent| (extent.start, extent.bytes().unwrap()));
    for (at, bytes) in extents.chain(core) {
        let at = usize::try_from(at).unwrap();
        disk[at..at + bytes.len()].copy_from_slice(bytes);
    }
    disk
}

#[test]
fn boot_code_is_that_of_grub_bios_setup() {
    if !oracle::mounted::require() || !oracle::require(&["grub-mkimage", SETUP, "losetup", "mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let small = core("biosdisk part_gpt part_msdos ext2 search_fs_uuid", dir.path());
    // Of so many sectors that they are more than one block of codes.
    let large = core(
        "biosdisk part_gpt part_msdos ext2 xfs btrfs zfs lvm normal search gfxterm all_video luks2 cryptodisk lzopio",
        dir.path(),
    );
    assert!(large.len() > 200 * 512, "{}", large.len());
    for core in [&small, &large] {
        fs::write(dir.path().join("core.img"), core).unwrap();
        for area in [
            MIB..2 * MIB,
            4 * MIB..4 * MIB + u64::try_from(core.len()).unwrap().next_multiple_of(512) + 7 * 512,
        ] {
            let mut table = guid_table(area.clone());
            let embedded = compared(
                dir.path(),
                core,
                &gpt::plan(&table).unwrap(),
                area.clone(),
                true,
                |boot| {
                    table.boot_code = Some(boot);
                    gpt::plan(&table).unwrap()
                },
            );
            assert!(u64::try_from(embedded).unwrap() <= area.end - area.start);
        }
        for reed_solomon in [true, false] {
            let mut table = boot_records();
            let map = mbr::plan(&table).unwrap();
            compared(dir.path(), core, &map, table.gap(), reed_solomon, |boot| {
                table.boot_code = Some(boot);
                mbr::plan(&table).unwrap()
            });
        }
    }
}

/// Compares a whole disk after `grub-bios-setup` with ours. Gives the length of what is embedded.
fn compared(
    dir: &Path,
    core: &[u8],
    map: &Map,
    area: Range<u64>,
    reed_solomon: bool,
    plan: impl FnOnce(grub::BootSector) -> Map,
) -> usize {
    let embedded = grub::embed(&fs::read(BOOT).unwrap(), core, area.clone(), reed_solomon).unwrap();
    let ours = disk(&plan(embedded.boot.clone()), Some((area.start, &embedded.core)));
    let file = dir.join("disk");
    fs::write(&file, disk(map, None)).unwrap();
    setup(dir, &file, reed_solomon);
    let theirs = fs::read(file).unwrap();
    let differing: Vec<_> = ours
        .iter()
        .zip(&theirs)
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .take(5)
        .collect();
    assert_eq!(
        differing,
        [],
        "{area:?}, {reed_solomon}, {} of {}",
        core.len(),
        embedded.core.len()
    );
    embedded.core.len()
}

/// Runs `grub-bios-setup` on a disk. It reads the images from a file system on a block device, as it insists.
fn setup(dir: &Path, file: &Path, reed_solomon: bool) {
    let root = dir.join("root");
    File::create(&root).unwrap().set_len(4 * MIB).unwrap();
    oracle::run("mke2fs", &["-q".as_ref(), "-F".as_ref(), root.as_os_str()]);
    let device = oracle::looped::attach(file, 512);
    oracle::mounted::write(&root, |mounted| {
        fs::copy(BOOT, mounted.join("boot.img")).unwrap();
        fs::copy(dir.join("core.img"), mounted.join("core.img")).unwrap();
        let words = [
            "--skip-fs-probe",
            "--force",
            "--device-map=/dev/null",
            "--directory",
        ]
        .map(OsStr::new);
        let codes = (!reed_solomon).then_some(OsStr::new("--no-rs-codes"));
        let words = words.into_iter().chain([mounted.as_os_str()]).chain(codes);
        oracle::run(
            SETUP,
            &words.chain([device.path().as_os_str()]).collect::<Vec<_>>(),
        );
    });
    // What the device was given goes to the file.
    File::open(device.path()).unwrap().sync_all().unwrap();
}

#[test]
fn boot_code_that_cannot_be_embedded_is_refused_with_numbers() {
    let mut boot = [0; 512];
    boot[510..].copy_from_slice(&[0x55, 0xaa]);
    let mut core = vec![0; 20_000];
    core[532..534].copy_from_slice(&2000_u16.to_le_bytes());
    let refused = |boot: &[u8], core: &[u8], area: Range<u64>| {
        grub::embed(boot, core, area, true).unwrap_err().to_string()
    };
    assert!(grub::embed(&boot, &core, 512..MIB, true).is_ok());
    assert_eq!(
        refused(&boot[..400], &core, 512..MIB),
        "boot.img has 400 bytes, and no boot sector's end: it is no image of GRUB's boot sector"
    );
    assert_eq!(
        refused(&boot, &core, 512..5 * 512),
        "GRUB's core needs 40 sectors of 512 bytes, and 4 are there"
    );
    assert_eq!(
        refused(&boot, &vec![0; 889 * 512], 512..8 * MIB),
        "GRUB's core needs 889 sectors of 512 bytes, and 888 are there"
    );
    assert_eq!(
        refused(&boot, &core, 512..1000),
        "GRUB's core cannot lie in bytes 512 to 1000: they are no whole sectors of 512 bytes"
    );
    core[532..534].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(
        refused(&boot, &core, 512..MIB),
        "core.img has 20000 bytes, and 65535 that codes do not protect: it is no image of GRUB's core for i386-pc"
    );
}
