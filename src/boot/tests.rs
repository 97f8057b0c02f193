use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn with_record(text: &str, check: impl FnOnce(&Path, &Rooted)) {
    let dir = tempfile::tempdir().unwrap();
    for made in ["tmp", "boot/grub/i386-pc", "usr/bin"] {
        fs::create_dir_all(dir.path().join(made)).unwrap();
    }
    fs::write(dir.path().join("boot/grub/i386-pc/boot.img"), [7; 512]).unwrap();
    fs::write(dir.path().join("boot/grub/i386-pc/core.img"), [9; 1000]).unwrap();
    fs::write(dir.path().join(RECORD), text).unwrap();
    check(dir.path(), &Rooted::open(dir.path()).unwrap());
}

const GOOD: &str = r#"{"disk":"image0","boot":"/boot/grub/i386-pc/boot.img","core":"/boot/grub/i386-pc/core.img","reed_solomon":true}"#;

#[test]
fn boot_code_is_taken_once() {
    with_record(GOOD, |root, tree| {
        let code = collect(tree).unwrap().unwrap();
        assert_eq!((code.disk.as_str(), code.reed_solomon), ("image0", true));
        assert_eq!((code.boot.len(), code.core.len()), (512, 1000));
        assert_eq!(collect(tree).unwrap(), None);
        assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    });
}

#[test]
fn a_record_leads_nowhere_but_to_files_of_the_tree() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), [1; 512]).unwrap();
    let boot = "boot/grub/i386-pc/boot.img";
    with_record(GOOD, |root, tree| {
        fs::remove_file(root.join(boot)).unwrap();
        symlink(outside.path(), root.join(boot)).unwrap();
        collect(tree).unwrap_err();
    });
    with_record(&GOOD.replace("/boot/grub", "/../../../boot/grub"), |_, tree| {
        assert!(collect(tree).unwrap().is_some(), "the root is its own parent");
    });
    with_record(GOOD, |root, tree| {
        fs::write(root.join(boot), [1; 511]).unwrap();
        let error = collect(tree).unwrap_err().message();
        assert!(error.contains("has 511 bytes"), "{error}");
    });
    with_record(GOOD, |root, tree| {
        let core = fs::File::create(root.join("boot/grub/i386-pc/core.img")).unwrap();
        core.set_len(CORE_MAX + 1).unwrap();
        let error = collect(tree).unwrap_err().message();
        assert!(
            error.contains("core.img") && error.contains("454657 bytes"),
            "{error}"
        );
    });
    for text in [
        "{}",
        "",
        "[]",
        &GOOD.replace("true", "1"),
        &GOOD.replace("disk", "disc"),
    ] {
        with_record(text, |_, tree| {
            let error = collect(tree).unwrap_err().message();
            assert!(error.contains("record of boot code"), "{error}");
        });
    }
}

#[test]
fn trees_of_rpm_packages_say_grub2() {
    with_record(GOOD, |root, tree| {
        assert!(!says_grub2(tree).unwrap());
        fs::write(root.join("usr/bin/rpm"), "").unwrap();
        assert!(says_grub2(tree).unwrap());
        fs::write(root.join("usr/bin/dpkg"), "").unwrap();
        assert!(!says_grub2(tree).unwrap());
    });
}
