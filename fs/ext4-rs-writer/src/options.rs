//! Options: everything a file system's shape depends on, beside the tree.

use image_core::Identity;
use uuid::Uuid;

use crate::error::Error;
use crate::features::{Compat, Features, Incompat, Profile, RoCompat};
use crate::units::BlockSize;

/// How to make a file system. [`Options::new`] gives what `mke2fs -i 4096 -J size=64` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What readers and writers must know.
    pub features: Features,
    /// Bytes in a block.
    pub block_size: BlockSize,
    /// How large the image is.
    pub size: Size,
    /// How many inodes it has. `None`: one for 4096 bytes, more where the tree needs them; with [`Size::Minimal`]
    /// just those that the tree needs.
    pub inodes: Option<Inodes>,
    /// Bytes in an inode: a power of two from 128 to the block size.
    pub inode_size: u16,
    /// How large the journal is; ignored without the feature `has_journal`.
    pub journal: Journal,
    /// The size in bytes that the file system must be able to grow to online. `None`: no promise beyond mke2fs's.
    pub max_size: Option<u64>,
    /// Blocks that only the superuser may fill, in hundredths of a percent of all.
    pub reserved_permyriad: u16,
    /// The label, padded with NUL.
    pub label: [u8; 16],
    /// The UUID.
    pub uuid: Uuid,
    /// The seed of directory hashes.
    pub hash_seed: Uuid,
    /// The time stamps of what the planner makes, and whether file times are clamped to them.
    pub identity: Identity,
    /// The owner and group of the root directory, in place of the tree's.
    pub root_owner: Option<(u32, u32)>,
    /// The permissions of the root directory, in place of the tree's.
    pub root_mode: Option<u16>,
    /// Blocks that a RAID puts on one disk before it goes to the next; 0 if there is none.
    pub stride: u16,
    /// Blocks in a full stripe of a RAID; 0 if there is none.
    pub stripe_width: u32,
    /// How directories hash names.
    pub hash: HashVersion,
    /// Whether bytes of names are signed for hashes, as on x86, or not, as on Arm. It is recorded, so that either
    /// works everywhere.
    pub hash_signed: bool,
    /// Groups whose metadata lies together: a power of two. Ignored without the feature `flex_bg`.
    pub flex_groups: u32,
    /// Groups to use only part of: blocks in each, a multiple of 8. `None`: all that a bitmap's block can count.
    pub blocks_per_group: Option<u32>,
    /// Blocks of the list of orphaned inodes. Ignored without the feature `orphan_file`.
    pub orphan_file_blocks: u16,
    /// What the kernel does when it finds an error.
    pub on_errors: OnErrors,
    /// Where the file system was mounted last, as the superblock tells it, padded with NUL.
    pub last_mounted: [u8; 64],
}

/// How large the image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many bytes; what is left of the last block stays unused.
    Fixed(u64),
    /// `int(used KiB / 0.6)` + journal, rounded up to 64 KiB, where *used* is the sum of block-rounded sizes.
    ///
    /// The journal that counts is the one that is made, 64 MiB for [`Journal::Auto`]: of ext3 too, and none where there
    /// is none.
    Headroom,
    /// *used* + so many bytes + journal, rounded up to 64 KiB.
    Extra(u64),
    /// The smallest that holds the tree.
    Minimal,
}

/// How many inodes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inodes {
    /// One for so many bytes of the image.
    Ratio(u32),
    /// So many at least.
    Count(u32),
}

/// How large the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// 64 MiB, and less where that would be more than a sixteenth of the image.
    Auto,
    /// So many bytes.
    Fixed(u64),
}

/// What the kernel does when it finds an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnErrors {
    /// It goes on.
    Continue,
    /// It mounts the file system anew, for reading only.
    RemountReadOnly,
    /// It stops.
    Panic,
}

impl OnErrors {
    /// The behaviour of this name, as mke2fs and mount options have it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "continue" => Some(Self::Continue),
            "remount-ro" => Some(Self::RemountReadOnly),
            "panic" => Some(Self::Panic),
            _ => None,
        }
    }
}

/// How directories hash names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashVersion {
    /// The hash of the oldest kernels.
    Legacy,
    /// Half an MD4: the usual one.
    HalfMd4,
    /// The tiny encryption algorithm.
    Tea,
}

impl Options {
    /// The defaults of a profile. UUID and hash seed derive from the identity.
    pub fn new(profile: Profile, identity: Identity) -> Self {
        let mut label = [0; 16];
        let name = b"cloudimg-rootfs";
        label[..name.len()].copy_from_slice(name);
        let mut last_mounted = [0; 64];
        last_mounted[0] = b'/';
        Self {
            features: profile.features(),
            block_size: BlockSize::KIB_4,
            size: Size::Headroom,
            inodes: None,
            inode_size: 256,
            journal: Journal::Auto,
            max_size: None,
            reserved_permyriad: 500,
            label,
            uuid: derived_uuid(identity),
            hash_seed: identity.uuid("ext4 / hash seed"),
            identity,
            root_owner: None,
            root_mode: None,
            stride: 0,
            stripe_width: 0,
            hash: HashVersion::HalfMd4,
            hash_signed: true,
            flex_groups: 16,
            blocks_per_group: None,
            orphan_file_blocks: 32,
            on_errors: OnErrors::Continue,
            last_mounted,
        }
    }

