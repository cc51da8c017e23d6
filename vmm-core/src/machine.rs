//! What a vCPU finds when it leaves guest mode: ports and memory-mapped registers.
//!
//! Invariant: no access, whatever its address, size or value, does anything but what is written here;
//! unknown ones read as ones and are lost when written.

mod marks;
mod power_button;
mod serial;
mod watchdog;

pub(crate) use marks::BootTime;
pub use marks::MarksState;
pub(crate) use power_button::PowerButton;
pub(crate) use serial::SerialPort;
pub use serial::{ConsoleInput, SerialState};
pub use watchdog::WatchdogState;
pub(crate) use watchdog::{WATCHDOG_PERIOD_MS, WATCHDOG_RUNNING, Watchdog};

use std::sync::Arc;
use std::time::Instant;

use marks::Marks;

use crate::event::Events;
use crate::layout::{
    BOOT_MARK_PORT, KEYBOARD_COMMAND_PORT, KEYBOARD_DATA_PORT, KEYBOARD_RESET, PANIC_PORT,
    RESET_PORT, RESET_VALUE, SERIAL_PORT, SERIAL_PORTS, SLEEP_CONTROL_PORT, SLEEP_STATUS_PORT,
    SLEEP_TYPE_S5, VIRTIO_MMIO, VIRTIO_MMIO_STRIDE, WATCHDOG_COUNT_PORT, WATCHDOG_SETTING_PORT,
};
use crate::virtio::MmioTransport;

/// ACPI 6.4, section 4.8.3.7: the sleep type is in bits 2 to 4, and bit 5 starts the transition.
const SLEEP_TYPE_SHIFT: u8 = 2;
const SLEEP_TYPE_MASK: u8 = 0b111;
const SLEEP_ENABLE: u8 = 1 << 5;

/// A guest's wish that ends the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PowerEvent {
    Off,
    Reset,
}

/// The devices of one VM.
pub(crate) struct Machine {
    serial: Arc<SerialPort>,
    marks: Marks,
    watchdog: Option<Watchdog>,
    transports: Vec<MmioTransport>,
}

impl Machine {
    /// The machine of a VM that was started at `started`.
    pub(crate) fn new(
        serial: Arc<SerialPort>,
        transports: Vec<MmioTransport>,
        watchdog: Option<Watchdog>,
        started: Instant,
        boot_time: BootTime,
        events: Events,
    ) -> Self {
        Self {
            serial,
            marks: Marks::new(started, boot_time, events),
            watchdog,
            transports,
        }
    }

    pub(crate) fn transports(&self) -> &[MmioTransport] {
        &self.transports
    }

    /// What the guest has told by its marks.
    pub(crate) fn save_marks(&self) -> MarksState {
        self.marks.save()
    }

    /// Takes over the state of marks and watchdog, which was checked.
    pub(crate) fn take_over(&self, marks: &MarksState, watchdog: Option<&WatchdogState>) {
        self.marks.take_over(marks);
        if let (Some(watchdog), Some(saved)) = (&self.watchdog, watchdog) {
            watchdog.take_over(saved, Instant::now());
        }
    }

    pub(crate) fn watchdog(&self) -> Option<&Watchdog> {
        self.watchdog.as_ref()
    }

    /// Handles reads of one or more bytes from a port.
    pub(crate) fn port_in(&self, port: u16, data: &mut [u8]) {
        data.fill(0xff);
        if let Some(register) = within(port, SERIAL_PORT, SERIAL_PORTS) {
            self.serial.read(register, data);
        } else if port == PANIC_PORT {
            data.fill(Marks::understood_crashes());
        } else if let Some(watchdog) = self.watchdog.as_ref().filter(|_| is_watchdog(port)) {
            watchdog.read(port, data, Instant::now());
        } else if port == SLEEP_STATUS_PORT || is_keyboard(port) {
            data.fill(0);
        }
    }

    /// Handles writes of one or more bytes to a port.
    pub(crate) fn port_out(&self, port: u16, data: &[u8]) -> Option<PowerEvent> {
        if let Some(register) = within(port, SERIAL_PORT, SERIAL_PORTS) {
            self.serial.write(register, data);
            return None;
        }
        if let Some(watchdog) = self.watchdog.as_ref().filter(|_| is_watchdog(port)) {
            watchdog.write(port, data, Instant::now());
            return None;
        }
        let value = *data.first()?;
        match port {
            SLEEP_CONTROL_PORT => {
                let sleep_type = value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK;
                (value & SLEEP_ENABLE != 0 && sleep_type == SLEEP_TYPE_S5)
                    .then_some(PowerEvent::Off)
            }
            RESET_PORT => (value == RESET_VALUE).then_some(PowerEvent::Reset),
            port if port == u16::from(KEYBOARD_COMMAND_PORT) => {
                (value == KEYBOARD_RESET).then_some(PowerEvent::Reset)
            }
            BOOT_MARK_PORT => {
                self.marks.boot(value);
                None
            }
            PANIC_PORT => {
                self.marks.crash(value);
                None
            }
            _ => None,
        }
    }

    /// Handles a read from memory that is not RAM.
    pub(crate) fn mmio_read(&self, address: u64, data: &mut [u8]) {
        match self.transport(address) {
            Some((transport, offset)) => transport.read(offset, data),
            None => data.fill(0xff),
        }
    }

    /// Handles a write to memory that is not RAM.
    pub(crate) fn mmio_write(&self, address: u64, data: &[u8]) {
        if let Some((transport, offset)) = self.transport(address) {
            transport.write(offset, data);
        }
    }

    fn transport(&self, address: u64) -> Option<(&MmioTransport, u32)> {
        let offset = address.checked_sub(VIRTIO_MMIO)?;
        let index = usize::try_from(offset / VIRTIO_MMIO_STRIDE).ok()?;
        let within = u32::try_from(offset % VIRTIO_MMIO_STRIDE).ok()?;
        Some((self.transports.get(index)?, within))
    }
}

fn is_keyboard(port: u16) -> bool {
    [KEYBOARD_DATA_PORT, KEYBOARD_COMMAND_PORT]
        .map(u16::from)
        .contains(&port)
}

fn is_watchdog(port: u16) -> bool {
    (WATCHDOG_COUNT_PORT..=WATCHDOG_SETTING_PORT).contains(&port)
}

/// The offset of `port` in the `count` ports from `first` on.
fn within(port: u16, first: u16, count: u8) -> Option<u8> {
    let offset = u8::try_from(port.checked_sub(first)?).ok()?;
    (offset < count).then_some(offset)
}

#[cfg(test)]
mod tests;
