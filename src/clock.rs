//! The wall clock, in UTC: for the log and for the names of replaced outputs. Nothing in an image comes from here.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment of the UTC calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    date: (i64, u8, u8),
    seconds_of_day: u32,
    millis: u32,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::at(since.as_secs(), since.subsec_millis())
    }

    /// The second of a file's time stamp, which may lie before 1970.
    pub fn of_file(secs: i64) -> Self {
        const DAY: i64 = 24 * 60 * 60;
        Self {
            date: civil(secs.div_euclid(DAY)),
            seconds_of_day: u32::try_from(secs.rem_euclid(DAY)).unwrap_or(0),
            millis: 0,
        }
    }

    /// As `ls` shows it: `2026-11-22 23:59:01`.
    pub fn to_the_second(self) -> String {
        let text = self.to_string();
        text.split('.').next().unwrap_or_default().to_owned()
    }

    fn at(secs: u64, millis: u32) -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            date: civil(i64::try_from(secs / DAY).unwrap_or(i64::MAX)),
            seconds_of_day: u32::try_from(secs % DAY).unwrap_or(0),
            millis,
        }
    }

    fn time(self) -> (u32, u32, u32) {
        let seconds = self.seconds_of_day;
        (seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    /// As it stands in an event: `2026-11-22T23:59:01.123Z`.
    pub fn rfc3339(self) -> String {
        format!("{}Z", self.to_string().replacen(' ', "T", 1))
    }

    /// As it stands in the name of an output that was replaced: `2026.11.22-23.59.01`.
    pub fn in_file_name(self) -> String {
        let ((year, month, day), (hour, minute, second)) = (self.date, self.time());
        format!("{year:04}.{month:02}.{day:02}-{hour:02}.{minute:02}.{second:02}")
    }
}

/// As it stands before a line of the log: `2026-11-22 23:59:01.123`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((year, month, day), (hour, minute, second)) = (self.date, self.time());
        let millis = self.millis;
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}"
        )
    }
}

/// Year, month and day of a day since 1970-01-01.
///
/// Counts from 1 March of year 0, so that leap days end the years and 400 years, an era, are 146097 days.
fn civil(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (
        year,
        u8::try_from(month).unwrap_or(0),
        u8::try_from(day).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        let dates = [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_399, "2000-02-28 23:59:59.000"),
            (951_782_400, "2000-02-29 00:00:00.000"),
            (1_709_251_199, "2024-02-29 23:59:59.000"),
            (4_107_542_400, "2100-03-01 00:00:00.000"),
        ];
        for (secs, text) in dates {
            assert_eq!(Moment::at(secs, 0).to_string(), text);
            assert_eq!(Moment::of_file(secs.try_into().unwrap()), Moment::at(secs, 0));
        }
        assert_eq!(Moment::of_file(-1).to_the_second(), "1969-12-31 23:59:59");
        let _ = (Moment::of_file(i64::MIN), Moment::of_file(i64::MAX));
        assert_eq!(Moment::at(951_782_399, 7).rfc3339(), "2000-02-28T23:59:59.007Z");
        assert_eq!(Moment::at(951_782_399, 7).in_file_name(), "2000.02.28-23.59.59");
    }
}
