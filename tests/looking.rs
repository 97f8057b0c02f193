//! `dib inspect`, `ls`, `cat` and `diff`, and `disk-image-get-kernel`, on images that other tools made.

mod checking;
mod comparing;
mod hostile;
mod kernels;
mod volumes;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::Value;

use crate::lab::{DIB, Lab, Said};

const TOOLS: [&str; 9] = [
    "mke2fs",
    "mkfs.vfat",
    "mcopy",
    "mmd",
    "sgdisk",
    "sfdisk",
    "qemu-img",
    "mksquashfs",
    "tar",
];
const UUID: &str = "5e0b8f1c-2f7e-4e0f-9a57-3f0a5c1d2e4b";
const MIB: u64 = 1 << 20;

/// What stands in the kernel and the ramdisk that a test means to get.
const KERNEL: &[u8] = b"the newest kernel";
const INITRD: &[u8] = b"the newest ramdisk";

fn tool(name: &str, args: &[&str]) -> String {
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    oracle::run(name, &args)
}

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A small root of Debian's kind.
fn root(dir: &Path) {
    put(dir, "etc/debian_version", b"12.1\n");
    put(
        dir,
        "usr/lib/os-release",
        b"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n",
    );
    symlink("../usr/lib/os-release", dir.join("etc/os-release")).unwrap();
    symlink("boot/vmlinuz-6.1.0-10-amd64", dir.join("vmlinuz")).unwrap();
    put(dir, "usr/bin/tool", &vec![7; 300_000]);
    fs::set_permissions(dir.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(dir.join("usr/bin/tool"), dir.join("usr/bin/same")).unwrap();
}

/// What such a root has in `/boot`.
fn boot(dir: &Path) {
    put(dir, "vmlinuz-6.1.0-9-amd64", b"an older kernel");
    put(dir, "initrd.img-6.1.0-9-amd64", b"an older ramdisk");
    put(dir, "vmlinuz-6.1.0-10-amd64", KERNEL);
    put(dir, "initrd.img-6.1.0-10-amd64", INITRD);
    put(dir, "grub/grub.cfg", b"set default=0\n");
}

fn ext(dir: &Path, image: &Path, mib: u64, options: &[&str]) {
    File::create(image).unwrap().set_len(mib * MIB).unwrap();
    let owner = fs::metadata(dir).unwrap();
    let owner = format!("root_owner={}:{}", owner.uid(), owner.gid());
    let (dir, image) = (dir.to_str().unwrap(), image.to_str().unwrap());
    let fixed = ["-q", "-F", "-E", &owner, "-d", dir];
    tool("mke2fs", &[&fixed[..], options, &[image]].concat());
}

/// `disk.raw`: an ESP, data, `/boot` and, in the middle, the root, whose fstab names them; and copies of it.
fn disks(lab: &Lab) {
    let out = lab.out("");
    let (tree, kernels, data) = (out.join("root"), out.join("kernels"), out.join("data"));
    root(&tree);
    fs::create_dir_all(tree.join("boot")).unwrap();
    fs::create_dir_all(tree.join("srv")).unwrap();
    let fstab =
        format!("LABEL=top / ext4 defaults 0 1\nUUID={UUID} /boot ext2 defaults\nLABEL=data /srv ext4 x\n");
    put(&tree, "etc/fstab", fstab.as_bytes());
    boot(&kernels);
    fs::create_dir_all(kernels.join("efi")).unwrap();
    put(&data, "records", b"some records\n");
    ext(&tree, &out.join("root.ext4"), 24, &["-t", "ext4", "-L", "top"]);
    ext(&kernels, &out.join("boot.ext2"), 8, &["-t", "ext2", "-U", UUID]);
    ext(&data, &out.join("data.ext4"), 8, &["-t", "ext4", "-L", "data"]);
    let esp = out.join("esp.fat");
    let esp = esp.to_str().unwrap();
    tool("mkfs.vfat", &["-C", "-n", "EFI", "-i", "12345678", esp, "8192"]);
    tool("mmd", &["-i", esp, "::EFI"]);
    let grub = out.join("kernels/grub/grub.cfg");
    tool("mcopy", &["-i", esp, grub.to_str().unwrap(), "::EFI/grub.cfg"]);

    let disk = out.join("disk.raw");
    let file = File::create(&disk).unwrap();
    file.set_len(64 * MIB).unwrap();
    let parts = [
        ("esp.fat", 1, 8, "ef00"),
        ("root.ext4", 9, 24, "8300"),
        ("boot.ext2", 33, 8, "8300"),
        ("data.ext4", 41, 8, "8300"),
    ];
    let mut words = vec!["-o".to_owned()];
    for (number, (name, start, len, kind)) in (1..).zip(parts) {
        let (first, last) = (start * 2048, (start + len) * 2048 - 1);
        words.extend([format!("-n{number}:{first}:{last}"), format!("-t{number}:{kind}")]);
        file.write_all_at(&fs::read(out.join(name)).unwrap(), start * MIB)
            .unwrap();
    }
    words.push(disk.display().to_string());
    tool("sgdisk", &words.iter().map(String::as_str).collect::<Vec<_>>());
    convert(lab, "disk.raw", "disk.qcow2", &["-c", "-O", "qcow2"]);
}

fn convert(lab: &Lab, from: &str, to: &str, options: &[&str]) {
    let (from, to) = (
        lab.out(from).display().to_string(),
        lab.out(to).display().to_string(),
    );
    tool("qemu-img", &[&["convert"], options, &[&from, &to]].concat());
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
}

#[test]
fn an_image_is_told_as_other_tools_see_it() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    let said = lab.run(DIB, &["inspect", "--json", "disk.qcow2"]).ok();
    let told = json(&said);
    assert_eq!(told["version"], 1);
    let container = &told["container"];
    assert_eq!(
        (
            &container["type"],
            &container["virtual_size"],
            &container["cluster_size"]
        ),
        (&"qcow2".into(), &(64 * MIB).into(), &65536.into())
    );
    let table = tool("sfdisk", &["--json", lab.out("disk.raw").to_str().unwrap()]);
    let table: Value = serde_json::from_str(&table).unwrap();
    let (table, ours) = (&table["partitiontable"], &told["table"]);
    let lower = |value: &Value| value.as_str().unwrap().to_lowercase();
    assert_eq!(lower(&table["label"]), "gpt");
    assert_eq!(lower(&table["id"]), lower(&ours["id"]));
    let partitions = table["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), ours["partitions"].as_array().unwrap().len());
    for (theirs, ours) in partitions.iter().zip(ours["partitions"].as_array().unwrap()) {
        assert_eq!(
            theirs["start"].as_u64().unwrap() * 512,
            ours["start"].as_u64().unwrap()
        );
        assert_eq!(
            theirs["size"].as_u64().unwrap() * 512,
            ours["size"].as_u64().unwrap()
        );
        assert_eq!(lower(&theirs["type"]), lower(&ours["type"]));
        assert_eq!(lower(&theirs["uuid"]), lower(&ours["uuid"]));
    }
    let places = ["/boot/efi", "/", "/boot", "/srv"];
    let kinds = ["vfat", "ext4", "ext2", "ext4"];
    let labels = [Value::from("EFI"), "top".into(), Value::Null, "data".into()];
    for (at, found) in told["filesystems"].as_array().unwrap().iter().enumerate() {
        assert_eq!(found["mount_point"], places[at]);
        assert_eq!(found["type"], kinds[at]);
        assert_eq!(found["label"], labels[at]);
        assert_eq!(found["partition"], at + 1);
    }
    let (esp, boot) = (&told["filesystems"][0], &told["filesystems"][2]);
    assert_eq!((&esp["uuid"], &boot["uuid"]), (&"1234-5678".into(), &UUID.into()));
    assert_eq!(boot["state"], "clean");
    let features = boot["features"].as_array().unwrap();
    assert!(features.contains(&"filetype".into()), "{features:?}");
    assert_eq!(told["os"]["ID"], "debian");
    let kernel = &told["kernels"][0];
    assert_eq!(kernel["path"], "/boot/vmlinuz-6.1.0-10-amd64");
    assert_eq!(kernel["initrd"], "/boot/initrd.img-6.1.0-10-amd64");
    assert_eq!(told["unread"], Value::Null);

    let text = lab.run(DIB, &["inspect", "disk.qcow2"]).ok().out;
    for line in [
        "system      Debian GNU/Linux 12 (bookworm)\n",
        "mounted on /boot/efi\n",
        "partition   1: EFI system, 8.0 MiB",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

/// A container: its name, how qemu-img makes it, its form, bytes of its blocks, and who is said to have made it.
type Contained = (
    &'static str,
    &'static str,
    &'static str,
    Option<u64>,
    Option<&'static str>,
);

const CONTAINERS: [Contained; 7] = [
    (
        "a.vhd",
        "vpc subformat=dynamic,force_size=on",
        "dynamic",
        Some(2 << 20),
        Some("qem2"),
    ),
    (
        "b.vhd",
        "vpc subformat=fixed,force_size=on",
        "fixed",
        None,
        Some("qem2"),
    ),
    (
        "c.vhd",
        "vpc subformat=dynamic",
        "dynamic",
        Some(2 << 20),
        Some("qemu"),
    ),
    (
        "d.vmdk",
        "vmdk subformat=monolithicSparse",
        "monolithicSparse",
        Some(65_536),
        None,
    ),
    (
        "e.vmdk",
        "vmdk subformat=streamOptimized",
        "streamOptimized",
        Some(65_536),
        None,
    ),
    (
        "f.vdi",
        "vdi static=off",
        "dynamic",
        Some(1 << 20),
        Some("QEMU VM Virtual Disk Image"),
    ),
    (
        "g.vdi",
        "vdi static=on",
        "static",
        Some(1 << 20),
        Some("QEMU VM Virtual Disk Image"),
    ),
];

/// What each container says of itself, as qemu-img says it.
#[test]
fn a_container_is_told_as_other_tools_see_it() {
    if !oracle::require(&["qemu-img"]) {
        return;
    }
    let lab = Lab::unprivileged();
    let mut disk = vec![0; 8 << 20];
    disk[3 << 20..][..5].copy_from_slice(b"bytes");
    fs::write(lab.out("disk.raw"), disk).unwrap();
    for (name, options, subformat, block, creator) in CONTAINERS {
        let (format, options) = options.split_once(' ').unwrap();
        convert(&lab, "disk.raw", name, &["-O", format, "-o", options]);
        let path = lab.out(name).display().to_string();
        let theirs = tool("qemu-img", &["info", "--output=json", "-f", format, &path]);
        let theirs: Value = serde_json::from_str(&theirs).unwrap();
        let container = &json(&lab.run(DIB, &["inspect", "--json", name]).ok())["container"];
        assert_eq!(container["virtual_size"], theirs["virtual-size"], "{name}");
        assert_eq!(container["allocated"], theirs["actual-size"], "{name}");
        let said = &theirs["format-specific"]["data"]["create-type"];
        assert!(
            said.is_null() || *said == container["subformat"],
            "{name}: {said}"
        );
        let told = ["subformat", "block_size", "creator"].map(|key| &container[key]);
        let meant = [subformat.into(), Value::from(block), Value::from(creator)];
        assert_eq!(told, meant.each_ref(), "{name}");
        let text = lab.run(DIB, &["inspect", name]).ok().out;
        assert!(text.contains(&format!(", {subformat}, a disk of 8.")), "{text}");
    }
    // What its parent has cannot be told; what the disk says of itself can.
    let mut bytes = fs::read(lab.out("f.vdi")).unwrap();
    bytes[76] = 4;
    fs::write(lab.out("child.vdi"), bytes).unwrap();
    let told = json(&lab.run(DIB, &["inspect", "--json", "child.vdi"]).ok());
    assert_eq!(told["container"]["subformat"], "differencing");
    assert_eq!(told["container"]["virtual_size"], 8 << 20);
    assert!(
        told["unread"].as_str().unwrap().contains("type 0x4"),
        "{}",
        told["unread"]
    );
}

#[test]
fn what_cannot_be_read_is_told_and_no_failure() {
    if !oracle::require(&["qemu-img"]) {
        return;
    }
    let lab = Lab::unprivileged();
    fs::write(lab.out("base.raw"), vec![0; 1 << 20]).unwrap();
    let image = lab.out("on-top.qcow2").display().to_string();
    let base = lab.out("base.raw").display().to_string();
    tool(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &base, &image],
    );
    let told = json(&lab.run(DIB, &["inspect", "--json", "on-top.qcow2"]).ok());
    assert_eq!(told["container"]["backing_file"], base);
    assert_eq!(told["unread"], "backing files are not supported");
    let text = lab.run(DIB, &["inspect", "on-top.qcow2"]).ok().out;
    assert!(text.contains("base.raw', which is not opened"), "{text}");
    let told = json(&lab.run(DIB, &["inspect", "--json", "base.raw"]).ok());
    assert_eq!(
        told["unread"],
        "it has no file system that could be a root: neither a file system nor a partition table is there"
    );
    lab.run(DIB, &["cat", "on-top.qcow2", "/etc/fstab"])
        .failed(1, "backing files are not supported");
    lab.run(DIB, &["inspect", "no-such"]).failed(1, "no-such");
}

/// The words of each line but the time and the owner.
fn columns(listing: &str) -> Vec<String> {
    let lines = listing.lines().map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            [mode, links, _, _, size, _, _, ref name @ ..] => {
                format!("{mode} {links} {size} {}", name.join(" "))
            }
            _ => line.to_owned(),
        }
    });
    lines.collect()
}

