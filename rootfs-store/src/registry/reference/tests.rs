use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Result<RegistryReference, ReferenceError> {
    text.parse()
}

#[test]
fn names_mean_what_docker_means_by_them() {
    for (text, meant) in [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.22", "docker.io/library/alpine:3.22"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/o/i:1", "docker.io/o/i:1"),
        ("registry-1.docker.io/i", "docker.io/library/i:latest"),
        ("owner/image", "docker.io/owner/image:latest"),
        ("localhost/image", "localhost/image:latest"),
        ("localhost:5000/image", "localhost:5000/image:latest"),
        ("ghcr.io/o/i/deep:v1", "ghcr.io/o/i/deep:v1"),
        ("127.0.0.1:5000/i", "127.0.0.1:5000/i:latest"),
        ("[::1]:5000/i:t", "[::1]:5000/i:t"),
        ("a.b/c__d/e---f/g.h_i", "a.b/c__d/e---f/g.h_i:latest"),
    ] {
        assert_eq!(parse(text).unwrap().to_string(), meant, "{text}");
    }
}

#[test]
fn digest_comes_before_the_tag() {
    let both = parse(&format!("ghcr.io/o/i:v1@{DIGEST}")).unwrap();
    assert_eq!((both.host(), both.repository()), ("ghcr.io", "o/i"));
    assert_eq!(both.tag(), Some("v1"));
    assert_eq!(both.digest(), DIGEST.parse().ok());
    assert_eq!(both.manifest(), DIGEST);
    let digest = parse(&format!("alpine@{DIGEST}")).unwrap();
    assert_eq!((digest.tag(), digest.manifest().as_str()), (None, DIGEST));
    assert_eq!(parse("alpine").unwrap().manifest(), "latest");
}

#[test]
fn other_texts_are_refused() {
    let long = format!("a.b/{}", "c".repeat(MAX_NAME_BYTES + 1));
    let long_tag = format!("a:{}", "t".repeat(MAX_TAG_BYTES + 1));
    let long_host = format!("{}.b/c", "a".repeat(MAX_NAME_BYTES));
    for text in [
        "",
        ":",
        "@",
        "/",
        "a:",
        "a@",
        "A",
        "a/B",
        "a//b",
        "/a",
        "a/",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a:-t",
        "a:t t",
        "a@sha256:00",
        "a@md5:0",
        "a.b:port/c",
        "a.b:0/c",
        "a.b:99999/c",
        "a.b:/c",
        "a..b/c",
        "-a.b/c",
        "[::1/c",
        "[x]/c",
        "[::1]x/c",
        "me@a.b/c",
        "a b",
        "a?b",
        "a.b:+1/c",
        "http://a.b/c",
        "ä",
        &long,
        &long_tag,
        &long_host,
    ] {
        assert!(
            matches!(parse(text), Err(ReferenceError::BadName { .. })),
            "{text} {:?}",
            parse(text)
        );
    }
}

#[test]
fn docker_hub_is_at_another_host() {
    assert_eq!(api_host("docker.io"), "registry-1.docker.io");
    assert_eq!(api_host("ghcr.io"), "ghcr.io");
}

proptest::proptest! {
    #[test]
    fn what_is_displayed_is_the_same_reference(text in r"[a-z0-9.:/@_\[\]-]{0,40}|([a-z]{1,3}[.:/_-]{1,2}){1,5}[a-z0-9]{1,3}") {
        if let Ok(reference) = parse(&text) {
            proptest::prop_assert_eq!(parse(&reference.to_string()), Ok(reference));
        }
    }

    #[test]
    fn long_names_display_as_the_same_reference(len in 240..260_usize) {
        if let Ok(reference) = parse(&"a".repeat(len)) {
            proptest::prop_assert_eq!(parse(&reference.to_string()), Ok(reference));
        }
    }
}
