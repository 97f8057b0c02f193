//! `diskimage-builder`: images that YAML files describe, as its users meet it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use oracle::blackbox;

use crate::lab::{DIB, DISKIMAGE_BUILDER, Lab};

fn write(lab: &Lab, file: &str, text: &str) {
    fs::write(lab.out(file), text).unwrap();
}

#[test]
fn a_dry_run_only_prints_the_command_lines() {
    let lab = Lab::unprivileged();
    write(
        &lab,
        "a.yaml",
        "- environment: {A: b c}\n  elements: [os]\n- imagename: r\n  ramdisk: true\n",
    );
    write(&lab, "b.json", "[{\"imagename\":\t\"r\", \"packages\": [\"p\"]}]");
    let said = lab
        .run(DISKIMAGE_BUILDER, &["--dry-run", "a.yaml", "b.json"])
        .ok();
    assert_eq!(said.out, "");
    assert_eq!(
        said.err,
        "A='b c' disk-image-create -o image os\n\nramdisk-image-create -o r -p p\n\n"
    );
    assert_eq!(lab.names(), ["a.yaml", "b.json"]);
    let abbreviated = lab
        .run(DIB, &["diskimage-builder", "a.yaml", "--dry", "b.json"])
        .ok();
    assert_eq!(abbreviated.err, said.err);
}

#[test]
fn nothing_is_built_if_a_file_is_wrong() {
    let lab = Lab::unprivileged();
    write(&lab, "good.yaml", "- elements: [os]\n");
    write(
        &lab,
        "wrong.yaml",
        "- imagename: x\n  elemnts: [os]\n  image-size: 0\n",
    );
    write(&lab, "empty.yaml", "");
    write(&lab, "none.yaml", "[]\n");
    write(&lab, "two.yaml", "- {}\n---\n- {}\n");
    for (files, told) in [
        (
            &["good.yaml", "wrong.yaml"][..],
            "error: wrong.yaml:2: unknown key 'elemnts'; did you mean elements?\n\
             wrong.yaml:3: image-size: 0 is less than 1\n",
        ),
        (
            &["empty.yaml"],
            "error: empty.yaml:1: expected a list of images, found nothing\nhint: --help shows an example\n",
        ),
        (
            &["none.yaml"],
            "error: the files describe no image\nhint: --help shows an example\n",
        ),
        (
            &["two.yaml"],
            "error: two.yaml:3: a second document; a file holds one list of images\n",
        ),
        (
            &["missing.yaml"],
            "error: cannot read missing.yaml: No such file or directory (os error 2)\n",
        ),
    ] {
        let said = lab.run(DISKIMAGE_BUILDER, files);
        assert_eq!((said.status, said.err.as_str()), (1, told), "{files:?}");
    }
    lab.run(DISKIMAGE_BUILDER, &[]).failed(1, "FILE");
    lab.run(DISKIMAGE_BUILDER, &["--dryrun", "good.yaml"])
        .failed(1, "did you mean --dry-run?");
}

#[test]
fn all_images_are_attempted_and_those_that_failed_are_named() {
    let lab = Lab::unprivileged();
    write(
        &lab,
        "i.yaml",
        "- {imagename: one, elements: [no-such]}\n- {imagename: two, elements: [no-other]}\n",
    );
    let said = lab.run(DISKIMAGE_BUILDER, &["i.yaml"]);
    assert_eq!(said.status, 1);
    let told: Vec<&str> = said
        .err
        .lines()
        .filter(|line| !line.starts_with("hint"))
        .collect();
    assert_eq!(
        told,
        [
            "disk-image-create -o one no-such",
            "",
            "error: Element 'no-such' not found",
            "disk-image-create -o two no-other",
            "",
            "error: Element 'no-other' not found",
            "error: 2 of 2 images failed:",
            "    one: disk-image-create ended with status 1",
            "    two: disk-image-create ended with status 1",
        ]
    );
    let said = lab.run(DISKIMAGE_BUILDER, &["--stop-on-failure", "i.yaml"]);
    let said = said.failed(1, "1 of 2 images failed, 1 not tried:");
    assert!(!said.err.contains("no-other"), "{}", said.err);
}

#[test]
fn each_image_has_its_own_environment_and_status() {
    let Some(lab) = Lab::new() else { return };
    lab.hook(
        "extra-data.d/10-see",
        "printf '%s %s %s' \"${A-unset}\" \"${B-unset}\" $IMAGE_NAME >seen.$IMAGE_NAME; exit ${FAIL-0}",
    );
    lab.file("no-final-image/README.md", "");
    write(
        &lab,
        "i.yaml",
        "
- {imagename: one, environment: {A: 'a  b', FAIL: '7'}, skip-base: true, elements: [mini-os, no-final-image, probe]}
- {imagename: two, environment: {B: '2'}, skip-base: true, elements: [mini-os, no-final-image, probe]}
",
    );
    let said = lab.run(DISKIMAGE_BUILDER, &["i.yaml"]);
    said.failed(
        1,
        "error: 1 of 2 images failed:\n    one: disk-image-create ended with status 7\n",
    );
    assert_eq!(lab.text("seen.one"), "a  b unset one");
    assert_eq!(lab.text("seen.two"), "unset 2 two");
    assert_eq!(lab.left_behind(), [""; 0]);
}

#[test]
fn who_asks_it_to_end_ends_the_build_and_the_run() {
    let Some(lab) = Lab::new() else { return };
    lab.hook("extra-data.d/10-wait", "touch here.$IMAGE_NAME; sleep 3600");
    lab.file("no-final-image/README.md", "");
    write(
        &lab,
        "i.yaml",
        "
- {imagename: one, skip-base: true, elements: [mini-os, no-final-image, probe]}
- {imagename: two, skip-base: true, elements: [mini-os, no-final-image, probe]}
",
    );
    let program = Path::new(DISKIMAGE_BUILDER);
    let mut child = blackbox::start(program, &["i.yaml"], &lab.environment(), &lab.out(""));
    let started = Instant::now();
    while !lab.out("here.one").exists() && started.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert_eq!(lab.names(), ["here.one", "i.yaml"]);
    assert_eq!(lab.left_behind(), [""; 0]);
}
