use super::*;
use crate::ErrorKind;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

/// A key of each type that sshd takes; the private halves are lost, and those of security keys never were.
const KEYS: [&str; 7] = [
    KEY,
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBO5Y8SzVM8y5R8+/mUEfeRYJ55Kf\
     So/d5tBuLh6OmaOiIZw5t4LiHOE0xGT4X95betlWNZhf0kgFpJ5Dwsir/vE=",
    "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBHs83nQ/a5mhEg3McGmKOzeMCXgM\
     cNNhI8V4Gi7cFJxs8+ApKatFKlQ+b2MMh/8s7QnhEilUCGqyJBqLiuzja/Wpdbs5M7WijlStYEj3E8Ri1TwTQsuOTjG1aCnziUar\
     ww==",
    "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBABNl5tU7P1qaj97pd20I9YGfBMU\
     YF0wy85QVp4056x2n10XgilI2hu+G1F6VnWS57OWf0cAxvpVkGJXz8ZoYVFH6gCixbDeKzR3sZZvv95/tZnmJuYo+kBeUqqaaCc2\
     Mo2n8L607J2j2GQz0LhAAaQJyKQ+xwO8gO5li0euW40GmGPLfQ==",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCxCozwiso8GZkhl+zlYu1fltDig3xpIXegFwWVa15kv5OMfYnYdMU3yLLQd1hl\
     zgQPtOgBl99kZby0n/X4T4SblbPwBTUfmODZzzJFmZC7Xr4wT9KeCkC9QTZfGxsXpTi9Mx+cKmmhuQVwiB7F/TT6ZM58jCol+FzU\
     uy/kMzziueVlZqr+fwSJmf27b7x6Cl7KnOTubRCXNFghJeIvDetH8ZZuvpQfM0IZs5TVpZJ8BlcGMpoVxm4Y78P+6VjHrSwrdpQh\
     V4DllvMVrb2ml0cO7Jw/qSZj2Ldi2de3otXxvHcCDFcs1e3fhU+j58H6fZs9xqnYgYqCZ7FNHmCApLKR",
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIMit3bKVN2bmu38UPhYE9Dcwi9FLu\
     NsfDKyQZbh00yRKAAAABHNzaDo=",
    "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyN\
     TYAAABBBO5Y8SzVM8y5R8+/mUEfeRYJ55KfSo/d5tBuLh6OmaOiIZw5t4LiHOE0xGT4X95betlWNZhf0kgFpJ5Dwsir/vEAAAAEc\
     3NoOg==",
];

fn with_user(user: User) -> Description {
    Description {
        users: vec![user],
        ..Description::default()
    }
}

fn with_file(file: GuestFile) -> Description {
    Description {
        files: vec![file],
        ..Description::default()
    }
}

fn refusal(description: &Description) -> String {
    let error = description.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    error.to_string()
}

#[test]
fn names_that_are_none_are_refused() {
    for name in [
        "",
        "Ann",
        "ALL",
        "1ann",
        "-x",
        "a:b",
        "a b",
        "a.b",
        "a/b",
        "a\n",
        "\u{e4}",
        "a,b",
        "%a",
        &"a".repeat(33),
    ] {
        let text = refusal(&with_user(User::new(name)));
        assert!(text.contains("user"), "{text}");
        refusal(&with_user(User::new("ann").groups([name])));
        refusal(&with_user(User::new("ann").primary_group(name)));
        refusal(&Description {
            groups: vec![Group::new(name)],
            ..Description::default()
        });
    }
    for name in ["ann", "_apt", "a-b_c1", "root"] {
        with_user(User::new(name)).check().unwrap();
    }
}

#[test]
fn numbers_are_given_once_and_roots_is_roots() {
    let two = |a: User, b: User| Description {
        users: vec![a, b],
        ..Description::default()
    };
    let text = refusal(&two(User::new("a").uid(5), User::new("b").uid(5)));
    assert!(
        text.contains("number of a user") && text.contains('5'),
        "{text}"
    );
    assert!(refusal(&two(User::new("a"), User::new("a"))).contains("twice"));
    refusal(&with_user(User::new("ann").uid(0)));
    refusal(&with_user(User::new("root").uid(1)));
    refusal(&with_user(User::new("ann").uid(u32::MAX)));
    with_user(User::new("root").uid(0)).check().unwrap();
}

