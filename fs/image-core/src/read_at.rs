//! Read at: the bytes of an image that is read, at any place, by several threads at once.
//!
//! A reader of a format is written for [`ReadAt`] alone, so that it neither knows nor cares whether its image is a
//! [file](ImageFile), [a part](Slice) of one (a partition, say), [several](Joined) as one, the guest inside another format, or bytes in memory. Nothing
//! has a position of its own: that is what lets the threads of a copy share one image. Code written for [`Read`] and
//! [`Seek`] gets a position by a [`Cursor`].

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::store::{self, State};

/// Bytes of known number that can be read at any place.
#[expect(
    clippy::len_without_is_empty,
    reason = "an image without a byte is no case of its own: it lacks its first header as a short one does"
)]
pub trait ReadAt: Send + Sync + Debug {
    /// Bytes that there are.
    fn len(&self) -> u64;

    /// Fills `buf` from byte `offset` on, or fails, with [`io::ErrorKind::UnexpectedEof`] past the end: never short.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Checks that the bytes still are those that were there at first. Stores ask before and after they read a file.
    fn check(&self) -> Result<(), store::Error> {
        Ok(())
    }
}

/// A regular file, as long as it was when it was opened.
#[derive(Debug)]
pub struct ImageFile {
    file: File,
    path: Vec<u8>,
    planned: State,
    len: u64,
}

impl ImageFile {
    /// Takes an opened regular file. `path` names it in messages.
    pub fn new(file: File, path: &Path) -> io::Result<Self> {
        let planned = State::of(&file)?;
        let State::File { len, .. } = planned else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        };
        Ok(Self {
            file,
            path: path.as_os_str().as_encoded_bytes().to_vec(),
            planned,
            len,
        })
    }

    /// What names it in messages.
    pub fn path(&self) -> &[u8] {
        &self.path
    }
}

impl AsFd for ImageFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl ReadAt for ImageFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        within(offset, buf.len(), self.len)?;
        self.file.read_exact_at(buf, offset)
    }

    fn check(&self) -> Result<(), store::Error> {
        let path = self.path.clone();
        match State::of(&self.file) {
            Ok(found) if found == self.planned => Ok(()),
            Ok(found) => Err(store::Error::SourceChanged {
                path,
                planned: self.planned,
                found,
            }),
            Err(source) => Err(store::Error::Read { path, source }),
        }
    }
}

/// A part of something, as if it were all: a partition of a disk.
#[derive(Clone, Debug)]
pub struct Slice<R> {
    whole: R,
    start: u64,
    len: u64,
}

impl<R: ReadAt> Slice<R> {
    /// The bytes of a range, or `None` if the range leaves the whole.
    pub fn new(whole: R, range: Range<u64>) -> Option<Self> {
        let len = range.end.checked_sub(range.start)?;
        (range.end <= whole.len()).then_some(Self {
            whole,
            start: range.start,
            len,
        })
    }

    /// What it is a part of.
    pub fn whole(&self) -> &R {
        &self.whole
    }

    /// Where in the whole it begins.
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl<R: ReadAt> ReadAt for Slice<R> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        within(offset, buf.len(), self.len)?;
        self.whole.read_exact_at(buf, self.start.saturating_add(offset))
    }

    fn check(&self) -> Result<(), store::Error> {
        self.whole.check()
    }
}

/// Parts one after the other, as if they were one: a logical volume from runs of its disk.
#[derive(Clone, Debug)]
pub struct Joined<R> {
    /// Each part with the byte at which it begins.
    parts: Vec<(u64, R)>,
    len: u64,
}

impl<R: ReadAt> Joined<R> {
    /// Joins parts, or gives `None` if together they have more bytes than can be counted.
    pub fn new(parts: impl IntoIterator<Item = R>) -> Option<Self> {
        let mut joined = Self {
            parts: Vec::new(),
            len: 0,
        };
        for part in parts {
            let start = joined.len;
            joined.len = start.checked_add(part.len())?;
            joined.parts.push((start, part));
        }
        Some(joined)
    }
}

