use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use agent::protocol::{Address, Failure, FailureKind, Frame, Listen, MAX_FORWARDED, write_frame};

use super::*;
use crate::ErrorKind;
use crate::command::{Connection, Guest, Incoming};
use crate::testing::FakeGuest;

const PATIENCE: Duration = Duration::from_secs(10);

fn say(stream: &mut UnixStream, frame: Frame) {
    write_frame(stream, &frame).unwrap();
}

/// A guest in which something at `address` says what it hears, and ends when the host has.
fn echo_at(address: Address) -> Arc<FakeGuest> {
    Arc::new(FakeGuest::repeated(move |stream, first| {
        assert_eq!(first, Frame::Connect(address.clone()));
        say(stream, Frame::Connected);
        let mut stream = stream.try_clone().unwrap();
        thread::spawn(move || {
            let mut from = stream.try_clone().unwrap();
            drop(io::copy(&mut from, &mut stream));
            drop(stream.shutdown(Shutdown::Both));
        });
    }))
}

fn any_port() -> HostAddress {
    SocketAddr::from(([127, 0, 0, 1], 0)).into()
}

fn tcp_of(forward: &Forward) -> SocketAddr {
    match forward.address() {
        Some(HostAddress::Tcp(address)) => *address,
        other => panic!("{other:?}"),
    }
}

