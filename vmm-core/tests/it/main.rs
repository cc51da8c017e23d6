//! Tests of whole VMs whose guests are a few instructions, so that any `/dev/kvm` will do.

#![expect(clippy::unwrap_used, reason = "a test that can not go on may panic")]

mod bad_input;
mod balloon;
mod churn;
mod console;
mod cpuid;
mod disk;
mod events;
mod guest;
mod lifecycle;
mod limits;
mod memory;
mod metrics;
mod packed;
mod pause;
mod processors;
mod seccomp;
mod state;
