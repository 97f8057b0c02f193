//! The root of a ramdisk while it is laid out: each file once, under every name that leads to it.
//!
//! Programs lie in `/bin` and libraries in `/lib`, whatever directories the tree has for them; `/sbin`, `/usr/bin` and the like
//! are links there. A name of the tree that leads over links to a file stays a link to that file's own name, so that what
//! programs do by their names still works, and no byte is there twice.

use std::collections::BTreeMap;
use std::fs::{self, FileTimes};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::source::Source;

/// Directories that every ramdisk has.
const DIRECTORIES: [&str; 11] = [
    "bin",
    "dev",
    "etc/modprobe.d",
    "etc/udev",
    "lib/modules",
    "lib/udev/rules.d",
    "proc",
    "sys",
    "usr",
    "var/lib/dhcp",
    "var/run",
];

/// Links for paths that programs have in them.
const LINKS: [(&str, &str); 6] = [
    ("sbin", "bin"),
    ("lib64", "lib"),
    ("usr/bin", "../bin"),
    ("usr/sbin", "../bin"),
    ("usr/lib", "../lib"),
    ("usr/lib64", "../lib"),
];

/// The root.
#[derive(Debug)]
pub struct Target<'a> {
    root: PathBuf,
    source: &'a Source,
    /// What was laid where: paths of the tree by paths of the ramdisk.
    laid: BTreeMap<PathBuf, PathBuf>,
}

impl<'a> Target<'a> {
    /// Makes the directories and links that every ramdisk has.
    pub fn begin(root: &Path, source: &'a Source) -> io::Result<Self> {
        for directory in DIRECTORIES {
            fs::create_dir_all(root.join(directory))?;
        }
        for (name, to) in LINKS {
            symlink(to, root.join(name))?;
        }
        Ok(Self {
            root: root.to_owned(),
            source,
            laid: BTreeMap::new(),
        })
    }

