//! Scale: a million inodes are planned in linear time, in memory that does not grow with the bytes of metadata.

use std::time::Instant;

use ext4_rs_writer::{Profile, layout};
use image_core::tree::{Data, Meta, NewContent};
use image_core::{FileId, NodeId, Tree};

use crate::common::options;

/// Directories of a thousand small files each.
fn forest(directories: u32) -> Tree {
    let mut builder = Tree::builder(Meta::root(0o755));
    for d in 0..directories {
        let dir = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
        builder
            .link(NodeId::ROOT, format!("directory-{d}").as_bytes(), dir)
            .unwrap();
        for f in 0..1000 {
            let data = Data::dense(FileId(d * 1000 + f), 100);
            let node = builder.node(Meta::root(0o644), NewContent::File(data)).unwrap();
            builder
                .link(dir, format!("file-{f}.txt").as_bytes(), node)
                .unwrap();
        }
    }
    builder.build().unwrap()
}

/// Bytes of the names of such a forest, which a tree keeps once.
fn names(directories: u64) -> u64 {
    let digits = |below: u64| (0..below).map(|i| i.to_string().len() as u64).sum::<u64>();
    let in_one = 1000 * "file-.txt".len() as u64 + digits(1000);
    directories * ("directory-".len() as u64 + in_one) + digits(directories)
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_million_inodes_are_planned_quickly_and_compactly() {
    let before = resident();
    let tree = forest(1000);
    let with_tree = resident();
    let start = Instant::now();
    let planned = layout(&tree, &options(Profile::Default)).unwrap();
    let took = start.elapsed();
    let with_plan = resident();
    let per_inode = |bytes: u64| bytes / 1_001_000;
    println!(
        "{took:?}; {} bytes an inode for the tree, {} for the plan",
        per_inode(with_tree - before),
        per_inode(with_plan - with_tree),
    );
    assert!(planned.map().extents().len() > 1_000_000);
    assert!(took.as_secs() < 30, "{took:?}");
    let beyond_names = per_inode(with_plan - before - names(1000));
    println!("{beyond_names} bytes an inode beyond its name");
    assert!(beyond_names < 400, "{beyond_names} bytes");
}
