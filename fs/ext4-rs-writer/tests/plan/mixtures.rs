//! Random mixtures of features and sizes: whatever is planned is clean, and the rest is refused for a reason.

use ext4_rs_writer::features::Feature;
use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::{Error, Inodes, Journal, Options, Size, layout};
use image_core::tree::{Data, Meta, NewContent};
use image_core::{FileId, NodeId, Tree};
use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::common::{KIB, MIB, PROFILES, PatternStore, options, tmpfs, write};

/// Files of the given lengths, one in three of them with a hole, over a few directories.
fn tree(lens: &[u64], own_lost_found: bool) -> Tree {
    let mut builder = Tree::builder(Meta::root(0o755));
    let mut parents = vec![NodeId::ROOT];
    for name in ["a", if own_lost_found { "lost+found" } else { "b" }, "z"] {
        let dir = builder.node(Meta::root(0o711), NewContent::Directory).unwrap();
        builder.link(NodeId::ROOT, name.as_bytes(), dir).unwrap();
        parents.push(dir);
    }
    for (i, len) in lens.iter().enumerate() {
        let mut data = Data::dense(FileId(u32::try_from(i).unwrap()), *len);
        if i % 3 == 0 && *len > 20_000 {
            data.ranges = Some([0..5000, len / 2..*len].into());
        }
        let node = builder.node(Meta::root(0o600), NewContent::File(data)).unwrap();
        let parent = parents[i % parents.len()];
        builder
            .link(parent, format!("file {i}").as_bytes(), node)
            .unwrap();
    }
    builder.build().unwrap()
}

prop_compose! {
    fn mixture()(
        profile in 0..PROFILES.len(),
        toggled in prop::collection::vec(0..Feature::NAMES.len(), 0..4),
        block_size in prop::sample::select(vec![BlockSize::KIB_1, BlockSize::KIB_2, BlockSize::KIB_4]),
        inode_size in prop::sample::select(vec![128_u16, 256, 256, 256, 512, 1024]),
        inodes in prop_oneof![
            3 => Just(None),
            1 => (1024_u32..65536).prop_map(|ratio| Some(Inodes::Ratio(ratio))),
            1 => (64_u32..20000).prop_map(|count| Some(Inodes::Count(count))),
        ],
        size in prop_oneof![
            2 => (MIB..400 * MIB).prop_map(Size::Fixed),
            1 => Just(Size::Headroom),
            1 => (0..20 * MIB).prop_map(Size::Extra),
            2 => Just(Size::Minimal),
        ],
        journal in prop_oneof![3 => Just(Journal::Auto), 1 => (MIB..20 * MIB).prop_map(Journal::Fixed)],
        flex in 0_u32..8,
        group in prop_oneof![3 => Just(None), 1 => (32_u32..1000).prop_map(|n| Some(n * 8))],
        max_size in prop_oneof![3 => Just(None), 1 => (30_u32..50).prop_map(|log| Some(1 << log))],
    ) -> Options {
        let mut options = options(PROFILES[profile]);
        for i in toggled {
            let feature = Feature::NAMES[i].1;
            let on = options.features.has(feature);
            options.features.set(feature, !on);
        }
        options.block_size = block_size;
        options.inode_size = inode_size;
        options.inodes = inodes;
        options.size = size;
        options.journal = journal;
        options.flex_groups = 1 << flex;
        options.blocks_per_group = group;
        options.max_size = max_size;
        options
    }
}

proptest! {
    #![proptest_config(Config { cases: 80, max_shrink_iters: 60, failure_persistence: None, ..Config::default() })]

    #[test]
    fn whatever_is_planned_is_clean(
        options in mixture(),
        lens in prop::collection::vec(prop_oneof![4 => 0..20 * KIB, 2 => 0..2 * MIB, 1 => 0..40 * MIB], 0..60),
        own_lost_found in any::<bool>(),
    ) {
        let tree = tree(&lens, own_lost_found);
        match layout(&tree, &options) {
            Ok(planned) => {
                prop_assert!(planned.summary().free_blocks <= planned.summary().blocks);
                if oracle::ext4::require() {
                    let dir = tmpfs();
                    oracle::ext4::sound(&write(&planned, &PatternStore, dir.path()));
                }
            }
            Err(
                Error::DoesNotFit { .. }
                | Error::ImpossibleSize { .. }
                | Error::ImpossibleJournal { .. }
                | Error::FeatureConflict { .. }
                | Error::OptionOutOfRange { .. }
                | Error::GrowthConflict { .. }
                | Error::GrowthImpossible { .. }
                | Error::GroupsTooSmall { .. },
            ) => {}
            Err(other) => panic!("{other}"),
        }
    }
}
