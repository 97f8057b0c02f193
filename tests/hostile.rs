//! What hooks and elements do on purpose, or by accident, the builder itself neither reads nor writes outside the build.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::lab::{DIB, DISK_IMAGE_CREATE, ELEMENT_INFO, Lab};

/// What must not change: a directory of the host that everything hostile leads to.
struct Precious {
    dir: PathBuf,
}

const FILES: [&str; 5] = ["a.log", "passwd", "resolv.conf", "shadow", "sub/b.log"];

impl Precious {
    fn new(lab: &Lab) -> Self {
        let dir = lab.dir().join("precious");
        fs::create_dir_all(dir.join("sub")).unwrap();
        for name in FILES {
            fs::write(dir.join(name), format!("precious {name}")).unwrap();
        }
        Self { dir }
    }

    #[track_caller]
    fn is_untouched(&self, what: &str) {
        let mut found = Vec::new();
        for dir in [self.dir.clone(), self.dir.join("sub")] {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.strip_prefix(&self.dir).unwrap().to_str().unwrap().to_owned();
                    assert_eq!(
                        fs::read_to_string(&path).unwrap(),
                        format!("precious {name}"),
                        "{what}"
                    );
                    found.push(name);
                }
            }
        }
        found.sort();
        assert_eq!(found, FILES, "{what}");
    }
}

/// What is said of a file, and what makes it.
type Make<'a> = (&'a str, &'a dyn Fn());

