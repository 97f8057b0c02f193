//! The root of a ramdisk while it is laid out: each file once, under every name that leads to it.
//!
//! Programs lie in `/bin` and libraries in `/lib`, whatever directories the tree has for them; `/sbin`, `/usr/bin` and the like
//! are links there. A name of the tree that leads over links to a file stays a link to that file's own name, so that what
//! programs do by their names still works, and no byte is there twice.

use std::collections::BTreeMap;
use std::fs::{self, FileTimes, OpenOptions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

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
    /// Every name that was laid, links too, and the file of the tree that it leads to.
    names: BTreeMap<PathBuf, PathBuf>,
    /// What is laid in its own place lies below this directory of the tree, mostly `/`.
    from: PathBuf,
}

impl<'a> Target<'a> {
    /// Makes the directories and links that every ramdisk has, as far as they are not there.
    pub fn begin(root: &Path, source: &'a Source) -> io::Result<Self> {
        for directory in DIRECTORIES {
            fs::create_dir_all(root.join(directory))?;
        }
        for (name, to) in LINKS {
            if fs::read_link(root.join(name)).is_ok_and(|there| there == Path::new(to)) {
                continue;
            }
            symlink(to, root.join(name)).map_err(|error| told(&root.join(name), &error))?;
        }
        Ok(Self {
            root: root.to_owned(),
            source,
            names: BTreeMap::new(),
            from: PathBuf::from("/"),
        })
    }

    /// Has what is laid in its own place come from below a directory of the tree.
    pub fn take_from(&mut self, directory: &Path) {
        directory.clone_into(&mut self.from);
    }

    /// Writes a file, in the place of one that is there.
    pub fn write(&self, path: &str, mode: u32, mut bytes: &[u8]) -> io::Result<()> {
        self.write_from(path, mode, &mut bytes)
    }

    /// The same with what a reader has.
    pub fn write_from(&self, path: &str, mode: u32, bytes: &mut impl io::Read) -> io::Result<()> {
        let to = self.root.join(place(Path::new(path))?);
        let mut written = || {
            self.make_parent(&to)?;
            if fs::symlink_metadata(&to).is_ok() {
                fs::remove_file(&to)?;
            }
            let mut file = OpenOptions::new().write(true).create_new(true).open(&to)?;
            io::copy(bytes, &mut file)?;
            file.set_permissions(fs::Permissions::from_mode(mode))
        };
        written().map_err(|error| told(&to, &error))
    }

