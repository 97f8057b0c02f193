//! The ramdisk that the tree's own dracut makes: the same fragments, programs and rules, without busybox.

use std::fs;
use std::time::Duration;

use oracle::boot;

use super::Place;

/// What an element adds: a program that no part of dracut wants, a rule, a fragment, a file, a hook.
const ELEMENT: [(&str, &str); 7] = [
    ("element-deps", "package-installs\n"),
    ("package-installs.yaml", "jq:\n"),
    ("binary-deps.d/dracut-probe", "dd jq\n"),
    (
        "udev.d/77-dracut-probe.rules",
        "SUBSYSTEM==\"block\", KERNEL==\"vda\", SYMLINK+=\"probe-disk\"\n",
    ),
    (
        "extra-data.d/scripts/d/probe-func",
        "probed() { echo \"witness: a file of the element\"; }\n",
    ),
    (
        "ramdisk-install.d/50-dracut-probe",
        "#!/bin/bash\nset -eu\necho 'a hook' >\"$TMP_MOUNT_PATH/mark\"\n",
    ),
    ("init.d/75-dracut-probe", FRAGMENT),
];

/// The last of the fragments. It ends the machine, which has no program for that.
const FRAGMENT: &str = r#". /probe-func
probed
echo "witness: jq says $(jq -n '6 * 7') to $(cat /mark)"
echo "witness: the kernel's word is $(get_kernel_parameter word)"
disk=$(find_disk "$DISK")
echo "witness: the disk is $disk, and $(ls /dev/probe-disk)"
echo "written by dracut" | dd of="$disk" bs=512 conv=sync,notrunc 2>/dev/null
sync
echo "witness: an address is $(ip -4 addr show | sed -n 's/.*inet \(10[.0-9]*\).*/\1/p')"
if start_iscsi_target iqn.2026-01.org.example:probe "$disk" ALL; then
    echo "witness: the kernel offers $(cat /sys/kernel/config/target/core/iblock_0/deploy/udev_path)"
    grep -q 0CBC /proc/net/tcp && echo "witness: it listens"
    stop_iscsi_target && echo "witness: it offers nothing more"
fi
err_msg "one error"
echo "witness: $FIRST_ERR_MSG"
echo "witness has spoken"
echo o >/proc/sysrq-trigger
sleep 60
"#;

/// With what deploys, which must find its programs in the tree, and the kernel's target in place of tgt.
pub(super) fn boots(place: &Place<'_>) {
    place.element("dracut-probe", &ELEMENT);
    let elements = ["dracut-probe", "deploy", "deploy-targetcli"];
    let [ramdisk, kernel] = place.build("dracut", &elements, &[("RAMDISK_ELEMENT", "dracut-ramdisk")]);
    let disk = place.dir.join("dracut-disk");
    fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let machine = boot::Ramdisk {
        kernel: &kernel,
        initrd: &ramdisk,
        disks: &[&disk],
        // Its daemons have a minute and a half each to start, which several emulated machines on two processors may need.
        append: "word=honour ip=dhcp systemd.default_timeout_start_sec=420",
        network: true,
        ports: &[],
        typed: &[],
    };
    let wanted = [
        "witness: a file of the element",
        "witness: jq says 42 to a hook",
        "witness: the kernel's word is honour",
        "witness: the disk is /dev/vda, and /dev/probe-disk",
        "witness: an address is 10.0.2.15",
        "witness: the kernel offers /dev/vda",
        "witness: it listens",
        "witness: it offers nothing more",
        "witness: one+error",
        "witness has spoken",
    ];
    boot::ramdisk_until(&wanted, &machine, Duration::from_mins(8));
    assert!(fs::read(&disk).unwrap().starts_with(b"written by dracut"));
}
