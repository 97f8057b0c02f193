//! `ramdisk-image-create` on the toy root: what goes into a ramdisk, how it is packed, and when there is none.

#[path = "ramdisk/beside.rs"]
mod beside;
#[path = "ramdisk/dracut.rs"]
mod dracut;
#[path = "ramdisk/roots.rs"]
mod roots;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use oracle::{find, require};

use crate::lab::{DIB, Lab, RAMDISK_IMAGE_CREATE, Said};
use crate::rung::{Rung, Stairs};

/// What elements ramdisk and ramdisk-base need of a tree, as the host has it or as scripts that do nothing.
const ROOT: &str = r#"
cd "$TARGET_ROOT"
mkdir -p boot lib/udev/rules.d lib/modules/6.1-toy/kernel/drivers/{net,video/fbdev} lib/firmware/toy etc/modprobe.d var/lib
for tool in busybox mktemp tr head; do
    path=$(type -P "$tool")
    cp -L "$path" bin
    ldd "$path" | { grep -o '/[^ ]*' || true; } | while read -r library; do
        mkdir -p ".$(dirname "$library")"
        [ -e ".$library" ] || cp -L "$library" ".$library"
    done
done
for tool in udevadm modprobe lsmod toy-script install-packages; do
    printf '#!/bin/bash\nexit 0\n' >bin/$tool
    chmod 755 bin/$tool
done
ln -s udevadm bin/udevd
echo 'a kernel' >boot/vmlinuz-6.1-toy
echo 'an older one' >boot/vmlinuz-6.0-toy
echo 'ENV{MODALIAS}=="?*"' >lib/udev/rules.d/80-drivers.rules
echo 'options toy a=1' >etc/modprobe.d/toy.conf
echo 'not for modprobe' >etc/modprobe.d/toy.conf.bak
if [ -n "${TOY_MODULES:-}" ]; then
    cp -R "$TOY_MODULES/." lib/
else
    echo module >lib/modules/6.1-toy/kernel/drivers/net/toy.ko
    echo module >lib/modules/6.1-toy/kernel/drivers/video/fbdev/toyfb.ko
    echo firmware >lib/firmware/toy/a.fw
fi
"#;

/// A lab with an element `probe` of each directory that a ramdisk knows.
fn lab() -> Option<Lab> {
    if !require(&["busybox", "mktemp", "cpio", "gzip"]) {
        return None;
    }
    let mut lab = Lab::new()?;
    prepare(&mut lab);
    Some(lab)
}

fn prepare(lab: &mut Lab) {
    for (name, value) in [
        ("DISTRO_NAME", "debian"),
        ("DIB_RELEASE", "toy"),
        ("DIB_INIT_SYSTEM", "systemd"),
    ] {
        lab.set(name, value);
    }
    lab.hook("root.d/20-ramdisk-root", ROOT);
    lab.file("probe/binary-deps.d/probe", "toy-script\nsort wget shutdown\n");
    lab.file("probe/init.d/05-first", "echo first\n");
    lab.file("probe/init.d/90-last", "echo last\n");
    lab.file("probe/udev.d/77-toy.rules", "# toy\n");
    lab.file("probe/extra-data.d/scripts/d/toy-func", "toy() { :; }\n");
    lab.hook(
        "ramdisk-install.d/50-mark",
        "[ -x \"$TMP_MOUNT_PATH/bin/toy-script\" ]; echo mark >\"$TMP_MOUNT_PATH/mark\"",
    );
}

fn create(lab: &Lab, args: &[&str]) -> Said {
    let words = [&["-n", "-o", "r"], args, &["mini-os", "probe"]].concat();
    let said = lab.run(RAMDISK_IMAGE_CREATE, &words);
    assert_eq!(lab.left_behind(), [""; 0], "a build leaves nothing");
    said
}