    /// Makes a link, unless something is there.
    pub fn link(&self, path: &str, to: &Path) -> io::Result<()> {
        let path = self.root.join(place(Path::new(path))?);
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(());
        }
        self.make_parent(&path)
            .and_then(|()| symlink(to, &path))
            .map_err(|error| told(&path, &error))
    }

    /// Lays a file of the tree, with its mode and time, at a path; what links lead to, if it is one.
    pub fn copy(&mut self, from: &Path, path: impl AsRef<Path>) -> io::Result<()> {
        let real = self.real(from)?;
        self.lay(real, place(path.as_ref())?)
    }

    /// Lays a file of the tree at its own path below the directory of [`Self::take_from`]. A link that stays below `base` remains one, and what it leads to is laid
    /// too; any other becomes what it leads to, unless that is a directory or nothing.
    pub fn copy_in_place(&mut self, path: &Path, base: &Path) -> io::Result<()> {
        let outside = self.source.outside(path);
        let meta = fs::symlink_metadata(&outside).map_err(|error| told(path, &error))?;
        let own = path.strip_prefix(&self.from).unwrap_or(path).to_owned();
        if !meta.is_symlink() {
            return self.copy(path, own);
        }
        let target = fs::read_link(&outside).map_err(|error| told(path, &error))?;
        let next = within(base, &path.parent().unwrap_or(base).join(&target));
        let next = next.filter(|next| target.is_relative() && next != path);
        match (self.source.file(path), next) {
            (Some(real), Some(next)) if self.source.file(&next).as_ref() == Some(&real) => {
                // What it leads to first: a chain that never ends leads to no file.
                self.copy_in_place(&next, base)?;
                self.alias(place(&own)?, real, &target)
            }
            (Some(_), _) => self.copy(path, own),
            (None, Some(_)) if self.source.directory(path).is_some() => {
                self.link(&own.to_string_lossy(), &target)
            }
            (None, _) => Ok(()),
        }
    }

    /// Lays a program into `/bin` under a name, and under its file's own as far as no other has that.
    pub fn program(&mut self, name: &str, path: &Path) -> io::Result<()> {
        let real = self.real(path)?;
        let named = Path::new("bin").join(name);
        let own = Path::new("bin").join(real.file_name().unwrap_or_default());
        if !self.is_free(&own, &real) {
            return self.lay(real, place(&named)?);
        }
        let to = PathBuf::from(own.file_name().unwrap_or_default());
        self.lay(real.clone(), own)?;
        self.alias(place(&named)?, real, &to)
    }

    /// Lays a library into `/lib`, under its file's own name, the one that it was found by and the one that it is asked for
    /// by. Where another library has one of these names already, it stays where it is in the tree.
    pub fn library(&mut self, asked: &Path, path: &Path) -> io::Result<()> {
        let real = self.real(path)?;
        let in_lib = |name: &Path| Path::new("lib").join(name.file_name().unwrap_or_default());
        let own = in_lib(&real);
        let mut names = vec![own.clone(), in_lib(path)];
        if asked.is_absolute() {
            names.push(place(asked)?);
        } else if asked.components().count() == 1 {
            names.push(in_lib(asked));
        }
        if names.iter().any(|name| !self.is_free(name, &real)) {
            // The loader finds it where the path of what needs it leads.
            return self.lay(real, place(path)?);
        }
        self.lay(real.clone(), own.clone())?;
        for name in names {
            let to = if name.parent() == own.parent() {
                PathBuf::from(own.file_name().unwrap_or_default())
            } else {
                Path::new("/").join(&own)
            };
            self.alias(name, real.clone(), &to)?;
        }
        Ok(())
    }

    /// Whether a name is not another file's.
    fn is_free(&self, name: &Path, real: &Path) -> bool {
        self.names.get(name).is_none_or(|other| other == real)
    }

    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        let nothing = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} leads to no file", path.display()),
            )
        };
        self.source.file(path).ok_or_else(nothing)
    }

    /// Lays a file where nothing is.
    fn lay(&mut self, real: PathBuf, name: PathBuf) -> io::Result<()> {
        if !self.claim(&real, &name)? {
            return Ok(());
        }
        let (from, to) = (self.source.outside(&real), self.root.join(&name));
        let laid = || {
            self.make_parent(&to)?;
            let mut file = fs::File::open(from)?;
            let meta = file.metadata()?;
            let mut copy = match OpenOptions::new().write(true).create_new(true).open(&to) {
                // A hook laid another one, which it means.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                copy => copy?,
            };
            io::copy(&mut file, &mut copy)?;
            copy.set_permissions(meta.permissions())?;
            copy.set_times(FileTimes::new().set_modified(meta.modified()?))
        };
        laid().map_err(|error| told(&to, &error))?;
        self.names.insert(name, real);
        Ok(())
    }

    /// Makes a name for a file that is laid.
    fn alias(&mut self, name: PathBuf, real: PathBuf, to: &Path) -> io::Result<()> {
        if self.claim(&real, &name)? {
            self.link(&name.to_string_lossy(), to)?;
            self.names.insert(name, real);
        }
        Ok(())
    }

    /// Whether a name is still to be laid; an error where it is another file's.
    fn claim(&self, real: &Path, name: &Path) -> io::Result<bool> {
        match self.names.get(name) {
            None => Ok(true),
            Some(other) if other == real => Ok(false),
            Some(other) => {
                let (other, real) = (other.display(), real.display());
                let message = format!(
                    "{other} and {real} would both be /{} of the ramdisk",
                    name.display()
                );
                Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
            }
        }
    }

    fn make_parent(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(&self.root))
    }
}

/// Where a path of the tree is in the ramdisk, whose directories for programs and libraries are one each; an error where
/// it is no plain path.
fn place(path: &Path) -> io::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => return Err(no_path(path)),
        }
    }
    for (name, to) in LINKS {
        if let Ok(rest) = plain.strip_prefix(name) {
            let directory = Path::new(to).file_name().unwrap_or_default();
            plain = Path::new(directory).join(rest);
        }
    }
    if plain.as_os_str().is_empty() {
        return Err(no_path(path));
    }
    Ok(plain)
}

fn no_path(path: &Path) -> io::Error {
    let message = format!("'{}' is no path that a ramdisk could have", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// A path without `..`, if it stays below a directory.
fn within(base: &Path, path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            component => plain.push(component),
        }
        // Not even on the way: what is left by `..` may be a link.
        if plain.components().count() >= base.components().count() && !plain.starts_with(base) {
            return None;
        }
    }
    plain.starts_with(base).then_some(plain)
}

