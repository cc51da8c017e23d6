//! Tests that need a `/dev/kvm`, but no stock kernel: the guests' kernels are a few instructions.

#![expect(clippy::unwrap_used, reason = "a test that can not go on may panic")]

mod image;
mod kernel;
mod starting;
mod store;
