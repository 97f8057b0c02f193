//! What the core itself does to a tree: name resolution while hooks run, and the end of everything that only the
//! build needed.

use std::io;

use rustix::fs::{FileType, IFlags};

use crate::sandbox::rooted::Rooted;

const RESOLV: &str = "resolv.conf";
/// Elements may change this file: it becomes the image's.
const RESOLV_ORIG: &str = "resolv.conf.ORIG";

/// Lets the tree resolve names as the host does; its own file is put aside.
pub(super) fn lend_resolv_conf(tree: &Rooted) -> io::Result<()> {
    let Some(etc) = tree.dir("etc")? else {
        return Ok(());
    };
    if etc.stat(RESOLV)?.is_some() {
        etc.rename(RESOLV, RESOLV_ORIG)?;
    }
    let host = std::fs::read("/etc/resolv.conf").unwrap_or_else(|_| b"nameserver 8.8.8.8\n".to_vec());
    etc.write(RESOLV, 0o644, &host)
}

/// Gives the tree its own file back, unless a hook made it a link, or immutable: then that is what it wants.
pub(super) fn return_resolv_conf(tree: &Rooted) -> io::Result<()> {
    let Some(etc) = tree.dir("etc")? else {
        return Ok(());
    };
    let wanted = match etc.kind(RESOLV)? {
        Some(FileType::Symlink) => true,
        Some(FileType::RegularFile) => {
            let file = etc.file(RESOLV, false)?;
            rustix::fs::ioctl_getflags(&file).is_ok_and(|flags| flags.contains(IFlags::IMMUTABLE))
        }
        _ => false,
    };
    if wanted {
        etc.remove_all(RESOLV_ORIG)?;
        return Ok(());
    }
    etc.remove_all(RESOLV)?;
    if etc.stat(RESOLV_ORIG)?.is_some() {
        etc.rename(RESOLV_ORIG, RESOLV)?;
    }
    Ok(())
}

/// Empties `/tmp` and the files of `/var/log`, and removes root's logs.
pub(super) fn clear_traces(tree: &Rooted) -> io::Result<()> {
    if let Some(tmp) = tree.dir("tmp")? {
        tmp.clear()?;
    }
    if let Some(log) = tree.dir("var/log")? {
        log.each_file(&mut |dir, name| dir.file(name, true)?.set_len(0))?;
    }
    if let Some(root) = tree.dir("root")? {
        root.each_file(&mut |dir, name| {
            if name.ends_with(b".log") {
                dir.remove(name)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn with_tree(prepare: impl FnOnce(&Path), check: impl FnOnce(&Path, &Rooted)) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        prepare(dir.path());
        check(dir.path(), &Rooted::open(dir.path()).unwrap());
    }

    #[test]
    fn resolv_conf_comes_back_as_it_was() {
        let file = |root: &Path| root.join("etc/resolv.conf");
        with_tree(
            |root| fs::write(file(root), "mine").unwrap(),
            |root, tree| {
                lend_resolv_conf(tree).unwrap();
                assert_ne!(fs::read(file(root)).unwrap(), b"mine");
                fs::write(root.join("etc/resolv.conf.ORIG"), "changed by a hook").unwrap();
                return_resolv_conf(tree).unwrap();
                assert_eq!(fs::read(file(root)).unwrap(), b"changed by a hook");
                assert!(!root.join("etc/resolv.conf.ORIG").exists());
            },
        );
        with_tree(
            |_| {},
            |root, tree| {
                lend_resolv_conf(tree).unwrap();
                return_resolv_conf(tree).unwrap();
                assert!(fs::symlink_metadata(file(root)).is_err());
            },
        );
        with_tree(
            |root| symlink("../run/dangling", file(root)).unwrap(),
            |root, tree| {
                lend_resolv_conf(tree).unwrap();
                return_resolv_conf(tree).unwrap();
                assert_eq!(fs::read_link(file(root)).unwrap(), Path::new("../run/dangling"));
                lend_resolv_conf(tree).unwrap();
                fs::remove_file(file(root)).unwrap();
                symlink("by-a-hook", file(root)).unwrap();
                return_resolv_conf(tree).unwrap();
                assert_eq!(fs::read_link(file(root)).unwrap(), Path::new("by-a-hook"));
                assert!(fs::symlink_metadata(root.join("etc/resolv.conf.ORIG")).is_err());
            },
        );
    }

    #[test]
    fn traces_go_and_log_files_stay_empty() {
        with_tree(
            |root| {
                for dir in ["tmp/a/b", "var/log/apt", "root/sub"] {
                    fs::create_dir_all(root.join(dir)).unwrap();
                }
                for file in [
                    "tmp/a/b/f",
                    "var/log/x",
                    "var/log/apt/y",
                    "root/sub/z.log",
                    "root/keep",
                ] {
                    fs::write(root.join(file), "text").unwrap();
                }
                symlink("/etc", root.join("tmp/link")).unwrap();
            },
            |root, tree| {
                clear_traces(tree).unwrap();
                assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
                assert_eq!(fs::read(root.join("var/log/apt/y")).unwrap(), b"");
                assert!(root.join("var/log/x").exists() && root.join("root/keep").exists());
                assert!(!root.join("root/sub/z.log").exists());
                assert!(root.join("etc").exists());
            },
        );
    }
}
