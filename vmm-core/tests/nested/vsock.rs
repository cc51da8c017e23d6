//! Vsock as a stock driver uses it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use vmm_core::{Exit, Vm};

use super::machine::{PATIENCE, Screen, config, end};

/// More than all buffers on the way together.
const MUCH: usize = 8 << 20;

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at * 31 % 251).unwrap())
        .collect()
}

#[test]
fn the_host_connects_and_much_data_comes_back() {
    let screen = Screen::default();
    let mut config = config("vsock-peer echo 1234\necho echoed $?\npoweroff -f", &screen);
    config.vsock_cid = Some(3);
    let vm = Vm::start(config).unwrap();
    let vsock = vm.vsock().unwrap();
    screen.wait_for("listening\n");
    let refused = vsock.connect(999, PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let mut stream = vsock.connect(1234, PATIENCE).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let begun = Instant::now();
    let sender = thread::spawn(move || {
        writer.write_all(&pattern(MUCH)).unwrap();
        writer.shutdown_write().unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    sender.join().unwrap();
    println!("{} MiB there and back in {:?}", MUCH >> 20, begun.elapsed());
    assert!(back == pattern(MUCH), "{} bytes came back", back.len());
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    assert!(screen.text().contains("echoed 0\n"), "{}", screen.text());
}

#[test]
fn the_guest_connects_and_gets_an_answer() {
    let screen = Screen::default();
    let mut config = config(
        "vsock-peer say 77 hello\necho said $?\nvsock-peer say 78 hello || echo nobody\npoweroff -f",
        &screen,
    );
    config.vsock_cid = Some(42);
    let vm = Vm::start(config).unwrap();
    let listener = vm.vsock().unwrap().listen(77).unwrap();
    let mut stream = listener.accept(Some(PATIENCE)).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello");
    stream.write_all(b"and to you\n").unwrap();
    drop(stream);
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let text = screen.text();
    for line in ["and to you\n", "said 0\n", "nobody\n"] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
}

#[test]
fn a_stopped_vm_breaks_its_streams() {
    let screen = Screen::default();
    let mut config = config("vsock-peer echo 1\n", &screen);
    config.vsock_cid = Some(3);
    let vm = Vm::start(config).unwrap();
    screen.wait_for("listening\n");
    let mut stream = vm.vsock().unwrap().connect(1, PATIENCE).unwrap();
    stream.write_all(b"x").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    assert_eq!(
        stream.read(&mut byte).unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    stream.set_read_timeout(None).unwrap();
    let reader = thread::spawn(move || stream.read(&mut [0]).unwrap_err().kind());
    vm.stop();
    assert_eq!(reader.join().unwrap(), ErrorKind::BrokenPipe);
}

#[test]
fn other_processes_reach_the_guest_by_a_socket_and_are_reached() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm.sock");
    let listener = UnixListener::bind(folder.path().join("vm.sock_77")).unwrap();
    let screen = Screen::default();
    let mut config = config(
        "vsock-peer say 77 hello\necho said $?\nvsock-peer say 78 hello || echo nobody\n\
         vsock-peer echo 1234\necho echoed $?\npoweroff -f",
        &screen,
    );
    config.vsock_cid = Some(3);
    config.vsock_socket = Some(path.clone());
    let vm = Vm::start(config).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut said = String::new();
    server.read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello");
    server.write_all(b"and to you\n").unwrap();
    drop(server);
    screen.wait_for("listening\n");

    let mut refused = UnixStream::connect(&path).unwrap();
    refused.write_all(b"CONNECT 999\n").unwrap();
    assert_eq!(refused.read(&mut [0]).unwrap(), 0);

    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"CONNECT 1234\n").unwrap();
    let mut welcome = String::new();
    let mut reader = BufReader::new(client.try_clone().unwrap());
    reader.read_line(&mut welcome).unwrap();
    assert!(welcome.starts_with("OK "), "{welcome:?}");
    let begun = Instant::now();
    let sender = thread::spawn(move || {
        client.write_all(&pattern(MUCH)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    reader.read_to_end(&mut back).unwrap();
    sender.join().unwrap();
    println!("{} MiB there and back in {:?}", MUCH >> 20, begun.elapsed());
    assert!(back == pattern(MUCH), "{} bytes came back", back.len());
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let text = screen.text();
    for line in ["and to you\n", "said 0\n", "nobody\n", "echoed 0\n"] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
    drop(vm);
    assert!(!path.exists());
}
