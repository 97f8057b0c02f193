//! Texts of layouts → what they mean, or what is wrong with them and where.

use image_core::Identity;
use image_core::tree::Time;

use super::facts::Facts;
use super::layout::{Layout, Place, TableKind, Volume};
use super::placing::place;
use super::source::Source;
use super::{Defaults, read};
use crate::boot::BootCode;
use crate::environment::Environment;
use crate::error::{Kind, Result};
use crate::settings::{Flags, Settings};

pub(super) fn layout_with(variables: &[(&str, &str)], text: &str) -> Result<Layout> {
    let mut environment = Environment::default();
    for (name, value) in variables {
        environment.set(*name, *value);
    }
    let settings = Settings::new(Flags::default(), &environment)?;
    let source = Source {
        place: "f".into(),
        kind: Kind::Usage,
        text: text.into(),
    };
    let defaults = Defaults {
        settings: &settings,
        environment: &environment,
        identity: Identity::new(b"test", Time::default(), false),
    };
    read(&source, &defaults)
}

pub(super) fn layout(text: &str) -> Layout {
    layout_with(&[], text).unwrap()
}

fn refused(text: &str) -> String {
    layout_with(&[], text).unwrap_err().to_string()
}

pub(super) const EFI: &str = "\
- local_loop:
    name: image0
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: ESP
        type: 'EF00'
        size: 550MiB
        mkfs:
          type: vfat
          mount:
            mount_point: /boot/efi
            fstab:
              options: 'defaults'
              fsck-passno: 1
      - name: BSP
        type: 'EF02'
        size: 8MiB
      - name: root
        type: '8300'
        size: 100%
        mkfs:
          type: ext4
          mount:
            mount_point: /
            fstab:
              options: 'defaults'
              fsck-passno: 1
";

#[test]
fn a_usual_layout_is_what_it_says() {
    let layout = layout(EFI);
    let facts = Facts::of(&layout, None);
    assert_eq!(
        (facts.root_label.as_str(), facts.root_fstype.as_str()),
        ("cloudimg-rootfs", "ext4")
    );
    assert_eq!(
        (facts.boot_label.as_str(), facts.mount_points.as_str()),
        ("", "/|/boot/efi")
    );
    assert_eq!(
        facts.devices(),
        "[image0]=/dev/dib/image0 [ESP]=/dev/dib/image0p1 [BSP]=/dev/dib/image0p2 [root]=/dev/dib/image0p3 "
    );
    assert_eq!(
        layout.fstab(),
        "LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=MKFS_ESP /boot/efi vfat defaults 0 1\n"
    );
    assert_eq!(layout.root().place, Place::Partition(0, 2));
    let table = layout.disks[0].table.as_ref().unwrap();
    assert!(matches!(table.kind, TableKind::Gpt { .. }));
    let esp = &facts.filesystems[1];
    assert_eq!(
        (esp.node.as_str(), esp.partition, esp.uuid.len()),
        ("mkfs_ESP", Some(1), 9)
    );
    let read: Facts = serde_json::from_str(&facts.json()).unwrap();
    assert_eq!(read, facts);
}

#[test]
fn the_built_in_layout_is_one_file_system() {
    let layout = layout(&Source::built_in().text);
    assert!(layout.is_bare());
    assert_eq!(layout.fstab(), "LABEL=cloudimg-rootfs / ext4 defaults 0 1\n");
    let older = layout_with(
        &[("FS_TYPE", "ext3"), ("ROOT_LABEL", "r")],
        &Source::built_in().text,
    )
    .unwrap();
    assert_eq!(older.fstab(), "LABEL=r / ext3 defaults 0 1\n");
}

#[test]
fn options_of_the_command_line_reach_mkfs_root_unless_the_layout_says_otherwise() {
    let one = |mkfs: &str| {
        format!(
            "- local_loop: {{name: image0}}\n- mkfs: {{base: image0, {mkfs}}}\n- mount: {{base: X, mount_point: /}}\n"
        )
    };
    let root = one("name: mkfs_root").replace("base: X", "base: mkfs_root");
    let with = |text: &str| layout_with(&[("FS_TYPE", "ext2"), ("ROOT_LABEL", "r")], text);
    let facts = |text: &str| {
        let facts = Facts::of(&with(text).unwrap(), None);
        (facts.root_fstype, facts.root_label)
    };
    assert_eq!(facts(&root), ("ext2".into(), "r".into()));
    let said = root.replace("name: mkfs_root", "name: mkfs_root, type: ext4, label: own");
    assert_eq!(facts(&said), ("ext4".into(), "own".into()));
    let other = one("name: system, type: ext3").replace("base: X", "base: system");
    assert_eq!(facts(&other), ("ext3".into(), "system".into()));
    let untyped = one("name: system").replace("base: X", "base: system");
    assert_eq!(
        with(&untyped).unwrap_err().to_string(),
        "f:2: mkfs system: type: is missing"
    );
    // A layout without a line for fstab leaves the tree its own.
    assert_eq!(with(&root).unwrap().fstab(), "");
}

