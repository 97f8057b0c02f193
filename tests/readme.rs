//! README.md is a promise: what it shows is done here, word by word.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use oracle::ext4;

use crate::lab::{DIB, DISK_IMAGE_CREATE, Lab};
use crate::rung::{Rung, Stairs};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The code blocks that follow marks which begin so, with the rest of each mark.
fn marked<'a>(text: &'a str, mark: &str) -> Vec<(&'a str, &'a str)> {
    let start = format!("<!-- {mark}");
    let blocks: Vec<_> = text
        .split(&start)
        .skip(1)
        .map(|rest| {
            let (rest_of_mark, after) = rest.split_once(" -->\n").unwrap();
            let block = after
                .strip_prefix("```")
                .expect("a block follows its mark at once");
            let (_, block) = block.split_once('\n').unwrap();
            (rest_of_mark.trim(), block.split("```").next().unwrap())
        })
        .collect();
    assert!(!blocks.is_empty(), "README.md has no '{mark}'");
    blocks
}

#[test]
fn the_element_that_it_teaches_works() {
    let Some(lab) = Lab::new() else { return };
    if !oracle::require(&["debugfs", "e2fsck"]) {
        return;
    }
    let text = readme();
    for (path, content) in marked(&text, "file:") {
        lab.file(path, content);
    }
    let plan = lab.run(DIB, &["plan", "mini-os", "motd"]).ok().out;
    for hook in ["install.d", "cleanup.d", "50-motd", "motd"] {
        assert!(plan.contains(hook), "{plan}");
    }
    // mini-os has neither.
    lab.hook(
        "extra-data.d/10-tools",
        "cp -L $(type -P basename) $TARGET_ROOT/bin/",
    );
    lab.build(&["-o", "web", "-t", "raw", "mini-os", "probe", "motd"])
        .ok();
    ext4::fsck(&lab.out("web.raw"));
    let motd = ext4::debugfs(&lab.out("web.raw"), "cat /etc/motd");
    assert!(motd.contains("This is web."), "{motd}");
}

#[test]
fn the_commands_that_it_shows_are_understood() {
    let lab = Lab::unprivileged();
    let text = readme();
    let mut seen = 0;
    for line in text.lines() {
        let Some((_, words)) = line.split_once("disk-image-create ") else {
            continue;
        };
        let words = words.trim_end_matches(['\'', '"', '`']);
        let plain = |word: &str| {
            word.chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.,=/:".contains(c))
        };
        let words: Vec<&str> = words.split_whitespace().filter(|word| *word != "--").collect();
        if !words.iter().all(|word| plain(word)) || !words.contains(&"debian-minimal") {
            continue;
        }
        for word in words.iter().filter(|word| **word == "motd") {
            lab.file(&format!("{word}/README.md"), "");
        }
        lab.run(DIB, &[&["plan"], &words[..]].concat()).ok();
        seen += 1;
    }
    assert!(seen >= 4, "only {seen} commands were found");
}

#[test]
fn the_doctor_says_what_it_shows() {
    let Some(stairs) = Stairs::new(Rung::T1) else {
        return;
    };
    let text = readme();
    let [(_, report)] = marked(&text, "dib doctor in a container")[..] else {
        panic!("one report is shown")
    };
    let said = stairs.run(&["doctor"]).ok().out;
    assert!(said.starts_with(report), "{said}");
}

