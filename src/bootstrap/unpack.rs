//! What packages bring → the tree, all at once.
//!
//! Packages are unpacked in parallel into one tree, each by the rules of dpkg: a directory that is there stays, be it by a
//! link (that is how `/bin` becomes `/usr/bin`), all else is made anew with owner, mode and time. The kernel keeps every
//! path below the tree ([`Rooted`]); a member that is meant for another place is refused by name.
//!
//! A name that is taken already is a clash: only when all are there, and the diversions are known, can it be decided
//! whose file it is. What directories are like is decided then, too, by the first package in order, so that the tree does
//! not depend on which thread came first.

use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;

use md5::{Digest as _, Md5};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use tar::{Entry, EntryType};

use super::deb::{Control, Deb, DebError};
use crate::fetch::hex;
use crate::sandbox::rooted::Rooted;

/// A path below the tree, without a slash at either end; the tree itself is empty.
pub type Place = Vec<u8>;

/// Places that become others.
pub type Places = HashMap<Place, Place, RandomState>;

/// What became of a package.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// All that it brings, in order.
    pub places: Vec<Place>,
    /// What its directories are to be like.
    pub directories: Vec<(Place, Attributes)>,
    /// Names of its that were taken.
    pub clashes: Vec<Place>,
    /// The MD5 of files that are asked for.
    pub digests: HashMap<Place, String>,
}

/// Owner, mode and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Mode bits, set-uid bits among them.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
}

/// Why a package was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It cannot be read.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// A member is for another place.
    #[error("its member '{}' leads out of the tree", .0.escape_ascii())]
    Outside(Place),
    /// A member is of no kind that a package has.
    #[error("its member '{}' is {}", .0.escape_ascii(), .1)]
    Kind(Place, &'static str),
    /// A member cannot be written.
    #[error("its member '{}' cannot be written: {}", .0.escape_ascii(), .1)]
    Write(Place, io::Error),
}

/// Which files' MD5 is wanted.
#[derive(Debug)]
pub enum Digests<'a> {
    /// Those of these.
    Of(HashSet<&'a [u8]>),
    /// Those of all: the package brings no list of its own.
    All,
}

impl<'a> Digests<'a> {
    /// Those that dpkg's database needs.
    pub fn needed(control: &'a Control) -> Self {
        if control.file("md5sums").is_none() {
            return Digests::All;
        }
        Digests::Of(conffiles(control).map(str::as_bytes).collect())
    }

    fn wants(&self, place: &[u8]) -> bool {
        match self {
            Digests::All => true,
            Digests::Of(places) => places.contains(place),
        }
    }
}

/// The configuration files of a package, without the slash that they begin with.
pub fn conffiles(control: &Control) -> impl Iterator<Item = &str> {
    // A line with a flag before the path names a file that is to go.
    control
        .lines("conffiles")
        .filter_map(|line| line.strip_prefix('/'))
}

/// Unpacks all of a package.
pub fn unpack(deb: &Deb, control: &Control, tree: &Rooted) -> Result<Unpacked, PlaceError> {
    let digests = Digests::needed(control);
    let mut unpacked = Unpacked::default();
    let mut parents = Parents { tree, last: None };
    let mut archive = deb.data()?;
    for entry in archive.entries().map_err(DebError::from)? {
        let mut entry = entry.map_err(DebError::from)?;
        if entry.header().entry_type().is_pax_global_extensions() {
            continue;
        }
        let place = place(&entry.path_bytes())?;
        match put(&mut entry, &place, &mut parents, &digests)? {
            Put::Directory(attributes) => unpacked.directories.push((place.clone(), attributes)),
            Put::Made(digest) => {
                let digest = digest.into_iter().map(|digest| (place.clone(), digest));
                unpacked.digests.extend(digest);
            }
            Put::Taken => unpacked.clashes.push(place.clone()),
        }
        unpacked.places.push(place);
    }
    Ok(unpacked)
}

