//! Growth while mounted, by resize2fs and the kernel.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::path::Path;

use ext4_rs_writer::{Inodes, Options, Size};
use image_core::NodeId;

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

/// Grows an image step by step, and judges it after each: while it is mounted, and if the kernel does not let this
/// process do that, while it is not.
fn grows(options: &Options, steps: &[u64]) -> String {
    let mut forest = Forest::new();
    let dir = forest.dir(NodeId::ROOT, "dir");
    for i in 0..100 {
        forest.file(dir, format!("{i}"), i * 3000);
    }
    let tree = forest.build();
    let image = checked(&tree, &Pattern, options);
    for bytes in steps {
        let file = OpenOptions::new().write(true).open(&image.path).unwrap();
        file.set_len(*bytes).unwrap();
        drop(file);
        let blocks = (bytes / 4096).to_string();
        let resize = |device: &OsStr| oracle::run("resize2fs", &["-f".as_ref(), device, blocks.as_ref()]);
        let online = may_grow_mounted();
        if !online {
            resize(image.path.as_os_str());
        }
        oracle::mounted::write(&image.path, |root| {
            if online {
                resize(device(root).as_ref());
            }
            std::fs::write(root.join(format!("at-{bytes}")), vec![1; 100_000]).unwrap();
        });
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

/// Whether the kernel lets this process grow what is mounted: `CAP_SYS_RESOURCE`, which containers often lack.
fn may_grow_mounted() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap();
    let may = u64::from_str_radix(line.trim(), 16).unwrap() & (1 << 24) != 0;
    if !may {
        eprintln!("no CAP_SYS_RESOURCE: grown by resize2fs alone, unmounted");
    }
    may
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
    assert!(text.contains("meta_bg") || !may_grow_mounted(), "{text}");
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