/// Unpacks an archive that is not compressed, by cpio, beside it.
fn unpacked(archive: &Path) -> PathBuf {
    let out = archive.with_extension("root");
    fs::create_dir_all(&out).unwrap();
    let line = "cd \"$1\" && cpio -idm --quiet <\"$0\" 2>&1";
    let args: [&std::ffi::OsStr; 4] = ["-c".as_ref(), line.as_ref(), archive.as_ref(), out.as_ref()];
    assert_eq!(oracle::run("sh", &args), "");
    out
}

/// What a tool makes of a ramdisk, as an archive beside it.
fn plain(ramdisk: &Path, tool: &str) -> PathBuf {
    let plain = ramdisk.with_extension("cpio");
    let output = oracle::output(tool, &["-dc".as_ref(), ramdisk.as_ref()]);
    let bytes = if output.status.success() {
        output.stdout
    } else {
        // Not every tool takes a name that does not end as it likes.
        let piped = std::process::Command::new(find(tool).unwrap())
            .arg("-dc")
            .stdin(fs::File::open(ramdisk).unwrap())
            .output()
            .unwrap();
        assert!(piped.status.success(), "{tool}: {piped:?}");
        piped.stdout
    };
    fs::write(&plain, bytes).unwrap();
    plain
}

fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is in an unpacked ramdisk runs.
fn runs(root: &Path) {
    let run = oracle::output(
        "chroot",
        &[
            root.as_ref(),
            "/bin/bash".as_ref(),
            "-c".as_ref(),
            "echo it runs".as_ref(),
        ],
    );
    assert_eq!(String::from_utf8_lossy(&run.stdout), "it runs\n", "{run:?}");
}

#[test]
fn a_ramdisk_has_what_elements_gave_it() {
    let Some(lab) = lab() else { return };
    // What an element calls as the builder might call its own is not written through.
    let victim = lab.dir().join("victim");
    fs::write(&victim, "not an element's").unwrap();
    let link = lab.dir().join("elements/probe/ramdisk-origins.json");
    std::os::unix::fs::symlink(&victim, link).unwrap();
    create(&lab, &["--checksum"]).ok();
    assert_eq!(text(&victim), "not an element's");
    let names = ["", ".md5", ".sha256"].map(|end| [format!("r.initramfs{end}"), format!("r.kernel{end}")]);
    let mut names = names.concat();
    names.sort();
    assert_eq!(lab.names(), names);
    assert_eq!(lab.text("r.kernel"), "a kernel\n");
    assert!(lab.text("r.initramfs.sha256").ends_with("  r.initramfs\n"));
    // One member: the kernel takes no second one.
    let bytes = fs::read(lab.out("r.initramfs")).unwrap();
    let mut decoder = flate2::bufread::GzDecoder::new(&bytes[..]);
    let mut archive = Vec::new();
    decoder.read_to_end(&mut archive).unwrap();
    assert!(archive.starts_with(b"070701") && decoder.into_inner().is_empty());

    let root = unpacked(&plain(&lab.out("r.initramfs"), "gzip"));
    is_put_together(&root);
    is_laid_out(&root);

    create(&lab, &[]).ok();
    let old: Vec<_> = lab
        .names()
        .into_iter()
        .filter(|name| name.starts_with("r-2"))
        .collect();
    assert_eq!(old.len(), 6, "the old ones are kept with their digests: {old:?}");
}

/// Fragments stand in the init in the order of their names.
fn is_put_together(root: &Path) {
    let init = text(root.join("init"));
    assert_eq!(
        fs::metadata(root.join("init")).unwrap().permissions().mode() & 0o777,
        0o755
    );
    let parts = [
        "#!/bin/sh\n",
        "\necho init\n",
        "PATH=/sbin:/bin:/usr/bin:/usr/sbin\n",
        ". /init-func\n",
        "# init fragment from 05-first\necho first\n",
        "# init fragment from 10-start-base-system\n",
        "# init fragment from 20-init-variables\n",
        "# init fragment from 30-start-network\n",
        "# init fragment from 40-check-network-ready\n",
        "# init fragment from 90-last\necho last\n",
        "echo rebooting\nreboot -f\n",
    ];
    let places: Vec<_> = parts
        .iter()
        .map(|part| init.find(part).unwrap_or_else(|| panic!("no '{part}' in {init}")))
        .collect();
    assert!(places.is_sorted(), "{init}");
    oracle::run("sh", &["-n".as_ref(), root.join("init").as_ref()]);
}