/// Unpacks some members of a package to other places, in the stead of whatever is there.
pub fn unpack_some(deb: &Deb, to: &Places, tree: &Rooted) -> Result<(), PlaceError> {
    let mut parents = Parents { tree, last: None };
    let mut archive = deb.data()?;
    for entry in archive.entries().map_err(DebError::from)? {
        let mut entry = entry.map_err(DebError::from)?;
        let Some(to) = to.get(&place(&entry.path_bytes())?) else {
            continue;
        };
        let (parent, name) = parents.of(to)?;
        parent
            .remove(name)
            .map_err(|error| PlaceError::Write(to.clone(), error))?;
        put(&mut entry, to, &mut parents, &Digests::Of(HashSet::new()))?;
    }
    Ok(())
}

/// A member's path as a place.
fn place(path: &[u8]) -> Result<Place, PlaceError> {
    let names: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .collect();
    if names.contains(&&b".."[..]) || path.contains(&b'\n') || path.contains(&0) {
        return Err(PlaceError::Outside(path.to_vec()));
    }
    Ok(names.join(&b'/'))
}

/// The directory that was last put into: members come directory by directory.
struct Parents<'a> {
    tree: &'a Rooted,
    last: Option<(Place, Rooted)>,
}

impl Parents<'_> {
    /// The directory of a place, and its name there.
    fn of<'p>(&mut self, place: &'p [u8]) -> Result<(&Rooted, &'p [u8]), PlaceError> {
        let (parent, name) = match place.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&place[..at], &place[at + 1..]),
            None => (&place[..0], place),
        };
        if self.last.as_ref().is_none_or(|(last, _)| last != parent) {
            let names: Vec<&[u8]> = parent
                .split(|byte| *byte == b'/')
                .filter(|name| !name.is_empty())
                .collect();
            let dir = self.tree.make_dirs(&names, 0o755);
            let dir = dir.map_err(|error| PlaceError::Write(place.to_vec(), error))?;
            self.last = Some((parent.to_vec(), dir));
        }
        let (_, dir) = self.last.as_ref().expect("it was just set");
        Ok((dir, name))
    }
}

/// What became of a member.
enum Put {
    Directory(Attributes),
    /// It was made; its MD5 if that was wanted.
    Made(Option<String>),
    /// Something has its name.
    Taken,
}

fn put<R: Read>(
    entry: &mut Entry<'_, R>,
    place: &Place,
    parents: &mut Parents<'_>,
    digests: &Digests<'_>,
) -> Result<Put, PlaceError> {
    let attributes = attributes(entry).map_err(DebError::from)?;
    let kind = entry.header().entry_type();
    let write = |error: io::Error| PlaceError::Write(place.clone(), error);
    if kind.is_dir() {
        if !place.is_empty() {
            let (parent, name) = parents.of(place)?;
            make_directory(parent, name).map_err(write)?;
        }
        return Ok(Put::Directory(attributes));
    }
    if place.is_empty() {
        return Err(PlaceError::Kind(
            place.clone(),
            "the tree itself, and no directory",
        ));
    }
    let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
    let link = link.filter(|link| !link.is_empty());
    let no_target = || PlaceError::Kind(place.clone(), "a link to nothing");
    let made = match kind {
        EntryType::Regular | EntryType::Continuous => {
            let (parent, name) = parents.of(place)?;
            let digest = digests.wants(place).then(Md5::new);
            return make_file(parent, name, entry, &attributes, digest).map_err(write);
        }
        EntryType::Symlink => {
            let target = link.ok_or_else(no_target)?;
            let (parent, name) = parents.of(place)?;
            make_link(parent, name, &target, &attributes)
        }
        EntryType::Link => {
            let target = self::place(&link.ok_or_else(no_target)?)?;
            let tree = parents.tree;
            let (parent, name) = parents.of(place)?;
            make_hard_link(tree, &target, parent, name)
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            let device = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
            let header = entry.header();
            let device = (device(header.device_major()), device(header.device_minor()));
            let (parent, name) = parents.of(place)?;
            make_node(parent, name, kind, device, &attributes)
        }
        _ => return Err(PlaceError::Kind(place.clone(), "of a kind that no package has")),
    };
    match made {
        Ok(()) => Ok(Put::Made(None)),
        Err(Errno::EXIST) => Ok(Put::Taken),
        Err(error) => Err(write(error.into())),
    }
}

