//! Copying from one directory that cannot be left into another.

use std::io;

use rustix::fs::{FileType, Mode, OFlags, RawMode};

use super::Rooted;

impl Rooted {
    /// Copies what is in `from` into this directory. Directories merge, files of equal names are replaced, links stay
    /// links and modes stay what they are; what is neither file, directory nor link is left out.
    pub fn copy_from(&self, from: &Rooted) -> io::Result<()> {
        for (name, kind) in from.entries()? {
            let mode = from.stat(&name[..])?.map_or(0, |stat| stat.st_mode & 0o7777);
            match kind {
                FileType::Directory => {
                    match rustix::fs::mkdirat(&self.dir, &name[..], Mode::RWXU) {
                        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    let below = self.child(&name)?;
                    below.copy_from(&from.child(&name)?)?;
                    rustix::fs::fchmod(&below.dir, Mode::from_raw_mode(mode))?;
                }
                FileType::RegularFile => self.copy_file(from, &name, mode)?,
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&from.dir, &name[..], Vec::new())?;
                    self.remove(&name)?;
                    rustix::fs::symlinkat(target, &self.dir, &name[..])?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn copy_file(&self, from: &Rooted, name: &[u8], mode: RawMode) -> io::Result<()> {
        let mut source = from.file(name, false)?;
        self.remove(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = std::fs::File::from(file);
        io::copy(&mut source, &mut file)?;
        Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_copy_merges_and_follows_no_link() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outside = tempfile::tempdir().unwrap();
        let (source, copy) = (from.path(), to.path());
        fs::create_dir_all(source.join("deep/er")).unwrap();
        fs::write(source.join("deep/er/file"), "new").unwrap();
        fs::write(source.join("run"), "#!").unwrap();
        fs::set_permissions(source.join("run"), fs::Permissions::from_mode(0o751)).unwrap();
        symlink("/etc/passwd", source.join("link")).unwrap();
        rustix::fs::mknodat(
            Rooted::open(source).unwrap().fd(),
            "fifo",
            FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        fs::create_dir(copy.join("deep")).unwrap();
        fs::write(copy.join("deep/kept"), "old").unwrap();
        fs::write(outside.path().join("victim"), "whole").unwrap();
        // A name of the target that leads elsewhere is replaced, not written through.
        symlink(outside.path().join("victim"), copy.join("run")).unwrap();
        let (from, to) = (Rooted::open(source).unwrap(), Rooted::open(copy).unwrap());
        to.copy_from(&from).unwrap();
        assert_eq!(fs::read_to_string(copy.join("deep/er/file")).unwrap(), "new");
        assert_eq!(fs::read_to_string(copy.join("deep/kept")).unwrap(), "old");
        assert_eq!(
            fs::read_link(copy.join("link")).unwrap(),
            std::path::Path::new("/etc/passwd")
        );
        let mode = fs::symlink_metadata(copy.join("run"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o751);
        assert!(!copy.join("fifo").exists());
        assert_eq!(
            fs::read_to_string(outside.path().join("victim")).unwrap(),
            "whole"
        );
        // A directory of the target that is a link is no directory to merge into.
        fs::remove_dir_all(copy.join("deep")).unwrap();
        symlink(outside.path(), copy.join("deep")).unwrap();
        assert!(to.copy_from(&from).is_err());
        assert!(!outside.path().join("er").exists());
    }
}
