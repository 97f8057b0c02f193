//! Ramdisks of a real Debian that boot: to the fragments of elements, with programs, rules of udev and modules of their
//! own; and every form of compression, in the kernel that must take it.
//!
//! The root is unpacked once, and kept for all builds here: see [`Place`]. A flow that needs another ramdisk of it is
//! another `Place::build` with other elements, and a boot of what that gives. Boots take a minute each: one shows what it can.

#[path = "ramdisks/deploy.rs"]
mod deploy;
#[path = "ramdisks/disc.rs"]
mod disc;
#[path = "ramdisks/dracut.rs"]
mod dracut;
#[path = "ramdisks/fragments.rs"]
mod fragments;
#[path = "ramdisks/functions.rs"]
mod functions;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use diskimage_builder::ramdisk::pack::{Packing, pack};
use oracle::archive::{self, Part};
use oracle::{blackbox, boot};

/// What an element adds: a program with libraries, a rule, a fragment that tells what there is.
const PROBE: [(&str, &str); 6] = [
    ("element-deps", "package-installs\n"),
    ("package-installs.yaml", "jq:\n"),
    ("binary-deps.d/probe", "jq\n"),
    (
        "udev.d/77-probe.rules",
        "SUBSYSTEM==\"block\", KERNEL==\"vda\", SYMLINK+=\"probe-disk\"\n",
    ),
    (
        "init.d/15-probe",
        "echo \"witness: $(uname -r) has $(ls /dev/vda /dev/probe-disk | tr '\\n' ' ')\"\n",
    ),
    ("init.d/90-probe", FRAGMENT),
];

/// The last of the fragments. It ends the machine: what follows would start it again.
const FRAGMENT: &str = r#"# What there is, told to the serial line.
echo "witness: jq says $(jq -n '6 * 7')"
echo "witness: the kernel's word is $(get_kernel_parameter word)"
disk=$(find_disk "$DISK")
echo "witness: the disk is $disk, its second partition $(partition_name "$disk" 2)"
echo "written by the ramdisk" | dd of="$disk" bs=512 conv=sync,notrunc 2>/dev/null
sync
echo "witness: an address is $(ip -4 addr show | sed -n 's/.*inet \(10[.0-9]*\).*/\1/p')"
echo "witness: $(lsmod | grep -c virtio) modules of virtio"
err_msg "one error"
echo "witness: $FIRST_ERR_MSG"
troubleshoot
echo "witness has spoken"
poweroff -f
"#;

/// The init of the small ramdisks: whether what is larger than a block of any compression came whole, and by which words.
const WHOLE: &str = "#!/bin/sh
PATH=/bin
mount -t proc proc /proc
echo \"witness: the words are $(cat /proc/cmdline)\"
sha256sum -c /large.sha256 && echo \"witness: the ramdisk is whole\"
poweroff -f
";

/// Where builds run.
struct Place<'a> {
    dir: &'a Path,
}

