//! `dib diff`: what is equal in any format, and each way in which files differ.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::{TOOLS, boot, convert, ext, json, put, root, tool};
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
