//! A file, or a block device, as a sink.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt};

use rustix::fs::{FallocateFlags, copy_file_range, fallocate, fstatfs};
use rustix::io::Errno;

use super::{Sink, ZEROS, length};

/// What file systems and devices can zero without writing is a whole number of these.
const BLOCK: u64 = 4096;

/// Writes an image to a file, leaving its holes as holes, or onto a block device.
///
/// A file that held nothing is not touched where the image is zero. What held something, or is a device, is zeroed
/// there.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    /// Learned at the first call.
    target: Option<Target>,
    /// Whether files are taken: decided at the first offer, and given up at the first refusal.
    shares: Option<bool>,
}

/// Magic numbers of the file systems that can share a file's blocks, or copy them where they lie.
///
/// Elsewhere the kernel would copy the bytes itself. That needs less of one processor than reading and writing, but
/// nothing can overlap it, since writers of one file wait for each other while readers do not: measured on tmpfs, two
/// threads that read and write are faster.
const SHARING: [u32; 8] = [
    0x5846_5342, // XFS
    0x9123_683e, // btrfs
    0xca45_1a4e, // bcachefs
    0x2fc1_2fc1, // ZFS
    0x7461_636f, // OCFS2
    0x6969,      // NFS
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// Reads as zero wherever nothing was written.
    Fresh,
    /// A regular file with an earlier life.
    Used,
    /// A device, whose length is its own.
    Device,
}

impl FileSink {
    /// Writes to `file` from its byte 0 on, wherever its cursor stands.
    pub fn new(file: File) -> Self {
        Self {
            file,
            target: None,
            shares: None,
        }
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file.
    pub fn into_inner(self) -> File {
        self.file
    }

    /// Whether files may come to share their blocks with the image, which then needs less room than it has bytes.
    pub fn may_share(&self) -> io::Result<bool> {
        Ok(!self.file.metadata()?.file_type().is_block_device() && self.is_sharing()?)
    }

    fn target(&mut self) -> io::Result<Target> {
        if let Some(target) = self.target {
            return Ok(target);
        }
        let metadata = self.file.metadata()?;
        let target = match metadata.len() {
            _ if metadata.file_type().is_block_device() => Target::Device,
            0 => Target::Fresh,
            _ => Target::Used,
        };
        self.target = Some(target);
        Ok(target)
    }

    fn zero(&self, range: Range<u64>) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let rest = usize::try_from(range.end.saturating_sub(at)).unwrap_or(usize::MAX);
            let zeros = &ZEROS[..rest.min(ZEROS.len())];
            self.file.write_all_at(zeros, at)?;
            at = at.saturating_add(length(zeros));
        }
        Ok(())
    }

    /// Zeroes whole blocks, without writing them where that is possible.
    fn discard(&self, range: &Range<u64>) -> io::Result<()> {
        let len = range.end.saturating_sub(range.start);
        for mode in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
            match fallocate(&self.file, mode | FallocateFlags::KEEP_SIZE, range.start, len) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {}
                result => return Ok(result?),
            }
        }
        self.zero(range.clone())
    }

    fn is_sharing(&self) -> io::Result<bool> {
        // Of some architectures' signed numbers, the low half is the magic number.
        let magic = fstatfs(&self.file)?.f_type.to_le_bytes();
        let low = magic.first_chunk().map_or(0, |low| u32::from_le_bytes(*low));
        Ok(SHARING.contains(&low))
    }

    /// Copies in the kernel, which shares the blocks where the file system can. `Ok(false)` if it does not even begin.
    fn copy_range(&self, at: u64, source: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
        let (mut from, mut to) = (offset, at);
        let end = at.saturating_add(len);
        while to < end {
            let rest = usize::try_from(end.saturating_sub(to)).unwrap_or(usize::MAX);
            let out = self.file.as_fd();
            match copy_file_range(source, Some(&mut from), out, Some(&mut to), rest) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM)
                    if to == at =>
                {
                    return Ok(false);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }
}

impl Sink for FileSink {
    /// Gives a fresh file its length. A file that grows with every write makes XFS zero the rest of what was its last
    /// block, and flush it before blocks are shared: a third of the time that a Debian tree takes there.
    fn begin(&mut self, len: u64) -> io::Result<()> {
        if self.target()? == Target::Fresh {
            self.file.set_len(len)?;
        }
        Ok(())
    }

    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.target()?;
        self.file.write_all_at(bytes, at)
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        if self.target()? == Target::Fresh {
            return Ok(());
        }
        let first = range.start.next_multiple_of(BLOCK).min(range.end);
        let last = range.end.saturating_sub(range.end % BLOCK).max(first);
        self.zero(range.start..first)?;
        if first < last {
            self.discard(&(first..last))?;
        }
        self.zero(last..range.end)
    }

    fn file(&mut self, at: u64, source: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
        let shares = match self.shares {
            Some(shares) => shares,
            None => self.target()? != Target::Device && self.is_sharing()?,
        };
        let taken = shares && self.copy_range(at, source, offset, len)?;
        self.shares = Some(taken);
        Ok(taken)
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        if self.target()? == Target::Device {
            return Ok(());
        }
        // XFS takes a file that is cut to the length it has for one that lost data, and flushes it when it is closed.
        if self.file.metadata()?.len() != len {
            self.file.set_len(len)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_fresh_file_is_sparse() {
        let file = tempfile::tempfile().unwrap();
        let mut sink = FileSink::new(file);
        sink.hole(0..1 << 30).unwrap();
        sink.data(1 << 30, b"end").unwrap();
        sink.hole((1 << 30) + 3..2 << 30).unwrap();
        sink.finish(2 << 30).unwrap();
        let metadata = sink.into_inner().metadata().unwrap();
        assert_eq!(metadata.len(), 2 << 30);
        assert!(metadata.blocks() * 512 <= 64 * 1024);
    }

    #[test]
    fn holes_of_a_used_file_are_zeroed() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![0xff; 100_000], 0).unwrap();
        let mut sink = FileSink::new(file);
        sink.data(0, b"head").unwrap();
        sink.hole(4..50_001).unwrap();
        sink.data(50_001, b"middle").unwrap();
        sink.hole(50_007..50_010).unwrap();
        sink.data(50_010, b"tail").unwrap();
        sink.finish(50_014).unwrap();
        let file = sink.into_inner();
        let mut bytes = vec![0; 50_014];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let mut expected = vec![0; 50_014];
        expected[..4].copy_from_slice(b"head");
        expected[50_001..50_007].copy_from_slice(b"middle");
        expected[50_010..].copy_from_slice(b"tail");
        assert_eq!(bytes, expected);
        assert_eq!(file.metadata().unwrap().len(), 50_014);
    }

    #[test]
    fn files_are_copied_by_the_kernel_or_refused() {
        let source = tempfile::tempfile().unwrap();
        source.write_all_at(b"0123456789", 0).unwrap();
        let mut sink = FileSink::new(tempfile::tempfile().unwrap());
        sink.target = Some(Target::Fresh);
        if sink.copy_range(5, source.as_fd(), 2, 6).unwrap() {
            sink.finish(11).unwrap();
            let mut bytes = [0; 11];
            sink.into_inner().read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(&bytes, b"\0\0\0\0\x00234567");
        }
    }

    #[test]
    fn a_source_that_ends_early_is_an_error() {
        let source = tempfile::tempfile().unwrap();
        source.write_all_at(b"0123456789", 0).unwrap();
        let sink = FileSink::new(tempfile::tempfile().unwrap());
        match sink.copy_range(0, source.as_fd(), 2, 9) {
            Ok(taken) => assert!(!taken),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
        }
    }
}
