//! Extended attributes: in the inode, or in leaves below a tree of their names' hashes; long values in blocks of their own.

use image_core::ReadAt;
use image_core::tree::Xattr;
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use super::disk::{
    ATTR_GUARD, ATTR_INCOMPLETE, ATTR_LEAF_MAGICS, ATTR_LOCAL, ATTR_NODE_MAGICS, ATTR_PARENT, ATTR_ROOT,
    ATTR_SECURE, ATTR_VALUE_MAGIC, AclEntry, AttrEntry, AttrHead, AttrRemote, REMOTE_GUARD, RemoteHead,
};
use super::inode::{Fork, Form, Inode};
use super::mapping::{self, Mapped};
use super::volume::{Ledger, Volume, buffer};
use super::{Error, to_u64, to_usize};

/// The longest value that the system's calls know.
const VALUE_MAX: u32 = 64 << 10;
/// Bytes before the first entry of a leaf, in version 4 and in version 5.
const LEAF_HEADS: [usize; 2] = [32, 80];
/// Bytes before the first entry of a node, in version 4 and in version 5.
const NODE_HEADS: [usize; 2] = [16, 64];
/// Where leaves and nodes have the number of their entries, in version 4 and in version 5.
const COUNTS: [usize; 2] = [12, 56];
/// What access control lists are called on disk, and by the system's calls.
const ACLS: [(&[u8], &[u8]); 2] = [
    (b"SGI_ACL_FILE", b"system.posix_acl_access"),
    (b"SGI_ACL_DEFAULT", b"system.posix_acl_default"),
];

struct Reading<'a, R> {
    volume: &'a Volume<R>,
    inode: &'a Inode,
    ledger: &'a mut Ledger,
    found: Vec<Xattr>,
}

/// An inode's attributes, as a tree has them.
pub(super) fn of<R: ReadAt>(
    volume: &Volume<R>,
    inode: &Inode,
    ledger: &mut Ledger,
) -> Result<Vec<Xattr>, Error> {
    let Some(fork) = inode.attributes()? else {
        return Ok(Vec::new());
    };
    let mut reading = Reading {
        volume,
        inode,
        ledger,
        found: Vec::new(),
    };
    match fork.form {
        Form::Local => reading.in_inode(fork.bytes)?,
        Form::Extents if fork.extents == 0 => (),
        _ => reading.in_blocks(fork)?,
    }
    let mut names: Vec<&[u8]> = reading.found.iter().map(|xattr| &xattr.name[..]).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(inode.corrupt("the number of attributes of one name", 2));
    }
    Ok(reading.found)
}

