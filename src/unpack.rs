//! Archives of others → a directory that they cannot leave.
//!
//! An archive is hostile until it is unpacked: its members name places (`../../etc/passwd`, `/etc/passwd`), links that lead
//! elsewhere, and devices. So every place is opened below the directory by the kernel, which lets no link lead out
//! ([`Rooted`]); what could not stand in a source archive is refused by the name of its member.
//!
//! - `..` is refused; a leading `/` means the directory itself, as GNU tar has it.
//! - Links are made as they are. Members after them that go through one land inside the directory, or nowhere.
//! - Owners are who unpacks; set-uid bits and devices are no source. Modes and times are kept.
//! - Only what was selected is written: the whole, or what is below the directories that a pattern names.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FileType, Timespec, Timestamps, UTIME_OMIT};
use tar::{Archive, Entry, EntryType};

use crate::sandbox::rooted::Rooted;

/// Which members are wanted, and from which directory of the archive on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Patterns for the first names of a member's path.
    patterns: Vec<String>,
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It cannot be read.
    #[error("the archive cannot be read: {0}")]
    Read(io::Error),
    /// It is compressed in a way that this program was built without.
    #[error("the archive is compressed by {0}, which this program was built without")]
    Compression(&'static str),
    /// A member is for another place.
    #[error("member '{0}' leads out of the archive")]
    Outside(Name),
    /// A member is no part of a source.
    #[error("member '{name}' is {what}")]
    Kind {
        /// Which.
        name: Name,
        /// What it is.
        what: &'static str,
    },
    /// A member cannot be written.
    #[error("member '{name}' cannot be written: {source}")]
    Write {
        /// Which.
        name: Name,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing of what is wanted.
    #[error("the archive has no {0}")]
    Nothing(Selection),
}

/// The name of a member as a person can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<u8>);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl Selection {
    /// What a word selects: `.` everything, else what is below the directories of that path, whose names may hold `*`
    /// and `?`. `None`: it leads out of the archive.
    pub fn parse(word: &str) -> Option<Self> {
        let names = word.split('/').filter(|name| !matches!(*name, "" | "."));
        let patterns: Vec<String> = names.map(str::to_owned).collect();
        let inside = patterns.iter().all(|name| name != "..");
        inside.then_some(Self { patterns })
    }

    /// What of a path is left below the selected directory; `None`: it is not in one.
    fn rest<'a, 'b>(&self, path: &'a [&'b [u8]]) -> Option<&'a [&'b [u8]]> {
        let (first, rest) = path.split_at_checked(self.patterns.len())?;
        let all = self
            .patterns
            .iter()
            .zip(first)
            .all(|(pattern, name)| matches(pattern.as_bytes(), name));
        all.then_some(rest)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.patterns.join("/"))
    }
}

