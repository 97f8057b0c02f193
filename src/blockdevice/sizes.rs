//! Sizes, as layouts write them: a number, at most one blank, a unit.
//!
//! `GiB` and its like count by 1024, `GB` and `G` and their like by 1000; `B` or nothing are bytes. No number before a
//! unit is 1: `GiB` is one of them. Decimals are exact, and what is less than a byte is dropped.

use std::fmt;

/// Units and their bytes.
const UNITS: [(&str, u64); 14] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("K", 1_000),
    ("B", 1),
    ("", 1),
];

/// More digits than any size needs, and few enough to be multiplied.
const DIGITS_MAX: usize = 20;

/// How much a partition or a logical volume shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// A part of what there is.
    Share(Decimal),
}

/// A number with decimals: `digits / 10^scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    digits: u128,
    scale: u32,
}

impl Decimal {
    /// Reads digits with at most one point among them.
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = [whole, fraction].concat();
        let fits =
            (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !fits {
            return None;
        }
        Some(Self {
            digits: digits.parse().ok()?,
            scale: u32::try_from(fraction.len()).ok()?,
        })
    }

    fn times(self, factor: u128) -> Option<u64> {
        let product = self.digits.checked_mul(factor)? / 10_u128.pow(self.scale);
        u64::try_from(product).ok()
    }

    /// So many hundredths of a number, rounded down.
    pub fn percent_of(self, number: u64) -> u64 {
        let hundredfold = Self {
            scale: self.scale + 2,
            ..self
        };
        hundredfold.times(number.into()).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = 10_u128.pow(self.scale);
        let (whole, rest) = (self.digits / one, self.digits % one);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let digits = usize::try_from(self.scale).unwrap_or(0);
        write!(f, "{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0'))
    }
}

/// Reads a size in bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    let told =
        || format!("'{text}' is no size; one is a number and a unit, such as 8MiB, 2.5 GiB, 10GB or 512B");
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit.strip_prefix(' ') {
        Some(unit) if !unit.is_empty() => unit,
        _ => unit,
    };
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, factor) = known.ok_or_else(told)?;
    let number = match number {
        "" if unit.is_empty() => None,
        "" => Decimal::parse("1"),
        number => Decimal::parse(number),
    };
    let number = number.ok_or_else(told)?;
    number
        .times((*factor).into())
        .ok_or_else(|| format!("'{text}' is more bytes than there can be"))
}

/// Reads a size in bytes, or a part of the whole: `40%`.
pub fn amount(text: &str) -> Result<Amount, String> {
    match text.strip_suffix('%') {
        Some(number) => percent(number).map(Amount::Share),
        None => bytes(text).map(Amount::Bytes),
    }
}

/// Reads the number of a percentage.
pub fn percent(number: &str) -> Result<Decimal, String> {
    let whole = Decimal {
        digits: 100,
        scale: 0,
    };
    let parsed = Decimal::parse(number.trim_end());
    let part = parsed.filter(|part| part.digits > 0 && part.digits <= whole.digits * 10_u128.pow(part.scale));
    part.ok_or_else(|| format!("'{number}%' is no part of the whole"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_and_units() {
        for (text, expected) in [
            ("2.5GiB", 2_684_354_560),
            ("12KB", 12_000),
            ("100", 100),
            ("10 MiB", 10_485_760),
            ("GiB", 1 << 30),
            (" GiB", 1 << 30),
            ("B", 1),
            ("7B", 7),
            ("1.5B", 1),
            (".5KiB", 512),
            ("3.KB", 3000),
            ("0.1TiB", 109_951_162_777),
            ("1T", 1_000_000_000_000),
            ("5M", 5_000_000),
            ("16TiB", 16 << 40),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            " ",
            "5k",
            "-3M",
            "1e3",
            "+1",
            "10  MiB",
            "10MiB ",
            "1.2.3",
            ".",
            ".GiB",
            "1,5GiB",
            "MIB",
            "x",
            "5 ",
            "123456789012345678901",
            "99999999999999999999",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parts_of_the_whole_are_exact() {
        let of = |text: &str, whole: u64| match amount(text) {
            Ok(Amount::Share(part)) => part.percent_of(whole),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(of("33.5%", 1000), 335);
        assert_eq!(of("100%", 12345), 12345);
        assert_eq!(of("50 %", 5), 2);
        assert_eq!(of("0.01%", 1 << 40), 109_951_162);
        assert_eq!(amount("8MiB"), Ok(Amount::Bytes(8 << 20)));
        for text in ["%", "0%", "100.1%", "-1%", "1e1%"] {
            assert!(amount(text).is_err(), "{text}");
        }
        let shown = |text: &str| percent(text).unwrap().to_string();
        assert_eq!((shown("33.50"), shown("100")), ("33.5".into(), "100".into()));
        assert_eq!(shown("0.05"), "0.05");
    }
}
