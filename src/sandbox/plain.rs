//! Tier T1: a tree for hooks without a single mount, and root without the right to make one.
//!
//! Where root has more capabilities than containers give it by default, the build goes without these: what a hook
//! mounted would outlive the build, and what is mounted in a tree could be taken for a part of it.
//!
//! `/dev`, `/proc` and `/sys` of the tree are put aside while hooks run in it, whatever they are, and come back
//! untouched; meanwhile stand there a small `/dev` of real nodes, and empty directories. Nothing imitates `/proc`: a
//! few of its files made up would mislead more programs than they serve.
//!
//! The hooks are copied into the tree for each phase in the chroot, owners, modes and times as they are, since hooks
//! copy these on into the image. Only the directory itself refuses writes by its mode, which root may pass over: what
//! is written there is gone with the phase.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, Timestamps, chmodat, renameat};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities};

use super::dev::{self, Nodes};
use super::rooted::Rooted;
use super::rooted::copy::times_of;
use crate::error::{Context, Error, Kind, Result};

/// What root has in a container by default.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Gives up, for this process and all that it starts, what root of a container does not have.
pub(super) fn give_up_capabilities() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    // The kernel tells of a capability that it does not know by EINVAL; 63 are as many as a set can hold.
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if CAPABILITIES.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) | Err(Errno::INVAL) => {}
            // Without CAP_SETPCAP the bounding set stays as it is, and matters only for what is in it.
            Err(Errno::PERM) if !sets.permitted.contains(one) => {}
            Err(error) => return Err(error.into()),
        }
    }
    sets.permitted &= CAPABILITIES;
    sets.effective &= CAPABILITIES;
    sets.inheritable &= CAPABILITIES;
    Ok(set_capabilities(None, sets)?)
}

/// What is put aside.
const COVERED: [&str; 3] = ["dev", "proc", "sys"];

/// A tree whose `/dev`, `/proc` and `/sys` are put aside.
#[derive(Debug)]
pub struct PlainTree {
    aside: Rooted,
    had: Vec<&'static str>,
}

impl PlainTree {
    /// Puts them into the directory `aside`, which lies on the tree's file system, and others in their place.
    pub fn put(tree: &Path, aside: &Path) -> Result<Self> {
        let tried = || "cannot put /dev, /proc and /sys of the tree aside".to_owned();
        std::fs::create_dir_all(aside).host(tried)?;
        let aside = Rooted::open(aside).host(tried)?;
        let root = Rooted::open(tree).host(tried)?;
        let times = times(&root).host(tried)?;
        let mut had = Vec::new();
        for name in COVERED {
            if root.stat(name).host(tried)?.is_some() {
                renameat(root.fd(), name, aside.fd(), name).host(tried)?;
                had.push(name);
            }
            root.make_dir(name, 0o755).host(tried)?;
        }
        let dev = root.child(b"dev").host(tried)?;
        dev::populate(&dev, &Nodes::Made).host(|| "cannot make the nodes of /dev".to_owned())?;
        set_times(&root, &times).host(tried)?;
        Ok(Self { aside, had })
    }

    /// Brings back what was put aside.
    pub fn restore(self, tree: &Path) -> Result<()> {
        let tried = || "cannot bring back /dev, /proc and /sys of the tree".to_owned();
        let root = Rooted::open(tree).host(tried)?;
        let times = times(&root).host(tried)?;
        for name in COVERED {
            remove(&root, name).host(tried)?;
        }
        for name in self.had {
            renameat(self.aside.fd(), name, root.fd(), name).host(tried)?;
        }
        set_times(&root, &times).host(tried)
    }
}

/// Removes a name with all that is below it.
fn remove(dir: &Rooted, name: &str) -> io::Result<()> {
    match dir.kind(name)? {
        Some(FileType::Directory) => {
            dir.child(name.as_bytes())?.clear()?;
            dir.remove_dir(name)
        }
        Some(_) => dir.remove(name.as_bytes()).map(drop),
        None => Ok(()),
    }
}

fn times(dir: &Rooted) -> io::Result<Timestamps> {
    Ok(times_of(&rustix::fs::fstat(dir.fd())?))
}

