//! What the core itself leaves in an image.

use std::path::Path;

use oracle::mounted;

use crate::lab::Lab;

/// Builds a raw image of `mini-os` and `probe`, and looks at it through the kernel.
fn look(lab: &Lab, args: &[&str], look: impl FnOnce(&Path) + Send) {
    if !mounted::require() {
        return;
    }
    let args = [&["-o", "x", "-t", "raw"], args, &["mini-os", "probe"]].concat();
    lab.build(&args).ok();
    mounted::read(&lab.out("x.raw"), look);
}

#[test]
fn traces_of_the_build_are_gone() {
    let Some(lab) = Lab::new() else { return };
    lab.hook(
        "install.d/10-traces",
        "mkdir /tmp/d; echo x > /tmp/d/f; echo x > /var/log/a; echo x > /root/b.log",
    )
    .hook(
        "cleanup.d/10-traces",
        "touch $TARGET_ROOT/.autorelabel $TARGET_ROOT/var/log/late",
    );
    look(&lab, &[], |root| {
        let read = |name: &str| std::fs::read_to_string(root.join(name));
        assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0);
        assert_eq!(read("var/log/a").unwrap(), "");
        assert_eq!(read("var/log/mini.log").unwrap(), "");
        assert!(root.join("var/log/late").exists());
        assert!(!root.join("root/b.log").exists());
        assert!(root.join(".autorelabel").exists());
        assert_eq!(
            read("etc/fstab").unwrap(),
            "LABEL=cloudimg-rootfs / ext4 defaults 0 1\n"
        );
        assert!(std::fs::symlink_metadata(root.join("etc/resolv.conf")).is_err());
        assert_eq!(
            std::fs::read_dir(root.join("dev")).unwrap().count(),
            0,
            "nothing of /dev"
        );
        assert_eq!(std::fs::read_dir(root.join("proc")).unwrap().count(), 0);
    });
}

#[test]
fn resolv_conf_is_what_elements_make_of_it() {
    let Some(lab) = Lab::new() else { return };
    lab.hook("root.d/50-own", "echo own > $TARGET_ROOT/etc/resolv.conf")
        .hook(
            "install.d/10-lent",
            "! grep -q own /etc/resolv.conf; echo orig > /etc/resolv.conf.ORIG",
        );
    look(&lab, &[], |root| {
        assert_eq!(
            std::fs::read_to_string(root.join("etc/resolv.conf")).unwrap(),
            "orig\n"
        );
    });
    lab.hook(
        "install.d/10-lent",
        "ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf",
    );
    look(&lab, &[], |root| {
        let target = std::fs::read_link(root.join("etc/resolv.conf")).unwrap();
        assert_eq!(target, Path::new("../run/systemd/resolve/stub-resolv.conf"));
        assert!(!root.join("etc/resolv.conf.ORIG").exists());
    });
    // What was there when the build began comes back by itself.
    lab.hook("install.d/10-lent", "! grep -q own /etc/resolv.conf");
    look(&lab, &[], |root| {
        let text = std::fs::read_to_string(root.join("etc/resolv.conf")).unwrap();
        assert_eq!(text, "own\n");
        assert!(!root.join("etc/resolv.conf.ORIG").exists());
    });
}

#[test]
fn a_resolv_conf_that_a_hook_made_immutable_stays() {
    let Some(mut lab) = Lab::new() else { return };
    if !oracle::require(&["chattr"]) {
        return;
    }
    // tmpfs knows no such flag.
    lab.set("DIB_NO_TMPFS", "1");
    lab.hook("root.d/50-own", "echo own > $TARGET_ROOT/etc/resolv.conf")
        .hook(
            "post-root.d/10-fixed",
            "rm -f $TARGET_ROOT/etc/resolv.conf; echo fixed > $TARGET_ROOT/etc/resolv.conf
         chattr +i $TARGET_ROOT/etc/resolv.conf",
        );
    look(&lab, &[], |root| {
        let text = std::fs::read_to_string(root.join("etc/resolv.conf")).unwrap();
        assert_eq!(text, "fixed\n");
        assert!(!root.join("etc/resolv.conf.ORIG").exists());
    });
}

#[test]
fn a_label_reaches_file_system_fstab_and_hooks() {
    let Some(lab) = Lab::new() else { return };
    lab.hook("finalise.d/10-label", "[ $DIB_ROOT_LABEL = other ]");
    look(&lab, &["--root-label", "other"], |root| {
        let fstab = std::fs::read_to_string(root.join("etc/fstab")).unwrap();
        assert_eq!(fstab, "LABEL=other / ext4 defaults 0 1\n");
    });
    assert!(oracle::ext4::dumpe2fs(&lab.out("x.raw"), true).contains("Filesystem volume name:   other\n"));
}
