//! A real Debian, built from its archive, before every judge: fsck, the kernel, qemu-img, a machine that boots it, and
//! builds in other surroundings and tiers of privileges that must not differ.
//!
//! One build serves all checks, and all checks are one test: test runners that give each test a process of its own
//! would build once for each.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use oracle::archive::{self, Part};
use oracle::rung::{self, Rung};
use oracle::snapshot::{self, File, Kind, Snapshot};
use oracle::{blackbox, boot, ext4, mounted, qcow2, trace};

const EPOCH: i64 = 1_700_000_000;

/// Files that the builder itself puts right after the last hook, which the spy's copy does not show: what it writes or
/// gives back, and what its table of volatile files names. `*` stands for the start of a name.
const PUT_RIGHT: [&str; 18] = [
    "etc/fstab",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/resolv.conf.ORIG",
    "etc/shadow",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "lost+found",
    "var/cache/apt/*.bin",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/apt/lists/lock",
    "var/lib/dpkg/*-old",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
];

/// What the elements of the test must have put into the image, each by a way of its own, and what not.
const BROUGHT: [(&str, bool); 9] = [
    ("usr/share/spy/laid", true),                 // static/
    ("usr/share/spy/chosen", true),               // install.d/spy-source-install/
    ("usr/share/spy/not-chosen", false),          // install.d/spy-package-install/
    ("usr/lib/systemd/system/spy.service", true), // init-scripts/systemd/
    ("usr/bin/less", true),                       // -p
    ("usr/bin/pv", true),                         // package-installs.yaml
    ("usr/bin/bc", false),                        // the same, for the build only
    ("usr/bin/tree", true),                       // the first generation of package lists
    ("usr/local/bin/spy-tool", true),             // bin/
];

/// A script of the first boot. The directory of its image is no place to leave a trace in.
const FIRST_BOOT: &str = "#!/bin/sh
echo \"$0 ran\"
echo ran >>/etc/first-boot-traces
";

/// What tells the serial console how the first boot went: the machine's own rc.local, and a unit that comes last.
const WITNESS: &str = r#"#!/bin/bash
set -eu
cat >/etc/rc.local <<'TEXT'
#!/bin/sh
echo "witness: rc.local comes after: $(cat /etc/first-boot-traces)" >/dev/console
TEXT
chmod 755 /etc/rc.local
cat >/etc/systemd/system/first-boot-witness.service <<'TEXT'
[Unit]
After=dib-first-boot.service rc-local.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/first-boot-witness
[Install]
WantedBy=multi-user.target
TEXT
cat >/usr/local/sbin/first-boot-witness <<'TEXT'
#!/bin/sh
exec >/dev/console
echo "witness: $(stat -c '%a %U' /var/log/first-boot.d.log)"
sed 's/^/witness: log: /' /var/log/first-boot.d.log
for path in /etc/first-boot.d /usr/sbin/dib-first-boot /etc/systemd/system/dib-first-boot.service; do
    [ -e $path ] || echo "witness: $path is gone"
done
echo "witness: traces: $(wc -l </etc/first-boot-traces)"
echo "witness has spoken"
TEXT
chmod 755 /usr/local/sbin/first-boot-witness
ln -s ../first-boot-witness.service /etc/systemd/system/multi-user.target.wants/
"#;

/// What the witness says.
const WITNESSED: [&str; 9] = [
    "witness: rc.local comes after: ran",
    "witness: 600 root",
    "witness: log: dib-first-boot: running 50-spy",
    "witness: log: /etc/first-boot.d/50-spy ran",
    "witness: log: dib-first-boot: 50-spy completed",
    "witness: /etc/first-boot.d is gone",
    "witness: /usr/sbin/dib-first-boot is gone",
    "witness: /etc/systemd/system/dib-first-boot.service is gone",
    "witness: traces: 1",
];

