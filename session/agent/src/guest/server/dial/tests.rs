use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;

use nix::sys::socket::{Backlog, bind, listen};

use super::*;

fn link() -> (UnixStream, Link) {
    let (host, guest) = UnixStream::pair().unwrap();
    (host, Link::new(File::from(OwnedFd::from(guest))).unwrap())
}

/// A socket at which somebody listens, and takes nobody.
fn full(path: &Path) -> (OwnedFd, Vec<File>) {
    let listener = open(AddressFamily::Unix).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let mut waiting = Vec::new();
    while let Ok(client) = unix_now(path) {
        waiting.push(client);
    }
    (listener, waiting)
}

#[test]
fn a_program_that_accepts_nobody_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (_listener, _waiting) = full(&path);
    let (_host, link) = link();
    let soon = Instant::now() + Duration::from_millis(120);
    let error = Dial::until(&link, soon).unix(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(Instant::now() >= soon);
}

#[test]
fn a_host_that_hangs_up_ends_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (_listener, _waiting) = full(&path);
    let (host, link) = link();
    let (ended, has_ended) = channel();
    let late = Instant::now() + Duration::from_secs(3600);
    thread::spawn(move || ended.send(Dial::until(&link, late).unix(&path).map(drop)));
    thread::sleep(Duration::from_millis(100));
    drop(host);
    let result = has_ended.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn room_that_is_made_in_time_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (listener, _waiting) = full(&path);
    let (_host, link) = link();
    let accepting = thread::spawn(move || {
        thread::sleep(RETRY);
        let client = nix::sys::socket::accept(listener.as_raw_fd());
        (listener, client)
    });
    Dial::new(&link).unix(&path).unwrap();
    accepting.join().unwrap().1.unwrap();
}
