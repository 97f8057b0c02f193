//! What real repositories of elements lean on: the habits of some 1,400 elements, each as a probe.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::lab::{DIB, DISK_IMAGE_CREATE, ELEMENT_INFO, Lab};

/// Makes a file of the element `probe` executable, whatever it begins with.
fn executable(lab: &Lab, path: &str, text: &str) {
    lab.file(&format!("probe/{path}"), text);
    let path = lab.dir().join("elements/probe").join(path);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_callers_whole_environment_reaches_every_hook() {
    let Some(mut lab) = Lab::new() else { return };
    // Names of the caller's own, lines, quotes and bytes that a shell could take for its own.
    lab.set("SITE_URL", "http://x/?a=b&c=$d")
        .set("DIB_LOCAL_KEY", "first\nsecond 'quoted' \"twice\"\n\tthird\\\n")
        .set("TARGET_ROOT", "/wrong")
        .set("lower_case", "too");
    let check = "[ \"$SITE_URL\" = 'http://x/?a=b&c=$d' ]; [ $lower_case = too ]
        [ \"$DIB_LOCAL_KEY\" = $'first\\nsecond \\'quoted\\' \"twice\"\\n\\tthird\\\\\\n' ]";
    for phase in ["root.d", "extra-data.d", "block-device.d", "cleanup.d"] {
        lab.hook(
            &format!("{phase}/50-x"),
            &format!("{check}; [ $TARGET_ROOT = $TMP_MOUNT_PATH ]"),
        );
    }
    // Old hooks rely on this: the path of the host would be none in the chroot.
    let inside = "[ -z \"${TARGET_ROOT+set}${TMPDIR+set}\" ]; mkdir -p ${TARGET_ROOT:-}/usr/java";
    lab.set("TMPDIR", &lab.dir().join("tmp").display().to_string());
    for phase in ["pre-install.d", "install.d", "post-install.d", "finalise.d"] {
        lab.hook(&format!("{phase}/50-x"), &format!("{check}; {inside}"));
    }
    lab.hook("cleanup.d/60-x", "[ -d $TARGET_ROOT/usr/java ]");
    lab.rehearse().ok();
}

#[test]
fn hooks_start_as_they_say_or_as_shell_scripts() {
    let Some(lab) = Lab::new() else { return };
    executable(
        &lab,
        "install.d/10-none",
        "declare -a list=(1 2)\necho none ${#list[@]} ${0##*/} >> /log\n",
    );
    executable(&lab, "install.d/20-empty", "");
    executable(
        &lab,
        "install.d/30-flags",
        "#!/bin/bash -eu\necho flags $- >> /log\nfalse || :\n[ -o errexit ] && [ -o nounset ]\n",
    );
    executable(&lab, "install.d/40-sh", "#! /bin/sh -e\necho sh >> /log\n");
    executable(
        &lab,
        "install.d/50-env",
        "#!/usr/bin/env bash\necho env >> /log\n",
    );
    executable(
        &lab,
        "install.d/60-text",
        "\n# A comment, then a script.\necho text >> /log\n",
    );
    executable(
        &lab,
        "extra-data.d/10-none",
        "[ -d \"$TMP_HOOKS_PATH\" ] && echo host > host\n",
    );
    lab.hook("cleanup.d/90-log", "cat $TARGET_ROOT/log > log");
    lab.rehearse().ok();
    let log = lab.text("log");
    assert!(log.starts_with("none 2 10-none\nflags "), "{log}");
    assert!(log.ends_with("\nsh\nenv\ntext\n"), "{log}");
    assert_eq!(lab.text("host"), "host\n");
    // A flag that makes the shell end on errors does.
    executable(
        &lab,
        "install.d/30-flags",
        "#!/bin/bash -e\nfalse\ntouch /never\n",
    );
    lab.rehearse().failed(1, "30-flags");
    executable(&lab, "install.d/30-flags", "#!/no/such/shell\n");
    lab.rehearse().failed(127, "30-flags cannot be started");
    executable(&lab, "install.d/30-flags", "#!/usr/bin/env ruby\n");
    lab.rehearse().failed(127, "'ruby' is not in the image");
    fs::remove_file(lab.dir().join("elements/probe/install.d/30-flags")).unwrap();
    if oracle::require(&["python3"]) {
        executable(
            &lab,
            "extra-data.d/10-none",
            "#!/usr/bin/env python3\nimport os\nopen('host', 'w').write(os.environ['TMP_HOOKS_PATH'])\n",
        );
        lab.rehearse().ok();
        assert!(lab.text("host").starts_with('/'));
    }
}

#[test]
fn what_lies_beside_hooks_is_merged_and_not_run() {
    let Some(lab) = Lab::new() else { return };
    lab.hook(
        "install.d/10-reads",
        "
        hooks=$(dirname \"$0\")/..
        [ $(bash $hooks/install.d/lib.sh) = sourced ]
        [ \"$(cat $hooks/install.d/data.conf)\" = data ]
        [ \"$(cat $hooks/install.d/deep/.hidden)\" = deep ]
        [ ! -e $hooks/install.d/.hidden ]
        [ \"$(cat $hooks/files/conf)\" = conf ]
        [ $(readlink $hooks/files/link) = /etc/passwd ]
        [ -L $hooks/install.d/50-dangling ]
        [ \"$(cat $hooks/static/etc/motd)\" = motd ]
        [ -e $hooks/configure.d/10-unknown ]
        [ \"$(cat $hooks/source-repository-x)\" = repository ]
        [ \"$(cat $(dirname $0)/../other-file)\" = other ]
        [ -e /tmp/in_target.d/bin/tool ]
    ",
    );
    executable(&lab, "install.d/lib.sh", "#!/bin/bash\necho sourced\n");
    lab.file("probe/install.d/data.conf", "data")
        .file("probe/install.d/20-no-run-bit", "exit 1")
        .file("probe/install.d/deep/10-never", "#!/bin/sh\nexit 1\n")
        .file("probe/install.d/deep/.hidden", "deep")
        .file("probe/install.d/.hidden", "#!/bin/sh\nexit 1\n")
        .file("probe/files/conf", "conf")
        .file("probe/static/etc/motd", "motd")
        .file("probe/configure.d/10-unknown", "#!/bin/sh\nexit 1\n")
        .file("probe/elements-deps", "no-such-element\n")
        .file("probe/source-repository-x", "repository")
        .file("probe/other-file", "other")
        .file("probe/bin/tool", "#!/bin/sh\n");
    let probe = lab.dir().join("elements/probe");
    symlink("/etc/passwd", probe.join("files/link")).unwrap();
    symlink("nowhere", probe.join("install.d/50-dangling")).unwrap();
    let said = lab.rehearse().ok().out;
    let warnings: Vec<_> = said
        .lines()
        .filter_map(|line| line.split_once("warning: "))
        .collect();
    let place = probe.canonicalize().unwrap().display().to_string();
    assert_eq!(
        warnings
            .iter()
            .map(|(_, text)| text.replace(&place, "P"))
            .collect::<Vec<_>>(),
        [
            "P/install.d/20-no-run-bit of element probe is no hook and will not run: it may not be executed",
            "P/install.d/lib.sh of element probe is no hook and will not run: its name has a dot",
        ],
        "each once"
    );
    let first = said.find("Running hooks of").unwrap();
    assert!(
        said.rfind("warning: ").unwrap() < first,
        "before any hook runs: {said}"
    );
}

#[test]
fn what_has_no_number_runs_first() {
    let Some(lab) = Lab::new() else { return };
    for name in ["00-zero", "01-one", "configure", "authorized_keys", "Zoo"] {
        lab.hook(&format!("extra-data.d/{name}"), "echo ${0##*/} >> log");
    }
    lab.rehearse().ok();
    assert_eq!(
        lab.text("log"),
        "00-zero\nZoo\nauthorized_keys\nconfigure\n01-one\n"
    );
}

#[test]
fn equal_names_are_fatal_in_every_directory_but_below_it() {
    for dir in [
        "install.d",
        "environment.d",
        "bin",
        "static",
        "files",
        "unknown.d",
        "first-boot.d",
    ] {
        let lab = Lab::unprivileged();
        lab.file(&format!("probe/{dir}/same"), "")
            .file(&format!("other/{dir}/same"), "");
        let said = lab.run(DISK_IMAGE_CREATE, &["-n", "mini-os", "probe", "other"]);
        let said = said.failed(1, "There is a duplicated hook in your elements");
        for element in ["probe", "other"] {
            assert!(
                said.err.contains(&format!("{element}/{dir}/same")),
                "{}",
                said.err
            );
        }
    }
    // Below, directories merge: two elements may both bring static/etc.
    let lab = Lab::unprivileged();
    lab.file("probe/static/etc/one", "")
        .file("other/static/etc/two", "");
    lab.run(DIB, &["plan", "-n", "mini-os", "probe", "other"]).ok();
}

#[test]
fn static_files_of_all_elements_are_laid_over_the_root() {
    let Some(lab) = Lab::new() else { return };
    lab.file("probe/static/etc/probe", "probe\n")
        .file("other/static/etc/other", "other\n")
        .file("other/static/usr/bin/tool", "#!/bin/sh\n");
    symlink("probe", lab.dir().join("elements/probe/static/etc/alias")).unwrap();
    lab.hook("cleanup.d/10-see", "cd $TARGET_ROOT; cat etc/probe etc/other; [ -x bin/tool ]; [ -L usr/bin ]; [ $(readlink etc/alias) = probe ]");
    let said = lab
        .build(&["no-final-image", "mini-os", "probe", "other", "install-static"])
        .ok();
    assert!(
        said.out.contains("probe\n") && said.out.contains("other\n"),
        "{}",
        said.out
    );
}

#[test]
fn dependencies_are_found_however_they_are_written() {
    let lab = Lab::unprivileged();
    lab.file("os/element-provides", " operating-system \r\n")
        .file("os/element-deps", "a\r\n\r\n  b\t\n\n")
        .file("a/element-deps", "b\na\nos-tools")
        .file("b/element-deps", "a\n")
        .file("os-tools/README", "")
        .file("doc/index.rst", "")
        .file(".github/workflows/x.yml", "");
    let out = lab.run(ELEMENT_INFO, &["os"]).ok().out;
    assert_eq!(out, "a b os os-tools\n");
    // Whatever is a directory counts as an element.
    assert_eq!(
        lab.run(ELEMENT_INFO, &["os", "doc", ".github"])
            .ok()
            .out
            .split_whitespace()
            .count(),
        6
    );
    // A chain deeper than any that was found, which ends where it began.
    for link in 0..40 {
        lab.file(
            &format!("link{link}/element-deps"),
            &format!("link{}\n", (link + 1) % 40),
        );
    }
    let out = lab.run(ELEMENT_INFO, &["os", "link7"]).ok().out;
    assert_eq!(out.split_whitespace().count(), 44);
}

#[test]
fn snippets_set_the_environment_or_end_the_build_in_its_first_phase() {
    let Some(lab) = Lab::new() else { return };
    // Any name but one with blanks, and any mode.
    lab.file("probe/environment.d/10-a.bash", "export ORDER=${ORDER:-}1\n")
        .file(
            "probe/environment.d/10-b.env",
            "export ORDER=${ORDER}2 UNCHECKED=$(false)\n",
        )
        .file(
            "probe/environment.d/10-c.sh",
            "export ORDER=${ORDER}3; declare -a kept=(x)\n",
        )
        .file(
            "probe/environment.d/10-d",
            "[ ${kept[0]} = x ]; export ORDER=${ORDER}4\n",
        )
        .file("probe/environment.d/no name", "exit 1\n")
        .file("probe/environment.d/dir/10-x", "exit 1\n");
    executable(&lab, "environment.d/10-e", "export ORDER=${ORDER}5\n");
    // Each phase starts afresh: nothing adds up.
    let check = "[ $ORDER = 12345 ]; [ -z \"${kept:-}\" ]; export ORDER=changed";
    for phase in ["root.d", "extra-data.d", "install.d", "finalise.d", "cleanup.d"] {
        lab.hook(&format!("{phase}/50-x"), check)
            .hook(&format!("{phase}/60-x"), check);
    }
    lab.rehearse().ok();
    for (snippet, status) in [
        ("exit 3", 3),
        ("exit 0", 1),
        (": ${DIB_NEEDED:?must be set}", 127),
        ("echo $NO_SUCH_VARIABLE", 127),
        ("false", 1),
        ("no-such-command", 127),
        ("if", 2),
    ] {
        lab.file("probe/environment.d/50-ends", &format!("{snippet}\n"));
        let said = lab.rehearse();
        assert!(
            said.status == status || said.status == 1,
            "{snippet}: {}",
            said.status
        );
        assert!(
            said.err
                .contains("phase root.d, element probe: environment.d/50-ends ended with status"),
            "{snippet}: {}",
            said.err
        );
        assert!(
            said.err.contains("probe/environment.d/50-ends"),
            "{snippet}: {}",
            said.err
        );
    }
}

#[test]
fn install_types_choose_among_directories_of_hooks() {
    let Some(mut lab) = Lab::new() else { return };
    for kind in ["source", "package"] {
        for name in ["app", "my-tool"] {
            lab.hook(
                &format!("install.d/{name}-{kind}-install/50-{name}-{kind}"),
                "echo ${0##*/} >> /log",
            );
        }
    }
    lab.hook("cleanup.d/90-log", "cat $TARGET_ROOT/log > log");
    let build = |lab: &Lab, args: &[&str]| {
        lab.build(&[args, &["no-final-image", "mini-os", "install-types", "probe"]].concat())
            .ok();
        lab.text("log").replace("50-", "")
    };
    assert_eq!(build(&lab, &[]), "app-source\nmy-tool-source\n");
    assert_eq!(
        build(&lab, &["--install-type", "package"]),
        "app-package\nmy-tool-package\n"
    );
    lab.set("DIB_INSTALLTYPE_my_tool", "package");
    assert_eq!(build(&lab, &[]), "app-source\nmy-tool-package\n");
    lab.set("DIB_DEFAULT_INSTALLTYPE", "package")
        .set("DIB_INSTALLTYPE_my_tool", "source");
    assert_eq!(build(&lab, &[]), "app-package\nmy-tool-source\n");
    assert_eq!(
        build(&lab, &["--install-type", "source"]),
        "app-source\nmy-tool-source\n",
        "the option beats the variable"
    );
    // An element may have an opinion, which the caller overrules.
    let mut lab = lab;
    lab.set("DIB_DEFAULT_INSTALLTYPE", "")
        .set("DIB_INSTALLTYPE_my_tool", "source");
    lab.file(
        "probe/environment.d/10-opinion",
        "export DIB_DEFAULT_INSTALLTYPE=${DIB_DEFAULT_INSTALLTYPE:-package}\n",
    );
    assert_eq!(build(&lab, &[]), "app-package\nmy-tool-source\n");
    assert_eq!(
        build(&lab, &["--install-type", "source"]),
        "app-source\nmy-tool-source\n"
    );
}
