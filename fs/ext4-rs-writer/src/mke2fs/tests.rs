use super::*;
use image_core::Identity;
use image_core::tree::Time;

fn options() -> Options {
    Options::new(Profile::Default, Identity::new(b"", Time::default(), false))
}

fn applied(text: &str) -> Options {
    let mut options = options();
    apply(&mut options, text).unwrap_or_else(|error| panic!("{text}: {error}"));
    options
}

fn refused(text: &str) -> String {
    apply(&mut options(), text).unwrap_err().to_string()
}

#[test]
fn nothing_changes_nothing() {
    assert_eq!(applied(""), options());
    assert_eq!(applied("-q -F -v -qF -K -r 1 -e continue"), options());
    assert_eq!(
        applied("-E lazy_itable_init=0,lazy_journal_init=1,nodiscard"),
        options()
    );
}

#[test]
fn sizes_and_numbers_are_taken() {
    let made = applied("-b 1024 -i 8192 -I128 -m 0.25 -g 8192 -G 4 -J size=64 -L root");
    assert_eq!(made.block_size, BlockSize::KIB_1);
    assert_eq!(made.inodes, Some(Inodes::Ratio(8192)));
    assert_eq!(made.inode_size, 128);
    assert_eq!(made.reserved_permyriad, 25);
    assert_eq!(made.blocks_per_group, Some(8192));
    assert_eq!(made.flex_groups, 4);
    assert_eq!(made.journal, Journal::Fixed(64 << 20));
    assert_eq!(&made.label[..5], b"root\0");
    assert_eq!(applied("-N 1000").inodes, Some(Inodes::Count(1000)));
    assert_eq!(applied("-i 16k").inodes, Some(Inodes::Ratio(16384)));
    assert_eq!(applied("-m 5").reserved_permyriad, 500);
    assert_eq!(applied("-m 1%").reserved_permyriad, 100);
}

#[test]
fn later_options_win_but_types_come_first() {
    assert_eq!(applied("-i 4096 -i 8192").inodes, Some(Inodes::Ratio(8192)));
    let made = applied("-O ^has_journal -t ext3");
    assert!(!made.features.compat.contains(Compat::HAS_JOURNAL));
    assert!(!made.features.extents());
    // The block size counts, wherever it stands.
    let made = applied("-E resize=1000000 -b 1024");
    assert_eq!(made.max_size, Some(1_024_000_000));
    assert_eq!(applied("-T largefile").inodes, Some(Inodes::Ratio(1 << 20)));
}

#[test]
fn features_are_set_and_cleared() {
    let made = applied("-O ^metadata_csum,^64bit,uninit_bg");
    assert!(!made.features.metadata_csum() && !made.features.bit64());
    assert!(made.features.group_csum());
    let none = applied("-O none");
    assert_eq!(none.features, Features::default());
    let some = applied("-O 'none,extent filetype'");
    assert!(some.features.extents());
    assert!(!applied("-O uninit_bg").features.metadata_csum());
    assert_eq!(applied("-O ^inline_data,^meta_bg"), options());
    assert_eq!(refused("-O bigalloc"), "unknown feature 'bigalloc'");
    assert_eq!(refused("-O ^no_such"), "unknown feature 'no_such'");
}

#[test]
fn extended_options_are_taken() {
    let made = applied(
        "-E stride=16,stripe-width=64,root_owner=1000:100,hash_seed=6f1c3c8b-52de-4f0e-9a41-7d26be6013f5",
    );
    assert_eq!((made.stride, made.stripe_width), (16, 64));
    assert_eq!(made.root_owner, Some((1000, 100)));
    assert_eq!(made.hash_seed.to_string(), "6f1c3c8b-52de-4f0e-9a41-7d26be6013f5");
    assert_eq!(applied("-E resize=274877906944").max_size, Some(1 << 50));
    assert_eq!(
        applied("-U 6f1c3c8b-52de-4f0e-9a41-7d26be6013f5").uuid,
        made.hash_seed
    );
}

#[test]
fn what_is_not_understood_is_named() {
    for (text, error) in [
        ("-Z", "unknown option '-Z'"),
        ("-qn", "unknown option '-n'"),
        ("-E nope=1", "unknown option '-E nope'"),
        ("-J device=/dev/sdb", "unknown option '-J device'"),
        (
            "/dev/sda1",
            "'/dev/sda1' is no option: the image and its size are chosen elsewhere",
        ),
        ("-i", "option '-i' needs a value"),
        ("-i many", "option '-i' can't be 'many'"),
        ("-i 5000000k", "option '-i' can't be '5000000k'"),
        ("-b 65536", "option '-b' can't be '65536'"),
        ("-m 51", "option '-m' can't be '51'"),
        ("-L seventeen-letters", "option '-L' can't be 'seventeen-letters'"),
        ("-U random", "option '-U' can't be 'random'"),
        ("-t xfs", "option '-t' can't be 'xfs'"),
        ("-E root_owner=0", "option '-E root_owner' can't be '0'"),
        ("-J size=big", "option '-J size' can't be 'big'"),
        ("-e panic", "option '-e' can't be 'panic'"),
        ("-L 'open", "a quote is not closed"),
    ] {
        assert_eq!(refused(text), error, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}", dashed in "(-[a-zA-Z]{1,2} ?[a-z0-9=,^:'\"]{0,12} ?){0,5}") {
        let _ = apply(&mut options(), &text);
        let _ = apply(&mut options(), &dashed);
    }
}
