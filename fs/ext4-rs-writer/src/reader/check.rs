//! Whether a file system's structures agree with each other, as `e2fsck -fn` judges it.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/index.html>
//!
//! | what | where |
//! |---|---|
//! | checksums of superblock, descriptors, bitmaps, inodes, extents, directories, attributes | here and in the reader |
//! | each block has one owner; bitmaps and counts of free blocks say the same | `space` |
//! | each inode in use has as many names as it says; every name leads to one in use; no directory has two | `directories` |
//! | an index of a directory is a tree, and each name lies where its hash belongs | `htree` |
//!
//! A sound file system has no fault, whoever made it. Not judged: what lies in the journal, copies of the superblock and of the
//! descriptors, quotas, and with `bigalloc` the use of blocks. After [`FAULTS_MAX`] faults the check ends.

mod directories;
mod htree;
mod space;

use std::collections::{BTreeMap, HashSet};

use image_core::ReadAt;
use zerocopy::IntoBytes;

use super::attributes::Attributes;
use super::volume::{Loaded, Volume};
use super::{Owner, ReadError, mapping};
use crate::checksum;
use crate::features::{Incompat, RoCompat};
use crate::group::{Descriptor, INODE_UNINIT};
use crate::inode::{EA_INODE_FL, Inode, mode};
use crate::units::{Block, Group, Ino, to_u64, to_usize as index};

/// Faults that are told.
pub const FAULTS_MAX: usize = 1000;
/// `i_blocks` counts blocks, not sectors.
const HUGE_FILE_FL: u32 = 0x4_0000;
/// The superblock's state: errors were found.
const ERRORS: u16 = 2;
const MMP: u32 = 0x100;

/// Something that is wrong in a file system.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A structure cannot be read as what it should be.
    #[error(transparent)]
    Structure(#[from] ReadError),
    /// The superblock says that errors were found.
    #[error("the superblock says that errors were found in the file system")]
    Marked,
    /// A block has two owners.
    #[error("block {block} belongs to {one} and to {other}")]
    TwoOwners {
        /// Which.
        block: u64,
        /// The one.
        one: Owner,
        /// The other.
        other: Owner,
    },
    /// Blocks are in use, and the bitmap says that they are free.
    #[error("the block bitmap of block group {group} has {count} blocks in use as free, the first {first}")]
    UsedMarkedFree {
        /// The group.
        group: u32,
        /// How many.
        count: u32,
        /// The first of them.
        first: u64,
    },
    /// Blocks are free, and the bitmap says that they are in use.
    #[error(
        "the block bitmap of block group {group} has {count} blocks as in use that nothing has, the first {first}"
    )]
    FreeMarkedUsed {
        /// The group.
        group: u32,
        /// How many.
        count: u32,
        /// The first of them.
        first: u64,
    },
    /// A number is not what was counted.
    #[error("{what} of {of} is {says}, and {counted} were counted")]
    Count {
        /// Which number.
        what: &'static str,
        /// Of what.
        of: Owner,
        /// What it says.
        says: u64,
        /// What was counted.
        counted: u64,
    },
    /// A name leads to an inode that is not in use.
    #[error("directory inode {directory} names inode {ino}, which is not in use")]
    NotInUse {
        /// The directory.
        directory: u32,
        /// The inode.
        ino: u32,
    },
    /// An inode is in use and has no name.
    #[error("inode {ino} is in use and has no name")]
    Unnamed {
        /// The inode.
        ino: u32,
    },
    /// A name says that a file is of another kind than it is.
    #[error("directory inode {directory} has inode {ino} as of type {says}, and it is of type {is}")]
    Kind {
        /// The directory.
        directory: u32,
        /// The inode.
        ino: u32,
        /// The type that the name has.
        says: u8,
        /// The type that it is.
        is: u8,
    },
    /// A directory does not begin with itself and the one above it.
    #[error(
        "directory inode {directory} does not begin with '.' and '..', leading to itself and to inode {parent}"
    )]
    Dots {
        /// The directory.
        directory: u32,
        /// The one above it.
        parent: u32,
    },
    /// A directory has two names, or one in itself.
    #[error("directory inode {ino} is named twice")]
    NamedTwice {
        /// The directory.
        ino: u32,
    },
    /// An index of a directory is no tree.
    #[error(
        "the index of directory inode {directory} is damaged: {what} in its block {block} cannot be {value}"
    )]
    Index {
        /// The directory.
        directory: u32,
        /// Which number.
        what: &'static str,
        /// In which of its blocks.
        block: u64,
        /// What it says.
        value: u64,
    },
    /// A name lies in another block than its hash belongs in.
    #[error("block {block} of directory inode {directory} has a name whose hash {hash:#x} belongs elsewhere")]
    Misplaced {
        /// The directory.
        directory: u32,
        /// Which of its blocks.
        block: u64,
        /// The name's hash.
        hash: u32,
    },
    /// There are more.
    #[error("there are more faults than {FAULTS_MAX}")]
    More,
}

