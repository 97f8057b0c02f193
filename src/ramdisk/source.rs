//! The tree that a ramdisk is made of: paths and links as programs in it see them.
//!
//! In a build it is the root of the chroot. All paths here are absolute paths of the tree.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use crate::given;

/// Links that one path may lead over, as in the kernel.
const LINKS_MAX: usize = 40;

/// Bytes of the longest text that is read. Lists of modules have a few MiB.
const TEXT_MAX: u64 = 64 << 20;

/// A tree.
#[derive(Clone, Debug)]
pub struct Source {
    root: PathBuf,
}

impl Source {
    /// The tree in a directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where this process finds a path of the tree that holds no link.
    pub fn outside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The path, without links, of what a path leads to; `None` where that is nothing.
    pub fn resolve(&self, path: &Path) -> Option<PathBuf> {
        let mut rest: VecDeque<OsString> = names(path);
        let mut real = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&name);
            let meta = fs::symlink_metadata(self.outside(&next)).ok()?;
            if !meta.is_symlink() {
                real = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            let target = fs::read_link(self.outside(&next)).ok()?;
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            for name in names(&target).into_iter().rev() {
                rest.push_front(name);
            }
        }
        Some(real)
    }

    /// The same for a regular file.
    pub fn file(&self, path: &Path) -> Option<PathBuf> {
        let real = self.resolve(path)?;
        fs::symlink_metadata(self.outside(&real))
            .is_ok_and(|meta| meta.is_file())
            .then_some(real)
    }

    /// The same for a directory.
    pub fn directory(&self, path: &Path) -> Option<PathBuf> {
        let real = self.resolve(path)?;
        fs::symlink_metadata(self.outside(&real))
            .is_ok_and(|meta| meta.is_dir())
            .then_some(real)
    }

    /// A regular file, opened.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let real = self.file(path).ok_or(io::ErrorKind::NotFound)?;
        given::open_itself(&self.outside(&real))
    }

    /// What a file begins with, so many bytes at most.
    pub fn head(&self, path: &Path, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.take(len).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A file as text; `None` where there is no such file. What is no UTF-8 is replaced.
    pub fn text(&self, path: &Path) -> io::Result<Option<String>> {
        let bytes = match self.head(path, TEXT_MAX + 1) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if bytes.len() as u64 > TEXT_MAX {
            let message = format!("it has more than the {TEXT_MAX} bytes that are read");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The names in a directory, sorted; none where there is no such directory.
    pub fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let Some(real) = self.directory(path) else {
            return Ok(Vec::new());
        };
        let entries = fs::read_dir(self.outside(&real))?;
        let mut names = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// The paths of all files and links below a directory, sorted; links are not followed.
    pub fn walk(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut directories = vec![path.to_owned()];
        while let Some(directory) = directories.pop() {
            for name in self.list(&directory)? {
                let path = directory.join(name);
                if fs::symlink_metadata(self.outside(&path))?.is_dir() {
                    directories.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let components = path.components();
    components
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_in_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::create_dir_all(root.join("etc/alternatives")).unwrap();
        fs::write(root.join("usr/bin/mawk"), "").unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        symlink("/etc/alternatives/awk", root.join("usr/bin/awk")).unwrap();
        symlink("../../../../../bin/mawk", root.join("etc/alternatives/awk")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let source = Source::new(root);
        let real = |path: &str| source.file(Path::new(path));
        assert_eq!(real("/bin/awk"), Some("/usr/bin/mawk".into()));
        assert_eq!(real("/bin"), None);
        assert_eq!(source.directory(Path::new("/bin")), Some("/usr/bin".into()));
        assert_eq!(
            (real("/loop"), real("/none"), real("/bin/none/x")),
            (None, None, None)
        );
        let walked = source.walk(Path::new("/etc")).unwrap();
        assert_eq!(walked, [PathBuf::from("/etc/alternatives/awk")]);
    }

    #[test]
    fn no_more_of_a_file_is_read_than_a_text_may_have() {
        let dir = tempfile::tempdir().unwrap();
        let (source, path) = (Source::new(dir.path()), Path::new("/text"));
        assert_eq!(source.text(path).unwrap(), None);
        fs::write(dir.path().join("text"), "#!/bin/sh\nrest").unwrap();
        assert_eq!(source.head(path, 4).unwrap(), b"#!/b");
        assert_eq!(source.text(path).unwrap().as_deref(), Some("#!/bin/sh\nrest"));
        let file = File::options().write(true).open(dir.path().join("text")).unwrap();
        file.set_len(1 << 40).unwrap();
        let error = source.text(path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
