//! What the elements are tested with: a root that the hooks of distributions work in, and images of it as distributions
//! make them.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::run;
use crate::lab::Lab;

/// Programs of the distributions that hooks call: each notes down that it was.
const STUBS: [&str; 6] = [
    "apt-get",
    "dkms",
    "dpkg-divert",
    "systemctl",
    "systemd-machine-id-setup",
    "yum",
];

pub(super) const SOURCES: &str = "deb [arch=amd64] http://archive.test/ubuntu noble main\n\
                       # deb http://archive.test/ubuntu noble-proposed main\n\
                       deb http://security.test/ubuntu noble-security main\n";
pub(super) const DEB822: &str = "Types: deb\nURIs: http://archive.test/ubuntu/\nSuites: noble\n\n\
                      Types: deb\nURIs: http://security.test/ubuntu/\nSuites: noble-security\n";

/// Directories of the root.
const DIRS: [&str; 12] = [
    "boot/loader/entries",
    "etc/apt/apt.conf.d",
    "etc/apt/sources.list.d",
    "etc/dnf",
    "etc/selinux/targeted/contexts/files",
    "etc/ssh",
    "etc/yum.repos.d",
    "lib/modules/6.1/build",
    "lib/modules/6.1/kernel",
    "lib/modules/6.2",
    "usr/src/toy-1",
    "var/cache/apt/archives",
];

/// Files of the root.
const FILES: [(&str, &str); 10] = [
    ("etc/apt/sources.list", SOURCES),
    ("etc/apt/sources.list.d/ubuntu.sources", DEB822),
    ("etc/dnf/dnf.conf", "[main]\nkeepcache=0\n"),
    (
        "etc/selinux/targeted/contexts/files/file_contexts",
        "/.* a_label\n",
    ),
    (
        "etc/sudoers",
        "Defaults requiretty\nDefaults secure_path = /sbin:/bin\nroot ALL=(ALL) ALL\n",
    ),
    ("usr/src/toy-1/dkms.conf", "PACKAGE_NAME=toy\n"),
    ("etc/ssh/sshd_config", "Port 22\nMatch User git\n"),
    ("etc/ssh/ssh_host_rsa_key", "not a secret\n"),
    (
        "etc/yum.repos.d/fedora.repo",
        "[fedora]\n#baseurl=http://place.test/pub/fedora/linux/releases/os/\nmetalink=https://place.test/m\n",
    ),
    (
        "boot/loader/entries/ffffffffffffffffffffffffffffffff-5.14.conf",
        "title\n",
    ),
];

/// How Debian calls the machine's architecture, and how Red Hat does.
pub(super) fn architectures() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "aarch64" => ("arm64", "aarch64"),
        _ => ("amd64", "x86_64"),
    }
}