/// Checks a file system. An error is one of reading the image alone.
pub fn check(source: &impl ReadAt) -> Result<Vec<Fault>, ReadError> {
    let volume = match Volume::open(source) {
        Ok(volume) => volume,
        Err(ReadError::Io(error)) => return Err(ReadError::Io(error)),
        Err(error @ (ReadError::NotExt | ReadError::Unsupported(_) | ReadError::UnknownFeatures(_))) => {
            return Err(error);
        }
        Err(error) => return Ok(vec![error.into()]),
    };
    let mut check = Check {
        volume,
        faults: Vec::new(),
        claims: Vec::new(),
        claimed: 0,
        inodes: BTreeMap::new(),
        attributes: Attributes::default(),
        xattr_blocks: HashSet::new(),
        groups: Vec::new(),
    };
    match check.all() {
        Ok(()) => {}
        Err(Stop::TooMany) => check.faults.push(Fault::More),
        Err(Stop::Failed(error)) => return Err(error),
    }
    Ok(check.faults)
}

/// Why a check ends early.
enum Stop {
    /// There are enough faults.
    TooMany,
    /// The image cannot be read.
    Failed(ReadError),
}

type Checked<T = ()> = Result<T, Stop>;

/// Blocks that something has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    start: u64,
    len: u64,
    /// Of which inode; `None`: they are the file system's own.
    ino: Option<u32>,
}

impl Claim {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    fn owner(&self) -> Owner {
        self.ino.map_or(Owner::FileSystem, Owner::Inode)
    }
}

/// An inode in use.
#[derive(Clone, Copy, Debug)]
struct Seen {
    links: u16,
    /// Its type, by the upper bits of its mode.
    kind: u16,
    /// Names that were met.
    named: u64,
    /// It needs no name.
    hidden: bool,
    /// A directory whose entries were read.
    walked: bool,
}

/// A group with what was counted in it.
#[derive(Clone, Copy, Debug)]
struct Counted {
    descriptor: Descriptor,
    wide: bool,
    free_inodes: u64,
    directories: u64,
}

struct Check<'a, R> {
    volume: Volume<'a, R>,
    faults: Vec<Fault>,
    claims: Vec<Claim>,
    claimed: u64,
    inodes: BTreeMap<u32, Seen>,
    attributes: Attributes,
    xattr_blocks: HashSet<u64>,
    groups: Vec<Counted>,
}

/// A number of which a short descriptor has the lower half only.
fn wide(is_wide: bool, low: u16, high: u16) -> u64 {
    u64::from(low) | (if is_wide { u64::from(high) << 16 } else { 0 })
}

fn place(is_wide: bool, low: u32, high: u32) -> u64 {
    u64::from(low) | (if is_wide { u64::from(high) << 32 } else { 0 })
}

