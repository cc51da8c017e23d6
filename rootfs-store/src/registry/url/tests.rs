use super::*;

fn base() -> Url {
    Url::parse("https://registry.example:5000/v2/a/b?c=d").unwrap()
}

#[test]
fn locations_are_relative_to_where_they_came_from() {
    for (location, expected) in [
        ("https://x/y?z", "https://x/y?z"),
        ("HTTPS://X/y", "https://x/y"),
        ("http://x", "http://x/"),
        ("//x/y", "https://x/y"),
        ("/y?z=1#part", "https://registry.example:5000/y?z=1"),
        (
            "?z=http://q",
            "https://registry.example:5000/v2/a/b?z=http://q",
        ),
        (
            "/y?z=http://q",
            "https://registry.example:5000/y?z=http://q",
        ),
        ("y", "https://registry.example:5000/v2/a/y"),
        ("https://x:443/", "https://x/"),
        ("https://[::1]:5000/", "https://[::1]:5000/"),
    ] {
        let joined = base().join(location).map(|url| url.to_text());
        assert_eq!(joined.as_deref(), Some(expected), "{location}");
    }
    let long = format!("/{}", "a".repeat(MAX_URL_BYTES));
    for location in [
        "",
        "#",
        "ftp://x/",
        "https://",
        "https:///x",
        "https://me@x/",
        "https://x:port/",
        "https://x:99999/",
        "https://x:/",
        "/ /",
        "/a\nb",
        &long,
    ] {
        assert_eq!(base().join(location), None, "{location}");
    }
}

#[test]
fn origins_differ_by_scheme_host_and_port() {
    let origin = |text| Url::parse(text).unwrap().origin;
    assert_eq!(origin("https://A/x"), origin("https://a:443/y"));
    assert_ne!(origin("https://a/"), origin("http://a/"));
    assert_ne!(origin("https://a/"), origin("https://a:444/"));
    assert_ne!(origin("https://a/"), origin("https://b/"));
    assert_eq!(origin("http://a:81/").authority(), "a:81");
}

#[test]
fn parameters_are_added_and_not_shown() {
    let url = base().with_parameter("scope", "a:b/ü");
    assert_eq!(
        url.to_text(),
        "https://registry.example:5000/v2/a/b?c=d&scope=a%3Ab%2F%C3%BC"
    );
    assert_eq!(url.to_string(), "https://registry.example:5000/v2/a/b");
    let url = Url::parse("http://a/?").unwrap().with_parameter("b", "c");
    assert_eq!(url.to_text(), "http://a/?b=c");
}

proptest::proptest! {
    #[test]
    fn what_is_sent_is_the_same_address(text in "(https?://|//|/|[?])?[ -~]{0,30}") {
        if let Some(url) = base().join(&text) {
            proptest::prop_assert_eq!(Url::parse(&url.to_text()), Some(url));
        }
    }
}
