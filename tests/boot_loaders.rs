//! GRUB's tools as hooks of `finalise.d` meet them: answered from the layout, and gone from the image.

use crate::lab::Lab;

/// A tree with GRUB's tools of its own, which only tell who called them how, and modules.
const OWN_TOOLS: &str = r#"
cat >$TARGET_ROOT/bin/grub-probe <<'TOOL'
#!/bin/bash
echo the real probe
TOOL
cat >$TARGET_ROOT/bin/grub-mkconfig <<'TOOL'
#!/bin/bash
set -eu
{
    for target in device fs fs_label partmap abstraction; do
        echo "$target=$(/usr/sbin/grub-probe --target=$target /)"
    done
    uuid=$(/usr/sbin/grub-probe --device "$(grub-probe -t device /)" --target=fs_uuid)
    [ -e /dev/disk/by-uuid/$uuid ] && echo uuid has a name
} >$2
[ ! -e /kill-parent ] || kill -9 $PPID
TOOL
cat >$TARGET_ROOT/bin/grub-mkimage <<'TOOL'
#!/bin/bash
set -eu
while [ $# -gt 0 ]; do
    [ $1 = -o ] && { out=$2; shift; } || words="${words:-} $1"
    shift
done
echo "$words" >$out
TOOL
chmod 755 $TARGET_ROOT/bin/grub-*
mkdir -p $TARGET_ROOT/usr/lib/grub/i386-pc $TARGET_ROOT/boot
cd $TARGET_ROOT/usr/lib/grub/i386-pc
head -c 512 /dev/zero >boot.img
touch ext2.mod command.lst config.h
"#;

const GPT: &str = "
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: BSP, type: EF02, size: 8MiB}
      - name: root
        type: '8300'
        size: 100%
        mkfs: {mount: {mount_point: /, fstab: {options: defaults}}}
";

