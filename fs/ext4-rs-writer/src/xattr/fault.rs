//! Faults: what no file system of these options can hold.

use super::VALUE_MAX;
pub use super::acl::Fault as AclFault;

/// Why a tree's xattrs cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the xattrs of '/{}': {fault}", path.escape_ascii())]
pub struct Error {
    /// The first file that has them.
    pub path: Vec<u8>,
    /// What is wrong with them.
    pub fault: Fault,
}

/// What is wrong with a set of xattrs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Without the feature `ext_attr` no file has any.
    #[error("the file system has none without the feature ext_attr")]
    NoFeature,
    /// The format has no number for the name's prefix.
    #[error("'{}' is in no namespace that ext4 knows", name.escape_ascii())]
    UnknownNamespace {
        /// The attribute's name.
        name: Vec<u8>,
    },
    /// An ACL that the kernel would refuse.
    #[error("'{}' is no valid ACL: {fault}", name.escape_ascii())]
    BadAcl {
        /// The attribute's name.
        name: Vec<u8>,
        /// What is wrong with it.
        fault: AclFault,
    },
    /// A value longer than the system's calls show any.
    #[error("'{}' has {len} bytes, and no value has more than {VALUE_MAX}", name.escape_ascii())]
    ValueTooLong {
        /// The attribute's name.
        name: Vec<u8>,
        /// Bytes in its value.
        len: u64,
    },
    /// A set that fits neither inode nor block, where no value may have an inode of its own.
    #[error(
        "they take {bytes} bytes beside those in the inode, and a block holds {max}; \
         the longest is '{}' of {len} bytes, which an inode of its own would hold (feature ea_inode), \
         but GRUB reads no file system with that feature", name.escape_ascii()
    )]
    TooLarge {
        /// The name of the attribute with the longest value.
        name: Vec<u8>,
        /// Bytes in that value.
        len: u64,
        /// Bytes that the set takes in a block.
        bytes: u64,
        /// Bytes that a block has for it.
        max: u64,
    },
    /// A set whose names and sizes alone fill more than a block.
    #[error("they take {bytes} bytes even with each value in an inode of its own, and a block holds {max}")]
    TooMany {
        /// Bytes that the set takes in a block.
        bytes: u64,
        /// Bytes that a block has for it.
        max: u64,
    },
}
