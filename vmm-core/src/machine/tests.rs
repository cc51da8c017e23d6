use std::io::{self, Write};
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::*;

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
    let screen = Screen::default();
    let line = Arc::new(EventFd::new(0).unwrap());
    (
        Machine::with_console(Box::new(screen.clone()), line, vec![]),
        screen,
    )
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
