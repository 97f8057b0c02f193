//! The crate mkext4 as a contender: the plainest use of its interface that keeps names, owners, times and xattrs.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use mkext4::sink::FileSink;
use mkext4::{FsBuilder, InodeCount, InodeHandle, Meta, Options, ROOT, SpecialKind};

type Handles = HashMap<(u64, u64), InodeHandle>;

/// Writes `tree` as an image of `len` bytes to `image`.
pub(crate) fn write(tree: &Path, image: &Path, len: u64) {
    let mut options = Options::new(len, [7; 16], 1_700_000_000);
    // As many as the others make.
    options.inodes = InodeCount::Exact(u32::try_from(len / 4096).unwrap());
    let mut builder = FsBuilder::new(options).unwrap();
    let mut files = Vec::new();
    add(&mut builder, ROOT, tree, &mut Handles::new(), &mut files);
    let layout = builder.seal().unwrap();
    let mut sink = FileSink::create(image, layout.image_len()).unwrap();
    let mut writer = layout.writer(&mut sink).unwrap();
    for (handle, path) in &files {
        writer.fill(*handle, &mut File::open(path).unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

fn add(
    builder: &mut FsBuilder,
    parent: InodeHandle,
    dir: &Path,
    linked: &mut Handles,
    files: &mut Vec<(InodeHandle, PathBuf)>,
) {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let metadata = path.symlink_metadata().unwrap();
        let key = (metadata.dev(), metadata.ino());
        if let Some(known) = linked.get(&key) {
            builder.hardlink(parent, name, *known).unwrap();
            continue;
        }
        let handle = node(builder, parent, name, &path, &metadata);
        xattrs(builder, handle, &path);
        if metadata.is_dir() {
            add(builder, handle, &path, linked, files);
        } else if metadata.nlink() > 1 {
            linked.insert(key, handle);
        }
        if metadata.is_file() && metadata.len() > 0 {
            files.push((handle, path));
        }
    }
}

fn node(builder: &mut FsBuilder, parent: InodeHandle, name: &str, path: &Path, of: &Metadata) -> InodeHandle {
    let mode = u16::try_from(of.mode() & 0o7777).unwrap();
    let nanos = u32::try_from(of.mtime_nsec()).unwrap();
    let meta = Meta::new(mode, of.uid(), of.gid(), (of.mtime(), nanos));
    let (major, minor) = (rustix::fs::major(of.rdev()), rustix::fs::minor(of.rdev()));
    let kind = of.file_type();
    let special = if kind.is_dir() {
        return builder.mkdir(parent, name, meta).unwrap();
    } else if kind.is_symlink() {
        let target = std::fs::read_link(path).unwrap();
        return builder
            .symlink(parent, name, target.to_str().unwrap(), meta)
            .unwrap();
    } else if kind.is_file() {
        return builder.file(parent, name, meta, of.len()).unwrap();
    } else if kind.is_char_device() {
        SpecialKind::Char { major, minor }
    } else if kind.is_block_device() {
        SpecialKind::Block { major, minor }
    } else if kind.is_fifo() {
        SpecialKind::Fifo
    } else {
        SpecialKind::Socket
    };
    builder.mknod(parent, name, meta, special).unwrap()
}

fn xattrs(builder: &mut FsBuilder, handle: InodeHandle, path: &Path) {
    let mut list = [0; 4096];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    for name in list[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 65536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        let name = std::str::from_utf8(name).unwrap();
        builder.set_xattr(handle, name, &value[..len]).unwrap();
    }
}
