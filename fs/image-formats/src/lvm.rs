//! LVM2: a volume group from several physical volumes, with linear logical volumes, planned as labels and places.
//!
//! Spec: the structures as libvslvm describes them
//! <https://github.com/libyal/libvslvm/blob/main/documentation/Logical%20Volume%20Manager%20%28LVM%29%20format.asciidoc>,
//! and lvm.conf(5), pvck(8) for what LVM itself writes.
//!
//! Each physical volume is
//!
//! | bytes | what |
//! |---|---|
//! | 512..1024 | its label: who it is, and where the areas are |
//! | 4096..1 MiB | the metadata area: a header, and a ring of texts that describe the group, of which ours is the first |
//! | from 1 MiB on | extents of the group |
//!
//! Logical volumes take extents in order, one after the other, from one physical volume after the other: [`Planned::places`]
//! says where, so that a file system planned elsewhere can be sliced into them.
//!
//! [`read`] goes the other way, on what anyone made: label, area and text to the places of all linear volumes.

mod config;
pub(crate) mod disk;
mod names;
mod reader;
mod text;

use std::collections::HashSet;
use std::iter::Peekable;

use image_core::Map;
use image_core::map::MapError;
use image_core::tree::Time;

pub use names::BadName;
pub use reader::{Found, FoundGroup, FoundVolume, ReadError, Run, Uuid, read};

/// Where the extents of a physical volume begin.
const DATA: u64 = 1 << 20;
/// Bytes in the sectors that LVM counts, whatever those of the disk have.
const SECTOR: u64 = 512;

/// A physical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Physical {
    /// What its device is called. LVM takes it for a hint, and finds the device by its UUID.
    pub name: String,
    /// 32 letters and digits of ASCII: the 32 hexadecimal digits of a UUID will do.
    pub uuid: [u8; 32],
    /// Bytes in it.
    pub len: u64,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logical {
    /// What it is called in its group.
    pub name: String,
    /// As that of a physical volume.
    pub uuid: [u8; 32],
    /// How many extents it has.
    pub extents: u64,
}

/// A volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What it is called.
    pub name: String,
    /// As that of a physical volume.
    pub uuid: [u8; 32],
    /// Bytes in an extent: 4 MiB is what LVM takes if nobody asks.
    pub extent: u64,
    /// What it is made of.
    pub physical: Vec<Physical>,
    /// What it holds.
    pub logical: Vec<Logical>,
    /// When it is said to have been made.
    pub epoch: Time,
}

/// A planned group.
#[derive(Clone, Debug)]
pub struct Planned {
    /// For each physical volume a map of its length, with label and metadata.
    pub labels: Vec<Map>,
    /// For each logical volume where its bytes are, in order.
    pub places: Vec<Vec<Piece>>,
}

/// A run of bytes of a logical volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The physical volume, by its place in the group.
    pub physical: usize,
    /// Where the run begins there, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

/// Why a group cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// LVM has no such extents.
    #[error(
        "an extent of {0} bytes is neither a power of two from 1024 on nor a multiple of 131072, or has 2 TiB or more"
    )]
    Extent(u64),
    /// A group is made of something.
    #[error("the volume group '{0}' has no physical volume")]
    NoPhysical(String),
    /// A physical volume has no room for an extent, or ends within a sector.
    #[error("the physical volume '{name}' has {len} bytes, which are no multiple of 512 from {least} on")]
    Physical {
        /// What it is called.
        name: String,
        /// Bytes in it.
        len: u64,
        /// Bytes that would do.
        least: u64,
    },
    /// A name that LVM takes for none.
    #[error("'{}' cannot be the name of a volume: {why}", name.escape_debug())]
    Name {
        /// The name.
        name: String,
        /// Why.
        why: BadName,
    },
    /// Two volumes have one name.
    #[error("two logical volumes are called '{0}'")]
    SameName(String),
    /// Something else than 32 letters and digits, or what another one has.
    #[error("the UUID of '{0}' is not 32 letters and digits, or is that of another one")]
    Uuid(String),
    /// A logical volume does not fit.
    #[error(
        "the logical volume '{name}' needs {needed} extents of {extent} bytes, and {free} of the {all} of its group \
         are free"
    )]
    Extents {
        /// What it is called.
        name: String,
        /// Extents that it needs.
        needed: u64,
        /// Bytes in an extent.
        extent: u64,
        /// Extents that no other volume has.
        free: u64,
        /// Extents of the group.
        all: u64,
    },
    /// LVM counts extents with 32 bits.
    #[error("the volume group '{name}' has {all} extents of {extent} bytes, and LVM counts {most} at most")]
    TooManyExtents {
        /// What it is called.
        name: String,
        /// Bytes in an extent.
        extent: u64,
        /// Its extents.
        all: u64,
        /// How many there may be.
        most: u64,
    },
    /// A logical volume without extents.
    #[error("the logical volume '{0}' has no extent")]
    Empty(String),
    /// The metadata must fit its area twice, so that LVM can write it anew.
    #[error("the description of the volume group has {len} bytes, and there is room for {most}")]
    Text {
        /// Its bytes.
        len: u64,
        /// How many there may be.
        most: u64,
    },
    /// The plan contradicts itself: a mistake here.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// How many extents a physical volume of `len` bytes has.
