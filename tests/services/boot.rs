//! What prepares a boot, and what runs at one: started by hand, with fakes of the machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use oracle::blackbox;

use super::{FAKE, build, has, lab};
use crate::lab::Lab;

/// Runs a script of the library by hand, behind fakes of programs.
fn by_hand(lab: &Lab, script: &str, args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let path = format!(
        "{}:/usr/sbin:/usr/bin:/sbin:/bin",
        lab.dir().join("fakes").display()
    );
    let program = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("elements")
        .join(script);
    let variables = [&[("PATH", path.as_str())], variables].concat();
    let output = blackbox::run(&program, args, &variables, lab.dir());
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn write(path: PathBuf, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes a program that stands in for a tool.
fn fake(lab: &Lab, name: &str, script: &str) {
    let log = lab.dir().join("calls");
    let text = format!("#!/bin/bash\necho \"{name} $*\" >>{}\n{script}\n", log.display());
    write(lab.dir().join("fakes").join(name), &text);
}

fn calls(lab: &Lab) -> String {
    let path = lab.dir().join("calls");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(path);
    text
}

#[test]
fn logins_come_from_the_command_line_of_the_kernel() {
    let lab = Lab::unprivileged();
    fake(&lab, "chpasswd", "cat >>\"$PWD/passwords\"");
    fake(&lab, "mkdir", "");
    // The home of root is not for tests: what is written there is caught by a grep that knows every key.
    fake(&lab, "grep", "echo \"key ${*: -2:1}\" >>\"$PWD/keys\"");
    let line = lab.dir().join("cmdline");
    let script = "dynamic-login/static/usr/local/sbin/dynamic-login";
    for (text, key, password) in [
        ("quiet", "", ""),
        (
            "root=/dev/x sshkey=\"ssh-ed25519 AAAA me@here\" rootpwd=\"JDYkc2FsdCRoYXNo\" quiet",
            "key ssh-ed25519 AAAA me@here\n",
            "root:$6$salt$hash\n",
        ),
        (
            "\"sshkey=ssh-rsa BBBB\" rootpwd=\"\\$6\\$salt\\$hash\"",
            "key ssh-rsa BBBB\n",
            "root:$6$salt$hash\n",
        ),
        ("rootpwd=JDYkc2FsdCRoYXNo", "", "root:$6$salt$hash\n"),
    ] {
        write(line.clone(), &format!("{text}\n"));
        let variables = [("DYNAMIC_LOGIN_COMMAND_LINE", line.to_str().unwrap())];
        let (status, said) = by_hand(&lab, script, &[], &variables);
        assert_eq!((status, said.as_str()), (Some(0), ""), "{text}");
        for (name, expected) in [("keys", key), ("passwords", password)] {
            let path = lab.dir().join(name);
            assert_eq!(fs::read_to_string(&path).unwrap_or_default(), expected, "{text}");
            let _ = fs::remove_file(path);
        }
    }
}

#[test]
fn interfaces_of_the_firmware_are_as_the_firmware_had_them() {
    let lab = Lab::unprivileged();
    let at = |path: &str| lab.dir().join(path);
    fake(
        &lab,
        "ip",
        "case $* in *'address show dev eth9') echo '2: eth9 inet 192.0.2.9/24 scope global';; esac",
    );
    for (name, mac) in [("eth0", "52:54:00:00:00:01"), ("eth9", "52:54:00:00:00:09")] {
        write(at(&format!("net/{name}/address")), &format!("{mac}\n"));
        fs::create_dir(at(&format!("net/{name}/device"))).unwrap();
    }
    for (table, field, value) in [
        ("ethernet0", "mac", "52:54:00:00:00:01"),
        ("ethernet0", "ip-addr", "192.0.2.1"),
        ("ethernet0", "subnet-mask", "255.255.254.0"),
        ("ethernet0", "gateway", "192.0.2.254"),
        ("ethernet0", "primary-dns", "192.0.2.53"),
        ("ethernet0", "secondary-dns", "0.0.0.0"),
        ("ethernet0", "vlan", "7"),
        ("ethernet1", "mac", "52:54:00:00:00:09"),
        ("ethernet1", "ip-addr", "192.0.2.9"),
        ("ethernet2", "mac", "52:54:00:00:00:77"),
        ("ethernet2", "ip-addr", "192.0.2.77"),
        ("ethernet3", "ip-addr", "0.0.0.0"),
    ] {
        write(at(&format!("ibft/{table}/{field}")), &format!("{value}\n"));
    }
    write(at("resolv.conf"), "nameserver 192.0.2.2\n");
    let text = |path: &str| at(path).display().to_string();
    let (firmware, net, resolv) = (text("ibft"), text("net"), text("resolv.conf"));
    let variables = [
        ("IBFT_FIRMWARE", firmware.as_str()),
        ("IBFT_NET", net.as_str()),
        ("IBFT_RESOLV_CONF", resolv.as_str()),
    ];
    let script = "ibft-interfaces/static/usr/local/sbin/ibft-interfaces";
    let (status, said) = by_hand(&lab, script, &[], &variables);
    assert_eq!(
        (status, said.as_str()),
        (
            Some(0),
            "ibft-interfaces: eth0.7 has 192.0.2.1/23\nibft-interfaces: eth9 has 192.0.2.9 already\n\
             ibft-interfaces: no interface has the address 52:54:00:00:00:77 of ethernet2\n"
        )
    );
    let calls = calls(&lab);
    for call in [
        "ip link set dev eth0 up",
        "ip address add 192.0.2.1/23 dev eth0.7",
        "ip route replace default via 192.0.2.254 dev eth0.7",
    ] {
        assert!(calls.lines().any(|known| known == call), "{calls}");
    }
    assert!(!calls.contains("address add 192.0.2.9"), "{calls}");
    assert_eq!(
        fs::read_to_string(at("resolv.conf")).unwrap(),
        "nameserver 192.0.2.2\nnameserver 192.0.2.53\n"
    );
}

/// A disk of 50 GiB whose last partition, a physical volume, ends at 40 GiB, and LVM on it.
fn volumes(lab: &Lab) {
    let block = |path: &str| lab.dir().join("sys/class/block").join(path);
    write(block("sda/size"), "104857600");
    for (name, number, start, size) in [("sda1", 1, 2048, 2048), ("sda2", 2, 4096, 83_881_984)] {
        for (field, value) in [("partition", number), ("start", start), ("size", size)] {
            write(block(&format!("sda/{name}/{field}")), &value.to_string());
        }
        symlink(format!("sda/{name}"), block(name)).unwrap();
    }
    fake(
        lab,
        "findmnt",
        "case $* in *'SOURCE /') echo /dev/mapper/vg-root;; *'SOURCE /var') echo /dev/mapper/vg-var;;
        *--source*root) echo '/ xfs';; *--source*var) echo '/var ext4';; *) exit 1;; esac",
    );
    fake(
        lab,
        "lsblk",
        "case $* in *NAME,TYPE*) printf '/dev/mapper/x lvm\\n/dev/sda2 part\\n/dev/sda  disk\\n';; *home) echo fs_home;; *LABEL*) echo;; esac",
    );
    fake(
        lab,
        "lvs",
        "printf '  /dev/vg/root root\\n  /dev/vg/home lv_home\\n'",
    );
    fake(lab, "pvs", "echo '  /dev/sda2'");
    fake(
        lab,
        "vgs",
        "case $* in *vg_extent_size*) echo ' 4194304';; *vg_free_count*) echo ' 1000';; *) echo ' vg';; esac",
    );
    for name in ["growpart", "pvresize", "lvextend", "xfs_growfs", "resize2fs"] {
        fake(lab, name, "");
    }
}

