//! POSIX ACLs: from the form of the system's calls to the form on disk.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/dynamic.html#posix-acls>
//!
//! The calls speak version 2, whose entries all have 8 bytes; the disk has version 1, whose entries have an id only
//! where one means something. Storing the former as it is makes the file unreadable for everyone but root, and no
//! checker notices.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An entry as the system's calls show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    tag: U16,
    perm: U16,
    id: U32,
}
const _: () = assert!(size_of::<Entry>() == 8);

const VERSION_OF_CALLS: u32 = 2;
const VERSION_ON_DISK: u32 = 1;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The id that the kernel takes for none.
const NO_ID: u32 = u32::MAX;

/// What is wrong with an ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Too short for its version, or not a whole number of entries.
    #[error("{0} bytes are no whole number of entries")]
    Length(usize),
    /// A version that is not the one of the system's calls.
    #[error("its version is {0}, not 2")]
    Version(u32),
    /// An unknown tag, or one that comes too late: owner, users, group, groups, mask, others is the order.
    #[error("entry {entry} has the tag {tag:#x}, which cannot stand there")]
    Tag {
        /// Which entry, from 0.
        entry: usize,
        /// Its tag.
        tag: u16,
    },
    /// Permissions beyond read, write and execute.
    #[error("entry {entry} has the permissions {perm:#x}")]
    Permissions {
        /// Which entry, from 0.
        entry: usize,
        /// Its permissions.
        perm: u16,
    },
    /// A user or a group of the id that is nobody's.
    #[error("entry {entry} names the id 4294967295, which no user and no group has")]
    NoId {
        /// Which entry, from 0.
        entry: usize,
    },
    /// The owner, the group or the others are missing, or the mask although users or groups are named.
    #[error("it has no entry with the tag {0:#x}")]
    Missing(u16),
}

/// Translates an ACL; one without entries is none.
pub(super) fn to_disk(value: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let (version, entries) = U32::read_from_prefix(value).map_err(|_| Fault::Length(value.len()))?;
    if version.get() != VERSION_OF_CALLS {
        return Err(Fault::Version(version.get()));
    }
    let entries = <[Entry]>::ref_from_bytes(entries).map_err(|_| Fault::Length(value.len()))?;
    if entries.is_empty() {
        return Ok(None);
    }
    check(entries)?;
    let mut disk = VERSION_ON_DISK.to_le_bytes().to_vec();
    for entry in entries {
        disk.extend_from_slice(entry.tag.as_bytes());
        disk.extend_from_slice(entry.perm.as_bytes());
        if matches!(entry.tag.get(), USER | GROUP) {
            disk.extend_from_slice(entry.id.as_bytes());
        }
    }
    Ok(Some(disk))
}

/// Translates an ACL back; `None` if it is none.
pub(crate) fn from_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, mut rest) = U32::read_from_prefix(value).ok()?;
    if version.get() != VERSION_ON_DISK {
        return None;
    }
    let mut calls = VERSION_OF_CALLS.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let (head, behind) = rest.split_at_checked(4)?;
        let has_id = matches!(u16::from_le_bytes([head[0], head[1]]), USER | GROUP);
        let (id, behind) = if has_id {
            behind.split_at_checked(4)?
        } else {
            (&[0xff; 4][..], behind)
        };
        calls.extend_from_slice(head);
        calls.extend_from_slice(id);
        rest = behind;
    }
    Some(calls)
}

