//! What one file is: its status, its extended attributes, its holes.

use std::ffi::CStr;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Mode, OFlags, SeekFrom, Statx, StatxFlags, flistxattr, lgetxattr, llistxattr, openat, seek,
    statx,
};
use rustix::io::Errno;
use rustix::process::fchdir;
#[expect(deprecated, reason = "see own_working_directory")]
use rustix::thread::{UnshareFlags, unshare};

use crate::tree::{Time, Xattr};

/// The largest value or list of extended attributes that Linux allows.
const XATTR_MAX: usize = 64 * 1024;

/// The status of `name` in `dir`, not following it; of `dir` itself if the name is empty.
pub(super) fn status(dir: impl AsFd, name: &CStr) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    statx(
        dir,
        name,
        flags,
        StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID,
    )
}

/// Modification time of a status.
pub(super) fn mtime(stat: &Statx) -> Time {
    Time {
        secs: stat.stx_mtime.tv_sec,
        nanos: stat.stx_mtime.tv_nsec,
    }
}

/// On which mount a file lies: the mount's id where the kernel tells it, since 5.8, else the device.
///
/// The id is better: a bind mount shares its device with the tree, and the files of an overlay may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mount {
    Id(u64),
    Device(u32, u32),
}

impl Mount {
    pub(super) fn of(stat: &Statx) -> Self {
        if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
            Mount::Device(stat.stx_dev_major, stat.stx_dev_minor)
        } else {
            Mount::Id(stat.stx_mnt_id)
        }
    }
}

/// Reads extended attributes of the files of one directory after the other.
///
/// `listxattrat` came with Linux 6.13. Before, two ways neither follow links nor open nodes: a bare name in the working
/// directory, which a thread may have to itself, and a path through the directory's descriptor in `/proc`. The second
/// works everywhere, but the kernel walks six names for each call.
pub(super) struct XattrReader {
    /// Whether the working directory is this thread's own.
    roams: bool,
    /// Whether nobody asks for any.
    idle: bool,
    path: Vec<u8>,
    dir_len: usize,
    list: Vec<u8>,
    value: Vec<u8>,
}

impl XattrReader {
    /// A reader for this thread, which must be one that ends with the walk: its working directory comes to be its own,
    /// and changes, unless a container forbids that.
    pub(super) fn new(idle: bool) -> Self {
        Self {
            roams: !idle && own_working_directory(),
            idle,
            path: Vec::new(),
            dir_len: 0,
            list: vec![0; 1024],
            value: vec![0; 1024],
        }
    }

    /// Turns to the files of another directory.
    pub(super) fn enter(&mut self, dir: BorrowedFd<'_>) {
        self.path.clear();
        if self.idle {
            return;
        }
        if !(self.roams && fchdir(dir).is_ok()) {
            self.path
                .extend_from_slice(format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes());
        }
        self.dir_len = self.path.len();
    }

    /// The attributes of the directory itself.
    pub(super) fn of_directory(&mut self, dir: BorrowedFd<'_>) -> Result<Vec<Xattr>, Errno> {
        if self.idle {
            return Ok(Vec::new());
        }
        let len = grow(&mut self.list, |list| flistxattr(dir, list));
        self.path.truncate(self.dir_len);
        self.path.extend_from_slice(b".\0");
        self.values(len)
    }

    /// The attributes of a file in the directory.
    pub(super) fn of_file(&mut self, name: &CStr) -> Result<Vec<Xattr>, Errno> {
        if self.idle {
            return Ok(Vec::new());
        }
        self.path.truncate(self.dir_len);
        self.path.extend_from_slice(name.to_bytes_with_nul());
        let path = c_str(&self.path);
        let len = grow(&mut self.list, |list| llistxattr(path, list));
        self.values(len)
    }

    fn values(&mut self, len: Result<usize, Errno>) -> Result<Vec<Xattr>, Errno> {
        let len = match len {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Ok(len) => len,
            Err(errno) => return Err(errno),
        };
        let path = c_str(&self.path);
        let mut xattrs = Vec::new();
        for name in self.list[..len].split_inclusive(|byte| *byte == 0) {
            let name = c_str(name);
            let len = grow(&mut self.value, |value| lgetxattr(path, name, value))?;
            xattrs.extend(Xattr::portable(name.to_bytes(), &self.value[..len]));
        }
        Ok(xattrs)
    }
}

/// Parts the thread's working directory from that of the process.
#[expect(
    deprecated,
    reason = "what made it unsafe is CLONE_FILES; CLONE_FS is the thread's own affair"
)]
fn own_working_directory() -> bool {
    unshare(UnshareFlags::FS).is_ok()
}

fn c_str(bytes: &[u8]) -> &CStr {
    CStr::from_bytes_until_nul(bytes).expect("the kernel and this module end names with NUL")
}

/// Calls `read` again with the largest buffer there is, if the buffer was too small.
fn grow(buf: &mut Vec<u8>, mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<usize, Errno> {
    match read(buf) {
        Err(Errno::RANGE) if buf.len() < XATTR_MAX => {
            buf.resize(XATTR_MAX, 0);
            read(buf)
        }
        result => result,
    }
}

/// A symlink's target.
pub(super) fn target(dir: impl AsFd, name: &CStr) -> Result<Vec<u8>, Errno> {
    rustix::fs::readlinkat(dir, name, Vec::new()).map(std::ffi::CString::into_bytes)
}

/// Which bytes of a file are data; `None` if all of them are.
pub(super) fn ranges(dir: impl AsFd, name: &CStr, len: u64) -> io::Result<Option<Arc<[Range<u64>]>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty())?;
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data after `at`.
            Err(Errno::NXIO) => break,
            // A file system without holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(&file, SeekFrom::Hole(start))?.min(len);
        if start >= end {
            break;
        }
        ranges.push(start..end);
        at = end;
    }
    let dense = ranges.first() == Some(&(0..len));
    Ok((!dense).then(|| ranges.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_a_file_lead_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "").unwrap();
        rustix::fs::setxattr(&path, "user.mark", b"here", rustix::fs::XattrFlags::empty()).unwrap();
        let before = std::env::current_dir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        for roams in [true, false] {
            let read = || {
                let mut reader = XattrReader::new(false);
                reader.roams &= roams;
                reader.enter(fd.as_fd());
                assert_eq!(reader.path.is_empty(), reader.roams);
                (reader.of_file(c"file"), reader.of_directory(fd.as_fd()))
            };
            let (file, dir) = std::thread::scope(|scope| scope.spawn(read).join().unwrap());
            assert_eq!(file.unwrap()[0].value, b"here");
            assert!(dir.unwrap().iter().all(|xattr| xattr.name != b"user.mark"));
        }
        assert_eq!(
            std::env::current_dir().unwrap(),
            before,
            "the process stays where it was"
        );
    }
}
