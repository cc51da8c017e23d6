use super::*;

#[test]
fn short_names_are_written_out() {
    for (short, expected) in [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("me/tool", "docker.io/me/tool:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("ghcr.io/me/tool:v1", "ghcr.io/me/tool:v1"),
        ("localhost:5000/tool", "localhost:5000/tool:latest"),
        ("localhost/tool", "localhost/tool:latest"),
    ] {
        assert_eq!(full(short), expected);
    }
}

#[test]
fn ports_are_no_tags() {
    assert_eq!(tag("localhost:5000/tool"), None);
    assert_eq!(tag("localhost:5000/tool:v1"), Some("v1"));
}
