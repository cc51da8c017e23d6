mod addresses;

use std::io::{self, Write};
use std::sync::Mutex;

use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::event::Event;

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn machine() -> (Machine, Screen) {
    machine_for(Events::default(), BootTime::default())
}

fn machine_for(events: Events, boot_time: BootTime) -> (Machine, Screen) {
    let screen = Screen::default();
    let line = Arc::new(EventFd::new(0).unwrap());
    let serial = SerialPort::new(Box::new(screen.clone()), line);
    let machine = Machine::new(serial, vec![], None, Instant::now(), boot_time, events);
    (machine, screen)
}

/// Events that are written down.
fn recorded() -> (Events, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let events = Events::new(Some(Box::new(move |event: Event| {
        let text = format!("{event:?}");
        let name = text.split(" { after").next().unwrap().to_owned();
        listener.lock().unwrap().push(name);
    })));
    (events, told)
}

#[test]
fn the_serial_port_prints_single_bytes_and_strings() {
    let (machine, screen) = machine();
    assert_eq!(machine.port_out(0x3f8, b"a"), None);
    assert_eq!(machine.port_out(0x3f8, b"bcd"), None);
    assert_eq!(*screen.0.lock().unwrap(), b"abcd");
    let mut line_status = [0];
    machine.port_in(0x3fd, &mut line_status);
    assert_eq!(line_status[0] & 0x60, 0x60, "the transmitter is empty");
}

#[test]
fn only_the_right_values_end_the_run() {
    let (machine, _) = machine();
    let s5 = 5 << 2 | 1 << 5;
    assert_eq!(machine.port_out(0x600, &[s5]), Some(PowerEvent::Off));
    assert_eq!(machine.port_out(0x600, &[5 << 2]), None);
    assert_eq!(machine.port_out(0x600, &[3 << 2 | 1 << 5]), None);
    assert_eq!(machine.port_out(0x602, &[1]), Some(PowerEvent::Reset));
    assert_eq!(machine.port_out(0x602, &[0]), None);
    assert_eq!(machine.port_out(0x64, &[0xfe]), Some(PowerEvent::Reset));
    assert_eq!(machine.port_out(0x64, &[0xae]), None);
    assert_eq!(machine.port_out(0x602, &[]), None);
}

#[test]
fn accesses_to_nothing_are_harmless() {
    let (machine, _) = machine();
    let mut data = [0; 4];
    machine.port_in(0xcf8, &mut data);
    assert_eq!(data, [0xff; 4]);
    for address in [0xc000_0000, VIRTIO_MMIO, u64::MAX] {
        data = [0; 4];
        machine.mmio_read(address, &mut data);
        assert_eq!(data, [0xff; 4]);
        machine.mmio_write(address, &data);
    }
    machine.port_in(0x64, &mut data[..1]);
    assert_eq!(data[0], 0, "a keyboard controller that is never busy");
}

#[test]
fn the_boot_mark_counts_once_and_only_with_its_value() {
    let (events, told) = recorded();
    let boot_time = BootTime::default();
    let (machine, _) = machine_for(events, boot_time.clone());
    machine.port_out(BOOT_MARK_PORT, &[0]);
    machine.port_out(BOOT_MARK_PORT, &[]);
    assert_eq!(boot_time.get(), None);
    machine.port_out(BOOT_MARK_PORT, &[1]);
    let first = boot_time.get();
    assert!(first.is_some());
    machine.port_out(BOOT_MARK_PORT, &[1]);
    assert_eq!(boot_time.get(), first);
    assert_eq!(*told.lock().unwrap(), ["Booted"]);
}

#[test]
fn each_kind_of_crash_is_told_once() {
    let (events, told) = recorded();
    let (machine, _) = machine_for(events, BootTime::default());
    let mut understood = [0];
    machine.port_in(0x505, &mut understood);
    assert_eq!(understood, [0b11]);
    for value in [0, 1, 1, 4, 3, 0xff] {
        assert_eq!(machine.port_out(0x505, &[value]), None);
    }
    let expected = [
        "Crashed { kind: Panicked }",
        "Crashed { kind: CrashKernelStarts }",
    ];
    assert_eq!(*told.lock().unwrap(), expected);
}
