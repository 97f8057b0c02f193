//! Checksums: what guards every metadata structure of the file system.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/overview.html#checksums>
//!
//! With `metadata_csum` all of them are CRC-32C (Castagnoli, reflected) *without* the final inversion, so that one value
//! continues the next: `crc(crc(a, x), y) = crc(a, xy)`. Two seeds bind a structure to its place:
//! - [`Seed`], the file system's: the CRC of its UUID, or the seed stored in the superblock (`metadata_csum_seed`);
//! - [`InodeSeed`], a file's: the former continued by inode number and generation.
//!
//! With `gdt_csum` only group descriptors are guarded, by a CRC-16.
//!
//! Functions take a structure as it stands on disk and treat its checksum field as the specification says, whatever
//! bytes the field holds.
//!
//! Why the crate `crc32c`: it finds SSE 4.2 or the ARM instructions at run time and falls back to tables, and brings no
//! other crate with it at run time.

use crate::units::{Block, Group, Ino};

/// Where the superblock keeps its checksum: the last of its 1024 bytes.
const SUPERBLOCK_CHECKSUM: usize = 0x3fc;
/// Where a group descriptor keeps its checksum.
const DESCRIPTOR_CHECKSUM: usize = 0x1e;
/// Where an inode keeps the low half of its checksum.
const INODE_CHECKSUM_LO: usize = 0x7c;
/// Where an inode keeps the size of its fields beyond the first 128 bytes.
const INODE_EXTRA_SIZE: usize = 0x80;
/// Where an inode keeps the high half of its checksum.
const INODE_CHECKSUM_HI: usize = 0x82;
/// Where an xattr block keeps its checksum.
const XATTR_CHECKSUM: usize = 0x10;
/// Where the journal's superblock keeps its checksum.
const JOURNAL_CHECKSUM: usize = 0xfc;

/// Continues a CRC-32C over `bytes`, with no inversion before or after.
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    // The crate's function inverts on both sides, as the common definition of CRC-32C does.
    !::crc32c::crc32c_append(!crc, bytes)
}

/// Continues a CRC-16 (polynomial 0x8005, reflected) over `bytes`, with no inversion before or after.
pub fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(crc, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            let feedback = if crc & 1 == 1 { 0xa001 } else { 0 };
            (crc >> 1) ^ feedback
        })
    })
}

/// CRC-32C of a structure of which some bytes count as zero.
fn crc32c_blanked(seed: u32, bytes: &[u8], blank: std::ops::Range<usize>) -> u32 {
    let before = crc32c(seed, &bytes[..blank.start]);
    let zeros = [0; 4];
    crc32c(crc32c(before, &zeros[..blank.len()]), &bytes[blank.end..])
}

/// What the checksums of one file system start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// The seed that a UUID gives; it is also what `metadata_csum_seed` stores.
    pub fn from_uuid(uuid: &[u8; 16]) -> Self {
        Self(crc32c(!0, uuid))
    }

    /// The seed that the superblock stores.
    pub fn from_stored(seed: u32) -> Self {
        Self(seed)
    }

    /// The seed as the superblock stores it.
    pub fn stored(self) -> u32 {
        self.0
    }

    /// The seed of one inode's structures.
    pub fn inode(self, ino: Ino, generation: u32) -> InodeSeed {
        let number = crc32c(self.0, &ino.0.to_le_bytes());
        InodeSeed(crc32c(number, &generation.to_le_bytes()))
    }

    /// The checksum of a group descriptor of 32 or 64 bytes.
    pub fn group_descriptor(self, group: Group, descriptor: &[u8]) -> u16 {
        let number = crc32c(self.0, &group.0.to_le_bytes());
        let field = DESCRIPTOR_CHECKSUM..DESCRIPTOR_CHECKSUM.saturating_add(2);
        low_half(crc32c_blanked(number, descriptor, field))
    }

    /// The checksum of the used part of a block or inode bitmap.
    pub fn bitmap(self, bitmap: &[u8]) -> u32 {
        crc32c(self.0, bitmap)
    }

    /// The checksum of an xattr block, which is bound to its place, not to an inode, so that inodes can share it.
    pub fn xattr_block(self, at: Block, block: &[u8]) -> u32 {
        let number = crc32c(self.0, &at.0.to_le_bytes());
        crc32c_blanked(number, block, XATTR_CHECKSUM..XATTR_CHECKSUM.saturating_add(4))
    }

    /// The hash of a value that stands in an inode of its own (`ea_inode`).
    pub fn xattr_value(self, value: &[u8]) -> u32 {
        crc32c(self.0, value)
    }
}