impl<R: ReadAt> Check<'_, R> {
    fn all(&mut self) -> Checked {
        if self.volume.superblock.s_state.get() & ERRORS != 0 {
            self.fault(Fault::Marked)?;
        }
        self.each_group()?;
        self.directories()?;
        self.links()?;
        self.space()
    }

    fn fault(&mut self, fault: Fault) -> Checked {
        if self.faults.len() >= FAULTS_MAX {
            return Err(Stop::TooMany);
        }
        self.faults.push(fault);
        Ok(())
    }

    /// A value, or a fault if it is one; what the image cannot give ends the check.
    fn or_fault<T>(&mut self, value: Result<T, ReadError>) -> Checked<Option<T>> {
        match value {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Io(error)) => Err(Stop::Failed(ReadError::Io(error))),
            // What is not read is not judged.
            Err(ReadError::Unsupported(_)) => Ok(None),
            Err(error) => self.fault(error.into()).map(|()| None),
        }
    }

    fn count(&mut self, what: &'static str, of: Owner, says: u64, counted: u64) -> Checked {
        if says == counted {
            return Ok(());
        }
        self.fault(Fault::Count {
            what,
            of,
            says,
            counted,
        })
    }

    fn claim(&mut self, start: u64, len: u64, ino: Option<u32>) -> Checked {
        self.claimed = self.claimed.saturating_add(len);
        // So many are used twice that nothing more can be learnt, and memory would grow.
        if self.claimed > self.volume.blocks.saturating_mul(2) {
            self.fault(ReadError::SharedBlocks(self.volume.blocks).into())?;
            return Err(Stop::TooMany);
        }
        self.claims.push(Claim { start, len, ino });
        Ok(())
    }

    fn block(&self, at: u64) -> Checked<Vec<u8>> {
        let mut block = vec![0; self.volume.block_size.buffer()];
        let read = self.volume.read_block(Block(at), &mut block);
        read.map(|()| block).map_err(Stop::Failed)
    }

    fn has_ro(&self, feature: RoCompat) -> bool {
        self.volume.superblock.s_feature_ro_compat.get() & feature.bits() != 0
    }

    /// All descriptors, and the inodes of their groups.
    fn each_group(&mut self) -> Checked {
        let size = self.volume.descriptor_size();
        let in_block = to_u64(self.volume.block_size.buffer().div_euclid(size));
        let groups = self.group_count();
        let mut block = Vec::new();
        for group in 0..groups {
            let nth = group.rem_euclid(in_block);
            if nth == 0 {
                let number = group.div_euclid(in_block);
                block = self.block(self.volume.descriptor_block(number, in_block).0)?;
            }
            let at = usize::try_from(nth).unwrap_or(0).saturating_mul(size);
            let bytes = block[at..at.saturating_add(size)].to_vec();
            self.group(u32::try_from(group).unwrap_or(u32::MAX), &bytes)?;
        }
        if self.volume.superblock.s_feature_incompat.get() & MMP != 0 {
            let at = self.volume.superblock.s_mmp_block.get();
            if self.volume.holds(at, 1) {
                self.claim(at, 1, None)?;
            }
        }
        Ok(())
    }

    fn group_count(&self) -> u64 {
        let first = self.volume.block_size.first_data_block().0;
        let per_group = self.volume.superblock.s_blocks_per_group.get();
        self.volume
            .blocks
            .saturating_sub(first)
            .div_ceil(per_group.into())
    }

    fn group(&mut self, group: u32, bytes: &[u8]) -> Checked {
        let of = Owner::Group(group);
        let mut descriptor = Descriptor::default();
        descriptor.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        let wide = bytes.len() >= size_of::<Descriptor>();
        let checked = self.volume.seed.is_some();
        if !checked && self.has_ro(RoCompat::GDT_CSUM) {
            let uuid = &self.volume.superblock.s_uuid;
            let found = checksum::group_descriptor_crc16(uuid, Group(group), bytes);
            if found != descriptor.bg_checksum.get() {
                let what = "the descriptor";
                self.fault(ReadError::Checksum { what, of }.into())?;
            }
        }
        let table = place(
            wide,
            descriptor.bg_inode_table_lo.get(),
            descriptor.bg_inode_table_hi.get(),
        );
        let per_group = self.volume.superblock.s_inodes_per_group.get();
        let inode_bytes = to_u64(self.volume.inode_size()).saturating_mul(per_group.into());
        self.claim(table, inode_bytes.div_ceil(self.volume.block_size.bytes()), None)?;
        self.claim_head(group)?;
        let mut counted = Counted {
            descriptor,
            wide,
            free_inodes: per_group.into(),
            directories: 0,
        };
        let uninit = checked || self.has_ro(RoCompat::GDT_CSUM);
        let bitmap = place(
            wide,
            descriptor.bg_inode_bitmap_lo.get(),
            descriptor.bg_inode_bitmap_hi.get(),
        );
        if self.volume.holds(bitmap, 1) {
            self.claim(bitmap, 1, None)?;
            if !uninit || descriptor.bg_flags.get() & INODE_UNINIT == 0 {
                self.inodes(group, bitmap, &mut counted)?;
            }
        } else {
            let (what, value) = ("the place of the inode bitmap", bitmap);
            self.fault(ReadError::Corrupt { what, of, value }.into())?;
        }
        let free = self::wide(
            wide,
            descriptor.bg_free_inodes_count_lo.get(),
            descriptor.bg_free_inodes_count_hi.get(),
        );
        self.count("the number of free inodes", of, free, counted.free_inodes)?;
        let directories = self::wide(
            wide,
            descriptor.bg_used_dirs_count_lo.get(),
            descriptor.bg_used_dirs_count_hi.get(),
        );
        self.count("the number of directories", of, directories, counted.directories)?;
        self.groups.push(counted);
        Ok(())
    }

    /// The inodes of a group that its bitmap has as in use.
    fn inodes(&mut self, group: u32, at: u64, counted: &mut Counted) -> Checked {
        let per_group = self.volume.superblock.s_inodes_per_group.get();
        let bitmap = self.block(at)?;
        let used = bitmap.get(..index(per_group.div_euclid(8))).unwrap_or_default();
        if let Some(seed) = self.volume.seed {
            let descriptor = &counted.descriptor;
            let says = wide(
                counted.wide,
                descriptor.bg_inode_bitmap_csum_lo.get(),
                descriptor.bg_inode_bitmap_csum_hi.get(),
            );
            let found = u64::from(seed.bitmap(used));
            if says != (if counted.wide { found } else { found & 0xffff }) {
                let (what, of) = ("the inode bitmap", Owner::Group(group));
                self.fault(ReadError::Checksum { what, of }.into())?;
            }
        }
        let first = group.saturating_mul(per_group).saturating_add(1);
        for nth in 0..per_group {
            let byte = bitmap.get(index(nth.div_euclid(8))).copied().unwrap_or(0);
            if byte & 1_u8.rotate_left(nth.rem_euclid(8)) == 0 {
                continue;
            }
            counted.free_inodes = counted.free_inodes.saturating_sub(1);
            if self.inode(Ino(first.saturating_add(nth)))? {
                counted.directories = counted.directories.saturating_add(1);
            }
        }
        Ok(())
    }

    /// An inode in use: whether it is a directory.
    fn inode(&mut self, ino: Ino) -> Checked<bool> {
        let sb = &self.volume.superblock;
        let first = if sb.s_rev_level.get() == 0 {
            11
        } else {
            sb.s_first_ino.get()
        };
        let reserved = ino.0 < first && ino != Ino::ROOT;
        let hidden = reserved
            || [
                sb.s_usr_quota_inum.get(),
                sb.s_grp_quota_inum.get(),
                sb.s_prj_quota_inum.get(),
                sb.s_orphan_file_inum.get(),
            ]
            .contains(&ino.0);
        if reserved && self.is_empty(ino)? {
            return Ok(false);
        }
        let loaded = self.volume.inode(ino);
        let Some(loaded) = self.or_fault(loaded)? else {
            return Ok(false);
        };
        let ea_inode = loaded.inode.i_flags.get() & EA_INODE_FL != 0;
        let seen = Seen {
            links: loaded.inode.i_links_count.get(),
            kind: loaded.kind(),
            named: 0,
            hidden: hidden || ea_inode,
            walked: false,
        };
        self.inodes.insert(ino.0, seen);
        let attributes = self.attributes.of(&loaded, &self.volume);
        self.or_fault(attributes)?;
        self.blocks(&loaded)?;
        Ok(loaded.kind() == mode::DIRECTORY)
    }

    /// Whether an inode is as it was made: zero, but for its checksum and what other programs set.
    fn is_empty(&self, ino: Ino) -> Checked<bool> {
        let bytes = self.volume.inode_bytes(ino).map_err(Stop::Failed)?;
        let mut inode = Inode::default();
        let fields = bytes.len().min(size_of::<Inode>());
        inode.as_mut_bytes()[..fields].copy_from_slice(&bytes[..fields]);
        Ok(inode.i_mode.get() == 0 && inode.i_links_count.get() == 0 && inode.i_blocks_lo.get() == 0)
    }

    /// Claims an inode's blocks.
    fn blocks(&mut self, loaded: &Loaded) -> Checked {
        let ino = loaded.ino;
        if ino == Ino::RESIZE {
            let at = u64::from(loaded.inode.i_block[13].get());
            if at != 0 && self.volume.holds(at, 1) {
                self.claim(at, 1, Some(ino.0))?;
            }
            return Ok(());
        }
        let mut used = 0;
        let mapped = match loaded.kind() {
            mode::FILE | mode::DIRECTORY => true,
            mode::SYMLINK => loaded.fast_target(&self.volume).is_none(),
            // The list of bad blocks is of no kind.
            0 => ino.0 == 1,
            _ => false,
        };
        if mapped {
            let blocks = mapping::with_blocks(loaded, &self.volume, self.volume.blocks);
            let Some((_, count, blocks)) = self.or_fault(blocks)? else {
                return Ok(());
            };
            used = count;
            for (start, len) in blocks {
                self.claim(start, len, Some(ino.0))?;
            }
        }
        let at = loaded.xattr_block();
        if at != 0 && self.volume.holds(at, 1) {
            used = used.saturating_add(1);
            if self.xattr_blocks.insert(at) {
                self.claim(at, 1, Some(ino.0))?;
            }
        }
        self.sectors(loaded, used)
    }

    /// Whether an inode says how many blocks it has.
    fn sectors(&mut self, loaded: &Loaded, used: u64) -> Checked {
        // Clusters that a file has only in part, and values elsewhere, count, too.
        if self.is_bigalloc() || self.volume.has(Incompat::EA_INODE) {
            return Ok(());
        }
        let inode = &loaded.inode;
        let high = if self.has_ro(RoCompat::HUGE_FILE) {
            u64::from(inode.i_blocks_high.get()) << 32
        } else {
            0
        };
        let says = u64::from(inode.i_blocks_lo.get()) | high;
        let huge = self.has_ro(RoCompat::HUGE_FILE) && inode.i_flags.get() & HUGE_FILE_FL != 0;
        let unit = if huge {
            1
        } else {
            self.volume.block_size.bytes() / 512
        };
        let of = Owner::Inode(loaded.ino.0);
        self.count("the number of sectors", of, says, used.saturating_mul(unit))
    }

    fn is_bigalloc(&self) -> bool {
        self.volume.superblock.s_feature_ro_compat.get() & 0x200 != 0
    }

    /// Whether all inodes have as many names as they say.
    fn links(&mut self) -> Checked {
        let inodes = std::mem::take(&mut self.inodes);
        for (ino, seen) in &inodes {
            // A directory that has more than fit says 1.
            let overflown =
                seen.kind == mode::DIRECTORY && seen.links == 1 && self.has_ro(RoCompat::DIR_NLINK);
            if seen.named == 0 && !seen.hidden {
                self.fault(Fault::Unnamed { ino: *ino })?;
            } else if !seen.hidden && !overflown {
                let of = Owner::Inode(*ino);
                self.count("the number of links", of, seen.links.into(), seen.named)?;
            }
        }
        Ok(())
    }
}
