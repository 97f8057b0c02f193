//! Logical volumes of LVM: those that `dib` writes, and those of a group that LVM described itself.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use super::{INITRD, KERNEL, MIB, boot, ext, json, put, root};
use crate::lab::{DIB, GET_KERNEL, Lab};

/// A root and `/var` on volumes, one of which has all that is left of the second physical volume.
const LAYOUT: &str = "\
- local_loop:
    name: image0
    size: 96MiB
    partitioning:
      label: gpt
      partitions:
        - {name: ESP, type: EF00, size: 8MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {}}}}
        - {name: one, type: '8E00', size: 41MiB}
        - {name: two, type: '8E00', size: 100%}
- lvm:
    name: lvm
    pvs: [{name: pv1, base: one}, {name: pv2, base: two}]
    vgs: [{name: my-vg, base: [pv1, pv2]}]
    lvs: [{name: lv_root, base: my-vg, extents: 60%VG}, {name: lv_var, base: my-vg, extents: 100%FREE}]
- mkfs: {name: fs_root, base: lv_root, type: ext4, label: r, mount: {mount_point: /, fstab: {}}}
- mkfs: {name: fs_var, base: lv_var, type: ext4, label: v, mount: {mount_point: /var, fstab: {}}}
";

fn assembled(lab: &Lab) {
    let tree = lab.out("tree");
    root(&tree);
    boot(&tree.join("boot"));
    fs::create_dir_all(tree.join("boot/efi")).unwrap();
    put(&tree, "var/lib/data", &vec![9; 3_000_000]);
    put(
        &tree,
        "etc/fstab",
        b"LABEL=r / ext4\n/dev/mapper/my--vg-lv_var /var ext4\n",
    );
    put(lab.dir(), "layout.yaml", LAYOUT.as_bytes());
    let layout = lab.dir().join("layout.yaml").display().to_string();
    let tree = tree.display().to_string();
    let words = [
        "assemble",
        &tree,
        "-o",
        "a",
        "-t",
        "raw,qcow2",
        "--block-device",
        &layout,
    ];
    lab.run(DIB, &words).ok();
}

#[test]
fn files_on_volumes_are_files_of_the_image() {
    let lab = Lab::unprivileged();
    assembled(&lab);
    for image in ["a.raw", "a.qcow2"] {
        let told = json(&lab.run(DIB, &["inspect", "--json", image]).ok());
        let found = told["filesystems"].as_array().unwrap();
        let kinds: Vec<_> = found
            .iter()
            .map(|it| {
                (
                    it["type"].as_str().unwrap(),
                    it["volume"].as_str(),
                    it["mount_point"].as_str(),
                )
            })
            .collect();
        assert_eq!(
            kinds,
            [
                ("vfat", None, Some("/boot/efi")),
                ("LVM2", None, None),
                ("LVM2", None, None),
                ("ext4", Some("my-vg/lv_root"), Some("/")),
                ("ext4", Some("my-vg/lv_var"), Some("/var")),
            ]
        );
        assert_eq!(told["unread"], serde_json::Value::Null);
        assert_eq!(told["kernels"][0]["path"], "/boot/vmlinuz-6.1.0-10-amd64");
        let cat = lab.run(DIB, &["cat", image, "/var/lib/data", "/boot/vmlinuz-*-10-*"]);
        let wanted = [&vec![9; 3_000_000][..], KERNEL].concat();
        assert!(cat.ok().out.as_bytes() == wanted);
        let checked = lab.run(DIB, &["check", image]).ok().out;
        for part in [
            "lvm (partition 2)",
            "lvm (partition 3)",
            "ext4 (volume my-vg/lv_root)",
            "ext4 (volume my-vg/lv_var)",
        ] {
            assert!(checked.contains(part), "{checked}");
        }
        assert!(!checked.contains("not checked"), "{checked}");
        lab.run(GET_KERNEL, &[image, "-d", "."]).ok();
        assert_eq!(fs::read(lab.out("baremetal-initrd")).unwrap(), INITRD);
    }
    let text = lab.run(DIB, &["inspect", "a.raw"]).ok().out;
    assert!(text.contains("  holds     LVM2\n"), "{text}");
    assert!(
        text.contains("volume      my-vg/lv_var: ext4, label 'v'"),
        "{text}"
    );
    let said = lab.run(DIB, &["diff", "a.raw", "a.qcow2"]).ok();
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
}

