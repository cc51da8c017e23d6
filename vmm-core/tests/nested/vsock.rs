//! Vsock as a stock driver uses it.

use std::io::{ErrorKind, Read, Write};
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
