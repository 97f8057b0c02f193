//! GRUB's boot code for old firmware, embedded without a device: what `grub-bios-setup` writes, from the images that
//! `grub-mkimage` and the distribution made.
//!
//! Spec: no document but the code's behaviour, which a test compares byte for byte.
//!
//! ```text
//! sector 0     boot.img: loads the one sector that byte 0x5c names
//! area, +0     core.img's first sector: loads the list of runs that ends its sector: one run, all the rest
//! area, +1..   the rest of core.img, whose head repairs what follows it by Reed-Solomon codes
//! core's end   those codes, up to twice core.img's length, as far as the area and the memory reach
//! ```
//!
//! The area is the gap between a master boot record and the first partition, or the BIOS boot partition of a GPT.

mod reed_solomon;

use std::ops::Range;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const SECTOR: usize = 512;
/// Bytes of sector 0 before the disk's identity and its partitions.
const CODE: usize = 440;
/// The place, in `boot_hybrid.img`, of the sector where the rest begins.
const HYBRID: usize = CODE - 8;
/// The most sectors of an image: between where it is loaded and the end of the memory that it may have.
const SECTORS_MAX: usize = (0x7_8000 - 0x9000) / SECTOR;
/// The segment at which the first sector loads the others.
const SEGMENT: u16 = 0x820;
/// The place of the first run, in core.img's first sector.
const RUN: usize = SECTOR - 12;
/// The place in core.img, from its second sector on, of the number of bytes that codes add.
const REDUNDANCY: Range<usize> = SECTOR + 0x10..SECTOR + 0x14;
/// The place of the number of bytes, from its second sector on, that codes do not protect.
const UNPROTECTED: Range<usize> = SECTOR + 0x14..SECTOR + 0x16;

/// What sector 0 gets: the code before the identity of the disk and its partitions.
#[derive(Clone, PartialEq, Eq)]
pub struct BootSector([u8; CODE]);

/// Boot code, as a disk shall have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// For sector 0.
    pub boot: BootSector,
    /// For the beginning of the area, in whole sectors.
    pub core: Vec<u8>,
}

/// Why boot code cannot be embedded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not the image of a boot sector.
    #[error("boot.img has {len} bytes, and no boot sector's end: it is no image of GRUB's boot sector")]
    Boot {
        /// Its bytes.
        len: usize,
    },
    /// Not an image that can be embedded.
    #[error(
        "core.img has {len} bytes, and {unprotected} that codes do not protect: it is no image of GRUB's core for i386-pc"
    )]
    Core {
        /// Its bytes.
        len: usize,
        /// What it says of codes.
        unprotected: usize,
    },
    /// The area has no whole sectors.
    #[error("GRUB's core cannot lie in bytes {start} to {end}: they are no whole sectors of 512 bytes")]
    Area {
        /// Its first byte.
        start: u64,
        /// The byte after its last.
        end: u64,
    },
    /// The area, or the memory, is too small.
    #[error("GRUB's core needs {needed} sectors of 512 bytes, and {room} are there")]
    NoRoom {
        /// Sectors that it has.
        needed: usize,
        /// Sectors of the area, or of the memory that it may have.
        room: usize,
    },
}

/// The fields of sector 0 that tell where the rest lies.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Boot {
    jump: [u8; 3],
    /// The parameters of a file system, which is none: zero.
    parameters: [u8; 0x57],
    version: [u8; 2],
    /// Where the core begins.
    kernel_sector: U64,
    /// 0xff: the drive that the firmware started from.
    drive: u8,
    padding: u8,
    /// Two instructions that do nothing, in place of a jump over what sets the drive where firmware gives none.
    drive_check: [u8; 2],
}
const _: () = assert!(size_of::<Boot>() == 0x68);

/// A run of sectors, as core.img's first sector lists them, the first one last.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Run {
    start: U64,
    len: U16,
    segment: U16,
}
const _: () = assert!(size_of::<Run>() == 12);

