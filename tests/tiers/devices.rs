//! What hooks find in `/dev`, `/proc` and `/sys`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::rung::{Rung, Stairs};

/// What a hook sees: all names, and whether the nodes do what they are for.
const LOOK: &str = r#"
say() { echo "SEEN $*"; }
say dev "$(cd /dev && echo *)"
for node in /dev/*; do [ ! -b "$node" ] || say block "$node"; done
echo gone > /dev/null
read -r -d '' zero < /dev/zero
[ -c /dev/null ] && [ -c /dev/tty ] && [ ! -s /dev/null ]
"#;

const ARGS: [&str; 3] = ["no-final-image", "mini-os", "probe"];

fn seen(out: &str, what: &str) -> Vec<String> {
    let mark = format!("SEEN {what} ");
    let lines = out.lines().filter_map(|line| line.split_once(&mark));
    lines.map(|(_, rest)| rest.to_owned()).collect()
}

#[test]
fn hooks_see_no_device_of_the_host() {
    for rung in [Rung::T0, Rung::T2] {
        let Some(stairs) = Stairs::new(rung) else { continue };
        stairs.lab.file("no-final-image/README.md", "");
        for phase in ["root.d", "install.d", "cleanup.d"] {
            stairs.lab.hook(&format!("{phase}/50-look"), LOOK);
        }
        stairs.lab.hook(
            "install.d/60-terminals",
            "[ -c /dev/ptmx ] && [ -e /proc/self/fd ]",
        );
        let said = stairs.build(&ARGS).ok();
        let all = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero";
        assert_eq!(seen(&said.out, "dev"), [all; 3], "{rung:?}");
        assert_eq!(seen(&said.out, "block"), [""; 0], "{rung:?}");
    }
}

/// Looks for a disk of the host by every way that its root has.
const REACH: &str = r"
dir=${TARGET_ROOT:-}/reach; mkdir -p $dir/dev
mknod $dir/disk b $NUMBERS; mknod $dir/raw c 1 1; mknod $dir/null c 1 3
! grep -q secret $dir/disk || echo SEEN reached disk
[ ! -b $dir/disk ] && [ ! -c $dir/raw ] && [ -c $dir/null ] || echo SEEN reached node
! mount -t devtmpfs none $dir/dev 2>/dev/null || echo SEEN reached devtmpfs
unshare -m sh -c 'while umount -l /dev; do :; done 2>&-; for node in /dev/*; do [ ! -b $node ] || echo SEEN reached $node; done'
rm -r $dir
echo SEEN tried all
";

#[test]
fn hooks_of_the_hosts_root_reach_no_disk_of_it() {
    let Some(stairs) = Stairs::new(Rung::T0) else {
        return;
    };
    if !oracle::require(&["losetup", "unshare"]) {
        return;
    }
    stairs.lab.file("no-final-image/README.md", "");
    let file = stairs.lab.out("disk");
    fs::write(&file, "secret".repeat(1000)).unwrap();
    let disk = oracle::looped::attach(&file, 512);
    assert!(fs::read(disk.path()).unwrap().starts_with(b"secret"));
    let node = fs::metadata(disk.path()).unwrap();
    let (major, minor) = (rustix::fs::major(node.rdev()), rustix::fs::minor(node.rdev()));
    let reach = format!("NUMBERS='{major} {minor}'\n{REACH}");
    stairs.lab.hook("root.d/50-reach", &reach);
    stairs.lab.hook("cleanup.d/50-reach", &reach);
    let said = stairs.build(&ARGS).ok();
    assert_eq!(seen(&said.out, "reached"), [""; 0]);
    assert_eq!(seen(&said.out, "tried"), ["all"; 2]);

    stairs
        .lab
        .hook("pre-install.d/50-wants", "mount -t devtmpfs none /mnt");
    let said = stairs.build(&ARGS);
    assert!(
        said.err
            .contains("mount wanted devtmpfs: builds get no devices of the host"),
        "{}",
        said.err
    );
}

#[test]
fn memory_shared_with_the_host_stays_shared() {
    if !Path::new("/dev/shm").is_dir() {
        return;
    }
    for rung in [Rung::T0, Rung::T2] {
        let Some(stairs) = Stairs::new(rung) else { continue };
        stairs.lab.file("no-final-image/README.md", "");
        let mark = tempfile::Builder::new()
            .prefix("dib-test.")
            .tempdir_in("/dev/shm")
            .unwrap();
        fs::set_permissions(mark.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let file = mark.path().join("file").display().to_string();
        stairs.lab.hook("root.d/50-write", &format!("echo here > {file}"));
        stairs
            .lab
            .hook("install.d/50-not-there", &format!("[ ! -e {file} ]"));
        stairs.build(&ARGS).ok();
        assert_eq!(fs::read_to_string(&file).unwrap(), "here\n", "{rung:?}");
    }
}

#[test]
fn without_mounts_a_tree_gets_its_own_back() {
    let Some(stairs) = Stairs::new(Rung::T1) else {
        return;
    };
    let own = "cd $TARGET_ROOT; mknod dev/own c 1 3; rmdir sys; echo 'SEEN before' $(cd dev && echo *)";
    stairs.lab.file("no-final-image/README.md", "");
    stairs.lab.hook("root.d/50-own", own);
    stairs.lab.hook("install.d/50-look", LOOK);
    let inside = "echo \"SEEN proc $(cd /proc && echo *)\"; echo \"SEEN sys $(cd /sys && echo *)\"
        : > /sys/by-a-hook; : > /proc/by-a-hook; : > /dev/by-a-hook
        ! mount -t tmpfs x /mnt";
    stairs.lab.hook("install.d/60-inside", inside);
    let after = "cd $TARGET_ROOT; echo 'SEEN' at-last $(cd dev && echo *) $(cd proc && echo *)
        [ ! -e dev/own ] && [ -c dev/null ] && [ -d sys ] || exit 9";
    stairs.lab.hook("cleanup.d/50-covered-again", after);
    stairs.lab.hook(
        "block-device.d/50-back",
        "cd $TARGET_ROOT; [ -c dev/own ] && [ ! -e dev/null ] && [ ! -e sys ]",
    );
    let said = stairs.build(&ARGS).ok();
    let all = "fd full null pts random shm stderr stdin stdout tty urandom zero";
    assert_eq!(seen(&said.out, "dev"), [all]);
    assert_eq!(
        (seen(&said.out, "proc"), seen(&said.out, "sys")),
        (vec!["*".into()], vec!["*".into()])
    );
}

#[test]
fn what_hooks_write_among_the_copied_hooks_goes_with_the_phase() {
    let Some(stairs) = Stairs::new(Rung::T1) else {
        return;
    };
    stairs.lab.file("no-final-image/README.md", "");
    stairs.lab.hook(
        "pre-install.d/50-write",
        "echo changed >> /tmp/in_target.d/data/file",
    );
    stairs.lab.file("probe/data/file", "as it was\n");
    stairs.lab.hook(
        "install.d/50-read",
        "[ \"$(cat /tmp/in_target.d/data/file)\" = 'as it was' ]",
    );
    stairs
        .lab
        .hook("post-root.d/50-gone", "[ ! -e $TARGET_ROOT/tmp/in_target.d ]");
    stairs.build(&ARGS).ok();
}
