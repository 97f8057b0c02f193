//! Images of trees, and the judges they face.

use std::fs::File;
use std::path::{Path, PathBuf};

use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::{Layout, Options, Profile, Size, layout, read};
use image_core::read_at::ImageFile;
use image_core::sink::{FileSink, Sink};
use image_core::tree::Time;
use image_core::{Identity, Store, Tree, copy};
use oracle::snapshot::{self, Kind, Snapshot};
use tempfile::TempDir;

use crate::forest::Pattern;

/// An image on disk, gone with this value.
#[derive(Debug)]
pub(crate) struct Image {
    #[expect(dead_code, reason = "keeps the directory")]
    dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) layout: Layout,
}

/// The options of most tests: what a user gets, but with a size that is computed.
pub(crate) fn options() -> Options {
    profile(Profile::Default)
}

pub(crate) fn profile(profile: Profile) -> Options {
    let epoch = Time {
        secs: 1_700_000_000,
        nanos: 5,
    };
    let mut options = Options::new(profile, Identity::new(b"judged", epoch, false));
    options.size = Size::Extra(4 << 20);
    options
}

pub(crate) fn with_block_size(block_size: BlockSize) -> Options {
    let mut options = options();
    options.block_size = block_size;
    options
}

/// A directory in memory, where there is one.
pub(crate) fn temporary() -> TempDir {
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() {
        shm.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::Builder::new()
        .prefix("ext4-judged-")
        .tempdir_in(dir)
        .unwrap()
}

/// Writes an image.
fn written(tree: &Tree, store: &impl Store, options: &Options) -> Image {
    written_by(tree, store, options, FileSink::new)
}

/// Writes an image by way of a sink onto a file.
pub(crate) fn written_by<S: Sink>(
    tree: &Tree,
    store: &impl Store,
    options: &Options,
    sink: impl FnOnce(File) -> S,
) -> Image {
    let layout = layout(tree, options).unwrap_or_else(|error| panic!("{error}"));
    let dir = temporary();
    let path = dir.path().join("image");
    copy(layout.map(), store, &mut sink(File::create(&path).unwrap())).unwrap();
    Image { dir, path, layout }
}

/// Writes an image and puts it before e2fsck and dumpe2fs.
pub(crate) fn checked(tree: &Tree, store: &impl Store, options: &Options) -> Image {
    let image = written(tree, store, options);
    if oracle::ext4::require() {
        oracle::ext4::sound(&image.path);
    }
    image
}

/// Writes an image and puts it before all judges: e2fsck, dumpe2fs, the kernel, which must show the tree, and ext4-view.
pub(crate) fn judged(tree: &Tree, options: &Options) -> Image {
    judged_as(tree, &Pattern, options, &snapshot::of_tree(tree, &Pattern))
}

/// The same for a tree of any store, with what must be seen of it.
pub(crate) fn judged_as(tree: &Tree, store: &impl Store, options: &Options, expected: &Snapshot) -> Image {
    let image = mounted_as(tree, store, options, expected);
    snapshot::assert_same(
        &snapshot::as_ext4_view_sees(expected.clone()),
        &snapshot::of_ext4_view(&image.path),
    );
    image
}

/// Writes an image and puts it before e2fsck, dumpe2fs and the kernel, where ext4-view 1.0 cannot judge: it takes no time with bit
/// 31 set, no component of a symlink over 255 bytes, no hole in a block map, no directory entry without a type, no hash
/// but half-MD4, no run of equal hashes across leaves, and no inode without room for a whole checksum.
pub(crate) fn mounted(tree: &Tree, options: &Options) -> Image {
    mounted_as(tree, &Pattern, options, &snapshot::of_tree(tree, &Pattern))
}

pub(crate) fn mounted_as(tree: &Tree, store: &impl Store, options: &Options, expected: &Snapshot) -> Image {
    let image = checked(tree, store, options);
    if oracle::mounted::require() {
        shows(&image, expected);
    }
    image
}

/// Has the kernel mount an image and show what is expected, wholly: contents, modes, owners, times, xattrs, names that
/// are links, device numbers, holes.
pub(crate) fn shows(image: &Image, expected: &Snapshot) {
    let found = oracle::mounted::read(&image.path, snapshot::of_dir);
    snapshot::assert_same(expected, &found);
    snapshot::assert_same(&found, &read_back(&image.path));
}

/// What this crate's reader finds in an image, as the kernel would show it.
pub(crate) fn read_back(path: &Path) -> Snapshot {
    let source = ImageFile::new(File::open(path).unwrap(), path).unwrap();
    let (tree, store) = read(source).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut snapshot = snapshot::of_tree(&tree, &store);
    for file in snapshot.values_mut() {
        // Of a directory with more subdirectories than an inode counts both are told: that there are many.
        if file.kind == Kind::Directory && file.links > 65_000 {
            file.links = 1;
        }
        // The kernel shows `user.` of files and directories alone, and no ACL of a symlink.
        if !matches!(file.kind, Kind::Regular { .. } | Kind::Directory) {
            file.xattrs.retain(|name, _| !name.starts_with(b"user."));
        }
        if matches!(file.kind, Kind::Symlink(_)) {
            file.xattrs.retain(|name, _| !name.starts_with(b"system."));
        }
    }
    snapshot
}