    /// Whether there is something at a path.
    pub fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.root.join(path)).is_ok()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        fs::write(&path, bytes)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    /// Makes a link, unless something is there.
    pub fn link(&self, path: &str, to: &Path) -> io::Result<()> {
        let path = self.root.join(path);
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(());
        }
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        symlink(to, path)
    }

    /// Lays a file of the tree, with its mode and time, at a path; what links lead to, if it is one.
    pub fn copy(&mut self, from: &Path, path: impl AsRef<Path>) -> io::Result<()> {
        let real = self.source.file(from).ok_or_else(|| {
            let message = format!("{} leads to no file", from.display());
            io::Error::new(io::ErrorKind::NotFound, message)
        })?;
        let path = path.as_ref();
        if self.laid.get(path) == Some(&real) {
            return Ok(());
        }
        let to = self.root.join(path);
        fs::create_dir_all(to.parent().unwrap_or(&self.root))?;
        let outside = self.source.outside(&real);
        fs::copy(&outside, &to)?;
        let time = FileTimes::new().set_modified(fs::metadata(&outside)?.modified()?);
        let file = fs::File::open(&to)?;
        file.set_times(time)?;
        self.laid.insert(path.to_owned(), real);
        Ok(())
    }

    /// Lays a file of the tree at its own path, and links on the way to it as links. A link that leads nowhere, or out of
    /// its directory to another one, is left out.
    pub fn copy_in_place(&mut self, path: &Path) -> io::Result<()> {
        let own = path.strip_prefix("/").unwrap_or(path);
        let outside = self.source.outside(path);
        if !fs::symlink_metadata(&outside)?.is_symlink() {
            return self.copy(path, own);
        }
        let target = fs::read_link(&outside)?;
        let next = path.parent().unwrap_or(Path::new("/")).join(&target);
        let inside = !target.is_absolute() && !target.starts_with("..");
        if self.source.file(path).is_some() {
            if !inside {
                return self.copy(path, own);
            }
            self.link(&own.to_string_lossy(), &target)?;
            return self.copy_in_place(&next);
        }
        if inside && self.source.directory(path).is_some() {
            return self.link(&own.to_string_lossy(), &target);
        }
        Ok(())
    }

    /// Lays a program into `/bin` under a name, and under its file's own.
    pub fn program(&mut self, name: &str, path: &Path) -> io::Result<()> {
        self.named(name, path, Path::new("bin"))
    }

    /// Lays a library into `/lib`, under its file's own name and the one that it was found by. Where another library has
    /// that name already, it stays where it is in the tree.
    pub fn library(&mut self, asked: &Path, path: &Path) -> io::Result<()> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let real = self.source.file(path).ok_or(io::ErrorKind::NotFound)?;
        let own = Path::new("lib").join(real.file_name().unwrap_or_default());
        if self.laid.get(&own).is_some_and(|other| *other != real) {
            return self.copy(path, path.strip_prefix("/").unwrap_or(path));
        }
        self.named(&name, path, Path::new("lib"))?;
        let asked_text = asked.to_string_lossy().into_owned();
        if asked.is_absolute() {
            let asked = asked_text.trim_start_matches('/');
            // Behind the links of directories it may be there already.
            if self.root.join(asked).exists() {
                return Ok(());
            }
            return self.link(asked, &Path::new("/").join(own));
        }
        self.link(
            &format!("lib/{asked_text}"),
            Path::new(own.file_name().unwrap_or_default()),
        )
    }

    /// Lays a file into a directory under its own name, with a link of the other name to it.
    fn named(&mut self, name: &str, path: &Path, directory: &Path) -> io::Result<()> {
        let real = self.source.file(path).ok_or(io::ErrorKind::NotFound)?;
        let own = real.file_name().unwrap_or_default().to_owned();
        let place = directory.join(&own);
        let taken = self.laid.get(&place).is_some_and(|other| *other != real);
        if taken {
            // Another file has the name: this one gets the one that it was asked for by, alone.
            return self.copy(path, directory.join(name));
        }
        self.copy(path, place)?;
        if own == name {
            return Ok(());
        }
        self.link(&directory.join(name).to_string_lossy(), Path::new(&own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of links: `sh` is `busybox`, `one` and `two` are different files of one name.
    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (path, text) in [
            ("usr/bin/busybox", "b"),
            ("usr/lib/x/libz.so.1.2", "z"),
            ("opt/private/libz.so.1.2", "other"),
            ("lib/firmware/a/real.fw", "fw"),
        ] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        symlink("busybox", root.join("usr/bin/sh")).unwrap();
        symlink("libz.so.1.2", root.join("usr/lib/x/libz.so.1")).unwrap();
        symlink("real.fw", root.join("lib/firmware/a/link.fw")).unwrap();
        symlink("/opt", root.join("lib/firmware/out")).unwrap();
        symlink("a", root.join("lib/firmware/same")).unwrap();
        dir
    }

    #[test]
    fn names_stay_links_and_bytes_are_there_once() {
        let tree = tree();
        let out = tempfile::tempdir().unwrap();
        let source = Source::new(tree.path());
        let mut target = Target::begin(out.path(), &source).unwrap();
        let link = |path: &str| {
            fs::read_link(out.path().join(path))
                .unwrap()
                .display()
                .to_string()
        };
        let text = |path: &str| fs::read_to_string(out.path().join(path)).unwrap();
        target.program("sh", Path::new("/usr/bin/sh")).unwrap();
        target.program("busybox", Path::new("/usr/bin/busybox")).unwrap();
        assert_eq!(
            (link("bin/sh"), text("usr/sbin/sh")),
            ("busybox".into(), "b".into())
        );
        let library = Path::new("/usr/lib/x/libz.so.1");
        target.library(Path::new("libz.so.1"), library).unwrap();
        target.library(Path::new("/lib64/ld-z.so.2"), library).unwrap();
        target.library(Path::new("/odd/ld-z.so.2"), library).unwrap();
        assert_eq!(link("lib/libz.so.1"), "libz.so.1.2");
        assert_eq!(
            (link("lib64/ld-z.so.2"), link("odd/ld-z.so.2")),
            ("/lib/libz.so.1.2".into(), "/lib/libz.so.1.2".into())
        );
        target
            .library(Path::new("libz.so.1.2"), Path::new("/opt/private/libz.so.1.2"))
            .unwrap();
        assert_eq!(
            (text("opt/private/libz.so.1.2"), text("lib/libz.so.1.2")),
            ("other".into(), "z".into())
        );
        for path in ["a/link.fw", "out", "same"] {
            target
                .copy_in_place(&Path::new("/lib/firmware").join(path))
                .unwrap();
        }
        assert!(link("lib/firmware/same") == "a" && !target.has("lib/firmware/out"));
        assert_eq!(
            (link("lib/firmware/a/link.fw"), text("lib/firmware/a/real.fw")),
            ("real.fw".into(), "fw".into())
        );
    }
}