    /// The UUID that follows from the identity.
    pub(crate) fn derived_uuid(&self) -> Uuid {
        derived_uuid(self.identity)
    }

    /// Checks that the options make sense together.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let range = |option, value: u64, min: u64, max: u64| {
            let error = Error::OptionOutOfRange {
                option,
                value,
                min,
                max,
            };
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(error)
            }
        };
        let block = self.block_size.bytes();
        let inode: u64 = self.inode_size.into();
        range("inode size", inode, 128, block)?;
        range("inode size", inode.next_power_of_two(), inode, inode)?;
        range("reserved blocks", self.reserved_permyriad.into(), 0, 5000)?;
        // The kernel takes no longer list.
        range("orphan file blocks", self.orphan_file_blocks.into(), 1, 512)?;
        let flex: u64 = self.flex_groups.into();
        range("flex groups", flex, 1, 1 << 31)?;
        range("flex groups", flex.next_power_of_two(), flex, flex)?;
        if let Some(Inodes::Ratio(ratio)) = self.inodes {
            range("bytes per inode", ratio.into(), 1024, 1 << 26)?;
        }
        if let Some(Inodes::Count(count)) = self.inodes {
            // Full groups, as many as numbers of 32 bits have room for.
            let most = (1_u64 << 32).saturating_sub(self.block_size.bits().into());
            range("inodes", count.into(), 12, most)?;
        }
        if let Some(blocks) = self.blocks_per_group {
            range(
                "blocks per group",
                blocks.into(),
                256,
                self.block_size.bits().into(),
            )?;
            let whole = u64::from(blocks).next_multiple_of(8);
            range("blocks per group", whole, blocks.into(), blocks.into())?;
        }
        self.check_features()
    }

    fn check_features(&self) -> Result<(), Error> {
        let conflict = |feature, other, excludes| {
            Err(Error::FeatureConflict {
                feature,
                other,
                excludes,
            })
        };
        let Features {
            compat,
            incompat,
            ro_compat,
        } = self.features;
        if ro_compat.contains(RoCompat::GDT_CSUM | RoCompat::METADATA_CSUM) {
            return conflict("metadata_csum", "uninit_bg", true);
        }
        if incompat.contains(Incompat::CSUM_SEED) && !ro_compat.contains(RoCompat::METADATA_CSUM) {
            return conflict("metadata_csum_seed", "metadata_csum", false);
        }
        if incompat.contains(Incompat::BIT64) && !incompat.contains(Incompat::EXTENTS) {
            return conflict("64bit", "extent", false);
        }
        if incompat.contains(Incompat::EA_INODE) && !incompat.contains(Incompat::EXTENTS) {
            // The drivers of ext2 and ext3 know no such inodes.
            return conflict("ea_inode", "extent", false);
        }
        if incompat.contains(Incompat::EA_INODE) && !compat.contains(Compat::EXT_ATTR) {
            return conflict("ea_inode", "ext_attr", false);
        }
        if compat.contains(Compat::RESIZE_INODE) && !ro_compat.contains(RoCompat::SPARSE_SUPER) {
            return conflict("resize_inode", "sparse_super", false);
        }
        if compat.contains(Compat::RESIZE_INODE) && !ro_compat.contains(RoCompat::LARGE_FILE) {
            // Inode 7 is as long as the longest file that two levels of block numbers can map.
            return conflict("resize_inode", "large_file", false);
        }
        if compat.contains(Compat::ORPHAN_FILE) && !compat.contains(Compat::HAS_JOURNAL) {
            return conflict("orphan_file", "has_journal", false);
        }
        if ro_compat.contains(RoCompat::PROJECT) && self.inode_size < 256 {
            return conflict("project", "an inode size of 256", false);
        }
        if ro_compat.contains(RoCompat::EXTRA_ISIZE) && self.inode_size < 256 {
            return conflict("extra_isize", "an inode size of 256", false);
        }
        Ok(())
    }
}

fn derived_uuid(identity: Identity) -> Uuid {
    identity.uuid("ext4 /")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_makes_sense_and_conflicts_are_named() {
        let identity = Identity::new(b"", image_core::tree::Time::default(), false);
        for profile in [
            Profile::Default,
            Profile::Legacy,
            Profile::Modern,
            Profile::Ext3,
            Profile::Ext2,
        ] {
            Options::new(profile, identity).check().unwrap();
        }
        let mut options = Options::new(Profile::Default, identity);
        options.features.ro_compat |= RoCompat::GDT_CSUM;
        assert!(matches!(
            options.check(),
            Err(Error::FeatureConflict {
                other: "uninit_bg",
                excludes: true,
                ..
            })
        ));
        options = Options::new(Profile::Default, identity);
        options.inode_size = 384;
        assert!(matches!(
            options.check(),
            Err(Error::OptionOutOfRange {
                option: "inode size",
                ..
            })
        ));
    }
}
