//! Tests that boot a stock Debian kernel, for a machine whose KVM can run one.
//!
//! `VM_TEST_KERNEL` names the kernel (a `vmlinuz`), `VM_TEST_MODULES` its modules (`lib/modules/VERSION`).
//! The same with `_5_10` and `_6_12` behind them are a kernel of each of these series.
//! `busybox` (static) and `cc` must be installed: the guests' initramfs is made of the first, and the second
//! builds the programs that busybox lacks.

#![expect(clippy::unwrap_used, reason = "a test that can not go on may panic")]

mod balloon;
mod boot;
mod console;
mod disk;
mod events;
mod initramfs;
mod kernels;
mod machine;
mod memory;
mod metrics;
mod network;
mod pause;
mod power;
mod state;
mod tap;
mod vsock;
