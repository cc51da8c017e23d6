//! The ranges that registries answer with.

use std::ops::Range;

/// What a `Content-Range` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// The bytes that the answer has.
    pub(crate) bytes: Range<u64>,
    /// Size of the whole, if the registry says it.
    pub(crate) size: Option<u64>,
}

/// Parses `bytes FIRST-LAST/SIZE`, where the size may be `*`.
pub(crate) fn parse_content_range(value: &str) -> Option<ContentRange> {
    let (unit, rest) = value.trim().split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (bytes, size) = rest.trim().split_once('/')?;
    let bytes = first_to_last(bytes)?;
    let size = match size {
        "*" => None,
        size => Some(decimal(size)?),
    };
    if size.is_some_and(|size| bytes.end > size) {
        return None;
    }
    Some(ContentRange { bytes, size })
}

/// How many bytes of an upload have arrived, by the `Range` header of an answer: `0-LAST`, or with `bytes=` in front.
///
/// An upload that has nothing yet is `0-0` in some registries, so one byte counts as none.
pub(crate) fn parse_uploaded(value: &str) -> Option<u64> {
    let value = value.trim();
    let range = first_to_last(value.strip_prefix("bytes=").unwrap_or(value))?;
    match range {
        Range { start: 0, end: 1 } => Some(0),
        Range { start: 0, end } => Some(end),
        _ => None,
    }
}

fn first_to_last(text: &str) -> Option<Range<u64>> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (decimal(first)?, decimal(last)?);
    (first <= last).then_some(first..last.checked_add(1)?)
}

/// A number of decimal digits and nothing else.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
