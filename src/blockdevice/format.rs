//! What `mkfs` makes: ext2, ext3, ext4, vfat and swap, each with label and identity, from the words of a layout.

use ext4_rs_writer::{Options, mke2fs};
use image_core::Identity;
use uuid::Uuid;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::filesystem;
use crate::settings::Settings;

/// The types, as messages list them.
pub(super) const TYPES: &str = "ext4, ext3, ext2, vfat and swap";

/// What stands on a disk, a partition or a logical volume.
#[derive(Clone, Debug)]
pub enum Format {
    /// ext2, ext3 or ext4.
    Ext {
        /// Which.
        kind: String,
        /// All of its options.
        options: Box<Options>,
    },
    /// FAT.
    Fat(Fat),
    /// Swap space.
    Swap {
        /// The label, padded with NUL.
        label: [u8; 16],
        /// The UUID.
        uuid: Uuid,
    },
}

/// The options of a FAT file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fat {
    /// The label, padded with blanks.
    pub label: [u8; 11],
    /// The volume id.
    pub volume_id: u32,
    /// 12, 16 or 32; `None`: as the size asks.
    pub bits: Option<u8>,
    /// Sectors of a cluster; `None`: as the size asks.
    pub cluster: Option<u32>,
}

/// What a layout says of a file system.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) node: String,
    pub(super) kind: Option<String>,
    pub(super) label: Option<String>,
    pub(super) opts: Option<String>,
    pub(super) uuid: Option<String>,
    pub(super) mount_point: Option<String>,
}

/// What fills in what a layout does not say.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// What the user asked for.
    pub settings: &'a Settings,
    /// The caller's variables.
    pub environment: &'a Environment,
    /// The identity of the build.
    pub identity: Identity,
}

/// The node that the options of the command line are about.
pub(super) const ROOT: &str = "mkfs_root";

