//! The header and the entries of the tables, as they stand on disk.
//!
//! Spec: <https://www.qemu.org/docs/master/interop/qcow2.html#header>

use std::mem::{offset_of, size_of};

use image_core::ReadAt;
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::geometry::{ClusterSize, Geometry, Refcounts};
use super::options::{Compat, CompressionType, Options};
use super::reader::ReadError;

/// `QFI\xfb`.
pub(super) const MAGIC: u32 = 0x5146_49fb;

/// Incompatible feature: [`Header::compression_type`] is not zlib.
pub(super) const INCOMPATIBLE_COMPRESSION_TYPE: u64 = 1 << 3;

/// Compatible feature: reference counts may be brought up to date late. Ours are exact all the same.
const COMPATIBLE_LAZY_REFCOUNTS: u64 = 1;

/// Reference counts of `1 << 4` bits: the one width that version 2 knows.
pub(super) const REFCOUNT_ORDER: u32 = 4;

/// Bytes of the header that version 2 has.
pub(super) const V2_LEN: usize = 72;

/// The first bytes of an image. A zero word after it ends the header extensions, of which we write none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
#[allow(clippy::struct_field_names, reason = "the spec's names")]
pub(super) struct Header {
    /// [`MAGIC`].
    pub(super) magic: U32,
    /// 2 or 3.
    pub(super) version: U32,
    /// 0: we write no backing file.
    pub(super) backing_file_offset: U64,
    /// 0.
    pub(super) backing_file_size: U32,
    /// The power of two that a cluster is.
    pub(super) cluster_bits: U32,
    /// Bytes that the guest sees.
    pub(super) size: U64,
    /// 0: not encrypted.
    pub(super) crypt_method: U32,
    /// Entries in the L1 table.
    pub(super) l1_size: U32,
    /// Where the L1 table begins.
    pub(super) l1_table_offset: U64,
    /// Where the refcount table begins: at the end of the image, since it is known last.
    pub(super) refcount_table_offset: U64,
    /// Clusters of the refcount table.
    pub(super) refcount_table_clusters: U32,
    /// 0.
    pub(super) nb_snapshots: U32,
    /// 0.
    pub(super) snapshots_offset: U64,
    /// [`INCOMPATIBLE_COMPRESSION_TYPE`] for zstd, else 0.
    pub(super) incompatible_features: U64,
    /// Lazy reference counts when asked for.
    pub(super) compatible_features: U64,
    /// 0.
    pub(super) autoclear_features: U64,
    /// [`REFCOUNT_ORDER`].
    pub(super) refcount_order: U32,
    /// 112: this structure, as QEMU writes it.
    pub(super) header_length: U32,
    /// 0 zlib, 1 zstd.
    pub(super) compression_type: u8,
    /// 0.
    pub(super) padding: [u8; 7],
}
const _: () = assert!(size_of::<Header>() == 112);
const _: () = assert!(offset_of!(Header, size) == 24 && offset_of!(Header, l1_table_offset) == 40);
const _: () = assert!(offset_of!(Header, incompatible_features) == V2_LEN);
const _: () =
    assert!(offset_of!(Header, refcount_order) == 96 && offset_of!(Header, compression_type) == 104);

impl Header {
    /// The first bytes of an image, as they are; zero where it ends before. Gives how many are there, too.
    pub(super) fn of(image: &impl ReadAt) -> Result<(Self, usize), ReadError> {
        let mut header = Self::new_zeroed();
        let there = usize::try_from(image.len()).unwrap_or(usize::MAX);
        let bytes = header.as_mut_bytes();
        let len = there.min(bytes.len());
        image.read_exact_at(&mut bytes[..len], 0)?;
        if len < V2_LEN || header.magic.get() != MAGIC {
            return Err(ReadError::NotQcow2);
        }
        Ok((header, len))
    }

    /// The header of an image whose L1 table is its second cluster.
    pub(super) fn new(geometry: &Geometry, refcounts: &Refcounts, options: &Options) -> Self {
        let size = geometry.cluster_size;
        let small = |n: u64| U32::new(u32::try_from(n).expect("bounded by the largest L1 table"));
        let zstd = options.compression_type == CompressionType::Zstd;
        Self {
            magic: U32::new(MAGIC),
            version: U32::new(match options.compat {
                Compat::V2 => 2,
                Compat::V3 => 3,
            }),
            backing_file_offset: U64::ZERO,
            backing_file_size: U32::ZERO,
            cluster_bits: U32::new(size.bits()),
            size: U64::new(geometry.virtual_size),
            crypt_method: U32::ZERO,
            l1_size: small(geometry.l1_entries),
            l1_table_offset: U64::new(size.offset(1)),
            refcount_table_offset: U64::new(size.offset(refcounts.table_at)),
            refcount_table_clusters: small(refcounts.table),
            nb_snapshots: U32::ZERO,
            snapshots_offset: U64::ZERO,
            incompatible_features: U64::new(if zstd { INCOMPATIBLE_COMPRESSION_TYPE } else { 0 }),
            compatible_features: U64::new(if options.lazy_refcounts {
                COMPATIBLE_LAZY_REFCOUNTS
            } else {
                0
            }),
            autoclear_features: U64::ZERO,
            refcount_order: U32::new(REFCOUNT_ORDER),
            header_length: U32::new(u32::try_from(size_of::<Self>()).expect("112")),
            compression_type: u8::from(zstd),
            padding: [0; 7],
        }
    }

