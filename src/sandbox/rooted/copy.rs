//! Copying from one directory that cannot be left into another.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fgetxattr,
    flistxattr, fsetxattr, mkdirat, mknodat, readlinkat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::Rooted;

impl Rooted {
    /// Copies what is in `from` into this directory, with owners, modes, times and extended attributes. Directories
    /// merge, files of equal names are replaced, links stay links.
    pub fn copy_from(&self, from: &Rooted) -> io::Result<()> {
        for (name, kind) in from.entries()? {
            let stat = from.stat(&name[..])?.ok_or(io::ErrorKind::NotFound)?;
            match kind {
                FileType::Directory => {
                    match mkdirat(&self.dir, &name[..], Mode::RWXU) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    let (below, copy) = (from.child(&name)?, self.child(&name)?);
                    copy.copy_from(&below)?;
                    copy_xattrs(below.fd(), copy.fd())?;
                }
                FileType::RegularFile => {
                    let mut source = from.file(&name[..], false)?;
                    let mut copy = self.create(&name, 0o600)?;
                    // Between two files this asks the kernel to copy, which may share their blocks.
                    io::copy(&mut source, &mut copy)?;
                    copy_xattrs(source.as_fd(), copy.as_fd())?;
                }
                FileType::Symlink => {
                    let target = readlinkat(&from.dir, &name[..], Vec::new())?;
                    self.remove(&name)?;
                    symlinkat(target, &self.dir, &name[..])?;
                }
                kind => {
                    self.remove(&name)?;
                    mknodat(&self.dir, &name[..], kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?;
                }
            }
            self.copy_metadata(&name, &stat)?;
        }
        Ok(())
    }

    fn copy_metadata(&self, name: &[u8], stat: &Stat) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(&self.dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            chmodat(&self.dir, name, mode, AtFlags::empty())?;
        }
        Ok(utimensat(
            &self.dir,
            name,
            &times_of(stat),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

/// The times of a file, as they are set.
pub(in crate::sandbox) fn times_of(stat: &Stat) -> Timestamps {
    let time = |secs, nanos| Timespec {
        tv_sec: secs,
        tv_nsec: i64::try_from(nanos).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Whether an attribute is a label of `SELinux`: that of the place which a file comes from, by another policy.
pub(super) fn is_label(name: &[u8]) -> bool {
    name == b"security.selinux"
}

fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0; 64 * 1024];
    let len = match flistxattr(from, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut value = vec![0; 64 * 1024];
    for name in names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !is_label(name))
    {
        let len = fgetxattr(from, name, &mut value[..])?;
        fsetxattr(to, name, &value[..len], XattrFlags::empty())?;
    }
    Ok(())
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
        assert!(copy.join("fifo").exists());
        let modified = |dir: &std::path::Path| {
            fs::metadata(dir.join("deep/er/file"))
                .unwrap()
                .modified()
                .unwrap()
        };
        assert_eq!(modified(copy), modified(source));
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
