//! What the programs say, to the letter: each text stands in a file below `fixtures/messages`, so that a change of any
//! shows in review. `DIB_BLESS=1` takes new texts over; the catalogue marks what the other files show, so run it twice.

mod catalogue;
mod fetching;

use std::fs;

use regex_lite::Regex;

use crate::lab::{DIB, DISK_IMAGE_CREATE, DISKIMAGE_BUILDER, ELEMENT_INFO, Lab, RUN_PARTS};
use crate::operator::small_os;

/// A session: commands, what they said, and how they ended.
struct Session {
    lab: Lab,
    text: String,
}

impl Session {
    fn new(lab: Lab) -> Self {
        Self {
            lab,
            text: String::new(),
        }
    }

    /// Runs a program; variables are set for this run alone.
    fn run(&mut self, variables: &[(&str, &str)], program: &str, args: &[&str]) -> &mut Self {
        let before = self.lab.environment().into_iter();
        let before: Vec<_> = before
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, value) in variables {
            self.lab.set(name, value);
        }
        let said = self.lab.run(program, args);
        self.lab.restore(before);
        let set = variables.iter().map(|(name, value)| format!("{name}='{value}' "));
        let quoted = args.iter().map(|arg| {
            let plain = !arg.is_empty() && !arg.contains([' ', '$']);
            if plain {
                format!(" {arg}")
            } else {
                format!(" '{arg}'")
            }
        });
        self.text.push_str(&self.lab.plain(&format!(
            "$ {}{program}{}\n{}{}[{}]\n\n",
            set.collect::<String>(),
            quoted.collect::<String>(),
            said.out,
            said.err,
            said.status
        )));
        self
    }

    /// Compares all of it with the file that holds it.
    fn check(&self, file: &str) {
        let mut text = self.text.clone();
        for (pattern, instead) in [
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", "TIME"),
            (r"-\d{4}\.\d\d\.\d\d-\d\d\.\d\d\.\d\d(-\d)?", "-TIME"),
            (r"dib_build\.[A-Z2-9]+", "dib_build.RANDOM"),
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
            (r"\.tmp[A-Za-z0-9]{6}\b", ".tmpRANDOM"),
            (r"this one has \d+\.\d MiB", "this one has N MiB"),
            (r" *\d+\.\d{3}  ", "      0.000  "),
            (r"after \d+\.\d{3} s", "after 0.000 s"),
            (r"\d+\.\d [KMGT]iB are", "N GiB are"),
        ] {
            text = Regex::new(pattern)
                .unwrap()
                .replace_all(&text, instead)
                .into_owned();
        }
        text = text.replace(concat!(" ", env!("CARGO_PKG_VERSION")), " VERSION");
        oracle::golden::check(&format!("messages/{file}"), &text);
    }
}

#[test]
fn help() {
    let mut session = Session::new(Lab::unprivileged());
    for program in [DIB, DISK_IMAGE_CREATE, DISKIMAGE_BUILDER, ELEMENT_INFO, RUN_PARTS] {
        session.run(&[], program, &["--help"]);
    }
    let commands = session.lab.run(DIB, &["--help"]).ok().out;
    let (_, commands) = commands.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    for line in commands {
        let name = line.split_whitespace().next().unwrap();
        // These two are programs, too, and `help` is none.
        if !["disk-image-create", "element-info", "help"].contains(&name) {
            session.run(&[], DIB, &[name, "--help"]);
        }
    }
    session.check("help.txt");
}

#[test]
fn layouts() {
    let lab = Lab::unprivileged();
    lab.file("os/element-provides", "operating-system\n")
        .file("one/block-device-default.yaml", "- local_loop: {name: image1}\n")
        .file("two/block-device-default.yaml", "- local_loop: {name: image0}\n");
    let mut session = Session::new(lab);
    for text in [
        "/no/such/layout",
        "[]",
        "- local_lop: {name: image0}\n- mkfs: {type: ext4}\n",
        "- local_loop: {name: image0, size: 5k}\n- mkfs: {base: imago0, type: xfs}\n",
    ] {
        session.run(&[("DIB_BLOCK_DEVICE_CONFIG", text)], DIB, &["plan", "-n", "os"]);
    }
    for elements in [&["os", "one"][..], &["os", "one", "two"]] {
        session.run(&[], DIB, &[&["plan", "-n"], elements].concat());
    }
    session.check("layouts.txt");
}

