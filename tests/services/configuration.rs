//! Configuration of pip, apt, cloud-init, the kernel and `SELinux`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{FAKE, build, has, lab};
use crate::lab::Lab;

#[test]
fn pip_is_configured_for_the_build_alone() {
    let Some(mut lab) = lab() else { return };
    let mirror = lab.dir().join("home/.cache/image-create/pypi/mirror/simple");
    fs::create_dir_all(&mirror).unwrap();
    fs::write(mirror.join("index.html"), "all of it\n").unwrap();
    lab.hook(
        "root.d/50-own",
        "mkdir -p $TARGET_ROOT/root/.pip; echo '[own]' >$TARGET_ROOT/root/.pip/pip.conf",
    );
    lab.hook(
        "install.d/50-see",
        "mkdir /seen; cp ~/.pip/pip.conf ~/.pydistutils.cfg /tmp/pypi/simple/index.html /seen/",
    );
    lab.set("SHOW", "seen root tmp");
    build(&lab, &["pypi"]).ok();
    // Its name is put together, as no file names a host of packages.
    let public = format!("https://{}.org/simple", "pypi");
    assert_eq!(
        lab.text("seen/pip.conf"),
        format!(
            "# Of this build, by the element pypi.\n[global]\nlog = /root/pip.log\nindex-url = file:///tmp/pypi\nextra-index-url = {public}\n"
        )
    );
    assert_eq!(lab.text("seen/index.html"), "all of it\n");
    assert_eq!(lab.text("root/.pip/pip.conf"), "[own]\n");
    assert!(!lab.text("modes").contains("root/.pydistutils.cfg"));
    assert!(mirror.join("index.html").exists(), "the mirror stays");

    lab.set("DIB_PYPI_MIRROR_URL", "https://one.example.org/simple")
        .set(
            "DIB_PYPI_MIRROR_URL_2",
            "http://me:pw@three.example.org:8080/simple",
        )
        .set("DIB_PYPI_MIRROR_URL_1", "http://two.example.org/simple")
        .set("DIB_NO_PYPI_PIP", "1")
        .set("DIB_PIP_RETRIES", "9");
    build(&lab, &["pypi"]).ok();
    assert_eq!(
        lab.text("seen/pip.conf"),
        "# Of this build, by the element pypi.\n[global]\nlog = /root/pip.log\nindex-url = https://one.example.org/simple\n\
         extra-index-url = http://two.example.org/simple\n    http://me:pw@three.example.org:8080/simple\n\
         trusted-host = two.example.org\n    three.example.org:8080\nretries = 9\n"
    );
    assert!(
        lab.text("seen/.pydistutils.cfg")
            .ends_with("[easy_install]\nindex_url = http://me:pw@three.example.org:8080/simple\nfind_links = https://one.example.org/simple\n    http://two.example.org/simple\n")
    );
}

#[test]
fn without_a_mirror_pip_stays_as_it_is() {
    let Some(mut lab) = lab() else { return };
    lab.hook(
        "root.d/50-own",
        "mkdir -p $TARGET_ROOT/root/.pip; echo '[own]' >$TARGET_ROOT/root/.pip/pip.conf",
    );
    lab.hook(
        "install.d/50-see",
        "[ ! -e ~/.pydistutils.cfg ]; [ $(cat ~/.pip/pip.conf) = '[own]' ]",
    );
    lab.set("SHOW", "root");
    build(&lab, &["pypi"]).ok();
    assert_eq!(lab.text("root/.pip/pip.conf"), "[own]\n");
}

