//! A physical volume → the logical volumes of its group.
//!
//! Linear volumes are read: those whose segments are `striped` with one stripe. All numbers are hostile: a place that a
//! text names is only ever used as bounds of a slice, which whoever has the physical volumes checks.

use std::io;

use image_core::ReadAt;
use zerocopy::FromBytes as _;

use super::SECTOR;
use super::config::{self, Section, Value};
use super::disk::{DiskLocn, MAGIC, MdaHeader, VERSION, crc};

/// Sectors in which LVM looks for a label.
const LABEL_SECTORS: u64 = 4;
/// The longest description that is read: that of a group of ten thousand volumes.
const TEXT_MAX: u64 = 4 << 20;
/// Physical volumes of a group at most, and logical ones.
const VOLUMES_MAX: usize = 512;

/// Who a physical or logical volume is: 32 letters and digits.
pub type Uuid = [u8; 32];

/// What a physical volume says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who it is.
    pub uuid: Uuid,
    /// Its group, unless it has none or leaves it to others to say.
    pub group: Option<FoundGroup>,
}

/// What a physical volume says of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundGroup {
    /// Who it is.
    pub uuid: String,
    /// What it is called.
    pub name: String,
    /// Grows with each change: of two descriptions that of the greater number counts.
    pub number: u64,
    /// Its volumes, but for those that others are made of.
    pub volumes: Vec<FoundVolume>,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundVolume {
    /// What it is called.
    pub name: String,
    /// Where its bytes are, in order, or `None` where it is not linear.
    pub runs: Option<Vec<Run>>,
}

/// A run of bytes of a logical volume, as its group describes it: nobody has checked that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The physical volume.
    pub physical: Uuid,
    /// Where it begins there.
    pub offset: u64,
    /// Bytes in it.
    pub len: u64,
}

/// Why a physical volume cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its bytes cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is none, or one of another version.
    #[error("none of the first {LABEL_SECTORS} sectors is a label of LVM2")]
    NoLabel,
    /// A structure was changed.
    #[error("the checksum of the {what} is {found:#010x}, and its bytes have {computed:#010x}")]
    Checksum {
        /// Which.
        what: &'static str,
        /// The one it says.
        found: u32,
        /// The one it has.
        computed: u32,
    },
    /// A structure is not where another one says.
    #[error("the {0} is not where it should be")]
    Place(&'static str),
    /// The description is longer than any.
    #[error("the description of the group has {0} bytes, and {TEXT_MAX} at most are read")]
    TooLong(u64),
    /// The description cannot be read.
    #[error("the description of the group makes no sense at byte {0}")]
    Syntax(usize),
    /// Sections stand too deep.
    #[error("the description of the group has sections in each other more than {0} times")]
    Deep(usize),
    /// Something is not said, or not as it should be.
    #[error("the description of the group has no {0} that makes sense")]
    Lacks(&'static str),
    /// There are more volumes than any system has.
    #[error("the description of the group has more than {VOLUMES_MAX} volumes")]
    Volumes,
}

/// Reads a physical volume.
pub fn read(volume: &impl ReadAt) -> Result<Found, ReadError> {
    let (uuid, area) = label(volume)?;
    let text = match area {
        Some(area) => text(volume, &area)?,
        None => None,
    };
    let group = text.map(|text| group(&config::parse(&text)?)).transpose()?;
    Ok(Found { uuid, group })
}

/// Who it is, and where its first metadata area is.
fn label(volume: &impl ReadAt) -> Result<(Uuid, Option<DiskLocn>), ReadError> {
    for number in 0..LABEL_SECTORS {
        let at = number.saturating_mul(SECTOR);
        let mut sector = [0; 512];
        if at.saturating_add(SECTOR) > volume.len() {
            break;
        }
        volume.read_exact_at(&mut sector, at)?;
        if sector.starts_with(b"LABELONE") && sector[24..32] == *b"LVM2 001" {
            check("label", &sector, 16)?;
            return physical(&sector).ok_or(ReadError::Place("header of the physical volume"));
        }
    }
    Err(ReadError::NoLabel)
}

/// Says whether the checksum at a place of a sector covers what follows there.
fn check(what: &'static str, sector: &[u8; 512], at: usize) -> Result<(), ReadError> {
    let (_, rest) = sector.split_at(at);
    let Some((found, covered)) = rest.split_first_chunk() else {
        return Err(ReadError::Place(what));
    };
    let (found, computed) = (u32::from_le_bytes(*found), crc(covered));
    if found == computed {
        Ok(())
    } else {
        Err(ReadError::Checksum {
            what,
            found,
            computed,
        })
    }
}

/// The header behind a label: a UUID, a size, and two lists of areas, each of which ends with a zero.
fn physical(sector: &[u8; 512]) -> Option<(Uuid, Option<DiskLocn>)> {
    let offset = u32::from_le_bytes(*sector.get(20..24)?.first_chunk()?);
    let header = sector.get(usize::try_from(offset).ok()?..)?;
    let (uuid, rest) = header.split_first_chunk::<32>()?;
    let mut lists = rest.get(8..)?;
    let mut area = || {
        let (area, rest) = DiskLocn::read_from_prefix(lists).ok()?;
        lists = rest;
        Some(area)
    };
    while area()?.offset.get() != 0 {}
    let first = area()?;
    Some((*uuid, (first.offset.get() != 0).then_some(first)))
}

/// The text that counts of a metadata area, if it has one.
fn text(volume: &impl ReadAt, area: &DiskLocn) -> Result<Option<Vec<u8>>, ReadError> {
    let outside = ReadError::Place("metadata area");
    let (start, size) = (area.offset.get(), area.size.get());
    let end = start.checked_add(size).filter(|end| *end <= volume.len());
    if end.is_none() || size < SECTOR {
        return Err(outside);
    }
    let mut sector = [0; 512];
    volume.read_exact_at(&mut sector, start)?;
    check("metadata header", &sector, 0)?;
    let (header, _) =
        MdaHeader::read_from_prefix(&sector).map_err(|_| ReadError::Place("metadata header"))?;
    let said = (header.magic, header.version.get());
    let place = (header.start.get(), header.size.get());
    if said != (MAGIC, VERSION) || place != (start, size) {
        return Err(outside);
    }
    let (at, len) = (header.text.offset.get(), header.text.size.get());
    if at == 0 || len == 0 || header.text.flags.get() & 1 == 1 {
        return Ok(None);
    }
    if len > TEXT_MAX {
        return Err(ReadError::TooLong(len));
    }
    let ring = SECTOR..size;
    if !ring.contains(&at) || len > ring.end.saturating_sub(ring.start) {
        return Err(ReadError::Place("description of the group"));
    }
    let mut text = vec![0; usize::try_from(len).map_err(|_| ReadError::TooLong(len))?];
    let straight = usize::try_from(ring.end.saturating_sub(at)).unwrap_or(usize::MAX);
    let straight = straight.min(text.len());
    let (first, wrapped) = text.split_at_mut(straight);
    volume.read_exact_at(first, start.saturating_add(at))?;
    volume.read_exact_at(wrapped, start.saturating_add(ring.start))?;
    let (found, computed) = (header.text.checksum.get(), crc(&text));
    if found != computed {
        return Err(ReadError::Checksum {
            what: "description of the group",
            found,
            computed,
        });
    }
    Ok(Some(text))
}

/// A physical volume, as its group sees it.
struct Known<'a> {
    name: &'a str,
    uuid: Uuid,
    /// Where its extents begin, in bytes.
    start: u64,
}

