use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:\u{fc}:/var/www:/usr/sbin/nologin\n# odd\nann:x:1000:1000:Ann,,:/home/ann:/bin/sh\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\nusers:x:100:\nann:x:1000:\ndocker:x:1002:bob\n";
const SHADOW: &str = "root:*:19000:0:99999:7:::\nann:$y$old:19000:0:99999:7:::\n";
const GSHADOW: &str = "root:*::\nusers:*::\nann:!::\ndocker:!::bob\n";

fn image() -> Tables {
    Tables {
        passwd: Table::parse(PASSWD.as_bytes()),
        group: Table::parse(GROUP.as_bytes()),
        shadow: Table::parse(SHADOW.as_bytes()),
        gshadow: Table::parse(GSHADOW.as_bytes()),
    }
}

fn user(name: &str) -> User {
    User {
        name: name.to_owned(),
        ..User::default()
    }
}

fn settle(tables: &mut Tables, users: &[User]) -> Result<Vec<Account>, AccountError> {
    tables.settle(Wishes {
        groups: &[],
        users,
        best_shell: "/bin/bash",
        sets_password: &|_| true,
    })
}

fn lines(table: &Table) -> String {
    String::from_utf8(table.to_bytes()).unwrap()
}

#[test]
fn a_new_user_is_added_to_all_tables_and_nothing_else_changes() {
    let mut tables = image();
    let bob = User {
        groups: vec!["docker".into(), "lab".into()],
        ..user("bob")
    };
    let accounts = settle(&mut tables, &[bob]).unwrap();
    assert_eq!((accounts[0].uid, accounts[0].gid), (1001, 1001));
    assert_eq!(accounts[0].home, "/home/bob");
    let passwd = format!("{PASSWD}bob:x:1001:1001:bob:/home/bob:/bin/bash\n");
    assert_eq!(lines(&tables.passwd), passwd);
    let group = format!("{GROUP}bob:x:1001:\nlab:x:1003:bob\n");
    assert_eq!(lines(&tables.group), group);
    let shadow = format!("{SHADOW}bob:*::0:99999:7:::\n");
    assert_eq!(lines(&tables.shadow), shadow);
    let gshadow = format!("{GSHADOW}bob:!::\nlab:!::bob\n");
    assert_eq!(lines(&tables.gshadow), gshadow);
}

#[test]
fn a_second_time_changes_nothing() {
    let mut tables = image();
    let users = [
        User {
            groups: vec!["docker".into()],
            password: Some(Password::Empty),
            ..user("bob")
        },
        User {
            shell: Some("/bin/zsh".into()),
            ..user("ann")
        },
    ];
    let accounts = settle(&mut tables, &users).unwrap();
    let once = tables.clone();
    let again = settle(&mut tables, &users).unwrap();
    assert_eq!(
        again.iter().map(|account| account.uid).collect::<Vec<_>>(),
        [1001, 1000]
    );
    assert_eq!((accounts[0].is_new, again[0].is_new), (true, false));
    assert_eq!(tables, once);
}

#[test]
fn a_user_of_the_image_is_changed_and_not_doubled() {
    let mut tables = image();
    let ann = User {
        uid: Some(2000),
        group: Some("users".into()),
        shell: Some("/bin/zsh".into()),
        password: Some(Password::Hash("$6$new".into())),
        ..user("ann")
    };
    let accounts = settle(&mut tables, &[ann]).unwrap();
    let expected = Account {
        uid: 2000,
        gid: 100,
        home: "/home/ann".into(),
        is_new: false,
        old_uid: Some(1000),
    };
    assert_eq!(accounts, [expected]);
    let passwd = lines(&tables.passwd);
    assert!(
        passwd.ends_with("\nann:x:2000:100:Ann,,:/home/ann:/bin/zsh\n"),
        "{passwd}"
    );
    assert!(lines(&tables.shadow).contains("ann:$6$new:19000:0"));
    assert_eq!(lines(&tables.group), GROUP);
}

#[test]
fn a_password_is_set_at_the_first_time_alone() {
    let mut tables = image();
    let ann = User {
        password: Some(Password::Locked),
        ..user("ann")
    };
    let later = Wishes {
        groups: &[],
        users: std::slice::from_ref(&ann),
        best_shell: "/bin/sh",
        sets_password: &|_| false,
    };
    tables.settle(later).unwrap();
    assert_eq!(tables, image());
    settle(&mut tables, &[ann]).unwrap();
    assert!(lines(&tables.shadow).contains("ann:*:19000:0"));
}

