//! The xz format as squashfs uses it: one stream of one block with a CRC32 or no checksum, as the kernel demands.
//!
//! Spec: <https://tukaani.org/xz/xz-file-format.txt>, sections 2.1.1 and 3.
//!
//! Why own framing: a reader of any xz file must believe what the file says of its dictionary, up to 4 GiB. Here no
//! more than a block ever comes out, and no dictionary needs to be longer.

use std::io::Read;

use lzma_rust2::Lzma2Reader;
use lzma_rust2::filter::bcj::BcjReader;
use lzma_rust2::filter::delta::DeltaReader;

use super::{Damage, dictionary, fill};

const MAGIC: &[u8; 6] = b"\xfd7zXZ\0";
const FILTER_LZMA2: u64 = 0x21;

/// A filter: its number and properties.
struct Filter<'a> {
    id: u64,
    properties: &'a [u8],
}

/// Unpacks a stream to the beginning of `out`.
pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Result<usize, Damage> {
    let (kind, packed) = stream_header(packed).ok_or(Damage::Malformed)?;
    let checksum = match kind {
        0 => None,
        1 => Some(4_usize),
        kind => return Err(Damage::UnknownChecksum(kind)),
    };
    let (filters, mut rest) = block_header(packed).ok_or(Damage::Malformed)?;
    let (last, others) = filters.split_last().ok_or(Damage::Malformed)?;
    let size = match last {
        Filter {
            id: FILTER_LZMA2,
            properties: [size],
        } => dictionary_size(*size).ok_or(Damage::Malformed)?,
        Filter { id, .. } => return Err(Damage::UnknownFilter(*id)),
    };
    let before = rest.len();
    let lzma2 = Lzma2Reader::new(&mut rest, dictionary(size, out.len()), None);
    let mut chain: Box<dyn Read + '_> = Box::new(lzma2);
    for filter in others.iter().rev() {
        chain = filtered(chain, filter)?;
    }
    let len = fill(chain, out)?;
    if let Some(width) = checksum {
        let padding = before.saturating_sub(rest.len()).wrapping_neg() & 3;
        let stored = rest
            .get(padding..)
            .and_then(|rest| rest.get(..width))
            .ok_or(Damage::Malformed)?;
        let mut crc = flate2::Crc::new();
        crc.update(&out[..len]);
        if crc.sum().to_le_bytes() != stored {
            return Err(Damage::Checksum);
        }
    }
    Ok(len)
}

/// The kind of the stream's checksum, and what follows its header.
fn stream_header(packed: &[u8]) -> Option<(u8, &[u8])> {
    let rest = packed.strip_prefix(MAGIC)?;
    let (flags, rest) = rest.split_first_chunk::<2>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    (crc_of(flags) == *crc && flags[0] == 0).then_some((flags[1], rest))
}

/// The filters of a block, and what follows its header.
fn block_header(packed: &[u8]) -> Option<(Vec<Filter<'_>>, &[u8])> {
    let size = usize::from(*packed.first()?).checked_add(1)?.checked_mul(4)?;
    let (header, rest) = packed.split_at_checked(size)?;
    let (header, crc) = header.split_last_chunk::<4>()?;
    if crc_of(header) != *crc {
        return None;
    }
    let (flags, mut header) = (*header.get(1)?, header.get(2..)?);
    if flags & 0x3c != 0 {
        return None;
    }
    // The sizes, packed and unpacked, say nothing that is believed.
    for bit in [0x40, 0x80] {
        if flags & bit != 0 {
            number(&mut header)?;
        }
    }
    let mut filters = Vec::new();
    for _ in 0..=(flags & 3) {
        let id = number(&mut header)?;
        let size = usize::try_from(number(&mut header)?).ok()?;
        let (properties, rest) = header.split_at_checked(size)?;
        filters.push(Filter { id, properties });
        header = rest;
    }
    Some((filters, rest))
}

fn crc_of(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

/// A number of seven bits a byte, the least first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The bytes of a dictionary: 2 or 3 times a power of two, or 4 GiB less one.
fn dictionary_size(bits: u8) -> Option<u32> {
    match bits {
        0..40 => Some((2 | u32::from(bits & 1)).checked_shl(u32::from(bits / 2).saturating_add(11))?),
        40 => Some(u32::MAX),
        _ => None,
    }
}

/// A filter around what it is fed by.
fn filtered<'a>(chain: Box<dyn Read + 'a>, filter: &Filter<'_>) -> Result<Box<dyn Read + 'a>, Damage> {
    if let Filter {
        id: 0x03,
        properties: [distance],
    } = filter
    {
        return Ok(Box::new(DeltaReader::new(
            chain,
            usize::from(*distance).saturating_add(1),
        )));
    }
    let start = match filter.properties {
        [] => 0,
        [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => return Err(Damage::Malformed),
    };
    let start = usize::try_from(start).map_err(|_| Damage::Malformed)?;
    Ok(match filter.id {
        0x04 => Box::new(BcjReader::new_x86(chain, start)),
        0x05 => Box::new(BcjReader::new_ppc(chain, start)),
        0x06 => Box::new(BcjReader::new_ia64(chain, start)),
        0x07 => Box::new(BcjReader::new_arm(chain, start)),
        0x08 => Box::new(BcjReader::new_arm_thumb(chain, start)),
        0x09 => Box::new(BcjReader::new_sparc(chain, start)),
        0x0a => Box::new(BcjReader::new_arm64(chain, start)),
        0x0b => Box::new(BcjReader::new_riscv(chain, start)),
        id => return Err(Damage::UnknownFilter(id)),
    })
}
