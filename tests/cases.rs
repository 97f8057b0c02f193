//! `dib test-element`: test cases of elements, and their unit tests.

use crate::lab::{DIB, Lab, Said};

/// A case of the element `probe` with mini-os.
fn case(lab: &Lab, name: &str, files: &[(&str, &str)]) {
    lab.file(&format!("probe/test-elements/{name}/element-deps"), "mini-os\n");
    for (path, text) in files {
        lab.file(&format!("probe/test-elements/{name}/{path}"), text);
    }
}

fn tested(lab: &Lab, words: &[&str]) -> Said {
    let said = lab.run(DIB, &[&["test-element"], words].concat());
    assert_eq!(lab.left_behind(), [""; 0], "a build leaves nothing");
    said
}

#[test]
fn cases_are_built_and_their_images_looked_into() {
    let Some(mut lab) = Lab::new() else { return };
    if !oracle::require(&["grep", "tr"]) {
        return;
    }
    let tmp = lab.dir().join("tmp").display().to_string();
    lab.set("TMPDIR", &tmp);
    lab.hook("install.d/50-probe", "echo \"${DIB_PROBE:-nothing} of $DIB_HERE\" >/etc/probe; chmod 640 /etc/probe; ln -s probe /etc/link");
    case(
        &lab,
        "full",
        &[
            ("variables", "DIB_PROBE=all\n# a comment\nDIB_HERE=$CASE\n"),
            ("arguments", "--root-label\nhere\n"),
            ("test-output-formats", "raw,tar"),
            (
                "install.d/60-case",
                "#!/bin/bash\nset -eu\necho more >>/etc/probe\n",
            ),
            (
                "assert",
                "has /etc/probe '/etc/pro*'\nlacks /etc/nothing '/x*'\nis /etc/probe 0640 0:0\nlinks /etc/link probe\n\
                 says /etc/probe '^all of .*/probe/test-elements/full$'\nsilent /etc/probe nothing\n\
                 logged 'Running .*60-case'\ndib inspect \"$IMAGE\" | grep -q here\n[ -f \"$IMAGE_NAME.tar\" ]\n",
            ),
        ],
    );
    let said = tested(&lab, &["probe/full"]).ok();
    assert!(said.out.starts_with("ok       probe/full ("), "{}", said.out);
    assert!(
        said.out.ends_with("1 passed, 0 failed, 0 skipped\n"),
        "{}",
        said.out
    );

    for (script, told) in [
        ("has /etc/probe /etc/none\n", "there is no /etc/none"),
        ("lacks '/etc/prob?'\n", "there is /etc/probe"),
        ("is /etc/probe 0644\n", "is 0640 0:0, not 0644"),
        ("is /etc/probe 0640 1:1\n", "not 1:1"),
        ("\nlinks /etc/link /etc/probe\n", "line 2: links /etc/link"),
        ("says /etc/probe more\n", "does not say 'more'"),
        ("silent /etc/probe nothing\n", "says 'nothing'"),
        ("packaged bash\n", "bash is not installed"),
        ("logged 'never said'\n", "does not say 'never said'"),
        ("false\n", "assert ended with status 1"),
    ] {
        case(
            &lab,
            "wrong",
            &[("assert", script), ("variables", "DIB_HERE=here\n")],
        );
        let said = tested(&lab, &["probe/wrong"]).failed(1, "");
        assert!(said.out.contains(told), "{script}: {}", said.out);
        assert!(
            said.out.ends_with("0 passed, 1 failed, 0 skipped\n") && said.err.is_empty(),
            "{}",
            said.err
        );
    }
}

