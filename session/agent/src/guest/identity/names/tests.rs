use super::*;

fn changed(old: &str, name: &str) -> String {
    String::from_utf8(hosts(old.as_bytes(), name)).unwrap()
}

#[test]
fn only_our_own_line_changes() {
    let old =
        "127.0.0.1 localhost\n#127.0.1.1 not\n127.0.1.1  old old.example # ours\n10.0.0.1 other\n";
    let new = "127.0.0.1 localhost\n#127.0.1.1 not\n127.0.1.1\tlab\n10.0.0.1 other\n";
    assert_eq!(changed(old, "lab"), new);
    assert_eq!(changed(new, "lab"), new);
}

#[test]
fn a_line_that_has_the_name_is_left_alone() {
    let old = "127.0.1.1 lab.example lab # mine";
    assert_eq!(changed(old, "lab"), old);
}

#[test]
fn a_missing_line_or_table_is_made() {
    assert_eq!(
        changed("127.0.0.1 localhost", "lab"),
        "127.0.0.1 localhost\n127.0.1.1\tlab\n"
    );
    assert_eq!(changed("", "lab"), "127.0.1.1\tlab\n");
    assert!(changed(NEW_HOSTS, "lab").ends_with("ip6-loopback\n127.0.1.1\tlab\n"));
}