#[test]
fn command_lines() {
    let lab = Lab::unprivileged();
    lab.file("os/element-provides", "operating-system\n");
    let mut session = Session::new(lab);
    for args in [
        &["--imagesize", "1", "os"][..],
        &["--quite-else", "os"],
        &["-y", "os"],
        &["-yoffline", "os"],
        &["--image", "1", "os"],
        &["--checksum=1", "os"],
        &["-o"],
        &["--color", "sometimes", "os"],
        &["--image-size", "big", "os"],
        &["--max-online-resize", "many", "os"],
        &["--root-label", "a-label-that-is-too-long", "os"],
        &["-o", "images/", "os"],
        &["--image-size", "0", "os"],
        &["--mkfs-options", "-Q", "os"],
        &["--qemu-img-options", "nonsense=1", "os"],
        &["-t", "qcow", "os"],
        &["-t", "nothing-like-it", "os"],
        &["-t", "vhd", "--vhd-creator", "azur", "os"],
        &["-t", "vhd", "--vhd-creator", "nothing-like-it", "os"],
        &["-t", "vdi,vhd", "--qemu-img-options", "compat=0.10", "os"],
        &["-t", "vmdk", "--qemu-img-options", "subformat", "os"],
        &[
            "-t",
            "vmdk",
            "--qemu-img-options",
            "subformat=monolithicFlat",
            "os",
        ],
        &["-o", "-", "os"],
        &["-o", "-", "-t", "raw,vdi", "os"],
        &["-o", "-", "-t", "raw", "--checksum", "os"],
        &["--events", "/no/such/dir/events", "os"],
        &["--events", "987", "os"],
    ] {
        session.run(&[], DISK_IMAGE_CREATE, args);
    }
    for variable in [
        ("FS_TYPE", "xfs"),
        ("RUN_PARTS_REGEX", "["),
        ("DIB_JOURNAL_SIZE", "x"),
    ] {
        session.run(&[variable], DISK_IMAGE_CREATE, &["-n", "os"]);
    }
    for args in [
        &["biuld", "os"][..],
        &["quite-else"],
        &["plan", "--jsno", "os"],
        &["plan", "-n", "-a", "amd46", "os"],
        &["assemble"],
        &["assemble", "/no/such/tree"],
        &["convert", "/no/such/image"],
    ] {
        session.run(&[], DIB, args);
    }
    let full = format!("{DIB} plan -n os > /dev/full");
    session.run(&[], "/bin/bash", &["-c", &full]);
    for args in [&["-y"][..], &["--list"], &[], &["/no/such/dir"]] {
        session.run(&[], RUN_PARTS, args);
    }
    let sudo = session.lab.out("sudo").display().to_string();
    std::os::unix::fs::symlink(DIB, &sudo).unwrap();
    for args in [&["-u", "nobody", "id"][..], &["--shell"], &["/no/such/program"]] {
        session.run(&[], &sudo, args);
    }
    session.check("command-lines.txt");
}

#[test]
fn elements() {
    let lab = Lab::unprivileged();
    for os in ["os", "other-os"] {
        lab.file(&format!("{os}/element-provides"), "operating-system\n");
    }
    lab.file("app/README.md", "")
        .file("needs/element-deps", "os\nno-such-thing\n")
        .hook("install.d/10-same", "true")
        .file("twin/install.d/10-same", "#!/bin/sh\n");
    let mut session = Session::new(lab);
    for args in [
        &[][..],
        &["--strict", "app"],
        &["os", "debian-minmal"],
        &["os", "nothing-like-it"],
        &["needs"],
        &["os", "other-os"],
        &["os", "os"],
        &["os", "probe", "twin"],
        &["-c", "os"],
    ] {
        session.run(&[], DISK_IMAGE_CREATE, args);
    }
    session.run(&[("ELEMENTS_PATH", "/no/such/dir")], DISK_IMAGE_CREATE, &["os"]);
    session.run(&[], ELEMENT_INFO, &["app"]);
    session.run(&[("DIB_STRICT", "1")], ELEMENT_INFO, &["app"]);
    session.check("elements.txt");
}

#[test]
fn files_of_images() {
    let lab = Lab::unprivileged();
    for (name, text) in [
        ("empty.yaml", "[]\n"),
        ("key.yaml", "- imagename: a\n  tpyes: [raw]\n"),
        ("type.yaml", "- imagename: a\n  checksum: perhaps\n"),
        ("good.yaml", "- imagename: a\n  elements: [os]\n  types: [raw]\n"),
    ] {
        fs::write(lab.out(name), text).unwrap();
    }
    let mut session = Session::new(lab);
    for args in [
        &["no-such.yaml"][..],
        &["empty.yaml"],
        &["key.yaml"],
        &["type.yaml"],
        &["--dry-run", "good.yaml"],
        &["good.yaml"],
    ] {
        session.run(&[], DISKIMAGE_BUILDER, args);
    }
    session.check("files-of-images.txt");
}

