//! A tree that was read from an image → a directory that it cannot leave.
//!
//! Every name is made in a directory that is held open, and what is there already is merged with if it is a directory,
//! replaced if it is not: no link is ever followed. Files are filled by as many threads as there are processors.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use image_core::tree::{Content, Data, Device, Meta};
use image_core::{NodeId, Store, Tree};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fsetxattr, futimens, lsetxattr, makedev, mkdirat, mknodat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::Rooted;
use super::copy::is_label;

/// How deep directories may lie in each other: each on the way is held open.
const DEPTH_MAX: usize = 400;
/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;

/// Why a tree was not laid out.
#[derive(Debug, thiserror::Error)]
#[error("cannot write '{}': {source}", path.escape_ascii())]
pub struct LayOutError {
    path: Vec<u8>,
    source: io::Error,
}

/// A file that waits for its bytes.
struct Job<'t> {
    file: File,
    data: &'t Data,
    meta: &'t Meta,
    path: Vec<u8>,
}

struct Work<'t> {
    tree: &'t Tree,
    store: &'t dyn Store,
    /// Attributes that this file system, or the kernel here, does not take.
    refused: AtomicU64,
    failed: Mutex<Option<LayOutError>>,
}

impl Rooted {
    /// Lays a tree out in this directory, which gets the root's owner, mode and times. Gives how many attributes were left
    /// out because they cannot be set here.
    pub fn lay_out(&self, tree: &Tree, store: &dyn Store) -> Result<u64, LayOutError> {
        let work = Work {
            tree,
            store,
            refused: AtomicU64::new(0),
            failed: Mutex::new(None),
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (sender, receiver) = mpsc::sync_channel(2 * threads);
        let receiver = Mutex::new(receiver);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| work.fill_files(&receiver));
            }
            let walked = work.walk(self, &sender);
            drop(sender);
            work.fail(walked.err());
        });
        match work.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(work.refused.into_inner()),
        }
    }
}

/// A directory whose names are being made.
struct Level {
    dir: Rooted,
    node: NodeId,
    next: usize,
    path_len: usize,
}

impl<'t> Work<'t> {
    fn fail(&self, error: Option<LayOutError>) {
        if let Some(error) = error {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(error);
        }
    }

