//! What the command lines take, what they answer, and how they end.

use std::time::{Duration, Instant};

use crate::lab::{DIB, DISK_IMAGE_CREATE, Lab};

fn lab() -> Lab {
    let lab = Lab::unprivileged();
    lab.file("os/element-provides", "operating-system\n")
        .file("app/README.md", "");
    lab
}

/// A plan as JSON.
fn planned(lab: &Lab, args: &[&str]) -> serde_json::Value {
    let said = lab.run(DIB, &[&["plan", "--json", "-n"], args].concat()).ok();
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn values_that_no_image_can_have_are_refused_before_anything_runs() {
    let mut lab = lab();
    for name in ["", "/", ".", "..", "images/", "images/.", ".qcow2"] {
        lab.run(DISK_IMAGE_CREATE, &["-n", "-o", name, "os"])
            .failed(1, " ends in no name that an image could have\nhint: for example");
    }
    for size in ["0", "0.0000001"] {
        let said = format!("error: --image-size: '{size}' holds nothing");
        lab.run(DISK_IMAGE_CREATE, &["-n", "--image-size", size, "os"])
            .failed(1, &said);
    }
    lab.set("IMAGE_NAME", "images/");
    lab.run(DISK_IMAGE_CREATE, &["-n", "os"])
        .failed(1, "-o: 'images/'");
    assert_eq!(lab.names(), [""; 0]);
}

#[test]
fn a_directory_for_builds_that_is_not_there_is_named_with_the_variables_that_name_it() {
    let mut lab = lab();
    for (name, what) in [("/no/such/dir", "No such file"), ("/dev/null", "Not a directory")] {
        lab.set("TMPDIR", name);
        let said = lab.run(DISK_IMAGE_CREATE, &["-n", "os"]);
        let said = said.failed(1, &format!("error: cannot build in {name}: {what}"));
        let hint = "hint: name a directory that exists in TMP_DIR, or in TMPDIR, which beats it";
        assert!(said.err.contains(hint), "{}", said.err);
        assert_eq!(said.err.lines().count(), 2, "{}", said.err);
        let said = lab.run(DIB, &["doctor"]);
        assert!(said.status == 1 && said.out.contains(what), "{}", said.out);
    }
}

#[test]
fn every_option_of_the_original_program_is_taken() {
    let lab = lab();
    let cache = lab.out("cache").display().to_string();
    let line = [
        "os",
        "-a",
        "armhf",
        "-o",
        "n.raw",
        "-t",
        "raw",
        "-x",
        "-u",
        "-c",
        "-p",
        "p,q",
        "-p",
        "r",
        "--checksum",
        "--image-size",
        "1.5",
        "--image-extra-size",
        "10",
        "--image-cache",
        &cache,
        "--max-online-resize",
        "1000000",
        "--min-tmpfs",
        "3",
        "--mkfs-journal-size",
        "8",
        "--mkfs-options",
        "-i 16384",
        "--no-tmpfs",
        "--offline",
        "--qemu-img-options",
        "compat=1.1",
        "--root-label",
        "foo",
        "--ramdisk-element",
        "dracut-ramdisk",
        "--install-type",
        "package",
        "--docker-target",
        "a/b:c",
        "--logfile",
        "log",
    ];
    // -c takes ELEMENTS_PATH away, and so the element.
    lab.run(DIB, &[&["plan", "-n"], &line[..]].concat())
        .failed(1, "hint: -c cleared ELEMENTS_PATH, too");
    let kept: Vec<&str> = line.iter().copied().filter(|word| *word != "-c").collect();
    let plan = planned(&lab, &kept);
    let settings = &plan["settings"];
    assert_eq!(settings["arch"]["value"], "armhf");
    assert_eq!(settings["root_label"]["value"], "foo");
    assert_eq!(plan["packages"], serde_json::json!(["p", "q", "r"]));
    assert_eq!(plan["outputs"], serde_json::json!(["n.raw"]));
}

#[test]
fn answers_about_the_program_go_to_standard_output() {
    let lab = lab();
    for flag in ["-h", "--help", "--hel"] {
        let said = lab.run(DISK_IMAGE_CREATE, &[flag]).ok();
        for part in [
            "Usage: disk-image-create [OPTIONS] [ELEMENT]...",
            "Examples:",
            "Exit status:",
            "--docker-target",
        ] {
            assert!(said.out.contains(part), "no '{part}' in {}", said.out);
        }
        assert_eq!(said.err, "");
    }
    let version = lab.run(DISK_IMAGE_CREATE, &["--version"]).ok().out;
    assert_eq!(
        version,
        format!("disk-image-create {}\n", env!("CARGO_PKG_VERSION"))
    );
    let commands = lab.run(DIB, &["--help"]).ok().out;
    assert!(
        commands.contains("assemble") && commands.contains("plan"),
        "{commands}"
    );
}

#[test]
fn what_is_misspelt_gets_a_suggestion_at_once() {
    let lab = lab();
    let table: [(&str, &[&str], &str); 8] = [
        (
            DISK_IMAGE_CREATE,
            &["--imagesize", "1", "os"],
            "did you mean --image-size?",
        ),
        (
            DISK_IMAGE_CREATE,
            &["-n", "os", "debian-minmal"],
            "did you mean debian-minimal?",
        ),
        (DISK_IMAGE_CREATE, &["-n", "os", "appp"], "did you mean app?"),
        (DISK_IMAGE_CREATE, &["-t", "qcow", "os"], "did you mean qcow2?"),
        (DISK_IMAGE_CREATE, &["-o"], "option '-o' needs a value: -o NAME"),
        (DISK_IMAGE_CREATE, &["-y", "os"], "unrecognized option '-y'"),
        (DIB, &["biuld", "os"], "did you mean build?"),
        (DIB, &["plan", "--jsno", "os"], "did you mean --json?"),
    ];
    for (program, args, told) in table {
        lab.run(program, args).failed(1, told);
    }
    // The best of some runs: other programs share the machine.
    for args in [&["--imagesize", "1", "os"][..], &["os", "debian-minmal"]] {
        let took = (0..10).map(|_| {
            let start = Instant::now();
            lab.run(DISK_IMAGE_CREATE, args).failed(1, "did you mean");
            start.elapsed()
        });
        let best = took.min().unwrap();
        assert!(best < Duration::from_millis(100), "{args:?} took {best:?}");
    }
}

#[test]
fn an_unknown_architecture_gives_a_warning() {
    let said = lab().run(DIB, &["plan", "-n", "-a", "amd46", "os"]).ok();
    assert!(
        said.err
            .contains("unknown architecture 'amd46'; did you mean amd64?"),
        "{}",
        said.err
    );
}

#[test]
fn variables_that_say_nothing_here_are_named() {
    let mut lab = lab();
    lab.set("DIB_GZIP_BIN", "pigz").set("EXTRA_DETACH", "");
    let said = lab.run(DIB, &["plan", "-n", "os"]).ok();
    let told = "DIB_GZIP_BIN is without effect: archives are compressed in-process";
    assert!(
        said.err.contains(told) && !said.err.contains("EXTRA_DETACH"),
        "{}",
        said.err
    );
}

#[test]
fn a_cleared_environment_keeps_the_options() {
    let Some(mut lab) = Lab::new() else { return };
    let elements = lab.dir().join("elements").display().to_string();
    lab.set("SECRET", "from the caller").set("DIB_OFFLINE", "1");
    lab.set("DIB_SITE", "from the caller, too");
    lab.hook("extra-data.d/10-see", "");
    // With -c the elements must come from the program or by an option: there is none for a path, so the first
    // build shows what is lost, and the plan of a built-in element what is kept.
    lab.run(DISK_IMAGE_CREATE, &["-cn", "-o", "kept", "mini-os", "probe"])
        .failed(1, "-c cleared ELEMENTS_PATH, too");
    let cache = lab.out("kept-cache").display().to_string();
    let args = [
        "-cn",
        "-o",
        "kept",
        "-t",
        "tar",
        "--image-cache",
        &cache,
        "test-root",
        "manifests",
    ];
    lab.run(DISK_IMAGE_CREATE, &args).ok();
    let kept = lab.text("kept.d/dib-manifests/dib_environment");
    assert!(kept.contains("kept-cache"), "{kept}");
    assert!(
        !kept.contains("DIB_SITE") && !kept.contains("SECRET") && !kept.contains("DIB_OFFLINE=\"1\""),
        "{kept}"
    );
    assert!(lab.out("kept.tar").exists());
    let plan = lab
        .run(
            DIB,
            &[
                "plan",
                "--json",
                "-c",
                "-a",
                "arm64",
                "-o",
                "kept",
                "-t",
                "raw",
                "debian-minimal",
            ],
        )
        .ok();
    let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!(plan["settings"]["arch"]["value"], "arm64");
    assert_eq!(plan["outputs"], serde_json::json!(["kept.raw"]));
    assert!(!plan.to_string().contains(&elements));
}

#[test]
fn the_status_says_how_a_build_ended() {
    for (hook, script, status) in [
        ("install.d/10-x", "exit 7", 7),
        ("cleanup.d/10-x", "exit 5", 5),
        ("block-device.d/10-x", "exit 9", 1),
        ("extra-data.d/10-x", "kill -TERM $$", 143),
        ("post-install.d/10-x", "exec /no/such/program", 127),
    ] {
        let Some(lab) = Lab::new() else { return };
        lab.hook(hook, script);
        let said = lab.rehearse();
        assert_eq!(said.status, status, "{hook}: {}", said.err);
        assert!(said.err.contains("element probe"), "{}", said.err);
    }
    let Some(lab) = Lab::new() else { return };
    lab.hook("install.d/10-x", "true");
    assert_eq!(lab.rehearse().status, 0);
    // An interpreter that may not be executed: the hook cannot be started.
    let Some(lab) = Lab::new() else { return };
    lab.file("probe/extra-data.d/10-x", "#!/etc/passwd\n");
    lab.rehearse().failed(126, "element probe");
    // A signal that ends the build itself: `images::who_asks_it_to_end_ends_the_build_and_the_run`.
}

#[test]
fn sizes_of_the_room_and_of_the_journal_are_options() {
    let Some(lab) = Lab::new() else { return };
    let size = |args: &[&str]| {
        lab.build(&[&["-t", "raw", "-o", "i", "mini-os"], args].concat())
            .ok();
        std::fs::metadata(lab.out("i.raw")).unwrap().len()
    };
    let small = size(&["--image-extra-size", "10", "--mkfs-journal-size", "4"]);
    let larger = size(&["--image-extra-size=30", "--mkfs-journal-size=4"]);
    assert_eq!(larger - small, 20 << 20);
    let journal = size(&["--image-extra-size", "10", "--mkfs-journal-size", "8"]);
    assert_eq!(journal - small, 4 << 20);
}
