//! FAT12, FAT16 and FAT32 file systems as trees: EFI system partitions, say.
//!
//! Spec: Microsoft FAT Specification, 2005 <https://academy.cba.mit.edu/classes/networking_communications/SD/FAT.pdf>
//!
//! FAT knows no owners and no modes: everything is root's, 0755 and 0644. Its times have no zone, and are taken for UTC.
//!
//! An image is hostile until read: files and directories together use no cluster twice, so that every chain ends and memory
//! is bounded by the image.
//!
//! Why own code: the crate `fatfs` adds and multiplies what the boot sector says without checks, which is a panic where
//! overflow is checked, and follows chains that bite their tails.

mod clusters;
mod names;

use std::io;

use image_core::ReadAt;
use image_core::store::{self, FileId, Open, Store};
use image_core::tree::{Builder, Data, Meta, NewContent, NodeId, Time, Tree, TreeError};

use clusters::{Chain, Volume};

/// Why an image cannot be read as a tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be read.
    #[error("cannot read the image")]
    Io(#[from] io::Error),
    /// The boot sector makes no sense.
    #[error("no FAT file system: the boot sector's {field} cannot be {value}")]
    BootSector {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// A cluster is outside of the file system, or in use twice.
    #[error("cluster {0} is outside of the file system, or in use twice")]
    Cluster(u32),
    /// A file has fewer clusters than its length needs.
    #[error("'{name}' has {len} bytes, but its clusters hold {held}")]
    Short {
        /// The file's name.
        name: String,
        /// Bytes that it says it has.
        len: u64,
        /// Bytes in its clusters.
        held: u64,
    },
    /// Names do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Serves the files of an image.
#[derive(Debug)]
pub struct FatStore<R> {
    source: R,
    files: Vec<(u64, Chain)>,
}

/// Reads a file system: its tree, and the store that serves its files.
pub fn read<R: ReadAt>(source: R) -> Result<(Tree, FatStore<R>), Error> {
    let mut volume = Volume::open(&source)?;
    let mut builder = Tree::builder(Meta::root(0o755));
    let mut files = Vec::new();
    let mut open = vec![(volume.root()?, NodeId::ROOT)];
    while let Some((directory, node)) = open.pop() {
        let bytes = volume.bytes(&directory)?;
        for entry in names::entries(&bytes) {
            if let Some(below) = add(&mut volume, &mut builder, &mut files, node, &entry)? {
                open.push(below);
            }
        }
    }
    Ok((builder.build()?, FatStore { source, files }))
}

/// Adds what an entry names. Gives it back if it is a directory.
fn add<R: ReadAt>(
    volume: &mut Volume<'_, R>,
    builder: &mut Builder,
    files: &mut Vec<(u64, Chain)>,
    parent: NodeId,
    entry: &names::Entry,
) -> Result<Option<(Chain, NodeId)>, Error> {
    let meta = |mode| Meta {
        mtime: entry.modified,
        ..Meta::root(mode)
    };
    let chain = volume.chain(entry.cluster)?;
    if entry.is_directory {
        let node = builder.node(meta(0o755), NewContent::Directory)?;
        builder.link(parent, entry.name.as_bytes(), node)?;
        return Ok(Some((chain, node)));
    }
    let len = u64::from(entry.len);
    if chain.len() < len {
        return Err(Error::Short {
            name: entry.name.clone(),
            len,
            held: chain.len(),
        });
    }
    let file = FileId(u32::try_from(files.len()).map_err(|_| TreeError::TooLarge)?);
    files.push((len, chain));
    let node = builder.node(meta(0o644), NewContent::File(Data::dense(file, len)))?;
    builder.link(parent, entry.name.as_bytes(), node)?;
    Ok(None)
}

impl<R: ReadAt> Store for FatStore<R> {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        let (len, chain) = self.files.get(file.index()).ok_or(store::Error::Unknown(file))?;
        self.source.check()?;
        Ok(Box::new(OpenFile {
            source: &self.source,
            len: *len,
            chain,
        }))
    }
}

struct OpenFile<'a, R> {
    source: &'a R,
    len: u64,
    chain: &'a Chain,
}

impl<R: ReadAt> Open for OpenFile<'_, R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), store::Error> {
        let end = u64::try_from(buf.len())
            .ok()
            .and_then(|len| offset.checked_add(len));
        let read = if end.is_some_and(|end| end <= self.len) {
            self.chain.read(self.source, buf, offset)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        };
        read.map_err(|source| store::Error::Read {
            path: b"(in a FAT file system)".to_vec(),
            source,
        })
    }

    fn finish(&self) -> Result<(), store::Error> {
        self.source.check()
    }
}

/// A date and a time of day as an entry has them, in UTC.
fn time(date: u16, time: u16) -> Time {
    let (year, month, day) = (
        1980_i64.saturating_add((date >> 9).into()),
        (date >> 5) & 15,
        date & 31,
    );
    let (hours, minutes, seconds) = (time >> 11, (time >> 5) & 63, (time & 31).saturating_mul(2));
    // Days since 1970, counting years from March, so that leap days end them.
    let (month, day) = (i64::from(month.clamp(1, 12)), i64::from(day.clamp(1, 31)));
    let year = year.saturating_sub(i64::from(month <= 2));
    let from_march = month.saturating_add(9) % 12;
    let of_year = from_march
        .saturating_mul(153)
        .saturating_add(2)
        .div_euclid(5)
        .saturating_add(day)
        .saturating_sub(1);
    let leap = year
        .div_euclid(4)
        .saturating_sub(year.div_euclid(100))
        .saturating_add(year.div_euclid(400));
    let days = year
        .saturating_mul(365)
        .saturating_add(leap)
        .saturating_add(of_year)
        .saturating_sub(719_468);
    let of_day = i64::from(hours)
        .saturating_mul(60)
        .saturating_add(minutes.into())
        .saturating_mul(60);
    Time {
        secs: days
            .saturating_mul(86_400)
            .saturating_add(of_day)
            .saturating_add(seconds.into()),
        nanos: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_seconds() {
        let at = |year: u16, month: u16, day: u16| ((year - 1980) << 9) | (month << 5) | day;
        let cases = [
            (at(1980, 1, 1), 0, 315_532_800),
            (at(2000, 2, 29), 0xbf7d, 951_868_798),
            (at(2024, 3, 1), 0, 1_709_251_200),
            (at(2100, 3, 1), 0, 4_107_542_400),
        ];
        for (date, of_day, secs) in cases {
            assert_eq!(time(date, of_day).secs, secs);
        }
    }
}
