//! A root → an archive that others can read, too: what a cache keeps of a bootstrap.
//!
//! Written are names, owners, modes, times, links and extended attributes, in the order of names; what lies in `/dev` and
//! `/tmp` is not, since nodes are made anew wherever the root is used. Records of pax hold what a plain header cannot.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;

use image_core::scan::{self, DirStore, scan};
use image_core::store::{self, Open};
use image_core::tree::{Content, Device, Node};
use image_core::{NodeId, Store as _, Tree};
use tar::{Builder, EntryType, Header};

/// Directories that are kept empty.
const EMPTIED: [&[u8]; 2] = [b"dev", b"tmp"];

/// The longest name that a header holds.
const NAME_MAX: usize = 100;

/// Why a root was not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It cannot be read.
    #[error(transparent)]
    Scan(#[from] scan::Error),
    /// A file of it cannot be read.
    #[error(transparent)]
    File(#[from] store::Error),
    /// The archive cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Writes a root as a tar archive.
pub fn write(root: &Path, to: impl Write) -> Result<(), KeepError> {
    let (tree, store) = scan(root, &scan::Options::default())?;
    let mut archive = Builder::new(to);
    let mut named: HashMap<NodeId, Vec<u8>> = HashMap::new();
    let mut open = vec![(Vec::new(), NodeId::ROOT)];
    while let Some((path, id)) = open.pop() {
        let first = named.get(&id).map(Vec::as_slice);
        member(&mut archive, (&tree, &store), &path, tree.node(id), first)?;
        match tree.node(id).content {
            Content::Directory(entries) if !EMPTIED.contains(&path.as_slice()) => {
                let mut inside: Vec<_> = tree
                    .entries(entries)
                    .map(|(name, child)| (joined(&path, name), child))
                    .collect();
                inside.reverse();
                open.append(&mut inside);
            }
            Content::Directory(_) => {}
            _ => drop(named.entry(id).or_insert(path)),
        }
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let both = [dir, name];
    both[usize::from(dir.is_empty())..].join(&b'/')
}

/// Writes one name; `first` is another one of the same file, which was written before.
fn member(
    archive: &mut Builder<impl Write>,
    (tree, store): (&Tree, &DirStore),
    path: &[u8],
    node: &Node,
    first: Option<&[u8]>,
) -> Result<(), KeepError> {
    let (mut header, mut records) = described(tree, path, node);
    let (kind, link) = match &node.content {
        _ if first.is_some() => (EntryType::Link, first.map(|first| [b"./", first].concat())),
        Content::Directory(_) => (EntryType::Directory, None),
        Content::File(data) => {
            header.set_size(data.len);
            (EntryType::Regular, None)
        }
        Content::Symlink(target) => (EntryType::Symlink, Some(tree.target(*target).to_vec())),
        Content::CharDevice(_) => (EntryType::Char, None),
        Content::BlockDevice(_) => (EntryType::Block, None),
        Content::Fifo => (EntryType::Fifo, None),
        // A socket is nothing without who listens, and no archive has a form for it.
        Content::Socket => return Ok(()),
    };
    header.set_entry_type(kind);
    if let Some(link) = link {
        put_name(&mut header.as_old_mut().linkname, "linkpath", &link, &mut records);
    }
    if let Content::CharDevice(Device { major, minor }) | Content::BlockDevice(Device { major, minor }) =
        node.content
    {
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
    }
    let records = records
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_slice()));
    archive.append_pax_extensions(records)?;
    header.set_cksum();
    match &node.content {
        Content::File(data) if first.is_none() => file(archive, &header, &*store.open(data.file)?, data.len),
        _ => Ok(archive.append(&header, io::empty())?),
    }
}

/// Writes a file with its bytes.
fn file(
    archive: &mut Builder<impl Write>,
    header: &Header,
    file: &dyn Open,
    len: u64,
) -> Result<(), KeepError> {
    let mut bytes = Bytes {
        file,
        at: 0,
        len,
        failed: None,
    };
    let appended = archive.append(header, &mut bytes);
    if let Some(error) = bytes.failed {
        return Err(error.into());
    }
    appended?;
    Ok(file.finish()?)
}

/// Name, owner, mode, time and attributes, in a header and what does not fit into it.
fn described(tree: &Tree, path: &[u8], node: &Node) -> (Header, Vec<(String, Vec<u8>)>) {
    let meta = &node.meta;
    let mut header = Header::new_gnu();
    header.set_mode(meta.mode.into());
    header.set_uid(meta.uid.into());
    header.set_gid(meta.gid.into());
    header.set_mtime(meta.mtime.secs.try_into().unwrap_or(0));
    header.set_size(0);
    let is_directory = matches!(node.content, Content::Directory(_)) && !path.is_empty();
    let end: &[u8] = if is_directory { b"/" } else { b"" };
    let name = [b"./", path, end].concat();
    let mut records = Vec::new();
    put_name(&mut header.as_old_mut().name, "path", &name, &mut records);
    if meta.mtime.nanos != 0 || meta.mtime.secs < 0 {
        let time = time(meta.mtime.secs, meta.mtime.nanos);
        records.push(("mtime".to_owned(), time.into_bytes()));
    }
    for xattr in tree.xattrs(meta.xattrs) {
        let key = format!("SCHILY.xattr.{}", String::from_utf8_lossy(&xattr.name));
        records.push((key, xattr.value.clone()));
    }
    (header, records)
}

/// Puts a name into its field, and where that is too short into a record.
fn put_name(field: &mut [u8; NAME_MAX], key: &str, name: &[u8], records: &mut Vec<(String, Vec<u8>)>) {
    let len = name.len().min(NAME_MAX);
    field[..len].copy_from_slice(&name[..len]);
    if name.len() > NAME_MAX {
        records.push((key.to_owned(), name.to_vec()));
    }
}

/// A time in decimal seconds, before or after 1970.
fn time(secs: i64, nanos: u32) -> String {
    if secs < 0 && nanos > 0 {
        // 0.75 s after -2 s are -1.25 s.
        let (whole, rest) = (secs + 1, 1_000_000_000 - nanos);
        let sign = if whole == 0 { "-" } else { "" };
        return format!("{sign}{whole}.{rest:09}");
    }
    format!("{secs}.{nanos:09}")
}

/// The bytes of a file, from its first to its last.
struct Bytes<'a> {
    file: &'a dyn Open,
    at: u64,
    len: u64,
    /// Why it cannot be read.
    failed: Option<store::Error>,
}

impl Read for Bytes<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let here = left.min(buf.len());
        if let Err(error) = self.file.read_exact_at(&mut buf[..here], self.at) {
            self.failed = Some(error);
            return Err(io::ErrorKind::Other.into());
        }
        self.at += here as u64;
        Ok(here)
    }
}
