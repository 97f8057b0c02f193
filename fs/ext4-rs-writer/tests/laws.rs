//! The laws, on drawn bytes.

use ext4_rs_writer::{Error, Inodes, Journal, Options, Profile, Size, laws, layout};
use image_core::tree::{Meta, Time};
use image_core::{Identity, Tree};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn mke2fs_options(text in "(-[a-zA-Z] ?[a-z0-9^_=,.%'\"]{0,12} ?){0,4}") {
        laws::mke2fs_options(text.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn ext4_reader(bytes in vec(any::<u8>(), 0..300)) {
        laws::ext4_reader(&bytes);
    }

    #[test]
    fn ext4_journal(bytes in vec(any::<u8>(), 0..400)) {
        laws::ext4_journal(&bytes);
    }

    #[test]
    fn tree_to_ext4(bytes in vec(any::<u8>(), 0..600)) {
        laws::tree_to_ext4(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn scan_to_ext4(bytes in vec(any::<u8>(), 0..400)) {
        laws::scan_to_ext4(&bytes, tempfile::tempdir().unwrap().path());
    }
}

#[test]
fn sizes_beyond_every_file_system_are_refused() {
    let tree = Tree::builder(Meta::root(0o755)).build().unwrap();
    let identity = Identity::new(b"seed", Time::default(), false);
    for (size, journal) in [
        (Size::Extra(u64::MAX), Journal::Auto),
        (Size::Headroom, Journal::Fixed(u64::MAX)),
        (Size::Fixed(u64::MAX), Journal::Auto),
    ] {
        let mut options = Options::new(Profile::Default, identity);
        (options.size, options.journal) = (size, journal);
        let refused = layout(&tree, &options).unwrap_err();
        assert!(matches!(refused, Error::ImpossibleSize { .. }), "{refused}");
    }
}

#[test]
fn more_inodes_than_groups_can_number_are_refused_at_once() {
    let tree = Tree::builder(Meta::root(0o755)).build().unwrap();
    let identity = Identity::new(b"seed", Time::default(), false);
    let mut options = Options::new(Profile::Default, identity);
    options.inodes = Some(Inodes::Count(u32::MAX));
    let refused = layout(&tree, &options).unwrap_err();
    assert!(matches!(refused, Error::OptionOutOfRange { .. }), "{refused}");
}
