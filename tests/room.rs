//! Where there is no room, what is missing is said in numbers, and what was there stays.

use std::fs;

use crate::lab::{DIB, Lab};

fn lab() -> Option<Lab> {
    let lab = Lab::new()?;
    oracle::require(&["unshare", "mount"]).then_some(lab)
}

/// A small tmpfs where outputs go, with an old one on it.
const SMALL: &str = "mount -t tmpfs -o size=1m x . ; cd . ; echo old > x.raw ; echo old > x.qcow2";
const LEFT: &str = "echo left: $(ls -A) $(cat x.raw x.qcow2)";

#[test]
fn an_image_that_does_not_fit_is_refused_before_it_is_begun() {
    let Some(lab) = lab() else { return };
    let small = format!("cd {}; {SMALL}; cd {0}", lab.out("").display());
    for (args, name) in [(&["-t", "raw"][..], "x.raw"), (&["-t", "qcow2", "-u"], "x.qcow2")] {
        let args = [&["-o", "x"], args, &["mini-os"]].concat();
        let said = lab.build_between(&small, &args, LEFT);
        assert!(
            said.out.ends_with("left: x.qcow2 x.raw old old\n"),
            "{}",
            said.out
        );
        let said = said.failed(1, &format!("error: {name}: no room: the image needs "));
        assert!(
            said.err.contains(" bytes, 10") && said.err.contains(" are free\nhint: "),
            "{}",
            said.err
        );
    }
}

#[test]
fn an_image_that_outgrows_the_disk_leaves_nothing_but_the_old_one() {
    let Some(lab) = lab() else { return };
    let small = format!("cd {}; {SMALL}; cd {0}", lab.out("").display());
    let said = lab.build_between(&small, &["-o", "x", "mini-os"], LEFT);
    assert!(
        said.out.ends_with("left: x.qcow2 x.raw old old\n"),
        "{}",
        said.out
    );
    let said = said.failed(1, "error: x.qcow2: no room: of the image ");
    assert!(said.err.contains("No space left on device"), "{}", said.err);
}

#[test]
fn a_limit_on_the_size_of_files_is_named() {
    let Some(lab) = lab() else { return };
    fs::write(lab.out("x.raw"), "old").unwrap();
    // This program itself, among the hooks, is smaller.
    let args = ["-o", "x", "-t", "raw", "--image-size", "3", "mini-os"];
    let said = lab.build_between("ulimit -f 2000000", &args, "ls -A");
    assert!(said.out.ends_with("\nx.raw\n"), "{}", said.out);
    said.failed(1, "File too large").failed(1, "ulimit -f");
    assert_eq!(lab.text("x.raw"), "old");
    // Where no namespace of processes keeps the signal of the limit away.
    fs::create_dir(lab.out("tree")).unwrap();
    let script = "ulimit -f 1000; exec \"$0\" assemble tree -o x -t raw";
    let said = lab.run("/bin/bash", &["-c", script, DIB]);
    said.failed(1, "File too large").failed(1, "ulimit -f");
    assert_eq!(lab.text("x.raw"), "old");
    assert_eq!(lab.names(), ["tree", "x.raw"]);
}

#[test]
fn outputs_that_cannot_be_saved_are_noticed_before_any_hook_runs() {
    let Some(lab) = lab() else { return };
    lab.hook("root.d/00-ran", "touch ran");
    let args = ["-o", "x", "-t", "raw", "mini-os", "probe"];
    let out = lab.out("");
    let read_only = format!(
        "mount --bind {0} {0}; mount -o remount,bind,ro {0}; cd {0}",
        out.display()
    );
    lab.build_between(&read_only, &args, "")
        .failed(1, "Read-only file system");
    lab.build(&["-o", "absent/x", "mini-os", "probe"])
        .failed(1, "absent/x.qcow2")
        .failed(1, "hint: make the directory absent");
    for (make, what) in [
        ("mkdir x.raw", "a directory"),
        ("rmdir x.raw; mkfifo x.raw", "a fifo"),
        ("rm x.raw; cp -a /dev/null x.raw", "a device"),
    ] {
        lab.build_between(make, &args, "")
            .failed(1, &format!("x.raw is {what}"));
    }
    assert_eq!(lab.names(), ["x.raw"]);
}

#[test]
fn a_hook_that_fills_the_memory_or_the_disk_is_told_how_full_it_is() {
    let Some(mut lab) = lab() else { return };
    lab.hook("root.d/50-fill", "head -c 500M /dev/zero > $TARGET_ROOT/full");
    let tmp = lab.dir().join("tmp").display().to_string();
    // Debug builds of the program itself, which lies among the hooks, are large.
    let small = format!("mount -t tmpfs -o size=400m x {tmp}");
    lab.set("DIB_NO_TMPFS", "1");
    let said = lab.build_between(&small, &["mini-os", "probe"], &format!("ls -A {tmp}; echo end"));
    assert!(said.out.ends_with("\nend\n"), "{}", said.out);
    let said = said.failed(1, "50-fill").failed(
        1,
        " is full: a tmpfs with 400.0 MiB, 400.0 MiB used, 0.0 MiB free",
    );
    let way = "TMP_DIR is in memory itself: it may name a directory on disk";
    assert!(said.err.contains(way), "{}", said.err);
    assert!(!said.err.contains("--no-tmpfs"), "{}", said.err);
}