#[test]
fn files_are_listed_wherever_they_are() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    for image in ["disk.raw", "disk.qcow2"] {
        let said = lab
            .run(DIB, &["ls", image, "/usr/bin", "/vmlinuz", "/boot/[iv]*-10-*"])
            .ok();
        assert_eq!(
            columns(&said.out),
            [
                "-rw-r--r-- 1 17 /vmlinuz",
                "-rw-r--r-- 1 18 /boot/initrd.img-6.1.0-10-amd64",
                "-rw-r--r-- 1 17 /boot/vmlinuz-6.1.0-10-amd64",
                "",
                "/usr/bin:",
                "-rwsr-xr-x 2 300000 same",
                "-rwsr-xr-x 2 300000 tool",
            ]
        );
    }
    let said = lab.run(DIB, &["ls", "disk.raw", "/srv"]).ok();
    assert_eq!(
        columns(&said.out),
        ["drwx------ 1 - lost+found", "-rw-r--r-- 1 13 records"]
    );
    let said = lab.run(DIB, &["ls", "--partition", "1", "disk.raw", "EFI"]).ok();
    assert_eq!(columns(&said.out), ["-rw-r--r-- 1 14 grub.cfg"]);
    let said = lab.run(DIB, &["ls", "-R", "--json", "disk.qcow2", "/boot"]).ok();
    let entries = json(&said);
    let paths: Vec<_> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    assert!(
        paths.contains(&"/boot/efi/EFI/grub.cfg") && paths.contains(&"/boot/grub/grub.cfg"),
        "{paths:?}"
    );
    lab.run(DIB, &["ls", "disk.raw", "/no/such"])
        .failed(1, "disk.raw has no /no/such");
    lab.run(DIB, &["ls", "--partition", "9", "disk.raw"])
        .failed(1, "cannot read disk.raw: it has no partition 9");
}

