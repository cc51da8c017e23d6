use super::*;

#[test]
fn references_display_as_they_were_written() {
    for text in [
        "oci:/srv/images/busybox",
        "oci:images:1.36",
        "docker://docker.io/library/alpine:3.22",
        "docker://registry.example/o/i@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "docker-archive:/tmp/a.tar",
        "docker-archive:a.tar:busybox:1.36",
        "docker-archive:a.tar:@1",
    ] {
        let parsed: ImageReference = text.parse().unwrap();
        assert_eq!(parsed.to_string(), text);
    }
}

#[test]
fn folder_ends_at_the_first_colon() {
    let parsed: ImageReference = "oci:dir:a:b".parse().unwrap();
    let expected = ImageReference::Oci {
        dir: "dir".into(),
        tag: Some("a:b".into()),
    };
    assert_eq!(parsed, expected);
}

#[test]
fn archive_ends_at_the_first_colon() {
    let parsed: ImageReference = "docker-archive:a.tar:localhost:5000/b:1".parse().unwrap();
    let expected = ImageReference::DockerArchive {
        file: "a.tar".into(),
        image: Some("localhost:5000/b:1".into()),
    };
    assert_eq!(parsed, expected);
}

#[test]
fn names_without_transport_or_image_are_refused() {
    assert!(matches!(
        "alpine".parse::<ImageReference>(),
        Err(ReferenceError::UnknownTransport { .. })
    ));
    for text in ["oci:", "oci::tag", "docker://", "docker-archive:"] {
        assert!(
            matches!(
                text.parse::<ImageReference>(),
                Err(ReferenceError::Empty { .. })
            ),
            "{text}"
        );
    }
}

#[test]
fn names_in_registries_are_displayed_whole() {
    for text in [
        "docker://alpine",
        "docker://docker.io/library/alpine:latest",
    ] {
        let parsed: ImageReference = text.parse().unwrap();
        assert_eq!(
            parsed.to_string(),
            "docker://docker.io/library/alpine:latest"
        );
        assert_eq!(parsed.to_string().parse(), Ok(parsed));
    }
    let bad = "docker://a//b".parse::<ImageReference>();
    assert!(matches!(bad, Err(ReferenceError::BadName { .. })));
}
