//! Files that elements give, and whoever writes elements: read within limits.
//!
//! A name in an element may stand for anything. To open a fifo waits for a writer, `/dev/zero` never ends, a sparse
//! file of 10 GB costs its author nothing: so what is read here must be a regular file, of a length that such a file
//! may have, and nothing waits.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, SeekFrom, fstat, openat, seek};

/// Bytes of the longest text that an element may give: its lists of names, of packages, of sources.
pub const TEXT_MAX: u64 = 4 << 20;

/// Opens a regular file, following links.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(path, OFlags::empty())
}

/// Opens a regular file, unless there is a link in its place.
pub fn open_itself(path: &Path) -> io::Result<File> {
    open_with(path, OFlags::NOFOLLOW)
}

fn open_with(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    let file = openat(CWD, path, flags, Mode::empty())?;
    let what = match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => return Ok(file.into()),
        FileType::Directory => "a directory",
        FileType::Fifo => "a fifo",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no regular file",
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it is {what}, not a file"),
    ))
}

/// How many bytes of its file system a file takes, or has where that is less.
pub fn bytes_taken(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len().min(meta.blocks().saturating_mul(512)))
}

/// Copies a file into an empty one, and its holes as holes.
pub fn copy(from: &File, to: &File) -> io::Result<()> {
    let len = from.metadata()?.len();
    to.set_len(len)?;
    let mut at = 0;
    while at < len {
        // Beyond the last data there is none.
        let Ok(start) = seek(from, SeekFrom::Data(at)) else {
            break;
        };
        let end = seek(from, SeekFrom::Hole(start))?;
        seek(from, SeekFrom::Start(start))?;
        seek(to, SeekFrom::Start(start))?;
        let mut range = from.take(end.saturating_sub(start));
        io::copy(&mut range, &mut &*to)?;
        at = end;
    }
    Ok(())
}

/// Fails if a file is longer than a text may be.
pub fn require_text(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path)?.len() {
        len if len > TEXT_MAX => Err(too_long(len)),
        _ => Ok(()),
    }
}

fn too_long(len: u64) -> io::Error {
    let message = format!("it has {len} bytes, more than the {TEXT_MAX} that are read");
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

/// Reads a text.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let len = file.metadata()?.len();
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    let read = file.take(TEXT_MAX + 1).read_to_end(&mut bytes)? as u64;
    let len = len.max(read);
    if len > TEXT_MAX {
        return Err(too_long(len));
    }
    Ok(bytes)
}

/// Reads a text in UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8");
    String::from_utf8(read(path)?).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_files_of_reasonable_length_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("text"), "text").unwrap();
        fs::write(path("binary"), [0xff]).unwrap();
        symlink("text", path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        fs::create_dir(path("dir")).unwrap();
        File::create(path("huge")).unwrap().set_len(10 << 30).unwrap();
        assert_eq!(read_text(&path("link")).unwrap(), "text");
        assert_eq!(read(&path("binary")).unwrap(), [0xff]);
        assert!(open_itself(&path("link")).is_err());
        for (name, said) in [
            ("zero", "a device"),
            ("fifo", "a fifo"),
            ("dir", "a directory"),
            ("huge", "10737418240 bytes, more than the 4194304"),
            ("absent", "No such file"),
            ("binary", "no UTF-8"),
        ] {
            let error = read_text(&path(name)).unwrap_err().to_string();
            assert!(error.contains(said), "{name}: {error}");
        }
    }

    #[test]
    fn a_copy_has_the_bytes_and_the_holes() {
        use std::os::unix::fs::FileExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(1 << 40).unwrap();
        for (at, text) in [(0, "first"), (1 << 30, "middle")] {
            file.write_all_at(text.as_bytes(), at).unwrap();
        }
        copy(&open(&from).unwrap(), &File::create_new(&to).unwrap()).unwrap();
        let copy = open(&to).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), 1 << 40);
        assert!(bytes_taken(&to) < 1 << 20);
        for (at, text) in [(0, "first\0"), (1 << 30, "middle\0")] {
            let mut bytes = vec![0; text.len()];
            copy.read_exact_at(&mut bytes, at).unwrap();
            assert_eq!(bytes, text.as_bytes());
        }
        require_text(&from).unwrap_err();
    }
}