#[test]
fn builds_fail_as_they_should_or_not() {
    let Some(lab) = Lab::new() else { return };
    lab.hook(
        "install.d/50-probe",
        "[ -n \"${DIB_PROBE:-}\" ] || { echo 'DIB_PROBE is wanted'; exit 7; }",
    );
    case(
        &lab,
        "refused",
        &[("fails", "DIB_PROBE is wanted\n50-probe ended with status 7\n")],
    );
    case(&lab, "differs", &[("fails", "something else\n")]);
    case(&lab, "succeeds", &[("fails", ""), ("variables", "DIB_PROBE=1\n")]);
    case(&lab, "broken", &[]);
    case(&lab, "mini-os", &[]);
    let said = tested(&lab, &["probe"]).failed(1, "");
    for told in [
        "ok       probe/refused",
        "FAILED   probe/differs",
        "the build failed, but did not say 'something else'",
        "FAILED   probe/succeeds",
        "FAILED   probe/broken",
        "the build ended with status 7\n",
        "    |     output   its last line",
        "a case may not have the name of an element: rename 'mini-os'",
        "1 passed, 4 failed, 0 skipped",
    ] {
        assert!(said.out.contains(told), "no '{told}' in {}", said.out);
    }
}

#[test]
fn a_case_that_cannot_be_tried_has_failed_and_the_others_go_on() {
    let Some(lab) = Lab::new() else { return };
    case(&lab, "a-nonsense", &[("variables", "no variable\n")]);
    case(&lab, "elsewhere", &[("require", "programs no-such-program\n")]);
    let said = tested(&lab, &["probe"]).failed(1, "");
    for told in [
        "FAILED   probe/a-nonsense (",
        "case probe/a-nonsense: variables: 'no variable' is no NAME=VALUE\n",
        "skipped  probe/elsewhere: no no-such-program\n",
        "0 passed, 1 failed, 1 skipped\n",
    ] {
        assert!(said.out.contains(told), "no '{told}' in {}", said.out);
    }
}

#[test]
fn files_of_cases_may_be_links_that_stay_with_the_elements() {
    let Some(lab) = Lab::new() else { return };
    case(&lab, "linked", &[]);
    lab.file("probe/require-of-all", "skip by the link\n");
    let link = lab.dir().join("elements/probe/test-elements/linked/require");
    std::os::unix::fs::symlink("../../require-of-all", &link).unwrap();
    let said = tested(&lab, &["probe"]).ok();
    assert!(
        said.out.contains("skipped  probe/linked: by the link\n"),
        "{}",
        said.out
    );

    let outside = lab.dir().join("outside");
    std::fs::write(&outside, "skip by a stranger\n").unwrap();
    for (target, told) in [
        (outside.as_path(), "outside of the directory of elements"),
        (std::path::Path::new("nowhere"), "No such file"),
    ] {
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(target, &link).unwrap();
        let said = tested(&lab, &["probe"]).failed(1, "element probe: cannot read ");
        assert!(
            said.err.contains("linked/require: ") && said.err.contains(told),
            "{}",
            said.err
        );
        assert!(!said.out.contains("skipped"), "{}", said.out);
    }
}

#[test]
fn what_cannot_run_here_is_skipped_unless_that_is_forbidden() {
    let Some(mut lab) = Lab::new() else { return };
    case(&lab, "elsewhere", &[("require", "programs no-such-program\n")]);
    case(&lab, "asserts", &[("assert", "skip \"not on\" Sundays\n")]);
    case(
        &lab,
        "boots",
        &[("boot", "login:\n"), ("variables", "ARCH=s390x\n")],
    );
    let said = tested(&lab, &["probe"]).ok();
    for told in [
        "skipped  probe/elsewhere: no no-such-program\n",
        "skipped  probe/asserts: not on Sundays\n",
        "s), but it was not booted: no machine of s390x is known here\n",
        "1 passed, 0 failed, 2 skipped\n",
    ] {
        assert!(said.out.contains(told), "no '{told}' in {}", said.out);
    }
    lab.set("DIB_TEST_REQUIRE_ALL", "1");
    let said = tested(&lab, &["probe"]).failed(1, "");
    assert!(
        said.out.ends_with("0 passed, 3 failed, 0 skipped\n"),
        "{}",
        said.out
    );
}