/// Why a file system cannot be as it is wished.
#[derive(Debug)]
pub(super) enum Refusal {
    /// What the layout says of it: the key, and what is wrong with it.
    Key(&'static str, String),
    /// What the user asked of the root file system.
    Asked(Error),
}

impl From<(&'static str, String)> for Refusal {
    fn from((key, told): (&'static str, String)) -> Self {
        Self::Key(key, told)
    }
}

impl Format {
    pub(super) fn of(wish: &Wish, defaults: &Defaults<'_>) -> Result<Self, Refusal> {
        let kind = match &wish.kind {
            Some(kind) => kind.as_str(),
            None if wish.node == ROOT => &defaults.settings.fs_type,
            None => return Err(("type", "is missing".into()).into()),
        };
        let label = wish.label.as_deref();
        match kind {
            "ext2" | "ext3" | "ext4" => ext(kind, wish, defaults),
            "vfat" | "fat" | "msdos" => fat(wish, defaults.identity),
            "swap" => Ok(Self::Swap {
                label: padded(label.unwrap_or(&wish.node))?,
                uuid: uuid(wish)?.unwrap_or_else(|| defaults.identity.uuid(&format!("swap {}", wish.node))),
            }),
            other if wish.kind.is_none() => Err(Refusal::Asked(filesystem::no_writer(other))),
            other => Err((
                "type",
                format!("there is no writer of {other}; the types are {TYPES}"),
            )
                .into()),
        }
    }

    /// The type, as elements know it.
    pub fn name(&self) -> &str {
        match self {
            Format::Ext { kind, .. } => kind,
            Format::Fat(_) => "vfat",
            Format::Swap { .. } => "swap",
        }
    }

    /// The type, as fstab has it.
    pub fn kernel_name(&self) -> &str {
        self.name()
    }

    /// The label.
    pub fn label(&self) -> String {
        let text = |bytes: &[u8], end: u8| {
            let len = bytes
                .iter()
                .rposition(|byte| *byte != end)
                .map_or(0, |last| last + 1);
            String::from_utf8_lossy(&bytes[..len]).into_owned()
        };
        match self {
            Format::Ext { options, .. } => text(&options.label, 0),
            Format::Fat(fat) => text(&fat.label, b' '),
            Format::Swap { label, .. } => text(label, 0),
        }
    }

    /// The identity, as `blkid` prints it.
    pub fn uuid(&self) -> String {
        match self {
            Format::Ext { options, .. } => options.uuid.to_string(),
            Format::Fat(fat) => format!("{:04X}-{:04X}", fat.volume_id >> 16, fat.volume_id & 0xffff),
            Format::Swap { uuid, .. } => uuid.to_string(),
        }
    }
}

fn ext(kind: &str, wish: &Wish, defaults: &Defaults<'_>) -> Result<Format, Refusal> {
    let Defaults {
        settings,
        environment,
        identity,
    } = *defaults;
    let mut options = if wish.node == ROOT && wish.opts.is_none() {
        let asked = Settings {
            fs_type: kind.to_owned(),
            ..settings.clone()
        };
        filesystem::options(&asked, environment, identity).map_err(Refusal::Asked)?
    } else {
        let of_kind = filesystem::of_kind(kind, settings, environment, identity);
        let mut options = of_kind.map_err(Refusal::Asked)?;
        if wish.node == ROOT {
            options.label = padded(&settings.root_label)?;
        } else {
            options.uuid = identity.uuid(&format!("mkfs {}", wish.node));
            options.hash_seed = identity.uuid(&format!("mkfs {} hash seed", wish.node));
            options.label = padded(wish.label.as_deref().unwrap_or(&wish.node))?;
        }
        let opts = wish.opts.as_deref().unwrap_or_default();
        mke2fs::apply(&mut options, opts).map_err(|error| ("opts", error.to_string()))?;
        options
    };
    if let Some(label) = &wish.label {
        options.label = padded(label)?;
    }
    if let Some(uuid) = uuid(wish)? {
        options.uuid = uuid;
    }
    if let Some(point) = &wish.mount_point {
        options.last_mounted = [0; 64];
        let len = point.len().min(options.last_mounted.len() - 1);
        options.last_mounted[..len].copy_from_slice(&point.as_bytes()[..len]);
    }
    Ok(Format::Ext {
        kind: kind.to_owned(),
        options: Box::new(options),
    })
}

fn fat(wish: &Wish, identity: Identity) -> Result<Format, Refusal> {
    let (high, low) = identity.uuid(&format!("fat {}", wish.node)).as_u64_pair();
    let derived = u32::try_from((high ^ low) >> 32).unwrap_or(1);
    let said = wish.uuid.as_deref().map(|text| {
        let (high, low) = text
            .split_once('-')
            .filter(|(high, low)| high.len() == 4 && low.len() == 4)?;
        u32::from_str_radix(&[high, low].concat(), 16).ok()
    });
    let volume_id = match said {
        None => derived,
        Some(Some(id)) => id,
        Some(None) => return Err(("uuid", "a FAT has a volume id, such as 1A2B-3C4D".into()).into()),
    };
    let mut fat = Fat {
        label: fat_label(wish.label.as_deref().unwrap_or(&wish.node))?,
        volume_id,
        bits: None,
        cluster: None,
    };
    let mut words = wish.opts.as_deref().unwrap_or_default().split_whitespace();
    while let Some(word) = words.next() {
        let (option, glued) = word.split_at_checked(2).unwrap_or((word, ""));
        let refused = |what: &str| {
            Err((
                "opts",
                format!("{what}; those of mkfs.vfat that count here are -F and -s"),
            )
                .into())
        };
        let mut value = || {
            if glued.is_empty() {
                words.next().unwrap_or_default()
            } else {
                glued
            }
        };
        match option {
            "-F" => match value() {
                bits @ ("12" | "16" | "32") => fat.bits = bits.parse().ok(),
                other => return refused(&format!("'-F {other}' is none of 12, 16 and 32")),
            },
            "-s" => match value().parse() {
                Ok(sectors @ (1 | 2 | 4 | 8 | 16 | 32 | 64 | 128)) => fat.cluster = Some(sectors),
                _ => return refused("'-s' wants a power of two, 128 at most"),
            },
            _ => return refused(&format!("'{word}' has no place here")),
        }
    }
    Ok(Format::Fat(fat))
}

/// The label of a FAT: upper case, as mkfs is told by the original program.
fn fat_label(text: &str) -> Result<[u8; 11], Refusal> {
    let upper = text.to_ascii_uppercase();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"*+,./:;<=>?[\\]|".contains(&byte) || byte == b' ';
    if let Some(byte) = upper.bytes().find(|byte| !plain(*byte)) {
        let byte = byte.escape_ascii();
        return Err(("label", format!("'{text}': no label of a FAT holds '{byte}'")).into());
    }
    if upper.is_empty() || upper.starts_with(' ') {
        return Err(("label", format!("'{text}' is no label of a FAT")).into());
    }
    let mut label = [b' '; 11];
    let Some(room) = label.get_mut(..upper.len()) else {
        return Err((
            "label",
            format!("'{text}' is longer than the 11 bytes that a FAT has for it"),
        )
            .into());
    };
    room.copy_from_slice(upper.as_bytes());
    Ok(label)
}

fn padded(text: &str) -> Result<[u8; 16], Refusal> {
    let mut label = [0; 16];
    match label.get_mut(..text.len()) {
        Some(room) if !text.contains(['\0', '\n']) => room.copy_from_slice(text.as_bytes()),
        Some(_) => return Err(("label", format!("'{}' is no label", text.escape_debug())).into()),
        None => {
            return Err((
                "label",
                format!("'{text}' is longer than the 16 bytes that there are for it"),
            )
                .into());
        }
    }
    Ok(label)
}

fn uuid(wish: &Wish) -> Result<Option<Uuid>, Refusal> {
    let read =
        |text: &String| Uuid::parse_str(text).map_err(|_| ("uuid", format!("'{text}' is no UUID")).into());
    wish.uuid.as_ref().map(read).transpose()
}
