//! Inodes: everything about a file but its names, as it stands on disk.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/dynamic.html#index-nodes>
//!
//! The host's access and change times are noise: all four times are the file's modification time, as the
//! [`Identity`](image_core::Identity) clamps it.

use image_core::tree::Time;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::checksum::InodeSeed;
use crate::units::{Block, BlockSize, Blocks, halves, quarters};

/// The inode is mapped by extents.
pub const EXTENTS_FL: u32 = 0x8_0000;
/// The directory has a hash index.
pub const INDEX_FL: u32 = 0x1000;
/// The inode holds the value of an xattr.
pub const EA_INODE_FL: u32 = 0x20_0000;

/// The file type bits of `i_mode`.
pub mod mode {
    /// A named pipe.
    pub const FIFO: u16 = 0x1000;
    /// A character device.
    pub const CHAR_DEVICE: u16 = 0x2000;
    /// A directory.
    pub const DIRECTORY: u16 = 0x4000;
    /// A block device.
    pub const BLOCK_DEVICE: u16 = 0x6000;
    /// A regular file.
    pub const FILE: u16 = 0x8000;
    /// A symbolic link.
    pub const SYMLINK: u16 = 0xa000;
    /// A socket.
    pub const SOCKET: u16 = 0xc000;
}

/// Bytes of the first part of an inode, which the oldest file systems end after.
pub const GOOD_OLD: usize = 128;
/// Bytes of fields beyond them.
pub const EXTRA_ISIZE: u16 = 32;
/// Bytes in a sector, which `i_blocks` counts.
const SECTOR: u64 = 512;

/// An inode as it stands on disk; with 128-byte inodes it ends before `i_extra_isize`. Xattrs may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub struct Inode {
    pub i_mode: U16,
    pub i_uid: U16,
    pub i_size_lo: U32,
    pub i_atime: U32,
    pub i_ctime: U32,
    pub i_mtime: U32,
    /// Nothing was deleted: 0.
    pub i_dtime: U32,
    pub i_gid: U16,
    pub i_links_count: U16,
    pub i_blocks_lo: U32,
    pub i_flags: U32,
    /// The low half of the inode's version; inodes of values count their references here.
    pub i_version: U32,
    pub i_block: [U32; 15],
    /// Always 0, so that the same tree gives the same bytes.
    pub i_generation: U32,
    pub i_file_acl_lo: U32,
    pub i_size_high: U32,
    pub i_obso_faddr: U32,
    pub i_blocks_high: U16,
    pub i_file_acl_high: U16,
    pub i_uid_high: U16,
    pub i_gid_high: U16,
    pub i_checksum_lo: U16,
    pub i_reserved: U16,
    pub i_extra_isize: U16,
    pub i_checksum_hi: U16,
    pub i_ctime_extra: U32,
    pub i_mtime_extra: U32,
    pub i_atime_extra: U32,
    pub i_crtime: U32,
    pub i_crtime_extra: U32,
    pub i_version_hi: U32,
    pub i_projid: U32,
}
const _: () = assert!(
    size_of::<Inode>() == 160
        && std::mem::offset_of!(Inode, i_block) == 0x28
        && std::mem::offset_of!(Inode, i_checksum_lo) == 0x7c
        && std::mem::offset_of!(Inode, i_extra_isize) == GOOD_OLD
        && std::mem::offset_of!(Inode, i_crtime) == 0x90
);

/// A time as an inode stores it: 34 bits of seconds from 1901 on, 30 bits of nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    seconds: u32,
    extra: u32,
}

impl Stamp {
    /// The earliest second that an inode can hold.
    pub const MIN_SECS: i64 = -(1 << 31);
    /// The latest second that an inode with extra fields can hold: in May 2446.
    pub const MAX_SECS: i64 = (1 << 34) - (1 << 31) - 1;
    /// The latest second that an inode of 128 bytes can hold.
    pub const MAX_SECS_GOOD_OLD: i64 = (1 << 31) - 1;

    /// The nearest time that an inode of so many bytes can hold, and whether it is another.
    pub fn clamped(time: Time, inode_size: u16) -> (Time, bool) {
        let good_old = usize::from(inode_size) <= GOOD_OLD;
        let max = if good_old {
            Self::MAX_SECS_GOOD_OLD
        } else {
            Self::MAX_SECS
        };
        let secs = time.secs.clamp(Self::MIN_SECS, max);
        let nanos = if secs == time.secs { time.nanos } else { 0 };
        (Time { secs, nanos }, secs != time.secs)
    }

    /// A time, which must be in range.
    pub fn new(time: Time) -> Self {
        let [b0, b1, b2, b3, high, ..] = time.secs.to_le_bytes();
        let low = i32::from_le_bytes([b0, b1, b2, b3]);
        let signed_high = u32::from(high).wrapping_add(u32::from(low < 0)) & 3;
        let extra = (time.nanos << 2) | signed_high;
        Self {
            seconds: u32::from_le_bytes([b0, b1, b2, b3]),
            extra,
        }
    }
}