#[test]
fn files_of_archives_and_trees_are_printed_as_those_of_disks() {
    if !oracle::require(&TOOLS) || !oracle::require(&["xz"]) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    let tree = lab.out("root").display().to_string();
    boot(&lab.out("root/boot"));
    let at = |name: &str| lab.out(name).display().to_string();
    tool("tar", &["-C", &tree, "-cf", &at("root.tar"), "."]);
    tool("tar", &["-C", &tree, "-czf", &at("root.tgz"), "."]);
    tool(
        "mksquashfs",
        &[&tree, &at("root.squash"), "-quiet", "-no-progress"],
    );
    tool("xz", &["-k", "-1", &at("disk.qcow2")]);
    ext(Path::new(&tree), &lab.out("whole.ext4"), 24, &["-t", "ext4"]);
    for image in [
        "disk.raw",
        "disk.qcow2",
        "disk.qcow2.xz",
        "root.tar",
        "root.tgz",
        "root.squash",
        "whole.ext4",
        "root",
    ] {
        let said = lab
            .run(
                DIB,
                &["cat", image, "/vmlinuz", "etc/os-release", "/boot/vmlinuz-*"],
            )
            .ok();
        assert_eq!(
            said.out,
            "the newest kernelPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n\
             the newest kernelan older kernel",
            "{image}"
        );
    }
    lab.run(DIB, &["cat", "root.tar", "/etc"])
        .failed(1, "root.tar: /etc is no regular file");
    lab.run(DIB, &["cat", "root.tar", "/etc/*.conf"])
        .failed(1, "root.tar: /etc/*.conf is not there");
}

