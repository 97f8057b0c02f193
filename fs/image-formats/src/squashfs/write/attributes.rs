//! Sets of xattrs: pairs in one table, and in another where the pairs of each set begin.

use std::io;

use image_core::tree::{Tree, Xattr};
use zerocopy::IntoBytes;

use super::length;
use super::plan::WriteOptions;
use super::tables::{Table, indexed};
use crate::squashfs::disk::{NO_TABLE, NONE, XattrEntry, XattrId, XattrIdTable};

/// The sets that an image has.
#[derive(Debug)]
pub(super) struct Sets {
    /// Which set of the image each set of the tree is.
    numbers: Vec<u32>,
    pairs: Vec<u8>,
    records: Vec<u8>,
    count: u32,
}

/// The number of a name's prefix, and the rest of the name. ACLs have none.
pub(super) fn prefix(name: &[u8]) -> Option<(u16, &[u8])> {
    let prefixes: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    (0_u16..)
        .zip(prefixes)
        .find_map(|(number, prefix)| Some((number, name.strip_prefix(prefix)?)))
}

impl Sets {
    pub(super) fn new(tree: &Tree, options: WriteOptions) -> io::Result<Self> {
        let mut pairs = Table::new(options);
        let (mut records, mut numbers, mut count) = (Vec::new(), vec![NONE; tree.xattr_sets()], 0_u32);
        for node in tree.nodes() {
            let number = &mut numbers[node.meta.xattrs.index()];
            let set = tree.xattrs(node.meta.xattrs);
            if *number != NONE || set.iter().all(|xattr| prefix(&xattr.name).is_none()) {
                continue;
            }
            let reference = pairs.reference();
            let (mut pair_count, mut size) = (0_u32, 0_usize);
            for Xattr { name, value } in set {
                let Some((kind, rest)) = prefix(name) else {
                    continue;
                };
                let long =
                    |_| io::Error::new(io::ErrorKind::InvalidInput, "an xattr is too long for squashfs");
                let entry = XattrEntry {
                    r#type: kind.into(),
                    size: u16::try_from(rest.len()).map_err(long)?.into(),
                };
                let len = u32::try_from(value.len()).map_err(long)?.to_le_bytes();
                let record = [entry.as_bytes(), rest, &len, value].concat();
                pairs.push(&record)?;
                size = size.saturating_add(record.len());
                pair_count = pair_count.saturating_add(1);
            }
            let record = XattrId {
                xattr: reference.into(),
                count: pair_count.into(),
                size: u32::try_from(size).unwrap_or(u32::MAX).into(),
            };
            records.extend_from_slice(record.as_bytes());
            *number = count;
            count = count.saturating_add(1);
        }
        Ok(Self {
            numbers,
            pairs: pairs.finish()?,
            records,
            count,
        })
    }

    /// Which set of the image a set of the tree is; `NONE` if it has none.
    pub(super) fn number(&self, set: image_core::tree::XattrsId) -> u32 {
        self.numbers[set.index()]
    }

    /// The tables, which will stand at `at`, and what the superblock says of them.
    pub(super) fn tables(&self, options: WriteOptions, at: u64) -> io::Result<(Vec<u8>, u64)> {
        if self.count == 0 {
            return Ok((Vec::new(), NO_TABLE));
        }
        let records_at = at.saturating_add(length(&self.pairs));
        let (records, index) = indexed(options, &self.records, records_at)?;
        let head = XattrIdTable {
            xattr_table_start: at.into(),
            xattr_ids: self.count.into(),
            unused: 0.into(),
        };
        // The head stands between the blocks and their index.
        let (blocks, places) =
            records.split_at(usize::try_from(index.saturating_sub(records_at)).unwrap_or(0));
        Ok(([&self.pairs[..], blocks, head.as_bytes(), places].concat(), index))
    }
}