impl<R: ReadAt> Reading<'_, R> {
    fn corrupt(&self, what: &'static str, value: impl Into<u64>) -> Error {
        self.inode.corrupt(what, value.into())
    }

    /// Their length together, how many, a byte; then of each the lengths of name and value, flags, both.
    fn in_inode(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let cut = |this: &Self| this.corrupt("the length of the attributes", to_u64(bytes.len()));
        let (&[_, _, count, _], mut rest) = bytes.split_first_chunk().ok_or_else(|| cut(self))?;
        for _ in 0..count {
            let (&[name, value, flags], behind) = rest.split_first_chunk().ok_or_else(|| cut(self))?;
            let (name, behind) = behind.split_at_checked(name.into()).ok_or_else(|| cut(self))?;
            let (value, behind) = behind.split_at_checked(value.into()).ok_or_else(|| cut(self))?;
            self.add(flags, name, value)?;
            rest = behind;
        }
        Ok(())
    }

    /// Goes down from the root to the first leaf, and from leaf to leaf.
    fn in_blocks(&mut self, fork: Fork<'_>) -> Result<(), Error> {
        let mapped = mapping::of(self.volume, self.inode, fork, self.ledger)?;
        let version = usize::from(self.volume.guarded);
        let mut bytes = buffer(self.volume.block_bytes());
        let mut above = None;
        let mut head = self.block(&mapped, 0, &mut bytes)?;
        while head.magic.get() == ATTR_NODE_MAGICS[version] {
            let level = u16_at(&bytes, COUNTS[version].saturating_add(2));
            if level == 0 || above.is_some_and(|above| level >= above) {
                return Err(self.corrupt("the level of a node of attributes", level));
            }
            above = Some(level);
            // A hash, and the block below.
            let first = bytes
                .get(NODE_HEADS[version].saturating_add(4)..)
                .unwrap_or_default();
            let (below, _) = U32::read_from_prefix(first).expect("a block has 512 bytes at least");
            head = self.block(&mapped, below.get(), &mut bytes)?;
        }
        loop {
            if head.magic.get() != ATTR_LEAF_MAGICS[version] {
                return Err(self.corrupt("the magic number of a leaf of attributes", head.magic.get()));
            }
            self.leaf(&bytes, &mapped)?;
            match head.forw.get() {
                0 => return Ok(()),
                next => head = self.block(&mapped, next, &mut bytes)?,
            }
        }
    }

    fn block(&mut self, mapped: &Mapped, logical: u32, bytes: &mut [u8]) -> Result<AttrHead, Error> {
        self.ledger.take(1)?;
        let block = mapped.block(logical.into());
        let block = block.ok_or_else(|| self.corrupt("the place of a block of attributes", logical))?;
        self.volume.read_block(block, bytes)?;
        self.volume
            .check(bytes, ATTR_GUARD, block, self.inode.ino, "a block of attributes")?;
        let (head, _) = AttrHead::read_from_prefix(bytes).expect("a block has 512 bytes at least");
        Ok(head)
    }

    fn leaf(&mut self, bytes: &[u8], mapped: &Mapped) -> Result<(), Error> {
        let version = usize::from(self.volume.guarded);
        let count = u16_at(bytes, COUNTS[version]);
        let entries = bytes.get(LEAF_HEADS[version]..).unwrap_or_default();
        let len = usize::from(count).saturating_mul(size_of::<AttrEntry>());
        let entries = entries.get(..len);
        let entries = entries.ok_or_else(|| self.corrupt("the number of attributes of a leaf", count))?;
        for entry in entries.chunks_exact(size_of::<AttrEntry>()) {
            let entry = AttrEntry::read_from_bytes(entry).expect("as many bytes");
            let at = entry.nameidx.get();
            let outside = || self.corrupt("the place of an attribute", at);
            let rest = bytes.get(at.into()..).ok_or_else(outside)?;
            if entry.flags & (ATTR_INCOMPLETE | ATTR_PARENT) != 0 {
                continue;
            }
            if entry.flags & ATTR_LOCAL != 0 {
                let (&[high, low, name], rest) = rest.split_first_chunk().ok_or_else(outside)?;
                let value = usize::from(u16::from_be_bytes([high, low]));
                let (name, rest) = rest.split_at_checked(name.into()).ok_or_else(outside)?;
                let value = rest.get(..value).ok_or_else(outside)?;
                self.add(entry.flags, name, value)?;
            } else {
                let (remote, rest) = AttrRemote::read_from_prefix(rest).map_err(|_| outside())?;
                let name = rest.get(..remote.namelen.into()).ok_or_else(outside)?;
                let value = self.remote(remote, mapped)?;
                self.add(entry.flags, name, &value)?;
            }
        }
        Ok(())
    }

    /// A value in blocks of its own, each of which, in version 5, has a head.
    fn remote(&mut self, remote: AttrRemote, mapped: &Mapped) -> Result<Vec<u8>, Error> {
        let len = remote.valuelen.get();
        if len > VALUE_MAX {
            return Err(self.corrupt("the length of an attribute's value", len));
        }
        let head = if self.volume.guarded {
            size_of::<RemoteHead>()
        } else {
            0
        };
        let mut left = to_usize(len.into());
        let mut value = Vec::with_capacity(left);
        let mut bytes = buffer(self.volume.block_bytes());
        let mut logical = u64::from(remote.valueblk.get());
        while left > 0 {
            self.ledger.take(1)?;
            let block = mapped.block(logical);
            let block = block.ok_or_else(|| self.corrupt("the place of an attribute's value", logical))?;
            self.volume.read_block(block, &mut bytes)?;
            self.volume.check(
                &bytes,
                REMOTE_GUARD,
                block,
                self.inode.ino,
                "an attribute's value",
            )?;
            if self.volume.guarded && !bytes.starts_with(&ATTR_VALUE_MAGIC) {
                return Err(self.corrupt("the magic number of an attribute's value", logical));
            }
            let part = &bytes[head..];
            let part = &part[..part.len().min(left)];
            value.extend_from_slice(part);
            left = left.saturating_sub(part.len());
            logical = logical.saturating_add(1);
        }
        Ok(value)
    }

    /// Adds an attribute as the system's calls show it, if they do.
    fn add(&mut self, flags: u8, name: &[u8], value: &[u8]) -> Result<(), Error> {
        let prefix: &[u8] = match flags & (ATTR_ROOT | ATTR_SECURE | ATTR_PARENT) {
            0 => b"user.",
            ATTR_ROOT => b"trusted.",
            ATTR_SECURE => b"security.",
            // Where a file's names are, for repairs.
            ATTR_PARENT => return Ok(()),
            other => return Err(self.corrupt("the flags of an attribute", other)),
        };
        let acl = ACLS
            .iter()
            .find(|(stored, _)| flags & ATTR_ROOT != 0 && *stored == name);
        let xattr = match acl {
            Some((_, shown)) => acl_of_calls(value)
                .ok_or_else(|| self.corrupt("the length of an access control list", to_u64(value.len())))?
                .map(|value| Xattr {
                    name: shown.to_vec(),
                    value,
                }),
            None => Xattr::portable(&[prefix, name].concat(), value),
        };
        self.found.extend(xattr);
        Ok(())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let (number, _) = U16::read_from_prefix(&bytes[at..]).expect("a block has 512 bytes at least");
    number.get()
}