#[test]
fn names_of_elements_are_read_from_reasonable_files_only() {
    let Some(lab) = Lab::new() else { return };
    lab.file("sound/element-provides", "operating-system\n");
    let deps = lab.dir().join("elements/probe/element-deps");
    fs::create_dir_all(deps.parent().unwrap()).unwrap();
    let secret = lab.dir().join("secret");
    fs::write(&secret, "root:hash-of-a-password\n").unwrap();
    let cases: [Make<'_>; 5] = [
        ("it is a fifo", &|| {
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mknodat(rustix::fs::CWD, &deps, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }),
        ("it is a directory", &|| fs::create_dir(&deps).unwrap()),
        ("10737418240 bytes, more than the", &|| {
            fs::File::create(&deps).unwrap().set_len(10 << 30).unwrap();
        }),
        ("it leads to /dev/zero, outside", &|| {
            symlink("/dev/zero", &deps).unwrap();
        }),
        ("/secret, outside of the directory of elements", &|| {
            symlink(&secret, &deps).unwrap();
        }),
    ];
    for (said, make) in cases {
        make();
        for args in [
            &[DISK_IMAGE_CREATE, "-n", "sound", "probe"][..],
            &[ELEMENT_INFO, "sound", "probe"],
            &[DIB, "plan", "-n", "sound", "probe"],
        ] {
            let refused = lab.run(args[0], &args[1..]).failed(1, said);
            assert!(
                refused.err.contains("element probe: cannot read ") && refused.err.contains("element-deps"),
                "{}",
                refused.err
            );
            assert!(!refused.err.contains("hash-of-a-password"), "{}", refused.err);
        }
        // Who does not need the element is not concerned.
        lab.run(ELEMENT_INFO, &["sound"]).ok();
        let _ = fs::remove_file(&deps).or_else(|_| fs::remove_dir(&deps));
    }
    lab.file("probe/element-deps", "../../etc\n");
    lab.run(ELEMENT_INFO, &["sound", "probe"])
        .failed(1, "Element '../../etc' not found");
    fs::write(&deps, b"\xff\xfe\n").unwrap();
    lab.run(ELEMENT_INFO, &["sound", "probe"]).failed(1, "not found");
}

#[test]
fn links_and_odd_files_of_elements_are_not_followed_by_the_builder() {
    let Some(lab) = Lab::new() else { return };
    let precious = Precious::new(&lab);
    let element = lab.dir().join("elements/probe");
    for dir in ["install.d", "static/etc", "root.d", "environment.d"] {
        fs::create_dir_all(element.join(dir)).unwrap();
    }
    let shadow = precious.dir.join("shadow");
    for link in [
        "install.d/secret",
        "static/etc/secret",
        "outside.conf",
        "environment.d/10-secret",
    ] {
        symlink(&shadow, element.join(link)).unwrap();
    }
    fs::remove_file(element.join("environment.d/10-secret")).unwrap();
    lab.file("probe/real/inside.conf", "inside\n");
    symlink("real/inside.conf", element.join("inside.conf")).unwrap();
    for fifo in [
        "install.d/10-fifo",
        "environment.d/10-fifo",
        "README.rst",
        "pkg-map",
    ] {
        let mode = rustix::fs::Mode::RWXU;
        let path = element.join(fifo);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }
    let odd = std::ffi::OsStr::from_bytes(b"install.d/10-\xff\nodd");
    fs::write(element.join(odd), "exit 1").unwrap();
    let check = format!(
        "cd $TMP_HOOKS_PATH
         for link in install.d/secret static/etc/secret outside.conf; do [ $(readlink $link) = {} ]; done
         [ ! -L inside.conf ]; [ $(cat inside.conf) = inside ]
         [ ! -e install.d/10-fifo ]; [ ! -e environment.d/10-fifo ]",
        shadow.display()
    );
    lab.hook("extra-data.d/50-check", &check);
    lab.rehearse().ok();
    precious.is_untouched("links of an element");
}

#[test]
fn huge_files_of_elements_cost_nothing_or_are_refused() {
    let Some(lab) = Lab::new() else { return };
    lab.hook(
        "extra-data.d/50-check",
        "[ $(stat -c %s $TMP_HOOKS_PATH/static/huge) = 1099511627776 ]",
    );
    let element = lab.dir().join("elements/probe");
    fs::create_dir_all(element.join("static")).unwrap();
    fs::File::create(element.join("static/huge"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    lab.rehearse().ok();
    for list in ["package-installs.yaml", "pkg-map", "source-repository-x"] {
        fs::File::create(element.join(list))
            .unwrap()
            .set_len(10 << 30)
            .unwrap();
        let said = lab.rehearse().failed(1, "element probe: cannot read ");
        assert!(
            said.err.contains("10737418240 bytes, more than the"),
            "{}",
            said.err
        );
        fs::remove_file(element.join(list)).unwrap();
    }
}

#[test]
fn links_in_the_tree_lead_nowhere_outside() {
    let Some(mut lab) = Lab::new() else { return };
    let precious = Precious::new(&lab);
    let host = precious.dir.display().to_string();
    let up = "../".repeat(40);
    lab.set("SOURCE_DATE_EPOCH", "1700000000");
    // Those of one line do not stand in each other's way.
    let places = [
        "etc/fstab etc/machine-id etc/resolv.conf etc/shadow lost+found root/x.log var/cache/apt var/log/x",
        "etc/resolv.conf.ORIG",
        "etc",
        "tmp",
        "var/log",
        "var",
        "root",
        "dev",
        "proc",
        "sys",
    ];
    for places in places {
        for target in [host.clone(), format!("{up}{host}"), format!("{host}/passwd")] {
            let hook = format!(
                "cd $TARGET_ROOT
                 for place in {places}; do rm -rf $place; mkdir -p $(dirname $place); ln -s {target} $place; done"
            );
            lab.hook("root.d/90-link", &hook);
            let said = lab.build(&["-o", "x", "-t", "raw", "mini-os", "probe"]);
            // A build needs some of these places; whether it succeeds is not the question here.
            assert!(said.status <= 1, "{}", said.err);
            precious.is_untouched(&format!("links to {target}: {places}"));
            let _ = fs::remove_file(lab.out("x.raw"));
        }
    }
}

#[test]
fn files_of_other_kinds_in_the_trees_places_are_survived() {
    let Some(lab) = Lab::new() else { return };
    let cases = [
        (
            "mkfifo $TARGET_ROOT/etc/resolv.conf $TARGET_ROOT/etc/fstab $TARGET_ROOT/var/log/fifo $TARGET_ROOT/root/x.log",
            "",
        ),
        ("touch $TARGET_ROOT/lost+found", ""),
        (
            "mkdir -p $TARGET_ROOT/lost+found/x $TARGET_ROOT/etc/resolv.conf/x",
            "",
        ),
        (
            "mkdir -p $TARGET_ROOT/etc/fstab/x",
            "cannot write /etc/fstab of the tree",
        ),
        (
            "rm -rf $TARGET_ROOT/proc; touch $TARGET_ROOT/proc",
            "/proc of the tree is no directory",
        ),
        (
            "rm -rf $TARGET_ROOT/tmp; mkfifo $TARGET_ROOT/tmp",
            "/tmp of the tree is no directory",
        ),
    ];
    lab.hook("install.d/50-any", "");
    for (make, refused) in cases {
        lab.hook("root.d/90-odd", make);
        let said = lab.rehearse();
        if refused.is_empty() {
            said.ok();
        } else {
            said.failed(1, refused);
        }
    }
}

#[test]
fn directories_that_hooks_replace_are_noticed() {
    let Some(lab) = Lab::new() else { return };
    let precious = Precious::new(&lab);
    let host = precious.dir.display();
    lab.hook("install.d/50-any", "").hook("pre-install.d/50-any", "");
    for name in ["TMP_MOUNT_PATH", "TMP_HOOKS_PATH", "TMP_BUILD_DIR"] {
        let replaced = [
            format!("mv ${name} ${name}.old; ln -s {host} ${name}"),
            format!("mount --bind {host} ${name}"),
            format!("mv ${name} ${name}.old; mkdir ${name}"),
        ];
        for script in replaced {
            if name == "TMP_BUILD_DIR" && script.starts_with("mv") {
                // It is a mount point, which cannot be moved.
                continue;
            }
            for phase in ["root.d", "extra-data.d", "cleanup.d"] {
                lab.hook(&format!("{phase}/99-replace"), &script);
                lab.rehearse().failed(1, "is no longer the directory that it was");
                fs::remove_file(lab.dir().join(format!("elements/probe/{phase}/99-replace"))).unwrap();
                precious.is_untouched(&script);
            }
        }
    }
    // At any time, by what a hook left running.
    let later = format!(
        "(until [ -e $TMP_MOUNT_PATH/now ]; do sleep 0.01; done
          mv $TMP_MOUNT_PATH $TMP_MOUNT_PATH.old; ln -s {host} $TMP_MOUNT_PATH) > /dev/null 2>&1 &"
    );
    lab.hook("root.d/99-later", &later)
        .hook("finalise.d/50-now", ": > /now; sleep 0.5");
    lab.rehearse().failed(1, "is no longer the directory that it was");
    precious.is_untouched("replaced in the background");
}

#[test]
fn nothing_that_hooks_make_resists_removal() {
    let Some(mut lab) = Lab::new() else { return };
    if !oracle::require(&["perl", "chattr"]) {
        return;
    }
    lab.hook(
        "root.d/90-stubborn",
        "cd $TARGET_ROOT
         perl -e 'for (1..20000) { mkdir \"a long name of a directory\"; chdir \"a long name of a directory\"; }'
         (cd var/log; perl -e 'for (1..1500) { mkdir \"d\"; chdir \"d\"; } open F, \">x.log\"; print F \"text\"')
         mkdir shut; touch shut/file $'odd\\n\\xff'; chmod 000 shut/file shut
         mkdir fixed; touch fixed/file; chattr +i fixed/file fixed || true
         exec 9< etc/passwd; sleep 300 > /dev/null 2>&1 &",
    )
    .hook("cleanup.d/50-fail", "[ -z \"${FAIL:-}\" ] || exit 9");
    for no_tmpfs in ["1", "0"] {
        lab.set("DIB_NO_TMPFS", no_tmpfs);
        lab.set("FAIL", "1");
        lab.build(&["-o", "x", "-t", "raw", "mini-os", "probe"])
            .failed(9, "50-fail");
        lab.set("FAIL", "");
        lab.build(&["-o", "x", "-t", "raw", "mini-os", "probe"]).ok();
        oracle::ext4::fsck(&lab.out("x.raw"));
    }
}

#[test]
fn a_tree_that_hooks_make_read_only_fails_the_build_and_goes() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook("post-root.d/50-remount", "mount -o remount,ro $TMP_BUILD_DIR");
    for no_tmpfs in ["0", "1"] {
        lab.set("DIB_NO_TMPFS", no_tmpfs);
        // Of the disk only what the build sees of it becomes read-only.
        let remount = if no_tmpfs == "1" {
            "mount -o remount,bind,ro"
        } else {
            "mount -o remount,ro"
        };
        lab.hook("post-root.d/50-remount", &format!("{remount} $TMP_BUILD_DIR"));
        lab.rehearse().failed(1, "Read-only file system");
    }
}

#[test]
fn a_sweep_stops_at_mounts() {
    let Some(lab) = Lab::new() else { return };
    if !oracle::require(&["unshare", "mount"]) {
        return;
    }
    let precious = Precious::new(&lab);
    lab.file("no-final-image/README.md", "");
    let stale = lab.dir().join("tmp/dib_build.AAAABBBBCCCC");
    fs::create_dir_all(stale.join("mnt/host")).unwrap();
    fs::create_dir_all(stale.join("mnt/gone")).unwrap();
    let bind = format!(
        "mount --bind {} {}",
        precious.dir.display(),
        stale.join("mnt/host").display()
    );
    let said = lab.build_between(&bind, &["no-final-image", "mini-os"], "").ok();
    let warning = format!(
        "cannot remove {}: dib_build.AAAABBBBCCCC/mnt/host is a mount point",
        stale.canonicalize().unwrap().display()
    );
    assert!(said.err.contains(&warning), "{}", said.err);
    precious.is_untouched("bound below a stale directory");
    assert!(!stale.join("mnt/gone").exists(), "all else is gone");
    lab.build(&["no-final-image", "mini-os"]).ok();
}
