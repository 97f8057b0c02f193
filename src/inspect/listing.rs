//! A file of an image as `ls -l` shows it, and as JSON.

use std::fmt;

use image_core::tree::{Content, Node};
use serde::Serialize;

use super::report::{printable, shown};
use super::view::{Spot, View};
use crate::clock::Moment;

/// What the JSON of `dib ls` holds.
pub const SCHEMA: &str = "\
JSON, version 1:
  version  1; within a version fields are only added
  entries  in order: {path, type, mode, uid, gid, links, size, mtime, mtime_nanos, target, device, xattrs}; type is file,
           directory, symlink, char, block, fifo or socket; mode is octal; mtime counts seconds; target, device {major,
           minor} and size are null where a file has none; xattrs are names; bytes that are no UTF-8 stand as \\xff";

/// A file.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    path: String,
    r#type: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    links: u32,
    size: Option<u64>,
    mtime: i64,
    mtime_nanos: u32,
    target: Option<String>,
    device: Option<Device>,
    xattrs: Vec<String>,
    #[serde(skip)]
    bits: u16,
    #[serde(skip)]
    name: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Device {
    major: u32,
    minor: u32,
}

/// What kind of file a node is, in a word.
pub fn kind(node: &Node) -> &'static str {
    match node.content {
        Content::Directory(_) => "directory",
        Content::File(_) => "file",
        Content::Symlink(_) => "symlink",
        Content::CharDevice(_) => "char",
        Content::BlockDevice(_) => "block",
        Content::Fifo => "fifo",
        Content::Socket => "socket",
    }
}

impl Listed {
    /// A file of a view; `path` names it in JSON, `name` on a terminal.
    pub fn of(view: &View, spot: Spot, path: &[u8], name: &[u8]) -> Self {
        let node = view.node(spot);
        let meta = &node.meta;
        let target = view.target(spot);
        Self {
            path: shown(path),
            r#type: kind(node),
            mode: format!("{:04o}", meta.mode),
            uid: meta.uid,
            gid: meta.gid,
            links: node.links.max(1),
            size: match &node.content {
                Content::File(data) => Some(data.len),
                Content::Symlink(_) => target.map(|target| target.len() as u64),
                _ => None,
            },
            mtime: meta.mtime.secs,
            mtime_nanos: meta.mtime.nanos,
            target: target.map(shown),
            device: match node.content {
                Content::CharDevice(device) | Content::BlockDevice(device) => Some(Device {
                    major: device.major,
                    minor: device.minor,
                }),
                _ => None,
            },
            xattrs: view.xattrs(spot).iter().map(|xattr| shown(&xattr.name)).collect(),
            bits: meta.mode,
            name: name.to_vec(),
        }
    }
}

/// A line like those of `ls -ln`: kind and permissions, links, owner, group, size or device, time in UTC, name.
impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.r#type {
            "directory" => 'd',
            "symlink" => 'l',
            "char" => 'c',
            "block" => 'b',
            "fifo" => 'p',
            "socket" => 's',
            _ => '-',
        };
        let size = match (self.device, self.size) {
            (Some(device), _) => format!("{},{:>4}", device.major, device.minor),
            (None, Some(size)) => size.to_string(),
            (None, None) => "-".to_owned(),
        };
        let more = if self.xattrs.is_empty() { ' ' } else { '+' };
        let time = Moment::of_file(self.mtime).to_the_second();
        let Self { links, uid, gid, .. } = self;
        write!(
            f,
            "{kind}{}{more} {links:>3} {uid:>5} {gid:>5} {size:>10} {time} ",
            permissions(self.bits)
        )?;
        write!(f, "{}", printable(&self.name))?;
        match &self.target {
            Some(target) => write!(f, " -> {}", printable(target.as_bytes())),
            None => Ok(()),
        }
    }
}

/// `rwxr-xr-x`, with set-uid, set-gid and sticky in their places.
fn permissions(mode: u16) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_as_those_of_ls() {
        for (mode, text) in [
            (0o755, "rwxr-xr-x"),
            (0o4755, "rwsr-xr-x"),
            (0o2644, "rw-r-Sr--"),
            (0o1777, "rwxrwxrwt"),
            (0o1776, "rwxrwxrwT"),
            (0, "---------"),
        ] {
            assert_eq!(permissions(mode), text);
        }
    }
}