/// An error with the path that it is about.
pub(super) fn told(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
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
            ("libz.so.1.2".into(), "/lib/libz.so.1.2".into())
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
                .copy_in_place(&Path::new("/lib/firmware").join(path), Path::new("/lib/firmware"))
                .unwrap();
        }
        assert_eq!(link("lib/firmware/same"), "a");
        assert!(!out.path().join("lib/firmware/out").exists());
        assert_eq!(
            (link("lib/firmware/a/link.fw"), text("lib/firmware/a/real.fw")),
            ("real.fw".into(), "fw".into())
        );
    }

    #[test]
    fn no_name_is_two_files() {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("usr/lib64/libc.so.6", "64"),
            ("usr/lib/libc.so.6", "32"),
            ("lib/libssl.so.3.0.1", "system"),
            ("opt/app/libssl.so.3.2.0", "app"),
            ("opt/app/libz.so.1", "app"),
            ("lib/libz.so.1.2.13", "system"),
        ] {
            fs::create_dir_all(tree.path().join(path).parent().unwrap()).unwrap();
            fs::write(tree.path().join(path), text).unwrap();
        }
        symlink("libssl.so.3.0.1", tree.path().join("lib/libssl.so.3")).unwrap();
        symlink("libssl.so.3.2.0", tree.path().join("opt/app/libssl.so.3")).unwrap();
        symlink("libz.so.1.2.13", tree.path().join("lib/libz.so.1")).unwrap();
        let out = tempfile::tempdir().unwrap();
        let source = Source::new(tree.path());
        let mut target = Target::begin(out.path(), &source).unwrap();
        let mut lay = |asked: &str, path: &str| target.library(Path::new(asked), Path::new(path));
        lay("libz.so.1", "/lib/libz.so.1").unwrap();
        lay("libz.so.1", "/opt/app/libz.so.1").unwrap();
        lay("libssl.so.3", "/lib/libssl.so.3").unwrap();
        lay("libssl.so.3", "/opt/app/libssl.so.3").unwrap();
        lay("libc.so.6", "/usr/lib64/libc.so.6").unwrap();
        let error = lay("libc.so.6", "/usr/lib/libc.so.6").unwrap_err().to_string();
        assert_eq!(
            error,
            "/usr/lib64/libc.so.6 and /usr/lib/libc.so.6 would both be /lib/libc.so.6 of the ramdisk"
        );
        for (path, text) in [
            ("lib/libz.so.1", "system"),
            ("opt/app/libz.so.1", "app"),
            ("lib/libssl.so.3", "system"),
            ("opt/app/libssl.so.3", "app"),
            ("lib/libc.so.6", "64"),
        ] {
            assert_eq!(fs::read_to_string(out.path().join(path)).unwrap(), text, "{path}");
        }
    }

    #[test]
    fn nothing_is_laid_outside_and_no_link_is_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("lib/firmware")).unwrap();
        fs::create_dir_all(tree.join("etc")).unwrap();
        fs::write(tree.join("etc/passwd"), "secret").unwrap();
        symlink("x/../../../etc/passwd", tree.join("lib/firmware/a")).unwrap();
        fs::create_dir(tree.join("lib/firmware/x")).unwrap();
        let source = Source::new(&tree);
        // In a build the ramdisk lies in the tree itself.
        let root = tree.join("root");
        fs::create_dir(&root).unwrap();
        let mut target = Target::begin(&root, &source).unwrap();
        let base = Path::new("/lib/firmware");
        target.copy_in_place(Path::new("/lib/firmware/a"), base).unwrap();
        assert!(
            fs::symlink_metadata(root.join("lib/firmware/a"))
                .unwrap()
                .is_file()
        );
        assert_eq!(fs::read_to_string(tree.join("etc/passwd")).unwrap(), "secret");
        symlink(tree.join("etc/passwd"), root.join("etc/fstab")).unwrap();
        target.write("etc/fstab", 0o644, b"").unwrap();
        assert_eq!(fs::read_to_string(tree.join("etc/passwd")).unwrap(), "secret");
        for path in ["../out", "/a/../../b", ""] {
            assert!(target.copy(Path::new("/etc/passwd"), path).is_err(), "{path}");
        }
        let odd = target.library(Path::new("/../../ld.so"), Path::new("/etc/passwd"));
        assert!(odd.unwrap_err().to_string().contains("is no path"));
        assert!(!dir.path().join("ld.so").exists());
        assert!(
            Target::begin(&root, &source).is_ok(),
            "what is there already is accepted"
        );
    }
}
