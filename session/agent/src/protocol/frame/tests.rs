use proptest::prelude::*;

use super::super::identity::{Identity, Machine, PlacedFile, Secret, User};
use super::super::{Decoder, DriveMount, FailureKind, MAX_TEXT, Once, Owner, Root, VERSION};
use super::*;

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,20}"
}

fn mounts() -> impl Strategy<Value = Vec<DriveMount>> {
    let options = prop::collection::vec(text(), 0..3);
    let mount = (text(), text(), text(), any::<bool>(), options).prop_map(
        |(serial, path, fstype, read_only, options)| DriveMount {
            serial,
            path,
            fstype,
            read_only,
            options,
        },
    );
    prop::collection::vec(mount, 0..3)
}

fn config() -> impl Strategy<Value = Config> {
    let root = (text(), text(), any::<bool>()).prop_map(|(serial, fstype, read_only)| Root {
        serial,
        fstype,
        read_only,
    });
    let defaults = (
        prop::collection::vec(text(), 0..4),
        prop::option::of(text()),
        prop::option::of(text()),
    );
    (prop::option::of(text()), root, defaults, mounts()).prop_map(
        |(hostname, root, (env, working_dir, user), mounts)| Config {
            hostname,
            root,
            env,
            working_dir,
            user,
            identity: Box::default(),
            mounts,
        },
    )
}

fn exec() -> impl Strategy<Value = Exec> {
    let lists = (
        prop::collection::vec(text(), 0..5),
        prop::collection::vec(text(), 0..5),
    );
    (
        text(),
        lists,
        prop::option::of(text()),
        prop::option::of(text()),
        any::<bool>(),
        prop::option::of(size()),
    )
        .prop_map(|(program, (args, env), cwd, user, stdin, terminal)| Exec {
            program,
            args,
            env,
            cwd,
            user,
            stdin,
            once: stdin.then(|| Once {
                task: "t".to_owned(),
                machine: "m".to_owned(),
            }),
            terminal,
        })
}

fn size() -> impl Strategy<Value = TerminalSize> {
    (1..=u16::MAX, 1..=u16::MAX).prop_map(|(rows, columns)| TerminalSize { rows, columns })
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<u16>().prop_map(Address::Port),
        any::<std::net::SocketAddrV4>().prop_map(|address| Address::Tcp(address.into())),
        any::<(std::net::Ipv6Addr, u16)>().prop_map(|address| Address::Tcp(address.into())),
        "/[a-z/]{0,100}".prop_map(Address::Unix),
        Just(Address::Ssh),
    ]
}

fn reaching_in() -> impl Strategy<Value = Frame> {
    let owner = prop_oneof![Just(Owner::Stream), text().prop_map(Owner::User)];
    prop_oneof![
        (text(), prop::option::of(text()))
            .prop_map(|(path, name)| Frame::Pack(Pack { path, name })),
        (text(), owner).prop_map(|(directory, owner)| Frame::Unpack(Unpack { directory, owner })),
        data().prop_map(Frame::Data),
        prop::sample::select(vec![Frame::DataEnd, Frame::Connected]),
        any::<[u64; 5]>().prop_map(|[files, directories, symlinks, skipped, bytes]| {
            Frame::Copied(Copied {
                files,
                directories,
                symlinks,
                skipped,
                bytes,
            })
        }),
        address().prop_map(Frame::Connect),
        size().prop_map(Frame::Resize),
        (address(), any::<u32>())
            .prop_map(|(address, port)| Frame::Listen(Listen { address, port })),
        address().prop_map(Frame::Listening),
    ]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (any::<u32>(), text()).prop_map(|(version, agent)| Frame::Hello(Hello { version, agent })),
        config().prop_map(Frame::Configure),
        prop::option::of(text()).prop_map(|init| Frame::Ready(Ready {
            init,
            complaints: vec!["a line".to_owned()]
        })),
        text().prop_map(|message| Frame::Fatal(Fatal { message })),
        any::<u32>().prop_map(|grace_ms| Frame::PowerOff(PowerOff { grace_ms })),
        prop::sample::select(vec![
            Frame::PoweringOff,
            Frame::StdinEnd,
            Frame::Thaw,
            Frame::Thawed,
            Frame::Noticed
        ]),
        any::<u32>().prop_map(|limit_ms| Frame::Freeze(Freeze { limit_ms })),
        any::<u64>().prop_map(|took_us| Frame::Frozen(Frozen { took_us })),
        text().prop_map(|text| Frame::Notice(Notice { text })),
        exec().prop_map(Frame::Exec),
        data().prop_map(Frame::Stdin),
        any::<i32>().prop_map(Frame::Signal),
        data().prop_map(Frame::Stdout),
        data().prop_map(Frame::Stderr),
        (0..=255).prop_map(|code| Frame::Exit(ExitStatus::Code(code))),
        (1..=64).prop_map(|signal| Frame::Exit(ExitStatus::Signal(signal))),
        text().prop_map(|message| Frame::Failed(Failure {
            kind: FailureKind::NotFound,
            message
        })),
        reaching_in(),
    ]
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut wire = Vec::new();
    for frame in frames {
        write_frame(&mut wire, frame).unwrap();
    }
    wire
}