impl<'a> Place<'a> {
    fn new(dir: &'a Path) -> Self {
        for name in ["out", "tmp", "cache", "elements"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        Self { dir }
    }

    fn element(&self, name: &str, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = self.dir.join("elements").join(name).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    /// Builds a ramdisk of Debian and some elements; gives it and its kernel.
    fn build(&self, name: &str, elements: &[&str], more: &[(&str, &str)]) -> [PathBuf; 2] {
        let text = |name: &str| self.dir.join(name).to_str().unwrap().to_owned();
        let [cache, tmp, own] = ["cache", "tmp", "elements"].map(text);
        let main_archive = archive::of_apt(Part::Suite).expect("the machine of this test has apt");
        let security_archive = archive::of_apt(Part::Security).unwrap_or_default();
        let mut environment = vec![
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", &cache),
            ("TMPDIR", &tmp),
            ("ELEMENTS_PATH", &own),
            ("ARCH", "amd64"),
            ("DIB_DISTRIBUTION_MIRROR", &main_archive),
            ("DIB_DEBIAN_SECURITY_MIRROR", &security_archive),
            ("DIB_IMAGE_CACHE", &cache),
            ("DIB_DEBIAN_USE_DEBOOTSTRAP_CACHE", "1"),
        ];
        environment.extend(more);
        let args = [&["-n", "-o", name, "debian-minimal"][..], elements].concat();
        let program = Path::new(env!("CARGO_BIN_EXE_ramdisk-image-create"));
        let out = self.dir.join("out");
        let output = blackbox::run(program, &args, &environment, &out);
        let log = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<_> = log.lines().collect();
        assert!(
            output.status.success(),
            "{name}: {}\n{}\n{}",
            output.status,
            lines[lines.len().saturating_sub(60)..].join("\n"),
            String::from_utf8_lossy(&output.stderr)
        );
        ["initramfs", "kernel"].map(|suffix| out.join(format!("{name}.{suffix}")))
    }
}

#[test]
fn ramdisks_boot() {
    if !oracle::require_root()
        || !oracle::require(&["qemu-system-x86_64", "qemu-img", "cpio", "gzip", "sh", "mke2fs"])
        || !boot::Firmware::Uefi.require()
        || !boot::Firmware::SecureBoot.require()
    {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    place.element("probe", &PROBE);
    place.element("disc", &disc::ELEMENT);
    place.element("target", &disc::TARGET);
    let elements = ["probe", "disc", "iso", "target", "deploy-targetcli"];
    let [ramdisk, kernel] = place.build("probe", &elements, &disc::WORDS);
    let small = Small::of(&place, &ramdisk);
    thread::scope(|scope| {
        scope.spawn(|| {
            every_compression_boots(&small, &kernel);
            dracut::boots(&place);
        });
        fragments_run(&place, &ramdisk, &kernel);
        disc::boots_by_every_firmware(&place, &kernel);
        deploy::an_image_comes_to_the_disk(&place, &small);
        disc::boots_by_what_is_signed(&place, "deploy");
    });
}

/// The ramdisk does what its elements want, on a machine with a disk and a network.
fn fragments_run(place: &Place<'_>, ramdisk: &Path, kernel: &Path) {
    let disk = place.dir.join("disk");
    fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let machine = boot::Ramdisk {
        kernel,
        initrd: ramdisk,
        disks: &[&disk],
        append: "word=\"of honour\"",
        network: true,
        ports: &[],
        typed: &[
            ("press t to launch shell.", "t"),
            (
                "Starting troubleshooting shell.",
                "echo \"witness: who types hears $((6 * 7))\"\nexit\n",
            ),
        ],
    };
    let console = boot::ramdisk_until(&["witness has spoken"], &machine, Duration::from_mins(8));
    for said in [
        "has /dev/probe-disk /dev/vda",
        "witness: jq says 42",
        "witness: the kernel's word is of honour",
        "witness: the disk is /dev/vda, its second partition /dev/vda2",
        "witness: an address is 10.0.2.15",
        "witness: the kernel offers /dev/vda",
        "witness: it listens",
        "witness: it offers nothing more",
        "witness: one+error",
        "witness: who types hears 42",
    ] {
        assert!(console.contains(said), "no '{said}':\n{console}");
    }
    assert!(!console.contains("witness: 0 modules"), "{console}");
    let written = fs::read(&disk).unwrap();
    assert!(written.starts_with(b"written by the ramdisk"), "{console}");
}

/// What is left of a ramdisk without modules, with a file that has no block of any compression to itself.
struct Small {
    root: PathBuf,
}

impl Small {
    fn of(place: &Place<'_>, ramdisk: &Path) -> Self {
        let root = place.dir.join("small");
        fs::create_dir(&root).unwrap();
        let line = "cd \"$1\" && gzip -dc <\"$0\" | cpio -idm --quiet && rm -rf lib/modules lib/firmware \
                    && head -c 40M /dev/urandom | od -An -tx1 -w32 -v | head -c 40M >large \
                    && sha256sum large | sed 's, large, /large,' >large.sha256";
        oracle::run(
            "sh",
            &["-c".as_ref(), line.as_ref(), ramdisk.as_ref(), root.as_ref()],
        );
        fs::write(root.join("init"), WHOLE).unwrap();
        Self { root }
    }

    /// Packs it behind microcode, which changes nothing, whatever it is.
    fn pack(&self, form: &str, to: &Path) {
        let early = image_formats::cpio::early(&[(b"kernel/x86/microcode/AuthenticAMD.bin", b"none")]);
        let packing = Packing {
            compression: form.parse().unwrap(),
            early: Some(early.unwrap()),
            ..Packing::default()
        };
        pack(&self.root, to, &packing).unwrap();
    }
}

/// It boots in each form. That of gzip is part of the system that is deployed.
fn every_compression_boots(small: &Small, kernel: &Path) {
    for form in ["xz:0", "zstd:3", "lz4", "none"] {
        let packed = small.root.with_extension(form);
        small.pack(form, &packed);
        let machine = boot::Ramdisk {
            kernel,
            initrd: &packed,
            disks: &[],
            append: "",
            network: false,
            ports: &[],
            typed: &[],
        };
        let wanted = ["witness: the ramdisk is whole"];
        boot::ramdisk_until(&wanted, &machine, Duration::from_mins(8));
        fs::remove_file(packed).unwrap();
    }
}
