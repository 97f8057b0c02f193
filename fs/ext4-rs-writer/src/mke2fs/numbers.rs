//! Numbers and labels as mke2fs writes them.

use std::str::FromStr;

/// A plain number.
pub(super) fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// A number of bytes with an optional suffix, such as `4k`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (text.get(..at)?, 10),
        (at, 'm' | 'M') => (text.get(..at)?, 20),
        (at, 'g' | 'G') => (text.get(..at)?, 30),
        (at, 't' | 'T') => (text.get(..at)?, 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The same, where 32 bits are enough.
pub(super) fn size(text: &str) -> Option<u32> {
    u32::try_from(bytes(text)?).ok()
}

/// A number of blocks; with a suffix, of the bytes that fill them.
pub(super) fn blocks(text: &str, block_size: u64) -> Option<u64> {
    number(text).or_else(|| bytes(text)?.checked_div(block_size))
}

/// A percentage with up to two decimals, in hundredths of a percent.
pub(super) fn permyriad(text: &str) -> Option<u16> {
    let text = text.strip_suffix('%').unwrap_or(text);
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let mut hundredths = 0_u16;
    let mut weight = 10_u16;
    for digit in decimals.chars() {
        let digit = u16::try_from(digit.to_digit(10)?).ok()?;
        hundredths = hundredths.checked_add(digit.checked_mul(weight)?)?;
        weight /= 10;
    }
    let whole: u16 = if whole.is_empty() && !decimals.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let all = whole.checked_mul(100)?.checked_add(hundredths)?;
    (all <= 5000).then_some(all)
}

/// Text that fits a field of the superblock, padded with NUL.
pub(super) fn label<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let mut label = [0; LEN];
    label.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_two() {
        for (text, expected) in [
            ("7", Some(7)),
            ("4k", Some(4096)),
            ("4K", Some(4096)),
            ("3M", Some(3 << 20)),
            ("2g", Some(2 << 30)),
            ("1T", Some(1 << 40)),
            ("99999999T", None),
            ("1x", None),
            ("k", None),
            ("", None),
            ("1kk", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        assert_eq!(size("4g"), None);
        assert_eq!((blocks("10", 4096), blocks("1M", 4096)), (Some(10), Some(256)));
    }
}