fn lab() -> Option<Lab> {
    let lab = Lab::new()?;
    lab.hook("root.d/50-tools", OWN_TOOLS);
    lab.hook(
        "cleanup.d/90-show",
        "cp $TARGET_ROOT/*.cfg .; cat $TARGET_ROOT/bin/grub-probe >probe
        find $TARGET_ROOT/bin -name 'grub-probe*' >names
        [ ! -d $TARGET_ROOT/boot/grub ] || cp -r $TARGET_ROOT/boot/grub .
        [ -z \"$(ls -A $TARGET_ROOT/tmp)\" ]",
    );
    Some(lab)
}

/// The names and the text of the tree's own tool, as its last hook sees it.
fn own_probe_is_whole(lab: &Lab) {
    assert_eq!(lab.text("probe"), "#!/bin/bash\necho the real probe\n");
    assert_eq!(lab.text("names").lines().count(), 1, "{}", lab.text("names"));
}

#[test]
fn the_trees_configuration_is_made_with_answers_from_the_layout() {
    let Some(lab) = lab() else { return };
    lab.hook(
        "finalise.d/50-boot",
        "[ \"$(type -p grub-probe)\" = /tmp/in_target.d/.grub/grub-probe ]
        ! type -p grub2-probe
        grub-mkconfig -o /grub.cfg
        [ \"$(/usr/sbin/grub-probe x)\" = 'the real probe' ]
        ! grub-probe -t colour / 2>/said.cfg",
    );
    lab.hook("install.d/50-before", "[ \"$(grub-probe)\" = 'the real probe' ]");
    for tier in ["T0", "T1"] {
        lab.build(&["--privileges", tier, "no-final-image", "mini-os", "probe"])
            .ok();
        assert_eq!(
            lab.text("grub.cfg"),
            "device=/dev/dib/image0\nfs=ext2\nfs_label=cloudimg-rootfs\npartmap=\nabstraction=\nuuid has a name\n",
            "{tier}"
        );
        assert!(lab.text("said.cfg").contains("target 'colour' is not supported"));
        own_probe_is_whole(&lab);
    }
}

#[test]
fn a_call_that_is_killed_leaves_nothing_in_the_image() {
    let Some(lab) = lab() else { return };
    lab.hook("cleanup.d/90-show", "cp $TARGET_ROOT/again.cfg .");
    // Without mounts the caller of the script is ours, and what it put in place stays behind.
    lab.hook(
        "finalise.d/50-boot",
        "touch /kill-parent; ! grub-mkconfig -o /grub.cfg
        rm /kill-parent; [ -L /usr/sbin/grub-probe ]
        grub-mkconfig -o /again.cfg; [ ! -L /usr/sbin/grub-probe ]
        touch /kill-parent; ! grub-mkconfig -o /grub.cfg; [ -L /usr/sbin/grub-probe ]",
    );
    lab.build(&["--privileges", "T1", "-t", "raw", "-o", "x", "mini-os", "probe"])
        .ok();
    assert!(lab.text("again.cfg").contains("fs=ext2"));
    let image = lab.out("x.raw");
    let probe = oracle::ext4::debugfs(&image, "cat /bin/grub-probe");
    assert!(probe.starts_with("#!/bin/bash\necho the real probe\n"), "{probe}");
    let names = oracle::ext4::debugfs(&image, "ls -p /bin");
    assert_eq!(names.matches("grub-probe").count(), 1, "{names}");
}

#[test]
fn boot_code_is_made_by_the_tree_and_recorded_for_the_disk() {
    let Some(mut lab) = lab() else { return };
    lab.set("DIB_BLOCK_DEVICE_CONFIG", GPT);
    lab.hook(
        "finalise.d/50-boot",
        "grub-install --modules='part_msdos lvm' --target=i386-pc --force $IMAGE_BLOCK_DEVICE
        cat /tmp/.dib-boot-code.json >/record.cfg; rm /tmp/.dib-boot-code.json
        for words in --target=i386-pc '--target=i386-pc /dev/sda' '--target=sparc64-ieee1275' --compress=xz \\
            --target=x86_64-efi; do
            ! grub-install $words 2>>/said.cfg
        done",
    );
    lab.rehearse().ok();
    let record = lab.text("record.cfg");
    assert_eq!(
        record,
        r#"{"disk":"image0","boot":"/boot/grub/i386-pc/boot.img","core":"/boot/grub/i386-pc/core.img","reed_solomon":true}"#
    );
    let core = lab.text("grub/i386-pc/core.img");
    let words = " -O i386-pc -d /usr/lib/grub/i386-pc -p /boot/grub -c /boot/grub/i386-pc/load.cfg \
                 biosdisk ext2 lvm part_gpt part_msdos search_fs_uuid\n";
    assert_eq!(core, words);
    let names: Vec<_> = ["boot.img", "command.lst", "core.img", "ext2.mod", "load.cfg"].into();
    let there = std::fs::read_dir(lab.out("grub/i386-pc")).unwrap();
    let mut there: Vec<_> = there.map(|entry| entry.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, names);
    assert_eq!(lab.text("grub/grubenv").len(), 1024);
    assert!(
        lab.text("grub/i386-pc/load.cfg")
            .ends_with(" root\nset prefix=($root)/boot/grub\n")
    );
    let said = lab.text("said.cfg");
    for told in [
        "no device to install to is given",
        "/dev/sda is no disk of the layout",
        "target sparc64-ieee1275 is not supported",
        "option --compress=xz is not supported",
        "/boot/efi is no EFI system partition of the layout",
    ] {
        assert!(said.contains(told), "no '{told}' in {said}");
    }
}

#[test]
fn extlinux_and_unknown_loaders_are_refused_by_name_before_any_hook() {
    let Some(mut lab) = lab() else { return };
    lab.hook("root.d/10-first", "touch ran");
    for (name, value) in [("DIB_EXTLINUX", "1"), ("DIB_BOOTLOADER", "lilo")] {
        lab.set(name, value);
        let said = lab.build(&["no-final-image", "mini-os", "probe", "bootloader"]);
        assert_ne!(said.status, 0);
        assert!(said.out.contains(&format!("{name}={value} is ")), "{}", said.out);
        lab.set(name, if name == "DIB_EXTLINUX" { "0" } else { "grub" });
    }
    assert!(!lab.out("ran").exists());
}

#[test]
fn systemds_loader_gets_the_ramdisk_by_each_of_its_names() {
    let Some(mut lab) = lab() else { return };
    lab.set("DIB_BLOCK_DEVICE", "efi")
        .set("DIB_BOOTLOADER", "systemd-boot")
        .set("DIB_SKIP_GRUB_PACKAGE_INSTALL", "1")
        .set("DISTRO_NAME", "opensuse");
    lab.hook(
        "root.d/60-kernel",
        "cd $TARGET_ROOT; mkdir -p boot/efi usr/lib/systemd/boot/efi; cp -L $(type -P tail) bin
        touch boot/vmlinuz-6.4 usr/lib/systemd/boot/efi/systemd-bootx64.efi
        [ $RAMDISK = none ] || touch boot/$RAMDISK",
    );
    lab.hook(
        "cleanup.d/90-show",
        "ls $TARGET_ROOT/boot/efi/dib >taken; cat $TARGET_ROOT/boot/efi/loader/entries/dib-6.4.conf >entry",
    );
    let words = ["-a", "amd64", "no-final-image", "mini-os", "probe", "bootloader"];
    for ramdisk in ["initrd.img-6.4", "initramfs-6.4.img", "initrd-6.4"] {
        lab.set("RAMDISK", ramdisk);
        lab.build(&words).ok();
        assert_eq!(lab.text("taken"), format!("{ramdisk}\nvmlinuz-6.4\n"));
        let line = format!("\ninitrd /dib/{ramdisk}\n");
        assert!(lab.text("entry").contains(&line), "{}", lab.text("entry"));
    }
    lab.set("RAMDISK", "none");
    let said = lab.build(&words);
    assert_ne!(said.status, 0);
    let told = "/boot/vmlinuz-6.4 has no initial ramdisk: neither initrd.img-6.4";
    assert!(said.out.contains(told), "{}", said.out);
}

#[test]
fn a_tree_of_rpm_packages_boots_by_the_names_of_its_family() {
    let Some(mut lab) = lab() else { return };
    lab.set("DIB_BLOCK_DEVICE_CONFIG", GPT)
        .set("DIB_BLOCK_DEVICE", "gpt")
        .set("DISTRO_NAME", "fedora");
    lab.hook(
        "root.d/60-fedora",
        "cd $TARGET_ROOT
        for tool in probe mkconfig mkimage; do
            mv bin/grub-$tool bin/grub2-$tool
        done
        sed -i s/grub-probe/grub2-probe/g bin/grub2-mkconfig
        touch bin/rpm
        printf '#!/bin/bash\\npkg-map --element bootloader -- \"${@:3}\" >/packages\\n' >bin/install-packages
        chmod 755 bin/install-packages",
    );
    lab.hook(
        "cleanup.d/90-show",
        "cp -r $TARGET_ROOT/boot/grub2 $TARGET_ROOT/packages .; cp $TARGET_ROOT/etc/default/grub defaults
        [ ! -e $TARGET_ROOT/boot/grub ]",
    );
    lab.build(&["no-final-image", "mini-os", "pkg-map", "bootloader", "probe"])
        .ok();
    let packages = lab.text("packages");
    let packages: Vec<_> = packages.split_whitespace().collect();
    assert_eq!(packages, ["grub2-pc", "grub2-tools"]);
    let config = lab.text("grub2/grub.cfg");
    assert!(
        config.starts_with("device=/dev/dib/image0p2\nfs=ext2\n"),
        "{config}"
    );
    let core = lab.text("grub2/i386-pc/core.img");
    assert!(core.contains(" -p /boot/grub2 "), "{core}");
    assert!(
        lab.text("defaults")
            .contains("GRUB_DEVICE=\"LABEL=cloudimg-rootfs\"\n")
    );
}

/// Entries that came with an image, and the command line of kernels to come.
const ENTRIES: &str = "
mkdir -p $TARGET_ROOT/boot/loader/entries $TARGET_ROOT/etc/kernel
echo 'root=UUID=0-1 rootflags=subvol=root ro' >$TARGET_ROOT/etc/kernel/cmdline
cat >$TARGET_ROOT/boot/loader/entries/0-1.conf <<TEXT
title CentOS Stream
linux /vmlinuz-1
initrd\t/boot/initramfs-1.img \\$tuned_initrd
options root=UUID=0-1 ro rootflags=subvol=root,x console=ttyS0 myroot=/linux
TEXT
";

#[test]
fn boot_entries_of_an_image_follow_the_layout() {
    let Some(mut lab) = lab() else { return };
    lab.set("DIB_BLOCK_DEVICE", "gpt")
        .set("DIB_SKIP_GRUB_PACKAGE_INSTALL", "1");
    lab.hook("root.d/60-entries", ENTRIES).hook(
        "cleanup.d/90-show",
        "cp $TARGET_ROOT/boot/loader/entries/0-1.conf entry; cp $TARGET_ROOT/etc/kernel/cmdline .",
    );
    let boot = "      - {name: boot, type: '8300', size: 64MiB, mkfs: {type: ext4, label: boot, mount: {mount_point: /boot}}}\n      - name: root";
    for (layout, at) in [
        (GPT.to_owned(), "/boot"),
        (GPT.replace("      - name: root", boot), ""),
    ] {
        lab.set("DIB_BLOCK_DEVICE_CONFIG", &layout);
        lab.build(&["no-final-image", "mini-os", "bootloader", "probe"])
            .ok();
        let expected = format!(
            "title CentOS Stream\nlinux {at}/vmlinuz-1\ninitrd\t{at}/initramfs-1.img $tuned_initrd\n\
             options root=LABEL=cloudimg-rootfs ro console=ttyS0 myroot=/linux\n"
        );
        assert_eq!(lab.text("entry"), expected);
        assert_eq!(lab.text("cmdline"), "root=LABEL=cloudimg-rootfs ro\n");
    }
}
