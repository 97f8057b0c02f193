//! Dates and times of day as entries have them: steps of two seconds from 1980 to 2107, taken for UTC.

use image_core::tree::Time;

use crate::calendar::{TO_EPOCH, date};

/// 1980-01-01 and 2107-12-31 23:59:58.
const RANGE: (i64, i64) = (315_532_800, 4_354_819_198);

/// A date and a time of day as an entry has them, in UTC.
pub(super) fn read(date: u16, time: u16) -> Time {
    let (year, month, day) = (
        1980_i64.saturating_add((date >> 9).into()),
        (date >> 5) & 15,
        date & 31,
    );
    let (hours, minutes, seconds) = (time >> 11, (time >> 5) & 63, (time & 31).saturating_mul(2));
    // Days since 1970, counting years from March, so that leap days end them.
    let (month, day) = (i64::from(month.clamp(1, 12)), i64::from(day.clamp(1, 31)));
    let year = year.saturating_sub(i64::from(month <= 2));
    let from_march = month.saturating_add(9) % 12;
    let of_year = from_march
        .saturating_mul(153)
        .saturating_add(2)
        .div_euclid(5)
        .saturating_add(day)
        .saturating_sub(1);
    let leap = year
        .div_euclid(4)
        .saturating_sub(year.div_euclid(100))
        .saturating_add(year.div_euclid(400));
    let days = year
        .saturating_mul(365)
        .saturating_add(leap)
        .saturating_add(of_year)
        .saturating_sub(TO_EPOCH);
    let of_day = i64::from(hours)
        .saturating_mul(60)
        .saturating_add(minutes.into())
        .saturating_mul(60);
    Time {
        secs: days
            .saturating_mul(86_400)
            .saturating_add(of_day)
            .saturating_add(seconds.into()),
        nanos: 0,
    }
}

/// The date and the time of day for an entry; the nearest ones for what lies outside of the range.
pub(super) fn written(time: Time) -> (u16, u16) {
    let secs = time.secs.clamp(RANGE.0, RANGE.1);
    let of_day = secs.rem_euclid(86_400);
    let (year, month, day) = date(secs.div_euclid(86_400));
    let small = |number: i64| u16::try_from(number).expect("the range of times was clamped");
    let date = small(year.saturating_sub(1980)) << 9 | small(month) << 5 | small(day);
    let (hours, minutes) = (of_day.div_euclid(3600), of_day.div_euclid(60).rem_euclid(60));
    let pairs = of_day.rem_euclid(60).div_euclid(2);
    (date, small(hours) << 11 | small(minutes) << 5 | small(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_seconds() {
        let at = |year: u16, month: u16, day: u16| ((year - 1980) << 9) | (month << 5) | day;
        let cases = [
            (at(1980, 1, 1), 0, 315_532_800),
            (at(2000, 2, 29), 0xbf7d, 951_868_798),
            (at(2024, 3, 1), 0, 1_709_251_200),
            (at(2100, 3, 1), 0, 4_107_542_400),
            (at(2107, 12, 31), 0xbf7d, RANGE.1),
        ];
        for (date, of_day, secs) in cases {
            assert_eq!(read(date, of_day).secs, secs);
            assert_eq!(written(Time { secs, nanos: 7 }), (date, of_day));
        }
    }

    #[test]
    fn every_day_comes_back() {
        let at = |secs| Time { secs, nanos: 0 };
        for day in 0..46_751 {
            let secs = RANGE.0 + day * 86_400 + day % 86_400;
            let (date, time) = written(at(secs));
            assert_eq!(read(date, time).secs, secs / 2 * 2);
        }
        assert_eq!(written(at(i64::MIN)), written(at(RANGE.0)));
        assert_eq!(written(at(i64::MAX)), written(at(RANGE.1)));
    }
}