/// An access control list in the form of the system's calls, version 2: little-endian, and with the id of nobody where
/// an id means nothing. `Some(None)` if it is empty, and `None` if it is none.
#[expect(clippy::option_option, reason = "an empty list is no attribute, and no fault")]
fn acl_of_calls(value: &[u8]) -> Option<Option<Vec<u8>>> {
    const VERSION: u32 = 2;
    const NOBODY: u32 = u32::MAX;
    const USER: u32 = 2;
    const GROUP: u32 = 8;
    let (count, entries) = U32::read_from_prefix(value).ok()?;
    let len = usize::try_from(count.get())
        .ok()?
        .checked_mul(size_of::<AclEntry>())?;
    let entries = <[AclEntry]>::ref_from_bytes(entries.get(..len)?).ok()?;
    let mut shown = VERSION.to_le_bytes().to_vec();
    for entry in entries {
        let tag = entry.ae_tag.get();
        let id = if matches!(tag, USER | GROUP) {
            entry.ae_id.get()
        } else {
            NOBODY
        };
        shown.extend(u16::try_from(tag).ok()?.to_le_bytes());
        shown.extend(entry.ae_perm.get().to_le_bytes());
        shown.extend(id.to_le_bytes());
    }
    Some((!entries.as_bytes().is_empty()).then_some(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_control_lists_become_those_of_the_calls() {
        let stored = [
            0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 9, 0, 6, 0, 0, 0, 0, 0, 2, 0, 0, 3, 232, 0, 4, 0, 0, 0, 0, 0,
            32, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let shown = [
            2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 32, 0, 0, 0, 255, 255, 255,
            255,
        ];
        assert_eq!(acl_of_calls(&stored), Some(Some(shown.to_vec())));
        assert_eq!(acl_of_calls(&[0; 4]), Some(None));
        assert_eq!(acl_of_calls(&stored[..39]), None);
        assert_eq!(acl_of_calls(&[0; 3]), None);
    }
}
