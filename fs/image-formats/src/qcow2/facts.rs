//! What an image says of itself in its header, be it one that cannot be read.

use image_core::ReadAt;
use zerocopy::IntoBytes;

use super::header::{Header, INCOMPATIBLE_COMPRESSION_TYPE, V2_LEN};
use super::reader::ReadError;

/// Bytes of a version 3 header that every image of it has.
const V3_LEN: usize = 104;
/// The longest name of a backing file, by the specification.
const NAME_MAX: u32 = 1023;

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of the header")]
pub struct Facts {
    /// 2 or 3, or one that there is not.
    pub version: u32,
    /// Bytes of the guest.
    pub virtual_size: u64,
    /// Bytes in a cluster; `None`: a size that there is not.
    pub cluster_size: Option<u64>,
    /// How clusters are compressed, if any are: `zlib` or `zstd`.
    pub compression: &'static str,
    /// Bits of a reference count.
    pub refcount_bits: u32,
    /// The name of the backing file, which is never opened.
    pub backing_file: Option<Vec<u8>>,
    /// It is encrypted.
    pub encrypted: bool,
    /// Its data lie in another file.
    pub external_data: bool,
    /// Snapshots inside of it.
    pub snapshots: u32,
    /// It was not closed: reference counts may be wrong.
    pub dirty: bool,
    /// A program found it damaged.
    pub corrupt: bool,
}

impl Facts {
    /// Reads them.
    pub fn of(image: &impl ReadAt) -> Result<Self, ReadError> {
        let (mut header, len) = Header::of(image)?;
        let version = header.version.get();
        if version < 3 || len < V3_LEN {
            header.as_mut_bytes()[V2_LEN..].fill(0);
            header.refcount_order = super::header::REFCOUNT_ORDER.into();
        }
        let incompatible = header.incompatible_features.get();
        let bits = header.cluster_bits.get();
        Ok(Self {
            version,
            virtual_size: header.size.get(),
            cluster_size: (9..=21).contains(&bits).then(|| 1_u64.rotate_left(bits)),
            compression: match (
                incompatible & INCOMPATIBLE_COMPRESSION_TYPE,
                header.compression_type,
            ) {
                (0, _) | (_, 0) => "zlib",
                (_, 1) => "zstd",
                _ => "unknown",
            },
            refcount_bits: 1_u32.checked_shl(header.refcount_order.get()).unwrap_or(0),
            backing_file: backing_file(image, &header)?,
            encrypted: header.crypt_method.get() != 0,
            external_data: incompatible & 4 != 0,
            snapshots: header.nb_snapshots.get(),
            dirty: incompatible & 1 != 0,
            corrupt: incompatible & 2 != 0,
        })
    }
}

fn backing_file(image: &impl ReadAt, header: &Header) -> Result<Option<Vec<u8>>, ReadError> {
    let at = header.backing_file_offset.get();
    if at == 0 {
        return Ok(None);
    }
    let len = header.backing_file_size.get().min(NAME_MAX);
    let len = u64::from(len).min(image.len().saturating_sub(at));
    let mut name = vec![0; usize::try_from(len).expect("1023 at most")];
    image.read_exact_at(&mut name, at.min(image.len()))?;
    Ok(Some(name))
}