/// The elements of the test: one that copies the tree as the last hook sees it, and that brings things to install.
fn write_spy(elements: &Path) {
    // A mount of its own shows the tree without what is mounted in it: proc, sys, dev.
    let copy = "[ -n \"${SPY_COPY:-}\" ] || exit 0
bare=$(mktemp -d)
mount --bind \"$TARGET_ROOT\" \"$bare\"
cp -a \"$bare\" \"$SPY_COPY\"
umount \"$bare\"
rmdir \"$bare\"
";
    let unit = "[Unit]\nDescription=Spy\n[Service]\nType=oneshot\nExecStart=/bin/true\n";
    for (path, text) in [
        ("element-deps", "dib-init-system\ninstall-static\ninstall-types\n"),
        ("cleanup.d/999-spy", copy),
        ("static/usr/share/spy/laid", "by static\n"),
        (
            "install.d/spy-source-install/50-spy-source",
            "touch /usr/share/spy/chosen\n",
        ),
        (
            "install.d/spy-package-install/50-spy-package",
            "touch /usr/share/spy/not-chosen\n",
        ),
        ("install.d/package-installs-spy", "# one a line\ntree\n"),
        ("init-scripts/systemd/spy.service", unit),
        ("package-installs.yaml", "pv:\nbc:\n  build-only: true\n"),
        ("bin/spy-tool", "exit 0\n"),
        ("first-boot.d/50-spy", FIRST_BOOT),
        ("install.d/90-first-boot-witness", WITNESS),
    ] {
        let path = elements.join("spy").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let of = path.parent().unwrap().to_string_lossy().into_owned();
        let runs = [".d", "-install", "/bin"].iter().any(|end| of.ends_with(end))
            && !path.to_string_lossy().contains("package-installs");
        let start = if runs && !text.starts_with("#!") {
            "#!/bin/bash\nset -eu\n"
        } else {
            ""
        };
        fs::write(&path, format!("{start}{text}")).unwrap();
        fs::set_permissions(
            &path,
            fs::Permissions::from_mode(if runs { 0o755 } else { 0o644 }),
        )
        .unwrap();
    }
}

/// All that a build finds on the host's PATH: what the hooks of elements themselves call. No apt-get, dpkg, debootstrap,
/// gpg, curl, tar or qemu-img is among it; apt-config tells whether this machine's mirror is past its date on purpose.
const HOSTS: [&str; 53] = [
    "apt-config",
    "awk",
    "basename",
    "bash",
    "cat",
    "chmod",
    "chown",
    "chroot",
    "comm",
    "cp",
    "cut",
    "date",
    "dirname",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "grep",
    "head",
    "id",
    "install",
    "ln",
    "ls",
    "mkdir",
    "mktemp",
    "mount",
    "mv",
    "nproc",
    "printf",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sha256sum",
    "sh",
    "sleep",
    "sort",
    "stat",
    "tail",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "umount",
    "uname",
    "uniq",
    "wc",
    "xargs",
];

/// Links the host's few programs in a directory.
fn few_programs(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for name in HOSTS {
        let program = oracle::find(name).unwrap_or_else(|| panic!("no {name}"));
        symlink(program, dir.join(name)).unwrap();
    }
    for name in ["newuidmap", "newgidmap"] {
        symlink(oracle::find(name).unwrap(), dir.join(name)).unwrap();
    }
}

/// Where and how one build runs: nothing of it may show in the image.
struct Surroundings<'a> {
    rung: Rung,
    tmpdir: &'a str,
    zone: &'a str,
    umask: &'a str,
    /// What starts the program: `taskset` gives it so many processors.
    by: &'a str,
}

