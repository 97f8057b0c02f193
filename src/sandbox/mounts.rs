//! What is mounted where, and its way back.
//!
//! All mounts are made in the build's own mount namespace, so none can outlive it. Every mount point is opened below
//! the tree first: a symlink in the tree cannot make a mount land on the host's directories.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};

use super::dev::{self, Nodes};
use super::rooted::Rooted;
use super::sys;
use super::tier::Tier;
use crate::error::{Context, Error, Kind, Result};

/// What holds no programs, and no device.
const QUIET: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Cuts the namespace off from the host's: nothing mounted in one shows in the other.
pub(super) fn make_private() -> io::Result<()> {
    Ok(mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?)
}

/// Shows only the namespace's own processes in proc.
pub(super) fn mount_proc() -> io::Result<()> {
    Ok(mount("proc", "/proc", "proc", QUIET, None)?)
}

/// How nodes of devices come to be.
pub(super) fn nodes(tier: Tier) -> io::Result<Nodes> {
    if tier == Tier::T2 {
        Nodes::of_host()
    } else {
        Ok(Nodes::Made)
    }
}

/// Mounts a tmpfs on a directory, which may take so many bytes.
pub fn tmpfs(on: &Path, bytes: u64) -> Result<()> {
    let options = CString::new(format!("mode=0755,size={bytes}")).expect("a number holds no NUL");
    mount("dib", on, "tmpfs", MountFlags::empty(), &*options)
        .host(|| format!("cannot mount a tmpfs on {}", on.display()))
}

/// Covers files with another one, for this process and what it becomes or starts: no one else sees it, and it goes when
/// they end. This process has one thread. `EPERM`: it may not mount, and nothing has changed.
pub fn cover_privately(files: &[PathBuf], by: &Path) -> io::Result<()> {
    // What is private stays so in the copy of its mounts.
    sys::new_namespaces()?;
    for file in files {
        mount_bind(by, file)?;
    }
    Ok(())
}

/// Makes a directory a mount point on which devices, set-uid bits and programs count, whatever holds it says.
///
/// In a user namespace what holds it has the last word.
pub fn unrestricted(on: &Path, tier: Tier) -> Result<()> {
    let tried = || format!("cannot make {} a mount point", on.display());
    mount_bind(on, on).host(tried)?;
    if tier == Tier::T2 {
        return Ok(());
    }
    mount_remount(on, MountFlags::BIND, "").host(tried)
}

/// What is mounted in a tree for its hooks: proc, a small /dev of its own, devpts, sysfs read-only.
#[derive(Debug, Default)]
pub struct TreeMounts {
    made: Vec<&'static str>,
}

impl TreeMounts {
    /// Mounts them.
    pub fn mount(tree: &Path, tier: Tier) -> Result<Self> {
        let tried = |what: &'static str| move || format!("cannot mount {what} in the tree");
        let root = Rooted::open(tree).host(|| "cannot open the tree".to_owned())?;
        let mut mounts = Self::default();
        let on = mounts.point(&root, "proc")?;
        mount("proc", on.magic_path(), "proc", QUIET, None).host(tried("proc"))?;
        let on = mounts.point(&root, "dev")?;
        dev::mount_empty(&on.magic_path()).host(tried("a small /dev"))?;
        // The directory that was opened is the one below the mount.
        let on = mounts.point(&root, "dev")?;
        nodes(tier)
            .and_then(|nodes| dev::populate(&on, &nodes))
            .and_then(|()| dev::mount_terminals(&on))
            .host(|| "cannot make the nodes of /dev".to_owned())?;
        let on = mounts.point(&root, "sys")?;
        match mount(
            "sysfs",
            on.magic_path(),
            "sysfs",
            QUIET | MountFlags::RDONLY,
            None,
        ) {
            // sysfs belongs to the network, which a user namespace shares with its host.
            Err(Errno::PERM) if tier == Tier::T2 => {
                mount_bind_recursive("/sys", on.magic_path()).host(tried("/sys of the host"))?;
                let on = mounts.point(&root, "sys")?;
                sys::make_read_only(on.fd()).host(tried("/sys read-only"))?;
            }
            other => other.host(tried("sysfs"))?,
        }
        Ok(mounts)
    }

