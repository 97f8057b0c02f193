//! Users, keys, proxies and services.

use std::fs;

use super::{FAKE, build, has, home, lab};
use crate::lab::Lab;

#[test]
fn devuser_has_the_builders_keys_and_what_is_asked_for() {
    let Some(mut lab) = lab() else { return };
    home(&lab, ".ssh/id_ed25519.pub", "ssh-ed25519 AAAA me\n");
    home(&lab, ".ssh/id_rsa.pub", "ssh-rsa BBBB me\n");
    lab.set("SHOW", "etc home");
    lab.hook(
        "extra-data.d/60-once-more",
        "$TMP_HOOKS_PATH/extra-data.d/50-devuser-keys",
    );
    build(&lab, &["devuser"]).ok();
    assert_eq!(
        lab.text("home/devuser/.ssh/authorized_keys"),
        "ssh-ed25519 AAAA me\nssh-rsa BBBB me\n"
    );
    has(&lab, "700 1234:1235 home/devuser/.ssh");
    has(&lab, "600 1234:1235 home/devuser/.ssh/authorized_keys");
    let calls = lab.text("calls");
    assert_eq!(
        calls,
        "install-packages passwd sudo\nuseradd --create-home --password * devuser\n"
    );

    fs::write(lab.out("keys"), "ssh-ed25519 CCCC other\n").unwrap();
    lab.set("DIB_DEV_USER_USERNAME", "me")
        .set("DIB_DEV_USER_SHELL", "/bin/zsh")
        .set("DIB_DEV_USER_GROUPS", "adm, audio")
        .set("DIB_DEV_USER_PASSWORD", "it's secret")
        .set("DIB_DEV_USER_PWDLESS_SUDO", "yes")
        .set("DIB_DEV_USER_AUTHORIZED_KEYS", "keys");
    lab.file(
        "probe/bin/chpasswd",
        "#!/bin/sh\nread -r line\necho \"chpasswd $line\" >>/calls\n",
    );
    build(&lab, &["devuser"]).ok();
    assert_eq!(
        lab.text("home/me/.ssh/authorized_keys"),
        "ssh-ed25519 CCCC other\n"
    );
    assert!(
        lab.text("calls").ends_with(
            "useradd --create-home --password * --shell /bin/zsh me\nusermod --append --groups adm,audio me\nchpasswd me:it's secret\n"
        ),
        "{}",
        lab.text("calls")
    );
    assert_eq!(lab.text("etc/sudoers.d/devuser"), "me ALL=(ALL) NOPASSWD:ALL\n");
    has(&lab, "440 0:0 etc/sudoers.d/devuser");

    lab.set("DIB_DEV_USER_AUTHORIZED_KEYS", "nowhere");
    build(&lab, &["devuser"]).failed(1, "DIB_DEV_USER_AUTHORIZED_KEYS names nowhere");
}

#[test]
fn devuser_without_key_and_password_is_told() {
    let Some(mut lab) = lab() else { return };
    lab.set("DIB_DEV_USER_AUTHORIZED_KEYS", "/dev/null")
        .set("DIB_DEV_USER_PWDLESS_SUDO", "0")
        .set("SHOW", "etc home");
    let said = build(&lab, &["devuser"]).ok();
    let said = said.out + &said.err;
    assert!(said.contains("devuser can log in by nothing"), "{said}");
    let modes = lab.text("modes");
    assert!(
        !modes.contains("authorized_keys") && !modes.contains("sudoers"),
        "{modes}"
    );
}

