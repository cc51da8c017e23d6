//! The guest agent: PID 1 of the guest's initramfs, and later the process that serves the host's commands.
//!
//! Its host side is documented with the protocol, in the library of this package.

mod guest;

use std::process::ExitCode;

fn main() -> ExitCode {
    guest::run()
}
