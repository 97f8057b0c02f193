//! FAT file systems that mkfs.fat made and mtools filled, as trees.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use image_core::read_at::ImageFile;
use image_formats::fat;
use oracle::snapshot::{self, Kind, Snapshot};

fn make(image: &Path, args: &[&str], mebibytes: u64) {
    File::create(image).unwrap().set_len(mebibytes << 20).unwrap();
    let mut args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    args.push(image.as_os_str());
    oracle::run("mkfs.fat", &args);
}

fn fill(root: &Path) {
    fs::create_dir_all(root.join("EFI/BOOT")).unwrap();
    fs::create_dir_all(root.join("EFI/a directory with a long name")).unwrap();
    fs::write(root.join("EFI/BOOT/BOOTX64.EFI"), vec![0x4d; 700_001]).unwrap();
    fs::write(root.join("EFI/empty"), "").unwrap();
    for (i, name) in ["grub.cfg", "UPPER.TXT", "mixed.Case", "ünïcode ☂.txt", "x"]
        .iter()
        .enumerate()
    {
        fs::write(
            root.join("EFI/a directory with a long name").join(name),
            &[b'a'; 3000][..i * 700],
        )
        .unwrap();
    }
    for i in 0..300 {
        fs::write(
            root.join(format!("EFI/BOOT/a-longer-name-{i}.conf")),
            format!("{i}"),
        )
        .unwrap();
    }
    for i in (0..300).step_by(7) {
        fs::remove_file(root.join(format!("EFI/BOOT/a-longer-name-{i}.conf"))).unwrap();
    }
    fs::write(root.join("EFI/late"), vec![7; 123_456]).unwrap();
}

/// What FAT keeps: names, contents, and times in steps of two seconds.
fn comparable(mut snapshot: Snapshot) -> Snapshot {
    for file in snapshot.values_mut() {
        (file.links, file.mode) = (0, 0);
        file.mtime = (file.mtime.0 / 2 * 2, 0);
        match &mut file.kind {
            Kind::Regular { data, .. } => data.clear(),
            // mtools makes directories at the time when it does.
            _ => file.mtime = (0, 0),
        }
    }
    snapshot
}

fn mtools(tool: &str, args: &[&str], image: &Path, rest: &[&str]) {
    let first = ["LC_ALL=C.UTF-8", "TZ=UTC", tool, "-i", image.to_str().unwrap()];
    let words = [&first[..], args, rest].concat();
    let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    oracle::run("env", &words);
}

#[test]
fn what_others_wrote_is_read() {
    if !oracle::require(&["mkfs.fat", "mcopy", "mdel"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, files) = (dir.path().join("image"), dir.path().join("files"));
    fill(&files);
    for (args, mebibytes) in [
        (&["-F", "12"][..], 4),
        (&["-F", "16"], 64),
        (&["-F", "32", "-s", "1"], 64),
        (&["-F", "32", "-S", "4096"], 512),
    ] {
        make(&image, args, mebibytes);
        // Something comes and goes, so that chains are not in one piece.
        let tool = files.join("EFI/late");
        mtools("mcopy", &[], &image, &[tool.to_str().unwrap(), "::gone"]);
        for name in ["a", "b"] {
            mtools(
                "mcopy",
                &[],
                &image,
                &[tool.to_str().unwrap(), &format!("::{name}")],
            );
        }
        mtools("mdel", &[], &image, &["::gone", "::b"]);
        mtools(
            "mcopy",
            &["-s", "-m"],
            &image,
            &[files.join("EFI").to_str().unwrap(), "::"],
        );
        mtools("mdel", &[], &image, &["::a"]);
        let source = ImageFile::new(File::open(&image).unwrap(), &image).unwrap();
        let (tree, store) = fat::read(source).unwrap();
        let expected = comparable(snapshot::of_dir(&files));
        assert!(expected.len() > 250, "{args:?}");
        snapshot::assert_same(&expected, &comparable(snapshot::of_tree(&tree, &store)));
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    for (at, byte, expected) in [
        (11, 1, "bytes in a sector"),
        (13, 3, "sectors in a cluster"),
        (16, 0, "number of tables"),
        (32, 0xff, "number of sectors"),
    ] {
        let mut image = vec![0_u8; 1 << 20];
        image[11..36].copy_from_slice(&[
            0, 2, 1, 1, 0, 1, 0x10, 0, 0, 0, 0xf8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0,
        ]);
        assert!(fat::read(image.clone()).is_ok());
        image[at] = byte;
        if at == 32 {
            image[34] = byte;
        }
        let error = fat::read(image).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