impl BootSector {
    /// The first 440 bytes of sector 0.
    pub fn code(&self) -> &[u8; CODE] {
        &self.0
    }
}

impl std::fmt::Debug for BootSector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootSector").finish_non_exhaustive()
    }
}

/// Makes boot code for an area of the disk, with codes that repair it where damage is small, or without.
pub fn embed(
    boot_img: &[u8],
    core_img: &[u8],
    area: Range<u64>,
    reed_solomon: bool,
) -> Result<Embedded, Error> {
    let Range { start, end } = area;
    if !start.is_multiple_of(512) || !end.is_multiple_of(512) || start > end {
        return Err(Error::Area { start, end });
    }
    let first = start / 512;
    let boot = boot(boot_img, first)?;

    let len = core_img.len();
    let needed = len.div_ceil(SECTOR);
    let area = usize::try_from((end / 512).saturating_sub(first)).unwrap_or(usize::MAX);
    let room = area.min(SECTORS_MAX);
    if needed > room {
        return Err(Error::NoRoom { needed, room });
    }
    let sectors = if reed_solomon {
        room.min(needed.saturating_mul(2))
    } else {
        needed
    };

    let field = core_img
        .get(UNPROTECTED)
        .and_then(|field| U16::read_from_bytes(field).ok());
    let unprotected = field.map_or(0, |field| usize::from(field.get()));
    let protected = SECTOR.saturating_add(unprotected);
    // 0xffff is what an image has that is not of this kind.
    if unprotected == 0 || protected > len {
        return Err(Error::Core { len, unprotected });
    }
    let mut core = core_img.to_vec();
    core.resize(sectors.saturating_mul(SECTOR), 0);
    let rest = u16::try_from(sectors.saturating_sub(1)).expect("888 at most");
    let run = Run {
        start: first.saturating_add(1).into(),
        len: rest.into(),
        segment: SEGMENT.into(),
    };
    put(&mut core, RUN, run.as_bytes());
    if reed_solomon {
        let redundancy = core.len().saturating_sub(len);
        let field = U32::new(u32::try_from(redundancy).expect("888 sectors at most"));
        put(&mut core, REDUNDANCY.start, field.as_bytes());
        reed_solomon::protect(core.get_mut(protected..).unwrap_or_default(), redundancy);
    }
    Ok(Embedded { boot, core })
}

/// Makes the code of `boot_hybrid.img` start what lies at a sector: in an image that is a disc and a disk.
///
/// It is like the other one, but for where it is told so: at the end of the code.
pub fn hybrid(boot_hybrid_img: &[u8], first: u64) -> Result<BootSector, Error> {
    let mut code = code(boot_hybrid_img)?;
    put(&mut code, HYBRID, &first.to_le_bytes());
    Ok(BootSector(code))
}

/// The code of an image of a boot sector.
fn code(image: &[u8]) -> Result<[u8; CODE], Error> {
    let len = image.len();
    let code: Option<[u8; CODE]> = image.get(..CODE).and_then(|code| code.try_into().ok());
    match (code, len, image.get(510..)) {
        (Some(code), SECTOR, Some([0x55, 0xaa])) => Ok(code),
        _ => Err(Error::Boot { len }),
    }
}

fn boot(image: &[u8], first: u64) -> Result<BootSector, Error> {
    let len = image.len();
    let mut code = code(image)?;
    let (head, _) = Boot::mut_from_prefix(&mut code).map_err(|_| Error::Boot { len })?;
    head.parameters = [0; 0x57];
    head.kernel_sector = first.into();
    head.drive = 0xff;
    head.drive_check = [0x90; 2];
    Ok(BootSector(code))
}

/// Puts bytes over others.
fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    let place = into.iter_mut().skip(at);
    place.zip(bytes).for_each(|(byte, new)| *byte = *new);
}