#[test]
fn a_hook_that_fills_the_tmpfs_of_its_build_is_told_the_way_to_a_disk() {
    let Some(lab) = lab() else { return };
    lab.hook("root.d/50-small", "mount -o remount,size=400m $TMP_BUILD_DIR")
        .hook(
            "extra-data.d/50-fill",
            "head -c 500M /dev/zero > $TARGET_ROOT/full",
        );
    fs::write(lab.out("x.raw"), "the old image").unwrap();
    let args = ["--min-tmpfs", "0.01", "-o", "x", "-t", "raw", "mini-os", "probe"];
    let said = lab.build(&args).failed(1, "50-fill");
    assert!(said.err.contains("--no-tmpfs builds on disk"), "{}", said.err);
    assert_eq!(lab.text("x.raw"), "the old image");
    assert_eq!(lab.names(), ["x.raw"]);
}

#[test]
fn hooks_that_have_no_room_are_refused_before_any_runs() {
    let Some(mut lab) = lab() else { return };
    lab.hook("root.d/00-ran", "touch ran");
    let huge = lab.dir().join("elements/probe/static/huge");
    fs::create_dir_all(huge.parent().unwrap()).unwrap();
    fs::write(huge, vec![1; 600 << 20]).unwrap();
    let tmp = lab.dir().join("tmp").display().to_string();
    let small = format!("mount -t tmpfs -o size=400m x {tmp}");
    lab.set("DIB_NO_TMPFS", "1");
    let said = lab.build_between(&small, &["mini-os", "probe"], "true");
    let said = said.failed(1, "no room for the build: its hooks alone have ");
    assert!(said.err.contains(" are free in "), "{}", said.err);
    assert_eq!(lab.names(), [""; 0]);
}

#[test]
fn a_build_that_memory_does_not_hold_goes_to_disk_and_says_why() {
    let Some(lab) = lab() else { return };
    lab.file("no-final-image/README.md", "");
    lab.hook(
        "root.d/50-where",
        "grep -c ' '${TMP_BUILD_DIR}' tmpfs ' /proc/mounts > where || true",
    );
    let args = ["no-final-image", "mini-os", "probe"];
    let said = lab.build(&[&["--min-tmpfs", "1000000"], &args[..]].concat()).ok();
    let why = said
        .out
        .lines()
        .find(|line| line.contains("building on disk, in "))
        .unwrap();
    assert!(
        why.contains("a tmpfs of 1024000000.0 MiB needs a machine with twice as much memory"),
        "{why}"
    );
    assert_eq!(lab.text("where"), "0\n");
    let said = lab.build(&[&["--min-tmpfs", "0.01"], &args[..]].concat()).ok();
    assert!(!said.out.contains("building on disk"), "{}", said.out);
    assert_eq!(lab.text("where"), "1\n");
}

#[test]
fn outputs_are_all_that_an_image_takes_of_a_disk() {
    let Some(mut lab) = lab() else { return };
    lab.set("SOURCE_DATE_EPOCH", "1700000000");
    let noise: Vec<u8> = (0..5_u32 << 20)
        .map(|i| i.wrapping_mul(i).wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    fs::create_dir(lab.out("tree")).unwrap();
    fs::write(lab.out("tree/noise"), noise).unwrap();
    // Each type goes where there is room for it and one MiB, and that is where temporary files would go, too.
    let script = r#"
        set -eu
        mkdir small
        tight() {
            "$@" -o whole
            mount -t tmpfs -o size=$(($(du -ck whole.* | tail -n 1 | cut -f 1) + 1024))k x small
            mkdir small/tmp
            TMP_DIR=$PWD/small/tmp "$@" -o small/whole
            [ -z "$(ls -A small/tmp)" ]
            for image in whole.*; do cmp "$image" "small/$image"; echo "$image fits"; done
            umount small
            rm whole.*
        }
        for type in raw qcow2 vhd vdi vmdk tar tgz tar.zst tar.xz squashfs docker oci cpio aci; do
            tight "$0" assemble tree -t $type
        done
        "$0" assemble tree -o disk -t qcow2
        for type in raw vhd vdi vmdk qcow2; do tight "$0" convert disk.qcow2 -t $type; done
    "#;
    let said = lab
        .run("/usr/bin/unshare", &["-m", "bash", "-c", script, DIB])
        .ok();
    let fits = said.out.lines().filter(|line| line.ends_with(" fits"));
    assert_eq!(fits.count(), 14 + 5, "{}", said.out);
}