#[test]
fn what_pip_fetches_is_kept() {
    let Some(mut lab) = lab() else { return };
    lab.hook(
        "install.d/50-fetch",
        "[ $PIP_CACHE_DIR = /tmp/pip ]; [ ! -e /tmp/pip/wheel ] || cp /tmp/pip/wheel /again; echo wheel >/tmp/pip/wheel",
    );
    // Each hook a second time: what is lent already is not lent once more.
    fs::create_dir_all(lab.dir().join("home/.cache/image-create/pypi/mirror")).unwrap();
    let once = |place: &str| {
        format!("[ $(grep -c \" $(realpath $TARGET_ROOT){place} \" /proc/self/mountinfo) = 1 ]")
    };
    lab.hook(
        "root.d/91-again",
        &format!("$TMP_HOOKS_PATH/root.d/90-pip-cache; {}", once("/tmp/pip")),
    );
    lab.hook(
        "extra-data.d/10-again",
        &format!(
            "$TMP_HOOKS_PATH/extra-data.d/00-mount-pypi-mirror; {}",
            once("/tmp/pypi")
        ),
    );
    lab.hook("root.d/50-look", "[ -z \"${PIP_CACHE_DIR:-}\" ]");
    lab.set("SHOW", "again tmp");
    build(&lab, &["pip-cache", "pypi"]).ok();
    assert_eq!(
        fs::read_to_string(lab.dir().join("home/.cache/image-create/pip/wheel")).unwrap(),
        "wheel\n"
    );
    assert!(!lab.out("again").exists());
    build(&lab, &["pip-cache", "pypi"]).ok();
    assert_eq!(lab.text("again"), "wheel\n");
}

#[test]
fn parameters_of_the_kernel_that_disagree_are_found() {
    let Some(mut lab) = lab() else { return };
    lab.hook(
        "install.d/50-set",
        "sysctl-set-value kernel.pid_max 4194304 'Many.'
        sysctl-write-value net.none.of_this 1
        sysctl-write-value net.none.of_this 1
        for words in 'sysctl-write-value net.none.of_this 2' 'sysctl-set-value net.none.of_this 1' \\
            'sysctl-write-value ../escape 1' 'sysctl-write-value one'; do
            status=0; $words 2>>/said || status=$?; [ $status = 1 ]
        done",
    );
    lab.set("SHOW", "etc said usr/local/bin");
    build(&lab, &["sysctl"]).ok();
    assert_eq!(
        lab.text("etc/sysctl.d/kernel.pid_max.conf"),
        "# Many.\nkernel.pid_max = 4194304\n"
    );
    assert_eq!(
        lab.text("etc/sysctl.d/net.none.of_this.conf"),
        "net.none.of_this = 1\n"
    );
    assert_eq!(
        lab.text("said"),
        "sysctl-write-value: net.none.of_this is to be '2', but /etc/sysctl.d/net.none.of_this.conf says '1'\n\
         sysctl-set-value: the kernel that runs has no parameter net.none.of_this\n\
         sysctl-write-value: '../escape' is no name of a parameter\n\
         Usage: sysctl-write-value NAME VALUE [COMMENT]\n"
    );
    has(&lab, "755 0:0 usr/local/bin/sysctl-set-value");
}

#[test]
fn cloud_init_is_told_where_to_look_and_what_to_grow() {
    let Some(mut lab) = lab() else { return };
    lab.hook(
        "root.d/50-own",
        "mkdir -p $TARGET_ROOT/etc/cloud $TARGET_ROOT/var/lib/cloud/seed/nocloud
        printf 'cloud_init_modules:\\n - migrator\\n - growpart\\n - resizefs\\n - [ growpart, always ]\\n - ssh\\n' >$TARGET_ROOT/etc/cloud/cloud.cfg
        echo '#cloud-config' >$TARGET_ROOT/var/lib/cloud/seed/nocloud/user-data",
    );
    lab.set("SHOW", "etc/cloud var/lib/cloud")
        .set("DIB_CLOUD_INIT_DATASOURCES", "Ec2")
        .set("DIB_CLOUD_INIT_GROWPART_DEVICES", "- /dev/sda1\n- '/dev/vda3'\n");
    build(
        &lab,
        &[
            "cloud-init-nocloud",
            "cloud-init-growpart",
            "cloud-init-disable-resizefs",
        ],
    )
    .ok();
    assert_eq!(
        lab.text("etc/cloud/cloud.cfg.d/91-dib-cloud-init-datasources.cfg"),
        "datasource_list: [ NoCloud, None ]\n"
    );
    assert_eq!(lab.text("var/lib/cloud/seed/nocloud/meta-data"), "");
    assert_eq!(
        lab.text("var/lib/cloud/seed/nocloud/user-data"),
        "#cloud-config\n"
    );
    assert_eq!(
        lab.text("etc/cloud/cloud.cfg"),
        "cloud_init_modules:\n - migrator\n - ssh\n"
    );
    assert_eq!(
        lab.text("etc/cloud/cloud.cfg.d/55-dib-growpart.cfg"),
        "growpart:\n  mode: auto\n  devices:\n    - \"/dev/sda1\"\n    - \"/dev/vda3\"\n  ignore_growroot_disabled: false\n"
    );

    lab.set("DIB_CLOUD_INIT_GROWPART_DEVICES", "[]");
    build(&lab, &["cloud-init-growpart"]).failed(1, "DIB_CLOUD_INIT_GROWPART_DEVICES names no device");
    lab.hook("root.d/50-own", "");
    build(&lab, &["cloud-init-disable-resizefs"]).failed(1, "the image has no cloud-init");
}

