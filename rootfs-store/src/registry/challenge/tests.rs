use super::*;

fn challenge(scheme: &str, parameters: &[(&str, &str)]) -> Challenge {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Challenge {
        scheme: scheme.to_owned(),
        parameters: parameters.iter().map(owned).collect(),
    }
}

#[test]
fn challenges_are_told_apart() {
    let bearer = challenge(
        "bearer",
        &[
            ("realm", "https://auth.docker.io/token"),
            ("service", "registry.docker.io"),
            ("scope", "repository:a/b:pull,push"),
        ],
    );
    let basic = challenge("basic", &[("realm", "x")]);
    let text = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
    assert_eq!(parse_challenges(text), std::slice::from_ref(&bearer));
    assert_eq!(
        parse_challenges(&format!("BASIC Realm=x, {text}")),
        [basic.clone(), bearer.clone()]
    );
    assert_eq!(
        parse_challenges(&format!("{text} , Basic realm = \"x\" ")),
        [bearer, basic]
    );
}

#[test]
fn quoted_values_have_escapes_and_commas() {
    let parsed = parse_challenges(r#"Digest a="b\"c\\,d=e",f=""#);
    assert_eq!(parsed, [challenge("digest", &[("a", "b\"c\\,d=e")])]);
    let parsed = parse_challenges("Basic realm=\"grün\"");
    assert_eq!(parsed[0].parameter("realm"), Some("grün"));
}

#[test]
fn schemes_without_parameters_are_challenges_too() {
    let names = |text| -> Vec<String> {
        let parsed = parse_challenges(text);
        parsed.into_iter().map(|found| found.scheme).collect()
    };
    assert_eq!(names("Negotiate"), ["negotiate"]);
    assert_eq!(names("Negotiate, Basic realm=x"), ["negotiate", "basic"]);
    assert_eq!(
        names("Negotiate YII/=, Basic realm=x"),
        ["negotiate", "basic"]
    );
    assert_eq!(names(", ,Basic"), ["basic"]);
    for text in ["", ",", "=", "\"", "é"] {
        assert!(names(text).is_empty(), "{text}");
    }
}

#[test]
fn texts_without_end_are_bounded() {
    assert!(parse_challenges(&"a ".repeat(MAX_HEADER_BYTES)).is_empty());
    assert_eq!(parse_challenges(&"a, ".repeat(1000)).len(), MAX_CHALLENGES);
    let many = format!("a {}", "b=c,".repeat(1000));
    assert_eq!(parse_challenges(&many)[0].parameters.len(), MAX_PARAMETERS);
}

proptest::proptest! {
    #[test]
    fn written_challenges_are_read(
        values in proptest::collection::vec(("[a-z]{1,8}", "[ -~]{0,20}"), 1..5),
    ) {
        let quoted = |(name, value): &(String, String)| {
            format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
        };
        let text: Vec<String> = values.iter().map(quoted).collect();
        let parsed = parse_challenges(&format!("Bearer {}", text.join(", ")));
        proptest::prop_assert_eq!(parsed.len(), 1);
        proptest::prop_assert_eq!(&parsed[0].parameters, &values);
    }

    #[test]
    fn any_text_is_read(text in r#"([a-zA-Z =,"\\/]|\PC){0,60}"#) {
        let _ = parse_challenges(&text);
    }
}
