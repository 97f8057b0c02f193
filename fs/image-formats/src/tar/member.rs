//! Members: one header block of an archive, the extension headers before it, and where its data lie.
//!
//! Spec: <https://www.gnu.org/software/tar/manual/html_node/Standard.html>, and for sparse files
//! <https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html>

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use image_core::ReadAt;
use image_core::read_at::Cursor;
use tar::{EntryType, Header};

use super::pax::{self, Malformed, Records};
use super::{Archive, Error, Member, Trouble};

/// Bytes of a block: headers are one, data are padded to whole ones.
const BLOCK: u64 = 512;
/// The longest extension header that is believed: names have 4096 bytes at most, all xattrs of a file some 64 KiB.
const EXTENSION_LIMIT: u64 = 16 << 20;
/// The most runs of data that a sparse file's map is believed to have: with all that is made of it, some 200 MiB. A file
/// of 128 GiB has as many, if a block of 4 KiB in every 64 KiB is data.
const RANGES_LIMIT: usize = 1 << 21;
/// The most digits of a number in a map: those of `u64::MAX`.
const DIGITS_MAX: usize = 20;

/// Reads the headers of an archive one after another, and skips the data.
pub(super) struct Members {
    archive: BufReader<Cursor<Archive>>,
    /// Where the next header begins.
    at: u64,
    /// Bytes of the archive.
    len: u64,
    /// What global headers said so far, of every member that does not say otherwise.
    global: Records,
}

/// A sparse file as its map tells it.
struct Sparse {
    ranges: Vec<Range<u64>>,
    len: u64,
}

/// What extension headers say about the next member.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Records,
}

impl Members {
    pub(super) fn new(archive: Archive) -> Self {
        Self {
            at: 0,
            len: archive.len(),
            archive: BufReader::with_capacity(256 * 1024, Cursor::new(archive)),
            global: Records::default(),
        }
    }

