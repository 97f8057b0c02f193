//! Days as dates of the Gregorian calendar, which formats have that do not count seconds.

use std::num::Saturating;

/// Days from 0000-03-01 to 1970-01-01.
pub(crate) const TO_EPOCH: i64 = 719_468;

/// The year, the month and the day of the month, each counted as people do, of a day since 1970.
pub(crate) fn date(day: i64) -> (i64, i64, i64) {
    // Years that begin in March, so that leap days end them.
    let days = (Saturating(day) + Saturating(TO_EPOCH)).0;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let short = [(1460, 1), (36_524, -1), (146_096, 1)]
        .iter()
        .fold(Saturating(0), |sum, (per, sign)| {
            sum + Saturating(of_era.div_euclid(*per)) * Saturating(*sign)
        });
    let year = (Saturating(of_era) - short).0.div_euclid(365);
    let before = Saturating(year) * Saturating(365) + Saturating(year.div_euclid(4))
        - Saturating(year.div_euclid(100));
    let of_year = Saturating(of_era) - before;
    let from_march = (of_year * Saturating(5) + Saturating(2)).0.div_euclid(153);
    let months = (Saturating(from_march) * Saturating(153) + Saturating(2))
        .0
        .div_euclid(5);
    let day = of_year - Saturating(months) + Saturating(1);
    let month = (Saturating(from_march) + Saturating(2)).0.rem_euclid(12);
    let year = Saturating(era) * Saturating(400) + Saturating(year) + Saturating(i64::from(month < 2));
    (year.0, month.saturating_add(1), day.0)
}