    /// Unmounts everything in the tree, what hooks mounted too, and removes the mount points that the tree lacked.
    pub fn unmount(self, tree: &Path) -> Result<()> {
        unmount_below(tree)?;
        let root = Rooted::open(tree).host(|| "cannot open the tree".to_owned())?;
        for name in self.made {
            // What a hook put into it stays, and so it does.
            let _ = root.remove_dir(name);
        }
        Ok(())
    }

    /// A mount point of the tree, made if there is none.
    fn point(&mut self, root: &Rooted, name: &'static str) -> Result<Rooted> {
        let tried = || format!("cannot open /{name} of the tree");
        if root.make_dir(name, 0o755).host(tried)? {
            self.made.push(name);
        }
        root.dir(name)
            .host(tried)?
            .ok_or_else(|| Error::new(Kind::Host, format!("/{name} of the tree is no directory")))
    }
}

/// The hooks, read-only, at `/tmp/in_target.d` of the tree, as long as a chroot phase runs.
#[derive(Debug)]
pub struct HooksInTree {
    tmp: Rooted,
}

impl HooksInTree {
    const NAME: &'static str = "in_target.d";

    /// Binds them.
    pub fn bind(hooks: &Path, tree: &Path) -> Result<Self> {
        let tried = || "cannot bind the hooks to /tmp/in_target.d of the tree".to_owned();
        let root = Rooted::open(tree).host(tried)?;
        root.make_dir("tmp", 0o1777).host(tried)?;
        let tmp = root.dir("tmp").host(tried)?;
        let tmp = tmp.ok_or_else(|| Error::new(Kind::Host, "/tmp of the tree is no directory"))?;
        tmp.make_dir(Self::NAME, 0o755).host(tried)?;
        let below = tmp.child(Self::NAME.as_bytes()).host(tried)?;
        mount_bind(hooks, below.magic_path()).host(tried)?;
        // Only a path that leads onto the mount can change it, not the descriptor of what lies below.
        let on = tmp.child(Self::NAME.as_bytes()).host(tried)?;
        mount_remount(on.magic_path(), MountFlags::BIND | MountFlags::RDONLY, "").host(tried)?;
        Ok(Self { tmp })
    }

    /// Unbinds them.
    pub fn unbind(self) -> Result<()> {
        let tried = || "cannot remove /tmp/in_target.d of the tree".to_owned();
        let on = self.tmp.magic_path().join(Self::NAME);
        unmount(&on, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).host(tried)?;
        self.tmp.remove_dir(Self::NAME).host(tried)
    }
}

/// Unmounts whatever is mounted strictly below a directory, the last first.
///
/// A mount takes what is mounted in it along: of a file system of the host that was bound with all of its mounts, these
/// cannot be unmounted one by one in a user namespace.
pub fn unmount_below(dir: &Path) -> Result<()> {
    let tried = || format!("cannot unmount what is mounted in {}", dir.display());
    loop {
        let info = fs::read("/proc/self/mountinfo").host(tried)?;
        let points = points_below(&info, dir);
        if points.is_empty() {
            return Ok(());
        }
        let covered = |point: &PathBuf| {
            let mut others = points.iter();
            others.any(|other| point != other && point.starts_with(other))
        };
        for point in points.iter().rev().filter(|point| !covered(point)) {
            unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
                .host(|| format!("cannot unmount {}", point.display()))?;
        }
    }
}

/// The mount points strictly below a directory, in the order in which they were mounted.
pub(crate) fn points_below(mountinfo: &[u8], dir: &Path) -> Vec<PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields
        .map(|point| PathBuf::from(std::ffi::OsString::from_vec(unescape(point))))
        .filter(|point| point.starts_with(dir) && point.as_os_str().as_bytes() != dir.as_os_str().as_bytes())
        .collect()
}

/// Undoes the octal escapes of `/proc/self/mountinfo`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_found_strictly_below() {
        let info = b"1 2 0:3 / /b rw - tmpfs t rw\n\
            1 2 0:3 / /b/mnt rw - tmpfs t rw\n\
            1 2 0:3 / /b/mnt\\040x rw - tmpfs t rw\n\
            1 2 0:3 / /b/mnt/a\\134b rw shared:1 - tmpfs t rw\n\
            1 2 0:3 / /b/mnt/proc rw - tmpfs t rw\n";
        let found = points_below(info, Path::new("/b/mnt"));
        assert_eq!(
            found,
            [PathBuf::from("/b/mnt/a\\b"), PathBuf::from("/b/mnt/proc")]
        );
    }
}
