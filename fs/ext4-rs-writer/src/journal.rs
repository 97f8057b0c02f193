//! The journal: jbd2's superblock in the first block of inode 8, and nothing else, since nothing was ever written.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/journal.html#super-block>
//!
//! The rest of the journal is a gap: no block of it carries a sequence that the kernel would replay, since the
//! superblock says that the log is empty. The kernel adds checksums when it mounts.

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::error::Error;
use crate::features::Compat;
use crate::options::{Journal, Options, Size};
use crate::units::{Blocks, Bytes, halves};

/// The least journal that jbd2 takes.
pub const BLOCKS_MIN: Blocks = Blocks(1024);
/// The most that e2fsprogs make.
const BLOCKS_MAX: Blocks = Blocks(10_240_000);
/// The usual journal: a smaller one is too small for a later growth online.
pub const USUAL: Bytes = Bytes(64 << 20);

/// The journal's superblock, as it stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub struct Superblock {
    pub h_magic: U32,
    /// A superblock of version 2.
    pub h_blocktype: U32,
    pub h_sequence: U32,
    pub s_blocksize: U32,
    pub s_maxlen: U32,
    pub s_first: U32,
    pub s_sequence: U32,
    /// 0: the log is empty.
    pub s_start: U32,
    pub s_errno: U32,
    pub s_feature_compat: U32,
    pub s_feature_incompat: U32,
    pub s_feature_ro_compat: U32,
    pub s_uuid: [u8; 16],
    pub s_nr_users: U32,
    pub s_dynsuper: U32,
    pub s_max_transaction: U32,
    pub s_max_trans_data: U32,
    pub s_checksum_type: u8,
    pub s_padding2: [u8; 3],
    pub s_num_fc_blks: U32,
    pub s_head: U32,
    pub s_padding: [U32; 40],
    pub s_checksum: U32,
    pub s_users: [u8; 768],
}
const _: () = assert!(
    size_of::<Superblock>() == 1024
        && std::mem::offset_of!(Superblock, s_uuid) == 0x30
        && std::mem::offset_of!(Superblock, s_nr_users) == 0x40
        && std::mem::offset_of!(Superblock, s_checksum) == 0xfc
);

impl Superblock {
    /// The superblock of an empty journal.
    pub fn new(options: &Options, blocks: Blocks) -> Self {
        let mut sb = Self::new_zeroed();
        sb.h_magic = 0xc03b_3998.into();
        sb.h_blocktype = 4.into();
        sb.s_blocksize = halves(options.block_size.bytes()).0.into();
        sb.s_maxlen = halves(blocks.0).0.into();
        sb.s_first = 1.into();
        sb.s_sequence = 1.into();
        sb.s_uuid = *options.uuid.as_bytes();
        sb.s_nr_users = 1.into();
        sb
    }
}

/// The sizes of the journal that may be tried in a file system of so many blocks, largest first.
pub fn candidates(options: &Options, blocks: Blocks) -> Result<Vec<Blocks>, Error> {
    if !options.features.compat.contains(Compat::HAS_JOURNAL) {
        return Ok(vec![Blocks::ZERO]);
    }
    match options.journal {
        Journal::Fixed(bytes) => {
            let wanted = Bytes(bytes).blocks(options.block_size);
            if wanted < BLOCKS_MIN || wanted > BLOCKS_MAX {
                return Err(Error::ImpossibleJournal {
                    bytes,
                    min_bytes: BLOCKS_MIN.bytes(options.block_size).0,
                    max_bytes: BLOCKS_MAX.bytes(options.block_size).0,
                });
            }
            Ok(vec![wanted])
        }
        Journal::Auto if options.size == Size::Minimal => Ok(vec![BLOCKS_MIN]),
        Journal::Auto => {
            let usual = USUAL.blocks(options.block_size).max(BLOCKS_MIN);
            let halved = std::iter::successors(Some(usual), |size| Some(*size / 2));
            let sizes: Vec<Blocks> = halved
                .take_while(|size| *size >= BLOCKS_MIN)
                .filter(|size| *size * 2 <= blocks)
                .collect();
            if !sizes.is_empty() {
                return Ok(sizes);
            }
            // Where not even the least journal leaves half of the blocks, mke2fs makes none either; but an orphan
            // file is nothing without one.
            let orphan_file = options.features.compat.contains(Compat::ORPHAN_FILE);
            Ok(vec![if orphan_file { BLOCKS_MIN } else { Blocks::ZERO }])
        }
    }
}
