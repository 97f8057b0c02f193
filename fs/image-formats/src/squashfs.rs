//! squashfs images as trees, and trees as squashfs images, version 4.0.
//!
//! Spec: <https://www.kernel.org/doc/html/latest/filesystems/squashfs.html>
//!
//! [`read`] reads the inodes and directories once and leaves the data where they are: the [`SquashfsStore`] unpacks
//! them from the image block by block, for several threads at once.
//!
//! | module | what it is |
//! |---|---|
//! | `disk` | what stands in an image, field by field |
//! | `codec` | the compressors |
//! | `cache` | the blocks unpacked last |
//! | `metadata` | tables of records in compressed blocks |
//! | `inode`, `directory`, `xattrs` | the records of the tables |
//! | `blocks` | where the bytes of a file stand |
//! | `walk` | image → tree |
//! | `store` | [`SquashfsStore`] |
//! | `write` | tree → image: [`plan()`] and [`SquashfsSink`] |
//!
//! Rules, since an image is hostile until checked:
//! - hard links are entries that lead to one inode; two inodes of one number, a directory with two names or within
//!   itself, and two entries of one name are refused;
//! - records may not overlap, so that what is read grows with the image and not with what it says of itself: the tree
//!   takes memory in proportion to the image's unpacked metadata, xattrs at most [`XATTR_BYTES_MAX`], the caches some
//!   megabytes, an opened file a block and the list of its blocks;
//! - no byte behind the image's own length (`bytes_used`) is read;
//! - xattrs are made portable as a scan makes them: see [`Xattr::portable`].
//!
//! Compressors: gzip, xz (with filters for machine code), lzma, and zstd where the crate has it; lz4 and lzo are
//! refused by name.
//!
//! Why own code: the crate `backhand` drops xattrs, and makes of each hard link a file of its own.

mod blocks;
mod cache;
pub(crate) mod codec;
mod directory;
pub(crate) mod disk;
mod inode;
mod metadata;
mod store;
mod walk;
mod write;
mod xattrs;

use std::io;

#[cfg(doc)]
use image_core::tree::Xattr;
use image_core::{ReadAt, Tree, tree::TreeError};
use zerocopy::{FromZeros, IntoBytes};

use cache::Cache;
use codec::{Compressor, Missing};
use disk::{MAGIC, METADATA_SIZE, NO_TABLE, Superblock, XattrIdTable};

pub use codec::Damage;
pub use store::SquashfsStore;
pub use write::{Compression, Dropped, Plan, PlanError, SquashfsSink, WriteOptions, plan};
pub use xattrs::XATTR_BYTES_MAX;

/// Metadata blocks that are kept unpacked: 2 MiB.
const METADATA_BLOCKS: usize = 256;
/// Bytes of fragments that are kept unpacked.
const FRAGMENT_BYTES: u32 = 16 << 20;

