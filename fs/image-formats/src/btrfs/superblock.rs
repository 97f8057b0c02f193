//! The superblock, and what a file system says there of itself.
//!
//! Only the first copy is read: the others are for repairs, and an image that needs one is damaged.

use image_core::ReadAt;
use zerocopy::{FromZeros, IntoBytes};

use super::checksum::Checksum;
use super::disk::{LEVELS, MAGIC, SUPERBLOCK_AT, Superblock};
use super::{Error, to_u64};

/// Bytes of the sectors that files consist of; the only ones that are read.
pub(super) const SECTOR: u32 = 4096;
const NODE_MAX: u32 = 64 << 10;

/// A feature without which a file system is read wrongly.
struct Feature {
    bit: u64,
    /// As `/sys/fs/btrfs/features` has it.
    name: &'static str,
    readable: bool,
}

const fn feature(bit: u64, name: &'static str) -> Feature {
    Feature {
        bit,
        name,
        readable: true,
    }
}

const fn unreadable(bit: u64, name: &'static str) -> Feature {
    Feature {
        bit,
        name,
        readable: false,
    }
}

const INCOMPAT: [Feature; 16] = [
    feature(0x1, "mixed_backref"),
    feature(0x2, "default_subvol"),
    feature(0x4, "mixed_groups"),
    feature(0x8, "compress_lzo"),
    feature(0x10, "compress_zstd"),
    feature(0x20, "big_metadata"),
    feature(0x40, "extended_iref"),
    unreadable(0x80, "raid56"),
    feature(0x100, "skinny_metadata"),
    feature(0x200, "no_holes"),
    feature(METADATA_UUID, "metadata_uuid"),
    unreadable(0x800, "raid1c34"),
    unreadable(0x1000, "zoned"),
    unreadable(0x2000, "extent_tree_v2"),
    unreadable(0x4000, "raid_stripe_tree"),
    feature(0x1_0000, "simple_quota"),
];
const METADATA_UUID: u64 = 0x400;

/// Features that only who writes has to know: a reader passes over those that it does not.
const COMPAT_RO: [Feature; 4] = [
    feature(0x1, "free_space_tree"),
    feature(0x2, "free_space_tree_valid"),
    feature(0x4, "verity"),
    feature(0x8, "block_group_tree"),
];

/// What an image is called and how full it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its label, without the zeros behind it.
    pub label: Vec<u8>,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Bytes of its device.
    pub size: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes of a sector.
    pub sector_size: u32,
    /// Bytes of a tree block.
    pub node_size: u32,
    /// The kind of its checksums, as `mkfs.btrfs --csum` takes it.
    pub checksum: &'static str,
    /// Its features, by the kernel's names; those without a name by their bits.
    pub features: Vec<String>,
}

impl Superblock {
    /// Reads the superblock of a file system that can be read.
    pub(super) fn read(source: &impl ReadAt) -> Result<(Self, Checksum), Error> {
        let mut superblock = Self::new_zeroed();
        if source.len() < SUPERBLOCK_AT.saturating_add(to_u64(size_of::<Self>())) {
            return Err(Error::NotBtrfs);
        }
        source.read_exact_at(superblock.as_mut_bytes(), SUPERBLOCK_AT)?;
        if superblock.magic != MAGIC {
            return Err(Error::NotBtrfs);
        }
        let checksum = Checksum::of(superblock.csum_type.get())?;
        if !checksum.guards(superblock.as_bytes()) {
            return Err(Error::SuperblockChecksum);
        }
        superblock.check_features()?;
        superblock.check(source.len())?;
        Ok((superblock, checksum))
    }

    fn check_features(&self) -> Result<(), Error> {
        let incompat = self.incompat_flags.get();
        if let Some(feature) = INCOMPAT
            .iter()
            .find(|feature| !feature.readable && incompat & feature.bit != 0)
        {
            return Err(Error::Unsupported(feature.name));
        }
        match incompat & !known(&INCOMPAT) {
            0 => Ok(()),
            unknown => Err(Error::UnknownFeatures(unknown)),
        }
    }

    fn check(&self, len: u64) -> Result<(), Error> {
        if self.num_devices.get() != 1 {
            return Err(Error::Unsupported("more than one device"));
        }
        if self.log_root.get() != 0 {
            return Err(Error::Log);
        }
        if self.sectorsize.get() != SECTOR {
            return Err(Error::Unsupported("sectors of other than 4096 bytes"));
        }
        let nodesize = self.nodesize.get();
        let array = self.sys_chunk_array_size.get();
        let checks = [
            ("bytenr", self.bytenr.get() == SUPERBLOCK_AT, self.bytenr.get()),
            (
                "nodesize",
                nodesize.is_power_of_two() && (SECTOR..=NODE_MAX).contains(&nodesize),
                nodesize.into(),
            ),
            ("root_level", self.root_level < LEVELS, self.root_level.into()),
            (
                "chunk_root_level",
                self.chunk_root_level < LEVELS,
                self.chunk_root_level.into(),
            ),
            (
                "sys_chunk_array_size",
                usize::try_from(array).is_ok_and(|array| array <= self.sys_chunk_array.len()),
                array.into(),
            ),
        ];
        if let Some((field, _, value)) = checks.into_iter().find(|(_, right, _)| !right) {
            return Err(Error::BadSuperblock { field, value });
        }
        let size = self.total_bytes.get();
        if size > len {
            return Err(Error::CutOff { len, size });
        }
        Ok(())
    }

    /// The UUID that stands in tree blocks: that of the file system, or what it was when they were written.
    pub(super) fn tree_uuid(&self) -> [u8; 16] {
        if self.incompat_flags.get() & METADATA_UUID == 0 {
            self.fsid
        } else {
            self.metadata_uuid
        }
    }

    pub(super) fn about(&self, checksum: Checksum) -> About {
        let label = self.label.split(|byte| *byte == 0).next();
        let mut features = names(&INCOMPAT, self.incompat_flags.get(), "incompat");
        features.extend(names(&COMPAT_RO, self.compat_ro_flags.get(), "compat_ro"));
        About {
            label: label.unwrap_or_default().to_vec(),
            uuid: self.fsid,
            size: self.total_bytes.get(),
            used: self.bytes_used.get(),
            sector_size: self.sectorsize.get(),
            node_size: self.nodesize.get(),
            checksum: checksum.name(),
            features,
        }
    }
}

fn known(features: &[Feature]) -> u64 {
    features.iter().fold(0, |bits, feature| bits | feature.bit)
}

fn names(features: &[Feature], bits: u64, word: &str) -> Vec<String> {
    let named = features.iter().filter(|feature| bits & feature.bit != 0);
    let mut names: Vec<_> = named.map(|feature| feature.name.to_owned()).collect();
    let unknown = bits & !known(features);
    if unknown != 0 {
        names.push(format!("{word} {unknown:#x}"));
    }
    names
}
