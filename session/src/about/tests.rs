use super::*;
use crate::ErrorKind;

#[test]
fn titles_and_labels_are_short_lines() {
    let good = About {
        title: Some("Ada's lab, part 2 – Ä".into()),
        labels: BTreeMap::from([("team/course.1".into(), String::new())]),
        ..About::default()
    };
    good.check().unwrap();
    let labels = |key: &str, value: &str| About {
        labels: BTreeMap::from([(key.into(), value.into())]),
        ..About::default()
    };
    let bad = [
        About {
            title: Some("two\nlines".into()),
            ..About::default()
        },
        About {
            title: Some("x".repeat(257)),
            ..About::default()
        },
        labels("", "x"),
        labels("with space", "x"),
        labels(&"k".repeat(64), "x"),
        labels("key", "\u{1b}[31m"),
        About {
            labels: (0..33).map(|n| (format!("k{n}"), String::new())).collect(),
            ..About::default()
        },
    ];
    for about in bad {
        let error = about.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}