#[test]
fn links_never_lead_out_of_an_image() {
    if !oracle::require(&["mke2fs", "tar"]) {
        return;
    }
    let lab = Lab::unprivileged();
    let tree = lab.out("tree");
    put(&tree, "etc/passwd", b"of the image\n");
    put(&lab.out(""), "secret", b"of the host\n");
    for (name, target) in [
        ("up", "../../../../../../etc/passwd"),
        ("down", "/etc/passwd"),
        ("outside", lab.out("secret").to_str().unwrap()),
        ("loop", "loop"),
        ("swing", "swing/x"),
    ] {
        symlink(target, tree.join(name)).unwrap();
    }
    ext(&tree, &lab.out("image"), 8, &["-t", "ext4"]);
    for image in ["image", "tree"] {
        let said = lab.run(DIB, &["cat", image, "/up", "/down", "/etc/../down"]).ok();
        assert_eq!(said.out, "of the image\n".repeat(3));
        for name in ["/outside", "/loop", "/swing", "/etc/passwd/x"] {
            lab.run(DIB, &["cat", image, name]).failed(1, "is not there");
        }
    }
    fs::write(tree.join("bad\x1b[31m"), "").unwrap();
    let said = lab.run(DIB, &["ls", "tree"]).ok();
    assert!(
        said.out.contains("bad\\x1b[31m") && !said.out.contains('\x1b'),
        "{}",
        said.out
    );
}
