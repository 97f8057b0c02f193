//! Disks with partitions: tables, file systems in their places, sizes, texts of layouts, what hooks learn. Contract 5, 13.20 and
//! 13.21. Judges: sgdisk, sfdisk, e2fsck, fsck.vfat, the kernel.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use oracle::ext4;

use crate::lab::{DIB, Lab};

const MIB: u64 = 1 << 20;

/// What a tool prints that must succeed.
fn tool(name: &str, args: &[&str]) -> String {
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    oracle::run(name, &args)
}

/// The text of a file of an ext image, without what debugfs says of itself.
fn cat(image: &Path, path: &str) -> String {
    let told = ext4::debugfs(image, &format!("cat {path}"));
    told.split("debugfs 1.").next().unwrap_or_default().to_owned()
}

/// A disk with every sort of file system, and mount points within mount points.
const RICH: &str = "\
- local_loop:
    name: image0
    partitioning:
      label: gpt
      partitions:
        - name: ESP
          type: EF00
          size: 64MiB
          mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {}}}
        - {name: BSP, type: EF02, size: 1MiB}
        - name: boot
          size: 32MiB
          mkfs: {type: ext2, label: boot, mount: {mount_point: /boot, fstab: {options: 'ro,noatime', fsck-passno: 2}}}
        - name: swap
          type: '8200'
          size: 16MiB
          mkfs: {type: swap, label: swp, mount: {mount_point: none, fstab: {}}}
        - name: root
          size: 100%
          mkfs: {type: ext4, mount: {mount_point: /, fstab: {fsck-passno: 1}}}
";

/// A tree for [`RICH`].
fn rich_tree(lab: &Lab) -> PathBuf {
    let tree = lab.dir().join("tree");
    for dir in ["boot/efi/EFI/BOOT", "etc", "var/lib"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
    }
    for (file, text) in [
        ("boot/efi/EFI/BOOT/BOOTX64.EFI", "loader"),
        ("boot/vmlinuz", "kernel"),
        ("etc/hostname", "host\n"),
        ("var/lib/data", "data"),
    ] {
        fs::write(tree.join(file), text).unwrap();
    }
    tree
}