#[test]
fn cloud_init_runs_at_boot_by_each_init_system() {
    let Some(mut lab) = lab() else { return };
    lab.file("probe/bin/rc-update", FAKE);
    lab.hook(
        "root.d/50-own",
        "cd $TARGET_ROOT; mkdir -p etc/init.d usr/lib/systemd/system
        for name in cloud-init-local cloud-init cloud-config cloud-final; do
            touch etc/init.d/$name usr/lib/systemd/system/$name.service
        done",
    );
    build(&lab, &["cloud-init"]).ok();
    let calls = lab.text("calls");
    assert!(
        calls.contains("systemctl --quiet enable cloud-init-local.service\n") && !calls.contains("rc-update"),
        "{calls}"
    );
    lab.set("DISTRO_NAME", "alpine")
        .set("DIB_RELEASE", "3.22")
        .set("DIB_INIT_SYSTEM", "openrc");
    build(&lab, &["cloud-init"]).ok();
    assert_eq!(
        lab.text("calls"),
        "install-packages cloud-init\nrc-update --quiet add cloud-init-local boot\nrc-update --quiet add cloud-init default\n\
         rc-update --quiet add cloud-config default\nrc-update --quiet add cloud-final default\n"
    );
}

#[test]
fn modules_are_configured_and_their_initramfs_made_anew() {
    let Some(mut lab) = lab() else { return };
    lab.file("probe/modprobe.d/mine.conf", "options loop max_loop=8\n")
        .file("probe/bin/update-initramfs", FAKE);
    lab.hook(
        "root.d/50-own",
        "cd $TARGET_ROOT; mkdir -p boot lib/modules/6.1.0; touch -d 2001-01-01 boot/initrd.img-6.1.0
        touch -d 2001-01-01 boot/initrd.img-without-modules",
    );
    lab.hook(
        "install.d/50-kernel",
        "mkdir -p /lib/modules/6.9.9; touch /boot/initrd.img-6.9.9",
    );
    lab.set("DIB_MODPROBE_BLACKLIST", "igb, floppy\npcspkr");
    build(&lab, &["modprobe-blacklist", "modprobe", "disable-nouveau"]).ok();
    assert_eq!(
        lab.text("etc/modprobe.d/dib-blacklist.conf"),
        "blacklist igb\nblacklist floppy\nblacklist pcspkr\n"
    );
    assert_eq!(lab.text("etc/modprobe.d/mine.conf"), "options loop max_loop=8\n");
    assert_eq!(
        lab.text("etc/modprobe.d/disable-nouveau.conf"),
        "blacklist nouveau\noptions nouveau modeset=0\n"
    );
    assert_eq!(
        lab.text("etc/dracut.conf.d/disable-nouveau.conf"),
        "omit_drivers+=\" nouveau \"\n"
    );
    has(&lab, "644 0:0 etc/modprobe.d/mine.conf");
    assert_eq!(lab.text("calls"), "update-initramfs -u -k 6.1.0\n");
}

