//! A raw disk, and where its file has holes.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};

use image_core::ReadAt;
use image_core::read_at::ImageFile;
use image_core::store;
use image_formats::guest::{Guest, Stretch, Tell};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// A raw disk.
#[derive(Debug)]
pub struct RawDisk {
    image: ImageFile,
    data: Vec<Range<u64>>,
}

impl RawDisk {
    /// Asks the file system where the file has data. One that cannot tell says that it has everywhere.
    pub fn new(image: ImageFile) -> io::Result<Self> {
        let mut data = Vec::new();
        let mut at = 0;
        while at < image.len() {
            let start = match rustix::fs::seek(&image, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            let end = rustix::fs::seek(&image, SeekFrom::Hole(start))?.min(image.len());
            if start >= end {
                break;
            }
            data.push(start..end);
            at = end;
        }
        Ok(Self { image, data })
    }
}

impl ReadAt for RawDisk {
    fn len(&self) -> u64 {
        self.image.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.image.read_exact_at(buf, offset)
    }

    fn check(&self) -> Result<(), store::Error> {
        self.image.check()
    }
}

impl Guest for RawDisk {
    fn stretches(&self, tell: &mut Tell<'_>) -> io::Result<()> {
        for range in self.data.iter().cloned() {
            tell(Stretch {
                range,
                compressed: false,
            })?;
        }
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.image.as_fd())
    }
}