fn write_layout(lab: &Lab, text: &str) -> String {
    let path = lab.dir().join("layout.yaml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Bytes of a raw image as a file of their own.
fn carve(lab: &Lab, image: &str, start: u64, len: u64) -> PathBuf {
    let path = lab.out(&format!("{image}-{start}.part"));
    let mut disk = File::open(lab.out(image)).unwrap();
    disk.seek(SeekFrom::Start(start)).unwrap();
    std::io::copy(&mut disk.take(len), &mut File::create(&path).unwrap()).unwrap();
    path
}

/// Rows of `sfdisk --dump`: start and size in sectors, and the type.
fn rows(image: &Path) -> Vec<(u64, u64, String)> {
    let dump = tool("sfdisk", &["--dump", image.to_str().unwrap()]);
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(name).unwrap();
        rest.split(',').next().unwrap().trim().to_owned()
    };
    dump.lines()
        .filter(|line| line.contains("start="))
        .map(|line| {
            let number = |name| field(line, name).parse().unwrap();
            (number("start="), number("size="), field(line, "type="))
        })
        .collect()
}

#[test]
fn a_disk_holds_every_file_system_in_its_place() {
    let lab = Lab::unprivileged();
    if !oracle::require(&["sgdisk", "sfdisk", "e2fsck", "debugfs", "fsck.vfat"]) {
        return;
    }
    let tree = rich_tree(&lab);
    let tree = tree.to_str().unwrap();
    let layout = write_layout(&lab, RICH);
    let args = |name| {
        vec![
            "assemble",
            tree,
            "-o",
            name,
            "-t",
            "raw",
            "--seed",
            "s",
            "--block-device",
            layout.as_str(),
        ]
    };
    lab.run(DIB, &args("a")).ok();
    lab.run(DIB, &args("b")).ok();
    assert_eq!(
        fs::read(lab.out("a.raw")).unwrap(),
        fs::read(lab.out("b.raw")).unwrap(),
        "the same bytes twice"
    );
    let image = lab.out("a.raw");
    let verified = tool("sgdisk", &["-v", image.to_str().unwrap()]);
    assert!(verified.contains("No problems found"), "{verified}");
    let rows = rows(&image);
    let starts: Vec<u64> = rows.iter().map(|(start, ..)| start * 512 / MIB).collect();
    assert_eq!(starts, [1, 65, 66, 98, 114]);
    let part = |number: usize| {
        let (start, len, _) = &rows[number - 1];
        carve(&lab, "a.raw", start * 512, len * 512)
    };
    let (boot, root, esp, swap) = (part(3), part(5), part(1), part(4));
    for ext in [&boot, &root] {
        ext4::fsck(ext);
    }
    let vfat = tool("fsck.vfat", &["-nvl", esp.to_str().unwrap()]);
    assert!(
        vfat.contains("/EFI/BOOT/BOOTX64.EFI") && !vfat.contains("differences"),
        "{vfat}"
    );
    assert_eq!(cat(&boot, "/vmlinuz"), "kernel");
    assert_eq!(cat(&root, "/var/lib/data"), "data");
    let names = |image: &Path, dir: &str| ext4::debugfs(image, &format!("ls -p {dir}"));
    assert!(names(&boot, "/").contains("/efi/") && !names(&boot, "/efi").contains("EFI"));
    assert!(names(&root, "/").contains("/boot/") && !names(&root, "/boot").contains("vmlinuz"));
    let mut header = vec![0; 4096];
    File::open(&swap).unwrap().read_exact(&mut header).unwrap();
    assert_eq!(&header[4086..], b"SWAPSPACE2");
}

#[test]
fn the_kernel_mounts_what_a_partition_holds() {
    let Some(lab) = Lab::new() else { return };
    if !oracle::require(&["sfdisk", "mount", "unshare"]) || !Path::new("/dev/loop-control").exists() {
        return;
    }
    let tree = rich_tree(&lab);
    let layout = write_layout(&lab, RICH);
    lab.run(
        DIB,
        &[
            "assemble",
            tree.to_str().unwrap(),
            "-o",
            "a",
            "-t",
            "raw",
            "--block-device",
            &layout,
        ],
    )
    .ok();
    let rows = rows(&lab.out("a.raw"));
    let mount = |number: usize, path: &str| {
        let (start, len, _) = &rows[number - 1];
        format!(
            "mount -o ro,loop,offset={},sizelimit={} a.raw {path}",
            start * 512,
            len * 512
        )
    };
    // Kernels without a driver of FAT are served by fsck.vfat above.
    let fat = fs::read_to_string("/proc/filesystems").unwrap().contains("vfat");
    let (esp, loader) = if fat {
        (mount(1, "m/boot/efi"), "loader")
    } else {
        ("true".into(), "")
    };
    let script = format!(
        "set -e; mkdir m; {}; {}; {esp}; cat m/etc/hostname m/boot/vmlinuz; ! [ -n '{loader}' ] || cat m/boot/efi/EFI/BOOT/BOOTX64.EFI; umount -R m",
        mount(5, "m"),
        mount(3, "m/boot"),
    );
    let said = lab.run("/usr/bin/unshare", &["-m", "bash", "-c", &script]).ok();
    assert_eq!(said.out, format!("host\nkernel{loader}"));
}

/// A layout of one disk with these partitions, the first of which is the root.
fn table(label: &str, partitions: &[(&str, &str)]) -> String {
    let mut text = format!(
        "- local_loop: {{name: image0}}\n- partitioning:\n    base: image0\n    label: {label}\n    partitions:\n"
    );
    for (index, (size, more)) in partitions.iter().enumerate() {
        let name = if index == 0 {
            "root".to_owned()
        } else {
            format!("p{index}")
        };
        let row = format!("      - {{name: {name}, size: {size}{more}}}\n");
        text += &row;
    }
    text + "- mkfs: {base: root, type: ext2, opts: '-N 64'}\n- mount: {base: mkfs_root, mount_point: /}\n"
}

#[test]
fn tables_are_those_that_upstream_makes() {
    let mut lab = Lab::unprivileged();
    lab.set("OVERWRITE_OLD_IMAGE", "1");
    if !oracle::require(&["sfdisk", "sgdisk"]) {
        return;
    }
    let tree = lab.dir().join("tree");
    fs::create_dir(&tree).unwrap();
    let made = |text: &str| {
        let layout = write_layout(&lab, text);
        let tree = tree.to_str().unwrap();
        let args = [
            "assemble",
            tree,
            "-o",
            "a",
            "-t",
            "raw",
            "--image-size",
            "1",
            "--block-device",
            &layout,
        ];
        lab.run(DIB, &args).ok();
        rows(&lab.out("a.raw"))
    };
    let primary = ", flags: [primary]";
    let plain = |rows: Vec<(u64, u64, String)>| -> Vec<(u64, u64)> {
        rows.iter()
            .map(|(start, len, _)| (*start, start + len - 1))
            .collect()
    };
    // Contract 5.5.
    assert_eq!(plain(made(&table("mbr", &[("10MiB", primary)]))), [(2048, 22527)]);
    let three = [
        ("10MiB", primary),
        ("10MiB", primary),
        ("10MiB", primary),
        ("10MiB", ""),
        ("10MiB", ""),
    ];
    let rows = made(&table("mbr", &three));
    assert_eq!(
        plain(rows.clone())[3..],
        [(63488, 2_097_151), (65536, 86015), (88064, 108_543)]
    );
    assert_eq!(rows[3].2, "f");
    let whole = made(&table("mbr", &[("100%", primary)]));
    assert_eq!(plain(whole), [(2048, 2_097_152 - 2048 - 1)]);
    // Contract 5.6.
    let gpt = made(&table("gpt", &[("8MiB", ""), ("8MiB", ""), ("100%", "")]));
    assert_eq!((gpt[2].0, gpt[2].1), (17 * 2048, 1006 * 2048));
}

#[test]
fn a_disk_is_just_as_long_as_it_must_be() {
    let mut lab = Lab::unprivileged();
    lab.set("OVERWRITE_OLD_IMAGE", "1");
    if !oracle::require(&["sfdisk", "e2fsck"]) {
        return;
    }
    let tree = lab.dir().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("f"), vec![7; 3 << 20]).unwrap();
    let len = |args: &[&str], text: &str| {
        let layout = write_layout(&lab, text);
        let tree = tree.to_str().unwrap();
        let common = [
            "assemble",
            tree,
            "-o",
            "a",
            "-t",
            "raw",
            "--block-device",
            &layout,
        ];
        lab.run(DIB, &[&common, args].concat()).ok();
        fs::metadata(lab.out("a.raw")).unwrap().len()
    };
    let bare = "- local_loop: {name: image0}\n- mkfs: {base: image0, name: mkfs_root}\n- mount: {base: mkfs_root, mount_point: /}\n";
    let alone = len(&["--image-extra-size", "5"], bare);
    let root = |label: &str| {
        table(label, &[("100%", ", flags: [PRIMARY]")])
            .replace(
                "flags: [PRIMARY]",
                if label == "mbr" {
                    "flags: [primary]"
                } else {
                    "flags: []"
                },
            )
            .replace(", type: ext2, opts: '-N 64'", "")
    };
    assert_eq!(len(&["--image-extra-size", "5"], &root("mbr")), alone + 2 * MIB);
    assert_eq!(
        len(&["--image-extra-size", "5"], &root("gpt")),
        alone.next_multiple_of(MIB) + 2 * MIB
    );
    ext4::fsck(&carve(&lab, "a.raw", MIB, alone.next_multiple_of(MIB)));
    // Half of what is left must do: the disk is longer.
    let half = root("gpt").replace("100%", "50%");
    assert_eq!(
        len(&["--minimal"], &half),
        (len(&["--minimal"], &root("gpt")) - 2 * MIB) * 2 + 2 * MIB
    );
    assert_eq!(len(&["--image-size", "0.1"], &root("gpt")), 104_896 << 10);
}