#[test]
fn apt_is_configured_from_the_host() {
    let Some(mut lab) = lab() else { return };
    lab.hook(
        "root.d/50-own",
        "mkdir -p $TARGET_ROOT/etc/apt; echo old >$TARGET_ROOT/etc/apt/sources.list",
    );
    let said = build(&lab, &["apt-conf", "apt-sources", "apt-preferences"]).ok();
    for name in ["DIB_APT_CONF", "DIB_APT_SOURCES", "DIB_DPKG_MANIFEST"] {
        assert!(said.out.contains(&format!("{name} is not set")), "{}", said.out);
    }
    assert_eq!(lab.text("etc/apt/sources.list"), "old\n");

    fs::write(lab.out("conf"), "APT::Get::Assume-Yes \"1\";\n").unwrap();
    fs::write(
        lab.out("sources"),
        "deb http://mirror.example.org/debian bookworm main\n",
    )
    .unwrap();
    fs::write(
        lab.out("manifest"),
        "{\"packages\": [\n  {\"package\": \"bash\", \"arch\": \"amd64\", \"version\": \"5.2.15-2+b7\", \"status\": \"installed\"},\n\
         {\"package\":\"gone\",\"version\":\"1\",\"status\":\"config-files\"},{\"version\": \"1:2~3\",\n \"package\": \"zlib1g\"}]}\n",
    )
    .unwrap();
    // A tree's links are its own.
    lab.hook(
        "root.d/50-own",
        "mkdir -p $TARGET_ROOT/etc/apt $TARGET_ROOT/srv; ln -s /srv/conf $TARGET_ROOT/etc/apt/apt.conf",
    );
    lab.set("DIB_APT_CONF", "conf")
        .set("DIB_APT_SOURCES", "sources")
        .set("DIB_DPKG_MANIFEST", "manifest")
        .set("SHOW", "etc srv");
    build(&lab, &["apt-conf", "apt-sources", "apt-preferences"]).ok();
    assert_eq!(lab.text("srv/conf"), "APT::Get::Assume-Yes \"1\";\n");
    assert_eq!(
        lab.text("etc/apt/sources.list"),
        "deb http://mirror.example.org/debian bookworm main\n"
    );
    has(&lab, "644 0:0 etc/apt/sources.list");
    assert_eq!(
        lab.text("etc/apt/preferences.d/50-dib-manifest"),
        "Package: bash\nPin: version 5.2.15-2+b7\nPin-Priority: 1001\n\nPackage: zlib1g\nPin: version 1:2~3\nPin-Priority: 1001\n"
    );
    for (element, variable) in [
        ("apt-conf", "DIB_APT_CONF"),
        ("apt-sources", "DIB_APT_SOURCES"),
        ("apt-preferences", "DIB_DPKG_MANIFEST"),
    ] {
        lab.set(variable, "nowhere");
        build(&lab, &[element]).failed(1, &format!("{variable} names nowhere, which is no file"));
    }
}