    /// The next member; `None` at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Error> {
        let (mut extension, mut extended) = (Extension::default(), false);
        loop {
            let header_at = self.at;
            let Some(header) = self.header()? else {
                return if extended {
                    Err(Error::Truncated { at: header_at })
                } else {
                    Ok(None)
                };
            };
            let size = header
                .entry_size()
                .map_err(|_| Error::header(header_at, "size"))?;
            let kind = header.entry_type();
            extended |= !matches!(kind, EntryType::XGlobalHeader);
            match kind {
                EntryType::XHeader => {
                    let bytes = self.extension_bytes(size)?;
                    let bad = || Error::header(header_at, "extended header");
                    extension.records = Records::parse(&bytes).ok_or_else(bad)?;
                }
                EntryType::XGlobalHeader => {
                    let bytes = self.extension_bytes(size)?;
                    let bad = || Error::header(header_at, "global extended header");
                    self.global.extend(Records::parse(&bytes).ok_or_else(bad)?);
                }
                EntryType::GNULongName => extension.path = Some(self.long_name(size)?),
                EntryType::GNULongLink => extension.link = Some(self.long_name(size)?),
                _ => return self.member(header_at, &header, extension).map(Some),
            }
        }
    }

    /// The next header block; `None` at the end: a zero block, or no more blocks.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        if self.at >= self.len {
            return Ok(None);
        }
        let at = self.at;
        let mut header = Header::new_old();
        self.read(header.as_mut_bytes())?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The checksum counts its own field as blanks.
        let sum = bytes.iter().enumerate().fold(0_u32, |sum, (i, byte)| {
            let byte = if (148..156).contains(&i) { b' ' } else { *byte };
            sum.saturating_add(u32::from(byte))
        });
        match header.cksum() {
            Ok(stored) if stored == sum => Ok(Some(header)),
            _ => Err(Error::header(at, "checksum")),
        }
    }

    fn member(&mut self, at: u64, header: &Header, extension: Extension) -> Result<Member, Error> {
        let Extension {
            path,
            link,
            records: own,
        } = extension;
        let mut records = self.global.clone();
        records.extend(own);
        let pax_path = records
            .get("GNU.sparse.name")
            .or(records.get("path"))
            .map(<[u8]>::to_vec);
        let path = pax_path
            .or(path)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let pax_link = records.get("linkpath").map(<[u8]>::to_vec);
        let link = pax_link
            .or(link)
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let bad = |field| Error::header(at, field);
        let malformed = |Malformed(key)| bad(key);
        let size = match records.number("size").map_err(malformed)? {
            Some(size) => size,
            None => header.entry_size().map_err(|_| bad("size"))?,
        };
        let id = |key, field: std::io::Result<u64>| match records.number(key).map_err(malformed)? {
            Some(id) => Ok(id),
            None => field
                .ok()
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| bad(key)),
        };
        let (uid, gid) = (id("uid", header.uid())?, id("gid", header.gid())?);
        let mtime = match records.get("mtime") {
            Some(mtime) => pax::time(mtime).ok_or_else(|| bad("mtime"))?,
            None => time(header).ok_or_else(|| bad("mtime"))?,
        };
        let mode = header
            .mode()
            .ok()
            .and_then(|mode| u16::try_from(mode & 0o7777).ok());
        let mode = mode.ok_or_else(|| bad("mode"))?;
        let device = |number: std::io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
        let device = image_core::tree::Device {
            major: device(header.device_major()),
            minor: device(header.device_minor()),
        };
        let kind = header.entry_type();
        let mut member = Member {
            path,
            link,
            records,
            uid,
            gid,
            mtime,
            mode,
            device,
            kind,
            data_at: 0,
            len: size,
            ranges: None,
        };
        let data = self.data(header, size, &mut member)?;
        (member.data_at, member.len) = data;
        Ok(member)
    }

    /// Finds where a member's data lie and how long the file is, reads its map if it is sparse, and passes its data.
    fn data(&mut self, header: &Header, size: u64, member: &mut Member) -> Result<(u64, u64), Error> {
        let has_data = matches!(
            member.kind,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        );
        let begin = self.at;
        let real = |key| member.records.number(key).ok().flatten();
        let map = if member.kind == EntryType::GNUSparse {
            Some(self.old_map(header))
        } else if let Some(map) = member.records.get("GNU.sparse.map") {
            let map = map.split(|byte| *byte == b',').map(pax::number).collect();
            Some(sparse(map, real("GNU.sparse.size")))
        } else if member.records.get("GNU.sparse.major") == Some(b"1") {
            Some(sparse(self.inline_map(size), real("GNU.sparse.realsize")))
        } else if member.records.get("GNU.sparse.numblocks").is_some() {
            return Err(Error::member(&member.path, Trouble::SparseFormat));
        } else {
            None
        };
        let data_at = self.at;
        // The old format's map stands before the data; pax format 1.0 counts it as data.
        let begin = if member.kind == EntryType::GNUSparse {
            data_at
        } else {
            begin
        };
        let end = begin
            .checked_add(if has_data { size } else { 0 })
            .ok_or(Error::Truncated { at: begin })?;
        self.seek(end)?;
        let Some(map) = map else {
            return Ok((data_at, size));
        };
        let fits = |map: &Sparse| {
            map.stored()
                .checked_add(data_at)
                .is_some_and(|needed| needed <= end)
        };
        let map = map
            .filter(fits)
            .ok_or_else(|| Error::member(&member.path, Trouble::SparseMap))?;
        member.ranges = Some(map.ranges);
        Ok((data_at, map.len))
    }

    /// The map of GNU's old format: four entries in the header, more in blocks behind it.
    fn old_map(&mut self, header: &Header) -> Option<Sparse> {
        let gnu = header.as_gnu()?;
        let mut map = old_entries(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            if map.len() / 2 > RANGES_LIMIT {
                return None;
            }
            let mut block = tar::GnuExtSparseHeader::new();
            self.read(block.as_mut_bytes()).ok()?;
            map.extend(old_entries(block.sparse())?);
            more = block.is_extended();
        }
        sparse(Some(map), gnu.real_size().ok())
    }

    /// The map of pax sparse format 1.0: decimal numbers, one a line, in the blocks before the data.
    fn inline_map(&mut self, size: u64) -> Option<Vec<u64>> {
        let mut block = [0; 512];
        // What is of a line whose end is in the next block.
        let mut begun: Vec<u8> = Vec::new();
        let mut count = None;
        let mut numbers: Vec<u64> = Vec::new();
        let mut left = size;
        loop {
            left = left.checked_sub(BLOCK)?;
            self.read(&mut block).ok()?;
            for byte in block {
                if byte != b'\n' {
                    // Without a bound, a file of zeros would be a line.
                    if begun.len() == DIGITS_MAX {
                        return None;
                    }
                    begun.push(byte);
                    continue;
                }
                let number: u64 = pax::number(&begun)?;
                begun.clear();
                match count {
                    None => {
                        let runs = usize::try_from(number).ok();
                        let runs = runs.filter(|runs| *runs <= RANGES_LIMIT)?;
                        count = Some(runs.checked_mul(2)?);
                    }
                    Some(_) => numbers.push(number),
                }
                if count == Some(numbers.len()) {
                    return Some(numbers);
                }
            }
        }
    }

    fn extension_bytes(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let at = self.at;
        if size > EXTENSION_LIMIT {
            return Err(Error::header(at, "extended header's size"));
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| Error::Truncated { at })?];
        self.read(&mut bytes)?;
        self.seek(at.saturating_add(size))?;
        Ok(bytes)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut name = self.extension_bytes(size)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<(), Error> {
        let at = self.at;
        self.archive
            .read_exact(buf)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::UnexpectedEof => Error::Truncated { at },
                _ => Error::Io(source),
            })?;
        self.at = u64::try_from(buf.len())
            .ok()
            .and_then(|len| at.checked_add(len))
            .ok_or(Error::Truncated { at })?;
        Ok(())
    }

    /// Goes to the first block boundary at or after byte `to`, which must lie in the archive.
    fn seek(&mut self, to: u64) -> Result<(), Error> {
        let truncated = Error::Truncated { at: self.at };
        let Some(padded) = to.checked_next_multiple_of(BLOCK) else {
            return Err(truncated);
        };
        if to > self.len {
            return Err(truncated);
        }
        let step = i64::try_from(padded).ok().zip(i64::try_from(self.at).ok());
        match step.and_then(|(to, at)| to.checked_sub(at)) {
            Some(step) => self.archive.seek_relative(step)?,
            None => drop(self.archive.seek(SeekFrom::Start(padded))?),
        }
        self.at = padded;
        Ok(())
    }
}

