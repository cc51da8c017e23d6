//! What the programs do without any machine.

#![expect(clippy::unwrap_used, reason = "a test that can not go on may panic")]

mod async_service;
mod housekeeping;
mod service;
