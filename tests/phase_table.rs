//! Where hooks run and what they see, phase by phase, as the element `spy` notes it down.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::{DISK_IMAGE_CREATE, Lab};

/// The phases whose hooks a build runs, in their order.
const PHASES: [&str; 10] = [
    "root",
    "extra-data",
    "pre-install",
    "install",
    "post-install",
    "post-root",
    "block-device",
    "pre-finalise",
    "finalise",
    "cleanup",
];

/// Those that run in the chroot.
const CHROOT: [&str; 4] = ["pre-install", "install", "post-install", "finalise"];

/// What the spy noted in one phase.
struct Notes {
    phase: &'static str,
    cwd: String,
    zero: String,
    environment: BTreeMap<String, String>,
    mounts: String,
}

impl Notes {
    fn read(spied: &Path, phase: &'static str) -> Self {
        let dir = spied.join(phase);
        let text = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let entries = text("environment");
        let entries = entries.split_terminator('\0');
        let pair = |entry: &str| {
            let (name, value) = entry.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        Self {
            phase,
            cwd: text("cwd"),
            zero: text("zero"),
            environment: entries.map(pair).collect(),
            mounts: text("mounts"),
        }
    }

    fn in_chroot(&self) -> bool {
        CHROOT.contains(&self.phase)
    }

    #[track_caller]
    fn value(&self, name: &str) -> &str {
        let value = self.environment.get(name);
        value.unwrap_or_else(|| panic!("{}: {name} is unset", self.phase))
    }

    fn has(&self, name: &str) -> bool {
        self.environment.contains_key(name)
    }

    /// The mount points in the tree, as paths of the tree, with their options.
    fn in_tree(&self) -> BTreeMap<String, String> {
        let tree = if self.in_chroot() {
            ""
        } else {
            self.value("TMP_MOUNT_PATH")
        };
        let fields = |line: &str| {
            let mut fields = line.split(' ');
            let (point, options) = (fields.nth(4)?, fields.next()?);
            let point = point.strip_prefix(tree)?;
            point
                .starts_with('/')
                .then(|| (point.to_owned(), options.to_owned()))
        };
        self.mounts.lines().filter_map(fields).collect()
    }
}

/// The notes of a build with these arguments.
fn spied(lab: &Lab, args: &[&str]) -> (PathBuf, Vec<Notes>) {
    let args = [&["-n"], args, &["no-final-image", "mini-os", "spy"]].concat();
    let said = lab.run(DISK_IMAGE_CREATE, &args).ok();
    assert!(!said.out.contains("warning"), "{}", said.out);
    let out = lab.out("").canonicalize().unwrap();
    let notes = PHASES.map(|phase| Notes::read(&out.join("spied"), phase));
    (out, notes.into_iter().collect())
}

#[test]
fn hooks_run_where_the_table_says() {
    let Some(lab) = Lab::new() else { return };
    let (cwd, notes) = spied(&lab, &[]);
    for notes in &notes {
        let phase = notes.phase;
        let (at, hooks) = if notes.in_chroot() {
            ("/".to_owned(), "/tmp/in_target.d".to_owned())
        } else {
            (
                cwd.display().to_string(),
                notes.value("TMP_HOOKS_PATH").to_owned(),
            )
        };
        assert_eq!(notes.cwd, at, "{phase}");
        assert_eq!(notes.zero, format!("{hooks}/{phase}.d/50-spy"));
        let mounted = notes.in_tree();
        let mut expected = match phase {
            "root" | "block-device" => vec![],
            _ => vec!["/dev", "/dev/pts", "/proc", "/sys"],
        };
        if notes.in_chroot() {
            expected.push("/tmp/in_target.d");
        }
        assert_eq!(mounted.keys().collect::<Vec<_>>(), expected, "{phase}");
        let read_only = mounted.iter().filter(|(_, options)| options.starts_with("ro"));
        let read_only: Vec<_> = read_only.map(|(point, _)| point.as_str()).collect();
        expected.retain(|point| ["/sys", "/tmp/in_target.d"].contains(point));
        assert_eq!(read_only, expected, "{phase}");
    }
}

#[test]
fn hooks_see_the_variables_of_the_table() {
    let Some(mut lab) = Lab::new() else { return };
    for name in ["TMPDIR", "VIRTUAL_ENV"] {
        let dir = lab.dir().join("tmp").display().to_string();
        lab.set(name, &dir);
    }
    lab.set("SITE", "two\nlines").set("http_proxy", "http://proxy:1/");
    let (_, notes) = spied(&lab, &["-o", "n.qcow2", "-a", "riscv64"]);
    let home = lab.dir().join("home").display().to_string();
    for notes in &notes {
        let phase = notes.phase;
        let table = [
            ("ARCH", "riscv64"),
            ("IMAGE_ELEMENT", "no-final-image mini-os spy"),
            ("IMAGE_NAME", "n"),
            ("IMAGE_TYPE", "qcow2"),
            ("FS_TYPE", "ext4"),
            ("DIB_OFFLINE", ""),
            ("DIB_DEBUG_TRACE", "0"),
            ("DIB_CHECKSUM", "0"),
            ("DIB_NO_TMPFS", "0"),
            ("DIB_MIN_TMPFS", "2"),
            ("DIB_PYTHON_EXEC", "python3"),
            ("DIB_ROOT_LABEL", "cloudimg-rootfs"),
            ("DIB_ROOT_FSTYPE", "ext4"),
            ("DIB_BOOT_LABEL", ""),
            ("DIB_MOUNTPOINTS", "/"),
            ("DIB_ARGS", "-n -o n.qcow2 -a riscv64 no-final-image mini-os spy"),
            ("LC_ALL", "C"),
            ("SITE", "two\nlines"),
            ("http_proxy", "http://proxy:1/"),
        ];
        for (name, value) in table {
            assert_eq!(notes.value(name), value, "{phase}: {name}");
        }
        assert!(notes.value("IMAGE_ELEMENT_YAML").contains("spy: /"), "{phase}");
        assert!(
            notes.value("DIB_ENV").contains("declare -x DIB_ARGS=\"-n -o "),
            "{phase}"
        );
        for name in [
            "MKFS_OPTS",
            "ROOT_LABEL",
            "LOGFILE",
            "DOCKER_TARGET",
            "COMPRESS_IMAGE",
        ] {
            assert!(!notes.has(name), "{phase}: {name}");
        }
        paths(notes);
        let host = !notes.in_chroot();
        for name in [
            "TARGET_ROOT",
            "TMPDIR",
            "VIRTUAL_ENV",
            "BASH_FUNC_die%%",
            "BASH_FUNC_get_image_element_array%%",
        ] {
            assert_eq!(notes.has(name), host, "{phase}: {name}");
        }
        assert_eq!(notes.value("HOME"), if host { &home } else { "/root" }, "{phase}");
        when_they_are_known(notes);
    }
}

/// The variables that name the build's own directories.
fn paths(notes: &Notes) {
    let build = notes.value("TMP_BUILD_DIR");
    for (name, below) in [
        ("TMP_IMAGE_DIR", "image"),
        ("TMP_HOOKS_PATH", "hooks"),
        ("TMP_MOUNT_PATH", "mnt"),
        ("_LIB", "lib/diskimage-builder"),
    ] {
        assert_eq!(notes.value(name), format!("{build}/{below}"), "{}", notes.phase);
    }
    if !notes.in_chroot() {
        assert_eq!(
            notes.value("TARGET_ROOT"),
            notes.value("TMP_MOUNT_PATH"),
            "{}",
            notes.phase
        );
    }
    for (name, end) in [
        ("DIB_IMAGE_CACHE", "/image-create"),
        ("DIB_LOCKFILES", "/dib/lockfiles"),
    ] {
        assert!(notes.value(name).ends_with(end), "{}: {name}", notes.phase);
    }
    // Where the disks are planned, GRUB's tools come first.
    let path = notes.value("PATH").trim_start_matches("/tmp/in_target.d/.grub:");
    let (first, last) = if notes.in_chroot() {
        (
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:",
            "/tmp/in_target.d/.applets",
        )
    } else {
        (build, "/usr/local/sbin")
    };
    assert!(
        path.starts_with(first) && path.ends_with(last),
        "{}: {path}",
        notes.phase
    );
}

/// The variables that some phases have and others not.
fn when_they_are_known(notes: &Notes) {
    let phase = notes.phase;
    let at = |phase: &str| PHASES.iter().position(|known| *known == phase).unwrap();
    let from = |first: &str| at(phase) >= at(first);
    assert_eq!(
        notes.has("DIB_DEFAULT_INSTALLTYPE"),
        from("extra-data"),
        "{phase}"
    );
    assert_eq!(notes.has("DIB_IMAGE_SIZE"), from("block-device"), "{phase}");
    if from("block-device") {
        let kib: u64 = notes.value("DIB_IMAGE_SIZE").parse().unwrap();
        assert_eq!(kib % 64, 0, "{phase}");
    }
    // In block-device.d it is what the seed's hooks divide; with partitions in the layout it is empty there.
    assert_eq!(notes.has("IMAGE_BLOCK_DEVICE"), from("block-device"), "{phase}");
    assert_eq!(notes.has("IMAGE_BLOCK_DEVICES"), from("pre-finalise"), "{phase}");
}

#[test]
fn options_are_variables_to_hooks() {
    let Some(mut lab) = Lab::new() else { return };
    lab.set("DIB_IMAGE_SIZE", "7");
    let args = [
        "-u",
        "--image-size",
        "0.5",
        "--min-tmpfs",
        "1.5",
        "--install-type",
        "package",
        "--mkfs-journal-size",
        "8",
        "--root-label",
        "label",
        "--checksum",
        "--offline",
        "--no-tmpfs",
        "-t",
        "raw",
    ];
    let (_, notes) = spied(&lab, &args);
    let root = &notes[0];
    for (name, value) in [
        ("COMPRESS_IMAGE", ""),
        ("DIB_IMAGE_SIZE", "0.5"),
        ("DIB_MIN_TMPFS", "1.5"),
        ("DIB_DEFAULT_INSTALLTYPE", "package"),
        ("DIB_JOURNAL_SIZE", "8"),
        ("DIB_CHECKSUM", "1"),
        ("DIB_OFFLINE", "1"),
        ("DIB_NO_TMPFS", "1"),
        ("SKIP_BASE", "1"),
        ("DIB_ROOT_LABEL", "label"),
    ] {
        assert_eq!(root.value(name), value, "{name}");
    }
    assert!(!root.has("ROOT_LABEL"));
    // Whatever fetches something looks at this one, wherever it runs.
    for notes in &notes {
        assert_eq!(notes.value("DIB_OFFLINE"), "1");
    }
    assert!(
        root.value("DIB_ENV")
            .contains("declare -x DIB_IMAGE_SIZE=\"0.5\"\n")
    );
    lab.set("DIB_CHECKSUM", "sha256")
        .set("DIB_DEFAULT_INSTALLTYPE", "other");
    let (_, notes) = spied(&lab, &["--logfile", "log"]);
    for notes in &notes {
        assert_eq!(notes.value("DIB_CHECKSUM"), "sha256");
        assert_eq!(notes.value("DIB_DEFAULT_INSTALLTYPE"), "other");
        assert_eq!(notes.value("LOGFILE"), "log");
    }
}
