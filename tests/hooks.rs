//! How hooks run, and what they see.

use crate::lab::{Lab, RUN_PARTS};

#[test]
fn hooks_run_in_order_and_odd_files_do_not() {
    let Some(lab) = Lab::new() else { return };
    let log = lab.out("log").display().to_string();
    for name in [
        "2-b", "010-c", "10-A", "10-a", "10-b", "5_x", "99-z", "abc", "x.sh", "10.5-d",
    ] {
        lab.hook(
            &format!("extra-data.d/{name}"),
            &format!("echo ${{0##*/}} >> {log}"),
        );
    }
    lab.file("probe/extra-data.d/30-not-run", "echo never >> log");
    lab.file(
        "probe/elsewhere/20-link",
        &format!("#!/bin/sh\necho ${{0##*/}} >> {log}\n"),
    );
    std::os::unix::fs::symlink(
        "../elsewhere/20-link",
        lab.dir().join("elements/probe/extra-data.d/20-link"),
    )
    .unwrap();
    lab.rehearse().ok();
    let order = "abc 2-b 5_x 010-c 10-A 10-a 10-b 20-link 99-z";
    assert_eq!(
        lab.text("log").split_whitespace().collect::<Vec<_>>().join(" "),
        order
    );
}

#[test]
fn environment_reaches_every_later_hook() {
    let Some(mut lab) = Lab::new() else { return };
    lab.set("FROM_CALLER", "two\nlines");
    lab.file("probe/environment.d/9-z", "export ORDER=${ORDER:-}z\n")
        .file(
            "probe/environment.d/10-a.bash",
            "export ORDER=a SITE=$FROM_CALLER\n",
        )
        .file("probe/environment.d/100-a", "export ORDER=${ORDER}b\n");
    let check = "[ \"$ORDER\" = abz ]; [ \"$SITE\" = $'two\\nlines' ]";
    for phase in [
        "root.d",
        "extra-data.d",
        "pre-install.d",
        "install.d",
        "post-install.d",
        "post-root.d",
        "block-device.d",
        "pre-finalise.d",
        "finalise.d",
        "cleanup.d",
    ] {
        lab.hook(&format!("{phase}/50-check"), check);
    }
    lab.rehearse().ok();
    lab.file("probe/environment.d/50-unset", "echo $NO_SUCH_VARIABLE\n");
    let said = lab.rehearse();
    assert_ne!(said.status, 0);
    assert!(said.err.contains("environment.d"), "{}", said.err);
}

#[test]
fn one_hook_name_in_two_elements_is_refused_before_any_runs() {
    let Some(lab) = Lab::new() else { return };
    lab.hook("install.d/10-same", "")
        .hook("root.d/00-first", "touch ran");
    lab.file("other/install.d/10-same", "#!/bin/sh\n");
    lab.build(&["mini-os", "probe", "other"])
        .failed(1, "There is a duplicated hook")
        .failed(1, "other/install.d/10-same");
    assert_eq!(lab.names(), [""; 0]);
}

#[test]
fn a_hooks_status_is_the_builds() {
    let Some(lab) = Lab::new() else { return };
    lab.hook("install.d/10-fails", "exit 7");
    let said = lab.rehearse().failed(7, "element probe");
    assert!(said.err.contains("10-fails ended with status 7"), "{}", said.err);
    lab.hook("install.d/10-fails", "")
        .hook("cleanup.d/10-fails", "exit 5");
    lab.rehearse().failed(5, "phase cleanup.d");
    lab.hook("cleanup.d/10-fails", "")
        .hook("block-device.d/10-fails", "exit 9");
    lab.rehearse().failed(1, "phase block-device.d");
}