#[test]
fn local_config_takes_keys_and_proxies_over() {
    let Some(mut lab) = lab() else { return };
    home(
        &lab,
        ".ssh/authorized_keys",
        "ssh-ed25519 AAAA a\nssh-ed25519 BBBB b",
    );
    lab.set("SHOW", "etc root home")
        .set("http_proxy", "http://proxy.example.org:3128")
        .set("https_proxy", "http://proxy.example.org:3129")
        .set("no_proxy", "internal.example.org");
    lab.hook(
        "root.d/50-own",
        "cd \"$TARGET_ROOT\"; mkdir -p etc/apt/apt.conf.d etc/dnf etc/zypp home/stack root/.ssh
        printf '[main]\\nproxy=http://old\\n' >etc/dnf/dnf.conf.REAL
        printf '[main]\\n' >etc/dnf/dnf.conf
        echo 'stack:x:7:8::/home/stack:/bin/sh' >>etc/passwd
        echo 'ssh-ed25519 AAAA a' >root/.ssh/authorized_keys",
    );
    build(&lab, &["local-config"]).ok();
    assert_eq!(
        lab.text("root/.ssh/authorized_keys"),
        "ssh-ed25519 AAAA a\nssh-ed25519 BBBB b\n"
    );
    has(&lab, "700 0:0 root/.ssh");
    has(&lab, "600 0:0 root/.ssh/authorized_keys");
    assert_eq!(
        lab.text("etc/apt/apt.conf.d/60img-local-proxy"),
        "Acquire::http::Proxy \"http://proxy.example.org:3128\";\nAcquire::https::Proxy \"http://proxy.example.org:3129\";\n"
    );
    // Of dnf's two files one is the build's own, which goes away.
    assert_eq!(
        lab.text("etc/dnf/dnf.conf.REAL"),
        "[main]\nproxy=http://proxy.example.org:3128\n"
    );
    assert_eq!(lab.text("etc/dnf/dnf.conf"), "[main]\n");
    assert_eq!(
        lab.text("etc/sysconfig/proxy"),
        "PROXY_ENABLED=\"yes\"\nHTTP_PROXY=\"http://proxy.example.org:3128\"\nHTTPS_PROXY=\"http://proxy.example.org:3129\"\n\
         NO_PROXY=\"localhost,127.0.0.1,192.0.2.1,internal.example.org\"\n"
    );
    assert!(
        lab.text("home/stack/.profile")
            .ends_with("export no_proxy=192.0.2.1,internal.example.org\n")
    );
    has(&lab, "644 7:8 home/stack/.profile");

    lab.set("DIB_LOCAL_CONFIG_USERNAME", "nobody-here");
    build(&lab, &["local-config"]).failed(1, "the image has no user of that name");
}

#[test]
fn keys_go_to_the_user_that_another_element_makes() {
    let Some(mut lab) = lab() else { return };
    home(&lab, ".ssh/authorized_keys", "ssh-ed25519 AAAA a\n");
    lab.set("SHOW", "etc home")
        .set("DIB_LOCAL_CONFIG_USERNAME", "devuser");
    build(&lab, &["local-config", "devuser"]).ok();
    assert_eq!(
        lab.text("home/devuser/.ssh/authorized_keys"),
        "ssh-ed25519 AAAA a\n"
    );
    has(&lab, "600 1234:1235 home/devuser/.ssh/authorized_keys");
    assert!(!lab.text("modes").contains("60img-local-proxy"));
}

#[test]
fn dhcp_on_all_interfaces_is_the_scripts_or_network_managers() {
    let Some(mut lab) = lab() else { return };
    lab.set("SHOW", "etc usr/local/sbin").set("DIB_DHCP_TIMEOUT", "7");
    lab.hook(
        "root.d/50-own",
        "mkdir -p $TARGET_ROOT/etc/network; echo 'auto lo' >$TARGET_ROOT/etc/network/interfaces",
    );
    build(&lab, &["dhcp-all-interfaces"]).ok();
    assert_eq!(lab.text("etc/default/dhcp-all-interfaces"), "DHCP_TIMEOUT=7\n");
    assert_eq!(
        lab.text("etc/network/interfaces"),
        "auto lo\nsource /run/network/interfaces.d/*\n"
    );
    has(&lab, "755 0:0 usr/local/sbin/dhcp-all-interfaces.sh");
    has(&lab, "644 0:0 etc/systemd/system/dhcp-interface@.service");
    has(&lab, "644 0:0 etc/udev/rules.d/99-dhcp-all-interfaces.rules");
    assert_eq!(lab.text("calls"), "install-packages dhcpcd-base iproute2\n");

    lab.set("DIB_DHCP_NETWORK_MANAGER_AUTO", "true");
    build(&lab, &["dhcp-all-interfaces"]).ok();
    let conf = lab.text("etc/NetworkManager/conf.d/50-dib-dhcp-all-interfaces.conf");
    assert!(
        conf.starts_with("[main]\ndhcp=internal\nno-auto-default=\n")
            && conf.contains("ipv4.dhcp-timeout=7\n"),
        "{conf}"
    );
    assert!(
        lab.text("calls")
            .ends_with("network-manager\nsystemctl --quiet enable NetworkManager.service\n")
    );
    assert!(!lab.text("modes").contains("dhcp-interface@"));

    lab.set("DIB_DHCP_TIMEOUT", "soon");
    build(&lab, &["dhcp-all-interfaces"]).failed(1, "DIB_DHCP_TIMEOUT is 'soon'");
}

