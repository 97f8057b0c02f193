//! The cache of compilations, lent to the tree at `/tmp/ccache` as long as a phase in the chroot runs.
//!
//! Where something can be mounted the host's directory is bound there. Elsewhere, in tier T1, the tree gets hard links
//! to what is in the cache, and what is new afterwards is linked back: ccache replaces files and does not write into
//! them. That needs one file system; else no cache is lent.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, linkat, mkdirat, renameat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::rooted::Rooted;
use super::tier::Tier;
use crate::error::{Context, Error, Kind, Result};

/// Its name in `/tmp` of the tree.
const NAME: &str = "ccache";

/// What a file is called while it takes the place of another.
const NEW: &str = ".dib-new";

/// The cache, lent.
#[derive(Debug)]
pub struct CompileCache {
    tmp: Rooted,
    /// Whether the tree lacked the directory.
    made: bool,
    /// The cache itself, if the tree has links to what is in it.
    linked: Option<Rooted>,
}

impl CompileCache {
    /// Lends it; `None` where it cannot be.
    pub fn lend(cache: &Path, tree: &Path, tier: Tier) -> Result<Option<Self>> {
        let tried = || format!("cannot lend {} to /tmp/ccache of the tree", cache.display());
        let root = Rooted::open(tree).host(tried)?;
        root.make_dir("tmp", 0o1777).host(tried)?;
        let tmp = root.dir("tmp").host(tried)?;
        let tmp = tmp.ok_or_else(|| Error::new(Kind::Host, "/tmp of the tree is no directory"))?;
        let made = tmp.make_dir(NAME, 0o755).host(tried)?;
        let below = tmp.child(NAME.as_bytes()).host(tried)?;
        let mut lent = Self {
            tmp,
            made,
            linked: None,
        };
        if tier.has_namespaces() {
            mount_bind(cache, below.magic_path()).host(tried)?;
            return Ok(Some(lent));
        }
        let cache = Rooted::open(cache).host(tried)?;
        match link(&cache, &below) {
            Ok(()) => {
                lent.linked = Some(cache);
                Ok(Some(lent))
            }
            Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
                lent.remove().host(tried)?;
                Ok(None)
            }
            Err(error) => Err(error).host(tried),
        }
    }

    /// Takes it back, with what is new in it.
    pub fn take_back(self) -> Result<()> {
        let tried = || "cannot take /tmp/ccache of the tree back".to_owned();
        if let Some(cache) = &self.linked {
            let below = self.tmp.child(NAME.as_bytes()).host(tried)?;
            link_back(&below, cache).host(tried)?;
            return self.remove().host(tried);
        }
        let on = self.tmp.magic_path().join(NAME);
        unmount(&on, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).host(tried)?;
        self.remove_mount_point().host(tried)
    }

    /// Removes the links, and the directory if the tree lacked it.
    fn remove(&self) -> io::Result<()> {
        self.tmp.child(NAME.as_bytes())?.clear()?;
        self.remove_mount_point()
    }

    fn remove_mount_point(&self) -> io::Result<()> {
        if self.made {
            self.tmp.remove_dir(NAME)?;
        }
        Ok(())
    }
}

/// Links what is in a directory into another one.
fn link(from: &Rooted, to: &Rooted) -> io::Result<()> {
    for (name, kind) in from.entries()? {
        match kind {
            FileType::Directory => {
                make_dir(to, &name)?;
                link(&from.child(&name)?, &to.child(&name)?)?;
            }
            FileType::RegularFile => link_file(from, to, &name)?,
            _ => {}
        }
    }
    Ok(())
}

/// Links the files into a directory that it has not, or has others of the name.
fn link_back(from: &Rooted, to: &Rooted) -> io::Result<()> {
    for (name, kind) in from.entries()? {
        match kind {
            FileType::Directory => {
                make_dir(to, &name)?;
                link_back(&from.child(&name)?, &to.child(&name)?)?;
            }
            FileType::RegularFile => {
                let which = |dir: &Rooted| Ok::<_, io::Error>(dir.stat(&name[..])?.map(|stat| stat.st_ino));
                if which(from)? != which(to)? {
                    link_file(from, to, &name)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn make_dir(dir: &Rooted, name: &[u8]) -> io::Result<()> {
    match mkdirat(dir.fd(), name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Links a file of one directory into another, in the place of what has its name there.
fn link_file(from: &Rooted, to: &Rooted, name: &[u8]) -> io::Result<()> {
    to.remove(NEW.as_bytes())?;
    linkat(from.fd(), name, to.fd(), NEW, AtFlags::empty())?;
    Ok(renameat(to.fd(), NEW, to.fd(), name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn without_mounts_links_bring_back_what_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, tree) = (dir.path().join("cache"), dir.path().join("mnt"));
        fs::create_dir_all(cache.join("0/a")).unwrap();
        fs::create_dir(&tree).unwrap();
        fs::write(cache.join("0/a/known"), "known").unwrap();
        fs::write(cache.join("stats"), "1").unwrap();
        let lent = CompileCache::lend(&cache, &tree, Tier::T1).unwrap().unwrap();
        let seen = tree.join("tmp/ccache");
        assert_eq!(fs::read_to_string(seen.join("0/a/known")).unwrap(), "known");
        // As ccache does: files are new, or take the place of old ones.
        fs::create_dir(seen.join("1")).unwrap();
        fs::write(seen.join("1/new"), "new").unwrap();
        fs::write(seen.join("stats.tmp"), "2").unwrap();
        fs::rename(seen.join("stats.tmp"), seen.join("stats")).unwrap();
        fs::remove_file(seen.join("0/a/known")).unwrap();
        symlink("/etc/passwd", seen.join("link")).unwrap();
        lent.take_back().unwrap();
        assert_eq!(fs::read_to_string(cache.join("1/new")).unwrap(), "new");
        assert_eq!(fs::read_to_string(cache.join("stats")).unwrap(), "2");
        assert_eq!(fs::read_to_string(cache.join("0/a/known")).unwrap(), "known");
        assert!(fs::symlink_metadata(cache.join("link")).is_err());
        assert_eq!(fs::read_dir(tree.join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn without_mounts_and_one_file_system_nothing_is_lent() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm"));
        let device = |path: &Path| rustix::fs::stat(path).unwrap().st_dev;
        let Some(there) = there
            .ok()
            .filter(|there| device(there.path()) != device(here.path()))
        else {
            return;
        };
        fs::write(there.path().join("file"), "x").unwrap();
        assert!(
            CompileCache::lend(there.path(), here.path(), Tier::T1)
                .unwrap()
                .is_none()
        );
        assert_eq!(fs::read_dir(here.path().join("tmp")).unwrap().count(), 0);
    }
}
