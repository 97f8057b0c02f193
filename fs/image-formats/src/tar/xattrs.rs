//! Extended attributes as archives write them, in pax records of several makers, as the system's xattr calls show them.
//!
//! | record | value | by |
//! |---|---|---|
//! | `LIBARCHIVE.xattr.NAME` | base64; the name is percent-encoded | libarchive |
//! | `SCHILY.xattr.NAME` | the bytes; GNU tar writes `=` and `%` of names as `%3D` and `%25` | star, GNU tar; libarchive too, with the encoded name |
//! | `RHT.security.selinux` | the context, without the NUL that ends the xattr | star, GNU tar |
//! | `SCHILY.acl.access`, `.default` | an ACL in words: [`acl`] | star, GNU tar |
//!
//! Of several records for one name the first in this table wins. What they hold is made portable as a scan makes it:
//! [`Xattr::portable`].

use std::collections::{BTreeMap, BTreeSet};

use image_core::tree::Xattr;

use super::pax::Records;
use super::{Trouble, acl};

/// The xattrs that records give a member.
pub(super) fn of(records: &Records) -> Result<Vec<Xattr>, Trouble> {
    let mut set: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut twins = BTreeSet::new();
    for (name, value) in records.with_prefix("LIBARCHIVE.xattr.") {
        let decoded = percent_decoded(name).zip(base64_decoded(value));
        let (decoded, value) = decoded.ok_or_else(|| Trouble::Xattr(name.to_vec()))?;
        set.entry(decoded).or_insert(value);
        twins.insert(name);
    }
    for (name, value) in records.with_prefix("SCHILY.xattr.") {
        if !twins.contains(name) {
            set.entry(unescaped(name)).or_insert_with(|| value.to_vec());
        }
    }
    if let Some(context) = records.get("RHT.security.selinux") {
        set.entry(b"security.selinux".to_vec())
            .or_insert_with(|| [context, b"\0"].concat());
    }
    for (record, which, name) in [
        ("SCHILY.acl.access", acl::Which::Access, "system.posix_acl_access"),
        (
            "SCHILY.acl.default",
            acl::Which::Default,
            "system.posix_acl_default",
        ),
    ] {
        if let Some(text) = records.get(record)
            && !set.contains_key(name.as_bytes())
            && let Some(value) = acl::encode(text, which).map_err(Trouble::Acl)?
        {
            set.insert(name.into(), value);
        }
    }
    Ok(set
        .into_iter()
        .filter_map(|(name, value)| Xattr::portable(&name, &value))
        .collect())
}

/// A name as GNU tar writes it, which escapes the two bytes that its keys cannot have.
fn unescaped(mut name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    while let Some((first, rest)) = name.split_first() {
        let (byte, rest) = match name {
            [b'%', b'3', b'D', rest @ ..] => (b'=', rest),
            [b'%', b'2', b'5', rest @ ..] => (b'%', rest),
            _ => (*first, rest),
        };
        plain.push(byte);
        name = rest;
    }
    plain
}

/// Bytes with `%XX` for those that are no printable ASCII.
fn percent_decoded(mut name: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(name.len());
    while let Some((first, rest)) = name.split_first() {
        if *first == b'%' {
            let (digits, rest) = rest.split_at_checked(2)?;
            let mut digits = digits.iter().map(|digit| char::from(*digit).to_digit(16));
            let (high, low) = digits.next().flatten().zip(digits.next().flatten())?;
            decoded.push(u8::try_from(high << 4 | low).ok()?);
            name = rest;
        } else {
            decoded.push(*first);
            name = rest;
        }
    }
    Some(decoded)
}

/// Base64 with or without padding: six bits a digit, and fewer than six left over.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let end = text
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |last| last.saturating_add(1));
    let mut decoded = Vec::with_capacity(end);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for digit in text.get(..end)? {
        let value = DIGITS.iter().position(|known| known == digit)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        held = held.checked_add(6)?;
        if let Some(rest) = held.checked_sub(8) {
            held = rest;
            decoded.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
        bits &= 0xfff;
    }
    (held < 6).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The xattrs of records, whose lengths count themselves.
    fn set(records: &[&str]) -> Result<Vec<Xattr>, Trouble> {
        let record = |text: &&str| format!("{} {text}\n", text.len() + 4);
        let text: String = records.iter().map(record).collect();
        of(&Records::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn every_maker_is_understood_and_no_name_comes_twice() {
        let records = [
            "SCHILY.xattr.user.a=one",
            "SCHILY.xattr.user.%25b=",
            "SCHILY.xattr.user.c=three",
            "LIBARCHIVE.xattr.user.a=dHdv",
            "LIBARCHIVE.xattr.user.%25b=AP+A",
            "RHT.security.selinux=u:r:t:s0",
            "SCHILY.xattr.btrfs.compression=zstd",
        ];
        let expected = [
            ("security.selinux", &b"u:r:t:s0\0"[..]),
            ("user.%b", b"\0\xff\x80"),
            ("user.a", b"two"),
            ("user.c", b"three"),
        ];
        let expected = expected.map(|(name, value)| Xattr {
            name: name.into(),
            value: value.into(),
        });
        assert_eq!(set(&records).unwrap(), expected);
    }

    #[test]
    fn capabilities_of_a_namespace_are_those_of_the_image() {
        // Version 3 with the root of a namespace, 100000, and version 2.
        let found = set(&["LIBARCHIVE.xattr.security.capability=AQAAAwAgAAAAAAAAAAAAAAAAAACghgEA"]).unwrap();
        let mut v2 = vec![1, 0, 0, 2, 0, 0x20];
        v2.resize(20, 0);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&found[0].name[..], &found[0].value),
            (&b"security.capability"[..], &v2)
        );
    }

    #[test]
    fn base64_comes_with_and_without_padding() {
        for (text, expected) in [
            ("", Some(&b""[..])),
            ("Zg", Some(b"f")),
            ("Zg==", Some(b"f")),
            ("Zm8", Some(b"fo")),
            ("Zm9vYmFy", Some(b"foobar")),
            ("Z", None),
            ("Zm9v!", None),
        ] {
            assert_eq!(base64_decoded(text.as_bytes()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn malformed_records_are_named() {
        let refused = |name: &str| Err(Trouble::Xattr(name.into()));
        assert_eq!(set(&["LIBARCHIVE.xattr.a%2=AA"]), refused("a%2"));
        assert_eq!(set(&["LIBARCHIVE.xattr.a%zz=AA"]), refused("a%zz"));
        assert_eq!(set(&["LIBARCHIVE.xattr.abc=*"]), refused("abc"));
    }
}
