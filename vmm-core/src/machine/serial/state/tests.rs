use std::sync::Arc;
use std::time::Duration;

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::super::{ConsoleInput, SerialPort};
use super::*;

const DATA: u8 = 0;
const INTERRUPT_ENABLE: u8 = 1;
const MODEM_CONTROL: u8 = 4;
const LINE_STATUS: u8 = 5;

fn line() -> Arc<EventFd> {
    Arc::new(EventFd::new(EFD_NONBLOCK).unwrap())
}

/// All that there is to read.
fn read(port: &SerialPort) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut value = [0];
        port.read(LINE_STATUS, &mut value);
        if value[0] & 1 == 0 {
            return bytes;
        }
        port.read(DATA, &mut value);
        bytes.push(value[0]);
    }
}

#[test]
fn input_that_was_on_its_way_arrives_and_interrupts() {
    let port = SerialPort::new(Box::new(io::sink()), line());
    port.write(MODEM_CONTROL, &[1 << 1]);
    port.write(INTERRUPT_ENABLE, &[1]);
    let sent: Vec<u8> = (0..200).collect();
    let input = ConsoleInput::new(Arc::clone(&port));
    assert_eq!(input.write_timeout(&sent, Duration::ZERO).unwrap(), 200);
    let state = port.save();
    assert_eq!((state.received.len(), state.input.len()), (64, 200 - 64));
    state.check().unwrap();

    let line = line();
    let again = SerialPort::restored(Box::new(io::sink()), Arc::clone(&line), &state).unwrap();
    assert!(line.read().is_ok(), "its interrupt was pending");
    assert_eq!(again.save(), state);
    assert_eq!(read(&again), sent);
}

#[test]
fn more_bytes_than_fit_are_refused() {
    let mut state = SerialPort::new(Box::new(io::sink()), line()).save();
    state.received = vec![0; 65];
    assert!(state.check().is_err());
    state.received = vec![0; 64];
    state.input = vec![0; BUFFER_BYTES + 1];
    assert!(state.check().is_err());
    state.input = vec![0; BUFFER_BYTES];
    state.check().unwrap();
}