#[test]
fn dhcp_is_asked_for_on_each_interface_of_alpine_too() {
    let Some(mut lab) = lab() else { return };
    for name in ["rc-update", "ifup"] {
        lab.file(&format!("probe/bin/{name}"), FAKE);
    }
    lab.file("probe/bin/ip", "#!/bin/sh\n");
    lab.set("DISTRO_NAME", "alpine")
        .set("DIB_RELEASE", "3.22")
        .set("DIB_INIT_SYSTEM", "openrc")
        .set("SHOW", "etc run");
    lab.hook(
        "root.d/50-own",
        "mkdir -p $TARGET_ROOT/etc/network $TARGET_ROOT/etc/init.d; printf 'auto eth0\\niface eth0 inet dhcp\\n' >$TARGET_ROOT/etc/network/interfaces",
    );
    lab.hook(
        "cleanup.d/50-boot",
        "cd $TARGET_ROOT
        for name in eth0 eth1; do
            mkdir -p net/$name/device; echo 1 >net/$name/type; echo 1 >net/$name/carrier
        done
        sed 's,=/sys/class/net$,=/net,' usr/local/sbin/dhcp-all-interfaces.sh >script
        chroot . env PATH=/usr/local/bin:/usr/bin:/bin sh /script >/dev/null",
    );
    build(&lab, &["dhcp-all-interfaces"]).ok();
    has(&lab, "755 0:0 etc/init.d/dhcp-all-interfaces");
    let calls = lab.text("calls");
    for call in [
        "rc-update --quiet add dhcp-all-interfaces default",
        "ifup -i /run/network/interfaces.d/eth1 eth1",
    ] {
        assert!(calls.lines().any(|known| known == call), "no '{call}' in {calls}");
    }
    assert!(!calls.contains("eth0"), "{calls}");
    assert_eq!(
        lab.text("run/network/interfaces.d/eth1"),
        "iface eth1 inet dhcp\n"
    );
    // Its ifup would take the pattern for a name, and configure nothing any more.
    assert_eq!(
        lab.text("etc/network/interfaces"),
        "auto eth0\niface eth0 inet dhcp\n"
    );
}

#[test]
fn files_of_the_host_are_missed_before_anything_is_built() {
    let Some(mut lab) = lab() else { return };
    lab.hook("root.d/90-late", "echo too late >late");
    build(&lab, &["fail2ban"]).failed(1, "DIB_FAIL2BAN_CONF is ''");
    build(&lab, &["autoupdates"]).failed(1, "DIB_DEB_UPDATES_CONF is ''");
    assert!(!lab.out("late").exists());

    fs::write(lab.out("jail"), "[sshd]\nenabled = true\n").unwrap();
    fs::write(lab.out("rules"), "Unattended-Upgrade::Mail \"me\";\n").unwrap();
    lab.set("DIB_FAIL2BAN_CONF", "jail")
        .set("DIB_DEB_UPDATES_CONF", "rules")
        .set("DIB_YUM_UPDATES_CONF", "rules");
    build(&lab, &["fail2ban", "autoupdates"]).ok();
    assert_eq!(lab.text("etc/fail2ban/jail.local"), "[sshd]\nenabled = true\n");
    assert_eq!(
        lab.text("etc/apt/apt.conf.d/50unattended-upgrades"),
        "Unattended-Upgrade::Mail \"me\";\n"
    );
    assert!(
        lab.text("etc/apt/apt.conf.d/20auto-upgrades")
            .contains("Unattended-Upgrade \"1\"")
    );
    let calls = lab.text("calls");
    assert!(
        calls.contains("install-packages fail2ban python3-systemd unattended-upgrades\n"),
        "{calls}"
    );

    lab.set("DISTRO_NAME", "rocky");
    build(&lab, &["autoupdates"]).ok();
    assert_eq!(
        lab.text("etc/dnf/automatic.conf"),
        "Unattended-Upgrade::Mail \"me\";\n"
    );
    assert_eq!(
        lab.text("calls"),
        "install-packages dnf-automatic\nsystemctl --quiet enable dnf-automatic.timer\n"
    );
    lab.set("DISTRO_NAME", "fedora").set("DIB_RELEASE", "42");
    lab.hook(
        "install.d/90-dnf5",
        "mkdir -p /usr/lib/systemd/system; touch /usr/lib/systemd/system/dnf5-automatic.timer",
    );
    build(&lab, &["autoupdates"]).ok();
    assert!(
        lab.text("calls")
            .ends_with("systemctl --quiet enable dnf5-automatic.timer\n")
    );
}

