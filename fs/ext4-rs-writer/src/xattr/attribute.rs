//! Attributes: from what the system's calls show to what stands on disk.

use image_core::tree::Xattr;

use super::{Fault, VALUE_MAX, acl, count};
use crate::units::{Ino, to_u64};

/// An attribute as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) prefix: u8,
    pub(super) name: Box<[u8]>,
    pub(super) value: Value,
}

/// Where an attribute's value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Beside the entry.
    Here(Box<[u8]>),
    /// In an inode of its own.
    Apart(Apart),
}

/// What an entry says of a value in an inode of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Apart {
    /// Which of the file system's values it is.
    pub(super) index: u32,
    /// Its inode.
    pub(super) ino: Ino,
    /// Its bytes.
    pub(super) len: u32,
    /// Its hash.
    pub(super) hash: u32,
}

impl Attribute {
    /// What the kernel searches by: prefix, length of name, name.
    pub(super) fn key(&self) -> (u8, usize, &[u8]) {
        (self.prefix, self.name.len(), &self.name)
    }

    /// The value, where it stands beside the entry.
    pub(super) fn here(&self) -> &[u8] {
        match &self.value {
            Value::Here(value) => value,
            Value::Apart(_) => &[],
        }
    }

    /// What stands beside the entry in place of the value, if that has an inode of its own.
    pub(super) fn apart(&self) -> Option<Apart> {
        match self.value {
            Value::Here(_) => None,
            Value::Apart(apart) => Some(apart),
        }
    }

    /// Bytes of its entry, and of its value if that stands beside it.
    pub(super) fn bytes(&self) -> u32 {
        let padded = |bytes: &[u8]| count(bytes.len()).next_multiple_of(4);
        padded(&self.name)
            .saturating_add(padded(self.here()))
            .saturating_add(16)
    }

    /// The hash of name and value.
    pub(super) fn hash(&self) -> u32 {
        let name = self
            .name
            .iter()
            .fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        let add = |hash: u32, word: u32| hash.rotate_left(16) ^ word;
        match &self.value {
            Value::Here(value) => value.chunks(4).fold(name, |hash, bytes| {
                let mut word = [0; 4];
                word[..bytes.len()].copy_from_slice(bytes);
                add(hash, u32::from_le_bytes(word))
            }),
            Value::Apart(apart) => add(name, apart.hash),
        }
    }
}

/// An attribute as it stands on disk; an ACL without entries is none.
pub(super) fn of(xattr: &Xattr) -> Result<Option<Attribute>, Fault> {
    const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
    let len = to_u64(xattr.value.len());
    if len > VALUE_MAX {
        let name = xattr.name.clone();
        return Err(Fault::ValueTooLong { name, len });
    }
    let acl = [
        (&b"system.posix_acl_access"[..], 2),
        (b"system.posix_acl_default", 3),
    ];
    if let Some((_, prefix)) = acl.into_iter().find(|(name, _)| *name == xattr.name) {
        let value = acl::to_disk(&xattr.value).map_err(|fault| Fault::BadAcl {
            name: xattr.name.clone(),
            fault,
        })?;
        return Ok(value.map(|value| Attribute {
            prefix,
            name: Box::default(),
            value: Value::Here(value.into()),
        }));
    }
    let unknown = || Fault::UnknownNamespace {
        name: xattr.name.clone(),
    };
    let split = PREFIXES
        .into_iter()
        .find_map(|(text, prefix)| Some((prefix, xattr.name.strip_prefix(text)?)));
    let (prefix, name) = split
        .filter(|(_, name)| !name.is_empty() && name.len() <= 255)
        .ok_or_else(unknown)?;
    let value = if xattr.name == b"security.capability" {
        capability(&xattr.value)
    } else {
        xattr.value[..].into()
    };
    Ok(Some(Attribute {
        prefix,
        name: name.into(),
        value: Value::Here(value),
    }))
}

/// A file's capabilities, in revision 2 where that says the same.
///
/// Revision 3 adds the user namespace's root that they are for, at the end. Where that is the image's own root, the two
/// revisions mean the same, and kernels before 4.14 know only the older one. Another root is kept: trees that were read
/// have none, since [`Xattr::portable`] drops it, so that a caller who built the tree itself means it.
fn capability(value: &[u8]) -> Box<[u8]> {
    const REVISION_3: [u8; 3] = [0, 0, 3];
    const REVISION_2_BYTES: usize = 20;
    let for_own_root = value.len() == 24 && value[1..4] == REVISION_3 && value[REVISION_2_BYTES..] == [0; 4];
    if !for_own_root {
        return value.into();
    }
    let mut older = value[..REVISION_2_BYTES].to_vec();
    older[3] = 2;
    older.into()
}
