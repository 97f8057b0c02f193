//! Digests of outputs: MD5 and SHA-256, each on a thread of its own, fed with the bytes in the order of the file.
//!
//! Formats that are written from their first byte to their last are digested while they are written: the bytes are
//! still in memory, and holes are zeros that nobody has to read. Compressed qcow2 is none of them: its header, the
//! first bytes of the file and so of every digest, says where the tables at the end begin, which is known when all
//! clusters are compressed. Tables at a place known beforehand would need a place behind the largest image possible:
//! a file that is as long as its guest to whoever copies or uploads it. So that file is read once more, from memory as
//! a rule, while it is being synced.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use image_core::Sink;
use md5::{Digest, Md5};
use rustix::io::{Errno, pread};
use sha2::Sha256;

use crate::settings::Checksums;

/// Pieces that may wait for each thread: enough that neither waits for the disk, nor the disk for them.
const AHEAD: usize = 8;

/// Bytes that are read at a time, where they have to be.
const PIECE: usize = 512 * 1024;

/// A digest as it stands in a file: the suffix of that file, and the digits.
pub(super) type Digits = (&'static str, String);

/// The line of a file of digests, as md5sum and sha256sum write and read it: in a name that could be taken for more than
/// one line, backslashes and ends of lines are escaped, which a backslash before the digits says.
pub(super) fn line(digits: &str, path: &Path) -> String {
    let name = path.display().to_string();
    if !name.contains(['\\', '\n', '\r']) {
        return format!("{digits}  {name}\n");
    }
    let escaped = name
        .replace('\\', r"\\")
        .replace('\n', r"\n")
        .replace('\r', r"\r");
    format!("\\{digits}  {escaped}\n")
}

/// What a digest is made of.
#[derive(Clone)]
enum Piece {
    Bytes(Arc<Vec<u8>>),
    Zeros(u64),
}

/// The threads.
#[derive(Debug)]
pub(super) struct Digester {
    threads: Vec<(SyncSender<Piece>, JoinHandle<Digits>)>,
    /// Buffers, to be used again when all threads are done with them.
    buffers: Vec<Arc<Vec<u8>>>,
    /// The buffer that was used longest ago.
    oldest: usize,
}

impl Digester {
    /// Starts a thread for each digest that is wanted.
    pub(super) fn start(which: Checksums) -> io::Result<Self> {
        let mut threads = Vec::new();
        if which.md5 {
            threads.push(thread::<Md5>("md5")?);
        }
        if which.sha256 {
            threads.push(thread::<Sha256>("sha256")?);
        }
        Ok(Self {
            threads,
            buffers: vec![Arc::default(); AHEAD + 2],
            oldest: 0,
        })
    }

    /// Whether no digest is wanted.
    pub(super) fn is_idle(&self) -> bool {
        self.threads.is_empty()
    }

    /// Takes the next bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        for bytes in bytes.chunks(PIECE) {
            self.fill(|buffer| {
                buffer.extend_from_slice(bytes);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Takes zeros as the next bytes.
    pub(super) fn zeros(&mut self, len: u64) -> io::Result<()> {
        self.send(&Piece::Zeros(len))
    }

    /// Takes the next bytes from where they stand in a file.
    pub(super) fn read(&mut self, file: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
        let mut at = offset;
        let end = offset.saturating_add(len);
        while at < end && !self.is_idle() {
            let rest = usize::try_from(end - at).unwrap_or(usize::MAX);
            let mut took = 0;
            self.fill(|buffer| {
                buffer.resize(rest.min(PIECE), 0);
                took = read_at(file, buffer, at)?;
                buffer.truncate(took);
                Ok(())
            })?;
            at += u64::try_from(took).unwrap_or(0);
        }
        Ok(())
    }

    /// The digests of all bytes.
    pub(super) fn finish(self) -> io::Result<Vec<Digits>> {
        let end = |(pieces, thread): (SyncSender<Piece>, JoinHandle<Digits>)| {
            drop(pieces);
            thread.join().map_err(|_| died())
        };
        self.threads.into_iter().map(end).collect()
    }

    /// Passes a buffer on once `fill` has put bytes into it.
    fn fill(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        if self.is_idle() {
            return Ok(());
        }
        let count = self.buffers.len();
        let buffer = &mut self.buffers[self.oldest];
        self.oldest = (self.oldest + 1) % count;
        if Arc::get_mut(buffer).is_none() {
            // One of the threads is behind by more than the other may be ahead.
            *buffer = Arc::default();
        }
        if let Some(bytes) = Arc::get_mut(buffer) {
            bytes.clear();
            fill(bytes)?;
        }
        let piece = Piece::Bytes(Arc::clone(buffer));
        self.send(&piece)
    }

    fn send(&self, piece: &Piece) -> io::Result<()> {
        for (pieces, _) in &self.threads {
            pieces.send(piece.clone()).map_err(|_| died())?;
        }
        Ok(())
    }
}

fn died() -> io::Error {
    io::Error::other("a thread that computes a digest has died")
}

/// Fills as much of `buffer` as the file has; nothing is an error, since the file was to be longer.
fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match pread(file, &mut *buffer, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn thread<D: Digest>(name: &'static str) -> io::Result<(SyncSender<Piece>, JoinHandle<Digits>)> {
    let (sender, pieces) = sync_channel(AHEAD);
    let thread = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || (name, digits::<D>(&pieces)))?;
    Ok((sender, thread))
}

/// Digests all pieces, until their sender hangs up.
fn digits<D: Digest>(pieces: &Receiver<Piece>) -> String {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut digest = D::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => digest.update(&*bytes),
            Piece::Zeros(mut rest) => {
                while rest > 0 {
                    let len = usize::try_from(rest).unwrap_or(usize::MAX).min(ZEROS.len());
                    digest.update(&ZEROS[..len]);
                    rest -= u64::try_from(len).unwrap_or(rest);
                }
            }
        }
    }
    let digits: Vec<String> = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    digits.concat()
}

/// The digests of what a file holds.
pub(super) fn of_file(file: &File, which: Checksums) -> io::Result<Vec<Digits>> {
    let mut digester = Digester::start(which)?;
    let fd = std::os::fd::AsFd::as_fd(file);
    digester.read(fd, 0, file.metadata()?.len())?;
    digester.finish()
}

/// A file that digests what is written to it, from its first byte to its last.
#[derive(Debug)]
pub(super) struct DigestingFile {
    file: File,
    digester: Digester,
}

impl DigestingFile {
    /// Digests what goes to `file`.
    pub(super) fn new(file: File, which: Checksums) -> io::Result<Self> {
        let digester = Digester::start(which)?;
        Ok(Self { file, digester })
    }

    /// The digests of all that was written.
    pub(super) fn into_digests(self) -> io::Result<Vec<Digits>> {
        self.digester.finish()
    }
}

impl io::Write for DigestingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let took = self.file.write(bytes)?;
        self.digester.bytes(&bytes[..took])?;
        Ok(took)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A sink that digests what goes through it.
#[derive(Debug)]
pub(super) struct DigestingSink<S> {
    inner: S,
    digester: Digester,
}

impl<S> DigestingSink<S> {
    /// Digests what goes to `inner`.
    pub(super) fn new(inner: S, which: Checksums) -> io::Result<Self> {
        Ok(Self {
            inner,
            digester: Digester::start(which)?,
        })
    }

    /// The digests of all that went through.
    pub(super) fn into_digests(self) -> io::Result<Vec<Digits>> {
        self.digester.finish()
    }
}

impl<S: Sink> Sink for DigestingSink<S> {
    fn begin(&mut self, len: u64) -> io::Result<()> {
        self.inner.begin(len)
    }

    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.digester.bytes(bytes)?;
        self.inner.data(at, bytes)
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        self.digester.zeros(range.end.saturating_sub(range.start))?;
        self.inner.hole(range)
    }

    /// A clone costs no reading, but a digest does. The source is in memory more likely than the clone.
    fn file(&mut self, at: u64, source: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
        let taken = self.inner.file(at, source, offset, len)?;
        if taken {
            self.digester.read(source, offset, len)?;
        }
        Ok(taken)
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        self.inner.finish(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_core::sink::MemorySink;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileExt as _;

    const BOTH: Checksums = Checksums {
        md5: true,
        sha256: true,
    };

    #[test]
    fn the_tools_of_coreutils_can_check_every_name() {
        if !oracle::require(&["md5sum"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "plain",
            "with space",
            "back\\slash",
            "new\nline",
            "re\rturn",
            "\\n",
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            let sums = dir.path().join("sums");
            std::fs::write(&sums, line("d41d8cd98f00b204e9800998ecf8427e", &path)).unwrap();
            oracle::run("md5sum", &["--strict".as_ref(), "-c".as_ref(), sums.as_os_str()]);
        }
    }

    /// Clones a file by reading it: takes every offer, which few file systems would.
    struct Taking(MemorySink);

    impl Sink for Taking {
        fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.data(at, bytes)
        }

        fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
            self.0.hole(range)
        }

        fn file(&mut self, at: u64, source: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
            let mut bytes = vec![0; usize::try_from(len).unwrap()];
            assert_eq!(read_at(source, &mut bytes, offset)?, bytes.len());
            self.0.data(at, &bytes).map(|()| true)
        }
    }

    #[test]
    fn what_goes_through_is_digested_however_it_comes() {
        let source = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        source.write_all_at(&bytes, 7).unwrap();
        let mut sink = DigestingSink::new(Taking(MemorySink::default()), BOTH).unwrap();
        sink.data(0, &bytes[..2_000_001]).unwrap();
        sink.hole(2_000_001..5_000_000).unwrap();
        assert!(sink.file(5_000_000, source.as_fd(), 1007, 2_000_000).unwrap());
        sink.data(7_000_000, b"end").unwrap();
        let image = std::mem::take(&mut sink.inner.0).into_bytes();
        let found = sink.into_digests().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&image, 0).unwrap();
        assert_eq!(found, of_file(&file, BOTH).unwrap());
        let expected = [
            ("md5", "bd75aff3ed2e0b190832cba6f3e6e8dc"),
            (
                "sha256",
                "7752cafe51ffe0444527e03b66d86112c3034fcfa3b35aba0fe4893fd632335a",
            ),
        ];
        for ((name, digits), (expected_name, expected)) in found.iter().zip(expected) {
            assert_eq!((*name, digits.as_str()), (expected_name, expected));
        }
    }

    #[test]
    fn only_what_is_wanted_is_computed() {
        let file = tempfile::tempfile().unwrap();
        let one = Checksums {
            md5: false,
            sha256: true,
        };
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(of_file(&file, one).unwrap(), [("sha256", empty.to_owned())]);
        assert!(of_file(&file, Checksums::default()).unwrap().is_empty());
    }

    #[test]
    fn a_file_shorter_than_it_was_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"short", 0).unwrap();
        let mut digester = Digester::start(BOTH).unwrap();
        let error = digester.read(file.as_fd(), 0, 6).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
