//! Extended options: the comma-separated list behind `-E`.

use super::{Error, number};
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
    let option = || format!("-E {name}");
    let bad = || Error::BadValue {
        option: option(),
        value: value.to_owned(),
    };
    match name {
        "resize" => {
            let blocks: u64 = number(value).ok_or_else(bad)?;
            options.max_size = Some(blocks.checked_mul(options.block_size.bytes()).ok_or_else(bad)?);
        }
        "root_owner" => {
            let (uid, gid) = value.split_once(':').ok_or_else(bad)?;
            options.root_owner = Some((number(uid).ok_or_else(bad)?, number(gid).ok_or_else(bad)?));
        }
        "stride" => options.stride = number(value).ok_or_else(bad)?,
        "stripe_width" | "stripe-width" => options.stripe_width = number(value).ok_or_else(bad)?,
        "hash_seed" => options.hash_seed = value.parse().map_err(|_| bad())?,
        // Every inode table and journal is known to be zero where nothing is written, so there is nothing left to
        // initialise; and an image has no blocks to discard.
        "lazy_itable_init" | "lazy_journal_init" if matches!(value, "" | "0" | "1") => {}
        "assume_storage_prezeroed" if matches!(value, "" | "0" | "1") => {}
        "discard" | "nodiscard" if value.is_empty() => {}
        _ => return Err(Error::UnknownOption(option())),
    }
    Ok(())
}
