//! The examples in READMEs of elements: each is planned as it stands there, and its hooks find the commands that they call.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::lab::{DIB, Lab};

/// The lines of a README's blocks of shell that build something.
fn examples(readme: &str) -> Vec<&str> {
    let blocks = readme
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    blocks
        .flat_map(str::lines)
        .filter(|line| line.contains("-image-create "))
        .collect()
}

/// A lab whose shell plans what is to be built, and which has the elements and files of the reader's own.
fn lab(elements: &Path) -> Lab {
    let mut lab = Lab::unprivileged();
    let bin = lab.dir().join("elements/commands");
    for (name, options) in [("disk-image-create", ""), ("ramdisk-image-create", " --ramdisk")] {
        let script = format!("#!/bin/sh\nexec {DIB} plan --json{options} \"$@\"\n");
        lab.file(&format!("commands/{name}"), &script);
    }
    for own in ["my-element", "my-tools"] {
        lab.file(&format!("{own}/README.md"), "");
    }
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
    let own = lab.dir().join("elements");
    let elements = format!("{}:{}", own.display(), elements.display());
    lab.set("PATH", &path).set("ELEMENTS_PATH", &elements);
    lab
}

/// What of a plan installs packages: hooks in the chroot, and elements' lists.
fn installers(plan: &Value) -> Vec<String> {
    let calls = |hook: &&Value| {
        let text = fs::read_to_string(hook["path"].as_str().unwrap()).unwrap();
        let mut lines = text.lines().map(str::trim_start);
        lines.any(|line| !line.starts_with('#') && line.contains("install-packages "))
    };
    let phases = plan["phases"].as_array().unwrap();
    let within = phases.iter().filter(|phase| phase["place"] == "chroot");
    let mut installers = Vec::new();
    for phase in within {
        let hooks = phase["hooks"].as_array().unwrap().iter().filter(calls);
        installers.extend(hooks.map(|hook| hook["path"].to_string()));
        let packages = phase["packages"].as_array().unwrap().iter();
        let applied = packages.filter(|package| package["applies"] != false);
        installers.extend(applied.map(|package| package["package"].to_string()));
    }
    installers
}

#[test]
fn every_example_is_planned_and_brings_what_installs_its_packages() {
    let elements = Path::new(env!("CARGO_MANIFEST_DIR")).join("elements");
    let lab = lab(&elements);
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(&elements).unwrap() {
        let dir = entry.unwrap().path();
        let readme = fs::read_to_string(dir.join("README.md")).unwrap_or_default();
        for line in examples(&readme) {
            seen += 1;
            let said = lab.run("/bin/sh", &["-c", line]);
            if said.status != 0 {
                wrong.push(format!("{line}\n{}", said.err));
                continue;
            }
            let plan: Value = serde_json::from_str(&said.out).unwrap();
            let names = plan["elements"].as_array().unwrap().iter();
            let mut names = names.map(|element| element["name"].as_str().unwrap());
            // The tree of `replace-partition` has its packages: its snippet says so to hooks.
            let settled = |name| {
                name == "replace-partition" || elements.join(name).join("bin/install-packages").exists()
            };
            let installers = installers(&plan);
            if !installers.is_empty() && !names.any(settled) {
                wrong.push(format!(
                    "{line}\nnothing brings install-packages for {installers:?}"
                ));
            }
        }
    }
    assert!(seen > 90, "only {seen} examples were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
