//! POSIX ACLs as archives write them, in words, and as the system's xattr calls show them, in bytes.
//!
//! Text: `user::rw-,user:lisa:r-x:502,mask::r-x`, by `star` and GNU tar's `--acls`. Bytes: a version, then entries of
//! tag, permissions and id, sorted by tag and id; see `linux/posix_acl_xattr.h`.

use super::pax::number;

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;
/// The id of entries that have none.
const NO_ID: u32 = u32::MAX;

/// Which ACL of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Who may do what with it. With three entries it is what the mode bits say already.
    Access,
    /// What new files in a directory get. No mode bits say this, so it counts with three entries too.
    Default,
}

/// Encodes an ACL in words. `Ok(None)` says that it adds nothing to the mode bits, or is empty; an error holds the
/// entry that cannot be encoded: a malformed one, or a user or group by a name only.
pub(super) fn encode(text: &[u8], which: Which) -> Result<Option<Vec<u8>>, Vec<u8>> {
    let lines = text
        .split(|byte| matches!(byte, b',' | b'\n'))
        .map(<[u8]>::trim_ascii);
    let mut entries = lines
        .filter(|line| !line.is_empty())
        .map(|line| entry(line).ok_or_else(|| line.to_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    let minimal = entries.iter().all(|(_, _, id)| *id == NO_ID) && entries.len() <= 3;
    if entries.is_empty() || (minimal && which == Which::Access) {
        return Ok(None);
    }
    entries.sort_unstable_by_key(|(tag, _, id)| (*tag, *id));
    let encoded = entries
        .iter()
        .flat_map(|(tag, perm, id)| [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat())
        .collect::<Vec<u8>>();
    Ok(Some([&VERSION.to_le_bytes()[..], &encoded].concat()))
}

/// An ACL in words; `None` where its bytes are none.
pub(super) fn decode(value: &[u8]) -> Option<String> {
    let entries = value.strip_prefix(&VERSION.to_le_bytes())?;
    let (entries, []) = entries.as_chunks::<8>() else {
        return None;
    };
    let words = entries.iter().map(|[t0, t1, p0, p1, id @ ..]| {
        let id = u32::from_le_bytes(*id);
        let (tag, named) = match u16::from_le_bytes([*t0, *t1]) {
            0x01 => ("user", false),
            0x02 => ("user", true),
            0x04 => ("group", false),
            0x08 => ("group", true),
            0x10 => ("mask", false),
            0x20 => ("other", false),
            _ => return None,
        };
        let perm = u16::from_le_bytes([*p0, *p1]);
        let letter = |bit, letter| if perm & bit == 0 { '-' } else { letter };
        let id = if named { id.to_string() } else { String::new() };
        Some(format!(
            "{tag}:{id}:{}{}{}",
            letter(4, 'r'),
            letter(2, 'w'),
            letter(1, 'x')
        ))
    });
    let words: Option<Vec<String>> = words.collect();
    words
        .map(|words| words.join(","))
        .filter(|words| !words.is_empty())
}

/// Tag, permissions and id of `TAG:[NAME]:PERMISSIONS[:ID]`.
fn entry(line: &[u8]) -> Option<(u16, u16, u32)> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    let (tag, name, perm, id) = match fields[..] {
        [tag, name, perm] => (tag, name, perm, name),
        [tag, name, perm, id] => (tag, name, perm, id),
        // Some writers leave the empty name out: `mask:r-x`.
        [tag, perm] => (tag, &b""[..], perm, &b""[..]),
        _ => return None,
    };
    let named = !name.is_empty();
    let tag = match (tag, named) {
        (b"user" | b"u", false) => 0x01,
        (b"user" | b"u", true) => 0x02,
        (b"group" | b"g", false) => 0x04,
        (b"group" | b"g", true) => 0x08,
        (b"mask" | b"m", false) => 0x10,
        (b"other" | b"o", false) => 0x20,
        _ => return None,
    };
    let bits = [(b'r', 4), (b'w', 2), (b'x', 1)];
    let known = perm
        .iter()
        .all(|byte| *byte == b'-' || bits.iter().any(|(letter, _)| letter == byte));
    let perm = bits
        .iter()
        .filter(|(letter, _)| perm.contains(letter))
        .fold(0, |sum, (_, bit)| sum | bit);
    let id = if named { number(id)? } else { NO_ID };
    known.then_some((tag, perm, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_and_ids_numeric() {
        let text = b"user::rw-,user:lisa:r-x:502,user:7:r--,group::r--,mask::r-x,other::---";
        let want: Vec<u8> = [
            &[2, 0, 0, 0][..],
            &[1, 0, 6, 0, 255, 255, 255, 255],
            &[2, 0, 4, 0, 7, 0, 0, 0],
            &[2, 0, 5, 0, 246, 1, 0, 0],
            &[4, 0, 4, 0, 255, 255, 255, 255],
            &[16, 0, 5, 0, 255, 255, 255, 255],
            &[32, 0, 0, 0, 255, 255, 255, 255],
        ]
        .concat();
        assert_eq!(encode(text, Which::Access), Ok(Some(want.clone())));
        let words = "user::rw-,user:7:r--,user:502:r-x,group::r--,mask::r-x,other::---";
        assert_eq!(decode(&want).as_deref(), Some(words));
        assert_eq!(encode(words.as_bytes(), Which::Access), Ok(Some(want.clone())));
        assert_eq!(decode(&want[..want.len() - 1]), None);
    }

    #[test]
    fn what_the_mode_says_already_is_no_acl() {
        let text = b"user::rw-\ngroup::r--\nother::r--\n";
        assert_eq!(encode(text, Which::Access), Ok(None));
        let default = encode(text, Which::Default).unwrap();
        assert_eq!(default.map(|acl| acl.len()), Some(4 + 3 * 8));
        assert_eq!(encode(b"", Which::Default), Ok(None));
    }

    #[test]
    fn names_without_ids_are_refused() {
        assert_eq!(
            encode(b"user::rw-,user:lisa:r-x", Which::Access),
            Err(b"user:lisa:r-x".to_vec())
        );
        assert_eq!(encode(b"user::rq-", Which::Access), Err(b"user::rq-".to_vec()));
        assert_eq!(
            encode(b"nobody::r--", Which::Access),
            Err(b"nobody::r--".to_vec())
        );
    }
}
