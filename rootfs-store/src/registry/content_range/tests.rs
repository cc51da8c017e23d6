use super::*;

#[test]
fn content_ranges_have_bytes_and_maybe_a_size() {
    let range = |bytes, size| Some(ContentRange { bytes, size });
    for (value, expected) in [
        ("bytes 0-0/1", range(0..1, Some(1))),
        ("Bytes 5-9/*", range(5..10, None)),
        (" bytes  5-9/10 ", range(5..10, Some(10))),
        ("bytes 5-9/9", None),
        ("bytes 9-5/10", None),
        ("bytes */10", None),
        ("bytes 0-18446744073709551615/*", None),
        ("bytes=0-1/2", None),
        ("bytes +0-1/2", None),
        ("", None),
    ] {
        assert_eq!(parse_content_range(value), expected, "{value}");
    }
}

#[test]
fn uploaded_ranges_begin_at_zero() {
    for (value, expected) in [
        ("0-0", Some(0)),
        ("0-9", Some(10)),
        ("bytes=0-9", Some(10)),
        ("1-9", None),
        ("0-18446744073709551615", None),
        ("9", None),
        ("-9", None),
    ] {
        assert_eq!(parse_uploaded(value), expected, "{value}");
    }
}

proptest::proptest! {
    #[test]
    fn what_is_sent_is_read(first in 0..u64::MAX, len in 1..u64::MAX, more: u64) {
        let Some(end) = first.checked_add(len) else { return Ok(()) };
        let size = end.saturating_add(more);
        let value = format!("bytes {first}-{}/{size}", end - 1);
        let expected = ContentRange { bytes: first..end, size: Some(size) };
        proptest::prop_assert_eq!(parse_content_range(&value), Some(expected));
    }

    #[test]
    fn any_text_is_read(text: String) {
        parse_content_range(&text);
        parse_uploaded(&text);
    }
}