#[test]
fn volumes_grow_in_order_and_the_root_by_the_rest() {
    let lab = Lab::unprivileged();
    volumes(&lab);
    let sys = lab.dir().join("sys").display().to_string();
    let grow = |args: &[&str]| {
        let script = "growvols/static/usr/local/sbin/growvols";
        let (status, said) = by_hand(&lab, script, args, &[("GROWVOLS_SYS", sys.as_str())]);
        let calls = calls(&lab);
        let does = |call: &&str| {
            ["findmnt", "lsblk", "lvs", "pvs", "vgs"]
                .iter()
                .all(|asks| !call.starts_with(asks))
        };
        let calls: Vec<_> = calls.lines().filter(does).map(str::to_owned).collect();
        (status, said, calls)
    };
    let (status, said, done) = grow(&["/var=20%", "fs_home=1GiB"]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(
        done,
        [
            "growpart /dev/sda 2",
            "pvresize --quiet /dev/sda2",
            "lvextend --quiet --extents +200 /dev/mapper/vg-var",
            "resize2fs /dev/mapper/vg-var",
            "lvextend --quiet --extents +256 /dev/vg/home",
            "lvextend --quiet --extents +544 /dev/mapper/vg-root",
            "xfs_growfs /",
        ]
    );
    assert!(said.contains("/dev/vg/home has no mounted file system"), "{said}");

    let (status, said, done) = grow(&["/var=90000MB", "fs_home=1GB"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("there is room for 4194304000 of the 90000000000 bytes"),
        "{said}"
    );
    assert!(
        said.contains("there is room for 0 of the 1000000000 bytes"),
        "{said}"
    );
    assert_eq!(
        done[2..],
        [
            "lvextend --quiet --extents +1000 /dev/mapper/vg-var",
            "resize2fs /dev/mapper/vg-var"
        ]
    );

    let (status, _, done) = grow(&["--noop"]);
    assert_eq!((status, done.len()), (Some(0), 0));

    for (args, complaint) in [
        (&["/var=lots"][..], "'/var=lots' is not VOLUME=NUMBER"),
        (&["fs_none=1GiB"], "there is no volume fs_none"),
    ] {
        let (status, said, _) = grow(args);
        assert!(status == Some(1) && said.contains(complaint), "{said}");
    }
    fake(&lab, "vgs", "");
    let (status, said, done) = grow(&[]);
    assert!(
        status == Some(0) && said.contains("there is no group of volumes") && done.is_empty(),
        "{said}"
    );
    fake(&lab, "vgs", "printf ' one\\n two\\n'");
    let (status, said, done) = grow(&[]);
    assert!(
        status == Some(1) && said.contains("name one by --group") && done.is_empty(),
        "{said}"
    );
}

#[test]
fn growvols_is_started_by_systemd_on_wish() {
    let Some(mut lab) = lab() else { return };
    lab.set("SHOW", "etc usr/local/sbin usr/lib/systemd/system");
    lab.hook("root.d/50-own", "mkdir -p $TARGET_ROOT/usr/lib/systemd/system");
    build(&lab, &["growvols"]).ok();
    has(&lab, "755 0:0 usr/local/sbin/growvols");
    assert!(!lab.text("calls").contains("systemctl"));
    lab.set("DIB_GROWVOLS_TRIGGER", "systemd")
        .set("DIB_GROWVOLS_ARGS", "cloudimg-rootfs=20% fs_home=20GiB")
        .set("DIB_GROWVOLS_GROUP", "vg");
    build(&lab, &["growvols"]).ok();
    assert_eq!(
        lab.text("etc/default/growvols"),
        "GROWVOLS_ARGS=\"--group vg cloudimg-rootfs=20% fs_home=20GiB\"\n"
    );
    assert!(
        lab.text("calls")
            .ends_with("systemctl --quiet enable growvols.service\n")
    );
    lab.set("DIB_GROWVOLS_TRIGGER", "cron");
    build(&lab, &["growvols"]).failed(1, "which is neither manual nor systemd");
}

#[test]
fn dracut_gets_the_modules_and_their_packages() {
    let Some(mut lab) = lab() else { return };
    lab.file("probe/bin/dracut", FAKE);
    lab.hook(
        "root.d/50-own",
        "cd $TARGET_ROOT; mkdir -p boot lib/modules/6.1.0; cp -L $(type -P head) bin; echo 12 >etc/debian_version
        touch boot/vmlinuz-6.1.0 boot/initrd.img-6.1.0",
    );
    build(&lab, &["dracut-regenerate"]).ok();
    assert_eq!(
        lab.text("calls"),
        "install-packages -m dracut-regenerate cryptsetup lvm2\ninstall-packages procps\ninstall-packages dracut\n\
         dracut --force --quiet --no-hostonly --kver 6.1.0 /boot/initrd.img-6.1.0\n"
    );
    let modules = "etc/dracut.conf.d/60-dib-dracut-regenerate.conf";
    assert_eq!(
        lab.text(modules),
        "hostonly=\"no\"\nadd_dracutmodules+=\" crypt lvm \"\n"
    );
    lab.set(
        "DIB_DRACUT_ENABLED_MODULES",
        "- name: \"multipath\" # of disks\n  packages: [device-mapper-multipath, kpartx]\n- packages:\n    - lvm2\n  name: lvm\n- name: bare\n",
    );
    build(&lab, &["dracut-regenerate"]).ok();
    let calls = lab.text("calls");
    assert!(
        calls.starts_with("install-packages -m dracut-regenerate device-mapper-multipath kpartx lvm2\n"),
        "{calls}"
    );
    assert_eq!(
        lab.text(modules),
        "hostonly=\"no\"\nadd_dracutmodules+=\" multipath lvm bare \"\n"
    );
    for (list, complaint) in [
        ("crypt lvm", "'crypt lvm' is not understood"),
        ("[]", "names no module"),
    ] {
        lab.set("DIB_DRACUT_ENABLED_MODULES", list);
        build(&lab, &["dracut-regenerate"]).failed(1, complaint);
    }
}

/// The checksum of IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

#[test]
fn u_boot_gets_its_headers() {
    let Some(mut lab) = lab() else { return };
    lab.set("ARCH", "armhf")
        .set("UBOOT_KERNEL_ADDR", "0x80000")
        .set("SOURCE_DATE_EPOCH", "1700000000");
    build(&lab, &["uboot"]).failed(1, "there is no kernel to wrap: element baremetal leaves one");
    fs::write(lab.out("image.vmlinuz"), "kernel").unwrap();
    fs::write(lab.out("image.initrd"), vec![7; 100_000]).unwrap();
    build(&lab, &["uboot"]).ok();
    for (name, from, kind, load) in [
        ("image.uImage", "image.vmlinuz", 2, 0x80000_u32),
        ("image.uInitrd", "image.initrd", 3, 0),
    ] {
        let bytes = fs::read(lab.out(name)).unwrap();
        let data = fs::read(lab.out(from)).unwrap();
        let (head, rest) = bytes.split_at(64);
        assert_eq!(rest, data);
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        assert_eq!(word(0), 0x2705_1956);
        let mut blank = head.to_vec();
        blank[4..8].fill(0);
        assert_eq!(word(4), crc32(&blank));
        assert_eq!(word(8), 1_700_000_000);
        assert_eq!(word(12) as usize, data.len());
        assert_eq!((word(16), word(20)), (load, load));
        assert_eq!(word(24), crc32(&data));
        assert_eq!(head[28..32], [5, 2, kind, 0]);
        assert!(head[32..].starts_with(b"image\0"));
    }
    lab.set("ARCH", "amd64");
    build(&lab, &["uboot"]).failed(1, "not for amd64");
}

#[test]
fn roots_on_iscsi_are_found_by_the_initramfs() {
    let Some(mut lab) = lab() else { return };
    lab.file("probe/bin/update-initramfs", FAKE);
    build(&lab, &["iscsi-boot"]).ok();
    assert_eq!(lab.text("etc/iscsi/iscsi.initramfs"), "ISCSI_AUTO=true\n");
    assert_eq!(
        lab.text("calls"),
        "install-packages open-iscsi\nupdate-initramfs -u -k all\n"
    );
    lab.remove("probe/bin/update-initramfs");
    lab.file("probe/bin/dracut", FAKE);
    lab.set("DISTRO_NAME", "centos").set("DIB_RELEASE", "9-stream");
    build(&lab, &["iscsi-boot"]).ok();
    assert!(
        lab.text("etc/dracut.conf.d/60-dib-iscsi-boot.conf")
            .starts_with("add_dracutmodules+=\" network iscsi \"\n")
    );
    assert_eq!(
        lab.text("calls"),
        "install-packages dracut-network iscsi-initiator-utils\ndracut --force --quiet --regenerate-all\n"
    );
}

#[test]
fn the_last_initramfs_has_the_modules_of_all_elements() {
    let Some(mut lab) = lab() else { return };
    lab.set("DISTRO_NAME", "centos").set("DIB_RELEASE", "9-stream");
    // As dracut does, it takes what every configuration adds; what it is told beside that is of this one call.
    lab.file(
        "probe/bin/dracut",
        "#!/bin/bash\nfor conf in /etc/dracut.conf.d/*.conf; do . $conf; done\n\
         case \"$*\" in *' --add '*) echo $* >>/calls;; esac\necho \"dracut$add_dracutmodules\" >>/calls\n",
    );
    lab.hook(
        "root.d/50-own",
        "cd $TARGET_ROOT; mkdir -p boot lib/modules/6.1.0; cp -L $(type -P head) bin; touch etc/redhat-release
        touch boot/vmlinuz-6.1.0 boot/initramfs-6.1.0.img",
    );
    build(&lab, &["dracut-regenerate", "iscsi-boot"]).ok();
    let calls = lab.text("calls");
    let last = calls.lines().last().unwrap();
    for module in ["crypt", "lvm", "network", "iscsi"] {
        assert!(last.contains(module), "no {module} in {calls}");
    }
}

#[test]
fn an_image_moves_to_another_disk_as_it_is() {
    let Some(mut lab) = lab() else { return };
    // No boot loader, for want of one in the toy root.
    lab.hook(
        "pre-finalise.d/50-no-loader",
        "mkdir -p $TARGET_ROOT/tmp/grub; touch $TARGET_ROOT/tmp/grub/install",
    );
    lab.hook(
        "cleanup.d/90-show",
        "[ -z \"${COPY:-}\" ] || cp -RP $TARGET_ROOT/etc/. copied/",
    );
    lab.hook(
        "install.d/50-mark",
        "[ -e /etc/mark ] || echo the first build >/etc/mark",
    );
    lab.build(&["-t", "qcow2", "-o", "old", "mini-os", "block-device-gpt", "probe"])
        .ok();
    fs::create_dir(lab.out("copied")).unwrap();
    lab.set("DIB_LOCAL_IMAGE", "old.qcow2")
        .set("EFI_BOOT_DIR", "EFI/debian")
        .set("COPY", "1");
    lab.build(&[
        "-t",
        "raw",
        "-o",
        "new",
        "replace-partition",
        "block-device-mbr",
        "probe",
    ])
    .ok();
    assert_eq!(lab.text("copied/mark"), "the first build\n");
    assert_eq!(lab.text("copied/hostname"), "mini\n");
    assert!(lab.out("new.raw").exists());

    lab.set("EFI_BOOT_DIR", "");
    lab.build(&["-o", "new", "replace-partition", "probe"])
        .failed(1, "EFI_BOOT_DIR is not set");

    // The Red Hat family's has answers of its own.
    lab.set("DISTRO_NAME", "").set("DIB_RELEASE", "");
    lab.hook(
        "cleanup.d/91-say",
        "echo \"$DISTRO_NAME $DIB_RELEASE $EFI_BOOT_DIR\" >said",
    );
    let words = ["no-final-image", "replace-partition-redhat", "probe"];
    lab.build(&words).ok();
    assert_eq!(lab.text("said"), "centos 9-stream EFI/centos\n");
    assert_eq!(lab.text("copied/mark"), "the first build\n");
    lab.set("DISTRO_NAME", "rhel");
    lab.build(&words).ok();
    assert_eq!(lab.text("said"), "rhel 9-stream EFI/redhat\n");
}

#[test]
fn fips_mode_is_set_before_packages_come() {
    let Some(mut lab) = lab() else { return };
    build(&lab, &["fips"]).failed(1, "debian has no FIPS mode");
    lab.file("probe/bin/update-crypto-policies", FAKE);
    lab.set("DISTRO_NAME", "centos");
    lab.hook(
        "install.d/00-first",
        "echo \"install.d with DIB_FIPS=$DIB_FIPS\" >>/calls",
    );
    build(&lab, &["fips"]).ok();
    assert_eq!(
        lab.text("calls"),
        "install-packages crypto-policies-scripts\nupdate-crypto-policies --no-reload --set FIPS\ninstall.d with DIB_FIPS=1\n"
    );
    // The initramfs that the root came with is made anew; one that was made since has the module.
    lab.file("probe/bin/dracut", FAKE);
    lab.hook(
        "root.d/50-own",
        "cd $TARGET_ROOT; mkdir -p boot lib/modules/5.14.0
        touch -d 2001-01-01 boot/initramfs-5.14.0.img boot/initramfs-0-rescue.img",
    );
    lab.hook(
        "install.d/50-kernel",
        "mkdir -p /lib/modules/5.14.1; touch -d '+1 hour' /boot/initramfs-5.14.1.img",
    );
    build(&lab, &["fips"]).ok();
    let calls = lab.text("calls");
    let last = calls.split_once("DIB_FIPS=1\n").unwrap().1;
    assert_eq!(
        last,
        "dracut --force --no-hostonly --quiet /boot/initramfs-5.14.0.img 5.14.0\n"
    );
    lab.file("probe/bin/fips-mode-setup", FAKE);
    build(&lab, &["fips"]).ok();
    assert!(
        lab.text("calls")
            .contains("\nfips-mode-setup --enable --no-bootcfg\n")
    );
}

#[test]
fn what_has_no_boot_loader_is_refused_before_anything_is_built() {
    let Some(mut lab) = lab() else { return };
    lab.hook("root.d/01-first", "echo too late >late");
    for arch in ["ppc64el", "ppc64le"] {
        lab.set("ARCH", arch);
        build(&lab, &["bootloader"]).failed(1, &format!("nothing is written that boots {arch}:"));
    }
    assert!(!lab.out("late").exists());
}

#[test]
fn openrc_has_the_root_grow() {
    let Some(mut lab) = lab() else { return };
    lab.file("probe/bin/rc-update", FAKE)
        .hook("root.d/50-own", "mkdir -p $TARGET_ROOT/etc/init.d");
    lab.set("DISTRO_NAME", "alpine").set("DIB_INIT_SYSTEM", "openrc");
    build(&lab, &["growroot"]).ok();
    let calls = lab.text("calls");
    let packages = "install-packages bash cloud-utils-growpart e2fsprogs-extra findmnt\n";
    assert_eq!(
        calls,
        format!("{packages}rc-update --quiet add growroot default\n")
    );
    has(&lab, "755 0:0 etc/init.d/growroot");
}