/// Makes a root that the hooks of distributions work in.
pub(super) fn furnish(root: &Path) {
    fs::create_dir(root).unwrap();
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/elements/mini-os/root.d/10-mini-root"
    );
    let status = Command::new(fixture)
        .env("TARGET_ROOT", root)
        .env("MINI_OS_SMALL", "1")
        .status();
    assert!(status.unwrap().success());
    let script = |name: &str, text: &str| {
        let path = root.join("bin").join(name);
        fs::write(&path, format!("#!/bin/bash\necho \"{name} $*\" >>/calls\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for name in STUBS {
        script(name, "");
    }
    script("dpkg-query", "case \"$*\" in *xapian*) exit 1 ;; esac\n");
    script(
        "subscription-manager",
        "case $1 in\nidentity) [ -e /registered ] ;;\nregister) touch /registered ;;\nunregister) rm /registered ;;\nesac\n",
    );
    script(
        "systemd-machine-id-setup",
        "echo 0123456789abcdef0123456789abcdef >/etc/machine-id\n",
    );
    // Its database is where the host's tools, which are stand-ins too, would have made one.
    script(
        "rpm",
        "case $* in\n'--eval %_dbpath') echo /.rpm-root ;;\n'--query --all') echo rpm-1-1 ;;\n\
         '--query --last kernel-core') printf 'kernel-core-%s.fc37   Tue\\n' 6.2 6.1 ;;\nesac\n",
    );
    // What it keeps is what hooks before it were lent, and one package more.
    script(
        "dnf",
        "if [ -d /tmp/yum ]; then\n    find /tmp/yum -name '*.rpm' >>/calls\n\
         mkdir -p /tmp/yum/x/base\n    echo rpm >/tmp/yum/x/base/tool.rpm\nfi\n",
    );
    for dir in DIRS {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (name, text) in FILES {
        fs::write(root.join(name), text).unwrap();
    }
}

/// A hook that shows what became of the root.
const SEE: &str =
    "cd $TARGET_ROOT; tar -cf - calls etc boot tmp | (mkdir -p $OLDPWD/seen && tar -xf - -C $OLDPWD/seen)";

/// A lab with images of the root.
pub(super) struct Cloud {
    pub(super) lab: Lab,
    pub(super) root: PathBuf,
}

impl Cloud {
    pub(super) fn new() -> Option<Self> {
        if !oracle::require(&["mke2fs", "qemu-img", "mksquashfs", "tar", "gzip"]) {
            return None;
        }
        let lab = Lab::new()?;
        let root = lab.dir().join("cloud");
        furnish(&root);
        lab.hook("cleanup.d/99-see", SEE);
        Some(Self { lab, root })
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.lab.dir().join(name).display().to_string()
    }

    pub(super) fn squashfs(&self) -> Vec<u8> {
        let path = self.path("squashfs");
        let args = [
            self.root.to_str().unwrap(),
            &path,
            "-quiet",
            "-no-progress",
            "-noappend",
        ];
        run("mksquashfs", &args);
        fs::read(path).unwrap()
    }

    pub(super) fn qcow2(&self) -> String {
        let (raw, qcow2) = (self.path("raw"), self.path("image.qcow2"));
        oracle::mke2fs(&self.root, Path::new(&raw), 96 << 20);
        run(
            "qemu-img",
            &["convert", "-c", "-f", "raw", "-O", "qcow2", &raw, &qcow2],
        );
        qcow2
    }

    /// A disk whose only partition is the root in XFS, as the images of Red Hat's distributions have it.
    pub(super) fn xfs_qcow2(&self) -> String {
        let root = self.path("xfs");
        oracle::mounted::filled("xfs", Path::new(&root), 320 << 20, &self.root);
        self.disk("xfs.qcow2", &[(&root, 320)])
    }

    /// A disk as those of Fedora: `/boot` in ext4, the root and others in subvolumes of Btrfs.
    pub(super) fn btrfs_qcow2(&self) -> String {
        let (boot, root) = (self.path("boot.ext4"), self.path("btrfs"));
        oracle::mke2fs(&self.root.join("boot"), Path::new(&boot), 32 << 20);
        File::create(&root).unwrap().set_len(256 << 20).unwrap();
        run("mkfs.btrfs", &["-q", "-L", "fedora", &root]);
        oracle::mounted::with(
            "btrfs",
            Path::new(&root),
            "loop,rw,compress-force=zstd:1",
            |top| {
                let script = format!(
                "cd {} && btrfs -q subvolume create root && btrfs -q subvolume create home &&
                 btrfs -q subvolume create var && btrfs -q subvolume create root/srv &&
                 cp -a {}/. root && rm -r root/boot/* && mkdir root/home root/before &&
                 [ ! -e root/var ] || mv root/var/* var; mkdir -p root/var &&
                 echo a user >home/file && echo a service >root/srv/file && echo a state >var/file &&
                 btrfs -q subvolume snapshot root root/before/snapshot &&
                 printf 'LABEL=fedora / btrfs subvol=root 0 0\nLABEL=fedora /home btrfs compress=zstd:1,subvol=/home 0 0\n\
                 LABEL=fedora /var btrfs subvol=var 0 0\n' >root/etc/fstab",
                top.display(),
                self.root.display()
            );
                run("sh", &["-ec", &script]);
            },
        );
        self.disk("btrfs.qcow2", &[(&boot, 32), (&root, 256)])
    }

    /// A disk of partitions, each an image of so many MiB. All but the last is that of `/boot`.
    fn disk(&self, name: &str, partitions: &[(&str, u64)]) -> String {
        let (disk, qcow2) = (self.path("disk"), self.path(name));
        let (mut script, mut copies, mut start) = (String::from("label: gpt\n"), String::new(), 1);
        for (at, (image, size)) in partitions.iter().enumerate() {
            let kind = if at + 1 == partitions.len() {
                "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
            } else {
                "BC13C2FF-59E6-4262-A352-B275FD6F7172"
            };
            script += &[
                "start=",
                &start.to_string(),
                "MiB, size=",
                &size.to_string(),
                "MiB, type=",
                kind,
                "\n",
            ]
            .concat();
            let seek = start.to_string();
            copies += &[
                "dd if=",
                image,
                " of=",
                &disk,
                " bs=1M conv=sparse,notrunc status=none seek=",
                &seek,
                "\n",
            ]
            .concat();
            start += size;
        }
        File::create(&disk).unwrap().set_len((start + 1) << 20).unwrap();
        let pack = format!("qemu-img convert -c -f raw -O qcow2 {disk} {qcow2}");
        run(
            "sh",
            &[
                "-ec",
                &format!("echo '{script}' | sfdisk -q {disk}\n{copies}{pack}"),
            ],
        );
        qcow2
    }

    /// What the root came to, as the hook saw it.
    pub(super) fn seen(&self, name: &str) -> String {
        self.lab.text(&format!("seen/{name}"))
    }

    pub(super) fn calls(&self) -> String {
        self.seen("calls")
    }
}

/// Whether disks with a file system of some kind can be made.
pub(super) fn can_make(kind: &str, tools: &[&str]) -> bool {
    let tools = oracle::require(tools) && oracle::require(&["sfdisk", "dd"]);
    tools && oracle::mounted::require() && oracle::mounted::knows(kind)
}

/// A directory of programs that come before the host's own.
pub(super) fn programs(lab: &mut Lab, scripts: &[(&str, &str)]) {
    let bin = lab.dir().join("bin");
    fs::create_dir_all(&bin).unwrap();
    for (name, script) in scripts {
        fs::write(bin.join(name), format!("#!/bin/bash\nset -eu\n{script}")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
    lab.set("PATH", &path);
}

pub(super) fn sha256(bytes: &[u8], dir: &Path) -> String {
    let path = dir.join("to-digest");
    fs::write(&path, bytes).unwrap();
    let said = oracle::run("sha256sum", &[path.as_os_str()]);
    said.split(' ').next().unwrap().to_owned()
}
