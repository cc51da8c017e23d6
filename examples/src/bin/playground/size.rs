//! Sizes, as people write and read them.

use std::num::NonZeroU64;

const UNITS: [(&str, u32); 5] = [("", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// Reads `8GiB`, `512MiB` or a number of bytes. `8G` is the same as `8GiB`.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = UNITS
        .iter()
        .find(|(name, _)| {
            *name == unit || (!unit.is_empty() && name.strip_suffix("iB") == Some(unit))
        })
        .map(|(_, shift)| *shift)
        .ok_or_else(|| format!("{unit:?} is no unit: use KiB, MiB, GiB or TiB"))?;
    let number: u64 = number
        .parse()
        .map_err(|_| "it starts with no number".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "it is larger than any disk".to_owned())
}

/// Reads a number of bytes in a second, at least one, written as [`parse`] reads it.
pub(crate) fn rate(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(parse(text)?).ok_or_else(|| "nothing would ever come".to_owned())
}

/// Bytes with one digit after the point, in the largest unit that leaves a whole part.
pub(crate) fn show(bytes: u64) -> String {
    let (name, shift) = UNITS
        .iter()
        .rev()
        .find(|(_, shift)| bytes >> shift > 0)
        .unwrap_or(&UNITS[0]);
    if *shift == 0 {
        return format!("{bytes} bytes");
    }
    let tenths = (u128::from(bytes) * 10) >> shift;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!(parse("8GiB"), Ok(8 << 30));
        assert_eq!(parse("8G"), Ok(8 << 30));
        assert_eq!(parse("100"), Ok(100));
        for bad in ["", "GiB", "8GB", "8 GiB", "99999999TiB", "-1", "1iB"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(rate("1MiB").map(NonZeroU64::get), Ok(1 << 20));
        assert!(rate("0").is_err());
        assert_eq!(show(100), "100 bytes");
        assert_eq!(show(1536), "1.5 KiB");
        assert_eq!(show(8 << 30), "8.0 GiB");
    }
}
