//! What stands before a member's data: pax records where they are needed, a ustar header, and a sparse file's map.

use image_core::tree::{Content, Data, Node, Time, Xattr};
use tar::{EntryType, Header};

use super::{acl, pax};

/// The most that seven octal digits say: ids and device numbers.
pub(super) const OCTAL_7: u32 = 0o777_7777;
/// The most that eleven octal digits say: lengths and times.
const OCTAL_11: u64 = 0o777_7777_7777;

/// Bytes of the field for the name.
const NAME: usize = 100;

/// What a member's header tells.
pub(super) struct Facts<'a> {
    pub(super) path: Vec<u8>,
    /// The member that this one is another name of.
    pub(super) link: Option<Vec<u8>>,
    /// A symbolic link's target.
    pub(super) target: &'a [u8],
    pub(super) node: &'a Node,
    pub(super) mtime: Time,
    pub(super) xattrs: &'a [Xattr],
    /// Whether holes are told.
    pub(super) sparse: bool,
}

/// What stands before a member's data, and how long these are.
pub(super) fn render(facts: &Facts<'_>) -> (Vec<u8>, u64) {
    let mut header = Header::new_ustar();
    let mut records = Vec::new();
    header.set_entry_type(kind(facts));
    header.set_mode(facts.node.meta.mode.into());
    id(&mut records, "uid", facts.node.meta.uid, |id| header.set_uid(id));
    id(&mut records, "gid", facts.node.meta.gid, |id| header.set_gid(id));
    let Time { secs, nanos } = facts.mtime;
    let whole = u64::try_from(secs).ok().filter(|secs| *secs <= OCTAL_11);
    header.set_mtime(whole.unwrap_or(0));
    if nanos != 0 || whole.is_none() {
        records.push((b"mtime".to_vec(), time(facts.mtime).into_bytes()));
    }
    if let Content::CharDevice(device) | Content::BlockDevice(device) = facts.node.content {
        let both = header
            .set_device_major(device.major)
            .and_then(|()| header.set_device_minor(device.minor));
        both.expect("a ustar header has device numbers");
    }
    let link = facts.link.as_deref().unwrap_or(facts.target);
    let mut names = Vec::new();
    let ustar = header.as_ustar_mut().expect("made as one");
    if !put(&mut ustar.linkname, link) {
        names.push((b"linkpath".to_vec(), link.to_vec()));
        // libarchive takes a link without any for a file.
        put(&mut ustar.linkname, &link[..NAME]);
    }
    let (map, len) = content(facts, &mut records);
    let sparse = !map.is_empty();
    let ustar = header.as_ustar_mut().expect("made as one");
    if sparse {
        records.push((b"GNU.sparse.name".to_vec(), facts.path.clone()));
        let base = facts.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let shown = [b"./GNUSparseFile.0/", base].concat();
        put(&mut ustar.name, &shown[..shown.len().min(NAME)]);
    } else if !named(&mut ustar.name, &mut ustar.prefix, &facts.path) {
        names.push((b"path".to_vec(), facts.path.clone()));
        put(&mut ustar.name, &facts.path[..NAME]);
    }
    if names.iter().any(|(_, name)| std::str::from_utf8(name).is_err()) {
        names.insert(0, (b"hdrcharset".to_vec(), b"BINARY".to_vec()));
    }
    names.append(&mut records);
    if facts.link.is_none() {
        xattrs(facts.xattrs, &mut names);
    }
    let stored = len.saturating_add(length(&map));
    if stored > OCTAL_11 {
        names.push((b"size".to_vec(), stored.to_string().into_bytes()));
    }
    header.set_size(if stored > OCTAL_11 { 0 } else { stored });
    header.set_cksum();
    ([extended(&names), header.as_bytes().to_vec(), map].concat(), len)
}

/// A file of root's that is in no tree, whole.
pub(super) fn extra((name, bytes): &(Vec<u8>, Vec<u8>)) -> Vec<u8> {
    let header = plain(name, length(bytes), EntryType::Regular);
    padded([header.as_bytes(), &bytes[..]].concat())
}

/// A header of a file of root's with a short name.
pub(crate) fn plain(name: &[u8], len: u64, kind: EntryType) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory {
        0o755
    } else {
        0o644
    });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(len);
    put(&mut header.as_ustar_mut().expect("made as one").name, name);
    header.set_cksum();
    header
}

/// What kind of member it is.
fn kind(facts: &Facts<'_>) -> EntryType {
    if facts.link.is_some() {
        return EntryType::Link;
    }
    match facts.node.content {
        Content::Directory(_) => EntryType::Directory,
        Content::File(_) => EntryType::Regular,
        Content::Symlink(_) => EntryType::Symlink,
        Content::CharDevice(_) => EntryType::Char,
        Content::BlockDevice(_) => EntryType::Block,
        Content::Fifo => EntryType::Fifo,
        Content::Socket => unreachable!("sockets are no members"),
    }
}

fn id(records: &mut Vec<(Vec<u8>, Vec<u8>)>, key: &str, id: u32, set: impl FnOnce(u64)) {
    if id > OCTAL_7 {
        records.push((key.into(), id.to_string().into_bytes()));
    }
    set(if id > OCTAL_7 { 0 } else { id.into() });
}

