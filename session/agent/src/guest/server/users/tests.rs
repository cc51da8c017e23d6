use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken line\nann:x:1000:100:Ann:/home/ann:/bin/sh\n12:x:7:7::/n:\n";
const GROUP: &str = "root:x:0:\nusers:x:100:\nwheel:x:10:root,ann\naudio:x:29:ann\nbad:x:y:ann\n";

fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Identity {
    Identity {
        uid,
        gid,
        groups: groups.to_vec(),
        home: home.to_owned(),
    }
}

#[test]
fn names_and_numbers_resolve_by_the_tables() {
    let cases = [
        ("", identity(0, 0, &[10], "/root")),
        ("root", identity(0, 0, &[10], "/root")),
        ("ann", identity(1000, 100, &[10, 29], "/home/ann")),
        ("1000", identity(1000, 100, &[10, 29], "/home/ann")),
        ("ann:", identity(1000, 100, &[10, 29], "/home/ann")),
        ("ann:audio", identity(1000, 29, &[], "/home/ann")),
        ("ann:5", identity(1000, 5, &[], "/home/ann")),
        (":audio", identity(0, 29, &[], "/root")),
        ("4242", identity(4242, 0, &[], "/")),
        ("4242:4343", identity(4242, 4343, &[], "/")),
        ("12", identity(7, 7, &[], "/n")),
    ];
    for (spec, expected) in cases {
        assert_eq!(resolve_in(spec, PASSWD, GROUP).unwrap(), expected, "{spec}");
    }
}

#[test]
fn unknown_names_are_told_with_their_table() {
    let user = resolve_in("bob", PASSWD, GROUP).unwrap_err();
    assert_eq!(user.kind, FailureKind::NoUser);
    assert!(user.message.contains("bob") && user.message.contains("/etc/passwd"));
    let group = resolve_in("ann:nobody", PASSWD, GROUP).unwrap_err();
    assert!(group.message.contains("nobody") && group.message.contains("/etc/group"));
    assert!(resolve_in("-1", PASSWD, GROUP).is_err());
    assert!(resolve_in("4294967296", PASSWD, GROUP).is_err());
}

#[test]
fn an_image_without_tables_has_root_and_numbers() {
    assert_eq!(resolve_in("", "", "").unwrap(), identity(0, 0, &[], "/"));
    assert_eq!(resolve_in("5:6", "", "").unwrap(), identity(5, 6, &[], "/"));
}
