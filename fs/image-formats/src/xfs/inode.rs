//! Inodes: what every file has, and the two forks where its data and its attributes are.

use image_core::ReadAt;
use image_core::tree::Time;
use zerocopy::FromBytes;

use super::disk::{
    DIFLAG_REALTIME, DIFLAG2_BIGTIME, DIFLAG2_NREXT64, DINODE_CRC, DINODE_MAGIC, DINODE_V2_LEN, Dinode,
};
use super::volume::{Volume, checksum_fits};
use super::{Error, Owner};
use crate::mode;

/// An inode.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) ino: u64,
    pub(super) core: Dinode,
    /// What stands behind the fields: the forks.
    literal: Vec<u8>,
}

/// How a fork holds what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A device number.
    Device,
    /// The bytes themselves.
    Local,
    /// A list of extents.
    Extents,
    /// The root of a tree of extents.
    Tree,
}

/// One of an inode's two forks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fork<'a> {
    pub(super) form: Form,
    pub(super) bytes: &'a [u8],
    /// How many extents it says to have.
    pub(super) extents: u64,
}

/// Reads an inode.
pub(super) fn read<R: ReadAt>(volume: &Volume<R>, ino: u64) -> Result<Inode, Error> {
    let of = Owner::Inode(ino);
    let at = volume.inode_at(ino).ok_or(Error::Corrupt {
        what: "the number",
        of,
        value: ino,
    })?;
    let mut bytes = vec![0; volume.superblock.sb_inodesize.get().into()];
    volume.source.read_exact_at(&mut bytes, at)?;
    let (core, _) = Dinode::read_from_prefix(&bytes).expect("an inode has 256 bytes at least");
    let inode = Inode {
        ino,
        core,
        literal: Vec::new(),
    };
    if core.di_magic.get() != DINODE_MAGIC {
        return Err(inode.corrupt("the magic number", core.di_magic.get().into()));
    }
    let version = core.di_version;
    let known = if volume.guarded { 3..=3 } else { 1..=2 };
    if !known.contains(&version) {
        return Err(inode.corrupt("the version", version.into()));
    }
    if volume.guarded {
        if !checksum_fits(&bytes, DINODE_CRC) {
            return Err(Error::Checksum {
                what: "the inode",
                of,
            });
        }
        if core.di_ino.get() != ino || !volume.is_ours(&core.di_uuid, 0) {
            return Err(Error::Misplaced {
                what: "the inode",
                of,
            });
        }
    }
    let head = if volume.guarded {
        size_of::<Dinode>()
    } else {
        DINODE_V2_LEN
    };
    Ok(Inode {
        literal: bytes.split_off(head),
        ..inode
    })
}

impl Inode {
    /// That one of its numbers cannot be.
    pub(super) fn corrupt(&self, what: &'static str, value: u64) -> Error {
        Error::Corrupt {
            what,
            of: Owner::Inode(self.ino),
            value,
        }
    }

    /// What kind of file it is, by its mode.
    pub(super) fn kind(&self) -> u32 {
        u32::from(self.core.di_mode.get()) & mode::KIND
    }

    fn flags2(&self) -> u64 {
        if self.core.di_version == 3 {
            self.core.di_flags2.get()
        } else {
            0
        }
    }

    /// When it was changed last.
    pub(super) fn mtime(&self) -> Result<Time, Error> {
        const BILLION: u64 = 1_000_000_000;
        let stamp = self.core.di_mtime.get();
        let (secs, nanos) = if self.flags2() & DIFLAG2_BIGTIME == 0 {
            let [a, b, c, d, ..] = stamp.to_be_bytes();
            (i64::from(i32::from_be_bytes([a, b, c, d])), stamp & 0xffff_ffff)
        } else {
            // Nanoseconds since the first second that 32 bits know.
            let secs = i64::try_from(stamp / BILLION).expect("2^64 nanoseconds are fewer seconds");
            (secs.saturating_add(i32::MIN.into()), stamp % BILLION)
        };
        let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
        let nanos = nanos.ok_or_else(|| self.corrupt("the time", stamp))?;
        Ok(Time { secs, nanos })
    }

    /// Where its data are.
    pub(super) fn data(&self) -> Result<Fork<'_>, Error> {
        if self.core.di_flags.get() & DIFLAG_REALTIME != 0 && self.kind() == mode::FILE {
            return Err(Error::Unsupported("files on a realtime device"));
        }
        let extents = if self.flags2() & DIFLAG2_NREXT64 == 0 {
            self.core.di_nextents.get().into()
        } else {
            self.core.di_big_nextents.get()
        };
        let bytes = match self.attributes_at()? {
            Some(at) => &self.literal[..at],
            None => &self.literal,
        };
        let form = self.form(self.core.di_format, "the format")?;
        Ok(Fork { form, bytes, extents })
    }

    /// Where its attributes are, if it can have any.
    pub(super) fn attributes(&self) -> Result<Option<Fork<'_>>, Error> {
        let Some(at) = self.attributes_at()? else {
            return Ok(None);
        };
        let extents = if self.flags2() & DIFLAG2_NREXT64 == 0 {
            self.core.di_anextents.get().into()
        } else {
            self.core.di_nextents.get().into()
        };
        let form = self.form(self.core.di_aformat, "the format of the attributes")?;
        let bytes = &self.literal[at..];
        Ok(Some(Fork { form, bytes, extents }))
    }

    fn attributes_at(&self) -> Result<Option<usize>, Error> {
        let at = usize::from(self.core.di_forkoff).saturating_mul(8);
        if at > self.literal.len() {
            return Err(self.corrupt("the place of the attributes", self.core.di_forkoff.into()));
        }
        Ok((at > 0).then_some(at))
    }

    fn form(&self, format: u8, what: &'static str) -> Result<Form, Error> {
        match format {
            0 => Ok(Form::Device),
            1 => Ok(Form::Local),
            2 => Ok(Form::Extents),
            3 => Ok(Form::Tree),
            other => Err(self.corrupt(what, other.into())),
        }
    }
}