/// Why an image could not be read as a tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read.
    #[error("cannot read the image")]
    Io(#[from] io::Error),
    /// It does not begin as one.
    #[error("not a squashfs image")]
    NotSquashfs,
    /// Its version is another.
    #[error("squashfs version {major}.{minor} is not known, only 4.0")]
    UnknownVersion {
        /// What stands before the point.
        major: u16,
        /// And behind it.
        minor: u16,
    },
    /// The superblock says what cannot be.
    #[error("the superblock's {field} cannot be {value}")]
    BadSuperblock {
        /// Which field, by its name in the kernel.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// The image is shorter than it says.
    #[error("the image is cut off: it has {len} of its {bytes_used} bytes")]
    CutOff {
        /// Bytes there are.
        len: u64,
        /// Bytes there should be.
        bytes_used: u64,
    },
    /// Something lies where the image has no bytes.
    #[error("{len} bytes at byte {at} pass the end of the image at byte {bytes_used}")]
    OutOfBounds {
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
        /// Bytes of the image.
        bytes_used: u64,
    },
    /// It is packed by a compressor that this reader does not have.
    #[error("images compressed with {0} are not supported; gzip, xz and zstd are")]
    UnsupportedCompressor(&'static str),
    /// It is packed by a compressor that has no name.
    #[error("compressor {0} is not known")]
    UnknownCompressor(u16),
    /// A block cannot be unpacked.
    #[error("the block at byte {at} cannot be unpacked: {damage}")]
    Block {
        /// Where it begins.
        at: u64,
        /// Why.
        damage: Damage,
    },
    /// A reference leads out of the image.
    #[error("block {block}, offset {offset} of the table at byte {table} is not in the image")]
    BadReference {
        /// Where the table begins.
        table: u64,
        /// Which block.
        block: u64,
        /// Where in it.
        offset: u16,
    },
    /// A reference leads behind the end of its block.
    #[error("the block at byte {at} has {len} bytes, and none at offset {offset}")]
    BadOffset {
        /// Where the block begins.
        at: u64,
        /// Where in it something should be.
        offset: usize,
        /// Bytes it has.
        len: usize,
    },
    /// More was read of the inodes or directories than there is.
    #[error("inodes or directories overlap: more than their {held} bytes were read")]
    Overlap {
        /// Bytes that the blocks have at most.
        held: u64,
    },
    /// An inode says what cannot be.
    #[error("inode {number}: {trouble}")]
    Inode {
        /// Its number.
        number: u32,
        /// What is wrong with it.
        trouble: Trouble,
    },
    /// The inodes and names do not make a tree.
    #[error("directory {directory} does not fit a tree")]
    Entry {
        /// The number of the directory's inode.
        directory: u32,
        /// Why.
        source: TreeError,
    },
    /// The inodes and names do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// What is wrong with an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// A kind of file that there is not.
    #[error("kind {0} is not known")]
    UnknownKind(u16),
    /// A place in the table of ids that it does not have.
    #[error("id {index} is none of the image's {count}")]
    NoSuchId {
        /// Which.
        index: u16,
        /// How many there are.
        count: usize,
    },
    /// A set of xattrs that the image does not have.
    #[error("set of xattrs {index} is none of the image's {count}")]
    NoSuchXattrs {
        /// Which.
        index: u32,
        /// How many there are.
        count: u32,
    },
    /// Its set of xattrs is longer or shorter than it says, or longer than any can be.
    #[error("its {0} xattrs are malformed")]
    BadXattrs(u32),
    /// An xattr of a kind that there is not.
    #[error("an xattr's prefix {0} is not known")]
    UnknownPrefix(u16),
    /// The image's xattrs take more memory than is given to them.
    #[error("with its xattrs the image has more than {0} bytes of them")]
    TooManyXattrs(usize),
    /// Two of its xattrs have one name.
    #[error("two of its xattrs have one name")]
    TwinXattrs,
    /// The target of a symbolic link is too long for one.
    #[error("its target of {0} bytes is too long for a symbolic link")]
    LongTarget(u32),
    /// Another inode has its number.
    #[error("another inode has the same number")]
    TwinNumber,
    /// The root is no directory.
    #[error("the root is no directory")]
    RootIsNoDirectory,
    /// Its listing ends within an entry.
    #[error("its listing of {0} bytes ends within an entry")]
    BadListing(u32),
    /// A run of its listing has more entries than runs can have.
    #[error("a run of {0} entries is longer than 256")]
    LongRun(u64),
    /// A file longer than Linux can have.
    #[error("no file can have {0} bytes")]
    LongFile(u64),
    /// A block of its data is longer than blocks are.
    #[error("block {index} takes {size} bytes, more than a block can have")]
    LongBlock {
        /// Which block of the file.
        index: u64,
        /// Bytes it takes in the image.
        size: u32,
    },
    /// Its data lie outside of the image.
    #[error("block {index} at byte {at} lies outside of the image")]
    BlockOutside {
        /// Which block of the file.
        index: u64,
        /// Where it begins.
        at: u64,
    },
    /// A fragment that the image does not have.
    #[error("fragment {index} is none of the image's {count}")]
    NoSuchFragment {
        /// Which.
        index: u32,
        /// How many there are.
        count: u32,
    },
    /// Its end is not in the fragment that should have it.
    #[error("{len} bytes at byte {offset} are not within a fragment")]
    OutsideFragment {
        /// First byte.
        offset: u32,
        /// Bytes.
        len: u32,
    },
}

/// Reads an image: the tree, and the store that serves its files.
pub fn read(source: impl ReadAt + 'static) -> Result<(Tree, SquashfsStore), Error> {
    let image = Image::open(Box::new(source))?;
    let (tree, files) = walk::walk(&image)?;
    Ok((tree, SquashfsStore::new(image, files)))
}

/// An opened image.
#[derive(Debug)]
struct Image {
    source: Box<dyn ReadAt>,
    superblock: Superblock,
    compressor: Compressor,
    /// The owners and groups of all inodes.
    ids: Vec<u32>,
    /// Where the index of the sets of xattrs begins, and the table's own head.
    xattrs: Option<(u64, XattrIdTable)>,
    metadata: Cache,
    fragments: Cache,
}

impl Image {
    fn open(source: Box<dyn ReadAt>) -> Result<Self, Error> {
        let superblock = superblock(&source)?;
        let compression = superblock.compression.get();
        let compressor = Compressor::of(compression).map_err(|missing| match missing {
            Missing::Named(name) => Error::UnsupportedCompressor(name),
            Missing::Unknown => Error::UnknownCompressor(compression),
        })?;
        let fragments = FRAGMENT_BYTES
            .checked_div(superblock.block_size.get())
            .unwrap_or(1);
        let mut image = Self {
            source,
            superblock,
            compressor,
            ids: Vec::new(),
            xattrs: None,
            metadata: Cache::new(METADATA_BLOCKS),
            fragments: Cache::new(usize::try_from(fragments).expect("a count of blocks fits a usize")),
        };
        let (start, count) = (superblock.id_table_start.get(), superblock.no_ids.get());
        for index in 0..count {
            let id: zerocopy::byteorder::little_endian::U32 = image.indexed(start, index.into())?;
            image.ids.push(id.get());
        }
        let start = superblock.xattr_id_table_start.get();
        if start != NO_TABLE {
            let mut head = XattrIdTable::new_zeroed();
            image.read(head.as_mut_bytes(), start)?;
            let index = u64::try_from(size_of::<XattrIdTable>()).expect("16 bytes fit a u64");
            image.xattrs = Some((start.saturating_add(index), head));
        }
        Ok(image)
    }

    /// Reads bytes of the image, and none behind it.
    fn read(&self, buf: &mut [u8], at: u64) -> Result<(), Error> {
        let bytes_used = self.superblock.bytes_used.get();
        let len = u64::try_from(buf.len()).expect("a usize fits a u64");
        if at.checked_add(len).is_none_or(|end| end > bytes_used) {
            return Err(Error::OutOfBounds { at, len, bytes_used });
        }
        Ok(self.source.read_exact_at(buf, at)?)
    }

    /// Bytes in a data block.
    fn block_size(&self) -> usize {
        usize::try_from(self.superblock.block_size.get()).expect("a block fits a usize")
    }
}

/// Reads and judges the superblock.
fn superblock(source: &dyn ReadAt) -> Result<Superblock, Error> {
    let mut superblock = Superblock::new_zeroed();
    let read = source.read_exact_at(superblock.as_mut_bytes(), 0);
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Error::NotSquashfs),
        read => read?,
    }
    if superblock.s_magic.get() != MAGIC {
        return Err(Error::NotSquashfs);
    }
    let (major, minor) = (superblock.s_major.get(), superblock.s_minor.get());
    if (major, minor) != (4, 0) {
        return Err(Error::UnknownVersion { major, minor });
    }
    let bad = |field, value| Err(Error::BadSuperblock { field, value });
    let (log, size) = (superblock.block_log.get(), superblock.block_size.get());
    if !(12..=20).contains(&log) {
        return bad("block_log", log.into());
    }
    if size.checked_ilog2() != Some(log.into()) || !size.is_power_of_two() {
        return bad("block_size", size.into());
    }
    if superblock.no_ids.get() == 0 {
        return bad("no_ids", 0);
    }
    let (len, bytes_used) = (source.len(), superblock.bytes_used.get());
    if bytes_used > len {
        return Err(Error::CutOff { len, bytes_used });
    }
    Ok(superblock)
}

const _: () = assert!(METADATA_SIZE.is_multiple_of(size_of::<disk::FragmentEntry>()));