/// The map before the data of a sparse file, none for others; and the length of the data.
fn content(facts: &Facts<'_>, records: &mut Vec<(Vec<u8>, Vec<u8>)>) -> (Vec<u8>, u64) {
    let Content::File(data) = &facts.node.content else {
        return (Vec::new(), 0);
    };
    if facts.link.is_some() {
        return (Vec::new(), 0);
    }
    if !facts.sparse || data.ranges.is_none() {
        return (Vec::new(), data.len);
    }
    for (key, value) in [("major", 1), ("minor", 0), ("realsize", data.len)] {
        records.push((
            format!("GNU.sparse.{key}").into_bytes(),
            value.to_string().into_bytes(),
        ));
    }
    let stored = data.ranges().fold(0_u64, |sum, run| {
        sum.saturating_add(run.end.saturating_sub(run.start))
    });
    (map(data), stored)
}

/// A sparse file's map: how many runs, and of each where it begins and its length, one number a line. An empty run
/// tells where the file ends.
fn map(data: &Data) -> Vec<u8> {
    let mut runs: Vec<(u64, u64)> = data
        .ranges()
        .map(|run| (run.start, run.end.saturating_sub(run.start)))
        .collect();
    if runs
        .last()
        .is_none_or(|(at, len)| at.saturating_add(*len) < data.len)
    {
        runs.push((data.len, 0));
    }
    let count = u64::try_from(runs.len()).expect("a usize fits a u64");
    let numbers = [count]
        .into_iter()
        .chain(runs.into_iter().flat_map(|(at, len)| [at, len]));
    let lines: Vec<String> = numbers.map(|number| format!("{number}\n")).collect();
    padded(lines.concat().into_bytes())
}

fn xattrs(set: &[Xattr], records: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    for Xattr { name, value } in set {
        let words = match &name[..] {
            b"system.posix_acl_access" => Some("SCHILY.acl.access"),
            b"system.posix_acl_default" => Some("SCHILY.acl.default"),
            _ => None,
        };
        if let Some((key, text)) = words.zip(acl::decode(value)) {
            records.push((key.into(), text.into_bytes()));
        }
        // A key ends at its first `=`.
        let mut key = b"SCHILY.xattr.".to_vec();
        for byte in name {
            match byte {
                b'=' => key.extend(b"%3D"),
                b'%' => key.extend(b"%25"),
                byte => key.push(*byte),
            }
        }
        records.push((key, value.clone()));
    }
}

/// An extended header with records; nothing without any.
fn extended(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    if records.is_empty() {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    for (key, value) in records {
        pax::record(key, value, &mut bytes);
    }
    let header = plain(b"./PaxHeaders", length(&bytes), EntryType::XHeader);
    padded([header.as_bytes(), &bytes[..]].concat())
}

/// Decimal seconds, as [`pax::time`] reads them.
fn time(time: Time) -> String {
    match (time.secs, time.nanos) {
        (secs, 0) => secs.to_string(),
        (secs @ ..0, nanos) => {
            let before = 1_000_000_000_u32.saturating_sub(nanos);
            let whole = secs.saturating_add(1).unsigned_abs();
            format!("-{whole}.{before:09}")
        }
        (secs, nanos) => format!("{secs}.{nanos:09}"),
    }
}

/// Puts a name into a field, if it fits.
fn put(field: &mut [u8], name: &[u8]) -> bool {
    match field.get_mut(..name.len()) {
        Some(place) => place.copy_from_slice(name),
        None => return false,
    }
    true
}

/// Puts a path into the two fields that a ustar header has for it, if it fits.
fn named(name: &mut [u8], prefix: &mut [u8], path: &[u8]) -> bool {
    if put(name, path) {
        return true;
    }
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    for (at, _) in slashes {
        let (first, rest) = (&path[..at], path.get(at.saturating_add(1)..).unwrap_or_default());
        if !rest.is_empty() && !first.is_empty() && rest.len() <= name.len() && first.len() <= prefix.len() {
            return put(name, rest) && put(prefix, first);
        }
    }
    false
}

/// Bytes with zeros up to a whole block.
pub(crate) fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a buffer's length is a u64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (secs, nanos, text) in [
            (0, 0, "0"),
            (12, 500_000_000, "12.500000000"),
            (-2, 750_000_000, "-1.250000000"),
            (-1, 750_000_000, "-0.250000000"),
            (-3, 0, "-3"),
            (1_700_000_000, 1, "1700000000.000000001"),
        ] {
            let stamp = Time { secs, nanos };
            assert_eq!(time(stamp), text);
            assert_eq!(pax::time(text.as_bytes()), Some(stamp));
        }
    }

    #[test]
    fn names_fill_both_fields_before_they_need_a_record() {
        for (path, fits) in [
            ("n".repeat(100), true),
            ("n".repeat(101), false),
            (format!("{}/{}", "d".repeat(155), "n".repeat(100)), true),
            (format!("{}/{}", "d".repeat(156), "n".repeat(100)), false),
            (format!("{}/{}", "d".repeat(155), "n".repeat(101)), false),
            (format!("{}/", "d".repeat(100)), false),
        ] {
            let (mut name, mut prefix) = ([0; 100], [0; 155]);
            assert_eq!(named(&mut name, &mut prefix, path.as_bytes()), fits, "{path}");
        }
    }
}
