//! `dib-lint` as authors of elements meet it.

use std::fs;
use std::path::Path;

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
