//! A serial port that is written to.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use vmm_core::Vm;

use super::guest::{Screen, config, elf, file, out, spin};
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
