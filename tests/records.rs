//! What a build says about itself, in the image and beside it, and what it keeps to itself.

use std::fs;

use crate::lab::Lab;

/// Prints modes, owners and texts of the records in the tree.
const SHOW: &str = "
for file in etc/dib_environment etc/dib_arguments etc/dib-manifests/dib_environment etc/dib-manifests/dib_arguments; do
    stat -c '%a %U:%G' $TARGET_ROOT/$file >> modes
    cat $TARGET_ROOT/$file > ${file////-}
done
cat $TARGET_ROOT/etc/dib-manifests/dib-element-manifest > elements";

#[test]
fn the_image_and_its_neighbour_hold_the_record() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook("cleanup.d/90-show", SHOW);
    lab.set("DIB_SITE", "two\nlines \"quoted\" $HOME")
        .set("SITE", "not of the family");
    lab.build_with_base(&[
        "-o",
        "n",
        "no-final-image",
        "mini-os",
        "probe",
        "element-manifest",
    ])
    .ok();
    assert_eq!(lab.text("modes"), "600 root:root\n".repeat(4));
    let environment = lab.text("etc-dib_environment");
    assert!(
        environment.contains("declare -x DIB_SITE=\"two\nlines \\\"quoted\\\" \\$HOME\"\n"),
        "{environment}"
    );
    assert!(!environment.contains("not of the family"), "{environment}");
    assert_eq!(
        lab.text("etc-dib_arguments"),
        "-o n no-final-image mini-os probe element-manifest\n"
    );
    for name in ["dib_environment", "dib_arguments"] {
        let text = lab.text(&format!("etc-{name}"));
        assert_eq!(text, lab.text(&format!("etc-dib-manifests-{name}")), "{name}");
        assert_eq!(text, lab.text(&format!("n.d/dib-manifests/{name}")), "{name}");
    }
    let elements = lab.text("elements");
    assert_eq!(elements, lab.text("n.d/dib-manifests/dib-element-manifest"));
    let elements: Vec<_> = elements.lines().collect();
    for element in ["base", "mini-os", "probe", "element-manifest", "manifests"] {
        assert_eq!(
            elements.iter().filter(|name| **name == element).count(),
            1,
            "{elements:?}"
        );
    }
    // A shell can read the record.
    let script = ". ./etc-dib_environment && printf '%s' \"$DIB_SITE\"";
    let read = lab.run("/bin/bash", &["-c", script]).ok();
    assert_eq!(read.out, "two\nlines \"quoted\" $HOME");
}

#[test]
fn secrets_reach_hooks_but_no_record() {
    let Some(mut lab) = Lab::new() else { return };
    let secrets = [
        ("DIB_DEV_USER_PASSWORD", "hunter2\nand more of hunter2"),
        ("DIB_PYPI_MIRROR_URL", "https://user:hunter2@host/simple/"),
        (
            "DIB_CLOUD_CONFIG",
            "users:\n  - name: me\n    password: hunter2\n",
        ),
        (
            "DIB_SITE_KEYS",
            "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
        ),
        ("DIB_REG_TOKEN", "hunter2"),
    ];
    for (name, value) in secrets {
        lab.set(name, value);
    }
    lab.hook(
        "install.d/10-see",
        "for name in DEV_USER_PASSWORD PYPI_MIRROR_URL CLOUD_CONFIG SITE_KEYS REG_TOKEN; do
             name=DIB_$name; [[ ${!name} == *hunter2* ]]
         done",
    )
    .hook(
        "cleanup.d/90-show",
        "! grep -r hunter2 $TARGET_ROOT/etc; cp -r $TARGET_ROOT/etc all",
    );
    lab.build_with_base(&[
        "--qemu-img-options",
        "",
        "-o",
        "n",
        "--docker-target",
        "https://me:hunter2@host/x",
        "no-final-image",
        "mini-os",
        "probe",
    ])
    .ok();
    let mut dirs = vec![lab.out("")];
    let mut seen = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else if let Ok(text) = fs::read_to_string(entry.path()) {
                assert!(!text.contains("hunter2"), "{}: {text}", entry.path().display());
                seen += usize::from(text.contains("REDACTED"));
            }
        }
    }
    assert!(
        seen >= 6,
        "environment and arguments, in three places each: {seen}"
    );
}

#[test]
fn a_build_without_an_image_leaves_its_manifests() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook("cleanup.d/99-last", "touch ran");
    lab.set("DIB_MANIFEST_SAVE_DIR", "saved")
        .set("DIB_MANIFEST_IMAGE_DIR", "/etc/else/where");
    lab.build(&[
        "-o",
        "n",
        "no-final-image",
        "mini-os",
        "probe",
        "element-manifest",
    ])
    .ok();
    assert_eq!(lab.names(), ["ran", "saved"]);
    assert_eq!(
        lab.text("saved/where/dib-element-manifest"),
        "no-final-image\nmini-os\nprobe\nelement-manifest\nmanifests\n"
    );
}
