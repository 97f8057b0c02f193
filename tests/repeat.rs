//! The same inputs give the same bytes, whatever the machine is like that day.

use std::fs;

use crate::lab::{DIB, DISK_IMAGE_CREATE, Lab};

#[test]
fn assembling_repeats_whatever_the_threads_the_mask_and_the_clock() {
    let mut lab = Lab::unprivileged();
    fs::create_dir_all(lab.out("tree/d")).unwrap();
    for i in 0..300_u32 {
        let text = format!("{i} ").repeat(usize::try_from(i).unwrap() * 10);
        fs::write(lab.out(&format!("tree/d/{i}")), text).unwrap();
    }
    for name in ["elsewhere", "tmp-too"] {
        fs::create_dir(lab.out(name)).unwrap();
    }
    let of = |lab: &Lab, tree: &str, umask: &str, threads: &str| {
        let args = [
            "-c",
            "umask $1; shift; exec \"$@\"",
            "sh",
            umask,
            DIB,
            "assemble",
            tree,
            "-o",
            "x",
            "-t",
            "raw,qcow2",
            "--seed",
            "s",
            "--threads",
            threads,
        ];
        lab.run("/bin/sh", &args).ok();
        ["x.raw", "x.qcow2"].map(|name| fs::read(lab.out(name)).unwrap())
    };
    let bytes = |lab: &Lab, umask: &str, threads: &str| {
        let (tree, archive) = (
            of(lab, "tree", umask, threads),
            of(lab, "tree.tar", umask, threads),
        );
        [tree, archive].concat()
    };
    lab.set("SOURCE_DATE_EPOCH", "1700000000")
        .set("OVERWRITE_OLD_IMAGE", "1");
    lab.run("/bin/tar", &["-cf", "tree.tar", "tree"]).ok();
    let first = bytes(&lab, "022", "1");
    let elsewhere = lab.out("elsewhere").display().to_string();
    lab.set("TMPDIR", &elsewhere)
        .set("TMP_DIR", "tmp-too")
        .set("TZ", "Pacific/Auckland")
        .set("LANG", "tr_TR.UTF-8");
    assert!(first == bytes(&lab, "077", "7"), "the same bytes");
    lab.set("SOURCE_DATE_EPOCH", "1700000001");
    assert!(first != bytes(&lab, "022", "1"), "another time is another image");
}

#[test]
fn builds_repeat_in_another_place_at_another_time() {
    let Some(mut lab) = Lab::new() else { return };
    lab.set("SOURCE_DATE_EPOCH", "1700000000")
        .set("DIB_IMAGE_SEED", "s");
    lab.hook(
        "install.d/10-volatile",
        "date > /etc/machine-id; mkdir -p /var/lib/systemd /home; cat /dev/urandom | head -c 512 > \
         /var/lib/systemd/random-seed; date +%N > /var/log/now; echo $RANDOM > /tmp/x; date +%N > /root/y.log
         echo 'root:*:20700:0:::::' > /etc/shadow",
    )
    .hook("pre-install.d/10-head", "true");
    lab.hook("extra-data.d/10-head", "cp -L $(type -P head) $TARGET_ROOT/bin/");
    let build = |lab: &Lab, umask: &str| {
        let script = "umask $1; shift; exec \"$@\"";
        let args = ["-n", "-o", "x", "-t", "raw,qcow2", "mini-os", "probe"];
        let args = [&["-c", script, "sh", umask, DISK_IMAGE_CREATE], &args[..]].concat();
        lab.run("/bin/sh", &args).ok();
        ["x.raw", "x.qcow2"].map(|name| {
            let bytes = fs::read(lab.out(name)).unwrap();
            fs::remove_file(lab.out(name)).unwrap();
            bytes
        })
    };
    let first = build(&lab, "022");
    fs::create_dir(lab.dir().join("tmp2")).unwrap();
    let elsewhere = lab.dir().join("tmp2").display().to_string();
    lab.set("TMPDIR", &elsewhere)
        .set("TZ", "Asia/Tokyo")
        .set("DIB_NO_TMPFS", "1");
    assert!(first == build(&lab, "077"), "the same bytes");
}
