//! File systems made by mkfs.btrfs and filled by the kernel, read as trees and compared with what the kernel shows.

mod damage;
mod kinds;
mod small;
mod subvolumes;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use image_core::read_at::ImageFile;
use image_formats::btrfs::FileSystem;
use image_formats::laws::Sparse;
use oracle::snapshot::{self, Kind, Snapshot};
use rustix::fs::{CWD, FileType, mknodat};

/// Whether file systems can be made and mounted here.
fn require() -> bool {
    oracle::mounted::require()
        && oracle::require(&["mkfs.btrfs", "btrfs", "btrfstune"])
        && oracle::mounted::knows("btrfs")
}

struct Image {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

/// An empty file system.
fn make(form: &str) -> Image {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    File::create(&path).unwrap().set_len(256 << 20).unwrap();
    let args = form.split_whitespace().chain(["-q", "-L", "a label"]);
    let args: Vec<_> = args.map(OsStr::new).chain([path.as_os_str()]).collect();
    oracle::run("mkfs.btrfs", &args);
    Image { _dir: dir, path }
}

/// One that was mounted with some options and filled.
fn filled(form: &str, options: &str, fill: impl FnOnce(&Path) + Send) -> Image {
    let image = make(form);
    image.write(options, fill);
    image
}

/// The blocks of an image that are not zero.
fn sparse(image: &Path) -> Sparse {
    Sparse::of(&fs::read(image).unwrap())
}

impl Image {
    fn write<T: Send>(&self, options: &str, work: impl FnOnce(&Path) -> T + Send) -> T {
        let options = ["loop,rw", options].join(",");
        oracle::mounted::with("btrfs", &self.path, options.trim_end_matches(','), work)
    }

    /// What the kernel shows, with some options of mount.
    fn shown(&self, options: &str) -> Snapshot {
        let options = ["loop,ro", options].join(",");
        let shown = oracle::mounted::with(
            "btrfs",
            &self.path,
            options.trim_end_matches(','),
            snapshot::of_dir,
        );
        comparable(shown)
    }

    fn open(&self) -> FileSystem<ImageFile> {
        FileSystem::open(ImageFile::new(File::open(&self.path).unwrap(), &self.path).unwrap()).unwrap()
    }

    fn read(&self, subvolume: u64) -> Snapshot {
        let (tree, store) = self.open().read(subvolume, &BTreeSet::new()).unwrap();
        comparable(snapshot::of_tree(&tree, &store))
    }
}

/// A snapshot without links of directories, which Btrfs does not count, and properties of the file system.
fn comparable(mut snapshot: Snapshot) -> Snapshot {
    for file in snapshot.values_mut() {
        if file.kind == Kind::Directory {
            file.links = 0;
        }
        file.xattrs.retain(|name, _| !name.starts_with(b"btrfs."));
    }
    snapshot
}

/// Bytes that no compressor makes shorter.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(len)
    .collect()
}

/// Makes a node of the device that is empty when read.
fn make_null(path: &Path) {
    let null = rustix::fs::makedev(1, 3);
    mknodat(CWD, path, FileType::CharacterDevice, 0o600.into(), null).unwrap();
}

fn btrfs(args: &[&str], path: &Path) {
    let args: Vec<_> = args.iter().map(OsStr::new).chain([path.as_os_str()]).collect();
    oracle::run("btrfs", &args);
}
