//! Growth, by resize2fs and the kernel.
//!
//! The kernel grows what is mounted for processes with `CAP_SYS_RESOURCE` only, which containers often lack. Where it is
//! lacking, resize2fs grows the same images unmounted, and what the kernel makes of them is judged afterwards; the
//! authority on growth online is then the machine that `tests/debian.rs` of the workspace boots, whose root lacks
//! nothing.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::path::Path;

use ext4_rs_writer::{Inodes, Options, Size, mke2fs};
use image_core::NodeId;
use oracle::snapshot::{self, Snapshot};

use crate::forest::{Forest, Pattern};
use crate::image::{checked, options};

/// The device of the file system mounted at `root`, as this thread sees it.
fn device(root: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
    let root = root.to_str().unwrap();
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(1) == Some(root))
        .unwrap_or_else(|| panic!("{root} is not mounted:\n{mounts}"));
    line.split(' ').next().unwrap().to_owned()
}

/// What of a tree must stay as it was, whatever is written beside it.
fn kept(mut snapshot: Snapshot) -> Snapshot {
    snapshot.retain(|path, _| path.starts_with(b"dir"));
    snapshot
}

/// Grows an image step by step, and judges it after each: while it is mounted, and if the kernel does not let this
/// process do that, while it is not.
fn grows(options: &Options, steps: &[u64]) -> String {
    let mut forest = Forest::new();
    let dir = forest.dir(NodeId::ROOT, "dir");
    for i in 0..100 {
        forest.file(dir, format!("{i}"), i * 3000);
    }
    let tree = forest.build();
    let expected = kept(snapshot::of_tree(&tree, &Pattern));
    let image = checked(&tree, &Pattern, options);
    let online = may_grow_mounted();
    for bytes in steps {
        let file = OpenOptions::new().write(true).open(&image.path).unwrap();
        file.set_len(*bytes).unwrap();
        drop(file);
        let blocks = (bytes / 4096).to_string();
        let resize = |device: &OsStr| oracle::run("resize2fs", &["-f".as_ref(), device, blocks.as_ref()]);
        if !online {
            resize(image.path.as_os_str());
        }
        let found = oracle::mounted::write(&image.path, |root| {
            if online {
                resize(device(root).as_ref());
            }
            std::fs::write(root.join(format!("at-{bytes}")), vec![1; 100_000]).unwrap();
            snapshot::of_dir(root)
        });
        snapshot::assert_same(&expected, &kept(found));
        oracle::ext4::fsck(&image.path);
        let text = oracle::ext4::dumpe2fs(&image.path, true);
        assert!(
            text.lines()
                .any(|line| line.starts_with("Block count:") && line.ends_with(&blocks)),
            "{text}"
        );
    }
    oracle::ext4::dumpe2fs(&image.path, true)
}

/// Whether the kernel lets this process grow what is mounted.
fn may_grow_mounted() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() & CAP_SYS_RESOURCE != 0
}

fn can_grow() -> bool {
    oracle::mounted::require() && oracle::require(&["e2fsck", "resize2fs", "dumpe2fs"])
}

#[test]
fn an_image_grows_into_its_reserve() {
    if !can_grow() {
        return;
    }
    let mut options = options();
    options.size = Size::Fixed(2 << 30);
    let text = grows(&options, &[3 << 30, 64 << 30]);
    assert!(
        text.contains("resize_inode") && !text.contains("meta_bg"),
        "{text}"
    );
}

#[test]
fn an_image_grows_past_its_reserve() {
    if !can_grow() {
        return;
    }
    let mut options = options();
    options.size = Size::Fixed(2 << 30);
    options.max_size = Some(10 << 30);
    options.inodes = Some(Inodes::Ratio(1 << 16));
    let text = grows(&options, &[10 << 30, 64 << 30, 300 << 30]);
    // Unmounted, resize2fs moves what is in the way of more descriptors instead.
    assert_eq!(text.contains("meta_bg"), may_grow_mounted(), "{text}");
}

/// The largest file that the directory of images takes, up to `most` bytes: ext4 ends at 16 TiB, tmpfs and XFS at 8 EiB.
fn largest_file(most: u64) -> u64 {
    let dir = crate::image::temporary();
    let file = File::create(dir.path().join("probe")).unwrap();
    let sizes = std::iter::successors(Some(most), |size| Some(size / 2));
    sizes
        .into_iter()
        .find(|size| file.set_len(*size).is_ok())
        .unwrap()
}

#[test]
fn an_image_grows_from_2_gib_to_64_tib() {
    const PROMISED: u64 = 64 << 40;
    if !can_grow() {
        return;
    }
    let largest = largest_file(PROMISED);
    if largest < PROMISED {
        oracle::skip(&format!("files of images end at {largest} bytes"));
        return;
    }
    let mut options = options();
    options.size = Size::Fixed(2 << 30);
    options.max_size = Some(PROMISED);
    // What the kernel needs for each of the 524,288 groups decides, and there is little of it here: one block of inodes,
    // no bitmaps to read for their checksums, and few flex groups, after each of which it counts all groups. Emulated,
    // Linux 6.1 takes a minute for this; with 256 groups in each it takes nine, and six up to 8 TiB with metadata_csum.
    mke2fs::apply(&mut options, "-i 4194304 -G 4096 -O uninit_bg").unwrap();
    // 8 TiB are as far as 1024 reserved blocks go. Unmounted, what the first step put there would be moved, for minutes.
    let steps: &[u64] = if may_grow_mounted() {
        &[8 << 40, PROMISED]
    } else {
        &[PROMISED]
    };
    let text = grows(&options, steps);
    assert_eq!(text.contains("meta_bg"), may_grow_mounted(), "{text}");
}

#[test]
fn small_images_grow_too() {
    if !can_grow() {
        return;
    }
    let mut options = options();
    options.size = Size::Fixed(64 << 20);
    grows(&options, &[65 << 20, 192 << 20, 5 << 30]);
}