pub fn extents(len: u64, extent: u64) -> u64 {
    len.saturating_sub(DATA).checked_div(extent).unwrap_or(0)
}

/// Plans a group.
pub fn plan(group: &Group) -> Result<Planned, Error> {
    check(group)?;
    let places = allocate(group)?;
    let text = text::of(group, &places);
    let labels = group
        .physical
        .iter()
        .map(|physical| disk::label(physical, &text))
        .collect::<Result<Vec<Map>, Error>>()?;
    Ok(Planned { labels, places })
}

fn check(group: &Group) -> Result<(), Error> {
    let extent = group.extent;
    let usual = extent.is_power_of_two() && extent >= 1024;
    if !(usual || extent > 0 && extent.is_multiple_of(128 << 10)) || extent >= 2 << 40 {
        return Err(Error::Extent(extent));
    }
    if group.physical.is_empty() {
        return Err(Error::NoPhysical(group.name.clone()));
    }
    let name = |name: &str, checked: Result<(), BadName>| {
        checked.map_err(|why| Error::Name {
            name: name.to_owned(),
            why,
        })
    };
    name(&group.name, names::group(&group.name))?;
    for physical in &group.physical {
        name(&physical.name, names::device(&physical.name))?;
        let least = DATA.saturating_add(extent);
        if physical.len < least || !physical.len.is_multiple_of(SECTOR) {
            return Err(Error::Physical {
                name: physical.name.clone(),
                len: physical.len,
                least,
            });
        }
    }
    let mut known = HashSet::new();
    for logical in &group.logical {
        name(&logical.name, names::logical(&group.name, &logical.name))?;
        if !known.insert(&logical.name) {
            return Err(Error::SameName(logical.name.clone()));
        }
        if logical.extents == 0 {
            return Err(Error::Empty(logical.name.clone()));
        }
    }
    let physical = group.physical.iter().map(|volume| (&volume.name, volume.uuid));
    let logical = group.logical.iter().map(|volume| (&volume.name, volume.uuid));
    let mut known = HashSet::new();
    for (name, uuid) in physical.chain(logical).chain([(&group.name, group.uuid)]) {
        if !uuid.iter().all(u8::is_ascii_alphanumeric) || !known.insert(uuid) {
            return Err(Error::Uuid(name.clone()));
        }
    }
    Ok(())
}

/// Gives out the extents.
fn allocate(group: &Group) -> Result<Vec<Vec<Piece>>, Error> {
    let extent = group.extent;
    let counts = || group.physical.iter().map(|volume| extents(volume.len, extent));
    let all = counts().fold(0, u64::saturating_add);
    let most = u64::from(u32::MAX);
    if all > most {
        return Err(Error::TooManyExtents {
            name: group.name.clone(),
            extent,
            all,
            most,
        });
    }
    let whole = counts().enumerate().map(|(physical, count)| Piece {
        physical,
        offset: DATA,
        len: count.saturating_mul(extent),
    });
    let mut left = all;
    let mut free = whole.collect::<Vec<_>>().into_iter().peekable();
    let mut places = Vec::new();
    for logical in &group.logical {
        let Some(rest) = left.checked_sub(logical.extents) else {
            return Err(Error::Extents {
                name: logical.name.clone(),
                needed: logical.extents,
                extent,
                free: left,
                all,
            });
        };
        left = rest;
        places.push(take(&mut free, logical.extents.saturating_mul(extent)));
    }
    Ok(places)
}

/// Takes `len` bytes from the front of what is free.
fn take(free: &mut Peekable<impl Iterator<Item = Piece>>, mut len: u64) -> Vec<Piece> {
    let mut taken = Vec::new();
    while len > 0 {
        let Some(run) = free.peek_mut() else {
            break;
        };
        let here = Piece {
            len: run.len.min(len),
            ..*run
        };
        run.offset = run.offset.saturating_add(here.len);
        run.len = run.len.saturating_sub(here.len);
        if run.len == 0 {
            free.next();
        }
        len = len.saturating_sub(here.len);
        taken.push(here);
    }
    taken
}
