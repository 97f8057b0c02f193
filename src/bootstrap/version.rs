//! Versions of Debian packages, and which of two is the later one.
//!
//! Spec: deb-version(7). `[epoch:]upstream[-revision]`; a tilde sorts before the end, letters before all else.

use std::cmp::Ordering;

/// Which of two versions is later.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (parts(a), parts(b));
    number(a.0)
        .cmp(&number(b.0))
        .then_with(|| compare_part(a.1.as_bytes(), b.1.as_bytes()))
        .then_with(|| compare_part(a.2.as_bytes(), b.2.as_bytes()))
}

/// Epoch, upstream version, revision.
fn parts(version: &str) -> (&str, &str, &str) {
    let version = version.trim();
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Digits as a number of any length: without leading zeros, the longer is the greater.
fn number(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (x, y) = (
            prefix(&mut a, |c| !c.is_ascii_digit()),
            prefix(&mut b, |c| !c.is_ascii_digit()),
        );
        for at in 0..x.len().max(y.len()) {
            let order = weight(x.get(at)).cmp(&weight(y.get(at)));
            if order.is_ne() {
                return order;
            }
        }
        let (x, y) = (
            prefix(&mut a, u8::is_ascii_digit),
            prefix(&mut b, u8::is_ascii_digit),
        );
        let significant = |digits: &'_ [u8]| digits.iter().take_while(|digit| **digit == b'0').count();
        let (x, y) = (&x[significant(x)..], &y[significant(y)..]);
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes bytes off the front as long as they are wanted.
fn prefix<'a>(text: &mut &'a [u8], wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
    let len = text.iter().take_while(|byte| wanted(byte)).count();
    let (taken, rest) = text.split_at(len);
    *text = rest;
    taken
}

/// Where a byte that is no digit sorts; `None` is the end, or a digit.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_dpkg_sorts_them() {
        // Each is earlier than the next, as `dpkg --compare-versions A lt B` says.
        let ascending = [
            "1.0~~", "1.0~~a", "1.0~", "1.0", "1.0-0.1", "1.0-1", "1.0-1+b1", "1.0-10", "1.0a", "1.0+b",
            "1.0.1", "1.2", "1.10", "10", "1:0", "2:0",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        for (a, b) in [
            ("1.0", "0:1.0"),
            ("1.0", "1.0-0"),
            ("1.01", "1.1"),
            ("", "0"),
            ("1.0-", "1.0"),
        ] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }
}