#[test]
fn a_damaged_description_is_found_and_named() {
    let lab = Lab::unprivileged();
    assembled(&lab);
    let whole = fs::read(lab.out("a.raw")).unwrap();
    let area = whole.windows(16).position(|bytes| bytes == b" LVM2 x[5A%r0N*>");
    let area = u64::try_from(area.unwrap()).unwrap();
    for (name, what, at) in [
        ("text", "description of the group", area + 508 + 30),
        ("header", "metadata header", area + 20),
        ("label", "label", area + 508 - 4096 + 40),
    ] {
        fs::write(lab.out(name), &whole).unwrap();
        let file = File::options().write(true).open(lab.out(name)).unwrap();
        // The second volume's copy may differ, or say of the first what is no longer there.
        file.write_all_at(b"\xff", at).unwrap();
        let said = lab.run(DIB, &["check", name]);
        assert_eq!(said.status, 1, "{name}: {}", said.out);
        let found = format!("lvm: partition 2: the checksum of the {what} is ");
        assert!(said.out.contains(&found), "{name}: {}", said.out);
        let said = lab.run(DIB, &["ls", name, "/"]);
        assert_eq!(said.status, 1, "{name}: {}", said.out);
        let found = "extents of a physical volume that is not in the image";
        assert!(said.err.contains(found), "{name}: {}", said.err);
    }
}

/// LVM's own metadata, as `vgcfgrestore` writes it: two runs that are apart, a second text in the ring, volumes of other
/// kinds.
#[test]
fn a_group_of_lvm_is_read_as_lvm_reads_it() {
    if !oracle::lvm::require() || !oracle::require(&["pvcreate", "vgcreate", "vgcfgbackup", "vgcfgrestore"]) {
        return;
    }
    let lab = Lab::unprivileged();
    root(&lab.out("root"));
    ext(&lab.out("root"), &lab.out("root.ext4"), 32, &["-t", "ext4"]);
    let image = lab.out("group");
    File::create(&image).unwrap().set_len(64 * MIB).unwrap();
    let volumes = oracle::lvm::Volumes::attach_to_write(&[&image]);
    volumes.ask("pvcreate", &[volumes.device(0)]);
    volumes.ask("vgcreate", &["vg", volumes.device(0)]);
    let backup = lab.out("backup").display().to_string();
    volumes.ask("vgcfgbackup", &["-f", &backup, "vg"]);
    let text = fs::read_to_string(&backup).unwrap();
    let end = text.rfind('}').unwrap();
    let segment = |number: u32, start: u32, count: u32, kind: &str| {
        format!("segment{number} {{\nstart_extent = {start}\nextent_count = {count}\n{kind}\n}}\n")
    };
    let linear = |first: u32| format!("type = \"striped\"\nstripe_count = 1\nstripes = [ \"pv0\", {first} ]");
    let logical = |name: &str, id: char, segments: &[String]| {
        let id: String = [6, 4, 4, 4, 4, 4, 6]
            .map(|len| id.to_string().repeat(len))
            .join("-");
        format!(
            "{name} {{\nid = \"{id}\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nsegment_count = {}\n{}}}\n",
            segments.len(),
            segments.concat()
        )
    };
    let two = [segment(1, 0, 5, &linear(2)), segment(2, 5, 3, &linear(9))];
    let other = [segment(1, 0, 1, "type = \"zero\"")];
    let logical = format!(
        "logical_volumes {{\n{}{}}}\n",
        logical("root", 'a', &two),
        logical("other", 'b', &other)
    );
    fs::write(&backup, [&text[..end], &logical, &text[end..]].concat()).unwrap();
    volumes.ask("vgcfgrestore", &["-f", &backup, "vg"]);
    let ranges = volumes.ask("lvs", &["--noheadings", "-o", "seg_pe_ranges", "vg/root"]);
    assert!(ranges.contains(":2-6") && ranges.contains(":9-11"), "{ranges}");
    drop(volumes);
    let file = File::options().write(true).open(&image).unwrap();
    let bytes = fs::read(lab.out("root.ext4")).unwrap();
    let (extent, extents) = (4 * MIB, MIB);
    let (head, tail) = bytes.split_at(usize::try_from(5 * extent).unwrap());
    file.write_all_at(head, extents + 2 * extent).unwrap();
    file.write_all_at(tail, extents + 9 * extent).unwrap();
    let said = lab.run(DIB, &["cat", "group", "/usr/bin/tool"]).ok();
    assert!(said.out.as_bytes() == vec![7; 300_000]);
    let checked = lab.run(DIB, &["check", "group"]).ok().out;
    assert!(checked.contains("ext4 (volume vg/root)"), "{checked}");
    let unseen =
        "group: volume vg/other is not checked: it holds segments that are not linear, which is not read\n";
    assert!(checked.contains(unseen), "{checked}");
}
