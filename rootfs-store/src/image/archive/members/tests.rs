use super::*;

#[test]
fn links_are_read_from_where_they_are() {
    for (name, target, expected) in [
        ("a/layer.tar", "../b/layer.tar", Some("b/layer.tar")),
        ("a/layer.tar", "other.tar", Some("a/other.tar")),
        ("a/layer.tar", "/c.tar", Some("c.tar")),
        ("a/layer.tar", "./../d.tar", Some("d.tar")),
        ("a/layer.tar", "../../etc/shadow", None),
        ("layer.tar", "..", None),
        ("layer.tar", "", None),
    ] {
        let found = symlinked(name.as_bytes(), target.as_bytes());
        assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{target}");
    }
}
