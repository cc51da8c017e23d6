//! Accesses of any width to any port and address of a machine with all devices.
//!
//! Oracles: what nobody answers reads as ones; only three ports end the run; a guest prints no more than it wrote, and
//! its owner hears no more than documented; another machine takes over whatever state this one is in; all devices live,
//! and say what they are.
#![no_main]

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vmm_core::fuzzing::BareMachine;

#[path = "../all_devices.rs"]
mod all_devices;

const WINDOWS: u64 = 0xd000_0000;
const WINDOW: u64 = 0x1000;
const STATUS: u64 = 0x70;
const SERIAL: u16 = 0x3f8;
/// Booted, and two kinds of crash.
const MAX_EVENTS: usize = 3;
/// How often the machine becomes another one before its end.
const MAX_MOVES: usize = 4;

#[derive(Arbitrary, Debug)]
enum Access {
    PortIn {
        port: Port,
        width: Width,
    },
    PortOut {
        port: Port,
        width: Width,
        value: u32,
    },
    Read {
        address: Address,
        width: Width,
    },
    Write {
        address: Address,
        width: Width,
        value: u64,
    },
    Memory {
        address: u16,
        bytes: [u8; 16],
    },
    MoveOn,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Port {
    Serial(u8),
    Platform(u8),
    Any(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Address {
    Register { device: u8, register: u8 },
    Window { device: u8, offset: u16 },
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Width {
    One,
    Two,
    Four,
    Eight,
}

impl Port {
    fn number(self) -> u16 {
        match self {
            Self::Serial(register) => SERIAL + u16::from(register % 8),
            Self::Platform(at) => 0x600 + u16::from(at % 0x20),
            Self::Any(port) => port,
        }
    }
}

impl Address {
    fn number(self) -> u64 {
        let window = |device: u8| WINDOWS + u64::from(device % 8) * WINDOW;
        match self {
            Self::Register { device, register } => window(device) + u64::from(register & !3),
            Self::Window { device, offset } => window(device) + u64::from(offset) % WINDOW,
            Self::Any(address) => address,
        }
    }
}

impl Width {
    fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// Counts what is printed.
struct Console(Arc<AtomicUsize>);

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(bytes.len(), Ordering::SeqCst);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_answered(port: u16) -> bool {
    matches!(port, 0x3f8..=0x3ff | 0x60 | 0x64 | 0x505 | 0x601 | 0x610..=0x615)
}

fn is_device(machine: &BareMachine, address: u64) -> bool {
    (WINDOWS..WINDOWS + machine.devices() as u64 * WINDOW).contains(&address)
}

fuzz_target!(|accesses: Vec<Access>| {
    let (printed, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let config = || {
        let mut config = all_devices::config();
        config.watchdog = true;
        config.console = Box::new(Console(Arc::clone(&printed)));
        let events = Arc::clone(&told);
        config.on_event = Some(Box::new(move |_| {
            events.fetch_add(1, Ordering::SeqCst);
        }));
        config
    };
    let mut machine = BareMachine::start(config());
    let (mut sent, mut moves) = (0, 0);
    for access in accesses {
        match access {
            Access::PortIn { port, width } => {
                let mut data = [0x5a; 8];
                machine.port_in(port.number(), &mut data[..width.bytes().min(4)]);
                let (data, rest) = data.split_at(width.bytes().min(4));
                assert!(rest.iter().all(|byte| *byte == 0x5a));
                assert!(is_answered(port.number()) || data.iter().all(|byte| *byte == 0xff));
            }
            Access::PortOut { port, width, value } => {
                let data = &value.to_le_bytes()[..width.bytes().min(4)];
                let expected = match (port.number(), data[0]) {
                    (0x600, value) => (value & 0x3c == 0x34).then_some(false),
                    (0x602, 1) | (0x64, 0xfe) => Some(true),
                    _ => None,
                };
                assert_eq!(machine.port_out(port.number(), data), expected);
                sent += data.len();
            }
            Access::Read { address, width } => {
                let mut data = [0x5a; 8];
                let address = address.number();
                machine.mmio_read(address, &mut data[..width.bytes()]);
                let is_empty = data[..width.bytes()].iter().all(|byte| *byte == 0xff);
                assert!(is_device(&machine, address) || is_empty);
            }
            Access::Write {
                address,
                width,
                value,
            } => {
                let data = &value.to_le_bytes()[..width.bytes()];
                machine.mmio_write(address.number(), data);
            }
            Access::Memory { address, bytes } => {
                machine.write(address.into(), &bytes);
            }
            Access::MoveOn if moves < MAX_MOVES => {
                machine = machine.move_on(config());
                moves += 1;
            }
            Access::MoveOn => {}
        }
    }
    machine = machine.move_on(config());
    for (device, id) in (0u64..).zip([2u32, 1, 19, 5, 4]) {
        let window = WINDOWS + device * WINDOW;
        machine.mmio_write(window + STATUS, &[0; 4]);
        for (register, value) in [(0, u32::from_le_bytes(*b"virt")), (8, id), (STATUS, 0)] {
            let mut data = [0; 4];
            machine.mmio_read(window + register, &mut data);
            assert_eq!(u32::from_le_bytes(data), value, "device {device}");
        }
    }
    assert_eq!(machine.failure(), None);
    assert!(printed.load(Ordering::SeqCst) <= sent);
    assert!(told.load(Ordering::SeqCst) <= MAX_EVENTS);
});
