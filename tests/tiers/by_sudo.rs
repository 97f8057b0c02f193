//! Builds of a user whom sudo makes root: tier T0, while all that is kept stays the user's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::{WAIT, settled, sleepers, until};
use crate::rung::{Rung, Stairs, USER};

#[test]
fn host_hooks_are_the_users_and_so_is_what_is_kept() {
    let Some(mut stairs) = Stairs::new(Rung::Sudo) else {
        return;
    };
    let lab = &mut stairs.lab;
    lab.set("FROM_CALLER", "two\nlines = 'kept'")
        .set("odd.name", "kept, too")
        .set("TMP", "/odd");
    let host = r#"
[ "$(id -u)" = 61234 ] && [ "$(id -g)" = 61234 ]
[ "$FROM_CALLER" = $'two\nlines = \'kept\'' ] && [ "$TMP" = /odd ]
grep -qz '^odd.name=kept, too$' /proc/$$/environ
[ "${HOME%/home}" != "$HOME" ] && [ -O . ]
[ "$DIB_PRIVILEGES" = T0 ] && [ -z "${SUDO_UID:-}" ]
touch "$TMP_HOOKS_PATH/by-the-user" "$TMP_IMAGE_DIR/by-the-user"
[ "$(sudo id -u)" = 0 ]
! touch "$TARGET_ROOT/by-the-user" 2>/dev/null
sudo touch "$TARGET_ROOT/by-root"
echo told > /dev/stderr
declare -f die > /dev/null
"#;
    for phase in ["root.d", "extra-data.d", "cleanup.d"] {
        lab.hook(&format!("{phase}/50-host"), host);
    }
    let chroot = r#"
[ "$(id -u)" = 0 ] && [ -O /tmp/in_target.d/by-the-user ] && [ -O /by-root ] && [ -O "$0" ]
[ "$FROM_CALLER" = $'two\nlines = \'kept\'' ] && [ "$HOME" = /root ]
[ "$(sudo id -u)" = 0 ]
"#;
    lab.hook("install.d/50-chroot", chroot);
    lab.file("probe/first-boot.d/10-first", "#!/bin/sh\n");
    lab.hook(
        "post-root.d/50-owners",
        "[ -e $TARGET_ROOT/etc/first-boot.d/10-first ] && [ ! -O $TARGET_ROOT/etc/first-boot.d/10-first ]",
    );
    let args = [
        "--logfile",
        "log",
        "-o",
        "x",
        "-t",
        "raw",
        "--checksum",
        "mini-os",
        "probe",
    ];
    lab.set("DIB_EVENTS", "events");
    stairs.build(&args).ok();
    let log = stairs.lab.text("log");
    assert!(
        log.contains("Privileges: T0, root by sudo, hooks on the host as the user"),
        "{log}"
    );
    assert!(log.contains("| told"), "{log}");
    for name in ["x.raw", "x.raw.md5", "x.raw.sha256", "log", "events"] {
        let meta = fs::metadata(stairs.lab.out(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (USER, USER), "{name}");
    }
    let cache = stairs.lab.dir().join("home/.cache");
    for path in [cache.join("image-create"), cache.join("dib/lockfiles"), cache] {
        assert_eq!(fs::metadata(&path).unwrap().uid(), USER, "{}", path.display());
    }
}

#[test]
fn the_status_is_the_builds_and_the_umask_the_users() {
    let Some(stairs) = Stairs::new(Rung::Sudo) else {
        return;
    };
    stairs.lab.file("no-final-image/README.md", "");
    stairs.lab.hook("cleanup.d/50-fails", "exit 7");
    let said = stairs.build(&["no-final-image", "mini-os", "probe"]);
    let said = said.failed(7, "element probe: 50-fails ended with status 7");
    assert!(
        !said.err.contains("on-behalf"),
        "the command that is told is the user's: {}",
        said.err
    );
    stairs.build(&["--privileges", "T9", "mini-os"]).failed(1, "T9");
    // Nobody but sudo may call the program so.
    stairs
        .run(&["--on-behalf-of-user", "/tmp"])
        .failed(1, "for sudo only");
}

#[test]
fn the_build_ends_with_the_users_process() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, phase) in [
        (Signal::KILL, "root.d"),
        (Signal::KILL, "install.d"),
        (Signal::TERM, "root.d"),
        (Signal::TERM, "install.d"),
    ] {
        let Some(stairs) = Stairs::new(Rung::Sudo) else {
            return;
        };
        stairs.lab.hook(&format!("{phase}/90-wait"), WAIT);
        let mut child = stairs.start(&["disk-image-create", "-n", "mini-os", "probe"]);
        until(
            || sleepers(stairs.lab.dir()) == 2,
            || format!("it never waits in {phase}"),
        );
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        if signal == Signal::TERM {
            assert_eq!(status.code(), Some(143), "{phase}");
            assert_eq!(stairs.lab.left_behind(), [""; 0], "{phase}");
        }
        settled(stairs.lab.dir(), || format!("{signal:?} in {phase}"));
        // The user's process is gone, the builder cleans up all the same.
        until(
            || stairs.lab.left_behind().is_empty(),
            || format!("{signal:?} in {phase} leaves {:?}", stairs.lab.left_behind()),
        );
    }
}