#[test]
fn partitions_of_an_mbr_are_numbered_as_linux_does() {
    let mut text = String::from(
        "- local_loop: {name: image0}\n- partitioning:\n    base: image0\n    label: mbr\n    align: 2MiB\n    partitions:\n",
    );
    for (name, flags) in [("root", "boot, primary"), ("a", "primary"), ("b", ""), ("c", "")] {
        let row = format!("      - {{name: {name}, size: 10MiB, type: '0x82', flags: [{flags}]}}\n");
        text += &row;
    }
    text += "- mkfs: {base: root}\n- mount: {base: mkfs_root, mount_point: /}\n";
    // Without quotes both are numbers to YAML: 130 and 12.
    for (unquoted, number) in [("0x82", 130), ("0x0c", 12), ("82", 82)] {
        assert_eq!(
            refused(&text.replacen("'0x82'", unquoted, 1)),
            format!(
                "f:7: partition root: type: expected two hexadecimal digits in quotes, as '83'; without quotes YAML \
                 reads the number {number}"
            )
        );
    }
    let layout = layout(&text);
    let table = layout.disks[0].table.as_ref().unwrap();
    let rows: Vec<_> = table
        .partitions
        .iter()
        .map(|it| (it.number, it.boot, it.logical, it.code.as_str()))
        .collect();
    assert_eq!(
        rows,
        [
            (1, true, false, "82"),
            (2, false, false, "82"),
            (5, false, true, "82"),
            (6, false, true, "82")
        ]
    );
    assert_eq!(table.align, 2 << 20);
    let uuids: Vec<String> = Facts::of(&layout, None).disks[0]
        .partitions
        .iter()
        .map(|partition| partition.uuid.clone())
        .collect();
    assert!(
        uuids[0].len() == 11 && uuids[0].ends_with("-01") && uuids[2].ends_with("-05"),
        "{uuids:?}"
    );
}

#[test]
fn swap_is_mounted_nowhere_and_has_its_line() {
    let text = EFI.replace("- local_loop:", "- local_loop:\n    name: swap0\n    size: 64MiB\n    mkfs:\n      type: swap\n      label: swp\n      mount:\n        mount_point: none\n        fstab:\n          options: defaults\n- local_loop:");
    let layout = layout(&text);
    assert!(
        layout.fstab().ends_with("LABEL=swp none swap sw 0 0\n"),
        "{}",
        layout.fstab()
    );
    assert_eq!(Facts::of(&layout, None).mount_points, "/|/boot/efi|none");
    assert_eq!(layout.disks[0].size, Some(64 << 20));
}