#[test]
fn repositories_of_the_red_hat_family() {
    let Some(mut lab) = lab() else { return };
    lab.file("probe/bin/yum", FAKE).file(
        "probe/bin/rpm",
        "#!/bin/sh\necho \"rpm $*\" >>/calls\ncase $* in *--query*) exit 1;; esac\n",
    );
    lab.hook(
        "root.d/50-own",
        "mkdir -p $TARGET_ROOT/etc/yum.repos.d; cd $TARGET_ROOT/etc/yum.repos.d
        printf '[epel]\\n#baseurl=https://download.example/pub/epel/$releasever/Everything/$basearch/\\nmetalink=https://x/y\\nenabled=1\\n' >epel.repo
        printf '[elrepo]\\nenabled=1\\n[elrepo-kernel]\\nenabled=0\\n[elrepo-extras]\\nenabled=0\\n' >elrepo.repo",
    );
    // Elsewhere there is nothing to do, or it cannot be done.
    build(&lab, &["epel"]).ok();
    assert!(!lab.text("etc/yum.repos.d/epel.repo").contains("#metalink"));
    build(&lab, &["elrepo"]).failed(1, "there is no ELRepo for debian");

    lab.set("DISTRO_NAME", "rhel")
        .set("DIB_RELEASE", "9.4")
        .set("DIB_EPEL_MIRROR", "http://mirror.example.org/epel/")
        .set("DIB_EPEL_DISABLED", "1")
        .set("DIB_ELREPO_KERNEL", "1");
    build(&lab, &["epel", "elrepo"]).ok();
    let calls = lab.text("calls");
    for line in [
        "yum -y install http://mirror.example.org/epel/epel-release-latest-9.noarch.rpm",
        "rpm --import https://www.elrepo.org/RPM-GPG-KEY-elrepo.org",
        "yum -y install https://www.elrepo.org/elrepo-release-9.el9.elrepo.noarch.rpm",
    ] {
        assert!(calls.lines().any(|call| call == line), "{calls}");
    }
    assert_eq!(
        lab.text("etc/yum.repos.d/epel.repo"),
        "[epel]\nbaseurl=http://mirror.example.org/epel/$releasever/Everything/$basearch/\n#metalink=https://x/y\nenabled=0\n"
    );
    assert_eq!(
        lab.text("etc/yum.repos.d/elrepo.repo"),
        "[elrepo]\nenabled=1\n[elrepo-kernel]\nenabled=1\n[elrepo-extras]\nenabled=0\n"
    );
    lab.set("DISTRO_NAME", "centos").set("DIB_RELEASE", "9-stream");
    build(&lab, &["epel"]).ok();
    assert!(lab.text("calls").starts_with("install-packages epel-release\n"));
}

#[test]
fn machines_prove_by_keylime_what_they_have_booted() {
    let Some(mut lab) = lab() else { return };
    lab.hook(
        "root.d/50-own",
        "cd $TARGET_ROOT; mkdir -p etc/selinux; echo SELINUX=enforcing >etc/selinux/config",
    );
    // What the agent leaves when its package starts it.
    lab.hook(
        "install.d/90-started",
        "mkdir -p /var/lib/keylime/cv_ca /var/lib/keylime/tpm_cert_store; touch /var/lib/keylime/agent_data.json",
    );
    lab.set("SHOW", "etc var/lib")
        .set("DIB_KEYLIME_AGENT_REGISTRAR_IP", "192.0.2.7");
    let elsewhere = build(&lab, &["keylime-agent"]);
    let told = "keylime-agent: no package of the agent is known for debian";
    assert!([elsewhere.out, elsewhere.err].concat().contains(told));
    lab.set("DISTRO_NAME", "fedora").set("DIB_RELEASE", "41");
    build(&lab, &["keylime-agent"]).ok();
    assert_eq!(
        lab.text("calls"),
        "install-packages keylime-agent-rust tpm2-tools\nsystemctl --quiet enable keylime_agent.service\n"
    );
    assert_eq!(
        lab.text("etc/keylime/agent.conf.d/50-dib.conf"),
        "[agent]\nregistrar_ip = \"192.0.2.7\"\nregistrar_port = 8890\n"
    );
    assert_eq!(lab.text("etc/selinux/config"), "SELINUX=permissive\n");
    let left = lab.text("modes");
    assert!(
        left.contains("keylime/tpm_cert_store") && !left.contains("cv_ca") && !left.contains("agent_data"),
        "{left}"
    );
    lab.set("DIB_KEYLIME_AGENT_REGISTRAR_IP", "");
    let nowhere = build(&lab, &["keylime-agent"]);
    assert!(
        [nowhere.out, nowhere.err]
            .concat()
            .contains("DIB_KEYLIME_AGENT_REGISTRAR_IP is not set")
    );
}