/// As a container's root: with the packages that it installs, and a small root by the name of the one that it builds.
#[test]
fn the_job_that_it_shows_builds() {
    let Some(mut stairs) = Stairs::new(Rung::T1) else {
        return;
    };
    let text = readme();
    let [(_, job)] = marked(&text, "a job of Kubernetes")[..] else {
        panic!("one job is shown")
    };
    let job: serde_json::Value = serde_saphyr::from_str(job).unwrap();
    assert_eq!(
        (&job["apiVersion"], &job["kind"]),
        (&"batch/v1".into(), &"Job".into())
    );
    let pod = &job["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert!(
        container["securityContext"].is_null(),
        "no privilege is asked for"
    );
    let mount = &container["volumeMounts"][0];
    assert_eq!(mount["name"], pod["volumes"][0]["name"]);
    assert_eq!(mount["mountPath"], container["workingDir"]);

    symlink(DISK_IMAGE_CREATE, stairs.lab.out("disk-image-create")).unwrap();
    let programs = stairs.lab.dir().join("programs");
    fs::create_dir(&programs).unwrap();
    symlink(oracle::find("true").unwrap(), programs.join("apt-get")).unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    for (name, value) in [
        ("PATH", path.as_str()),
        ("DIB_SKIP_BASE_PACKAGE_INSTALL", "1"),
        ("DIB_AVOID_PACKAGES_UPDATE", "1"),
        ("DIB_INIT_SYSTEM", "systemd"),
    ] {
        stairs.lab.set(name, value);
    }
    stairs.lab.file("debian-minimal/element-deps", "mini-os\n");
    let words: Vec<&str> = ["command", "args"]
        .iter()
        .flat_map(|key| container[key].as_array().unwrap())
        .map(|word| word.as_str().unwrap())
        .collect();
    stairs.run_program(words[0], &words[1..]).ok();
    assert!(stairs.lab.names().contains(&"web.qcow2".to_owned()));
    assert_eq!(stairs.lab.left_behind(), [""; 0]);
}

/// What follows `-o NAME` in a row of the table of types: each command of the row with its options.
fn commands(row: &str) -> Vec<Vec<&str>> {
    let spans = row.split('`').skip(1).step_by(2);
    let mut commands: Vec<Vec<&str>> = Vec::new();
    for span in spans {
        let words: Vec<&str> = span.split(' ').collect();
        match (words[0], commands.last()) {
            ("-t" | "-o" | "dib", _) => commands.push(words),
            // Of the one before it; that it loads is seen where there is an engine.
            ("--docker-load", Some(_)) => {}
            (word, Some(before)) if word.starts_with('-') => commands.push([before, &words[..]].concat()),
            _ => commands.push(["-t", span].to_vec()),
        }
    }
    commands
}

/// The table of types: each command of it makes the files that it says, of which the last row makes others.
#[test]
fn every_type_of_its_table_is_made_as_it_says() {
    let Some(lab) = Lab::new() else { return };
    let text = readme();
    let (_, table) = text.split_once("| for | write |\n|---|---|\n").unwrap();
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 10, "{rows:?}");
    let mut types = BTreeSet::new();
    for row in rows {
        let (_, row) = row.trim_matches('|').split_once('|').unwrap();
        for words in commands(row) {
            let kind = words[words.iter().position(|word| *word == "-t").unwrap() + 1];
            if words[0] == "dib" {
                lab.run(DIB, &words[1..]).ok();
            } else if words[0] == "-o" {
                let said = lab.build(&[&words[..], &["mini-os"]].concat()).ok();
                assert!(said.out.len() > 1 << 20, "{words:?}");
                continue;
            } else {
                lab.build(&[&["-o", "image"], &words[..], &["mini-os"]].concat())
                    .ok();
            }
            for kind in kind.split(',') {
                let suffix = match kind {
                    "squashfs" => "squash",
                    "docker" => "docker.tar",
                    "oci" => "oci.tar",
                    other => other,
                };
                assert!(lab.out(&format!("image.{suffix}")).exists(), "{words:?}");
                types.insert(kind.to_owned());
            }
            // `dib convert` reads what the first row makes.
            for name in lab.names().iter().filter(|name| *name != "image.qcow2") {
                fs::remove_file(lab.out(name)).unwrap();
            }
        }
    }
    let all = [
        "aci", "cpio", "docker", "oci", "qcow2", "raw", "squashfs", "tar", "tar.xz", "tar.zst", "tgz", "vdi",
        "vhd", "vmdk",
    ];
    assert!(types.iter().eq(all), "{types:?}");
}
