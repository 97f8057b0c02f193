//! Runs: where the bytes of files lie in the image of a file system, and the store that serves them from there.
//!
//! Every file system has its own way to say which of its blocks are whose. Its reader checks what it says and makes
//! [`Runs`] of it; what is data then, and what is read, is the same for all of them.
//!
//! Invariant: `runs[i].end() <= runs[i + 1].at`: sorted, disjoint. What no run covers is a hole.

use std::io;
use std::ops::Range;

use crate::ReadAt;
use crate::store::{self, FileId, Open, Store};

/// Bytes of a file that lie in one piece.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Where in the file they begin.
    pub at: u64,
    /// Where in the image they begin.
    pub start: u64,
    /// How many.
    pub len: u64,
}

impl Run {
    fn end(&self) -> u64 {
        self.at.saturating_add(self.len)
    }
}

/// Where the bytes of a file lie.
#[derive(Clone, Debug)]
pub struct Runs(Box<[Run]>);

impl FromIterator<Run> for Runs {
    /// Takes runs that ascend and do not overlap.
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Self {
        let runs = Self(runs.into_iter().collect());
        debug_assert!(runs.0.is_sorted_by(|run, next| run.end() <= next.at));
        runs
    }
}

impl Runs {
    /// Which bytes of a file of so many are data; neighbours are joined.
    pub fn ranges(&self, len: u64) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for run in &self.0 {
            let end = run.end().min(len);
            match ranges.last_mut() {
                _ if run.at >= end => {}
                Some(last) if last.end == run.at => last.end = end,
                _ => ranges.push(run.at..end),
            }
        }
        ranges
    }

    /// Fills `buf` with the file's bytes from `offset` on, zeros where it has holes.
    pub fn read(&self, source: &impl ReadAt, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut rest, mut at) = (buf, offset);
        let first = self.0.partition_point(|run| run.end() <= offset);
        for run in &self.0[first..] {
            let (hole, behind) = split(rest, run.at.saturating_sub(at));
            hole.fill(0);
            if behind.is_empty() {
                return Ok(());
            }
            at = at.max(run.at);
            let (data, behind) = split(behind, run.end().saturating_sub(at));
            source.read_exact_at(data, run.start.saturating_add(at.saturating_sub(run.at)))?;
            (rest, at) = (behind, run.end());
        }
        rest.fill(0);
        Ok(())
    }
}

/// So many of the bytes, or all that there are, and the others.
fn split(bytes: &mut [u8], len: u64) -> (&mut [u8], &mut [u8]) {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    bytes.split_at_mut(len.min(bytes.len()))
}

/// A file of a [`RunStore`].
#[derive(Debug)]
pub struct Stored {
    /// The number of its inode, which names it in messages.
    pub inode: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Where they lie.
    pub runs: Runs,
}

/// Serves the files of a file system from where they lie in its image.
#[derive(Debug)]
pub struct RunStore<R> {
    source: R,
    files: Vec<Stored>,
}

impl<R> RunStore<R> {
    /// The store of an image. A file's id is its place among them.
    pub fn new(source: R, files: Vec<Stored>) -> Self {
        Self { source, files }
    }
}

impl<R: ReadAt> Store for RunStore<R> {
    fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, store::Error> {
        let stored = self.files.get(file.index()).ok_or(store::Error::Unknown(file))?;
        self.source.check()?;
        let source = &self.source;
        Ok(Box::new(Opened { source, stored }))
    }
}

struct Opened<'a, R> {
    source: &'a R,
    stored: &'a Stored,
}

impl<R: ReadAt> Open for Opened<'_, R> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), store::Error> {
        let Stored { inode, len, runs } = self.stored;
        let end = u64::try_from(buf.len())
            .ok()
            .and_then(|count| offset.checked_add(count));
        let read = match end {
            Some(end) if end <= *len => runs.read(self.source, buf, offset),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        read.map_err(|source| store::Error::Read {
            path: format!("inode {inode}").into_bytes(),
            source,
        })
    }

    fn finish(&self) -> Result<(), store::Error> {
        self.source.check()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::path::Path;

    use super::*;
    use crate::read_at::ImageFile;

    /// A file of 22 bytes in an image of 100: a hole, two runs side by side, a hole, a run, and a hole.
    fn stored() -> Stored {
        let runs = [(2, 50, 4), (6, 10, 2), (12, 20, 8)];
        Stored {
            inode: 7,
            len: 22,
            runs: runs
                .map(|(at, start, len)| Run { at, start, len })
                .into_iter()
                .collect(),
        }
    }

    const FILE: [u8; 22] = [
        0, 0, 50, 51, 52, 53, 10, 11, 0, 0, 0, 0, 20, 21, 22, 23, 24, 25, 26, 27, 0, 0,
    ];

    #[test]
    fn data_is_what_runs_cover_up_to_the_end() {
        let runs = stored().runs;
        for (len, expected) in [
            (22, &[(2, 8), (12, 20)][..]),
            (15, &[(2, 8), (12, 15)]),
            (12, &[(2, 8)]),
            (7, &[(2, 7)]),
            (2, &[]),
            (0, &[]),
        ] {
            let found: Vec<_> = runs
                .ranges(len)
                .iter()
                .map(|range| (range.start, range.end))
                .collect();
            assert_eq!(found, expected, "{len} bytes");
        }
    }

    #[test]
    fn every_part_of_a_file_is_read_from_its_runs() {
        let store = RunStore::new((0..100).collect::<Vec<u8>>(), vec![stored()]);
        let open = store.open(FileId(0)).unwrap();
        for start in 0..=FILE.len() {
            for end in start..=FILE.len() {
                let mut found = vec![0xff; end - start];
                open.read_exact_at(&mut found, u64::try_from(start).unwrap())
                    .unwrap();
                assert_eq!(found, FILE[start..end], "{start}..{end}");
            }
        }
        open.finish().unwrap();
        for (offset, len) in [(22, 1), (21, 2), (23, 0), (u64::MAX, 1)] {
            let error = open.read_exact_at(&mut vec![0; len], offset).unwrap_err();
            assert_eq!(error.to_string(), "cannot read inode 7", "{len} at {offset}");
        }
        assert!(matches!(
            store.open(FileId(1)).map(drop),
            Err(store::Error::Unknown(FileId(1)))
        ));
    }

    #[test]
    fn an_image_that_changes_is_noticed_before_and_after() {
        let mut image = tempfile::NamedTempFile::new().unwrap();
        image.write_all(&[1; 100]).unwrap();
        let source = ImageFile::new(File::open(image.path()).unwrap(), Path::new("image")).unwrap();
        let store = RunStore::new(source, vec![stored()]);
        let open = store.open(FileId(0)).unwrap();
        image.write_all(b"more").unwrap();
        for error in [
            open.finish().unwrap_err(),
            store.open(FileId(0)).map(drop).unwrap_err(),
        ] {
            assert!(error.to_string().starts_with("image changed while"), "{error}");
        }
    }
}
