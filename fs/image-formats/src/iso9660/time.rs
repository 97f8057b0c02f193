//! Points in time, in UTC, as records and descriptors have them: the years 1900 to 2155.
//!
//! Spec: ECMA-119, sections 8.4.26.1 and 9.1.5.

use image_core::tree::Time;

use crate::calendar;

/// 1900-01-01 and 2155-12-31 23:59:59.
const RANGE: (i64, i64) = (-2_208_988_800, 5_869_583_999);

/// Year, month, day, hours, minutes and seconds; the nearest ones for what lies outside of the range.
fn parts(time: Time) -> [i64; 6] {
    let secs = time.secs.clamp(RANGE.0, RANGE.1);
    let (year, month, day) = calendar::date(secs.div_euclid(86_400));
    let of_day = secs.rem_euclid(86_400);
    [
        year,
        month,
        day,
        of_day.div_euclid(3600),
        of_day.div_euclid(60).rem_euclid(60),
        of_day.rem_euclid(60),
    ]
}

/// As records have it.
pub(super) fn short(time: Time) -> [u8; 7] {
    let [year, month, day, hours, minutes, seconds] = parts(time);
    let utc = 0;
    [
        year.saturating_sub(1900),
        month,
        day,
        hours,
        minutes,
        seconds,
        utc,
    ]
    .map(|part| u8::try_from(part).expect("the range of times was clamped"))
}

/// As descriptors have it.
pub(super) fn long(time: Time) -> [u8; 17] {
    let [year, month, day, hours, minutes, seconds] = parts(time);
    let text = format!("{year:04}{month:02}{day:02}{hours:02}{minutes:02}{seconds:02}00\0");
    text.into_bytes()
        .try_into()
        .expect("every year of the range has four digits")
}

/// No time at all, in a descriptor.
pub(super) const NONE: [u8; 17] = *b"0000000000000000\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_both_ways() {
        let at = |secs| Time { secs, nanos: 999 };
        let cases = [
            (0, [70, 1, 1, 0, 0, 0, 0], b"1970010100000000\0"),
            (951_827_696, [100, 2, 29, 12, 34, 56, 0], b"2000022912345600\0"),
            (RANGE.0, [0, 1, 1, 0, 0, 0, 0], b"1900010100000000\0"),
            (RANGE.1, [255, 12, 31, 23, 59, 59, 0], b"2155123123595900\0"),
        ];
        for (secs, of_record, of_descriptor) in cases {
            assert_eq!(short(at(secs)), of_record);
            assert_eq!(&long(at(secs)), of_descriptor);
        }
        assert_eq!(short(at(i64::MIN)), short(at(RANGE.0)));
        assert_eq!(long(at(i64::MAX)), long(at(RANGE.1)));
    }
}
