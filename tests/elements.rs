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
    let units = Command::new(env!("CARGO_BIN_EXE_dib"))
        .args(["test-element", "--unit"])
        .env("ELEMENTS_PATH", root.join("elements"))
        .status()
        .unwrap();
    assert!(units.success(), "{units}");
}
