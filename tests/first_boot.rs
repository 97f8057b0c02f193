//! `first-boot.d`: scripts that an image runs when it first boots. The boot itself is that of the real Debian, in
//! `debian.rs`; here the program that a boot starts is called by hand.

use std::fs;

use crate::lab::Lab;

/// What runs the scripts as a boot does, and copies the tree's traces of it out.
const BOOT: &str = "
boot() { chroot $TARGET_ROOT env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \"$@\"; }
stat -c '%a %n' $TARGET_ROOT/usr/sbin/dib-first-boot > before
find $TARGET_ROOT/etc/first-boot.d -printf '%m %P\\n' | sort >> before
";

const AFTER: &str = "
stat -c %a $TARGET_ROOT/var/log/first-boot.d.log > after
[ ! -e $TARGET_ROOT/etc/first-boot.d ]; [ ! -e $TARGET_ROOT/usr/sbin/dib-first-boot ]
cat $TARGET_ROOT/var/log/first-boot.d.log > log
";

fn lab() -> Option<Lab> {
    let lab = Lab::new()?;
    for name in ["10-b", "9-a", "abc", "x.sh"] {
        lab.hook(
            &format!("first-boot.d/{name}"),
            "echo ran ${0##*/} in $PWD with ${DIB_RELEASE-nothing}",
        );
    }
    // A hook may run twice.
    lab.hook(
        "finalise.d/02-again",
        "[ ! -d /etc/first-boot.d ] || /tmp/in_target.d/finalise.d/01-first-boot",
    );
    lab.file("probe/first-boot.d/40-plain", "#!")
        .file("probe/first-boot.d/50-data", "data")
        .file("probe/first-boot.d/dir/10-x", "#!/bin/sh\nexit 1\n");
    fs::write(
        lab.dir().join("elements/probe/first-boot.d/40-plain"),
        "echo no shebang\n",
    )
    .unwrap();
    std::os::unix::fs::symlink("9-a", lab.dir().join("elements/probe/first-boot.d/60-link")).unwrap();
    Some(lab)
}

const RAN: &str = "dib-first-boot: running abc
ran abc in / with nothing
dib-first-boot: abc completed
dib-first-boot: running 9-a
ran 9-a in / with nothing
dib-first-boot: 9-a completed
dib-first-boot: running 10-b
ran 10-b in / with nothing
dib-first-boot: 10-b completed
dib-first-boot: running 40-plain
no shebang
dib-first-boot: 40-plain completed
dib-first-boot: running 60-link
ran 60-link in / with nothing
dib-first-boot: 60-link completed
";

#[test]
fn systemd_starts_the_scripts_once() {
    let Some(mut lab) = lab() else { return };
    lab.hook(
        "cleanup.d/50-boot",
        &format!(
            "{BOOT}
            cd $TARGET_ROOT/etc/systemd/system
            [ $(readlink multi-user.target.wants/dib-first-boot.service) = ../dib-first-boot.service ]
            cp dib-first-boot.service $OLDPWD/unit; cd $OLDPWD
            boot /usr/sbin/dib-first-boot
            {AFTER}
            [ -z \"$(find $TARGET_ROOT -name '*first-boot*' ! -name '*.log')\" ]"
        ),
    );
    lab.build_with_base(&["no-final-image", "mini-os", "probe"]).ok();
    let tree = lab.text("before");
    let (runner, laid) = tree.split_once('\n').unwrap();
    assert!(
        runner.starts_with("755 ") && runner.ends_with("/usr/sbin/dib-first-boot"),
        "{runner}"
    );
    assert_eq!(
        laid,
        "644 50-data\n755 \n755 10-b\n755 40-plain\n755 9-a\n755 abc\n755 dir\n755 dir/10-x\n755 x.sh\n777 60-link\n"
    );
    assert_eq!(lab.text("after"), "600\n");
    assert_eq!(lab.text("log"), RAN);
    let unit = lab.text("unit");
    for line in [
        "ExecStart=/usr/sbin/dib-first-boot",
        "Before=rc-local.service multi-user.target",
        "Type=oneshot",
    ] {
        assert!(unit.lines().any(|known| known == line), "{unit}");
    }
    if oracle::require(&["systemd-analyze"]) {
        let unit = lab.out("dib-first-boot.service");
        fs::rename(lab.out("unit"), &unit).unwrap();
        let said = oracle::output("systemd-analyze", &["verify".as_ref(), unit.as_os_str()]);
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        // The program is in the image, not here.
        assert!(
            said.lines()
                .all(|line| line.contains("/usr/sbin/dib-first-boot is not executable")),
            "{said}"
        );
    }
}

#[test]
fn a_script_that_fails_ends_them_for_good() {
    let Some(mut lab) = lab() else { return };
    lab.hook("first-boot.d/9-a", "echo early; exit 7");
    lab.hook(
        "cleanup.d/50-boot",
        &format!("{BOOT}\nstatus=0; boot /usr/sbin/dib-first-boot || status=$?; [ $status = 7 ]; {AFTER}"),
    );
    lab.build_with_base(&["no-final-image", "mini-os", "probe"]).ok();
    let log = lab.text("log");
    assert!(
        log.contains("early\ndib-first-boot: 9-a failed with status 7\n"),
        "{log}"
    );
    assert!(
        log.contains("what did not run will not run") && !log.contains("running 10-b"),
        "{log}"
    );
}

#[test]
fn rc_local_starts_the_scripts_and_is_itself_again() {
    for (init, own, place) in [
        ("sysv", true, "/etc/rc.local"),
        ("upstart", false, "/etc/rc.local"),
        ("sysv", true, "/etc/rc.d/rc.local"),
        ("openrc", false, "/etc/local.d/00-dib-first-boot.start"),
    ] {
        let Some(mut lab) = lab() else { return };
        lab.set("DIB_INIT_SYSTEM", init);
        if own {
            let file = format!("$TARGET_ROOT{place}");
            lab.hook(
                "root.d/50-own",
                &format!("mkdir -p $(dirname {file}); printf '#!/bin/sh\\necho own $1\\nexit 4\\n' > {file}; chmod 755 {file}"),
            );
        }
        lab.hook(
            "cleanup.d/50-boot",
            &format!(
                "{BOOT}
                # As the links of runlevels do.
                ln -s {place} $TARGET_ROOT/etc/S99local
                for boot in 1 2; do status=0; boot /etc/S99local $boot >> said || status=$?; echo $status >> said; done
                {AFTER}
                [ ! -e $TARGET_ROOT{place}.REAL ]; [ ! -e $TARGET_ROOT{place} ] || cp $TARGET_ROOT{place} own"
            ),
        );
        lab.build_with_base(&["no-final-image", "mini-os", "probe"]).ok();
        assert_eq!(lab.text("log"), RAN, "{init} {place}");
        let said = if own { "own 1\n4\nown 2\n4\n" } else { "0\n127\n" };
        assert_eq!(lab.text("said"), said, "{init} {place}");
        assert_eq!(lab.out("own").exists(), own);
    }
}

#[test]
fn without_scripts_nothing_is_installed_and_without_base_nothing_runs_them() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook(
        "cleanup.d/50-none",
        "[ -z \"$(find $TARGET_ROOT -name '*first-boot*')\" ]",
    );
    lab.build_with_base(&["no-final-image", "mini-os", "probe"]).ok();
    lab.hook("first-boot.d/10-x", "")
        .hook(
            "extra-data.d/10-more",
            "cp $TMP_HOOKS_PATH/first-boot.d/10-x $TMP_HOOKS_PATH/first-boot.d/20-x",
        )
        .hook("post-root.d/10-see", "[ -x $TARGET_ROOT/etc/first-boot.d/20-x ]")
        .hook(
            "cleanup.d/50-none",
            "[ ! -e $TARGET_ROOT/usr/sbin/dib-first-boot ]",
        );
    let said = lab.rehearse().ok();
    assert!(
        said.out
            .contains("warning: first-boot.d of element probe is laid into the image, but nothing runs it"),
        "{}",
        said.out
    );
}
