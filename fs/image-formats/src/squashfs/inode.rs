//! Inodes: fourteen kinds of record, the latter seven of which are the former with more room and xattrs.

use image_core::tree::{Device, Time};
use zerocopy::byteorder::little_endian::U32;

use super::blocks::File;
use super::disk::{
    BaseInode, DevInode, DirInode, LISTING_EXTRA, LdirInode, LregInode, NONE, RegInode, SymlinkInode,
};
use super::metadata::{Cursor, Ledger, Reference};
use super::{Error, Image, Trouble};

/// The longest target of a symbolic link.
const TARGET_MAX: u32 = 4095;

/// An inode, as what follows it in this program wants it.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) number: u32,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    /// Which set of xattrs it has.
    pub(super) xattrs: Option<u32>,
    pub(super) kind: Kind,
}

/// What it is.
#[derive(Debug)]
pub(super) enum Kind {
    Directory(Listing),
    File(File),
    Symlink(Vec<u8>),
    Block(Device),
    Char(Device),
    Fifo,
    Socket,
}

/// Where a directory's entries stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listing {
    pub(super) at: Reference,
    pub(super) len: u32,
}

/// Reads the inode at a reference.
pub(super) fn read(image: &Image, ledger: &mut Ledger, at: Reference) -> Result<Inode, Error> {
    let table = image.superblock.inode_table_start.get();
    let mut cursor = Cursor::new(image, table, at)?.noted(ledger);
    let base: BaseInode = cursor.record()?;
    let number = base.inode_number.get();
    let wrong = |trouble| Error::Inode { number, trouble };
    let id = |index: u16| {
        let count = image.ids.len();
        let id = image.ids.get(usize::from(index)).copied();
        id.ok_or_else(|| wrong(Trouble::NoSuchId { index, count }))
    };
    let (uid, gid) = (id(base.uid.get())?, id(base.guid.get())?);
    let (kind, xattrs) = kind(&mut cursor, base.inode_type.get(), number)?;
    Ok(Inode {
        number,
        mode: base.mode.get() & 0o7777,
        uid,
        gid,
        mtime: Time {
            secs: base.mtime.get().into(),
            nanos: 0,
        },
        xattrs: (xattrs != NONE).then_some(xattrs),
        kind,
    })
}

/// What an inode is, and the number of its xattrs.
fn kind(cursor: &mut Cursor<'_>, inode_type: u16, number: u32) -> Result<(Kind, u32), Error> {
    let wrong = |trouble| Error::Inode { number, trouble };
    let xattrs_if = |cursor: &mut Cursor<'_>, extended: bool| {
        let record = extended.then(|| cursor.record::<U32>()).transpose()?;
        Ok::<u32, Error>(record.map_or(NONE, U32::get))
    };
    let extended = inode_type > 7;
    Ok(match inode_type {
        1 => {
            let inode: DirInode = cursor.record()?;
            let size = u32::from(inode.file_size.get());
            (directory(inode.start_block, inode.offset.get(), size), NONE)
        }
        8 => {
            let inode: LdirInode = cursor.record()?;
            let kind = directory(inode.start_block, inode.offset.get(), inode.file_size.get());
            (kind, inode.xattr.get())
        }
        2 => {
            let inode: RegInode = cursor.record()?;
            let file = File {
                number,
                start: inode.start_block.get().into(),
                len: inode.file_size.get().into(),
                fragment: fragment(inode.fragment, inode.offset),
                list: cursor.place(),
            };
            (Kind::File(file), NONE)
        }
        9 => {
            let inode: LregInode = cursor.record()?;
            let file = File {
                number,
                start: inode.start_block.get(),
                len: inode.file_size.get(),
                fragment: fragment(inode.fragment, inode.offset),
                list: cursor.place(),
            };
            (Kind::File(file), inode.xattr.get())
        }
        3 | 10 => {
            let inode: SymlinkInode = cursor.record()?;
            let len = inode.symlink_size.get();
            let bytes = usize::try_from(len).ok().filter(|_| len <= TARGET_MAX);
            let mut target = vec![0; bytes.ok_or_else(|| wrong(Trouble::LongTarget(len)))?];
            cursor.read(&mut target)?;
            (Kind::Symlink(target), xattrs_if(cursor, extended)?)
        }
        4 | 5 | 11 | 12 => {
            let inode: DevInode = cursor.record()?;
            let device = device(inode.rdev.get());
            let kind = match inode_type {
                4 | 11 => Kind::Block(device),
                _ => Kind::Char(device),
            };
            (kind, xattrs_if(cursor, extended)?)
        }
        6 | 7 | 13 | 14 => {
            links(cursor)?;
            let kind = match inode_type {
                6 | 13 => Kind::Fifo,
                _ => Kind::Socket,
            };
            (kind, xattrs_if(cursor, extended)?)
        }
        other => return Err(wrong(Trouble::UnknownKind(other))),
    })
}

/// `struct squashfs_ipc_inode` is a count of links, which the entries tell better.
fn links(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    cursor.record::<U32>().map(drop)
}

fn directory(start_block: U32, offset: u16, size: u32) -> Kind {
    Kind::Directory(Listing {
        at: Reference {
            block: start_block.get().into(),
            offset,
        },
        len: size.saturating_sub(LISTING_EXTRA),
    })
}

fn fragment(index: U32, offset: U32) -> Option<(u32, u32)> {
    (index.get() != NONE).then(|| (index.get(), offset.get()))
}

/// A device number as the kernel packs it in 32 bits: `new_decode_dev`.
fn device(rdev: u32) -> Device {
    Device {
        major: rdev >> 8 & 0xfff,
        minor: rdev & 0xff | rdev >> 12 & 0xf_ff00,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_unpacked_as_the_kernel_packs_them() {
        for (rdev, major, minor) in [
            (0x0103, 1, 3),
            (0x000f_ff00 | 0xff, 0xfff, 0xff),
            (0xfff0_0801, 8, 0xf_ff01),
            (u32::MAX, 0xfff, 0xf_ffff),
        ] {
            assert_eq!(device(rdev), Device { major, minor }, "{rdev:#x}");
        }
    }
}