#[test]
fn what_is_too_small_is_refused_with_the_numbers() {
    let lab = Lab::unprivileged();
    let tree = lab.dir().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("f"), vec![7; 3 << 20]).unwrap();
    let refused = |text: &str, more: &[&str], with: &str| {
        let layout = write_layout(&lab, text);
        let common = [
            "assemble",
            tree.to_str().unwrap(),
            "-o",
            "a",
            "--block-device",
            &layout,
        ];
        let said = lab.run(DIB, &[&common, more].concat()).failed(1, with);
        assert_eq!(lab.names(), [""; 0]);
        said.err
    };
    let small = table("gpt", &[("1MiB", "")]);
    let told = refused(
        &small,
        &[],
        "cannot plan the file system mkfs_root, which has the 1048576 bytes of image0p1",
    );
    assert!(
        told.contains("the tree needs") && told.contains("bytes"),
        "{told}"
    );
    refused(
        &table("gpt", &[("64MiB", ""), ("64MiB", "")]),
        &["--image-size", "0.1"],
        "disk image0 of 107413504 bytes (102.4 MiB) is too small for its layout: partition p1 of disk image0: ",
    );
    let link = table("gpt", &[("100%", ""), ("8MiB", "")])
        + "- mkfs: {base: p1, type: vfat}\n- mount: {base: mkfs_p1, mount_point: /f/g}\n";
    refused(
        &link,
        &[],
        "'/f' is no directory, and a file system is mounted on '/f/g'",
    );
    refused(
        &small.replace("type: ext2", "type: xfs"),
        &[],
        "layout.yaml:7: mkfs mkfs_root: type: there is no writer of xfs",
    );
}

