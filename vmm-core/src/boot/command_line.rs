//! The kernel command line.

/// The longest command line: Linux's `COMMAND_LINE_SIZE` on x86, less the NUL.
const MAX_BYTES: usize = 2047;

/// A command line that makes a stock Linux kernel start fast on this machine.
///
/// - `console=ttyS0`: print to [`VmConfig::console`](crate::VmConfig::console).
/// - `quiet`: only warnings; each printed byte costs a VM exit.
/// - `panic=-1`: a panic reboots at once, which ends the run with [`Exit::Reboot`](crate::Exit::Reboot).
/// - `reboot=a`: reset through ACPI; without it, Linux takes the way over the BIOS, which works but is longer.
/// - `pci=off`: there is no PCI bus to look for.
/// - `8250.nr_uarts=1`: there is one serial port; don't probe for more.
/// - `tsc=reliable no_timer_check`: the host vouches for the clocks; don't calibrate against missing timers.
/// - `random.trust_cpu=on`: seed the random generator before the entropy device's driver is there.
/// - `cryptomgr.notests`: leave out self-tests of built-in ciphers.
pub const RECOMMENDED_COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 reboot=a pci=off 8250.nr_uarts=1 \
tsc=reliable no_timer_check random.trust_cpu=on cryptomgr.notests";

/// Why a command line can't be passed to a kernel.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandLineError {
    /// The kernel would cut it off.
    #[error("the kernel command line has {bytes} bytes: the kernel takes at most {MAX_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The kernel would misread it.
    #[error(
        "the kernel command line has the byte {byte:#04x} at position {position}: only printable ASCII is allowed"
    )]
    BadByte {
        /// Offset of the byte.
        position: usize,
        /// Its value.
        byte: u8,
    },
}

/// Checks that a kernel would read `line` as it is written.
pub(crate) fn check(line: &str) -> Result<(), CommandLineError> {
    if line.len() > MAX_BYTES {
        return Err(CommandLineError::TooLong { bytes: line.len() });
    }
    match line.bytes().position(|byte| !(b' '..=b'~').contains(&byte)) {
        Some(position) => Err(CommandLineError::BadByte {
            position,
            byte: line.as_bytes()[position],
        }),
        None => Ok(()),
    }
}