#[test]
fn what_a_build_configures_of_yum_ends_with_it_however_often_it_runs() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook("root.d/40-tools", "cp -L $(type -P tail test) $TARGET_ROOT/bin");
    lab.set("DISTRO_NAME", "fedora")
        .set("DIB_RELEASE", "41")
        .set("DIB_YUM_REPO_CONF", "new.repo own.repo same.repo")
        .set("http_proxy", "http://proxy.example.org:3128");
    for name in ["new", "own", "same"] {
        fs::write(lab.out(&format!("{name}.repo")), format!("[{name}]\n")).unwrap();
    }
    lab.hook(
        "root.d/50-own",
        "cd $TARGET_ROOT; mkdir -p etc/dnf etc/yum.repos.d; touch usr/bin/python3
        printf '[main]\\nkeepcache=0\\n' >etc/dnf/dnf.conf
        echo '[image]' >etc/yum.repos.d/own.repo; echo '[same]' >etc/yum.repos.d/same.repo",
    );
    lab.hook(
        "pre-install.d/01-again",
        "/tmp/in_target.d/pre-install.d/00-build-configuration
        grep -q '^cachedir=/tmp/yum/' /etc/dnf/dnf.conf; grep -q '^keepcache=1' /etc/dnf/dnf.conf
        [ $(grep -c '^system_cachedir' /etc/dnf/dnf.conf) = 0 ]
        # dnf 5 keeps what root downloads elsewhere.
        touch /usr/bin/dnf5; /tmp/in_target.d/pre-install.d/00-build-configuration
        [ $(grep -cx 'system_cachedir=/tmp/yum/dnf5' /etc/dnf/dnf.conf) = 1 ]
        cd /etc/yum.repos.d; [ \"$(cat new.repo own.repo same.repo)\" = $'[new]\\n[own]\\n[same]' ]",
    );
    lab.hook(
        "cleanup.d/99-reset-configuration-again",
        "$TMP_HOOKS_PATH/cleanup.d/99-reset-configuration
        cp -r $TARGET_ROOT/etc/dnf $TARGET_ROOT/etc/yum.repos.d .",
    );
    build(&lab, &["yum"]).ok();
    assert_eq!(lab.text("dnf/dnf.conf"), "[main]\nkeepcache=0\n");
    assert_eq!(lab.text("yum.repos.d/own.repo"), "[image]\n");
    assert_eq!(lab.text("yum.repos.d/same.repo"), "[same]\n");
    let left =
        fs::read_dir(lab.out("yum.repos.d")).unwrap().count() + fs::read_dir(lab.out("dnf")).unwrap().count();
    assert_eq!(left, 3, "nothing of the build is left");
}

#[test]
fn a_stream_of_a_module_takes_the_place_of_another() {
    let Some(mut lab) = lab() else { return };
    lab.remove("probe/bin/install-packages");
    lab.file("probe/bin/dnf", FAKE)
        .hook("root.d/50-own", "touch $TARGET_ROOT/usr/bin/python3");
    lab.set("YUM", "dnf")
        .set("DIB_DNF_MODULE_STREAMS", "nodejs:20 ruby:3.3/common");
    build(&lab, &["yum"]).ok();
    assert_eq!(
        lab.text("calls"),
        "dnf -y module reset nodejs ruby\ndnf -y module enable nodejs:20 ruby:3.3/common\n"
    );
    lab.set("YUM", "yum");
    let said = lab.build(&["no-final-image", "mini-os", "probe", "yum"]).ok();
    let told = "DIB_DNF_MODULE_STREAMS is passed over: yum knows no modules";
    assert!([said.out, said.err].concat().contains(told));
}

#[test]
fn no_link_of_the_tree_leads_the_list_of_elements_to_the_host() {
    let Some(mut lab) = lab() else { return };
    let outside = lab.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    let outside = outside.display().to_string();
    lab.hook(
        "root.d/50-own",
        &format!("cd $TARGET_ROOT; mkdir -p srv .{outside}; ln -s {outside} srv/lists"),
    );
    lab.hook(
        "cleanup.d/10-take",
        &format!("cp $TARGET_ROOT{outside}/elements ."),
    );
    lab.set("DIB_ELEMENT_MANIFEST_PATH", "/srv/lists/elements");
    build(&lab, &["element-manifest"]).ok();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(lab.text("elements").lines().any(|name| name == "probe"));
}
