//! `dib-run-parts`, the program and the script that images get, and `element-info`, as elements and users call them.

use std::fs;
use std::os::unix::fs::symlink;

use crate::lab::{ELEMENT_INFO, Lab, RUN_PARTS};

/// What element `dib-run-parts` puts into images.
const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/elements/dib-run-parts/bin/dib-run-parts"
);

/// A directory of hooks, `probe/parts.d`.
fn parts(lab: &Lab) -> String {
    lab.dir().join("elements/probe/parts.d").display().to_string()
}

/// What the hooks wrote to standard output.
fn ran(lab: &Lab) -> Vec<String> {
    let said = lab.run(RUN_PARTS, &[&parts(lab)]).ok();
    said.out.lines().map(str::to_owned).collect()
}

#[test]
fn run_parts_takes_one_directory() {
    let lab = Lab::unprivileged();
    lab.hook("parts.d/10-a", "echo a");
    let dir = parts(&lab);
    for (args, told) in [
        (&[][..], "one directory is needed"),
        (&["--list"], "one directory is needed"),
        (&["/no/such"], "/no/such is no directory"),
        (&[&dir, &dir], "one directory is needed"),
        (&["--lst", &dir], "unrecognized option '--lst'"),
    ] {
        lab.run(RUN_PARTS, args)
            .failed(1, told)
            .failed(1, "Usage: dib-run-parts [--list] DIRECTORY");
    }
    for flag in ["-h", "--help"] {
        assert!(lab.run(RUN_PARTS, &[flag]).ok().out.starts_with("Usage:"));
    }
}

#[test]
fn run_parts_lists_what_it_would_run() {
    let mut lab = Lab::unprivileged();
    for name in ["99-z", "2-b", "abc", "10-a", "x.sh"] {
        lab.hook(&format!("parts.d/{name}"), "exit 1");
    }
    lab.file("probe/parts.d/50-text", "")
        .file("probe/environment.d/10-fails", "exit 3\n");
    let dir = parts(&lab);
    let listed = |lab: &Lab| lab.run(RUN_PARTS, &["--list", &dir]).ok().out.replace(&dir, "D");
    assert_eq!(listed(&lab), "D/abc\nD/2-b\nD/10-a\nD/99-z\n");
    lab.set("RUN_PARTS_REGEX", "^[a-z.]+$");
    assert_eq!(listed(&lab), "D/abc\nD/x.sh\n");
    lab.set("RUN_PARTS_REGEX", "(");
    lab.run(RUN_PARTS, &["--list", &dir]).failed(1, "RUN_PARTS_REGEX");
}

#[test]
fn run_parts_runs_hooks_in_the_environment_that_they_expect() {
    let mut lab = Lab::unprivileged();
    lab.set("CALLER", "two\nlines");
    lab.file("probe/environment.d/9-z", "export ORDER=${ORDER}z\n")
        .file("probe/environment.d/10-a.sh", "export ORDER=a\n")
        .file("probe/environment.d/100-a", "export ORDER=${ORDER}b\n")
        .file("probe/environment.d/no name", "exit 1\n");
    lab.hook("parts.d/10-order", "echo $ORDER $#")
        .hook("parts.d/20-caller", "echo \"$CALLER\"")
        .file("probe/parts.d/30-no-shebang", "echo from a shell\n")
        .file("probe/parts.d/deep/10-x", "#!/bin/sh\nexit 1\n")
        .file("probe/40-link", "#!/bin/sh\necho linked\n");
    let dir = parts(&lab);
    symlink("../40-link", format!("{dir}/40-link")).unwrap();
    symlink("nowhere", format!("{dir}/50-dangling")).unwrap();
    let shebangless = fs::metadata(format!("{dir}/20-caller")).unwrap().permissions();
    fs::set_permissions(format!("{dir}/30-no-shebang"), shebangless).unwrap();
    assert_eq!(ran(&lab), ["abz 0", "two", "lines", "from a shell", "linked"]);
    // By a link `DIRECTORY/..` is still the place where the directory lies.
    symlink(&dir, lab.out("alias")).unwrap();
    assert!(lab.run(RUN_PARTS, &["alias"]).ok().out.starts_with("abz 0\n"));
}

