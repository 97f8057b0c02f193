//! Chunks: which bytes of the device stand behind which logical addresses.
//!
//! Everything in the file system is addressed logically. The chunks that hold the tree of chunks itself stand in the
//! superblock.

use zerocopy::FromBytes;

use super::Error;
use super::disk::{ChunkItem, DiskKey, Key, Stripe, Superblock, kind};

/// Bits of `btrfs_chunk.type`: what is in a chunk, and how it is laid on devices.
const CONTENTS: u64 = 0x7;
const DUP: u64 = 0x20;
/// Ways that need more than one device, or parity.
const PROFILES: [(u64, &str); 7] = [
    (0x8, "profile RAID0"),
    (0x10, "profile RAID1"),
    (0x40, "profile RAID10"),
    (0x80, "profile RAID5"),
    (0x100, "profile RAID6"),
    (0x200, "profile RAID1C3"),
    (0x400, "profile RAID1C4"),
];

/// The chunks of a file system, in ascending order.
#[derive(Debug)]
pub(super) struct Chunks {
    chunks: Vec<Chunk>,
    /// The device's number, and its bytes.
    device: (u64, u64),
}

#[derive(Debug)]
struct Chunk {
    logical: u64,
    len: u64,
    /// Where on the device it begins.
    copy: u64,
    /// The same bytes once more.
    second: Option<u64>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.logical.saturating_add(self.len)
    }
}

impl Chunks {
    /// No chunks of a device so far.
    pub(super) fn new(superblock: &Superblock) -> Self {
        Self {
            chunks: Vec::new(),
            device: (superblock.dev_item.devid.get(), superblock.total_bytes.get()),
        }
    }

    /// The chunks that stand in the superblock.
    pub(super) fn of_superblock(superblock: &Superblock) -> Result<Self, Error> {
        let size = superblock.sys_chunk_array_size.get();
        let malformed = || Error::BadSuperblock {
            field: "sys_chunk_array_size",
            value: size.into(),
        };
        let len = usize::try_from(size).map_err(|_| malformed())?;
        let mut rest = superblock.sys_chunk_array.get(..len).ok_or_else(malformed)?;
        let mut chunks = Self::new(superblock);
        while !rest.is_empty() {
            let (key, behind) = DiskKey::read_from_prefix(rest).map_err(|_| malformed())?;
            let (item, _) = ChunkItem::read_from_prefix(behind).map_err(|_| malformed())?;
            let stripes = usize::from(item.num_stripes.get()).saturating_mul(size_of::<Stripe>());
            let len = size_of::<ChunkItem>().saturating_add(stripes);
            let (chunk, after) = behind.split_at_checked(len).ok_or_else(malformed)?;
            chunks.add(key.get(), chunk)?;
            rest = after;
        }
        Ok(chunks)
    }

    /// Adds a chunk by its item; items of other kinds are passed over.
    pub(super) fn add(&mut self, key: Key, bytes: &[u8]) -> Result<(), Error> {
        if key.kind != kind::CHUNK_ITEM {
            return Ok(());
        }
        let logical = key.offset;
        let wrong = |field, value| Error::Chunk {
            logical,
            field,
            value,
        };
        let (item, stripes) = ChunkItem::read_from_prefix(bytes).map_err(|_| wrong("num_stripes", 0))?;
        let copies = copies(&item).map_err(|trouble| match trouble {
            Profile::Unsupported(name) => Error::Unsupported(name),
            Profile::Unknown => wrong("type", item.kind.get()),
        })?;
        let count = item.num_stripes.get();
        let stripes = <[Stripe]>::ref_from_bytes(stripes).map_err(|_| wrong("num_stripes", count.into()))?;
        if stripes.len() != copies || usize::from(count) != copies {
            return Err(wrong("num_stripes", count.into()));
        }
        let len = item.length.get();
        if len == 0 || logical.checked_add(len).is_none() {
            return Err(wrong("length", len));
        }
        let (device, size) = self.device;
        for stripe in stripes {
            if stripe.devid.get() != device {
                return Err(wrong("devid", stripe.devid.get()));
            }
            let end = stripe.offset.get().checked_add(len);
            if end.is_none_or(|end| end > size) {
                return Err(wrong("offset", stripe.offset.get()));
            }
        }
        let mut places = stripes.iter().map(|stripe| stripe.offset.get());
        self.insert(Chunk {
            logical,
            len,
            copy: places.next().ok_or_else(|| wrong("num_stripes", 0))?,
            second: places.next(),
        })
    }

    fn insert(&mut self, chunk: Chunk) -> Result<(), Error> {
        let at = self.chunks.partition_point(|known| known.logical < chunk.logical);
        let before = at.checked_sub(1).and_then(|at| self.chunks.get(at));
        let behind = self.chunks.get(at);
        let overlaps = before.is_some_and(|before| before.end() > chunk.logical)
            || behind.is_some_and(|behind| chunk.end() > behind.logical);
        if overlaps {
            return Err(Error::Chunk {
                logical: chunk.logical,
                field: "length",
                value: chunk.len,
            });
        }
        self.chunks.insert(at, chunk);
        Ok(())
    }

    /// Where on the device some bytes stand: once, or twice.
    pub(super) fn places(&self, at: u64, len: u64) -> Result<impl Iterator<Item = u64> + use<>, Error> {
        let unmapped = Error::Unmapped { at, len };
        let index = self.chunks.partition_point(|chunk| chunk.end() <= at);
        let found = self.chunks.get(index).and_then(|chunk| {
            let within = at.checked_sub(chunk.logical)?;
            (within.checked_add(len)? <= chunk.len).then_some((chunk, within))
        });
        let (chunk, within) = found.ok_or(unmapped)?;
        let copies = [Some(chunk.copy), chunk.second];
        Ok(copies
            .into_iter()
            .flatten()
            .map(move |copy| copy.saturating_add(within)))
    }
}

enum Profile {
    Unsupported(&'static str),
    Unknown,
}

/// How often a chunk stands on the device.
fn copies(item: &ChunkItem) -> Result<usize, Profile> {
    let bits = item.kind.get();
    if let Some((_, name)) = PROFILES.iter().find(|(bit, _)| bits & bit != 0) {
        return Err(Profile::Unsupported(name));
    }
    match bits & !CONTENTS {
        0 => Ok(1),
        DUP => Ok(2),
        _ => Err(Profile::Unknown),
    }
}