/// Whether a name is one that a pattern names, as a shell has it: what is hidden must be named as such.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    // Where to go back to: what follows the last `*`, and the first byte that it may still take.
    let (mut at, mut in_name, mut star) = (0, 0, None);
    while in_name < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, in_name));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == name[in_name] => {
                (at, in_name) = (at + 1, in_name + 1);
            }
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    (at, in_name) = (after, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

/// The names of a path, without those that stay where they are; `None`: it leads out.
fn names(path: &[u8]) -> Option<Vec<&[u8]>> {
    let names = path.split(|byte| *byte == b'/');
    let names: Vec<&[u8]> = names.filter(|name| !name.is_empty() && *name != b".").collect();
    (!names.contains(&&b".."[..])).then_some(names)
}

/// Unpacks a tar archive, compressed or not, into a directory.
pub fn unpack(archive: impl Read + 'static, into: &Rooted, selection: &Selection) -> Result<(), UnpackError> {
    let mut archive = Archive::new(decompressed(archive)?);
    // Directories get their times last: what is put into them changes those.
    let mut directories = Vec::new();
    let mut any = false;
    for entry in archive.entries().map_err(UnpackError::Read)? {
        let mut entry = entry.map_err(UnpackError::Read)?;
        let path = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let found = names(&path).ok_or_else(|| UnpackError::Outside(Name(path.clone())))?;
        let Some(rest) = selection.rest(&found) else {
            continue;
        };
        let written = |source| UnpackError::Write {
            name: Name(path.clone()),
            source,
        };
        any = true;
        match rest.split_last() {
            // The selected directory itself is the one that is there.
            None => {}
            Some((name, parents)) if kind.is_dir() => {
                let parent = into.make_dirs(parents, 0o755).map_err(written)?;
                parent.make_dirs(&[name], 0o755).map_err(written)?;
                directories.push((below(rest), mode(&entry), times(&entry), path));
            }
            Some((name, parents)) => {
                let parent = into.make_dirs(parents, 0o755).map_err(written)?;
                put(&mut entry, &Name(path.clone()), &parent, name, into, selection)?;
            }
        }
    }
    if !any {
        return Err(UnpackError::Nothing(selection.clone()));
    }
    for (place, mode, times, path) in directories.into_iter().rev() {
        let dir = into.dir(OsStr::from_bytes(&place));
        // A member of the same name may have taken its place.
        if let Ok(Some(dir)) = &dir {
            let done = rustix::fs::fchmod(dir.fd(), mode.into())
                .and_then(|()| rustix::fs::futimens(dir.fd(), &times));
            done.map_err(|source| UnpackError::Write {
                name: Name(path),
                source: source.into(),
            })?;
        }
    }
    Ok(())
}

/// Puts a member that is no directory into its place.
fn put<R: Read>(
    entry: &mut Entry<'_, R>,
    path: &Name,
    parent: &Rooted,
    name: &[u8],
    into: &Rooted,
    selection: &Selection,
) -> Result<(), UnpackError> {
    let written = |source: io::Error| UnpackError::Write {
        name: path.clone(),
        source,
    };
    let refused = |what| UnpackError::Kind {
        name: path.clone(),
        what,
    };
    match entry.header().entry_type() {
        // Their name and their content are not what the header says.
        EntryType::Regular if is_sparse_by_records(entry)? => {
            Err(refused("sparse in a form that is not read"))
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mut file = parent.create(name, mode(entry)).map_err(written)?;
            io::copy(entry, &mut file).map_err(written)?;
            rustix::fs::futimens(&file, &times(entry)).map_err(|error| written(error.into()))
        }
        EntryType::Symlink => {
            let target = entry
                .link_name_bytes()
                .ok_or_else(|| refused("a link to nothing"))?;
            parent.remove(name).map_err(written)?;
            let made = rustix::fs::symlinkat(&*target, parent.fd(), name).and_then(|()| {
                rustix::fs::utimensat(parent.fd(), name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
            });
            made.map_err(|error| written(error.into()))
        }
        EntryType::Link => {
            let target = entry
                .link_name_bytes()
                .ok_or_else(|| refused("a link to nothing"))?;
            let found = names(&target).ok_or_else(|| UnpackError::Outside(path.clone()))?;
            let rest = selection.rest(&found).and_then(<[_]>::split_last);
            let (last, parents) = rest.ok_or_else(|| refused("a link to what is not wanted"))?;
            let dir = into.dir(OsStr::from_bytes(&below(parents))).map_err(written)?;
            let dir = dir.ok_or_else(|| written(io::ErrorKind::NotFound.into()))?;
            if dir.kind(*last).map_err(written)? != Some(FileType::RegularFile) {
                return Err(refused("a link to no regular file"));
            }
            parent.remove(name).map_err(written)?;
            rustix::fs::linkat(dir.fd(), *last, parent.fd(), name, AtFlags::empty())
                .map_err(|error| written(error.into()))
        }
        EntryType::Char | EntryType::Block => Err(refused("a device")),
        EntryType::Fifo => Err(refused("a fifo")),
        _ => Err(refused("of a kind that is not known")),
    }
}

/// Whether a member is one of the sparse files of GNU tar that pax records describe.
fn is_sparse_by_records<R: Read>(entry: &mut Entry<'_, R>) -> Result<bool, UnpackError> {
    let records = entry.pax_extensions().map_err(UnpackError::Read)?;
    let mut keys = records
        .into_iter()
        .flatten()
        .flatten()
        .map(|record| record.key_bytes().to_vec());
    Ok(keys.any(|key| key.starts_with(b"GNU.sparse.")))
}

/// A path below the directory that everything goes into.
fn below(names: &[&[u8]]) -> Vec<u8> {
    [&[&b"."[..]], names].concat().join(&b'/')
}

fn mode<R: Read>(entry: &Entry<'_, R>) -> u32 {
    entry.header().mode().unwrap_or(0o644) & 0o777
}

fn times<R: Read>(entry: &Entry<'_, R>) -> Timestamps {
    let seconds = entry
        .header()
        .mtime()
        .ok()
        .and_then(|time| i64::try_from(time).ok());
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds.unwrap_or_default(),
            tv_nsec: 0,
        },
    }
}

/// The bytes of an archive, whatever compresses them. Its first bytes say what that is, not its name.
pub(crate) fn decompressed(archive: impl Read + 'static) -> Result<Box<dyn Read>, UnpackError> {
    let mut archive = BufReader::with_capacity(128 * 1024, archive);
    let head = archive.fill_buf().map_err(UnpackError::Read)?;
    Ok(match head {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(archive)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(lzma_rust2::XzReader::new(archive, true)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(archive)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstandard(archive)?,
        _ => Box::new(archive),
    })
}

#[cfg(feature = "zstd")]
fn zstandard(archive: BufReader<impl Read + 'static>) -> Result<Box<dyn Read>, UnpackError> {
    let decoder = zstd::Decoder::with_buffer(archive).map_err(UnpackError::Read)?;
    Ok(Box::new(decoder))
}

#[cfg(not(feature = "zstd"))]
fn zstandard(_: BufReader<impl Read + 'static>) -> Result<Box<dyn Read>, UnpackError> {
    Err(UnpackError::Compression("zstd"))
}

#[cfg(test)]
mod tests;
