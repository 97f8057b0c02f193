//! `dib-lint` as authors of elements meet it.

use std::fs;
use std::path::{Path, PathBuf};

use oracle::blackbox;

use crate::lab::{DIB, DIB_LINT, Lab};

#[test]
fn our_own_elements_have_no_finding() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = blackbox::run(Path::new(DIB_LINT), &[], &[], here);
    let text = [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat();
    assert_eq!(text, "");
    assert!(output.status.success());
}

/// All files below a directory.
fn below(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The shell that a file is for: by its first line, its word to shellcheck, or its place. `None`: it is for none.
fn shell_of(path: &Path, text: &str) -> Option<&'static str> {
    let first = text.lines().next().unwrap_or_default();
    let place = path.to_str().unwrap();
    let says = |shell: &str| text.lines().take(3).any(|line| line.starts_with(shell));
    if first.starts_with("#!/bin/bash")
        || place.contains("/environment.d/")
        || says("# shellcheck shell=bash")
    {
        return Some("bash");
    }
    let fragment = ["/init.d/", "/extra-data.d/scripts/"]
        .iter()
        .any(|part| place.contains(part));
    if first.starts_with("#!/bin/sh") || first == "#!/sbin/openrc-run" || fragment {
        return Some("dash");
    }
    assert!(!first.starts_with("#!"), "{place}: a script for whom?");
    None
}

#[test]
fn shellcheck_finds_nothing_in_any_script_of_the_elements() {
    if !oracle::require(&["shellcheck"]) {
        return;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![
        here.join(".ci/run"),
        here.join("src/cli/test_element/assertions.bash"),
    ];
    for dir in ["elements", "fixtures/elements"] {
        below(&here.join(dir), &mut files);
    }
    files.sort();
    let mut scripts: Vec<(&str, String)> = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        if let Some(shell) = shell_of(&file, &text) {
            let path = file.strip_prefix(here).unwrap().to_str().unwrap().to_owned();
            scripts.push((shell, path));
        }
    }
    assert!(scripts.len() > 250, "only {} scripts were found", scripts.len());
    for shell in ["bash", "dash"] {
        let of_shell = scripts.iter().filter(|(own, _)| *own == shell);
        let paths: Vec<&str> = of_shell.map(|(_, path)| path.as_str()).collect();
        let words = ["--external-sources", "--format=gcc", "--shell", shell];
        let output = blackbox::run(
            &oracle::find("shellcheck").unwrap(),
            &[&words, &paths[..]].concat(),
            &[("LC_ALL", "C.UTF-8")],
            here,
        );
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(String::from_utf8_lossy(&said), "", "for {shell}");
        assert!(output.status.success(), "{}", output.status);
    }
}

#[test]
fn findings_have_file_line_check_and_text() {
    let mut lab = Lab::unprivileged();
    let out = lab.out("");
    fs::create_dir_all(out.join("elements/app/install.d")).unwrap();
    fs::create_dir_all(out.join("lib")).unwrap();
    fs::write(out.join("elements/app/README.md"), "app\n").unwrap();
    fs::write(out.join("elements/app/element-deps"), "b\na\n").unwrap();
    fs::write(out.join("lib/die"), "#!/usr/bin/sh\nexit 1").unwrap();
    let said = lab.run(DIB_LINT, &[]);
    assert_eq!(
        said.out,
        "elements/app/element-deps:1: depsorder: a comes before b\n\
         lib/die:1: executable: it begins with #!, but is not executable\n\
         lib/die:1: shebang: #!/usr/bin/sh is not #!/bin/bash\n\
         lib/die:2: newline: the last line has no end\n"
    );
    assert_eq!((said.status, said.err.as_str()), (1, "error: 4 findings\n"));
    fs::write(
        out.join("tox.ini"),
        "[dib-lint]\nignore = executable shebang depsorder\n",
    )
    .unwrap();
    let said = lab.run(DIB, &["lint"]);
    assert_eq!(said.out, "lib/die:2: newline: the last line has no end\n");
    assert_eq!((said.status, said.err.as_str()), (1, "error: 1 finding\n"));
    lab.set("LIB_DIR", "elements/app");
    assert_eq!(lab.run(DIB_LINT, &[]).ok().out, "");
    lab.set("ELEMENTS_DIR", "nowhere");
    lab.run(DIB_LINT, &[]).failed(1, "cannot read nowhere");
}

#[test]
fn a_place_without_elements_is_told() {
    let lab = Lab::unprivileged();
    lab.run(DIB_LINT, &[]).failed(
        1,
        "there is no directory elements here\nhint: ELEMENTS_DIR names one",
    );
    let help = lab.run(DIB_LINT, &["--help"]).ok().out;
    for part in ["Python is not checked", "  safe_sudo ", "dib-lint: disable="] {
        assert!(help.contains(part), "no '{part}' in {help}");
    }
}
