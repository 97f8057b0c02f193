//! What is mounted where, and its way back.
//!
//! All mounts are made in the build's own mount namespace, so none can outlive it. Every mount point is opened below
//! the tree first: a symlink in the tree cannot make a mount land on the host's directories.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, makedev};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};

use super::rooted::Rooted;
use crate::error::{Context, Error, Kind, Result};

/// Cuts the namespace off from the host's: nothing mounted in one shows in the other. Shows only its processes in proc.
pub(super) fn make_private() -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("proc", "/proc", "proc", flags, None)?)
}

/// Mounts a tmpfs of the default size, half of the memory, on a directory.
pub fn tmpfs(on: &Path) -> Result<()> {
    mount("dib", on, "tmpfs", MountFlags::empty(), Some(c"mode=0755"))
        .host(|| format!("cannot mount a tmpfs on {}", on.display()))
        .map_err(|error| error.hint("--no-tmpfs builds on disk"))
}

/// Makes a directory a mount point on which devices, set-uid bits and programs count, whatever holds it says.
pub fn unrestricted(on: &Path) -> Result<()> {
    let tried = || format!("cannot make {} a mount point", on.display());
    mount_bind(on, on).host(tried)?;
    mount_remount(on, MountFlags::BIND, "").host(tried)
}

/// What is mounted in a tree for its hooks: proc, a small /dev of its own, devpts, sysfs read-only.
#[derive(Debug, Default)]
pub struct TreeMounts {
    made: Vec<&'static str>,
}

impl TreeMounts {
    /// Mounts them.
    pub fn mount(tree: &Path) -> Result<Self> {
        let root = Rooted::open(tree).host(|| "cannot open the tree".to_owned())?;
        let mut mounts = Self::default();
        let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let on = mounts.point(&root, "proc")?;
        mount_on(&on, "proc", "proc", quiet, None)?;
        let on = mounts.point(&root, "dev")?;
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount_on(&on, "dev", "tmpfs", flags, Some(c"mode=0755,size=16m"))?;
        // The directory that was opened is the one below the mount.
        let dev = root.dir("dev").host(|| "cannot open /dev".to_owned())?;
        let dev = dev.ok_or_else(|| Error::new(Kind::Host, "/dev of the tree went away"))?;
        populate_dev(&dev).host(|| "cannot make the nodes of /dev".to_owned())?;
        let on = mounts.point(&root, "sys")?;
        mount_on(&on, "sys", "sysfs", quiet | MountFlags::RDONLY, None)?;
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

fn mount_on(on: &Rooted, source: &str, kind: &str, flags: MountFlags, data: Option<&CStr>) -> Result<()> {
    mount(source, on.magic_path(), kind, flags, data).host(|| format!("cannot mount {kind} in the tree"))
}

/// The nodes that programs expect, and no device of the host.
fn populate_dev(dev: &Rooted) -> io::Result<()> {
    let nodes = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    for (name, major, minor) in nodes {
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(
            dev.fd(),
            name,
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        )?;
        rustix::fs::chmodat(dev.fd(), name, mode, rustix::fs::AtFlags::empty())?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        rustix::fs::symlinkat(target, dev.fd(), name)?;
    }
    dev.make_dir("shm", 0o1777)?;
    dev.make_dir("pts", 0o755)?;
    let pts = dev.child(b"pts")?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let data = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    Ok(mount("devpts", pts.magic_path(), "devpts", flags, Some(data))?)
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
pub fn unmount_below(dir: &Path) -> Result<()> {
    let tried = || format!("cannot unmount what is mounted in {}", dir.display());
    let info = fs::read("/proc/self/mountinfo").host(tried)?;
    for point in points_below(&info, dir).into_iter().rev() {
        unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .host(|| format!("cannot unmount {}", point.display()))?;
    }
    Ok(())
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
