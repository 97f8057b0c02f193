//! Functions of fragments under busybox's shell, on files in place of a machine's.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Sources the functions of all fragments and a fragment, then runs lines in a directory.
fn run(fragment: &str, lines: &str, dir: &Path) -> String {
    let elements = concat!(env!("CARGO_MANIFEST_DIR"), "/elements");
    let script = format!(
        "cd \"$1\" && . {elements}/ramdisk-base/extra-data.d/scripts/d/init-func && \
         HW_DISCOVERY_URL= deploy_disk= HW_SYS=$PWD/sys HW_PROC=$PWD/proc && . {elements}/{fragment}\n{lines}"
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

fn write(dir: &Path, files: &[(&str, &str)]) {
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
            ("debian/vmlinuz-6.10.2", ""),
            ("debian/initrd.img-6.10.2", ""),
            ("debian/grub/grub.cfg", grub),
            ("fedora/vmlinuz-6.11", ""),
            ("fedora/initramfs-6.11.img", ""),
            (
                "fedora/grub2/grub.cfg",
                "linux ($root)/vmlinuz-6.11 root=UUID=1 ${extra}\n",
            ),
        ],
    );
    let lines = r#"for boot in debian fedora; do
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
}
