//! Elements whose work depends on the architecture and on the init system: `enable-serial-console` and `grub2`.

use crate::lab::Lab;

#[test]
fn each_init_system_has_a_login_on_the_serial_line() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook(
        "root.d/50-init",
        "mkdir -p $TARGET_ROOT/etc/init; echo id:3:initdefault: >$TARGET_ROOT/etc/inittab
        if [ $WHOSE = busybox ]; then mkdir -p $TARGET_ROOT/sbin; ln -s /bin/busybox $TARGET_ROOT/sbin/init; fi",
    );
    lab.hook(
        "cleanup.d/50-see",
        "cat $TARGET_ROOT/etc/udev/rules.d/98-dib-serial-console.rules $TARGET_ROOT/etc/init/* \\
            $TARGET_ROOT/etc/inittab >seen 2>/dev/null || true",
    );
    for (init, whose, arch, line) in [
        (
            "systemd",
            "its own",
            "amd64",
            "ENV{SYSTEMD_WANTS}+=\"serial-getty@%k.service\"",
        ),
        (
            "upstart",
            "its own",
            "amd64",
            "exec /sbin/getty -L 115200 ttyS0 xterm",
        ),
        (
            "upstart",
            "its own",
            "arm64",
            "exec /sbin/getty -L 115200 ttyAMA0 xterm",
        ),
        (
            "openrc",
            "its own",
            "arm64",
            "s0:12345:respawn:/sbin/agetty -L 115200 ttyAMA0 vt100",
        ),
        (
            "openrc",
            "busybox",
            "amd64",
            "\nttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt100\n",
        ),
    ] {
        lab.set("DIB_INIT_SYSTEM", init).set("WHOSE", whose);
        let words = [
            "-a",
            arch,
            "no-final-image",
            "mini-os",
            "probe",
            "enable-serial-console",
        ];
        lab.build(&words).ok();
        let seen = lab.text("seen");
        assert!(seen.contains(line), "{init}: {seen}");
    }
}

#[test]
fn grub2_installs_packages_and_nothing_else() {
    let Some(mut lab) = Lab::new() else { return };
    lab.set("DISTRO_NAME", "debian").set("DIB_RELEASE", "trixie");
    lab.file(
        "probe/bin/install-packages",
        "#!/bin/bash\necho \"$@\" >>/asked\n",
    )
    .hook(
        "cleanup.d/50-see",
        "cp $TARGET_ROOT/asked .; rm $TARGET_ROOT/asked",
    );
    for (arch, packages) in [
        ("amd64", "grub-efi-amd64-bin grub-pc-bin grub2-common"),
        ("arm64", "grub-efi-arm64-bin grub2-common"),
    ] {
        let words = ["-a", arch, "no-final-image", "mini-os", "probe", "grub2"];
        lab.build(&words).ok();
        let asked = lab.text("asked");
        let mut asked: Vec<&str> = asked.split_ascii_whitespace().collect();
        asked.sort_unstable();
        assert_eq!(asked.join(" "), packages, "{arch}");
    }
}