#[test]
fn hooks_find_themselves_where_they_expect() {
    let Some(lab) = Lab::new() else { return };
    let cwd = lab.out("");
    let cwd = cwd.canonicalize().unwrap().display().to_string();
    let host = format!(
        "[ \"$PWD\" = {cwd} ]; [ -d \"$TMP_HOOKS_PATH\" ]; [ \"$TARGET_ROOT\" = \"$TMP_MOUNT_PATH\" ]
         [[ $0 == $TMP_HOOKS_PATH/* ]]; type die get_image_element_array > /dev/null; source $_LIB/die
         [[ $(get_image_element_array) == *'[probe]=/'*elements/probe* ]]
         [ \"$(sudo -E A=b bash -c 'echo $A')\" = b ]; [ \"$LC_ALL\" = C ]; [ \"${{DIB_OFFLINE-unset}}\" = '' ]"
    );
    let chroot = "[ $PWD = / ]; [ $HOME = /root ]; [[ $0 == /tmp/in_target.d/* ]]
         [ -z \"${TARGET_ROOT:-}${TMPDIR:-}\" ]; ! touch /tmp/in_target.d/x 2> /dev/null
         ! touch /sys/x 2> /dev/null; [ -e /proc/self/status ]; [ -c /dev/null ]; [ -d /dev/pts ]
         [ ! -e /dev/mem ]; grep -q . /etc/resolv.conf; [ $(id -u) = 0 ]";
    lab.hook("root.d/50-host", &host)
        .hook("cleanup.d/50-host", &host)
        .hook("install.d/50-chroot", chroot)
        .hook("finalise.d/50-chroot", chroot)
        .hook("extra-data.d/10-put", "echo carried > $TMP_HOOKS_PATH/carried")
        .hook(
            "install.d/60-get",
            "[ $(cat /tmp/in_target.d/carried) = carried ]",
        )
        .hook(
            "extra-data.d/20-late",
            "cp $TMP_HOOKS_PATH/install.d/60-get $TMP_HOOKS_PATH/install.d/61-late",
        );
    lab.rehearse().ok();
}

#[test]
fn devices_and_sizes_are_named_when_they_are_known() {
    let Some(lab) = Lab::new() else { return };
    let before = "[ -z \"${IMAGE_BLOCK_DEVICE:-}\" ]";
    let after = "[ -n \"$IMAGE_BLOCK_DEVICE\" ]; eval \"declare -A d=($IMAGE_BLOCK_DEVICES)\"
        [ ${d[image0]} = $IMAGE_BLOCK_DEVICE ]; [ $DIB_ROOT_LABEL = cloudimg-rootfs ]";
    lab.hook("post-root.d/50-x", before)
        .hook(
            "block-device.d/50-x",
            "[[ $DIB_IMAGE_SIZE =~ ^[0-9]+$ ]]; [ $((DIB_IMAGE_SIZE % 64)) = 0 ]",
        )
        .hook("pre-finalise.d/50-x", after)
        .hook("finalise.d/50-x", after)
        .hook("cleanup.d/50-x", after);
    lab.rehearse().ok();
}

#[test]
fn scripts_without_shebang_run_as_bash() {
    let Some(lab) = Lab::new() else { return };
    lab.file("probe/install.d/10-plain", "#!");
    let text = "declare -a list=(1 2)\n[ ${#list[@]} = 2 ] || exit 3\n";
    std::fs::write(lab.dir().join("elements/probe/install.d/10-plain"), text).unwrap();
    lab.rehearse().ok();
}

#[test]
fn a_root_that_is_not_deployed_is_noticed() {
    let Some(lab) = Lab::new() else { return };
    lab.file("os/element-provides", "operating-system\n")
        .file("os/root.d/10-nothing", "#!/bin/sh\nmkdir $TARGET_ROOT/tmp\n");
    lab.build(&["os"]).failed(1, "Failed to deploy the root element.");
}

#[test]
fn mounts_and_processes_of_hooks_end() {
    let Some(lab) = Lab::new() else { return };
    lab.hook(
        "extra-data.d/10-mount",
        "mkdir $TARGET_ROOT/mnt/x; mount -t tmpfs x $TARGET_ROOT/mnt/x",
    )
    .hook("install.d/10-mount", "mount -t tmpfs y /mnt/x; sleep 300 &")
    .hook(
        "finalise.d/10-gone",
        "! [[ $(cat /proc/mounts) == */mnt/x* ]]; sleep 301 > /dev/null 2>&1 &",
    );
    lab.build(&["-o", "x", "-t", "raw", "mini-os", "probe"]).ok();
    assert_eq!(lab.names(), ["x.raw"]);
}

