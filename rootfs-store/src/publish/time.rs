//! Times as documents have them.

use crate::tree::Time;

const DAY: i64 = 24 * 60 * 60;
/// The last second that RFC 3339 can say: the end of the year 9999.
const LAST: i64 = 253_402_300_799;

/// A time as RFC 3339 has it, in whole seconds of UTC. Times before 1970 become 1970, those after 9999 its end.
pub(super) fn rfc3339(time: Time) -> String {
    let seconds = time.seconds.clamp(0, LAST);
    let (year, month, day) = date(seconds / DAY);
    let rest = seconds % DAY;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of the month of a day, counted from the first of 1970.
fn date(day: i64) -> (i64, i64, i64) {
    let (mut year, mut left) = (1970, day);
    loop {
        let days = if is_leap(year) { 366 } else { 365 };
        if left < days {
            break;
        }
        left -= days;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    (year, month, left + 1)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests;
