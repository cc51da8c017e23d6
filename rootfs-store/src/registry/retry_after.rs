//! `Retry-After`: seconds, or a date of HTTP (RFC 9110).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::content_range::decimal;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The time to wait by a `Retry-After` header's value at `now`; nothing for a value that makes no sense.
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Some(seconds) = decimal(value) {
        return Some(Duration::from_secs(seconds));
    }
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(http_date(value)?))?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// Seconds since 1970 of a date as in `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that may be sent today.
fn http_date(text: &str) -> Option<u64> {
    let (_day_name, rest) = text.split_once(", ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let &[day, month, year, time, "GMT"] = fields.as_slice() else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let (day, year) = (decimal(day)?, decimal(year)?);
    let time: Vec<u64> = time.split(':').map(decimal).collect::<Option<_>>()?;
    let &[hours, minutes, seconds] = time.as_slice() else {
        return None;
    };
    if !(1..=31).contains(&day) || !(1970..=9999).contains(&year) {
        return None;
    }
    if hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    let days = days_before_month(year, month) + day - 1;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

/// Days from 1970 to the first of a month; January is month zero.
fn days_before_month(year: u64, month: usize) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leaps = |until: u64| until / 4 - until / 100 + until / 400;
    let is_leap = leaps(year) > leaps(year - 1);
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    years + BEFORE[month] + u64::from(is_leap && month > 1)
}

#[cfg(test)]
mod tests;
