//! The same ramdisk on a disc, which boots by every firmware, and as a disk.

use std::path::Path;
use std::time::Duration;

use oracle::boot::{self, Firmware};

use super::Place;

/// What tells that the kernel reads the disc, and ends the machine. Without a disc it does nothing.
pub(super) const ELEMENT: [(&str, &str); 1] = [("init.d/16-disc", FRAGMENT)];

const FRAGMENT: &str = r#"if get_kernel_parameter from_disc >/dev/null; then
    mkdir -p /disc
    wait_for 30 1 "[ -b /dev/sr0 ] || [ -b /dev/vda ]"
    for device in /dev/sr0 /dev/vda; do
        if mount -t iso9660 -o ro "$device" /disc; then
            echo "witness: $device has a kernel of $(sha256sum /disc/boot/vmlinuz | cut -c 1-64)"
            echo "witness: it is owned by $(stat -c %u:%a /disc/boot/vmlinuz), and listed as $(ls /disc/boot | tr '\n' ' ')"
        fi
    done
    secure=$(mount -t efivarfs efivarfs /sys/firmware/efi/efivars && od -An -tu1 /sys/firmware/efi/efivars/SecureBoot-*)
    echo "witness: Secure Boot is ${secure##* }"
    echo "witness: firmware is $([ -d /sys/firmware/efi ] && echo UEFI || echo BIOS)"
    echo "witness has read the disc"
    poweroff -f
fi
"#;

/// The kernel offers the disk by iSCSI, and ceases to.
pub(super) const TARGET: [(&str, &str); 1] = [(
    "init.d/60-target",
    r#"if start_iscsi_target iqn.2026-01.org.example:probe "$(find_disk "$DISK")" ALL; then
    echo "witness: the kernel offers $(cat /sys/kernel/config/target/core/iblock_0/deploy/udev_path)"
    grep -q 0CBC /proc/net/tcp && echo "witness: it listens"
    stop_iscsi_target && echo "witness: it offers nothing more"
fi
"#,
)];

/// What an element adds for Secure Boot: the loaders that are signed.
pub(super) const SIGNED: [(&str, &str); 2] = [
    ("element-deps", "package-installs\n"),
    ("package-installs.yaml", "shim-signed:\ngrub-efi-amd64-signed:\n"),
];

/// How the ramdisk knows that it came from a disc.
pub(super) const WORDS: [(&str, &str); 2] = [
    (
        "DIB_DEPLOY_ISO_KERNEL_CMDLINE_ARGS",
        "console=ttyS0 panic=-1 from_disc",
    ),
    ("DIB_GRUB_TIMEOUT", "0"),
];

/// How UEFI starts a disc from a drive [`boots_by_what_is_signed`] shows.
pub(super) fn boots_by_every_firmware(place: &Place<'_>, kernel: &Path) {
    let image = place.dir.join("out/probe.iso");
    let sum = oracle::run("sha256sum", &[kernel.as_os_str()]);
    let kernel = format!("has a kernel of {}", &sum[..64]);
    let owner = "witness: it is owned by 0:444, and listed as grub initrd vmlinuz ";
    let limit = Duration::from_mins(8);
    let wanted = [
        "witness: /dev/sr0",
        &kernel,
        owner,
        "firmware is BIOS",
        "witness has read the disc",
    ];
    boot::disc_until(&wanted, &image, Firmware::Bios, limit);
    for (firmware, named) in [
        (Firmware::Bios, "firmware is BIOS"),
        (Firmware::Uefi, "firmware is UEFI"),
    ] {
        let disk = boot::Disk {
            image: &image,
            format: "raw",
            sector: 512,
            firmware,
        };
        let wanted = [
            "witness: /dev/vda",
            &kernel,
            owner,
            named,
            "witness has read the disc",
        ];
        boot::disk_until(&wanted, &disk, limit);
    }
}

/// UEFI that takes nothing but what is signed starts a shim, that GRUB, and that the kernel.
pub(super) fn boots_by_what_is_signed(place: &Place<'_>, name: &str) {
    let image = place.dir.join("out").join(name).with_extension("iso");
    let wanted = [
        "witness: /dev/sr0",
        "witness: Secure Boot is 1",
        "firmware is UEFI",
        "witness has read the disc",
    ];
    boot::disc_until(&wanted, &image, Firmware::SecureBoot, Duration::from_mins(8));
}