#[test]
fn volumes_are_linear() {
    let text = EFI.replace("        size: 100%\n        mkfs:\n          type: ext4\n          mount:\n            mount_point: /\n            fstab:\n              options: 'defaults'\n              fsck-passno: 1\n", "        size: 100%\n")
        + "\
- lvm:
    name: lvm
    pvs:
      - {name: pv, base: root, options: [\"--force\"]}
    vgs:
      - {name: vg, base: [pv], options: [\"-s\", \"8m\"]}
    lvs:
      - {name: lv_root, base: vg, size: 1800MiB}
      - {name: lv_var, base: vg, extents: 57%VG}
      - {name: lv_home, base: vg, extents: 100%FREE}
- mkfs: {name: fs_root, base: lv_root, type: ext4, label: r}
- mount: {name: m, base: fs_root, mount_point: /}
";
    let layout = layout(&text);
    let group = &layout.groups[0];
    assert_eq!(
        (group.extent, group.physical[0].place),
        (8 << 20, Place::Partition(0, 2))
    );
    assert_eq!(group.logical[0].size, Volume::Bytes(1800 << 20));
    assert!(matches!(group.logical[1].size, Volume::OfGroup(_)));
    assert!(matches!(group.logical[2].size, Volume::OfFree(_)));
    let root = &Facts::of(&layout, None).filesystems[0];
    assert_eq!(
        (root.device.as_str(), root.abstraction.as_str()),
        ("/dev/dib/vg-lv_root", "lvm")
    );
    for (from, to, told) in [
        (
            "size: 1800MiB",
            "size: 1GiB, type: thin-pool",
            "lv lv_root: type: thin pools are not written here",
        ),
        (
            "size: 1800MiB",
            "size: 1GiB, thin-pool: p",
            "lv lv_root: thin-pool: thin pools are not written here",
        ),
        ("57%VG", "57%PVS", "'57%PVS' is a part of neither %VG nor %FREE"),
        ("57%VG", "0", "'0' is no number of extents"),
        ("size: 1800MiB", "options: []", "lv lv_root: extents is missing"),
        (
            "base: [pv]",
            "base: [px]",
            "vg vg: base: there is no node 'px'; did you mean pv?",
        ),
        (
            "base: [pv]",
            "base: [root]",
            "vg vg: base: 'root' is a partition; expected a pv",
        ),
        (
            "--force",
            "--metadatasize",
            "pv pv: options: '--metadatasize' has no place here",
        ),
        ("8m", "3m", "vg vg: options: '3m' is no size of an extent"),
        (
            "base: fs_root, mount",
            "base: lv_root, mount",
            "mount m: base: 'lv_root' is a lv; expected a mkfs",
        ),
    ] {
        let told_really = refused(&text.replacen(from, to, 1));
        assert!(told_really.contains(told), "{to}: {told_really}");
    }
}

/// Changes of [`EFI`]: what, to what, and what is told of it.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "name: BSP",
        "name: ESP",
        "f:17: Duplicate node name: ESP; line 7 has it, too",
    ),
    (
        "base: image0",
        "base: image1",
        "f:4: partitioning image1: base: there is no node 'image1'; did you mean image0?",
    ),
    (
        "label: gpt",
        "label: gtp",
        "f:5: partitioning image0: label: 'gtp' is neither mbr nor gpt",
    ),
    (
        "size: 550MiB",
        "size: 550mib",
        "f:9: partition ESP: size: '550mib' is no size",
    ),
    (
        "size: 550MiB",
        "sise: 550MiB",
        "f:7: partition ESP: size is missing",
    ),
    (
        "size: 100%",
        "size: 101%",
        "f:22: partition root: size: '101%' is no part of the whole",
    ),
    (
        "size: 8MiB",
        "size: 8MiB\n        flags: [primary]",
        "f:20: partition BSP: flags: a gpt knows no primary partitions",
    ),
    (
        "size: 8MiB",
        "size: 8MiB\n        flags: [bot]",
        "f:20: partition BSP: flags: 'bot' is neither boot nor primary",
    ),
    (
        "type: vfat",
        "type: xfs",
        "f:11: mkfs mkfs_ESP: type: there is no writer of xfs; the types are ext4, ext3, ext2, vfat and swap",
    ),
    (
        "type: ext4",
        "type: btrfs",
        "f:24: mkfs mkfs_root: type: there is no writer of btrfs",
    ),
    (
        "type: ext4",
        "type: vfat",
        "f:24: mkfs mkfs_root: type: a root is ext4, ext3 or ext2, not vfat",
    ),
    (
        "type: vfat",
        "type: vfat\n          label: a-long-label",
        "f:12: mkfs mkfs_ESP: label: 'a-long-label' is longer than the 11 bytes",
    ),
    (
        "type: vfat",
        "type: vfat\n          label: 'a?'",
        "f:12: mkfs mkfs_ESP: label: 'a?': no label of a FAT holds '?'",
    ),
    (
        "type: vfat",
        "type: vfat\n          label: cloudimg-rootfs",
        "f:12: mkfs mkfs_ESP: label: 'cloudimg-rootfs' is longer",
    ),
    (
        "type: ext4",
        "type: ext4\n          label: MKFS_ESP",
        "label: 'MKFS_ESP' is the label of",
    ),
    (
        "type: ext4",
        "type: ext4\n          label: seventeen-letters",
        "f:25: mkfs mkfs_root: label: 'seventeen-letters' is longer than the 16",
    ),
    (
        "type: ext4",
        "type: ext4\n          uuid: x",
        "f:25: mkfs mkfs_root: uuid: 'x' is no UUID",
    ),
    (
        "type: ext4",
        "type: ext4\n          opts: -Y",
        "f:25: mkfs mkfs_root: opts: unknown option '-Y'",
    ),
    (
        "type: vfat",
        "type: vfat\n          opts: -n X",
        "f:12: mkfs mkfs_ESP: opts: '-n' has no place here",
    ),
    (
        "mount_point: /boot/efi",
        "mount_point: /",
        "mount_point: '/' is where mount_mkfs_ESP is mounted",
    ),
    (
        "mount_point: /boot/efi",
        "mount_point: /boot/../efi",
        "f:13: mount mount_mkfs_ESP: mount_point: '/boot/../efi' is no absolute path without detours",
    ),
    (
        "mount_point: /boot/efi",
        "mount_point: efi",
        "f:13: mount mount_mkfs_ESP: mount_point: 'efi' is no absolute path",
    ),
    (
        "mount_point: /\n",
        "mount_point: /usr\n",
        "f:2: nothing is mounted on /, where the root file system belongs",
    ),
    (
        "name: image0\n",
        "name: image1\n    block_size: 1024\n",
        "f:3: local_loop image1: block_size: '1024' is neither 512 nor 4096",
    ),
    (
        "name: image0\n- partitioning:\n    base: image0",
        "name: disk\n- partitioning:\n    base: disk",
        "f:2: no local_loop is called image0, whose image is the output",
    ),
    (
        "label: gpt",
        "label: mbr",
        "f:18: partition BSP: type: 'EF02' is no type of an mbr: two hexadecimal digits, in quotes",
    ),
];

#[test]
fn what_cannot_be_is_told_with_its_line() {
    for (from, to, told) in FAULTS.iter().copied() {
        assert!(EFI.contains(from), "{from}");
        let really = refused(&EFI.replacen(from, to, 1));
        assert!(
            really
                .lines()
                .any(|line| line.starts_with(told) || line.contains(told)),
            "{to}: {really}"
        );
    }
    let twice = format!("{EFI}- mkfs: {{name: again, base: root, type: ext4}}\n");
    assert_eq!(
        refused(&twice),
        "f:30: mkfs again: 'root' holds mkfs_root already"
    );
    let five = EFI
        .replace("label: gpt", "label: mbr")
        .replace("'EF00'", "'ef'")
        .replace("'EF02'", "'da'")
        .replace("'8300'", "'83'\n        flags: [primary]");
    assert!(
        refused(&five).contains("partition root: flags: a primary partition comes before all that are not")
    );
    assert_eq!(refused("[]"), "f:1: the layout is empty");
}

#[test]
fn the_sector_is_the_callers_first() {
    let sector = |variables: &[(&str, &str)], text: &str| {
        layout_with(variables, text).map(|layout| layout.disks[0].sector)
    };
    let said = EFI.replace("name: image0\n-", "name: image0\n    block_size: 4096\n-");
    assert_eq!(sector(&[], EFI).unwrap(), 512);
    assert_eq!(sector(&[], &said).unwrap(), 4096);
    assert_eq!(sector(&[("DIB_BLOCK_SIZE", "512")], &said).unwrap(), 512);
    let told = sector(&[("DIB_BLOCK_SIZE", "1k")], EFI).unwrap_err().to_string();
    assert_eq!(
        told,
        "f:2: local_loop image0: block_size: DIB_BLOCK_SIZE: '1k' is neither 512 nor 4096"
    );
    let mbr = said.replace("label: gpt", "label: mbr");
    assert!(refused(&mbr).contains("mbr has sectors of 512 bytes"));
}

#[test]
fn identities_derive_from_the_builds() {
    let (one, two) = (layout(EFI), layout(EFI));
    assert_eq!(Facts::of(&one, None), Facts::of(&two, None));
    let given = EFI.replace("type: vfat", "type: vfat\n          uuid: 12AB-34cd");
    assert_eq!(Facts::of(&layout(&given), None).filesystems[1].uuid, "12AB-34CD");
}

/// Why the disks of a text cannot have boot code.
fn boot_refused(text: &str) -> String {
    let layout = layout(text);
    let epoch = Time::default();
    let trees: Vec<_> = layout.mount_points().map(|_| super::empty_tree(epoch)).collect();
    let placed = place(&layout, &trees, Some(700 << 20), epoch).unwrap();
    let boot = BootCode {
        disk: "image0".into(),
        boot: vec![0; 512],
        core: vec![0; 30_000],
        reed_solomon: false,
    };
    let identity = Identity::new(b"test", epoch, false);
    let maps = super::disk::maps(&layout, &placed, &trees, None, Some(&boot), identity);
    maps.unwrap_err().message()
}

#[test]
fn boot_code_without_a_place_is_refused() {
    let told = "disk image0 cannot have boot code for the BIOS: ";
    let bare = Source::built_in().text;
    assert_eq!(boot_refused(&bare), format!("{told}it has no partition table"));
    let none = EFI.replace("'EF02'", "'8300'");
    assert_eq!(
        boot_refused(&none),
        format!("{told}it has a GPT, and no partition of type EF02 (BIOS boot)")
    );
    let no_grub = boot_refused(EFI);
    assert!(
        no_grub.starts_with(&format!("{told}its area does not do: boot.img has 512 bytes")),
        "{no_grub}"
    );
}