/// Offsets and lengths of the old format's entries in use.
fn old_entries(entries: &[tar::GnuSparseHeader]) -> Option<Vec<u64>> {
    let used = entries.iter().filter(|entry| !entry.is_empty());
    let numbers = used.flat_map(|entry| [entry.offset().ok(), entry.length().ok()]);
    numbers.collect()
}

/// A header's time; base-256 fields may hold one before 1970, as two's complement.
fn time(header: &Header) -> Option<image_core::tree::Time> {
    let secs = header.mtime().ok()?.cast_signed();
    Some(image_core::tree::Time { secs, nanos: 0 })
}

impl Sparse {
    /// Bytes of data, as they are packed in the archive.
    fn stored(&self) -> u64 {
        self.ranges.iter().fold(0_u64, |sum, range| {
            sum.saturating_add(range.end.saturating_sub(range.start))
        })
    }
}

/// Makes runs of data out of a map's offsets and lengths; the last may be empty, to tell the file's end.
fn sparse(map: Option<Vec<u64>>, real: Option<u64>) -> Option<Sparse> {
    let (map, len) = map.zip(real)?;
    let mut ranges = Vec::new();
    let mut end = 0;
    for pair in map.chunks(2) {
        let [offset, length] = *pair else { return None };
        let range = offset..offset.checked_add(length)?;
        if range.start < end || range.end > len {
            return None;
        }
        end = range.end;
        if !range.is_empty() {
            ranges.push(range);
        }
    }
    Some(Sparse { ranges, len })
}