/// Programs, libraries, modules and rules are where they are looked for.
fn is_laid_out(root: &Path) {
    let link = |name: &str| fs::read_link(root.join(name)).unwrap().display().to_string();
    assert_eq!(
        (link("sbin"), link("lib64"), link("usr/lib")),
        ("bin".into(), "lib".into(), "../lib".into())
    );
    // busybox has it; a script and what it is run by; a program of the tree, though busybox has one, too.
    assert_eq!(
        (link("bin/wget"), link("bin/ash")),
        ("busybox".into(), "busybox".into())
    );
    for name in [
        "busybox",
        "bash",
        "toy-script",
        "udevadm",
        "modprobe",
        "lsmod",
        "shutdown",
    ] {
        let meta = fs::symlink_metadata(root.join("bin").join(name)).unwrap();
        assert!(
            meta.is_file() && meta.permissions().mode() & 0o111 == 0o111,
            "{name}"
        );
    }
    assert_eq!(link("bin/udevd"), "udevadm");
    assert!(fs::metadata(root.join("lib/libc.so.6")).unwrap().is_file());
    for (name, said) in [
        ("mark", "mark\n"),
        ("toy-func", "toy() { :; }\n"),
        ("lib/udev/rules.d/77-toy.rules", "# toy\n"),
        ("lib/udev/rules.d/80-drivers.rules", "ENV{MODALIAS}==\"?*\"\n"),
        ("etc/modprobe.d/toy.conf", "options toy a=1\n"),
        ("etc/modprobe.d/blacklist-evbug.conf", "blacklist evbug\n"),
        ("etc/fstab", ""),
        ("lib/modules/6.1-toy/kernel/drivers/net/toy.ko", "module\n"),
        ("lib/firmware/toy/a.fw", "firmware\n"),
    ] {
        assert_eq!(text(root.join(name)), said, "{name}");
    }
    for name in [
        "etc/modprobe.d/toy.conf.bak",
        "lib/modules/6.1-toy/kernel/drivers/video/fbdev/toyfb.ko",
    ] {
        assert!(!root.join(name).exists(), "{name}");
    }
    let console = fs::metadata(root.join("dev/console")).unwrap();
    assert_eq!(
        (console.mode(), console.rdev()),
        (0o020_600, rustix::fs::makedev(5, 1))
    );
    // What is in it runs: the loader is found where the program says it is.
    runs(root);
}

#[test]
fn all_programs_that_are_missing_are_named_with_who_wants_them() {
    let Some(lab) = lab() else { return };
    lab.file("probe/binary-deps.d/more", "absent-one sort\n");
    lab.file("other/binary-deps.d/tools", "absent-two\n");
    let said = lab.run(
        RAMDISK_IMAGE_CREATE,
        &["-n", "-o", "r", "mini-os", "probe", "other"],
    );
    assert_eq!(said.status, 1);
    for told in [
        "absent-one is not found in PATH, which element probe wants",
        "absent-two is not found in PATH, which element other wants",
        "hint: Please ensure your elements install them",
    ] {
        assert!(
            said.out.contains(told) || said.err.contains(told),
            "no '{told}' in {}\n{}",
            said.out,
            said.err
        );
    }
    assert_eq!(lab.names(), [""; 0]);
}

#[test]
fn a_hook_that_fails_later_leaves_no_output() {
    let Some(lab) = lab() else { return };
    lab.hook("cleanup.d/99-fail", "exit 3");
    assert_eq!(create(&lab, &[]).status, 3);
    assert_eq!(lab.names(), [""; 0]);
    // No hook made one.
    let said = lab.run(
        RAMDISK_IMAGE_CREATE,
        &["-n", "-o", "r", "--ramdisk-element", "cache-url", "mini-os"],
    );
    said.failed(1, "no hook left /tmp/ramdisk in the tree");
    lab.run(RAMDISK_IMAGE_CREATE, &["-n", "-o", "-", "mini-os", "probe"])
        .failed(1, "a ramdisk and its kernel are two files");
    lab.run(RAMDISK_IMAGE_CREATE, &["-o", "r"])
        .failed(1, "At least one distribution root element must be specified");
    assert_eq!(lab.names(), [""; 0]);
}