/// What the checksums of one inode's structures start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InodeSeed(u32);

impl InodeSeed {
    /// The checksum of an inode; an inode without room for the upper half stores the lower one only.
    pub fn inode(self, inode: &[u8]) -> u32 {
        let lo_end = INODE_CHECKSUM_LO.saturating_add(2);
        let (first, rest) = inode.split_at(INODE_EXTRA_SIZE);
        let crc = crc32c_blanked(self.0, first, INODE_CHECKSUM_LO..lo_end);
        if inode_has_checksum_hi(inode) {
            crc32c_blanked(crc, rest, 2..4)
        } else {
            crc32c(crc, rest)
        }
    }

    /// The checksum of a directory's leaf: of the block without its 12-byte tail.
    pub fn directory_leaf(self, before_tail: &[u8]) -> u32 {
        crc32c(self.0, before_tail)
    }

    /// The checksum of an htree node: of the block up to the last used entry, of the tail's reserved word and of a
    /// zero in place of the checksum. The kernel leaves in that word what was there before the block was an index.
    pub fn htree_node(self, used: &[u8], reserved: u32) -> u32 {
        let tail = [reserved.to_le_bytes(), [0; 4]].concat();
        crc32c(crc32c(self.0, used), &tail)
    }

    /// The checksum of an extent block: of its header and all entries it has room for.
    pub fn extent_block(self, before_tail: &[u8]) -> u32 {
        crc32c(self.0, before_tail)
    }

    /// The checksum of a block of the orphan file: of the block without its 8-byte tail.
    pub fn orphan_block(self, at: Block, before_tail: &[u8]) -> u32 {
        crc32c(crc32c(self.0, &at.0.to_le_bytes()), before_tail)
    }
}

/// Whether an inode has room for the upper half of its checksum.
pub fn inode_has_checksum_hi(inode: &[u8]) -> bool {
    let size = inode.get(INODE_EXTRA_SIZE..INODE_CHECKSUM_HI);
    size.is_some_and(|size| u16::from_le_bytes([size[0], size[1]]) >= 4)
}

/// The checksum of a superblock's 1024 bytes. It has no seed, since it guards the UUID too.
pub fn superblock(superblock: &[u8]) -> u32 {
    crc32c(!0, &superblock[..SUPERBLOCK_CHECKSUM])
}

/// The checksum of a group descriptor with `gdt_csum` instead of `metadata_csum`: of UUID, number and all other bytes.
pub fn group_descriptor_crc16(uuid: &[u8; 16], group: Group, descriptor: &[u8]) -> u16 {
    let number = crc16(crc16(!0, uuid), &group.0.to_le_bytes());
    let before = crc16(number, &descriptor[..DESCRIPTOR_CHECKSUM]);
    crc16(before, &descriptor[DESCRIPTOR_CHECKSUM.saturating_add(2)..])
}

/// The checksum of the journal's superblock, where the journal has checksums. The field is big-endian.
pub fn journal_superblock(superblock: &[u8]) -> u32 {
    let field = JOURNAL_CHECKSUM..JOURNAL_CHECKSUM.saturating_add(4);
    crc32c_blanked(!0, superblock, field)
}

fn low_half(crc: u32) -> u16 {
    let [a, b, _, _] = crc.to_le_bytes();
    u16::from_le_bytes([a, b])
}