#[test]
fn breaks_open_shells_and_failures_stay_failures() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook("install.d/10-fails", "exit 7");
    lab.set("break", "after-error,before-root")
        .set("break_outside_target", "1")
        .set("break_cmd", "echo at $TMP_MOUNT_PATH >> broke");
    lab.rehearse().failed(7, "10-fails");
    assert_eq!(lab.text("broke").lines().count(), 2);
}

#[test]
fn packages_come_between_install_and_post_install() {
    let Some(lab) = Lab::new() else { return };
    lab.build(&["-p", "a,b", "-p", "c", "mini-os"])
        .failed(127, "install-packages");
    lab.file(
        "probe/bin/install-packages",
        "#!/bin/bash\necho packages \"$@\" >> /log\n",
    )
    .hook(
        "pre-install.d/10-bin",
        "cp /tmp/in_target.d/bin/install-packages /bin/",
    )
    .hook("install.d/10-log", "echo install >> /log")
    .hook("post-install.d/10-log", "echo post-install >> /log")
    .hook("cleanup.d/10-log", "cp $TARGET_ROOT/log .");
    lab.build(&["-p", "a,b", "-p", "c", "-o", "x", "mini-os", "probe"])
        .ok();
    assert_eq!(lab.text("log"), "install\npackages a b c\npost-install\n");
}

#[test]
fn the_runner_lists_and_runs_by_itself() {
    let lab = Lab::unprivileged();
    lab.hook("hooks.d/10-b", "echo b $X")
        .hook("hooks.d/9-a", "echo a $X");
    lab.file("probe/hooks.d/x.sh", "#!/bin/sh\n")
        .file("probe/environment.d/10-x", "export X=1\n");
    let dir = lab.dir().join("elements/probe/hooks.d").display().to_string();
    let list = lab.run(RUN_PARTS, &["--list", &dir]).ok();
    assert_eq!(list.out, format!("{dir}/9-a\n{dir}/10-b\n"));
    let ran = lab.run(RUN_PARTS, &[&dir]).ok();
    assert_eq!(ran.out, "a 1\nb 1\n");
    assert!(ran.err.contains("seconds"), "{}", ran.err);
    lab.run(RUN_PARTS, &["/no/such/dir"]).failed(1, "Usage");
    lab.run(RUN_PARTS, &[]).failed(1, "Usage");
    lab.hook("hooks.d/10-b", "exit 4");
    lab.run(RUN_PARTS, &[&dir]).failed(4, "10-b");
}

#[test]
fn the_runner_needs_nothing_of_the_tree() {
    let Some(lab) = Lab::new() else { return };
    // A root with nothing in it but the runner itself, as a hook: no shell, no libc.
    lab.file("os/element-provides", "operating-system\n")
        .file("os/root.d/10-bare", "#!/bin/sh\nmkdir $TARGET_ROOT/etc\n")
        .file(
            "os/extra-data.d/10-hook",
            "#!/bin/sh\nset -e\nmkdir $TMP_HOOKS_PATH/install.d\n\
             cp $TMP_HOOKS_PATH/dib-run-parts $TMP_HOOKS_PATH/install.d/dib-run-parts\n",
        );
    // Called without arguments the runner fails with 1, and its usage, which it could not without running.
    let said = lab.build(&["os"]).failed(1, "dib-run-parts ended with status 1");
    assert!(said.out.contains("Usage: dib-run-parts"), "{}", said.out);
}