#[test]
fn a_build_with_partitions_tells_hooks_of_them() {
    let Some(mut lab) = Lab::new() else { return };
    if !oracle::require(&["sgdisk", "sfdisk", "e2fsck", "debugfs"]) {
        return;
    }
    lab.file("probe/block-device-default.yaml", &RICH.replace("64MiB", "40MiB"));
    lab.hook(
        "root.d/20-tell",
        "dib-block-device getval mount-points > $TMP_HOOKS_PATH/told",
    );
    lab.hook(
        "finalise.d/10-tell",
        "for symbol in root-label root-fstype boot-label mount-points image-block-device image-block-devices other; do
            echo \"$symbol=$(dib-block-device getval $symbol 2>/dev/null)\"
        done > /told
        echo \"$DIB_ROOT_LABEL $DIB_ROOT_FSTYPE $DIB_BOOT_LABEL $DIB_MOUNTPOINTS $IMAGE_BLOCK_DEVICES\" >> /told
        cat /etc/fstab >> /told; [ -d /boot/efi ]; echo esp > /boot/efi/file",
    );
    lab.hook(
        "block-device.d/10-no-device-yet",
        "[ -z \"${IMAGE_BLOCK_DEVICE:-}\" ]",
    );
    lab.set("DIB_IMAGE_SIZE", "0.4");
    lab.build(&["-o", "a", "-t", "raw", "--seed", "s", "mini-os", "probe"])
        .ok();
    let image = lab.out("a.raw");
    let rows = rows(&image);
    let root = carve(&lab, "a.raw", rows[4].0 * 512, rows[4].1 * 512);
    ext4::fsck(&root);
    assert_eq!(
        cat(&root, "/told"),
        "root-label=cloudimg-rootfs\nroot-fstype=ext4\nboot-label=boot\nmount-points=/|/boot|/boot/efi|none\n\
         image-block-device=/dev/dib/image0\n\
         image-block-devices=[image0]=/dev/dib/image0 [ESP]=/dev/dib/image0p1 [BSP]=/dev/dib/image0p2 \
         [boot]=/dev/dib/image0p3 [swap]=/dev/dib/image0p4 [root]=/dev/dib/image0p5 \nother=\n\
         cloudimg-rootfs ext4 boot /|/boot|/boot/efi|none [image0]=/dev/dib/image0 [ESP]=/dev/dib/image0p1 \
         [BSP]=/dev/dib/image0p2 [boot]=/dev/dib/image0p3 [swap]=/dev/dib/image0p4 [root]=/dev/dib/image0p5 \n\
         LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=boot /boot ext2 ro,noatime 0 2\n\
         LABEL=MKFS_ESP /boot/efi vfat defaults 0 2\nLABEL=swp none swap sw 0 0\n"
    );
    assert_eq!(fs::metadata(&image).unwrap().len(), 419_456 << 10);
}

