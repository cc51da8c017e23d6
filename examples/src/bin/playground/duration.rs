//! Durations, as people write them.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("", 1), ("s", 1), ("min", 60), ("h", 3600), ("d", 86_400)];

/// Reads `90s`, `10min`, `1h`, `2d` or a number of seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, seconds) = known.ok_or_else(|| format!("{unit:?} is no unit: use s, min, h or d"))?;
    let number: u64 = number
        .parse()
        .map_err(|_| "it starts with no number".to_owned())?;
    let seconds = number.checked_mul(*seconds);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "it is longer than anything lasts".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let seconds = |text| parse(text).map(|duration| duration.as_secs());
        for (text, expected) in [
            ("0", 0),
            ("90", 90),
            ("90s", 90),
            ("10min", 600),
            ("1h", 3600),
            ("2d", 172_800),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "h",
            "1 h",
            "1m",
            "-1",
            "1.5h",
            "99999999999999999999",
            "999999999999999999d",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