/// Checks what the kernel checks before it takes an ACL.
fn check(entries: &[Entry]) -> Result<(), Fault> {
    // Tags ascend bit by bit; only users and groups repeat.
    let mut seen = 0;
    for (i, entry) in entries.iter().enumerate() {
        let (tag, perm) = (entry.tag.get(), entry.perm.get());
        let known = [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER].contains(&tag);
        let repeats = matches!(tag, USER | GROUP) && seen & tag != 0;
        let later = seen & !tag > tag;
        if !known || later || (seen & tag != 0 && !repeats) {
            return Err(Fault::Tag { entry: i, tag });
        }
        if perm > 7 {
            return Err(Fault::Permissions { entry: i, perm });
        }
        if matches!(tag, USER | GROUP) && entry.id.get() == NO_ID {
            return Err(Fault::NoId { entry: i });
        }
        seen |= tag;
    }
    let needs_mask = seen & (USER | GROUP) != 0;
    let needed = [USER_OBJ, GROUP_OBJ, OTHER]
        .into_iter()
        .chain(needs_mask.then_some(MASK));
    match needed.into_iter().find(|tag| seen & tag == 0) {
        Some(tag) => Err(Fault::Missing(tag)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = VERSION_OF_CALLS.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            let entry = Entry {
                tag: (*tag).into(),
                perm: (*perm).into(),
                id: (*id).into(),
            };
            value.extend_from_slice(entry.as_bytes());
        }
        value
    }

    #[test]
    fn ids_stand_only_with_users_and_groups() {
        let none = u32::MAX;
        let value = acl(&[
            (USER_OBJ, 7, none),
            (USER, 6, 1000),
            (USER, 4, 2000),
            (GROUP_OBJ, 5, none),
            (GROUP, 5, 4),
            (MASK, 7, none),
            (OTHER, 0, none),
        ]);
        let disk = to_disk(&value).unwrap().unwrap();
        assert_eq!(disk.len(), 4 + 4 * 4 + 3 * 8);
        assert_eq!(disk[..16], [1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 6, 0, 0xe8, 3, 0, 0]);
        assert_eq!(from_disk(&disk), Some(value));
        assert_eq!(to_disk(&acl(&[])), Ok(None));
        // Other ids mean nothing; the kernel does not keep them either.
        let minimal = |id| acl(&[(USER_OBJ, 7, id), (GROUP_OBJ, 5, id), (OTHER, 0, id)]);
        let disk = to_disk(&minimal(181)).unwrap().unwrap();
        assert_eq!(from_disk(&disk), Some(minimal(none)));
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        let minimal = [(USER_OBJ, 7, 0), (GROUP_OBJ, 5, 0), (OTHER, 5, 0)];
        assert!(to_disk(&acl(&minimal)).is_ok());
        let cases = [
            (vec![], Fault::Length(0)),
            (acl(&minimal)[..27].to_vec(), Fault::Length(27)),
            (vec![1, 0, 0, 0], Fault::Version(1)),
            (acl(&[(0x40, 0, 0)]), Fault::Tag { entry: 0, tag: 0x40 }),
            (
                acl(&[(GROUP_OBJ, 0, 0), (USER_OBJ, 0, 0)]),
                Fault::Tag {
                    entry: 1,
                    tag: USER_OBJ,
                },
            ),
            (
                acl(&[(USER_OBJ, 0, 0), (USER_OBJ, 0, 0)]),
                Fault::Tag {
                    entry: 1,
                    tag: USER_OBJ,
                },
            ),
            (acl(&[(USER_OBJ, 8, 0)]), Fault::Permissions { entry: 0, perm: 8 }),
            (
                acl(&[(USER_OBJ, 7, 0), (USER, 7, NO_ID)]),
                Fault::NoId { entry: 1 },
            ),
            (
                acl(&[(USER_OBJ, 7, 0), (GROUP_OBJ, 5, 0), (GROUP, 7, NO_ID)]),
                Fault::NoId { entry: 2 },
            ),
            (acl(&minimal[..2]), Fault::Missing(OTHER)),
            (
                acl(&[(USER_OBJ, 7, 0), (USER, 7, 1), (GROUP_OBJ, 5, 0), (OTHER, 5, 0)]),
                Fault::Missing(MASK),
            ),
        ];
        for (value, fault) in cases {
            assert_eq!(to_disk(&value), Err(fault));
        }
    }
}
