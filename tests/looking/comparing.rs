//! `dib diff`: what is equal in any format, and each way in which files differ.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use super::{MIB, TOOLS, boot, convert, disks, ext, json, put, root, tool};
use crate::lab::{DIB, Lab};

fn tree(dir: &Path) {
    root(dir);
    boot(&dir.join("boot"));
    put(dir, "var/empty", b"");
    put(
        dir,
        "var/big",
        &(0..3_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>(),
    );
}

#[test]
fn one_tree_is_equal_in_all_formats() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    tree(&lab.out("tree"));
    let at = |name: &str| lab.out(name).display().to_string();
    tool(
        "tar",
        &["--format=posix", "-C", &at("tree"), "-cf", &at("tree.tar"), "."],
    );
    tool(
        "tar",
        &["--format=posix", "-C", &at("tree"), "-czf", &at("tree.tgz"), "."],
    );
    tool(
        "mksquashfs",
        &[&at("tree"), &at("tree.squash"), "-quiet", "-no-progress"],
    );
    ext(&lab.out("tree"), &lab.out("tree.ext4"), 48, &["-t", "ext4"]);
    convert(&lab, "tree.ext4", "tree.qcow2", &["-c", "-O", "qcow2"]);
    let all = [
        "tree",
        "tree.tar",
        "tree.tgz",
        "tree.squash",
        "tree.ext4",
        "tree.qcow2",
    ];
    for (a, b) in all.iter().zip(all.iter().cycle().skip(1)) {
        let said = lab.run(DIB, &["diff", a, b]).ok();
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""), "{a} {b}");
    }
    lab.run(DIB, &["diff", "--times", "tree.ext4", "tree.qcow2"]).ok();
}

/// The types that `assemble` makes of a tree, and what their files end with.
const TYPES: [(&str, &str); 14] = [
    ("raw", "raw"),
    ("qcow2", "qcow2"),
    ("vdi", "vdi"),
    ("vhd", "vhd"),
    ("vmdk", "vmdk"),
    ("tar", "tar"),
    ("tgz", "tgz"),
    ("tar.zst", "tar.zst"),
    ("tar.xz", "tar.xz"),
    ("cpio", "cpio"),
    ("squashfs", "squash"),
    ("docker", "docker.tar"),
    ("oci", "oci.tar"),
    ("aci", "aci"),
];

#[test]
fn an_image_of_every_type_has_the_files_of_its_tree() {
    let mut lab = Lab::unprivileged();
    let dir = lab.out("tree");
    root(&dir);
    boot(&dir.join("boot"));
    // Holes that no reader may stumble over, at the start, within a piece, and at the end.
    let sparse = fs::File::create(dir.join("etc/sparse")).unwrap();
    let hole = 4 * MIB;
    for at in [hole, hole + 8192, 3 * hole] {
        sparse.write_all_at(&[7; 4096], at).unwrap();
    }
    sparse.set_len(4 * hole).unwrap();
    fs::write(lab.out("manifest"), "{}").unwrap();
    let manifest = lab.out("manifest").display().to_string();
    lab.set("ACI_MANIFEST", &manifest);
    let types = TYPES.map(|(word, _)| word).join(",");
    lab.run(DIB, &["assemble", "tree", "-o", "x", "-t", &types]).ok();
    let whole = fs::read(dir.join("etc/sparse")).unwrap();
    for (word, suffix) in TYPES {
        let name = format!("x.{suffix}");
        let said = lab.run(DIB, &["diff", &name, "tree"]);
        assert_eq!(
            (said.status, said.out.as_str(), said.err.as_str()),
            (0, "", ""),
            "{word}"
        );
        let script = format!("exec \"$0\" cat {name} /etc/sparse >out");
        lab.run("/bin/sh", &["-c", &script, DIB]).ok();
        assert!(fs::read(lab.out("out")).unwrap() == whole, "{word}");
    }
    lab.run(DIB, &["check", "x.cpio"]).ok();
}

