//! Extended options: the comma-separated list behind `-E`.

use super::numbers::{blocks, number};
use super::{Error, Name, refused};
use crate::options::Options;

/// Applies a list of extended options.
pub(super) fn apply(options: &mut Options, list: &str) -> Result<(), Error> {
    for word in list.split(',').filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        set(options, name, value)?;
    }
    Ok(())
}

fn set(options: &mut Options, name: &str, value: &str) -> Result<(), Error> {
    let option = || Name::word('E', name);
    let bad = || option().bad(value);
    let block = options.block_size.bytes();
    match name {
        "resize" => {
            let blocks = blocks(value, block).ok_or_else(bad)?;
            options.max_size = Some(blocks.checked_mul(block).ok_or_else(bad)?);
        }
        "root_owner" if value.is_empty() => {
            // mke2fs takes the ids of whoever runs it.
            return Err(Error::MissingValue(option()));
        }
        "root_owner" => {
            let (uid, gid) = value.split_once(':').ok_or_else(bad)?;
            options.root_owner = Some((number(uid).ok_or_else(bad)?, number(gid).ok_or_else(bad)?));
        }
        "root_perms" => {
            let mode = u16::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
            options.root_mode = Some(mode.ok_or_else(bad)?);
        }
        "stride" => options.stride = number(value).ok_or_else(bad)?,
        "stripe_width" | "stripe-width" => options.stripe_width = number(value).ok_or_else(bad)?,
        "hash_seed" => options.hash_seed = value.parse().map_err(|_| bad())?,
        "orphan_file_size" => {
            let blocks = blocks(value, block).and_then(|blocks| u16::try_from(blocks).ok());
            options.orphan_file_blocks = blocks.ok_or_else(bad)?;
        }
        "revision" => revision(option(), value)?,
        // What descriptors have anyway, whichever way 64bit is decided in the end.
        "desc_size" | "desc-size" if value == "64" || value == "32" => {
            if (value == "64") != options.features.bit64() {
                let why = "group descriptors have 64 bytes with the feature 64bit, and 32 without";
                return Err(option().refused(value, why));
            }
        }
        "desc_size" | "desc-size" => return Err(bad()),
        "packed_meta_blocks" if value == "0" => {}
        "packed_meta_blocks" if matches!(value, "" | "1") => {
            let why =
                "older kernels can't grow such a file system online; -G packs as many groups as it says";
            return Err(option().refused("1", why));
        }
        // Every inode table and journal is known to be zero where nothing is written, so there is nothing left to
        // initialise; and an image has no blocks to discard.
        "lazy_itable_init" | "lazy_journal_init" if matches!(value, "" | "0" | "1") => {}
        "assume_storage_prezeroed" if matches!(value, "" | "0" | "1") => {}
        "discard" | "nodiscard" if value.is_empty() => {}
        _ => return Err(refused::extended(option(), name)),
    }
    Ok(())
}

/// The revision of the format: there is one that anybody uses.
pub(super) fn revision(option: Name, value: &str) -> Result<(), Error> {
    match value {
        "1" => Ok(()),
        "0" => Err(option.refused(value, refused::REVISION)),
        _ => Err(option.bad(value)),
    }
}
