//! What hooks can read of the disks, in the files of the original program and in ours.

use std::fs;

use crate::lab::Lab;

const DISK: &str = "6c0e4a3e-0b8c-4a0e-9d4b-3f6a5e1d2c01";
const PARTITION: &str = "6c0e4a3e-0b8c-4a0e-9d4b-3f6a5e1d2c02";

#[test]
fn the_parameters_tell_size_and_options_once_the_tree_is_measured() {
    let Some(mut lab) = Lab::new() else { return };
    lab.set("MAX_ONLINE_RESIZE", "1000000");
    lab.hook("root.d/50-see", "cp $DIB_BLOCK_DEVICE_PARAMS_YAML first");
    let later = "[ ! -L $DIB_BLOCK_DEVICE_PARAMS_YAML ]
        cp $DIB_BLOCK_DEVICE_PARAMS_YAML $1; echo \"${DIB_IMAGE_SIZE}KiB\" >size";
    // What a hook puts in the place of the file, or of its directory, leads the builder nowhere.
    lab.hook(
        "post-root.d/50-mislead",
        "mkdir elsewhere; touch elsewhere/params.yaml elsewhere/config.yaml
        ln -sf $PWD/elsewhere/params.yaml $DIB_BLOCK_DEVICE_PARAMS_YAML",
    )
    .hook("block-device.d/50-see", &later.replace("$1", "second"))
    .hook("cleanup.d/50-see", &later.replace("$1", "third"));
    let words = [
        "--mkfs-options",
        "-i 16384 -L 'x'",
        "no-final-image",
        "mini-os",
        "probe",
    ];
    lab.build(&words).ok();
    let size = lab.text("size").trim_end().to_owned();
    let first = lab.text("first");
    assert!(
        !first.contains("image-size") && first.contains("root-label: 'x'\n"),
        "{first}"
    );
    let added = format!(
        "image-size: '{size}'\nroot-fs-opts: '-E resize=1000000 -i 4096 -J size=64 -i 16384 -L ''x'''\n"
    );
    for name in ["second", "third"] {
        assert_eq!(lab.text(name), first.clone() + &added, "{name}");
    }
    assert_eq!(fs::read(lab.out("elsewhere/params.yaml")).unwrap(), b"");
}

#[test]
fn a_table_that_hooks_of_old_wrote_is_told_with_its_own_ids() {
    let Some(lab) = Lab::new() else { return };
    if !oracle::require(&["sfdisk", "sgdisk"]) {
        return;
    }
    lab.hook(
        "block-device.d/10-partition",
        &format!(
            "printf '%s\\n' 'label: gpt' 'label-id: {DISK}' 'start=2048, uuid={PARTITION}, name=\"root\"' |
                sfdisk -q $IMAGE_BLOCK_DEVICE
            echo IMAGE_BLOCK_DEVICE=${{IMAGE_BLOCK_DEVICE}}p1"
        ),
    )
    .hook(
        "finalise.d/10-see",
        "grub-probe --device $(grub-probe --target=device /) --target=partuuid >/told",
    )
    .hook(
        "cleanup.d/10-see",
        "cp $TARGET_ROOT/told . && cp $TMP_HOOKS_PATH/block-device.json .",
    );
    lab.build(&["-o", "a", "-t", "raw", "mini-os", "probe"]).ok();
    assert_eq!(lab.text("told"), format!("{PARTITION}\n"));
    let facts: serde_json::Value = serde_json::from_str(&lab.text("block-device.json")).unwrap();
    let partition = &facts["disks"][0]["partitions"][0];
    assert_eq!(
        (&partition["name"], &partition["uuid"]),
        (&"root".into(), &PARTITION.into())
    );
    let image = lab.out("a.raw");
    let told = oracle::run("sgdisk", &["-pv".as_ref(), image.as_os_str()]);
    assert!(told.contains("No problems found"), "{told}");
    assert!(told.to_lowercase().contains(DISK), "{told}");
}
