//! `grub-mkconfig` of the tree, for whose one call `grub-probe` and `grub-mkrelpath` are answered by us.
//!
//! The script calls both by path, so their names on `PATH` do not help. Where mounts are allowed, the call gets mounts of
//! its own, with this program over both files: they are gone with the call, however it ends, and no other program ever
//! sees them. Where they are not (tier T1), the files make room for links, and are put back after it; what a killed call
//! leaves is put right by the next one, and by [`put_back`] before the tree becomes an image.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{HOOKS, PROGRAMS, program};
use crate::blockdevice::facts::Facts;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::sandbox::launch::{Sandbox, become_program};
use crate::sandbox::mounts;
use crate::sandbox::rooted::Rooted;

/// What is answered by us.
const ANSWERED: [&str; 4] = ["grub-probe", "grub2-probe", "grub-mkrelpath", "grub2-mkrelpath"];

/// What the name of a file that made room ends in.
const ASIDE: &str = ".dib-aside";

/// This program, among the hooks.
fn answerer() -> PathBuf {
    Path::new(HOOKS).join(crate::runner::NAME)
}

/// Runs the tree's `grub-mkconfig`; returns its status, unless this program becomes it.
pub fn mkconfig(args: &[OsString], facts: &Facts) -> Result<u8> {
    let script = program(&["grub-mkconfig", "grub2-mkconfig"]).ok_or_else(|| {
        Error::new(Kind::Elements, "grub-mkconfig: the tree has none")
            .hint("an element has to install GRUB's packages first")
    })?;
    let tried = || "grub-mkconfig: cannot answer in the place of grub-probe".to_owned();
    name_devices(Path::new("/dev"), facts)
        .host(|| "grub-mkconfig: cannot name the devices of the layout".to_owned())?;
    let root = Rooted::open(Path::new("/")).host(tried)?;
    put_back(&root).host(tried)?;
    let covered: Vec<PathBuf> = ANSWERED.iter().filter_map(|name| program(&[name])).collect();
    let answerer = answerer();
    match mounts::cover_privately(&covered, &answerer) {
        Ok(()) => {
            let error = become_program(script.as_os_str(), args, &[]);
            Err(Error::new(Kind::Elements, format!("cannot run {}", script.display())).because(error))
        }
        Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
            for path in &covered {
                make_room(path, &answerer).host(tried)?;
            }
            let ending = Sandbox::default().run(script.as_os_str(), args, &Environment::capture());
            put_back(&root).host(tried)?;
            let ending = ending.host(|| format!("cannot run {}", script.display()))?;
            Ok(ending.status())
        }
        Err(error) => Err(error).host(tried),
    }
}

/// Puts a link to this program in the place of a file.
fn make_room(path: &Path, answerer: &Path) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(ASIDE);
    fs::rename(path, aside)?;
    symlink(answerer, path)
}

/// Puts back what made room for us in a tree, wherever it still does.
pub fn put_back(tree: &Rooted) -> io::Result<()> {
    for place in PROGRAMS {
        let Some(dir) = tree.dir(place)? else {
            continue;
        };
        for name in ANSWERED {
            let aside = format!("{name}{ASIDE}");
            if dir.stat(aside.as_str())?.is_some() {
                dir.rename(&aside, name)?;
            }
        }
    }
    Ok(())
}

/// Gives file systems of the layout the names by which `grub-mkconfig` tells whether a kernel will find them: files in the
/// `/dev` of hooks.
fn name_devices(dev: &Path, facts: &Facts) -> io::Result<()> {
    let by_uuid = dev.join("disk/by-uuid");
    fs::create_dir_all(&by_uuid)?;
    let one = |uuid: &&str| !uuid.is_empty() && !uuid.contains('/') && !uuid.starts_with('.');
    for uuid in facts
        .filesystems
        .iter()
        .map(|filesystem| filesystem.uuid.as_str())
        .filter(one)
    {
        fs::File::create(by_uuid.join(OsStr::from_bytes(uuid.as_bytes())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::answers::tests::facts;
    use super::*;

    #[test]
    fn what_made_room_is_put_back_in_any_tree() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("usr/sbin")).unwrap();
        symlink("usr/sbin", dir.path().join("sbin")).unwrap();
        let probe = dir.path().join("usr/sbin/grub-probe");
        fs::write(&probe, "real").unwrap();
        make_room(&probe, &answerer()).unwrap();
        assert_eq!(fs::read_link(&probe).unwrap(), answerer());
        let tree = Rooted::open(dir.path()).unwrap();
        for _ in 0..2 {
            put_back(&tree).unwrap();
            assert_eq!(fs::read(&probe).unwrap(), b"real");
            assert_eq!(fs::read_dir(dir.path().join("usr/sbin")).unwrap().count(), 1);
        }
    }

    #[test]
    fn file_systems_are_named_by_their_uuids() {
        let dir = tempfile::tempdir().unwrap();
        let mut facts = facts();
        facts.filesystems[1].uuid = "../../../x".to_owned();
        name_devices(dir.path(), &facts).unwrap();
        let names = fs::read_dir(dir.path().join("disk/by-uuid")).unwrap().count();
        assert_eq!(names, 2);
        assert!(dir.path().join("disk/by-uuid/1234-ABCD").is_file());
    }
}
