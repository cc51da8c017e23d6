use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use agent::protocol::{read_frame, write_frame};

use super::*;
use crate::guest::server::link::Link;

fn serve_at(address: Address) -> UnixStream {
    let (host, guest) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        let mut link = Link::new(File::from(OwnedFd::from(guest))).unwrap();
        if let Some(last) = run(&mut link, &address) {
            link.finish(&last);
        }
    });
    host
}

/// Sends `text`, ends, and reads what comes back.
fn ask(mut stream: UnixStream, text: &[u8]) -> Vec<u8> {
    assert_eq!(read_frame(&mut stream).unwrap(), Some(Frame::Connected));
    let mut to = stream.try_clone().unwrap();
    let text = text.to_vec();
    let writer = thread::spawn(move || {
        to.write_all(&text).unwrap();
        to.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    back
}

#[test]
fn streams_reach_ports_by_either_protocol_and_sockets() {
    let large: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    for ip in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            for _ in 0..2 {
                let (mut client, _) = listener.accept().unwrap();
                let mut all = Vec::new();
                client.read_to_end(&mut all).unwrap();
                client.write_all(&all).unwrap();
            }
        });
        for address in [Address::Port(address.port()), Address::Tcp(address)] {
            assert!(ask(serve_at(address), &large) == large);
        }
        server.join().unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        // It ends first, and still listens.
        client.write_all(b"hello ").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all
    });
    let address = Address::Unix(path.to_str().unwrap().to_owned());
    assert_eq!(ask(serve_at(address), b"bye"), b"hello ");
    assert_eq!(server.join().unwrap(), b"bye");
}

#[test]
fn who_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = [
        (Address::Port(free.port()), free.port().to_string()),
        (Address::Tcp(free), free.to_string()),
        (
            Address::Unix("/no/socket".to_owned()),
            "/no/socket".to_owned(),
        ),
    ];
    for (address, name) in nobody {
        let answer = read_frame(&mut serve_at(address)).unwrap();
        let Some(Frame::Failed(failure)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(failure.kind, FailureKind::Refused);
        assert!(failure.message.contains(&name), "{}", failure.message);
    }
}

#[test]
fn a_side_that_breaks_ends_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    // The host goes: the guest's program hears an end.
    let mut host = serve_at(address.clone());
    assert_eq!(read_frame(&mut host).unwrap(), Some(Frame::Connected));
    let (mut client, _) = listener.accept().unwrap();
    drop(host);
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    // The program goes: so does the host's connection, even while it is being written to.
    let mut host = serve_at(address);
    assert_eq!(read_frame(&mut host).unwrap(), Some(Frame::Connected));
    drop(listener.accept().unwrap());
    while host.write_all(&[0; 4096]).is_ok() {}
    let mut rest = Vec::new();
    drop(host.read_to_end(&mut rest));
    assert!(write_frame(&mut host, &Frame::Thaw).is_err());
}