    fn has_failed(&self) -> bool {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Makes all names, and gives each directory its owner, mode and times when all of its names are made.
    fn walk(&self, root: &Rooted, files: &mpsc::SyncSender<Job<'t>>) -> Result<(), LayOutError> {
        let mut path = Vec::new();
        let mut links: HashMap<NodeId, Vec<u8>> = HashMap::new();
        let at = |path: &[u8]| {
            let path = path.to_vec();
            move |source| LayOutError { path, source }
        };
        let mut levels = vec![Level {
            dir: root.child(b".").map_err(at(b""))?,
            node: NodeId::ROOT,
            next: 0,
            path_len: 0,
        }];
        while let Some(level) = levels.last_mut() {
            if self.has_failed() {
                return Ok(());
            }
            path.truncate(level.path_len);
            let Content::Directory(entries) = &self.tree.node(level.node).content else {
                unreachable!("only directories become levels");
            };
            let Some((name, node)) = self.tree.nth_entry(*entries, level.next) else {
                let meta = &self.tree.node(level.node).meta;
                self.finish(level.dir.fd(), meta).map_err(at(&path))?;
                levels.pop();
                continue;
            };
            level.next += 1;
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            if let Content::Directory(_) = self.tree.node(node).content {
                let dir = make_directory(&level.dir, name).map_err(at(&path))?;
                if levels.len() > DEPTH_MAX {
                    let text = format!("directories lie more than {DEPTH_MAX} deep");
                    return Err(at(&path)(io::Error::other(text)));
                }
                levels.push(Level {
                    dir,
                    node,
                    next: 0,
                    path_len: path.len(),
                });
                continue;
            }
            if let Some(first) = links.get(&node) {
                link(root, first, &level.dir, name).map_err(at(&path))?;
                continue;
            }
            if self.tree.node(node).links > 1 {
                links.insert(node, path.clone());
            }
            let job = self.make(&level.dir, name, node, &path).map_err(at(&path))?;
            if job.is_some_and(|job| files.send(job).is_err()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes what is no directory; a file's bytes are still to come.
    fn make(&self, dir: &Rooted, name: &[u8], node: NodeId, path: &[u8]) -> io::Result<Option<Job<'t>>> {
        let node = self.tree.node(node);
        let device = |device: &Device| makedev(device.major, device.minor);
        let (kind, number) = match &node.content {
            Content::Directory(_) => unreachable!("directories are levels"),
            Content::File(data) => {
                return Ok(Some(Job {
                    file: dir.create(name, 0o600)?,
                    data,
                    meta: &node.meta,
                    path: path.to_vec(),
                }));
            }
            Content::Symlink(target) => {
                dir.remove(name)?;
                symlinkat(self.tree.target(*target), dir.fd(), name)?;
                self.finish_name(dir, name, &node.meta, false)?;
                return Ok(None);
            }
            Content::CharDevice(number) => (FileType::CharacterDevice, device(number)),
            Content::BlockDevice(number) => (FileType::BlockDevice, device(number)),
            Content::Fifo => (FileType::Fifo, 0),
            Content::Socket => (FileType::Socket, 0),
        };
        dir.remove(name)?;
        mknodat(dir.fd(), name, kind, Mode::RUSR | Mode::WUSR, number)?;
        self.finish_name(dir, name, &node.meta, true)?;
        Ok(None)
    }

    fn fill_files(&self, jobs: &Mutex<mpsc::Receiver<Job<'t>>>) {
        let mut buf = Vec::new();
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            if self.has_failed() {
                continue;
            }
            let filled = self.fill(&job, &mut buf);
            let path = job.path;
            self.fail(filled.err().map(|source| LayOutError { path, source }));
        }
    }

    fn fill(&self, job: &Job<'t>, buf: &mut Vec<u8>) -> io::Result<()> {
        let opened = self.store.open(job.data.file).map_err(io::Error::other)?;
        job.file.set_len(job.data.len)?;
        for range in job.data.ranges() {
            let mut at = range.start;
            while at < range.end {
                let piece = PIECE.min(range.end - at);
                buf.resize(usize::try_from(piece).expect("a mebibyte"), 0);
                opened.read_exact_at(buf, at).map_err(io::Error::other)?;
                job.file.write_all_at(buf, at)?;
                at += piece;
            }
        }
        opened.finish().map_err(io::Error::other)?;
        self.finish(job.file.as_fd(), job.meta)
    }

    /// Sets what a file or directory has beside its bytes. The owner comes first, since the kernel then drops the set-uid
    /// bit and capabilities; times come last.
    fn finish(&self, fd: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
        fchown(fd, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))?;
        fchmod(fd, Mode::from_raw_mode(meta.mode.into()))?;
        for xattr in self.tree.xattrs(meta.xattrs) {
            if !is_label(&xattr.name) {
                let set = fsetxattr(fd, &xattr.name[..], &xattr.value, XattrFlags::empty());
                self.note(set)?;
            }
        }
        Ok(futimens(fd, &times(meta))?)
    }

    /// The same for what cannot be opened.
    fn finish_name(&self, dir: &Rooted, name: &[u8], meta: &Meta, has_mode: bool) -> io::Result<()> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        chownat(dir.fd(), name, Some(uid), Some(gid), nofollow)?;
        if has_mode {
            chmodat(
                dir.fd(),
                name,
                Mode::from_raw_mode(meta.mode.into()),
                AtFlags::empty(),
            )?;
        }
        let attributes = self.tree.xattrs(meta.xattrs);
        for xattr in attributes.iter().filter(|xattr| !is_label(&xattr.name)) {
            let place = [dir.magic_path().as_os_str().as_encoded_bytes(), b"/", name].concat();
            let set = lsetxattr(place, &xattr.name[..], &xattr.value, XattrFlags::empty());
            self.note(set)?;
        }
        Ok(utimensat(dir.fd(), name, &times(meta), nofollow)?)
    }

    /// Counts an attribute that is not possible here.
    fn note(&self, set: rustix::io::Result<()>) -> io::Result<()> {
        match set {
            Err(Errno::OPNOTSUPP | Errno::PERM) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

fn make_directory(parent: &Rooted, name: &[u8]) -> io::Result<Rooted> {
    match mkdirat(parent.fd(), name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) if parent.kind(name)? == Some(FileType::Directory) => {}
        Err(Errno::EXIST) => {
            parent.remove(name)?;
            mkdirat(parent.fd(), name, Mode::RWXU)?;
        }
        Err(error) => return Err(error.into()),
    }
    parent.child(name)
}

/// Gives what has a path another name.
fn link(root: &Rooted, first: &[u8], dir: &Rooted, name: &[u8]) -> io::Result<()> {
    let mut names: Vec<&[u8]> = first.split(|byte| *byte == b'/').collect();
    let last = names.pop().expect("a path has a name");
    let mut above = root.child(b".")?;
    for name in names {
        above = above.child(name)?;
    }
    dir.remove(name)?;
    Ok(rustix::fs::linkat(
        above.fd(),
        last,
        dir.fd(),
        name,
        AtFlags::empty(),
    )?)
}

fn times(meta: &Meta) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: meta.mtime.secs,
            tv_nsec: meta.mtime.nanos.into(),
        },
    }
}