#[test]
fn a_boot_is_awaited_on_the_serial_line_and_no_longer_than_wanted() {
    let Some(mut lab) = Lab::new() else { return };
    if !oracle::require(&["qemu-system-x86_64"]) {
        return;
    }
    // A disk that boots nothing: the BIOS says so.
    case(
        &lab,
        "no-system",
        &[("boot", "Boot\n"), ("variables", "ARCH=amd64\n")],
    );
    lab.set("DIB_TEST_BOOT_SECONDS", "1");
    let layout = "- local_loop:\n    name: image0\n- partitioning:\n    base: image0\n    label: mbr\n    partitions:\n      \
                  - name: root\n        flags: [boot, primary]\n        size: 100%\n        mkfs:\n          \
                  mount:\n            mount_point: /\n";
    let layout_file = lab.dir().join("layout.yaml");
    std::fs::write(&layout_file, layout).unwrap();
    let place = format!("file://{}", layout_file.display());
    lab.set("DIB_BLOCK_DEVICE_CONFIG", &place);
    let said = tested(&lab, &["probe"]).failed(1, "");
    assert!(
        said.out.contains("its serial line did not say 'Boot' within 1 s"),
        "{}",
        said.out
    );
    // A machine that does not even start is not waited for, and says why.
    let machine = lab.dir().join("machines/qemu-system-x86_64");
    std::fs::create_dir(lab.dir().join("machines")).unwrap();
    std::fs::write(&machine, "#!/bin/sh\necho 'no room for its memory' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&machine, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    lab.set("PATH", &format!("{}:{path}", machine.parent().unwrap().display()))
        .set("DIB_TEST_BOOT_SECONDS", "600");
    let said = tested(&lab, &["probe"]).failed(1, "");
    for told in [
        "qemu-system-x86_64 ended before its serial line said 'Boot'",
        "    | no room for its memory\n",
    ] {
        assert!(said.out.contains(told), "no '{told}' in {}", said.out);
    }
    // Virtualisation that is lent, and ends at once, is done without.
    let script = "#!/bin/sh\ncase \"$*\" in *'-accel kvm'*) exit 134 ;; esac\n\
                  for word; do case $word in file:*) echo Boot >\"${word#file:}\" ;; esac; done\n";
    std::fs::write(&machine, script).unwrap();
    tested(&lab, &["probe"]).ok();
}

#[test]
fn cases_are_named_or_refused() {
    let lab = Lab::unprivileged();
    lab.file("probe/test-elements/builds/element-deps", "mini-os\n");
    lab.run(DIB, &["test-element", "prob"])
        .failed(1, "did you mean probe?");
    lab.run(DIB, &["test-element", "probe/build"])
        .failed(1, "did you mean probe/builds?");
    lab.run(DIB, &["test-element", "mini-os"])
        .failed(1, "element mini-os has no test case");
}

#[test]
fn unit_tests_of_elements_run() {
    if !oracle::require(&["python3"]) {
        return;
    }
    let lab = Lab::unprivileged();
    let test = |name: &str, body: &str| {
        lab.file(&format!("{name}/tests/__init__.py"), "").file(
            &format!("{name}/tests/test_whatever.py"),
            &format!(
                "import os\nimport unittest\n\n\nclass TestIt(unittest.TestCase):\n    def test_it(self):\n        {body}\n"
            ),
        );
    };
    test(
        "with-dashes",
        "self.assertTrue(os.path.exists('elements/with-dashes/tests'))",
    );
    test("other", "self.assertEqual(1, 2)");
    lab.file("untested/README.md", "");
    let said = lab
        .run(DIB, &["test-element", "--unit", "with-dashes", "other"])
        .failed(1, "");
    assert!(
        said.out.contains("ok       with-dashes/tests (")
            && said.out.contains("    | AssertionError: 1 != 2")
    );
    assert!(
        said.out.ends_with("1 passed, 1 failed, 0 skipped\n"),
        "{}",
        said.out
    );
    // As the test runner of old took them, by patterns.
    let said = lab.run(DIB, &["test-element", "--unit", "^with-"]).ok();
    assert!(
        said.out.ends_with("1 passed, 0 failed, 0 skipped\n"),
        "{}",
        said.out
    );
    assert!(!lab.dir().join("elements/other/tests/__pycache__").exists());
}
