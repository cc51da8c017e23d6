//! The serial port: a 16550 that prints to the embedder's console, and to which the embedder writes.
//!
//! Invariant: a byte that the embedder wrote leaves its buffer when the port's FIFO has room for it and the
//! guest's driver takes input, and not before.

mod input;
mod state;

pub use input::ConsoleInput;
pub use state::SerialState;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use input::Buffer;
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

/// Registers of a 16550, by their offset, and the bits of them that matter here.
const DATA: u8 = 0;
const INTERRUPT_ENABLE: u8 = 1;
const RECEIVED_DATA: u8 = 1 << 0;
const INTERRUPT_IDENTIFICATION: u8 = 2;
const LINE_CONTROL: u8 = 3;
const DIVISOR_LATCH: u8 = 1 << 7;
const MODEM_CONTROL: u8 = 4;
const REQUEST_TO_SEND: u8 = 1 << 1;
const LOOPBACK: u8 = 1 << 4;
const LINE_STATUS: u8 = 5;
const DATA_READY: u8 = 1 << 0;

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

type Registers = Serial<Line, NoEvents, Console>;

/// The port, shared by the vCPUs and the embedder's handles.
pub(crate) struct SerialPort {
    /// `None` once the VM has ended.
    registers: Mutex<Option<Registers>>,
    input: Buffer,
}

impl SerialPort {
    /// A port that prints to `console` and raises `line` for its interrupts.
    pub(crate) fn new(console: Box<dyn Write + Send>, line: Arc<EventFd>) -> Arc<Self> {
        Arc::new(Self {
            registers: Mutex::new(Some(Serial::new(Line(line), Console(console)))),
            input: Buffer::default(),
        })
    }

    /// Fills `data` from one register.
    pub(super) fn read(&self, register: u8, data: &mut [u8]) {
        let mut guard = self.lock();
        if let Some(registers) = guard.as_mut() {
            for byte in data {
                if register == INTERRUPT_IDENTIFICATION {
                    raise_again(registers);
                }
                *byte = registers.read(register);
                if register == DATA && registers.read(LINE_STATUS) & DATA_READY == 0 {
                    self.feed(registers);
                }
            }
        }
        self.release(guard);
    }

    /// Writes `data` to one register. What the console can't take is lost, as on a line that nobody listens
    /// to.
    pub(super) fn write(&self, register: u8, data: &[u8]) {
        let mut guard = self.lock();
        if let Some(registers) = guard.as_mut() {
            for byte in data {
                if let Err(error) = registers.write(register, *byte) {
                    tracing::trace!(?error, "the serial port lost a byte");
                }
            }
            if [INTERRUPT_ENABLE, LINE_CONTROL, MODEM_CONTROL].contains(&register) {
                self.feed(registers);
            }
        }
        self.release(guard);
    }

    /// The VM is ending: who waits to write is told.
    pub(crate) fn close_input(&self) {
        self.input.close();
    }

    /// The VM has ended: flushes the console and lets go of it.
    pub(crate) fn close(&self) {
        self.close_input();
        let registers = self.lock().take();
        drop(registers);
    }

    /// Moves input to the guest if nobody else is at the registers; whoever is does it when they let go.
    fn feed_if_free(&self) {
        if let Ok(mut guard) = self.registers.try_lock() {
            if let Some(registers) = guard.as_mut() {
                self.feed(registers);
            }
            self.release(guard);
        }
    }

    /// Lets go of the registers, and cares for input that came meanwhile.
    fn release(&self, guard: MutexGuard<'_, Option<Registers>>) {
        drop(guard);
        while self.input.is_fresh() {
            let Ok(mut guard) = self.registers.try_lock() else {
                return;
            };
            match guard.as_mut() {
                Some(registers) => self.feed(registers),
                None => return,
            }
        }
    }

    /// Moves as much input as there is room for. Without a driver that listens, a byte in the FIFO would be
    /// thrown away when one starts; so input waits until the guest wants interrupts for it and says that it
    /// is ready.
    fn feed(&self, registers: &mut Registers) {
        self.input.take_note();
        // The offset of the interrupts' register is that of the divisor's other half while that is latched.
        let is_latched = is_divisor_latched(registers);
        let modem = registers.read(MODEM_CONTROL);
        if is_latched
            || registers.read(INTERRUPT_ENABLE) & RECEIVED_DATA == 0
            || modem & (LOOPBACK | REQUEST_TO_SEND) != REQUEST_TO_SEND
        {
            return;
        }
        let bytes = self.input.take(registers.fifo_capacity());
        if bytes.is_empty() {
            return;
        }
        if let Err(error) = registers.enqueue_raw_bytes(&bytes) {
            tracing::trace!(?error, "the serial port could not raise its interrupt");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Registers>> {
        self.registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_divisor_latched(registers: &mut Registers) -> bool {
    registers.read(LINE_CONTROL) & DIVISOR_LATCH != 0
}

/// Makes the interrupt for received data pending if there is any, as it is on a real port until the FIFO is
/// empty: `vm-superio` takes it back when the first byte is read, and a driver that stops in between would
/// never look again.
fn raise_again(registers: &mut Registers) {
    if registers.read(LINE_STATUS) & DATA_READY == 0 || is_divisor_latched(registers) {
        return;
    }
    let enabled = registers.read(INTERRUPT_ENABLE);
    if let Err(error) = registers.write(INTERRUPT_ENABLE, enabled) {
        tracing::trace!(?error, "the serial port could not raise its interrupt");
    }
}

#[cfg(test)]
mod tests;
