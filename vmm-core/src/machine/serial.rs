//! The serial port: a 16550 that prints to the embedder's console.

use std::io::{self, Write};
use std::sync::Arc;

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

use super::Machine;
use crate::virtio::MmioTransport;

/// The embedder's writer, kept from being flushed after every byte.
struct Console(Box<dyn Write + Send>);

impl Write for Console {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Err(error) = self.0.flush() {
            tracing::debug!(%error, "could not flush a VM's console");
        }
    }
}

struct Line(Arc<EventFd>);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// The port's registers.
pub(super) struct SerialPort(Serial<Line, NoEvents, Console>);

impl SerialPort {
    pub(super) fn read(&mut self, register: u8) -> u8 {
        self.0.read(register)
    }

    /// What the console can't take is lost, as on a line that nobody listens to.
    pub(super) fn write(&mut self, register: u8, value: u8) {
        if let Err(error) = self.0.write(register, value) {
            tracing::trace!(?error, "the serial port lost a byte");
        }
    }
}

impl Machine {
    /// A machine that prints to `console` and raises `line` for its serial port's interrupts.
    pub(crate) fn with_console(
        console: Box<dyn Write + Send>,
        line: Arc<EventFd>,
        transports: Vec<MmioTransport>,
    ) -> Self {
        let serial = Serial::new(Line(line), Console(console));
        Self::new(SerialPort(serial), transports)
    }
}
