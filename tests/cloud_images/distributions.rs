//! Elements of distributions that are out of reach: each built of a small root that other tools packed, with programs that
//! note down how they are called.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use oracle::http::{Reply, Server};

use super::cloud::{Cloud, architectures, programs, sha256};
use super::run;

/// Puts a program into the root that notes down how it is called.
fn stub(cloud: &Cloud, name: &str, script: &str) {
    let path = cloud.root.join("bin").join(name);
    fs::write(
        &path,
        format!("#!/bin/bash\necho \"{name} $*\" >>/calls\n{script}\n"),
    )
    .unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A server of files by their names; the first one's digest stands beside it, right or wrong.
fn server(cloud: &Cloud, name: &str, image: Vec<u8>, right: bool) -> Server {
    let digest = if right {
        sha256(&image, cloud.lab.dir())
    } else {
        "1".repeat(64)
    };
    let (name, page) = (
        name.to_owned(),
        format!("<a href=\"{name}\">{name}</a> other-1.0.tar.gz"),
    );
    Server::start(move |_, asked| {
        let file = asked.target.rsplit('/').next().unwrap_or_default();
        if file == name {
            Reply::file(asked, &image, "\"image\"")
        } else if file == format!("{name}.sha256") {
            Reply::new(200, format!("{digest}  {name}\n"))
        } else if file.is_empty() {
            Reply::new(200, page.as_bytes())
        } else {
            Reply::new(404, "no such file")
        }
    })
}

#[test]
fn alpine_is_its_smallest_root_with_what_a_machine_needs() {
    let Some(mut cloud) = Cloud::new() else { return };
    let arch = architectures().1;
    // What it downloads lies in its cache.
    stub(
        &cloud,
        "apk",
        "[ ! -d /etc/apk/cache/ ] || echo package >/etc/apk/cache/tool-1.apk",
    );
    for (file, text) in [
        (
            "etc/apk/repositories",
            "https://dl-cdn.alpinelinux.org/alpine/v3.22/main\nhttp://x.test/a/v3.22/community\n",
        ),
        ("etc/init.d/networking", "#!/sbin/openrc-run\n"),
        ("etc/init.d/crond", "#!/sbin/openrc-run\n"),
    ] {
        fs::create_dir_all(cloud.root.join(file).parent().unwrap()).unwrap();
        fs::write(cloud.root.join(file), text).unwrap();
    }
    let (tar, name) = (
        cloud.path("root.tar"),
        format!("alpine-minirootfs-3.22.1-{arch}.tar.gz"),
    );
    run("tar", &["-C", cloud.root.to_str().unwrap(), "-cpf", &tar, "."]);
    run("gzip", &[&tar]);
    let image = fs::read(format!("{tar}.gz")).unwrap();
    let args = ["-t", "raw", "-p", "vim", "alpine", "probe"];

    let wrong = server(&cloud, &name, image.clone(), false);
    cloud.lab.set("DIB_DISTRIBUTION_MIRROR", &wrong.url("/alpine"));
    let said = cloud.lab.build(&args);
    assert_eq!(said.status, 1);
    assert!([said.out, said.err].concat().contains("has the SHA-256"));

    let right = server(&cloud, &name, image, true);
    let mirror = right.url("/alpine");
    cloud.lab.set("DIB_DISTRIBUTION_MIRROR", &mirror);
    cloud.lab.build(&args).ok();
    let asked: Vec<_> = right.asked().into_iter().map(|asked| asked.target).collect();
    assert!(
        asked.contains(&format!("/alpine/v3.22/releases/{arch}/{name}")),
        "{asked:?}"
    );
    assert_eq!(
        cloud.seen("etc/apk/repositories"),
        format!("{mirror}/v3.22/main\n{mirror}/v3.22/community\n")
    );
    let calls = cloud.calls();
    for call in [
        "apk add --update bash coreutils",
        "apk add linux-virt\n",
        "apk add vim\n",
        "alpine-base",
    ] {
        assert!(calls.contains(call), "no {call} in {calls}");
    }
    let level = |path: &str| fs::read_link(cloud.lab.out(&format!("seen/etc/runlevels/{path}"))).ok();
    assert_eq!(
        level("boot/networking").unwrap().to_str(),
        Some("/etc/init.d/networking")
    );
    assert_eq!(level("sysinit/devfs"), None, "there is no such service");
    assert!(cloud.lab.out("image.d/dib-manifests/dib_arguments").is_file());
    assert!(!cloud.lab.out("seen/etc/apk/cache").is_symlink());
    assert!(!cloud.lab.out("seen/etc/resolv.conf.dib").exists());
    let kept = cloud
        .lab
        .dir()
        .join("home/.cache/image-create/apk/alpine/tool-1.apk");
    assert_eq!(fs::read_to_string(kept).unwrap(), "package\n");
}

#[test]
fn opensuse_is_checked_by_the_digest_beside_the_image() {
    let Some(mut cloud) = Cloud::new() else { return };
    // It upgrades itself, and says so by its status.
    stub(
        &cloud,
        "zypper",
        "mkdir -p /var/cache/zypp/packages/oss\necho rpm >/var/cache/zypp/packages/oss/tool.rpm\n\
         [[ \"$*\" != *cloud-init* ]] || exit 103",
    );
    let repository = "etc/zypp/repos.d/oss.repo";
    fs::create_dir_all(cloud.root.join("etc/zypp/repos.d")).unwrap();
    let text = "[oss]\nname=oss\nbaseurl=http://download.opensuse.org/distribution/leap/15.5/repo/oss\n";
    fs::write(cloud.root.join(repository), text).unwrap();
    let image = fs::read(cloud.qcow2()).unwrap();
    let name = "openSUSE-Leap-15.5-Minimal-VM.x86_64-Cloud.qcow2";
    let args = ["-a", "amd64", "-t", "raw", "-p", "vim", "opensuse", "probe"];
    if architectures().0 != "amd64" {
        return;
    }
    let wrong = server(&cloud, name, image.clone(), false);
    cloud.lab.set("DIB_CLOUD_IMAGES", &wrong.url("/images"));
    let said = cloud.lab.build(&args);
    assert!([said.out, said.err].concat().contains("has the SHA-256"));

    let right = server(&cloud, name, image, true);
    cloud
        .lab
        .set("DIB_CLOUD_IMAGES", &right.url("/images"))
        .set("DIB_DISTRIBUTION_MIRROR", "http://mirror.test/")
        .set("DIB_ZYPPER_REPOS", "mine=>http://mine.test/x");
    let check = "grep -qx keeppackages=1 /etc/zypp/repos.d/oss.repo\ngrep -qx baseurl=http://mine.test/x /etc/zypp/repos.d/dib-build-mine.repo";
    cloud.lab.hook("install.d/50-check", check);
    cloud
        .lab
        .hook("install.d/60-download", "install-packages -d later");
    cloud.lab.build(&args).ok();
    let calls = cloud.calls();
    for call in [
        "--no-recommends --download-only later",
        "zypper --non-interactive --gpg-auto-import-keys install --auto-agree-with-licenses --no-recommends cloud-init",
        "--no-recommends vim",
        "systemd-machine-id-setup",
    ] {
        assert!(calls.contains(call), "no {call} in {calls}");
    }
    assert_eq!(
        cloud.seen(repository),
        text.replace("http://download.opensuse.org", "http://mirror.test")
    );
    assert!(
        !cloud
            .lab
            .out("seen/etc/zypp/repos.d/dib-build-mine.repo")
            .exists()
    );
    let kept = cloud
        .lab
        .dir()
        .join("home/.cache/image-create/zypper/oss/tool.rpm");
    assert_eq!(fs::read_to_string(kept).unwrap(), "rpm\n");
    cloud.lab.set("DIB_ZYPPER_REPOS", "nonsense");
    let said = cloud.lab.build(&args);
    assert!(
        [said.out, said.err]
            .concat()
            .contains("'nonsense' is not NAME=>ADDRESS")
    );
    let said = cloud.lab.build(&["-a", "arm64", "opensuse", "probe"]);
    assert!(
        [said.out, said.err]
            .concat()
            .contains("openSUSE has no cloud image for arm64")
    );
}

#[test]
fn packages_of_suse_need_the_hosts_zypper() {
    let Some(mut cloud) = Cloud::new() else { return };
    stub(&cloud, "zypper", "");
    let root = cloud.root.display().to_string();
    cloud.lab.set("CLOUD_ROOT", &root);
    let args = ["no-final-image", "opensuse-minimal", "probe"];
    if oracle::find("zypper").is_none() {
        let said = cloud.lab.build(&args);
        assert!([said.out, said.err].concat().contains("This host has no zypper"));
    }
    let script = "echo \"$@\" >>zypper-calls\n[[ \" $* \" != *' install '* ]] || cp -a $CLOUD_ROOT/. $4\n";
    programs(&mut cloud.lab, &[("zypper", script)]);
    // As a boot loader is installed, when the caches are clear already.
    cloud.lab.hook(
        "finalise.d/50-late",
        "mkdir -p /var/cache/zypp/raw/oss /var/cache/zypp/solv/oss",
    );
    cloud.lab.hook(
        "cleanup.d/90-caches",
        "[ -z \"$(ls $TARGET_ROOT/var/cache/zypp)\" ]",
    );
    cloud.lab.set("DIB_OPENSUSE_MIRROR", "http://mirror.test/");
    cloud.lab.build(&args).ok();
    let calls = cloud.lab.text("zypper-calls");
    for call in [
        "addrepo --name oss --refresh http://mirror.test/distribution/leap/15.6/repo/oss oss\n",
        "addrepo --name update --refresh http://mirror.test/update/leap/15.6/oss update\n",
        "install --no-recommends --auto-agree-with-licenses bash filesystem glibc rpm zypper\n",
    ] {
        assert!(calls.contains(call), "no {call} in {calls}");
    }
    assert!(cloud.calls().contains("rpm --rebuilddb") && cloud.calls().contains("kernel-default"));
    assert_eq!(
        cloud.seen("etc/dracut.conf.d/10-dib-generic.conf"),
        "hostonly=\"no\"\n"
    );
    assert_eq!(cloud.seen("etc/hostname"), "opensuse\n");
}

#[test]
fn openeuler_comes_from_its_repositories() {
    let Some(mut cloud) = Cloud::new() else { return };
    fs::create_dir_all(cloud.root.join("usr/lib/systemd/system")).unwrap();
    let root = cloud.root.display().to_string();
    cloud.lab.set("CLOUD_ROOT", &root);
    let script = "echo \"$@\" >>dnf-calls\nfor word in \"$@\"; do case $word in\n--installroot=*) cp -a $CLOUD_ROOT/. ${word#*=} ;;\n\
                  --setopt=reposdir=*) cat ${word##*=}/*.repo >repos ;;\nesac; done\n";
    programs(&mut cloud.lab, &[("dnf5", script)]);
    cloud
        .lab
        .build(&["no-final-image", "openeuler-minimal", "probe"])
        .ok();
    let calls = cloud.lab.text("dnf-calls");
    assert!(
        calls.contains("--releasever=22.03-LTS ") && calls.contains("install openEuler-release"),
        "{calls}"
    );
    assert!(
        cloud
            .lab
            .text("repos")
            .contains("repo.openeuler.org/openEuler-$releasever/OS/$basearch/")
    );
    for package in ["cloud-init", "dracut-config-generic"] {
        assert!(cloud.calls().contains(package), "{}", cloud.calls());
    }
}

#[test]
fn an_image_gets_other_partitions_and_no_packages() {
    let Some(mut cloud) = Cloud::new() else { return };
    let args = [
        "-t",
        "raw",
        "replace-partition-redhat",
        "block-device-gpt",
        "probe",
    ];
    let said = cloud.lab.build(&args);
    assert!(
        [said.out, said.err]
            .concat()
            .contains("DIB_LOCAL_IMAGE is not set")
    );
    let image = cloud.qcow2();
    cloud.lab.set("DIB_LOCAL_IMAGE", &image);
    // The root has no GRUB.
    cloud.lab.hook(
        "finalise.d/10-no-grub",
        "mkdir -p /tmp/grub\ntouch /tmp/grub/install",
    );
    cloud.lab.hook("install.d/50-calls", "touch /calls");
    cloud.lab.build_with_base(&args).ok();
    assert_eq!(cloud.calls(), "");
    let table = oracle::run(
        "sfdisk",
        &["--dump".as_ref(), cloud.lab.out("image.raw").as_os_str()],
    );
    assert_eq!(table.matches("image.raw").count(), 3, "{table}");
    assert!(cloud.seen("etc/fstab").contains("LABEL=cloudimg-rootfs / ext4"));
}