#[test]
fn what_hooks_mount_in_the_tree_lasts_as_long_as_the_table_says() {
    let Some(lab) = Lab::new() else { return };
    let mounted = "[ -e $TARGET_ROOT/mnt/x/by-root ]";
    let gone = "[ -d ${TARGET_ROOT:-}/mnt/x ]; [ ! -e ${TARGET_ROOT:-}/mnt/x/by-root ]";
    lab.hook(
        "root.d/90-mount",
        "mkdir $TARGET_ROOT/mnt/x $TARGET_ROOT/mnt/again host; touch $TARGET_ROOT/mnt/file host/by-host
         mount -t tmpfs x $TARGET_ROOT/mnt/x; touch $TARGET_ROOT/mnt/x/by-root
         mkdir $TARGET_ROOT/mnt/x/inner; mount --bind host $TARGET_ROOT/mnt/x/inner
         mount --bind /etc/hostname $TARGET_ROOT/mnt/file",
    )
    .hook("extra-data.d/10-see", mounted)
    .hook(
        "install.d/10-see",
        "[ -e /mnt/x/by-root ]; touch /mnt/x/inner/by-install; [ -s /mnt/file ]",
    )
    .hook("post-root.d/10-see", mounted)
    .hook(
        "block-device.d/10-see",
        &format!("{gone}; grep $TARGET_ROOT /proc/mounts && exit 1; true"),
    )
    .hook(
        "pre-finalise.d/10-again",
        &format!("{gone}; mount -t tmpfs x $TARGET_ROOT/mnt/again; touch $TARGET_ROOT/mnt/again/file"),
    )
    .hook("finalise.d/10-see", &format!("{gone}; [ -e /mnt/again/file ]"))
    .hook("cleanup.d/10-see", "[ -e $TARGET_ROOT/mnt/again/file ]");
    lab.build(&["-o", "x", "-t", "raw", "mini-os", "probe"]).ok();
    // What the host lent got what hooks wrote, and lost nothing.
    let lent: Vec<_> = ["by-host", "by-install"]
        .iter()
        .map(|name| lab.out("host").join(name))
        .collect();
    assert!(lent.iter().all(|path| path.exists()));
    if oracle::mounted::require() {
        oracle::mounted::read(&lab.out("x.raw"), |root| {
            for point in ["mnt/x", "mnt/again", "proc", "sys", "dev"] {
                let dir = root.join(point);
                assert_eq!(
                    std::fs::read_dir(&dir).unwrap().count(),
                    0,
                    "{point} stays, empty"
                );
            }
            assert_eq!(std::fs::read(root.join("mnt/file")).unwrap(), b"");
        });
    }
}

#[test]
fn names_are_resolved_as_the_host_does() {
    let Some(lab) = Lab::new() else { return };
    lab.hook(
        "extra-data.d/10-keep",
        "cat /etc/resolv.conf > host-resolv || echo 'nameserver 8.8.8.8' > host-resolv",
    )
    .hook(
        "extra-data.d/20-see",
        "cat $TARGET_ROOT/etc/resolv.conf > seen-outside",
    )
    .hook("install.d/10-see", "cat /etc/resolv.conf > /etc/seen")
    .hook("finalise.d/10-see", "cat /etc/resolv.conf >> /etc/seen")
    .hook("cleanup.d/10-see", "mv $TARGET_ROOT/etc/seen seen-inside");
    lab.rehearse().ok();
    let host = lab.text("host-resolv");
    assert_eq!(lab.text("seen-outside"), host);
    assert_eq!(lab.text("seen-inside"), host.repeat(2));
}

#[test]
fn failures_leave_no_mount_no_process_and_no_device() {
    for phase in ["root.d", "install.d", "block-device.d", "cleanup.d"] {
        let Some(lab) = Lab::new() else { return };
        let mount =
            "mkdir -p ${TARGET_ROOT:-}/mnt/x; mount -t tmpfs x ${TARGET_ROOT:-}/mnt/x; sleep 3600 & exit 3";
        lab.hook(&format!("{phase}/99-fails"), mount);
        lab.build(&["-o", "x", "mini-os", "probe"])
            .failed(if phase == "block-device.d" { 1 } else { 3 }, "99-fails");
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        assert!(!mounts.contains(lab.dir().to_str().unwrap()), "{phase}");
        let sleeps = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
            let root = std::fs::read_link(entry.path().join("cwd"));
            root.is_ok_and(|root| root.starts_with(lab.dir()))
        });
        assert_eq!(sleeps.count(), 0, "{phase}");
        assert!(!lab.names().iter().any(|name| name.starts_with("x.")), "{phase}");
    }
}

#[test]
fn block_device_hooks_find_the_tree_by_its_old_name() {
    let Some(lab) = Lab::new() else { return };
    lab.hook("root.d/90-name", "[ ! -e $TMP_BUILD_DIR/built ]")
        .hook(
            "block-device.d/10-name",
            "[ $(cat $TMP_BUILD_DIR/built/etc/hostname) = mini ]",
        )
        .hook("pre-finalise.d/10-name", "[ ! -e $TMP_BUILD_DIR/built ]");
    lab.rehearse().ok();
}
