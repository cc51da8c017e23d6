use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;

struct Bed {
    host: UnixStream,
    address: Address,
    dialled: Receiver<UnixStream>,
    ended: Receiver<()>,
}

/// Listens, and dials nobody but this test.
fn listen_at(address: &Address) -> Bed {
    let (host, guest) = UnixStream::pair().unwrap();
    let link = Link::new(File::from(OwnedFd::from(guest))).unwrap();
    let (door, address) = Door::open(address).unwrap();
    let (dial, dialled) = channel();
    let (end, ended) = channel();
    thread::spawn(move || {
        serve(&link, &door, move || {
            let (ours, theirs) = UnixStream::pair()?;
            dial.send(theirs).unwrap();
            Ok(File::from(OwnedFd::from(ours)))
        });
        drop(door);
        end.send(()).unwrap();
    });
    Bed {
        host,
        address,
        dialled,
        ended,
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

fn check(mut client: impl Read + Write, bed: &Bed) -> UnixStream {
    client.write_all(b"to host").unwrap();
    let mut host = bed.dialled.recv_timeout(PATIENCE).unwrap();
    let mut heard = [0; 7];
    host.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"to host");
    host.write_all(b"back").unwrap();
    let mut heard = [0; 4];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"back");
    host
}

#[test]
fn clients_are_passed_on_until_the_host_hangs_up() {
    let bed = listen_at(&Address::Port(0));
    let Address::Tcp(address) = bed.address.clone() else {
        panic!("{:?}", bed.address)
    };
    assert!(address.ip().is_loopback() && address.port() != 0);
    for _ in 0..3 {
        check(TcpStream::connect(address).unwrap(), &bed);
    }
    drop(bed.host);
    bed.ended.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_socket_is_for_all_replaces_a_stale_one_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    let address = Address::Unix(path.to_str().unwrap().to_owned());
    let bed = listen_at(&address);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, SOCKET_MODE);
    check(UnixStream::connect(&path).unwrap(), &bed);
    // One that is used is not taken away.
    assert!(Door::open(&address).is_err());
    drop(bed.host);
    bed.ended.recv_timeout(PATIENCE).unwrap();
    assert!(!path.exists());
}

#[test]
fn what_took_the_place_of_a_socket_is_neither_opened_up_nor_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, secret) = (folder.path().join("socket"), folder.path().join("secret"));
    fs::write(&secret, "mine").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let _listener = unix(&path).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&secret, &path).unwrap();
    assert!(SocketFile::open_up(path.clone()).is_err());
    fs::remove_file(&path).unwrap();
    fs::hard_link(&secret, &path).unwrap();
    assert!(SocketFile::open_up(path.clone()).is_err());
    let mode = fs::metadata(&secret).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::remove_file(&path).unwrap();
    let (door, _) = Door::open(&Address::Unix(path.to_str().unwrap().to_owned())).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another file").unwrap();
    drop(door);
    assert_eq!(fs::read(&path).unwrap(), b"another file");
}

#[test]
fn no_more_than_so_many_connections_are_open() {
    let bed = listen_at(&Address::Port(0));
    let Address::Tcp(address) = bed.address else {
        panic!("{:?}", bed.address)
    };
    let clients: Vec<_> = (0..MAX_FORWARDED + 5)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let mut hosts: Vec<_> = (0..MAX_FORWARDED)
        .map(|_| bed.dialled.recv_timeout(PATIENCE).unwrap())
        .collect();
    let none = bed.dialled.recv_timeout(Duration::from_millis(300));
    assert!(none.is_err());
    hosts.clear();
    for _ in 0..5 {
        bed.dialled.recv_timeout(PATIENCE).unwrap();
    }
    drop(clients);
}
