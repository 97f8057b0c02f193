//! Small images with a bit of everything, in every profile and block size.

use ext4_rs_writer::Size;
use ext4_rs_writer::units::BlockSize;
use image_core::store::MemoryStore;
use image_core::tree::{Data, Device, Meta, NewContent, Time, Xattr};
use image_core::{NodeId, Tree};

use crate::common::{PROFILES, judge, options};

/// A bit of everything.
fn sample(store: &mut MemoryStore) -> Tree {
    let mut builder = Tree::builder(Meta::root(0o755));
    let mut meta = Meta::root(0o644);
    meta.mtime = Time {
        secs: 1_600_000_000,
        nanos: 123,
    };
    let dir = builder.node(Meta::root(0o700), NewContent::Directory).unwrap();
    builder.link(NodeId::ROOT, b"dir", dir).unwrap();
    for i in 0..200_u32 {
        let len = usize::try_from(i * i * 3).unwrap();
        let file = store.push(vec![i.to_le_bytes()[0]; len]);
        let node = builder
            .node(
                meta,
                NewContent::File(Data::dense(file, u64::try_from(len).unwrap())),
            )
            .unwrap();
        builder
            .link(dir, format!("file-with-a-name-{i}").as_bytes(), node)
            .unwrap();
        if i == 7 {
            builder.link(NodeId::ROOT, b"hard link", node).unwrap();
        }
    }
    let mut special = vec![
        (&b"fifo"[..], NewContent::Fifo),
        (b"sock", NewContent::Socket),
        (b"null", NewContent::CharDevice(Device { major: 1, minor: 3 })),
        (
            b"big",
            NewContent::BlockDevice(Device {
                major: 259,
                minor: 70000,
            }),
        ),
        (b"short", NewContent::Symlink(&[b'x'; 59])),
        (b"long", NewContent::Symlink(&[b'y'; 60])),
        (b"longest", NewContent::Symlink(&[b'z'; 1000])),
    ];
    for (name, content) in special.drain(..) {
        let node = builder.node(meta, content).unwrap();
        builder.link(NodeId::ROOT, name, node).unwrap();
    }
    let xattrs = builder
        .xattrs(vec![
            Xattr {
                name: b"user.small".to_vec(),
                value: b"1".to_vec(),
            },
            Xattr {
                name: b"user.large".to_vec(),
                value: vec![7; 700],
            },
        ])
        .unwrap();
    for i in 0..3 {
        let meta = Meta { xattrs, ..meta };
        let node = builder.node(meta, NewContent::Fifo).unwrap();
        builder.link(dir, format!("x{i}").as_bytes(), node).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn a_bit_of_everything_is_clean() {
    let mut store = MemoryStore::default();
    let tree = sample(&mut store);
    for profile in PROFILES {
        for block_size in [BlockSize::KIB_1, BlockSize::KIB_2, BlockSize::KIB_4] {
            for size in [
                Size::Headroom,
                Size::Minimal,
                Size::Extra(50 << 20),
                Size::Fixed(300 << 20),
            ] {
                eprintln!("{profile:?} {block_size} {size:?}");
                let mut options = options(profile);
                options.block_size = block_size;
                options.size = size;
                judge(&tree, &store, &options);
            }
        }
    }
}