#[test]
fn numbers_that_are_taken_are_refused_or_passed_over() {
    let taken = User {
        uid: Some(33),
        ..user("bob")
    };
    let error = settle(&mut image(), &[taken]).unwrap_err();
    assert!(error.to_string().contains("www-data"), "{error}");
    let wished = User {
        uid: Some(1001),
        ..user("late")
    };
    let accounts = settle(&mut image(), &[user("early"), wished]).unwrap();
    assert_eq!((accounts[0].uid, accounts[1].uid), (1002, 1001));
    let group = |gid| Group {
        name: "users".into(),
        gid,
    };
    let settle_group = |gid| {
        let groups = [group(gid)];
        image().settle(Wishes {
            groups: &groups,
            users: &[],
            best_shell: "",
            sets_password: &|_| true,
        })
    };
    settle_group(Some(100)).unwrap();
    settle_group(None).unwrap();
    assert!(matches!(
        settle_group(Some(101)),
        Err(AccountError::Gid { gid: 101, .. })
    ));
}

#[test]
fn an_image_without_tables_gets_root_and_the_user() {
    let mut tables = Tables::default();
    assert_eq!(settle(&mut tables, &[]).unwrap(), []);
    assert_eq!(tables, Tables::default());
    settle(&mut tables, &[user("ann")]).unwrap();
    assert_eq!(
        lines(&tables.passwd),
        "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:ann:/home/ann:/bin/bash\n"
    );
    assert_eq!(lines(&tables.group), "root:x:0:\nann:x:1000:\n");
    assert!(lines(&tables.shadow).starts_with("root:*:"));
    assert!(lines(&tables.gshadow).starts_with("root:*:"));
}

#[test]
fn bytes_that_are_no_text_are_kept() {
    let bytes = b"\xff\xfe:x:5:5:\x80::\n\n+::::::\nlast";
    let mut table = Table::parse(bytes);
    table.entry("n", || vec!["n".into(), "x".into()]);
    assert_eq!(
        table.to_bytes(),
        b"\xff\xfe:x:5:5:\x80::\n\n+::::::\nlast\nn:x\n"
    );
}

#[test]
fn odd_lines_are_nobody_and_keep_their_place() {
    let odd = "\n# ann:x:5:5\n+@admins\n+::::::\n:x:0:0::/:/bin/sh\nann\ncut:x\nbig:x:99999999999:0:::\n \nlast:x:1000:1000::/:";
    let mut tables = image();
    tables.passwd = Table::parse(odd.as_bytes());
    tables.group = Table::parse(b"\n-x\nann:x\nlab:x:7\n");
    let ann = User {
        groups: vec!["lab".into()],
        group: Some("lab".into()),
        ..user("ann")
    };
    let accounts = settle(&mut tables, &[ann]).unwrap();
    assert_eq!((accounts[0].uid, accounts[0].gid), (1001, 7));
    let expected = format!("{odd}\nann:x:1001:7:ann:/home/ann:/bin/bash\n");
    assert_eq!(lines(&tables.passwd), expected);
    assert_eq!(lines(&tables.group), "\n-x\nann:x\nlab:x:7:ann\n");
    // A row that is somebody's and says nothing of use is an error that names it.
    for (name, table) in [("cut", "/etc/passwd"), ("big", "/etc/passwd")] {
        let error = settle(&mut tables, &[user(name)]).unwrap_err();
        let name = name.to_owned();
        assert_eq!(error, AccountError::Damaged { name, table });
    }
    let of_ann = User {
        group: Some("ann".into()),
        ..user("bob")
    };
    let error = settle(&mut tables, &[of_ann]).unwrap_err();
    assert!(error.to_string().contains("/etc/group"), "{error}");
}

#[test]
fn a_number_in_use_by_another_name_is_refused_to_new_users_and_old_ones() {
    let wants = |name: &str, uid| User {
        uid: Some(uid),
        ..user(name)
    };
    for name in ["bob", "ann"] {
        let before = image();
        let mut tables = before.clone();
        let error = settle(&mut tables, &[wants(name, 33)]).unwrap_err();
        let expected = AccountError::UidTaken {
            user: name.into(),
            uid: 33,
            owner: "www-data".into(),
        };
        assert_eq!(error, expected);
        assert_eq!(lines(&tables.passwd), lines(&before.passwd));
    }
    // Its own number is nobody else's, and one that two names have already stays with both.
    settle(&mut image(), &[wants("ann", 1000)]).unwrap();
    let mut tables = image();
    let toor = "toor:x:0:0::/root:/bin/sh\n";
    tables.passwd = Table::parse(format!("{PASSWD}{toor}").as_bytes());
    let accounts = settle(&mut tables, &[user("toor")]).unwrap();
    assert_eq!((accounts[0].uid, accounts[0].old_uid), (0, None));
}
