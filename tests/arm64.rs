//! A disk for 64-bit ARM: GRUB's loader by the removable path, out of modules that the tree has. Its programs are of this
//! machine: what is judged is what firmware starts.

use std::fs;
use std::time::Duration;

use oracle::{archive, boot};

use crate::lab::{DIB, Lab};

/// Puts the host's `grub-mkimage` and modules for ARM into the tree.
const TOOLS: &str = r#"
mkdir -p $TARGET_ROOT/usr/lib/grub $TARGET_ROOT/boot/grub
cp -r "$MODULES" $TARGET_ROOT/usr/lib/grub/arm64-efi
maker=$(type -P grub-mkimage)
cp "$maker" $TARGET_ROOT/bin/
mapfile -t libraries < <(ldd "$maker" | sed -n 's|^\t[^/]*\(/[^ ]*\) .*|\1|p')
cd $TARGET_ROOT
cp -L --parents "${libraries[@]}" .
"#;

#[test]
fn a_disk_for_arm_boots_by_the_removable_path() {
    let Some(mut lab) = Lab::new() else { return };
    if !oracle::require(&["grub-mkimage", "dpkg-deb", "sgdisk"]) || !boot::require_arm() {
        return;
    }
    let fetched = lab.dir().join("fetched");
    let Some(package) = archive::foreign_package("grub-efi-arm64-bin", "arm64", &fetched) else {
        oracle::skip("the archive of this machine's apt has no grub-efi-arm64-bin");
        return;
    };
    let unpacked = lab.dir().join("unpacked");
    let words = ["-x".as_ref(), package.as_os_str(), unpacked.as_os_str()];
    oracle::run("dpkg-deb", &words);
    let modules = unpacked.join("usr/lib/grub/arm64-efi").display().to_string();
    lab.set("MODULES", &modules);
    lab.hook("root.d/50-tools", TOOLS).hook(
        "finalise.d/50-boot",
        r#"
        echo 'echo "the loader reads its configuration on $root for $grub_cpu"' >/boot/grub/grub.cfg
        grub-install --target=arm64-efi --removable --modules='part_gpt echo'
        "#,
    );
    let words = [
        "-a",
        "arm64",
        "-o",
        "arm",
        "-t",
        "raw",
        "mini-os",
        "probe",
        "block-device-efi",
    ];
    lab.build(&words).ok();
    let image = lab.out("arm.raw");
    let script = "exec \"$0\" cat arm.raw /boot/efi/EFI/BOOT/BOOTAA64.EFI >loader";
    lab.run("/bin/sh", &["-c", script, DIB]).ok();
    let loader = fs::read(lab.out("loader")).unwrap();
    let header = usize::try_from(u32::from_le_bytes(loader[0x3c..0x40].try_into().unwrap())).unwrap();
    // The machine that the program is for, as headers of programs of UEFI name it.
    assert_eq!(loader[header..header + 6], *b"PE\0\0\x64\xaa");
    let names = lab.run(DIB, &["ls", "arm.raw", "/boot/efi/EFI/BOOT"]).ok().out;
    assert!(!names.contains("BOOTX64"), "{names}");
    let said = ["the loader reads its configuration on hd0,gpt3 for arm64"];
    boot::arm_disk_until(&said, &image, Duration::from_mins(5));
}
