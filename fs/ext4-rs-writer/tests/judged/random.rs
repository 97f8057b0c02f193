//! Random trees, thousands of them, before e2fsck, dumpe2fs and ext4-view; the kernel mounts one in twenty, and must show
//! the whole tree.
//!
//! The lane is cut into shards, which run side by side.

use ext4_rs_writer::features::Incompat;
use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::{Options, Profile, Size};
use image_core::NodeId;
use image_core::tree::{Device, NewContent, Time};
use oracle::snapshot;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

use crate::forest::{Forest, Pattern};
use crate::image::{checked, profile, shows};

/// Trees in each shard. CI needs 2,000 in all.
const CASES: u32 = 350;
/// Of so many trees one is mounted.
const MOUNTED: u32 = 20;

/// What a random node is.
#[derive(Clone, Debug)]
enum Kind {
    Directory,
    File(u64),
    Sparse(u64, Vec<(u64, u64)>),
    Symlink(usize),
    Device(u32, u32),
    Fifo,
    Socket,
    /// Another name of an earlier node that is no directory.
    Link(Index),
    /// So many files in a directory of their own.
    Crowd(u16, u8),
}

#[derive(Clone, Debug)]
struct Spec {
    parent: Index,
    name: Vec<u8>,
    kind: Kind,
    mode: u16,
    owner: (u32, u32),
    mtime: Time,
    /// Which of the tree's sets of xattrs.
    xattrs: Option<Index>,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Directory),
        4 => prop_oneof![0_u64..10, 1000_u64..5000, 0_u64..300_000].prop_map(Kind::File),
        2 => (0_u64..(1 << 30), vec((0_u64..2000, 1_u64..20), 0..30))
            .prop_map(|(len, islands)| Kind::Sparse(len, islands)),
        2 => prop_oneof![1_usize..70, 1_usize..1023].prop_map(Kind::Symlink),
        1 => (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| Kind::Device(major, minor)),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
        2 => any::<Index>().prop_map(Kind::Link),
        1 => (0_u16..600, 1_u8..60).prop_map(|(count, len)| Kind::Crowd(count, len)),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    let name = vec(
        any::<u8>().prop_filter("no name", |b| !matches!(b, 0 | b'/')),
        1..40,
    );
    // Without bit 31, which ext4-view does not take.
    let secs = (0_i64..4, 0_i64..1 << 31).prop_map(|(epoch, secs)| (epoch << 32) + secs);
    let mtime = (secs, 0_u32..1_000_000_000);
    (
        any::<Index>(),
        name,
        kind(),
        0_u16..0o10000,
        (0_u32..100_000, 0_u32..100_000),
        mtime.prop_map(|(secs, nanos)| Time { secs, nanos }),
        proptest::option::of(any::<Index>()),
    )
        .prop_map(|(parent, name, kind, mode, owner, mtime, xattrs)| Spec {
            parent,
            name,
            kind,
            mode,
            owner,
            mtime,
            xattrs,
        })
}

type XattrSets = Vec<Vec<(String, Vec<u8>)>>;

fn xattr_sets() -> impl Strategy<Value = XattrSets> {
    let name = ("(trusted|security)\\.", "[a-z]{1,30}").prop_map(|(a, b)| a + &b);
    // What a small block holds beside the inode.
    vec(vec((name, vec(any::<u8>(), 0..100)), 0..5), 1..6)
}

/// Values too large for a block of xattrs: which set each goes to, and how long it is. Few bytes make each, so that
/// some are equal.
fn large_values() -> impl Strategy<Value = Vec<(Index, u8, usize)>> {
    let len = prop_oneof![4000_usize..5000, 1000_usize..20_000, Just(65_536)];
    vec((any::<Index>(), 0_u8..3, len), 0..5)
}

fn made() -> impl Strategy<Value = Options> {
    let profiles = [
        Profile::Default,
        Profile::Default,
        Profile::Legacy,
        Profile::Modern,
        Profile::Ext3,
        Profile::Ext2,
    ];
    let blocks = [BlockSize::KIB_1, BlockSize::KIB_2, BlockSize::KIB_4];
    let sizes = [
        Size::Minimal,
        Size::Extra(1 << 20),
        Size::Extra(20 << 20),
        Size::Headroom,
    ];
    (
        select(profiles.to_vec()),
        select(blocks.to_vec()),
        select(sizes.to_vec()),
    )
        .prop_map(|(made, block_size, size)| {
            let mut options = profile(made);
            options.block_size = block_size;
            options.size = size;
            options
        })
}

