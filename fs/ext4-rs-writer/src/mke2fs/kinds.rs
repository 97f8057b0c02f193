//! Kinds of file systems and what they are used for: `-t` and `-T`, which give defaults.
//!
//! Reference: mke2fs.conf(5), as e2fsprogs 1.47 ships it; the host's file is not read, since the target decides.

use super::{Error, Name};
use crate::features::Profile;
use crate::options::{Inodes, Options};
use crate::units::BlockSize;

/// The type: ext2, ext3 or ext4.
pub(super) fn file_system(options: &mut Options, value: &str) -> Result<(), Error> {
    let profile = named(value).ok_or_else(|| Name::flag('t').bad(value))?;
    set(options, profile);
    Ok(())
}

/// Usage types, separated by commas.
pub(super) fn usage(options: &mut Options, list: &str) -> Result<(), Error> {
    let option = || Name::flag('T');
    for name in list.split(',') {
        let (ratio, block_size) = match name {
            "news" => (4096, None),
            "small" => (4096, Some(BlockSize::KIB_1)),
            "floppy" => (8192, Some(BlockSize::KIB_1)),
            "default" => (16384, None),
            "big" => (32768, None),
            "huge" => (65536, None),
            "largefile" => (1 << 20, None),
            "largefile4" => (4 << 20, None),
            "legacy" | "modern" if !options.features.extents() => {
                return Err(option().refused(list, "it is a kind of ext4"));
            }
            "legacy" => {
                options.features = Profile::Legacy.features();
                continue;
            }
            "modern" => {
                options.features = Profile::Modern.features();
                continue;
            }
            _ => match named(name) {
                Some(profile) => {
                    set(options, profile);
                    continue;
                }
                None => return Err(option().bad(list)),
            },
        };
        options.inodes = Some(Inodes::Ratio(ratio));
        options.block_size = block_size.unwrap_or(options.block_size);
    }
    Ok(())
}

fn named(name: &str) -> Option<Profile> {
    match name {
        "ext2" => Some(Profile::Ext2),
        "ext3" => Some(Profile::Ext3),
        "ext4" => Some(Profile::Default),
        _ => None,
    }
}

/// Asking for ext4 where it is ext4 already changes nothing: the target's age may have chosen another profile of it.
fn set(options: &mut Options, profile: Profile) {
    if profile != Profile::Default || !options.features.extents() {
        options.features = profile.features();
    }
}
