use rustix::net::{bind, listen};

use super::*;

/// A socket at which somebody listens, and takes nobody.
fn full(path: &Path) -> (rustix::fd::OwnedFd, Vec<UnixStream>) {
    let flags = SocketFlags::CLOEXEC;
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    while let Ok(client) = connect_unix_now(path) {
        waiting.push(client);
    }
    (listener, waiting)
}

#[test]
fn a_program_that_accepts_nobody_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (_listener, _waiting) = full(&path);
    let error = connect_unix_now(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let error = connect_unix(&path, Duration::from_millis(60)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn room_that_is_made_in_time_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (listener, _waiting) = full(&path);
    let accepting = thread::spawn(move || {
        thread::sleep(RETRY);
        let client = rustix::net::accept(&listener);
        (listener, client)
    });
    connect_unix(&path, PATIENCE).unwrap();
    accepting.join().unwrap().1.unwrap();
}
