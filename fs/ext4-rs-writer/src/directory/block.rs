//! Blocks of names: entries, and the tail that guards them.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/dynamic.html#linear-classic-directories>

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::checksum::InodeSeed;
use crate::units::Ino;

/// The head of an entry; the name follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Head {
    /// The file's inode; 0 marks an entry that names nothing.
    pub(crate) inode: U32,
    /// Bytes up to the next entry, a multiple of 4.
    pub(crate) rec_len: U16,
    /// Bytes of the name.
    pub(crate) name_len: u8,
    /// The file's type, or 0 without `filetype`.
    pub(crate) file_type: u8,
}
const _: () = assert!(size_of::<Head>() == 8);

/// The end of a block with a checksum, dressed as an entry that names nothing, so that older readers skip it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Tail {
    pub(crate) head: Head,
    pub(crate) checksum: U32,
}
const _: () = assert!(size_of::<Tail>() == 12);

/// Bytes of a [`Tail`].
pub(super) const TAIL_BYTES: u32 = 12;
/// Bytes of `.` and `..`.
pub(super) const DOTS_BYTES: u32 = 24;
/// The type by which a [`Tail`] is known.
pub(crate) const TAIL_TYPE: u8 = 0xde;
/// The type of a directory.
pub(super) const DIRECTORY_TYPE: u8 = 2;

/// Bytes of an entry without slack.
pub(super) fn entry_bytes(name: &[u8]) -> u32 {
    let name = u32::try_from(name.len()).expect("a name is at most 255 bytes long");
    name.saturating_add(8).next_multiple_of(4)
}

/// Writes one entry at the start of `bytes`, all of which it takes.
pub(super) fn write_entry(bytes: &mut [u8], ino: Ino, name: &[u8], file_type: u8) {
    let head = Head {
        inode: ino.0.into(),
        rec_len: u16::try_from(bytes.len())
            .expect("a block has at most 32 KiB")
            .into(),
        name_len: u8::try_from(name.len()).expect("a name is at most 255 bytes long"),
        file_type,
    };
    let (head_bytes, rest) = bytes.split_at_mut(size_of::<Head>());
    head_bytes.copy_from_slice(head.as_bytes());
    rest[..name.len()].copy_from_slice(name);
}

/// Fills a zeroed block with entries, stretches the last one, and seals the block if it has a checksum.
pub(super) fn fill_leaf<'n>(
    block: &mut [u8],
    seed: Option<InodeSeed>,
    entries: impl Iterator<Item = (&'n [u8], Ino, u8)>,
) {
    let tail = if seed.is_some() { size_of::<Tail>() } else { 0 };
    let end = block.len().saturating_sub(tail);
    let mut at: usize = 0;
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        write_entry(&mut block[..end], Ino(0), b"", 0);
    }
    while let Some((name, ino, file_type)) = entries.next() {
        let len = usize::try_from(entry_bytes(name)).unwrap_or(usize::MAX);
        let next = if entries.peek().is_some() {
            at.saturating_add(len)
        } else {
            end
        };
        write_entry(&mut block[at..next], ino, name, file_type);
        at = next;
    }
    if let Some(seed) = seed {
        let (entries, tail_bytes) = block.split_at_mut(end);
        let tail = Tail {
            head: Head {
                inode: 0.into(),
                rec_len: 12.into(),
                name_len: 0,
                file_type: TAIL_TYPE,
            },
            checksum: seed.directory_leaf(entries).into(),
        };
        tail_bytes.copy_from_slice(tail.as_bytes());
    }
}