fn set_times(dir: &Rooted, times: &Timestamps) -> io::Result<()> {
    Ok(rustix::fs::futimens(dir.fd(), times)?)
}

/// The hooks, copied to `/tmp/in_target.d` of the tree, as long as a phase in the chroot runs.
#[derive(Debug)]
pub struct HooksCopy {
    tmp: Rooted,
}

impl HooksCopy {
    const NAME: &'static str = "in_target.d";

    /// Copies them.
    pub fn put(hooks: &Path, tree: &Path) -> Result<Self> {
        let tried = || "cannot copy the hooks to /tmp/in_target.d of the tree".to_owned();
        let from = Rooted::open(hooks).host(tried)?;
        let root = Rooted::open(tree).host(tried)?;
        root.make_dir("tmp", 0o1777).host(tried)?;
        let tmp = root.dir("tmp").host(tried)?;
        let tmp = tmp.ok_or_else(|| Error::new(Kind::Host, "/tmp of the tree is no directory"))?;
        remove(&tmp, Self::NAME).host(tried)?;
        tmp.make_dir(Self::NAME, 0o755).host(tried)?;
        let to = tmp.child(Self::NAME.as_bytes()).host(tried)?;
        to.copy_from(&from).host(tried)?;
        chmodat(tmp.fd(), Self::NAME, Mode::from_raw_mode(0o555), AtFlags::empty()).host(tried)?;
        Ok(Self { tmp })
    }

    /// Removes the copy.
    pub fn remove(self) -> Result<()> {
        remove(&self.tmp, Self::NAME).host(|| "cannot remove /tmp/in_target.d of the tree".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    #[test]
    fn what_was_put_aside_comes_back_untouched() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("mnt");
        fs::create_dir_all(tree.join("dev/own")).unwrap();
        symlink("elsewhere", tree.join("proc")).unwrap();
        let before = fs::metadata(tree.join("dev")).unwrap().mtime_nsec();
        let root = fs::metadata(&tree).unwrap().mtime_nsec();
        let plain = PlainTree::put(&tree, &dir.path().join("aside")).unwrap();
        assert!(fs::write(tree.join("dev/null"), "gone").is_ok());
        assert!(tree.join("proc").is_dir() && tree.join("sys").is_dir());
        fs::write(tree.join("dev/by-a-hook"), "").unwrap();
        fs::write(tree.join("sys/by-a-hook"), "").unwrap();
        plain.restore(&tree).unwrap();
        assert!(tree.join("dev/own").is_dir() && !tree.join("dev/null").exists());
        assert_eq!(fs::read_link(tree.join("proc")).unwrap(), Path::new("elsewhere"));
        assert!(!tree.join("sys").exists(), "the tree had none");
        assert_eq!(fs::metadata(tree.join("dev")).unwrap().mtime_nsec(), before);
        assert_eq!(fs::metadata(&tree).unwrap().mtime_nsec(), root);
    }

    #[test]
    fn the_copy_of_the_hooks_is_true_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (hooks, tree) = (dir.path().join("hooks"), dir.path().join("mnt"));
        fs::create_dir_all(hooks.join("static/etc")).unwrap();
        fs::create_dir(&tree).unwrap();
        let file = hooks.join("static/etc/file");
        fs::write(&file, "text").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
        symlink("/etc", hooks.join("static/link")).unwrap();
        let copy = HooksCopy::put(&hooks, &tree).unwrap();
        let seen = tree.join("tmp/in_target.d/static");
        let (one, two) = (
            fs::metadata(&file).unwrap(),
            fs::metadata(seen.join("etc/file")).unwrap(),
        );
        assert_eq!((one.mode(), one.mtime_nsec()), (two.mode(), two.mtime_nsec()));
        assert_eq!(fs::read_link(seen.join("link")).unwrap(), Path::new("/etc"));
        assert_eq!(
            fs::metadata(tree.join("tmp/in_target.d")).unwrap().mode() & 0o777,
            0o555
        );
        copy.remove().unwrap();
        assert_eq!(fs::read_dir(tree.join("tmp")).unwrap().count(), 0);
    }
}
