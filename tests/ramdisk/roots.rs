//! Ramdisks of trees that are laid out as distributions lay them out: where programs, libraries, modules and firmware lie,
//! and what they are packed with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use oracle::elf::{self, Elf};
use oracle::require;

use super::{create, lab, make_modules, names_below, text, unpacked};
use crate::lab::{Lab, RAMDISK_IMAGE_CREATE};

/// All of `/bin`, `/sbin` and `/lib` below `/usr`, as every distribution of today has them.
const MERGED: &str = r#"
cd "$TARGET_ROOT"
rm -f sbin usr/bin usr/sbin
mkdir -p usr/lib usr/lib64
mv bin usr/bin
cp -a lib/. usr/lib/
cp -aL lib64/. usr/lib64/
rm -rf lib lib64
ln -s usr/bin bin
ln -s usr/lib lib
ln -s usr/lib64 lib64
rm usr/bin/udevd
mkdir -p usr/lib/systemd
ln -s ../../bin/udevadm usr/lib/systemd/systemd-udevd
"#;

/// Fedora: one directory for programs, libraries in `/usr/lib64` and told to the loader, no kernel in `/boot`.
const FEDORA: &str = r#"
ln -s bin usr/sbin
ln -s usr/sbin sbin
cp -an usr/lib/*-linux-gnu/. usr/lib64/
rm -rf usr/lib/*-linux-gnu
echo /usr/lib64 >etc/ld.so.conf
ldconfig -r "$TARGET_ROOT"
rm -rf boot/*
echo 'the kernel of Fedora' >usr/lib/modules/6.1-toy/vmlinuz
"#;

/// Ubuntu: two directories for programs, libraries by architecture, kernels that only root may read.
const UBUNTU: &str = r"
mkdir usr/sbin
ln -s usr/sbin sbin
for tool in modprobe lsmod; do
    mv usr/bin/$tool usr/sbin
done
mv boot/vmlinuz-6.1-toy boot/vmlinuz-6.1-toy-generic
mv usr/lib/modules/6.1-toy usr/lib/modules/6.1-toy-generic
ln -s vmlinuz-6.1-toy-generic boot/vmlinuz
chmod 0600 boot/vmlinuz-*
";

/// Modules and firmware, all packed by a tool.
fn packed(lab: &mut Lab, tool: &[&str], ending: &str) {
    let tree = lab.dir().join("modules");
    make_modules(&tree);
    let place = tree.join("modules/6.1-toy");
    for path in [
        "kernel/net/wanted.ko",
        "kernel/net/other.ko",
        "kernel/lib/needed.ko",
    ] {
        let path = place.join(path);
        for (tool, ending) in [("xz", "ko.xz"), ("gzip", "ko.gz")] {
            let packed = path.with_extension(ending);
            if packed.exists() {
                oracle::run(tool, &["-d".as_ref(), packed.as_ref()]);
            }
        }
        pack(tool, &path);
    }
    for name in ["a.fw", "many-1.fw"] {
        pack(tool, &tree.join("firmware/toy").join(name));
    }
    let list = format!(
        "kernel/net/wanted.ko.{ending}: kernel/lib/needed.ko.{ending}\nkernel/lib/needed.ko.{ending}:\n\
         kernel/net/other.ko.{ending}:\n"
    );
    fs::write(place.join("modules.dep"), list).unwrap();
    lab.set("TOY_MODULES", tree.to_str().unwrap())
        .set("DIB_RAMDISK_MODULES", "wanted")
        .set("DIB_RAMDISK_FIRMWARE", "needed");
}

fn pack(tool: &[&str], path: &Path) {
    let args: Vec<_> = tool[1..].iter().map(std::ffi::OsStr::new).collect();
    oracle::run(tool[0], &[&args[..], &[path.as_os_str()]].concat());
    let _ = fs::remove_file(path);
}

/// What every such ramdisk must have, whatever the tree looks like.
fn is_whole(lab: &Lab, version: &str, has_modules: &str, has_firmware: &str) {
    let root = unpacked(&lab.out("r.initramfs"));
    let modules = names_below(&root, &format!("lib/modules/{version}/kernel"));
    assert_eq!(modules, has_modules);
    assert_eq!(names_below(&root, "lib/firmware"), has_firmware);
    for name in ["busybox", "udevadm", "modprobe", "bash"] {
        let meta = fs::symlink_metadata(root.join("bin").join(name)).unwrap();
        assert!(
            meta.is_file() && meta.permissions().mode() & 0o111 == 0o111,
            "{name}"
        );
    }
    let udevd = fs::read_link(root.join("bin/udevd")).unwrap();
    assert_eq!(udevd, Path::new("udevadm"));
    super::runs(&root);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_tree_laid_out_as_fedoras_gives_a_ramdisk() {
    if !require(&["gcc", "xz", "ldconfig"]) {
        return;
    }
    let Some(mut lab) = lab() else { return };
    lab.set("DISTRO_NAME", "fedora");
    packed(&mut lab, &["xz", "--check=crc32"], "xz");
    lab.hook("root.d/30-fedora", &[MERGED, FEDORA].concat());
    create(&lab, &["--ramdisk-compression", "none"]).ok();
    assert_eq!(lab.text("r.kernel"), "the kernel of Fedora\n");
    is_whole(
        &lab,
        "6.1-toy",
        "needed.ko.xz wanted.ko.xz",
        "a.fw.xz b.fw.xz many-1.fw.xz many-2.fw",
    );
}

#[test]
fn a_tree_laid_out_as_ubuntus_gives_a_ramdisk() {
    if !require(&["gcc", "xz", "zstd"]) {
        return;
    }
    let Some(mut lab) = lab() else { return };
    lab.set("DISTRO_NAME", "ubuntu");
    packed(&mut lab, &["zstd", "-q"], "zst");
    lab.hook("root.d/30-ubuntu", &[MERGED, UBUNTU].concat());
    create(&lab, &["--ramdisk-compression", "none"]).ok();
    assert_eq!(lab.text("r.kernel"), "a kernel\n");
    is_whole(
        &lab,
        "6.1-toy-generic",
        "needed.ko.zst wanted.ko.zst",
        "a.fw.zst b.fw.xz many-1.fw.zst many-2.fw",
    );
}

#[test]
fn modules_firmware_rules_and_busybox_may_lie_elsewhere() {
    let Some(mut lab) = lab() else { return };
    lab.hook(
        "root.d/30-elsewhere",
        r#"cd "$TARGET_ROOT"
mkdir -p opt/kernel/lib opt/udev/lib opt/bb
mv lib/modules lib/firmware opt/kernel/lib
mv lib/udev opt/udev/lib
mv bin/busybox opt/bb"#,
    );
    lab.set("DIB_MODULE_ROOT", "/opt/kernel")
        .set("DIB_LIB_UDEV_ROOT", "opt/udev")
        .set("BUSYBOX", "/opt/bb/busybox");
    create(&lab, &["--ramdisk-compression", "none"]).ok();
    let root = unpacked(&lab.out("r.initramfs"));
    for (name, said) in [
        ("lib/modules/6.1-toy/kernel/drivers/net/toy.ko", "module\n"),
        ("lib/firmware/toy/a.fw", "firmware\n"),
        ("lib/udev/rules.d/80-drivers.rules", "ENV{MODALIAS}==\"?*\"\n"),
    ] {
        assert_eq!(text(root.join(name)), said, "{name}");
    }
    assert!(!root.join("opt").exists());
    let wget = fs::read_link(root.join("bin/wget")).unwrap();
    assert_eq!(wget, Path::new("busybox"));
    assert!(root.join("bin/busybox").is_file());
    lab.set("DIB_MODULE_ROOT", "/opt");
    let said = create(&lab, &[]);
    let told = "the tree has no /opt/lib/modules/6.1-toy, of kernel 6.1-toy";
    assert!(
        said.status == 1 && said.err.contains(told),
        "no '{told}' in {}",
        said.err
    );
}

#[test]
fn scripts_bring_what_runs_them_and_hooks_of_root_d_run_in_what_is_there() {
    let Some(lab) = lab() else { return };
    lab.hook(
        "root.d/30-scripts",
        r#"cd "$TARGET_ROOT"
mkdir -p opt/x/bin usr/local/bin
cp -L "$(type -P bash)" opt/x/bin/own
printf '#!/opt/x/bin/own\necho own\n' >usr/local/bin/by-own
printf '#!/usr/bin/env -S A=1 later -x\n' >usr/local/bin/by-env
printf '#!/bin/bash\n' >usr/local/bin/later
printf '#!/usr/bin/gone -x\n' >usr/local/bin/by-gone
chmod 755 usr/local/bin/*
mkdir -p tmp/root.d
printf '#!/bin/bash\nmkdir -p "$TARGET_ROOT/usr/bin" && echo early >"$TARGET_ROOT/usr/bin/early"\n' >tmp/root.d/10-early
chmod 755 tmp/root.d/10-early"#,
    );
    lab.file("probe/binary-deps.d/scripts", "by-own by-env by-gone\n");
    let said = create(&lab, &["--ramdisk-compression", "none"]).ok();
    let told = "/usr/bin/gone, by which /usr/local/bin/by-gone is run, is nowhere in the tree";
    assert!(said.out.contains(told), "no '{told}' in {}", said.out);
    let root = unpacked(&lab.out("r.initramfs"));
    assert_eq!(text(root.join("bin/early")), "early\n");
    for name in [
        "bin/by-own",
        "bin/by-env",
        "bin/later",
        "bin/bash",
        "opt/x/bin/own",
    ] {
        assert!(root.join(name).is_file(), "{name}");
    }
    let run = oracle::output("chroot", &[root.as_ref(), "/bin/by-own".as_ref()]);
    assert_eq!(String::from_utf8_lossy(&run.stdout), "own\n", "{run:?}");
}

#[test]
fn programs_for_another_machine_bring_its_libraries() {
    let Some(lab) = lab() else { return };
    let tree = lab.dir().join("elements/probe/static");
    let own = Elf {
        machine: elf::ARM64,
        ..Elf::default()
    };
    let place = tree.join("usr/lib/aarch64-linux-gnu");
    own.write(&place.join("libarm.so.1"));
    own.write(&place.join("ld-arm.so.1"));
    // Of the same name, where loaders look first, for the machine of this test.
    Elf::default().write(&tree.join("lib64/libarm.so.1"));
    let program = Elf {
        interpreter: Some("/lib/ld-linux-arm.so.1"),
        needed: &["libarm.so.1", "libgone.so.9"],
        ..own
    };
    program.write(&tree.join("opt/arm/tool"));
    lab.hook(
        "root.d/30-arm",
        "cp -a \"$(dirname \"$0\")/../static/.\" \"$TARGET_ROOT\"; ln -s ../usr/lib/aarch64-linux-gnu/ld-arm.so.1 \"$TARGET_ROOT/lib/ld-linux-arm.so.1\"",
    );
    lab.file("probe/binary-deps.d/arm", "/opt/arm/tool\n");
    let said = create(&lab, &["--ramdisk-compression", "none"]).ok();
    let told = "libgone.so.9, which /opt/arm/tool needs, is nowhere in the tree";
    assert!(said.out.contains(told), "no '{told}' in {}", said.out);
    let root = unpacked(&lab.out("r.initramfs"));
    let bytes = |name: &str| fs::read(root.join(name)).unwrap();
    assert!(bytes("bin/tool") == program.bytes());
    assert!(bytes("lib/libarm.so.1") == own.bytes());
    assert!(bytes("lib/ld-linux-arm.so.1") == own.bytes());
}

#[test]
fn a_ramdisk_loads_the_drivers_of_mellanox_as_an_image_does() {
    let Some(lab) = lab() else { return };
    lab.hook(
        "root.d/30-install",
        "cp -L \"$(type -P install)\" \"$TARGET_ROOT/bin\"",
    );
    lab.hook(
        "post-install.d/50-list",
        "cp /etc/modules-load.d/mellanox.conf /etc/udev/rules.d/81-mellanox.rules /tmp/ramdisk-build/d",
    );
    create(&lab, &["--ramdisk-compression", "none", "mellanox"]).ok();
    let root = unpacked(&lab.out("r.initramfs"));
    // As the hook has it of the image.
    let drivers = text(root.join("mellanox.conf"));
    let drivers = drivers.lines().collect::<Vec<_>>().join(" ");
    let rule = text(root.join("81-mellanox.rules"));
    assert!(rule.contains(&format!("kmod load {drivers}\"")), "{rule}");
    assert_eq!(text(root.join("lib/udev/rules.d/81-mellanox.rules")), rule);
    let init = text(root.join("init"));
    let fragment = init
        .split("# init fragment from ")
        .find(|part| part.starts_with("01-mellanox"));
    let fragment = fragment.expect("the init has it");
    assert!(fragment.contains(&format!("in {drivers}; do")), "{fragment}");
}

#[test]
fn u_boot_starts_the_same_ramdisk_and_kernel() {
    let Some(lab) = lab() else { return };
    lab.hook("root.d/30-test", "cp -L \"$(type -P test)\" \"$TARGET_ROOT/bin\"");
    let args = ["-a", "arm64", "-n", "-o", "r", "mini-os", "probe", "uboot"];
    lab.run(RAMDISK_IMAGE_CREATE, &args).ok();
    for (image, of, machine, kind) in [
        ("r.uImage", "r.kernel", 22, 2),
        ("r.uInitrd", "r.initramfs", 22, 3),
    ] {
        let bytes = fs::read(lab.out(image)).unwrap();
        let (header, data) = bytes.split_at(64);
        assert!(data == fs::read(lab.out(of)).unwrap(), "{image}");
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut blank = header.to_vec();
        blank[4..8].fill(0);
        assert_eq!(number(0), 0x2705_1956, "{image}");
        assert_eq!(
            (number(4), number(24)),
            (checksum(&blank), checksum(data)),
            "{image}"
        );
        assert_eq!(usize::try_from(number(12)).unwrap(), data.len(), "{image}");
        assert_eq!(header[28..32], [5, machine, kind, 0], "{image}");
        assert!(header[32..].starts_with(b"r\0"), "{image}");
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}
