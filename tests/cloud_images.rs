//! Cloud images as roots: images that others made → the tree of a build, by `extract-image` and by the elements on it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use oracle::http::{Reply, Server};
use oracle::snapshot::{self, Kind, Snapshot};
use oracle::{blackbox, mounted, require};

use crate::lab::{DIB, Lab};

mod cloud;
mod containers;
mod distributions;
mod elements;
mod registry;

const TOOLS: [&str; 9] = [
    "mksquashfs",
    "mke2fs",
    "qemu-img",
    "sfdisk",
    "gzip",
    "xz",
    "zstd",
    "mkfs.fat",
    "mcopy",
];

fn run(tool: &str, args: &[&str]) {
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    oracle::run(tool, &args);
}

/// Where images are made: a root with what a root has, and a lab.
struct Studio {
    lab: Lab,
    root: PathBuf,
}

impl Studio {
    fn new() -> Option<Self> {
        if !require(&TOOLS) || !mounted::require() {
            return None;
        }
        let mut lab = Lab::new()?;
        let root = lab.dir().join("cloud");
        furnish(&root);
        for name in ["cache", "target", "scratch"] {
            fs::create_dir(lab.dir().join(name)).unwrap();
        }
        let place = |name: &str| lab.dir().join(name).display().to_string();
        let variables = [
            ("DIB_IMAGE_CACHE", place("cache")),
            ("DIB_LOCKFILES", place("locks")),
            ("TARGET_ROOT", place("target")),
            ("TMP_BUILD_DIR", place("scratch")),
        ];
        for (name, value) in variables {
            lab.set(name, &value);
        }
        symlink(DIB, lab.dir().join("extract-image")).unwrap();
        Some(Self { lab, root })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.lab.dir().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// An image of a directory by mke2fs.
    fn ext4(&self, name: &str, dir: &Path, mebibytes: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(mebibytes << 20).unwrap();
        let args = [
            "-q",
            "-F",
            "-t",
            "ext4",
            "-d",
            dir.to_str().unwrap(),
            path.to_str().unwrap(),
        ];
        run("mke2fs", &args);
        path
    }

    /// Calls extract-image. Gives its status and what it said.
    fn extract(&self, args: [&str; 4]) -> (Option<i32>, String) {
        fs::remove_dir_all(self.path("target")).unwrap();
        fs::create_dir(self.path("target")).unwrap();
        let program = self.path("extract-image");
        let output = blackbox::run(&program, &args, &self.lab.environment(), self.lab.dir());
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Lays a local image out, which must give the root as it was.
    fn gives_the_root(&mut self, image: &Path, expected: &Snapshot) {
        self.lab.set("DIB_LOCAL_IMAGE", image.to_str().unwrap());
        let (status, said) = self.extract(["unused", "unused", "unused", "unused"]);
        assert_eq!(status, Some(0), "{}: {said}", image.display());
        let found = comparable(snapshot::of_dir(&self.path("target")));
        snapshot::assert_same(expected, &found);
        assert_eq!(
            fs::read_dir(self.path("scratch")).unwrap().count(),
            0,
            "nothing is left in {}",
            self.text("scratch")
        );
    }
}

/// What a root has: owners, modes, links of both kinds, devices, capabilities, holes, many names.
fn furnish(root: &Path) {
    for dir in ["etc", "usr/bin", "var/lib", "boot/efi", "dev", "tmp"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(root.join("etc/os-release"), "ID=cloudy\n").unwrap();
    fs::write(root.join("usr/bin/tool"), vec![0x7f; 300_000]).unwrap();
    fs::set_permissions(root.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/same-tool")).unwrap();
    std::os::unix::fs::chown(root.join("etc/os-release"), Some(70_000), Some(8)).unwrap();
    symlink("/etc/os-release", root.join("var/lib/link")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    let sparse = File::create(root.join("var/lib/sparse")).unwrap();
    sparse.write_all_at(b"far", 7_000_000).unwrap();
    sparse.set_len(20_000_000).unwrap();
    for i in 0..1500 {
        fs::write(root.join(format!("var/lib/a-file-{i}")), i.to_string()).unwrap();
    }
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let file = root.join("usr/bin/ping");
    fs::write(&file, "ping").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&file, "security.capability", &capability, flags).unwrap();
    let null = rustix::fs::makedev(1, 3);
    let kind = rustix::fs::FileType::CharacterDevice;
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("dev/null"), kind, mode, null).unwrap();
}

/// Without what an image has beside the root, and without nanoseconds, which `mke2fs -d` does not take over.
fn comparable(mut snapshot: Snapshot) -> Snapshot {
    snapshot.retain(|path, _| path != b"lost+found");
    for (path, file) in &mut snapshot {
        file.mtime.1 = 0;
        // lost+found is a directory in the root, and changed it.
        if path.is_empty() {
            (file.mtime, file.links) = ((0, 0), 0);
        }
        // Where the host's file system puts holes is its own affair.
        if let Kind::Regular { data, .. } = &mut file.kind {
            data.clear();
        }
    }
    snapshot
}

#[test]
fn an_image_in_any_wrapping_gives_its_root() {
    let Some(mut studio) = Studio::new() else { return };
    let expected = comparable(snapshot::of_dir(&studio.root));
    let raw = studio.ext4("raw", &studio.root, 64);
    studio.gives_the_root(&raw, &expected);
    let text = |name: &str| studio.text(name);
    let wrappings = [
        ("qcow2", vec!["convert", "-O", "qcow2"]),
        ("qcow2-v2", vec!["convert", "-O", "qcow2", "-o", "compat=0.10"]),
        ("qcow2-zlib", vec!["convert", "-c", "-O", "qcow2"]),
        (
            "qcow2-zstd",
            vec!["convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd"],
        ),
    ];
    for (name, mut args) in wrappings {
        let (from, to) = (text("raw"), text(name));
        args.extend(["-f", "raw", &from, &to]);
        run("qemu-img", &args);
    }
    for (tool, name) in [("gzip", "raw.gz"), ("xz", "qcow2-zlib.xz"), ("zstd", "raw.zst")] {
        let from = text(name.rsplit_once('.').unwrap().0);
        run(tool, &["-kqf", &from]);
    }
    let (dir, tar) = (studio.root.display().to_string(), text("root.tar"));
    let args = [
        "-C",
        &dir,
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "--sparse",
        "-cpf",
        &tar,
        ".",
    ];
    run("tar", &args);
    run("gzip", &["-kqf", &tar]);
    let squash = text("root.squashfs");
    run(
        "mksquashfs",
        &[&dir, &squash, "-quiet", "-no-progress", "-comp", "xz"],
    );
    for name in [
        "root.squashfs",
        "qcow2",
        "qcow2-v2",
        "qcow2-zlib",
        "qcow2-zstd",
        "raw.gz",
        "qcow2-zlib.xz",
        "raw.zst",
        "root.tar",
        "root.tar.gz",
    ] {
        studio.gives_the_root(&studio.path(name), &expected);
    }
}

/// Puts images into the partitions of a disk that sfdisk makes.
fn disk(studio: &Studio, name: &str, script: &str, parts: &[(&Path, u64)]) -> PathBuf {
    let path = studio.path(name);
    let file = File::create(&path).unwrap();
    file.set_len(192 << 20).unwrap();
    let commands = studio.path("script");
    fs::write(&commands, script).unwrap();
    let shell = format!("sfdisk -q {} < {}", path.display(), commands.display());
    run("sh", &["-c", &shell]);
    for (image, mebibytes) in parts {
        file.write_all_at(&fs::read(image).unwrap(), mebibytes << 20)
            .unwrap();
    }
    path
}

#[test]
fn a_disk_gives_what_is_mounted_in_its_root_too() {
    let Some(mut studio) = Studio::new() else { return };
    let bare = studio.ext4("bare", &studio.root, 64);
    let boot = studio.path("boot-files");
    fs::create_dir(&boot).unwrap();
    fs::write(boot.join("vmlinuz-1"), "a kernel").unwrap();
    let boot_image = studio.ext4("boot-image", &boot, 16);
    fs::copy(boot.join("vmlinuz-1"), studio.root.join("boot/vmlinuz-1")).unwrap();
    let mut expected = comparable(snapshot::of_dir(&studio.root));
    expected.remove(&b"boot"[..]);
    expected.remove(&b"boot/vmlinuz-1"[..]);
    let esp = studio.path("esp");
    File::create(&esp).unwrap().set_len(30 << 20).unwrap();
    run("mkfs.fat", &["-F", "16", esp.to_str().unwrap()]);
    let loader = studio.path("BOOTX64.EFI");
    fs::write(&loader, "a boot loader").unwrap();
    let place = esp.to_str().unwrap();
    run("mmd", &["-i", place, "::EFI"]);
    run(
        "mcopy",
        &["-i", place, loader.to_str().unwrap(), "::EFI/BOOTX64.EFI"],
    );
    let gpt = "label: gpt
start=1MiB, size=2MiB, type=21686148-6449-6E6F-744E-656564454649
start=3MiB, size=16MiB, type=BC13C2FF-59E6-4262-A352-B275FD6F7172
start=121MiB, size=30MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=20MiB, size=100MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=root
";
    let dos = "label: dos
start=1MiB, size=64MiB, type=83, bootable
start=70MiB, size=80MiB, type=5
start=72MiB, size=4MiB, type=82
";
    let cases = [
        disk(&studio, "gpt", gpt, &[(&boot_image, 3), (&esp, 121), (&bare, 20)]),
        disk(&studio, "dos", dos, &[(&bare, 1)]),
    ];
    for (image, with_boot) in cases.iter().zip([true, false]) {
        studio.lab.set("DIB_LOCAL_IMAGE", image.to_str().unwrap());
        let (status, said) = studio.extract(["unused"; 4]);
        assert_eq!(status, Some(0), "{said}");
        let mut found = comparable(snapshot::of_dir(&studio.path("target")));
        let kernel = found.remove(&b"boot/vmlinuz-1"[..]);
        assert_eq!(kernel.is_some(), with_boot);
        found.remove(&b"boot"[..]);
        found.remove(&b"boot/lost+found"[..]);
        found.remove(&b"boot/efi"[..]);
        found.remove(&b"boot/efi/EFI"[..]);
        let loader = found.remove(&b"boot/efi/EFI/BOOTX64.EFI"[..]);
        assert_eq!(loader.is_some(), with_boot);
        expected.remove(&b"boot/efi"[..]);
        snapshot::assert_same(&expected, &found);
    }
}

/// The partitions of the images of Red Hat's distributions, `/boot` and the root in XFS.
#[test]
fn a_disk_of_xfs_gives_its_root() {
    if !require(&["mkfs.xfs", "dd"]) || !mounted::knows("xfs") {
        return;
    }
    let Some(mut studio) = Studio::new() else { return };
    fs::write(studio.root.join("boot/vmlinuz-1"), "a kernel").unwrap();
    let expected = comparable(snapshot::of_dir(&studio.root));
    let fstab = "LABEL=boot /boot xfs defaults 0 0\n";
    fs::write(studio.root.join("etc/fstab"), fstab).unwrap();
    let (boot, root, disk) = (
        studio.path("boot.xfs"),
        studio.path("root.xfs"),
        studio.path("disk"),
    );
    mounted::filled("xfs", &boot, 310 << 20, &studio.root.join("boot"));
    run("xfs_admin", &["-L", "boot", boot.to_str().unwrap()]);
    fs::remove_file(studio.root.join("boot/vmlinuz-1")).unwrap();
    mounted::filled("xfs", &root, 400 << 20, &studio.root);
    File::create(&disk).unwrap().set_len(800 << 20).unwrap();
    let script = "label: gpt
start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649
start=2MiB, size=310MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
start=312MiB, size=400MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
";
    fs::write(studio.path("script"), script).unwrap();
    let shell = format!("sfdisk -q {} < {}", studio.text("disk"), studio.text("script"));
    run("sh", &["-c", &shell]);
    for (image, seek) in [(&boot, 2), (&root, 312)] {
        let words = [
            format!("if={}", image.display()),
            format!("of={}", disk.display()),
            format!("seek={seek}"),
        ];
        let always = ["bs=1M", "conv=sparse,notrunc", "status=none"];
        run(
            "dd",
            &[&words.each_ref().map(String::as_str)[..], &always].concat(),
        );
    }
    studio.lab.set("DIB_LOCAL_IMAGE", disk.to_str().unwrap());
    let (status, said) = studio.extract(["unused"; 4]);
    assert_eq!(status, Some(0), "{said}");
    let mut found = comparable(snapshot::of_dir(&studio.path("target")));
    assert!(found.remove(&b"etc/fstab"[..]).is_some());
    for path in [&b"boot"[..], b"etc"] {
        // Written anew.
        let time = expected[path].mtime;
        found.get_mut(path).unwrap().mtime = time;
    }
    snapshot::assert_same(&expected, &found);
    let looked = |words: &[&str]| {
        studio
            .lab
            .run(DIB, &[words, &[disk.to_str().unwrap()]].concat())
            .ok()
            .out
    };
    let said = looked(&["inspect"]);
    for told in ["xfs, label 'boot'", "mounted on /boot"] {
        assert!(said.contains(told), "no {told} in {said}");
    }
    assert!(looked(&["check"]).contains("xfs (partition 2), xfs (partition 3)"));
    let args = ["cat", disk.to_str().unwrap(), "/boot/vmlinuz-1"];
    assert_eq!(studio.lab.run(DIB, &args).ok().out, "a kernel");
}

/// As SUSE has it: the root is a snapshot that is mounted where none is named.
#[test]
fn the_default_subvolume_is_the_root() {
    if !require(&["mkfs.btrfs", "btrfs"]) || !mounted::knows("btrfs") {
        return;
    }
    let Some(mut studio) = Studio::new() else { return };
    let image = studio.path("btrfs");
    File::create(&image).unwrap().set_len(256 << 20).unwrap();
    run("mkfs.btrfs", &["-q", "-L", "suse", image.to_str().unwrap()]);
    mounted::with("btrfs", &image, "loop,rw,compress=zstd", |top| {
        let script = format!(
            "cd {} && btrfs -q subvolume create @ && btrfs -q subvolume create @/home && mkdir -p @/.snapshots/1 &&
             btrfs -q subvolume create first && cp -a {}/. first && mkdir first/home first/.snapshots &&
             echo LABEL=suse /home btrfs subvol=/@/home >first/etc/fstab && echo a user >@/home/file &&
             btrfs -q subvolume snapshot first @/.snapshots/1/snapshot &&
             echo ID=older >first/etc/os-release && btrfs subvolume set-default @/.snapshots/1/snapshot",
            top.display(),
            studio.root.display()
        );
        run("sh", &["-ec", &script]);
    });
    studio.lab.set("DIB_LOCAL_IMAGE", image.to_str().unwrap());
    let (status, said) = studio.extract(["unused"; 4]);
    assert_eq!(status, Some(0), "{said}");
    let mut found = comparable(snapshot::of_dir(&studio.path("target")));
    for path in [&b"home"[..], b"home/file", b".snapshots", b"etc/fstab"] {
        assert!(found.remove(path).is_some(), "no {}", path.escape_ascii());
    }
    let mut expected = comparable(snapshot::of_dir(&studio.root));
    expected.get_mut(&b"etc"[..]).unwrap().mtime = found[&b"etc"[..]].mtime;
    snapshot::assert_same(&expected, &found);
    let said = studio
        .lab
        .run(DIB, &["inspect", image.to_str().unwrap()])
        .ok()
        .out;
    let root = said.lines().find(|line| line.ends_with("mounted on /")).unwrap();
    assert!(
        root.contains("btrfs, subvolume @/.snapshots/1/snapshot, label 'suse'"),
        "{root}"
    );
    let said = studio.lab.run(DIB, &["check", image.to_str().unwrap()]).ok().out;
    assert!(said.contains("btrfs (subvolume @/home of the image)"), "{said}");
}

#[test]
fn what_cannot_be_a_root_is_named() {
    let Some(mut studio) = Studio::new() else { return };
    let file = |name: &str, at: usize, mark: &[u8]| {
        let mut bytes = vec![0; 1 << 20];
        bytes[at..at + mark.len()].copy_from_slice(mark);
        fs::write(studio.path(name), bytes).unwrap();
        studio.path(name)
    };
    let (raw, backed) = (file("raw", 0, b"x"), studio.path("backed"));
    let (backed_text, raw_text) = (backed.display().to_string(), raw.display().to_string());
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            &raw_text,
            &backed_text,
        ],
    );
    let cases = [
        (
            file("f2fs", 0x400, &[0x10, 0x20, 0xf5, 0xf2]),
            "an F2FS file system, which is not read: use an image whose root is in ext4, XFS or Btrfs",
        ),
        (
            file("xfs", 0, b"XFSB"),
            "the superblock's sb_versionnum cannot be 0",
        ),
        (
            file("btrfs", 0x1_0040, b"_BHRfS_M"),
            "the image: the superblock has a wrong checksum",
        ),
        (
            file("vhdx", 0, b"vhdxfile"),
            "it is a VHDX image, which is not read: convert it to qcow2 or raw",
        ),
        (file("cut.gz", 0, &[0x1f, 0x8b, 8, 0]), "cannot decompress it"),
        (backed, "backing files are not supported"),
        (raw, "neither a file system nor a partition table is there"),
        (studio.path("absent"), "No such file or directory"),
    ];
    for (image, expected) in cases {
        studio.lab.set("DIB_LOCAL_IMAGE", image.to_str().unwrap());
        let (status, said) = studio.extract(["unused"; 4]);
        assert_eq!(status, Some(1), "{}: {said}", image.display());
        assert!(said.contains(expected), "no '{expected}' in {said}");
    }
}

#[test]
fn an_image_is_fetched_once() {
    let Some(studio) = Studio::new() else { return };
    let raw = fs::read(studio.ext4("raw", &studio.root, 64)).unwrap();
    let server = Server::start(move |_, asked| match asked.target.as_str() {
        "/images/cloud.img" => Reply::file(asked, &raw, "\"one\""),
        _ => Reply::new(404, "no such file"),
    });
    let url = server.url("/images");
    let cached = studio.text("cache/cloud.img.tgz");
    for _ in 0..2 {
        let (status, said) = studio.extract(["cloud.img", "cloud.img.tgz", &url, &cached]);
        assert_eq!(status, Some(0), "{said}");
        assert!(studio.path("target/etc/os-release").is_file());
    }
    assert!(studio.path("cache/cloud.img").is_file());
    let (status, said) = studio.extract(["absent.img", "absent.img.tgz", &url, &cached]);
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("cannot fetch") && said.contains("absent.img"),
        "{said}"
    );
}