#[test]
fn each_difference_is_told() {
    if !oracle::require(&["tar"]) {
        return;
    }
    let lab = Lab::unprivileged();
    let (a, b) = (lab.out("a"), lab.out("b"));
    tree(&a);
    tool("cp", &["-a", a.to_str().unwrap(), b.to_str().unwrap()]);
    lab.run(DIB, &["diff", "--times", "a", "b"]).ok();

    fs::set_permissions(b.join("var/empty"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut big = fs::read(b.join("var/big")).unwrap();
    *big.last_mut().unwrap() ^= 1;
    fs::write(b.join("var/big"), big).unwrap();
    put(&b, "etc/debian_version", b"12.10\n");
    fs::remove_file(b.join("vmlinuz")).unwrap();
    symlink("elsewhere", b.join("vmlinuz")).unwrap();
    fs::remove_file(b.join("usr/bin/same")).unwrap();
    fs::copy(b.join("usr/bin/tool"), b.join("usr/bin/same")).unwrap();
    fs::remove_dir_all(b.join("boot/grub")).unwrap();
    put(&b, "boot/new", b"");
    fs::remove_file(b.join("boot/vmlinuz-6.1.0-9-amd64")).unwrap();
    fs::create_dir(b.join("boot/vmlinuz-6.1.0-9-amd64")).unwrap();
    let said = lab.run(DIB, &["diff", "a", "b"]);
    assert_eq!((said.status, said.err.as_str()), (1, ""));
    assert_eq!(
        said.out,
        "only in a: /boot/grub\n\
         only in b: /boot/new\n\
         /boot/vmlinuz-6.1.0-9-amd64: type file -> directory, mode 0644 -> 0755, size 15 -> none\n\
         /etc/debian_version: size 5 -> 6\n\
         /usr/bin/same: links /usr/bin/same -> none\n\
         /usr/bin/tool: links /usr/bin/same -> none\n\
         /var/big: content\n\
         /var/empty: mode 0644 -> 0600\n\
         /vmlinuz: target boot/vmlinuz-6.1.0-10-amd64 -> elsewhere\n"
    );
    let said = lab.run(DIB, &["diff", "--json", "--threads", "3", "a", "b"]);
    let told = json(&said);
    assert_eq!(
        (&told["equal"], &told["a"], said.status),
        (&false.into(), &"a".into(), 1)
    );
    assert_eq!(told["differences"][0]["change"], "only-a");
    assert_eq!(told["differences"].as_array().unwrap().len(), 9);
    let times = lab.run(DIB, &["diff", "--times", "a", "b"]).out;
    assert!(times.contains("/var/big: mtime "), "{times}");
}

/// The disk of [`disks`] with a mark that no reader of ours goes behind, in place of the ext4 file system at a byte.
fn marked(lab: &Lab, name: &str, at: u64, mark: (u64, &[u8])) {
    fs::copy(lab.out("disk.raw"), lab.out(name)).unwrap();
    let file = fs::File::options().write(true).open(lab.out(name)).unwrap();
    file.write_all_at(&[0; 4096], at).unwrap();
    file.write_all_at(mark.1, at + mark.0).unwrap();
}

#[test]
fn a_volume_that_is_not_read_is_no_reason_to_take_another_for_the_root() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    for (name, mark, kind) in [
        ("lvm", (512, &b"LABELONE"[..]), "a physical volume of LVM"),
        ("luks", (0, b"LUKS\xba\xbe"), "an encrypted volume (LUKS)"),
    ] {
        marked(&lab, name, 9 * MIB, mark);
        let why = format!("partition 2 holds {kind}, which is not read");
        lab.run(DIB, &["ls", name]).failed(1, &why);
        lab.run(DIB, &["diff", name, name]).failed(2, &why);
        let said = lab.run(DIB, &["check", name]).ok();
        let told = format!("{name}: partition 2 is not checked: it holds {kind}, which is not read\n");
        assert!(said.out.ends_with(&told), "{}", said.out);
    }
}

#[test]
fn what_is_not_compared_is_named() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    marked(&lab, "home", 41 * MIB, (3, b"NTFS    "));
    let said = lab.run(DIB, &["diff", "home", "home"]).ok();
    let why = "partition 4 is not compared: it holds an NTFS file system, which is not read\n";
    assert_eq!(said.err.matches(why).count(), 2, "{}", said.err);
    let told = json(&lab.run(DIB, &["check", "--json", "home"]).ok());
    assert_eq!(told["unchecked"][0]["place"], "partition 4");
    // A file system that the root does not name.
    marked(&lab, "lost", 41 * MIB, (0, b""));
    ext(
        &lab.out("data"),
        &lab.out("other.ext4"),
        8,
        &["-t", "ext4", "-L", "other"],
    );
    let disk = fs::File::options().write(true).open(lab.out("lost")).unwrap();
    disk.write_all_at(&fs::read(lab.out("other.ext4")).unwrap(), 41 * MIB)
        .unwrap();
    let said = lab.run(DIB, &["diff", "lost", "lost"]).ok();
    let why = "partition 4 is not compared: its file system has no place in the root\n";
    assert!(said.err.contains(why), "{}", said.err);
    // Nothing is said of what is looked into.
    assert_eq!(lab.run(DIB, &["diff", "disk.raw", "disk.qcow2"]).ok().err, "");
}

#[test]
fn trouble_is_no_verdict() {
    let lab = Lab::unprivileged();
    put(&lab.out("tree"), "etc/x", b"");
    fs::write(lab.out("nothing"), [0; 4096]).unwrap();
    for args in [
        &["diff", "tree", "no-such"][..],
        &["diff", "tree", "nothing"],
        &["diff", "tree"],
        &["diff", "--no", "tree", "tree"],
    ] {
        let said = lab.run(DIB, args);
        assert_eq!(said.status, 2, "{args:?}: {}", said.err);
        assert!(said.err.starts_with("error: "), "{}", said.err);
    }
}