proptest! {
    #[test]
    fn frames_round_trip_through_a_reader(frames in prop::collection::vec(frame(), 0..6)) {
        let wire = encoded(&frames);
        let mut input = wire.as_slice();
        for frame in frames {
            prop_assert_eq!(read_frame(&mut input).unwrap(), Some(frame));
        }
        prop_assert_eq!(read_frame(&mut input).unwrap(), None);
    }

    #[test]
    fn frames_round_trip_through_a_decoder_in_pieces(
        frames in prop::collection::vec(frame(), 0..6),
        piece in 1_usize..40,
    ) {
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        for bytes in encoded(&frames).chunks(piece) {
            decoder.push(bytes);
            while let Some(frame) = decoder.next_frame().unwrap() {
                got.push(frame);
            }
        }
        prop_assert!(!decoder.is_mid_frame());
        prop_assert_eq!(got, frames);
    }

    #[test]
    fn a_frame_cut_anywhere_is_truncated(frame in frame(), at in any::<prop::sample::Index>()) {
        let wire = encoded(&[frame]);
        let cut = 1 + at.index(wire.len() - 1);
        prop_assume!(cut < wire.len());
        prop_assert!(matches!(read_frame(&mut &wire[..cut]), Err(ProtocolError::Truncated)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut input = bytes.as_slice();
        while let Ok(Some(_)) = read_frame(&mut input) {}
    }
}

/// Pins the encoding of version 2: a change here is a new protocol version.
#[test]
fn version_2_keeps_its_bytes() {
    assert_eq!(VERSION, 2);
    let hello = Frame::Hello(Hello {
        version: 2,
        agent: "a".to_owned(),
    });
    assert_eq!(
        encoded(&[hello]),
        b"\x01\x19\x00\x00\x00{\"version\":2,\"agent\":\"a\"}"
    );
    assert_eq!(
        encoded(&[Frame::Stdout(b"hi".to_vec())]),
        b"\x14\x02\x00\x00\x00hi"
    );
    assert_eq!(encoded(&[Frame::StdinEnd]), b"\x12\x00\x00\x00\x00");
    assert_eq!(encoded(&[Frame::Signal(15)]), b"\x13\x02\x00\x00\x0015");
    assert_eq!(
        encoded(&[Frame::Exit(ExitStatus::Code(3))]),
        b"\x16\x0a\x00\x00\x00{\"code\":3}"
    );
    let power_off = Frame::PowerOff(PowerOff { grace_ms: 9 });
    assert_eq!(
        encoded(&[power_off]),
        b"\x07\x0e\x00\x00\x00{\"grace_ms\":9}"
    );
    assert_eq!(
        encoded(&[Frame::Freeze(Freeze { limit_ms: 9 })]),
        b"\x20\x0e\x00\x00\x00{\"limit_ms\":9}"
    );
    assert_eq!(encoded(&[Frame::Thaw]), b"\x22\x00\x00\x00\x00");
}

#[test]
fn a_length_beyond_the_limit_is_an_error_before_its_bytes_arrive() {
    let wire = [20, 0xff, 0xff, 0xff, 0xff];
    assert!(matches!(
        read_frame(&mut wire.as_slice()),
        Err(ProtocolError::TooLong {
            kind: 20,
            len: u32::MAX
        })
    ));
    let mut decoder = Decoder::default();
    decoder.push(&wire);
    assert!(matches!(
        decoder.next_frame(),
        Err(ProtocolError::TooLong { .. })
    ));
}

#[test]
fn unknown_types_stray_payloads_and_bad_json_are_errors() {
    let cases: [&[u8]; 3] = [
        &[99, 0, 0, 0, 0],
        &[8, 1, 0, 0, 0, 7],
        &[22, 2, 0, 0, 0, b'{', b'}'],
    ];
    let errors = cases.map(|mut wire| read_frame(&mut wire).unwrap_err());
    assert!(matches!(errors[0], ProtocolError::UnknownType { kind: 99 }));
    assert!(matches!(
        errors[1],
        ProtocolError::UnexpectedPayload { kind: 8, len: 1 }
    ));
    assert!(matches!(errors[2], ProtocolError::Payload { kind: 22, .. }));
}

#[test]
fn a_payload_beyond_the_limit_is_not_written() {
    let mut wire = Vec::new();
    let error = write_frame(&mut wire, &Frame::Stdin(vec![0; MAX_FRAME + 1])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(wire.is_empty());
    write_frame(&mut wire, &Frame::Stdin(vec![0; MAX_FRAME])).unwrap();
}

#[test]
fn versions_that_differ_are_both_named() {
    let theirs = Hello {
        version: 7,
        agent: "agent 9".to_owned(),
    };
    let text = theirs.check().unwrap_err().to_string();
    assert!(
        text.contains('7') && text.contains(&VERSION.to_string()) && text.contains("agent 9"),
        "{text}"
    );
    Hello::ours().check().unwrap();
}

#[test]
fn an_exit_that_no_command_has_is_an_error() {
    for status in [
        ExitStatus::Code(-1),
        ExitStatus::Code(256),
        ExitStatus::Signal(0),
        ExitStatus::Signal(65),
    ] {
        let wire = encoded(&[Frame::Exit(status)]);
        let error = read_frame(&mut wire.as_slice()).unwrap_err();
        assert!(
            matches!(error, ProtocolError::Payload { kind: 22, .. }),
            "{error}"
        );
    }
}

#[test]
fn a_terminal_without_room_and_a_socket_without_a_path_are_errors() {
    for (rows, columns) in [(0, 80), (24, 0)] {
        let size = TerminalSize { rows, columns };
        let exec = Exec {
            terminal: Some(size),
            ..Exec::default()
        };
        for frame in [Frame::Resize(size), Frame::Exec(exec)] {
            let error = read_frame(&mut encoded(&[frame]).as_slice()).unwrap_err();
            assert!(matches!(error, ProtocolError::Payload { .. }), "{error}");
        }
    }
    for path in ["", "relative", "/a\0b", &format!("/{}", "x".repeat(107))] {
        let address = Address::Unix(path.to_owned());
        assert!(!address.is_possible());
        let listen = Listen {
            address: address.clone(),
            port: 1,
        };
        for frame in [Frame::Connect(address), Frame::Listen(listen)] {
            let error = read_frame(&mut encoded(&[frame]).as_slice()).unwrap_err();
            assert!(matches!(error, ProtocolError::Payload { .. }), "{error}");
        }
    }
}

#[test]
fn texts_for_people_are_one_short_line() {
    let message = format!("a\n\x1b[2Jb\u{9b}c{}", "\u{e9}".repeat(MAX_TEXT));
    let kind = FailureKind::System;
    let frames = [
        Frame::Failed(Failure {
            kind,
            message: message.clone(),
        }),
        Frame::Fatal(Fatal {
            message: message.clone(),
        }),
        Frame::Hello(Hello {
            version: 1,
            agent: message,
        }),
    ];
    let wire = encoded(&frames);
    let mut input = wire.as_slice();
    for _ in 0..3 {
        let text = match read_frame(&mut input).unwrap().unwrap() {
            Frame::Failed(Failure { message, .. }) | Frame::Fatal(Fatal { message }) => message,
            Frame::Hello(hello) => hello.agent,
            other => panic!("{other:?}"),
        };
        assert!(text.starts_with("a  [2Jb c\u{e9}"), "{text}");
        assert!(text.len() <= MAX_TEXT && text.len() > MAX_TEXT - 4);
    }
}

#[test]
fn an_error_does_not_pass_on_what_it_quotes() {
    let kind = format!("\\u001b[2J{}", "x".repeat(2 * MAX_TEXT));
    let payload = format!(r#"{{"kind":"{kind}","message":""}}"#);
    let mut wire = Vec::new();
    put(&mut wire, 23, payload.as_bytes()).unwrap();
    let Err(ProtocolError::Payload { source, .. }) = read_frame(&mut wire.as_slice()) else {
        panic!("such a kind is no kind");
    };
    let text = source.to_string();
    assert!(text.contains("` [2Jxxx"), "{text}");
    assert!(text.len() <= MAX_TEXT);
}

#[test]
fn an_identity_round_trips_and_hides_its_secrets() {
    let identity = Identity {
        machine: Some(Machine {
            id: "0".repeat(32),
            revision: "r".to_owned(),
            continues: true,
            host_key: Secret("PRIVATE".to_owned()),
            host_key_public: "ssh-ed25519 A".to_owned(),
        }),
        users: vec![User {
            name: "ann".to_owned(),
            ..User::default()
        }],
        files: vec![PlacedFile {
            path: "/f".to_owned(),
            bytes: (0..=255).collect(),
            mode: 0o600,
            owner: None,
        }],
        ..Identity::default()
    };
    let text = serde_json::to_string(&identity).unwrap();
    assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity);
    assert!(!format!("{identity:?}").contains("PRIVATE"));
}

#[test]
fn complaints_are_few_and_tame() {
    let complaints = vec!["a\nb".to_owned(); 1000];
    let wire = encoded(&[Frame::Ready(Ready {
        init: None,
        complaints,
    })]);
    let Some(Frame::Ready(ready)) = read_frame(&mut wire.as_slice()).unwrap() else {
        panic!("it is a Ready");
    };
    assert_eq!(ready.complaints, vec!["a b"; 16]);
}
