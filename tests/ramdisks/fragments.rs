//! Functions of fragments under busybox's shell, on files in place of a machine's.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// A fragment that has nothing to do.
pub(super) const IDLE: &str = "deploy-kexec/init.d/81-deploy-kexec";

/// A directory of all commands of busybox, and of nothing else: what this machine has more of, a ramdisk has not.
fn commands(dir: &Path) -> PathBuf {
    let commands = dir.join(".commands");
    if fs::create_dir(&commands).is_ok() {
        let busybox = oracle::find("busybox").expect("tests ask for busybox first");
        for command in oracle::run("busybox", &["--list".as_ref()]).lines() {
            symlink(&busybox, commands.join(command)).unwrap();
        }
    }
    commands
}

/// Sources the functions of all fragments and a fragment, then runs lines in a directory.
pub(super) fn run(fragment: &str, lines: &str, dir: &Path) -> String {
    let elements = concat!(env!("CARGO_MANIFEST_DIR"), "/elements");
    let path = commands(dir);
    let script = format!(
        "PATH={} && cd \"$1\" && . {elements}/ramdisk-base/extra-data.d/scripts/d/init-func && \
         HW_DISCOVERY_URL= deploy_disk= HW_SYS=$PWD/sys HW_PROC=$PWD/proc CMDLINE_FILE=$PWD/words && . {elements}/{fragment}\n{lines}",
        path.display()
    );
    let args: [&OsStr; 5] = [
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        "sh".as_ref(),
        dir.as_os_str(),
    ];
    oracle::run("busybox", &args)
}

pub(super) fn write(dir: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn facts_are_json_whatever_the_firmware_says() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            (
                "proc/cpuinfo",
                "processor\t: 0\nmodel name\t: A \"CPU\" \\ @ 2 GHz\n\nprocessor\t: 1\n",
            ),
            ("proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n"),
            (
                "sys/class/dmi/id/sys_vendor",
                "Maker \"of\" \\things\u{fffd}\u{1}  \n",
            ),
            ("sys/class/dmi/id/product_name", "Thing\n"),
            ("sys/block/sda/size", "2048\n"),
            ("sys/block/sda/device/model", "DISK 1   \n"),
            ("sys/block/sda/device/serial", "S1\n"),
            ("sys/block/sda/queue/rotational", "1\n"),
            ("sys/block/vdb/size", "8\n"),
            ("sys/block/vdb/device/driver", ""),
            ("sys/block/vdb/serial", "S2\n"),
            ("sys/block/vdb/queue/rotational", "0\n"),
            ("sys/block/loop0/size", "0\n"),
            ("sys/class/net/eth0/device/vendor", ""),
            ("sys/class/net/eth0/address", "52:54:00:00:00:01\n"),
            ("sys/class/net/eth0/carrier", "1\n"),
            ("sys/class/net/lo/address", "00:00:00:00:00:00\n"),
        ],
    );
    let said = run("hwdiscovery/init.d/60-hwdiscovery", "hw_facts", dir.path());
    let facts: serde_json::Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(facts["processors"], 2);
    assert_eq!(facts["processor"], "A CPU  @ 2 GHz");
    assert_eq!(facts["memory_kib"], 2048);
    assert_eq!(facts["vendor"], "Maker \"of\" \\things");
    assert_eq!(facts["serial"], "");
    let disks = serde_json::json!([
        {"name": "sda", "bytes": 1_048_576, "model": "DISK 1", "serial": "S1", "rotational": true},
        {"name": "vdb", "bytes": 4096, "model": "", "serial": "S2", "rotational": false},
    ]);
    assert_eq!(facts["disks"], disks);
    let interfaces = serde_json::json!([
        {"name": "eth0", "mac": "52:54:00:00:00:01", "carrier": true, "driver": ""},
    ]);
    assert_eq!(facts["interfaces"], interfaces);
}

