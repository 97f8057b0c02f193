//! Images with journals that were not written back, as machines leave them that lose their power, before judges that write
//! them back: the kernel and e2fsck.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ext4_rs_writer::reader::ReadError;
use image_core::read_at::ImageFile;
use oracle::populated::{attribute, fill};
use oracle::snapshot;

use crate::image::{read_back, temporary};
use crate::read_back::make;

/// Journals of every kind that the kernel writes.
const FORMS: [&str; 5] = [
    "-t ext3 -b 2048",
    "-t ext4",
    "-t ext4 -b 1024",
    "-t ext4 -O ^64bit,^metadata_csum,uninit_bg",
    "-t ext4 -O ^64bit,metadata_csum",
];

/// Where the log begins and where the journal's superblock has its fields, in a journal's first block.
const SUPERBLOCK: [u8; 8] = [0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4];

fn debugfs(image: &Path, commands: &str) -> String {
    let file = image.with_extension("commands");
    fs::write(&file, commands).unwrap();
    let args = ["-w", "-f", file.to_str().unwrap(), image.to_str().unwrap()];
    oracle::run("debugfs", &args.map(std::ffi::OsStr::new))
}

/// Where the journal begins: there is one block that begins so.
fn journal_of(bytes: &[u8]) -> usize {
    let blocks = (0..bytes.len()).step_by(1024);
    let mut found = blocks.filter(|at| bytes[*at..].starts_with(&SUPERBLOCK));
    found.next().expect("the image has a journal")
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Has the kernel write to an image, and copies that before it is unmounted: all is committed, little is written back.
fn make_dirty(image: &Path, form: &str, dirty: &Path) {
    make(image, form);
    oracle::mounted::write(image, |root| {
        fill(root);
        attribute(root);
        let sync = || rustix::fs::syncfs(File::open(root).unwrap()).unwrap();
        sync();
        // Blocks of directories are freed, which revokes them, and get to be those of files.
        fs::create_dir(root.join("gone")).unwrap();
        for i in 0..400 {
            fs::create_dir(root.join(format!("gone/{i}"))).unwrap();
        }
        sync();
        fs::remove_dir_all(root.join("gone")).unwrap();
        for i in 0..50 {
            fs::write(root.join(format!("late-{i}")), vec![i; 9000]).unwrap();
        }
        // Its first bytes are those of a journal's block.
        fs::write(root.join("escaped"), [&SUPERBLOCK[..4], &[7; 5000]].concat()).unwrap();
        sync();
        fs::copy(image, dirty).unwrap();
    });
}

#[test]
fn journals_of_the_kernel_are_read_as_it_replays_them() {
    if !oracle::mounted::require() || !oracle::require(&["mke2fs", "e2fsck", "debugfs"]) {
        return;
    }
    let dir = temporary();
    let [image, dirty, copy] = ["image", "dirty", "copy"].map(|name| dir.path().join(name));
    for form in FORMS {
        make_dirty(&image, form, &dirty);
        let bytes = fs::read(&dirty).unwrap();
        let journal = journal_of(&bytes);
        assert_ne!(word(&bytes, journal + 0x1c), 0, "{form}: the log is not empty");
        eprintln!("mke2fs {form}");
        let ours = read_back(&dirty);
        assert!(ours.contains_key(&b"escaped"[..]) && ours.len() > 2000);
        fs::copy(&dirty, &copy).unwrap();
        let theirs = oracle::mounted::write(&copy, snapshot::of_dir);
        snapshot::assert_same(&theirs, &ours);
    }
}

/// Writes transactions by debugfs: the block of a file gets other bytes, then others again; a block that is revoked keeps
/// its own.
#[test]
fn checksums_of_either_version_guard_a_journal() {
    if !oracle::require(&["mke2fs", "e2fsck", "debugfs"]) {
        return;
    }
    let dir = temporary();
    let path = |name: &str| dir.path().join(name);
    let (tree, image, copy) = (path("tree"), path("image"), path("copy"));
    fs::create_dir(&tree).unwrap();
    for name in ["one", "two", "three"] {
        fs::write(tree.join(name), vec![name.as_bytes()[0]; 4096]).unwrap();
    }
    for (form, open) in [
        ("-t ext4 -b 4096", "jo -c -v 3"),
        ("-t ext4 -b 4096", "jo -c -v 2"),
        ("-t ext4 -b 4096 -O ^64bit", "jo -c -v 2"),
        ("-t ext4 -b 4096 -O ^64bit,^metadata_csum", "jo"),
        ("-t ext4 -b 4096 -O ^metadata_csum", "jo"),
    ] {
        File::create(&image).unwrap().set_len(32 << 20).unwrap();
        let mut args = vec!["-q", "-F"];
        args.extend(form.split(' '));
        args.extend(["-d", tree.to_str().unwrap(), image.to_str().unwrap()]);
        oracle::run(
            "mke2fs",
            &args.into_iter().map(std::ffi::OsStr::new).collect::<Vec<_>>(),
        );
        let block = |name: &str| -> u64 {
            let said = debugfs(&image, &format!("bmap /{name} 0\n"));
            said.lines().find_map(|line| line.trim().parse().ok()).unwrap()
        };
        let [one, two, three] = ["one", "two", "three"].map(block);
        for (name, byte) in [("a", b'A'), ("b", b'B')] {
            fs::write(path(name), vec![byte; 4096]).unwrap();
        }
        fs::write(path("e"), [&SUPERBLOCK[..4], &vec![b'E'; 4092][..]].concat()).unwrap();
        let file = |name: &str| path(name).display().to_string();
        let commands = format!(
            "{open}\njw -b {one} {a}\njw -b {two} {a}\njw -b {three} {e}\njw -b {one} {b}\njw -r {two}\njc\n",
            a = file("a"),
            b = file("b"),
            e = file("e")
        );
        let said = debugfs(&image, &commands);
        let ours = read_back(&image);
        fs::copy(&image, &copy).unwrap();
        let args = ["-fy", copy.to_str().unwrap()].map(std::ffi::OsStr::new);
        let fixed = oracle::output("e2fsck", &args);
        let told = String::from_utf8_lossy(&fixed.stdout).into_owned();
        assert!(
            told.contains("recovering journal"),
            "{form}, {open}: {told}\n{said}"
        );
        snapshot::assert_same(&read_back(&copy), &ours);
        let file = File::open(&copy).unwrap();
        let mut found = [0; 3];
        for (byte, at) in found.iter_mut().zip([one, two, three]) {
            file.read_exact_at(std::slice::from_mut(byte), at * 4096).unwrap();
        }
        assert_eq!(found, *b"Bt\xc0", "{form}, {open}: the judge wrote them back");
        damaged(&image, open.contains("-c"));
    }
}

/// Whatever of a journal is not as it should be is told with its number.
fn damaged(image: &Path, checked: bool) {
    let whole = fs::read(image).unwrap();
    let journal = journal_of(&whole);
    let start = journal + 4096 * usize::try_from(word(&whole, journal + 0x1c)).unwrap();
    let refusal = |at: usize, to: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        ext4_rs_writer::read(bytes)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let told = |at: usize, to: &[u8]| refusal(at, to).unwrap_err();
    assert_eq!(word(&whole, start + 4), 1, "the log begins with a descriptor");
    if checked {
        let sum = "of the journal has a wrong checksum";
        assert!(told(journal + 0x20, &[9]).contains("superblock of the journal has a wrong checksum"));
        assert!(told(start + 2000, &[9]).contains(sum), "a descriptor");
        assert!(told(start + 4096 + 2000, &[9]).contains(sum), "a block");
        assert!(told(start + 2 * 4096 + 2000, &[9]).contains(sum), "a commit");
        return;
    }
    for (at, to, expected) in [
        (0x0c, 1024_u32, "the block size of the journal cannot be 1024"),
        (
            0x10,
            u32::MAX,
            "the number of blocks of the journal cannot be 4294967295",
        ),
        (0x14, 0, "the first block of the log of the journal cannot be 0"),
        (
            0x1c,
            1 << 30,
            "the start of the log of the journal cannot be 1073741824",
        ),
        (0x28, 0x20, "fast commits in the journal, which cannot be read"),
        (0x28, 0x40, "the features of the journal cannot be 64"),
        (0x04, 7, "the kind of the superblock of the journal cannot be 7"),
    ] {
        let found = told(journal + at, &to.to_be_bytes());
        assert!(found.contains(expected), "{found}");
    }
    let found = told(start + 12, &u32::MAX.to_be_bytes());
    assert!(found.contains("the place of a block of transaction "), "{found}");
    // A commit that never was: nothing of it counts, and nothing of what comes after.
    assert_eq!(refusal(start + 2 * 4096, &[0; 4]), Ok(()));
    let mut bytes = whole.clone();
    bytes[start..start + 4].fill(0);
    let (tree, _) = ext4_rs_writer::read(bytes).unwrap();
    assert!(tree.nodes().len() > 3);
}

#[test]
fn a_journal_that_holds_nothing_is_no_hindrance() {
    if !oracle::require(&["mke2fs", "debugfs"]) {
        return;
    }
    let dir = temporary();
    let path = dir.path().join("image");
    make(&path, "-t ext4");
    debugfs(&path, "feature needs_recovery\n");
    assert_eq!(read_back(&path).len(), 2, "the root and lost+found");
    // The journal is another disk's.
    debugfs(&path, "set_super_value journal_inum 0\n");
    let source = ImageFile::new(File::open(&path).unwrap(), &path).unwrap();
    let refused = ext4_rs_writer::read(source).map(|_| ()).unwrap_err();
    assert!(
        matches!(refused, ReadError::Unsupported(what) if what.contains("another device")),
        "{refused}"
    );
}
