//! What packages are called, by distribution and release: the maps of the library as pkg-map reads them.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::lab::{DIB, Lab};

/// What an element's map gives for names, on a distribution of a release.
#[track_caller]
fn mapped(element: &str, distribution: &str, release: &str, names: &[&str]) -> String {
    let lab = Lab::unprivileged();
    let applet = lab.dir().join("pkg-map");
    symlink(DIB, &applet).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = root.join("elements").join(element).join("pkg-map");
    let options = [
        "--pkg-map",
        map.to_str().unwrap(),
        "--distro",
        distribution,
        "--release",
        release,
        "--",
    ];
    let said = lab
        .run(applet.to_str().unwrap(), &[&options, names].concat())
        .ok();
    said.out.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_client_of_dhcp_is_one_that_the_release_has() {
    for element in ["debootstrap/dhcp_client", "dhcp-all-interfaces/dhcp-client"] {
        let (element, name) = element.split_once('/').unwrap();
        for (distribution, release, package) in [
            ("debian", "bullseye", "isc-dhcp-client"),
            ("debian", "trixie", "dhcpcd-base"),
            ("ubuntu", "bionic", "isc-dhcp-client"),
            ("ubuntu", "focal", "isc-dhcp-client"),
            ("ubuntu", "jammy", "isc-dhcp-client"),
            ("ubuntu", "noble", "dhcpcd-base"),
        ] {
            assert_eq!(
                mapped(element, distribution, release, &[name]),
                package,
                "{element}: {distribution} {release}"
            );
        }
    }
}

#[test]
fn utilities_of_posix_are_in_packages_of_each_family() {
    let names = ["ctags", "gettext", "mailx"];
    for (distribution, release, packages) in [
        ("debian", "trixie", "universal-ctags gettext-base bsd-mailx"),
        ("ubuntu", "noble", "universal-ctags gettext-base bsd-mailx"),
        ("fedora", "41", "ctags gettext s-nail"),
        ("centos", "9-stream", "ctags gettext s-nail"),
        ("rocky", "8", "ctags gettext mailx"),
        ("opensuse", "15.6", "ctags gettext-runtime mailx"),
    ] {
        assert_eq!(
            mapped("posix", distribution, release, &names),
            packages,
            "{distribution} {release}"
        );
    }
}

#[test]
fn what_grows_partitions_is_the_same_for_both_who_ask() {
    for element in ["growroot", "cloud-init-growpart"] {
        for (distribution, release, packages) in [
            ("debian", "trixie", "cloud-guest-utils fdisk"),
            ("alpine", "3.22", "cloud-utils-growpart"),
            ("fedora", "41", "cloud-utils-growpart"),
            ("opensuse", "15.6", "growpart"),
        ] {
            let found = mapped(element, distribution, release, &["growpart"]);
            assert_eq!(found, packages, "{element}: {distribution}");
        }
    }
}

#[test]
fn an_initramfs_for_encrypted_disks_has_what_opens_them() {
    for (distribution, release, packages) in [
        ("debian", "bookworm", "cryptsetup"),
        ("debian", "trixie", "cryptsetup systemd-cryptsetup"),
        ("debian", "stable", "cryptsetup systemd-cryptsetup"),
        ("ubuntu", "noble", "cryptsetup"),
        ("ubuntu", "questing", "cryptsetup systemd-cryptsetup"),
        ("fedora", "41", "cryptsetup"),
    ] {
        let found = mapped("dracut-regenerate", distribution, release, &["cryptsetup"]);
        assert_eq!(found, packages, "{distribution} {release}");
    }
}

#[test]
fn names_of_debian_are_told_as_the_red_hat_family_has_them() {
    let lab = Lab::unprivileged();
    let program = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/elements/redhat-common/bin/map-packages"
    );
    for (debian, redhat) in [
        ("augeas-tools", "augeas"),
        ("build-essential", "gcc\ngcc-c++\nmake"),
        ("grub-pc", "grub2-pc"),
        ("libaio1", "libaio"),
        ("libc6-dev", "glibc-devel"),
        ("libldap2-dev", "openldap-devel"),
        ("libmariadb-dev", "mariadb-connector-c-devel"),
        ("libmysqlclient-dev", "mariadb-connector-c-devel"),
        ("libsasl2-dev", "cyrus-sasl-devel"),
        ("libsqlite3-dev", "sqlite-devel"),
        ("libunknown-dev", "libunknown-devel"),
        ("libvirt-bin", "libvirt"),
        ("linux-headers-generic", "kernel-devel"),
        ("lm-sensors", "lm_sensors"),
        ("nfs-common", "nfs-utils"),
        ("nfs-kernel-server", "nfs-utils"),
        ("openvswitch-switch", "openvswitch"),
        ("stunnel4", "stunnel"),
        ("tftpd-hpa", "tftp-server"),
        ("vlan", "iproute"),
    ] {
        let said = lab.run(program, &[debian]).ok();
        assert_eq!(said.out.trim_end(), redhat, "{debian}");
        assert!(
            said.err.contains(&format!("map-packages: {debian} is called")),
            "it warns: {}",
            said.err
        );
    }
    let same = lab.run(program, &["tmux"]).ok();
    assert_eq!((same.out.as_str(), same.err.as_str()), ("tmux\n", ""));
    assert_eq!(
        lab.run(program, &["ifupdown"]).ok().out,
        "",
        "it has no other name"
    );
}