    /// The header's bytes: version 2 ends before the features.
    pub(super) fn render(&self) -> &[u8] {
        let len = if self.version.get() == 2 {
            V2_LEN
        } else {
            size_of::<Self>()
        };
        &self.as_bytes()[..len]
    }
}

/// An entry of the L1 or of an L2 table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry(pub(super) u64);

/// The entry's cluster has a reference count of exactly 1.
const COPIED: u64 = 1 << 63;
/// The entry describes compressed data.
const COMPRESSED: u64 = 1 << 62;
/// Bits 9..56: the host offset of a cluster.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// An L2 entry's cluster reads as zero, whatever it holds.
const ZERO: u64 = 1;

/// What an L2 entry says of its guest cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing: the cluster reads as zero, there being no backing file.
    Unallocated,
    /// It reads as zero.
    Zero,
    /// It lies at a host offset.
    Plain(u64),
    /// It lies compressed in these bytes of the host, of which the last sector may have a few too many.
    Compressed {
        /// First byte.
        offset: u64,
        /// Bytes up to the end of the last sector.
        len: u64,
    },
}

impl Entry {
    /// The entry of a cluster at a host offset, an L2 table or data.
    pub(super) fn plain(offset: u64) -> Self {
        Self(COPIED | (offset & OFFSET))
    }

    /// The entry of `len` compressed bytes at a host offset, which need not be aligned.
    pub(super) fn compressed(offset: u64, len: u64, size: ClusterSize) -> Self {
        let last = offset.saturating_add(len).saturating_sub(1);
        let more_sectors = (last / 512).saturating_sub(offset / 512);
        Self(COMPRESSED | more_sectors.unbounded_shl(Self::offset_bits(size)) | offset)
    }

    /// The host offset of an L2 table, unless there is none.
    pub(super) fn table(self) -> Option<u64> {
        Some(self.0 & OFFSET).filter(|offset| *offset != 0)
    }

    /// Reads an L2 entry.
    pub(super) fn meaning(self, size: ClusterSize) -> Meaning {
        if self.0 & COMPRESSED != 0 {
            let low = self.0 & !(COMPRESSED | COPIED);
            let bits = Self::offset_bits(size);
            let more_sectors = low.unbounded_shr(bits);
            let offset = low & u64::MAX.unbounded_shr(u64::BITS.saturating_sub(bits));
            let first_sector = 512_u64.saturating_sub(offset % 512);
            let len = more_sectors.saturating_mul(512).saturating_add(first_sector);
            return Meaning::Compressed { offset, len };
        }
        match (self.0 & ZERO, self.0 & OFFSET) {
            (ZERO, _) => Meaning::Zero,
            (_, 0) => Meaning::Unallocated,
            (_, offset) => Meaning::Plain(offset),
        }
    }

    /// Bits of a compressed entry that hold the offset; the number of sectors lies above them.
    fn offset_bits(size: ClusterSize) -> u32 {
        70_u32.saturating_sub(size.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_mean_what_they_were_made_of() {
        for size in ClusterSize::all() {
            let bytes = size.bytes().get();
            for offset in [512, 1000, 511, 1 << 40, (1 << 40) + 511] {
                for len in [1, 2, bytes / 2, bytes - 1] {
                    let Meaning::Compressed {
                        offset: at,
                        len: room,
                    } = Entry::compressed(offset, len, size).meaning(size)
                    else {
                        panic!("compressed")
                    };
                    assert_eq!(at, offset);
                    assert!((len..len + 512).contains(&room) && (at + room) % 512 == 0);
                }
            }
            assert_eq!(Entry::plain(bytes * 7).meaning(size), Meaning::Plain(bytes * 7));
            assert_eq!(Entry(0).meaning(size), Meaning::Unallocated);
            assert_eq!(Entry(1).meaning(size), Meaning::Zero);
        }
    }
}