#[test]
fn run_parts_tells_its_course_on_standard_error() {
    let mut lab = Lab::unprivileged();
    lab.hook("parts.d/10-a", "echo a").hook("parts.d/20-b", "echo b");
    lab.file("probe/parts.d/30-text", "");
    let dir = parts(&lab);
    let said = lab.run(RUN_PARTS, &[&dir]).ok();
    assert_eq!(said.out, "a\nb\n");
    for part in [
        "Running",
        "10-a completed",
        "20-b completed",
        "seconds  hook",
        "in all",
    ] {
        assert!(said.err.contains(part), "no '{part}' in {}", said.err);
    }
    assert!(!said.err.contains("30-text"), "{}", said.err);
    lab.set("DIB_DEBUG_TRACE", "1");
    let traced = lab.run(RUN_PARTS, &[&dir]).ok();
    assert!(traced.err.contains("30-text is ignored"), "{}", traced.err);
}

#[test]
fn run_parts_ends_with_the_status_of_the_first_that_fails() {
    for (script, status) in [
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -KILL $$", 137),
        ("exec /no/such/program", 127),
    ] {
        let lab = Lab::unprivileged();
        lab.hook("parts.d/10-a", script)
            .hook("parts.d/20-b", "echo never");
        let said = lab.run(RUN_PARTS, &[&parts(&lab)]).failed(status, "10-a");
        assert_eq!(said.out, "", "{script}");
    }
    for snippet in ["false\n", "echo $UNSET_ONE\n", "exit 3\n", ": ${UNSET_ONE:?}\n"] {
        let lab = Lab::unprivileged();
        lab.hook("parts.d/10-a", "echo never");
        lab.file("probe/environment.d/10-x", snippet);
        let said = lab.run(RUN_PARTS, &[&parts(&lab)]);
        assert_ne!(said.status, 0, "{snippet}");
        assert!(
            said.out.is_empty() && said.err.contains("environment.d"),
            "{}",
            said.err
        );
    }
}

#[test]
fn an_empty_directory_is_fine() {
    let lab = Lab::unprivileged();
    fs::create_dir_all(parts(&lab)).unwrap();
    assert_eq!(ran(&lab), [""; 0]);
}

#[test]
fn element_info_gives_a_shell_what_it_can_source() {
    if !oracle::require(&["bash"]) {
        return;
    }
    let lab = Lab::unprivileged();
    lab.file("os/element-provides", "operating-system\n")
        .file("os/element-deps", "its\n")
        .file("its/README.md", "");
    let script = format!(
        "set -eu; eval \"$({ELEMENT_INFO} -e os)\"; echo $IMAGE_ELEMENT; echo \"$IMAGE_ELEMENT_YAML\"
         bash -c 'declare -A a=\"($(get_image_element_array))\"; echo ${{a[os]}}'"
    );
    let lines = lab.run("/bin/bash", &["-c", &script]);
    let place = lab
        .dir()
        .canonicalize()
        .unwrap()
        .join("elements")
        .display()
        .to_string();
    let lines = lines.out.replace(&place, "E");
    assert!(
        lines.starts_with("os its\nits: E/its\nos: E/os\n\nE/os\n"),
        "{lines}"
    );
}

#[test]
fn element_info_says_what_is_wrong() {
    let lab = Lab::unprivileged();
    lab.file("os/element-provides", "operating-system\n")
        .file("lost/element-deps", "os-x\n");
    for (args, told) in [
        (&[][..], "<ELEMENT>"),
        (&["os", "o"], "did you mean os?"),
        (&["-d", "lost"], "Element 'os-x' not found"),
        (&["lost"], "Element 'os-x' not found"),
        (&["--expnd", "os"], "unrecognized option '--expnd'"),
        (&["os", "os"], "already provided"),
    ] {
        lab.run(ELEMENT_INFO, args).failed(1, told);
    }
    // The old command wanted the option before or after the words, whole or cut short.
    for args in [
        &["--expand-dependencies", "os"][..],
        &["os", "-d"],
        &["--expand", "os"],
    ] {
        assert_eq!(lab.run(ELEMENT_INFO, args).ok().out, "os\n");
    }
}

