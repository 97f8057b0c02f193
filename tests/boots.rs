//! Disks of a real Debian that boot by themselves: every layout, by each firmware that it is for, to a login prompt on the
//! serial line and a system that systemd calls running.
//!
//! And a server, of what its user wants besides: it gets its address by DHCP, and answers SSH.
//!
//! The first disk is built whole. The others are made of the same root, saved before any boot loader came into it: what
//! differs begins with `finalise.d`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use oracle::archive::{self, Part};
use oracle::boot::{self, Firmware};
use oracle::{blackbox, trace};

/// Programs of the host that work on disks, and on file systems in them: those that upstream's way needs, by how their names
/// begin. No build has one of them on its PATH, and none starts one by another way.
const DISK_TOOLS: [&str; 24] = [
    "blkid",
    "dmsetup",
    "fstrim",
    "grub",
    "kpartx",
    "losetup",
    "lsblk",
    "lvm",
    "mkdosfs",
    "mke2fs",
    "mkfs",
    "mkswap",
    "mount",
    "parted",
    "partprobe",
    "partx",
    "pvcreate",
    "qemu-img",
    "resize2fs",
    "sfdisk",
    "sgdisk",
    "udevadm",
    "umount",
    "vgcreate",
];

/// What makes a build the same every time.
const REPEATED: [(&str, &str); 2] = [("SOURCE_DATE_EPOCH", "1700000000"), ("DIB_IMAGE_SEED", "boots")];

/// What a unit of the image tells the serial line once the boot is over.
const WITNESS: &str = r#"#!/bin/bash
set -eu
cat >/etc/systemd/system/disk-witness.service <<'TEXT'
[Unit]
After=getty.target growroot.service
[Service]
ExecStart=/usr/local/sbin/disk-witness
[Install]
WantedBy=multi-user.target
TEXT
cat >/usr/local/sbin/disk-witness <<'TEXT'
#!/bin/bash
state=$(systemctl is-system-running --wait)
exec >/dev/console
echo "witness: system is $state"
systemctl --failed --no-legend --plain
echo "witness: kernel got $(cat /proc/cmdline)"
root=$(findmnt -no SOURCE /)
echo "witness: root has $(($(stat -fc '%b * %S' /) >> 30)) of $(($(lsblk -bno SIZE "$root") >> 30)) GiB"
echo "witness: firmware is $([ -d /sys/firmware/efi ] && echo UEFI || echo BIOS)"
# The last byte of the variable.
secure=$(od -An -tu1 /sys/firmware/efi/efivars/SecureBoot-* 2>/dev/null) && echo "witness: Secure Boot is ${secure##* }"
findmnt -rno TARGET,FSTYPE,OPTIONS --types ext4,vfat | sed 's/^/witness: mounted /'
if type lvs >/dev/null 2>&1; then
    pvck "$(pvs --noheadings -o pv_name | tr -d ' ')" && echo "witness: pvck is content"
    vgs --noheadings -o vg_name,lv_count | sed -e 's/  */ /g' -e 's/^/witness: vgs:/'
    for volume in root var home; do
        lvchange -ay "vg/lv_$volume" && echo "witness: lvchange -ay took lv_$volume"
    done
    lvs --noheadings -o lv_name,lv_active | sed -e 's/  */ /g' -e 's/^/witness: lvs:/'
fi
echo "witness has spoken"
TEXT
# Several emulated machines share two processors: a disk may be found later than on a real one.
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\nDefaultDeviceTimeoutSec=7min\n' >/etc/systemd/system.conf.d/emulated.conf
chmod 755 /usr/local/sbin/disk-witness
ln -s ../disk-witness.service /etc/systemd/system/multi-user.target.wants/
"#;