fn attributes<R: Read>(entry: &Entry<'_, R>) -> io::Result<Attributes> {
    let header = entry.header();
    let id = |id: u64| u32::try_from(id).map_err(io::Error::other);
    Ok(Attributes {
        mode: header.mode()? & 0o7777,
        uid: id(header.uid()?)?,
        gid: id(header.gid()?)?,
        mtime: i64::try_from(header.mtime()?).map_err(io::Error::other)?,
    })
}

/// A directory, unless there is one, be it by a link.
fn make_directory(parent: &Rooted, name: &[u8]) -> io::Result<()> {
    match rustix::fs::mkdirat(parent.fd(), name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A file, and its MD5 if one was begun.
fn make_file(
    parent: &Rooted,
    name: &[u8],
    content: &mut impl Read,
    attributes: &Attributes,
    mut digest: Option<Md5>,
) -> io::Result<Put> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(parent.fd(), name, flags, Mode::from_raw_mode(0o600)) {
        Err(Errno::EXIST) => return Ok(Put::Taken),
        other => std::fs::File::from(other?),
    };
    let mut buf = vec![0; 64 * 1024];
    loop {
        let len = match content.read(&mut buf) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        (&file).write_all(&buf[..len])?;
        if let Some(digest) = &mut digest {
            digest.update(&buf[..len]);
        }
    }
    give(&file, attributes)?;
    Ok(Put::Made(digest.map(|digest| hex(&digest.finalize()))))
}

/// Gives what is open its owner, then its mode, which a change of owner cuts, then its time.
pub(super) fn give(file: &impl AsFd, attributes: &Attributes) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    rustix::fs::fchown(file, Some(uid), Some(gid))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(attributes.mode))?;
    Ok(rustix::fs::futimens(file, &times(attributes))?)
}

fn times(attributes: &Attributes) -> Timestamps {
    let time = Timespec {
        tv_sec: attributes.mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Gives a name that is no file or directory its owner and time.
fn give_name(parent: &Rooted, name: &[u8], attributes: &Attributes) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    rustix::fs::chownat(parent.fd(), name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::utimensat(parent.fd(), name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW)
}

fn make_link(parent: &Rooted, name: &[u8], target: &[u8], attributes: &Attributes) -> Result<(), Errno> {
    match rustix::fs::symlinkat(target, parent.fd(), name) {
        Ok(()) => give_name(parent, name, attributes),
        Err(Errno::EXIST) => match rustix::fs::readlinkat(parent.fd(), name, Vec::new()) {
            // The links of a merged /usr are there before the package that owns them.
            Ok(there) if there.to_bytes() == target => Ok(()),
            _ => Err(Errno::EXIST),
        },
        Err(error) => Err(error),
    }
}

fn make_hard_link(tree: &Rooted, target: &[u8], parent: &Rooted, name: &[u8]) -> Result<(), Errno> {
    let at = target.iter().rposition(|byte| *byte == b'/');
    let (dir, last) = match at {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (&b"."[..], target),
    };
    let dir = tree.dir(std::ffi::OsStr::new(
        std::str::from_utf8(dir).map_err(|_| Errno::NOENT)?,
    ));
    let dir = dir.ok().flatten().ok_or(Errno::NOENT)?;
    match dir.kind(last) {
        Ok(Some(FileType::RegularFile)) => {
            rustix::fs::linkat(dir.fd(), last, parent.fd(), name, AtFlags::empty())
        }
        _ => Err(Errno::NOENT),
    }
}

fn make_node(
    parent: &Rooted,
    name: &[u8],
    kind: EntryType,
    device: (u32, u32),
    attributes: &Attributes,
) -> Result<(), Errno> {
    let kind = match kind {
        EntryType::Char => FileType::CharacterDevice,
        EntryType::Block => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let mode = Mode::from_raw_mode(attributes.mode);
    let device = rustix::fs::makedev(device.0, device.1);
    rustix::fs::mknodat(parent.fd(), name, kind, mode, device)?;
    give_name(parent, name, attributes)?;
    rustix::fs::chmodat(parent.fd(), name, mode, AtFlags::empty())
}
