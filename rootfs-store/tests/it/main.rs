//! Tests of the store through its public face, with tools of others as oracles.
#![expect(clippy::unwrap_used, reason = "a test that can not go on may panic")]

mod import;
mod sample_image;
