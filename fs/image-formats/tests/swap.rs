//! Swap areas, compared with mkswap's and judged by swaplabel and blkid.

use std::ffi::OsStr;
use std::fs::{self, File};

use image_core::store::MemoryStore;
use image_formats::swap::{self, Options};
use uuid::Uuid;

const TEXT: &str = "12345678-9abc-def0-1234-56789abcdef0";

fn options(len: u64, label: &[u8]) -> Options {
    let mut options = Options {
        len,
        label: [0; 16],
        uuid: Uuid::try_parse(TEXT).unwrap(),
    };
    options.label[..label.len()].copy_from_slice(label);
    options
}

#[test]
fn a_swap_area_is_that_of_mkswap() {
    if !oracle::require(&["mkswap", "swaplabel", "blkid"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    for (len, label) in [
        (1 << 20, "swap"),
        (40960, ""),
        ((3 << 20) + 100, "fifteen letters"),
    ] {
        let map = swap::plan(&options(len, label.as_bytes())).unwrap();
        fs::write(&ours, image_core::laws::copied(&map, &MemoryStore::default())).unwrap();
        File::create(&theirs).unwrap().set_len(len).unwrap();
        let words = ["--pagesize", "4096", "--uuid", TEXT, "--label", label].map(OsStr::new);
        oracle::run("mkswap", &[&words[..], &[theirs.as_os_str()]].concat());
        assert!(
            fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(),
            "{len} {label}"
        );

        // mkswap cuts labels to fifteen letters; the sixteenth is read by all.
        let label = if label.is_empty() {
            label
        } else {
            "sixteen letters!"
        };
        let map = swap::plan(&options(len, label.as_bytes())).unwrap();
        fs::write(&ours, image_core::laws::copied(&map, &MemoryStore::default())).unwrap();
        let said = oracle::run("swaplabel", &[ours.as_os_str()]);
        assert!(said.contains(TEXT) && said.contains(label), "{said}");
        let words = ["--probe", "--output", "export"].map(OsStr::new);
        let said = oracle::run("blkid", &[&words[..], &[ours.as_os_str()]].concat());
        for line in [
            format!("UUID={TEXT}"),
            "TYPE=swap".to_owned(),
            "VERSION=1".to_owned(),
        ] {
            assert!(said.lines().any(|said| said == line), "{line}: {said}");
        }
    }
}

#[test]
fn swap_areas_are_refused_with_numbers() {
    let refused = |len| swap::plan(&options(len, b"")).unwrap_err().to_string();
    assert_eq!(
        refused(40_959),
        "a swap area of 40959 bytes is too short: 40960 bytes are the least"
    );
    assert_eq!(
        refused((1 << 44) + 4096),
        "a swap area of 17592186048512 bytes is too long: its pages are numbered with 32 bits, up to 17592186044416 bytes"
    );
    assert!(swap::plan(&options(1 << 44, b"")).is_ok());
}
