//! Pax extended headers: `LENGTH KEY=VALUE\n` records before the member that they describe.
//!
//! Spec: <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_03>
//!
//! Why our own: the values of xattrs are binary and may hold newlines, so records must be cut by their length. The
//! `tar` crate cuts them at newlines.

use std::collections::BTreeMap;

use image_core::tree::Time;

/// The records of one extended header; a later record of a key replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

/// The key of a record whose value is not what the key wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl Records {
    /// Cuts an extended header into records; `None` if it is malformed.
    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut records = BTreeMap::new();
        while !bytes.is_empty() {
            let blank = bytes.iter().position(|byte| *byte == b' ')?;
            let len: usize = number(bytes.get(..blank)?)?;
            let record = bytes.get(blank.checked_add(1)?..len)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = record.split_at(equals);
            records.insert(key.to_vec(), value.get(1..)?.to_vec());
            bytes = bytes.get(len..)?;
        }
        Some(Self(records))
    }

    /// Adds records, which replace those of the same keys.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key.as_bytes()).map(Vec::as_slice)
    }

    /// A value as a number, if the key is there.
    pub(super) fn number<T: std::str::FromStr>(&self, key: &'static str) -> Result<Option<T>, Malformed> {
        self.get(key)
            .map(|value| number(value).ok_or(Malformed(key)))
            .transpose()
    }

    /// Keys that begin with `prefix`, without it, and their values.
    pub(super) fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let rest = move |key: &'a [u8]| key.strip_prefix(prefix.as_bytes());
        self.0
            .iter()
            .filter_map(move |(key, value)| Some((rest(key)?, value.as_slice())))
    }
}

/// Appends a record, whose length counts its own digits.
pub(super) fn record(key: &[u8], value: &[u8], bytes: &mut Vec<u8>) {
    // A blank, an equals sign and the end of the line.
    let rest = key.len().saturating_add(value.len()).saturating_add(3);
    let digits = |number: usize| number.to_string().len();
    let mut len = rest.saturating_add(digits(rest));
    if digits(len) > digits(rest) {
        len = rest.saturating_add(digits(len));
    }
    bytes.extend(len.to_string().bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(key);
    bytes.push(b'=');
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
}

/// A number in decimal digits.
pub(super) fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A time in decimal seconds, with or without a fraction, before or after 1970: `1700000000.123456789`.
pub(super) fn time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    if !text.starts_with('-') || nanos == 0 {
        return Some(Time { secs: whole, nanos });
    }
    // -1.25 s is 0.75 s after -2 s.
    Some(Time {
        secs: whole.checked_sub(1)?,
        nanos: 1_000_000_000_u32.checked_sub(nanos)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_anything() {
        let records = Records::parse(b"21 SCHILY.xattr.a=\n\n\n12 path=x=y\n10 path=z\n").unwrap();
        assert_eq!(
            records.with_prefix("SCHILY.xattr.").collect::<Vec<_>>(),
            [(&b"a"[..], &b"\n\n"[..])]
        );
        assert_eq!(records.get("path"), Some(&b"z"[..]));
        assert_eq!(records.number::<u32>("path"), Err(Malformed("path")));
        assert_eq!(records.number::<u32>("size"), Ok(None));
    }

    #[test]
    fn lengths_of_records_count_their_digits() {
        for len in (0..120).chain(985..1005).chain(9980..10_005) {
            let value = vec![b'v'; len];
            let mut bytes = Vec::new();
            record(b"k", &value, &mut bytes);
            let records = Records::parse(&bytes).unwrap_or_else(|| panic!("{len} bytes"));
            assert_eq!(records.get("k"), Some(&value[..]));
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for bytes in [
            &b"x path=a\n"[..],
            b"99 path=a\n",
            b"8 path=a\n",
            b"3 a\n",
            b"0 a=b\n",
            b"10",
            b"2 ",
        ] {
            assert_eq!(Records::parse(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn times_have_nine_digits_and_a_sign() {
        let table = [
            ("0", Some((0, 0))),
            ("12.5", Some((12, 500_000_000))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.25", Some((-1, 750_000_000))),
            ("-3", Some((-3, 0))),
            ("1.1234567899", Some((1, 123_456_789))),
            ("1.x", None),
            ("", None),
            ("1e3", None),
        ];
        for (text, want) in table {
            assert_eq!(
                time(text.as_bytes()),
                want.map(|(secs, nanos)| Time { secs, nanos }),
                "{text}"
            );
        }
    }
}
