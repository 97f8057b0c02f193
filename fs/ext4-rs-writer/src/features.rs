//! Features: the three words of the superblock that say what a reader must know, and the profiles that choose them.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/globals.html#super-block>
//!
//! Why profiles: features decide whether the *target* boots, so they follow the target's age and never the host's
//! configuration. What GRUB can't read (`ea_inode`, `inline_data`, `casefold`, `bigalloc`; `large_dir` and
//! `metadata_csum_seed` before 2.12) is in no profile for a system that may boot from it unasked.

use bitflags::bitflags;

bitflags! {
    /// What a reader and a writer may ignore; e2fsck may not.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Compat: u32 {
        /// There is a journal.
        const HAS_JOURNAL = 0x4;
        /// Inodes may have extended attributes.
        const EXT_ATTR = 0x8;
        /// Blocks are reserved for more group descriptors, in inode 7.
        const RESIZE_INODE = 0x10;
        /// Directories may be indexed.
        const DIR_INDEX = 0x20;
        /// Inode numbers never change, so that contents may be encrypted by them.
        const STABLE_INODES = 0x800;
        /// A file holds the list of orphaned inodes.
        const ORPHAN_FILE = 0x1000;
    }

    /// What a reader must know.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Incompat: u32 {
        /// Directory entries tell the kind of file.
        const FILETYPE = 0x2;
        /// Files are mapped by extents.
        const EXTENTS = 0x40;
        /// Block numbers have 64 bits.
        const BIT64 = 0x80;
        /// A group's metadata may lie in another group.
        const FLEX_BG = 0x200;
        /// Values of xattrs may lie in inodes.
        const EA_INODE = 0x400;
        /// The seed of checksums stands in the superblock, apart from the UUID.
        const CSUM_SEED = 0x2000;
        /// Directories may have three levels of index.
        const LARGEDIR = 0x4000;
    }

    /// What a writer must know.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RoCompat: u32 {
        /// Only groups 1 and powers of 3, 5 and 7 hold backups.
        const SPARSE_SUPER = 0x1;
        /// Files may pass 2 GiB.
        const LARGE_FILE = 0x2;
        /// Files may pass 2 TiB.
        const HUGE_FILE = 0x8;
        /// Group descriptors have checksums of 16 bits.
        const GDT_CSUM = 0x10;
        /// Directories may have more subdirectories than an inode counts.
        const DIR_NLINK = 0x20;
        /// Inodes have fields beyond byte 128.
        const EXTRA_ISIZE = 0x40;
        /// All metadata has checksums.
        const METADATA_CSUM = 0x400;
        /// Inodes have project ids.
        const PROJECT = 0x2000;
    }
}

/// The features of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// What may be ignored.
    pub compat: Compat,
    /// What a reader must know.
    pub incompat: Incompat,
    /// What a writer must know.
    pub ro_compat: RoCompat,
}

/// A feature, in the word that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// One that may be ignored.
    Compat(Compat),
    /// One that a reader must know.
    Incompat(Incompat),
    /// One that a writer must know.
    RoCompat(RoCompat),
}

impl Feature {
    /// Every feature that the planner knows, by mke2fs's name.
    pub const NAMES: [(&'static str, Self); 22] = [
        ("has_journal", Self::Compat(Compat::HAS_JOURNAL)),
        ("ext_attr", Self::Compat(Compat::EXT_ATTR)),
        ("resize_inode", Self::Compat(Compat::RESIZE_INODE)),
        ("dir_index", Self::Compat(Compat::DIR_INDEX)),
        ("stable_inodes", Self::Compat(Compat::STABLE_INODES)),
        ("orphan_file", Self::Compat(Compat::ORPHAN_FILE)),
        ("filetype", Self::Incompat(Incompat::FILETYPE)),
        ("extent", Self::Incompat(Incompat::EXTENTS)),
        ("extents", Self::Incompat(Incompat::EXTENTS)),
        ("64bit", Self::Incompat(Incompat::BIT64)),
        ("flex_bg", Self::Incompat(Incompat::FLEX_BG)),
        ("ea_inode", Self::Incompat(Incompat::EA_INODE)),
        ("metadata_csum_seed", Self::Incompat(Incompat::CSUM_SEED)),
        ("large_dir", Self::Incompat(Incompat::LARGEDIR)),
        ("sparse_super", Self::RoCompat(RoCompat::SPARSE_SUPER)),
        ("large_file", Self::RoCompat(RoCompat::LARGE_FILE)),
        ("huge_file", Self::RoCompat(RoCompat::HUGE_FILE)),
        ("uninit_bg", Self::RoCompat(RoCompat::GDT_CSUM)),
        ("dir_nlink", Self::RoCompat(RoCompat::DIR_NLINK)),
        ("extra_isize", Self::RoCompat(RoCompat::EXTRA_ISIZE)),
        ("metadata_csum", Self::RoCompat(RoCompat::METADATA_CSUM)),
        ("project", Self::RoCompat(RoCompat::PROJECT)),
    ];

    /// The feature of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, feature)| *feature)
    }
}

