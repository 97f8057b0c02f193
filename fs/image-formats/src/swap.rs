//! Swap areas of Linux: one page that says that all the others may be used.
//!
//! Spec: `union swap_header` in <https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/include/linux/swap.h>
//!
//! Pages have 4096 bytes: those of every architecture that images are built for.

use image_core::Map;
use image_core::map::MapError;
use uuid::Uuid;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// The least pages: what mkswap makes at least.
const PAGES_MIN: u64 = 10;

/// What a swap area is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its bytes, of which whole pages are used.
    pub len: u64,
    /// Its label, ended by a NUL if it is shorter.
    pub label: [u8; 16],
    /// Its identity.
    pub uuid: Uuid,
}

/// Why there can be no such swap area.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too few pages.
    #[error("a swap area of {len} bytes is too short: {least} bytes are the least", least = PAGES_MIN * PAGE)]
    Short {
        /// Its bytes.
        len: u64,
    },
    /// Too many pages.
    #[error("a swap area of {len} bytes is too long: its pages are numbered with 32 bits, up to {most} bytes", most = PAGE << 32)]
    Long {
        /// Its bytes.
        len: u64,
    },
    /// The header does not lie in the area: a mistake of this module.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// The first page.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    /// Room for boot code: zero.
    bootbits: [u8; 1024],
    /// 1.
    version: U32,
    /// The number of the last page.
    last_page: U32,
    /// 0: files have no bad blocks.
    nr_badpages: U32,
    uuid: [u8; 16],
    volume_name: [u8; 16],
    /// Padding, and the list of bad pages: zero.
    padding: [u8; 3018],
    /// `SWAPSPACE2`.
    magic: [u8; 10],
}
const _: () = assert!(size_of::<Header>() == 4096);

/// Plans a swap area: its header is all that its map holds.
pub fn plan(options: &Options) -> Result<Map, Error> {
    let len = options.len;
    let pages = len / PAGE;
    if pages < PAGES_MIN {
        return Err(Error::Short { len });
    }
    let last_page = u32::try_from(pages.saturating_sub(1)).map_err(|_| Error::Long { len })?;
    let header = Header {
        version: 1.into(),
        last_page: last_page.into(),
        uuid: *options.uuid.as_bytes(),
        volume_name: options.label,
        magic: *b"SWAPSPACE2",
        ..Header::new_zeroed()
    };
    let mut builder = Map::builder(len);
    builder.bytes(0, header.as_bytes(), "swap header");
    Ok(builder.build()?)
}