fn grow(specs: &[Spec], sets: &XattrSets) -> image_core::Tree {
    let mut forest = Forest::new();
    let sets: Vec<_> = sets
        .iter()
        .map(|set| {
            let unique: std::collections::BTreeMap<_, _> = set.iter().cloned().collect();
            let set: Vec<_> = unique
                .iter()
                .map(|(name, value)| (name.as_str(), &value[..]))
                .collect();
            forest.xattrs(&set)
        })
        .collect();
    let none = image_core::tree::XattrsId::NONE;
    let mut dirs = vec![NodeId::ROOT];
    let mut others = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let parent = *spec.parent.get(&dirs);
        // A number at the end keeps names apart.
        let name = [&spec.name[..], format!("-{i}").as_bytes()].concat();
        forest.meta.mode = spec.mode;
        (forest.meta.uid, forest.meta.gid) = spec.owner;
        forest.meta.mtime = spec.mtime;
        forest.meta.xattrs = spec.xattrs.map_or(none, |set| *set.get(&sets));
        match &spec.kind {
            Kind::Directory => dirs.push(forest.dir(parent, name)),
            Kind::File(len) => others.push(forest.file(parent, name, *len)),
            Kind::Sparse(len, islands) => {
                let mut at = 0;
                let ranges: Vec<_> = islands
                    .iter()
                    .map(|(skip, blocks)| {
                        let start = at + skip * 4096;
                        at = start + blocks * 4096;
                        start..at
                    })
                    .take_while(|range| range.end <= *len)
                    .filter(|range| !range.is_empty())
                    .collect();
                others.push(forest.sparse(parent, name, *len, ranges));
            }
            Kind::Symlink(len) => {
                others.push(forest.node(parent, name, NewContent::Symlink(&b"s/".repeat(*len)[..*len])));
            }
            Kind::Device(major, minor) => {
                let (major, minor) = (*major, *minor);
                others.push(forest.node(parent, name, NewContent::BlockDevice(Device { major, minor })));
            }
            Kind::Fifo => others.push(forest.node(parent, name, NewContent::Fifo)),
            Kind::Socket => others.push(forest.node(parent, name, NewContent::Socket)),
            Kind::Link(other) if others.is_empty() => {
                let _ = other;
            }
            Kind::Link(other) => {
                let other = *other.get(&others);
                forest.builder.link(parent, &name, other).unwrap();
            }
            Kind::Crowd(count, len) => {
                let dir = forest.dir(parent, name);
                for k in 0..*count {
                    let mut name = format!("{k}-").into_bytes();
                    name.resize(usize::from(*len).max(name.len()), b'c');
                    forest.node(dir, name, NewContent::Fifo);
                }
                dirs.push(dir);
            }
        }
    }
    forest.build()
}

fn shard(shard: u64) {
    if !oracle::ext4::require() {
        return;
    }
    let mounts = oracle::mounted::require();
    let count = std::cell::Cell::new(0_u32);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&shard.to_le_bytes());
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    let rng = proptest::test_runner::TestRng::from_seed(config.rng_algorithm, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let large = proptest::option::weighted(0.3, large_values());
    let strategy = (made(), vec(spec(), 0..60), xattr_sets(), large);
    let result = runner.run(&strategy, |(mut options, specs, mut sets, large)| {
        let large = large.filter(|_| options.features.extents());
        for (i, (set, byte, len)) in large.iter().flatten().enumerate() {
            options.features.incompat |= Incompat::EA_INODE;
            let at = set.index(sets.len());
            sets[at].push((format!("trusted.large.{i}"), vec![*byte; *len]));
        }
        let tree = grow(&specs, &sets);
        let image = checked(&tree, &Pattern, &options);
        let expected = snapshot::of_tree(&tree, &Pattern);
        if mounts && count.replace(count.get() + 1).is_multiple_of(MOUNTED) {
            shows(&image, &expected);
        }
        // What ext4-view makes of holes in block maps is an error, and it knows no inodes of values.
        if options.features.extents() && large.is_none_or(|large| large.is_empty()) {
            let expected = snapshot::as_ext4_view_sees(expected);
            snapshot::assert_same(&expected, &snapshot::of_ext4_view(&image.path));
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn shard_0() {
    shard(0);
}

#[test]
fn shard_1() {
    shard(1);
}

#[test]
fn shard_2() {
    shard(2);
}

#[test]
fn shard_3() {
    shard(3);
}

#[test]
fn shard_4() {
    shard(4);
}

#[test]
fn shard_5() {
    shard(5);
}