impl Inode {
    /// An inode of this mode with all four times set.
    pub fn new(mode: u16, stamp: Stamp) -> Self {
        Self {
            i_mode: mode.into(),
            i_atime: stamp.seconds.into(),
            i_ctime: stamp.seconds.into(),
            i_mtime: stamp.seconds.into(),
            i_crtime: stamp.seconds.into(),
            i_atime_extra: stamp.extra.into(),
            i_ctime_extra: stamp.extra.into(),
            i_mtime_extra: stamp.extra.into(),
            i_crtime_extra: stamp.extra.into(),
            i_extra_isize: EXTRA_ISIZE.into(),
            ..Self::default()
        }
    }

    /// Sets owner and group.
    pub fn set_owner(&mut self, uid: u32, gid: u32) {
        let (uid_lo, uid_hi) = quarters(uid);
        let (gid_lo, gid_hi) = quarters(gid);
        self.i_uid = uid_lo.into();
        self.i_uid_high = uid_hi.into();
        self.i_gid = gid_lo.into();
        self.i_gid_high = gid_hi.into();
    }

    /// Sets the length in bytes.
    pub fn set_size(&mut self, bytes: u64) {
        let (lo, hi) = halves(bytes);
        self.i_size_lo = lo.into();
        self.i_size_high = hi.into();
    }

    /// Sets the count of all blocks that the inode owns: data, map and xattrs.
    pub fn set_blocks(&mut self, blocks: Blocks, block_size: BlockSize) {
        let sectors = blocks.bytes(block_size) / SECTOR;
        let (lo, hi) = halves(sectors.0);
        self.i_blocks_lo = lo.into();
        // A file of 16 TiB has 2^35 sectors, so the upper half never passes 16 bits, and no inode must count blocks
        // instead.
        self.i_blocks_high = quarters(hi).0.into();
    }

    /// Sets the xattr block.
    pub fn set_file_acl(&mut self, block: Block) {
        let (lo, hi) = halves(block.0);
        self.i_file_acl_lo = lo.into();
        self.i_file_acl_high = quarters(hi).0.into();
    }

    /// Makes the inode one that holds a value: its hash stands in the access time, which the kernel reads as 32 bits, and
    /// the count of its references in the change time and the version.
    pub fn set_value(&mut self, hash: u32, references: u64) {
        let hash = Stamp::new(Time {
            secs: hash.into(),
            nanos: 0,
        });
        let (lo, hi) = halves(references);
        self.i_flags = (self.i_flags.get() | EA_INODE_FL).into();
        self.i_atime = hash.seconds.into();
        self.i_atime_extra = hash.extra.into();
        self.i_ctime = hi.into();
        self.i_ctime_extra = 0.into();
        self.i_version = lo.into();
    }

    /// Sets the count of links; more than the field holds is 1 (`dir_nlink`).
    pub fn set_links(&mut self, links: u64) {
        self.i_links_count = u16::try_from(links)
            .ok()
            .filter(|links| *links <= LINK_MAX)
            .unwrap_or(1)
            .into();
    }

    /// Sets 60 bytes of `i_block`: a map, or a short symlink's target.
    pub fn set_block_bytes(&mut self, bytes: &[u8]) {
        self.i_block.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    }

    /// Renders the inode, with xattrs behind it, into a zeroed slot of its size; `seed` makes it end in its checksum.
    pub fn render(&self, xattrs: &[u8], seed: Option<InodeSeed>, slot: &mut [u8]) {
        let bytes = self.as_bytes();
        let good_old = slot.len() <= GOOD_OLD;
        let len = if good_old { GOOD_OLD } else { bytes.len() };
        slot[..len].copy_from_slice(&bytes[..len]);
        if !good_old {
            slot[bytes.len()..][..xattrs.len()].copy_from_slice(xattrs);
        }
        if let Some(seed) = seed {
            let (lo, hi) = quarters(seed.inode(slot));
            slot[0x7c..0x7e].copy_from_slice(&lo.to_le_bytes());
            if !good_old {
                slot[0x82..0x84].copy_from_slice(&hi.to_le_bytes());
            }
        }
    }
}

/// The most links that an inode counts.
pub const LINK_MAX: u16 = 65000;

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel reads it: 32 bits signed, and two more bits of epoch.
    fn read(stamp: Stamp) -> Time {
        let low = i64::from(stamp.seconds.cast_signed());
        Time {
            secs: low + (i64::from(stamp.extra & 3) << 32),
            nanos: stamp.extra >> 2,
        }
    }

    #[test]
    fn times_from_1901_to_2446_survive() {
        for secs in [
            Stamp::MIN_SECS,
            -1,
            0,
            i64::from(i32::MAX),
            i64::from(i32::MAX) + 1,
            1 << 32,
            (1 << 33) + 5,
            Stamp::MAX_SECS,
        ] {
            let time = Time {
                secs,
                nanos: 999_999_999,
            };
            assert_eq!(Stamp::clamped(time, 256), (time, false));
            assert_eq!(read(Stamp::new(time)), time);
        }
        let late = Time {
            secs: Stamp::MAX_SECS + 1,
            nanos: 7,
        };
        let last = Time {
            secs: Stamp::MAX_SECS,
            nanos: 0,
        };
        assert_eq!(Stamp::clamped(late, 256), (last, true));
        assert!(Stamp::clamped(last, 128).1);
    }

    #[test]
    fn links_past_the_limit_are_one() {
        let mut inode = Inode::default();
        inode.set_links(65000);
        assert_eq!(inode.i_links_count.get(), 65000);
        inode.set_links(65001);
        assert_eq!(inode.i_links_count.get(), 1);
    }
}
