//! Every test case of every element of the library, as users run them: `dib test-element`.

use std::path::Path;
use std::process::Command;

use oracle::archive::{self, Part};

#[test]
fn every_case_of_every_element_passes() {
    if !oracle::require_root()
        || archive::of_apt(Part::Suite).is_none() && !oracle::skip("no archive of apt's")
    {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = tempfile::tempdir().unwrap();
    // Cases tell how they end as they do: nobody waits for minutes without a word.
    let status = Command::new(env!("CARGO_BIN_EXE_dib"))
        .arg("test-element")
        .env("ELEMENTS_PATH", root.join("elements"))
        .env("DIB_IMAGE_CACHE", cache.path())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn unit_tests_of_elements_pass() {
    if !oracle::require(&["python3", "bash"]) {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_dib"))
        .args(["test-element", "--unit"])
        .env(
            "ELEMENTS_PATH",
            Path::new(env!("CARGO_MANIFEST_DIR")).join("elements"),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    // A run that finds no tests is a success, too.
    for element in ["growvols", "package-installs", "svc-map"] {
        assert!(
            said.lines()
                .any(|line| line.starts_with(&format!("ok       {element}/tests ("))),
            "{element}: {said}"
        );
    }
}