#[test]
fn every_compression_holds_the_same() {
    if !require(&["xz", "zstd", "lz4"]) {
        return;
    }
    let Some(mut lab) = lab() else { return };
    lab.set("SOURCE_DATE_EPOCH", "1700000000");
    let mut archives = BTreeMap::new();
    for (words, tool) in [
        ("none", "cat"),
        ("gzip:1", "gzip"),
        ("xz:0", "xz"),
        ("zstd:1", "zstd"),
        ("lz4", "lz4"),
    ] {
        create(&lab, &["--ramdisk-compression", words]).ok();
        let ramdisk = lab.out("r.initramfs");
        let plain = if tool == "cat" {
            ramdisk.clone()
        } else {
            plain(&ramdisk, tool)
        };
        archives.insert(tool, fs::read(plain).unwrap());
        fs::remove_file(ramdisk).unwrap();
    }
    let first = &archives["cat"];
    assert_eq!(first.get(..6), Some(&b"070701"[..]));
    for (tool, archive) in &archives {
        assert!(archive == first, "{tool}");
    }
    lab.run(
        RAMDISK_IMAGE_CREATE,
        &["--ramdisk-compression", "gzip:0", "mini-os"],
    )
    .failed(1, "levels of gzip go from 1 to 9");
}

/// An object file that asks for firmware, as a module does.
fn module(dir: &Path, name: &str, firmware: &[&str]) {
    let source = dir.join("module.s");
    let texts = firmware
        .iter()
        .map(|name| format!(".asciz \"firmware={name}\"\n"));
    let about = format!(
        ".section .modinfo,\"a\"\n.asciz \"license=GPL\"\n{}",
        texts.collect::<String>()
    );
    fs::create_dir_all(dir).unwrap();
    fs::write(&source, about).unwrap();
    let object = dir.join(name);
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    let args: [&std::ffi::OsStr; 4] = ["-c".as_ref(), "-o".as_ref(), object.as_ref(), source.as_ref()];
    oracle::run("gcc", &args);
    fs::remove_file(source).unwrap();
}

/// Modules of which one needs another, and firmware of which they ask for some.
fn make_modules(tree: &Path) {
    let place = tree.join("modules/6.1-toy");
    for (name, firmware) in [
        ("kernel/net/wanted.ko", &["toy/a.fw", "toy/many-*.fw"][..]),
        ("kernel/lib/needed.ko", &["toy/b.fw"]),
        ("kernel/net/other.ko", &["toy/c.fw"]),
        ("kernel/drivers/video/fbdev/hyperv_fb.ko", &[]),
        ("kernel/drivers/video/fbdev/core/fb.ko", &[]),
    ] {
        module(&place, name, firmware);
    }
    oracle::run("xz", &[place.join("kernel/lib/needed.ko").as_ref()]);
    oracle::run("gzip", &[place.join("kernel/net/other.ko").as_ref()]);
    let buffers = "kernel/drivers/video/fbdev";
    fs::write(
        place.join("modules.dep"),
        format!(
            "kernel/net/wanted.ko: kernel/lib/needed.ko.xz\nkernel/lib/needed.ko.xz:\nkernel/net/other.ko.gz:\n\
             {buffers}/hyperv_fb.ko: {buffers}/core/fb.ko\n{buffers}/core/fb.ko:\n"
        ),
    )
    .unwrap();
    for name in ["vmlinuz", "System.map", "config", "symvers.xz"] {
        fs::write(place.join(name), "large").unwrap();
    }
    let firmware = tree.join("firmware/toy");
    fs::create_dir_all(&firmware).unwrap();
    for name in ["a.fw", "b.fw.xz", "c.fw", "d.fw", "many-1.fw", "many-2.fw"] {
        fs::write(firmware.join(name), name).unwrap();
    }
}

