//! An inode: its item and its extended attributes, with what they say checked.

use image_core::ReadAt;
use image_core::tree::{Device, Time, Xattr};
use zerocopy::FromBytes;

use super::Error;
use super::disk::{DirItem, INODE_NODATASUM, InodeItem, Key, kind};
use super::error::InodeTrouble;
use super::volume::{TreeRoot, Volume};
use super::walk::Ledger;
use crate::mode;

/// Which inode: numbers are unique in a subvolume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ino {
    pub(super) subvolume: u64,
    pub(super) inode: u64,
}

impl Ino {
    pub(super) fn error(self, trouble: InodeTrouble) -> Error {
        Error::Inode {
            subvolume: self.subvolume,
            inode: self.inode,
            trouble,
        }
    }

    /// The keys of all items of some kinds.
    pub(super) fn keys(self, first: u8, last: u8) -> std::ops::RangeInclusive<Key> {
        Key::new(self.inode, first, 0)..=Key::new(self.inode, last, u64::MAX)
    }
}

/// What was read of an inode.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) ino: Ino,
    pub(super) item: InodeItem,
    /// Those that an image can have.
    pub(super) xattrs: Vec<Xattr>,
}

impl Inode {
    /// Reads an inode of a tree.
    pub(super) fn read<R: ReadAt>(
        volume: &Volume<R>,
        tree: TreeRoot,
        ino: Ino,
        ledger: &mut Ledger,
    ) -> Result<Self, Error> {
        let (mut found, mut xattrs) = (None, Vec::new());
        volume.items(
            tree,
            ino.keys(kind::INODE_ITEM, kind::XATTR_ITEM),
            |key, bytes| {
                ledger.take(bytes)?;
                let malformed = || ino.error(InodeTrouble::item(key));
                match key.kind {
                    kind::INODE_ITEM => {
                        let item = InodeItem::read_from_bytes(bytes);
                        found = Some(item.map_err(|_| malformed())?);
                    }
                    kind::XATTR_ITEM => {
                        for named in named(bytes).ok_or_else(malformed)? {
                            xattrs.extend(Xattr::portable(named.name, named.data));
                        }
                    }
                    _ => {}
                }
                Ok(())
            },
        )?;
        let item = found.ok_or_else(|| ino.error(InodeTrouble::Absent))?;
        xattrs.sort_unstable();
        if xattrs.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(ino.error(InodeTrouble::TwinXattrs));
        }
        let inode = Self { ino, item, xattrs };
        inode.check()?;
        Ok(inode)
    }

    fn check(&self) -> Result<(), Error> {
        let size = self.item.size.get();
        if i64::try_from(size).is_err() {
            return Err(self.ino.error(InodeTrouble::LongFile(size)));
        }
        let nsec = self.item.mtime.nsec.get();
        if nsec >= 1_000_000_000 {
            return Err(self.ino.error(InodeTrouble::BadTime(nsec)));
        }
        Ok(())
    }

    /// What it is.
    pub(super) fn kind(&self) -> u32 {
        self.item.mode.get() & mode::KIND
    }

    pub(super) fn unknown_mode(&self) -> Error {
        self.ino.error(InodeTrouble::UnknownMode(self.item.mode.get()))
    }

    /// Its permissions.
    pub(super) fn permissions(&self) -> u16 {
        u16::try_from(self.item.mode.get() & 0o7777).expect("twelve bits fit")
    }

    pub(super) fn mtime(&self) -> Time {
        Time {
            secs: self.item.mtime.sec.get(),
            nanos: self.item.mtime.nsec.get(),
        }
    }

    /// Whether its data have checksums.
    pub(super) fn has_sums(&self) -> bool {
        self.item.flags.get() & INODE_NODATASUM == 0
    }

    /// A device number as the kernel has it in memory: 12 bits and 20.
    pub(super) fn device(&self) -> Result<Device, Error> {
        let rdev = self.item.rdev.get();
        let rdev = u32::try_from(rdev).map_err(|_| self.ino.error(InodeTrouble::BadDevice(rdev)))?;
        Ok(Device {
            major: rdev >> 20,
            minor: rdev & 0xf_ffff,
        })
    }
}

/// An entry of a directory, or an attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) location: Key,
    pub(super) name: &'a [u8],
    pub(super) data: &'a [u8],
}

/// What stands in an item: more than one if the hashes of their names are equal. `None` if it ends within one.
pub(super) fn named(bytes: &[u8]) -> Option<Vec<Named<'_>>> {
    let (mut all, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (head, behind) = DirItem::read_from_prefix(rest).ok()?;
        let (name, behind) = behind.split_at_checked(head.name_len.get().into())?;
        let (data, behind) = behind.split_at_checked(head.data_len.get().into())?;
        all.push(Named {
            location: head.location.get(),
            name,
            data,
        });
        rest = behind;
    }
    (!all.is_empty()).then_some(all)
}