/// Saves the tree before any boot loader comes into it, while nothing is mounted in it.
const SAVE: &str = "#!/bin/bash
set -eu
[ -z \"${SAVE_TO:-}\" ] || cp -a \"$TARGET_ROOT\" \"$SAVE_TO\"
";

/// Brings it back, and takes away what element dpkg had done for the build: it does so again.
const RESTORE: &str = "#!/bin/bash
set -eu
cp -a \"$SAVED/.\" \"$TARGET_ROOT/\"
# The PATH of this test is of the host alone.
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
chroot \"$TARGET_ROOT\" sh -e <<'SCRIPT'
for path in /sbin/start-stop-daemon /usr/sbin/start-stop-daemon; do
    if dpkg-divert --listpackage $path | grep -qx LOCAL; then
        rm -f $path
        dpkg-divert --quiet --local --rename --remove $path
    fi
done
SCRIPT
";

/// The configuration of GRUB, for the test to read; or that nothing of GRUB is there.
const SHOW: &str = "#!/bin/bash
set -eu
if [ \"$DIB_BOOTLOADER\" != grub ]; then
    [ ! -e \"$TARGET_ROOT/boot/grub\" ]
    exit 0
fi
cp \"$TARGET_ROOT/boot/grub/grub.cfg\" \"$IMAGE_NAME.grub.cfg\"
[ ! -e \"$TARGET_ROOT/tmp/.dib-boot-code.json\" ] || exit 1
[ \"$(head -c 4 \"$TARGET_ROOT/usr/sbin/grub-probe\")\" = $'\\x7fELF' ]
[ -x \"$TARGET_ROOT/usr/sbin/grub-install\" ] && [ ! -L \"$TARGET_ROOT/usr/sbin/grub-install\" ]
";

fn write_elements(elements: &Path) {
    for (path, text) in [
        ("witness/install.d/90-witness", WITNESS),
        ("witness/block-device.d/99-save", SAVE),
        ("show/cleanup.d/99-show", SHOW),
        ("saved/element-provides", "operating-system\n"),
        (
            "saved/environment.d/10-saved",
            "export DISTRO_NAME=debian DIB_RELEASE=stable DIB_INIT_SYSTEM=systemd EFI_BOOT_DIR=EFI/debian\n",
        ),
        ("saved/element-deps", "dpkg\nsysprep\n"),
        ("saved/root.d/10-saved", RESTORE),
    ] {
        let path = elements.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Links all programs of the host in a directory, but for those that work on disks.
fn programs_without_disk_tools(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for place in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"] {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let works_on_disks = DISK_TOOLS
                .iter()
                .any(|tool| name.to_string_lossy().starts_with(tool));
            if !works_on_disks && fs::symlink_metadata(dir.join(&name)).is_err() {
                symlink(entry.path(), dir.join(name)).unwrap();
            }
        }
    }
}

/// Where builds run.
struct Place<'a> {
    dir: &'a Path,
    /// The directory in it where images come to be.
    out: &'a str,
    /// The root before any boot loader came into it.
    saved: PathBuf,
}

impl<'a> Place<'a> {
    fn new(dir: &'a Path) -> Self {
        for name in ["out", "again", "tmp", "cache"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        write_elements(&dir.join("elements"));
        programs_without_disk_tools(&dir.join("programs"));
        Self {
            dir,
            out: "out",
            saved: dir.join("saved"),
        }
    }

    /// Builds `NAME.raw` of some elements.
    fn build(&self, name: &str, elements: &[&str], more: &[(&str, &str)]) -> PathBuf {
        self.build_by(&[], name, elements, more)
    }

    /// The same, watched by strace.
    fn build_watched(&self, name: &str, elements: &[&str], more: &[(&str, &str)]) -> PathBuf {
        let watch = self.dir.join(format!("{name}.trace"));
        let image = self.build_by(&trace::words(&watch), name, elements, more);
        starts_no_disk_tool(&trace::read(&watch));
        image
    }

    /// The same, started by other words.
    fn build_by(&self, by: &[String], name: &str, elements: &[&str], more: &[(&str, &str)]) -> PathBuf {
        let out = self.dir.join(self.out);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let [cache, tmp, path, own] =
            ["cache", "tmp", "programs", "elements"].map(|name| text(&self.dir.join(name)));
        let main_archive = archive::of_apt(Part::Suite).expect("the machine of this test has apt");
        let security_archive = archive::of_apt(Part::Security).unwrap_or_default();
        let mut environment = vec![
            ("PATH", path.as_str()),
            ("HOME", &cache),
            ("TMPDIR", &tmp),
            ("ELEMENTS_PATH", &own),
            ("ARCH", "amd64"),
            ("DIB_DISTRIBUTION_MIRROR", &main_archive),
            ("DIB_DEBIAN_SECURITY_MIRROR", &security_archive),
            ("DIB_IMAGE_CACHE", &cache),
        ];
        environment.extend(more);
        let mut words: Vec<&str> = by.iter().map(String::as_str).collect();
        words.push(env!("CARGO_BIN_EXE_disk-image-create"));
        words.extend(["-t", "raw", "--no-tmpfs", "-o", name]);
        words.extend(elements);
        words.push("show");
        let output = blackbox::run(Path::new(words[0]), &words[1..], &environment, &out);
        let log = String::from_utf8_lossy(&output.stdout);
        let tail: Vec<_> = log.lines().rev().take(60).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        assert!(
            output.status.success(),
            "{name}: {}\n{}\n{}",
            output.status,
            tail.join("\n"),
            String::from_utf8_lossy(&output.stderr)
        );
        if let Ok(config) = fs::read_to_string(out.join(format!("{name}.grub.cfg"))) {
            is_configured(&config);
        }
        out.join(format!("{name}.raw"))
    }

    /// Builds a disk of the saved root by a boot loader, whose name it has unless that is GRUB.
    fn build_of_saved(&self, layout: &str, loader: &str) -> PathBuf {
        let saved = self.saved.to_str().unwrap();
        let name = if loader == "grub" { layout } else { loader };
        // The package tool of the saved root is in it.
        let elements = ["-n", "saved", "vm", layout];
        let more = [&[("SAVED", saved), ("DIB_BOOTLOADER", loader)], &REPEATED[..]].concat();
        self.build(name, &elements, &more)
    }
}

/// Neither the builder nor a hook started a program of the host that works on disks: what looks so is ours, or the tree's.
fn starts_no_disk_tool(starts: &[trace::Start]) {
    let of_host = |start: &&trace::Start| !start.elsewhere && !start.program.contains("/dib_build.");
    let mut seen = 0;
    for start in starts.iter().filter(of_host) {
        let name = start.program.rsplit('/').next().unwrap_or_default();
        let works_on_disks = DISK_TOOLS.iter().any(|tool| name.starts_with(tool));
        assert!(!works_on_disks, "{} started {}", start.by, start.program);
        seen += 1;
    }
    assert!(seen > 10, "the judge saw what hooks start: {seen}");
}

/// GRUB finds its root by UUID, the kernel its own by label; no kernel switches the mode of the screen.
fn is_configured(config: &str) {
    let words = "console=tty0 console=ttyS0,115200 no_timer_check nofb nomodeset gfxpayload=text";
    let mut kernels = config
        .lines()
        .filter(|line| line.trim_start().starts_with("linux\t"));
    let first = kernels.next().unwrap_or_else(|| panic!("no kernel:\n{config}"));
    assert!(
        first.contains("root=LABEL=cloudimg-rootfs ro") && first.trim_end().ends_with(words),
        "{first}"
    );
    assert!(
        config.contains("search --no-floppy --fs-uuid --set=root "),
        "{config}"
    );
    assert!(config.contains("serial --speed=115200 --unit=0"), "{config}");
    assert!(
        !config.contains("/dev/dib"),
        "a name that no machine knows:\n{config}"
    );
}

/// What a kernel is told by GRUB, and by what loads one kernel alone.
const BY_GRUB: &str = "witness: kernel got BOOT_IMAGE=/boot/vmlinuz";
const ALONE: &str = "root=LABEL=cloudimg-rootfs ro console=tty0 console=ttyS0,115200";

/// Boots a disk, which must be well.
fn boots(image: &Path, firmware: Firmware, sector: u32, said: &[&str]) {
    let disk = boot::Disk {
        image,
        format: "raw",
        sector,
        firmware,
    };
    let console = boot::disk_until(&["login:", "witness has spoken"], &disk, Duration::from_mins(8));
    let always = [
        "witness: system is running",
        "witness: mounted / ext4 ",
        "nofb nomodeset gfxpayload=text",
    ];
    for said in [&always, said].concat() {
        assert!(
            console.contains(said),
            "{}: no '{said}':\n{console}",
            image.display()
        );
    }
}

/// Machines of one test have the processors to themselves.
static MACHINES: Mutex<()> = Mutex::new(());

/// What a machine without a cloud is made of that its user logs into.
const SERVER: [&str; 11] = [
    "debian",
    "vm",
    "block-device-efi",
    "cloud-init-nocloud",
    "devuser",
    "growroot",
    "openssh-server",
    "dhcp-all-interfaces",
    "source-repositories",
    "pip-and-virtualenv",
    "thing",
];

/// What its user asks it: each line that it answers begins with a word of ours.
const QUESTIONS: &str = "set -eu
echo \"system $(sudo -n systemctl is-system-running --wait)\"
sudo -n systemctl --failed --no-legend --plain
echo \"address $(ip -4 -brief address show scope global)\"
echo \"root $(($(findmnt --bytes --noheadings --output SIZE /) >> 30))\"
echo \"thing $(cat /opt/thing/thing)\"
echo \"pip $(python3 -m pip --version)\"
python3 -m venv /tmp/venv
echo \"venv $(/tmp/venv/bin/python -c 'import sys; print(sys.prefix)')\"
echo \"sudo $(sudo -n id -u)\"
echo \"cloud $(cloud-id)\"
echo \"keys $(ls /etc/ssh/ssh_host_*_key | wc -l)\"
";

/// Makes a key without a passphrase, and a repository that the machine shall have.
fn write_server(dir: &Path) {
    let run = |program: &str, words: &[&str]| {
        let words: Vec<_> = words.iter().map(std::ffi::OsStr::new).collect();
        oracle::run(program, &words)
    };
    let text = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    run(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-f", &text("key")],
    );
    let repository = text("repository");
    run("git", &["init", "-q", "-b", "main", &repository]);
    fs::write(dir.join("repository/thing"), "of-the-repository\n").unwrap();
    run("git", &["-C", &repository, "add", "thing"]);
    let commit = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "commit",
        "-q",
        "-m",
        "thing",
    ];
    run("git", &[&["-C", &repository][..], &commit].concat());
    let element = dir.join("elements/thing");
    fs::create_dir_all(&element).unwrap();
    fs::write(element.join("element-deps"), "source-repositories\n").unwrap();
    let line = format!("thing git /opt/thing file://{repository} main\n");
    fs::write(element.join("source-repository-thing"), line).unwrap();
}

#[test]
fn a_server_gets_its_address_and_answers_its_user() {
    let tools = oracle::require(&["qemu-system-x86_64", "ssh", "ssh-keygen", "git"]);
    if !tools || !Firmware::Uefi.require() || !oracle::require_root() {
        return;
    }
    let _alone = MACHINES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let place = Place::new(dir);
    write_server(dir);
    let key = dir.join("key");
    let public = dir.join("key.pub");
    let image = place.build(
        "server",
        &SERVER,
        &[
            ("DIB_DEV_USER_AUTHORIZED_KEYS", public.to_str().unwrap()),
            ("DIB_DEV_USER_PWDLESS_SUDO", "yes"),
        ],
    );
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.set_len(20 << 30).unwrap();
    let disk = boot::Disk {
        image: &image,
        format: "raw",
        sector: 512,
        firmware: Firmware::Uefi,
    };
    let answer = boot::visited(&disk, Duration::from_mins(20), |port| {
        let port = port.to_string();
        let mut words = vec!["-F", "/dev/null", "-i", key.to_str().unwrap(), "-p", &port];
        for option in [
            "BatchMode=yes",
            "ConnectTimeout=20",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            words.extend(["-o", option]);
        }
        words.extend(["devuser@127.0.0.1", QUESTIONS]);
        let words: Vec<_> = words.into_iter().map(std::ffi::OsStr::new).collect();
        let output = oracle::output("ssh", &words);
        // 255: there is nobody yet who would answer.
        (output.status.code() != Some(255)).then(|| {
            let texts = [output.stdout, output.stderr];
            texts
                .map(|text| String::from_utf8_lossy(&text).into_owned())
                .concat()
        })
    });
    for said in [
        "system running\n",
        " 10.0.2.15/24",
        "root 18\n",
        "thing of-the-repository\n",
        "pip pip ",
        "venv /tmp/venv\n",
        "sudo 0\n",
        "cloud nocloud\n",
        "keys 3\n",
    ] {
        assert!(answer.contains(said), "no '{said}':\n{answer}");
    }
}

#[test]
fn every_layout_boots() {
    let firmware = [Firmware::Uefi, Firmware::SecureBoot]
        .into_iter()
        .all(Firmware::require);
    if !firmware || !oracle::require(&["qemu-system-x86_64", "strace", "cmp"]) || !oracle::require_root() {
        return;
    }
    let _alone = MACHINES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let place = Place::new(dir);
    let saved = place.saved.to_str().unwrap();
    let elements = ["debian-minimal", "growroot", "witness", "vm", "block-device-efi"];
    let efi = place.build_watched("block-device-efi", &elements, &[("SAVE_TO", saved)]);
    let bios = [BY_GRUB, "witness: firmware is BIOS"];
    let uefi = ["witness: firmware is UEFI", "witness: mounted /boot/efi vfat "];
    let by_grub = [&uefi[..], &[BY_GRUB]].concat();
    let secure = [&by_grub[..], &["witness: Secure Boot is 1"]].concat();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mbr = place.build_of_saved("block-device-mbr", "grub");
            repeats(&place, "block-device-mbr", "grub", &mbr);
            boots(&mbr, Firmware::Bios, 512, &bios);
            let lvm = place.build_of_saved("block-device-efi-lvm", "grub");
            repeats(&place, "block-device-efi-lvm", "grub", &lvm);
            boots(&lvm, Firmware::Uefi, 512, &[&by_grub[..], &ON_VOLUMES].concat());
        });
        scope.spawn(|| {
            boots(&efi, Firmware::Bios, 512, &bios);
            let gpt = place.build_of_saved("block-device-gpt", "grub");
            let file = fs::File::options().write(true).open(&gpt).unwrap();
            file.set_len(20 << 30).unwrap();
            boots(
                &gpt,
                Firmware::Bios,
                512,
                &[&bios[..], &["witness: root has 18 of 19 GiB"]].concat(),
            );
            let large = place.build_of_saved("block-device-efi-4k", "grub");
            boots(&large, Firmware::Uefi, 4096, &by_grub);
        });
        boots(&efi, Firmware::SecureBoot, 512, &secure);
        for loader in ["uki", "systemd-boot"] {
            let alone = place.build_of_saved("block-device-efi", loader);
            repeats(&place, "block-device-efi", loader, &alone);
            boots(&alone, Firmware::Uefi, 512, &[&uefi[..], &[ALONE]].concat());
        }
    });
}

/// What a disk says of its volumes and of what is mounted from them.
const ON_VOLUMES: [&str; 9] = [
    "witness: mounted /var ext4 ",
    "witness: mounted /home ext4 ",
    "witness: pvck is content",
    "witness: vgs: vg 3",
    "witness: lvchange -ay took lv_root",
    "witness: lvchange -ay took lv_var",
    "witness: lvchange -ay took lv_home",
    "witness: lvs: lv_home active",
    "witness: lvs: lv_var active",
];

/// A second build of the same gives the same bytes: partition table, boot code, file systems.
fn repeats(place: &Place<'_>, layout: &str, loader: &str, first: &Path) {
    let again = Place {
        out: "again",
        saved: place.saved.clone(),
        ..*place
    };
    let second = again.build_of_saved(layout, loader);
    oracle::run("cmp", &[first.as_os_str(), second.as_os_str()]);
    fs::remove_file(second).unwrap();
}