#[test]
fn kexec_takes_the_newest_kernel_with_the_words_of_its_loader() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let grub = "menuentry x {\n\tset r=y\n\tlinux\t/boot/vmlinuz-6.10.2 root=LABEL=x ro  console=ttyS0\n}\n\
                menuentry z {\n\tlinux /boot/vmlinuz-6.9.1 root=z\n}\n";
    write(
        dir.path(),
        &[
            ("debian/vmlinuz-6.9.1", ""),
            // What was put aside, and what is told by no version.
            ("debian/vmlinuz.old", ""),
            ("debian/vmlinuz-6.10.3.old", ""),
            ("debian/vmlinuz", ""),
            ("debian/vmlinuz-6.10.2", ""),
            ("debian/initrd.img-6.10.2", ""),
            ("debian/grub/grub.cfg", grub),
            ("fedora/vmlinuz-6.11", ""),
            ("fedora/initramfs-6.11.img", ""),
            (
                "fedora/grub2/grub.cfg",
                "linux ($root)/vmlinuz-6.11 root=UUID=1 ${extra}\n",
            ),
            ("single/vmlinuz", ""),
            ("single/vmlinuz.old", ""),
            ("single/initrd.img", ""),
        ],
    );
    let lines = r#"for boot in debian fedora single; do
    kernel=$(kexec_newest $boot)
    echo "$kernel $(kexec_ramdisk $boot "${kernel#vmlinu[xz]}"): $(kexec_words $boot /no-such-device)"
done"#;
    let said = run("deploy-kexec/init.d/81-deploy-kexec", lines, dir.path());
    let mut lines = said.lines().filter(|line| line.contains(": "));
    assert_eq!(
        lines.next(),
        Some("vmlinuz-6.10.2 initrd.img-6.10.2: root=LABEL=x ro  console=ttyS0")
    );
    // What holds a variable is GRUB's to know.
    let fedora = lines.next().unwrap();
    assert!(
        fedora.starts_with("vmlinuz-6.11 initramfs-6.11.img: root=UUID=") && !fedora.contains("extra"),
        "{said}"
    );
    assert!(fedora.ends_with(" ro"), "{said}");
    let single = lines.next().unwrap();
    assert!(single.starts_with("vmlinuz initrd.img: "), "{said}");
}

/// In place of the programs that a disk is looked at and a kernel is started by: each disk is a directory.
const DISKS: &str = r#"
mount() {
    [ "$1 $2 $3 $4" = "-t ext4 -o ro" ] && cp -R "disks/${5#/dev/}/." "$6"
}
umount() {
    rm -rf "$1"/*
}
blockdev() { :; }
udevadm() { :; }
modprobe() { echo "modprobe: $*"; }
blkid() { [ -d "disks/${1#/dev/}" ] && echo "$1: UUID=\"of-${1#/dev/}\" TYPE=\"ext4\""; }
kexec() {
    echo "kexec: $*"
    [ "$1" = -e ] || { [ -f "$2" ] && [ -f "${3#--initrd=}" ] && [ -z "$REFUSED" ]; }
}
troubleshoot() { echo "troubleshooting"; }
PARTITIONS_FILE=$PWD/partitions
KEXEC_DIR=$PWD/kexec
deploy_disk=/dev/vda
"#;

#[test]
fn the_system_on_the_disk_is_started_by_kexec_or_the_reason_is_told() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let list = "major minor  #blocks  name\n\n 8 1 1 vdaa1\n 254 0 1 vda\n 254 1 1 vda1\n 254 2 1 vda2\n 254 16 1 vdb\n";
    let fragment = "deploy-kexec/init.d/81-deploy-kexec";
    let start = |more: &str| {
        let lines = format!("{DISKS}{more}\n. \"$fragment\" 2>&1");
        let lines = format!(
            "fragment={}/elements/{fragment}\n{lines}",
            env!("CARGO_MANIFEST_DIR")
        );
        run(fragment, &lines, dir.path()).replace(dir.path().to_str().unwrap(), "HERE")
    };
    write(
        dir.path(),
        &[
            ("partitions", list),
            ("disks/vda2/etc/fstab", ""),
            ("disks/vda2/boot/vmlinuz-6.1", ""),
            ("disks/vda2/boot/initrd.img-6.1", ""),
            // Of other disks, which are none of the image's, however their names begin.
            ("disks/vdb/etc/fstab", ""),
            ("disks/vdaa1/etc/fstab", ""),
            ("disks/vdaa1/boot/vmlinuz-9.1", ""),
            ("disks/vdaa1/boot/initrd.img-9.1", ""),
        ],
    );
    let said = start("");
    let one = "starting vmlinuz-6.1 with initrd.img-6.1\n\
               kexec: -l HERE/kexec/root/boot/vmlinuz-6.1 --initrd=HERE/kexec/root/boot/initrd.img-6.1 --command-line=root=UUID=of-vda2";
    assert!(said.contains(one) && said.contains("\nkexec: -e"), "{said}");
    assert!(said.contains("modprobe: -q fs-ext4\n"), "{said}");
    assert!(!said.contains("troubleshooting"), "{said}");
    // Kernels in a file system of their own, with the words of its boot loader.
    write(
        dir.path(),
        &[
            ("disks/vda1/vmlinuz-6.2", ""),
            ("disks/vda1/initramfs-6.2.img", ""),
            (
                "disks/vda1/grub2/grub.cfg",
                "linux /vmlinuz-6.2 root=/dev/vda2 quiet\n",
            ),
        ],
    );
    let said = start("");
    let own = "kexec: -l HERE/kexec/boot/vmlinuz-6.2 --initrd=HERE/kexec/boot/initramfs-6.2.img \
               --command-line=root=/dev/vda2 quiet\n";
    assert!(said.contains(own), "no '{own}' in {said}");
    let none = "no system on /dev/vda can be started by kexec\ntroubleshooting\n";
    let said = start("REFUSED=1");
    assert!(said.contains(none) && !said.contains("kexec: -e"), "{said}");
    fs::remove_dir_all(dir.path().join("disks")).unwrap();
    let said = start("");
    assert!(said.contains(none) && !said.contains("kexec: -l"), "{said}");
}

#[test]
fn memory_that_fails_its_test_is_told() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let burn = |words: &str, status: u8| {
        write(dir.path(), &[("words", words)]);
        let lines = format!(
            "memtester() {{ echo \"memtester $*\"; return {status}; }}\n\
             troubleshoot() {{ echo troubleshooting; }}\n\
             . {}/elements/hwburnin/init.d/70-hwburnin",
            env!("CARGO_MANIFEST_DIR")
        );
        run(IDLE, &lines, dir.path())
    };
    let said = burn("burnin_memory=8 burnin_loops=3\n", 0);
    assert!(
        said.ends_with("testing 8 MiB of memory, 3 times\nmemtester 8M 3\nthe memory has passed\n"),
        "{said}"
    );
    let said = burn("burnin_memory=8\n", 1);
    let told = "memtester 8M 1\nmemtester finds faults in 8 MiB of memory\ntroubleshooting\n";
    assert!(said.ends_with(told), "{said}");
    for words in ["burnin_loops=0\n", "burnin_loops=00\n"] {
        let said = burn(words, 1);
        assert!(!said.contains("memtester"), "{said}");
    }
    let said = burn("burnin_memory=8 burnin_loops=twice\n", 0);
    let told = "burnin_loops=twice is no number, and has no effect\n";
    assert!(said.contains("memtester 8M 1\n") && said.contains(told), "{said}");
    // Nine tenths of what is there, unless it is said.
    let said = burn("quiet\n", 0);
    let mib: u64 = said
        .rsplit_once("memtester ")
        .and_then(|(_, rest)| rest.split_once('M'))
        .and_then(|(mib, _)| mib.parse().ok())
        .unwrap_or_else(|| panic!("{said}"));
    assert!(mib > 16, "{said}");
}

#[test]
fn the_ilo_is_flashed_where_there_is_one() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            ("ilo/flash_a", "#!/bin/sh\necho \"a flashes in ${PWD##*/}\"\n"),
            ("ilo/flash_b", "#!/bin/sh\necho b fails\nexit 1\n"),
        ],
    );
    for name in ["flash_a", "flash_b"] {
        let path = dir.path().join("ilo").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let lines = format!(
        "modprobe() {{ echo \"modprobe $*\"; }}\nudevadm() {{ :; }}\ntroubleshoot() {{ echo troubleshooting; }}\n\
         ILO_DIR=$PWD/ilo ILO_DEVICE=$PWD/hpilo\n. {}/elements/ilo/init.d/50-ilo",
        env!("CARGO_MANIFEST_DIR")
    );
    let flash = || run(IDLE, &lines, dir.path());
    let said = flash();
    assert!(said.ends_with("modprobe -q hpilo\n"), "no such device: {said}");
    fs::create_dir(dir.path().join("hpilo")).unwrap();
    let said = flash();
    let told = "a flashes in ilo\n";
    assert!(said.contains(told), "no '{told}' in {said}");
    let told = "b fails\nthe firmware of the iLO cannot be flashed\ntroubleshooting\n";
    assert!(said.ends_with(told), "no '{told}' in {said}");
}