#[test]
fn builds() {
    let Some(lab) = Lab::new() else { return };
    small_os(&lab);
    lab.hook("extra-data.d/10-talks", "echo said; echo aside >&2")
        .file("probe/extra-data.d/20-talks.sh", "#!/bin/sh\n")
        .file("empty/element-provides", "operating-system\n")
        .file("empty/root.d/10-empty", "#!/bin/sh\nmkdir $TARGET_ROOT/tmp\n");
    let mut session = Session::new(lab);
    let image = [
        "-n",
        "-a",
        "amd64",
        "-o",
        "i",
        "-t",
        "raw",
        "--image-size=0.01",
        "os",
        "probe",
    ];
    session.run(&[], DISK_IMAGE_CREATE, &image);
    session.run(&[("DIB_NO_TIMESTAMP", "1")], DISK_IMAGE_CREATE, &image);
    let rehearsal = ["-n", "no-final-image", "os", "probe"];
    let plain = ("DIB_NO_TIMESTAMP", "1");
    session.run(&[plain, ("DIB_SHOW_IMAGE_USAGE", "1")], DISK_IMAGE_CREATE, &image);
    session.run(
        &[plain, ("DIB_MIN_TMPFS", "1000000")],
        DISK_IMAGE_CREATE,
        &rehearsal,
    );
    session.run(
        &[
            plain,
            ("break", "before-root,after-cleanup"),
            ("break_cmd", "echo in the shell"),
        ],
        DISK_IMAGE_CREATE,
        &rehearsal,
    );
    session.run(
        &[],
        DISK_IMAGE_CREATE,
        &["-n", "--logfile", "log", "no-final-image", "os"],
    );
    session.run(
        &[plain],
        DISK_IMAGE_CREATE,
        &["-n", "--logfile", "/no/such/dir/log", "os"],
    );
    for (dir, tier) in [("/no/such/dir", "T0"), ("/proc/self", "T0"), ("/proc/self", "T1")] {
        let variables = [plain, ("TMP_DIR", dir), ("DIB_PRIVILEGES", tier)];
        session.run(&variables, DISK_IMAGE_CREATE, &rehearsal);
    }
    let small = ["-n", "-t", "raw", "--mkfs-journal-size=4", "os"];
    session.run(
        &[plain],
        DISK_IMAGE_CREATE,
        &[&["--image-size=0.001"], &small[..]].concat(),
    );
    session.run(
        &[plain],
        DISK_IMAGE_CREATE,
        &[&["-o", "/no/such/dir/i"], &small[..]].concat(),
    );
    session.run(&[plain], DISK_IMAGE_CREATE, &["-n", "empty"]);
    session.check("builds.txt");
}

#[test]
fn failures_of_hooks() {
    let Some(lab) = Lab::new() else { return };
    let mut session = Session::new(lab);
    let quiet = [("DIB_QUIET", "1")];
    let args = ["-n", "no-final-image", "mini-os", "probe"];
    for (hook, script) in [
        ("install.d/10-status", "echo on its way >&2; exit 7"),
        ("root.d/10-missing", "no-such-tool"),
        ("install.d/10-missing", "no-such-tool"),
        ("install.d/10-killed", "kill -9 $$"),
        ("extra-data.d/10-variable", "echo $NO_SUCH_VARIABLE"),
        (
            "install.d/10-full",
            "echo 'tar: x: Cannot write: No space left on device' >&2; exit 2",
        ),
        (
            "install.d/10-names",
            "echo 'W: Temporary failure resolving mirror' >&2; exit 100",
        ),
        (
            "install.d/10-package",
            "echo 'E: Unable to locate package ngnix' >&2; exit 100",
        ),
        ("block-device.d/10-block", "exit 9"),
    ] {
        session.lab.hook(hook, script);
        session.run(&quiet, DISK_IMAGE_CREATE, &args);
        session.lab.remove(&format!("probe/{hook}"));
    }
    for (hook, text) in [
        ("install.d/10-interpreter", "#!/no/such/interpreter\n"),
        ("install.d/10-crlf", "#!/bin/bash\r\ntrue\r\n"),
        ("install.d/10-foreign", "#!\u{7f}ELF of some other machine\n"),
        ("environment.d/50-snippet", "false\n"),
        ("environment.d/50-snippet", "exit 0\n"),
    ] {
        session.lab.file(&format!("probe/{hook}"), text);
        session.lab.hook("install.d/99-any", "true");
        session.run(&quiet, DISK_IMAGE_CREATE, &args);
        session.lab.remove(&format!("probe/{hook}"));
    }
    session.run(&quiet, DISK_IMAGE_CREATE, &[&["-p", "nginx"], &args[..]].concat());
    let hooks = session
        .lab
        .dir()
        .join("elements/probe/install.d")
        .display()
        .to_string();
    session.lab.hook("install.d/20-fails", "exit 3");
    session.run(&[], RUN_PARTS, &[&hooks]);
    session.check("failures-of-hooks.txt");
}
