//! What mke2fs has and this writer has not, and why: tables of words and reasons.

use super::{Error, Name};

/// Why no other system than Linux is said to have made the file system.
pub(super) const CREATOR: &str = "other systems read other inodes, and Linux is what images are for";
/// Why blocks have 4 KiB at most.
pub(super) const LARGE_BLOCKS: &str = "Linux mounts no blocks larger than the target's pages";
/// Why there is no UUID of the time.
pub(super) const TIME_UUID: &str = "the clock and the network card of this host say nothing of the image; 'random' derives one from the seed";
/// Why there is no older revision.
pub(super) const REVISION: &str = "the first revision has no features";

/// Options that have no place here.
const OPTIONS: [(char, &str); 9] = [
    ('c', "an image has no bad blocks"),
    ('C', "without bigalloc clusters are blocks"),
    ('d', "the tree is chosen elsewhere"),
    ('l', "an image has no bad blocks"),
    ('n', "it would make no file system"),
    ('s', "it is -O sparse_super in an old spelling"),
    ('S', "no earlier file system has left anything to rescue"),
    ('V', "it would make no file system"),
    ('z', "nothing is overwritten that could be undone"),
];

/// Words behind `-E`.
const EXTENDED: [(&str, &str); 10] = [
    ("android_sparse", "the format of the image is chosen elsewhere"),
    ("encoding", "there is no casefold, which GRUB can't read"),
    ("encoding_flags", "there is no casefold, which GRUB can't read"),
    ("mmp_update_interval", "there is no mmp"),
    (
        "no_copy_xattrs",
        "what is not to be in the image must not be in the tree",
    ),
    ("num_backup_sb", "it counts for sparse_super2 alone"),
    (
        "offset",
        "where the file system lies in the image is chosen elsewhere",
    ),
    ("quotatype", "there is no quota"),
    ("root_selinux", "labels are the tree's"),
    ("test_fs", "it is for kernels that called ext4 ext4dev"),
];

/// Words behind `-J`.
const JOURNAL: [(&str, &str); 4] = [
    ("device", "the journal lies in the image"),
    ("fast_commit_size", "there is no fast_commit"),
    ("location", "the planner places the journal"),
    ("v1_superblock", "only tests of e2fsprogs want the first version"),
];

/// Features of mke2fs; to clear one changes nothing.
const FEATURES: [(&str, &str); 11] = [
    ("bigalloc", "GRUB can't read it"),
    ("casefold", "GRUB can't read it"),
    ("encrypt", "it is for a kernel that has the key"),
    ("fast_commit", "e2fsck before 1.46 refuses it"),
    ("inline_data", "GRUB can't read it"),
    ("journal_dev", "the journal lies in the image"),
    (
        "meta_bg",
        "it excludes resize_inode, and the kernel sets it when it grows a file system past its reserve",
    ),
    ("mmp", "it guards disks that several hosts share"),
    ("quota", "tune2fs makes its files where they are wanted"),
    ("sparse_super2", "the kernel can't grow it online"),
    ("verity", "tune2fs sets it where the kernel is to seal files"),
];

/// The refusal of an option, with the reason where the table has one.
fn error<K>(option: Name, table: &[(K, &'static str)], is_it: impl Fn(&K) -> bool) -> Error {
    match table.iter().find(|(word, _)| is_it(word)) {
        Some((_, why)) => Error::Refused { option, why },
        None => Error::UnknownOption(option),
    }
}

/// The refusal of a flag.
pub(super) fn option(name: Name) -> Error {
    let flag = name.flag;
    error(name, &OPTIONS, |known| *known == flag)
}

/// The refusal of a word behind `-E`.
pub(super) fn extended(option: Name, word: &str) -> Error {
    error(option, &EXTENDED, |known| *known == word)
}

/// The refusal of a word behind `-J`.
pub(super) fn journal(option: Name, word: &str) -> Error {
    error(option, &JOURNAL, |known| *known == word)
}

/// The refusal of a feature that mke2fs has.
pub(super) fn feature(word: &str) -> Option<Error> {
    let (name, why) = FEATURES.iter().find(|(name, _)| *name == word)?;
    Some(Error::NotMade { name, why })
}