fn group(top: &Section) -> Result<FoundGroup, ReadError> {
    let (name, group) = top
        .sections()
        .next()
        .ok_or(ReadError::Lacks("section of a volume group"))?;
    let extent = group.number("extent_size")?;
    let extent = extent.checked_mul(SECTOR).filter(|extent| *extent > 0);
    let extent = extent.ok_or(ReadError::Lacks("extent_size"))?;
    let physical = group.section("physical_volumes").into_iter();
    let known: Vec<Known<'_>> = physical
        .flat_map(Section::sections)
        .take(VOLUMES_MAX.saturating_add(1))
        .map(|(name, physical)| known(name, physical))
        .collect::<Result<_, _>>()?;
    if known.len() > VOLUMES_MAX {
        return Err(ReadError::Volumes);
    }
    let mut volumes = Vec::new();
    let logical = group.section("logical_volumes").into_iter();
    for (name, logical) in logical.flat_map(Section::sections) {
        let status = logical.list("status").unwrap_or_default();
        if !status.contains(&Value::Text("VISIBLE".to_owned())) {
            continue;
        }
        if volumes.len() == VOLUMES_MAX {
            return Err(ReadError::Volumes);
        }
        volumes.push(FoundVolume {
            name: name.to_owned(),
            runs: runs(logical, &known, extent)?,
        });
    }
    Ok(FoundGroup {
        uuid: group.text("id")?.to_owned(),
        name: name.to_owned(),
        number: group.number("seqno")?,
        volumes,
    })
}

fn known<'a>(name: &'a str, physical: &Section) -> Result<Known<'a>, ReadError> {
    let id = physical.text("id")?.bytes().filter(|byte| *byte != b'-');
    let uuid = Uuid::try_from(id.collect::<Vec<u8>>()).map_err(|_| ReadError::Lacks("id"))?;
    let start = physical.number("pe_start")?.checked_mul(SECTOR);
    let start = start.ok_or(ReadError::Lacks("pe_start"))?;
    Ok(Known { name, uuid, start })
}

/// Where the bytes of a volume are, if it is linear.
fn runs(logical: &Section, known: &[Known<'_>], extent: u64) -> Result<Option<Vec<Run>>, ReadError> {
    let mut segments = logical
        .sections()
        .filter(|(name, _)| name.starts_with("segment"))
        .map(|(_, segment)| Ok((segment.number("start_extent")?, segment)))
        .collect::<Result<Vec<_>, ReadError>>()?;
    segments.sort_by_key(|(start, _)| *start);
    let mut runs = Vec::new();
    let mut next = 0_u64;
    for (start, segment) in segments {
        let count = segment.number("extent_count")?;
        if start != next || count == 0 {
            return Err(ReadError::Lacks("start_extent and extent_count"));
        }
        next = next.checked_add(count).ok_or(ReadError::Lacks("extent_count"))?;
        let linear = segment.text("type")? == "striped" && segment.number("stripe_count")? == 1;
        if !linear {
            return Ok(None);
        }
        runs.push(run(segment, known, extent, count)?);
    }
    // The length of a volume is a number of bytes, too.
    if runs.is_empty() || next.checked_mul(extent).is_none() {
        return Err(ReadError::Lacks("extent_count"));
    }
    Ok(Some(runs))
}

fn run(segment: &Section, known: &[Known<'_>], extent: u64, count: u64) -> Result<Run, ReadError> {
    let wrong = || ReadError::Lacks("stripes");
    let Some([Value::Text(name), Value::Number(first)]) = segment.list("stripes") else {
        return Err(wrong());
    };
    let physical = known.iter().find(|it| it.name == name).ok_or_else(wrong)?;
    let offset = first
        .checked_mul(extent)
        .and_then(|offset| offset.checked_add(physical.start));
    Ok(Run {
        physical: physical.uuid,
        offset: offset.ok_or_else(wrong)?,
        len: count.checked_mul(extent).ok_or_else(wrong)?,
    })
}