#[test]
fn selinux_and_the_journal_are_as_asked_for() {
    let Some(mut lab) = lab() else { return };
    for (element, mode) in [
        ("disable-selinux", "disabled"),
        ("selinux-permissive", "permissive"),
    ] {
        lab.hook("root.d/50-own", "");
        build(&lab, &[element]).ok();
        assert!(
            !lab.text("modes").contains("selinux"),
            "where there is none, none is made"
        );
        lab.hook(
            "root.d/50-own",
            "mkdir $TARGET_ROOT/etc/selinux; printf '# SELINUX= is\\nSELINUX=enforcing\\nSELINUXTYPE=targeted\\n' >$TARGET_ROOT/etc/selinux/config",
        );
        build(&lab, &[element]).ok();
        let expected = format!("# SELINUX= is\nSELINUX={mode}\nSELINUXTYPE=targeted\n");
        assert_eq!(lab.text("etc/selinux/config"), expected);
        // A root that packages make has no policy before.
        lab.hook("root.d/50-own", "").hook(
            "install.d/50-policy",
            "mkdir /etc/selinux; printf '# SELINUX= is\\nSELINUX=enforcing\\nSELINUXTYPE=targeted\\n' >/etc/selinux/config",
        );
        build(&lab, &[element]).ok();
        assert_eq!(lab.text("etc/selinux/config"), expected);
        lab.remove("probe/install.d/50-policy");
    }
    lab.hook(
        "root.d/50-own",
        "mkdir $TARGET_ROOT/etc/selinux; echo SELINUX=enforcing >$TARGET_ROOT/etc/selinux/config",
    );
    build(&lab, &["disable-selinux", "selinux-permissive"]).ok();
    assert_eq!(lab.text("etc/selinux/config"), "SELINUX=disabled\n");
    lab.set("SHOW", "etc/systemd");
    build(&lab, &["journal-to-console"]).ok();
    assert_eq!(
        lab.text("etc/systemd/journald.conf.d/80-dib-journal-to-console.conf"),
        "[Journal]\nForwardToConsole=yes\n"
    );
}

#[test]
fn hooks_find_python_under_one_name() {
    let Some(mut lab) = lab() else { return };
    lab.hook(
        "install.d/50-see",
        "[[ $(readlink /usr/local/bin/dib-python) == /usr/*/python3 ]]; echo $DIB_PYTHON $DIB_PYTHON_VERSION >/seen",
    );
    lab.hook(
        "root.d/50-own",
        "echo '#!/bin/sh' >$TARGET_ROOT/usr/bin/python3; chmod 755 $TARGET_ROOT/usr/bin/python3",
    );
    lab.set("SHOW", "seen usr/local/bin");
    build(&lab, &["dib-python"]).ok();
    assert_eq!(lab.text("seen"), "python3 3\n");
    assert!(
        !lab.text("modes").contains("dib-python"),
        "the name is for hooks alone"
    );
}

#[test]
fn nothing_turns_stable_names_of_interfaces_off() {
    let Some(lab) = lab() else { return };
    lab.hook(
        "root.d/50-own",
        "cd $TARGET_ROOT/etc; mkdir -p default systemd/network udev/rules.d
        echo 'GRUB_CMDLINE_LINUX=\"quiet net.ifnames=0 biosdevname=0 splash\"' >default/grub
        ln -s /dev/null systemd/network/99-default.link
        touch udev/rules.d/70-persistent-net.rules udev/rules.d/80-net-setup-link.rules",
    );
    build(&lab, &["stable-interface-names", "nm-dhcp-ib-interfaces"]).ok();
    assert_eq!(
        lab.text("etc/default/grub"),
        "GRUB_CMDLINE_LINUX=\"quiet splash\"\n"
    );
    let modes = lab.text("modes");
    assert!(
        !modes.contains("99-default.link") && !modes.contains("70-persistent"),
        "{modes}"
    );
    assert!(
        modes.contains("80-net-setup-link.rules"),
        "a file with rules stays"
    );
    has(
        &lab,
        "600 0:0 etc/NetworkManager/system-connections/dib-infiniband.nmconnection",
    );
}

