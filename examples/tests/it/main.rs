//! What `playground` does without any machine.

#![expect(clippy::unwrap_used, reason = "a test that can not go on may panic")]

mod housekeeping;
