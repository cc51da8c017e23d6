//! A serial port that is written to.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vmm_core::Vm;

use super::guest::{Screen, config, elf, file, out, print, spin};
use super::lifecycle::TURN;

const SOON: Duration = Duration::from_secs(20);
const MUCH: usize = 20_000;

/// Sends back whatever comes, and asks the line status in between as a driver without interrupts does.
fn echo() -> Vec<u8> {
    vec![
        0x66, 0xba, 0xfd, 0x03, // mov dx, 0x3fd
        0xec, // in al, dx
        0xa8, 0x01, // test al, 1
        0x74, 0xf7, // jz to the mov
        0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xec, // in al, dx
        0xee, // out dx, al
        0xeb, 0xef, // jmp to the first mov
    ]
}

#[test]
fn what_is_written_arrives_whole_and_in_order_at_a_slow_guest() {
    let _turn = TURN.lock();
    let listen = [out(0x3fc, 0x0b), out(0x3f9, 1)].concat();
    let (_dir, path) = file(&elf(&[listen, echo()]));
    let screen = Screen::default();
    let vm = Vm::start(config(path, &screen)).unwrap();
    let text: String = (0..MUCH / 5).map(|i| format!("{i:04}\n")).collect();
    let mut input = vm.console_input();
    input.write_all(text.as_bytes()).unwrap();
    let begun = Instant::now();
    while screen.text().len() < MUCH {
        assert!(begun.elapsed() < SOON, "{} bytes", screen.text().len());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(screen.text() == text);
    vm.stop();
    let _stopped = vm.wait();
    let gone = input.write(b"x").unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_guest_that_does_not_listen_fills_the_buffer_and_no_more() {
    let _turn = TURN.lock();
    let (_dir, path) = file(&elf(&[spin()]));
    let vm = Vm::start(config(path, &Screen::default())).unwrap();
    let input = vm.console_input();
    let taken = input.write_timeout(&[b'x'; 5000], Duration::from_millis(20));
    assert_eq!(taken.unwrap(), 4096);
    assert_eq!(
        input.try_write(b"x").unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

/// A writer that blocks, and notes whether a signal ever cuts it off.
struct Slow {
    pipe: UnixStream,
    interrupted: Arc<AtomicBool>,
}

impl Write for Slow {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.pipe.write(buf);
        if matches!(&written, Err(error) if error.kind() == ErrorKind::Interrupted) {
            self.interrupted.store(true, Ordering::SeqCst);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_console_that_blocks_is_not_cut_off_by_the_signal_that_pauses() {
    let _turn = TURN.lock();
    let text = "0123456789".repeat(200);
    let (pipe, mut reader) = UnixStream::pair().unwrap();
    let interrupted = Arc::new(AtomicBool::new(false));
    let (_dir, path) = file(&elf(&[print(&text), spin()]));
    let mut config = config(path, &Screen::default());
    config.console = Box::new(Slow {
        pipe,
        interrupted: Arc::clone(&interrupted),
    });
    let vm = Vm::start(config).unwrap();
    let handle = vm.handle();
    // By then the pipe is full: each byte takes a buffer of its own.
    std::thread::sleep(Duration::from_millis(200));
    let pausing = std::thread::spawn(move || handle.pause());
    std::thread::sleep(Duration::from_millis(50));
    assert!(!pausing.is_finished(), "the pause waits for the console");
    // Room for what is being written is all that it waits for.
    let mut some = [0; 500];
    let count = reader.read(&mut some).unwrap();
    let mut printed = some[..count].to_vec();
    pausing.join().unwrap();
    vm.resume();
    while printed.len() < text.len() {
        let count = reader.read(&mut some).unwrap();
        printed.extend(&some[..count]);
    }
    assert!(printed == text.as_bytes());
    assert!(!interrupted.load(Ordering::SeqCst));
}