#[test]
fn the_elements_layouts_are_what_they_say() {
    let mut lab = Lab::unprivileged();
    let types = |element: &str, arch: &str, lab: &Lab| {
        let said = lab
            .run(DIB, &["plan", "--json", "-n", "-a", arch, "mini-os", element])
            .ok();
        let plan: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let disk = &plan["layout"]["disks"][0];
        let list = |key: &str| -> String {
            let rows = disk["partitions"].as_array().unwrap().iter();
            rows.map(|row| row[key].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        format!(
            "{} {} {} {}",
            disk["table"].as_str().unwrap(),
            disk["sector"],
            list("name"),
            list("type")
        )
    };
    for (element, arch, expected) in [
        ("block-device-mbr", "amd64", "msdos 512 root 83"),
        ("block-device-mbr", "ppc64le", "msdos 512 boot root 41 83"),
        ("block-device-gpt", "amd64", "gpt 512 BSP root EF02 8300"),
        ("block-device-gpt", "ppc64el", "gpt 512 boot root 4100 8300"),
        ("block-device-efi", "arm64", "gpt 512 ESP BSP root EF00 EF02 8300"),
        (
            "block-device-efi-4k",
            "amd64",
            "gpt 4096 ESP BSP root EF00 EF02 8300",
        ),
        (
            "block-device-efi-lvm",
            "amd64",
            "gpt 512 ESP BSP lvm_pv EF00 EF02 8E00",
        ),
    ] {
        assert_eq!(types(element, arch, &lab), expected, "{element}");
    }
    let plan = |lab: &Lab, with: &str| {
        lab.run(DIB, &["plan", "-n", "mini-os", "block-device-efi"])
            .failed(1, with)
    };
    lab.set("FS_TYPE", "xfs");
    plan(&lab, "FS_TYPE: there is no writer of xfs");
    lab.set("FS_TYPE", "ext4").set(
        "DIB_BLOCK_DEVICE_CONFIG",
        "- local_loop: {name: image0}\n- mkfs: {base: image0, type: btrfs}\n",
    );
    plan(
        &lab,
        "DIB_BLOCK_DEVICE_CONFIG:2: mkfs mkfs_image0: type: there is no writer of btrfs",
    );
    let file = lab.dir().join("l.yaml");
    fs::write(&file, "- x").unwrap();
    for value in [format!("file://{}", file.display()), file.display().to_string()] {
        lab.set("DIB_BLOCK_DEVICE_CONFIG", &value);
        plan(
            &lab,
            "l.yaml:1: an entry should be a map of one module, found a text",
        );
    }
    lab.set("DIB_BLOCK_DEVICE_CONFIG", "");
    lab.file("other/block-device-default.yaml", RICH);
    let two = lab.run(DIB, &["plan", "-n", "mini-os", "block-device-mbr", "other"]);
    two.failed(1, "several elements bring a layout of disks: element block-device-mbr, block-device-default.yaml; element other,");
}

#[test]
fn every_disk_of_a_build_is_saved() {
    let lab = Lab::unprivileged();
    let tree = rich_tree(&lab);
    let layout = write_layout(
        &lab,
        "- local_loop: {name: data, size: 8MiB, mkfs: {type: ext2, label: d, mount: {mount_point: /var}}}\n- local_loop: {name: image0, mkfs: {name: mkfs_root, mount: {mount_point: /}}}\n",
    );
    let args = [
        "assemble",
        tree.to_str().unwrap(),
        "-o",
        "a",
        "-t",
        "raw,qcow2",
        "--checksum",
        "--block-device",
        &layout,
    ];
    lab.run(DIB, &args).ok();
    let names = lab.names();
    for name in [
        "a.raw",
        "a.qcow2",
        "a-data.raw",
        "a-data.qcow2",
        "a-data.raw.sha256",
    ] {
        assert!(names.contains(&name.to_owned()), "{name}: {names:?}");
    }
    assert_eq!(fs::metadata(lab.out("a-data.raw")).unwrap().len(), 8 * MIB);
    if oracle::require(&["debugfs"]) {
        assert_eq!(cat(&lab.out("a-data.raw"), "/lib/data"), "data");
    }
}

#[test]
fn volumes_of_lvm_hold_what_stands_on_them() {
    let lab = Lab::unprivileged();
    if !oracle::lvm::require() || !oracle::require(&["sfdisk", "e2fsck", "debugfs"]) {
        return;
    }
    let tree = rich_tree(&lab);
    let text = RICH.split("        - name: root").next().unwrap().to_owned()
        + "        - {name: pv_part, type: '8E00', size: 100%}
- lvm:
    name: lvm
    pvs: [{name: pv, base: pv_part}]
    vgs: [{name: vg, base: [pv]}]
    lvs: [{name: lv_root, base: vg, extents: 60%VG}, {name: lv_var, base: vg, extents: 100%FREE}]
- mkfs: {name: fs_root, base: lv_root, type: ext4, label: r, opts: -O ^has_journal, mount: {mount_point: /}}
- mkfs: {name: fs_var, base: lv_var, type: ext4, label: v, opts: -O ^has_journal, mount: {mount_point: /var}}
";
    let layout = write_layout(&lab, &text);
    lab.run(
        DIB,
        &[
            "assemble",
            tree.to_str().unwrap(),
            "-o",
            "a",
            "-t",
            "raw",
            "--block-device",
            &layout,
        ],
    )
    .ok();
    let rows = rows(&lab.out("a.raw"));
    let physical = carve(&lab, "a.raw", rows[4].0 * 512, rows[4].1 * 512);
    let volumes = oracle::lvm::Volumes::attach(&[&physical]);
    volumes.ask("pvck", &[volumes.device(0)]);
    let named = volumes.ask("lvs", &["--noheadings", "-o", "lv_name"]);
    assert!(named.contains("lv_root") && named.contains("lv_var"), "{named}");
    // Extents begin at 1 MiB, the volumes one after the other.
    let extents = (rows[4].1 * 512 - MIB) / (4 * MIB);
    let root_len = extents * 6 / 10 * 4 * MIB;
    let root = carve(&lab, "a.raw", rows[4].0 * 512 + MIB, root_len);
    ext4::fsck(&root);
    let var = carve(
        &lab,
        "a.raw",
        rows[4].0 * 512 + MIB + root_len,
        extents * 4 * MIB - root_len,
    );
    ext4::fsck(&var);
    assert_eq!(cat(&var, "/lib/data"), "data");
}

/// Divides the disk as hooks did when there was one.
const OLD: &str = "\
    [ $(stat -c %s $IMAGE_BLOCK_DEVICE) = $((DIB_IMAGE_SIZE * 1024)) ]
    echo '2048,,83,*' | sfdisk -q $IMAGE_BLOCK_DEVICE
    printf 'after the table' | dd of=$IMAGE_BLOCK_DEVICE bs=512 seek=9 conv=notrunc status=none
    sudo partprobe $IMAGE_BLOCK_DEVICE
    sudo udevadm settle
    [ -e ${IMAGE_BLOCK_DEVICE}p1 ]
    [ $(losetup --show -f $IMAGE_BLOCK_DEVICE) = $IMAGE_BLOCK_DEVICE ]
    mapped=$(sudo kpartx -asv $IMAGE_BLOCK_DEVICE | awk '{print $3}')
    [ $mapped = loop0p1 ]";

#[test]
fn hooks_of_old_divide_a_file_and_the_root_fills_their_partition() {
    let Some(lab) = Lab::new() else { return };
    if !oracle::require(&["sfdisk", "e2fsck", "debugfs", "awk", "dd"]) {
        return;
    }
    lab.hook(
        "block-device.d/10-partition",
        &format!("{OLD}\necho IMAGE_BLOCK_DEVICE=/dev/mapper/$mapped"),
    )
    .hook(
        "finalise.d/10-see",
        "[ $IMAGE_BLOCK_DEVICE = /dev/dib/image0 ]; echo \"$IMAGE_BLOCK_DEVICES\" > /told",
    )
    .hook("cleanup.d/10-see", "! type -P losetup | grep $TMP_HOOKS_PATH");
    lab.build(&["-o", "a", "-t", "raw", "mini-os", "probe"]).ok();
    let image = lab.out("a.raw");
    let dump = tool("sfdisk", &["--dump", image.to_str().unwrap()]);
    assert!(dump.contains("type=83, bootable"), "{dump}");
    let rows = rows(&image);
    assert_eq!((rows.len(), rows[0].0), (1, 2048));
    let root = carve(&lab, "a.raw", MIB, rows[0].1 * 512);
    ext4::fsck(&root);
    assert_eq!(
        cat(&root, "/told"),
        "[image0]=/dev/dib/image0 [p1]=/dev/dib/image0p1 \n"
    );
    let mut head = vec![0; 8 * 1024];
    File::open(&image).unwrap().read_exact(&mut head).unwrap();
    assert_eq!(&head[9 * 512..][..15], b"after the table");
}

#[test]
fn a_partition_that_hooks_did_not_make_is_named() {
    let Some(lab) = Lab::new() else { return };
    if !oracle::require(&["sfdisk", "awk", "dd"]) {
        return;
    }
    let with = |name: &str, told: &str| {
        lab.hook(
            "block-device.d/10-partition",
            &format!("{OLD}\necho IMAGE_BLOCK_DEVICE={name}"),
        );
        lab.build(&["-o", "a", "-t", "raw", "mini-os", "probe"])
            .failed(1, told);
        assert_eq!(lab.names(), [""; 0]);
    };
    with(
        "/dev/loop0p7",
        "block-device.d names /dev/loop0p7, and the partitions of",
    );
    with("'$(touch x)'", "'$(touch x)' is no name of a partition of");
    lab.file("probe/block-device-default.yaml", RICH);
    lab.hook(
        "block-device.d/10-partition",
        "[ -z \"${IMAGE_BLOCK_DEVICE:-}\" ]; echo a line",
    );
    lab.build(&["-o", "a", "-t", "raw", "mini-os", "probe"]).ok();
}

#[test]
fn sizes_of_efi_disks_are_those_that_callers_know() {
    let Some(mut lab) = Lab::new() else { return };
    let sized = |lab: &Lab, args: &[&str], kib: &str| {
        lab.hook(
            "block-device.d/10-see",
            &format!("[ $DIB_IMAGE_SIZE = {kib} ]; [ $DIB_BLOCK_DEVICE = efi ]"),
        );
        lab.build(&[args, &["no-final-image", "mini-os", "block-device-efi", "probe"]].concat())
            .ok();
    };
    // The option is the size of the disk; the variable gets 525 MiB more, as the original program adds.
    sized(&lab, &["--image-size", "1"], "1048576");
    lab.set("DIB_IMAGE_SIZE", "0.1");
    sized(&lab, &[], "642496");
    let arm = lab.build(&["-a", "arm64", "no-final-image", "mini-os", "block-device-mbr"]);
    arm.failed(1, "10-block-device-mbr.bash");
}