impl<R: ReadAt> ReadAt for Joined<R> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        within(offset, buf.len(), self.len)?;
        let first = self.parts.partition_point(|(start, _)| *start <= offset);
        let (mut rest, mut at) = (buf, offset);
        for (start, part) in self.parts.iter().skip(first.saturating_sub(1)) {
            let inside = at.saturating_sub(*start);
            let left = part.len().saturating_sub(inside);
            let here = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            let (head, tail) = rest.split_at_mut(here);
            part.read_exact_at(head, inside)?;
            if tail.is_empty() {
                break;
            }
            at = start.saturating_add(part.len());
            rest = tail;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), store::Error> {
        self.parts.iter().try_for_each(|(_, part)| part.check())
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        u64::try_from(self.as_slice().len()).expect("a usize fits a u64")
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        within(offset, buf.len(), ReadAt::len(self))?;
        let start = usize::try_from(offset).expect("an offset within a vector fits a usize");
        buf.copy_from_slice(&self[start..start.saturating_add(buf.len())]);
        Ok(())
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Arc<R> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn check(&self) -> Result<(), store::Error> {
        (**self).check()
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Box<R> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn check(&self) -> Result<(), store::Error> {
        (**self).check()
    }
}

/// Refuses to read past the end.
fn within(offset: u64, count: usize, len: u64) -> io::Result<()> {
    let end = u64::try_from(count)
        .ok()
        .and_then(|count| offset.checked_add(count));
    match end {
        Some(end) if end <= len => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A position in something that has none. It reads nothing ahead: a [`BufReader`](io::BufReader) around it does.
#[derive(Clone, Debug)]
pub struct Cursor<R> {
    inner: R,
    at: u64,
}

impl<R: ReadAt> Cursor<R> {
    /// A cursor at byte 0.
    pub fn new(inner: R) -> Self {
        Self { inner, at: 0 }
    }

    /// What it reads.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }
}

impl<R: ReadAt> Read for Cursor<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.inner.len().saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        if count > 0 {
            self.inner.read_exact_at(&mut buf[..count], self.at)?;
            let count = u64::try_from(count).expect("a usize fits a u64");
            self.at = self.at.saturating_add(count);
        }
        Ok(count)
    }
}

impl<R: ReadAt> Seek for Cursor<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(to) => Some(to),
            SeekFrom::End(by) => self.inner.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Ten bytes in a file, and what reading at a place gives.
    fn file() -> (tempfile::NamedTempFile, ImageFile) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"0123456789").unwrap();
        let image = ImageFile::new(file.reopen().unwrap(), Path::new("image")).unwrap();
        (file, image)
    }

    fn read(from: &impl ReadAt, offset: u64, len: usize) -> Option<Vec<u8>> {
        let mut buf = vec![0; len];
        match from.read_exact_at(&mut buf, offset) {
            Ok(()) => Some(buf),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                None
            }
        }
    }

    #[test]
    fn nothing_is_read_past_the_end_of_a_file_a_part_or_memory() {
        let (_kept, image) = file();
        let image = Arc::new(image);
        let part = Slice::new(Arc::clone(&image), 2..6).unwrap();
        let memory = b"2345".to_vec();
        assert_eq!((image.len(), part.len()), (10, 4));
        for (offset, len, want) in [
            (0, 4, Some("2345")),
            (1, 2, Some("34")),
            (4, 0, Some("")),
            (4, 1, None),
            (3, 2, None),
            (5, 0, None),
            (u64::MAX, 1, None),
        ] {
            let want = want.map(|want| want.as_bytes().to_vec());
            assert_eq!(read(&part, offset, len), want, "{len} at {offset} of the part");
            assert_eq!(read(&memory, offset, len), want, "{len} at {offset} of memory");
        }
        assert_eq!(read(&image, 8, 2).unwrap(), b"89");
        assert_eq!(read(&image, 8, 3), None);
        assert!(Slice::new(Arc::clone(&image), 4..11).is_none());
        #[expect(clippy::reversed_empty_ranges, reason = "it is refused")]
        let reversed = 5..4;
        assert!(Slice::new(image, reversed).is_none());
    }

    #[test]
    fn joined_parts_are_read_across_their_borders() {
        let parts = ["01", "", "234", "5"].map(|part| part.as_bytes().to_vec());
        let joined = Joined::new(parts).unwrap();
        assert_eq!(joined.len(), 6);
        for start in 0..=6_u8 {
            for end in start..=6 {
                let want: Vec<u8> = (start..end).map(|at| b'0' + at).collect();
                let found = read(&joined, start.into(), (end - start).into());
                assert_eq!(found, Some(want), "{start}..{end}");
            }
        }
        assert_eq!(read(&joined, 5, 2), None);
        assert_eq!(Joined::<Vec<u8>>::new([]).unwrap().len(), 0);
    }

    #[test]
    fn a_file_that_changed_is_noticed() {
        let (mut kept, image) = file();
        let part = Slice::new(image, 0..3).unwrap();
        part.check().unwrap();
        kept.write_all(b"x").unwrap();
        let error = part.check().unwrap_err().to_string();
        assert!(error.starts_with("image changed while"), "{error}");
        let directory = ImageFile::new(File::open("/").unwrap(), Path::new("/"));
        assert_eq!(directory.unwrap_err().to_string(), "not a regular file");
    }

    #[test]
    fn a_cursor_is_a_position() {
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut cursor = Cursor::new(bytes.clone());
        let mut all = Vec::new();
        cursor.read_to_end(&mut all).unwrap();
        assert!(all == bytes);
        for (to, at) in [
            (SeekFrom::Start(3), 3_usize),
            (SeekFrom::Current(70_000), 70_007),
            (SeekFrom::End(-4), 799_996),
            (SeekFrom::Current(-400_000), 400_000),
        ] {
            assert_eq!(cursor.seek(to).unwrap(), u64::try_from(at).unwrap());
            let mut four = [0; 4];
            cursor.read_exact(&mut four).unwrap();
            assert_eq!(four, bytes[at..at + 4]);
        }
        assert!(cursor.seek(SeekFrom::Current(-500_000)).is_err());
        cursor.seek(SeekFrom::Start(1 << 40)).unwrap();
        assert_eq!(cursor.read(&mut [0; 4]).unwrap(), 0);
    }
}
