//! The serial port as plain data.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use vm_superio::Serial;
use vm_superio::serial::{NoEvents, SerialState as Registers};
use vmm_sys_util::eventfd::EventFd;

use super::input::{BUFFER_BYTES, Buffer};
use super::{Console, Line, SerialPort};
use crate::state::{FieldError, check};

/// Size of the port's FIFO.
const FIFO_BYTES: usize = 64;

/// The state of the serial port: the registers of a 16550 and what is on its way to the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SerialState {
    /// Divisor latch, low byte.
    pub divisor_low: u8,
    /// Divisor latch, high byte.
    pub divisor_high: u8,
    /// Interrupt enable register.
    pub interrupt_enable: u8,
    /// Interrupt identification register.
    pub interrupt_identification: u8,
    /// Line control register.
    pub line_control: u8,
    /// Line status register.
    pub line_status: u8,
    /// Modem control register.
    pub modem_control: u8,
    /// Modem status register.
    pub modem_status: u8,
    /// Scratch register.
    pub scratch: u8,
    /// Bytes in the FIFO, which the guest has not read.
    pub received: Vec<u8>,
    /// What the embedder wrote that is not in the FIFO yet.
    pub input: Vec<u8>,
}

impl SerialState {
    pub(crate) fn check(&self) -> Result<(), FieldError> {
        check(
            "the number of bytes received",
            self.received.len() as u64,
            self.received.len() <= FIFO_BYTES,
            "what the FIFO can hold",
        )?;
        check(
            "the number of bytes of input",
            self.input.len() as u64,
            self.input.len() <= BUFFER_BYTES,
            "what can wait for the guest",
        )
    }
}

impl SerialPort {
    /// The registers, and what waits for the guest. Those of a port that is closed are all zero.
    pub(crate) fn save(&self) -> SerialState {
        let guard = self.lock();
        let Some(registers) = guard.as_ref().map(Serial::state) else {
            return SerialState::default();
        };
        let state = SerialState {
            divisor_low: registers.baud_divisor_low,
            divisor_high: registers.baud_divisor_high,
            interrupt_enable: registers.interrupt_enable,
            interrupt_identification: registers.interrupt_identification,
            line_control: registers.line_control,
            line_status: registers.line_status,
            modem_control: registers.modem_control,
            modem_status: registers.modem_status,
            scratch: registers.scratch,
            received: registers.in_buffer,
            input: self.input.copy(),
        };
        self.release(guard);
        state
    }

    /// The port of a state that was checked. Raises its interrupt if one is pending.
    pub(crate) fn restored(
        console: Box<dyn Write + Send>,
        line: Arc<EventFd>,
        saved: &SerialState,
    ) -> io::Result<Arc<Self>> {
        let registers = Registers {
            baud_divisor_low: saved.divisor_low,
            baud_divisor_high: saved.divisor_high,
            interrupt_enable: saved.interrupt_enable,
            interrupt_identification: saved.interrupt_identification,
            line_control: saved.line_control,
            line_status: saved.line_status,
            modem_control: saved.modem_control,
            modem_status: saved.modem_status,
            scratch: saved.scratch,
            in_buffer: saved.received.clone(),
        };
        let registers = Serial::from_state(&registers, Line(line), NoEvents, Console(console))
            .map_err(|error| io::Error::other(error.to_string()))?;
        let port = Arc::new(Self {
            registers: Mutex::new(Some(registers)),
            input: Buffer::with(&saved.input),
        });
        port.feed_if_free();
        Ok(port)
    }
}

#[cfg(test)]
mod tests;