#[test]
fn fields_of_tables_hold_no_separators() {
    for shell in [
        "bash",
        "",
        "/bin/a:b",
        "/bin/a\nroot::0:0::/:/bin/sh",
        "/bin/../x",
        "/a\0",
    ] {
        assert!(refusal(&with_user(User::new("ann").shell(shell))).contains("shell"));
        assert!(refusal(&with_user(User::new("ann").home(shell))).contains("home"));
    }
    for hash in [
        "",
        "x",
        "$6$a:b",
        "$6$a\nb",
        "$6$ a",
        "*",
        &format!("${}", "x".repeat(500)),
    ] {
        let text = refusal(&with_user(User::new("ann").password_hash(hash)));
        assert!(text.contains("ann") && !text.contains("$6"), "{text}");
    }
    let yescrypt = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7";
    with_user(User::new("ann").password_hash(yescrypt))
        .check()
        .unwrap();
}

#[test]
fn keys_are_parsed_with_their_options() {
    for line in [
        KEY.to_owned(),
        format!("{KEY} ann@desk of mine"),
        format!("no-pty,command=\"echo \\\"a b\\\" # x\" {KEY} ann"),
        format!("restrict {KEY}"),
    ] {
        let checked = with_user(User::new("ann").authorized_key(&line)).check();
        checked.unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    for line in [
        String::new(),
        "ssh-ed25519".to_owned(),
        "ssh-ed25519 AAAA".to_owned(),
        KEY.replace("ed25519", "rsa"),
        format!("# {KEY}"),
        format!("{KEY}\n{KEY}"),
        format!("command=\"open {KEY}"),
        format!("{KEY} {}", "x".repeat(20_000)),
    ] {
        let text = refusal(&with_user(User::new("ann").authorized_key(&line)));
        assert!(text.contains("ann"), "{text}");
    }
}

#[test]
fn every_type_of_key_that_sshd_takes_is_taken_behind_options_too() {
    let check = |line: String| {
        let checked = with_user(User::new("ann").authorized_key(&line)).check();
        checked.unwrap_or_else(|error| panic!("{line}: {error}"));
    };
    for key in KEYS {
        check(key.to_owned());
        check(format!("{key} ann@desk"));
        check(format!("cert-authority,principals=\"ann,bob\" {key}"));
        check(format!(
            "restrict,pty,command=\"ssh-rsa \\\"x y\\\"\" {key} ann@desk"
        ));
        check(format!("from=\"10.0.0.0/8,*.lab\",no-touch-required {key}"));
        // The type is that of the blob, and the blob is whole.
        let (kind, blob) = key.split_once(' ').unwrap();
        for line in [
            format!("ssh-dss {blob}"),
            format!("{kind} {}", &blob[..blob.len() - 8]),
            format!("{kind} AAAA{blob}"),
            kind.to_owned(),
        ] {
            let text = refusal(&with_user(User::new("ann").authorized_key(&line)));
            assert!(text.contains("ann"), "{text}");
        }
    }
}

#[test]
fn files_have_absolute_paths_and_bounds() {
    for path in ["/run/x", "//./dev/x", "/proc/x", "/sys/x"] {
        assert!(refusal(&with_file(GuestFile::new(path, ""))).contains("next start"));
    }
    for path in [
        "x",
        "",
        "/",
        "/a/",
        "/a/../b",
        "/a/.",
        "/a\0b",
        &format!("/{}", "x".repeat(256)),
    ] {
        assert!(
            refusal(&with_file(GuestFile::new(path, ""))).contains("file"),
            "{path}"
        );
    }
    assert!(refusal(&with_file(GuestFile::new("/f", "").mode(0o10000))).contains("10000"));
    for owner in ["", "a:b:c", "a b", "/x", "a\n"] {
        refusal(&with_file(GuestFile::new("/f", "").owner(owner)));
    }
    let large = GuestFile::new("/f", vec![0; 512 << 10]);
    with_file(large.clone().owner("www-data:33"))
        .check()
        .unwrap();
    let two = Description {
        files: vec![large, GuestFile::new("/g", "x")],
        ..Description::default()
    };
    assert!(refusal(&two).contains("512 KiB"));
    let twice = vec![GuestFile::new("/f", ""), GuestFile::new("/f", "")];
    refusal(&Description {
        files: twice,
        ..Description::default()
    });
}

#[test]
fn variables_directories_and_users_of_commands_are_checked() {
    for (name, value) in [("", "x"), ("A=B", "x"), ("A", "\0"), ("A\0", "x")] {
        refusal(&Description {
            env: vec![(name.into(), value.into())],
            ..Description::default()
        });
    }
    let many = (0..20_000).map(|number| (format!("VARIABLE_{number}"), "x".repeat(40)));
    assert!(
        refusal(&Description {
            env: many.collect(),
            ..Description::default()
        })
        .contains("900 KiB")
    );
    refusal(&Description {
        working_dir: Some("relative".into()),
        ..Description::default()
    });
    refusal(&Description {
        run_as: Some("a b".into()),
        ..Description::default()
    });
}

#[test]
fn every_session_is_a_machine_of_its_own_and_stays_it() {
    let a = Identity::create(Description::default()).unwrap();
    let b = Identity::create(Description::default()).unwrap();
    assert_ne!(a.machine_id(), b.machine_id());
    assert_ne!(a.ssh_host_key(), b.ssh_host_key());
    assert_eq!(a.machine_id().unwrap().len(), 32);
    let wire = a.to_wire().machine.unwrap();
    let private = ssh_key::PrivateKey::from_openssh(&wire.host_key.0).unwrap();
    let public = private.public_key().to_openssh().unwrap();
    assert_eq!(Some(public.as_str()), a.ssh_host_key());
    let mut resumed: Identity = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
    assert_eq!(resumed, a);
    resumed.describe(Description::default()).unwrap();
    assert_eq!(resumed, a);
    resumed.describe(with_user(User::new("ann"))).unwrap();
    assert_eq!(resumed.machine_id(), a.machine_id());
    assert_eq!(resumed.ssh_host_key(), a.ssh_host_key());
    assert_ne!(resumed.to_wire().machine.unwrap().revision, wire.revision);
    // A fork is another machine, which goes on with what the first was described as.
    let fork = resumed.of_another(Description::default()).unwrap();
    assert_ne!(fork.machine_id(), resumed.machine_id());
    assert_eq!(fork.description(), resumed.description());
    assert!(fork.to_wire().machine.unwrap().continues && !wire.continues);
}

#[test]
fn what_is_described_later_is_added_or_replaces_its_like() {
    let mut identity = Identity::create(Description {
        users: vec![User::new("ann"), User::new("bob")],
        env: vec![("A".into(), "1".into())],
        working_dir: Some("/srv".into()),
        ..Description::default()
    })
    .unwrap();
    let more = Description {
        users: vec![User::new("bob").sudo(), User::new("cid")],
        env: vec![("A".into(), "2".into())],
        run_as: Some("ann".into()),
        ..Description::default()
    };
    identity.describe(more).unwrap();
    let expected = Description {
        users: vec![User::new("ann"), User::new("bob").sudo(), User::new("cid")],
        env: vec![("A".into(), "2".into())],
        working_dir: Some("/srv".into()),
        run_as: Some("ann".into()),
        ..Description::default()
    };
    assert_eq!(identity.description(), &expected);
    // Together they break a rule that each of them keeps.
    identity
        .describe(with_user(User::new("dan").uid(7)))
        .unwrap();
    let before = identity.clone();
    identity
        .describe(with_user(User::new("eve").uid(7)))
        .unwrap_err();
    assert_eq!(identity, before);
}

#[test]
fn a_session_from_before_becomes_a_machine_when_it_is_resumed() {
    let mut identity = Identity::default();
    assert!(identity.is_empty());
    identity.describe(Description::default()).unwrap();
    assert!(identity.machine_id().is_some());
    assert!(!identity.is_empty());
}

/// Records of this form are on users' disks.
#[test]
fn the_form_in_records_stays() {
    let text = format!(
        r#"{{"machine":{{"id":"0","revision":"1","host_key":"P","host_key_public":"p"}},"description":{{"groups":[{{"name":"lab","gid":5}}],"users":[{{"name":"ann","uid":7,"group":"g","groups":["lab"],"shell":"/s","home":"/h","sudo":true,"password":{{"hash":"$6$x"}},"authorized_keys":["{KEY}"]}},{{"name":"bob","sudo":false,"password":"locked"}}],"files":[{{"path":"/f","bytes":"AP8=","mode":420,"owner":"ann"}}],"env":[["A","b"]],"working_dir":"/w","run_as":"ann"}}}}"#
    );
    let identity: Identity = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&identity).unwrap(), text);
    assert_eq!(
        identity.description().files,
        [GuestFile::new("/f", [0, 255]).owner("ann")]
    );
    let debug = format!("{identity:?}");
    assert!(
        !debug.contains("\"P\"") && !debug.contains("$6$x"),
        "{debug}"
    );
}

#[test]
fn tasks_are_kept_and_checked_together() {
    let mut identity = Identity::create(Description {
        tasks: vec![Task::script("a", "true")],
        ..Description::default()
    })
    .unwrap();
    let with = |task: Task| Description {
        tasks: vec![task],
        ..Description::default()
    };
    identity
        .describe(with(Task::command("b", ["x"]).needs(["a"]).user("ann")))
        .unwrap();
    let text = serde_json::to_string(&identity).unwrap();
    assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity);
    let task = r#"{"name":"b","run":{"command":["x"]},"needs":["a"],"user":"ann","timeout":{"secs":600,"nanos":0},"every_start":false}"#;
    assert!(text.contains(task), "{text}");
    let circle = identity
        .describe(with(Task::script("a", "true").needs(["b"])))
        .unwrap_err();
    assert_eq!(circle.kind(), ErrorKind::InvalidInput);
}
