//! What a file system says of itself, from its superblock alone: also of one whose files cannot be read.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/globals.html#super-block>

use image_core::ReadAt;
use zerocopy::{FromZeros, IntoBytes};

use super::ReadError;
use crate::superblock::{START, Superblock};
use crate::units::to_u64;

const MAGIC: u16 = 0xef53;
/// Clean, and errors were found.
const VALID: u16 = 1;
const ERRORS: u16 = 2;
const HAS_JOURNAL: u32 = 0x4;
const BIT64: u32 = 0x80;
const RECOVER: u32 = 0x4;
/// Features that ext3 does not know: of `incompat`, and of `ro_compat`.
const MODERN: (u32, u32) = (0x40 | 0x80 | 0x200 | 0x400, 0x8 | 0x10 | 0x20 | 0x40 | 0x400);

/// What an image is called and how full it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its label, without the zeros behind it.
    pub label: Vec<u8>,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// `ext2`, `ext3` or `ext4`.
    pub kind: &'static str,
    /// Bytes in a block.
    pub block_bytes: u64,
    /// Blocks in the file system.
    pub blocks: u64,
    /// Blocks that are free.
    pub free_blocks: u64,
    /// Inodes.
    pub inodes: u32,
    /// Inodes that are free.
    pub free_inodes: u32,
    /// Its features, in e2fsprogs' words; those without a name by their bits.
    pub features: Vec<String>,
    /// `clean`, `not clean`, `with errors` or `needs recovery`.
    pub state: &'static str,
}

/// What a file system says of itself, from its superblock.
pub fn about(source: &impl ReadAt) -> Result<About, ReadError> {
    let mut sb = Superblock::new_zeroed();
    if source.len() < START.saturating_add(to_u64(size_of::<Superblock>())) {
        return Err(ReadError::NotExt);
    }
    source.read_exact_at(sb.as_mut_bytes(), START)?;
    if sb.s_magic.get() != MAGIC {
        return Err(ReadError::NotExt);
    }
    let words = [
        sb.s_feature_compat.get(),
        sb.s_feature_incompat.get(),
        sb.s_feature_ro_compat.get(),
    ];
    let [compat, incompat, ro_compat] = words;
    let wide = |low: u32, high: u32| {
        let high = if incompat & BIT64 == 0 { 0 } else { high };
        u64::from(low) | (u64::from(high) << 32)
    };
    let modern = incompat & MODERN.0 != 0 || ro_compat & MODERN.1 != 0;
    let label = sb.s_volume_name.split(|byte| *byte == 0).next();
    Ok(About {
        label: label.unwrap_or_default().to_vec(),
        uuid: sb.s_uuid,
        kind: match (modern, compat & HAS_JOURNAL != 0) {
            (true, _) => "ext4",
            (false, true) => "ext3",
            (false, false) => "ext2",
        },
        block_bytes: 1024_u64.checked_shl(sb.s_log_block_size.get()).unwrap_or(0),
        blocks: wide(sb.s_blocks_count_lo.get(), sb.s_blocks_count_hi.get()),
        free_blocks: wide(sb.s_free_blocks_count_lo.get(), sb.s_free_blocks_count_hi.get()),
        inodes: sb.s_inodes_count.get(),
        free_inodes: sb.s_free_inodes_count.get(),
        features: features(words),
        state: match sb.s_state.get() {
            state if state & ERRORS != 0 => "with errors",
            _ if incompat & RECOVER != 0 => "needs recovery",
            state if state & VALID != 0 => "clean",
            _ => "not clean",
        },
    })
}

/// The names of all features, the words of the superblock one after the other.
const NAMES: [&[(u32, &str)]; 3] = [
    &[
        (0x1, "dir_prealloc"),
        (0x2, "imagic_inodes"),
        (0x4, "has_journal"),
        (0x8, "ext_attr"),
        (0x10, "resize_inode"),
        (0x20, "dir_index"),
        (0x200, "sparse_super2"),
        (0x400, "fast_commit"),
        (0x800, "stable_inodes"),
        (0x1000, "orphan_file"),
    ],
    &[
        (0x1, "compression"),
        (0x2, "filetype"),
        (0x4, "needs_recovery"),
        (0x8, "journal_dev"),
        (0x10, "meta_bg"),
        (0x40, "extent"),
        (0x80, "64bit"),
        (0x100, "mmp"),
        (0x200, "flex_bg"),
        (0x400, "ea_inode"),
        (0x1000, "dirdata"),
        (0x2000, "metadata_csum_seed"),
        (0x4000, "large_dir"),
        (0x8000, "inline_data"),
        (0x1_0000, "encrypt"),
        (0x2_0000, "casefold"),
    ],
    &[
        (0x1, "sparse_super"),
        (0x2, "large_file"),
        (0x8, "huge_file"),
        (0x10, "uninit_bg"),
        (0x20, "dir_nlink"),
        (0x40, "extra_isize"),
        (0x100, "quota"),
        (0x200, "bigalloc"),
        (0x400, "metadata_csum"),
        (0x1000, "read-only"),
        (0x2000, "project"),
        (0x4000, "shared_blocks"),
        (0x8000, "verity"),
        (0x1_0000, "orphan_present"),
    ],
];

fn features(words: [u32; 3]) -> Vec<String> {
    let kinds = ["compat", "incompat", "ro_compat"];
    let mut features = Vec::new();
    for ((word, names), kind) in words.into_iter().zip(NAMES).zip(kinds) {
        let mut rest = word;
        for (bit, name) in names {
            if word & bit != 0 {
                features.push((*name).to_owned());
                rest &= !bit;
            }
        }
        if rest != 0 {
            features.push(format!("{kind} {rest:#x}"));
        }
    }
    features
}