/// The names of all files below a directory.
fn names_below(root: &Path, place: &str) -> String {
    let mut names = Vec::new();
    let mut stack = vec![root.join(place)];
    while let Some(dir) = stack.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else {
                names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    names.sort();
    names.join(" ")
}

#[test]
fn modules_bring_what_they_need_and_firmware_is_what_they_ask_for() {
    if !require(&["gcc", "xz"]) {
        return;
    }
    let Some(mut lab) = lab() else { return };
    let tree = lab.dir().join("modules");
    make_modules(&tree);
    lab.set("TOY_MODULES", tree.to_str().unwrap());
    for (modules, firmware, has_modules, has_firmware) in [
        (
            "wanted",
            "needed",
            "needed.ko.xz wanted.ko",
            "a.fw b.fw.xz many-1.fw many-2.fw",
        ),
        (
            "all",
            "needed",
            "needed.ko.xz other.ko.gz wanted.ko",
            "a.fw b.fw.xz c.fw many-1.fw many-2.fw",
        ),
        ("kernel/lib", "none", "needed.ko.xz", ""),
        ("hyperv_fb", "none", "fb.ko hyperv_fb.ko", ""),
        ("none", "all", "", "a.fw b.fw.xz c.fw d.fw many-1.fw many-2.fw"),
    ] {
        lab.set("DIB_RAMDISK_MODULES", modules)
            .set("DIB_RAMDISK_FIRMWARE", firmware);
        create(&lab, &["--ramdisk-compression", "none"]).ok();
        let root = unpacked(&lab.out("r.initramfs"));
        let found = names_below(&root, "lib/modules");
        let found: Vec<_> = found
            .split(' ')
            .filter(|name| !name.starts_with("modules."))
            .collect();
        assert_eq!(found.join(" "), has_modules, "{modules}");
        assert_eq!(names_below(&root, "lib/firmware"), has_firmware, "{firmware}");
        fs::remove_dir_all(root).unwrap();
    }
    let large = fs::File::create(tree.join("firmware/toy/a.fw")).unwrap();
    large.set_len(100 << 20).unwrap();
    for (firmware, advice) in [
        ("all", "DIB_RAMDISK_FIRMWARE=needed takes"),
        ("needed", "DIB_RAMDISK_MODULES can name fewer"),
    ] {
        lab.set("DIB_RAMDISK_MODULES", "wanted")
            .set("DIB_RAMDISK_FIRMWARE", firmware);
        let said = create(&lab, &["--ramdisk-compression", "none"]).ok();
        let told = format!("100.0 MiB of firmware are in the ramdisk: {advice}");
        assert!(said.out.contains(&told), "no '{told}' in {}", said.out);
    }
    lab.set("DIB_RAMDISK_MODULES", "wantd");
    let said = create(&lab, &[]);
    let told = "kernel 6.1-toy has no module 'wantd'";
    assert_eq!(said.status, 1, "{}{}", said.out, said.err);
    assert!(said.err.contains(told), "no '{told}' in {}", said.err);
}

#[test]
fn the_ramdisk_is_the_same_in_every_tier() {
    if !require(&["busybox", "mktemp", "cpio", "gzip"]) {
        return;
    }
    let mut built: Vec<(Rung, Vec<u8>)> = Vec::new();
    for rung in Rung::ALL {
        let Some(mut stairs) = Stairs::new(rung) else {
            continue;
        };
        prepare(&mut stairs.lab);
        stairs
            .lab
            .file("probe/device-nodes", "no list of the builder's\n");
        // Nodes that hooks make, where nobody may make any, too.
        stairs.lab.hook(
            "root.d/30-mknod",
            "cp -L \"$(type -P mknod)\" \"$TARGET_ROOT/bin\"",
        );
        stairs.lab.hook(
            "ramdisk-install.d/60-nodes",
            "mknod \"$TMP_MOUNT_PATH/dev/toy\" c 10 200; mknod \"$TMP_MOUNT_PATH/dev/disk\" b 259 70000",
        );
        stairs.lab.set("SOURCE_DATE_EPOCH", "1700000000");
        stairs.lab.set("DIB_PRIVILEGES", &format!("{rung:?}"));
        stairs
            .run(&["ramdisk-image-create", "-n", "-o", "r", "mini-os", "probe"])
            .ok();
        built.push((rung, fs::read(stairs.lab.out("r.initramfs")).unwrap()));
    }
    let Some(((first, bytes), others)) = built.split_first().filter(|(_, others)| !others.is_empty()) else {
        oracle::skip("there are no two tiers to compare");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let ramdisk = dir.path().join("r.initramfs");
    fs::write(&ramdisk, bytes).unwrap();
    let root = unpacked(&plain(&ramdisk, "gzip"));
    for (name, mode, (major, minor)) in [("toy", 0o020_644, (10, 200)), ("disk", 0o060_644, (259, 70_000))] {
        let node = fs::symlink_metadata(root.join("dev").join(name)).unwrap();
        let device = rustix::fs::makedev(major, minor);
        assert_eq!((node.mode(), node.rdev()), (mode, device), "{name} in {first:?}");
    }
    for (rung, other) in others {
        assert!(other == bytes, "{rung:?} and {first:?} differ");
    }
}

#[test]
fn options_of_images_have_no_effect_and_are_named() {
    let Some(lab) = lab() else { return };
    let said = create(
        &lab,
        &["-t", "qcow2,raw", "-u", "--image-size", "2", "--root-label", "x"],
    )
    .ok();
    let told =
        "without effect: -t, -u, --image-size; a ramdisk build makes r.initramfs and r.kernel, and no image";
    assert!(said.out.contains(told), "no '{told}' in {}", said.out);
    assert_eq!(lab.names(), ["r.initramfs", "r.kernel"]);
    let said = lab
        .run(DIB, &["plan", "--ramdisk", "-o", "r", "mini-os", "probe"])
        .ok();
    assert!(!said.out.contains("without effect") && !said.err.contains("without effect"));
}

#[test]
fn no_link_of_the_tree_leads_the_skeleton_out_of_it() {
    let Some(lab) = lab() else { return };
    let victim = lab.dir().join("victim");
    fs::create_dir(&victim).unwrap();
    lab.hook(
        "root.d/30-link",
        &format!("ln -s {} \"$TARGET_ROOT/tmp/ramdisk-build\"", victim.display()),
    );
    assert_ne!(create(&lab, &[]).status, 0);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
}

#[test]
fn a_plan_says_what_becomes_of_a_ramdisk() {
    let lab = Lab::unprivileged();
    lab.file("probe/binary-deps.d/probe", "x\n");
    let said = lab
        .run(
            DIB,
            &["plan", "--ramdisk", "--json", "-o", "d/r", "mini-os", "probe"],
        )
        .ok();
    let plan: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        plan["outputs"],
        serde_json::json!(["d/r.initramfs", "d/r.kernel"])
    );
    let names: Vec<_> = plan["elements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|element| element["name"].as_str().unwrap())
        .collect();
    assert_eq!(names[..2], ["ramdisk", "base"]);
    assert_eq!(plan["elements"][0]["reasons"][0]["reason"], "ramdisk");
    assert_eq!(
        plan["settings"]["tmpfs"]["value"],
        serde_json::json!({ "rule": "never" })
    );
    let said = lab.run(DIB, &["plan", "--ramdisk", "mini-os", "probe"]).ok();
    assert!(
        said.out.contains("makes the ramdisk") && said.out.contains("image.initramfs"),
        "{}",
        said.out
    );
}

#[test]
fn the_tree_of_an_image_can_be_an_archive_too() {
    let Some(lab) = lab() else { return };
    lab.build(&["-o", "x", "-t", "cpio", "mini-os"]).ok();
    let root = unpacked(&lab.out("x.cpio"));
    assert_eq!(text(root.join("etc/hostname")), "mini\n");
    let tmp = fs::metadata(root.join("tmp")).unwrap();
    assert_eq!(tmp.permissions().mode() & 0o7777, 0o1777);
}