#[test]
fn elements_run_the_same_where_nothing_can_be_mounted() {
    let Some(mut lab) = lab() else { return };
    lab.set("DIB_PRIVILEGES", "T1").set("SHOW", "again tmp");
    let cache = lab.dir().join("home/.cache/image-create");
    fs::create_dir_all(cache.join("pypi/mirror")).unwrap();
    fs::write(cache.join("pypi/mirror/index"), "").unwrap();
    lab.hook(
        "install.d/50-fetch",
        "[ -e /tmp/pypi/index ]; [ $PIP_CACHE_DIR = /tmp/pip ]
        [ ! -e /tmp/pip/wheel ] || cp /tmp/pip/wheel /again; echo wheel >/tmp/pip/wheel",
    );
    build(&lab, &["pip-cache", "pypi"]).ok();
    build(&lab, &["pip-cache", "pypi"]).ok();
    assert_eq!(lab.text("again"), "wheel\n");
    let mode = fs::metadata(cache.join("pip/wheel"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn algorithms_of_ssh_come_before_the_distributions_wherever_those_are() {
    let Some(mut lab) = lab() else { return };
    lab.set("DISTRO_NAME", "opensuse")
        .set("DIB_RELEASE", "tumbleweed");
    let configured = |place: &str, text: &str| {
        lab.hook(
            "root.d/50-own",
            &format!("mkdir -p $TARGET_ROOT/{place}; printf '{text}' >$TARGET_ROOT/{place}/sshd_config"),
        );
        build(&lab, &["openssh-server"]).ok();
        lab.text("modes")
    };
    let modes = configured(
        "usr/etc/ssh",
        "Include /etc/ssh/sshd_config.d/*.conf\\nPort 22\\n",
    );
    assert!(!modes.contains(" etc/ssh/sshd_config\n"), "{modes}");
    assert!(
        lab.text("etc/ssh/sshd_config.d/00-dib-hardening.conf")
            .starts_with("KexAlgorithms ")
    );
    has(&lab, "600 0:0 etc/ssh/sshd_config.d/00-dib-hardening.conf");
    // Where nothing is included, the whole configuration becomes the machine's own.
    configured("usr/etc/ssh", "Port 22\\n");
    let own = lab.text("etc/ssh/sshd_config");
    assert!(
        own.starts_with("KexAlgorithms ") && own.ends_with("\nPort 22\n"),
        "{own}"
    );
}

#[test]
fn hooks_find_the_tool_that_adds_archives() {
    let Some(mut lab) = lab() else { return };
    for name in ["apt-get", "dpkg-query"] {
        lab.file(&format!("probe/bin/{name}"), FAKE);
    }
    lab.set("DIB_AVOID_PACKAGES_UPDATE", "1")
        .set("DIB_SKIP_BASE_PACKAGE_INSTALL", "1");
    lab.set("DIB_RELEASE", "trixie");
    lab.hook(
        "root.d/50-own",
        "cd $TARGET_ROOT; mkdir -p usr/lib/apt/methods; touch usr/lib/apt/methods/https",
    );
    build(&lab, &["base"]).ok();
    assert_eq!(lab.text("calls"), "apt-get update\n");
    for (distribution, release) in [("debian", "bookworm"), ("ubuntu", "noble")] {
        lab.set("DISTRO_NAME", distribution).set("DIB_RELEASE", release);
        build(&lab, &["base"]).ok();
        let installs = "apt-get update\ninstall-packages software-properties-common\n";
        assert_eq!(lab.text("calls"), installs, "{distribution} {release}");
    }
    lab.file("probe/bin/add-apt-repository", FAKE);
    build(&lab, &["base"]).ok();
    assert_eq!(lab.text("calls"), "apt-get update\n");
}

#[test]
fn the_suite_of_security_updates_is_a_suffix_of_the_release_or_a_whole_name() {
    let snippet = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/elements/debian-minimal/environment.d/10-debian-minimal.bash"
    );
    // Each phase sources it anew, with what it exported.
    let script = format!("set -eu; . {snippet}; . {snippet}; echo \"$DIB_APT_SOURCES_CONF\"");
    for (path, suite) in [
        ("", "one-security"),
        ("-security", "one-security"),
        ("/updates", "one/updates"),
        ("two-security", "two-security"),
    ] {
        let mut lab = Lab::unprivileged();
        lab.set("DIB_RELEASE", "one")
            .set("DIB_DISTRIBUTION_MIRROR", "http://a.test/")
            .set("DIB_DEBIAN_SECURITY_MIRROR", "http://s.test")
            .set("DIB_DEBIAN_SECURITY_SUBPATH", path);
        let said = lab.run("/bin/bash", &["-c", &script]).ok().out;
        assert_eq!(
            said,
            format!(
                "default:deb http://a.test one main\nupdates:deb http://a.test one-updates main\n\
                 security:deb http://s.test {suite} main\n"
            )
        );
    }
}
