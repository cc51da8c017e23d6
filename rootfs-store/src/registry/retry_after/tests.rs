use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn seconds_and_dates_are_understood() {
    let now = at(784_111_770);
    let parse = |value| parse_retry_after(value, now).map(|wait| wait.as_secs());
    assert_eq!(parse("120"), Some(120));
    assert_eq!(parse(" 0 "), Some(0));
    assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
    assert_eq!(parse("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
    for value in [
        "",
        "-1",
        "1.5",
        "soon",
        "99999999999999999999",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1969 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 99999999999999999999:49:37 GMT",
    ] {
        assert_eq!(parse(value), None, "{value}");
    }
}

#[test]
fn dates_agree_with_those_of_coreutils() {
    // `date -u -d DATE +%s`
    for (date, seconds) in [
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
        ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
        ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
        ("Fri, 31 Dec 2032 23:59:60 GMT", 1_988_150_400),
    ] {
        assert_eq!(http_date(date), Some(seconds), "{date}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read(text: String, seconds in 0..u64::from(u32::MAX)) {
        parse_retry_after(&text, at(seconds));
    }

    #[test]
    fn any_date_is_read(day: u64, year: u64, hour: u8) {
        http_date(&format!("Sun, {day} Feb {year} {hour}:00:00 GMT"));
    }
}
