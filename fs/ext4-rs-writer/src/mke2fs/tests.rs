use super::*;
use crate::features::{Features, Profile};
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
    assert_eq!(applied("-b 1k").block_size, BlockSize::KIB_1);
    assert_eq!(applied("-J size=4M").journal, Journal::Fixed(4 << 20));
    assert_eq!(applied("-J size=1g").journal, Journal::Fixed(1 << 30));
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
}

#[test]
fn types_give_what_mke2fs_conf_says() {
    assert_eq!(applied("-T largefile").inodes, Some(Inodes::Ratio(1 << 20)));
    assert_eq!(applied("-T big").inodes, Some(Inodes::Ratio(32768)));
    assert_eq!(applied("-T huge").inodes, Some(Inodes::Ratio(65536)));
    let small = applied("-T small");
    assert_eq!(
        (small.inodes, small.block_size),
        (Some(Inodes::Ratio(4096)), BlockSize::KIB_1)
    );
    assert_eq!(applied("-b 4096 -T small").block_size, BlockSize::KIB_4);
    assert_eq!(applied("-t ext4"), options());
    assert_eq!(applied("-T ext3").features, Profile::Ext3.features());
}

#[test]
fn profiles_are_types_of_usage() {
    assert_eq!(applied("-T legacy").features, Profile::Legacy.features());
    let modern = applied("-T modern,largefile");
    assert_eq!(modern.features, Profile::Modern.features());
    assert_eq!(modern.inodes, Some(Inodes::Ratio(1 << 20)));
    // Whatever the order, usage follows type, and features follow both.
    let legacy = applied("-O huge_file -T legacy -t ext4");
    assert_eq!(legacy.features, Profile::Legacy.features());
    assert!(applied("-O metadata_csum -T legacy").features.metadata_csum());
    assert_eq!(
        refused("-T modern -t ext3"),
        "option '-T' can't be 'modern': it is a kind of ext4"
    );
    // A profile that the target's age chose outlives a type that says no more than ext4.
    let mut old = options();
    old.features = Profile::Legacy.features();
    apply(&mut old, "-t ext4").unwrap();
    assert_eq!(old.features, Profile::Legacy.features());
    apply(&mut old, "-t ext2").unwrap();
    assert_eq!(old.features, Profile::Ext2.features());
}

#[test]
fn names_and_habits_are_taken() {
    let derived = options().uuid;
    assert_eq!(applied("-U clear").uuid, Uuid::nil());
    assert_eq!(applied("-U clear -U random").uuid, derived);
    let made = applied("-M /srv/data -e remount-ro -o Linux");
    assert_eq!(&made.last_mounted[..10], b"/srv/data\0");
    assert_eq!(made.on_errors, OnErrors::RemountReadOnly);
    assert_eq!(applied("-e panic").on_errors, OnErrors::Panic);
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
    assert_eq!(
        refused("-O extent,bigalloc"),
        "this writer does not make the feature bigalloc: GRUB can't read it"
    );
    for name in [
        "casefold",
        "encrypt",
        "fast_commit",
        "inline_data",
        "journal_dev",
        "meta_bg",
        "mmp",
        "quota",
        "sparse_super2",
        "verity",
    ] {
        let error = refused(&format!("-O {name}"));
        let start = format!("this writer does not make the feature {name}: ");
        assert!(error.starts_with(&start) && error.len() > start.len(), "{error}");
        assert_eq!(applied(&format!("-O ^{name}")), options());
    }
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
    assert_eq!(applied("-E resize=64T").max_size, Some(1 << 46));
    assert_eq!(applied("-E root_perms=1750").root_mode, Some(0o1750));
    assert_eq!(applied("-E orphan_file_size=64").orphan_file_blocks, 64);
    assert_eq!(applied("-b 1024 -E orphan_file_size=64k").orphan_file_blocks, 64);
    assert_eq!(
        applied("-R desc_size=64,revision=1,packed_meta_blocks=0"),
        options()
    );
    assert!(!applied("-E desc_size=32 -O ^64bit").features.bit64());
    assert_eq!(
        applied("-U 6f1c3c8b-52de-4f0e-9a41-7d26be6013f5").uuid,
        made.hash_seed
    );
}

#[test]
fn what_is_not_understood_is_named() {
    for (text, error) in [
        ("-Z", "unknown option '-Z'"),
        (
            "-qn",
            "option '-n' has no place here: it would make no file system",
        ),
        (
            "-d /tree",
            "option '-d' has no place here: the tree is chosen elsewhere",
        ),
        ("-E nope=1", "unknown option '-E nope'"),
        (
            "-E offset=1M",
            "option '-E offset' has no place here: where the file system lies in the image is chosen elsewhere",
        ),
        (
            "-E num_backup_sb=1",
            "option '-E num_backup_sb' has no place here: it counts for sparse_super2 alone",
        ),
        ("-E root_owner", "option '-E root_owner' needs a value"),
        ("-E root_perms=8", "option '-E root_perms' can't be '8'"),
        ("-E root_perms=77777", "option '-E root_perms' can't be '77777'"),
        (
            "-E packed_meta_blocks",
            "option '-E packed_meta_blocks' can't be '1': older kernels can't grow such a file system online; \
             -G packs as many groups as it says",
        ),
        (
            "-E desc_size=32",
            "option '-E desc_size' can't be '32': group descriptors have 64 bytes with the feature 64bit, \
             and 32 without",
        ),
    ] {
        assert_eq!(refused(text), error, "{text}");
    }
}

#[test]
fn values_that_cannot_be_are_named() {
    for (text, error) in [
        ("-J nope", "unknown option '-J nope'"),
        (
            "-J device=/dev/sdb",
            "option '-J device' has no place here: the journal lies in the image",
        ),
        (
            "/dev/sda1",
            "'/dev/sda1' is no option: the image and its size are chosen elsewhere",
        ),
        ("-i", "option '-i' needs a value"),
        ("-i many", "option '-i' can't be 'many'"),
        ("-i 5000000k", "option '-i' can't be '5000000k'"),
        (
            "-b 65536",
            "option '-b' can't be '65536': Linux mounts no blocks larger than the target's pages",
        ),
        ("-b 3000", "option '-b' can't be '3000'"),
        ("-m 51", "option '-m' can't be '51'"),
        ("-L seventeen-letters", "option '-L' can't be 'seventeen-letters'"),
        ("-U nonsense", "option '-U' can't be 'nonsense'"),
        (
            "-U time",
            "option '-U' can't be 'time': the clock and the network card of this host say nothing of the image; \
             'random' derives one from the seed",
        ),
        (
            "-r 0",
            "option '-r' can't be '0': the first revision has no features",
        ),
        (
            "-o hurd",
            "option '-o' can't be 'hurd': other systems read other inodes, and Linux is what images are for",
        ),
        ("-E revision=2", "option '-E revision' can't be '2'"),
        ("-t xfs", "option '-t' can't be 'xfs'"),
        ("-E root_owner=0", "option '-E root_owner' can't be '0'"),
        ("-T tiny", "option '-T' can't be 'tiny'"),
        (
            "-M /a-directory-whose-name-is-much-too-long-for-the-superblock-to-hold",
            "option '-M' can't be '/a-directory-whose-name-is-much-too-long-for-the-superblock-to-hold'",
        ),
        ("-J size=big", "option '-J size' can't be 'big'"),
        ("-e explode", "option '-e' can't be 'explode'"),
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
