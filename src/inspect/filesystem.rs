//! What file systems say of themselves: labels, ids, how full they are.

use std::path::Path;

use super::container::Bytes;
use super::contents::{Contents, SWAP};
use super::ids::uuid_text;
use super::image::Volume;
use super::{InspectError, about, unreadable};

/// What a file system says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its type, in the words of `mount`.
    pub kind: String,
    /// Its label, if it has one.
    pub label: Option<String>,
    /// Its id.
    pub uuid: Option<String>,
    /// Its bytes.
    pub size: Option<u64>,
    /// Bytes of it that are free, where it says so.
    pub free: Option<u64>,
    /// Its features.
    pub features: Vec<String>,
    /// Its state, where it has one.
    pub state: Option<&'static str>,
}

/// A file system's name here, its type, and where it has label and id.
type Known = (&'static str, &'static str, Option<(u64, usize)>, Option<u64>);

/// Where others have their label, its bytes at most, and their id.
const OTHERS: [Known; 5] = [
    ("an F2FS file system", "f2fs", None, Some(0x46c)),
    ("an ISO 9660 file system", "iso9660", Some((0x8028, 32)), None),
    ("an NTFS file system", "ntfs", None, None),
    ("an exFAT file system", "exfat", None, None),
    (SWAP, "swap", Some((0x41c, 16)), Some(0x40c)),
];

/// What it says.
pub fn of(volume: &Volume) -> Result<About, InspectError> {
    let bytes = &volume.bytes;
    match volume.contents {
        Contents::Ext => ext(bytes),
        Contents::Xfs => xfs(bytes),
        Contents::Btrfs => btrfs(volume),
        Contents::Fat => fat(bytes),
        Contents::Squashfs => squashfs(bytes),
        Contents::Other(kind) => other(bytes, kind),
        Contents::Cpio => Ok(plain("cpio")),
        Contents::Tar => Ok(plain("tar")),
        Contents::Physical => Ok(plain("LVM2")),
        Contents::Unknown => Ok(plain("unknown")),
    }
}

fn plain(kind: &str) -> About {
    About {
        kind: kind.to_owned(),
        label: None,
        uuid: None,
        size: None,
        free: None,
        features: Vec::new(),
        state: None,
    }
}

fn ext(bytes: &Bytes) -> Result<About, InspectError> {
    let said = ext4_rs_writer::reader::about(bytes).map_err(unreadable("a file system"))?;
    Ok(About {
        label: text(&said.label),
        uuid: Some(uuid_text(&said.uuid)),
        size: Some(said.blocks.saturating_mul(said.block_bytes)),
        free: Some(said.free_blocks.saturating_mul(said.block_bytes)),
        features: said.features,
        state: Some(said.state),
        ..plain(said.kind)
    })
}

fn xfs(bytes: &Bytes) -> Result<About, InspectError> {
    let said = image_formats::xfs::about(bytes).map_err(unreadable("a file system"))?;
    Ok(About {
        label: text(&said.label),
        uuid: Some(uuid_text(&said.uuid)),
        size: Some(said.bytes),
        free: Some(said.free_bytes),
        features: said.features.into_iter().map(str::to_owned).collect(),
        ..plain("xfs")
    })
}

fn btrfs(volume: &Volume) -> Result<About, InspectError> {
    let subvolume = volume.opened().map_err(unreadable("a file system"))?;
    let said = subvolume.system.about();
    Ok(About {
        label: text(&said.label),
        uuid: Some(uuid_text(&said.uuid)),
        size: Some(said.size),
        free: Some(said.size.saturating_sub(said.used)),
        features: said.features.clone(),
        ..plain("btrfs")
    })
}

fn squashfs(bytes: &Bytes) -> Result<About, InspectError> {
    Ok(About {
        size: Some(u64::from_le_bytes(at(bytes, 40)?)),
        free: Some(0),
        ..plain("squashfs")
    })
}

fn fat(bytes: &Bytes) -> Result<About, InspectError> {
    let boot: [u8; 512] = at(bytes, 0)?;
    let word = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let long = |at: usize| word(at) | (word(at + 2) << 16);
    let wide = word(22) == 0;
    let at = if wide { 67 } else { 39 };
    let sectors = if word(19) == 0 { long(32) } else { word(19) };
    let serial = long(at);
    let label = text(boot[at + 4..at + 15].trim_ascii_end());
    Ok(About {
        label: label.filter(|label| label != "NO NAME"),
        uuid: Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)),
        size: Some(sectors * word(11)),
        features: vec![String::from_utf8_lossy(boot[at + 15..at + 23].trim_ascii_end()).into_owned()],
        ..plain("vfat")
    })
}

fn other(bytes: &Bytes, kind: &str) -> Result<About, InspectError> {
    let Some((_, name, label, uuid)) = OTHERS.iter().find(|(known, ..)| *known == kind) else {
        return Ok(plain(kind.trim_start_matches("an ").trim_start_matches("a ")));
    };
    let label = match label {
        Some((place, len)) => {
            let all: [u8; 256] = at(bytes, *place).unwrap_or([0; 256]);
            let label = all[..*len].split(|byte| *byte == 0).next().unwrap_or_default();
            text(label.trim_ascii_end())
        }
        None => None,
    };
    let uuid = match uuid {
        Some(place) => Some(uuid_text(&at(bytes, *place)?)),
        None => None,
    };
    Ok(About {
        label,
        uuid,
        ..plain(name)
    })
}

fn at<const N: usize>(bytes: &Bytes, offset: u64) -> Result<[u8; N], InspectError> {
    let mut found = [0; N];
    let read = bytes.read_exact_at(&mut found, offset);
    read.map_err(about(Path::new("the image")))?;
    Ok(found)
}

fn text(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}
