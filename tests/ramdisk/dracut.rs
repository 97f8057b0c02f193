//! What element dracut-ramdisk tells dracut. In place of that here is a script that writes down its words, and what it got to lay.

use super::{create, lab};

/// The tree's dracut, and the programs that the element wants, as far as the toy root has none.
const ROOT: &str = r#"
cd "$TARGET_ROOT"
mkdir -p usr/lib/dracut/modules.d opt/kernel/lib/modules/6.1-toy
cat >bin/dracut <<'TEXT'
#!/bin/bash
set -eu
printf '%s\n' "$@" >"${!#}"
while [ "$1" != --include ]; do
    shift
done
cd "$2"
find . -type f | sort >>/tmp/ramdisk
find /usr/lib/dracut/modules.d -name '*.sh' | sort >>/tmp/ramdisk
TEXT
for tool in awk cut dracut ip ping reboot seq shutdown tail wget; do
    [ -e bin/$tool ] || printf '#!/bin/bash\nexit 0\n' >bin/$tool
    chmod 755 bin/$tool
done
"#;

#[test]
fn dracut_is_told_what_elements_and_variables_say() {
    let Some(mut lab) = lab() else { return };
    lab.hook("root.d/30-dracut", ROOT);
    // What dracut is to lay is not there yet.
    lab.hook("ramdisk-install.d/50-mark", "echo mark >\"$TMP_MOUNT_PATH/mark\"");
    lab.file("probe/dracut-drivers.d/probe", "toy_net\ntoy_disk");
    let build = |lab: &crate::lab::Lab, compression: &str| {
        let args = [
            "--ramdisk-element",
            "dracut-ramdisk",
            "--ramdisk-compression",
            compression,
        ];
        create(lab, &args).ok();
        let told = lab.text("r.initramfs");
        std::fs::remove_file(lab.out("r.initramfs")).unwrap();
        told
    };
    let told = build(&lab, "xz:3");
    let lines: Vec<&str> = told.lines().collect();
    for words in [
        &["-N", "--compress=xz --check=crc32"][..],
        &["--kver", "6.1-toy", "--add", "deploy-ramdisk"],
        &[
            "--add-drivers",
            "ahci virtio virtio_blk virtio_net virtio_pci virtio_scsi toy_net toy_disk",
        ],
        &["/tmp/ramdisk"],
        // What it gets to lay, and its own part.
        &["./init-func", "./mark", "./ramdisk-init", "./toy-func"],
        &["./usr/lib/udev/rules.d/77-toy.rules"],
        &[
            "/usr/lib/dracut/modules.d/80deploy-ramdisk/deploy-cmdline.sh",
            "/usr/lib/dracut/modules.d/80deploy-ramdisk/deploy-pre-mount.sh",
            "/usr/lib/dracut/modules.d/80deploy-ramdisk/module-setup.sh",
        ],
    ] {
        assert!(
            lines.windows(words.len()).any(|there| there == words),
            "no {words:?} in {told}"
        );
    }
    let install = lines.iter().position(|line| *line == "--install").unwrap();
    for program in ["toy-script", "wget", "udevadm", "awk"] {
        assert!(
            lines[install + 1].split(' ').any(|word| word == program),
            "no {program} in {told}"
        );
    }
    assert_eq!(lab.text("r.kernel"), "a kernel\n");

    // Directories and files that have nothing in them are no mistake.
    std::fs::remove_file(lab.dir().join("elements/probe/udev.d/77-toy.rules")).unwrap();
    lab.file("probe/dracut-drivers.d/empty", "");
    lab.set("DIB_MODULE_ROOT", "opt/kernel")
        .set("DIB_KERNEL_VERSION", "6.0-toy");
    let told = build(&lab, "none");
    let wanted = "--kver\n6.0-toy\n--kmoddir\n/opt/kernel/lib/modules/6.0-toy\n--add\n";
    assert!(
        told.contains(wanted) && told.contains("\n--no-compress\n"),
        "{told}"
    );
    assert_eq!(lab.text("r.kernel"), "an older one\n");
}