fn connect_to(forward: &Forward) -> TcpStream {
    let client = TcpStream::connect(tcp_of(forward)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Nothing more comes, which is no want of patience.
fn check_ended(stream: &mut impl Read) {
    match stream.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert!(
            !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
            "{error}"
        ),
    }
}

fn check_echo(mut client: TcpStream) {
    let bytes: Vec<u8> = (0..500_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let (mut to, sent) = (client.try_clone().unwrap(), bytes.clone());
    let writer = thread::spawn(move || {
        to.write_all(&sent).unwrap();
        to.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back == bytes);
}

#[test]
fn connections_are_passed_on_with_their_ends() {
    let guest: Arc<dyn Guest> = echo_at(Address::Port(80));
    let forward = forward(guest, &any_port(), &GuestAddress::Tcp(80)).unwrap();
    for _ in 0..3 {
        check_echo(connect_to(&forward));
    }
}

#[test]
fn a_stream_to_the_guest_can_be_half_closed() {
    let guest: Arc<dyn Guest> = echo_at(Address::Unix("/run/x".into()));
    let address = GuestAddress::Unix("/run/x".into()).to_connect().unwrap();
    let mut stream = connect(&guest, &address).unwrap();
    let mut clone = stream.try_clone().unwrap();
    clone.write_all(b"hello").unwrap();
    stream.shutdown_write().unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn a_refusal_and_an_answer_that_makes_no_sense_are_errors() {
    let answers = [
        (
            Frame::Failed(Failure {
                kind: FailureKind::Refused,
                message: "nobody is at port 80".into(),
            }),
            ErrorKind::Refused,
        ),
        (Frame::Thawed, ErrorKind::Guest),
        (Frame::Data(vec![0; 100]), ErrorKind::Guest),
    ];
    for (answer, expected) in answers {
        let (hung_up, is_hung_up) = channel();
        let guest: Arc<dyn Guest> = Arc::new(FakeGuest::new(move |stream, _| {
            say(stream, answer);
            drop(stream.read(&mut [0]));
            hung_up.send(()).unwrap();
        }));
        let error = connect(&guest, &Address::Port(80)).unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        is_hung_up.recv_timeout(PATIENCE).unwrap();
    }
    let silent: Arc<dyn Guest> = Arc::new(FakeGuest::new(|_, _| ()));
    let error = connect(&silent, &Address::Port(80)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Guest);
}

#[test]
fn an_agent_that_gives_no_answer_is_given_up() {
    let (hung_up, is_hung_up) = channel();
    let guest = FakeGuest::repeated(move |stream, _| {
        drop(stream.read(&mut [0]));
        hung_up.send(()).unwrap();
    });
    let guest = guest.patience(Duration::from_millis(100));
    let guest: Arc<dyn Guest> = Arc::new(guest.incoming(Calls::new()));
    let error = connect(&guest, &Address::Port(80)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    is_hung_up.recv_timeout(PATIENCE).unwrap();
    let error = forward_to_host(&guest, &GuestAddress::Tcp(0), any_port()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    is_hung_up.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn an_agent_listens_where_it_was_asked_to() {
    let at = |text: &str| Address::Tcp(text.parse().unwrap());
    let path = |text: &str| Address::Unix(text.to_owned());
    let (any, one) = (GuestAddress::Tcp(0), GuestAddress::Tcp(80));
    let unix = GuestAddress::Unix("/run/x".into());
    assert!(any.listening(at("127.0.0.1:99")).is_some());
    assert!(one.listening(at("127.0.0.1:80")).is_some());
    assert_eq!(unix.listening(path("/run/x")), Some(unix.clone()));
    let lies = [
        (&any, at("127.0.0.1:0")),
        (&any, at("10.0.0.1:99")),
        (&any, path("/run/x")),
        (&any, Address::Ssh),
        (&one, at("127.0.0.1:81")),
        (&one, Address::Port(80)),
        (&unix, path("/run/\x1b[2Jx")),
    ];
    for (asked, answer) in lies {
        assert_eq!(asked.listening(answer), None);
    }
}

#[test]
fn a_client_whose_guest_refuses_hears_an_end() {
    let guest: Arc<dyn Guest> = Arc::new(FakeGuest::repeated(|stream, _| {
        say(stream, Frame::Thawed);
    }));
    let forward = forward(guest, &any_port(), &GuestAddress::Tcp(1)).unwrap();
    for _ in 0..2 {
        let mut client = connect_to(&forward);
        check_ended(&mut client);
    }
}

/// A forward at a Unix socket, and a client that was served.
fn served_client(guest: Arc<dyn Guest>, path: &Path) -> (Forward, UnixStream) {
    let at = HostAddress::Unix(path.to_owned());
    let forward = forward(guest, &at, &GuestAddress::Tcp(80)).unwrap();
    let mut client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    (forward, client)
}

#[test]
fn dropping_a_forward_ends_its_connections_and_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (forward, mut client) = served_client(echo_at(Address::Port(80)), &path);
    drop(forward);
    check_ended(&mut client);
    assert!(!path.exists());
}

#[test]
fn the_end_of_a_guest_ends_its_forwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let guest = echo_at(Address::Port(80));
    let shared: Arc<dyn Guest> = Arc::clone(&guest) as Arc<dyn Guest>;
    let (forward, mut client) = served_client(shared, &path);
    for open in guest.open.lock().unwrap().drain(..) {
        open.upgrade().unwrap().close();
    }
    check_ended(&mut client);
    let thread = forward.thread.as_ref().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !thread.is_finished() {
        assert!(Instant::now() < deadline, "the forward still listens");
        thread::sleep(Duration::from_millis(5));
    }
    // The forward is held, and listens no more.
    assert!(!path.exists());
    drop(forward);
}

#[test]
fn a_unix_socket_is_private_replaces_a_stale_one_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    let at = HostAddress::Unix(path.clone());
    let guest: Arc<dyn Guest> = echo_at(Address::Port(80));
    let first = forward(Arc::clone(&guest), &at, &GuestAddress::Tcp(80)).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    // A socket that is used, and a file that is none, stay.
    let taken = forward(Arc::clone(&guest), &at, &GuestAddress::Tcp(80)).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Refused, "{taken}");
    drop(first);
    assert!(!path.exists());
    fs::write(&path, "a file").unwrap();
    let taken = forward(guest, &at, &GuestAddress::Tcp(80)).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Refused, "{taken}");
    assert_eq!(fs::read(&path).unwrap(), b"a file");
}

#[test]
fn addresses_that_can_be_none_are_refused_before_the_guest_hears_of_them() {
    let long = GuestAddress::Unix(format!("/{}", "x".repeat(107)));
    let relative = GuestAddress::Unix("x".into());
    let zero = GuestAddress::Unix("/a\0".into());
    for address in [long, relative, zero, GuestAddress::Tcp(0)] {
        let error = address.to_connect().unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
    }
    assert!(GuestAddress::Tcp(0).to_listen().is_ok());
}

/// Connections from a guest, as a test makes them.
#[derive(Debug)]
struct Calls {
    sender: Mutex<Option<Sender<UnixStream>>>,
    calls: Mutex<Receiver<UnixStream>>,
}

impl Calls {
    fn new() -> Arc<Self> {
        let (sender, calls) = channel();
        Arc::new(Self {
            sender: Mutex::new(Some(sender)),
            calls: Mutex::new(calls),
        })
    }

    fn call(&self) -> UnixStream {
        let (host, guest) = UnixStream::pair().unwrap();
        guest.set_read_timeout(Some(PATIENCE)).unwrap();
        if let Some(sender) = &*self.sender.lock().unwrap() {
            sender.send(host).unwrap();
        }
        guest
    }
}

impl Incoming for Calls {
    fn port(&self) -> u32 {
        4321
    }

    fn accept(&self) -> io::Result<Box<dyn Connection>> {
        match self.calls.lock().unwrap().recv() {
            Ok(call) => Ok(Box::new(call)),
            Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    fn close(&self) {
        *self.sender.lock().unwrap() = None;
    }
}

fn listening_guest(calls: &Arc<Calls>, hung_up: Sender<()>) -> Arc<dyn Guest> {
    let guest = FakeGuest::new(move |stream, first| {
        let expected = Listen {
            address: Address::Port(0),
            port: 4321,
        };
        assert_eq!(first, Frame::Listen(expected));
        let address = SocketAddr::from(([127, 0, 0, 1], 99));
        say(stream, Frame::Listening(Address::Tcp(address)));
        drop(stream.read(&mut [0]));
        hung_up.send(()).unwrap();
    });
    Arc::new(guest.incoming(Arc::clone(calls) as Arc<dyn Incoming>))
}

#[test]
fn a_guest_reaches_the_one_address_of_a_forward() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || {
        for client in server.incoming().flatten() {
            let mut from = client.try_clone().unwrap();
            thread::spawn(move || drop(io::copy(&mut from, &mut &client)));
        }
    });
    let calls = Calls::new();
    let (hung_up, is_hung_up) = channel();
    let guest = listening_guest(&calls, hung_up);
    let forward = forward_to_host(&guest, &GuestAddress::Tcp(0), address.into()).unwrap();
    let expected = SocketAddr::from(([127, 0, 0, 1], 99));
    assert_eq!(
        forward.guest_address(),
        Some(&GuestAddress::TcpAt(expected))
    );
    let mut call = calls.call();
    // Whatever a guest says is for the program at that address.
    call.write_all(b"CONNECT 10.0.0.1:22\n").unwrap();
    call.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    call.read_to_string(&mut back).unwrap();
    assert_eq!(back, "CONNECT 10.0.0.1:22\n");
    let mut idle = calls.call();
    idle.write_all(b"x").unwrap();
    idle.read_exact(&mut [0]).unwrap();
    drop(forward);
    check_ended(&mut idle);
    is_hung_up.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_guest_that_floods_a_forward_has_a_bounded_number_of_connections() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let server = UnixListener::bind(&path).unwrap();
    let (accepted, count) = channel();
    thread::spawn(move || {
        for mut client in server.incoming().flatten() {
            accepted.send(()).unwrap();
            thread::spawn(move || drop(io::copy(&mut client, &mut io::sink())));
        }
    });
    let calls = Calls::new();
    let (hung_up, _is_hung_up) = channel();
    let guest = listening_guest(&calls, hung_up);
    let forward = forward_to_host(&guest, &GuestAddress::Tcp(0), path.into()).unwrap();
    let mut flood: Vec<_> = (0..MAX_FORWARDED + 20).map(|_| calls.call()).collect();
    for _ in 0..MAX_FORWARDED {
        count.recv_timeout(PATIENCE).unwrap();
    }
    assert!(count.recv_timeout(Duration::from_millis(100)).is_err());
    // Each that ends makes room for another one.
    flood.drain(..5);
    for _ in 0..5 {
        count.recv_timeout(PATIENCE).unwrap();
    }
    drop(forward);
}

#[test]
fn a_forward_whose_host_address_nobody_takes_breaks_connections_off() {
    let calls = Calls::new();
    let (hung_up, _is_hung_up) = channel();
    let guest = listening_guest(&calls, hung_up);
    let nobody = HostAddress::Unix("/no/such/socket".into());
    let _forward = forward_to_host(&guest, &GuestAddress::Tcp(0), nobody).unwrap();
    check_ended(&mut calls.call());
}