/// The script under every shell that is here: a POSIX one alone, and bash.
fn shells() -> impl Iterator<Item = &'static [&'static str]> {
    let shells: [&[&str]; 4] = [&["sh"], &["dash"], &["bash"], &["busybox", "sh"]];
    shells
        .into_iter()
        .filter(|shell| oracle::find(shell[0]).is_some())
}

#[test]
fn the_script_of_images_does_as_the_program_does() {
    let mut lab = Lab::unprivileged();
    for name in ["99-z", "2-b", "abc", "10-a", "010-c", "10-A", "x.sh"] {
        lab.hook(&format!("parts.d/{name}"), "echo ${0##*/} $ORDER $#");
    }
    lab.file("probe/parts.d/50-text", "exit 1\n")
        .file("probe/parts.d/deep/10-x", "#!/bin/sh\nexit 1\n")
        .file("probe/40-link", "#!/bin/sh\necho linked\n")
        .file("probe/environment.d/9-z", "export ORDER=${ORDER}z\n")
        .file(
            "probe/environment.d/10-a.bash",
            "list=(a b); export ORDER=${list[0]}\n",
        )
        .file("probe/environment.d/no name", "exit 1\n");
    let dir = parts(&lab);
    symlink("../40-link", format!("{dir}/40-link")).unwrap();
    symlink("nowhere", format!("{dir}/60-dangling")).unwrap();
    let (listed, expected) = (
        lab.run(RUN_PARTS, &["--list", &dir]).ok().out,
        ran(&lab).join("\n"),
    );
    assert_eq!(listed.lines().count(), 7);
    for shell in shells() {
        let run = |args: &[&str]| lab.run(shell[0], &[&shell[1..], &[SCRIPT], args].concat());
        assert_eq!(run(&["--list", &dir]).ok().out, listed, "{shell:?}");
        let said = run(&[&dir]).ok();
        assert_eq!(said.out.trim_end(), expected, "{shell:?}");
        for part in ["Running", "40-link completed", "seconds  hook"] {
            assert!(said.err.contains(part), "{shell:?}: no '{part}' in {}", said.err);
        }
        for args in [&[][..], &["/no/such"], &[&dir, &dir], &["--lst", &dir]] {
            run(args).failed(1, "Usage: dib-run-parts");
        }
    }
    lab.hook("parts.d/10-a", "exit 7");
    lab.set("RUN_PARTS_REGEX", "^10-");
    for shell in shells() {
        let said = lab
            .run(shell[0], &[&shell[1..], &[SCRIPT, &dir]].concat())
            .failed(7, "10-a failed with status 7");
        assert_eq!(said.out, "10-A az 0\n", "{shell:?}");
    }
    lab.file("probe/environment.d/50-x", "false\n");
    for shell in shells() {
        assert_eq!(
            lab.run(shell[0], &[&shell[1..], &[SCRIPT, &dir]].concat())
                .failed(1, "")
                .out,
            "",
            "{shell:?}"
        );
    }
}

#[test]
fn the_script_of_images_is_laid_in() {
    let Some(lab) = Lab::new() else { return };
    lab.hook(
        "install.d/10-see",
        "dib-run-parts --list /tmp/in_target.d/install.d | grep -x /tmp/in_target.d/install.d/10-see",
    )
    .hook(
        "cleanup.d/10-see",
        "[ $(stat -c %a:%U $TARGET_ROOT/usr/local/bin/dib-run-parts) = 755:root ]",
    );
    lab.build(&["no-final-image", "mini-os", "probe", "dib-run-parts"])
        .ok();
}
