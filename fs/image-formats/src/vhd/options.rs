//! What a user may choose, and what the consumers of such disks want.
//!
//! Who made a disk decides what its readers take for its length: the footer's size, or, for a maker that they don't know
//! or that is known to be careless, the geometry, which cannot say every length. Of such a maker no disk is written.

use image_core::tree::Time;

use crate::keyed::{OptionError, bad, switch, unknown, unsupported};

/// How a disk is written. The guest's bytes are the same under all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether blocks without data take no room.
    pub dynamic: bool,
    /// Who is said to have made it.
    pub creator: Creator,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// When it was made.
    pub time: Time,
}

/// Who is said to have made a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creator {
    /// The program: four bytes.
    pub application: [u8; 4],
    /// Its version, major above minor.
    pub version: u32,
}

impl Creator {
    /// Xen's tapdisk. Version 0.1 says that no map of whole blocks follows the table.
    pub const TAP: Self = Self {
        application: *b"tap\0",
        version: 1,
    };
    /// Windows.
    pub const WINDOWS: Self = Self {
        application: *b"win ",
        version: 10 << 16,
    };
    /// QEMU, where the size counts.
    pub const QEMU: Self = Self {
        application: *b"qem2",
        version: 5 << 16 | 3,
    };

    /// The words for makers.
    pub const WORDS: [&str; 3] = ["tap", "win", "qem2"];

    fn of(word: &str) -> Option<Self> {
        match word {
            "tap" => Some(Self::TAP),
            "win" => Some(Self::WINDOWS),
            "qem2" => Some(Self::QEMU),
            _ => None,
        }
    }
}

/// Who shall take a disk: what it needs, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `XenServer`, whose tools refuse to resize a disk that tapdisk did not make.
    Xen,
    /// Azure, which takes fixed disks of whole MiB.
    Azure,
    /// Hyper-V.
    HyperV,
    /// A maker alone.
    Of(Creator),
}

impl Profile {
    /// The words for profiles that are more than a maker.
    pub const WORDS: [&str; 3] = ["xen", "azure", "hyperv"];

    /// Reads a word: a profile, or a maker.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "xen" => Some(Self::Xen),
            "azure" => Some(Self::Azure),
            "hyperv" => Some(Self::HyperV),
            _ => Creator::of(word).map(Self::Of),
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Xen => "xen",
            Self::Azure => "azure",
            Self::HyperV => "hyperv",
            Self::Of(Creator::TAP) => "tap",
            Self::Of(Creator::WINDOWS) => "win",
            Self::Of(_) => "qem2",
        }
    }

    /// Of how many bytes the length of a disk must be a multiple.
    pub fn grain(self) -> u64 {
        match self {
            Self::Azure => 1 << 20,
            Self::Xen | Self::HyperV | Self::Of(_) => super::layout::SECTOR,
        }
    }
}

impl Options {
    /// The options that a user can give.
    pub const KEYS: [&str; 4] = ["subformat", "force_size", "creator", "size"];

    /// What a profile wants.
    pub fn new(profile: Profile, uuid: [u8; 16], time: Time) -> Self {
        let (dynamic, creator) = match profile {
            Profile::Xen => (true, Creator::TAP),
            Profile::Azure => (false, Creator::WINDOWS),
            Profile::HyperV => (true, Creator::WINDOWS),
            Profile::Of(creator) => (true, creator),
        };
        Self {
            dynamic,
            creator,
            uuid,
            time,
        }
    }

    /// Whether a profile takes such a disk.
    pub fn check(&self, profile: Profile) -> Result<(), OptionError> {
        if profile == Profile::Azure && self.dynamic {
            return Err(unsupported(
                "subformat",
                "dynamic",
                "Azure takes fixed disks only",
            ));
        }
        Ok(())
    }

    /// Follows an option: one of `qemu-img convert -O vpc -o`, or `creator`.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        match key {
            "subformat" => {
                self.dynamic = match value {
                    "dynamic" => true,
                    "fixed" => false,
                    _ => return Err(bad("subformat", value, "dynamic or fixed")),
                }
            }
            "force_size" => {
                if !switch("force_size", value)? {
                    let why =
                        "readers would take the length from the geometry, which cannot say every length";
                    return Err(unsupported("force_size", value, why));
                }
            }
            "creator" => {
                let creator = Creator::of(value);
                self.creator = creator.ok_or_else(|| bad("creator", value, "tap, win or qem2"))?;
            }
            "size" => return Err(unsupported("size", value, "the size is that of the disk")),
            _ => return Err(unknown("vhd", key)),
        }
        Ok(())
    }
}