impl Features {
    /// Whether a feature is set.
    pub fn has(&self, feature: Feature) -> bool {
        match feature {
            Feature::Compat(flag) => self.compat.contains(flag),
            Feature::Incompat(flag) => self.incompat.contains(flag),
            Feature::RoCompat(flag) => self.ro_compat.contains(flag),
        }
    }

    /// Sets or clears a feature.
    pub fn set(&mut self, feature: Feature, on: bool) {
        match feature {
            Feature::Compat(flag) => self.compat.set(flag, on),
            Feature::Incompat(flag) => self.incompat.set(flag, on),
            Feature::RoCompat(flag) => self.ro_compat.set(flag, on),
        }
    }

    /// Whether all metadata has checksums.
    pub fn metadata_csum(&self) -> bool {
        self.ro_compat.contains(RoCompat::METADATA_CSUM)
    }

    /// Whether group descriptors have checksums, so that groups may be uninitialised.
    pub fn group_csum(&self) -> bool {
        self.ro_compat
            .intersects(RoCompat::METADATA_CSUM | RoCompat::GDT_CSUM)
    }

    /// Whether block numbers have 64 bits.
    pub fn bit64(&self) -> bool {
        self.incompat.contains(Incompat::BIT64)
    }

    /// Whether files are mapped by extents.
    pub fn extents(&self) -> bool {
        self.incompat.contains(Incompat::EXTENTS)
    }
}

/// A set of features for a kind of target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// What Debian 12 and Ubuntu 24.04 make: Linux 3.18, e2fsprogs 1.43 and GRUB 2.02 read it.
    #[default]
    Default,
    /// For old guests, Linux 2.6.32 and e2fsprogs before 1.43: no 64-bit numbers, checksums of descriptors only.
    Legacy,
    /// What e2fsprogs 1.47 makes: Linux 5.15, e2fsprogs 1.47 and GRUB 2.12 are needed.
    Modern,
    /// ext3: a journal, block maps, no extents.
    Ext3,
    /// ext2: no journal.
    Ext2,
}

impl Profile {
    /// The profile's features.
    pub fn features(self) -> Features {
        let ext2 = Features {
            compat: Compat::EXT_ATTR | Compat::RESIZE_INODE | Compat::DIR_INDEX,
            incompat: Incompat::FILETYPE,
            ro_compat: RoCompat::SPARSE_SUPER | RoCompat::LARGE_FILE,
        };
        let ext3 = Features {
            compat: ext2.compat | Compat::HAS_JOURNAL,
            ..ext2
        };
        let ext4 = Features {
            compat: ext3.compat,
            incompat: ext2.incompat | Incompat::EXTENTS | Incompat::FLEX_BG,
            ro_compat: ext2.ro_compat | RoCompat::HUGE_FILE | RoCompat::DIR_NLINK | RoCompat::EXTRA_ISIZE,
        };
        let default = Features {
            incompat: ext4.incompat | Incompat::BIT64,
            ro_compat: ext4.ro_compat | RoCompat::METADATA_CSUM,
            ..ext4
        };
        match self {
            Self::Ext2 => ext2,
            Self::Ext3 => ext3,
            Self::Legacy => Features {
                ro_compat: ext4.ro_compat | RoCompat::GDT_CSUM,
                ..ext4
            },
            Self::Default => default,
            Self::Modern => Features {
                compat: default.compat | Compat::ORPHAN_FILE,
                incompat: default.incompat | Incompat::CSUM_SEED,
                ..default
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_features_and_profiles_hold_them() {
        let csum = Feature::named("metadata_csum").unwrap();
        assert!(Profile::Default.features().has(csum));
        assert!(!Profile::Legacy.features().has(csum));
        assert!(
            Profile::Legacy
                .features()
                .has(Feature::named("uninit_bg").unwrap())
        );
        assert!(
            !Profile::Ext2
                .features()
                .has(Feature::named("has_journal").unwrap())
        );
        assert!(
            Profile::Modern
                .features()
                .has(Feature::named("orphan_file").unwrap())
        );
        assert_eq!(Feature::named("no_such_feature"), None);
    }

    #[test]
    fn what_grub_cannot_read_is_in_no_profile() {
        for profile in [
            Profile::Default,
            Profile::Legacy,
            Profile::Modern,
            Profile::Ext3,
            Profile::Ext2,
        ] {
            for name in ["ea_inode", "large_dir"] {
                assert!(!profile.features().has(Feature::named(name).unwrap()));
            }
        }
    }
}