#[test]
fn texts_are_a_urls_whatever_is_in_them() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (text, encoded) in [
        ("one error", "one+error"),
        ("azAZ09-._~", "azAZ09-._~"),
        ("a&b=c?d#e/f+g%h", "a%26b%3Dc%3Fd%23e%2Ff%2Bg%25h"),
        ("\"'$`\\!", "%22%27%24%60%5C%21"),
        ("ü\n", "%C3%BC%0A"),
        ("-n", "-n"),
        ("", ""),
    ] {
        write(dir.path(), &[("text", text)]);
        let lines = "text=$(cat text; echo .); safe_url_encode \"${text%.}\"";
        let said = run(IDLE, lines, dir.path());
        assert_eq!(said.lines().last().unwrap_or_default(), encoded, "{text:?}");
    }
}

#[test]
fn drivers_that_a_kernel_has_not_are_no_trouble() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lines = format!(
        "modprobe() {{ echo \"modprobe $*\"; return 1; }}\n. {}/elements/mellanox/init.d/01-mellanox\ntrue",
        env!("CARGO_MANIFEST_DIR")
    );
    let said = run(IDLE, &lines, dir.path());
    let drivers = "mlx4_en mlx4_ib mlx5_ib ib_ipoib ib_umad ib_uverbs";
    let loads = drivers.split(' ').map(|driver| format!("modprobe -q {driver}\n"));
    assert_eq!(said, loads.collect::<String>());
}