/// Builds `debian.raw` and `debian.qcow2` in the directory `name`, which is fresh, and where it is asked for a copy of the
/// tree as the last hook saw it.
fn build(dir: &Path, name: &str, spied: Option<&Path>, surroundings: &Surroundings<'_>) {
    let (cache, etc, out) = (dir.join("cache"), dir.join("etc"), dir.join(name));
    let (tmp, elements) = (out.join(surroundings.tmpdir), out.join("elements"));
    for path in [&cache, &tmp] {
        fs::create_dir_all(path).unwrap();
    }
    write_spy(&elements);
    surroundings.rung.prepare(&etc);
    if surroundings.rung.is_of_a_user() {
        for path in [&cache, &tmp, &out] {
            chown(path, Some(rung::USER), Some(rung::USER)).unwrap();
        }
    }
    let program = dir.join("disk-image-create");
    let command = format!(
        "umask {}; exec {} {} -t raw,qcow2 --no-tmpfs -p less -o debian debian-minimal spy",
        surroundings.umask,
        surroundings.by,
        program.display()
    );
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let path = text(&dir.join("programs"));
    let (cache, tmp, elements) = (text(&cache), text(&tmp), text(&elements));
    let epoch = EPOCH.to_string();
    let (main_archive, security_archive) = (
        archive::of_apt(Part::Suite).expect("the machine of this test has apt"),
        archive::of_apt(Part::Security).unwrap_or_default(),
    );
    let mut environment = vec![
        ("PATH", path.as_str()),
        ("HOME", &cache),
        ("TMPDIR", &tmp),
        ("TZ", surroundings.zone),
        ("SOURCE_DATE_EPOCH", &epoch),
        ("ELEMENTS_PATH", &elements),
        ("ARCH", "amd64"),
        ("DIB_DISTRIBUTION_MIRROR", &main_archive),
        ("DIB_DEBIAN_SECURITY_MIRROR", &security_archive),
        ("DIB_IMAGE_CACHE", &cache),
    ];
    let spied = spied.map(text);
    if let Some(spied) = &spied {
        // Not of the DIB_ family, whose values are recorded in the image.
        environment.push(("SPY_COPY", spied));
    }
    let mut words = surroundings.rung.words(&etc);
    words.extend(["/bin/sh", "-c", &command].map(str::to_owned));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let first = oracle::find(words[0]).unwrap_or_else(|| words[0].into());
    let output = blackbox::run(&first, &words[1..], &environment, &out);
    let log = String::from_utf8_lossy(&output.stdout);
    let tail: Vec<_> = log.lines().rev().take(60).collect();
    let tail: Vec<_> = tail.into_iter().rev().collect();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        tail.join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A snapshot without what the builder puts right, with times no later than the epoch and nothing in logs.
fn comparable(snapshot: Snapshot) -> Snapshot {
    let kept = |path: &[u8]| {
        let path = String::from_utf8_lossy(path);
        let right = |right: &str| match right.split_once('*') {
            Some((start, end)) => path.starts_with(start) && path.ends_with(end),
            None => path == right,
        };
        !PUT_RIGHT.iter().any(|pattern| right(pattern)) && !path.starts_with("tmp/")
    };
    snapshot
        .into_iter()
        .filter(|(path, _)| kept(path))
        .map(|(path, file)| {
            let file = at_epoch(&path, file);
            (path, file)
        })
        .collect::<BTreeMap<_, _>>()
}

fn at_epoch(path: &[u8], mut file: File) -> File {
    file.mtime = file.mtime.min((EPOCH, 0));
    let emptied = path.starts_with(b"var/log/");
    match &mut file.kind {
        // The root alone lost and gained directories: lost+found.
        Kind::Directory if path.is_empty() => file.links = 0,
        Kind::Regular { len, digest, data } => {
            // A copy may lie in other blocks.
            data.clear();
            if emptied {
                (*len, *digest) = (0, 0);
                file.mtime = (EPOCH, 0);
            }
        }
        _ => {}
    }
    file
}

/// The one file of `boot` whose name begins so.
fn boot_file(tree: &Path, prefix: &str) -> PathBuf {
    let found = fs::read_dir(tree.join("boot"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(prefix);
    found
        .filter(named)
        .max()
        .unwrap_or_else(|| panic!("no /boot/{prefix}*"))
}

/// The kernel and the ramdisk that the image itself gives.
fn taken_out(dir: &Path) -> [PathBuf; 2] {
    let program = Path::new(env!("CARGO_BIN_EXE_disk-image-get-kernel"));
    let args = ["-i", "debian.qcow2", "-d", ".", "-o", "taken-out"];
    let output = blackbox::run(program, &args, &[("PATH", "/usr/bin:/bin")], dir);
    assert!(output.status.success(), "{output:?}");
    ["vmlinuz", "initrd"].map(|name| dir.join(format!("taken-out-{name}")))
}

fn boots(dir: &Path, spied: &Path) {
    let [kernel, initrd] = taken_out(dir);
    for (path, prefix) in [(&kernel, "vmlinuz-"), (&initrd, "initrd.img-")] {
        assert!(
            fs::read(path).unwrap() == fs::read(boot_file(spied, prefix)).unwrap(),
            "{prefix}"
        );
    }
    let limit = Duration::from_mins(10);
    let machine = boot::Machine {
        image: &dir.join("debian.qcow2"),
        format: "qcow2",
        kernel: &kernel,
        initrd: &initrd,
        disks: &[],
        append: "",
    };
    let console = boot::until(&["debian login:", "witness has spoken"], &machine, limit);
    assert!(!console.contains("FAILED"), "a unit failed:\n{console}");
    for said in WITNESSED {
        let mut lines = console.lines().map(str::trim_end);
        assert!(lines.any(|line| line.ends_with(said)), "no '{said}':\n{console}");
    }
}

/// What the machine does with each image that is to grow. It says what it did, and never more than it did.
const GROW: &str = "
grow() {
    mount -t ext4 /dev/$1 /run/grow && resize2fs /dev/$1 || return
    for i in {1..300}; do mkdir /run/grow/d$i && echo $i >/run/grow/d$i/f || return; done
    rm -r /run/grow/d1* && umount /run/grow && echo \"$1 has grown\"
}
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir /run/grow
grow vdc
grow vdd
sync; sleep 1
echo \"growth ends\"
";

/// A directory for files of 64 TiB, which ext4 does not take: the test's own, or else the machine's memory.
fn directory_of_large_files(dir: &Path) -> Option<tempfile::TempDir> {
    let takes = |dir: &tempfile::TempDir| {
        let file = fs::File::create(dir.path().join("probe")).unwrap();
        file.set_len(PROMISED).is_ok()
    };
    let directories = [dir, Path::new("/dev/shm")].map(tempfile::tempdir_in);
    directories.into_iter().filter_map(Result::ok).find(takes)
}

/// What an image is promised in the test of growth: 64 TiB.
const PROMISED: u64 = 64 << 40;

/// Images mounted in the machine that the image boots, grown by its kernel, written to, and judged outside: one of the
/// default layout past its reserved group descriptors, and one from 2 GiB to the 64 TiB that it was promised.
///
/// The machine is emulated and adds some 50 GiB a second to the default layout. The other one leaves its kernel little to
/// do for each group: one block of inodes, no bitmaps to read for their checksums, few flex groups.
fn grows(dir: &Path, spied: &Path) {
    const PAST_RESERVE: u64 = 400 << 30;
    let Some(large) = directory_of_large_files(dir) else {
        oracle::skip("no directory takes files of 64 TiB");
        return;
    };
    let made = |name: &str, options: &[&str], grown: u64| {
        let tree = spied.join("etc");
        let base = large.path().join(name);
        let (tree, base) = (tree.to_str().unwrap(), base.to_str().unwrap());
        let args = [
            &["assemble", tree, "-o", base, "-t", "raw", "--label", name],
            options,
        ]
        .concat();
        let output = blackbox::run(Path::new(env!("CARGO_BIN_EXE_dib")), &args, &[], dir);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let image = large.path().join(format!("{name}.raw"));
        let file = fs::File::options().write(true).open(&image).unwrap();
        file.set_len(grown).unwrap();
        image
    };
    let small_reserve = [
        "--image-size",
        "2",
        "--mkfs-options",
        "-i 65536 -E resize=4194304",
    ];
    let past = made("past", &small_reserve, PAST_RESERVE);
    let few_inodes = [
        "--image-size",
        "2",
        "--mkfs-options",
        "-i 4194304 -G 4096 -O uninit_bg",
    ];
    let promised = made("promised", &few_inodes, PROMISED);
    let script = dir.join("script");
    fs::write(&script, format!("{GROW}{}", "\n".repeat(4096 - GROW.len()))).unwrap();
    let machine = boot::Machine {
        image: &dir.join("debian.qcow2"),
        format: "qcow2",
        kernel: &boot_file(spied, "vmlinuz-"),
        initrd: &boot_file(spied, "initrd.img-"),
        disks: &[&script, &past, &promised],
        append: "panic=-1 init=/bin/bash -- /dev/vdb",
    };
    let console = boot::until(&["growth ends"], &machine, Duration::from_mins(15));
    for (disk, image, grown) in [("vdc", past, PAST_RESERVE), ("vdd", promised, PROMISED)] {
        assert!(console.contains(&format!("{disk} has grown")), "{console}");
        ext4::fsck(&image);
        let text = ext4::dumpe2fs(&image, true);
        let count = format!("Block count:              {}\n", grown / 4096);
        assert!(text.contains(&count) && text.contains("meta_bg"), "{text}");
    }
}

/// The image of one build, by every judge that does not boot it.
fn is_whole(dir: &Path, spied: &Path) {
    let raw = dir.join("debian.raw");
    ext4::fsck(&raw);
    qcow2::check(&dir.join("debian.qcow2"));
    qcow2::compare(&raw, &dir.join("debian.qcow2"));
    let expected = comparable(snapshot::of_dir(spied));
    let found = comparable(mounted::read(&raw, snapshot::of_dir));
    snapshot::assert_same(&expected, &found);
    for (path, brought) in BROUGHT {
        assert_eq!(found.contains_key(path.as_bytes()), brought, "{path}");
    }
    assert!(dir.join("debian.d/dib-manifests/dib_arguments").is_file());
}

/// Two builds gave the same bytes, or the files that differ are named.
fn are_the_same(first: &Path, second: &Path) {
    for name in ["debian.raw", "debian.qcow2"] {
        let (one, two) = (
            fs::read(first.join(name)).unwrap(),
            fs::read(second.join(name)).unwrap(),
        );
        if one != two {
            let [shown, other] =
                [first, second].map(|dir| mounted::read(&dir.join("debian.raw"), snapshot::of_dir));
            snapshot::assert_same(&shown, &other);
            panic!("{name} differs, but in no file");
        }
    }
}

/// The build started hooks on its host, these the host's few programs and applets, and nobody anything else: neither by a
/// whole path, nor where PATH was another.
fn starts_only(programs: &Path, starts: &[trace::Start]) {
    let hosts = format!("{}/", programs.display());
    let (mut hooks, mut of_hooks) = (0, 0);
    for start in starts.iter().skip(1).filter(|start| !start.elsewhere) {
        let (program, by) = (&start.program, &start.by);
        let name = program.rsplit('/').next().unwrap_or_default();
        if program.contains("/dib_build.") && program.contains("/hooks/") {
            hooks += 1;
        } else if by.ends_with("/disk-image-create") {
            // It reads what elements set in their environment.d.
            assert_eq!(name, "bash", "the builder itself started {program}");
        } else if by.ends_with("/apt-config") {
            // It asks the host's dpkg which architectures there are.
            assert_eq!(name, "dpkg", "{by} started {program}");
        } else {
            of_hooks += 1;
            assert!(
                program.starts_with(&hosts) && HOSTS.contains(&name),
                "{by} started {program}"
            );
        }
    }
    assert!(hooks > 10 && of_hooks > 10, "{hooks} hooks, {of_hooks} programs");
}

/// Three builds: two at once, of root and of a container's root, which fill one cache; one of a user.
#[test]
fn debian_minimal_is_whole_boots_and_repeats() {
    let tools = ["e2fsck", "qemu-img", "qemu-system-x86_64", "strace", "taskset"];
    let tiers = Rung::ALL.iter().all(|rung| rung.require());
    if !tiers || !oracle::require(&tools) || !oracle::require_root() || !mounted::require() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    // Where every user reaches it, and without the checkout beside it: the elements are the program's own.
    fs::copy(
        env!("CARGO_BIN_EXE_disk-image-create"),
        dir.join("disk-image-create"),
    )
    .unwrap();
    few_programs(&dir.join("programs"));
    let [first, second, third] = ["first", "second", "third"].map(|name| dir.join(name));
    let spied = dir.join("spied");
    let one_processor = format!("{} -c 0", oracle::find("taskset").unwrap().display());
    let traced = dir.join("trace");
    let of_root = Surroundings {
        rung: Rung::T0,
        tmpdir: "tmp",
        zone: "UTC",
        umask: "022",
        by: &trace::words(&traced).join(" "),
    };
    let of_a_container = Surroundings {
        rung: Rung::T1,
        tmpdir: "else/where",
        zone: "Asia/Tokyo",
        umask: "077",
        by: &one_processor,
    };
    let of_a_user = Surroundings {
        rung: Rung::T2,
        zone: "America/Lima",
        by: "",
        ..of_root
    };
    thread::scope(|scope| {
        scope.spawn(|| build(dir, "second", None, &of_a_container));
        build(dir, "first", Some(&spied), &of_root);
    });
    starts_only(&dir.join("programs"), &trace::read(&traced));
    are_the_same(&first, &second);
    fs::remove_dir_all(&second).unwrap();
    // The user's cache is another one, by the same name: where it lies is recorded in the image.
    fs::remove_dir_all(dir.join("cache")).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| build(dir, "third", None, &of_a_user));
        is_whole(&first, &spied);
        boots(&first, &spied);
        grows(&first, &spied);
    });
    are_the_same(&first, &third);
}
